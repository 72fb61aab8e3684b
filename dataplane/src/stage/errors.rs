//! Telling a sender why its packet went no further: ICMP errors and TCP resets
//! (RFC 1812 §4.3, RFC 4443 §2.4, RFC 9293 §3.5.2). The packet is dropped and
//! counted like any other; its buffer becomes the error, which goes back the way
//! the packet came.
//!
//! An error comes from the vrf's gateway in the sender's subnet, or from its
//! first one of the family; without one there is nobody to send it. Who may get
//! one is in [`encap::icmp_error::may_answer`], how many in [`super::error_rate`].
//!
//! Which reasons oblige us is the table in `owed`. All of them arise where a
//! packet was given to the virtual router: a switch says nothing, but for sizes.

use std::net::IpAddr;

use encap::icmp_error::{self, Kind};
use encap::parameter::{self, Unknown};
use encap::{Buffer, EthernetHeader, MacAddr, Meta, Quote, icmp, protocol, tcp_reset};
use ipnet::IpNet;

use super::forward::{Exits, send};
use super::respond::{self, Question};
use super::{Context, Lane, Layer, Next};
use crate::decide::routed::way_back;
use crate::reason::DropReason;
use crate::tables::{Nexthop, Target, Vrf};

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Icmp(Kind),
    Reset,
}

/// Tells the sender of a dropped packet why, if that reason is owed an error and
/// the packet may be answered.
#[inline]
pub fn tell<B: Buffer>(
    context: &Context,
    lane: &Lane,
    reason: DropReason,
    packet: B,
    exits: &mut Exits<B>,
) {
    if matches!(
        reason,
        DropReason::TtlExpired
            | DropReason::NoRoute
            | DropReason::NoUnderlayRoute
            | DropReason::NeighbourUnresolved
            | DropReason::Reject
            | DropReason::PolicyRejected
            | DropReason::ToGateway
            | DropReason::SnatExhausted
            | DropReason::SnatPortLimit
            | DropReason::NoService
            | DropReason::NoBackend
            | DropReason::BackendDown
    ) {
        tell_owed(context, lane, reason, packet, exits);
    }
}

#[cold]
fn tell_owed<B: Buffer>(
    context: &Context,
    lane: &Lane,
    reason: DropReason,
    packet: B,
    exits: &mut Exits<B>,
) {
    let frame = packet.bytes();
    let vrf = context.tables.vrf(lane.vrf);
    let to_router = EthernetHeader::split(frame)
        .is_ok_and(|(ethernet, _)| vrf.is_some_and(|vrf| vrf.mac == ethernet.dst()));
    // Policies are between machines, too, that are bridged to each other.
    let is_rejected = reason == DropReason::PolicyRejected && lane.ingress.as_vif().is_some();
    if (to_router || is_rejected)
        && let Some(answer) = owed(reason, &lane.meta, frame)
    {
        answer_with(context, lane, answer, packet, exits);
    }
}

/// Tells the sender of a packet that was routed or bridged what is wrong with it.
pub fn tell_icmp<B: Buffer>(
    context: &Context,
    lane: &Lane,
    kind: Kind,
    packet: B,
    exits: &mut Exits<B>,
) {
    answer_with(context, lane, Answer::Icmp(kind), packet, exits);
}

/// The error that a reason obliges us to, for a packet given to the router.
fn owed(reason: DropReason, meta: &Meta, frame: &[u8]) -> Option<Answer> {
    let kind = match reason {
        DropReason::TtlExpired => Kind::TimeExceeded,
        DropReason::NoRoute => Kind::NoRoute,
        // There is a route, and no way to where it leads.
        DropReason::NoUnderlayRoute | DropReason::NeighbourUnresolved => Kind::Unreachable,
        DropReason::Reject | DropReason::PolicyRejected => match meta.is_tcp() {
            true => return Some(Answer::Reset),
            false => Kind::Prohibited,
        },
        // RFC 5508 REQ-8, RFC 6888 REQ-11
        DropReason::SnatExhausted | DropReason::SnatPortLimit => Kind::Prohibited,
        // A virtual address is a host that has not got this port open.
        DropReason::ToGateway | DropReason::NoService => return to_gateway(meta, frame),
        DropReason::NoBackend | DropReason::BackendDown => return unserved(meta, frame),
        _ => return None,
    };
    Some(Answer::Icmp(kind))
}

/// What a host says to a packet that is for it and of no use to it (RFC 1122 §3.2.2.1, RFC 8200 §4).
fn to_gateway(meta: &Meta, frame: &[u8]) -> Option<Answer> {
    match parameter::unknown(frame, meta) {
        Some(Unknown::Silent) => return None,
        Some(Unknown::Report(kind)) => return Some(Answer::Icmp(kind)),
        None => {}
    }
    match meta.protocol {
        protocol::TCP => Some(Answer::Reset),
        protocol::UDP => Some(Answer::Icmp(Kind::PortUnreachable)),
        // Unknown messages are ignored (RFC 1122 §3.2.2, RFC 4443 §2.4 b).
        protocol::ICMP | protocol::ICMPV6 | protocol::NO_NEXT_HEADER => None,
        _ if meta.is_ip() => Some(Answer::Icmp(Kind::ProtocolUnreachable)),
        _ => None,
    }
}

