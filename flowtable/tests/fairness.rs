//! Whose flows go and whose come when there is not room for all: whatever one
//! owner sends, the others keep what they have and get what is theirs.

mod common;

use common::*;
use flowtable::*;
use proptest::prelude::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const PAIRS: u32 = 10_000;

/// What an owner can flood a table with.
const FLOODS: [Class; 4] = [
    Class::SynSent,
    Class::Udp,
    Class::Established,
    Class::Dropped,
];

/// A vif that opens flows.
#[derive(Clone, Copy)]
struct Tenant {
    vif: u32,
    vrf: u32,
}

impl Tenant {
    /// Its `n`th flow's key.
    fn key(self, n: u32) -> Key {
        ipv4(self.vif * 100_000 + n)
    }

    fn open(self, table: &FlowTable, n: u32, class: Class, now: Ticks) -> Insert {
        let (key, actions) = (self.key(n), actions(n, 0));
        table.worker(0).insert_pair(&NewFlow {
            class,
            vif: self.vif,
            vrf: self.vrf,
            note: [0; 4],
            now,
            ..new_flow(&key, &key.reversed(), &actions)
        })
    }

    /// Opens as TCP does, in three steps.
    fn shake_hands(self, table: &FlowTable, n: u32, now: Ticks) -> Result<(), Limit> {
        let hit = match self.open(table, n, Class::SynSent, now) {
            Insert::Inserted(hit) => hit,
            Insert::Refused(limit) => return Err(limit),
            other => panic!("{other:?}"),
        };
        assert!(set_class(table.worker(0), &hit, Class::SynReceived));
        assert!(set_class(table.worker(0), &hit, Class::Established));
        Ok(())
    }

    fn has(self, table: &FlowTable, n: u32) -> bool {
        table.lookup(&self.key(n)).is_some()
    }

    fn usage(self, table: &FlowTable) -> Usage {
        table.usage(Owner::Vif(self.vif))
    }
}

/// A flood without end, two hundred flows to a millisecond.
struct Flood {
    from: Tenant,
    class: Class,
    sent: u32,
}

impl Flood {
    fn send(&mut self, table: &FlowTable, flows: u32) {
        for _ in 0..flows {
            self.sent += 1;
            // Nothing times out meanwhile.
            let now = Ticks(self.sent / 200);
            self.from.open(table, self.sent % 90_000, self.class, now);
        }
    }

    fn now(&self) -> Ticks {
        Ticks(self.sent / 200)
    }
}

/// A table with quotas for the vifs 1 and 2.
fn table_with(quotas: [Option<u32>; 2]) -> FlowTable {
    let table = table(PAIRS as usize);
    for (vif, quota) in (1..).zip(quotas) {
        table.set_quota(Owner::Vif(vif), quota);
    }
    table
}

/// Floods a table from vif 1 while vif 2, of `vrf`, opens `share` flows, and
/// sees that none of these is refused or lost.
fn expect_room_beside_a_flood(table: &FlowTable, class: Class, vrf: u32, share: u32) {
    let from = Tenant { vif: 1, vrf: 1 };
    let other = Tenant { vif: 2, vrf };
    let mut flood = Flood {
        from,
        class,
        sent: 0,
    };
    const BEFORE: u32 = 500;
    for n in 0..BEFORE {
        assert_eq!(other.shake_hands(table, n, Ticks(0)), Ok(()));
    }
    flood.send(table, 2 * PAIRS);
    for n in BEFORE..share {
        flood.send(table, 2);
        let admitted = other.shake_hands(table, n, flood.now());
        assert_eq!(admitted, Ok(()), "flow {n} beside {class:?}");
    }
    flood.send(table, PAIRS);
    let usage = other.usage(table);
    assert_eq!((usage.used, usage.high_water), (share, share));
    assert_eq!((usage.refused, usage.evicted), (0, 0));
    assert!((0..share).all(|n| other.has(table, n)), "{class:?}");
    // The flood really was one, and had what was left.
    let flooded = from.usage(table);
    assert!(flooded.refused + flooded.evicted > u64::from(PAIRS));
    if !class.is_half_open() {
        let left = flooded.limit.unwrap_or(PAIRS).min(PAIRS - share);
        assert_eq!(flooded.used, left);
    }
}

