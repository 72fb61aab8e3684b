//! What the headers of both IP versions say, read off one and written as the other (RFC 7915 §4.1
//! and §5.1).

use super::Ends;
use crate::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HIP, HOP_BY_HOP, ICMP, ICMPV6, MOBILITY,
    ROUTING, SHIM6,
};
use crate::{Error, Network, ipv4, ipv6};
use core::net::IpAddr;

/// Longest IPv4 packet made of an IPv6 one that may be cut on its way: what came over IPv6 with the
/// least MTU there is, in bytes. Whoever sends more knows the path's MTU (RFC 7915 §5.1).
pub const MAY_BE_CUT: usize = 1260;
/// Extension headers walked; no more than [`crate::parse`] lets through.
const MAX_EXTENSION_HEADERS: usize = 8;
/// Length of an IPv6 fragment header in bytes.
const FRAGMENT_LEN: usize = 8;

/// The fields that have a counterpart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) traffic_class: u8,
    pub(super) hops: u8,
    /// The transport protocol, by its number in the version it was read from.
    pub(super) protocol: u8,
    /// Bytes up to the transport header.
    pub(super) len: usize,
    /// Bytes of transport header and payload, by the header's own account.
    pub(super) payload_len: usize,
    /// Of which datagram it is which part, if the header says so.
    pub(super) piece: Option<Piece>,
    /// In which version it was read.
    from: Network,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// In bytes.
    offset: u16,
    more: bool,
    id: u32,
}

/// A header written out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    bytes: [u8; ipv6::LEN + FRAGMENT_LEN],
    len: usize,
}

impl Header {
    /// Reads the header at the start of `packet`; its transport header may be missing.
    ///
    /// # Errors
    /// [`Error::NoCounterpart`] for what the other version cannot say; [`Error::Truncated`] if it is
    /// not all there.
    pub(super) fn read(network: Network, packet: &[u8]) -> Result<Self, Error> {
        match network {
            Network::Ipv4 => Self::read_ipv4(packet),
            Network::Ipv6 => Self::read_ipv6(packet),
            Network::Arp | Network::Other => Err(Error::NoCounterpart),
        }
    }

    /// Options are left behind (RFC 7915 §4.1), and the authentication header, which covers the
    /// addresses, is refused.
    fn read_ipv4(packet: &[u8]) -> Result<Self, Error> {
        let (header, _) = ipv4::Header::split(packet)?;
        if is_extension(header.protocol()) || header.protocol() == ICMPV6 {
            return Err(Error::NoCounterpart); // it would mean something else
        }
        let is_part = header.more_fragments() || header.fragment_offset() > 0;
        Ok(Self {
            traffic_class: header.traffic_class(),
            hops: header.ttl(),
            protocol: header.protocol(),
            len: header.header_len(),
            payload_len: usize::from(header.total_len()).saturating_sub(header.header_len()),
            piece: is_part.then(|| Piece {
                offset: header.fragment_offset(),
                more: header.more_fragments(),
                id: header.id().into(),
            }),
            from: Network::Ipv4,
        })
    }

    /// Options for hops and for the destination are left behind, and so is a routing header that has
    /// been followed to its end; what else extends the header has no counterpart (RFC 7915 §5.1).
    fn read_ipv6(packet: &[u8]) -> Result<Self, Error> {
        let (header, mut rest) = ipv6::Header::split(packet)?;
        let end = ipv6::LEN + usize::from(header.payload_len());
        let mut read = Self {
            traffic_class: header.traffic_class(),
            hops: header.hop_limit(),
            protocol: header.next_header(),
            len: ipv6::LEN,
            payload_len: 0,
            piece: None,
            from: Network::Ipv6,
        };
        for _ in 0..=MAX_EXTENSION_HEADERS {
            let Some(len) = read.extension(rest)? else {
                break;
            };
            let (fixed, _) = crate::split::<8>(rest)?;
            if read.protocol == FRAGMENT {
                let field = u16::from_be_bytes([fixed[2], fixed[3]]);
                read.piece = Some(Piece {
                    offset: field & 0xfff8,
                    more: field & 1 != 0,
                    id: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                });
            }
            read.protocol = fixed[0];
            read.len += len;
            rest = rest
                .get(len..)
                .ok_or_else(|| Error::truncated(len, rest.len()))?;
            if read.piece.is_some_and(|piece| piece.offset > 0) {
                break;
            }
        }
        if is_extension(read.protocol) || read.protocol == ICMP {
            return Err(Error::NoCounterpart);
        }
        read.payload_len = end.saturating_sub(read.len);
        Ok(read)
    }

