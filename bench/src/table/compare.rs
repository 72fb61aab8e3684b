//! Our table against each of the others, in alternation.
//!
//! On a shared machine a figure drifts with what the neighbours do; the ratio
//! of two that are measured in turns, a few dozen milliseconds each, drifts
//! much less. So our table stays, and the others come one after the other: made,
//! measured in turns with ours, dropped. Each turn begins with lookups that are
//! not counted, because the other one has had the caches meanwhile.

use std::time::{Duration, Instant};

use quanta::Clock;
use serde_json::{Value, json};

use super::floor::Floor;
use super::flows::{Draw, Family, Ipv4, Ipv6};
use super::insertion::{Coming, Insertion, Places};
use super::meter::Meter;
use super::ours::Ours;
use super::peers::{Dashmap, Papaya, Scc};
#[cfg(feature = "dpdk")]
use super::rte_hash::RteHash;
use super::{BATCH, Contender};
use crate::footprint::Footprint;
use crate::report::{self, Quantiles};

/// Lookups in a window: about a millisecond.
const WINDOW: u64 = 16_384;
/// Windows in a turn.
const WINDOWS: usize = 24;
/// Lookups to begin a turn with, at most: they touch 200 MiB.
const WARM_UP: u64 = 1_600_000;
/// Turns of each, whatever time they take.
const TURNS: usize = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Directions that are there.
    Hit,
    /// Directions that are not.
    Miss,
}

impl Asked {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Hit => "hit",
            Asked::Miss => "miss",
        }
    }

    /// Keys of this kind, for tables of so many flows.
    pub fn draw(self, flows: u32) -> Draw {
        match self {
            Asked::Hit => Draw::present(flows),
            Asked::Miss => Draw::absent(flows),
        }
    }
}

/// One contender beside our table.
pub struct Row {
    /// Flows in both tables.
    pub flows: u32,
    /// IPv4 or IPv6.
    pub family: &'static str,
    /// Whether the flows asked for were there.
    pub asked: Asked,
    /// The contender.
    pub name: &'static str,
    /// Our table.
    pub ours: Side,
    /// The contender.
    pub theirs: Side,
    /// What one of their lookups costs in ours: the middle of all pairs of turns.
    pub ratio: f64,
}

impl Row {
    /// The same by the 5th percentiles: with little disturbance on either side.
    pub fn quiet_ratio(&self) -> f64 {
        self.theirs.cycles.p5 / self.ours.cycles.p5
    }
}

/// One of the two.
pub struct Side {
    /// Cycles per lookup.
    pub cycles: Quantiles,
    /// The memory it takes.
    pub footprint: Footprint,
}

impl Side {
    fn new(turns: Vec<Vec<f64>>, footprint: Footprint) -> Side {
        let mut cycles = turns.concat();
        cycles.sort_by(f64::total_cmp);
        Side {
            cycles: Quantiles::of(&cycles),
            footprint,
        }
    }
}

/// Compares at one size, each pair for `time`; tells each row when it is there,
/// or in a sentence what is left out.
pub fn compare(flows: u32, time: Duration, tell: &mut dyn FnMut(Result<Row, String>)) {
    const BOTH: &[Asked] = &[Asked::Hit, Asked::Miss];
    // Before ours: DPDK has no other memory than reserved pages, and we have.
    #[cfg(feature = "dpdk")]
    let rte_hash = Made::new(|| RteHash::<Ipv4>::new(flows));
    let mut ipv4 = Comparison::<Ipv4>::new(flows, time, tell);
    #[cfg(feature = "dpdk")]
    ipv4.try_with(rte_hash, BOTH);
    ipv4.with(Made::new(|| Floor::for_table(flows)), &[Asked::Hit]);
    ipv4.with(Made::new(|| Papaya::<Ipv4>::new(flows)), BOTH);
    ipv4.with(Made::new(|| Dashmap::<Ipv4>::new(flows)), BOTH);
    ipv4.with(Made::new(|| Scc::<Ipv4>::new(flows)), BOTH);
    drop(ipv4);
    #[cfg(feature = "dpdk")]
    let rte_hash = Made::new(|| RteHash::<Ipv6>::new(flows));
    let mut ipv6 = Comparison::<Ipv6>::new(flows, time, tell);
    #[cfg(feature = "dpdk")]
    ipv6.try_with(rte_hash, BOTH);
    ipv6.with(Made::new(|| Floor::for_table(flows)), &[Asked::Hit]);
}

