//! Many workers at once: nothing torn, nothing stale, nothing twice.
//!
//! `STRESS_MS` sets how long each test runs (500 by default). Every action is
//! derived from its key and epoch, so a mixture of two flows, or of two
//! decisions on one, is recognised.

#[path = "../common/mod.rs"]
mod common;
mod everything;
mod walk;

use common::*;
use flowtable::*;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// More threads than cores: some always sleep in the middle of something.
const WORKERS: u32 = 4;

/// A table for fewer workers than there are: some share what is a worker's own.
fn shared_table(pairs: usize) -> FlowTable {
    FlowTable::new(&Config {
        pairs,
        seed: [1, 2, 3, 4],
        workers: 3,
        ..Config::default()
    })
}

fn duration() -> Duration {
    let ms = std::env::var("STRESS_MS")
        .ok()
        .and_then(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or(500))
}

/// Runs `work(worker, round)` in all workers until time is up.
fn for_a_while(work: impl Fn(u32, u32) + Sync) {
    let end = Instant::now() + duration();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let work = &work;
            scope.spawn(move || {
                for round in 0.. {
                    work(worker, round);
                    if round.is_multiple_of(256) && Instant::now() > end {
                        break;
                    }
                }
            });
        }
    });
}

fn random(worker: u32, round: u32) -> u32 {
    let mut x = (worker << 28 ^ round).wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    for _ in 0..3 {
        x ^= x >> 15;
        x = x.wrapping_mul(0x2c1b_3c6d);
    }
    x ^ x >> 13
}

fn any_class(dice: u32) -> Class {
    Class::ALL[dice as usize % Class::ALL.len()]
}

/// The `n`th flow's key in one of both families.
fn key(n: u32) -> Key {
    if n.is_multiple_of(2) {
        ipv4(n)
    } else {
        ipv6(n)
    }
}

/// What the table makes of an action `salt` of the `n`th flow.
fn stored(n: u32, salt: u32, epoch: u32) -> Action {
    if n.is_multiple_of(2) {
        action(salt, epoch)
    } else {
        action_ipv6(salt, epoch)
    }
}

fn expect_intact(hit: &Hit, n: u32, forward: bool) {
    let salt = if forward { n } else { n + 1 };
    assert_eq!(hit.action(), stored(n, salt, hit.epoch()), "torn or stale");
}

/// Which flow this is of all there ever were.
fn identity(hit: &Hit) -> (FlowId, u32) {
    (hit.id, hit.version())
}

/// Both directions' hits, if the flow stayed the same from first to last look.
fn steady_pair(table: &FlowTable, n: u32) -> Option<(Hit, Option<Hit>)> {
    let forward = table.lookup(&key(n))?;
    let reverse = table.lookup(&key(n).reversed());
    let again = table.lookup(&key(n))?;
    (identity(&forward) == identity(&again)).then_some((forward, reverse))
}

fn expect_steady_pair_intact(table: &FlowTable, n: u32) {
    let Some((forward, reverse)) = steady_pair(table, n) else {
        return;
    };
    let reverse = reverse.expect("a live flow's partner is there");
    assert_eq!(reverse.id, forward.id.partner());
    assert_eq!(reverse.version(), forward.version());
    expect_intact(&forward, n, true);
    expect_intact(&reverse, n, false);
}

#[test]
fn readers_see_whole_flows_with_their_partners() {
    const FLOWS: u32 = 24;
    let table = shared_table(16);
    let inserted = AtomicUsize::new(0);
    let removed = AtomicUsize::new(0);
    for_a_while(|worker, round| {
        let own = table.worker(worker as usize);
        let dice = random(worker, round);
        let n = (dice >> 8) % FLOWS * 2 + (dice >> 20 & 1);
        match dice % 16 {
            0..3 => match insert_by(own, &key(n), n, Class::Udp, Ticks(round)) {
                Insert::Inserted(_) => drop(inserted.fetch_add(1, Relaxed)),
                Insert::Exists(hit) => expect_intact(&hit, n, hit.id.is_forward()),
                Insert::ReverseTaken(hit) => expect_intact(&hit, n, false),
                Insert::Refused(_) => (),
            },
            3..5 => {
                let Some(hit) = table.lookup(&key(n)) else {
                    return;
                };
                if own.remove(hit.id, hit.version()) {
                    removed.fetch_add(1, Relaxed);
                }
            }
            5..8 => {
                let Some(hit) = table.lookup(&key(n).reversed()) else {
                    return;
                };
                let [forward, reverse] = actions(n, hit.epoch() + 1);
                if let Some(renewed) = own.update_pair(&hit, &forward, &reverse) {
                    expect_intact(&renewed, n, false);
                }
                set_class(own, &hit, any_class(dice >> 24));
                table.touch(&hit, 1, 100, Ticks(round));
            }
            _ => expect_steady_pair_intact(&table, n),
        }
    });
    let evicted = table.table_usage().evicted as usize;
    let left = inserted.load(Relaxed) - removed.load(Relaxed) - evicted;
    assert_eq!(table.len(), left);
    assert!(removed.load(Relaxed) > 100, "the workers did not meet");
    expect_clean(&table, 2 * FLOWS);
}

