//! Random operation sequences against a map that says what should happen.
//!
//! `PROPTEST_CASES` sets how many sequences; each has up to 400 operations.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::*;
use flowtable::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Few flows and little room, so that they meet.
const KEYS: u32 = 12;
const PAIRS: usize = 8;

#[derive(Clone, Debug)]
enum Op {
    /// With the reverse key of `reverse`, which may be another flow's.
    Insert {
        n: u32,
        reverse: u32,
        class: Class,
    },
    Lookup,
    Touch {
        n: u32,
        bytes: u32,
    },
    SetClass {
        n: u32,
        class: Class,
    },
    Update {
        n: u32,
    },
    Remove {
        n: u32,
    },
    /// Does through an old hit what it must not be able to do.
    Haunt {
        n: u32,
    },
    Pass {
        ms: u32,
    },
    Age,
    Walk {
        budget: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    // Keys from 0 to KEYS are forward, the rest their reverses.
    let key = 0..2 * KEYS;
    let forward = 0..KEYS;
    let class = prop::sample::select(Class::ALL.as_slice());
    prop_oneof![
        6 => (key.clone(), prop::option::weighted(0.2, forward), class.clone()).prop_map(
            |(n, other, class)| Op::Insert { n, reverse: other.map_or(mirror(n), |o| o + KEYS), class }
        ),
        2 => Just(Op::Lookup),
        3 => (key.clone(), 0..2000u32).prop_map(|(n, bytes)| Op::Touch { n, bytes }),
        2 => (key.clone(), class).prop_map(|(n, class)| Op::SetClass { n, class }),
        2 => key.clone().prop_map(|n| Op::Update { n }),
        2 => key.clone().prop_map(|n| Op::Remove { n }),
        1 => key.prop_map(|n| Op::Haunt { n }),
        2 => prop_oneof![Just(10_000), 0..300_000u32, 0..8_000_000u32].prop_map(|ms| Op::Pass { ms }),
        1 => Just(Op::Age),
        1 => (1..10usize).prop_map(|budget| Op::Walk { budget }),
    ]
}

fn mirror(n: u32) -> u32 {
    (n + KEYS) % (2 * KEYS)
}

/// Half of the flows are IPv4, half IPv6.
fn key(n: u32) -> Key {
    let forward = n % KEYS;
    let key = if forward.is_multiple_of(2) {
        ipv4(forward)
    } else {
        ipv6(forward)
    };
    if n < KEYS { key } else { key.reversed() }
}

fn stored(n: u32, epoch: u32) -> Action {
    if key(n).is_ipv6() {
        action_ipv6(n, epoch)
    } else {
        action(n, epoch)
    }
}

/// What the model knows of a flow.
#[derive(Clone, Debug)]
struct Flow {
    keys: [u32; 2],
    epoch: u32,
    class: Class,
    counters: [Counters; 2],
    start: u32,
    last_seen: u32,
}

struct Run {
    table: FlowTable,
    /// By serial number.
    flows: HashMap<u32, Flow>,
    /// Which flow a key belongs to, and as which direction.
    keys: HashMap<u32, (u32, usize)>,
    /// Hits of flows that are gone.
    ghosts: Vec<Hit>,
    serial: u32,
    refused: usize,
    high_water: usize,
    now: u32,
}

impl Run {
    fn new(start: u32) -> Run {
        Run {
            table: table(PAIRS),
            flows: HashMap::new(),
            keys: HashMap::new(),
            ghosts: Vec::new(),
            serial: 0,
            refused: 0,
            high_water: 0,
            now: start,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Insert { n, reverse, class } => self.insert(n, reverse, class),
            Op::Lookup => self.check_batch(),
            Op::Touch { n, bytes } => self.touch(n, bytes),
            Op::SetClass { n, class } => self.change(n, |table, flow, hit| {
                table.set_class(&hit, class);
                flow.class = class;
            }),
            Op::Update { n } => self.change(n, |table, flow, hit| {
                flow.epoch += 1;
                let [forward, reverse] = flow.keys.map(|k| action(k, flow.epoch));
                assert!(table.update_pair(&hit, &forward, &reverse));
            }),
            Op::Remove { n } => self.remove(n),
            Op::Haunt { n } => self.haunt(n),
            Op::Pass { ms } => self.now = self.now.wrapping_add(ms),
            Op::Age => self.age(),
            Op::Walk { budget } => self.walk(budget),
        }
        assert_eq!(self.table.len(), self.flows.len());
        assert_eq!(self.table.refused(), self.refused);
        assert_eq!(self.table.high_water(), self.high_water);
    }

    fn insert(&mut self, n: u32, reverse: u32, class: Class) {
        let (actions, owner) = ((action(n, 0), action(reverse, 0)), n ^ 0xffff);
        let result = self.table.insert_pair(
            &key(n),
            &actions.0,
            &key(reverse),
            &actions.1,
            class,
            owner,
            Ticks(self.now),
        );
        if self.keys.contains_key(&n) {
            assert_eq!(result, Insert::Exists(self.check(n).unwrap()));
        } else if self.keys.contains_key(&reverse) {
            assert_eq!(result, Insert::ReverseTaken(self.check(reverse).unwrap()));
        } else if self.flows.len() == PAIRS {
            assert_eq!(result, Insert::Full);
            self.refused += 1;
        } else {
            self.serial += 1;
            let flow = Flow {
                keys: [n, reverse],
                epoch: 0,
                class,
                counters: Default::default(),
                start: self.now,
                last_seen: self.now,
            };
            self.flows.insert(self.serial, flow);
            self.keys.insert(reverse, (self.serial, 1));
            self.keys.insert(n, (self.serial, 0));
            self.high_water = self.high_water.max(self.flows.len());
            assert_eq!(result, Insert::Inserted(self.check(n).unwrap()));
        }
    }

