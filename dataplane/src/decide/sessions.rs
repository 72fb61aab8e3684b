//! What a decision asks of state that outlives flows: which address and port a machine was given
//! outside, and which backend a client has.
//!
//! [`super::decide`] is a function of configuration, headers and this. Workers give it the live
//! state; explanations and dry runs one that takes notes and changes nothing.

use std::net::IpAddr;

use crate::reason::DropReason;
use crate::tables::nat::{FloatingId, PoolId};
use crate::tables::policy::RuleId;
use crate::tables::service::ServiceId;
use crate::tables::{NexthopId, VifId, VrfId};

/// One end of a flow: an address and a port, or what stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct End {
    /// The address.
    pub addr: IpAddr,
    /// The port, the identifier of an ICMP query, or 0.
    pub port: u16,
}

/// Who is to be given an address and port outside, for talking to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The pool asked.
    pub pool: PoolId,
    /// The network of the machine.
    pub vrf: VrfId,
    /// The vif it is behind, for blocks and limits; `None` for flows from the fabric.
    pub vif: Option<VifId>,
    /// The IP protocol number, of the packet as it came.
    pub protocol: u8,
    /// The machine's own end.
    pub inside: End,
    /// The other end, as the pool's network knows it.
    pub remote: End,
}

/// What was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// A number by which the flow that uses it holds it; never 0.
    pub id: u32,
    /// The end outside.
    pub outside: End,
}

/// Whose an address and port outside are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// As in [`Binding::id`].
    pub id: u32,
    /// The network of the machine.
    pub vrf: VrfId,
    /// Its own end.
    pub inside: End,
}

/// The state that decisions use and make.
pub trait Sessions {
    /// The end outside that a machine's end has in a pool, the same for every remote (RFC 4787
    /// REQ-1); a new one if it has none. Held for the caller, who gives it back with
    /// [`Self::release`] unless a flow's note keeps it.
    ///
    /// # Errors
    /// Why there is none to give.
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason>;

    /// Whose an end outside is, if `remote` may send to it (RFC 4787 §5). Held as in [`Self::bind`].
    ///
    /// # Errors
    /// Why it is nobody's, or not for this remote.
    fn bound(
        &mut self,
        pool: PoolId,
        protocol: u8,
        outside: End,
        remote: End,
    ) -> Result<Bound, DropReason>;

    /// Lets go of what [`Self::bind`] or [`Self::bound`] held.
    fn release(&mut self, id: u32);

    /// The backend that a client of a service with affinity has, by its end.
    fn backend_of(&mut self, service: ServiceId, client: IpAddr) -> Option<End>;

    /// The backend that a client of a service with affinity has from now on.
    fn keep_backend(&mut self, service: ServiceId, client: IpAddr, backend: End);

    /// Hears what was looked at, in order; for explanations.
    fn step(&mut self, _step: Step) {}
}

/// One thing a decision looked at, and what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The longest prefix that a destination has in a network; `None`: there is none.
    Route(VrfId, IpAddr, Option<crate::tables::Target>),
    /// A service, the backend chosen, and why it.
    Service(ServiceId, End, Chosen),
    /// A service without a backend for this flow.
    NoBackend(ServiceId),
    /// A floating address, inwards or outwards, and what the end became.
    Floating(FloatingId, End),
    /// A pool, inwards or outwards, and what the end became.
    Pool(PoolId, End),
    /// A policy of a vif that what it sends was held against, and the rule that matched.
    EgressPolicy(VifId, Option<RuleId>),
    /// A policy of a vif that what is sent to it was held against, and the rule that matched.
    IngressPolicy(VifId, Option<RuleId>),
    /// A group, the member that was chosen, and why it.
    Member(NexthopId, NexthopId, Chosen),
    /// The end outside that a machine's end has in a pool, or would be given (`false`). Only those
    /// who look on hear of it.
    Binding(PoolId, End, bool),
    /// A pool has nothing for this end, or knows nobody by it. Likewise.
    NoBinding(PoolId, End),
    /// The way back to the source was checked.
    ReversePath(IpAddr),
}

/// Why one of several was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The flow has it.
    Kept,
    /// The client has it, from another flow.
    Client,
    /// The flow's hash says so.
    Hash,
    /// The flow's hash says so among those that can be reached; the one it named first cannot.
    Reach,
    /// The flow's hash says so; none of them is usable now.
    NoneUsable,
}

/// No state: nothing was ever given, and nothing can be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stateless;

impl Sessions for Stateless {
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
