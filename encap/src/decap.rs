//! The way out of a tunnel: what the outer headers of a packet that was addressed to us say.
//! [`crate::tunnel`] is the way in.
//!
//! VXLAN (RFC 7348), MPLS over UDP (RFC 7510) and MPLS over GRE (RFC 4023), over IPv4 and IPv6. The
//! packet is not changed here: to open it, cut it at [`Meta::end`], so that the padding of the outer
//! frame does not become part of the inner one, and then trim it to [`Decap::inner`].

mod plain;

use crate::protocol::{GRE, UDP};
use crate::{
    Buffer, Error, Fragment, Meta, Network, VXLAN_PORT, Vni, checksum, ethernet, gre, mpls, udp,
    vxlan,
};

/// The UDP destination port of MPLS over UDP (RFC 7510 §3).
pub const MPLS_UDP_PORT: u16 = 6635;

/// Which network a tunnel packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// The VXLAN network id; an Ethernet frame follows.
    Vni(Vni),
    /// The label stack.
    Labels(mpls::Stack),
}

/// What a tunnel packet says before its payload. Addresses and traffic class of the outer header are
/// in the outer [`Meta`].
///
/// In this order [`Circuit`] lies where an [`Error`] would in a result, so that both are moved by the
/// same eight bytes. In another, results are written in one shape and read in another, which a
/// processor cannot forward from its store buffer (13 cycles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Decap {
    /// Offset of the payload from the packet's start.
    pub inner: u16,
    /// Whether the outer headers are IPv6 and UDP without a checksum, which MPLS over UDP may be from
    /// such peers only with which it was agreed (RFC 7510 §3.1).
    pub lacks_checksum: bool,
    /// Which network it belongs to.
    pub circuit: Circuit,
}

const _: () = assert!(size_of::<Decap>() == 12);

/// Reads the tunnel headers of a parsed packet; `None` if it is no tunnel packet. The caller has
/// found the destination address to be its own.
///
/// Checksums, of UDP or GRE, are verified over the whole packet where there is one.
///
/// # Errors
/// * [`Error::FragmentedOuter`] for any fragment that is known to belong to a tunnel packet
///   (RFC 7348 §4.3, RFC 7510 §5);
/// * [`Error::UdpLen`] if the UDP datagram does not fill the IP datagram;
/// * [`Error::UdpChecksum`], [`Error::GreChecksum`] if there is one, and it is wrong;
/// * those of [`gre::Header::check`] and [`mpls::Stack::parse`];
/// * [`Error::VxlanFlags`] without the I flag;
/// * [`Error::Truncated`] if there is no room for a header, or behind VXLAN for an Ethernet header.
#[inline]
pub fn decap<B: Buffer>(packet: &B, meta: &Meta) -> Result<Option<Decap>, Error> {
    if !meta.is_ip() {
        return Ok(None);
    }
    let plain = match (meta.protocol, meta.dst_port) {
        (UDP, VXLAN_PORT) => plain::vxlan(packet.bytes(), meta),
        (UDP, MPLS_UDP_PORT) => plain::mpls_over_udp(packet.bytes(), meta),
        (GRE, _) => plain::mpls_over_gre(packet.bytes(), meta),
        _ => return Ok(None),
    };
    let opened = match plain {
        Some(opened) => opened,
        None => any(packet, needed(meta))?,
    };
    Ok(Some(opened))
}

/// What [`decap`] says of a plain tunnel packet in one piece: no IP options or extension headers,
/// VXLAN or one ordinary label, GRE without optional fields. `None` for any other packet, and what is
/// wrong.
#[inline(always)]
#[must_use]
pub fn decap_plain(frame: &[u8], meta: &Meta) -> Option<Decap> {
    match (meta.protocol, meta.dst_port) {
        (UDP, VXLAN_PORT) => plain::vxlan(frame, meta),
        (UDP, MPLS_UDP_PORT) => plain::mpls_over_udp(frame, meta),
        (GRE, _) => plain::mpls_over_gre(frame, meta),
        _ => None,
    }
}

/// What is needed of the metadata here. The rest would be put together in memory, packet by packet,
/// for a call that is hardly ever made.
#[inline]
fn needed(meta: &Meta) -> Meta {
    Meta {
        l4: meta.l4,
        dst_port: meta.dst_port,
        network: meta.network,
        fragment: meta.fragment,
        protocol: meta.protocol,
        ..Meta::new(meta.l3, meta.end)
    }
}

