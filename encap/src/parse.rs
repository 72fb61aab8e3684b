//! One pass over the headers of a frame, from Ethernet to transport.
//!
//! Everything a later stage would have to distrust is refused here, once: the checks a router makes
//! of IPv4 (RFC 1812 §5.2.2) and IPv6 (RFC 8200), the fragment tricks of RFC 1858, RFC 3128 and
//! RFC 7112, and transport headers cut short. What is legal but unwelcome (source routes, TTL 1,
//! martians) is recorded or left for the stages that have a policy about it. Payloads stay unread,
//! and so does the transport checksum, which a device may have yet to fill.

mod extension;

use crate::ethernet::{ARP, IPV4, IPV6, SERVICE_TAG, VLAN};
use crate::protocol::{ICMP, ICMPV6, NO_NEXT_HEADER, SCTP, TCP, UDP};
use crate::{Error, Fragment, Meta, Network, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp, vlan};

pub use extension::{MAX_EXTENSION_HEADERS, MAX_OPTIONS, fragment_payload};

/// Parses an Ethernet frame.
///
/// A frame that is neither IP nor ARP is no error: it is [`Network::Other`].
///
/// # Errors
/// Any [`Error`] that names what is wrong with a header; see there.
pub fn parse(frame: &[u8]) -> Result<Meta, Error> {
    parse_at(frame, 0)
}

/// Parses the Ethernet frame that starts at `l2` and ends with the buffer, as the inner one of a
/// tunnel packet. Offsets count from the buffer's start.
///
/// # Errors
/// As [`parse`].
pub fn parse_at(frame: &[u8], l2: usize) -> Result<Meta, Error> {
    let end = end_of(frame)?;
    let (header, mut packet) = ethernet::Header::split(frame.get(l2..).unwrap_or_default())?;
    let mut meta = Meta::new(0, end);
    meta.ether_type = header.ether_type();
    if meta.ether_type == VLAN {
        let (tag, after) = vlan::Tag::split(packet)?;
        meta.vlan = tag.id();
        if meta.vlan.is_none() && tag.id_field() != 0 {
            return Err(Error::VlanReserved);
        }
        meta.tagged = true;
        meta.ether_type = tag.ether_type();
        packet = after;
    }
    // What remains ends where the frame does.
    meta.l3 = end - packet.len() as u16;
    match meta.ether_type {
        IPV4 => parse_ipv4(packet, &mut meta)?,
        IPV6 => parse_ipv6(packet, &mut meta)?,
        ARP => meta.network = Network::Arp,
        VLAN | SERVICE_TAG => return Err(Error::VlanStacked),
        _ => {}
    }
    Ok(meta)
}

/// Parses the IP packet that starts at `l3` and ends with the buffer, as the payload of a label.
/// Offsets count from the buffer's start; the EtherType is that of the IP version found.
///
/// # Errors
/// [`Error::IpVersion`] if the first nibble is neither 4 nor 6; otherwise as [`parse`].
pub fn parse_ip(frame: &[u8], l3: usize) -> Result<Meta, Error> {
    let end = end_of(frame)?;
    let packet = frame.get(l3..).unwrap_or_default();
    let mut meta = Meta::new(end - packet.len() as u16, end);
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            meta.ether_type = IPV4;
            parse_ipv4(packet, &mut meta)?;
        }
        Some(6) => {
            meta.ether_type = IPV6;
            parse_ipv6(packet, &mut meta)?;
        }
        Some(version) => return Err(Error::IpVersion(version)),
        None => return Err(Error::truncated(1, 0)),
    }
    Ok(meta)
}

/// Offset of the frame's end, in the type [`Meta`] keeps offsets in.
fn end_of(frame: &[u8]) -> Result<u16, Error> {
    u16::try_from(frame.len()).map_err(|_| Error::too_long(frame.len()))
}

