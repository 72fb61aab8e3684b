//! Full tables, hostile keys, and what it all costs in memory.

mod common;

use common::*;
use flowtable::*;

#[test]
fn a_table_takes_its_capacity_and_not_one_more() {
    for (pairs, seed) in [
        (1u32, 1),
        (2, 2),
        (9, 3),
        (1000, 4),
        (50_000, 5),
        (300_000, 6),
    ] {
        let table = seeded(pairs as usize, [seed, 0, 0, 0]);
        for n in 0..pairs {
            let key = if n.is_multiple_of(2) {
                ipv4(n)
            } else {
                ipv6(n)
            };
            let result = insert(&table, &key, n, Class::Udp, Ticks(0));
            assert!(matches!(result, Insert::Inserted(_)), "{n} of {pairs}");
        }
        assert_eq!((table.len(), table.refused()), (pairs as usize, 0));
        let result = insert(&table, &ipv4(pairs), 0, Class::Udp, Ticks(0));
        assert_eq!(result, Insert::Full);
        assert_eq!((table.len(), table.refused()), (pairs as usize, 1));
        for n in 0..pairs {
            let key = if n.is_multiple_of(2) {
                ipv4(n)
            } else {
                ipv6(n)
            };
            assert!(table.lookup(&key).is_some() && table.lookup(&key.reversed()).is_some());
        }
    }
}

#[test]
fn a_full_table_still_knows_its_flows_and_recovers() {
    let table = table(100);
    for n in 0..100 {
        insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
    }
    let there = table.lookup(&ipv4(3)).unwrap();
    let again = insert(&table, &ipv4(3), 0, Class::Udp, Ticks(0));
    assert_eq!(again, Insert::Exists(there));
    assert_eq!(table.refused(), 0);
    // Everything is replaced, several times over.
    for n in 100..1000 {
        let old = table.lookup(&ipv4(n - 100)).unwrap();
        assert_eq!(
            insert(&table, &ipv4(n), n, Class::Udp, Ticks(0)),
            Insert::Full
        );
        assert!(table.remove(old.id, old.version));
        let result = insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
        assert!(matches!(result, Insert::Inserted(_)));
    }
    assert_eq!((table.len(), table.high_water()), (100, 100));
    assert_eq!(table.refused(), 900);
}

#[test]
fn keys_that_collide_under_one_seed_spread_under_another() {
    // Whoever knows the seed finds keys for one place of the index.
    let (known, other) = (seeded(6000, [1, 2, 3, 4]), seeded(6000, [4, 3, 2, 1]));
    let place = |table: &FlowTable, key: &Key| table.hash(key) >> 52;
    let keys: Vec<_> = (0..)
        .map(ipv4)
        .filter(|key| place(&known, key) == 7)
        .take(500)
        .collect();

    let inserted = |table: &FlowTable| {
        let new = |key: &&Key| {
            let result = insert(table, key, 0, Class::Udp, Ticks(0));
            matches!(result, Insert::Inserted(_))
        };
        keys.iter().filter(new).count()
    };
    assert!(inserted(&known) < 100);
    assert_eq!(inserted(&other), keys.len());

    let mut share = [0; 16];
    for key in &keys {
        share[(other.hash(key) >> 60) as usize] += 1;
    }
    // 31 expected; 5.5 standard deviation.
    assert!(share.iter().all(|n| (4..60).contains(n)), "{share:?}");
}

#[test]
fn hashes_use_all_their_bits() {
    let table = table(1);
    let mut ones = [0; 64];
    for n in 0..4096 {
        let hash = table.hash(&ipv4(n)) ^ table.hash(&ipv4(n).reversed()).rotate_left(1);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += hash >> bit & 1;
        }
    }
    // 2048 expected; 32 standard deviation.
    assert!(ones.iter().all(|n| (1848..2248).contains(n)), "{ones:?}");
}

#[test]
fn a_direction_costs_at_most_160_bytes() {
    let pairs = 1 << 20;
    let per_direction = table(pairs).memory_bytes() as f64 / (2 * pairs) as f64;
    assert!(per_direction <= 160.0, "{per_direction}");
}

#[test]
#[should_panic(expected = "holds 1 to 2^30 flows")]
fn a_table_without_room_is_refused() {
    table(0);
}
