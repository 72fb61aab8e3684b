//! A frame in a tenant's network, whether a machine sent it or a tunnel brought
//! it: is it for the virtual router, routed or bridged?

use encap::{Buffer, EthernetHeader, Network};

use super::{Context, Lane, Layer, Next, respond};
use crate::reason::DropReason;
use crate::tables::spec::ForwardingMode;

/// What becomes of the frame, once its vrf and ingress are known.
pub fn classify<B: Buffer>(context: &Context, lane: &mut Lane, packet: &mut B) -> Next {
    let Some(vrf) = context.tables.vrf(lane.vrf) else {
        return Next::Drop(DropReason::VifGone);
    };
    if let Some(answer) = respond::answer(context, vrf, lane, packet) {
        return answer;
    }
    let Ok((ethernet, _)) = EthernetHeader::split(packet.bytes()) else {
        return Next::Drop(DropReason::Truncated);
    };
    let dst = ethernet.dst();
    let is_ip = matches!(lane.meta.network, Network::Ipv4 | Network::Ipv6);
    if dst == vrf.mac {
        return match vrf.mode {
            ForwardingMode::Bridged => Next::Drop(DropReason::ForwardingMode),
            _ if !is_ip => Next::Drop(DropReason::ToGateway),
            _ => routed(lane),
        };
    }
    if dst.is_multicast() {
        return Next::Drop(DropReason::Multicast);
    }
    match vrf.mode {
        ForwardingMode::Routed => Next::Drop(DropReason::ForwardingMode),
        _ if is_ip => Next::Flow(Layer::Bridged),
        _ => Next::Bridge,
    }
}

/// What becomes of an IP packet to the router MAC.
pub fn routed(lane: &Lane) -> Next {
    if lane.meta.source_route {
        return Next::Drop(DropReason::SourceRoute);
    }
    if lane.meta.ttl <= 1 {
        return Next::Drop(DropReason::TtlExpired);
    }
    Next::Flow(Layer::Routed)
}
