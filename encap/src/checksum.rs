//! The Internet checksum: computed (RFC 1071), over a pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1),
//! and updated when a field changes (RFC 1624).
//!
//! A checksum here is the 16-bit field's value in host order.

use crate::protocol::{ICMP, ICMPV6, TCP, UDP};
use crate::{Buffer, Fragment, Meta, Network};
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;

/// A one's complement sum in progress.
///
/// It adds 64-bit words as a little-endian machine loads them (RFC 1071 §2(C): wider words carry less
/// often), and folds and swaps once at the end (§2(B)). It never overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds the pseudo-header of IPv4; `len` is that of the transport header and payload, in bytes.
    #[must_use]
    pub fn ipv4_pseudo(self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> Self {
        self.array(&src.octets())
            .array(&dst.octets())
            .u16(u16::from(protocol))
            .u16(len)
    }

    /// Adds the pseudo-header of IPv6; `len` is that of the transport header and payload, in bytes.
    #[must_use]
    pub fn ipv6_pseudo(self, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> Self {
        self.array(&src.octets())
            .array(&dst.octets())
            .u32(u32::from(protocol))
            .u32(len)
    }

    /// Adds bytes from an even offset. Only the last piece of what is summed may have odd length.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        Self(add_bytes(self.0, bytes))
    }

    /// The UDP checksum with some more bytes: 0xffff in place of its equal, zero, which would say that
    /// there is none (RFC 768).
    ///
    /// Compiled into its caller: a call costs as much as adding up a small packet, in registers to
    /// save and restore.
    #[inline(always)]
    #[must_use]
    pub(crate) fn udp_checksum(self, bytes: &[u8]) -> u16 {
        // One's complement arithmetic is that modulo 2^16 - 1. The remainder is below that, so its
        // complement is not zero.
        let sum = (add_bytes(self.0, bytes) % 0xffff) as u16;
        (!sum).swap_bytes()
    }

    /// Whether these bytes, which include a checksum, are what it was computed over, given the sum of
    /// what else it covers. Compiled into its caller, like [`udp_checksum`](Self::udp_checksum).
    #[inline(always)]
    #[must_use]
    pub(crate) fn verifies(self, bytes: &[u8]) -> bool {
        Self(add_bytes(self.0, bytes)).is_right()
    }

    /// [`bytes`](Self::bytes) for a length known when compiling, unrolled by the compiler.
    #[must_use]
    pub fn array<const N: usize>(self, bytes: &[u8; N]) -> Self {
        self.bytes(bytes)
    }

    /// Adds a range of a packet's bytes, in whatever pieces they lie; what is beyond the packet's
    /// end counts as zero. As with [`bytes`](Self::bytes), only the last range may have odd length.
    #[inline]
    #[must_use]
    pub fn packet<B: Buffer>(self, packet: &B, range: Range<usize>) -> Self {
        if !packet.is_chained()
            && let Some(bytes) = packet.bytes().get(range.clone())
        {
            return self.bytes(bytes);
        }
        self.pieces(packet, range)
    }

    #[cold]
    fn pieces<B: Buffer>(self, packet: &B, range: Range<usize>) -> Self {
        let mut total = self;
        let mut at = 0;
        let mut is_odd = false;
        packet.for_each_segment(|segment| {
            let start = range.start.saturating_sub(at).min(segment.len());
            let end = range.end.saturating_sub(at).min(segment.len());
            at += segment.len();
            let piece = segment.get(start..end).unwrap_or_default();
            let sum = Self::new().bytes(piece);
            // A piece from an odd offset has its bytes in the other halves of the words
            // (RFC 1071 §2(B)).
            let sum = if is_odd { sum.swapped() } else { sum };
            total = total.plus(sum);
            is_odd ^= !piece.len().is_multiple_of(2);
        });
        total
    }

    /// The sum of the same bytes shifted by one.
    const fn swapped(self) -> Self {
        Self(!self.finish() as u64)
    }

    /// Adds another sum.
    #[inline]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(add_around(self.0, other.0))
    }

    /// Adds one 16-bit field.
    #[inline]
    #[must_use]
    pub const fn u16(self, field: u16) -> Self {
        Self(add_around(self.0, field.swap_bytes() as u64))
    }

    /// Adds one 32-bit field.
    #[inline]
    #[must_use]
    pub const fn u32(self, field: u32) -> Self {
        Self(add_around(self.0, field.swap_bytes() as u64))
    }

    /// The checksum of what was added: zero if that included a correct checksum.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> u16 {
        // Adding the halves to each other leaves their sum, and what it carried, in the upper one.
        let sum = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        let sum = (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16;
        !sum.swap_bytes()
    }

    /// Whether what was added included a correct checksum: [`finish`](Self::finish) would be zero.
    #[inline]
    #[must_use]
    pub const fn is_right(self) -> bool {
        // One's complement arithmetic is that modulo 2^16 - 1, and a correct checksum makes the sum a
        // multiple of that: k times. As THIRD * (2^16 - 1) is 2^64 - 1, the product is -k for the
        // multiples, which are those with a k up to THIRD. Only zeros come to 0.
        const THIRD: u64 = u64::MAX / 0xffff;
        let k = self.0.wrapping_mul(THIRD).wrapping_neg();
        k.wrapping_sub(1) < THIRD
    }
}

