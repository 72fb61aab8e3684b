//! A worker: polls its queues and takes each batch through the stages.
//!
//! Everything a packet meets stands in `Worker::process`, top to bottom. A
//! worker owns its queues and counters; it shares the snapshot (read) and the
//! flow table (lock-free) with the others, and nothing else. Time is an argument.

use std::sync::Arc;

use encap::Buffer;
use flowtable::{AgeCursor, FlowTable, Ticks};

use crate::counters::VifCounters;
use crate::io::{BATCH, Pool, RxQueue, TxQueue};
use crate::reason::DropReason;
use crate::resolver::{Asking, Rounds};
use crate::sessions;
use crate::snapshot::Reader;
use crate::stage::announce::Announcer;
use crate::stage::error_rate::{self, ErrorRate};
use crate::stage::forward::Exits;
use crate::stage::fragments::{self, Fragments};
use crate::stage::learn::{self, Sweeper};
use crate::stage::outbox::Outbox;
use crate::stage::reassembly::Reassembly;
use crate::stage::waiting::Waiting;
use crate::stage::watch::{Stage, Unwatched, Watch};
use crate::stage::{self, Burst, Context};
use crate::tables::spec::Role;
use crate::tables::{Tables, VifId, VrfId};

/// One worker's state, run by one thread.
pub struct Worker<B> {
    index: usize,
    tables: Reader<Tables>,
    flows: Arc<FlowTable>,
    inputs: Vec<Input<B>>,
    burst: Burst<B>,
    fragments: Fragments<B>,
    reassembly: Reassembly<B>,
    outbox: Outbox<B>,
    waiting: Waiting<B>,
    pool: Box<dyn Pool<B>>,
    errors: ErrorRate,
    ageing: Ageing,
    learned: Sweeper,
    bindings: sessions::Sweeper,
    announcer: Option<Announcer>,
    rounds: Rounds,
    /// When router advertisements and path MTUs were last looked after.
    cared: Ticks,
    /// Plain packets take the short way.
    is_fast: bool,
}

/// A receive queue and the vif it belongs to.
struct Input<B> {
    vif: VifId,
    counters: Arc<VifCounters>,
    queue: Box<dyn RxQueue<B>>,
}

/// Where this worker's share of the ageing stands.
struct Ageing {
    cursor: AgeCursor,
    /// Pairs to pass per millisecond, so that a round takes [`ROUND_MS`].
    pace: usize,
    /// Pairs to pass that are not passed yet.
    owed: usize,
    last: Ticks,
}

/// Flows that come due at once are looked at a few at a time, with packets in
/// between: some 50 µs. More only as more packets came, each of which may have
/// brought a flow.
const AGED_AT_ONCE: usize = 64;

/// Buckets of learned MACs looked at between two batches: some 10 µs.
const SWEPT_AT_ONCE: usize = 64;

/// Router advertisements and path MTUs are looked after this often.
const CARE_MS: u32 = 1_000;

/// How long the ageing takes for the whole table, in milliseconds. With the
/// rounding of due times that is 4.4 % of the shortest timeout, 10 s, but after a
/// flood that comes due at once; a round over a table in which nothing is due
/// costs a thousandth of that time.
const ROUND_MS: usize = 128;

impl<B: Buffer> Worker<B> {
    /// A worker without queues. `index` numbers its counters and its part of the
    /// flow table; worker 0 also looks after neighbours for all.
    pub fn new(
        index: usize,
        mut tables: Reader<Tables>,
        flows: Arc<FlowTable>,
        pool: Box<dyn Pool<B>>,
    ) -> Worker<B> {
        let workers = tables.pin().workers();
        let pace = (flows.capacity() / workers / ROUND_MS).max(64);
        Worker {
            index,
            tables,
            flows,
            inputs: Vec::new(),
            burst: Burst::new(),
            fragments: Fragments::new(&fragments::Limits::default()),
            reassembly: Reassembly::new(&fragments::Limits::REASSEMBLY),
            outbox: Outbox::new(index),
            waiting: Waiting::new(),
            pool,
            errors: ErrorRate::new(error_rate::PER_SECOND, workers, [0; 4]),
            ageing: Ageing {
                cursor: AgeCursor::new(index, workers),
                pace,
                owed: 0,
                last: Ticks(0),
            },
            learned: Sweeper::default(),
            bindings: sessions::Sweeper::default(),
            announcer: None,
            rounds: Rounds::default(),
            cared: Ticks(0),
            is_fast: true,
        }
    }

