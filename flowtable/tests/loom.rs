//! The interleavings of small cases, on the code that ships.
//!
//! Needs `RUSTFLAGS="--cfg loom"`, which puts the model checker's atomics in the
//! place of the real ones; without it there is nothing here. The checker also
//! returns, for a relaxed load, every value that the memory model allows, not
//! only the latest one.
//!
//! `LOOM_MAX_PREEMPTIONS` bounds how often a thread is interrupted (2 unless
//! set): more finds more and takes longer. `LOOM_MAX_DURATION` ends a model that
//! is not at its end after so many seconds; two workers inserting take minutes.
#![cfg(loom)]

use flowtable::*;
use loom::sync::Arc;
use loom::thread;
use std::net::Ipv4Addr;

fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.max_branches = 100_000;
    builder.check(test);
}

/// A table small enough to check: one bucket, one block, two shards.
fn table(pairs: usize) -> Arc<FlowTable> {
    Arc::new(FlowTable::new(&Config {
        pairs,
        seed: [1, 2, 3, 4],
        workers: 2,
        vifs: 1,
        vrfs: 1,
        half_open_percent: 100,
        ..Config::default()
    }))
}

fn key(n: u8) -> Key {
    let src = Ipv4Addr::new(10, 0, 0, n);
    Key::ipv4(Zone::default(), 17, src, [192, 0, 2, 1].into(), 1000, 53)
}

/// Every field says which flow, which direction, and which decision it is of.
fn action(n: u8, epoch: u32) -> Action {
    let mark = u32::from(n) << 16 | epoch;
    Action {
        verdict: Verdict::Forward,
        nexthop: mark,
        epoch,
        ingress: mark,
        rewrite: Rewrite {
            src: Translation::To(Ipv4Addr::from_bits(mark), n.into()),
            dst: Translation::Keep,
        },
        group_choice: epoch as u16,
    }
}

fn insert_between(
    table: &FlowTable,
    worker: usize,
    forward: Key,
    reverse: Key,
    n: u8,
    class: Class,
) -> Insert {
    table.worker(worker).insert_pair(&NewFlow {
        forward: &forward,
        forward_action: &action(n, 0),
        reverse: &reverse,
        reverse_action: &action(n + 100, 0),
        class,
        vif: 0,
        vrf: 0,
        now: Ticks(1),
    })
}

fn insert(table: &FlowTable, worker: usize, n: u8) -> Insert {
    insert_between(table, worker, key(n), key(n).reversed(), n, Class::Udp)
}

fn inserted(insert: Insert) -> Hit {
    match insert {
        Insert::Inserted(hit) => hit,
        other => panic!("{other:?}"),
    }
}

/// Looks up a direction of flow `n`: if it is there, it is whole, and so is
/// its partner unless the flow is being removed.
fn look(table: &FlowTable, n: u8, forward: bool) -> Option<Hit> {
    let (mine, other) = (key(n), key(n).reversed());
    let (mine, other) = if forward {
        (mine, other)
    } else {
        (other, mine)
    };
    let hit = table.lookup(&mine)?;
    let mark = |forward| if forward { n } else { n + 100 };
    assert_eq!(hit.action(), action(mark(forward), hit.epoch()));
    assert_eq!(hit.id.is_forward(), forward);
    if let Some(partner) = table.lookup(&other) {
        let expected = action(mark(!forward), partner.epoch());
        assert_eq!(partner.action(), expected);
    } else {
        let flow = table.flow(hit.id, hit.version());
        assert_eq!(flow, None, "a live flow without its partner");
    }
    Some(hit)
}

