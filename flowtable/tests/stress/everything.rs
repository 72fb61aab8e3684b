//! All operations by all workers in one small table: what exists is whole
//! wherever it is seen, and at the end the accounts agree with what is there.

use super::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64};

const PAIRS: usize = 600;
/// Twice as many flows as there is room for.
const FLOWS: u32 = 1200;
/// Vifs, vrfs and classes by turns; the last ones have no account of their own.
const VIFS: u32 = 7;
const VRFS: u32 = 4;
/// Each worker's own vif is the one of this number and its own.
const OWN_VIF: u32 = 8;
/// Flows of a worker's own, which nobody else touches.
const OWN: u32 = 12;

/// What all workers have done.
#[derive(Default, Debug)]
struct Tally {
    inserted: AtomicU64,
    removed: AtomicU64,
    expired: AtomicU64,
    refused: AtomicU64,
    walks: AtomicU64,
    clock: AtomicU32,
}

/// One worker and what it remembers.
struct Hand<'t> {
    table: &'t FlowTable,
    tally: &'t Tally,
    worker: u32,
    age: AgeCursor,
    walk: WalkCursor,
    /// Flows seen in the walk under way.
    walked: HashSet<(FlowId, u32)>,
    own: Vec<Hit>,
    /// Hits from long ago.
    old: Vec<(u32, Hit)>,
}

/// A flow's owners, which follow from its number.
fn owners(n: u32) -> (u32, u32) {
    if n < FLOWS {
        (n % VIFS, n / 7 % VRFS)
    } else {
        (OWN_VIF + own_worker(n), 0)
    }
}

/// The number of a worker's own flow, and whose that is.
fn own_number(worker: u32, flow: u32) -> u32 {
    FLOWS + worker * OWN + flow
}

fn own_worker(n: u32) -> u32 {
    (n - FLOWS) / OWN
}

/// The number of the flow whose forward key this is.
fn number_of(key: &Key) -> u32 {
    match (key.src_addr(), key.is_ipv6()) {
        (std::net::IpAddr::V4(addr), _) => {
            (addr.to_bits() & 0xfff) << 12 | u32::from(key.src_port())
        }
        (std::net::IpAddr::V6(addr), _) => addr.to_bits() as u32,
    }
}

/// Sees that everything in a view belongs together; returns which flow it is.
pub(crate) fn expect_view_intact(view: &FlowView) -> u32 {
    let n = number_of(&view.forward);
    assert_eq!((view.forward, view.reverse), (key(n), key(n).reversed()));
    let [forward, reverse] = [view.forward_action, view.reverse_action];
    assert_eq!(forward, stored(n, n, forward.epoch), "torn or stale");
    assert_eq!(reverse, stored(n, n + 1, reverse.epoch), "torn or stale");
    n
}

