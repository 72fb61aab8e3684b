//! One worker: what comes back, what is refused, what a stale hit can do.

mod common;

use std::sync::{Arc, Mutex};

use common::*;
use flowtable::*;

#[test]
fn both_directions_are_found_with_their_own_action() {
    let table = table(4);
    for (key, stored) in [(ipv4(1), action as fn(_, _) -> _), (ipv6(1), action_ipv6)] {
        let Insert::Inserted(new) = insert(&table, &key, 7, Class::Udp, Ticks(0)) else {
            panic!("refused")
        };
        let forward = table.lookup(&key).unwrap();
        let reverse = table.lookup(&key.reversed()).unwrap();
        assert_eq!(forward, new);
        assert!(forward.id.is_forward());
        assert_eq!(reverse.id, forward.id.partner());
        assert_eq!(reverse.version(), forward.version());
        assert_eq!(forward.action(), stored(7, 0));
        assert_eq!(reverse.action(), stored(8, 0));
        assert_eq!(forward.class(), Class::Udp);
        assert_eq!(table.partner_key(&forward), Some(key.reversed()));
        assert_eq!(table.partner_key(&reverse), Some(key));
    }
    assert_eq!(table.len(), 2);
}

#[test]
fn families_may_differ_between_directions() {
    let table = table(4);
    let (inside, outside) = (ipv6(1), ipv4(1));
    let actions = actions(1, 0);
    let flow = new_flow(&inside, &outside, &actions);
    let there = table.worker(0).insert_pair(&flow);
    assert!(matches!(there, Insert::Inserted(_)));
    let hit = table.lookup(&inside).unwrap();
    assert_eq!(hit.action().rewrite.src, Translation::Partner);
    assert_eq!(table.partner_key(&hit), Some(outside));
    assert_eq!(table.lookup(&outside).unwrap().action(), action(2, 0));
}

#[test]
fn every_part_of_the_key_counts() {
    let table = table(4);
    let zone = Zone::default();
    let (a, b) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    let key = Key::ipv4(zone, 6, a, b, 1, 2);
    insert(&table, &key, 0, Class::Udp, Ticks(0));
    for other in [
        Key::ipv4(zone, 17, a, b, 1, 2),
        Key::ipv4(Zone::new(1).unwrap(), 6, a, b, 1, 2),
        Key::ipv4(zone, 6, a, b, 2, 2),
        Key::ipv4(zone, 6, a, b, 1, 1),
        Key::ipv4(zone, 6, b, b, 1, 2),
        Key::ipv4(zone, 6, a, a, 1, 2),
    ] {
        assert_eq!(table.lookup(&other), None, "{other:?}");
    }
}

#[test]
fn the_same_flow_exists_from_either_side() {
    let table = table(4);
    let key = ipv4(1);
    insert(&table, &key, 1, Class::Udp, Ticks(0));
    let forward = table.lookup(&key).unwrap();
    let reverse = table.lookup(&key.reversed()).unwrap();
    let again = insert(&table, &key, 5, Class::Udp, Ticks(0));
    assert_eq!(again, Insert::Exists(forward));
    let mirrored = insert(&table, &key.reversed(), 5, Class::Udp, Ticks(0));
    assert_eq!(mirrored, Insert::Exists(reverse));
    assert_eq!(table.len(), 1);
}

#[test]
fn a_translation_in_use_is_reported() {
    let table = table(4);
    let (outside, actions) = (ipv4(9).reversed(), actions(1, 0));
    let insert_to = |key: &Key| {
        let flow = new_flow(key, &outside, &actions);
        table.worker(0).insert_pair(&flow)
    };
    assert!(matches!(insert_to(&ipv4(1)), Insert::Inserted(_)));
    let taken = table.lookup(&outside).unwrap();
    assert_eq!(insert_to(&ipv4(2)), Insert::ReverseTaken(taken));
    assert_eq!(table.lookup(&ipv4(2)), None);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_flow_to_itself_is_one_flow() {
    let table = table(1);
    let here = [10, 0, 0, 1].into();
    let key = Key::ipv4(Zone::default(), 17, here, here, 9, 9);
    for _ in 0..3 {
        insert(&table, &key, 1, Class::Udp, Ticks(0));
        let hit = table.lookup(&key).unwrap();
        assert!(hit.id.is_forward());
        assert!(remove(&table, &hit));
        assert_eq!(table.lookup(&key), None);
    }
}

#[test]
fn a_batch_finds_what_single_lookups_find() {
    // Small or not, with all that this processor has or not.
    for pairs in [2_000, 50_000] {
        for baseline in [false, true] {
            let table = FlowTable::new(&Config {
                pairs,
                baseline,
                ..Config::default()
            });
            check_batches(&table);
        }
    }
}

fn check_batches(table: &FlowTable) {
    for n in 0..1000 {
        insert(table, &ipv4(2 * n), n, Class::Udp, Ticks(0));
        insert(table, &ipv6(2 * n), n, Class::Udp, Ticks(0));
    }
    let all = |pick: fn(u32) -> Key| (0..2000).map(pick);
    let of_one_family = all(ipv4)
        .chain(all(ipv6))
        .chain(all(|n| ipv4(n).reversed()));
    let mixed = (0..2000).flat_map(|n| [ipv4(n), ipv6(n), ipv4(n).reversed()]);
    check_batch(table, &of_one_family.collect::<Vec<_>>());
    check_batch(table, &mixed.collect::<Vec<_>>());
}

fn check_batch(table: &FlowTable, keys: &[Key]) {
    let mut hashes = vec![0; keys.len()];
    let mut out = vec![None; keys.len()];
    table.lookup_batch(keys, &mut hashes, &mut out);
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(hashes[i], table.hash(key));
        assert_eq!(out[i], table.lookup(key), "{key:?}");
    }
    assert_eq!(out.iter().flatten().count(), 3000);
}