#[test]
fn a_flood_leaves_an_owner_its_flows_and_its_quota() {
    for quotas in [
        [Some(6000), Some(3000)],
        [Some(7000), Some(3000)],
        [None, Some(3000)],
    ] {
        for class in FLOODS {
            for vrf in [1, 2] {
                expect_room_beside_a_flood(&table_with(quotas), class, vrf, 3000);
            }
        }
    }
}

#[test]
fn owners_without_quotas_have_equal_parts() {
    for class in FLOODS {
        for vrf in [1, 2] {
            expect_room_beside_a_flood(&table_with([None, None]), class, vrf, PAIRS / 2);
        }
    }
}

#[test]
fn quotas_for_more_than_the_table_count_in_proportion() {
    for class in FLOODS {
        for vrf in [1, 2] {
            let table = table_with([Some(3 * PAIRS / 2), Some(PAIRS / 2)]);
            expect_room_beside_a_flood(&table, class, vrf, PAIRS / 4);
        }
    }
}

#[test]
fn a_vrf_with_a_quota_keeps_its_room_as_a_whole() {
    for class in FLOODS {
        let table = table_with([None, None]);
        table.set_quota(Owner::Vrf(2), Some(4000));
        expect_room_beside_a_flood(&table, class, 2, 4000);
        let usage = table.usage(Owner::Vrf(2));
        assert_eq!((usage.used, usage.limit), (4000, Some(4000)));
        let third = Tenant { vif: 3, vrf: 2 };
        let refused = third.open(&table, 0, Class::Udp, Ticks(0));
        assert_eq!(refused, Insert::Refused(Limit::Vrf));
    }
}

#[test]
fn a_newcomer_finds_room_in_a_table_that_one_owner_has_filled() {
    for class in [Class::Udp, Class::Established] {
        for vrf in [1, 2] {
            let table = table_with([None, None]);
            let from = Tenant { vif: 1, vrf: 1 };
            let mut flood = Flood {
                from,
                class,
                sent: 0,
            };
            flood.send(&table, 2 * PAIRS);
            assert_eq!(from.usage(&table).used, PAIRS);
            let newcomer = Tenant { vif: 2, vrf };
            for n in 0..PAIRS / 2 {
                let opened = newcomer.open(&table, n, Class::Udp, flood.now());
                assert!(matches!(opened, Insert::Inserted(_)), "{n}: {opened:?}");
            }
            // Now they are even.
            let more = newcomer.open(&table, PAIRS, Class::Udp, flood.now());
            assert_eq!(more, Insert::Refused(Limit::Table));
        }
    }
}

#[test]
fn an_owner_beyond_its_quota_costs_no_other_a_flow() {
    let table = table_with([None, Some(100)]);
    let (hog, other) = (Tenant { vif: 1, vrf: 1 }, Tenant { vif: 2, vrf: 2 });
    for n in 0..100 {
        other.open(&table, n, Class::Udp, Ticks(0));
    }
    for n in 0..PAIRS - 100 {
        hog.open(&table, n, Class::Udp, Ticks(0));
    }
    for n in 100..1000 {
        let refused = other.open(&table, n, Class::Udp, Ticks(n));
        assert_eq!(refused, Insert::Refused(Limit::Vif));
    }
    assert_eq!(table.table_usage().evicted, 0);
    assert_eq!(table.table_usage().used, PAIRS);
}

#[test]
fn an_owner_gets_its_last_flow_in_a_large_table_too() {
    // The shares differ by less than one flow in 65536.
    const MANY: u32 = 200_000;
    let table = table(MANY as usize);
    table.set_quota(Owner::Vif(2), Some(50));
    let (hog, other) = (Tenant { vif: 1, vrf: 1 }, Tenant { vif: 2, vrf: 1 });
    for n in 0..MANY {
        let key = ipv4(1 << 24 | n);
        let (reverse, actions) = (key.reversed(), actions(n, 0));
        table.worker(0).insert_pair(&NewFlow {
            vif: hog.vif,
            vrf: hog.vrf,
            ..new_flow(&key, &reverse, &actions)
        });
    }
    assert_eq!(table.len(), MANY as usize);
    for n in 0..50 {
        let opened = other.open(&table, n, Class::Udp, Ticks(0));
        assert!(matches!(opened, Insert::Inserted(_)), "{n}: {opened:?}");
    }
}