/// Updates a checksum for a 16-bit field that changed (RFC 1624 §3, equation 3).
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    fold(complement(checksum) + complement(old) + new as u32)
}

/// Updates a checksum for a 32-bit field that changed.
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let sum = complement(checksum)
        + complement((old >> 16) as u16)
        + complement(old as u16)
        + (new >> 16)
        + (new & 0xffff);
    fold(sum)
}

/// Updates a checksum that covers an IPv4 address which changed.
#[must_use]
pub const fn update_ipv4(checksum: u16, old: Ipv4Addr, new: Ipv4Addr) -> u16 {
    update_u32(checksum, old.to_bits(), new.to_bits())
}

/// Updates a checksum that covers an IPv6 address which changed.
#[must_use]
pub fn update_ipv6(checksum: u16, old: Ipv6Addr, new: Ipv6Addr) -> u16 {
    let mut sum = complement(checksum);
    for (old, new) in old.segments().into_iter().zip(new.segments()) {
        sum += complement(old) + u32::from(new);
    }
    fold(sum)
}

/// Applies an update to a UDP checksum field, in which zero means "none" (RFC 768): none stays
/// none, and a computed zero is sent as its equal 0xFFFF.
#[must_use]
pub fn update_udp(checksum: u16, update: impl FnOnce(u16) -> u16) -> u16 {
    match checksum {
        0 => 0,
        _ => never_zero(update(checksum)),
    }
}

/// Whether the transport checksum of a whole TCP, UDP, ICMP or ICMPv6 packet is right.
///
/// Other protocols, and fragments, whose checksum covers bytes that are elsewhere, are right by
/// default; so is UDP without a checksum. The pseudo-header is made of the addresses in the IP header,
/// so a packet still on a source route or a routing header's way (RFC 8200 §8.1) comes out wrong.
///
/// `frame` is the whole packet, or it is wrong; [`packet_is_right`] is for packets in pieces.
#[must_use]
pub fn transport_is_right(frame: &[u8], meta: &Meta) -> bool {
    if !has_checksum(meta) {
        return true;
    }
    let Some(covered) = Covered::by(frame, meta) else {
        return false;
    };
    if covered.is_absent(frame, meta) {
        return true;
    }
    let bytes = frame.get(covered.bytes);
    bytes.is_some_and(|bytes| covered.pseudo.bytes(bytes).finish() == 0)
}

/// [`transport_is_right`] for a packet in however many pieces.
#[must_use]
pub fn packet_is_right<B: Buffer>(packet: &B, meta: &Meta) -> bool {
    if !packet.is_chained() {
        return transport_is_right(packet.bytes(), meta);
    }
    if !has_checksum(meta) {
        return true;
    }
    let Some(covered) = Covered::by(packet.bytes(), meta) else {
        return false;
    };
    if covered.is_absent(packet.bytes(), meta) {
        return true;
    }
    covered.bytes.end <= packet.len() && covered.pseudo.packet(packet, covered.bytes).finish() == 0
}

