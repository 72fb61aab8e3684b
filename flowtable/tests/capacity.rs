//! Full tables, hostile keys, and what it all costs in memory.

mod common;

use common::*;
use flowtable::*;

/// Both families by turns.
fn key(n: u32) -> Key {
    if n.is_multiple_of(2) {
        ipv4(n)
    } else {
        ipv6(n)
    }
}

fn expect_inserted(table: &FlowTable, n: u32) {
    let result = insert(table, &key(n), n, Class::Udp, Ticks(0));
    assert!(
        matches!(result, Insert::Inserted(_)),
        "{n} of {}: {result:?}",
        table.capacity()
    );
}

fn expect_found(table: &FlowTable, n: u32) {
    assert!(table.lookup(&key(n)).is_some() && table.lookup(&key(n).reversed()).is_some());
}

#[test]
fn a_table_takes_its_capacity_and_not_one_more() {
    let sizes = [1_u32, 2, 9, 63, 64, 65, 1000, 7777, 50_000, 300_000];
    // The smaller a table, the more seeds it is tried with.
    let seeds = |pairs: u32| 1..=(100_000 / u64::from(pairs)).clamp(1, 100);
    for pairs in sizes {
        for seed in seeds(pairs) {
            let table = seeded(pairs as usize, [seed, 0, seed, 1]);
            (0..pairs).for_each(|n| expect_inserted(&table, n));
            let expected = |refused| Usage {
                used: pairs,
                limit: Some(pairs),
                half_open: 0,
                high_water: pairs,
                refused,
                evicted: 0,
            };
            assert_eq!(table.table_usage(), expected(0));
            let result = insert(&table, &ipv4(pairs), 0, Class::Udp, Ticks(0));
            assert_eq!(result, Insert::Refused(Limit::Table));
            assert_eq!(table.table_usage(), expected(1));
            (0..pairs).for_each(|n| expect_found(&table, n));
        }
    }
}

#[test]
fn a_table_nine_tenths_full_takes_new_flows_for_old_ones_for_ever() {
    for (pairs, seed) in [(1000, 1), (1000, 2), (40_000, 3)] {
        let table = seeded(pairs as usize, [seed, 5, 6, 7]);
        let load = pairs / 10 * 9;
        (0..load).for_each(|n| expect_inserted(&table, n));
        for n in load..8 * pairs {
            // The flow that has been there longest goes.
            let old = table.lookup(&key(n - load)).unwrap();
            assert!(remove(&table, &old));
            expect_inserted(&table, n);
        }
        (7 * pairs + pairs / 10..8 * pairs).for_each(|n| expect_found(&table, n));
        let usage = table.table_usage();
        assert_eq!((usage.used, usage.high_water), (load, load));
        assert_eq!((usage.refused, usage.evicted), (0, 0));
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
    assert_eq!(table.table_usage().refused, 0);
    // Everything is replaced, several times over.
    for n in 100..1000 {
        let old = table.lookup(&ipv4(n - 100)).unwrap();
        assert_eq!(
            insert(&table, &ipv4(n), n, Class::Udp, Ticks(0)),
            Insert::Refused(Limit::Table)
        );
        assert!(remove(&table, &old));
        let result = insert(&table, &ipv4(n), n, Class::Udp, Ticks(0));
        assert!(matches!(result, Insert::Inserted(_)));
    }
    let usage = table.table_usage();
    assert_eq!((usage.used, usage.high_water), (100, 100));
    assert_eq!((usage.refused, usage.evicted), (900, 0));
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
    // Two buckets have such hashes; their keys may be in sixteen more.
    assert!(inserted(&known) <= 18 * 12);
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
    for (pairs, workers) in [(1 << 17, 1), (1 << 20, 8), (10_000_000, 64), (1 << 24, 1)] {
        let config = Config {
            pairs,
            workers,
            ..Config::default()
        };
        let per_direction = FlowTable::memory_needed(&config) as f64 / (2 * pairs) as f64;
        assert!(per_direction <= 160.0, "{per_direction} of {config:?}");
    }
}

/// Memory that begins at an odd address.
struct Own(Box<[u8]>);

impl Memory for Own {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.0[1..]
    }
}

fn with_memory(config: &Config, bytes: usize) -> FlowTable {
    FlowTable::with_memory(config, Box::new(Own(vec![0; bytes + 1].into())))
}

#[test]
fn a_table_lives_in_just_the_memory_it_asked_for() {
    for pairs in [1, 2, 65, 1000] {
        let config = Config {
            pairs,
            ..Config::default()
        };
        let needed = FlowTable::memory_needed(&config);
        let table = with_memory(&config, needed);
        assert_eq!(table.memory_bytes(), needed);
        (0..pairs as u32).for_each(|n| expect_inserted(&table, n));
        (0..pairs as u32).for_each(|n| expect_found(&table, n));
    }
}

#[test]
#[should_panic(expected = "a flow table of")]
fn too_little_memory_is_refused() {
    let config = Config::default();
    with_memory(&config, FlowTable::memory_needed(&config) - 1);
}

#[test]
#[should_panic(expected = "holds 1 to 2^30 flows")]
fn a_table_without_room_is_refused() {
    table(0);
}
