//! IPv6 header (RFC 8200 §3). Extension headers are walked in [`mod@crate::parse`].

use crate::{Error, split, split_mut};
use core::net::Ipv6Addr;
use core::ops::{Deref, DerefMut};

/// Length of the header in bytes.
pub const LEN: usize = 40;

/// IPv6 header. `B` is `&[u8; 40]` to read, `&mut [u8; 40]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Header<B>(B);

impl<'a> Header<&'a [u8; LEN]> {
    /// Splits the header from the bytes after it.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 40 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<'a> Header<&'a mut [u8; LEN]> {
    /// [`split`](Header::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 40 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Header<B> {
    /// The header in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// IP version as sent.
    pub fn version(&self) -> u8 {
        self.0[0] >> 4
    }

    /// DSCP and ECN (RFC 2474, RFC 3168).
    pub fn traffic_class(&self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// Flow label, 20 bits (RFC 6437).
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.0[1] & 0x0f, self.0[2], self.0[3]])
    }

    /// Length of what follows in bytes, as sent; may exceed the buffer.
    pub fn payload_len(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// What follows, see [`crate::protocol`].
    pub fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// Hops left.
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Source address.
    pub fn src_addr(&self) -> Ipv6Addr {
        addr(&self.0[8..])
    }

    /// Destination address.
    pub fn dst_addr(&self) -> Ipv6Addr {
        addr(&self.0[24..])
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Makes this a header with flow label zero.
    pub fn set(
        &mut self,
        next_header: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        hop_limit: u8,
        traffic_class: u8,
        payload_len: u16,
    ) {
        *self.0 = [0; LEN];
        self.0[0] = 0x60;
        self.0[6] = next_header;
        self.set_src_addr(src);
        self.set_dst_addr(dst);
        self.set_hop_limit(hop_limit);
        self.set_traffic_class(traffic_class);
        self.set_payload_len(payload_len);
    }

    /// Sets DSCP and ECN.
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        self.0[0] = self.0[0] & 0xf0 | traffic_class >> 4;
        self.0[1] = self.0[1] & 0x0f | traffic_class << 4;
    }

    /// Sets the flow label from the low 20 bits of `label`.
    pub fn set_flow_label(&mut self, label: u32) {
        let [_, high, middle, low] = label.to_be_bytes();
        self.0[1] = self.0[1] & 0xf0 | high & 0x0f;
        self.0[2] = middle;
        self.0[3] = low;
    }

    /// Sets the first four bytes: version 6, DSCP and ECN, and the low 20 bits of `label` as flow label.
    pub fn set_class_and_label(&mut self, traffic_class: u8, label: u32) {
        let word = 6 << 28 | u32::from(traffic_class) << 20 | label & 0xf_ffff;
        self.0[..4].copy_from_slice(&word.to_be_bytes());
    }

    /// Sets the length of what follows, in bytes.
    pub fn set_payload_len(&mut self, len: u16) {
        self.0[4..6].copy_from_slice(&len.to_be_bytes());
    }

    /// Sets the hops left.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.0[7] = hop_limit;
    }

    /// Sets the source address.
    pub fn set_src_addr(&mut self, addr: Ipv6Addr) {
        self.0[8..24].copy_from_slice(&addr.octets());
    }

    /// Sets the destination address.
    pub fn set_dst_addr(&mut self, addr: Ipv6Addr) {
        self.0[24..].copy_from_slice(&addr.octets());
    }
}

/// The address at the start of `bytes`, which are 16 at least.
fn addr(bytes: &[u8]) -> Ipv6Addr {
    bytes
        .first_chunk::<16>()
        .map_or(Ipv6Addr::UNSPECIFIED, |octets| Ipv6Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_rfc_8200_puts_them() {
        let mut bytes = [0xff; LEN];
        let mut header = Header::new(&mut bytes);
        let src: Ipv6Addr = "2001:db8::1".parse().unwrap();
        let dst: Ipv6Addr = "2001:db8::ff:2".parse().unwrap();
        header.set(17, src, dst, 63, 0xb9, 0x1234);
        header.set_flow_label(0xfff_abcde);
        let mut expected = [0; LEN];
        expected[..8].copy_from_slice(&[0x6b, 0x9a, 0xbc, 0xde, 0x12, 0x34, 17, 63]);
        expected[8..24].copy_from_slice(&src.octets());
        expected[24..].copy_from_slice(&dst.octets());
        assert_eq!(bytes, expected);
        let header = Header::new(&bytes);
        assert_eq!(header.version(), 6);
        assert_eq!(header.traffic_class(), 0xb9);
        assert_eq!(header.flow_label(), 0xa_bcde);
        assert_eq!(header.payload_len(), 0x1234);
        assert_eq!((header.next_header(), header.hop_limit()), (17, 63));
        assert_eq!((header.src_addr(), header.dst_addr()), (src, dst));
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 40, have: 39 };
        assert_eq!(Header::split(&[0; 39]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 39]).err(), Some(refused));
    }
}
