//! Packets made up for an explanation: from a tuple as people write it, or as the next one of a live
//! flow.

use std::net::IpAddr;

use encap::{Buffer, Encap, Inner, MacAddr, MemBuffer, Outer, TunnelHeader, protocol};
use etherparse::PacketBuilder;
use flowtable::{Class, FlowView, Key as FlowKey};

use super::Packet;
use crate::decide::End;
use crate::stage::flow::vrf_of;
use crate::stage::{Ingress, Layer};
use crate::tables::spec::{Arrival, ForwardingMode, Key, Name, Object, Payload, Role};
use crate::tables::{Nexthop, NexthopId, Tables, Vif, Vrf};

/// Bytes of payload, as a ping has them.
const PAYLOAD: [u8; 32] = [0x2a; 32];
/// TTL of packets made up.
const TTL: u8 = 64;
/// Whoever sends from the fabric when nobody is known there.
const NOBODY: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Where a packet is to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Into this vif.
    Vif(Name),
    /// Out of a tunnel from this remote, into this network.
    Tunnel {
        /// The other end.
        remote: IpAddr,
        /// The network.
        vrf: Name,
    },
}

/// What a packet is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The IP protocol number.
    pub protocol: u8,
    /// The sender; for ICMP the port is the identifier of an echo request.
    pub src: End,
    /// The receiver.
    pub dst: End,
    /// The destination MAC; `None`: what a machine with the right ARP and ND answers would write.
    pub dst_mac: Option<MacAddr>,
    /// Not the first packet of a connection: TCP has ACK instead of SYN, ICMP answers.
    pub is_later: bool,
}

/// Makes up a packet.
///
/// # Errors
/// Why there can be no such packet, in a sentence.
pub fn of_tuple(tables: &Tables, origin: &Origin, tuple: &Tuple) -> Result<Packet, String> {
    if tuple.src.addr.is_ipv4() != tuple.dst.addr.is_ipv4() {
        return Err("source and destination are of different IP versions".into());
    }
    match origin {
        Origin::Vif(name) => {
            let vif = tables.vif_named(name);
            let vif = vif.ok_or_else(|| format!("there is no vif `{name}`"))?;
            let vrf = tables.vrf(vif.vrf).ok_or("the vif has no vrf")?;
            let macs = match vif.role {
                Role::Tenant => (source_mac(vrf, vif, tuple), to_mac(tables, vrf, tuple)),
                Role::Fabric => (NOBODY, tuple.dst_mac.unwrap_or(vif.mac)),
                Role::Host => (vif.mac, tuple.dst_mac.unwrap_or(MacAddr::BROADCAST)),
            };
            let mut frame = MemBuffer::from_frame(&frame(macs, tuple)?);
            if let Some(vlan) = vif.vlan {
                let tagged = encap::rewrite::push_vlan(&mut frame, vlan);
                tagged.map_err(|error| error.to_string())?;
            }
            Ok(Packet {
                vif: name.clone(),
                frame: frame.to_vec(),
            })
        }
        Origin::Tunnel { remote, vrf } => tunnelled(tables, *remote, vrf, tuple),
    }
}

