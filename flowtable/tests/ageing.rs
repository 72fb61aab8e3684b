//! The clock hand: when flows expire, and when they do not.

mod common;

use common::*;
use flowtable::*;

/// Sweeps the whole table and returns the forward keys of what expired.
fn sweep(table: &FlowTable, now: Ticks) -> Vec<Key> {
    let mut gone = Vec::new();
    let mut cursor = AgeCursor::default();
    let removed = table
        .worker(0)
        .age(&mut cursor, usize::MAX, now, |flow| gone.push(flow.forward));
    assert_eq!(removed, gone.len());
    gone
}

/// When a flow idle since `seen` is gone at the latest.
fn latest(seen: Ticks, timeout_ms: u32) -> Ticks {
    seen.after(timeout_ms + timeout_ms / 32)
}

#[test]
fn each_class_expires_within_a_thirty_second_after_its_timeout() {
    // The clock wraps within most of these lifetimes.
    for start in [
        Ticks(0),
        Ticks(1),
        Ticks(u32::MAX - 5000),
        Ticks(i32::MAX as u32),
        Ticks(0).after(Timeouts::default().timeout_ms(Class::Udp).wrapping_neg()),
    ] {
        for class in Class::ALL {
            let table = table(10);
            let timeout_ms = Timeouts::default().timeout_ms(class);
            insert(&table, &ipv4(1), 1, class, start);
            assert!(sweep(&table, start).is_empty());
            assert!(sweep(&table, start.after(timeout_ms - 1)).is_empty());
            let gone = sweep(&table, latest(start, timeout_ms));
            assert_eq!(gone, [ipv4(1)], "{class:?}");
            assert_eq!(table.len(), 0);
            assert_eq!(table.lookup(&ipv4(1)), None);
        }
    }
}

#[test]
fn either_direction_keeps_the_pair() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Udp, Ticks(0));
    for (key, now) in [(ipv4(1), 20_000), (ipv4(1).reversed(), 45_000)] {
        let hit = table.lookup(&key).unwrap();
        table.touch(&hit, 1, 64, Ticks(now));
        assert!(sweep(&table, Ticks(now + 29_999)).is_empty());
    }
    let gone = sweep(&table, latest(Ticks(45_000), 30_000));
    assert_eq!(gone, [ipv4(1)]);
}

/// RFC 4787 REQ-12: ICMP errors are counted, and keep nothing alive.
#[test]
fn a_packet_that_is_only_counted_keeps_nothing() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Udp, Ticks(7));
    let hit = table.lookup(&ipv4(1)).unwrap();
    table.count(&hit, 2, 128);
    let flow = table.flow(hit.id, hit.version()).unwrap();
    let counted = flow.forward_counters;
    assert_eq!((counted.packets, counted.bytes), (2, 128));
    assert_eq!(flow.last_seen, Ticks(7));
    assert_eq!(sweep(&table, latest(Ticks(7), 30_000)), [ipv4(1)]);
    table.count(&hit, 1, 1);
}

#[test]
fn a_shorter_class_takes_effect_from_the_last_packet() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Established, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    table.touch(&hit, 1, 64, Ticks(1_000_000));
    assert!(sweep(&table, Ticks(1_000_000)).is_empty());
    assert!(set_class(table.worker(0), &hit, Class::Closed));
    assert!(sweep(&table, Ticks(1_239_999)).is_empty());
    let gone = sweep(&table, latest(Ticks(1_000_000), 240_000));
    assert_eq!(gone, [ipv4(1)]);
}

#[test]
fn a_longer_class_takes_effect_too() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::SynSent, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    assert!(set_class(table.worker(0), &hit, Class::Established));
    assert!(sweep(&table, Ticks(7_439_999)).is_empty());
    assert_eq!(sweep(&table, latest(Ticks(0), 7_440_000)), [ipv4(1)]);
}

#[test]
fn a_packet_from_the_future_does_not_expire_a_flow() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Dropped, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    // One worker's clock is ahead of the other's, which finds the pair due.
    let seen = latest(Ticks(0), 10_000).after(4);
    table.touch(&hit, 1, 64, seen);
    assert!(sweep(&table, seen.after(4_u32.wrapping_neg())).is_empty());
    assert!(sweep(&table, seen.after(9_999)).is_empty());
    assert_eq!(sweep(&table, latest(seen, 10_000)), [ipv4(1)]);
}