/// Removes what is left and sees that all of the room is there again.
fn expect_clean(table: &FlowTable, flows: u32) {
    let mut cursor = WalkCursor::default();
    table.walk(&mut cursor, usize::MAX, |flow| {
        assert!(table.worker(0).remove(flow.id, flow.version));
    });
    let usage = table.table_usage();
    assert_eq!((usage.used, usage.half_open), (0, 0));
    for n in 0..flows {
        assert_eq!(table.lookup(&key(n)), None);
        assert_eq!(table.lookup(&key(n).reversed()), None);
    }
    for n in 0..table.capacity() as u32 {
        let result = insert(table, &key(n), n, Class::Udp, Ticks(0));
        assert!(matches!(result, Insert::Inserted(_)), "{result:?}");
    }
    assert_eq!(table.table_usage().refused, usage.refused);
}

#[test]
fn workers_inserting_the_same_flow_get_one_pair() {
    const ROUNDS: u32 = 3000;
    let table = shared_table((ROUNDS + 100 * WORKERS) as usize);
    let barrier = Barrier::new(WORKERS as usize);
    let results: Vec<Vec<Insert>> = std::thread::scope(|scope| {
        let race = |worker: u32| {
            let (table, barrier) = (&table, &barrier);
            scope.spawn(move || {
                let race = |n: u32| {
                    // Half of them meet the flow in the other direction.
                    let key = if worker.is_multiple_of(2) {
                        key(n)
                    } else {
                        key(n).reversed()
                    };
                    if n.is_multiple_of(8) {
                        barrier.wait();
                    }
                    let own = table.worker(worker as usize);
                    insert_by(own, &key, n, Class::Udp, Ticks(0))
                };
                (0..ROUNDS).map(race).collect()
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(race).collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    for n in 0..ROUNDS {
        let pair = table.lookup(&key(n)).unwrap();
        let mut winners = 0;
        for (worker, results) in (0..).zip(&results) {
            let hit = match results[n as usize] {
                Insert::Inserted(hit) => {
                    winners += 1;
                    hit
                }
                Insert::Exists(hit) => hit,
                other => panic!("worker {worker} was told {other:?}"),
            };
            assert!(hit.id == pair.id || hit.id == pair.id.partner());
            assert_eq!(hit.version(), pair.version());
        }
        assert_eq!(winners, 1, "flow {n}");
    }
    let usage = table.table_usage();
    assert_eq!((usage.used, usage.refused), (ROUNDS, 0));
}

#[test]
fn two_flows_never_share_a_translation() {
    // Flows from different insides want the same outside key.
    let table = shared_table(1000);
    let outside = |n: u32| ipv4(1_000_000 + n);
    for_a_while(|worker, round| {
        let own = table.worker(worker as usize);
        let dice = random(worker, round);
        let (inside, n) = (key(dice >> 8 & 7), dice >> 16 & 3);
        let actions = [action(n, 0), action(worker, round)];
        let result = own.insert_pair(&new_flow(&inside, &outside(n), &actions));
        let Insert::Inserted(hit) = result else {
            assert!(!matches!(result, Insert::Refused(_)), "{result:?}");
            return;
        };
        // Ours until we remove it, so no other may be found under either key.
        let found = table.lookup(&outside(n)).unwrap();
        assert_eq!(identity(&found), (hit.id.partner(), hit.version()));
        assert_eq!(found.action(), actions[1]);
        let found = table.lookup(&inside).unwrap();
        assert_eq!(identity(&found), identity(&hit));
        assert!(own.remove(hit.id, hit.version()));
    });
    assert_eq!(table.len(), 0);
}

/// Runs `write` over and over in one thread and `read` in another.
fn write_and_read(write: impl Fn(u32) + Sync, read: impl Fn() + Sync) {
    let end = Instant::now() + duration();
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                write(round);
                if round % 1024 == 0 && Instant::now() > end {
                    return busy.store(false, Relaxed);
                }
            }
        });
        while busy.load(Relaxed) {
            read();
        }
    });
}