#[test]
fn of_two_workers_inserting_a_flow_one_does() {
    model(|| {
        let table = table(2);
        let other = thread::spawn({
            let table = table.clone();
            move || insert(&table, 1, 1)
        });
        let results = [insert(&table, 0, 1), other.join().unwrap()];
        let hits = results.map(|result| match result {
            Insert::Inserted(hit) | Insert::Exists(hit) => hit,
            other => panic!("{other:?}"),
        });
        let won = results.map(|result| matches!(result, Insert::Inserted(_)));
        assert!(won[0] != won[1], "{results:?}");
        assert_eq!(hits[0], hits[1]);
        assert_eq!(look(&table, 1, true), Some(hits[0]));
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn of_two_workers_inserting_both_directions_one_does() {
    model(|| {
        let table = table(2);
        let other = thread::spawn({
            let table = table.clone();
            move || insert_between(&table, 1, key(1).reversed(), key(1), 1, Class::Udp)
        });
        let mine = insert(&table, 0, 1);
        let theirs = other.join().unwrap();
        let won = [mine, theirs].map(|result| matches!(result, Insert::Inserted(_)));
        assert!(won[0] != won[1], "{mine:?} {theirs:?}");
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn of_two_flows_with_one_translation_one_is_inserted() {
    model(|| {
        let table = table(2);
        let other = thread::spawn({
            let table = table.clone();
            move || insert_between(&table, 1, key(2), key(3), 2, Class::Udp)
        });
        let mine = insert_between(&table, 0, key(1), key(3), 1, Class::Udp);
        let theirs = other.join().unwrap();
        let won = [mine, theirs].map(|result| matches!(result, Insert::Inserted(_)));
        let lost = [mine, theirs].map(|result| matches!(result, Insert::ReverseTaken(_)));
        assert!(
            won == [lost[1], lost[0]] && won[0] != won[1],
            "{mine:?} {theirs:?}"
        );
        assert_eq!(table.len(), 1);
    });
}

#[test]
fn a_lookup_beside_an_insertion_finds_both_directions_or_none() {
    for forward in [true, false] {
        model(move || {
            let table = table(1);
            let writer = thread::spawn({
                let table = table.clone();
                move || inserted(insert(&table, 1, 1))
            });
            look(&table, 1, forward);
            writer.join().unwrap();
            assert!(look(&table, 1, forward).is_some());
        });
    }
}

#[test]
fn a_lookup_beside_removal_and_reuse_finds_whole_flows() {
    for forward in [true, false] {
        model(move || {
            let table = table(1);
            let old = inserted(insert(&table, 0, 1));
            let writer = thread::spawn({
                let table = table.clone();
                move || {
                    assert!(table.worker(1).remove(old.id, old.version()));
                    inserted(insert(&table, 1, 2));
                }
            });
            let found = look(&table, 1, forward);
            assert!(found.is_none_or(|hit| hit.version() == old.version()));
            look(&table, 2, forward);
            writer.join().unwrap();
            assert!(look(&table, 1, forward).is_none());
            assert!(look(&table, 2, forward).is_some());
        });
    }
}

#[test]
fn what_is_done_with_an_old_hit_does_nothing_to_the_next_flow() {
    model(|| {
        let table = table(1);
        let old = inserted(insert(&table, 0, 1));
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                let worker = table.worker(1);
                // Whether this succeeds, another may do it first.
                worker.remove(old.id, old.version());
                insert(&table, 1, 2)
            }
        });
        table.touch(&old, 5, 500, Ticks(9));
        let _ = table.worker(0).set_class(&old, Class::Established);
        let gone = table.worker(0).remove(old.id, old.version());
        let new = writer.join().unwrap();
        if let Insert::Inserted(new) = new {
            let flow = table.flow(new.id, new.version()).expect("it is new");
            assert_eq!(flow.forward_counters, Counters::default());
            assert_eq!(flow.class, Class::Udp);
            assert_eq!(table.len(), 1);
        } else {
            // The one place was still being cleared away.
            assert!(gone && matches!(new, Insert::Refused(_)), "{new:?}");
            assert_eq!(table.len(), 0);
        }
    });
}

#[test]
fn of_two_workers_removing_a_flow_one_does() {
    model(|| {
        let table = table(1);
        let hit = inserted(insert(&table, 0, 1));
        let other = thread::spawn({
            let table = table.clone();
            move || table.worker(1).remove(hit.id, hit.version())
        });
        let mine = table.worker(0).remove(hit.id, hit.version());
        assert!(mine != other.join().unwrap());
        assert_eq!(table.len(), 0);
        inserted(insert(&table, 0, 2));
    });
}

#[test]
fn a_lookup_beside_an_update_finds_one_decision() {
    model(|| {
        let table = table(1);
        let hit = inserted(insert(&table, 0, 1));
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                let (forward, reverse) = (action(1, 1), action(101, 1));
                table.worker(1).update_pair(&hit, &forward, &reverse)
            }
        });
        let found = [key(1), key(1).reversed()].map(|key| table.lookup(&key));
        for (hit, mark) in found.into_iter().zip([1, 101]) {
            let hit = hit.expect("it stays");
            assert_eq!(hit.action(), action(mark, hit.epoch()));
        }
        assert!(writer.join().unwrap().is_some());
        assert_eq!(look(&table, 1, true).map(|hit| hit.epoch()), Some(1));
    });
}

