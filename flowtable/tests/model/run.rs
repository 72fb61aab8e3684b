//! A table and its model, step by step.

use crate::common::*;
use crate::room::{Holding, Rules};
use crate::{Op, Setting};
use flowtable::*;
use std::collections::HashMap;

/// Flows there are keys for: keys below this are forward, the next ones their
/// reverses.
pub(crate) const KEYS: u32 = 40;

/// Hits of flows that are gone, kept to do harm with.
const GHOSTS: usize = 64;

pub(crate) fn mirror(n: u32) -> u32 {
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

fn number_of(wanted: &Key) -> u32 {
    let number = (0..2 * KEYS).find(|n| key(*n) == *wanted);
    number.expect("a key of ours")
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
    /// As it was inserted.
    hit: Hit,
    epoch: u32,
    class: Class,
    vif: u32,
    vrf: u32,
    counters: [Counters; 2],
    start: u32,
    last_seen: u32,
}

impl Flow {
    fn holding(&self) -> Holding {
        Holding {
            vif: self.vif,
            vrf: self.vrf,
            half_open: self.class.is_half_open(),
        }
    }

    /// The class's timeout and how long neither direction was seen.
    fn timeout_and_idle(&self, now: u32) -> (u32, u32) {
        let timeout_ms = Timeouts::default().timeout_ms(self.class);
        (timeout_ms, now.wrapping_sub(self.last_seen))
    }
}

/// What has happened to an owner's flows, or to all of them.
#[derive(Clone, Copy, Default)]
struct Record {
    high_water: u32,
    refused: u64,
    evicted: u64,
}

pub(crate) struct Run {
    table: FlowTable,
    setting: Setting,
    rules: Rules,
    records: HashMap<Option<Owner>, Record>,
    flows: Vec<Flow>,
    /// The next place in a full list is overwritten.
    ghosts: Vec<Hit>,
    steps: usize,
    now: u32,
}

impl Run {
    pub(crate) fn new(setting: Setting) -> Run {
        let Setting {
            pairs,
            half_open_percent,
            workers,
            baseline,
            ..
        } = setting;
        let (vifs, vrfs) = (3, 2);
        let config = Config {
            pairs: pairs as usize,
            seed: [1, 2, 3, 4],
            workers,
            vifs,
            vrfs,
            half_open_percent,
            baseline,
            ..Config::default()
        };
        let rules = Rules {
            capacity: pairs,
            half_open_percent: half_open_percent.into(),
            vifs: vifs as u32,
            vrfs: vrfs as u32,
            quotas: HashMap::new(),
        };
        Run {
            table: FlowTable::new(&config),
            records: rules.accounts().map(|o| (o, Record::default())).collect(),
            rules,
            flows: Vec::new(),
            ghosts: Vec::new(),
            steps: 0,
            now: setting.start,
            setting,
        }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        self.steps += 1;
        match *op {
            Op::Insert { .. } => self.insert(op),
            Op::Lookup => self.check_batch(),
            Op::Touch { n, bytes } => self.touch(n, bytes),
            Op::SetClass { n, class } => self.set_class(n, class),
            Op::Update { n } => self.update(n),
            Op::Remove { n } => self.remove(n),
            Op::Haunt { n } => self.haunt(n),
            Op::SetQuota { owner, quota } => self.set_quota(owner, quota),
            Op::Pass { ms } => self.now = self.now.wrapping_add(ms),
            Op::Age => self.age(),
            Op::Walk { budget } => self.walk(budget),
        }
        self.check_usage();
    }

    /// The worker whose turn it is; there are more numbers than workers.
    fn worker(&self) -> Worker<'_> {
        self.table.worker(match self.setting.in_turn {
            true => self.steps % (self.setting.workers + 1),
            false => 1,
        })
    }

    fn holdings(&self) -> Vec<Holding> {
        self.flows.iter().map(Flow::holding).collect()
    }

    /// The flow a key belongs to, and as which direction.
    fn find(&self, n: u32) -> Option<(usize, usize)> {
        self.flows.iter().enumerate().find_map(|(at, flow)| {
            let direction = flow.keys.iter().position(|key| *key == n)?;
            Some((at, direction))
        })
    }

    fn insert(&mut self, op: &Op) {
        let &Op::Insert {
            n,
            reverse,
            class,
            vif,
            vrf,
        } = op
        else {
            unreachable!("not an insertion");
        };
        // Shares are counted anew after a tenth of a second at the latest, so
        // that the model may always count.
        self.now = self.now.wrapping_add(100);
        let actions = [action(n, 0), action(reverse, 0)];
        let result = self.worker().insert_pair(&NewFlow {
            class,
            vif,
            vrf,
            note: [0; 4],
            now: Ticks(self.now),
            ..new_flow(&key(n), &key(reverse), &actions)
        });
        if self.find(n).is_some() {
            assert_eq!(result, Insert::Exists(self.check(n).unwrap()));
            return;
        }
        if self.find(reverse).is_some() {
            assert_eq!(result, Insert::ReverseTaken(self.check(reverse).unwrap()));
            return;
        }
        let outcome = match result {
            Insert::Inserted(hit) => Ok(hit),
            Insert::Refused(limit) => Err(limit),
            other => panic!("{other:?} of {op:?}"),
        };
        let new = Holding {
            vif,
            vrf,
            half_open: class.is_half_open(),
        };
        let before = self.holdings();
        let expected = self.rules.outcome(&before, &new);
        let gone = self.forget_evicted();
        let as_expected = match (&expected, outcome) {
            (Ok(victims), Ok(_)) if victims.is_empty() => gone.is_empty(),
            (Ok(victims), Ok(_)) => matches!(gone[..], [at] if victims.contains(&at)),
            (Err(expected), Err(limit)) => gone.is_empty() && *expected == limit,
            _ => false,
        };
        assert!(
            as_expected,
            "{outcome:?} with {gone:?} evicted, not {expected:?}, for {new:?}\namong {before:?}\nunder {:?}",
            self.rules
        );
        match outcome {
            Ok(hit) => {
                self.flows.push(Flow {
                    keys: [n, reverse],
                    hit,
                    epoch: 0,
                    class,
                    vif,
                    vrf,
                    counters: Default::default(),
                    start: self.now,
                    last_seen: self.now,
                });
                assert_eq!(self.check(n), Some(hit));
            }
            Err(_) => self.record(&new, |record| record.refused += 1),
        }
    }

    /// Forgets the flows that are not in the table any more; returns where
    /// they were in the list.
    fn forget_evicted(&mut self) -> Vec<usize> {
        let is_gone = |flow: &Flow| self.table.flow(flow.hit.id, flow.hit.version()).is_none();
        let all = self.flows.iter().enumerate();
        let gone: Vec<_> = all.filter(|(_, flow)| is_gone(flow)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(at, _)| at).collect();
        for at in gone.iter().rev() {
            let flow = self.flows.remove(*at);
            self.record(&flow.holding(), |record| record.evicted += 1);
            self.bury(&flow);
        }
        gone
    }

    fn record(&mut self, flow: &Holding, note: impl Fn(&mut Record)) {
        for (owner, record) in &mut self.records {
            if self.rules.counts(flow, *owner) {
                note(record);
            }
        }
    }

    fn bury(&mut self, flow: &Flow) {
        if self.ghosts.len() < GHOSTS {
            self.ghosts.push(flow.hit);
        } else {
            self.ghosts[self.steps % GHOSTS] = flow.hit;
        }
        for n in flow.keys {
            assert_eq!(self.table.lookup(&key(n)), None);
        }
    }

    /// Looks a key up and compares with the model.
    fn check(&self, n: u32) -> Option<Hit> {
        let hit = self.table.lookup(&key(n));
        let known = self.find(n);
        assert_eq!(hit.is_some(), known.is_some(), "{:?}", key(n));
        let (at, direction) = known?;
        let (hit, flow) = (hit?, &self.flows[at]);
        let id = [flow.hit.id, flow.hit.id.partner()][direction];
        assert_eq!((hit.id, hit.version()), (id, flow.hit.version()));
        assert_eq!(hit.action(), stored(n, flow.epoch));
        assert_eq!(hit.class(), flow.class);
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

    fn touch(&mut self, n: u32, bytes: u32) {
        let Some(hit) = self.check(n) else { return };
        let (at, direction) = self.find(n).unwrap();
        self.table.touch(&hit, 2, bytes, Ticks(self.now));
        let flow = &mut self.flows[at];
        flow.counters[direction].packets += 2;
        flow.counters[direction].bytes += u64::from(bytes);
        flow.last_seen = self.now;
        self.check(n);
    }

    fn set_class(&mut self, n: u32, class: Class) {
        let Some(hit) = self.check(n) else { return };
        let (at, _) = self.find(n).unwrap();
        let holding = self.flows[at].holding();
        let admitted = holding.half_open
            || !class.is_half_open()
            || self.rules.admits_half_open(&self.holdings(), &holding);
        assert_eq!(set_class(self.worker(), &hit, class), admitted);
        if admitted {
            self.flows[at].class = class;
        }
        self.check(n);
    }

    fn update(&mut self, n: u32) {
        let Some(hit) = self.check(n) else { return };
        let (at, _) = self.find(n).unwrap();
        self.flows[at].epoch += 1;
        let Flow { keys, epoch, .. } = self.flows[at];
        let [forward, reverse] = keys.map(|n| action(n, epoch));
        let renewed = self.worker().update_pair(&hit, &forward, &reverse);
        assert_eq!(renewed.unwrap().action(), stored(n, epoch));
        self.check(n);
    }

    fn remove(&mut self, n: u32) {
        let Some(hit) = self.check(n) else { return };
        let (at, _) = self.find(n).unwrap();
        assert!(self.worker().remove(hit.id, hit.version()));
        let flow = self.flows.swap_remove(at);
        self.bury(&flow);
    }

    /// Does through an old hit what it must not be able to do.
    fn haunt(&mut self, n: u32) {
        let Some(ghost) = self.ghosts.get(n as usize) else {
            return;
        };
        let worker = self.worker();
        self.table.touch(ghost, 9, 9, Ticks(self.now));
        assert!(!set_class(worker, ghost, Class::Other));
        assert!(!set_class(worker, ghost, Class::Dropped));
        let renewed = worker.update_pair(ghost, &action(1, 99), &action(2, 99));
        assert_eq!(renewed, None);
        assert!(!worker.remove(ghost.id, ghost.version()));
        assert_eq!(self.table.flow(ghost.id, ghost.version()), None);
        assert_eq!(self.table.partner_key(ghost), None);
    }

    fn set_quota(&mut self, owner: Owner, quota: Option<u32>) {
        self.table.set_quota(owner, quota);
        let owner = self.rules.account(owner);
        match quota {
            Some(quota) => self.rules.quotas.insert(owner, quota),
            None => self.rules.quotas.remove(&owner),
        };
    }

    fn age(&mut self) {
        let mut told = Vec::new();
        let mut cursor = AgeCursor::default();
        let now = Ticks(self.now);
        self.worker()
            .age(&mut cursor, usize::MAX, now, |view| told.push(*view));
        for view in told {
            let (at, _) = self.find(number_of(&view.forward)).unwrap();
            check_view(&view, &self.flows[at]);
            let (timeout_ms, idle) = self.flows[at].timeout_and_idle(self.now);
            assert!(idle >= timeout_ms, "too early");
            let flow = self.flows.swap_remove(at);
            self.bury(&flow);
        }
        for flow in &self.flows {
            // Due times are rounded, and there is none of 0.
            let (timeout_ms, idle) = flow.timeout_and_idle(self.now);
            assert!(idle <= timeout_ms + timeout_ms / 32 + 1, "too late");
        }
    }

    fn walk(&self, budget: usize) {
        let mut seen = 0;
        let mut cursor = WalkCursor::default();
        while !cursor.is_done() {
            self.table.walk(&mut cursor, budget, |view| {
                seen += 1;
                let (at, _) = self.find(number_of(&view.forward)).unwrap();
                check_view(view, &self.flows[at]);
            });
        }
        assert_eq!(seen, self.flows.len());
    }

    fn check_usage(&mut self) {
        let holdings = self.holdings();
        for (owner, record) in &mut self.records {
            let count = self.rules.count(&holdings, *owner);
            record.high_water = record.high_water.max(count.pairs);
            let usage = match owner {
                None => self.table.table_usage(),
                Some(owner) => self.table.usage(*owner),
            };
            let high_water = if self.setting.in_turn {
                // Exact for one worker, else never too low.
                usage.high_water.max(record.high_water)
            } else {
                record.high_water
            };
            let expected = Usage {
                used: count.pairs,
                limit: self.rules.limit(*owner),
                half_open: count.half_open,
                high_water,
                refused: record.refused,
                evicted: record.evicted,
            };
            assert_eq!(usage, expected, "{owner:?}");
        }
        assert_eq!(self.table.len(), self.flows.len());
        for (beyond, last) in [
            (Owner::Vif(7), Owner::Vif(2)),
            (Owner::Vrf(7), Owner::Vrf(1)),
        ] {
            assert_eq!(self.table.usage(beyond), self.table.usage(last));
        }
    }
}

fn check_view(view: &FlowView, flow: &Flow) {
    let [forward, reverse] = flow.keys;
    assert_eq!((view.forward, view.reverse), (key(forward), key(reverse)));
    assert_eq!((view.id, view.version), (flow.hit.id, flow.hit.version()));
    assert_eq!(view.forward_action, stored(forward, flow.epoch));
    assert_eq!(view.reverse_action, stored(reverse, flow.epoch));
    assert_eq!(
        [view.forward_counters, view.reverse_counters],
        flow.counters
    );
    assert_eq!(view.class, flow.class);
    assert_eq!((view.vif, view.vrf), (flow.vif, flow.vrf));
    assert_eq!(
        (view.start.0, view.last_seen.0),
        (flow.start, flow.last_seen)
    );
}