/// What somebody hears who called a service that nobody answers for: as if its port were closed, and
/// a ping as if the host were gone.
fn unserved(meta: &Meta, frame: &[u8]) -> Option<Answer> {
    match icmp::is_echo_request(meta) {
        true => Some(Answer::Icmp(Kind::Unreachable)),
        false => to_gateway(meta, frame),
    }
}

/// Makes the packet its own answer and sends it back.
#[cold]
fn answer_with<B: Buffer>(
    context: &Context,
    lane: &Lane,
    answer: Answer,
    mut packet: B,
    exits: &mut Exits<B>,
) {
    let Some(vrf) = context.tables.vrf(lane.vrf) else {
        return;
    };
    let Some(sender) = Sender::of(vrf, lane, answer, packet.bytes()) else {
        return;
    };
    let mut back = *lane;
    let Ok(next) = respond::way_out(context, vrf, &mut back, &sender.as_question()) else {
        return;
    };
    let counters = context.vif.counters.block(context.worker);
    if !exits.errors.allows(vrf.id, sender.addr, context.now) {
        counters.error_withheld();
        return;
    }
    let written = match answer {
        Answer::Icmp(kind) => {
            icmp_error::write(&mut packet, &lane.meta, sender.gateway, vrf.mac, kind)
        }
        Answer::Reset => tcp_reset::write(&mut packet, &lane.meta, vrf.mac),
    };
    let (Ok(()), Ok(meta)) = (written, encap::parse(packet.bytes())) else {
        return;
    };
    (back.meta, back.next) = (meta, next);
    counters.originated();
    if let Err(reason) = send(context, &back, packet, exits) {
        exits.count(context, &back, reason);
    }
}

/// Who is to be told, and by whom.
struct Sender {
    mac: MacAddr,
    addr: IpAddr,
    gateway: IpAddr,
}

impl Sender {
    /// `None` if this packet must not be answered.
    fn of(vrf: &Vrf, lane: &Lane, answer: Answer, frame: &[u8]) -> Option<Sender> {
        let meta = &lane.meta;
        let (kind, may) = match answer {
            Answer::Icmp(kind) => (kind, true),
            Answer::Reset => (Kind::Prohibited, tcp_reset::may_answer(meta)),
        };
        if !may || !icmp_error::may_answer(frame, meta, kind) {
            return None;
        }
        let (addr, dst) = meta.addrs(frame)?;
        let is_broadcast = |net: &IpNet| match net {
            IpNet::V4(net) => net.prefix_len() < 31 && dst == IpAddr::from(net.broadcast()),
            IpNet::V6(_) => false,
        };
        if vrf.gateways.iter().any(is_broadcast) {
            return None;
        }
        Some(Sender {
            mac: EthernetHeader::split(frame).ok()?.0.src(),
            addr,
            gateway: match answer {
                Answer::Icmp(_) => gateway(vrf, addr)?,
                // It comes from where the segment went.
                Answer::Reset => dst,
            },
        })
    }

    fn as_question(&self) -> Question {
        Question {
            asker: self.addr,
            asker_mac: self.mac,
            target: self.gateway,
        }
    }
}

/// The address that errors to `addr` come from (RFC 1812 §4.3.2.4, RFC 4443 §2.2).
fn gateway(vrf: &Vrf, addr: IpAddr) -> Option<IpAddr> {
    let mut own = vrf.gateways.iter();
    let nearest = own.clone().find(|net| net.contains(&addr));
    let found = nearest.or_else(|| own.find(|net| net.addr().is_ipv4() == addr.is_ipv4()));
    found.map(IpNet::addr)
}

/// Where an error goes that a tunnel brought and that bears our own gateway's
/// address: the virtual router is on every node, and one of the others sent it.
///
/// Its source says nothing about where it comes from, so what it quotes has to:
/// a packet of the machine it is for, to a destination behind this very tunnel.
/// `None` if this is no such error; then it is as spoofed as it looks.
pub fn from_twin(context: &Context, vrf: &Vrf, lane: &Lane, frame: &[u8]) -> Option<Next> {
    if !icmp_error::is_error(&lane.meta) {
        return None;
    }
    let peer = lane.ingress.as_peer()?;
    let (ethernet, _) = EthernetHeader::split(frame).ok()?;
    let (src, dst) = lane.meta.addrs(frame)?;
    if ethernet.dst() != vrf.mac || lane.meta.ttl <= 1 || !respond::is_gateway(vrf, src) {
        return None;
    }
    let quote = Quote::read(frame, &lane.meta).ok()??;
    let nexthop = match vrf.routes.lookup(dst)? {
        Target::Nexthop(nexthop) => nexthop,
        _ => return None,
    };
    let is_here = matches!(context.tables.nexthop(nexthop), Some(Nexthop::Vif(_)));
    let came_back = way_back(context.tables, vrf, quote.dst, peer).is_ok();
    (quote.src == dst && is_here && came_back).then_some(Next::Forward(nexthop, Layer::Routed))
}
