//! The flow table beside others, in cycles of the time-stamp counter: per lookup
//! in batches of 32, and per pair inserted into a half-full table.
//!
//! ```text
//! cargo bench --bench flowtable                         # all, some ten minutes
//! cargo bench --bench flowtable -- '^(10k|1M)/'         # two sizes
//! cargo bench --bench flowtable -- '^16M/.*/flowtable'  # one size, one table
//! ```
//!
//! Groups are sizes; a benchmark is `IPv4-hit/flowtable`. A table is made when
//! the first of its benchmarks runs, so what the filter leaves out costs nothing.
//! For ratios on a machine that others use too, `vrbench table compare` takes
//! turns; here each has its seconds, one after the other.

mod cycles;

use std::cell::RefCell;
use std::time::Duration;

use bench::footprint;
use bench::table::Contender;
use bench::table::compare::Asked;
use bench::table::floor::Floor;
use bench::table::flows::{Ipv4, Ipv6};
use bench::table::insertion::{Coming, Insertion, Places};
use bench::table::meter::Meter;
use bench::table::ours::Ours;
use bench::table::peers::{Dashmap, Papaya, Scc};
#[cfg(feature = "dpdk")]
use bench::table::rte_hash::RteHash;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};

use cycles::Cycles;

const SIZES: [(&str, u32); 4] = [
    ("10k", 10_000),
    ("1M", 1_000_000),
    ("4M", 4_000_000),
    ("16M", 16_000_000),
];

const BOTH: &[Asked] = &[Asked::Hit, Asked::Miss];

type Group<'a> = BenchmarkGroup<'a, Cycles>;

fn main() {
    if let Err(error) = footprint::heap_on_huge_pages() {
        panic!("this program does not start again: {error}");
    }
    let core = core_affinity::get_core_ids().unwrap_or_default().pop();
    assert!(core.is_some_and(core_affinity::set_for_current), "a core");
    let criterion = Criterion::default()
        .with_measurement(Cycles::default())
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(60);
    let mut criterion = criterion.configure_from_args();
    // As a test each runs once, and the smallest table will do.
    let test = std::env::args().all(|argument| argument != "--bench");
    for (size, flows) in SIZES.into_iter().take(if test { 1 } else { SIZES.len() }) {
        let mut group = criterion.benchmark_group(size);
        // Samples as long as each other: short ones would see colder caches.
        group.sampling_mode(SamplingMode::Flat);
        group.throughput(Throughput::Elements(1));
        lookups(&mut group, flows);
        insertions(&mut group, flows);
        group.finish();
    }
    criterion.final_summary();
}

fn lookups(group: &mut Group<'_>, flows: u32) {
    table(group, "IPv4", BOTH, flows, || Ours::<Ipv4>::new(flows));
    table(group, "IPv6", BOTH, flows, || Ours::<Ipv6>::new(flows));
    let floor = || Floor::for_table(flows);
    table(group, "any", &[Asked::Hit], flows, floor);
    #[cfg(feature = "dpdk")]
    {
        let ipv4 = || RteHash::<Ipv4>::new(flows).expect("a table of DPDK's");
        table(group, "IPv4", BOTH, flows, ipv4);
        let ipv6 = || RteHash::<Ipv6>::new(flows).expect("a table of DPDK's");
        table(group, "IPv6", BOTH, flows, ipv6);
    }
    #[cfg(not(feature = "dpdk"))]
    println!("left out: rte_hash, because this was built without the feature dpdk");
    table(group, "IPv4", BOTH, flows, || Papaya::<Ipv4>::new(flows));
    table(group, "IPv4", BOTH, flows, || Dashmap::<Ipv4>::new(flows));
    table(group, "IPv4", BOTH, flows, || Scc::<Ipv4>::new(flows));
}

/// Measures one table, which is made when it is first needed.
fn table<C: Contender>(
    group: &mut Group<'_>,
    family: &str,
    asked: &[Asked],
    flows: u32,
    make: impl Fn() -> C,
) {
    let meter = RefCell::new(None);
    for asked in asked {
        let id = BenchmarkId::new(format!("{family}-{}", asked.name()), C::NAME);
        // One for all samples: what a sample begins with must not be what the
        // last one has brought into the caches.
        let mut draw = asked.draw(flows);
        group.bench_function(id, |bencher| {
            let mut meter = meter.borrow_mut();
            let meter = meter.get_or_insert_with(|| Meter::new(make()));
            bencher.iter_custom(|lookups| meter.cycles(&mut draw, lookups) * lookups as f64);
        });
    }
}

fn insertions(group: &mut Group<'_>, flows: u32) {
    for (name, places, coming) in [
        ("in-order", Places::InOrder, Coming::Singly),
        ("random", Places::AtRandom, Coming::Singly),
        ("random-together", Places::AtRandom, Coming::Together),
    ] {
        let id = BenchmarkId::new(format!("insert_pair-{name}"), Ours::<Ipv4>::NAME);
        let mut insertion = None;
        group.bench_function(id, |bencher| {
            let insertion = insertion.get_or_insert_with(|| Insertion::new(flows, places, coming));
            bencher.iter_custom(|pairs| insertion.cycles(pairs) * pairs as f64);
        });
    }
}
