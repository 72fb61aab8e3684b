//! The clock hand: when flows expire, and when they do not.

mod common;

use common::*;
use flowtable::*;

/// Sweeps the whole table and returns the forward keys of what expired.
fn sweep(table: &FlowTable, now: Ticks) -> Vec<Key> {
    let mut gone = Vec::new();
    let mut cursor = AgeCursor::default();
    let removed = table.age(&mut cursor, usize::MAX, now, |flow| gone.push(flow.forward));
    assert_eq!(removed, gone.len());
    gone
}

#[test]
fn each_class_expires_at_its_timeout_to_the_millisecond() {
    // The clock wraps within most of these lifetimes.
    for start in [
        Ticks(0),
        Ticks(1),
        Ticks(u32::MAX - 5000),
        Ticks(i32::MAX as u32),
    ] {
        for class in Class::ALL {
            let table = table(10);
            let timeout_ms = Timeouts::default().timeout_ms(class);
            insert(&table, &ipv4(1), 1, class, start);
            assert!(sweep(&table, start).is_empty());
            assert!(sweep(&table, start.after(timeout_ms - 1)).is_empty());
            // A due time of 0 cannot be told from none and is 1 ms late.
            let expiry = start.after(timeout_ms);
            let late = u32::from(expiry == Ticks(0));
            assert_eq!(sweep(&table, expiry.after(late)), [ipv4(1)], "{class:?}");
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
    assert_eq!(sweep(&table, Ticks(75_000)), [ipv4(1)]);
}

#[test]
fn a_shorter_class_takes_effect_from_the_last_packet() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Established, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    table.touch(&hit, 1, 64, Ticks(1_000_000));
    assert!(sweep(&table, Ticks(1_000_000)).is_empty());
    table.set_class(&hit, Class::Closing);
    assert!(sweep(&table, Ticks(1_239_999)).is_empty());
    assert_eq!(sweep(&table, Ticks(1_240_000)), [ipv4(1)]);
}

#[test]
fn a_longer_class_takes_effect_too() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::HalfOpen, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    table.set_class(&hit, Class::Established);
    assert!(sweep(&table, Ticks(7_439_999)).is_empty());
    assert_eq!(sweep(&table, Ticks(7_440_000)), [ipv4(1)]);
}

#[test]
fn a_packet_from_the_future_does_not_expire_a_flow() {
    let table = table(10);
    insert(&table, &ipv4(1), 1, Class::Dropped, Ticks(0));
    let hit = table.lookup(&ipv4(1)).unwrap();
    table.touch(&hit, 1, 64, Ticks(10_007));
    assert!(sweep(&table, Ticks(10_003)).is_empty());
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
    table.age(&mut AgeCursor::default(), 10, Ticks(60_000), |flow| {
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
    assert_eq!((flow.owner, flow.class), (OWNER, Class::Udp));
}

#[test]
fn a_slice_removes_no_more_than_its_budget_and_slices_cover_all() {
    let table = table(1000);
    for n in 0..1000 {
        insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
    }
    let mut cursor = AgeCursor::default();
    let mut removed = 0;
    for _ in 0..10 {
        let slice = table.age(&mut cursor, 100, Ticks(30_000), |_| ());
        assert_eq!(slice, 100);
        removed += slice;
    }
    assert_eq!((removed, table.len()), (1000, 0));
}

#[test]
fn workers_share_the_table_without_overlap() {
    for workers in [1, 2, 3, 7, 40] {
        let table = table(1000);
        for n in 0..1000 {
            insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
        }
        let mut removed = 0;
        for worker in 0..workers {
            let mut cursor = AgeCursor::new(worker, workers);
            let own = table.age(&mut cursor, usize::MAX, Ticks(30_000), |_| ());
            assert!(own <= (1000 / 64 / workers + 1) * 64);
            removed += own;
        }
        assert_eq!(removed, 1000, "{workers} workers");
    }
}

#[test]
fn configured_timeouts_count() {
    let timeouts = Timeouts::default().with(Class::Udp, 5);
    let table = FlowTable::new(&Config {
        pairs: 1,
        seed: [0; 4],
        timeouts,
    });
    insert(&table, &ipv4(1), 1, Class::Udp, Ticks(100));
    assert!(sweep(&table, Ticks(104)).is_empty());
    assert_eq!(sweep(&table, Ticks(105)), [ipv4(1)]);
}
