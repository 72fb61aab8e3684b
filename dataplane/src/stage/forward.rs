//! The nexthop: deliver to a vif, push a tunnel, hand to the kernel.

use std::sync::Arc;

use encap::{Buffer, Inner};

use super::error_rate::ErrorRate;
use super::outbox::Outbox;
use super::waiting::{Waiting, Way};
use super::{Burst, Context, Lane, Layer, Next, errors, guard, offload, replicate, size};
use crate::io::Pool;
use crate::reason::DropReason;
use crate::tables::neighbour::Neighbour;
use crate::tables::spec::{FragmentMode, Payload};
use crate::tables::{Nexthop, NexthopId, Tables, Tunnel, UNDERLAY, Vif, VifId};

/// A worker's ways out.
pub struct Exits<'a, B> {
    /// Towards vifs.
    pub outbox: &'a mut Outbox<B>,
    /// For tunnels whose neighbour is not known yet.
    pub waiting: &'a mut Waiting<B>,
    /// Buffers for packets that the vrouter makes itself.
    pub pool: &'a mut dyn Pool<B>,
    /// How many errors may still be sent.
    pub errors: &'a mut ErrorRate,
}

impl<B: Buffer> Exits<'_, B> {
    /// Notes a packet that goes no further. The error is its reason, to be counted by the caller.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        context: &Context,
        lane: &Lane,
        packet: &B,
        reason: DropReason,
    ) -> Result<(), DropReason> {
        let observer = &mut self.outbox.observer;
        Err(observer.dropping(context.into(), lane, packet, reason))
    }

    /// Counts a drop where the batch came from.
    #[cold]
    pub(super) fn count(&mut self, context: &Context, lane: &Lane, reason: DropReason) {
        let counters = context.vif.counters.block(context.worker);
        counters.dropped(reason, 1);
        let observer = &mut self.outbox.observer;
        observer.dropped(context.into(), lane, reason);
    }
}

/// Sends every packet of the batch on its way, or drops it; the batch is empty
/// afterwards.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>, exits: &mut Exits<B>) {
    for (packet, lane) in burst.packets.drain(..).zip(&burst.lanes) {
        if let Err(reason) = send(context, lane, packet, exits) {
            exits.count(context, lane, reason);
        }
    }
}

/// Does with one packet what its lane says.
///
/// # Errors
/// The reason to count it under; who sent it has been told if that is owed.
pub(super) fn send<B: Buffer>(
    context: &Context,
    lane: &Lane,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    match lane.next {
        Next::Forward(nexthop, layer) => by_nexthop(context, lane, nexthop, layer, packet, exits),
        Next::Emit(vif) => emit(context.tables, vif, packet, exits),
        Next::Consumed => {
            context.vif.counters.block(context.worker).consumed();
            Ok(())
        }
        Next::Drop(reason) => {
            let observer = &mut exits.outbox.observer;
            observer.dropping(context.into(), lane, &packet, reason);
            errors::tell(context, lane, reason, packet, exits);
            Err(reason)
        }
        Next::TooBig(mtu) => Err(size::tell(context, lane, mtu, packet, exits)),
        Next::Flow(_) | Next::Bridge => {
            unreachable!("stages `flow` and `bridge` leave none behind")
        }
    }
}

pub(super) fn by_nexthop<B: Buffer>(
    context: &Context,
    lane: &Lane,
    id: NexthopId,
    layer: Layer,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let nexthop = context.tables.nexthop(id).ok_or(DropReason::NoRoute)?;
    let packet = match packet.offload().is_finished() {
        true => packet,
        false => match offload::finish(context, lane, id, layer, packet, exits)? {
            Some(packet) => packet,
            None => return Ok(()),
        },
    };
    if let Some(mtu) = size::exceeded(context, nexthop, &lane.meta) {
        let too_big = size::TooBig {
            nexthop: id,
            mtu,
            layer,
        };
        return size::handle(context, lane, &too_big, packet, exits);
    }
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
            let vif = vif.ok_or(DropReason::NoHost)?;
            if usize::from(lane.meta.end.saturating_sub(lane.meta.l3)) > usize::from(vif.mtu) {
                return exits.refuse(context, lane, &packet, DropReason::TooBig);
            }
            to_vif(context, lane, vif, layer, packet, exits)
        }
        Nexthop::Neighbour(neighbour) => plain(context, lane, (id, neighbour), packet, exits),
        Nexthop::Unreachable => exits.refuse(context, lane, &packet, DropReason::NoUnderlayRoute),
        Nexthop::Discard => exits.refuse(context, lane, &packet, DropReason::Discard),
        Nexthop::Replicate(group) => replicate::run(context, lane, group, packet, exits),
        Nexthop::Reject => exits.refuse(context, lane, &packet, DropReason::Reject),
        // The decision takes a member.
        Nexthop::Group(_) => Err(DropReason::NoRoute),
        // The decision follows it.
        Nexthop::Vrf(_) => Err(DropReason::NoRoute),
    }
}