impl Hand<'_> {
    fn own(&self) -> Worker<'_> {
        self.table.worker(self.worker as usize)
    }

    fn step(&mut self, round: u32) {
        let dice = random(self.worker, round);
        let n = (dice >> 8) % FLOWS;
        let now = Ticks(self.tally.clock.fetch_add(1, Relaxed));
        match dice % 64 {
            0..16 => self.insert(n, dice >> 20, now),
            16..22 => self.remove(n),
            22..26 => self.update(n, dice),
            26..34 => self.set_class(n, dice >> 20),
            34..42 => self.touch(n, now),
            42..46 => self.look_up_batch(dice),
            46..50 => self.haunt(dice >> 20, now),
            50..52 => self.age(now),
            52..54 => self.walk(),
            54 => self.read_usage(dice >> 20),
            55 => self.set_quota(dice >> 20),
            56 => self.look_after_own(dice >> 20, now),
            _ => expect_steady_pair_intact(self.table, n),
        }
    }

    fn open(&self, n: u32, class: Class, now: Ticks) -> Insert {
        let ((vif, vrf), actions) = (owners(n), actions(n, now.0));
        self.own().insert_pair(&NewFlow {
            class,
            vif,
            vrf,
            note: [0; 4],
            now,
            ..new_flow(&key(n), &key(n).reversed(), &actions)
        })
    }

    fn insert(&mut self, n: u32, dice: u32, now: Ticks) {
        match self.open(n, any_class(dice), now) {
            Insert::Inserted(hit) => {
                self.tally.inserted.fetch_add(1, Relaxed);
                expect_intact(&hit, n, true);
                let at = dice as usize % 64;
                match self.old.get_mut(at) {
                    Some(old) => *old = (n, hit),
                    None => self.old.push((n, hit)),
                }
            }
            Insert::Exists(hit) => expect_intact(&hit, n, true),
            Insert::ReverseTaken(hit) => panic!("{hit:?} without its partner"),
            Insert::Refused(_) => drop(self.tally.refused.fetch_add(1, Relaxed)),
        }
    }

    fn look_up(&self, n: u32) -> Option<Hit> {
        let hit = self.table.lookup(&key(n))?;
        assert!(hit.id.is_forward());
        expect_intact(&hit, n, true);
        Some(hit)
    }

    fn remove(&self, n: u32) {
        let Some(hit) = self.look_up(n) else { return };
        if self.own().remove(hit.id, hit.version()) {
            self.tally.removed.fetch_add(1, Relaxed);
        }
    }

    fn update(&self, n: u32, epoch: u32) {
        let Some(hit) = self.look_up(n) else { return };
        let [forward, reverse] = actions(n, epoch);
        if let Some(renewed) = self.own().update_pair(&hit, &forward, &reverse) {
            assert_eq!(renewed.epoch(), epoch);
            expect_intact(&renewed, n, true);
        }
    }

    fn set_class(&self, n: u32, dice: u32) {
        let Some(hit) = self.look_up(n) else { return };
        set_class(self.own(), &hit, any_class(dice));
    }

    /// Counts as many bytes each time as the flow's number says.
    fn touch(&self, n: u32, now: Ticks) {
        let Some(hit) = self.look_up(n) else { return };
        self.table.touch(&hit, 1, n + 1, now);
        if let Some(reply) = self.table.lookup(&key(n).reversed()) {
            expect_intact(&reply, n, false);
            self.table.touch(&reply, 1, n + 1, now);
        }
    }

    fn look_up_batch(&self, dice: u32) {
        let numbers: Vec<_> = (0..40).map(|i| random(dice, i) % FLOWS).collect();
        let forward = |i: usize| i.is_multiple_of(3);
        let of = |(i, n): (usize, &u32)| match forward(i) {
            true => key(*n),
            false => key(*n).reversed(),
        };
        let keys: Vec<_> = numbers.iter().enumerate().map(of).collect();
        let mut hashes = [0; 40];
        let mut out = [None; 40];
        self.table.lookup_batch(&keys, &mut hashes, &mut out);
        for (i, hit) in out.iter().enumerate() {
            let Some(hit) = hit else { continue };
            assert_eq!(hit.id.is_forward(), forward(i));
            expect_intact(hit, numbers[i], forward(i));
            let partner = self.table.partner_key(hit);
            assert!(partner.is_none_or(|partner| partner == keys[i].reversed()));
        }
    }

    /// Uses a hit as a worker would that slept since.
    fn haunt(&self, dice: u32, now: Ticks) {
        let Some((n, hit)) = self.old.get(dice as usize % 64) else {
            return;
        };
        let [forward, reverse] = actions(*n, now.0);
        self.table.touch(hit, 1, n + 1, now);
        self.own().update_pair(hit, &forward, &reverse);
        set_class(self.own(), hit, any_class(dice >> 6));
        if let Some(view) = self.table.flow(hit.id, hit.version()) {
            assert_eq!(self.expect_view_intact(&view), *n);
        }
        if self.own().remove(hit.id, hit.version()) {
            self.tally.removed.fetch_add(1, Relaxed);
        }
    }

    fn expect_view_intact(&self, view: &FlowView) -> u32 {
        let n = expect_view_intact(view);
        assert_eq!((view.vif, view.vrf), owners(n));
        for counters in [view.forward_counters, view.reverse_counters] {
            assert_eq!(counters.bytes % u64::from(n + 1), 0, "{view:?}");
        }
        n
    }

    fn age(&mut self, now: Ticks) {
        let (table, mut cursor) = (self.table, self.age.clone());
        let gone = self.own().age(&mut cursor, 64, now, |view| {
            self.expect_view_intact(view);
            let idle = now.since(view.last_seen);
            assert!(idle >= Timeouts::default().timeout_ms(view.class));
            assert_eq!(table.flow(view.id, view.version), None);
        });
        self.age = cursor;
        self.tally.expired.fetch_add(gone as u64, Relaxed);
        // Time flies while nobody looks.
        self.tally.clock.fetch_add(200, Relaxed);
    }

    /// One step of a walk; when it is over, every own flow was seen.
    fn walk(&mut self) {
        let (mut cursor, mut walked) = (self.walk.clone(), std::mem::take(&mut self.walked));
        self.table.walk(&mut cursor, 100, |view| {
            self.expect_view_intact(view);
            assert!(walked.insert((view.id, view.version)), "twice: {view:?}");
        });
        if cursor.is_done() {
            assert!(self.own.iter().all(|hit| walked.contains(&identity(hit))));
            self.tally.walks.fetch_add(1, Relaxed);
            walked.clear();
            cursor = WalkCursor::default();
        }
        (self.walk, self.walked) = (cursor, walked);
    }

    fn read_usage(&self, dice: u32) {
        let usage = self.table.table_usage();
        assert!(usage.used as usize <= PAIRS && usage.high_water as usize <= PAIRS);
        assert!(usage.half_open as usize <= PAIRS / 4);
        self.table.usage(Owner::Vif(dice % VIFS));
        self.table.usage(Owner::Vrf(dice % VRFS));
    }

    /// All quotas together are less than the table: those of the workers' own
    /// flows count in full.
    fn set_quota(&self, dice: u32) {
        let quota = (dice >> 4).checked_sub(64).map(|quota| quota % 100);
        let owner = match dice % 4 {
            0 => Owner::Vrf(1),
            vif => Owner::Vif(vif),
        };
        self.table.set_quota(owner, quota);
    }

    /// Own flows are in nobody's way: as they are within their quota, nothing
    /// but their worker removes them.
    fn look_after_own(&mut self, dice: u32, now: Ticks) {
        for (flow, hit) in (0..).zip(&self.own) {
            let n = own_number(self.worker, flow);
            let found = self.look_up(n).expect("nobody may have removed it");
            assert_eq!(identity(&found), identity(hit));
            self.table.touch(&found, 1, n + 1, now);
        }
        let is_walking = !self.walked.is_empty();
        if self.own.len() < OWN as usize {
            let n = own_number(self.worker, self.own.len() as u32);
            match self.open(n, Class::Established, now) {
                Insert::Inserted(hit) => self.own.push(hit),
                other => panic!("{other:?} of a flow within its quota"),
            }
            self.tally.inserted.fetch_add(1, Relaxed);
            // Only those that were there all the time are sure to be seen.
            self.walk = WalkCursor::default();
            self.walked.clear();
        } else if dice.is_multiple_of(64) && !is_walking {
            self.own.iter().for_each(|hit| {
                assert!(self.own().remove(hit.id, hit.version()));
                self.tally.removed.fetch_add(1, Relaxed);
            });
            self.own.clear();
        }
    }
}

