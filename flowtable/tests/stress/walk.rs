//! Listing while others write.

use super::*;
use crate::everything::expect_view_intact;
use std::collections::HashMap;

/// Flows that stay.
const STEADY: u32 = 500;
/// Flows that come and go.
const PASSING: u32 = 300;

#[test]
fn a_walk_sees_what_stays_once_and_nothing_twice() {
    let table = shared_table(2000);
    for n in 0..STEADY + PASSING {
        insert(&table, &key(n), n, Class::Udp, Ticks(0));
    }
    // Those that stay lie between those that go.
    let passes = |n: u32| n.is_multiple_of(3) || n >= STEADY;
    let walks = AtomicUsize::new(0);
    for_a_while(|worker, round| {
        if worker < 2 {
            let seen = walk(&table, 1 + random(worker, round) as usize % 400);
            for n in (0..STEADY).filter(|n| !passes(*n)) {
                assert_eq!(seen.get(&n), Some(&1), "flow {n} in walk {round}");
            }
            walks.fetch_add(1, Relaxed);
            return;
        }
        let own = table.worker(worker as usize);
        for part in 0..100 {
            let dice = random(worker, round.wrapping_mul(100) + part);
            let n = dice % (STEADY + PASSING);
            match table.lookup(&key(n)) {
                None => drop(insert_by(own, &key(n), n, Class::Udp, Ticks(round))),
                Some(hit) if passes(n) => drop(own.remove(hit.id, hit.version())),
                Some(hit) => {
                    // Whoever stays may change.
                    let [forward, reverse] = actions(n, dice);
                    own.update_pair(&hit, &forward, &reverse);
                    set_class(own, &hit, Class::Established);
                }
            }
        }
    });
    assert!(walks.load(Relaxed) > 10);
}

/// How often a walk by steps of `budget` saw each flow. Flows are seen whole,
/// and none twice.
fn walk(table: &FlowTable, budget: usize) -> HashMap<u32, u32> {
    let mut seen = HashMap::new();
    let mut flows = HashMap::new();
    let mut cursor = WalkCursor::default();
    while !cursor.is_done() {
        let mut step = 0;
        table.walk(&mut cursor, budget, |flow| {
            step += 1;
            *seen.entry(expect_view_intact(flow)).or_insert(0) += 1;
            *flows.entry((flow.id, flow.version)).or_insert(0) += 1;
        });
        assert!(step <= budget);
    }
    assert!(flows.values().all(|times| *times == 1));
    seen
}
