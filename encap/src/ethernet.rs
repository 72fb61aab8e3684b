//! Ethernet II header (IEEE 802.3 clause 3), without a VLAN tag, which is [`crate::vlan`]'s.

use crate::{Error, MacAddr, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the header in bytes.
pub const LEN: usize = 14;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of a VLAN tag (802.1Q).
pub const VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of MPLS.
pub const MPLS: u16 = 0x8847;
/// EtherType of a service tag (802.1ad).
pub const SERVICE_TAG: u16 = 0x88a8;

/// Ethernet header. `B` is `&[u8; 14]` to read, `&mut [u8; 14]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Header<B>(B);

impl<'a> Header<&'a [u8; LEN]> {
    /// Splits the header from the bytes after it.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 14 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<'a> Header<&'a mut [u8; LEN]> {
    /// [`split`](Header::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 14 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Header<B> {
    /// The header in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// Destination address.
    pub fn dst(&self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source address.
    pub fn src(&self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.0;
        MacAddr([a, b, c, d, e, f])
    }

    /// What follows: an EtherType, or below 0x0600 a length in bytes (802.3).
    pub fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.0[12], self.0[13]])
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Sets the destination address.
    pub fn set_dst(&mut self, mac: MacAddr) {
        self.0[..6].copy_from_slice(&mac.0);
    }

    /// Sets the source address.
    pub fn set_src(&mut self, mac: MacAddr) {
        self.0[6..12].copy_from_slice(&mac.0);
    }

    /// Sets what follows.
    pub fn set_ether_type(&mut self, ether_type: u16) {
        self.0[12..].copy_from_slice(&ether_type.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_fields_read_back_and_lie_where_802_3_puts_them() {
        let mut bytes = [0; LEN];
        let mut header = Header::new(&mut bytes);
        header.set_dst(MacAddr([1, 2, 3, 4, 5, 6]));
        header.set_src(MacAddr([7, 8, 9, 10, 11, 12]));
        header.set_ether_type(IPV6);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd]);
        let (header, rest) = Header::split(&bytes).unwrap();
        assert_eq!(header.dst(), MacAddr([1, 2, 3, 4, 5, 6]));
        assert_eq!(header.src(), MacAddr([7, 8, 9, 10, 11, 12]));
        assert_eq!(header.ether_type(), IPV6);
        assert!(rest.is_empty());
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 14, have: 13 };
        assert_eq!(Header::split(&[0; 13]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 13]).err(), Some(refused));
    }
}
