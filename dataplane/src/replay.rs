//! Captures in, captures out: the same stages as in production, one worker, the
//! packets' own timestamps as the clock. Nothing depends on the machine or the
//! moment, so two runs write the same bytes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encap::{Buffer, MemBuffer};
use flowtable::{FlowTable, FlowView, Ticks, Timeouts, WalkCursor};

use crate::accounts;
use crate::counters::Totals;
use crate::io::pcap::{PcapError, PcapReader};
use crate::io::{Batch, RxQueue, TxQueue, memory};
use crate::snapshot::Publisher;
use crate::stage::error_rate;
use crate::tables::Tables;
use crate::tables::change::{Change, Refusal, Request};
use crate::tables::spec::{Name, Object};
use crate::worker::Worker;

/// Flows a replay keeps at most.
const FLOWS: usize = 1 << 20;
/// While packets wait for a neighbour the clock goes in steps of this.
const STEP_MS: u64 = 500;
/// Steps after which nothing can be waiting any more.
const STEPS: usize = 10;

/// The longest time that passes at once: 20 days. Ticks compare up to 24.8.
const MAX_STRIDE_NS: u64 = 20 * 86_400 * 1_000_000_000;

/// A sent packet.
pub struct Sent<'a> {
    /// The vif it left by.
    pub vif: &'a str,
    /// When, in nanoseconds of the captures' time.
    pub time_ns: u64,
    /// Its bytes.
    pub frame: &'a [u8],
}

/// What a replay found.
pub struct Report {
    /// Counters by vif, in name order.
    pub vifs: BTreeMap<Name, Totals>,
    /// Flows that live at the end, oldest first.
    pub flows: Vec<FlowView>,
    /// The clock at the end, which flow times are read against.
    pub now: Ticks,
    /// The configuration.
    pub tables: Arc<Tables>,
}

/// Why a replay stopped.
#[derive(Debug)]
pub enum Error {
    /// The objects do not make a configuration.
    Refused(Vec<Refusal>),
    /// A capture is for a vif that is not configured.
    NoSuchVif(String),
    /// A capture cannot be read.
    Input(PcapError),
    /// A capture cannot be written.
    Output(PcapError),
}

