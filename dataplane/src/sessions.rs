//! What outlives flows and is shared by all workers: the bindings of pools, and the backends that
//! clients of services with affinity have.
//!
//! Like learned MACs it belongs to all snapshots: to use it is no commit.

pub mod affinity;
mod ended;

use std::net::IpAddr;
use std::sync::Arc;

use flowtable::{Endings, FlowView};

pub use ended::{Ended, Ledger};

use crate::decide::sessions::{Asked, Binding, Bound};
use crate::decide::{End, Sessions};
use crate::health::Wire;
use crate::reason::DropReason;
use crate::stage::Context;
use crate::tables::nat::PoolId;
use crate::tables::policy::RuleCells;
use crate::tables::service::ServiceId;
use affinity::Affinity;

/// The state itself.
#[derive(Debug, Default)]
pub struct Shared {
    ledger: Ledger,
    probes: Wire,
    /// Who has which backend.
    pub affinity: Affinity,
    rules: Arc<RuleCells>,
}

/// The state as one worker uses it now.
pub struct Live<'a> {
    shared: &'a Shared,
    context: Context<'a>,
}

impl Shared {
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

    /// A flow is over: what it held is let go.
    fn flow_ended(&self, _flow: &FlowView) {}

    /// Empty; the secret keys its hashes.
    pub fn new(secret: [u64; 4]) -> Shared {
        Shared {
            affinity: Affinity::new(secret[0]),
            ledger: Ledger::default(),
            probes: Wire::default(),
            rules: Arc::default(),
        }
    }

    /// For a worker's packets of this batch.
    pub fn live<'a>(&'a self, context: &Context<'a>) -> Live<'a> {
        Live {
            shared: self,
            context: *context,
        }
    }
}

impl Sessions for Live<'_> {
    fn bind(&mut self, _asked: &Asked) -> Result<Binding, DropReason> {
        Err(DropReason::SnatExhausted)
    }

    fn bound(&mut self, _: PoolId, _: u8, _: End, _: End) -> Result<Bound, DropReason> {
        Err(DropReason::SnatUnknown)
    }

    fn release(&mut self, _id: u32) {}

    fn backend_of(&mut self, service: ServiceId, client: IpAddr) -> Option<End> {
        let now = self.context.now;
        self.shared.affinity.lookup(service, client, now)
    }

    fn keep_backend(&mut self, service: ServiceId, client: IpAddr, backend: End) {
        let found = self.context.tables.service(service);
        if let Some(timeout_ms) = found.and_then(|service| service.affinity_ms) {
            let now = self.context.now;
            let affinity = &self.shared.affinity;
            affinity.keep(service, client, backend, timeout_ms, now);
        }
    }
}
