//! One worker between a source and a sink in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dataplane::io::{Batch, RxQueue, TxQueue};
use dataplane::snapshot::Publisher;
use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Request};
use dataplane::worker::Worker;
use encap::Buffer;
use flowtable::{FlowTable, Ticks};
use quanta::Clock;

use crate::frames::{Frame, Pool};
use crate::traffic::Scenario;

/// Packets in a burst, as a NIC at line rate delivers them.
const BURST: usize = 32;
/// Packets in a window: short enough that some windows are undisturbed.
const WINDOW: u64 = 200_000;

/// One measured line.
pub struct Line {
    /// What was measured.
    pub scenario: Scenario,
    /// With how many flows.
    pub flows: u32,
    /// Cycles of the time-stamp counter per packet, one value per window, ascending.
    pub cycles: Vec<f64>,
    /// Nanoseconds per packet, one value per window, ascending.
    pub nanoseconds: Vec<f64>,
}

/// Measures one scenario with so many flows.
///
/// # Errors
/// A sentence, if packets were lost: then the numbers mean nothing.
pub fn measure(scenario: Scenario, flows: u32, time: Duration) -> Result<Line, String> {
    let mut rig = Rig::new(scenario, flows)?;
    rig.run(u64::from(flows).max(WINDOW)); // every flow set up, caches warm
    rig.check()?;
    let mut cycles = Vec::new();
    let mut nanoseconds = Vec::new();
    let started = Instant::now();
    while started.elapsed() < time {
        let spent = rig.run(WINDOW);
        cycles.push(spent.cycles as f64 / WINDOW as f64);
        nanoseconds.push(spent.nanoseconds / WINDOW as f64);
    }
    rig.check()?;
    cycles.sort_by(f64::total_cmp);
    nanoseconds.sort_by(f64::total_cmp);
    Ok(Line {
        scenario,
        flows,
        cycles,
        nanoseconds,
    })
}

struct Rig {
    worker: Worker<Frame>,
    tables: Arc<Tables>,
    meter: Arc<Meter>,
    sent: u64,
    scenario: Scenario,
    started: Instant,
}

/// Cycles spent outside of the engine.
#[derive(Default)]
struct Meter {
    outside: AtomicU64,
    delivered: AtomicU64,
}

struct Spent {
    cycles: u64,
    nanoseconds: f64,
}

impl Rig {
    fn new(scenario: Scenario, flows: u32) -> Result<Rig, String> {
        let request = Request {
            owner: "bench".into(),
            replace: false,
            if_generation: None,
            changes: Scenario::objects()
                .into_iter()
                .map(Change::Upsert)
                .collect(),
        };
        let draft = Tables::new(1)
            .prepare(&request)
            .map_err(|refusals| format!("the configuration: {}", refusals[0]))?;
        let (tables, _) = draft.finish(|_| None);
        let publisher = Publisher::new(tables);
        let table = Arc::new(FlowTable::new(&flowtable::Config {
            pairs: (flows as usize * 5 / 4).max(1 << 16),
            seed: [1, 2, 3, 4],
            ..flowtable::Config::default()
        }));
        let pool = Pool::new(BURST * 4);
        let tables = publisher.current();
        let mut worker = Worker::new(0, publisher.reader(), table, Box::new(pool.clone()));
        let meter = Arc::<Meter>::default();
        for vif in tables.vifs() {
            let sink = Sink {
                pool: pool.clone(),
                meter: meter.clone(),
                clock: Clock::new(),
            };
            worker.attach_tx(vif.id, Box::new(sink));
            if &*vif.name == scenario.ingress() {
                let source = Source {
                    pool: pool.clone(),
                    meter: meter.clone(),
                    clock: Clock::new(),
                    scenario,
                    template: scenario.template(),
                    order: Order::new(flows),
                };
                worker.attach_rx(vif.id, vif.counters.clone(), Box::new(source));
            }
        }
        Ok(Rig {
            worker,
            tables,
            meter,
            sent: 0,
            scenario,
            started: Instant::now(),
        })
    }

