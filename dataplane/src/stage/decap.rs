//! Out of a tunnel: whose the packet is, whether it may be, and the inner packet
//! as if it had come from a machine of that network.
//!
//! Behind a label may be a bare IP packet. The later stages know frames only, so
//! it gets an Ethernet header here, to the router MAC; one that leaves through
//! such a tunnel loses it again in stage `forward`.

use std::net::IpAddr;

use encap::{
    Buffer, Circuit, Decap, EthernetHeader, Label, Model, Network, ecn, ethernet, mpls, rewrite,
};

use super::{Context, Ingress, Lane, Layer, Next, bridge, overlay};
use crate::reason::DropReason;
use crate::tables::spec::Payload;
use crate::tables::{Arrival, LabelEntry, Nexthop, NexthopId, Tables, Terms, Vrf};

/// Opens a tunnel packet that is for this node (RFC 7348 §4.1, RFC 4023 §3.3).
pub fn open<B: Buffer>(
    context: &Context,
    lane: &mut Lane,
    packet: &mut B,
    outer: &Decap,
) -> Result<Next, DropReason> {
    let tables = context.tables;
    let entry = whose(tables, &outer.circuit, packet.bytes())?;
    let addrs = lane.meta.addrs(packet.bytes());
    let (remote, _) = addrs.ok_or(DropReason::Truncated)?;
    let peer = tables.underlay().peer(remote);
    let peer = peer.ok_or(DropReason::UnknownTunnelSource)?;
    let terms = tables.underlay().terms(remote);
    check_checksum(outer, terms)?;
    lane.ingress = Ingress::peer(peer);
    lane.vrf = match entry.to {
        Arrival::Vrf(vrf) => vrf,
        Arrival::Nexthop(nexthop) => {
            lane.named = nexthop;
            lane.ingress = lane.ingress.direct();
            let Some(Nexthop::Vif(vif)) = tables.nexthop(nexthop) else {
                return Err(DropReason::NoRoute);
            };
            tables.vif(*vif).ok_or(DropReason::VifGone)?.vrf
        }
    };
    let vrf = tables.vrf(lane.vrf).ok_or(DropReason::VifGone)?;
    let traffic_class = lane.meta.traffic_class;
    packet.truncate(lane.meta.end.into());
    packet.trim_front(outer.inner.into())?;
    if entry.payload == Payload::Ip {
        put_link(packet, vrf)?;
    }
    lane.meta = encap::parse_packet(packet)?;
    if lane.meta.tagged {
        return Err(DropReason::VlanUnexpected); // RFC 7348 §6.1
    }
    if entry.payload == Payload::Ip {
        check_inner(lane, packet, &outer.circuit, remote)?;
    }
    if lane.meta.is_ip() && ecn::is_dubious(lane.meta.traffic_class, traffic_class) {
        context.vif.counters.block(context.worker).ecn_dubious();
    }
    ecn::apply(packet.bytes_mut(), &lane.meta, traffic_class, terms.dscp)?;
    if let (Circuit::Labels(stack), Payload::Ip) = (&outer.circuit, entry.payload)
        && terms.ttl == Model::Uniform
    {
        rewrite::limit_ttl(packet.bytes_mut(), &lane.meta, stack.ttl);
        lane.meta.ttl = lane.meta.ttl.min(stack.ttl);
    }
    match lane.direct() {
        Some(nexthop) => straight(context, vrf, lane, packet, nexthop),
        None => Ok(overlay::classify(context, lane, packet)),
    }
}

