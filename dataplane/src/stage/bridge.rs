//! Bridged frames: the destination MAC says where they go, and what has no entry
//! is flooded where the vrf has a way to everybody.

use std::net::IpAddr;

use encap::{Buffer, EthernetHeader, MacAddr};

use super::{Burst, Context, Ingress, Lane, Layer, Next, learn, policy, respond};
use crate::decide;
use crate::reason::DropReason;
use crate::tables::{Nexthop, NexthopId, Tables, Vrf};

/// Looks up the bridge entry of every frame that waits for one.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if lane.next == Next::Bridge {
            lane.next = match lookup(context, lane, packet.bytes()) {
                Ok(nexthop) => Next::Forward(nexthop, Layer::Bridged),
                Err(reason) => Next::Drop(reason),
            };
        }
    }
}

/// Whether a frame has one destination, and that is known or must be: IP to it
/// makes a flow.
pub fn is_unicast(tables: &Tables, vrf: &Vrf, dst: MacAddr) -> bool {
    !dst.is_multicast() && (vrf.flood.is_none() || learn::find(tables, vrf, dst).is_some())
}

fn lookup(context: &Context, lane: &mut Lane, frame: &[u8]) -> Result<NexthopId, DropReason> {
    let tables = context.tables;
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let (dst, src) = (ethernet.dst(), ethernet.src());
    let vrf = tables.vrf(lane.vrf).ok_or(DropReason::VifGone)?;
    if lane.entropy == 0 {
        lane.entropy = (dst.to_u64() ^ src.to_u64().rotate_left(24)) as u32;
    }
    check_source(tables, vrf, src, lane.ingress)?;
    let entry = learn::find(tables, vrf, dst);
    // What has a flow has been decided about with it.
    let has_flow = lane.exit != Lane::SAME;
    if !has_flow {
        policy::may_send(context, lane, frame)?;
    }
    let nexthop = match entry {
        Some(nexthop) if !dst.is_multicast() => nexthop,
        entry => {
            let unknown = match dst.is_multicast() {
                true => DropReason::Multicast,
                false => DropReason::NoMac,
            };
            let nexthop = entry.or(vrf.flood).ok_or(unknown)?;
            check_flooded(context, vrf, lane, frame)?;
            nexthop
        }
    };
    check_way(tables, nexthop, lane.ingress)?;
    if let (false, Some(Nexthop::Vif(vif))) = (has_flow, tables.nexthop(nexthop)) {
        policy::may_get(context, lane, frame, *vif)?;
    }
    Ok(nexthop)
}

/// What goes to many has no flow, so what `decide` would look at is looked at here:
/// nobody is told anything in the router's name, or from an address that nobody
/// has. And a machine may not do this too often.
fn check_flooded(
    context: &Context,
    vrf: &Vrf,
    lane: &Lane,
    frame: &[u8],
) -> Result<(), DropReason> {
    if lane.ingress.as_vif().is_none() {
        return Ok(()); // the node it came from did
    }
    match lane.meta.src_addr(frame) {
        // Who has no address yet asks for one.
        Some(IpAddr::V4(addr)) if addr.is_unspecified() => {}
        Some(IpAddr::V6(addr)) if addr.is_unspecified() => {}
        Some(addr) if decide::is_martian_source(addr) => return Err(DropReason::Martian),
        Some(addr) if respond::is_gateway(vrf, addr) => return Err(DropReason::SpoofedSource),
        _ => {}
    }
    match context.vif.port.may_flood(context.now) {
        true => Ok(()),
        false => Err(DropReason::StormLimit),
    }
}

/// What a tunnel brings must come from the MAC's own place, or one machine could
/// speak for another's MAC from elsewhere.
pub fn check_source(
    tables: &Tables,
    vrf: &Vrf,
    src: MacAddr,
    ingress: Ingress,
) -> Result<(), DropReason> {
    let Some(peer) = ingress.as_peer() else {
        return Ok(()); // a vif's source was checked when it was admitted
    };
    let back = learn::find(tables, vrf, src).and_then(|id| tables.nexthop(id));
    match back {
        Some(Nexthop::Tunnel(tunnel)) if tunnel.peer == peer => Ok(()),
        _ => Err(DropReason::ReversePath),
    }
}

/// A bridge sends nothing back to where it came from, nor from one tunnel into another.
pub fn check_way(tables: &Tables, nexthop: NexthopId, ingress: Ingress) -> Result<(), DropReason> {
    match tables.nexthop(nexthop) {
        Some(Nexthop::Vif(vif)) if ingress.as_vif() == Some(*vif) => Err(DropReason::SameVif),
        _ => check_horizon(tables, nexthop, ingress),
    }
}

/// Nothing goes from one tunnel into another: the fabric delivers directly.
pub fn check_horizon(
    tables: &Tables,
    nexthop: NexthopId,
    ingress: Ingress,
) -> Result<(), DropReason> {
    let to_tunnel = matches!(
        tables.nexthop(nexthop),
        Some(Nexthop::Tunnel(_) | Nexthop::Unreachable)
    );
    if to_tunnel && ingress.as_peer().is_some() {
        return Err(DropReason::SplitHorizon);
    }
    Ok(())
}