    /// Takes every packet through all stages, the short way left out; to compare the two.
    pub fn leave_fast_path_out(&mut self) {
        self.is_fast = false;
    }

    /// From now on worker 0 sends router advertisements that nobody asked for. Not
    /// in a replay, where what comes out is the answer to what went in.
    pub fn announce_routers(&mut self) {
        self.announcer = Some(Announcer::default());
    }

    /// Sends to a vif through `queue` from now on.
    pub fn attach_tx(&mut self, vif: VifId, queue: Box<dyn TxQueue<B>>) {
        self.outbox.attach(vif, queue);
    }

    /// Polls `queue` of a vif from now on.
    pub fn attach_rx(
        &mut self,
        vif: VifId,
        counters: Arc<VifCounters>,
        queue: Box<dyn RxQueue<B>>,
    ) {
        self.inputs.push(Input {
            vif,
            counters,
            queue,
        });
    }

    /// Drops all queues of a vif, and what waits of what it received.
    pub fn detach(&mut self, vif: VifId) {
        self.inputs.retain(|input| input.vif != vif);
        self.outbox.detach(vif);
        if let Some(announcer) = &mut self.announcer {
            announcer.forget(vif);
        }
        let tables = self.tables.pin();
        self.fragments.forget_vif(vif, tables, self.index);
        self.reassembly.forget_vif(vif, tables, self.index);
    }

    /// Drops what is kept of packets in a vrf that was removed.
    pub fn forget(&mut self, vrf: VrfId) {
        let tables = self.tables.pin();
        self.fragments.forget_vrf(vrf, tables, self.index);
    }

    /// Sends at most so many ICMP errors a second to one source, all workers together, and none
    /// with 0. `seed` is what sources are hashed with; to be said before the first packet.
    #[must_use]
    pub fn with_error_limits(mut self, per_second: u32, seed: [u64; 4]) -> Worker<B> {
        let workers = self.tables.pin().workers();
        let errors = ErrorRate::new(per_second, workers, seed);
        Worker { errors, ..self }
    }

    /// Keeps no more of fragments than this; to be said before the first packet.
    #[must_use]
    pub fn with_fragment_limits(self, limits: &fragments::Limits) -> Worker<B> {
        let fragments = Fragments::new(limits);
        Worker { fragments, ..self }
    }

    /// Keeps no more of tunnel packets' fragments than this; to be said before the first packet.
    #[must_use]
    pub fn with_reassembly_limits(self, limits: &fragments::Limits) -> Worker<B> {
        let reassembly = Reassembly::new(limits);
        Worker { reassembly, ..self }
    }

    /// Where to read how much is kept of tunnel packets' fragments.
    pub fn reassembly_gauge(&self) -> Arc<fragments::Gauge> {
        self.reassembly.gauge().clone()
    }

    /// Where to read how much is kept of fragments.
    pub fn fragment_gauge(&self) -> Arc<fragments::Gauge> {
        self.fragments.gauge().clone()
    }

    /// One round over all queues; returns how many packets arrived.
    pub fn poll(&mut self, now: Ticks) -> usize {
        let mut received = 0;
        for index in 0..self.inputs.len() {
            received += self.process(index, now, &mut Unwatched);
        }
        self.look_after(now, received);
        received
    }

    /// One round over all queues with somebody looking on, and nothing done besides: no neighbour is
    /// asked and nothing ages. For explanations.
    pub(crate) fn poll_watched(&mut self, now: Ticks, watch: &mut impl Watch<B>) {
        self.is_fast = false; // whoever looks on sees every stage
        for index in 0..self.inputs.len() {
            self.process(index, now, watch);
        }
    }