#[test]
fn a_reader_never_sees_half_an_update() {
    for n in 0..2 {
        let table = table(1);
        insert(&table, &key(n), n, Class::Udp, Ticks(0));
        let hit = table.lookup(&key(n)).unwrap();
        let write = |epoch| {
            let [forward, reverse] = actions(n, epoch);
            let renewed = table.worker(0).update_pair(&hit, &forward, &reverse);
            expect_intact(&renewed.expect("it stays"), n, true);
        };
        write_and_read(write, || {
            let hit = table.lookup(&key(n)).expect("it stays");
            expect_intact(&hit, n, true);
            let hit = table.lookup(&key(n).reversed()).expect("it stays");
            expect_intact(&hit, n, false);
        });
    }
}

#[test]
fn a_reader_never_mixes_two_flows() {
    // One pair, used in turn by both families.
    let table = table(1);
    let write = |round| {
        let n = round & 3;
        let Insert::Inserted(hit) = insert(&table, &key(n), n, Class::Udp, Ticks(0)) else {
            panic!("there is room")
        };
        assert!(remove(&table, &hit));
    };
    write_and_read(write, || {
        for n in 0..4 {
            for (key, forward) in [(key(n), true), (key(n).reversed(), false)] {
                let Some(hit) = table.lookup(&key) else {
                    continue;
                };
                assert_eq!(hit.id.is_forward(), forward);
                expect_intact(&hit, n, forward);
                let partner = table.partner_key(&hit);
                assert!(partner.is_none_or(|partner| partner == key.reversed()));
            }
        }
    });
    assert_eq!(table.len(), 0);
}

#[test]
fn ageing_and_listing_run_beside_everything() {
    const FLOWS: u32 = 200;
    let table = shared_table(128);
    let [inserted, expired, removed] = [const { AtomicUsize::new(0) }; 3];
    let clock = AtomicUsize::new(0);
    for_a_while(|worker, round| {
        let own = table.worker(worker as usize);
        let now = Ticks(clock.fetch_add(1, Relaxed) as u32);
        let n = random(worker, round) % FLOWS;
        if worker == 0 {
            // The whole table; the hand has nothing to remember.
            let mut cursor = AgeCursor::default();
            let gone = own.age(&mut cursor, 128, now, |flow| {
                let idle = now.since(flow.last_seen);
                assert!(idle >= Timeouts::default().timeout_ms(flow.class));
                assert_eq!(flow.reverse, flow.forward.reversed());
            });
            expired.fetch_add(gone, Relaxed);
            table.walk(&mut WalkCursor::default(), 128, |flow| {
                assert_eq!(flow.reverse, flow.forward.reversed());
                assert_eq!((flow.vif, flow.vrf), (VIF, VRF));
            });
            clock.fetch_add(1000, Relaxed);
        } else if let Some(hit) = table.lookup(&key(n)) {
            table.touch(&hit, 1, 1, now);
            set_class(own, &hit, any_class(round));
            if round.is_multiple_of(64) && own.remove(hit.id, hit.version()) {
                removed.fetch_add(1, Relaxed);
            }
        } else if let Insert::Inserted(_) = insert_by(own, &key(n), n, Class::Dropped, now) {
            inserted.fetch_add(1, Relaxed);
        }
    });
    let gone = expired.load(Relaxed) + removed.load(Relaxed);
    let gone = gone + table.table_usage().evicted as usize;
    assert_eq!(table.len(), inserted.load(Relaxed) - gone);
    assert!(expired.load(Relaxed) > 0);
    // With time enough every flow goes: none was put off for another's sake.
    let end = Ticks(clock.load(Relaxed) as u32).after(7_440_000 + 7_440_000 / 32 + 1);
    let worker = table.worker(0);
    worker.age(&mut AgeCursor::default(), usize::MAX, end, |_| ());
    assert_eq!(table.len(), 0);
}

#[test]
fn a_direction_with_one_worker_is_counted_exactly() {
    let table = shared_table(2);
    insert(&table, &key(0), 0, Class::Udp, Ticks(0));
    let hits = [key(0), key(0).reversed()].map(|key| table.lookup(&key).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for hit in &hits {
            let table = &table;
            scope.spawn(move || (0..100_000).for_each(|_| table.touch(hit, 1, 60, Ticks(1))));
        }
        scope.spawn(|| {
            // Deciding again must not disturb the counters.
            for epoch in 0..10_000 {
                let [forward, reverse] = actions(0, epoch);
                let renewed = table.worker(1).update_pair(&hits[0], &forward, &reverse);
                assert!(renewed.is_some());
            }
            done.store(true, Relaxed);
        });
    });
    assert!(done.load(Relaxed));
    let flow = table.flow(hits[0].id, hits[0].version()).unwrap();
    for counters in [flow.forward_counters, flow.reverse_counters] {
        assert_eq!((counters.packets, counters.bytes), (100_000, 6_000_000));
    }
}