/// Computes and writes the transport checksum of a whole TCP, UDP, ICMP or ICMPv6 packet, for a
/// sender that left it to the device. Other packets stay as they are.
pub fn fill_transport(frame: &mut [u8], meta: &Meta) {
    let Some(covered) = Covered::by(frame, meta) else {
        return;
    };
    if let Some(bytes) = frame.get(covered.bytes.clone()) {
        let sum = covered.pseudo.bytes(bytes);
        covered.write(sum, frame, meta);
    }
}

/// [`fill_transport`] for a packet in however many pieces.
pub fn fill_packet<B: Buffer>(packet: &mut B, meta: &Meta) {
    if !packet.is_chained() {
        return fill_transport(packet.bytes_mut(), meta);
    }
    let Some(covered) = Covered::by(packet.bytes(), meta) else {
        return;
    };
    if covered.bytes.end <= packet.len() {
        let sum = covered.pseudo.packet(packet, covered.bytes.clone());
        covered.write(sum, packet.bytes_mut(), meta);
    }
}

/// Whether the packet has a transport checksum that can be verified by itself.
const fn has_checksum(meta: &Meta) -> bool {
    let is_known = matches!(
        (meta.network, meta.protocol),
        (Network::Ipv4 | Network::Ipv6, TCP | UDP)
            | (Network::Ipv4, ICMP)
            | (Network::Ipv6, ICMPV6)
    );
    is_known && matches!(meta.fragment, Fragment::Whole)
}