    /// A packet's way. The order of these calls is the design.
    fn process(&mut self, index: usize, now: Ticks, watch: &mut impl Watch<B>) -> usize {
        let input = &mut self.inputs[index];
        let burst = &mut self.burst;
        let received = input.queue.rx_burst(&mut burst.packets);
        if received == 0 {
            return 0;
        }
        let tables = self.tables.pin();
        let bytes = burst.packets.iter().map(|packet| packet.len() as u64).sum();
        let counters = input.counters.block(self.index);
        counters.received(received as u64, bytes);
        let Some(vif) = tables.vif(input.vif) else {
            counters.dropped(DropReason::VifGone, received as u64);
            burst.packets.clear();
            return received;
        };
        let context = Context {
            tables,
            flows: &self.flows,
            worker: self.index,
            now,
            vif,
        };
        if self.is_fast {
            stage::fast::run(&context, burst);
            if stage::fast::send(&context, burst, &mut self.outbox) {
                self.outbox.flush(tables);
                return received;
            }
        }
        stage::parse::run(&context, burst);
        watch.after(Stage::Parse, &context, burst);
        match vif.role {
            Role::Tenant => stage::tenant::run(&context, burst),
            Role::Fabric => {
                stage::reassembly::run(&context, burst, &mut self.reassembly);
                stage::fabric::run(&context, burst);
            }
            Role::Host => stage::host::run(&context, burst),
        }
        watch.after(Stage::Entry, &context, burst);
        let mut exits = Exits {
            outbox: &mut self.outbox,
            waiting: &mut self.waiting,
            pool: &mut *self.pool,
            errors: &mut self.errors,
        };
        if vif.is_guarded {
            stage::guard::egress(&context, burst, &mut exits);
        }
        watch.after(Stage::Guard, &context, burst);
        stage::fragments::run(&context, burst, &mut self.fragments);
        watch.after(Stage::Fragments, &context, burst);
        onward(&context, burst, &mut exits, watch);
        while let Some(vif) = self.fragments.release(tables, burst) {
            onward(&Context { vif, ..context }, burst, &mut exits, watch);
        }
        while let Some(vif) = self.reassembly.release(tables, burst) {
            let context = Context { vif, ..context };
            stage::fabric::run(&context, burst);
            watch.after(Stage::Entry, &context, burst);
            onward(&context, burst, &mut exits, watch);
        }
        self.outbox.flush(tables);
        received
    }

    /// What is due besides packets: held packets, neighbours, the age of flows.
    fn look_after(&mut self, now: Ticks, received: usize) {
        // An idle worker, too, lets go of an old snapshot.
        let tables = self.tables.pin();
        self.fragments.expire(tables, self.index, now);
        self.reassembly.expire(tables, self.index, now);
        if !self.waiting.is_empty() {
            self.release_waiting(now);
        }
        let ageing = &mut self.ageing;
        let elapsed = now.since(ageing.last) as usize;
        // More than a round is never owed.
        ageing.owed = (ageing.owed + ageing.pace * elapsed).min(ageing.pace * ROUND_MS);
        if ageing.owed > 0 {
            let flows = self.flows.worker(self.index);
            let cursor = ageing.cursor.at_most(AGED_AT_ONCE.max(received));
            flows.age(cursor, ageing.owed, now, |_| {});
            ageing.owed = cursor.left();
        }
        if elapsed == 0 {
            return;
        }
        ageing.last = now;
        let at_most = match received {
            0 => usize::MAX,
            _ => SWEPT_AT_ONCE,
        };
        let tables = self.tables.pin();
        self.learned.run(tables, self.index, now, elapsed, at_most);
        if self.index == 0 {
            self.bindings.run(tables, now, elapsed);
            self.ask_backends(now);
            self.look_after_neighbours(now);
            if now.since(self.cared) >= CARE_MS {
                self.cared = now;
                self.announce(now);
                self.tables.pin().underlay().path_mtus.forget(now);
            }
        }
    }