    /// Looks a key up and compares with the model.
    fn check(&self, n: u32) -> Option<Hit> {
        let hit = self.table.lookup(&key(n));
        let known = self.keys.get(&n);
        assert_eq!(hit.is_some(), known.is_some(), "{:?}", key(n));
        let (serial, direction) = *known?;
        let (hit, flow) = (hit?, &self.flows[&serial]);
        assert_eq!(hit.id.is_forward(), direction == 0);
        assert_eq!(hit.action, stored(n, flow.epoch));
        assert_eq!(hit.class, flow.class);
        let partner = key(flow.keys[1 - direction]);
        assert_eq!(self.table.partner_key(&hit), Some(partner));
        Some(hit)
    }

    fn check_batch(&self) {
        let keys: Vec<_> = (0..2 * KEYS).map(key).collect();
        let mut hashes = vec![0; keys.len()];
        let mut out = vec![None; keys.len()];
        self.table.lookup_batch(&keys, &mut hashes, &mut out);
        for (n, hit) in (0..).zip(out) {
            assert_eq!(hit, self.check(n));
        }
    }

    fn change(&mut self, n: u32, change: impl FnOnce(&FlowTable, &mut Flow, Hit)) {
        let Some(hit) = self.check(n) else { return };
        let flow = self.flows.get_mut(&self.keys[&n].0).unwrap();
        change(&self.table, flow, hit);
        self.check(n);
    }

    fn touch(&mut self, n: u32, bytes: u32) {
        let now = self.now;
        let direction = self.keys.get(&n).map_or(0, |k| k.1);
        self.change(n, |table, flow, hit| {
            table.touch(&hit, 2, bytes, Ticks(now));
            flow.counters[direction].packets += 2;
            flow.counters[direction].bytes += u64::from(bytes);
            flow.last_seen = now;
        });
    }

    fn remove(&mut self, n: u32) {
        let Some(hit) = self.check(n) else { return };
        assert!(self.table.remove(hit.id, hit.version));
        self.ghosts.push(hit);
        self.forget(self.keys[&n].0);
        assert_eq!(self.check(n), None);
    }

    fn forget(&mut self, serial: u32) {
        let flow = self.flows.remove(&serial).unwrap();
        for n in flow.keys {
            self.keys.remove(&n);
        }
    }

    fn haunt(&mut self, n: u32) {
        let Some(ghost) = self.ghosts.get(n as usize) else {
            return;
        };
        self.table.touch(ghost, 9, 9, Ticks(self.now));
        self.table.set_class(ghost, Class::Other);
        assert!(
            !self
                .table
                .update_pair(ghost, &action(1, 99), &action(2, 99))
        );
        assert!(!self.table.remove(ghost.id, ghost.version));
    }

    fn age(&mut self) {
        let timeouts = Timeouts::default();
        let idle = |flow: &Flow| self.now.wrapping_sub(flow.last_seen);
        let expired = |flow: &Flow| idle(flow) >= timeouts.timeout_ms(flow.class);
        let mut expected: Vec<_> = self.flows.iter().filter(|(_, f)| expired(f)).collect();
        expected.sort_by_key(|(_, flow)| flow.keys);
        let mut told = Vec::new();
        let mut cursor = AgeCursor::default();
        self.table
            .age(&mut cursor, PAIRS, Ticks(self.now), |view| told.push(*view));
        told.sort_by_key(|view| (0..2 * KEYS).find(|n| key(*n) == view.forward));
        assert_eq!(told.len(), expected.len());
        for (view, (_, flow)) in told.iter().zip(&expected) {
            check_view(view, flow);
        }
        let gone: Vec<u32> = expected.iter().map(|(serial, _)| **serial).collect();
        gone.into_iter().for_each(|serial| self.forget(serial));
    }

    fn walk(&self, budget: usize) {
        let mut seen = 0;
        let mut cursor = WalkCursor::default();
        while !cursor.is_done() {
            self.table.walk(&mut cursor, budget, |view| {
                seen += 1;
                let n = (0..2 * KEYS).find(|n| key(*n) == view.forward).unwrap();
                check_view(view, &self.flows[&self.keys[&n].0]);
            });
        }
        assert_eq!(seen, self.flows.len());
    }
}

fn check_view(view: &FlowView, flow: &Flow) {
    let [forward, reverse] = flow.keys;
    assert_eq!((view.forward, view.reverse), (key(forward), key(reverse)));
    assert_eq!(view.forward_action, stored(forward, flow.epoch));
    assert_eq!(view.reverse_action, stored(reverse, flow.epoch));
    assert_eq!(
        [view.forward_counters, view.reverse_counters],
        flow.counters
    );
    assert_eq!((view.class, view.owner), (flow.class, forward ^ 0xffff));
    assert_eq!(
        (view.start.0, view.last_seen.0),
        (flow.start, flow.last_seen)
    );
}

proptest! {
    #[test]
    fn the_table_does_what_a_map_would(
        start in prop_oneof![Just(0), Just(u32::MAX - 400_000), any::<u32>()],
        ops in prop::collection::vec(op(), 1..400),
    ) {
        let mut run = Run::new(start);
        for op in &ops {
            run.step(op);
        }
    }
}
