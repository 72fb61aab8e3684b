//! Several workers at once on few flows: whatever each of them is told can have
//! happened in some order, one after the other.
//!
//! Many short rounds, each with its own history; `STRESS_MS` sets for how long
//! (500 by default). One pair of keys is independent of another, so each has
//! its history checked by itself.

mod order;

#[path = "../common/mod.rs"]
mod common;

use common::*;
use flowtable::*;
use order::{Flow, Identity, Side, Step, Timed, is_possible};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Pairs of keys in a round, of both families.
const KEYS: usize = 2;
/// Operations of each worker in a round.
const OPERATIONS: usize = 6;

fn duration() -> Duration {
    let ms = std::env::var("STRESS_MS");
    Duration::from_millis(ms.map_or(500, |ms| ms.parse().expect("milliseconds")))
}

/// Keys differ from round to round, and so do the places they have.
fn key(round: u32, which: usize, side: Side) -> Key {
    let n = round % 10_000;
    let key = match which {
        0 => ipv4(n),
        _ => ipv6(n),
    };
    match side {
        0 => key,
        _ => key.reversed(),
    }
}

/// The action of a direction: each is from a decision of its own.
fn decided(direction: usize, epoch: u32) -> Action {
    action(direction as u32, epoch)
}

fn expect_whole(hit: &Hit, which: usize) {
    let direction = usize::from(!hit.id.is_forward());
    let expected = match which {
        0 => action(direction as u32, hit.epoch()),
        _ => action_ipv6(direction as u32, hit.epoch()),
    };
    assert_eq!(hit.action(), expected, "torn");
}

fn identity(hit: &Hit) -> Identity {
    let forward = match hit.id.is_forward() {
        true => hit.id,
        false => hit.id.partner(),
    };
    (forward, hit.version())
}

/// What all workers of a test share.
struct Scene {
    table: FlowTable,
    clock: AtomicU64,
    epochs: AtomicU32,
    gate: Gate,
    histories: Mutex<[Vec<Timed>; KEYS]>,
    end: Instant,
    /// Decided by one worker while the others wait.
    over: AtomicBool,
}

/// Lets workers go on together, without sleep: a start apart by microseconds
/// would be no start together.
#[derive(Default)]
struct Gate {
    arrived: AtomicU32,
    opened: AtomicU32,
    broken: AtomicBool,
}

impl Gate {
    /// # Panics
    /// If one of the others has.
    fn pass(&self, workers: u32) {
        let turn = self.opened.load(SeqCst);
        if self.arrived.fetch_add(1, SeqCst) + 1 == workers {
            self.arrived.store(0, SeqCst);
            self.opened.fetch_add(1, SeqCst);
            return;
        }
        let mut waited = 0_u32;
        while self.opened.load(SeqCst) == turn {
            assert!(!self.broken.load(SeqCst), "another worker failed");
            waited += 1;
            if waited.is_multiple_of(200) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

/// Lets nobody wait at the gate for a worker that panicked.
struct Breaker<'g>(&'g Gate);

impl Drop for Breaker<'_> {
    fn drop(&mut self) {
        self.0.broken.fetch_or(std::thread::panicking(), SeqCst);
    }
}

/// One worker in one round.
struct Actor<'s> {
    scene: &'s Scene,
    worker: Worker<'s>,
    round: u32,
    /// The last hit seen of each pair of keys.
    known: [Option<Hit>; KEYS],
    did: [Vec<Timed>; KEYS],
}

