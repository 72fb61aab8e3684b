//! GRE header (RFC 2784) with the key and sequence number of RFC 2890, as far as MPLS in GRE
//! (RFC 4023) needs it: sent bare, received with any optional field.

use crate::{Error, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the header without optional fields, in bytes.
pub const LEN: usize = 4;

/// Protocol type: an MPLS label stack with a unicast payload (RFC 4023 §3.2).
pub const MPLS: u16 = 0x8847;

/// A checksum field, and 16 reserved bits, follow.
const CHECKSUM: u16 = 0x8000;
/// A key field follows.
const KEY: u16 = 0x2000;
/// A sequence number field follows.
const SEQUENCE: u16 = 0x1000;
/// Bits 1, 4 and 5: fields of RFC 1701 that would have to be understood (RFC 2784 §2.3).
const REFUSED: u16 = 0x4c00;
const VERSION: u16 = 0x0007;

/// GRE header without its optional fields. `B` is `&[u8; 4]` to read, `&mut [u8; 4]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Header<B>(B);

impl<'a> Header<&'a [u8; LEN]> {
    /// Splits the header from the bytes after it, which begin with the optional fields.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<'a> Header<&'a mut [u8; LEN]> {
    /// [`split`](Header::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(header, rest)| (Self(header), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Header<B> {
    /// The header in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// Flags, reserved bits and version as sent.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// The EtherType of the payload.
    pub fn protocol(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Whether this header has no optional field and is followed by an MPLS label stack.
    pub fn is_bare_mpls(&self) -> bool {
        let [high, low] = MPLS.to_be_bytes();
        *self.0 == [0, 0, high, low]
    }

    /// Whether a checksum over header and payload follows.
    pub fn has_checksum(&self) -> bool {
        self.flags() & CHECKSUM != 0
    }

    /// Length of the header with the optional fields its flags announce: 4 to 16 bytes. The checksum
    /// comes first, then the key, then the sequence number (RFC 2890 §2).
    pub fn header_len(&self) -> usize {
        let fields = self.flags() & (CHECKSUM | KEY | SEQUENCE);
        LEN + 4 * fields.count_ones() as usize
    }

    /// Whether this header, all that it says being understood, is followed by an MPLS label stack.
    ///
    /// # Errors
    /// [`Error::GreFlags`] for a reserved bit that counts, [`Error::GreVersion`] for any but 0,
    /// [`Error::GreProtocol`] for another payload (RFC 2784 §2.3 and §2.4).
    pub fn check(&self) -> Result<(), Error> {
        let flags = self.flags();
        if flags & REFUSED != 0 {
            return Err(Error::GreFlags(flags));
        }
        if flags & VERSION != 0 {
            return Err(Error::GreVersion((flags & VERSION) as u8));
        }
        if self.protocol() != MPLS {
            return Err(Error::GreProtocol(self.protocol()));
        }
        Ok(())
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Header<B> {
    /// Makes this a bare header in front of an MPLS label stack (RFC 4023 §3.2).
    pub fn set_mpls(&mut self) {
        let [high, low] = MPLS.to_be_bytes();
        *self.0 = [0, 0, high, low];
    }
}

#[cfg(test)]
mod tests;
