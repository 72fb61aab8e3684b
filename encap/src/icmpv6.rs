//! ICMPv6 header (RFC 4443 §2.1). Neighbour discovery is [`crate::nd`]; echo replies are made by
//! [`crate::icmp::echo_reply`].

use crate::{Error, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the header in bytes: four that every message has, four whose meaning varies.
pub const LEN: usize = 8;

/// Type of an error: destination unreachable.
pub const UNREACHABLE: u8 = 1;
/// Type of an error: packet too big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type of an error: hop limit exceeded.
pub const TIME_EXCEEDED: u8 = 3;
/// Type of an error: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type of a router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type of a router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type of a neighbour solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Type of a neighbour advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Type of a redirect, which only routers send.
pub const REDIRECT: u8 = 137;

/// ICMPv6 header. `B` is `&[u8; 8]` to read, `&mut [u8; 8]` to write.
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

    /// Type of the message; errors are below 128.
    pub fn kind(&self) -> u8 {
        self.0[0]
    }

    /// Code, whose meaning depends on the type.
    pub fn code(&self) -> u8 {
        self.0[1]
    }

    /// Checksum as sent, over the whole message and a pseudo-header.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Identifier of an echo.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Sequence number of an echo.
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// MTU of a packet too big, in bytes.
    pub fn mtu(&self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Whether this is an echo request or reply, which have an identifier.
    pub fn is_query(&self) -> bool {
        matches!(self.kind(), ECHO_REQUEST | ECHO_REPLY)
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Sets the type.
    pub fn set_kind(&mut self, kind: u8) {
        self.0[0] = kind;
    }

    /// Sets the code.
    pub fn set_code(&mut self, code: u8) {
        self.0[1] = code;
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        self.0[2..4].copy_from_slice(&checksum.to_be_bytes());
    }

    /// Sets the identifier of an echo.
    pub fn set_id(&mut self, id: u16) {
        self.0[4..6].copy_from_slice(&id.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_rfc_4443_puts_them() {
        let bytes = [128, 1, 0xab, 0xcd, 0x12, 0x34, 0x56, 0x78];
        let (header, rest) = Header::split(&bytes).unwrap();
        assert!(rest.is_empty() && header.is_query());
        assert_eq!((header.kind(), header.code()), (ECHO_REQUEST, 1));
        assert_eq!(header.checksum(), 0xabcd);
        assert_eq!((header.id(), header.sequence()), (0x1234, 0x5678));
        assert_eq!(header.mtu(), 0x1234_5678);

        let mut written = [0; LEN];
        let mut header = Header::new(&mut written);
        header.set_kind(128);
        header.set_code(1);
        header.set_checksum(0xabcd);
        header.set_id(0x1234);
        assert_eq!(written[..6], bytes[..6]);
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 8, have: 7 };
        assert_eq!(Header::split(&[0; 7]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 7]).err(), Some(refused));
    }
}
