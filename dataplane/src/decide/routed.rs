//! Routed unicast: longest prefix match there and back.

use std::net::IpAddr;

use super::Headers;
use crate::reason::DropReason;
use crate::stage::{Ingress, bridge};
use crate::tables::{Nexthop, NexthopId, PeerId, Tables, Target, Vrf};

/// The nexthops of both directions.
pub(super) fn decide(
    tables: &Tables,
    vrf: &Vrf,
    headers: &Headers,
    ingress: Ingress,
) -> Result<(NexthopId, NexthopId), DropReason> {
    for addr in [headers.src_addr, headers.dst_addr] {
        if is_link_local(addr) {
            return Err(DropReason::LinkLocal);
        }
    }
    let forward = match (headers.direct, vrf.routes.lookup(headers.dst_addr)) {
        (Some(nexthop), _) | (None, Some(Target::Nexthop(nexthop))) => nexthop,
        (None, Some(Target::Gateway)) => return Err(DropReason::ToGateway),
        (None, Some(Target::Connected) | None) => return Err(DropReason::NoRoute),
    };
    bridge::check_horizon(tables, forward, ingress)?;
    let back = match (ingress.as_vif(), ingress.as_peer()) {
        (Some(vif), _) => tables.vif(vif).ok_or(DropReason::VifGone)?.nexthop,
        (None, Some(peer)) => way_back(tables, vrf, headers.src_addr, peer)?,
        (None, None) => unreachable!("an ingress is a vif or a peer"),
    };
    Ok((forward, back))
}

/// The nexthop to `addr`, which must be a tunnel that ends where the packet came
/// from: the reverse-path check and the way for answers in one.
pub fn way_back(
    tables: &Tables,
    vrf: &Vrf,
    addr: IpAddr,
    peer: PeerId,
) -> Result<NexthopId, DropReason> {
    if let Some(Target::Nexthop(nexthop)) = vrf.routes.lookup(addr)
        && let Some(Nexthop::Tunnel(tunnel)) = tables.nexthop(nexthop)
        && tunnel.peer == peer
    {
        return Ok(nexthop);
    }
    Err(DropReason::ReversePath)
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}
