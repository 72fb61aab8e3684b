//! Segments between the virtual router and backends that are looked after ([`crate::health`]): those
//! that go out leave by the routes of the backend's network, those that come back are handed on.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use encap::checksum::Sum;
use encap::tcp::LEN as TCP_LEN;
use encap::{Buffer, Error, EthernetHeader, Ipv4Header, Ipv6Header, TcpHeader, protocol};

use super::forward::{self, Exits};
use super::{Context, Ingress, Lane, Layer, Next, Translated, respond};
use crate::decide::End;
use crate::decide::routed::way_back;
use crate::health::{HEAD, Heard, PORTS, Segment};
use crate::reason::DropReason;
use crate::tables::{Nexthop, NexthopId, Tables, Target, Vif, Vrf};

/// TTL or hop limit of questions.
const TTL: u8 = 64;
/// What a backend may send at once: it need not be much.
const WINDOW: u16 = 8_192;

/// Sends a segment to a backend, if there is a way; counted for the vif by which it leaves.
///
/// # Errors
/// Why it went nowhere.
pub fn send<B: Buffer>(
    context: &Context,
    segment: &Segment,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let tables = context.tables;
    let vrf = tables.vrf(segment.vrf).ok_or(DropReason::NoRoute)?;
    let nexthop = way(tables, vrf, segment.dst.addr).ok_or(DropReason::NoRoute)?;
    let vif = egress(tables, nexthop).ok_or(DropReason::NoRoute)?;
    let Some(mut packet) = exits.pool.alloc() else {
        return Ok(()); // it is sent again
    };
    write(&mut packet, vrf, segment)?;
    let meta = encap::parse(packet.bytes())?;
    let lane = Lane {
        meta,
        vrf: vrf.id,
        exit: Lane::SAME,
        is_special: false,
        translated: Translated::No,
        is_copy: false,
        ingress: Ingress::vif(vif.id),
        entropy: u32::from(segment.src.port) << 16,
        named: NexthopId(0),
        next: Next::Forward(nexthop, Layer::Routed),
    };
    let counters = vif.counters.block(context.worker);
    counters.originated();
    let context = Context { vif, ..*context };
    let sent = forward::by_nexthop(&context, &lane, nexthop, Layer::Routed, packet, exits);
    sent.inspect_err(|reason| counters.dropped(*reason, 1))
}

/// Hands on what a backend answered. `None` if it is no such answer.
pub(super) fn answer<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &Lane,
    packet: &B,
) -> Option<Next> {
    let meta = &lane.meta;
    let wire = context.tables.sessions().probes();
    if !meta.is_tcp() || !PORTS.contains(&meta.dst_port) || !wire.is_open() {
        return None;
    }
    let frame = packet.bytes();
    let (ethernet, _) = EthernetHeader::split(frame).ok()?;
    let (src, dst) = meta.addrs(frame)?;
    if ethernet.dst() != vrf.mac || !respond::is_gateway(vrf, dst) {
        return None;
    }
    if let Some(peer) = lane.ingress.as_peer()
        && let Err(reason) = way_back(context.tables, vrf, src, peer)
    {
        return Some(Next::Drop(reason));
    }
    let (segment, _) = TcpHeader::split(frame.get(usize::from(meta.l4)..)?).ok()?;
    let data = usize::from(meta.l4) + segment.header_len();
    let len = usize::from(meta.end).saturating_sub(data);
    let mut bytes = [0; HEAD];
    let head = &mut bytes[..len.min(HEAD)];
    packet.copy_to(data, head).ok()?;
    wire.hear(Heard {
        vrf: vrf.id,
        src: End {
            addr: src,
            port: meta.src_port,
        },
        dst: End {
            addr: dst,
            port: meta.dst_port,
        },
        sequence: segment.sequence(),
        acknowledgment: segment.acknowledgment(),
        flags: segment.flags(),
        len: len as u32,
        head: head.iter().copied().collect::<ArrayVec<u8, HEAD>>(),
    });
    Some(Next::Consumed)
}

/// The nexthop to a backend, of a group any usable member.
fn way(tables: &Tables, vrf: &Vrf, addr: IpAddr) -> Option<NexthopId> {
    let Target::Nexthop(nexthop) = vrf.routes.lookup(addr)? else {
        return None;
    };
    match tables.nexthop(nexthop)? {
        Nexthop::Group(group) => group
            .find(|id| tables.is_usable(id))
            .map(|(member, _)| member),
        _ => Some(nexthop),
    }
}

/// The vif by which a nexthop's packets leave.
fn egress(tables: &Tables, nexthop: NexthopId) -> Option<&Vif> {
    let vif = match tables.nexthop(nexthop)? {
        Nexthop::Vif(vif) => *vif,
        Nexthop::Tunnel(tunnel) => tunnel.paths.any().egress,
        _ => return None,
    };
    tables.vif(vif).map(|vif| &**vif)
}

/// Makes an empty packet the segment, in a frame of the virtual router's.
fn write<B: Buffer>(packet: &mut B, vrf: &Vrf, segment: &Segment) -> Result<(), Error> {
    let len = TCP_LEN + segment.payload.len();
    let (ether_type, ip_len) = match segment.dst.addr {
        IpAddr::V4(_) => (encap::ethernet::IPV4, encap::ipv4::LEN),
        IpAddr::V6(_) => (encap::ethernet::IPV6, encap::ipv6::LEN),
    };
    packet.append(encap::ethernet::LEN + ip_len + len)?;
    let (mut link, rest) = EthernetHeader::split_mut(packet.bytes_mut())?;
    link.set_dst(vrf.mac);
    link.set_src(vrf.mac);
    link.set_ether_type(ether_type);
    let sum = match (segment.src.addr, segment.dst.addr) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let (mut header, _) = Ipv4Header::split_mut(rest)?;
            header.set(protocol::TCP, from, to, TTL, 0, (ip_len + len) as u16);
            header.fill_checksum();
            Sum::new().ipv4_pseudo(from, to, protocol::TCP, len as u16)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let (mut header, _) = Ipv6Header::split_mut(rest)?;
            header.set(protocol::TCP, from, to, TTL, 0, len as u16);
            Sum::new().ipv6_pseudo(from, to, protocol::TCP, len as u32)
        }
        _ => return Err(Error::AddressFamily),
    };
    let mut header = [0; TCP_LEN];
    header[..2].copy_from_slice(&segment.src.port.to_be_bytes());
    header[2..4].copy_from_slice(&segment.dst.port.to_be_bytes());
    header[4..8].copy_from_slice(&segment.sequence.to_be_bytes());
    header[8..12].copy_from_slice(&segment.acknowledgment.to_be_bytes());
    header[12] = (TCP_LEN as u8 / 4) << 4;
    header[13] = segment.flags;
    header[14..16].copy_from_slice(&WINDOW.to_be_bytes());
    let checksum = sum.array(&header).bytes(&segment.payload).finish();
    TcpHeader::new(&mut header).set_checksum(checksum);
    let missing = Error::Truncated {
        need: (ip_len + len) as u16,
        have: rest.len() as u16,
    };
    let place = rest.get_mut(ip_len..ip_len + len).ok_or(missing)?;
    let (tcp, data) = place.split_at_mut(TCP_LEN);
    tcp.copy_from_slice(&header);
    data.copy_from_slice(&segment.payload);
    Ok(())
}