    fn announce(&mut self, now: Ticks) {
        let Some(announcer) = &mut self.announcer else {
            return;
        };
        let tables = self.tables.pin();
        announcer.run(tables, self.index, now, &mut *self.pool, &mut self.outbox);
        self.outbox.flush(tables);
    }

    /// Sends what whoever looks after backends wants sent.
    fn ask_backends(&mut self, now: Ticks) {
        let tables = self.tables.pin();
        for _ in 0..BATCH {
            let Some(segment) = tables.sessions().probes().next() else {
                break;
            };
            // Some vif is needed until the way is known; the worker's first is as good as any.
            let Some(vif) = tables.vifs().next() else {
                break;
            };
            let context = Context {
                tables,
                flows: &self.flows,
                worker: self.index,
                now,
                vif,
            };
            let mut exits = Exits {
                outbox: &mut self.outbox,
                waiting: &mut self.waiting,
                pool: &mut *self.pool,
                errors: &mut self.errors,
            };
            // What finds no way is a check that fails.
            _ = stage::probes::send(&context, &segment, &mut exits);
        }
        self.outbox.flush(tables);
    }

    /// Sends what waited for neighbours that are known now, and asks for others.
    fn release_waiting(&mut self, now: Ticks) {
        let tables = self.tables.pin();
        self.waiting
            .release(tables, self.index, now, &mut self.outbox);
        while let Some((packet, lane, vif)) = self.waiting.give_up(tables) {
            let context = Context {
                tables,
                flows: &self.flows,
                worker: self.index,
                now,
                vif,
            };
            let mut exits = Exits {
                outbox: &mut self.outbox,
                waiting: &mut self.waiting,
                pool: &mut *self.pool,
                errors: &mut self.errors,
            };
            let reason = DropReason::NeighbourUnresolved;
            stage::errors::tell(&context, &lane, reason, packet, &mut exits);
        }
        let mut asking = Asking {
            tables,
            worker: self.index,
            now,
            pool: &mut *self.pool,
            outbox: &mut self.outbox,
        };
        asking.for_waiting(&self.waiting);
        self.outbox.flush(tables);
    }

    /// Worker 0 only: looks after neighbours and links in turn.
    fn look_after_neighbours(&mut self, now: Ticks) {
        let tables = self.tables.pin();
        let mut asking = Asking {
            tables,
            worker: self.index,
            now,
            pool: &mut *self.pool,
            outbox: &mut self.outbox,
        };
        asking.in_turn(&mut self.rounds);
        self.outbox.flush(tables);
    }

    /// True while packets wait, for a neighbour or for other fragments.
    pub fn is_waiting(&self) -> bool {
        let in_fragments = self.fragments.is_waiting() || self.reassembly.is_waiting();
        in_fragments || !self.waiting.is_empty()
    }

    /// Looks at every flow and learned MAC once; for clocks that jump, as in a replay.
    pub fn age_all(&mut self, now: Ticks) {
        let mut cursor = AgeCursor::default();
        let flows = self.flows.worker(self.index);
        flows.age(&mut cursor, usize::MAX, now, |_| {});
        let tables = self.tables.pin();
        learn::sweep_all(tables, self.index, now);
        sessions::Sweeper::run_all(tables, now);
    }
}

/// The rest of a packet's way, for those that stage `fragments` let go as for all.
fn onward<B: Buffer>(
    context: &Context,
    burst: &mut Burst<B>,
    exits: &mut Exits<B>,
    watch: &mut impl Watch<B>,
) {
    watch.after(Stage::Admitted, context, burst);
    stage::related::run(context, burst);
    watch.after(Stage::Related, context, burst);
    stage::flow::run(context, burst);
    watch.after(Stage::Flow, context, burst);
    stage::marks::run(context, burst, exits);
    stage::bridge::run(context, burst);
    watch.after(Stage::Bridge, context, burst);
    stage::rewrite::run(context, burst);
    watch.after(Stage::Rewrite, context, burst);
    stage::forward::run(context, burst, exits);
}