#[test]
fn a_removed_flow_is_gone_and_its_hits_do_nothing() {
    let table = table(1);
    let key = ipv4(1);
    insert(&table, &key, 1, Class::Udp, Ticks(0));
    let old = table.lookup(&key.reversed()).unwrap();
    assert!(remove(&table, &old));
    assert!(!remove(&table, &old));
    assert_eq!(table.lookup(&key), None);
    assert_eq!(table.lookup(&key.reversed()), None);
    assert_eq!((table.len(), table.table_usage().high_water), (0, 1));

    // The only entry there is now has the same flow anew.
    insert(&table, &key, 3, Class::Established, Ticks(9));
    table.touch(&old, 5, 500, Ticks(10));
    let worker = table.worker(0);
    assert!(!set_class(worker, &old, Class::Dropped));
    let renewed = worker.update_pair(&old, &action(9, 9), &action(9, 9));
    assert_eq!(renewed, None);
    assert!(!remove(&table, &old));
    assert_eq!(table.partner_key(&old), None);
    assert_eq!(table.flow(old.id, old.version()), None);
    let new = table.lookup(&key).unwrap();
    assert_eq!(new.action(), action(3, 0));
    let flow = table.flow(new.id, new.version()).unwrap();
    assert_eq!(flow.reverse_counters, Counters::default());
    assert_eq!(flow.class, Class::Established);
    assert_eq!(flow.last_seen, Ticks(9));
}

#[test]
fn an_update_keeps_everything_but_the_actions() {
    let table = table(2);
    for (key, stored) in [(ipv4(1), action as fn(_, _) -> _), (ipv6(1), action_ipv6)] {
        insert(&table, &key, 1, Class::Udp, Ticks(3));
        let hit = table.lookup(&key.reversed()).unwrap();
        table.touch(&hit, 2, 128, Ticks(4));
        for epoch in 1..4 {
            let [forward, reverse] = actions(1, epoch);
            let renewed = table.worker(0).update_pair(&hit, &forward, &reverse);
            assert_eq!(renewed.unwrap().action(), stored(2, epoch));
            assert_eq!(table.lookup(&key).unwrap().action(), stored(1, epoch));
            let reverse = table.lookup(&key.reversed()).unwrap();
            assert_eq!(reverse.action(), stored(2, epoch));
            assert_eq!((reverse.id, reverse.version()), (hit.id, hit.version()));
        }
        let flow = table.flow(hit.id, hit.version()).unwrap();
        assert_eq!((flow.forward, flow.reverse), (key, key.reversed()));
        assert_eq!((flow.start, flow.last_seen), (Ticks(3), Ticks(4)));
        let counted = Counters {
            packets: 2,
            bytes: 128,
        };
        assert_eq!(flow.reverse_counters, counted);
        assert_eq!((flow.vif, flow.vrf), (VIF, VRF));
    }
}

#[test]
fn a_class_belongs_to_both_directions() {
    let table = table(1);
    let key = ipv4(1);
    insert(&table, &key, 1, Class::SynSent, Ticks(0));
    let reply = table.lookup(&key.reversed()).unwrap();
    assert!(set_class(table.worker(0), &reply, Class::Established));
    for key in [key, key.reversed()] {
        assert_eq!(table.lookup(&key).unwrap().class(), Class::Established);
    }
}

#[test]
fn a_class_is_set_from_the_one_that_was_seen() {
    let table = table(1);
    let worker = table.worker(0);
    insert(&table, &ipv4(1), 1, Class::Established, Ticks(0));
    // Both see the connection established, and each a FIN.
    let seen = [ipv4(1), ipv4(1).reversed()].map(|key| table.lookup(&key).unwrap());
    let [forward, reverse] = seen;
    assert_eq!(worker.set_class(&forward, Class::FinForward), SetClass::Set);
    let SetClass::Overtaken(now) = worker.set_class(&reverse, Class::FinReverse) else {
        panic!("it has been established no more for a while");
    };
    assert_eq!((now.id, now.action()), (reverse.id, reverse.action()));
    assert_eq!(now.class(), Class::FinForward);
    assert_eq!(worker.set_class(&now, Class::Closed), SetClass::Set);
    assert_eq!(
        worker.set_class(&forward, Class::Closed),
        SetClass::Set,
        "it is"
    );
    assert!(remove(&table, &now));
    assert_eq!(worker.set_class(&now, Class::Closed), SetClass::Gone);
}

