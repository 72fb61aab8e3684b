//! The one decision: what becomes of the first packet of a flow.
//!
//! [`decide`] is pure: configuration and headers in, answer out; no clock, no
//! I/O, no state. Workers cache its answer in the flow table for both directions
//! and do not ask again until the configuration epoch of the vrf moves.

mod bridged;
pub mod routed;

use std::net::IpAddr;

use encap::MacAddr;

use crate::reason::DropReason;
use crate::stage::{Ingress, Layer, respond};
use crate::tables::{Nexthop, NexthopId, Tables, Vrf, VrfId};

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
    /// The nexthop, if a label or VNI has named it: no route is asked.
    pub direct: Option<NexthopId>,
}

/// What becomes of both directions of an allowed flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The direction that was asked about.
    pub forward: Way,
    /// The replies.
    pub reverse: Way,
    /// The epoch of the vrf that decided.
    pub epoch: u32,
}

/// One direction of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where its packets must come from.
    pub ingress: Ingress,
    /// Where they go. For bridged flows the bridge entry is asked per packet.
    pub nexthop: NexthopId,
}

/// Decides about the first packet of a flow.
///
/// # Errors
/// The reason to drop it.
pub fn decide(
    tables: &Tables,
    headers: &Headers,
    ingress: Ingress,
) -> Result<Decision, DropReason> {
    let vrf = tables.vrf(headers.vrf).ok_or(DropReason::VifGone)?;
    check_martian(headers)?;
    check_spoofed(tables, vrf, headers, ingress)?;
    let (forward, back) = match headers.layer {
        Layer::Routed => routed::decide(tables, vrf, headers, ingress)?,
        Layer::Bridged => bridged::decide(tables, vrf, headers, ingress)?,
    };
    Ok(Decision {
        forward: Way {
            ingress,
            nexthop: forward,
        },
        reverse: Way {
            ingress: ingress_of(tables, forward)?,
            nexthop: back,
        },
        epoch: vrf.epoch,
    })
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
        Some(Nexthop::Neighbour(neighbour)) => Ok(Ingress::vif(neighbour.vif)),
        Some(Nexthop::Host) => {
            let host = tables.underlay().host;
            host.map(Ingress::vif).ok_or(DropReason::NoHost)
        }
        Some(Nexthop::Unreachable) => Err(DropReason::NoUnderlayRoute),
        Some(Nexthop::Discard) => Err(DropReason::Discard),
        // A flow has one way; groups have bridge entries only (`commit`).
        Some(Nexthop::Replicate(_)) => Err(DropReason::NoRoute),
        Some(Nexthop::Reject) => Err(DropReason::Reject),
        None => Err(DropReason::NoRoute),
    }
}