/// What the network id or the label stack leads to. Of several labels each must
/// be ours, and the last one says where the packet goes; an explicit null below
/// says only what it is (RFC 3032 §2.1, RFC 4182).
fn whose(tables: &Tables, circuit: &Circuit, frame: &[u8]) -> Result<LabelEntry, DropReason> {
    let stack = match circuit {
        Circuit::Vni(vni) => {
            let to = tables.vni(*vni).ok_or(DropReason::UnknownVni)?;
            let payload = Payload::Ethernet;
            return Ok(LabelEntry { to, payload });
        }
        Circuit::Labels(stack) => stack,
    };
    let mut last: Option<LabelEntry> = None;
    for label in stack.labels(frame) {
        last = match (tables.label(label), last) {
            (Some(entry), _) => Some(entry),
            (None, Some(entry)) if is_explicit_null(label) => Some(entry),
            (None, _) => return Err(DropReason::UnknownLabel),
        };
    }
    let mut entry = last.ok_or(DropReason::UnknownLabel)?;
    if stack.payload != mpls::Payload::OfLabel {
        entry.payload = Payload::Ip;
    }
    Ok(entry)
}

fn is_explicit_null(label: Label) -> bool {
    label == Label::IPV4_EXPLICIT_NULL || label == Label::IPV6_EXPLICIT_NULL
}

/// MPLS over UDP over IPv6 without a checksum only from whom it was agreed with
/// (RFC 7510 §3.1); VXLAN from everybody (RFC 7348 §5).
fn check_checksum(outer: &Decap, terms: Terms) -> Result<(), DropReason> {
    let is_mpls = matches!(outer.circuit, Circuit::Labels(_));
    if outer.lacks_checksum && is_mpls && !terms.udp_zero_checksum {
        return Err(DropReason::UdpChecksumMissing);
    }
    Ok(())
}

/// Puts an Ethernet header to the router in front of an IP packet.
fn put_link<B: Buffer>(packet: &mut B, vrf: &Vrf) -> Result<(), DropReason> {
    let ether_type = match packet.bytes().first().map(|byte| byte >> 4) {
        Some(4) => ethernet::IPV4,
        Some(6) => ethernet::IPV6,
        Some(_) => return Err(DropReason::IpVersion),
        None => return Err(DropReason::Truncated),
    };
    packet.prepend(ethernet::LEN)?;
    let (mut link, _) = EthernetHeader::split_mut(packet.bytes_mut())?;
    link.set_dst(vrf.mac);
    link.set_src(vrf.mac);
    link.set_ether_type(ether_type);
    Ok(())
}

/// What a bare IP packet from a tunnel must be.
fn check_inner<B: Buffer>(
    lane: &Lane,
    packet: &B,
    circuit: &Circuit,
    remote: IpAddr,
) -> Result<(), DropReason> {
    let announced = match circuit {
        Circuit::Labels(stack) => stack.payload,
        Circuit::Vni(_) => mpls::Payload::OfLabel,
    };
    match (announced, lane.meta.network) {
        (mpls::Payload::OfLabel, _)
        | (mpls::Payload::Ipv4, Network::Ipv4)
        | (mpls::Payload::Ipv6, Network::Ipv6) => {}
        _ => return Err(DropReason::IpVersion),
    }
    let dst = lane.meta.dst_addr(packet.bytes());
    // It would go back into the tunnel at the other end (RFC 2784 §3.1).
    if dst == Some(remote) {
        return Err(DropReason::TunnelLoop);
    }
    // Nobody's link: there are no groups on it.
    if dst.is_some_and(|dst| dst.is_multicast()) {
        return Err(DropReason::Multicast);
    }
    Ok(())
}

/// What becomes of a packet whose label or VNI named the vif: routed to it, or
/// delivered as it is if it is a frame to another MAC than the router's.
fn straight<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &Lane,
    packet: &B,
    nexthop: NexthopId,
) -> Result<Next, DropReason> {
    let (link, _) = EthernetHeader::split(packet.bytes())?;
    if link.dst() == vrf.mac && lane.meta.is_ip() {
        return Ok(overlay::routed(vrf, lane, packet.bytes()));
    }
    bridge::check_source(context.tables, vrf, link.src(), lane.ingress)?;
    Ok(Next::Forward(nexthop, Layer::Bridged))
}