/// Makes up the next packet of a live flow, of its first direction or of its answers.
///
/// # Errors
/// Why that cannot be done, in a sentence.
pub fn of_flow(tables: &Tables, flow: &FlowView, is_forward: bool) -> Result<Packet, String> {
    let (key, action) = match is_forward {
        true => (&flow.forward, &flow.forward_action),
        false => (&flow.reverse, &flow.reverse_action),
    };
    let (vrf, layer) = vrf_of(key.zone());
    let vrf = tables.vrf(vrf).ok_or("the flow's vrf is not there")?;
    let (src, dst) = ends(key);
    let tuple = Tuple {
        protocol: key.protocol(),
        src,
        dst,
        dst_mac: match layer {
            Layer::Routed => Some(vrf.mac),
            Layer::Bridged => Some(bridged_mac(tables, vrf, dst, action.nexthop)?),
        },
        is_later: !is_forward || !matches!(flow.class, Class::SynSent | Class::Icmp),
    };
    let ingress = Ingress::from_bits(action.ingress);
    let origin = match (ingress.as_vif(), ingress.as_peer()) {
        (Some(vif), _) => {
            let vif = tables.vif(vif).ok_or("the flow's vif is not there")?;
            Origin::Vif(vif.name.clone())
        }
        (None, peer) => {
            let remote = peer.and_then(|peer| tables.underlay().peer_addr(peer));
            Origin::Tunnel {
                remote: remote.ok_or("the flow's tunnel is not there")?,
                vrf: vrf.name.clone(),
            }
        }
    };
    let is_fabric = match &origin {
        Origin::Vif(name) => tables
            .vif_named(name)
            .is_some_and(|it| it.role == Role::Fabric),
        Origin::Tunnel { .. } => false,
    };
    let tuple = match is_fabric {
        true => Tuple {
            dst_mac: None,
            ..tuple
        },
        false => tuple,
    };
    of_tuple(tables, &origin, &tuple)
}

/// Both ends of a key.
pub(crate) fn ends(key: &FlowKey) -> (End, End) {
    let end = |addr, port| End { addr, port };
    (
        end(key.src_addr(), key.src_port()),
        end(key.dst_addr(), key.dst_port()),
    )
}

/// The MAC that a bridged flow goes to: the vif's, or that of the machine with this address.
pub(crate) fn bridged_mac(
    tables: &Tables,
    vrf: &Vrf,
    to: End,
    nexthop: u32,
) -> Result<MacAddr, &'static str> {
    let of_vif = match tables.nexthop(NexthopId(nexthop)) {
        Some(Nexthop::Vif(id)) => tables.vif(*id).filter(|vif| vif.port.is_strict),
        _ => None,
    };
    let known = vrf.neighbours.get(&to.addr).copied();
    let mac = of_vif.map(|vif| vif.mac).or(known);
    mac.ok_or("the MAC of the machine is not known; say which with dst_mac")
}

fn source_mac(vrf: &Vrf, vif: &Vif, tuple: &Tuple) -> MacAddr {
    match vif.port.is_strict {
        true => vif.mac,
        false => vrf
            .neighbours
            .get(&tuple.src.addr)
            .copied()
            .unwrap_or(NOBODY),
    }
}

/// The MAC that a machine writes: the neighbour's if it can be bridged to, else the router's.
fn to_mac(tables: &Tables, vrf: &Vrf, tuple: &Tuple) -> MacAddr {
    if let Some(mac) = tuple.dst_mac {
        return mac;
    }
    let addr = tuple.dst.addr;
    let is_near = vrf.gateways.iter().any(|net| net.contains(&addr));
    let neighbour = vrf.neighbours.get(&addr).copied();
    match neighbour {
        Some(mac) if is_near && vrf.mode != ForwardingMode::Routed => {
            match crate::stage::bridge::is_unicast(tables, vrf, mac) {
                true => mac,
                false => vrf.mac,
            }
        }
        _ => vrf.mac,
    }
}

