//! One IP packet into several that fit (RFC 791 §3.2, RFC 8200 §4.5). The way back is
//! [`crate::reassembly`]; the checks of fragments that arrive are in `parse`.
//!
//! A router cuts IPv4 packets of others, unless they ask not to be; IPv6 ones only their sender cuts,
//! which a tunnel's end is of its own outer packets.

use crate::checksum::Sum;
use crate::protocol::FRAGMENT;
use crate::{Buffer, Error, Meta, Network, buffer, ethernet, ipv4, ipv6, vlan};

/// Length of an IPv6 fragment header in bytes.
pub const IPV6_HEADER_LEN: usize = 8;

/// The longest a link header and an IP header are: a tag, and IPv4 with all its options.
const MAX_HEAD: usize = ethernet::LEN + vlan::LEN + 60;

/// The pieces of one packet, in order.
///
/// The packet stays as it is until the last piece is written: payload is copied out of it.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// What stands before the payload of the first piece, and of the others.
    heads: [Head; 2],
    /// Offset of the network header.
    l3: usize,
    is_ipv6: bool,
    /// Largest IP packet that fits, in bytes.
    mtu: usize,
    /// Where the payload not yet written begins and ends in the packet.
    at: usize,
    end: usize,
    /// Where that belongs in its datagram, in bytes.
    offset: usize,
    /// Whether the packet is a fragment that others follow.
    more: bool,
    is_first: bool,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; MAX_HEAD],
    len: usize,
}

impl Pieces {
    /// Prepares to cut an IPv4 packet, which may be a fragment already, into pieces of at most `mtu`
    /// bytes. Whether it may be cut (DF) is the caller's to ask.
    ///
    /// Options go into every piece if their copied flag is set, into the first in any case.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `mtu` does not hold the header and eight bytes; [`Error::IpVersion`] if
    /// the packet is not IPv4; [`Error::Truncated`] with a `meta` of another packet.
    pub fn ipv4<B: Buffer>(packet: &B, meta: &Meta, mtu: usize) -> Result<Self, Error> {
        if meta.network != Network::Ipv4 {
            return Err(Error::IpVersion(6));
        }
        let (l3, l4) = (usize::from(meta.l3), usize::from(meta.l4));
        let first = Head::new(packet.bytes(), l4)?;
        let mut later = Head::new(packet.bytes(), l3 + ipv4::LEN)?;
        for option in copied_options(&first.bytes[later.len..first.len]) {
            later.push(option);
        }
        while later.len % 4 != l3 % 4 {
            later.push(&[0]);
        }
        later.bytes[l3] = 0x40 | ((later.len - l3) / 4) as u8;
        Self::new([first, later], meta, mtu, l4)
    }

    /// Prepares to cut an IPv6 packet without extension headers but perhaps a fragment header, as
    /// this node's own outer ones are and those that were IPv4 packets; `id` tells its fragments from
    /// those of other packets, unless it is a fragment already.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `mtu` does not hold the headers and eight bytes;
    /// [`Error::ExtensionHeaders`] if the packet has others, [`Error::IpVersion`] if it is not IPv6;
    /// [`Error::Truncated`] with a `meta` of another packet.
    pub fn ipv6<B: Buffer>(packet: &B, meta: &Meta, mtu: usize, id: u32) -> Result<Self, Error> {
        if meta.network != Network::Ipv6 {
            return Err(Error::IpVersion(4));
        }
        let l4 = usize::from(meta.l3) + ipv6::LEN;
        if meta.fragment_header && usize::from(meta.l4) == l4 + IPV6_HEADER_LEN {
            let head = Head::new(packet.bytes(), meta.l4.into())?;
            return Self::new([head, head], meta, mtu, meta.l4.into());
        }
        if usize::from(meta.l4) != l4 {
            return Err(Error::ExtensionHeaders);
        }
        let mut head = Head::new(packet.bytes(), l4)?;
        let next_header = head.bytes[l4 - ipv6::LEN + 6];
        head.bytes[l4 - ipv6::LEN + 6] = FRAGMENT;
        let [a, b, c, d] = id.to_be_bytes();
        head.push(&[next_header, 0, 0, 0, a, b, c, d]);
        Self::new([head, head], meta, mtu, l4)
    }

