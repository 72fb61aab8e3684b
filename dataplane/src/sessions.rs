//! What outlives flows and is shared by all workers: the bindings of pools, and the backends that
//! clients of services with affinity have.
//!
//! Like learned MACs it belongs to all snapshots: to use it is no commit.

pub mod affinity;
pub mod allotment;
mod bindings;
mod chains;
mod ended;
mod gauge;
mod ids;
pub mod leftovers;
mod permits;
pub mod ports;
mod slots;
mod sweeper;
mod transport;
mod view;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use flowtable::{Endings, FlowView, Ticks};

pub use bindings::Bindings;
pub use ended::{Ended, Ledger};
pub use gauge::Usage;
pub use sweeper::Sweeper;
pub use transport::Transport;

use crate::decide::sessions::{Asked, Binding, Bound, Step};
use crate::decide::{End, Note, Sessions};
use crate::health::Wire;
use crate::reason::DropReason;
use crate::stage::Context;
use crate::tables::nat::PoolId;
use crate::tables::policy::RuleCells;
use crate::tables::service::ServiceId;
use affinity::Affinity;
use view::View;

/// Bindings that a node without a word about it has room for.
pub const BINDINGS: usize = 1 << 16;

/// The state itself.
#[derive(Debug)]
pub struct Shared {
    secret: [u64; 4],
    /// Of bindings.
    room: AtomicUsize,
    /// Made when there is a first pool.
    bindings: OnceLock<Bindings>,
    serials: AtomicU32,
    /// Numbers for datagrams that get another source.
    pub(crate) ids: ids::Ids,
    ledger: Ledger,
    probes: Wire,
    /// UDP ports that rest since the start.
    pub leftovers: leftovers::Leftovers,
    /// Who has which backend.
    pub affinity: Affinity,
    rules: Arc<RuleCells>,
    /// Whose these only look at; `None`: they are the workers' own.
    view: Option<View>,
}

/// The state as one worker uses it now.
pub struct Live<'a> {
    shared: &'a Shared,
    context: Context<'a>,
}

impl Shared {
    /// Empty. The secret keys hashes and the choice of ports.
    pub fn new(secret: [u64; 4]) -> Shared {
        Shared {
            secret,
            room: AtomicUsize::new(BINDINGS),
            rules: Arc::default(),
            bindings: OnceLock::new(),
            serials: AtomicU32::new(0),
            ledger: Ledger::default(),
            probes: Wire::default(),
            leftovers: leftovers::Leftovers::default(),
            affinity: Affinity::new(secret[0]),
            ids: ids::Ids::default(),
            view: None,
        }
    }

    /// What looks like these sessions and changes nothing of them: what is asked for is foreseen, and
    /// each step of a decision is written down.
    pub(crate) fn looked_at(self: &Arc<Self>) -> Shared {
        Shared {
            rules: self.rules.clone(),
            probes: self.probes.deaf(),
            ids: self.ids.apart(),
            view: Some(View::of(self.clone())),
            ..Shared::new(self.secret)
        }
    }

    /// The steps of decisions since they were last taken; none of sessions that are in use.
    pub(crate) fn take_steps(&self) -> Vec<Step> {
        self.view.as_ref().map(View::take_steps).unwrap_or_default()
    }

    /// Has room for so many bindings, once there is a pool.
    pub(crate) fn set_room(&self, bindings: usize) {
        self.room.store(bindings, Ordering::Relaxed);
    }

    /// For the flow table: hears of the flows that end.
    pub fn endings(self: Arc<Self>) -> Box<dyn Endings> {
        Box::new(ended::Hook(self))
    }

    /// Where flows that ended come out.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Between the workers and whoever looks after backends.
    pub fn probes(&self) -> &Wire {
        &self.probes
    }

    /// What rules have counted.
    pub fn rules(&self) -> &Arc<RuleCells> {
        &self.rules
    }

    /// For a worker's packets of this batch.
    pub fn live<'a>(&'a self, context: &Context<'a>) -> Live<'a> {
        Live {
            shared: self,
            context: *context,
        }
    }

    /// Makes room for bindings, and a number for a new pool that no other ever has.
    pub fn prepare(&self) -> u32 {
        let [a, b, c, d] = self.secret;
        let key = [a, b, c, d.rotate_left(17)];
        self.bindings
            .get_or_init(|| Bindings::new(self.room.load(Ordering::Relaxed), key));
        self.serials.fetch_add(1, Ordering::Relaxed)
    }

    /// The bindings of pools, once there was a pool.
    pub fn bindings(&self) -> Option<&Bindings> {
        self.bindings.get()
    }

    /// A flow is over: what it held is let go.
    fn flow_ended(&self, flow: &FlowView) {
        let note = Note::from_words(flow.note);
        if note.binding != 0 {
            self.let_go(note.binding, flow);
        }
    }

    /// A flow holds another binding now, or holds the same once more.
    pub fn let_go(&self, binding: u32, flow: &FlowView) {
        let remote = match flow.reverse.dst_addr() == flow.forward.src_addr() {
            false => (flow.reverse.src_addr(), flow.reverse.src_port()),
            true => (flow.forward.src_addr(), flow.forward.src_port()),
        };
        let (addr, port) = remote;
        if let Some(bindings) = self.bindings() {
            bindings.end(binding, End { addr, port }, flow.last_seen);
        }
    }
}

impl Default for Shared {
    fn default() -> Shared {
        Shared::new([0; 4])
    }
}

impl Live<'_> {
    fn now(&self) -> Ticks {
        self.context.now
    }
}

impl Sessions for Live<'_> {
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason> {
        if let Some(view) = &self.shared.view {
            return view.bind(&self.context, asked);
        }
        let pool = self.context.tables.pool(asked.pool);
        let found = pool.zip(self.shared.bindings());
        let (pool, bindings) = found.ok_or(DropReason::SnatExhausted)?;
        bindings.bind(pool, asked, self.now())
    }

    fn bound(
        &mut self,
        pool: PoolId,
        protocol: u8,
        outside: End,
        remote: End,
    ) -> Result<Bound, DropReason> {
        if let Some(view) = &self.shared.view {
            return view.bound(&self.context, pool, protocol, (outside, remote));
        }
        let pool = self.context.tables.pool(pool);
        let found = pool.zip(self.shared.bindings());
        let (pool, bindings) = found.ok_or(DropReason::SnatUnknown)?;
        bindings.bound(pool, protocol, (outside, remote), self.now())
    }

    fn release(&mut self, id: u32) {
        if let Some(bindings) = self.shared.bindings() {
            bindings.release(id);
        }
    }

    fn backend_of(&mut self, service: ServiceId, client: IpAddr) -> Option<End> {
        let now = self.context.now;
        let affinity = match &self.shared.view {
            Some(view) => view.affinity(),
            None => &self.shared.affinity,
        };
        affinity.lookup(service, client, now)
    }

    fn keep_backend(&mut self, service: ServiceId, client: IpAddr, backend: End) {
        let found = self.context.tables.service(service);
        if let Some(timeout_ms) = found.and_then(|service| service.affinity_ms) {
            let now = self.context.now;
            let affinity = &self.shared.affinity;
            // A view's own has no memory and keeps nothing.
            affinity.keep(service, client, backend, timeout_ms, now);
        }
    }

    fn step(&mut self, step: Step) {
        if let Some(view) = &self.shared.view {
            view.note(step);
        }
    }
}