/// A table, and the memory that making it took.
struct Made<T> {
    table: T,
    footprint: Footprint,
}

impl<T> Made<T> {
    fn new(make: impl FnOnce() -> T) -> Made<T> {
        let before = Footprint::now();
        let table = make();
        Made {
            table,
            footprint: Footprint::now().since(before),
        }
    }
}

/// Our table, and whoever is beside it.
struct Comparison<'a, F: Family> {
    flows: u32,
    time: Duration,
    ours: Meter<Ours<F>>,
    footprint: Footprint,
    tell: &'a mut dyn FnMut(Result<Row, String>),
}

impl<'a, F: Family> Comparison<'a, F> {
    fn new(
        flows: u32,
        time: Duration,
        tell: &'a mut dyn FnMut(Result<Row, String>),
    ) -> Comparison<'a, F> {
        let Made { table, footprint } = Made::new(|| Ours::new(flows));
        Comparison {
            flows,
            time,
            ours: Meter::new(table),
            footprint,
            tell,
        }
    }

    #[cfg(feature = "dpdk")]
    fn try_with<C: Contender>(&mut self, made: Made<Result<C, String>>, asked: &[Asked]) {
        let footprint = made.footprint;
        match made.table {
            Ok(table) => self.with(Made { table, footprint }, asked),
            Err(error) => (self.tell)(Err(error)),
        }
    }

    fn with<C: Contender>(&mut self, made: Made<C>, asked: &[Asked]) {
        let mut theirs = Meter::new(made.table);
        for asked in asked {
            let turns = self.alternate(&mut theirs, *asked);
            let ratio = turns.ratio();
            let ours = Side::new(turns.ours, self.footprint);
            let theirs = Side::new(turns.theirs, made.footprint);
            (self.tell)(Ok(Row {
                flows: self.flows,
                family: F::NAME,
                asked: *asked,
                name: C::NAME,
                ours,
                theirs,
                ratio,
            }));
        }
    }

    fn alternate<C: Contender>(&mut self, theirs: &mut Meter<C>, asked: Asked) -> Turns {
        let mut turns = Turns::default();
        let mut draws = [asked.draw(self.flows), asked.draw(self.flows)];
        let started = Instant::now();
        while turns.ours.len() < TURNS || started.elapsed() < self.time {
            turns
                .ours
                .push(turn(&mut self.ours, &mut draws[0], self.flows));
            turns.theirs.push(turn(theirs, &mut draws[1], self.flows));
        }
        turns
    }
}

/// Cycles per lookup in the windows of each turn.
#[derive(Default)]
struct Turns {
    ours: Vec<Vec<f64>>,
    theirs: Vec<Vec<f64>>,
}

impl Turns {
    fn ratio(&self) -> f64 {
        let pairs = self.ours.iter().zip(&self.theirs);
        let ratios = pairs.map(|(ours, theirs)| middle(theirs) / middle(ours));
        middle(&ratios.collect::<Vec<_>>())
    }
}

/// One turn of one table, beginning with lookups that only warm its caches.
fn turn<C: Contender>(meter: &mut Meter<C>, draw: &mut Draw, flows: u32) -> Vec<f64> {
    meter.cycles(draw, u64::from(flows * 4).min(WARM_UP));
    (0..WINDOWS).map(|_| meter.cycles(draw, WINDOW)).collect()
}

fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Cycles per pair inserted into our table when it is about half full.
pub struct Insertions {
    flows: u32,
    places: Places,
    coming: Coming,
    cycles: Quantiles,
    /// Millions of pairs per second.
    mpairs: f64,
}

