//! One worker between sources and a sink in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use dataplane::io::{Batch, RxQueue, TxQueue};
use dataplane::snapshot::Publisher;
use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Request};
use dataplane::worker::Worker;
use encap::Buffer;
use flowtable::{FlowTable, Ticks};
use quanta::Clock;

use super::buffers::{Frame, Pool};
use super::case::{Case, Load, Path};
use super::frames::{Frames, NUMBERS};
use super::objects;
use super::order::Order;
use crate::table::ours::memory;

/// Packets in a burst, as a NIC at line rate delivers them.
const BURST: usize = 32;

/// The engine with packets of one case.
pub struct Rig {
    worker: Worker<Frame>,
    tables: Arc<Tables>,
    meter: Arc<Meter>,
    sent: u64,
    case: Case,
    started: Instant,
    /// How far the engine's clock is ahead, in milliseconds.
    ahead: u32,
}

/// Cycles spent outside of the engine, and what sources are to send.
#[derive(Default)]
struct Meter {
    outside: AtomicU64,
    delivered: AtomicU64,
    /// First packets in a hundred.
    fresh: AtomicU64,
    /// By callgrind.
    is_counted: AtomicBool,
}

/// What some packets took.
pub struct Spent {
    /// Of the time-stamp counter.
    pub cycles: u64,
    /// Of the same work.
    pub nanoseconds: f64,
    /// How many packets it were.
    pub packets: u64,
}

impl Rig {
    /// A node configured for the case, its table empty.
    ///
    /// # Errors
    /// A sentence, if the configuration is refused.
    pub fn new(case: &Case) -> Result<Rig, String> {
        let request = Request {
            owner: "bench".into(),
            replace: false,
            if_generation: None,
            changes: objects::objects(case)
                .into_iter()
                .map(Change::Upsert)
                .collect(),
        };
        let draft = Tables::new(1)
            .prepare(&request)
            .map_err(|refusals| format!("the configuration: {}", refusals[0]))?;
        let (tables, _) = draft.finish(|_| None);
        let publisher = Publisher::new(tables);
        let flows = match case.load {
            Load::Established => case.flows as usize,
            Load::New | Load::Churn(_) => case.flows as usize * 2,
        };
        let config = flowtable::Config {
            pairs: (flows * 5 / 4).max(1 << 16),
            seed: [1, 2, 3, 4],
            vifs: case.vrfs as usize + 2,
            vrfs: case.vrfs as usize + 2,
            half_open_percent: 100,
            ..flowtable::Config::default()
        };
        let block = memory(FlowTable::memory_needed(&config));
        let table = Arc::new(FlowTable::with_memory(&config, Box::new(block)));
        let pool = Pool::new(BURST * 4);
        let tables = publisher.current();
        let mut worker = Worker::new(0, publisher.reader(), table, Box::new(pool.clone()));
        let meter = Arc::<Meter>::default();
        for vif in tables.vifs() {
            worker.attach_tx(vif.id, Box::new(Sink::new(&pool, &meter)));
        }
        for vrf in 0..case.vrfs {
            let name = objects::ingress(case, vrf);
            let vif = tables.vif_named(&name).ok_or("a vif is missing")?;
            // All vrfs' packets out of tunnels come by one queue.
            let vrfs = match case.path {
                Path::Decap if vrf > 0 => continue,
                Path::Decap => 0..case.vrfs,
                Path::Encap | Path::Whole => vrf..vrf + 1,
            };
            let source = Source::new(case, vrfs, &pool, &meter);
            worker.attach_rx(vif.id, vif.counters.clone(), Box::new(source));
        }
        Ok(Rig {
            worker,
            tables,
            meter,
            sent: 0,
            case: *case,
            started: Instant::now(),
            ahead: 0,
        })
    }

    /// Sends packets of established flows only, until each has come at least once.
    pub fn establish(&mut self) {
        self.meter.fresh.store(0, Ordering::Relaxed);
        self.run(u64::from(self.case.flows) * 2 + 1_000);
    }

    /// From now on, so many first packets in a hundred.
    pub fn set_fresh(&mut self, percent: u8) {
        self.meter.fresh.store(percent.into(), Ordering::Relaxed);
    }

    /// Sends so many packets, or a few more.
    pub fn run(&mut self, packets: u64) -> Spent {
        let clock = Clock::new();
        let outside = self.meter.outside.load(Ordering::Relaxed);
        let (began, start) = (Instant::now(), clock.raw());
        let mut done = 0;
        while done < packets {
            // As in production: the clock is read once a round.
            let now = self.now();
            done += self.worker.poll(now) as u64;
        }
        self.sent += done;
        let total = clock.raw() - start;
        let outside = self.meter.outside.load(Ordering::Relaxed) - outside;
        let share = (total - outside) as f64 / total as f64;
        Spent {
            cycles: total - outside,
            nanoseconds: began.elapsed().as_nanos() as f64 * share,
            packets: done,
        }
    }

