//! A packet and what became of it, in the names that a controller gave things: what the reference
//! and the engine are compared in.

use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::stage::Layer;
use dataplane::tables::spec::Name;
use encap::MacAddr;

/// Where a packet came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    Vif(Name),
    /// A tunnel with this remote.
    Remote(IpAddr),
}

/// The first packet of a flow, or one of a flow that must be decided again.
#[derive(Clone, Debug)]
pub struct Packet {
    pub vrf: Name,
    pub from: From,
    pub layer: Layer,
    pub macs: (MacAddr, MacAddr),
    pub src: End,
    pub dst: End,
    pub protocol: u8,
    pub icmp: Option<(u8, u8)>,
    /// The nexthop that a label or VNI named.
    pub direct: Option<Name>,
    /// What the flow had.
    pub had: Option<Had>,
}

/// What an established flow has.
#[derive(Clone, Debug)]
pub struct Had {
    pub nexthop: Name,
    pub source: End,
    pub destination: End,
}

/// One direction of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    pub from: From,
    pub nexthop: Name,
    pub vrf: Name,
    pub exit: Name,
    /// The number of the group's member that `nexthop` is.
    pub member: u8,
}

/// A rule, by policy and id.
pub type RuleName = (Name, u32);

/// What becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    pub forward: Way,
    pub reverse: Way,
    pub source: End,
    pub destination: End,
    pub egress_rule: Option<RuleName>,
    pub ingress_rule: Option<RuleName>,
    /// A rule's DSCP or mirror is to be looked at.
    pub marks: bool,
    /// It holds a binding of a pool.
    pub bound: bool,
}

/// Why it is refused, and by which rule if it was one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: DropReason,
    pub rule: Option<RuleName>,
}

impl std::convert::From<DropReason> for Refused {
    fn from(reason: DropReason) -> Refused {
        Refused { reason, rule: None }
    }
}

pub type Outcome = Result<Allowed, Refused>;
