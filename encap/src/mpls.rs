//! MPLS label stack: one entry (RFC 3032 §2.1, RFC 5462 §3), and the whole stack of a packet as the
//! last router of its path finds it. Pushing is [`crate::tunnel`]'s.
//!
//! What a label means is not known here, save those below 16, which mean the same everywhere:
//! explicit nulls name the IP version behind the stack, an entropy label pair (RFC 6790) is skipped,
//! and everything else reserved is refused, as nothing here handles it.

use crate::{Error, Label, split, split_mut};
use core::ops::{Deref, DerefMut};

/// Length of one entry in bytes.
pub const LEN: usize = 4;

/// Entries a stack may have on arrival, entropy labels included. Real stacks have two or three; the
/// bound keeps one packet from costing many look-ups.
pub const MAX_DEPTH: usize = 8;

/// One label stack entry. `B` is `&[u8; 4]` to read, `&mut [u8; 4]` to write.
#[derive(Clone, Copy, Debug)]
pub struct Entry<B>(B);

impl<'a> Entry<&'a [u8; LEN]> {
    /// Splits the entry from the bytes after it.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split(buf: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        split(buf).map(|(entry, rest)| (Self(entry), rest))
    }
}

impl<'a> Entry<&'a mut [u8; LEN]> {
    /// [`split`](Entry::split) to write.
    ///
    /// # Errors
    /// [`Error::Truncated`] if fewer than 4 bytes remain.
    pub fn split_mut(buf: &'a mut [u8]) -> Result<(Self, &'a mut [u8]), Error> {
        split_mut(buf).map(|(entry, rest)| (Self(entry), rest))
    }
}

impl<B: Deref<Target = [u8; LEN]>> Entry<B> {
    /// The entry in these bytes.
    pub const fn new(bytes: B) -> Self {
        Self(bytes)
    }

    /// The label.
    pub fn label(&self) -> Label {
        Label::from_entry(u32::from_be_bytes(*self.0))
    }

    /// The traffic class, three bits (RFC 5462; the EXP field of RFC 3032).
    pub fn traffic_class(&self) -> u8 {
        self.0[2] >> 1 & 0b111
    }

    /// Whether this is the last entry of the stack.
    pub fn is_bottom(&self) -> bool {
        self.0[2] & 1 != 0
    }

    /// Time to live, in hops.
    pub fn ttl(&self) -> u8 {
        self.0[3]
    }
}

impl<B: DerefMut<Target = [u8; LEN]>> Entry<B> {
    /// Makes this the entry of a label; of `traffic_class` the low three bits count.
    pub fn set(&mut self, label: Label, traffic_class: u8, is_bottom: bool, ttl: u8) {
        *self.0 = entry(label, traffic_class, is_bottom, ttl).to_be_bytes();
    }
}

/// A label stack entry as the 32-bit word it is.
pub(crate) const fn entry(label: Label, traffic_class: u8, is_bottom: bool, ttl: u8) -> u32 {
    label.get() << 12 | (traffic_class as u32 & 0b111) << 9 | (is_bottom as u32) << 8 | ttl as u32
}

/// What lies behind a label stack, as far as the stack itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// What the last label stands for.
    OfLabel,
    /// IPv4: the last label is the IPv4 explicit null.
    Ipv4,
    /// IPv6: the last label is the IPv6 explicit null.
    Ipv6,
}

/// The label stack of a packet, checked from top to bottom.
///
/// It does not borrow the packet: like [`crate::Meta`] it holds an offset from the packet's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    at: u16,
    depth: u8,
    /// The lowest TTL of its labels, above one. Nothing that leaves the stack may live longer
    /// (RFC 3443 §3.4).
    pub ttl: u8,
    /// Traffic class of the top label.
    pub traffic_class: u8,
    /// What lies behind.
    pub payload: Payload,
}

impl Stack {
    /// Reads the stack that `bytes` begin with, at offset `at` of the packet. Of what is there, `len`
    /// bytes count: the rest is padding.
    ///
    /// # Errors
    /// * [`Error::LabelStack`] without a bottom within [`MAX_DEPTH`] entries, or none before the
    ///   packet's end;
    /// * [`Error::ReservedLabel`] for labels below 16 but the explicit nulls and the entropy label
    ///   indicator, implicit null among them, which must not be on the wire (RFC 3032 §2.1);
    /// * [`Error::EntropyLabel`] if the indicator is the last entry, or what follows it is reserved
    ///   (RFC 6790 §4.2), or nothing is below or above the pair;
    /// * [`Error::LabelTtl`] if a label's TTL is 0 or 1 (RFC 3032 §2.4.2);
    /// * [`Error::Truncated`] if nothing follows the stack.
    pub fn parse(bytes: &[u8], at: u16, len: u16) -> Result<Self, Error> {
        let len = bytes.len().min(len.into());
        Self::walk(&bytes[..len], at)
    }

