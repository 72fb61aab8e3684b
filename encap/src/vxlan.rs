//! VXLAN header (RFC 7348 §5).

use crate::{Error, Vni, split, split_mut};
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
            _ => Some(Vni::from_word([self.0[4], self.0[5], self.0[6], self.0[7]])),
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

#[cfg(test)]
mod tests;
