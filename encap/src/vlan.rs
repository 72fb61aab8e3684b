//! VLAN tag (IEEE 802.1Q clause 9): what stands between the EtherType 0x8100 and the payload's own.
//!
//! The first EtherType belongs to [`crate::ethernet`]; the tag here is the four bytes after it.

use crate::{Error, VlanId, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of the tag in bytes.
pub const LEN: usize = 4;

/// VLAN tag. `B` is `&[u8; 4]` to read, `&mut [u8; 4]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Tag<B>(B);

impl<'a> Tag<&'a [u8; LEN]> {
    /// Splits the tag from the bytes after it.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(tag, rest)| (Self(tag), rest))
    }
}

impl<'a> Tag<&'a mut [u8; LEN]> {
    /// [`split`](Tag::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(tag, rest)| (Self(tag), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Tag<B> {
    /// The tag in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// Priority code point, 0 to 7.
    pub fn priority(&self) -> u8 {
        self.0[0] >> 5
    }

    /// Drop eligible indicator.
    pub fn drop_eligible(&self) -> bool {
        self.0[0] & 0x10 != 0
    }

    /// The 12-bit identifier as sent: 0 says "priority only, no VLAN", 4095 is reserved.
    pub fn id_field(&self) -> u16 {
        u16::from_be_bytes([self.0[0] & 0x0f, self.0[1]])
    }

    /// The VLAN, if the tag names one.
    pub fn id(&self) -> Option<VlanId> {
        VlanId::new(self.id_field())
    }

    /// EtherType of the payload.
    pub fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Tag<B> {
    /// Sets the VLAN, and priority and drop eligibility to zero.
    pub fn set_id(&mut self, id: VlanId) {
        self.0[..2].copy_from_slice(&id.get().to_be_bytes());
    }

    /// Sets the EtherType of the payload.
    pub fn set_ether_type(&mut self, ether_type: u16) {
        self.0[2..].copy_from_slice(&ether_type.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_802_1q_puts_them() {
        let tag = Tag::new(&[0b1011_0001, 0x02, 0x08, 0x00]);
        assert_eq!(tag.priority(), 5);
        assert!(tag.drop_eligible());
        assert_eq!(tag.id_field(), 0x102);
        assert_eq!(tag.id(), VlanId::new(0x102));
        assert_eq!(tag.ether_type(), 0x0800);
    }

    #[test]
    fn written_tag_has_no_priority() {
        let mut bytes = [0xff; LEN];
        let mut tag = Tag::new(&mut bytes);
        tag.set_id(VlanId::new(4094).unwrap());
        tag.set_ether_type(0x86dd);
        assert_eq!(bytes, [0x0f, 0xfe, 0x86, 0xdd]);
    }

    #[test]
    fn priority_tag_names_no_vlan() {
        assert_eq!(Tag::new(&[0xe0, 0, 8, 0]).id(), None);
        assert_eq!(Tag::new(&[0x0f, 0xff, 8, 0]).id(), None);
    }

    #[test]
    fn short_buffer_is_refused() {
        let refused = Error::Truncated { need: 4, have: 3 };
        assert_eq!(Tag::split(&[0; 3]).err(), Some(refused));
        assert_eq!(Tag::split_mut(&mut [0; 3]).err(), Some(refused));
    }
}