#[test]
fn half_open_flows_have_their_share_and_go_first() {
    let table = table_with([Some(4000), None]);
    let from = Tenant { vif: 1, vrf: 1 };
    let mut flood = Flood {
        from,
        class: Class::SynSent,
        sent: 0,
    };
    for n in 50_000..51_000 {
        assert_eq!(from.shake_hands(&table, n, Ticks(0)), Ok(()));
    }
    flood.send(&table, 20_000);
    let usage = from.usage(&table);
    assert_eq!((usage.used, usage.half_open), (2000, 1000));
    assert_eq!(usage.refused, 0, "the newest are there");
    let second = Tenant { vif: 2, vrf: 2 };
    Flood {
        from: second,
        ..flood
    }
    .send(&table, 20_000);
    let usage = table.table_usage();
    assert_eq!((usage.used, usage.half_open), (3500, 2500));
    // Its own flood takes nothing from its established flows either, nor does
    // it hinder more of them.
    for n in 51_000..53_000 {
        let opened = from.open(&table, n, Class::Established, flood.now());
        assert!(matches!(opened, Insert::Inserted(_)));
    }
    assert!((50_000..53_000).all(|n| from.has(&table, n)));
    let usage = from.usage(&table);
    assert_eq!((usage.used, usage.half_open), (4000, 1000));
    // At its quota, its half-open flows give way; the fewer there are, the more
    // often none is among those looked at.
    let opened: Vec<_> = (53_000..53_900)
        .filter(|n| {
            let opened = from.open(&table, *n, Class::Established, flood.now());
            matches!(opened, Insert::Inserted(_))
        })
        .collect();
    let given_way = opened.len() as u32;
    assert!(given_way > 850, "{given_way} of 900");
    let usage = from.usage(&table);
    assert_eq!((usage.used, usage.half_open), (4000, 1000 - given_way));
    assert!((50_000..53_000).chain(opened).all(|n| from.has(&table, n)));
}

#[test]
fn a_flood_is_found_wherever_its_flows_lie() {
    // Half of the table was filled before the flood came, and there is room.
    let table = table(4 * PAIRS as usize);
    let (other, from) = (Tenant { vif: 2, vrf: 2 }, Tenant { vif: 1, vrf: 1 });
    for n in 0..2 * PAIRS {
        other.open(&table, n, Class::Established, Ticks(0));
    }
    let mut flood = Flood {
        from,
        class: Class::SynSent,
        sent: 0,
    };
    flood.send(&table, 2 * PAIRS);
    assert_eq!(from.usage(&table).half_open, PAIRS);
    for n in 2 * PAIRS..3 * PAIRS {
        flood.send(&table, 1);
        let admitted = other.shake_hands(&table, n, flood.now());
        assert_eq!(admitted, Ok(()), "flow {n}");
    }
    assert_eq!(from.usage(&table).refused, 0);
    assert!((0..3 * PAIRS).all(|n| other.has(&table, n)));
}

#[test]
fn without_half_open_flows_a_quota_is_a_wall() {
    let table = table_with([Some(400), None]);
    let tenant = Tenant { vif: 1, vrf: 1 };
    for n in 0..400 {
        let opened = tenant.open(&table, n, Class::Established, Ticks(0));
        assert!(matches!(opened, Insert::Inserted(_)));
    }
    for class in Class::ALL {
        let refused = tenant.open(&table, 400, class, Ticks(0));
        assert_eq!(refused, Insert::Refused(Limit::Vif));
    }
}

