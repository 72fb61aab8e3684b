//! The way between the fabric and this node's own kernel: frames pass as they
//! are, so the node stays reachable through the NICs that vrouter took.

use std::net::IpAddr;

use encap::{ArpPacket, Buffer, EthernetHeader, Network};

use super::{Burst, Context, Lane, Next};
use crate::reason::DropReason;
use crate::tables::{Vif, VifId};

/// Frames from the kernel go out of an uplink.
///
/// Of the uplinks that its host vif stands behind, a frame leaves by the one
/// that has its source address; if none has, by the one with its source MAC; if
/// none has that either, by the first. Where several would do, the first whose
/// link is up.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if !matches!(lane.next, Next::Drop(_)) {
            let uplink = uplink(context, lane, packet.bytes());
            lane.next = uplink.map_or(Next::Drop(DropReason::NoUnderlayRoute), Next::Emit);
        }
    }
}

/// What the fabric sent and is not the vrouter's: to the kernel.
pub fn deliver(context: &Context) -> Next {
    let host = context.tables.underlay().host_of(context.vif.id);
    host.map_or(Next::Drop(DropReason::NoHost), Next::Emit)
}

fn uplink(context: &Context, lane: &Lane, frame: &[u8]) -> Option<VifId> {
    let first = |fits: &dyn Fn(&Vif) -> bool| {
        let uplinks = context.tables.underlay().uplinks_of(context.vif.id);
        let uplinks = uplinks.filter_map(|id| context.tables.vif(id));
        let mut fitting = uplinks.filter(|uplink| fits(uplink)).peekable();
        let any = fitting.peek().map(|uplink| uplink.id);
        let up = fitting.find(|uplink| uplink.link.is_up());
        up.map(|uplink| uplink.id).or(any)
    };
    let source = source_addr(lane, frame);
    let mac = EthernetHeader::split(frame).map(|(ethernet, _)| ethernet.src());
    let by_address = source.and_then(|addr| first(&|uplink| uplink.has_address(addr)));
    by_address
        .or_else(|| first(&|uplink| mac == Ok(uplink.mac)))
        .or_else(|| first(&|_| true))
}

/// Whom the frame is from, by its IP or ARP header.
fn source_addr(lane: &Lane, frame: &[u8]) -> Option<IpAddr> {
    if lane.meta.network != Network::Arp {
        return lane.meta.src_addr(frame);
    }
    let (arp, _) = ArpPacket::split(frame.get(lane.meta.l3.into()..)?).ok()?;
    Some(arp.sender_ip().into())
}