#[test]
fn the_expired_flow_is_told_with_its_counters() {
    let table = table(10);
    insert(&table, &ipv6(1), 1, Class::Udp, Ticks(5));
    let forward = table.lookup(&ipv6(1)).unwrap();
    let reverse = table.lookup(&ipv6(1).reversed()).unwrap();
    table.touch(&forward, 3, 300, Ticks(6));
    table.touch(&forward, 1, u32::MAX, Ticks(7));
    table.touch(&reverse, 2, 100, Ticks(8));
    let mut told = None;
    table
        .worker(0)
        .age(&mut AgeCursor::default(), 10, Ticks(60_000), |flow| {
            told = Some(*flow);
        });
    let flow = told.unwrap();
    assert_eq!((flow.forward, flow.reverse), (ipv6(1), ipv6(1).reversed()));
    assert_eq!(flow.forward_counters.packets, 4);
    assert_eq!(flow.forward_counters.bytes, 300 + u64::from(u32::MAX));
    assert_eq!(
        (flow.reverse_counters.packets, flow.reverse_counters.bytes),
        (2, 100)
    );
    assert_eq!((flow.start, flow.last_seen), (Ticks(5), Ticks(8)));
    assert_eq!((flow.vif, flow.vrf, flow.class), (VIF, VRF, Class::Udp));
}

#[test]
fn a_slice_removes_no_more_than_its_budget_and_slices_cover_all() {
    let table = table(1000);
    for n in 0..1000 {
        insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
    }
    let end = latest(Ticks(0), 30_000);
    let mut cursor = AgeCursor::default();
    // Budgets are rounded up to whole blocks.
    let slices = [100, 128, 1, 64, 65, 128, 128, 128, 128, 64, 64];
    let removed = slices.map(|budget| table.worker(0).age(&mut cursor, budget, end, |_| ()));
    assert_eq!(removed, [128, 128, 64, 64, 128, 128, 128, 128, 104, 0, 0]);
    assert_eq!(table.len(), 0);
}

#[test]
fn workers_share_the_table_without_overlap() {
    const FLOWS: usize = 20_000;
    // What a worker ages comes in pieces of so many pairs.
    const PIECE: usize = 1024;
    for workers in [1, 2, 3, 7, 40] {
        let table = table(FLOWS);
        for n in 0..FLOWS as u32 {
            insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
        }
        let mut removed = 0;
        for worker in 0..workers {
            let mut cursor = AgeCursor::new(worker, workers);
            let own =
                table
                    .worker(0)
                    .age(&mut cursor, usize::MAX, latest(Ticks(0), 30_000), |_| ());
            assert!(own <= (FLOWS / PIECE / workers + 1) * PIECE);
            removed += own;
        }
        assert_eq!(removed, FLOWS, "{workers} workers");
    }
}

#[test]
fn configured_timeouts_count() {
    let timeouts = Timeouts::default().with(Class::Udp, 5);
    let table = FlowTable::new(&Config {
        pairs: 1,
        timeouts,
        ..Config::default()
    });
    insert(&table, &ipv4(1), 1, Class::Udp, Ticks(100));
    assert!(sweep(&table, Ticks(104)).is_empty());
    assert_eq!(sweep(&table, Ticks(105)), [ipv4(1)]);
}

#[test]
fn a_flood_that_comes_due_at_once_goes_a_few_at_a_time() {
    let table = table(10_000);
    for n in 0..10_000 {
        insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
    }
    let mut cursor = AgeCursor::default();
    cursor.at_most(64);
    let (mut owed, mut removed, mut calls) = (10_000, 0, 0);
    while owed > 0 {
        let gone = table
            .worker(0)
            .age(&mut cursor, owed, Ticks(31_000), |_| ());
        assert!(gone <= 128, "{gone} at once");
        assert!(cursor.left() < owed, "no progress");
        (owed, removed, calls) = (cursor.left(), removed + gone, calls + 1);
    }
    assert_eq!((removed, table.len()), (10_000, 0));
    assert!(calls > 50);
    // What is not due is passed in one call.
    let new = insert(&table, &ipv4(1), 1, Class::Udp, Ticks(31_000));
    assert!(matches!(new, Insert::Inserted(_)));
    table
        .worker(0)
        .age(&mut cursor, 10_000, Ticks(31_000), |_| ());
    assert_eq!((cursor.left(), table.len()), (0, 1));
}
