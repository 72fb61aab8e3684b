//! Reads what the fabric brings: stages `parse`, `fabric`, `decap` and `overlay` for a tunnel packet
//! to this node, from a peer and into a network of which nothing unusual was agreed, with a plain
//! packet to the virtual router inside.

use std::net::IpAddr;

use encap::{Buffer, Circuit, Ends, L4Checksum, LabelStack, Model, Plain, ecn, ethernet, mpls};

use super::{From, Inside, Read, Seen, key};
use crate::io::Batch;
use crate::stage::{Context, Ingress, public};
use crate::tables::spec::Payload;
use crate::tables::{Arrival, LabelEntry, Nexthop};

/// Finds the batch's plain packets and their keys.
#[inline(never)]
pub(super) fn read<'t, B: Buffer>(context: &Context<'t>, packets: &Batch<B>, read: &mut Read<'t>) {
    if context.vif.vlan.is_some() || context.vif.is_guarded {
        return;
    }
    let mut memory = Memory::default();
    for (index, packet) in packets.iter().enumerate() {
        let Some(opened) = open(context, packet, &mut memory, read) else {
            continue;
        };
        let Some(from) = read.froms.last() else {
            continue;
        };
        let key = key(from.zone, &opened.plain, &opened.ends);
        read.keys.push(key);
        read.seen.push(Seen {
            index: index as u8,
            from: (read.froms.len() - 1) as u8,
            before: opened.before,
            end: opened.end,
            plain: opened.plain,
        });
    }
}

/// What was found out about the packet before: mostly the next one is like it.
#[derive(Default)]
struct Memory {
    /// An address of this node's at which tunnels end.
    own: Option<IpAddr>,
    /// Whose packets of which network are the last of [`Read::froms`].
    tunnel: Option<(IpAddr, u32)>,
}

/// What is in a tunnel packet.
struct Opened {
    plain: Plain,
    ends: Ends,
    before: u16,
    end: u16,
}

#[inline(always)]
fn open<'t, B: Buffer>(
    context: &Context<'t>,
    packet: &B,
    memory: &mut Memory,
    read: &mut Read<'t>,
) -> Option<Opened> {
    let offload = packet.offload();
    if packet.is_chained() || !offload.is_finished() || offload.l4_checksum == L4Checksum::Wrong {
        return None;
    }
    let frame = packet.bytes();
    let meta = encap::parse_plain_outer(frame)?;
    let (remote, own) = meta.addrs(frame)?;
    if memory.own != Some(own) {
        if public::is_virtual(context, own) || !context.tables.underlay().is_local(own) {
            return None;
        }
        memory.own = Some(own);
    }
    let outer = encap::decap(packet, &meta).ok()??;
    let circuit = number(&outer.circuit, frame, outer.lacks_checksum)?;
    if memory.tunnel != Some((remote, circuit)) {
        let from = tunnel(context, &outer.circuit, frame, remote)?;
        read.froms.push(from);
        memory.tunnel = Some((remote, circuit));
    }
    let from = read.froms.last()?;
    // What is behind the outer datagram is not part of the inner packet.
    let frame = frame.get(..usize::from(meta.end))?;
    let before = match from.inside {
        Inside::Packet => outer.inner.checked_sub(ethernet::LEN as u16)?,
        Inside::Frame | Inside::Itself => outer.inner,
    };
    let l3 = usize::from(before) + ethernet::LEN;
    let (plain, ends) = Plain::read(frame, l3)?;
    match from.inside {
        Inside::Packet => {
            // It would go back into the tunnel at the other end.
            let is_loop = match (ends, remote) {
                (Ends::Ipv4(_, dst), IpAddr::V4(remote)) => dst == remote,
                (Ends::Ipv6(_, dst), IpAddr::V6(remote)) => dst == remote,
                _ => false,
            };
            if is_loop {
                return None;
            }
        }
        Inside::Frame | Inside::Itself => {
            let link = frame.get(before.into()..)?;
            let link = link.first_chunk::<{ ethernet::LEN }>()?;
            let ether_type = u16::from_be_bytes([link[12], link[13]]);
            if link[..6] != from.vrf.mac.0 || ether_type != plain.ether_type() {
                return None;
            }
        }
    }
    let class = plain.traffic_class;
    let is_kept = ecn::decapsulate(class, meta.traffic_class) == Ok(class & 3)
        && !ecn::is_dubious(class, meta.traffic_class);
    if plain.ttl <= 1 || !is_kept {
        return None;
    }
    Some(Opened {
        plain,
        ends,
        before,
        end: meta.end,
    })
}

/// One number for a VNI or a single label.
#[inline(always)]
fn number(circuit: &Circuit, frame: &[u8], lacks_checksum: bool) -> Option<u32> {
    const LABEL: u32 = 1 << 31;
    match circuit {
        Circuit::Vni(vni) => Some(vni.get()),
        // Whether it may lack one is a matter of what was agreed.
        Circuit::Labels(stack) if !lacks_checksum => {
            let label = single(stack, frame)?;
            Some(label.get() | LABEL)
        }
        Circuit::Labels(_) => None,
    }
}

/// The label of a stack of one that names a network by itself.
#[inline(always)]
fn single(stack: &LabelStack, frame: &[u8]) -> Option<encap::Label> {
    let is_single = stack.len() == mpls::LEN && stack.payload == mpls::Payload::OfLabel;
    stack.labels(frame).next().filter(|_| is_single)
}

/// What a peer's packets of a network are, as `stage::decap` finds it out.
#[cold]
fn tunnel<'t>(
    context: &Context<'t>,
    circuit: &Circuit,
    frame: &[u8],
    remote: IpAddr,
) -> Option<From<'t>> {
    let tables = context.tables;
    let entry = match circuit {
        Circuit::Vni(vni) => LabelEntry {
            to: tables.vni(*vni)?,
            payload: Payload::Ethernet,
        },
        Circuit::Labels(stack) => tables.label(single(stack, frame)?)?,
    };
    let peer = tables.underlay().peer(remote)?;
    let terms = tables.underlay().terms(remote);
    if (terms.dscp, terms.ttl) != (Model::Pipe, Model::Pipe) {
        return None;
    }
    let ingress = Ingress::peer(peer);
    let from = match entry.to {
        Arrival::Vrf(vrf) => From::new(tables.vrf(vrf)?, ingress)?,
        Arrival::Nexthop(nexthop) => {
            let Some(Nexthop::Vif(vif)) = tables.nexthop(nexthop) else {
                return None;
            };
            let vrf = tables.vrf(tables.vif(*vif)?.vrf)?;
            From {
                named: Some(nexthop),
                ..From::new(vrf, ingress.direct())?
            }
        }
    };
    let inside = match entry.payload {
        Payload::Ethernet => Inside::Frame,
        Payload::Ip => Inside::Packet,
    };
    Some(From { inside, ..from })
}