/// Writes the sum of the pseudo-header where the transport checksum belongs, for a device that adds
/// the rest, as virtio wants it (virtio 1.2 §5.1.6.2). `false`, and the packet as it is, if it has no
/// transport checksum.
pub fn start_transport<B: Buffer>(packet: &mut B, meta: &Meta) -> bool {
    let Some(covered) = Covered::by(packet.bytes(), meta) else {
        return false;
    };
    let sum = !covered.pseudo.finish();
    let at = covered.field;
    packet.bytes_mut()[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// What a transport checksum covers.
struct Covered {
    /// Offset of the checksum field.
    field: usize,
    /// Transport header and payload.
    bytes: Range<usize>,
    /// Sum of the pseudo-header; zero where the protocol has none.
    pseudo: Sum,
}

impl Covered {
    /// By a packet's headers, all of which are in `head`; `None` where there is no checksum to
    /// speak of, or where the headers are not.
    fn by(head: &[u8], meta: &Meta) -> Option<Self> {
        if !has_checksum(meta) {
            return None;
        }
        let offset = match meta.protocol {
            TCP => 16,
            UDP => 6,
            _ => 2,
        };
        let (l4, mut end) = (usize::from(meta.l4), usize::from(meta.end));
        // A UDP datagram may be shorter than the IP payload that holds it.
        if meta.protocol == UDP {
            end = end.min(l4 + usize::from(field(head, l4 + 4)?));
        }
        head.get(l4 + offset..l4 + offset + 2)?;
        let len = end.checked_sub(l4)? as u32;
        let pseudo = match meta.network {
            _ if meta.protocol == ICMP => Sum::new(),
            Network::Ipv4 => {
                let (src, dst) = meta.ipv4_addrs(head)?;
                Sum::new().ipv4_pseudo(src, dst, meta.protocol, len as u16)
            }
            _ => {
                let (src, dst) = meta.ipv6_addrs(head)?;
                Sum::new().ipv6_pseudo(src, dst, meta.protocol, len)
            }
        };
        Some(Self {
            field: l4 + offset,
            bytes: l4..end,
            pseudo,
        })
    }

    /// Whether the sender left it out, as UDP may.
    fn is_absent(&self, head: &[u8], meta: &Meta) -> bool {
        meta.protocol == UDP && field(head, self.field) == Some(0)
    }

    /// Writes the checksum, given the sum of everything, the old value included.
    fn write(&self, sum: Sum, head: &mut [u8], meta: &Meta) {
        let Some(old) = field(head, self.field) else {
            return;
        };
        // Taking the old value out of the sum saves a second pass with the field zeroed.
        let mut checksum = sum.u16(!old).finish();
        if meta.protocol == UDP {
            checksum = never_zero(checksum);
        }
        head[self.field..self.field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// The sum of an IP packet's pseudo-header, of all that its IP header carries; `None` if it is no IP
/// packet.
#[inline]
pub(crate) fn pseudo(head: &[u8], meta: &Meta) -> Option<Sum> {
    let len = meta.end.saturating_sub(meta.l4);
    let fields = Sum::new().u16(u16::from(meta.protocol)).u16(len);
    // The addresses lie side by side.
    let l3 = usize::from(meta.l3);
    match meta.network {
        Network::Ipv4 => Some(fields.array::<8>(head.get(l3 + 12..)?.first_chunk()?)),
        Network::Ipv6 => Some(fields.array::<32>(head.get(l3 + 8..)?.first_chunk()?)),
        Network::Arp | Network::Other => None,
    }
}

/// UDP's other spelling of a computed zero.
pub(crate) const fn never_zero(checksum: u16) -> u16 {
    match checksum {
        0 => 0xffff,
        _ => checksum,
    }
}

fn field(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

/// One's complement addition of bytes, taken as little-endian words with zeros behind the last.
///
/// Powers of two, as a loop over the words of a small packet would cost more than the words.
#[inline(always)]
fn add_bytes(sum: u64, bytes: &[u8]) -> u64 {
    let mut sum = add_around(sum, last(bytes));
    let mut rest = bytes;
    while let Some((row, after)) = rest.split_first_chunk::<64>() {
        (sum, rest) = (add_row(sum, row), after);
    }
    if let Some((row, after)) = rest.split_first_chunk::<32>() {
        (sum, rest) = (add_row(sum, row), after);
    }
    if let Some((row, after)) = rest.split_first_chunk::<16>() {
        (sum, rest) = (add_row(sum, row), after);
    }
    if let Some((row, _)) = rest.split_first_chunk::<8>() {
        sum = add_row(sum, row);
    }
    sum
}

/// One's complement addition of a row's words.
///
/// Each takes what the one before it carried, which is one instruction a word on most machines. What
/// the last one carries cannot carry again: for that the sum would have to be all ones, which takes
/// adding all ones and a carry to all ones, and that sum and that carry another such one before it.
#[inline]
fn add_row(sum: u64, row: &[u8]) -> u64 {
    let (mut sum, mut carry) = (sum, false);
    for word in row.as_chunks::<8>().0 {
        let (with_word, from_word) = sum.overflowing_add(u64::from_le_bytes(*word));
        let (with_carry, from_carry) = with_word.overflowing_add(u64::from(carry));
        (sum, carry) = (with_carry, from_word | from_carry);
    }
    sum + u64::from(carry)
}

/// The bytes behind the last whole word, fewer than eight, as a word that is zero behind them.
#[inline]
fn last(bytes: &[u8]) -> u64 {
    let Some(word) = bytes.last_chunk::<8>() else {
        let bytes = bytes.iter().rev();
        return bytes.fold(0, |word, byte| word << 8 | u64::from(*byte));
    };
    // One load, of which the bytes that are in whole words are shifted out: all eight of them if
    // nothing is behind, which takes two shifts.
    let counted = 8 - bytes.len() as u32 % 8;
    u64::from_le_bytes(*word) >> 8 >> (8 * (counted - 1))
}

/// One's complement addition: what carries out of the top comes in at the bottom.
const fn add_around(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u64
}

const fn complement(field: u16) -> u32 {
    !field as u32
}

/// Folds a sum of at most 2^16 fields, and complements it.
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests;
