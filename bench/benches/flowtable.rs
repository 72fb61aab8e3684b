//! Lookups in batches, per lookup.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flowtable::{Action, Class, Config, FlowTable, Key, Rewrite, Ticks, Timeouts, Verdict, Zone};
use std::net::Ipv4Addr;

const BATCH: usize = 32;

fn key(number: u32) -> Key {
    let src = Ipv4Addr::from_bits(0x0a00_0000 | number >> 8);
    let dst = Ipv4Addr::new(10, 255, 0, 1);
    Key::ipv4(Zone::default(), 17, src, dst, number as u16, 53)
}

fn action() -> Action {
    Action {
        verdict: Verdict::Forward,
        nexthop: 1,
        epoch: 1,
        ingress: 1,
        rewrite: Rewrite::NONE,
        group_choice: 0,
    }
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("flowtable");
    group.throughput(Throughput::Elements(BATCH as u64));
    for flows in [10_000_u32, 1_000_000] {
        let table = FlowTable::new(&Config {
            pairs: flows as usize * 5 / 4,
            seed: [1, 2, 3, 4],
            timeouts: Timeouts::default(),
        });
        for number in 0..flows {
            let key = key(number);
            let (forward, reverse) = (action(), action());
            let class = Class::Udp;
            table.insert_pair(
                &key,
                &forward,
                &key.reversed(),
                &reverse,
                class,
                0,
                Ticks(0),
            );
        }
        let mut state = 1_u32;
        let mut keys = [key(0); BATCH];
        let (mut hashes, mut hits) = ([0; BATCH], [None; BATCH]);
        group.bench_function(format!("lookup_batch hit, {flows} flows"), |b| {
            b.iter(|| {
                for slot in &mut keys {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *slot = key(((u64::from(state) * u64::from(flows)) >> 32) as u32);
                }
                table.lookup_batch(&keys, &mut hashes, &mut hits);
                assert!(hits[0].is_some());
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
