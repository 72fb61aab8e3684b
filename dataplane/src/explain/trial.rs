//! Trying a packet out: a worker of its own takes it through the same stages as any, with a copy of the
//! state, and nobody else hears of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encap::MemBuffer;
use flowtable::{FlowId, FlowTable, Insert, Key, NewFlow, Ticks, WalkCursor};

use super::recorder::{Recorder, Seen};
use super::{Packet, Setting};
use crate::accounts;
use crate::counters::Totals;
use crate::io::{Batch, RxQueue, TxQueue, memory};
use crate::reason::DropReason;
use crate::snapshot::Publisher;
use crate::stage::fragments;
use crate::tables::spec::Name;
use crate::tables::{Tables, VifId};
use crate::worker::Worker;

/// Flows of a trial: those that the packets belong to, and those they make.
const FLOWS: usize = 256;

/// How often a trial is begun anew because a flow of the engine turned out to be in the way of one
/// that the packets make.
const ATTEMPTS: usize = 4;

/// What a trial keeps of fragments: a pcap's worth.
const FRAGMENTS: fragments::Limits = fragments::Limits {
    datagrams: 64,
    held_packets: 256,
    held_bytes: 4 << 20,
    timeout_ms: 30_000,
};

/// What became of one packet.
#[derive(Clone, Debug)]
pub(super) struct Tried {
    /// What the stages said, in order.
    pub(super) seen: Vec<Seen>,
    /// What left, in order.
    pub(super) sent: Vec<(Name, Vec<u8>)>,
    /// What was dropped, and for which vif it counts.
    pub(super) drops: Vec<(Name, DropReason, u64)>,
    /// Frames that ended here as they should.
    pub(super) consumed: u64,
    /// Frames that were made here.
    pub(super) originated: u64,
    /// Something waits, for a neighbour or for other fragments.
    pub(super) waits: bool,
}

/// Tries packets out one after the other; what an earlier one leaves behind (a flow, a fragment) is
/// there for the next.
pub(super) fn run(setting: &Setting, packets: &[Packet]) -> (Tables, Vec<Tried>) {
    let mut known = Vec::new();
    for _ in 1..ATTEMPTS {
        let mut trial = Trial::new(setting, &known);
        let tried = trial.all(setting, packets);
        let in_the_way = trial.in_the_way(setting.flows);
        if in_the_way.is_empty() {
            return (Tables::clone(&trial.tables), tried);
        }
        known.extend(in_the_way);
    }
    let mut trial = Trial::new(setting, &known);
    let tried = trial.all(setting, packets);
    (Tables::clone(&trial.tables), tried)
}

struct Trial {
    tables: Arc<Tables>,
    flows: Arc<FlowTable>,
    worker: Worker<MemBuffer>,
    arrivals: BTreeMap<VifId, Arrivals>,
    departures: Departures,
    /// Flows of the engine that were brought in.
    brought: Vec<FlowId>,
}

type Arrivals = Arc<Mutex<VecDeque<MemBuffer>>>;
type Departures = Arc<Mutex<Vec<(VifId, Vec<u8>)>>>;

impl Trial {
    /// With these flows of the engine from the beginning.
    fn new(setting: &Setting, known: &[Key]) -> Trial {
        let publisher = Publisher::new(setting.tables.apart());
        let tables = publisher.current();
        let flows = Arc::new(setting.flows.twin(FLOWS));
        let mut worker = Worker::new(0, publisher.reader(), flows.clone(), Box::new(memory::Pool))
            .with_error_limits(setting.icmp_errors_per_second, [0; 4])
            .with_fragment_limits(&FRAGMENTS)
            .with_reassembly_limits(&FRAGMENTS);
        let departures = Departures::default();
        for vif in tables.vifs() {
            worker.attach_tx(vif.id, Box::new(Departing(vif.id, departures.clone())));
        }
        let mut brought = Vec::new();
        for key in known {
            brought.extend(bring(setting.flows, &flows, key, setting.now));
        }
        Trial {
            tables,
            flows,
            worker,
            arrivals: BTreeMap::new(),
            departures,
            brought,
        }
    }

    fn all(&mut self, setting: &Setting, packets: &[Packet]) -> Vec<Tried> {
        packets.iter().map(|it| self.one(setting, it)).collect()
    }