#[test]
fn a_walk_sees_every_flow_once() {
    let table = table(1000);
    for n in 0..700 {
        insert(&table, &ipv4(n), n, Class::Udp, Ticks(n));
    }
    for n in (0..700).step_by(7) {
        let hit = table.lookup(&ipv4(n)).unwrap();
        assert!(remove(&table, &hit));
    }
    let mut cursor = WalkCursor::default();
    let mut seen = Vec::new();
    while !cursor.is_done() {
        let before = seen.len();
        table.walk(&mut cursor, 33, |flow| {
            assert_eq!(flow.forward, ipv4(flow.start.0));
            assert_eq!(flow.reverse_action, action(flow.start.0 + 1, 0));
            seen.push(flow.start.0);
        });
        assert!(seen.len() - before <= 33);
    }
    seen.sort_unstable();
    let expected: Vec<_> = (0..700).filter(|n| n % 7 != 0).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_walk_of_an_empty_table_ends() {
    let mut cursor = WalkCursor::default();
    table(1).walk(&mut cursor, 1, |_| panic!("no flows"));
    assert!(cursor.is_done());
}

#[test]
fn of_flows_removed_together_those_still_there_are_counted() {
    let table = table(100);
    let flows: Vec<_> = (0..60)
        .map(
            |n| match insert(&table, &ipv4(n), n, Class::Udp, Ticks(0)) {
                Insert::Inserted(hit) => (hit.id, hit.version()),
                other => panic!("{other:?}"),
            },
        )
        .collect();
    let worker = table.worker(0);
    assert!(worker.remove(flows[7].0, flows[7].1));
    assert_eq!(worker.remove_all(&flows[..50]), 49);
    assert_eq!(table.len(), 10);
    assert_eq!(worker.remove_all(&flows), 10);
    assert_eq!((table.len(), worker.remove_all(&[])), (0, 0));
    // All their places can be used again.
    for n in 0..100 {
        let again = insert(&table, &ipv4(n), n, Class::Udp, Ticks(1));
        assert!(matches!(again, Insert::Inserted(_)), "{again:?}");
    }
}

/// What a table said of the flows that ended.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(u16, Ending, u64)>>>);

impl Endings for Heard {
    fn ended(&self, _worker: usize, flow: &FlowView, ending: Ending) {
        let port = flow.forward.src_port();
        let heard = (port, ending, flow.forward_counters.packets);
        self.0.lock().expect("nobody panicked").push(heard);
    }
}

#[test]
fn every_end_is_told_once_with_its_reason_and_the_last_counters() {
    let heard = Heard::default();
    let config = Config {
        pairs: 4,
        half_open_percent: 100,
        ..Config::default()
    };
    let table = FlowTable::new(&config).with_endings(Box::new(heard.clone()));
    let insert = |port: u16, class, vif, now| {
        let key = Key::ipv4(
            Zone::default(),
            17,
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            port,
            53,
        );
        let inserted = table.worker(0).insert_pair(&NewFlow {
            forward: &key,
            forward_action: &action(1, 1),
            reverse: &key.reversed(),
            reverse_action: &action(2, 1),
            class,
            vif,
            vrf: 0,
            note: [port.into(), 2, 3, 4],
            now: Ticks(now),
        });
        match inserted {
            Insert::Inserted(hit) => hit,
            other => panic!("{port}: {other:?}"),
        }
    };
    let first = insert(1, Class::Udp, 1, 0);
    assert_eq!(table.note(first.id, first.version()), Some([1, 2, 3, 4]));
    table.touch(&first, 3, 180, Ticks(1));
    assert!(table.worker(0).remove(first.id, first.version()));
    assert!(!table.worker(0).remove(first.id, first.version()));
    assert_eq!(table.note(first.id, first.version()), None);

    insert(2, Class::Udp, 1, 0);
    let mut cursor = AgeCursor::default();
    let gone = table
        .worker(0)
        .age(&mut cursor, usize::MAX, Ticks(60_000), |_| {});
    assert_eq!(gone, 1);

    for port in 3..=6 {
        insert(port, Class::SynSent, 1, 60_000);
    }
    insert(7, Class::Udp, 2, 60_000);
    let heard = heard.0.lock().expect("nobody panicked").clone();
    assert_eq!(heard[..2], [(1, Ending::Removed, 3), (2, Ending::Idle, 0)]);
    assert_eq!(heard.len(), 3);
    assert_eq!(heard[2].1, Ending::Evicted);
}

#[test]
fn a_twin_hashes_alike_and_is_empty() {
    let table = table(4);
    let key = ipv4(1);
    insert(&table, &key, 7, Class::Udp, Ticks(0));
    let twin = table.twin(2);
    assert_eq!(twin.hash(&key), table.hash(&key));
    assert_eq!((twin.len(), twin.lookup(&key)), (0, None));
    insert(&twin, &key, 9, Class::Udp, Ticks(0));
    assert_eq!((table.len(), twin.len()), (1, 1));
}