    /// The stack, if this is all of it: one ordinary label with a TTL above one.
    #[inline]
    pub(crate) fn of_one(entry: [u8; LEN], at: u16) -> Option<Self> {
        const BOTTOM: u32 = 1 << 8;

        let top = Entry::new(&entry);
        let word = u32::from_be_bytes(entry);
        // The bit and the TTL lie side by side.
        if word & (BOTTOM | 0xff) <= BOTTOM | 1 || top.label().is_reserved() {
            return None;
        }
        Some(Self {
            at,
            depth: 1,
            ttl: top.ttl(),
            traffic_class: top.traffic_class(),
            payload: Payload::OfLabel,
        })
    }

    /// Bytes of the stack.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a stack never is")]
    pub fn len(&self) -> usize {
        usize::from(self.depth) * LEN
    }

    /// The labels from the top to the bottom, but for entropy labels, of the packet that was parsed.
    pub fn labels<'a>(&self, packet: &'a [u8]) -> impl Iterator<Item = Label> + use<'a> {
        let bytes = packet.get(usize::from(self.at)..).unwrap_or_default();
        let entries = bytes.as_chunks::<LEN>().0;
        let entries = entries.get(..self.depth.into()).unwrap_or_default();
        let mut labels = entries.iter().map(|entry| Entry::new(entry).label());
        core::iter::from_fn(move || {
            let mut label = labels.next()?;
            while label == Label::ENTROPY_INDICATOR {
                labels.next()?; // the entropy label itself
                label = labels.next()?;
            }
            Some(label)
        })
    }

    fn walk(bytes: &[u8], at: u16) -> Result<Self, Error> {
        let (entries, rest) = bytes.as_chunks::<LEN>();
        let mut stack = Self {
            at,
            depth: 0,
            ttl: u8::MAX,
            traffic_class: entry_at(entries, 0)?.traffic_class(),
            payload: Payload::OfLabel,
        };
        let mut index = 0;
        let mut labels = 0;
        loop {
            let entry = entry_at(entries, index)?;
            let mut is_bottom = entry.is_bottom();
            if entry.label() == Label::ENTROPY_INDICATOR {
                // It says nothing about what lies behind: the label above does.
                if is_bottom {
                    return Err(Error::EntropyLabel);
                }
                index += 1;
                let entropy = entry_at(entries, index)?;
                if entropy.label().is_reserved() {
                    return Err(Error::EntropyLabel);
                }
                is_bottom = entropy.is_bottom();
            } else {
                stack.payload = payload_of(entry.label())?;
                if entry.ttl() <= 1 {
                    return Err(Error::LabelTtl);
                }
                stack.ttl = stack.ttl.min(entry.ttl());
                labels += 1;
            }
            index += 1;
            if is_bottom {
                break;
            }
        }
        if labels == 0 {
            return Err(Error::EntropyLabel);
        }
        if entries.len() == index && rest.is_empty() {
            return Err(Error::truncated(1, 0));
        }
        stack.depth = index as u8;
        Ok(stack)
    }
}

/// The entry at `index`.
///
/// # Errors
/// [`Error::LabelStack`] beyond the packet's end or [`MAX_DEPTH`].
fn entry_at(entries: &[[u8; LEN]], index: usize) -> Result<Entry<&[u8; LEN]>, Error> {
    match entries.get(index) {
        Some(entry) if index < MAX_DEPTH => Ok(Entry::new(entry)),
        _ => Err(Error::LabelStack),
    }
}

/// What lies behind a stack that ends with this label.
fn payload_of(label: Label) -> Result<Payload, Error> {
    match label {
        Label::IPV4_EXPLICIT_NULL => Ok(Payload::Ipv4),
        Label::IPV6_EXPLICIT_NULL => Ok(Payload::Ipv6),
        label if label.is_reserved() => Err(Error::ReservedLabel(label.get() as u8)),
        _ => Ok(Payload::OfLabel),
    }
}

#[cfg(test)]
mod tests;
