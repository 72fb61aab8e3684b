//! The nexthop: deliver to a vif, push a tunnel, hand to the kernel.

use std::sync::Arc;

use encap::Buffer;

use super::outbox::Outbox;
use super::waiting::Waiting;
use super::{Burst, Context, Lane, Layer, Next};
use crate::io::Pool;
use crate::reason::DropReason;
use crate::tables::{Nexthop, NexthopId, Tables, Tunnel, Vif, VifId};

/// A worker's ways out.
pub struct Exits<'a, B> {
    /// Towards vifs.
    pub outbox: &'a mut Outbox<B>,
    /// For tunnels whose neighbour is not known yet.
    pub waiting: &'a mut Waiting<B>,
    /// Buffers for packets that the vrouter makes itself.
    pub pool: &'a mut dyn Pool<B>,
}

/// Sends every packet of the batch on its way, or drops it; the batch is empty
/// afterwards.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>, exits: &mut Exits<B>) {
    let counters = context.vif.counters.block(context.worker);
    for (packet, lane) in burst.packets.drain(..).zip(&burst.lanes) {
        let sent = match lane.next {
            Next::Forward(nexthop, layer) => match context.tables.nexthop(nexthop) {
                Some(to) => by_nexthop(context, lane, (nexthop, to), layer, packet, exits),
                None => Err(DropReason::NoRoute),
            },
            Next::Emit(vif) => emit(context.tables, vif, packet, exits),
            Next::Consumed => {
                counters.consumed();
                Ok(())
            }
            Next::Drop(reason) => Err(reason),
            Next::Flow(_) | Next::Bridge => {
                unreachable!("stages `flow` and `bridge` leave none behind")
            }
        };
        if let Err(reason) = sent {
            counters.dropped(reason, 1);
        }
    }
}

fn by_nexthop<B: Buffer>(
    context: &Context,
    lane: &Lane,
    (id, nexthop): (NexthopId, &Nexthop),
    layer: Layer,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    match nexthop {
        Nexthop::Vif(id) => {
            let vif = context.tables.vif(*id).ok_or(DropReason::VifGone)?;
            to_vif(context, lane, vif, layer, packet, exits)
        }
        Nexthop::Tunnel(tunnel) => {
            through_tunnel(context, lane, (id, tunnel), layer, packet, exits)
        }
        Nexthop::Host => {
            let host = context.tables.underlay().host;
            let vif = host.and_then(|host| context.tables.vif(host));
            to_vif(
                context,
                lane,
                vif.ok_or(DropReason::NoHost)?,
                layer,
                packet,
                exits,
            )
        }
        // Tenant networks reach the fabric through tunnels only.
        Nexthop::Neighbour(_) => Err(DropReason::NoRoute),
        Nexthop::Unreachable => Err(DropReason::NoUnderlayRoute),
        Nexthop::Discard => Err(DropReason::Discard),
    }
}

fn to_vif<B: Buffer>(
    context: &Context,
    lane: &Lane,
    vif: &Vif,
    layer: Layer,
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if usize::from(lane.meta.end.saturating_sub(lane.meta.l3)) > usize::from(vif.mtu) {
        return Err(DropReason::TooBig);
    }
    // What stands behind the datagram may be longer still, and is nobody's.
    packet.truncate(usize::from(lane.meta.l3) + usize::from(vif.mtu));
    if layer == Layer::Routed {
        let vrf = context.tables.vrf(lane.vrf).ok_or(DropReason::VifGone)?;
        encap::rewrite::set_macs(packet.bytes_mut(), 0, vif.mac, vrf.mac);
    }
    emit(context.tables, vif.id, packet, exits)
}

fn through_tunnel<B: Buffer>(
    context: &Context,
    lane: &Lane,
    (id, tunnel): (NexthopId, &Arc<Tunnel>),
    layer: Layer,
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if packet.len() > tunnel.max_frame {
        return Err(DropReason::TooBig);
    }
    if layer == Layer::Routed {
        let vrf = context.tables.vrf(lane.vrf).ok_or(DropReason::VifGone)?;
        let dst = tunnel.inner_mac.unwrap_or(vrf.mac);
        encap::rewrite::set_macs(packet.bytes_mut(), 0, dst, vrf.mac);
    }
    let class = lane.meta.traffic_class;
    let path = tunnel.paths.choose(lane.entropy);
    match path.neighbour.mac() {
        Some(mac) => {
            path.header.push(&mut packet, mac, lane.entropy, class)?;
            emit(context.tables, path.egress, packet, exits)
        }
        None => exits.waiting.hold(context, lane, id, layer, tunnel, packet),
    }
}

fn emit<B: Buffer>(
    tables: &Tables,
    vif: VifId,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let pushed = exits.outbox.push(tables, vif, packet);
    pushed.map_err(|_packet| DropReason::VifGone)
}
