//! UDP header (RFC 768).

use crate::{Error, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the header in bytes.
pub const LEN: usize = 8;

/// UDP header. `B` is `&[u8; 8]` to read, `&mut [u8; 8]` to write.
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

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Length of header and payload in bytes, as sent; may exceed the buffer.
    pub fn len_field(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Checksum as sent; zero says there is none.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Sets the source port.
    pub fn set_src_port(&mut self, port: u16) {
        self.0[..2].copy_from_slice(&port.to_be_bytes());
    }

    /// Sets the destination port.
    pub fn set_dst_port(&mut self, port: u16) {
        self.0[2..4].copy_from_slice(&port.to_be_bytes());
    }

    /// Sets the length of header and payload, in bytes.
    pub fn set_len_field(&mut self, len: u16) {
        self.0[4..6].copy_from_slice(&len.to_be_bytes());
    }

    /// Sets the checksum; zero says there is none, so a computed zero is set as 0xFFFF.
    pub fn set_checksum(&mut self, checksum: u16) {
        self.0[6..].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_rfc_768_puts_them() {
        let mut bytes = [0; LEN];
        let mut header = Header::new(&mut bytes);
        header.set_src_port(0xc001);
        header.set_dst_port(53);
        header.set_len_field(0x0123);
        header.set_checksum(0xfffe);
        assert_eq!(bytes, [0xc0, 0x01, 0, 53, 0x01, 0x23, 0xff, 0xfe]);
        let (header, rest) = Header::split(&bytes).unwrap();
        assert_eq!((header.src_port(), header.dst_port()), (0xc001, 53));
        assert_eq!((header.len_field(), header.checksum()), (0x0123, 0xfffe));
        assert!(rest.is_empty());
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 8, have: 7 };
        assert_eq!(Header::split(&[0; 7]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 7]).err(), Some(refused));
    }
}
