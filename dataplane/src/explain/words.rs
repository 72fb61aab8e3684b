//! Numbers of the engine in words: packets, nexthops, ends, and the objects behind them.

use std::fmt::Write as _;
use std::net::IpAddr;

use encap::{ArpPacket, Circuit, Encap, Fragment, MemBuffer, Meta, Network, protocol};

use super::Mention;
use crate::decide::End;
use crate::tables::policy::RuleId;
use crate::tables::spec::{Key, Name};
use crate::tables::{Nexthop, NexthopId, PeerId, Tables, VifId, VrfId};

/// A packet in one line, e.g. `tcp 10.1.0.5:40000 -> 10.1.0.9:80 SYN, ttl 64, 74 bytes`.
pub(super) fn packet(frame: &[u8], meta: &Meta) -> String {
    let mut text = match meta.network {
        Network::Arp => arp(frame, meta),
        Network::Other => format!("a frame of type {:#06x}", meta.ether_type),
        Network::Ipv4 | Network::Ipv6 => ip(frame, meta),
    };
    _ = write!(text, ", {} bytes", frame.len());
    text
}

fn arp(frame: &[u8], meta: &Meta) -> String {
    let bytes = frame.get(meta.l3.into()..).unwrap_or_default();
    match ArpPacket::split(bytes) {
        Ok((arp, _)) if arp.is_request() => {
            format!("ARP: who has {}? asks {}", arp.target_ip(), arp.sender_ip())
        }
        Ok((arp, _)) => format!("ARP: {} is at {}", arp.sender_ip(), arp.sender_mac()),
        Err(_) => "ARP".into(),
    }
}

fn ip(frame: &[u8], meta: &Meta) -> String {
    let Some((src, dst)) = meta.addrs(frame) else {
        return "IP".into();
    };
    let kind = protocol_name(meta.protocol);
    let has_ports = meta.fragment != Fragment::Later && (meta.src_port, meta.dst_port) != (0, 0);
    let is_icmp = matches!(meta.protocol, protocol::ICMP | protocol::ICMPV6);
    let at = |addr: IpAddr, port| match has_ports && !is_icmp {
        true => end(End { addr, port }),
        false => addr.to_string(),
    };
    let (from, to) = (at(src, meta.src_port), at(dst, meta.dst_port));
    let mut text = format!("{kind} {from} -> {to}");
    if meta.fragment != Fragment::Whole {
        _ = write!(text, " (fragment at {})", meta.fragment_offset);
    } else if meta.protocol == protocol::TCP {
        _ = write!(text, " {}", tcp_flags(meta.l4_flags));
    } else if is_icmp {
        _ = write!(text, " type {} code {}", meta.l4_flags, meta.icmp_code);
    }
    _ = write!(text, ", ttl {}", meta.ttl);
    text
}

fn tcp_flags(flags: u8) -> String {
    let names = [(2, "SYN"), (16, "ACK"), (1, "FIN"), (4, "RST"), (8, "PSH")];
    let set = names.iter().filter(|(bit, _)| flags & bit != 0);
    let set: Vec<&str> = set.map(|(_, name)| *name).collect();
    match set.is_empty() {
        true => "without flags".into(),
        false => set.join("+"),
    }
}

/// The name of an IP protocol, or its number.
pub(super) fn protocol_name(number: u8) -> String {
    match number {
        protocol::TCP => "tcp".into(),
        protocol::UDP => "udp".into(),
        protocol::SCTP => "sctp".into(),
        protocol::ICMP => "icmp".into(),
        protocol::ICMPV6 => "icmpv6".into(),
        other => format!("protocol {other}"),
    }
}

/// `10.1.0.9:80`, `[fd01::9]:80`.
pub(super) fn end(end: End) -> String {
    match end.addr {
        IpAddr::V4(addr) => format!("{addr}:{}", end.port),
        IpAddr::V6(addr) => format!("[{addr}]:{}", end.port),
    }
}