#[test]
fn of_two_workers_ending_a_connection_one_is_told_of_the_other() {
    model(|| {
        let table = table(1);
        let open = insert_between(&table, 0, key(1), key(1).reversed(), 1, Class::Established);
        let hit = inserted(open);
        // Each sees a FIN; it is closed after both.
        let end = |table: &FlowTable, worker, hit: &Hit, fin| match table
            .worker(worker)
            .set_class(hit, fin)
        {
            SetClass::Overtaken(now) => {
                let closed = table.worker(worker).set_class(&now, Class::Closed);
                assert_eq!(closed, SetClass::Set);
                true
            }
            other => {
                assert_eq!(other, SetClass::Set);
                false
            }
        };
        let other = thread::spawn({
            let table = table.clone();
            move || end(&table, 1, &hit, Class::FinReverse)
        });
        let closed = [
            end(&table, 0, &hit, Class::FinForward),
            other.join().unwrap(),
        ];
        assert!(closed[0] != closed[1]);
        for key in [key(1), key(1).reversed()] {
            assert_eq!(
                table.lookup(&key).map(|hit| hit.class()),
                Some(Class::Closed)
            );
        }
    });
}

#[test]
fn an_update_beside_a_removal_leaves_nothing_behind() {
    model(|| {
        let table = table(1);
        let hit = inserted(insert(&table, 0, 1));
        let writer = thread::spawn({
            let table = table.clone();
            move || {
                let worker = table.worker(1);
                worker.update_pair(&hit, &action(1, 1), &action(101, 1));
            }
        });
        assert!(table.worker(0).remove(hit.id, hit.version()));
        writer.join().unwrap();
        assert_eq!((look(&table, 1, true), table.len()), (None, 0));
        inserted(insert(&table, 0, 2));
    });
}

#[test]
fn an_eviction_takes_a_half_open_flow_or_none() {
    model(|| {
        let table = table(1);
        let half = insert_between(&table, 0, key(1), key(1).reversed(), 1, Class::SynSent);
        let half = inserted(half);
        let other = thread::spawn({
            let table = table.clone();
            // The table is full: this evicts the half-open flow, unless it has
            // become established before.
            move || insert(&table, 1, 2)
        });
        let established = table.worker(0).set_class(&half, Class::Established) == SetClass::Set;
        let found = look(&table, 1, true);
        let new = other.join().unwrap();
        let stays = look(&table, 1, true).is_some();
        match new {
            Insert::Inserted(_) => assert!(!stays && look(&table, 2, false).is_some()),
            Insert::Refused(limit) => {
                assert!(stays && established, "{limit:?}");
                assert!(found.is_some());
            }
            other => panic!("{other:?}"),
        }
        let usage = table.table_usage();
        assert_eq!((usage.used, usage.half_open), (1, 0));
        assert_eq!(usage.evicted, u64::from(!stays));
    });
}