/// Parses the IPv4 packet at the start of `packet`, which may have padding behind it.
fn parse_ipv4(packet: &[u8], meta: &mut Meta) -> Result<(), Error> {
    let (header, _) = ipv4::Header::split(packet)?;
    if header.version() != 4 {
        return Err(Error::IpVersion(header.version()));
    }
    let header_len = header.header_len();
    let total_len = usize::from(header.total_len());
    if header_len < ipv4::LEN || header_len > packet.len() {
        return Err(Error::IpHeaderLen(header_len as u8 / 4));
    }
    if total_len < header_len {
        return Err(Error::IpTotalLen {
            total_len: total_len as u16,
            header_len: header_len as u16,
        });
    }
    if total_len > packet.len() {
        return Err(Error::IpTruncated {
            total_len: total_len as u32,
            have: packet.len() as u16,
        });
    }
    let options = &packet[ipv4::LEN..header_len];
    if header.sum().bytes(options).finish() != 0 {
        return Err(Error::IpChecksum);
    }

    meta.network = Network::Ipv4;
    meta.protocol = header.protocol();
    meta.ttl = header.ttl();
    meta.traffic_class = header.traffic_class();
    meta.fragment_id = u32::from(header.id());
    meta.l4 = meta.l3 + header_len as u16;
    meta.end = meta.l3 + total_len as u16;
    if !options.is_empty() {
        meta.ip_options = true;
        meta.source_route = has_source_route(options)?;
    }
    let payload = &packet[header_len..total_len];
    parse_fragment(
        header.fragment_offset(),
        header.more_fragments(),
        header_len,
        payload.len(),
        meta,
    )?;
    parse_transport(payload, meta)
}

/// Parses the IPv6 packet at the start of `packet`, which may have padding behind it.
fn parse_ipv6(packet: &[u8], meta: &mut Meta) -> Result<(), Error> {
    let (header, rest) = ipv6::Header::split(packet)?;
    if header.version() != 6 {
        return Err(Error::IpVersion(header.version()));
    }
    let payload_len = usize::from(header.payload_len());
    if payload_len == 0 {
        return Err(Error::Ipv6PayloadLen);
    }
    let Some(payload) = rest.get(..payload_len) else {
        return Err(Error::IpTruncated {
            total_len: (ipv6::LEN + payload_len) as u32,
            have: packet.len() as u16,
        });
    };

    meta.network = Network::Ipv6;
    meta.protocol = header.next_header();
    meta.ttl = header.hop_limit();
    meta.traffic_class = header.traffic_class();
    meta.l4 = meta.l3 + ipv6::LEN as u16;
    meta.end = meta.l4 + payload_len as u16;
    if !extension::is_one(meta.protocol) {
        return parse_transport(payload, meta);
    }
    let payload = extension::walk(payload, meta)?;
    meta.l4 = meta.end - payload.len() as u16;
    parse_transport(payload, meta)
}

/// Records which part of a datagram this is. `unfragmented` bytes of it precede the payload in every
/// fragment.
///
/// # Errors
/// [`Error::FragmentLen`]: an empty one never completes anything, one past 65,535 overflows whoever
/// reassembles it, and an odd length leaves a hole no fragment can fill.
fn parse_fragment(
    offset: u16,
    more: bool,
    unfragmented: usize,
    payload_len: usize,
    meta: &mut Meta,
) -> Result<(), Error> {
    if offset == 0 && !more {
        return Ok(());
    }
    let end = unfragmented + usize::from(offset) + payload_len;
    if payload_len == 0 || end > usize::from(u16::MAX) || (more && !payload_len.is_multiple_of(8)) {
        return Err(Error::FragmentLen);
    }
    meta.fragment_offset = offset;
    meta.more_fragments = more;
    meta.fragment = match offset {
        0 => Fragment::First,
        _ => Fragment::Later,
    };
    Ok(())
}

