//! ICMP header (RFC 792), and the answer to an echo request.

use crate::protocol::ICMP;
use crate::{
    Buffer, Error, Fragment, Meta, Network, checksum, icmpv6, ipv4, ipv6, split, split_mut,
};
use core::ops::{Deref, DerefMut};

/// Length of the header in bytes: four that every message has, four whose meaning varies.
pub const LEN: usize = 8;

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an error: destination unreachable.
pub const UNREACHABLE: u8 = 3;
/// Code of [`UNREACHABLE`]: larger than the next hop takes, and not to be fragmented (RFC 1191 §4).
pub const FRAGMENTATION_NEEDED: u8 = 4;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type of an error: TTL exceeded.
pub const TIME_EXCEEDED: u8 = 11;
/// Type of an error: parameter problem.
pub const PARAMETER_PROBLEM: u8 = 12;
/// Type of a timestamp request.
const TIMESTAMP: u8 = 13;
/// Type of a timestamp reply.
const TIMESTAMP_REPLY: u8 = 14;

/// TTL or hop limit of packets that start here (RFC 1700, IANA's recommendation).
const INITIAL_TTL: u8 = 64;

/// ICMP header. `B` is `&[u8; 8]` to read, `&mut [u8; 8]` to write.
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

    /// Type of the message.
    pub fn kind(&self) -> u8 {
        self.0[0]
    }

    /// Code, whose meaning depends on the type.
    pub fn code(&self) -> u8 {
        self.0[1]
    }

    /// Checksum as sent, over the whole message.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Identifier of a query.
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Sequence number of a query; next-hop MTU of a "fragmentation needed" (RFC 1191 §4).
    pub fn sequence(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    /// Whether this is a query or its reply, which have an identifier (RFC 5508).
    pub fn is_query(&self) -> bool {
        matches!(
            self.kind(),
            ECHO_REPLY | ECHO_REQUEST | TIMESTAMP | TIMESTAMP_REPLY
        )
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

    /// Sets the identifier of a query.
    pub fn set_id(&mut self, id: u16) {
        self.0[4..6].copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether the packet is an echo request, of either IP version.
#[must_use]
pub fn is_echo_request(meta: &Meta) -> bool {
    meta.fragment != Fragment::Later
        && match meta.network {
            Network::Ipv4 => meta.protocol == ICMP && meta.l4_flags == ECHO_REQUEST,
            _ => meta.is_icmpv6() && meta.l4_flags == icmpv6::ECHO_REQUEST,
        }
}

/// Turns an [echo request](is_echo_request) of either IP version into its reply (RFC 792, RFC 4443
/// §4.2): the addresses change places, and hops count anew. Ethernet addresses stay as they are. The
/// caller has checked that the destination is an address of its own, not a group.
///
/// # Errors
/// [`Error::FragmentedIcmp`] for a fragment, [`Error::IcmpChecksum`] if the request arrived damaged.
/// The packet is unchanged.
pub fn echo_reply<B: Buffer>(packet: &mut B, meta: &Meta) -> Result<(), Error> {
    if meta.fragment != Fragment::Whole {
        return Err(Error::FragmentedIcmp);
    }
    if !checksum::packet_is_right(packet, meta) {
        return Err(Error::IcmpChecksum);
    }
    let frame = packet.bytes_mut();
    let kind = match meta.network {
        Network::Ipv6 => icmpv6::ECHO_REPLY,
        _ => ECHO_REPLY,
    };
    let message = frame.get_mut(usize::from(meta.l4)..).unwrap_or_default();
    let (mut header, _) = Header::split_mut(message)?;
    let old = u16::from(header.kind()) << 8;
    header.set_kind(kind);
    // The swap of the addresses does not change the sum of the IPv6 pseudo-header.
    header.set_checksum(checksum::update_u16(
        header.checksum(),
        old,
        u16::from(kind) << 8,
    ));
    turn_around(
        frame.get_mut(usize::from(meta.l3)..).unwrap_or_default(),
        meta,
    )
}

/// Swaps the IP addresses and sets the hops to those of a new packet.
fn turn_around(packet: &mut [u8], meta: &Meta) -> Result<(), Error> {
    if meta.network == Network::Ipv6 {
        let (mut header, _) = ipv6::Header::split_mut(packet)?;
        let (src, dst) = (header.src_addr(), header.dst_addr());
        header.set_src_addr(dst);
        header.set_dst_addr(src);
        header.set_hop_limit(INITIAL_TTL);
        return Ok(());
    }
    let (mut header, _) = ipv4::Header::split_mut(packet)?;
    let (src, dst) = (header.src_addr(), header.dst_addr());
    header.set_src_addr(dst);
    header.set_dst_addr(src);
    let old = u16::from(header.ttl()) << 8;
    header.set_ttl(INITIAL_TTL);
    header.set_checksum(checksum::update_u16(
        header.checksum(),
        old,
        u16::from(INITIAL_TTL) << 8,
    ));
    Ok(())
}

#[cfg(test)]
mod tests;
