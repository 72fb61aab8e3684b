//! What the virtual router answers itself, inside tenants' networks: ARP (RFC
//! 826), neighbour discovery (RFC 4861) and echo requests to a gateway. The
//! packet becomes its own answer.
//!
//! Whoever asks for an address gets the gateway's MAC, that of the machine when
//! frames may be bridged to it, or else the router's, if a route leads there.
//! Nobody is answered for their own address, so duplicate address detection
//! (RFC 4862 §5.4, RFC 5227) works.

use std::net::{IpAddr, Ipv6Addr};

use encap::{ArpPacket, Buffer, EthernetHeader, MacAddr, Network, arp, icmp, nd, rewrite};

use super::{Context, Ingress, Lane, Layer, Next, learn, probes, router};
use crate::decide::routed::way_back;
use crate::reason::DropReason;
use crate::tables::service::Service;
use crate::tables::spec::ForwardingMode;
use crate::tables::{Nexthop, NexthopId, Target, Vrf};

/// The answer, or `None` if the packet is not for the router to answer.
pub fn answer<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &mut Lane,
    packet: &mut B,
) -> Option<Next> {
    if let Some(next) = probes::answer(context, vrf, lane, packet) {
        return Some(next);
    }
    let next = match lane.meta.network {
        Network::Arp => answer_arp(context, vrf, lane, packet),
        Network::Ipv4 | Network::Ipv6 if icmp::is_echo_request(&lane.meta) => {
            answer_echo(context, vrf, lane, packet)?
        }
        Network::Ipv6 => match router::answer(context, vrf, lane, packet) {
            Some(answered) => answered,
            None => answer_nd(context, vrf, lane, packet)?,
        },
        _ => return None,
    };
    Some(next.unwrap_or_else(Next::Drop))
}

fn answer_arp<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &mut Lane,
    packet: &mut B,
) -> Result<Next, DropReason> {
    let (arp, _) = ArpPacket::split(&packet.bytes()[lane.meta.l3.into()..])?;
    let question = Question {
        asker: arp.sender_ip().into(),
        asker_mac: arp.sender_mac(),
        target: arp.target_ip().into(),
    };
    if !arp.is_request() || question.asker == question.target {
        return pass_on(vrf, packet.bytes(), DropReason::NeighbourUnsolicited);
    }
    let answer = match resolve(context, vrf, lane.ingress, &question) {
        Err(reason) => return pass_on(vrf, packet.bytes(), reason),
        Ok(answer) => answer,
    };
    let back = way_out(context, vrf, lane, &question)?;
    arp::reply(packet.bytes_mut(), 0, answer.mac);
    Ok(back)
}

fn answer_nd<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &mut Lane,
    packet: &mut B,
) -> Option<Result<Next, DropReason>> {
    let solicitation = match nd::solicitation(packet.bytes(), &lane.meta) {
        Ok(Some(solicitation)) => solicitation,
        Ok(None) => {
            return match nd::advertisement(packet.bytes(), &lane.meta) {
                Ok(Some(_)) => {
                    let reason = DropReason::NeighbourUnsolicited;
                    Some(pass_on(vrf, packet.bytes(), reason))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error.into())),
            };
        }
        Err(error) => return Some(Err(error.into())),
    };
    let (ethernet, _) = EthernetHeader::split(packet.bytes()).ok()?;
    let question = Question {
        asker: solicitation.src.into(),
        asker_mac: ethernet.src(),
        target: solicitation.target.into(),
    };
    let answer = match resolve(context, vrf, lane.ingress, &question) {
        Err(reason) => return Some(pass_on(vrf, packet.bytes(), reason)),
        Ok(answer) => answer,
    };
    let answered = way_out(context, vrf, lane, &question).and_then(|back| {
        let flags = nd::Flags {
            router: answer.is_router,
            solicited: !solicitation.src.is_unspecified(),
            override_cache: !answer.is_proxy,
        };
        nd::answer(packet, &lane.meta, &solicitation, answer.mac, flags)?;
        Ok(back)
    });
    Some(answered)
}

/// What the router does not answer goes on to the machines, where frames to
/// everybody do; to the router's own MAC or without such a way it ends here.
fn pass_on(vrf: &Vrf, frame: &[u8], otherwise: DropReason) -> Result<Next, DropReason> {
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let floods = vrf.mode != ForwardingMode::Routed && vrf.flood.is_some();
    match floods && ethernet.dst() != vrf.mac {
        true => Ok(Next::Bridge),
        false => Err(otherwise),
    }
}

fn answer_echo<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &mut Lane,
    packet: &mut B,
) -> Option<Result<Next, DropReason>> {
    let frame = packet.bytes();
    let (ethernet, _) = EthernetHeader::split(frame).ok()?;
    let asker_mac = ethernet.src();
    let (asker, target) = (lane.meta.src_addr(frame)?, lane.meta.dst_addr(frame)?);
    if ethernet.dst() != vrf.mac {
        return None;
    }
    if !is_gateway(vrf, target) && !answers_for(context, vrf, target)? {
        return Some(Err(DropReason::NoBackend));
    }
    if lane.meta.source_route {
        return Some(Err(DropReason::SourceRoute)); // the answer would take it back
    }
    let question = Question {
        asker,
        asker_mac,
        target,
    };
    let answered = way_out(context, vrf, lane, &question).and_then(|back| {
        icmp::echo_reply(packet, &lane.meta)?;
        rewrite::set_macs(packet.bytes_mut(), 0, asker_mac, vrf.mac);
        Ok(back)
    });
    Some(answered)
}

