//! One pass over the headers of a frame, from Ethernet to transport.
//!
//! Everything a later stage would have to distrust is refused here, once: the checks a router makes
//! of IPv4 (RFC 1812 §5.2.2) and IPv6 (RFC 8200), the fragment tricks of RFC 1858, RFC 3128 and
//! RFC 7112, and transport headers cut short. What is legal but unwelcome (source routes, TTL 1,
//! martians) is recorded or left for the stages that have a policy about it. Payloads stay unread,
//! and so does the transport checksum, which a device may have yet to fill.
//!
//! So the parser sees a packet's first bytes, and its length: of a packet in several pieces the
//! headers must be in the first [`HEADERS`] bytes, which are brought together when they are not. A
//! header beyond them is [`Error::Truncated`]; a packet in one piece has no such limit.

mod extension;

use crate::buffer::HEADERS;
use crate::ethernet::{ARP, IPV4, IPV6, SERVICE_TAG, VLAN};
use crate::protocol::{ICMP, ICMPV6, NO_NEXT_HEADER, SCTP, TCP, UDP};
use crate::{
    Buffer, Error, Fragment, Meta, Network, ethernet, icmp, icmpv6, ipv4, ipv6, tcp, udp, vlan,
};

pub(crate) use extension::fragment_header;
pub use extension::{MAX_EXTENSION_HEADERS, MAX_OPTIONS, fragment_payload};

/// Parses the Ethernet frame in a buffer, in however many pieces it lies.
///
/// # Errors
/// As [`parse`]; and [`Error::NoRoom`] if the first piece is too short for the headers, and has no
/// room for them.
pub fn parse_packet<B: Buffer>(packet: &mut B) -> Result<Meta, Error> {
    if !packet.is_chained() {
        return parse(packet.bytes());
    }
    packet.pull_up(HEADERS)?;
    let meta = parse_head(packet.bytes(), 0, packet.len())?;
    read_whole(packet, meta)
}

/// Parses the IP packet at `l3` of a buffer, in however many pieces it lies; see [`parse_ip`].
///
/// # Errors
/// As [`parse_packet`] and [`parse_ip`].
pub fn parse_ip_packet<B: Buffer>(packet: &mut B, l3: usize) -> Result<Meta, Error> {
    if !packet.is_chained() {
        return parse_ip(packet.bytes(), l3);
    }
    packet.pull_up(l3.saturating_add(HEADERS))?;
    let meta = parse_ip_head(packet.bytes(), l3, packet.len())?;
    read_whole(packet, meta)
}

/// Messages that are read with their options (neighbour discovery) come together, if they fit; of
/// what does not fit, nobody makes sense.
fn read_whole<B: Buffer>(packet: &mut B, meta: Meta) -> Result<Meta, Error> {
    if meta.is_icmpv6() && meta.l4_flags != icmpv6::ECHO_REQUEST {
        let _ = packet.pull_up(usize::from(meta.end));
    }
    Ok(meta)
}

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
    parse_head(frame, l2, frame.len())
}

/// [`parse_at`] of a frame of `len` bytes that begins with `frame`.
fn parse_head(frame: &[u8], l2: usize, len: usize) -> Result<Meta, Error> {
    let end = end_of(len)?;
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
    // What remains ends where the frame's first piece does.
    meta.l3 = (frame.len() - packet.len()) as u16;
    let have = end - meta.l3;
    match meta.ether_type {
        IPV4 => parse_ipv4(packet, have, &mut meta)?,
        IPV6 => parse_ipv6(packet, have, &mut meta)?,
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
    parse_ip_head(frame, l3, frame.len())
}

/// [`parse_ip`] of a frame of `len` bytes that begins with `frame`.
fn parse_ip_head(frame: &[u8], l3: usize, len: usize) -> Result<Meta, Error> {
    let end = end_of(len)?;
    let packet = frame.get(l3..).unwrap_or_default();
    let mut meta = Meta::new((frame.len() - packet.len()) as u16, end);
    let have = end - meta.l3;
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => {
            meta.ether_type = IPV4;
            parse_ipv4(packet, have, &mut meta)?;
        }
        Some(6) => {
            meta.ether_type = IPV6;
            parse_ipv6(packet, have, &mut meta)?;
        }
        Some(version) => return Err(Error::IpVersion(version)),
        None => return Err(Error::truncated(1, 0)),
    }
    Ok(meta)
}

/// Offset of the frame's end, in the type [`Meta`] keeps offsets in.
fn end_of(len: usize) -> Result<u16, Error> {
    u16::try_from(len).map_err(|_| Error::too_long(len))
}

/// Parses the IPv4 packet of which `packet` is the start and, with what may be padding behind it,
/// `have` the length.
fn parse_ipv4(packet: &[u8], have: u16, meta: &mut Meta) -> Result<(), Error> {
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
    if total_len > usize::from(have) {
        return Err(Error::IpTruncated {
            total_len: total_len as u32,
            have,
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
    let payload = &packet[header_len..total_len.min(packet.len())];
    parse_fragment(
        header.fragment_offset(),
        header.more_fragments(),
        header_len,
        total_len - header_len,
        meta,
    )?;
    parse_transport(payload, meta)
}

/// Parses the IPv6 packet of which `packet` is the start and, with what may be padding behind it,
/// `have` the length.
fn parse_ipv6(packet: &[u8], have: u16, meta: &mut Meta) -> Result<(), Error> {
    let (header, rest) = ipv6::Header::split(packet)?;
    if header.version() != 6 {
        return Err(Error::IpVersion(header.version()));
    }
    let payload_len = usize::from(header.payload_len());
    if payload_len == 0 {
        return Err(Error::Ipv6PayloadLen);
    }
    if ipv6::LEN + payload_len > usize::from(have) {
        return Err(Error::IpTruncated {
            total_len: (ipv6::LEN + payload_len) as u32,
            have,
        });
    }
    let payload = &rest[..payload_len.min(rest.len())];

    meta.network = Network::Ipv6;
    meta.protocol = header.next_header();
    meta.ttl = header.hop_limit();
    meta.traffic_class = header.traffic_class();
    meta.l4 = meta.l3 + ipv6::LEN as u16;
    meta.end = meta.l4 + payload_len as u16;
    if !extension::is_one(meta.protocol) {
        return parse_transport(payload, meta);
    }
    let after = extension::walk(payload, payload_len, meta)?;
    meta.l4 += (payload.len() - after.len()) as u16;
    parse_transport(after, meta)
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

/// Reads the transport header at the start of `payload`, which ends with the datagram or before.
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
    let have = meta.end - meta.l4;
    let beyond = meta.fragment == Fragment::Whole && len_field > have;
    if usize::from(len_field) < udp::LEN || beyond {
        return Err(Error::UdpLen { len_field, have });
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