/// Apart, so that the short way stays short.
#[cold]
#[inline(never)]
fn any<B: Buffer>(packet: &B, meta: Meta) -> Result<Decap, Error> {
    match meta.protocol {
        GRE => over_gre(packet, &meta),
        _ => over_udp(packet, &meta),
    }
}

fn over_udp<B: Buffer>(packet: &B, meta: &Meta) -> Result<Decap, Error> {
    let (datagram, len) = whole(packet, meta)?;
    let (header, payload) = udp::Header::split(datagram)?;
    if header.len_field() != len {
        return Err(Error::UdpLen {
            len_field: header.len_field(),
            have: len,
        });
    }
    let has_checksum = header.checksum() != 0;
    if has_checksum && !udp_checksum_is_right(packet, meta) {
        return Err(Error::UdpChecksum);
    }
    let at = meta.l4 + udp::LEN as u16;
    let len = len.saturating_sub(udp::LEN as u16);
    let (circuit, inner) = if meta.dst_port == VXLAN_PORT {
        network_id(payload, at, len)?
    } else {
        labels(payload, at, len)?
    };
    Ok(Decap {
        circuit,
        inner,
        lacks_checksum: !has_checksum && meta.network == Network::Ipv6,
    })
}

fn over_gre<B: Buffer>(packet: &B, meta: &Meta) -> Result<Decap, Error> {
    let (datagram, len) = whole(packet, meta)?;
    let (header, _) = gre::Header::split(datagram)?;
    header.check()?;
    let header_len = header.header_len() as u16;
    let (Some(payload), Some(payload_len)) = (
        datagram.get(header_len.into()..),
        len.checked_sub(header_len),
    ) else {
        return Err(Error::truncated(header_len.into(), len.into()));
    };
    if header.has_checksum() && !gre_checksum_is_right(packet, meta) {
        return Err(Error::GreChecksum);
    }
    let (circuit, inner) = labels(payload, meta.l4 + header_len, payload_len)?;
    Ok(Decap {
        circuit,
        inner,
        lacks_checksum: false,
    })
}

/// The VXLAN header at the start of `payload`, of which `len` bytes count and which lies at offset
/// `at` of the packet; and the offset of what follows.
fn network_id(payload: &[u8], at: u16, len: u16) -> Result<(Circuit, u16), Error> {
    let (header, _) = vxlan::Header::split(payload)?;
    let Some(vni) = header.vni() else {
        return Err(Error::VxlanFlags(header.flags()));
    };
    const NEED: usize = vxlan::LEN + ethernet::LEN;
    if usize::from(len) < NEED {
        return Err(Error::truncated(NEED, len.into()));
    }
    Ok((Circuit::Vni(vni), at + vxlan::LEN as u16))
}

/// The label stack at the start of `payload`, like [`network_id`].
fn labels(payload: &[u8], at: u16, len: u16) -> Result<(Circuit, u16), Error> {
    let stack = mpls::Stack::parse(payload, at, len)?;
    Ok((Circuit::Labels(stack), at + stack.len() as u16))
}

/// What lies behind the IP header, padding included, as far as it is in the packet's first piece,
/// where all headers are; and how much of it the IP datagram has.
fn whole<'a, B: Buffer>(packet: &'a B, meta: &Meta) -> Result<(&'a [u8], u16), Error> {
    if meta.fragment != Fragment::Whole {
        return Err(Error::FragmentedOuter);
    }
    let datagram = packet.bytes().get(meta.l4.into()..).unwrap_or_default();
    Ok((datagram, meta.end.saturating_sub(meta.l4)))
}

fn udp_checksum_is_right<B: Buffer>(packet: &B, meta: &Meta) -> bool {
    let Some(pseudo) = checksum::pseudo(packet.bytes(), meta) else {
        return false; // only with a `meta` of another packet
    };
    let datagram = usize::from(meta.l4)..usize::from(meta.end);
    pseudo.packet(packet, datagram).finish() == 0
}

/// The checksum field is part of what is summed, which then comes to zero (RFC 2784 §2.5).
fn gre_checksum_is_right<B: Buffer>(packet: &B, meta: &Meta) -> bool {
    let datagram = usize::from(meta.l4)..usize::from(meta.end);
    checksum::Sum::new().packet(packet, datagram).finish() == 0
}

#[cfg(test)]
mod tests;