fn frame((src, dst): (MacAddr, MacAddr), tuple: &Tuple) -> Result<Vec<u8>, String> {
    let link = PacketBuilder::ethernet2(src.0, dst.0);
    let network = match (tuple.src.addr, tuple.dst.addr) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => link.ipv4(src.octets(), dst.octets(), TTL),
        (IpAddr::V6(src), IpAddr::V6(dst)) => link.ipv6(src.octets(), dst.octets(), TTL),
        _ => return Err("source and destination are of different IP versions".into()),
    };
    let (from, to) = (tuple.src.port, tuple.dst.port);
    let mut out = Vec::new();
    let is_ipv4 = tuple.src.addr.is_ipv4();
    let written = match (tuple.protocol, is_ipv4, tuple.is_later) {
        (protocol::UDP, ..) => network.udp(from, to).write(&mut out, &PAYLOAD),
        (protocol::TCP, _, false) => {
            let segment = network.tcp(from, to, 1, 65_535).syn();
            segment.write(&mut out, &[])
        }
        (protocol::TCP, _, true) => {
            let segment = network.tcp(from, to, 2, 65_535).ack(2);
            segment.write(&mut out, &PAYLOAD)
        }
        (protocol::ICMP, true, false) => {
            let echo = network.icmpv4_echo_request(from, 1);
            echo.write(&mut out, &PAYLOAD)
        }
        (protocol::ICMP, true, true) => {
            network.icmpv4_echo_reply(from, 1).write(&mut out, &PAYLOAD)
        }
        (protocol::ICMPV6, false, false) => {
            let echo = network.icmpv6_echo_request(from, 1);
            echo.write(&mut out, &PAYLOAD)
        }
        (protocol::ICMPV6, false, true) => {
            network.icmpv6_echo_reply(from, 1).write(&mut out, &PAYLOAD)
        }
        (other, ..) => {
            // Ports, where there are such, stand first in every protocol that has them.
            let mut payload = [from.to_be_bytes(), to.to_be_bytes()].concat();
            payload.extend(PAYLOAD);
            network.write(&mut out, etherparse::IpNumber(other), &payload)
        }
    };
    written.map_err(|error| format!("there is no such packet: {error}"))?;
    Ok(out)
}

/// The packet as it comes from another node.
fn tunnelled(
    tables: &Tables,
    remote: IpAddr,
    vrf_name: &Name,
    tuple: &Tuple,
) -> Result<Packet, String> {
    let vrf = tables.vrf_named(vrf_name);
    let vrf = vrf.ok_or_else(|| format!("there is no vrf `{vrf_name}`"))?;
    let (encap, payload) = arrival(tables, vrf_name).ok_or_else(|| {
        format!("no vni or label leads into vrf {vrf_name}: nothing comes out of a tunnel there")
    })?;
    let own = tables.underlay().addresses.iter();
    let mut own = own.filter(|(addr, _)| addr.is_ipv4() == remote.is_ipv4());
    let (local, uplink) = own
        .next()
        .ok_or("no uplink has an address of that IP version")?;
    let uplink = tables.vif(*uplink).ok_or("the uplink is not there")?;
    let macs = (vrf.mac, tuple.dst_mac.unwrap_or(vrf.mac));
    let mut packet = MemBuffer::from_frame(&frame(macs, tuple)?);
    if payload == Payload::Ip {
        let trimmed = packet.trim_front(encap::ethernet::LEN);
        trimmed.map_err(|error| error.to_string())?;
    }
    let outer = Outer {
        src_mac: NOBODY,
        dst_mac: uplink.mac,
        vlan: uplink.vlan,
        src: remote,
        dst: *local,
        ttl: TTL,
    };
    let header = TunnelHeader::new(&outer, encap).map_err(|error| error.to_string())?;
    let inner = Inner::default();
    let pushed = header.push(&mut packet, uplink.mac, &inner);
    pushed.map_err(|error| error.to_string())?;
    Ok(Packet {
        vif: uplink.name.clone(),
        frame: packet.to_vec(),
    })
}

/// Under what number packets arrive for a network.
fn arrival(tables: &Tables, vrf: &Name) -> Option<(Encap, Payload)> {
    let objects = tables.objects();
    let arrivals = objects.skip_while(|(key, _)| !matches!(key, Key::Vni(_) | Key::Label(_)));
    let mut arrivals = arrivals.take_while(|(key, _)| matches!(key, Key::Vni(_) | Key::Label(_)));
    arrivals.find_map(|(_, stored)| match &stored.object {
        Object::Vni(entry) if entry.to == Arrival::Vrf(vrf.clone()) => {
            Some((Encap::Vxlan(entry.vni), Payload::Ethernet))
        }
        Object::Label(entry) if entry.to == Arrival::Vrf(vrf.clone()) => {
            Some((Encap::MplsUdp(entry.label), entry.payload))
        }
        _ => None,
    })
}