    /// Length of the extension header that comes next; `None` if none does.
    fn extension(&self, rest: &[u8]) -> Result<Option<usize>, Error> {
        if !is_extension(self.protocol) {
            return Ok(None);
        }
        let (fixed, _) = crate::split::<8>(rest)?;
        match self.protocol {
            FRAGMENT => Ok(Some(FRAGMENT_LEN)),
            ROUTING if fixed[3] > 0 => Err(Error::NoCounterpart),
            // What stands behind a fragment header was cut with the payload.
            _ if self.is_part() => Err(Error::NoCounterpart),
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => Ok(Some((usize::from(fixed[1]) + 1) * 8)),
            _ => Err(Error::NoCounterpart),
        }
    }

    /// Whether there are other fragments.
    pub(super) fn is_part(&self) -> bool {
        self.piece
            .is_some_and(|piece| piece.more || piece.offset > 0)
    }

    /// The transport protocol's number in the other version.
    pub(super) const fn other_protocol(&self) -> u8 {
        match (self.from, self.protocol) {
            (Network::Ipv4, ICMP) => ICMPV6,
            (Network::Ipv6, ICMPV6) => ICMP,
            (_, other) => other,
        }
    }

    /// The header of the other version. `id` is the identification of IPv4 packets.
    ///
    /// # Errors
    /// [`Error::Untranslatable`] if the ends are not of that version; [`Error::TooLong`].
    pub(super) fn as_other(&self, ends: &Ends, id: u16) -> Result<Head, Error> {
        match self.from {
            Network::Ipv4 => self.as_ipv6(ends),
            _ => self.as_ipv4(ends, id),
        }
    }

    fn as_ipv6(&self, ends: &Ends) -> Result<Head, Error> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ends.src.addr, ends.dst.addr) else {
            return Err(Error::Untranslatable);
        };
        let mut head = Head::new(ipv6::LEN);
        let mut next = self.other_protocol();
        if let Some(piece) = self.piece {
            let field = piece.offset | u16::from(piece.more);
            let [a, b] = field.to_be_bytes();
            let [c, d, e, f] = piece.id.to_be_bytes();
            head.bytes[ipv6::LEN..].copy_from_slice(&[next, 0, a, b, c, d, e, f]);
            head.len += FRAGMENT_LEN;
            next = FRAGMENT;
        }
        let payload_len = head.len - ipv6::LEN + self.payload_len;
        let payload_len = u16::try_from(payload_len).map_err(|_| Error::too_long(payload_len))?;
        let (bytes, _) = crate::split_mut::<{ ipv6::LEN }>(&mut head.bytes)?;
        let mut header = ipv6::Header::new(bytes);
        header.set(next, src, dst, self.hops, self.traffic_class, payload_len);
        Ok(head)
    }

    fn as_ipv4(&self, ends: &Ends, id: u16) -> Result<Head, Error> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (ends.src.addr, ends.dst.addr) else {
            return Err(Error::Untranslatable);
        };
        let total_len = ipv4::LEN + self.payload_len;
        let total = u16::try_from(total_len).map_err(|_| Error::too_long(total_len))?;
        let mut head = Head::new(ipv4::LEN);
        let (bytes, _) = crate::split_mut::<{ ipv4::LEN }>(&mut head.bytes)?;
        let mut header = ipv4::Header::new(&mut *bytes);
        let protocol = self.other_protocol();
        header.set(protocol, src, dst, self.hops, self.traffic_class, total);
        header.set_id(id);
        let flags: u16 = match self.piece {
            Some(piece) => (u16::from(piece.more) << 13) | (piece.offset / 8),
            None => u16::from(total_len > MAY_BE_CUT) << 14,
        };
        bytes[6..8].copy_from_slice(&flags.to_be_bytes());
        ipv4::Header::new(bytes).fill_checksum();
        Ok(head)
    }
}

impl Head {
    const fn new(len: usize) -> Self {
        Self {
            bytes: [0; ipv6::LEN + FRAGMENT_LEN],
            len,
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Whether this next header value belongs to the IPv6 header rather than to what it carries.
const fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HIP
            | SHIM6
    )
}