/// Whether the router answers an echo request for an address that only services have: if any of them
/// has a backend. A ping says whether it is of use to call there, as it would of a machine. `None`: it
/// is no such address.
fn answers_for(context: &Context, vrf: &Vrf, target: IpAddr) -> Option<bool> {
    let Some(Target::Vip(id)) = vrf.routes.lookup(target) else {
        return None;
    };
    let vip = context.tables.vip(id)?;
    if vip.services.is_empty() || vip.floating.is_some() || vip.pool.is_some() {
        return None;
    }
    let mut services = vip.services.iter();
    Some(services.any(|(_, id)| {
        let service = context.tables.service(*id);
        service.is_some_and(Service::has_backend)
    }))
}

/// Who asks for which address.
pub(super) struct Question {
    /// Unspecified when it asks whether the address is free.
    pub(super) asker: IpAddr,
    pub(super) asker_mac: MacAddr,
    pub(super) target: IpAddr,
}

struct Answer {
    mac: MacAddr,
    is_router: bool,
    /// The answer speaks for another machine (RFC 4861 §7.2.8).
    is_proxy: bool,
}

fn resolve(
    context: &Context,
    vrf: &Vrf,
    ingress: Ingress,
    question: &Question,
) -> Result<Answer, DropReason> {
    if is_gateway(vrf, question.target) {
        return Ok(Answer {
            mac: vrf.mac,
            is_router: true,
            is_proxy: false,
        });
    }
    if vrf.mode != ForwardingMode::Routed
        && let Some(mac) = vrf.neighbours.get(&question.target)
        && *mac != question.asker_mac
        && vrf
            .macs
            .get(mac)
            .is_some_and(|nexthop| speaks_for(context, *nexthop, ingress))
    {
        return Ok(Answer {
            mac: *mac,
            is_router: false,
            is_proxy: false,
        });
    }
    // Whether an address is free is asked of that address alone: a route to a
    // whole network does not mean that it is taken. And where questions reach the
    // machines, it does not mean that none of them has the address.
    let floods = vrf.flood.is_some() && vrf.mode != ForwardingMode::Routed;
    let target = match question.asker.is_unspecified() || floods {
        true => vrf.routes.get(question.target.into()),
        false => vrf.routes.lookup(question.target),
    };
    match target {
        Some(Target::Nexthop(nexthop))
            if vrf.mode != ForwardingMode::Bridged && speaks_for(context, nexthop, ingress) =>
        {
            Ok(Answer {
                mac: vrf.mac,
                is_router: true,
                is_proxy: true,
            })
        }
        // Whoever is behind it is reached over the router; each node has one of its own.
        Some(Target::Vip(_))
            if vrf.mode != ForwardingMode::Bridged && ingress.as_vif().is_some() =>
        {
            Ok(Answer {
                mac: vrf.mac,
                is_router: true,
                is_proxy: false,
            })
        }
        _ => Err(DropReason::NeighbourUnanswered),
    }
}

/// True if the router may answer for what is behind a nexthop: not to the asker
/// about itself, and not to one tunnel about another.
fn speaks_for(context: &Context, nexthop: NexthopId, ingress: Ingress) -> bool {
    match context.tables.nexthop(nexthop) {
        Some(Nexthop::Vif(vif)) => ingress.as_vif() != Some(*vif),
        Some(Nexthop::Tunnel(_)) => ingress.as_peer().is_none(),
        Some(Nexthop::Host) => true,
        // Whoever asks is to be told, and has to send it here for that.
        Some(Nexthop::Reject) => true,
        Some(Nexthop::Vrf(_)) => true,
        // Not to a member's machine about itself.
        Some(Nexthop::Group(group)) => {
            let asker = ingress.as_vif();
            asker.is_some_and(|vif| !group.delivers_to(context.tables, vif))
        }
        Some(
            Nexthop::Neighbour(_) | Nexthop::Unreachable | Nexthop::Discard | Nexthop::Replicate(_),
        )
        | None => false,
    }
}

/// The way an answer takes: where the question came from.
pub(super) fn way_out(
    context: &Context,
    vrf: &Vrf,
    lane: &mut Lane,
    question: &Question,
) -> Result<Next, DropReason> {
    let Some(peer) = lane.ingress.as_peer() else {
        return Ok(Next::Emit(context.vif.id));
    };
    lane.entropy = question.asker_mac.to_u64() as u32;
    let by_mac = learn::find(context.tables, vrf, question.asker_mac).filter(|id| {
        matches!(context.tables.nexthop(*id), Some(Nexthop::Tunnel(tunnel)) if tunnel.peer == peer)
    });
    let nexthop = match by_mac {
        Some(nexthop) => nexthop,
        None => way_back(context.tables, vrf, question.asker, peer)?,
    };
    Ok(Next::Forward(nexthop, Layer::Bridged))
}

/// True if the address is the virtual router's own in this vrf.
pub fn is_gateway(vrf: &Vrf, addr: IpAddr) -> bool {
    vrf.routes.lookup(addr) == Some(Target::Gateway) || addr == link_local(vrf.mac)
}

/// The router's link-local address (RFC 4291 appendix A: modified EUI-64).
pub(super) fn link_local(mac: MacAddr) -> IpAddr {
    let [a, b, c, d, e, f] = mac.0;
    let id = u64::from_be_bytes([a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(id)).into()
}