#[test]
fn a_lookup_beside_an_eviction_finds_whole_flows() {
    for forward in [true, false] {
        model(move || {
            let table = table(1);
            inserted(insert_between(
                &table,
                0,
                key(1),
                key(1).reversed(),
                1,
                Class::SynSent,
            ));
            let other = thread::spawn({
                let table = table.clone();
                move || inserted(insert(&table, 1, 2))
            });
            look(&table, 1, forward);
            look(&table, 2, forward);
            other.join().unwrap();
            assert!(look(&table, 1, forward).is_none());
            assert!(look(&table, 2, forward).is_some());
        });
    }
}

#[test]
fn ageing_takes_no_flow_that_was_seen_and_forgets_none() {
    model(|| {
        let table = table(1);
        let flow = insert_between(&table, 0, key(1), key(1).reversed(), 1, Class::UdpReplied);
        let hit = inserted(flow);
        let other = thread::spawn({
            let table = table.clone();
            move || {
                // A shorter timeout from now on: it must not be overlooked.
                let _ = table.worker(1).set_class(&hit, Class::Dropped);
            }
        });
        let mut cursor = AgeCursor::default();
        let early = table.worker(0).age(&mut cursor, 1, Ticks(9_000), |_| ());
        assert_eq!(early, 0);
        table.worker(0).age(&mut cursor, 1, Ticks(310_000), |_| ());
        other.join().unwrap();
        table.worker(0).age(&mut cursor, 1, Ticks(310_000), |_| ());
        assert_eq!((table.len(), look(&table, 1, true)), (0, None));
    });
}

#[test]
fn the_last_credit_and_the_last_pair_are_found_wherever_they_are() {
    model(|| {
        let table = table(2);
        let first = inserted(insert(&table, 0, 1));
        let other = thread::spawn({
            let table = table.clone();
            move || inserted(insert(&table, 1, 2))
        });
        assert!(table.worker(0).remove(first.id, first.version()));
        inserted(insert(&table, 0, 3));
        other.join().unwrap();
        assert_eq!(table.len(), 2);
    });
}

#[test]
fn pairs_that_age_together_come_back_to_whoever_inserts() {
    model(|| {
        let table = table(2);
        for n in [1, 2] {
            inserted(insert(&table, 0, n));
        }
        let other = thread::spawn({
            let table = table.clone();
            move || {
                let mut cursor = AgeCursor::default();
                table.worker(1).age(&mut cursor, 2, Ticks(40_000), |_| ())
            }
        });
        let early = insert(&table, 0, 3);
        assert_eq!(other.join().unwrap(), 2);
        if !matches!(early, Insert::Inserted(_)) {
            assert!(matches!(early, Insert::Refused(_)), "{early:?}");
            inserted(insert(&table, 0, 3));
        }
        inserted(insert(&table, 1, 4));
        assert_eq!(table.len(), 2);
        for n in [3, 4] {
            assert!(look(&table, n, true).is_some() && look(&table, n, false).is_some());
        }
    });
}

#[test]
fn a_note_of_a_class_leaves_a_free_pair_in_its_stack() {
    model(|| {
        let table = table(2);
        let half = insert_between(&table, 0, key(1), key(1).reversed(), 1, Class::SynSent);
        let half = inserted(half);
        let second = inserted(insert(&table, 0, 2));
        assert!(table.worker(0).remove(second.id, second.version()));
        let other = thread::spawn({
            let table = table.clone();
            move || {
                let _ = table.worker(1).set_class(&half, Class::Established);
            }
        });
        assert!(table.worker(0).remove(half.id, half.version()));
        for n in [3, 4] {
            inserted(insert(&table, 0, n));
        }
        other.join().unwrap();
        let usage = table.table_usage();
        assert_eq!((usage.used, usage.half_open), (2, 0));
    });
}