    fn new(heads: [Head; 2], meta: &Meta, mtu: usize, payload: usize) -> Result<Self, Error> {
        let l3 = usize::from(meta.l3);
        let least = heads[0].len - l3 + 8;
        if mtu < least {
            return Err(Error::no_room(least, mtu));
        }
        Ok(Self {
            heads,
            l3,
            is_ipv6: meta.network == Network::Ipv6,
            mtu,
            at: payload,
            end: meta.end.into(),
            offset: meta.fragment_offset.into(),
            more: meta.more_fragments,
            is_first: true,
        })
    }

    /// Whether all pieces are written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// Makes `piece` the next piece of `packet`, which must be the one given before. If `piece` is too
    /// small, `more` is asked for further buffers, until it gives none.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the buffers do not hold the piece; [`Error::Truncated`] if the packet is
    /// another, or done. `piece` is worth nothing then.
    pub fn write<B: Buffer>(
        &mut self,
        packet: &B,
        piece: &mut B,
        more: &mut dyn FnMut() -> Option<B>,
    ) -> Result<(), Error> {
        let head = self.heads[usize::from(!self.is_first)];
        let ip_len = head.len - self.l3;
        let left = self.end.saturating_sub(self.at);
        let len = match self.mtu.saturating_sub(ip_len) {
            fits if fits >= left => left,
            fits => fits & !7,
        };
        if len == 0 {
            return Err(Error::truncated(self.at + 1, self.end));
        }
        buffer::clear(piece, head.len)?;
        piece.bytes_mut().copy_from_slice(&head.bytes[..head.len]);
        buffer::append_range(packet, self.at..self.at + len, piece, more)?;
        let bytes = piece.bytes_mut();
        let more = self.more || len < left;
        match self.is_ipv6 {
            true => self.finish_ipv6(bytes, ip_len + len, more)?,
            false => self.finish_ipv4(bytes, ip_len, ip_len + len, more)?,
        }
        self.at += len;
        self.offset += len;
        self.is_first = false;
        Ok(())
    }

    /// Completes the header of a piece of `len` bytes, which may go on in other buffers.
    fn finish_ipv4(
        &self,
        frame: &mut [u8],
        header_len: usize,
        len: usize,
        more: bool,
    ) -> Result<(), Error> {
        let packet = &mut frame[self.l3..];
        // The reserved bit is passed on, DF is clear.
        let reserved = u16::from(packet[6] & 0x80) << 8;
        let field = reserved | u16::from(more) << 13 | (self.offset / 8) as u16;
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        let (mut header, _) = ipv4::Header::split_mut(packet)?;
        header.set_total_len(len as u16);
        header.set_checksum(0);
        let checksum = Sum::new().bytes(&packet[..header_len]).finish();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        Ok(())
    }

    /// The same for IPv6.
    fn finish_ipv6(&self, frame: &mut [u8], len: usize, more: bool) -> Result<(), Error> {
        let (mut header, rest) = ipv6::Header::split_mut(&mut frame[self.l3..])?;
        header.set_payload_len((len - ipv6::LEN) as u16);
        let field = self.offset as u16 | u16::from(more);
        rest[2..4].copy_from_slice(&field.to_be_bytes());
        Ok(())
    }
}

impl Head {
    /// The first `len` bytes of a packet.
    fn new(frame: &[u8], len: usize) -> Result<Self, Error> {
        let from = frame
            .get(..len)
            .filter(|_| len <= MAX_HEAD)
            .ok_or_else(|| Error::truncated(len, frame.len()))?;
        let mut bytes = [0; MAX_HEAD];
        bytes[..len].copy_from_slice(from);
        Ok(Self { bytes, len })
    }

    /// Appends what was in a head that was not longer.
    fn push(&mut self, more: &[u8]) {
        let end = self.len + more.len();
        if let Some(to) = self.bytes.get_mut(self.len..end) {
            to.copy_from_slice(more);
            self.len = end;
        }
    }
}

/// The options whose copied flag is set (RFC 791 §3.1), of options that were found well-formed.
fn copied_options(mut options: &[u8]) -> impl Iterator<Item = &[u8]> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;

    core::iter::from_fn(move || {
        loop {
            let len = match *options {
                [] | [END, ..] => return None,
                [NO_OPERATION, ..] => 1,
                [_] => return None,
                [_, len, ..] => usize::from(len).max(2),
            };
            let (option, rest) = options.split_at_checked(len)?;
            options = rest;
            if option[0] & COPIED != 0 {
                return Some(option);
            }
        }
    })
}

#[cfg(test)]
mod tests;
