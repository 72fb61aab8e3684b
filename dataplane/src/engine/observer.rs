//! The thread that reads what workers note: dropped packets, whose causes it names, and how long
//! packets were in their hands.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use flowtable::Ticks;
use hdrhistogram::Histogram;

use super::EngineError;
use crate::observe::cause::{Cause, cause};
use crate::observe::drops::{Note, Notes};
use crate::observe::pulse::Pulse;
use crate::snapshot::Watcher;
use crate::tables::Tables;
use crate::tables::spec::Name;

/// Between two looks at the workers' rings.
const PAUSE: Duration = Duration::from_millis(20);

/// Dropped packets that are kept to be looked at, some 600 bytes each.
pub const KEPT: usize = 4_096;

/// Longest time in a worker's hands that is told from longer ones: 10 s.
const LONGEST_NS: u64 = 10_000_000_000;

/// Upper bounds of the times that [`Latency`] counts, in nanoseconds.
pub const LATENCY_BOUNDS_NS: [u64; 12] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// A dropped packet, with what can be said of it.
#[derive(Clone, Debug)]
pub struct Dropped {
    /// Counts from 1; one that was kept for a while and made room for others is missing.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// The worker that dropped it.
    pub worker: usize,
    /// What the worker noted.
    pub note: Note,
    /// The vif that counts it; empty if that had gone already.
    pub vif: Name,
    /// The network it was in; empty if that had gone already.
    pub vrf: Name,
    /// The other end of the tunnel it came by, if it did.
    pub peer: Option<std::net::IpAddr>,
    /// The object that caused it.
    pub cause: Cause,
}

/// The dropped packets of late, shared by whoever looks.
#[derive(Default)]
pub struct Ledger(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    packets: VecDeque<Arc<Dropped>>,
    /// Number of the last.
    last: u64,
    left_out: u64,
}

/// How long packets were in a worker's hands, from a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Samples.
    pub samples: u64,
    /// Their sum, in nanoseconds.
    pub sum_ns: u64,
    /// Samples up to each of [`LATENCY_BOUNDS_NS`].
    pub up_to: [u64; LATENCY_BOUNDS_NS.len()],
    /// Median, in nanoseconds.
    pub p50_ns: u64,
    /// 99 in 100 were shorter.
    pub p99_ns: u64,
    /// 999 in 1000 were shorter.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// The running thread.
pub(super) struct Observers {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    ledger: Arc<Ledger>,
    latencies: Arc<[Mutex<Timing>]>,
}

/// One worker's times.
struct Timing {
    histogram: Histogram<u64>,
    sum_ns: u64,
}

/// What one worker is read by.
pub(super) struct Observed {
    pub(super) notes: Notes,
    pub(super) pulse: Arc<Pulse>,
}

