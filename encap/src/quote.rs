//! The packet that an ICMP or ICMPv6 error is about, as far as the error quotes it (RFC 792,
//! RFC 4443 §2.4). Writing errors is [`crate::icmp_error`].
//!
//! A quote may end anywhere behind the IP header and eight bytes, so what is missing is told apart
//! from what is wrong. Nothing in it is to be trusted: anybody can send an error.

use crate::checksum::{Sum, transport_is_right};
use crate::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, ROUTING, SCTP, TCP,
    UDP,
};
use crate::{Error, Fragment, Meta, icmp, icmp_error, icmpv6, ipv4, ipv6};
use core::net::IpAddr;

/// What an error says, and about what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Type of the error.
    pub kind: u8,
    /// Code of the error.
    pub code: u8,
    /// Largest packet that would have passed, in bytes, if the error is about that; 0 from routers
    /// that do not say.
    pub mtu: Option<u32>,
    /// Offset of the quoted network header.
    pub l3: u16,
    /// Offset of the quoted transport header, after options and extension headers; equal to `end`
    /// when the quote does not reach it.
    pub l4: u16,
    /// Offset one past the quote.
    pub end: u16,
    /// Source of the quoted packet.
    pub src: IpAddr,
    /// Destination of the quoted packet.
    pub dst: IpAddr,
    /// Length of the quoted packet by its own account, in bytes.
    pub total_len: u32,
    /// Its protocol, or the last next header value.
    pub protocol: u8,
    /// Source port, or the identifier of an ICMP query; 0 where there is none.
    pub src_port: u16,
    /// Destination port, or the identifier of an ICMP query; 0 where there is none.
    pub dst_port: u16,
    /// Whether it was a fragment that has no transport header.
    pub is_later_fragment: bool,
}

/// Extension headers walked in a quote; those the limit hides count as not quoted.
const MAX_EXTENSION_HEADERS: usize = 8;

impl Quote {
    /// Reads the quote of an ICMP or ICMPv6 error; `None` if the packet is none, or quotes nothing
    /// that could be used. The transport checksum of the quoted packet is not looked at, as most of
    /// what it covers may be missing (RFC 5508 §4.2).
    ///
    /// # Errors
    /// [`Error::FragmentedIcmp`] for fragments, [`Error::IcmpChecksum`] if the error arrived damaged,
    /// [`Error::IpChecksum`] if the quoted IPv4 header did (RFC 5508 REQ-3).
    pub fn read(frame: &[u8], meta: &Meta) -> Result<Option<Self>, Error> {
        if !has_quote(meta) {
            return Ok(None);
        }
        if meta.fragment != Fragment::Whole {
            return Err(Error::FragmentedIcmp);
        }
        if !transport_is_right(frame, meta) {
            return Err(Error::IcmpChecksum);
        }
        let l4 = usize::from(meta.l4);
        let message = frame.get(l4..usize::from(meta.end)).unwrap_or_default();
        let (header, packet) = icmpv6::Header::split(message)?;
        let mut quote = Self {
            kind: header.kind(),
            code: header.code(),
            mtu: None,
            l3: meta.l4 + icmp::LEN as u16,
            l4: meta.end,
            end: meta.end,
            src: IpAddr::V4([0; 4].into()),
            dst: IpAddr::V4([0; 4].into()),
            total_len: 0,
            protocol: 0,
            src_port: 0,
            dst_port: 0,
            is_later_fragment: false,
        };
        let transport = if meta.is_icmp() {
            if (quote.kind, quote.code) == (icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED) {
                quote.mtu = Some(header.mtu() & 0xffff);
            }
            quote.read_ipv4(packet)?
        } else {
            if quote.kind == icmpv6::PACKET_TOO_BIG {
                quote.mtu = Some(header.mtu());
            }
            quote.read_ipv6(packet)
        };
        let Some(transport) = transport else {
            return Ok(None);
        };
        quote.l4 = quote.end - transport.len() as u16;
        quote.read_ports(transport);
        Ok(Some(quote))
    }

    /// Bytes of the quote from the transport header on.
    #[must_use]
    pub fn transport<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let range = usize::from(self.l4)..usize::from(self.end);
        frame.get(range).unwrap_or_default()
    }

    /// Returns what is quoted from the transport header on; `None` if this is no IPv4 header.
    fn read_ipv4<'a>(&mut self, packet: &'a [u8]) -> Result<Option<&'a [u8]>, Error> {
        let Ok((header, _)) = ipv4::Header::split(packet) else {
            return Ok(None);
        };
        let header_len = header.header_len();
        if header.version() != 4 || header_len < ipv4::LEN {
            return Ok(None);
        }
        let Some((whole, transport)) = packet.split_at_checked(header_len) else {
            return Ok(None);
        };
        if Sum::new().bytes(whole).finish() != 0 {
            return Err(Error::IpChecksum);
        }
        self.src = header.src_addr().into();
        self.dst = header.dst_addr().into();
        self.total_len = header.total_len().into();
        self.protocol = header.protocol();
        self.is_later_fragment = header.fragment_offset() > 0;
        Ok(Some(transport))
    }

    fn read_ipv6<'a>(&mut self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let (header, mut rest) = ipv6::Header::split(packet).ok()?;
        if header.version() != 6 {
            return None;
        }
        self.src = header.src_addr().into();
        self.dst = header.dst_addr().into();
        self.total_len = ipv6::LEN as u32 + u32::from(header.payload_len());
        self.protocol = header.next_header();
        for _ in 0..MAX_EXTENSION_HEADERS {
            let Some(len) = extension_len(self.protocol, rest) else {
                break;
            };
            if self.protocol == FRAGMENT {
                self.is_later_fragment = u16::from_be_bytes([rest[2], rest[3]]) >= 8;
            }
            self.protocol = rest[0];
            rest = rest.get(len..).unwrap_or_default();
            if self.is_later_fragment {
                break;
            }
        }
        Some(rest)
    }

    fn read_ports(&mut self, transport: &[u8]) {
        let [a, b, c, d, e, f, ..] = *transport else {
            return;
        };
        if self.is_later_fragment {
            return;
        }
        match self.protocol {
            TCP | UDP | SCTP => {
                self.src_port = u16::from_be_bytes([a, b]);
                self.dst_port = u16::from_be_bytes([c, d]);
            }
            ICMP | ICMPV6 if is_query(self.protocol, a) => {
                self.src_port = u16::from_be_bytes([e, f]);
                self.dst_port = self.src_port;
            }
            _ => {}
        }
    }
}

/// Whether a packet is an error that quotes another; redirects do, and are not for a router.
fn has_quote(meta: &Meta) -> bool {
    icmp_error::is_error(meta) && meta.l4_flags < 128
}

/// Length of an extension header of which the first eight bytes are quoted; `None` if this is none.
fn extension_len(protocol: u8, rest: &[u8]) -> Option<usize> {
    let fixed: &[u8; 8] = rest.first_chunk()?;
    match protocol {
        HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => Some((usize::from(fixed[1]) + 1) * 8),
        FRAGMENT => Some(8),
        AUTHENTICATION => Some((usize::from(fixed[1]) + 2) * 4),
        _ => None,
    }
}

fn is_query(protocol: u8, kind: u8) -> bool {
    let bytes = [kind, 0, 0, 0, 0, 0, 0, 0];
    match protocol {
        ICMP => icmp::Header::new(&bytes).is_query(),
        _ => icmpv6::Header::new(&bytes).is_query(),
    }
}

#[cfg(test)]
mod tests;