    /// Sends so many packets while callgrind counts.
    pub fn count(&mut self, packets: u64) {
        self.meter.is_counted.store(true, Ordering::Relaxed);
        let mut done = 0;
        while done < packets {
            let now = self.now();
            done += counted(&mut self.worker, now) as u64;
        }
        self.meter.is_counted.store(false, Ordering::Relaxed);
        self.sent += done;
    }

    /// Lets an hour pass, after which no flow is left.
    pub fn forget(&mut self) {
        self.ahead += 3_600_000;
        let now = self.now();
        self.worker.age_all(now);
    }

    /// # Errors
    /// A sentence, if packets were lost: a number is worth nothing then.
    pub fn check(&self) -> Result<(), String> {
        let delivered = self.meter.delivered.load(Ordering::Relaxed);
        if delivered == self.sent {
            return Ok(());
        }
        let vifs = self.tables.vifs();
        let drops: Vec<String> = vifs
            .flat_map(|vif| vif.counters.totals().drops().collect::<Vec<_>>())
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .take(8)
            .collect();
        Err(format!(
            "{}: {} packets in, {delivered} out: {}",
            self.case.path,
            self.sent,
            drops.join(", ")
        ))
    }

    fn now(&self) -> Ticks {
        let elapsed = self.started.elapsed().as_millis() as u32;
        Ticks(elapsed.wrapping_add(self.ahead))
    }
}

/// One round of the worker; callgrind counts in it, by its name.
#[inline(never)]
fn counted(worker: &mut Worker<Frame>, now: Ticks) -> usize {
    worker.poll(now)
}

/// What is done between; callgrind does not count in it, by its name.
#[inline(never)]
fn outside<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Makes frames; the time it takes is the meter's.
struct Source {
    pool: Pool,
    meter: Arc<Meter>,
    clock: Clock,
    machines: Vec<(Frames, Order)>,
    /// Whose turn it is.
    turn: usize,
    /// The next new flow.
    fresh: u32,
    /// Established flows have numbers below this.
    flows: u32,
    /// Where in a hundred it is.
    share: u64,
}

impl Source {
    fn new(case: &Case, vrfs: std::ops::Range<u32>, pool: &Pool, meter: &Arc<Meter>) -> Source {
        let flows = case.flows_each();
        let machines = vrfs.map(|vrf| (Frames::new(case, vrf), Order::new(flows)));
        Source {
            pool: pool.clone(),
            meter: meter.clone(),
            clock: Clock::new(),
            machines: machines.collect(),
            turn: 0,
            fresh: flows,
            flows,
            share: 0,
        }
    }

    fn number(&mut self, machine: usize, percent: u64) -> u32 {
        self.share += percent;
        if self.share < 100 {
            return self.machines[machine].1.pick();
        }
        self.share -= 100;
        let number = self.fresh;
        self.fresh = match number + 1 {
            NUMBERS => self.flows,
            next => next,
        };
        number
    }

    #[inline(never)]
    fn make(&mut self, batch: &mut Batch<Frame>) -> usize {
        let percent = self.meter.fresh.load(Ordering::Relaxed);
        let pool = self.pool.clone();
        pool.with(|free| {
            let count = free.len().min(BURST);
            for mut frame in free.drain(free.len() - count..) {
                self.turn = match self.turn + 1 {
                    next if next < self.machines.len() => next,
                    _ => 0,
                };
                let number = self.number(self.turn, percent);
                self.machines[self.turn].0.write(number, |bytes| {
                    frame.fill(bytes);
                    frame.bytes_mut()
                });
                batch.push(frame);
            }
            count
        })
    }
}

impl RxQueue<Frame> for Source {
    fn rx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        let start = self.clock.raw();
        let count = match self.meter.is_counted.load(Ordering::Relaxed) {
            true => outside(|| self.make(batch)),
            false => self.make(batch),
        };
        add(&self.meter.outside, self.clock.raw() - start);
        count
    }
}

/// Counts frames and gives the buffers back.
struct Sink {
    pool: Pool,
    meter: Arc<Meter>,
    clock: Clock,
}

impl Sink {
    fn new(pool: &Pool, meter: &Arc<Meter>) -> Sink {
        Sink {
            pool: pool.clone(),
            meter: meter.clone(),
            clock: Clock::new(),
        }
    }

    #[inline(never)]
    fn take(&mut self, batch: &mut Batch<Frame>) -> usize {
        let count = batch.len();
        self.pool.with(|free| free.extend(batch.drain(..)));
        add(&self.meter.delivered, count as u64);
        count
    }
}

impl TxQueue<Frame> for Sink {
    fn tx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        let start = self.clock.raw();
        let count = match self.meter.is_counted.load(Ordering::Relaxed) {
            true => outside(|| self.take(batch)),
            false => self.take(batch),
        };
        add(&self.meter.outside, self.clock.raw() - start);
        count
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