impl Observers {
    /// Starts reading the workers. `started_at` is when their clock was 0.
    pub(super) fn start(
        workers: Vec<Observed>,
        tables: Watcher<Tables>,
        started_at: SystemTime,
    ) -> Result<Observers, EngineError> {
        let (stop, stopped) = bounded::<()>(0);
        let ledger = Arc::<Ledger>::default();
        let timing = |_: &Observed| Mutex::new(Timing::new());
        let latencies: Arc<[Mutex<Timing>]> = workers.iter().map(timing).collect();
        let mut round = Round {
            workers,
            before: tables.current(),
            tables,
            started_at,
            ledger: ledger.clone(),
            latencies: latencies.clone(),
        };
        let run = move || {
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                round.run();
            }
        };
        let thread = std::thread::Builder::new()
            .name("observer".into())
            .spawn(run);
        let thread = thread.map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(Observers {
            stop: Some(stop),
            thread: Some(thread),
            ledger,
            latencies,
        })
    }

    pub(super) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// How long packets were in the hands of a worker.
    pub(super) fn latency(&self, worker: usize) -> Latency {
        let timing = self.latencies.get(worker);
        timing.map_or_else(Latency::default, |timing| lock(timing).read())
    }

    /// Ends the thread.
    pub(super) fn shut_down(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread does again and again.
struct Round {
    workers: Vec<Observed>,
    tables: Watcher<Tables>,
    /// Those of the last round, so that what was dropped under them is named by them.
    before: Arc<Tables>,
    started_at: SystemTime,
    ledger: Arc<Ledger>,
    latencies: Arc<[Mutex<Timing>]>,
}

impl Round {
    fn run(&mut self) {
        let tables = self.tables.current();
        let before = std::mem::replace(&mut self.before, tables.clone());
        let mut found = Vec::new();
        let mut left_out = 0;
        for (worker, observed) in self.workers.iter_mut().enumerate() {
            if let Some(timing) = self.latencies.get(worker) {
                let mut timing = lock(timing);
                observed.pulse.take_latencies(|nanos| timing.add(nanos));
            }
            while let Some(note) = observed.notes.take() {
                let tables = match note.generation == before.generation() {
                    true => &before,
                    false => &tables,
                };
                found.push(named(tables, worker, note, self.started_at));
            }
            left_out += observed.notes.left_out();
        }
        // Each worker's are in order.
        found.sort_by_key(|dropped| dropped.at);
        self.ledger.add(found, left_out);
    }
}

fn named(tables: &Tables, worker: usize, note: Note, started_at: SystemTime) -> Dropped {
    let Ticks(ms) = note.at;
    let peer = note.ingress.as_peer();
    Dropped {
        number: 0,
        at: started_at + Duration::from_millis(ms.into()),
        worker,
        vif: tables
            .vif(note.vif)
            .map_or_else(|| "".into(), |vif| vif.name.clone()),
        vrf: tables
            .vrf(note.vrf)
            .map_or_else(|| "".into(), |vrf| vrf.name.clone()),
        peer: peer.and_then(|peer| tables.underlay().peer_addr(peer)),
        cause: cause(tables, &note),
        note,
    }
}

impl Ledger {
    /// What was dropped after the packet with this number, oldest first and at most so many; and the
    /// number to ask with next.
    pub fn after(&self, number: u64, limit: usize) -> (Vec<Arc<Dropped>>, u64) {
        let kept = lock(&self.0);
        let first = kept
            .packets
            .partition_point(|dropped| dropped.number <= number);
        let found: Vec<_> = kept
            .packets
            .iter()
            .skip(first)
            .take(limit)
            .cloned()
            .collect();
        let next = found
            .last()
            .map_or(kept.last.max(number), |last| last.number);
        (found, next)
    }

    /// Number of the last packet noted.
    pub fn last(&self) -> u64 {
        lock(&self.0).last
    }

    /// Notes that workers had no room for: this thread was too slow.
    pub fn left_out(&self) -> u64 {
        lock(&self.0).left_out
    }

    fn add(&self, found: Vec<Dropped>, left_out: u64) {
        let mut kept = lock(&self.0);
        kept.left_out = left_out;
        for mut dropped in found {
            kept.last += 1;
            dropped.number = kept.last;
            if kept.packets.len() == KEPT {
                kept.packets.pop_front();
            }
            kept.packets.push_back(Arc::new(dropped));
        }
    }
}

impl Timing {
    fn new() -> Timing {
        // Two digits, up to the longest; the library refuses other numbers only.
        let histogram = Histogram::new_with_max(LONGEST_NS, 2);
        let Ok(histogram) = histogram else {
            unreachable!("these bounds are the library's own example");
        };
        Timing {
            histogram,
            sum_ns: 0,
        }
    }

    fn add(&mut self, nanos: u64) {
        self.histogram.saturating_record(nanos);
        self.sum_ns += nanos;
    }

    fn read(&self) -> Latency {
        let all = &self.histogram;
        Latency {
            samples: all.len(),
            sum_ns: self.sum_ns,
            up_to: LATENCY_BOUNDS_NS.map(|bound| all.count_between(0, bound)),
            p50_ns: all.value_at_quantile(0.5),
            p99_ns: all.value_at_quantile(0.99),
            p999_ns: all.value_at_quantile(0.999),
            max_ns: all.max(),
        }
    }
}

/// Whoever panicked with it left whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