impl Actor<'_> {
    /// Calls, and remembers the times of call and return.
    fn timed<T>(&self, call: impl FnOnce() -> T) -> (T, [u64; 2]) {
        let from = self.scene.clock.fetch_add(1, SeqCst);
        let told = call();
        (told, [from, self.scene.clock.fetch_add(1, SeqCst)])
    }

    fn note(&mut self, which: usize, [from, to]: [u64; 2], step: Step) {
        self.did[which].push(Timed { step, from, to });
    }

    fn act(&mut self, dice: u32) {
        let which = (dice >> 8) as usize % KEYS;
        let side = (dice >> 16) as usize % 2;
        match (dice % 16, self.known[which]) {
            (0..4, _) => self.insert(which, side),
            (4..7, Some(hit)) => self.remove(which, hit),
            (7..9, Some(hit)) => self.update(which, hit),
            (9, Some(hit)) => self.set_class(which, hit, dice),
            (10, _) => self.age(),
            (11..13, _) => self.look_up_batch(),
            _ => self.look_up(which, side),
        }
    }

    fn insert(&mut self, which: usize, side: Side) {
        let epoch = self.scene.epochs.fetch_add(1, Relaxed);
        let actions = [0, 1].map(|direction| decided(direction, epoch));
        let keys = [side, 1 - side].map(|side| key(self.round, which, side));
        let flow = new_flow(&keys[0], &keys[1], &actions);
        let (told, times) = self.timed(|| self.worker.insert_pair(&flow));
        let step = match told {
            Insert::Inserted(hit) => Step::Insert(Flow {
                identity: identity(&hit),
                forward: side,
                epochs: [epoch; 2],
                class: hit.class(),
            }),
            Insert::Exists(hit) => self.found(which, side, &hit, true),
            other => panic!("{other:?}"),
        };
        if let Insert::Inserted(hit) | Insert::Exists(hit) = told {
            self.known[which] = Some(hit);
        }
        self.note(which, times, step);
    }

    fn found(&self, which: usize, side: Side, hit: &Hit, live: bool) -> Step {
        expect_whole(hit, which);
        Step::Find {
            side,
            identity: identity(hit),
            epoch: hit.epoch(),
            class: hit.class(),
            live,
        }
    }

    fn looked_up(&mut self, which: usize, side: Side, told: Option<Hit>, times: [u64; 2]) {
        let step = match told {
            Some(hit) => self.found(which, side, &hit, false),
            None => Step::Miss(side),
        };
        self.known[which] = told.or(self.known[which]);
        self.note(which, times, step);
    }

    fn look_up(&mut self, which: usize, side: Side) {
        let key = key(self.round, which, side);
        let (told, times) = self.timed(|| self.scene.table.lookup(&key));
        self.looked_up(which, side, told, times);
    }

    fn look_up_batch(&mut self) {
        let wanted = [(0, 0), (1, 0), (0, 1), (1, 1)];
        let keys = wanted.map(|(which, side)| key(self.round, which, side));
        let (mut hashes, mut out) = ([0; 4], [None; 4]);
        let table = &self.scene.table;
        let ((), times) = self.timed(|| table.lookup_batch(&keys, &mut hashes, &mut out));
        for ((which, side), told) in wanted.into_iter().zip(out) {
            self.looked_up(which, side, told, times);
        }
    }

    fn remove(&mut self, which: usize, hit: Hit) {
        let (told, times) = self.timed(|| self.worker.remove(hit.id, hit.version()));
        if told {
            self.note(which, times, Step::Die(identity(&hit)));
            self.note(which, times, Step::Bury(identity(&hit)));
        } else {
            self.note(which, times, Step::Buried(identity(&hit)));
        }
    }

    fn update(&mut self, which: usize, hit: Hit) {
        let epoch = self.scene.epochs.fetch_add(1, Relaxed);
        let [forward, reverse] = [0, 1].map(|direction| decided(direction, epoch));
        let (told, times) = self.timed(|| self.worker.update_pair(&hit, &forward, &reverse));
        for direction in [0, 1] {
            let step = Step::Update {
                identity: identity(&hit),
                direction,
                epoch,
                surely: told.is_some(),
            };
            self.note(which, times, step);
        }
        if told.is_none() {
            self.note(which, times, Step::Gone(identity(&hit)));
        }
    }

    fn set_class(&mut self, which: usize, hit: Hit, dice: u32) {
        let classes = [Class::Udp, Class::UdpReplied, Class::Established];
        let class = classes[(dice >> 20) as usize % classes.len()];
        let (told, times) = self.timed(|| self.worker.set_class(&hit, class));
        let (flow, seen) = (identity(&hit), hit.class());
        let step = match told {
            SetClass::Set => Step::SetClass(flow, seen, class),
            SetClass::Overtaken(now) => Step::Overtaken(flow, seen, now.class()),
            SetClass::Gone => Step::Gone(flow),
            SetClass::Refused => panic!("no class of these is half open"),
        };
        self.note(which, times, step);
    }

    /// So late that whatever is there expires.
    fn age(&mut self) {
        let late = Ticks(i32::MAX as u32);
        let mut expired = Vec::new();
        let (_, times) = self.timed(|| {
            let mut cursor = AgeCursor::default();
            let tell = |view: &FlowView| expired.push(*view);
            self.worker.age(&mut cursor, usize::MAX, late, tell)
        });
        for view in expired {
            let which = usize::from(view.forward.is_ipv6());
            self.note(which, times, Step::Die((view.id, view.version)));
            self.note(which, times, Step::Bury((view.id, view.version)));
        }
    }
}