/// Measures insertion at one size for `time`.
pub fn insert(flows: u32, places: Places, coming: Coming, time: Duration) -> Insertions {
    const WINDOW: u64 = 2_048;
    let mut insertion = Insertion::new(flows, places, coming);
    // Once all places have been used, no page and no free list is new.
    insertion.cycles(u64::from(flows).min(WARM_UP));
    let mut cycles = Vec::new();
    let started = Instant::now();
    while cycles.is_empty() || started.elapsed() < time {
        cycles.push(insertion.cycles(WINDOW));
    }
    cycles.sort_by(f64::total_cmp);
    let cycles = Quantiles::of(&cycles);
    let second = Clock::new().delta_as_nanos(0, 1 << 30) as f64 / 1e9;
    Insertions {
        flows,
        places,
        coming,
        cycles,
        mpairs: f64::from(1 << 30) / second / cycles.median / 1e6,
    }
}

/// Where and how the numbers came about.
pub fn header(core: usize) {
    println!(
        "{} · {} · core {core} · batches of {BATCH}, random directions of random flows",
        report::machine(),
        report::compiler()
    );
    println!("Cycles of the time-stamp counter per lookup; the ratio is theirs to ours, in turns.");
    if cfg!(not(feature = "dpdk")) {
        println!("left out: rte_hash, because this was built without the feature dpdk");
    }
    println!(
        "{:>9} {:<10} {:<9}{:>9}{:>8}{:>8}{:>9}{:>8}{:>8}{:>8}{:>7}  memory, ours and theirs",
        "flows",
        "asked",
        "beside",
        "ours",
        "(5 %)",
        "spread",
        "theirs",
        "(5 %)",
        "spread",
        "ratio",
        "(5 %)"
    );
}

/// One row of the table.
pub fn print(row: &Row) {
    let side = |side: &Side| {
        let Quantiles { median, p5, .. } = side.cycles;
        let spread = side.cycles.spread() * 100.0;
        format!("{median:>9.1}{p5:>8.1}{spread:>7.0}%")
    };
    println!(
        "{:>9} {:<10} {:<9}{}{}{:>8.2}{:>7.2}  {} · {}",
        row.flows,
        format!("{} {}", row.family, row.asked.name()),
        row.name,
        side(&row.ours),
        side(&row.theirs),
        row.ratio,
        row.quiet_ratio(),
        row.ours.footprint,
        row.theirs.footprint,
    );
}

/// A line below the table.
pub fn print_insertions(insertions: &Insertions) {
    let Quantiles { median, p5, .. } = insertions.cycles;
    println!(
        "{:>9} insert_pair {:<19}{median:>8.1}{p5:>8.1}{:>7.0}%  cycles per pair, half full: {:.2} M pairs/s",
        insertions.flows,
        format!("{} {}", insertions.places.name(), insertions.coming.name()),
        insertions.cycles.spread() * 100.0,
        insertions.mpairs,
    );
}

/// All rows as JSON.
pub fn document(core: usize, rows: &[Row], insertions: &[Insertions]) -> Value {
    let side = |side: &Side| {
        let Quantiles {
            median, p5, p95, ..
        } = side.cycles;
        json!({
            "cycles_per_lookup": { "p5": p5, "median": median, "p95": p95 },
            "memory_mib": side.footprint.mebibytes(),
            "pages": side.footprint.pages(),
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "flows": row.flows,
                "family": row.family,
                "asked": row.asked.name(),
                "beside": row.name,
                "ours": side(&row.ours),
                "theirs": side(&row.theirs),
                "ratio": { "median": row.ratio, "p5": row.quiet_ratio() },
            })
        })
        .collect();
    let insertions: Vec<_> = insertions
        .iter()
        .map(|insertions| {
            let Quantiles {
                median, p5, p95, ..
            } = insertions.cycles;
            json!({
                "flows": insertions.flows,
                "places": insertions.places.name(),
                "coming": insertions.coming.name(),
                "cycles_per_pair": { "p5": p5, "median": median, "p95": p95 },
                "mpairs_median": insertions.mpairs,
            })
        })
        .collect();
    json!({
        "machine": report::machine(),
        "compiler": report::compiler(),
        "core": core,
        "batch": BATCH,
        "results": rows,
        "insert_pair": insertions,
    })
}