/// Sees that every account says what is in the table.
fn expect_exact_accounts(table: &FlowTable, tally: &Tally) {
    let mut flows = Vec::new();
    let mut cursor = WalkCursor::default();
    table.walk(&mut cursor, usize::MAX, |view| flows.push(*view));
    let whole = table.table_usage();
    let count = |wanted: &dyn Fn(&FlowView) -> bool| {
        let own = || flows.iter().filter(|view| wanted(view));
        let half_open = own().filter(|view| view.class.is_half_open());
        (own().count() as u32, half_open.count() as u32)
    };
    assert_eq!((whole.used, whole.half_open), count(&|_| true));
    let vifs: Vec<_> = (0..OWN_VIF + WORKERS)
        .map(|vif| table.usage(Owner::Vif(vif)))
        .collect();
    let vrfs: Vec<_> = (0..VRFS).map(|vrf| table.usage(Owner::Vrf(vrf))).collect();
    for (vif, usage) in (0..).zip(&vifs) {
        assert_eq!(
            (usage.used, usage.half_open),
            count(&|view| view.vif == vif)
        );
    }
    for (vrf, usage) in (0..).zip(&vrfs) {
        assert_eq!(
            (usage.used, usage.half_open),
            count(&|view| view.vrf == vrf)
        );
    }
    let load = |count: &AtomicU64| count.load(Relaxed);
    for usages in [vifs, vrfs] {
        let refused = usages.iter().map(|usage| usage.refused).sum::<u64>();
        let evicted = usages.iter().map(|usage| usage.evicted).sum::<u64>();
        assert_eq!((refused, evicted), (whole.refused, whole.evicted));
        assert!(usages.iter().all(|usage| usage.high_water >= usage.used));
    }
    assert_eq!(load(&tally.refused), whole.refused);
    let gone = load(&tally.removed) + load(&tally.expired) + whole.evicted;
    assert_eq!(load(&tally.inserted) - gone, u64::from(whole.used));
}

#[test]
fn everything_at_once() {
    let table = FlowTable::new(&Config {
        pairs: PAIRS,
        seed: [5, 6, 7, 8],
        workers: 3,
        vifs: (OWN_VIF + WORKERS) as usize,
        vrfs: VRFS as usize,
        ..Config::default()
    });
    for worker in 0..WORKERS {
        table.set_quota(Owner::Vif(OWN_VIF + worker), Some(OWN));
    }
    let tally = Tally::default();
    let hand = |worker| Hand {
        table: &table,
        tally: &tally,
        worker,
        age: AgeCursor::new(worker as usize, WORKERS as usize),
        walk: WalkCursor::default(),
        walked: HashSet::new(),
        own: Vec::new(),
        old: Vec::new(),
    };
    let end = Instant::now() + duration();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let mut hand = hand(worker);
                for round in 0.. {
                    hand.step(round);
                    if round.is_multiple_of(256) && Instant::now() > end {
                        break;
                    }
                }
            });
        }
    });
    expect_exact_accounts(&table, &tally);
    let usage = table.table_usage();
    for happened in [
        usage.evicted,
        usage.refused,
        tally.expired.load(Relaxed),
        tally.walks.load(Relaxed),
    ] {
        assert!(happened > 10, "{tally:?} {usage:?}");
    }
    let vifs = (0..OWN_VIF + WORKERS).map(Owner::Vif);
    for owner in vifs.chain([Owner::Vrf(1)]) {
        table.set_quota(owner, None);
    }
    expect_clean(&table, FLOWS);
}