/// Runs captures through a configuration.
///
/// Packets are taken in the order of their timestamps, those of equal time in
/// the order of `inputs`; time never goes back, whatever a capture says. `sink`
/// gets every packet sent, in order.
///
/// # Errors
/// [`Error`].
pub fn run(
    objects: Vec<Object>,
    inputs: Vec<(String, PcapReader)>,
    seed: u64,
    sink: impl FnMut(Sent<'_>) -> Result<(), PcapError>,
) -> Result<Report, Error> {
    let mut replay = Replay::new(objects, seed)?;
    let mut sources = Vec::new();
    for (vif, reader) in inputs {
        let queue = replay.queue(&vif).ok_or(Error::NoSuchVif(vif))?;
        let mut source = Source {
            reader,
            queue,
            next: None,
        };
        source.advance()?;
        sources.push(source);
    }
    replay.run(&mut sources, sink)?;
    Ok(replay.report())
}

struct Replay {
    tables: Arc<Tables>,
    flows: Arc<FlowTable>,
    worker: Worker<MemBuffer>,
    arrivals: BTreeMap<Name, Arrivals>,
    departures: Departures,
    clock: Clock,
}

/// Packets on their way to a vif's receive queue.
type Arrivals = Arc<Mutex<VecDeque<MemBuffer>>>;
/// Packets sent, with the vif's name.
type Departures = Arc<Mutex<Vec<(Name, MemBuffer)>>>;

/// A capture being read.
struct Source {
    reader: PcapReader,
    queue: Arrivals,
    next: Option<(u64, MemBuffer)>,
}

/// The captures' time and the engine's.
#[derive(Default)]
struct Clock {
    first_ns: Option<u64>,
    now_ns: u64,
    aged: Ticks,
}

impl Replay {
    fn new(objects: Vec<Object>, seed: u64) -> Result<Replay, Error> {
        let request = Request {
            owner: "replay".into(),
            replace: false,
            if_generation: None,
            changes: objects.into_iter().map(Change::Upsert).collect(),
        };
        let draft = Tables::new(1).prepare(&request).map_err(Error::Refused)?;
        let (tables, changed) = draft.finish(|_| None);
        let publisher = Publisher::new(tables);
        let seed = [seed, !seed, seed.rotate_left(32), seed.swap_bytes()];
        let table = accounts::table_config(FLOWS, seed, Timeouts::default(), 1);
        let flows = Arc::new(FlowTable::new(&table).with_endings(publisher.current().endings()));
        accounts::set_quotas(&flows, &publisher.current(), &changed);
        let pool = Box::new(memory::Pool);
        let mut worker = Worker::new(0, publisher.reader(), flows.clone(), pool)
            .with_error_limits(error_rate::PER_SECOND, seed);
        let tables = publisher.current();
        let departures = Departures::default();
        let mut arrivals = BTreeMap::new();
        for vif in tables.vifs() {
            let queue = Arrivals::default();
            worker.attach_tx(
                vif.id,
                Box::new(Departing(vif.name.clone(), departures.clone())),
            );
            worker.attach_rx(
                vif.id,
                vif.counters.clone(),
                Box::new(Arriving(queue.clone())),
            );
            arrivals.insert(vif.name.clone(), queue);
        }
        Ok(Replay {
            tables,
            flows,
            worker,
            arrivals,
            departures,
            clock: Clock::default(),
        })
    }

    fn queue(&self, vif: &str) -> Option<Arrivals> {
        self.arrivals.get(vif).cloned()
    }

    fn run(
        &mut self,
        sources: &mut [Source],
        mut sink: impl FnMut(Sent<'_>) -> Result<(), PcapError>,
    ) -> Result<(), Error> {
        while let Some(source) = earliest(sources) {
            let Some((time_ns, packet)) = source.next.take() else {
                break;
            };
            source.advance()?;
            self.wait_until(time_ns, &mut sink)?;
            self.catch_up(time_ns, &mut sink)?;
            self.clock.advance_to(time_ns);
            lock(&source.queue).push_back(packet);
            self.poll(&mut sink)?;
        }
        self.wait_until(u64::MAX, &mut sink)
    }

    /// Lets the time pass in which waiting packets are resolved or given up.
    fn wait_until(
        &mut self,
        time_ns: u64,
        sink: &mut impl FnMut(Sent<'_>) -> Result<(), PcapError>,
    ) -> Result<(), Error> {
        for _ in 0..STEPS {
            let step_ns = self.clock.now_ns.saturating_add(STEP_MS * 1_000_000);
            if !self.worker.is_waiting() || step_ns >= time_ns {
                return Ok(());
            }
            self.clock.advance_to(step_ns);
            self.poll(sink)?;
        }
        Ok(())
    }

    /// Lets a long silence pass in strides that ticks can measure.
    fn catch_up(
        &mut self,
        time_ns: u64,
        sink: &mut impl FnMut(Sent<'_>) -> Result<(), PcapError>,
    ) -> Result<(), Error> {
        while self.clock.first_ns.is_some()
            && time_ns.saturating_sub(self.clock.now_ns) > MAX_STRIDE_NS
        {
            self.clock.advance_to(self.clock.now_ns + MAX_STRIDE_NS);
            self.poll(sink)?;
        }
        Ok(())
    }

    fn poll(
        &mut self,
        sink: &mut impl FnMut(Sent<'_>) -> Result<(), PcapError>,
    ) -> Result<(), Error> {
        let now = self.clock.ticks();
        if now.since(self.clock.aged) >= 1_000 {
            // The worker ages by the millisecond; a capture may skip hours.
            self.clock.aged = now;
            if !self.flows.is_empty() || self.tables.learned().buckets() > 0 {
                self.worker.age_all(now);
            }
        }
        self.worker.poll(now);
        for (vif, packet) in lock(&self.departures).drain(..) {
            let whole;
            let frame = match packet.is_chained() {
                false => packet.bytes(),
                true => {
                    whole = packet.to_vec();
                    &whole
                }
            };
            let sent = Sent {
                vif: &vif,
                time_ns: self.clock.now_ns,
                frame,
            };
            sink(sent).map_err(Error::Output)?;
        }
        Ok(())
    }

    fn report(self) -> Report {
        let mut flows = Vec::new();
        let mut cursor = WalkCursor::default();
        while !cursor.is_done() {
            self.flows
                .walk(&mut cursor, 4_096, |flow| flows.push(*flow));
        }
        flows.sort_by_key(|flow| (flow.start.0, flow.id.index()));
        let counters = self
            .tables
            .vifs()
            .map(|vif| (vif.name.clone(), vif.counters.totals()));
        Report {
            vifs: counters.collect(),
            flows,
            now: self.clock.ticks(),
            tables: self.tables,
        }
    }
}

impl Source {
    fn advance(&mut self) -> Result<(), Error> {
        let packet = self.reader.next_packet().map_err(Error::Input)?;
        self.next = packet.map(|(time_ns, frame)| (time_ns, MemBuffer::from_frame(frame)));
        Ok(())
    }
}

impl Clock {
    fn advance_to(&mut self, time_ns: u64) {
        self.first_ns.get_or_insert(time_ns);
        self.now_ns = self.now_ns.max(time_ns);
    }

    /// Milliseconds since the first packet.
    fn ticks(&self) -> Ticks {
        let first = self.first_ns.unwrap_or(self.now_ns);
        Ticks(((self.now_ns - first) / 1_000_000) as u32)
    }
}

/// A vif's receive side.
struct Arriving(Arrivals);

impl RxQueue<MemBuffer> for Arriving {
    fn rx_burst(&mut self, batch: &mut Batch<MemBuffer>) -> usize {
        let mut arrivals = lock(&self.0);
        let count = arrivals.len().min(batch.remaining_capacity());
        batch.extend(arrivals.drain(..count));
        count
    }
}

/// A vif's transmit side.
struct Departing(Name, Departures);

impl TxQueue<MemBuffer> for Departing {
    fn tx_burst(&mut self, batch: &mut Batch<MemBuffer>) -> usize {
        let count = batch.len();
        let mut departures = lock(&self.1);
        departures.extend(batch.drain(..).map(|packet| (self.0.clone(), packet)));
        count
    }
}

fn earliest(sources: &mut [Source]) -> Option<&mut Source> {
    sources
        .iter_mut()
        .filter(|source| source.next.is_some())
        .min_by_key(|source| source.next.as_ref().map(|(time_ns, _)| *time_ns))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread uses these; a poisoned lock cannot be seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
