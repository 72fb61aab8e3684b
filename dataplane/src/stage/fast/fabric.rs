//! Reads what the fabric brings: stages `parse`, `fabric`, `decap` and `overlay` for a tunnel packet
//! to this node, from a peer and into a network of which nothing unusual was agreed, with a plain
//! packet to the virtual router inside.

use std::net::IpAddr;

use encap::{Buffer, Circuit, Decap, LabelStack, Meta, Model, Network, Plain};
use encap::{ecn, ethernet, mpls};

use super::{From, Inside, Read, Seen, is_ready};
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
    let mut last = Last {
        network: Network::Other,
        addrs: [0; 32],
        circuit: NONE,
    };
    for (index, packet) in packets.iter().enumerate() {
        if is_ready(packet) {
            // What is not plain has nothing to be remembered.
            _ = open(context, index as u8, packet.bytes(), &mut last, read);
        }
    }
}

/// The packet before, whose origin is the last of [`Read::froms`]: mostly the next one is like it.
struct Last {
    network: Network,
    /// Outer addresses as they came; behind those of IPv4 nothing.
    addrs: [u8; 32],
    circuit: u32,
}

/// No network's number.
const NONE: u32 = u32::MAX;

/// Where the outer addresses are.
const IPV4_ADDRS: usize = ethernet::LEN + 12;
const IPV6_ADDRS: usize = ethernet::LEN + 8;

#[inline(always)]
fn open<'t>(
    context: &Context<'t>,
    index: u8,
    frame: &[u8],
    last: &mut Last,
    read: &mut Read<'t>,
) -> Option<()> {
    let meta = encap::parse_plain_outer(frame)?;
    let outer = encap::decap_plain(frame, &meta)?;
    let circuit = number(&outer.circuit, frame, outer.lacks_checksum)?;
    let is_same = match meta.network {
        Network::Ipv4 => {
            let addrs = frame.get(IPV4_ADDRS..)?.first_chunk::<8>()?;
            addrs[..] == last.addrs[..8]
        }
        _ => frame.get(IPV6_ADDRS..)?.first_chunk::<32>()? == &last.addrs,
    };
    if !is_same || circuit != last.circuit || meta.network != last.network {
        last.circuit = NONE;
        let from = origin(context, &outer, &meta, frame)?;
        last.addrs = [0; 32];
        match meta.network {
            Network::Ipv4 => last.addrs[..8].copy_from_slice(frame.get(IPV4_ADDRS..)?.get(..8)?),
            _ => last.addrs = *frame.get(IPV6_ADDRS..)?.first_chunk()?,
        }
        (last.circuit, last.network) = (circuit, meta.network);
        read.froms.push(from);
    }
    let from = *read.froms.last()?;
    // What is behind the outer datagram is not part of the inner packet.
    let frame = frame.get(..usize::from(meta.end))?;
    let (before, ether_type) = match from.inside {
        Inside::Packet => {
            let ether_type = match frame.get(usize::from(outer.inner))? >> 4 {
                4 => ethernet::IPV4,
                _ => ethernet::IPV6,
            };
            (outer.inner.checked_sub(ethernet::LEN as u16)?, ether_type)
        }
        Inside::Frame | Inside::Itself => {
            let link = frame.get(outer.inner.into()..)?;
            let link = link.first_chunk::<{ ethernet::LEN }>()?;
            if link[..6] != from.vrf.mac.0 {
                return None;
            }
            (outer.inner, u16::from_be_bytes([link[12], link[13]]))
        }
    };
    let opened = Opened {
        from,
        origin: (read.froms.len() - 1) as u8,
        index,
        before,
        end: meta.end,
        class: meta.traffic_class,
    };
    match ether_type {
        ethernet::IPV4 => ipv4(&opened, frame, &last.addrs, read),
        ethernet::IPV6 => ipv6(&opened, frame, &last.addrs, read),
        _ => None,
    }
}

/// What is known of a tunnel packet before its inside is.
struct Opened<'t> {
    from: From<'t>,
    /// The place of `from`.
    origin: u8,
    index: u8,
    before: u16,
    end: u16,
    /// The outer DSCP and ECN.
    class: u8,
}

#[inline(always)]
fn ipv4(opened: &Opened, frame: &[u8], addrs: &[u8; 32], read: &mut Read) -> Option<()> {
    let (plain, src, dst) = Plain::ipv4(frame, opened.before + ethernet::LEN as u16)?;
    // It would go back into the tunnel at the other end.
    let is_loop = opened.from.inside == Inside::Packet && dst.octets() == addrs[..4];
    if is_loop || !opened.keeps(&plain) {
        return None;
    }
    read.push_ipv4(opened.from.zone, opened.seen(plain), src, dst);
    Some(())
}

/// Apart, so that the registers of the one are not those of the other, too.
#[inline(never)]
fn ipv6(opened: &Opened, frame: &[u8], addrs: &[u8; 32], read: &mut Read) -> Option<()> {
    let (plain, src, dst) = Plain::ipv6(frame, opened.before + ethernet::LEN as u16)?;
    let is_loop = opened.from.inside == Inside::Packet && dst.octets() == addrs[..16];
    if is_loop || !opened.keeps(&plain) {
        return None;
    }
    read.push_ipv6(opened.from.zone, opened.seen(plain), src, dst);
    Some(())
}

impl Opened<'_> {
    /// Whether the packet may go on, and the outer ECN changes nothing about it.
    #[inline(always)]
    fn keeps(&self, plain: &Plain) -> bool {
        let (inner, outer) = (plain.traffic_class, self.class);
        // Nearly always neither has any.
        let is_kept = (inner | outer) & 3 == 0
            || (ecn::decapsulate(inner, outer) == Ok(inner & 3) && !ecn::is_dubious(inner, outer));
        is_kept && plain.ttl > 1
    }

    #[inline(always)]
    fn seen(&self, plain: Plain) -> Seen {
        Seen {
            index: self.index,
            from: self.origin,
            before: self.before,
            end: self.end,
            plain,
        }
    }
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

/// What a peer's packets of a network are, as stages `fabric` and `decap` find it out; `None` if they
/// are not for this node, or nothing is known of them, or something unusual.
#[cold]
#[inline(never)]
fn origin<'t>(context: &Context<'t>, outer: &Decap, meta: &Meta, frame: &[u8]) -> Option<From<'t>> {
    let tables = context.tables;
    let (remote, own): (IpAddr, IpAddr) = meta.addrs(frame)?;
    if public::is_virtual(context, own) || !tables.underlay().is_local(own) {
        return None;
    }
    let entry = match &outer.circuit {
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
