//! VXLAN header (RFC 7348 §5), and the way out of a VXLAN packet. [`crate::tunnel`] is the way in.

use crate::{Buffer, Error, Fragment, Meta, Vni, checksum, ethernet, ipv4, split, split_mut, udp};
use core::net::IpAddr;
use core::ops::{Deref, DerefMut};

/// The UDP destination port VXLAN listens on (RFC 7348 §5).
pub const VXLAN_PORT: u16 = 4789;

/// Length of the header in bytes.
pub const LEN: usize = 8;

/// The I flag: the VNI counts. The other flags are reserved.
const FLAG_VNI: u8 = 0x08;

/// VXLAN header. `B` is `&[u8; 8]` to read, `&mut [u8; 8]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Header<B>(B);

impl<'a> Header<&'a [u8; LEN]> {
    /// Splits the header from the bytes after it.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 8 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<'a> Header<&'a mut [u8; LEN]> {
    /// [`split`](Header::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 8 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Header<B> {
    /// The header in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// All eight flags as sent.
    pub fn flags(&self) -> u8 {
        self.0[0]
    }

    /// The network, if the I flag says there is one. Everything reserved is ignored.
    pub fn vni(&self) -> Option<Vni> {
        match self.flags() & FLAG_VNI {
            0 => None,
            _ => Some(Vni::from_be_bytes([self.0[4], self.0[5], self.0[6]])),
        }
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Makes this the header of a network, everything reserved zero.
    pub fn set(&mut self, vni: Vni) {
        let [a, b, c] = vni.to_be_bytes();
        *self.0 = [FLAG_VNI, 0, 0, 0, a, b, c, 0];
    }
}

/// What a VXLAN packet said before its inner frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decap {
    /// The network.
    pub vni: Vni,
    /// Offset of the inner Ethernet frame from the frame's start, for [`crate::parse_at`]. The inner
    /// frame ends with the outer UDP datagram, at the outer [`Meta::end`]: cut the packet there
    /// first, so that padding of the outer frame does not become part of the inner one.
    pub inner: usize,
    /// The tunnel's other end.
    pub outer_src: IpAddr,
    /// This end.
    pub outer_dst: IpAddr,
    /// Outer DSCP and ECN, for [`crate::ecn::apply`].
    pub outer_traffic_class: u8,
}

/// Reads the VXLAN header of a parsed UDP packet. The caller has matched the destination address and
/// port.
///
/// A UDP checksum of zero is accepted over both IP versions (RFC 7348 §5, RFC 6935); any other is
/// verified over the whole packet.
///
/// # Errors
/// * [`Error::FragmentedOuter`] for any fragment (RFC 7348 §4.3);
/// * [`Error::UdpLen`] if the UDP datagram does not fill the IP datagram;
/// * [`Error::UdpChecksum`] if there is one, and it is wrong;
/// * [`Error::VxlanFlags`] without the I flag;
/// * [`Error::Truncated`] if there is no room for the header and an inner Ethernet header.
pub fn vxlan_decap<B: Buffer>(packet: &B, meta: &Meta) -> Result<Decap, Error> {
    if meta.fragment != Fragment::Whole {
        return Err(Error::FragmentedOuter);
    }
    // All that is read of the datagram but for the checksum is in the first piece.
    let frame = packet.bytes();
    let (l4, end) = (usize::from(meta.l4), usize::from(meta.end));
    let datagram = frame.get(l4..end.min(frame.len())).unwrap_or_default();
    let (header, payload) = udp::Header::split(datagram)?;
    let have = meta.end.saturating_sub(meta.l4);
    if header.len_field() != have {
        return Err(Error::UdpLen {
            len_field: header.len_field(),
            have,
        });
    }
    let Some((outer_src, outer_dst)) = meta.addrs(frame) else {
        // Only with a `meta` of another frame.
        return Err(Error::truncated(ipv4::LEN, frame.len()));
    };
    if !checksum::packet_is_right(packet, meta) {
        return Err(Error::UdpChecksum);
    }
    let (header, inner) = Header::split(payload)?;
    let Some(vni) = header.vni() else {
        return Err(Error::VxlanFlags(header.flags()));
    };
    if inner.len() < ethernet::LEN {
        return Err(Error::truncated(ethernet::LEN, inner.len()));
    }
    Ok(Decap {
        vni,
        inner: l4 + udp::LEN + LEN,
        outer_src,
        outer_dst,
        outer_traffic_class: meta.traffic_class,
    })
}

#[cfg(test)]
mod tests;
