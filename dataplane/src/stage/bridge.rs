//! Bridged frames: the destination MAC says where they go.

use encap::{Buffer, EthernetHeader};

use super::{Burst, Context, Ingress, Lane, Layer, Next};
use crate::reason::DropReason;
use crate::tables::{Nexthop, NexthopId, Tables, Vrf};

/// Looks up the bridge entry of every frame that waits for one.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if lane.next == Next::Bridge {
            lane.next = match lookup(context.tables, lane, packet.bytes()) {
                Ok(nexthop) => Next::Forward(nexthop, Layer::Bridged),
                Err(reason) => Next::Drop(reason),
            };
        }
    }
}

fn lookup(tables: &Tables, lane: &mut Lane, frame: &[u8]) -> Result<NexthopId, DropReason> {
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let (dst, src) = (ethernet.dst(), ethernet.src());
    let vrf = tables.vrf(lane.vrf).ok_or(DropReason::VifGone)?;
    if lane.entropy == 0 {
        lane.entropy = (dst.to_u64() ^ src.to_u64().rotate_left(24)) as u32;
    }
    check_source(tables, vrf, src, lane.ingress)?;
    let nexthop = *vrf.macs.get(&dst).ok_or(DropReason::NoMac)?;
    check_horizon(tables, nexthop, lane.ingress)?;
    Ok(nexthop)
}

/// What a tunnel brings must come from the MAC's own place, or one machine could
/// speak for another's MAC from elsewhere.
pub fn check_source(
    tables: &Tables,
    vrf: &Vrf,
    src: encap::MacAddr,
    ingress: Ingress,
) -> Result<(), DropReason> {
    let Some(peer) = ingress.as_peer() else {
        return Ok(()); // a vif's source was checked when it was admitted
    };
    let back = vrf.macs.get(&src).and_then(|id| tables.nexthop(*id));
    match back {
        Some(Nexthop::Tunnel(tunnel)) if tunnel.peer == peer => Ok(()),
        _ => Err(DropReason::ReversePath),
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
