//! IPv4 header without its options (RFC 791 §3.1).

use crate::checksum::Sum;
use crate::{Error, split, split_mut};
use core::net::Ipv4Addr;
use core::ops::{Deref, DerefMut};

/// Length of the header without options, in bytes.
pub const LEN: usize = 20;

/// IPv4 header. `B` is `&[u8; 20]` to read, `&mut [u8; 20]` to write.
///
/// Options, when [`header_len`](Self::header_len) says there are any, follow the view's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Header<B>(B);

impl<'a> Header<&'a [u8; LEN]> {
    /// Splits the header from the bytes after it, which begin with the options.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 20 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<'a> Header<&'a mut [u8; LEN]> {
    /// [`split`](Header::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 20 bytes remain.
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

    /// Length of header and options in bytes, as sent; below 20 it is wrong.
    pub fn header_len(&self) -> usize {
        usize::from(self.0[0] & 0x0f) * 4
    }

    /// DSCP and ECN (RFC 2474, RFC 3168).
    pub fn traffic_class(&self) -> u8 {
        self.0[1]
    }

    /// Length of header and payload in bytes, as sent; may exceed the buffer.
    pub fn total_len(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Identification, which fragments of one datagram share.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Whether the packet must not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        self.0[6] & 0x40 != 0
    }

    /// Whether this fragment is not the last of its datagram.
    pub fn more_fragments(&self) -> bool {
        self.0[6] & 0x20 != 0
    }

    /// Whether this is part of a datagram only.
    pub fn is_fragment(&self) -> bool {
        u16::from_be_bytes([self.0[6], self.0[7]]) & 0x3fff != 0
    }

    /// Where the payload belongs in its datagram, in bytes.
    pub fn fragment_offset(&self) -> u16 {
        u16::from_be_bytes([self.0[6] & 0x1f, self.0[7]]) * 8
    }

    /// Time to live, in hops.
    pub fn ttl(&self) -> u8 {
        self.0[8]
    }

    /// Protocol of the payload, see [`crate::protocol`].
    pub fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// Header checksum as sent.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[10], self.0[11]])
    }

    /// Source address.
    pub fn src_addr(&self) -> Ipv4Addr {
        let [_, _, _, _, _, _, _, _, _, _, _, _, a, b, c, d, ..] = *self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination address.
    pub fn dst_addr(&self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Sum over these 20 bytes, to which options may be added.
    pub fn sum(&self) -> Sum {
        Sum::new().array(&self.0)
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Makes this a header without options that asks not to be fragmented: id 0 and DF, an atomic
    /// datagram as in RFC 6864 §4. The checksum stays to be [filled](Self::fill_checksum).
    pub fn set(
        &mut self,
        protocol: u8,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        ttl: u8,
        traffic_class: u8,
        total_len: u16,
    ) {
        *self.0 = [0; LEN];
        self.0[0] = 0x45;
        self.0[6] = 0x40;
        self.0[9] = protocol;
        self.set_src_addr(src);
        self.set_dst_addr(dst);
        self.set_ttl(ttl);
        self.set_traffic_class(traffic_class);
        self.set_total_len(total_len);
    }

    /// Sets DSCP and ECN.
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        self.0[1] = traffic_class;
    }

    /// Sets the length of header and payload, in bytes.
    pub fn set_total_len(&mut self, len: u16) {
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
    }

    /// Sets the time to live, in hops.
    pub fn set_ttl(&mut self, ttl: u8) {
        self.0[8] = ttl;
    }

    /// Sets the header checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        self.0[10..12].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Sets the source address.
    pub fn set_src_addr(&mut self, addr: Ipv4Addr) {
        self.0[12..16].copy_from_slice(&addr.octets());
    }

    /// Sets the destination address.
    pub fn set_dst_addr(&mut self, addr: Ipv4Addr) {
        self.0[16..].copy_from_slice(&addr.octets());
    }

    /// Computes the checksum of a header without options.
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        self.set_checksum(self.sum().finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Of a SYN that a Linux host sent.
    const CAPTURED: [u8; LEN] = [
        0x45, 0x00, 0x00, 0x3c, 0x94, 0x1a, 0x40, 0x00, 0x40, 0x06, 0x22, 0x9e, 0xc0, 0x00, 0x02,
        0x01, 0xc0, 0x00, 0x02, 0x02,
    ];
    const SRC: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[test]
    fn captured_header_reads_right() {
        let (header, rest) = Header::split(&CAPTURED).unwrap();
        assert!(rest.is_empty());
        assert_eq!((header.version(), header.header_len()), (4, 20));
        assert_eq!((header.total_len(), header.traffic_class()), (60, 0));
        assert_eq!((header.id(), header.checksum()), (0x941a, 0x229e));
        assert!(header.dont_fragment() && !header.more_fragments());
        assert_eq!(header.fragment_offset(), 0);
        assert_eq!((header.ttl(), header.protocol()), (64, 6));
        assert_eq!((header.src_addr(), header.dst_addr()), (SRC, DST));
        assert_eq!(header.sum().finish(), 0);
    }

    #[test]
    fn fragment_fields_are_told_apart() {
        let mut bytes = CAPTURED;
        bytes[6] = 0x3f;
        bytes[7] = 0xff;
        let header = Header::new(&bytes);
        assert!(header.more_fragments() && !header.dont_fragment());
        assert_eq!(header.fragment_offset(), 65528);
    }

    #[test]
    fn captured_header_is_rebuilt_but_for_its_id() {
        let mut bytes = [0xee; LEN];
        let mut header = Header::new(&mut bytes);
        header.set(6, SRC, DST, 64, 0, 60);
        header.fill_checksum();
        let mut expected = CAPTURED;
        expected[4..6].fill(0);
        // 0x229e plus the id that is gone.
        expected[10..12].copy_from_slice(&[0xb6, 0xb8]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 20, have: 19 };
        assert_eq!(Header::split(&[0; 19]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 19]).err(), Some(refused));
    }
}