/// Delivers a packet whose datagram was found to be no longer than the vif takes.
fn to_vif<B: Buffer>(
    context: &Context,
    lane: &Lane,
    vif: &Vif,
    layer: Layer,
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    // What stands behind the datagram may be longer still, and is nobody's.
    packet.truncate(usize::from(lane.meta.l3) + usize::from(vif.mtu));
    if layer == Layer::Routed {
        if !vif.port.is_strict {
            return exits.refuse(context, lane, &packet, DropReason::NoMac);
        }
        let vrf = context.tables.vrf(vif.vrf).ok_or(DropReason::VifGone)?;
        encap::rewrite::set_macs(packet.bytes_mut(), 0, vif.mac, vrf.mac);
    }
    if !lane.is_copy
        && let Err(reason) = guard::ingress(context, lane, vif, &packet, exits)
    {
        return exits.refuse(context, lane, &packet, reason);
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
    if tunnel.payload == Payload::Ip {
        // Padding is no part of the packet; the header goes once it is not needed any more.
        if !lane.meta.is_ip() {
            return exits.refuse(context, lane, &packet, DropReason::ForwardingMode);
        }
        packet.truncate(lane.meta.end.into());
    }
    let is_too_big = packet.len() > tunnel.inner_mtu + encap::ethernet::LEN;
    if is_too_big && tunnel.fragment == FragmentMode::Inner {
        return exits.refuse(context, lane, &packet, DropReason::TooBig);
    }
    let inner = Inner {
        entropy: lane.entropy,
        traffic_class: lane.meta.traffic_class,
        // As it is sent: stage `rewrite` has lowered it since it was read.
        ttl: match layer {
            Layer::Routed => lane.meta.ttl.saturating_sub(1),
            Layer::Bridged => 0,
        },
    };
    let path = tunnel.paths.choose(lane.entropy);
    match path.neighbour.mac() {
        Some(mac) => {
            to_payload(context.tables, lane, tunnel, layer, &mut packet)?;
            path.header.push(&mut packet, mac, &inner)?;
            size::emit_outer(context, tunnel, path.egress, packet, exits)
        }
        // What waits is not cut when its time comes.
        None if is_too_big => exits.refuse(context, lane, &packet, DropReason::NeighbourUnresolved),
        None => exits.waiting.hold(
            context,
            lane,
            (id, Way::Tunnel(tunnel.clone())),
            layer,
            inner,
            packet,
        ),
    }
}

/// Into the fabric as it is: only what was translated to an address there, or from one, comes so far.
fn plain<B: Buffer>(
    context: &Context,
    lane: &Lane,
    (id, neighbour): (NexthopId, &Arc<Neighbour>),
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if lane.exit_vrf() != UNDERLAY {
        return exits.refuse(context, lane, &packet, DropReason::NoRoute);
    }
    let uplink = context.tables.vif(neighbour.vif);
    let uplink = uplink.ok_or(DropReason::VifGone)?;
    packet.truncate(lane.meta.end.into());
    match neighbour.mac() {
        Some(mac) => {
            encap::rewrite::set_macs(packet.bytes_mut(), 0, mac, uplink.mac);
            emit(context.tables, uplink.id, packet, exits)
        }
        None => {
            let inner = Inner {
                entropy: lane.entropy,
                traffic_class: lane.meta.traffic_class,
                ttl: lane.meta.ttl,
            };
            let way = Way::Plain(neighbour.clone());
            exits
                .waiting
                .hold(context, lane, (id, way), Layer::Routed, inner, packet)
        }
    }
}

/// Makes a frame what its tunnel carries of it: the IP packet alone, or a frame to the router at the
/// other end if it was routed here.
pub(super) fn to_payload<B: Buffer>(
    tables: &Tables,
    lane: &Lane,
    tunnel: &Tunnel,
    layer: Layer,
    packet: &mut B,
) -> Result<(), DropReason> {
    if tunnel.payload == Payload::Ip {
        packet.trim_front(lane.meta.l3.into())?;
    } else if layer == Layer::Routed {
        let vrf = tables.vrf(lane.exit_vrf()).ok_or(DropReason::VifGone)?;
        let dst = tunnel.inner_mac.unwrap_or(vrf.mac);
        encap::rewrite::set_macs(packet.bytes_mut(), 0, dst, vrf.mac);
    }
    Ok(())
}

pub(super) fn emit<B: Buffer>(
    tables: &Tables,
    vif: VifId,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let pushed = exits.outbox.push(tables, vif, packet);
    pushed.map_err(|_packet| DropReason::VifGone)
}
