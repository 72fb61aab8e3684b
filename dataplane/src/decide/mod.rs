//! The one decision: what becomes of the first packet of a flow.
//!
//! [`decide`] is a function: configuration, headers and [`Sessions`] in, answer out; no clock, no
//! I/O. Workers cache its answer in the flow table for both directions and do not ask again until
//! the configuration epoch of the vrf moves.
//!
//! Policies see the machines' own addresses: the destination after it was translated inwards, the
//! source before it is translated outwards.

mod bridged;
mod group;
mod nat;
mod policy;
pub mod routed;
mod service;
pub mod sessions;
mod underlay;

use std::net::IpAddr;

use encap::MacAddr;

use crate::reason::DropReason;
use crate::stage::{Ingress, Layer, respond};
use crate::tables::policy::RuleId;
use crate::tables::spec::Role;
use crate::tables::{Nexthop, NexthopId, Tables, Vrf, VrfId};
pub use policy::stateless;
pub use sessions::{End, Sessions, Stateless};

/// What a decision looks at.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// The network the packet is in.
    pub vrf: VrfId,
    /// Addressed to the virtual router, or to another machine's MAC.
    pub layer: Layer,
    /// Ethernet source.
    pub src_mac: MacAddr,
    /// Ethernet destination.
    pub dst_mac: MacAddr,
    /// IP source.
    pub src_addr: IpAddr,
    /// IP destination.
    pub dst_addr: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port, or the ICMP query identifier.
    pub src_port: u16,
    /// Destination port, or the ICMP query identifier.
    pub dst_port: u16,
    /// Type and code of an ICMP message.
    pub icmp: Option<(u8, u8)>,
    /// The nexthop, if a label or VNI has named it: no route is asked.
    pub direct: Option<NexthopId>,
    /// What was decided before about the same flow, to be kept where it is still legal.
    pub kept: Option<Kept>,
}

/// What an established flow has and should keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where its packets went.
    pub nexthop: NexthopId,
    /// What the source had become.
    pub source: End,
    /// What the destination had become.
    pub destination: End,
    /// The binding it holds, or 0.
    pub binding: u32,
}

/// What becomes of both directions of an allowed flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The direction that was asked about.
    pub forward: Way,
    /// The replies.
    pub reverse: Way,
    /// The source of the first packet as it leaves, which is the destination of replies.
    pub source: End,
    /// The destination of the first packet as it leaves, which is the source of replies.
    pub destination: End,
    /// Who let it through, and what it holds.
    pub note: Note,
}

/// One direction of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where its packets must come from.
    pub ingress: Ingress,
    /// Where they go. For bridged flows the bridge entry is asked per packet.
    pub nexthop: NexthopId,
    /// The network they are in when they come.
    pub vrf: VrfId,
    /// The network they are in when they leave.
    pub exit: VrfId,
    /// The epoch of the network they come in.
    pub epoch: u32,
    /// More is to be done with its packets than to send them on: see [`Note`].
    pub flags: u8,
    /// Which member of a group `nexthop` is, from 1 on; 0 if it is none.
    pub member: u8,
}

/// Which rules let a flow through, and what it holds; kept with the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The rule of the sender's vif, if it has policies.
    pub egress_rule: Option<RuleId>,
    /// The rule of the receiver's vif, if it has policies.
    pub ingress_rule: Option<RuleId>,
    /// The binding of a pool that it holds, or 0.
    pub binding: u32,
}

/// The rules' DSCP or mirrors are to be looked at for every packet.
pub const FLAG_RULES: u8 = 1;

/// Why a flow is not let through, and which rule said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason its packets are dropped.
    pub reason: DropReason,
    /// The rule that denies or rejects it, if it was one.
    pub rule: Option<RuleId>,
}

impl From<DropReason> for Refused {
    fn from(reason: DropReason) -> Refused {
        Refused { reason, rule: None }
    }
}

/// Decides about the first packet of a flow.
///
/// # Errors
/// The reason to drop it. Nothing is held of what [`Sessions`] had given then.
pub fn decide(
    tables: &Tables,
    sessions: &mut impl Sessions,
    headers: &Headers,
    ingress: Ingress,
) -> Result<Decision, Refused> {
    let vrf = tables.vrf(headers.vrf).ok_or(DropReason::VifGone)?;
    check_martian(headers)?;
    check_spoofed(tables, vrf, headers, ingress)?;
    match headers.layer {
        Layer::Routed => routed::decide(tables, sessions, vrf, headers, ingress),
        Layer::Bridged => bridged::decide(tables, sessions, vrf, headers, ingress),
    }
}

