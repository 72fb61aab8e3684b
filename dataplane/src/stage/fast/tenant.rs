//! Reads what a tenant's machine sends: stages `parse`, `tenant` and `overlay` for a plain packet to
//! the virtual router from one of the vif's own addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use encap::{Buffer, Plain, ethernet};
use ipnet::IpNet;

use super::{From, Read, Seen, is_ready};
use crate::io::Batch;
use crate::stage::{Context, Ingress};
use crate::tables::Vif;

/// Finds the batch's plain packets and their keys.
#[inline(never)]
pub(super) fn read<'t, B: Buffer>(context: &Context<'t>, packets: &Batch<B>, read: &mut Read<'t>) {
    let vif = context.vif;
    let Some(vrf) = context.tables.vrf(vif.vrf) else {
        return;
    };
    if vif.vlan.is_some() || vif.is_guarded || !vif.port.is_strict {
        return;
    }
    let Some(from) = From::new(vrf, Ingress::vif(vif.id)) else {
        return;
    };
    read.froms.push(from);
    // Both addresses are known: the router's, and the machine's own.
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&vrf.mac.0);
    macs[6..].copy_from_slice(&vif.mac.0);
    let mut allowed = Allowed::NOBODY;
    for (index, packet) in packets.iter().enumerate() {
        let index = index as u8;
        match ether_type(packet, &macs) {
            Some(ethernet::IPV4) => ipv4(vif, index, packet.bytes(), &mut allowed, read),
            Some(ethernet::IPV6) => ipv6(vif, index, packet.bytes(), &mut allowed, read),
            _ => {}
        }
    }
}

/// Of a frame to the router that needs nothing but to be routed.
#[inline(always)]
fn ether_type<B: Buffer>(packet: &B, macs: &[u8; 12]) -> Option<u16> {
    let link = packet.bytes().first_chunk::<{ ethernet::LEN }>()?;
    let is_ours = link[..12] == macs[..] && is_ready(packet);
    is_ours.then(|| u16::from_be_bytes([link[12], link[13]]))
}

#[inline(always)]
fn ipv4(vif: &Vif, index: u8, frame: &[u8], allowed: &mut Allowed, read: &mut Read) {
    let Some((plain, src, dst)) = Plain::ipv4(frame, L3) else {
        return;
    };
    let bits = src.to_bits();
    if plain.ttl <= 1 || !(allowed.ipv4.contains(bits) || allowed.admit_ipv4(vif, src)) {
        return;
    }
    let zone = read.froms[0].zone;
    read.push_ipv4(zone, seen(index, frame, plain), src, dst);
}

/// Apart, so that the registers of the one are not those of the other, too.
#[inline(never)]
fn ipv6(vif: &Vif, index: u8, frame: &[u8], allowed: &mut Allowed, read: &mut Read) {
    let Some((plain, src, dst)) = Plain::ipv6(frame, L3) else {
        return;
    };
    // An address that says nothing of who sends, or only on its link, is no router's business.
    if plain.ttl <= 1 || src.is_unspecified() || src.is_unicast_link_local() {
        return;
    }
    if !(allowed.ipv6.contains(src.to_bits()) || allowed.admit_ipv6(vif, src)) {
        return;
    }
    let zone = read.froms[0].zone;
    read.push_ipv6(zone, seen(index, frame, plain), src, dst);
}

const L3: u16 = ethernet::LEN as u16;

#[inline(always)]
fn seen(index: u8, frame: &[u8], plain: Plain) -> Seen {
    Seen {
        index,
        from: 0,
        before: 0,
        end: frame.len() as u16,
        plain,
    }
}

/// Which addresses were found to be the vif's last: mostly there are no others.
struct Allowed {
    ipv4: Net<u32>,
    ipv6: Net<u128>,
}

/// Addresses that begin alike.
struct Net<N> {
    first: N,
    mask: N,
}

impl<N: Copy + PartialEq + std::ops::BitAnd<Output = N>> Net<N> {
    #[inline(always)]
    fn contains(&self, addr: N) -> bool {
        addr & self.mask == self.first
    }
}

impl Allowed {
    /// No address has a bit where the mask has none.
    const NOBODY: Allowed = Allowed {
        ipv4: Net { first: 1, mask: 0 },
        ipv6: Net { first: 1, mask: 0 },
    };

    #[cold]
    fn admit_ipv4(&mut self, vif: &Vif, src: Ipv4Addr) -> bool {
        let net = vif.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) if net.contains(&src) => Some((net.network(), net.netmask())),
            _ => None,
        });
        let (first, mask) = match net {
            Some((first, mask)) => (first.to_bits(), mask.to_bits()),
            None => (src.to_bits(), u32::MAX),
        };
        let may_send = vif.may_send_from(src.into());
        if may_send {
            self.ipv4 = Net { first, mask };
        }
        may_send
    }

    #[cold]
    fn admit_ipv6(&mut self, vif: &Vif, src: Ipv6Addr) -> bool {
        let net = vif.addresses.iter().find_map(|net| match net {
            IpNet::V6(net) if net.contains(&src) => Some((net.network(), net.netmask())),
            _ => None,
        });
        let (first, mask) = match net {
            Some((first, mask)) => (first.to_bits(), mask.to_bits()),
            None => (src.to_bits(), u128::MAX),
        };
        let may_send = vif.may_send_from(src.into());
        if may_send {
            self.ipv6 = Net { first, mask };
        }
        may_send
    }
}
