//! A frame in a tenant's network, whether a machine sent it or a tunnel brought
//! it: is it for the virtual router, routed or bridged?

use encap::{Buffer, EthernetHeader, Network};

use super::{Context, Lane, Layer, Next, bridge, errors, learn, respond};
use crate::reason::DropReason;
use crate::tables::Vrf;
use crate::tables::spec::ForwardingMode;

/// What becomes of the frame, once its vrf and ingress are known.
pub fn classify<B: Buffer>(context: &Context, lane: &mut Lane, packet: &mut B) -> Next {
    let Some(vrf) = context.tables.vrf(lane.vrf) else {
        return Next::Drop(DropReason::VifGone);
    };
    if let Err(reason) = learn::source(context, vrf, lane, packet.bytes()) {
        return Next::Drop(reason);
    }
    if let Some(answer) = respond::answer(context, vrf, lane, packet) {
        return answer;
    }
    let Ok((ethernet, _)) = EthernetHeader::split(packet.bytes()) else {
        return Next::Drop(DropReason::Truncated);
    };
    let dst = ethernet.dst();
    if let Some(next) = errors::from_twin(context, vrf, lane, packet.bytes()) {
        return next;
    }
    let is_ip = matches!(lane.meta.network, Network::Ipv4 | Network::Ipv6);
    if dst == vrf.mac {
        return match vrf.mode {
            ForwardingMode::Bridged => Next::Drop(DropReason::ForwardingMode),
            // No answer would find it.
            _ if is_bridged_only(context, lane) => Next::Drop(DropReason::ForwardingMode),
            _ if !is_ip => Next::Drop(DropReason::ToGateway),
            _ => routed(vrf, lane, packet.bytes()),
        };
    }
    match vrf.mode {
        ForwardingMode::Routed if dst.is_multicast() => Next::Drop(DropReason::Multicast),
        ForwardingMode::Routed => Next::Drop(DropReason::ForwardingMode),
        // What is flooded is no flow: there is no saying where answers come from.
        _ if is_ip && bridge::is_unicast(context.tables, vrf, dst) => Next::Flow(Layer::Bridged),
        _ => Next::Bridge,
    }
}

/// What becomes of an IP packet to the router MAC.
pub fn routed(vrf: &Vrf, lane: &Lane, frame: &[u8]) -> Next {
    if lane.meta.source_route {
        return Next::Drop(DropReason::SourceRoute);
    }
    if lane.meta.ttl <= 1 {
        return Next::Drop(last_hop(vrf, lane, frame));
    }
    Next::Flow(Layer::Routed)
}

fn is_bridged_only(context: &Context, lane: &Lane) -> bool {
    lane.ingress.as_vif().is_some() && !context.vif.port.is_strict
}

/// Why a packet with one hop left ends here. What is for the router itself needs no more hops (RFC
/// 1812 §5.3.1).
#[cold]
fn last_hop(vrf: &Vrf, lane: &Lane, frame: &[u8]) -> DropReason {
    match lane.meta.dst_addr(frame) {
        Some(dst) if respond::is_gateway(vrf, dst) => DropReason::ToGateway,
        _ => DropReason::TtlExpired,
    }
}