    fn one(&mut self, setting: &Setting, packet: &Packet) -> Tried {
        let before = self.totals();
        let Some(vif) = self.tables.vif_named(&packet.vif).cloned() else {
            // Whoever asks has looked that it is there.
            return Tried::of_nobody(packet);
        };
        let queue = self.arrivals.entry(vif.id).or_insert_with(|| {
            let queue = Arrivals::default();
            let arriving = Box::new(Arriving(queue.clone()));
            self.worker
                .attach_rx(vif.id, vif.counters.clone(), arriving);
            queue
        });
        lock(queue).push_back(MemBuffer::from_frame(&packet.frame));
        let mut recorder = Recorder::new(setting.flows);
        self.worker.poll_watched(setting.now, &mut recorder);
        self.brought.extend(recorder.brought);
        let mut tried = Tried {
            seen: recorder.seen,
            sent: Vec::new(),
            drops: Vec::new(),
            consumed: 0,
            originated: 0,
            waits: self.worker.is_waiting(),
        };
        for (vif, frame) in lock(&self.departures).drain(..) {
            let name = self.tables.vif(vif).map(|vif| vif.name.clone());
            tried.sent.push((name.unwrap_or_else(|| "".into()), frame));
        }
        for (name, after) in self.totals() {
            let was = &before[&name];
            tried.consumed += after.consumed - was.consumed;
            tried.originated += after.originated - was.originated;
            for (reason, count) in after.drops() {
                let news = count - was.drops[reason as usize];
                if news > 0 {
                    tried.drops.push((name.clone(), reason, news));
                }
            }
        }
        tried
    }

    fn totals(&self) -> BTreeMap<Name, Totals> {
        let all = self.tables.vifs();
        all.map(|vif| (vif.name.clone(), vif.counters.totals()))
            .collect()
    }

    /// Keys of the engine's flows that stand where the packets have made one.
    fn in_the_way(&self, live: &FlowTable) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut cursor = WalkCursor::default();
        while !cursor.is_done() {
            self.flows.walk(&mut cursor, FLOWS, |flow| {
                keys.extend([flow.forward, flow.reverse]);
            });
        }
        let is_new = |key: &Key| {
            let hit = live.lookup(key);
            hit.is_some_and(|hit| !self.brought.contains(&forward(hit.id)))
        };
        keys.into_iter().filter(is_new).collect()
    }
}

impl Tried {
    fn of_nobody(packet: &Packet) -> Tried {
        Tried {
            seen: Vec::new(),
            sent: Vec::new(),
            drops: vec![(packet.vif.clone(), DropReason::VifGone, 1)],
            consumed: 0,
            originated: 0,
            waits: false,
        }
    }
}

/// Enters a copy of the engine's flow with this key in the trial's table, where it counts for nobody;
/// the flow's number in the engine, if there is one.
pub(super) fn bring(live: &FlowTable, into: &FlowTable, key: &Key, now: Ticks) -> Option<FlowId> {
    let hit = live.lookup(key)?;
    let flow = live.flow(hit.id, hit.version())?;
    let inserted = into.worker(0).insert_pair(&NewFlow {
        forward: &flow.forward,
        forward_action: &flow.forward_action,
        reverse: &flow.reverse,
        reverse_action: &flow.reverse_action,
        class: flow.class,
        vif: 0,
        vrf: 0,
        note: flow.note,
        now,
    });
    matches!(inserted, Insert::Inserted(_)).then(|| forward(hit.id))
}

fn forward(id: FlowId) -> FlowId {
    match id.is_forward() {
        true => id,
        false => id.partner(),
    }
}

/// Has the trial's table refuse what the engine's has no room for: owners at their quota, none of whose
/// flows could give way.
pub(super) fn set_quotas(tables: &Tables, live: &FlowTable, trial: &FlowTable) {
    let vifs = tables.vifs().map(|vif| accounts::vif(vif.id));
    let vrfs = tables.vrfs().map(|vrf| accounts::vrf(vrf.id));
    for owner in vifs.chain(vrfs) {
        let usage = live.usage(owner);
        let is_full = usage.limit.is_some_and(|limit| usage.used >= limit);
        if is_full && usage.half_open == 0 {
            trial.set_quota(owner, Some(0));
        }
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
struct Departing(VifId, Departures);

impl TxQueue<MemBuffer> for Departing {
    fn tx_burst(&mut self, batch: &mut Batch<MemBuffer>) -> usize {
        let count = batch.len();
        let sent = batch.drain(..).map(|packet| (self.0, packet.to_vec()));
        lock(&self.1).extend(sent);
        count
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread uses these; a poisoned lock cannot be seen.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