impl Headers {
    /// The sender's end as it came.
    pub fn source(&self) -> End {
        End {
            addr: self.src_addr,
            port: self.src_port,
        }
    }

    /// The receiver's end as it came.
    pub fn destination(&self) -> End {
        End {
            addr: self.dst_addr,
            port: self.dst_port,
        }
    }
}

impl Note {
    /// As a flow carries it.
    pub fn to_words(self) -> flowtable::Note {
        let rule = |rule: Option<RuleId>| rule.map_or(0, |rule| rule.0 + 1);
        [
            rule(self.egress_rule),
            rule(self.ingress_rule),
            self.binding,
            0,
        ]
    }

    /// As a flow carried it.
    pub fn from_words([egress, ingress, binding, _]: flowtable::Note) -> Note {
        let rule = |word: u32| word.checked_sub(1).map(RuleId);
        Note {
            egress_rule: rule(egress),
            ingress_rule: rule(ingress),
            binding,
        }
    }
}

/// Addresses that no packet on the wire has (RFC 1812 §5.3.7, RFC 4291 §2.5).
fn check_martian(headers: &Headers) -> Result<(), DropReason> {
    let bad_destination = match headers.dst_addr {
        IpAddr::V4(addr) => addr.octets()[0] == 0 || addr.is_loopback() || addr.octets()[0] >= 240,
        IpAddr::V6(addr) => addr.is_unspecified() || addr.is_loopback(),
    };
    if is_martian_source(headers.src_addr) || bad_destination {
        return Err(DropReason::Martian);
    }
    if headers.dst_addr.is_multicast() {
        return Err(DropReason::Multicast);
    }
    Ok(())
}

/// Whether no packet on the wire is from this address, but for those that ask for one.
pub(crate) fn is_martian_source(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            addr.octets()[0] == 0
                || addr.is_loopback()
                || addr.is_multicast()
                || addr.octets()[0] >= 240
        }
        IpAddr::V6(addr) => addr.is_unspecified() || addr.is_loopback() || addr.is_multicast(),
    }
}

/// A vif sends from its own addresses only. Stage `tenant` checks this too; here
/// it keeps the decision complete without it.
fn check_spoofed(
    tables: &Tables,
    vrf: &Vrf,
    headers: &Headers,
    ingress: Ingress,
) -> Result<(), DropReason> {
    let Some(vif) = ingress.as_vif() else {
        return Ok(());
    };
    let vif = tables.vif(vif).ok_or(DropReason::VifGone)?;
    if vif.role != Role::Tenant {
        return Ok(()); // the fabric is everybody's
    }
    let link_local = match headers.src_addr {
        IpAddr::V6(addr) if addr.is_unicast_link_local() => headers.layer == Layer::Bridged,
        _ => false,
    };
    // Not the router's, whatever the vif is allowed.
    if respond::is_gateway(vrf, headers.src_addr) {
        return Err(DropReason::SpoofedSource);
    }
    if vif.may_send_from(headers.src_addr) || link_local {
        Ok(())
    } else {
        Err(DropReason::SpoofedSource)
    }
}

/// Where replies to what leaves by this nexthop come from.
fn ingress_of(tables: &Tables, nexthop: NexthopId) -> Result<Ingress, DropReason> {
    match tables.nexthop(nexthop) {
        Some(Nexthop::Vif(vif)) => Ok(Ingress::vif(*vif)),
        Some(Nexthop::Tunnel(tunnel)) => Ok(Ingress::peer(tunnel.peer)),
        // Answers may come by another uplink.
        Some(Nexthop::Neighbour(neighbour)) => {
            let first = tables.underlay().fabrics.first();
            Ok(Ingress::vif(*first.unwrap_or(&neighbour.vif)))
        }
        Some(Nexthop::Host) => {
            let host = tables.underlay().host;
            host.map(Ingress::vif).ok_or(DropReason::NoHost)
        }
        Some(Nexthop::Unreachable) => Err(DropReason::NoUnderlayRoute),
        Some(Nexthop::Discard) => Err(DropReason::Discard),
        // A flow has one way; groups have bridge entries only (`commit`).
        Some(Nexthop::Replicate(_)) => Err(DropReason::NoRoute),
        // One of its members was taken before.
        Some(Nexthop::Group(_)) => Err(DropReason::NoRoute),
        Some(Nexthop::Reject) => Err(DropReason::Reject),
        // Followed before; one is left only where it may not be.
        Some(Nexthop::Vrf(_)) | None => Err(DropReason::NoRoute),
    }
}
