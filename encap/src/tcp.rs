//! TCP header without its options (RFC 9293 §3.1).

use crate::{Error, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the header without options, in bytes.
pub const LEN: usize = 20;

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// Synchronize sequence numbers.
pub const SYN: u8 = 0x02;
/// Reset the connection.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// The acknowledgment number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;
/// ECN echo (RFC 3168 §6.1).
pub const ECE: u8 = 0x40;
/// Congestion window reduced (RFC 3168 §6.1).
pub const CWR: u8 = 0x80;

/// TCP header. `B` is `&[u8; 20]` to read, `&mut [u8; 20]` to write.
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

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Sequence number.
    pub fn sequence(&self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Acknowledgment number; counts only with the [`ACK`] flag.
    pub fn acknowledgment(&self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// Length of header and options in bytes, as sent; below 20 it is wrong.
    pub fn header_len(&self) -> usize {
        usize::from(self.0[12] >> 4) * 4
    }

    /// The flags from [`FIN`] to [`CWR`].
    pub fn flags(&self) -> u8 {
        self.0[13]
    }

    /// Window as sent, before scaling.
    pub fn window(&self) -> u16 {
        u16::from_be_bytes([self.0[14], self.0[15]])
    }

    /// Checksum as sent.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[16], self.0[17]])
    }

    /// Urgent pointer; counts only with the [`URG`] flag.
    pub fn urgent_pointer(&self) -> u16 {
        u16::from_be_bytes([self.0[18], self.0[19]])
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

    /// Sets the sequence number.
    pub fn set_sequence(&mut self, sequence: u32) {
        self.0[4..8].copy_from_slice(&sequence.to_be_bytes());
    }

    /// Sets the flags from [`FIN`] to [`CWR`].
    pub fn set_flags(&mut self, flags: u8) {
        self.0[13] = flags;
    }

    /// Sets the urgent pointer.
    pub fn set_urgent_pointer(&mut self, pointer: u16) {
        self.0[18..20].copy_from_slice(&pointer.to_be_bytes());
    }

    /// Sets the checksum.
    pub fn set_checksum(&mut self, checksum: u16) {
        self.0[16..18].copy_from_slice(&checksum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_rfc_9293_puts_them() {
        let bytes = [
            0x12, 0x34, 0x00, 0x50, 1, 2, 3, 4, 5, 6, 7, 8, 0xa0, 0x92, 0xfa, 0xf0, 0xab, 0xcd, 0,
            9,
        ];
        let (header, rest) = Header::split(&bytes).unwrap();
        assert!(rest.is_empty());
        assert_eq!((header.src_port(), header.dst_port()), (0x1234, 80));
        assert_eq!(header.sequence(), 0x0102_0304);
        assert_eq!(header.acknowledgment(), 0x0506_0708);
        assert_eq!(header.header_len(), 40);
        assert_eq!(header.flags(), CWR | ACK | SYN);
        assert_eq!((header.window(), header.checksum()), (0xfaf0, 0xabcd));
        assert_eq!(header.urgent_pointer(), 9);

        let mut written = bytes;
        let mut header = Header::new(&mut written);
        header.set_src_port(0x4321);
        header.set_dst_port(0x51);
        header.set_checksum(0xdcba);
        header.set_sequence(0x0403_0201);
        header.set_flags(FIN);
        header.set_urgent_pointer(7);
        assert_eq!(written[..4], [0x43, 0x21, 0, 0x51]);
        assert_eq!(written[16..], [0xdc, 0xba, 0, 7]);
        assert_eq!((&written[4..8], written[13]), (&[4, 3, 2, 1][..], FIN));
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 20, have: 19 };
        assert_eq!(Header::split(&[0; 19]).err(), Some(refused));
        assert_eq!(Header::split_mut(&mut [0; 19]).err(), Some(refused));
    }
}