#[test]
fn no_flow_becomes_half_open_beyond_the_share() {
    let table = table(100);
    let hits: Vec<_> = (0..50)
        .map(
            |n| match insert(&table, &ipv4(n), n, Class::Udp, Ticks(0)) {
                Insert::Inserted(hit) => hit,
                other => panic!("{other:?}"),
            },
        )
        .collect();
    let worker = table.worker(0);
    let dropped = hits
        .iter()
        .filter(|hit| set_class(worker, hit, Class::Dropped));
    assert_eq!(dropped.count(), 25);
    assert_eq!(table.table_usage().half_open, 25);
    assert!(set_class(worker, &hits[0], Class::SynSent), "it is already");
    assert!(set_class(worker, &hits[0], Class::Established));
    assert!(set_class(worker, &hits[40], Class::Dropped));
}

#[test]
fn a_quota_may_change_at_any_time() {
    let table = table_with([Some(100), None]);
    let tenant = Tenant { vif: 1, vrf: 1 };
    let open = |n| tenant.open(&table, n, Class::Udp, Ticks(0));
    let inserted = |n| matches!(open(n), Insert::Inserted(_));
    assert!((0..100).all(inserted));
    assert_eq!(open(100), Insert::Refused(Limit::Vif));
    table.set_quota(Owner::Vif(1), Some(150));
    assert!((100..150).all(inserted));
    assert_eq!(open(150), Insert::Refused(Limit::Vif));
    // What is beyond a lower one stays, and nothing comes until it is gone.
    table.set_quota(Owner::Vif(1), Some(60));
    let usage = tenant.usage(&table);
    assert_eq!((usage.used, usage.limit), (150, Some(60)));
    for n in 0..91 {
        assert_eq!(open(150 + n), Insert::Refused(Limit::Vif));
        assert!(tenant.has(&table, n));
        assert!(remove(&table, &table.lookup(&tenant.key(n)).unwrap()));
    }
    assert!(inserted(150));
    assert_eq!(open(151), Insert::Refused(Limit::Vif));
    table.set_quota(Owner::Vif(1), Some(0));
    assert_eq!(open(152), Insert::Refused(Limit::Vif));
    table.set_quota(Owner::Vif(1), None);
    assert!((152..PAIRS + 92).all(inserted));
    assert_eq!(open(PAIRS + 92), Insert::Refused(Limit::Table));
    let usage = tenant.usage(&table);
    assert_eq!((usage.used, usage.limit), (PAIRS, None));
    assert_eq!(usage.high_water, PAIRS);
}

#[test]
fn room_is_made_in_the_last_millisecond_of_the_clock() {
    let table = table_with([None, None]);
    let (first, second) = (Tenant { vif: 1, vrf: 1 }, Tenant { vif: 2, vrf: 2 });
    for now in [Ticks(u32::MAX), Ticks(0), Ticks(u32::MAX)] {
        for n in 0..PAIRS {
            first.open(&table, n, Class::Udp, now);
        }
        let opened = second.open(&table, now.0 & 1, Class::Udp, now);
        assert!(matches!(opened, Insert::Inserted(_) | Insert::Exists(_)));
    }
}

/// Flows of some owners in a table that is too small for them.
#[derive(Clone, Debug)]
struct Mix {
    /// Of the vifs 0 to 3 and the vrfs 0 to 2.
    quotas: Vec<(Owner, u32)>,
    /// Vif, vrf, class.
    flows: Vec<(u32, u32, Class)>,
}

fn mix() -> impl Strategy<Value = Mix> {
    let owner = prop_oneof![
        (0..4_u32).prop_map(Owner::Vif),
        (0..3_u32).prop_map(Owner::Vrf)
    ];
    // Quotas of one kind are no more than the table together.
    let quotas = prop::collection::vec((owner, 1..=50_u32), 0..4);
    let class = prop::sample::select(Class::ALL.as_slice());
    // Some send much more than others.
    let vif = prop::sample::select(vec![0, 1, 2, 2, 3, 3, 3, 3, 3, 3]);
    let flows = prop::collection::vec((vif, 0..3_u32, class), 200..600);
    (quotas, flows).prop_map(|(quotas, flows)| Mix { quotas, flows })
}

/// What is known of a flow in the table.
struct Held {
    hit: Hit,
    owners: [Owner; 2],
}