    fn run(&mut self, packets: u64) -> Spent {
        let clock = Clock::new();
        let outside = self.meter.outside.load(Ordering::Relaxed);
        let (began, start) = (Instant::now(), clock.raw());
        let mut left = packets as i64;
        while left > 0 {
            // As in production: the clock is read once a round.
            let now = Ticks(self.started.elapsed().as_millis() as u32);
            let received = self.worker.poll(now);
            self.sent += received as u64;
            left -= received as i64;
        }
        let total = clock.raw() - start;
        let outside = self.meter.outside.load(Ordering::Relaxed) - outside;
        let share = (total - outside) as f64 / total as f64;
        Spent {
            cycles: total - outside,
            nanoseconds: began.elapsed().as_nanos() as f64 * share,
        }
    }

    /// A number is worth nothing if packets were lost on the way to it.
    fn check(&self) -> Result<(), String> {
        let delivered = self.meter.delivered.load(Ordering::Relaxed);
        if delivered == self.sent {
            return Ok(());
        }
        let vif = self.tables.vif_named(self.scenario.ingress());
        let drops: Vec<String> = vif
            .iter()
            .flat_map(|vif| vif.counters.totals().drops().collect::<Vec<_>>())
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        Err(format!(
            "{}: {} packets in, {delivered} out: {}",
            self.scenario.name(),
            self.sent,
            drops.join(", ")
        ))
    }
}

/// Makes frames; the time it takes is the meter's.
struct Source {
    pool: Pool,
    meter: Arc<Meter>,
    clock: Clock,
    scenario: Scenario,
    template: Vec<u8>,
    order: Order,
}

impl RxQueue<Frame> for Source {
    fn rx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        let start = self.clock.raw();
        let (template, order, scenario) = (&self.template, &mut self.order, self.scenario);
        let count = self.pool.with(|free| {
            let count = free.len().min(BURST);
            for mut frame in free.drain(free.len() - count..) {
                frame.fill(template);
                scenario.set_flow(frame.bytes_mut(), order.next());
                batch.push(frame);
            }
            count
        });
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

impl TxQueue<Frame> for Sink {
    fn tx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        let start = self.clock.raw();
        let count = batch.len();
        self.pool.with(|free| free.extend(batch.drain(..)));
        add(&self.meter.delivered, count as u64);
        add(&self.meter.outside, self.clock.raw() - start);
        count
    }
}

/// Flow numbers in random order, each as often as the others: a full-period
/// linear congruential generator over the next power of two, values beyond the
/// range skipped (Knuth, TAOCP vol. 2, 3.2.1.2 theorem A).
struct Order {
    flows: u32,
    mask: u32,
    state: u32,
}

impl Order {
    fn new(flows: u32) -> Order {
        Order {
            flows,
            mask: flows.next_power_of_two().wrapping_sub(1),
            state: 0,
        }
    }

    #[inline]
    fn next(&mut self) -> u32 {
        loop {
            self.state = self
                .state
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            self.state &= self.mask;
            // The low bits of such a generator count up; fold the high ones in.
            let half = self.mask.count_ones().div_ceil(2).max(1);
            let number = self.state ^ self.state.wrapping_shr(half);
            if number < self.flows {
                return number;
            }
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flow_comes_equally_often() {
        for flows in [1, 2, 1_000, 65_536] {
            let mut order = Order::new(flows);
            let mut seen = vec![0; flows as usize];
            (0..flows * 3).for_each(|_| seen[order.next() as usize] += 1);
            assert!(seen.iter().all(|count| *count == 3), "{flows} flows");
        }
    }

    #[test]
    fn every_packet_of_every_scenario_arrives() {
        for scenario in Scenario::ALL {
            let mut rig = Rig::new(scenario, 1_000).expect("a rig");
            rig.run(10_000);
            rig.check().expect("no packet is lost");
        }
    }
}
