//! What outlives flows and is shared by all workers: the bindings of pools, and the backends that
//! clients of services with affinity have.
//!
//! Like learned MACs it belongs to all snapshots: to use it is no commit.

mod ended;
mod ids;

use std::net::IpAddr;
use std::sync::Arc;

use flowtable::{Endings, FlowView};

pub use ended::{Ended, Ledger};

use crate::decide::sessions::{Asked, Binding, Bound};
use crate::decide::{End, Sessions};
use crate::reason::DropReason;
use crate::stage::Context;
use crate::tables::nat::PoolId;
use crate::tables::service::ServiceId;

/// The state itself.
#[derive(Debug, Default)]
pub struct Shared {
    /// Numbers for datagrams that get another source.
    pub(crate) ids: ids::Ids,
    ledger: Ledger,
}

/// The state as one worker uses it now.
pub struct Live<'a> {
    _shared: &'a Shared,
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

    /// A flow is over: what it held is let go.
    fn flow_ended(&self, _flow: &FlowView) {}

    /// For a worker's packets of this batch.
    pub fn live<'a>(&'a self, context: &Context<'a>) -> Live<'a> {
        let _ = context;
        Live { _shared: self }
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

    fn backend_of(&mut self, _service: ServiceId, _client: IpAddr) -> Option<End> {
        None
    }

    fn keep_backend(&mut self, _service: ServiceId, _client: IpAddr, _backend: End) {}
}