/// The name of a network.
pub(super) fn vrf(tables: &Tables, id: VrfId) -> Name {
    let vrf = tables.vrf(id).map(|vrf| vrf.name.clone());
    vrf.unwrap_or_else(|| "?".into())
}

/// The name of a vif.
pub(super) fn vif(tables: &Tables, id: VifId) -> Name {
    let vif = tables.vif(id).map(|vif| vif.name.clone());
    vif.unwrap_or_else(|| "?".into())
}

/// The address of a tunnel's other end.
pub(super) fn peer(tables: &Tables, id: PeerId) -> String {
    let addr = tables.underlay().peer_addr(id);
    addr.map_or_else(|| "?".into(), |addr| addr.to_string())
}

/// Where packets go by a nexthop.
pub(super) fn nexthop(tables: &Tables, id: NexthopId) -> String {
    let name = || tables.nexthop_name(id).unwrap_or_else(|| "?".into());
    match tables.nexthop(id) {
        Some(Nexthop::Vif(to)) => format!("vif {}", vif(tables, *to)),
        Some(Nexthop::Tunnel(tunnel)) => {
            let (kind, number) = match tunnel.spec.encap {
                Encap::Vxlan(vni) => ("vxlan", format!("vni {vni}")),
                Encap::MplsUdp(label) => ("mpls_udp", format!("label {label}")),
                Encap::MplsGre(label) => ("mpls_gre", format!("label {label}")),
            };
            let remote = tunnel.spec.remote;
            format!("tunnel {} ({kind} to {remote}, {number})", name())
        }
        Some(Nexthop::Neighbour(it)) => {
            format!("neighbour {} on vif {}", it.addr, vif(tables, it.vif))
        }
        Some(Nexthop::Unreachable) => {
            format!("nexthop {}, to which the underlay has no route", name())
        }
        Some(Nexthop::Host) => "the node's kernel".into(),
        Some(Nexthop::Discard) => format!("nexthop {}, which discards", name()),
        Some(Nexthop::Reject) => format!("nexthop {}, which rejects", name()),
        Some(Nexthop::Replicate(_)) => format!("nexthop {}, to all its members", name()),
        Some(Nexthop::Group(_)) => format!("group {}", name()),
        Some(Nexthop::Vrf(to)) => format!("vrf {}", vrf(tables, *to)),
        None => "nothing".into(),
    }
}

/// The object that a nexthop is: the nexthop of that name, or the vif it delivers to.
pub(super) fn nexthop_key(tables: &Tables, id: NexthopId) -> Option<Key> {
    let name = tables.nexthop_name(id)?;
    let as_nexthop = Key::Nexthop(name.clone());
    match tables.object(&as_nexthop) {
        Some(_) => Some(as_nexthop),
        None => Some(Key::Vif(name)),
    }
}

/// What a tunnel packet carries its network as.
pub(super) fn circuit(frame: &[u8], meta: &Meta) -> Option<(String, Vec<Key>)> {
    let opened = encap::decap(&MemBuffer::from_frame(frame), meta).ok()??;
    Some(match opened.circuit {
        Circuit::Vni(vni) => (format!("VXLAN network id {vni}"), vec![Key::Vni(vni)]),
        Circuit::Labels(stack) => {
            let labels: Vec<_> = stack.labels(frame).collect();
            let text: Vec<String> = labels.iter().map(ToString::to_string).collect();
            let keys = labels.into_iter().map(Key::Label).collect();
            (format!("MPLS label {}", text.join(", ")), keys)
        }
    })
}

/// An object with the generation that made it what it is.
pub(super) fn mention(tables: &Tables, key: Key) -> Option<Mention> {
    let generation = tables.object(&key)?.generation;
    Some(Mention {
        key,
        rule: None,
        generation,
    })
}

/// A rule, with its policy's generation.
pub(super) fn rule(tables: &Tables, id: RuleId) -> Option<Mention> {
    let rule = tables.rule(id)?;
    let of = mention(tables, Key::Policy(rule.policy_name.clone()))?;
    Some(Mention {
        rule: Some(rule.number),
        ..of
    })
}
