//! Frames from the fabric: tunnel packets for this node are opened, those to addresses that machines
//! have there are routed to them, neighbours are heard and answered, everything else is the kernel's.

use encap::{ArpPacket, Buffer, EthernetHeader, MacAddr, Network, protocol};
use encap::{arp, icmp, nd, rewrite};
use std::net::IpAddr;

use super::{Burst, Context, Lane, Next, decap, host, path_mtu, public};
use crate::reason::DropReason;

/// Says for every packet whose it is.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if matches!(lane.next, Next::Drop(_) | Next::Emit(_)) {
            continue;
        }
        let next = match lane.meta.network {
            // The vif's own tag is off by now: this is another network than the underlay.
            _ if lane.meta.tagged => Ok(host::deliver(context)),
            Network::Arp => arp(context, lane, packet),
            Network::Ipv4 | Network::Ipv6 => ip(context, lane, packet),
            Network::Other => Ok(host::deliver(context)),
        };
        lane.next = next.unwrap_or_else(Next::Drop);
    }
}

fn ip<B: Buffer>(context: &Context, lane: &mut Lane, packet: &mut B) -> Result<Next, DropReason> {
    let meta = &lane.meta;
    let Some(dst) = meta.dst_addr(packet.bytes()) else {
        return Err(DropReason::Truncated);
    };
    if public::is_virtual(context, dst) {
        return Ok(public::route(context, lane, packet));
    }
    if !context.tables.underlay().is_local(dst) {
        if meta.protocol == protocol::ICMPV6
            && let Some(next) = neighbour_discovery(context, lane, packet)?
        {
            return Ok(next);
        }
        return Ok(match host::deliver(context) {
            Next::Drop(_) => Next::Drop(DropReason::NotForUs),
            to_host => to_host,
        });
    }
    if let Some(outer) = encap::decap(packet, meta)? {
        return decap::open(context, lane, packet, &outer);
    }
    if let Some(heard) = path_mtu::hear(context, meta, packet.bytes()) {
        return heard;
    }
    if public::is_bound(context, meta, packet.bytes(), dst) {
        return Ok(public::route(context, lane, packet));
    }
    if meta.protocol == protocol::ICMPV6
        && let Some(next) = neighbour_discovery(context, lane, packet)?
    {
        return Ok(next);
    }
    if context.tables.underlay().host.is_none() && icmp::is_echo_request(meta) {
        if meta.source_route {
            return Err(DropReason::SourceRoute);
        }
        let asker = source_mac(packet.bytes());
        icmp::echo_reply(packet, meta)?;
        rewrite::set_macs(packet.bytes_mut(), 0, asker, context.vif.mac);
        return Ok(Next::Emit(context.vif.id));
    }
    Ok(host::deliver(context))
}

fn arp<B: Buffer>(context: &Context, lane: &mut Lane, packet: &mut B) -> Result<Next, DropReason> {
    let (arp, _) = ArpPacket::split(&packet.bytes()[lane.meta.l3.into()..])?;
    let learned = learn(context, arp.sender_ip().into(), arp.sender_mac());
    let target = arp.target_ip().into();
    let is_ours = context.vif.has_address(target) || public::is_virtual(context, target);
    if arp.is_request() && is_ours {
        arp::reply(packet.bytes_mut(), 0, context.vif.mac);
        return Ok(Next::Emit(context.vif.id));
    }
    Ok(match host::deliver(context) {
        Next::Drop(_) if arp.is_request() => Next::Drop(DropReason::NotForUs),
        Next::Drop(_) if learned => Next::Consumed,
        Next::Drop(_) => Next::Drop(DropReason::NeighbourUnsolicited),
        to_host => to_host,
    })
}

fn neighbour_discovery<B: Buffer>(
    context: &Context,
    lane: &Lane,
    packet: &mut B,
) -> Result<Option<Next>, DropReason> {
    if let Some(heard) = nd::advertisement(packet.bytes(), &lane.meta)? {
        let learned = heard.target_mac.is_some_and(|mac| {
            let target = heard.target.into();
            // Without the O flag it does not speak against what is known (RFC 4861 §7.2.5).
            match known(context, target) {
                Some(other) if other != mac && !heard.flags.override_cache => false,
                _ => learn(context, target, mac),
            }
        });
        return Ok(Some(match host::deliver(context) {
            Next::Drop(_) if learned => Next::Consumed,
            Next::Drop(_) => Next::Drop(DropReason::NeighbourUnsolicited),
            to_host => to_host,
        }));
    }
    let Some(asked) = nd::solicitation(packet.bytes(), &lane.meta)? else {
        return Ok(None);
    };
    if let Some(mac) = asked.src_mac {
        learn(context, asked.src.into(), mac);
    }
    let target = asked.target.into();
    if !context.vif.has_address(target) && !public::is_virtual(context, target) {
        return Ok(None);
    }
    let flags = nd::Flags {
        router: false,
        solicited: !asked.src.is_unspecified(),
        override_cache: true,
    };
    nd::answer(packet, &lane.meta, &asked, context.vif.mac, flags)?;
    Ok(Some(Next::Emit(context.vif.id)))
}

/// Updates a neighbour that some nexthop needs; true if there is such a one.
fn learn(context: &Context, addr: IpAddr, mac: MacAddr) -> bool {
    let neighbour = context.tables.underlay().neighbour(context.vif.id, addr);
    match neighbour {
        Some(neighbour) if mac.is_unicast() => {
            neighbour.learn(mac, context.now);
            true
        }
        _ => false,
    }
}

/// The MAC of a neighbour that some nexthop needs.
fn known(context: &Context, addr: IpAddr) -> Option<MacAddr> {
    let neighbour = context.tables.underlay().neighbour(context.vif.id, addr);
    neighbour.and_then(|neighbour| neighbour.mac())
}

fn source_mac(frame: &[u8]) -> MacAddr {
    EthernetHeader::split(frame).map_or(MacAddr::ZERO, |(ethernet, _)| ethernet.src())
}