/// Two updates at once: the one that came second may leave it to the first.
fn doubt_updates_at_once(history: &mut [Timed]) {
    let all = history.to_vec();
    for timed in history {
        let Step::Update { epoch, surely, .. } = &mut timed.step else {
            continue;
        };
        let at_once = |other: &&Timed| {
            let another = matches!(other.step, Step::Update { epoch: e, .. } if e != *epoch);
            another && other.from <= timed.to && timed.from <= other.to
        };
        if all.iter().any(|other| at_once(&other)) {
            *surely = false;
        }
    }
}

fn random(seed: u32) -> u32 {
    let mut x = seed.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
    for _ in 0..3 {
        x ^= x >> 15;
        x = x.wrapping_mul(0x2c1b_3c6d);
    }
    x ^ x >> 13
}

impl Scene {
    fn play(&self, number: u32, workers: u32) {
        let _breaker = Breaker(&self.gate);
        for round in 0.. {
            if self.over.load(SeqCst) {
                break;
            }
            let mut actor = Actor {
                scene: self,
                worker: self.table.worker(number as usize),
                round,
                known: [None; KEYS],
                did: Default::default(),
            };
            self.gate.pass(workers);
            for operation in 0..OPERATIONS as u32 {
                actor.act(random(round << 8 | operation << 4 | number));
            }
            let mut histories = self.histories.lock().expect("no one panicked");
            for (history, did) in histories.iter_mut().zip(actor.did) {
                history.extend(did);
            }
            drop(histories);
            self.gate.pass(workers);
            if number == 0 {
                self.judge(round);
                self.over.store(Instant::now() > self.end, SeqCst);
            }
            self.gate.pass(workers);
        }
    }

    /// Checks the histories of a round and clears up after it.
    fn judge(&self, round: u32) {
        let mut histories = self.histories.lock().expect("no one panicked");
        for history in histories.iter_mut() {
            doubt_updates_at_once(history);
            if !is_possible(history) {
                history.sort_by_key(|timed| timed.from);
                panic!("in round {round}: {history:#?}");
            }
            history.clear();
        }
        let clear = |view: &FlowView| {
            assert!(self.table.worker(0).remove(view.id, view.version));
        };
        self.table
            .walk(&mut WalkCursor::default(), usize::MAX, clear);
        assert_eq!(self.table.len(), 0);
    }
}

fn perform(workers: u32, shards: usize) {
    let scene = Scene {
        table: FlowTable::new(&Config {
            pairs: 100,
            workers: shards,
            // Both copies of a batch lookup get their turn.
            baseline: workers > 2,
            ..Config::default()
        }),
        clock: AtomicU64::new(0),
        epochs: AtomicU32::new(0),
        gate: Gate::default(),
        histories: Mutex::default(),
        end: Instant::now() + duration(),
        over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        for number in 0..workers {
            let scene = &scene;
            scope.spawn(move || scene.play(number, workers));
        }
    });
}

#[test]
fn what_two_workers_are_told_is_possible() {
    perform(2, 2);
}

#[test]
fn what_four_workers_are_told_is_possible() {
    perform(4, 2);
}