/// Reads the transport header at the start of `payload`.
fn parse_transport(payload: &[u8], meta: &mut Meta) -> Result<(), Error> {
    if meta.fragment == Fragment::Later {
        // Eight bytes into a TCP header lie its flags: such a fragment could overwrite those that
        // were checked in the first one (RFC 1858 §3.2, RFC 3128).
        return match (meta.protocol, meta.fragment_offset) {
            (TCP, 8) => Err(Error::TinyFragment),
            _ => Ok(()),
        };
    }
    match (meta.protocol, meta.network) {
        (TCP, _) => parse_tcp(payload, meta),
        (UDP, _) => parse_udp(payload, meta),
        (SCTP, _) => {
            let [a, b, c, d, ..] = *header::<12>(payload, meta)?;
            meta.src_port = u16::from_be_bytes([a, b]);
            meta.dst_port = u16::from_be_bytes([c, d]);
            Ok(())
        }
        (ICMP, Network::Ipv4) => {
            let header = icmp::Header::new(header(payload, meta)?);
            meta.l4_flags = header.kind();
            meta.icmp_code = header.code();
            if header.is_query() {
                (meta.src_port, meta.dst_port) = (header.id(), header.id());
            }
            Ok(())
        }
        (ICMPV6, Network::Ipv6) => {
            let header = icmpv6::Header::new(header(payload, meta)?);
            meta.l4_flags = header.kind();
            meta.icmp_code = header.code();
            if header.is_query() {
                (meta.src_port, meta.dst_port) = (header.id(), header.id());
            }
            Ok(())
        }
        (NO_NEXT_HEADER, Network::Ipv6) => {
            // Bytes behind it have no meaning (RFC 8200 §4.7).
            meta.l4 = meta.end;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn parse_tcp(payload: &[u8], meta: &mut Meta) -> Result<(), Error> {
    let header = tcp::Header::new(header(payload, meta)?);
    let header_len = header.header_len();
    if header_len < tcp::LEN {
        return Err(Error::TcpHeaderLen(header_len as u8 / 4));
    }
    if header_len > payload.len() {
        return Err(short(header_len, payload, meta));
    }
    meta.src_port = header.src_port();
    meta.dst_port = header.dst_port();
    meta.l4_flags = header.flags();
    Ok(())
}

fn parse_udp(payload: &[u8], meta: &mut Meta) -> Result<(), Error> {
    let header = udp::Header::new(header(payload, meta)?);
    let len_field = header.len_field();
    // A first fragment's length counts bytes that are in the others. In a whole packet the datagram
    // may end before the IP payload does (RFC 9868 puts options there).
    let beyond = meta.fragment == Fragment::Whole && usize::from(len_field) > payload.len();
    if usize::from(len_field) < udp::LEN || beyond {
        return Err(Error::UdpLen {
            len_field,
            have: payload.len() as u16,
        });
    }
    meta.src_port = header.src_port();
    meta.dst_port = header.dst_port();
    Ok(())
}

/// The first `N` bytes of a transport header.
fn header<'a, const N: usize>(payload: &'a [u8], meta: &Meta) -> Result<&'a [u8; N], Error> {
    payload.first_chunk().ok_or_else(|| short(N, payload, meta))
}

/// The error for a transport header that is not all there.
#[cold]
fn short(need: usize, payload: &[u8], meta: &Meta) -> Error {
    match meta.fragment {
        Fragment::First => Error::TinyFragment,
        _ => Error::truncated(need, payload.len()),
    }
}

/// Whether IPv4 options name a route (RFC 791 §3.1: types 131, loose, and 137, strict).
///
/// # Errors
/// [`Error::IpOptions`] if their lengths do not add up.
fn has_source_route(mut options: &[u8]) -> Result<bool, Error> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;

    let mut found = false;
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            END => break,
            NO_OPERATION => {
                options = rest;
                continue;
            }
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => found = true,
            _ => {}
        }
        let len = rest.first().map_or(0, |len| usize::from(*len));
        if len < 2 {
            return Err(Error::IpOptions);
        }
        options = options.get(len..).ok_or(Error::IpOptions)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