proptest! {
    #[test]
    fn no_owner_within_its_quota_loses_an_established_flow(mix in mix()) {
        const PAIRS: usize = 200;
        let table = table(PAIRS);
        for (owner, quota) in &mix.quotas {
            table.set_quota(*owner, Some(*quota));
        }
        let mut flows: Vec<Held> = Vec::new();
        let mut evicted = 0;
        for (n, (vif, vrf, class)) in (0..).zip(&mix.flows) {
            let owners = [Owner::Vif(*vif), Owner::Vrf(*vrf)];
            let before = |owner| table.usage(owner);
            let within: HashSet<_> = (0..4).map(Owner::Vif).chain((0..3).map(Owner::Vrf))
                .filter(|owner| {
                    let usage = before(*owner);
                    usage.limit.is_some_and(|limit| usage.used <= limit)
                })
                .collect();
            let tenant = Tenant { vif: *vif, vrf: *vrf };
            let outcome = tenant.open(&table, n, *class, Ticks(n));
            let now = table.table_usage().evicted;
            prop_assert!(now - evicted <= 1, "one goes for one");
            prop_assert!(now == evicted || matches!(outcome, Insert::Inserted(_)));
            if now > evicted {
                evicted = now;
                let is_gone = |held: &Held| table.flow(held.hit.id, held.hit.version()).is_none();
                let gone = flows.iter().position(is_gone).expect("one is gone");
                let gone = flows.swap_remove(gone);
                let quota_kept = gone.owners.iter().any(|owner| within.contains(owner));
                prop_assert!(gone.hit.class().is_half_open() || !quota_kept);
            }
            if let Insert::Inserted(hit) = outcome {
                flows.push(Held { hit, owners });
            }
        }
        prop_assert_eq!(table.len(), flows.len());
    }
}

#[test]
fn usage_is_readable_while_workers_run() {
    const WORKERS: u32 = 2;
    const STEADY: u32 = 1000;
    const SWING: u32 = 200;
    let table = FlowTable::new(&Config {
        pairs: PAIRS as usize,
        workers: WORKERS as usize,
        ..Config::default()
    });
    let quota = STEADY + WORKERS * SWING;
    table.set_quota(Owner::Vif(1), Some(quota));
    let tenant = Tenant { vif: 1, vrf: 1 };
    for n in 0..STEADY {
        tenant.open(&table, n, Class::Udp, Ticks(0));
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (table, done) = (&table, &done);
            scope.spawn(move || {
                let worker_of_table = table.worker(worker as usize);
                for _ in 0..100 {
                    let first = STEADY + worker * SWING;
                    for n in first..first + SWING {
                        let (key, actions) = (tenant.key(n), actions(n, 0));
                        let inserted = worker_of_table.insert_pair(&NewFlow {
                            vif: 1,
                            vrf: 1,
                            ..new_flow(&key, &key.reversed(), &actions)
                        });
                        assert!(matches!(inserted, Insert::Inserted(_)), "{inserted:?}");
                    }
                    for n in first..first + SWING {
                        let hit = table.lookup(&tenant.key(n)).unwrap();
                        assert!(worker_of_table.remove(hit.id, hit.version()));
                    }
                }
                done.store(true, Relaxed);
            });
        }
        // What lies in the workers' cells and moves meanwhile.
        let slack = WORKERS * 100;
        let mut readings = 0;
        while !done.load(Relaxed) {
            for usage in [
                tenant.usage(&table),
                table.usage(Owner::Vrf(1)),
                table.table_usage(),
            ] {
                assert!(usage.used >= STEADY - slack, "{usage:?}");
                assert!(usage.used <= quota + slack, "{usage:?}");
                assert!(usage.high_water >= STEADY, "{usage:?}");
                assert_eq!((usage.half_open, usage.refused, usage.evicted), (0, 0, 0));
            }
            let usage = tenant.usage(&table);
            assert!(
                usage.used <= quota && usage.high_water <= quota,
                "{usage:?}"
            );
            readings += 1;
        }
        assert!(readings > 10);
    });
    let usage = tenant.usage(&table);
    assert_eq!((usage.used, usage.limit), (STEADY, Some(quota)));
    let all = [Owner::Vif(1), Owner::Vrf(1)].map(|owner| table.usage(owner).used);
    assert_eq!(all, [STEADY; 2]);
    assert_eq!(table.table_usage().used, STEADY);
}
