//! ICMP and ICMPv6 errors: a packet becomes the report of what happened to it (RFC 792, RFC 1812
//! §4.3.2, RFC 4443 §2.4), and which packets no error may be about.
//!
//! Reading errors that others send is [`crate::quote`]; who may send how many is the caller's.

use crate::checksum::Sum;
use crate::protocol::{ICMP, ICMPV6};
use crate::{
    Buffer, Error, EthernetHeader, Fragment, MacAddr, Meta, Offload, ethernet, icmp, icmpv6, ipv4,
    ipv6,
};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest IPv4 packet an error becomes, in bytes: as much of the original as fits (RFC 1812
/// §4.3.2.3).
pub const MAX_IPV4: usize = 576;
/// Longest IPv6 packet an error becomes, in bytes: the minimum MTU (RFC 4443 §2.4 c).
pub const MAX_IPV6: usize = 1280;
/// TTL of IPv4 errors (IANA's recommendation).
pub const TTL: u8 = 64;
/// Hop limit of IPv6 errors.
pub const HOP_LIMIT: u8 = 255;
/// Smallest MTU an IPv4 error reports, in bytes: what every link takes (RFC 791 §3.2).
pub const MIN_MTU_IPV4: u16 = 68;
/// Smallest MTU an IPv6 error reports, in bytes; senders ignore less (RFC 8201 §4).
pub const MIN_MTU_IPV6: u16 = 1280;

/// Precedence of IPv4 errors: internetwork control (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// What an error reports. Types and codes stand beside it: ICMP, then ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The TTL or hop limit ran out: 11/0, 3/0.
    TimeExceeded,
    /// No route leads to the destination: 3/0, 1/0.
    NoRoute,
    /// A route does, and cannot be used: host or address unreachable, 3/1, 1/3.
    Unreachable,
    /// Administratively prohibited: 3/13, 1/1.
    Prohibited,
    /// Nobody listens on the port: 3/3, 1/4.
    PortUnreachable,
    /// The transport protocol is not spoken here: 3/2; for IPv6, [`Kind::Parameter`] says it, and
    /// this comes out as 1/4.
    ProtocolUnreachable,
    /// Larger than the next hop takes: 3/4 (RFC 1191 §4), 2/0 (RFC 4443 §3.2).
    TooBig {
        /// The largest IP packet that would have passed, in bytes.
        mtu: u16,
    },
    /// A header field or option is at fault: 12/code, 4/code.
    Parameter {
        /// What is wrong with it: RFC 792 for IPv4, RFC 4443 §3.4 for IPv6.
        code: u8,
        /// Where in the original packet it stands, in bytes from the IP header; of IPv4, 8 bits.
        pointer: u16,
    },
}

/// Code of an ICMPv6 parameter problem: unrecognised next header.
pub const UNKNOWN_NEXT_HEADER: u8 = 1;
/// Code of an ICMPv6 parameter problem: unrecognised option.
pub const UNKNOWN_OPTION: u8 = 2;

impl Kind {
    /// Type, code and the four bytes behind the checksum, over IPv4.
    fn icmp(self) -> (u8, u8, [u8; 4]) {
        let unreachable = |code| (icmp::UNREACHABLE, code, [0; 4]);
        match self {
            Kind::TimeExceeded => (icmp::TIME_EXCEEDED, 0, [0; 4]),
            Kind::NoRoute => unreachable(0),
            Kind::Unreachable => unreachable(1),
            Kind::ProtocolUnreachable => unreachable(2),
            Kind::PortUnreachable => unreachable(3),
            Kind::Prohibited => unreachable(13),
            Kind::TooBig { mtu } => {
                let [high, low] = mtu.max(MIN_MTU_IPV4).to_be_bytes();
                (
                    icmp::UNREACHABLE,
                    icmp::FRAGMENTATION_NEEDED,
                    [0, 0, high, low],
                )
            }
            Kind::Parameter { code, pointer } => {
                (icmp::PARAMETER_PROBLEM, code, [pointer as u8, 0, 0, 0])
            }
        }
    }

    /// Type, code and the four bytes behind the checksum, over IPv6.
    fn icmpv6(self) -> (u8, u8, [u8; 4]) {
        let unreachable = |code| (icmpv6::UNREACHABLE, code, [0; 4]);
        match self {
            Kind::TimeExceeded => (icmpv6::TIME_EXCEEDED, 0, [0; 4]),
            Kind::NoRoute => unreachable(0),
            Kind::Prohibited => unreachable(1),
            Kind::Unreachable => unreachable(3),
            Kind::PortUnreachable | Kind::ProtocolUnreachable => unreachable(4),
            Kind::TooBig { mtu } => {
                let mtu = u32::from(mtu.max(MIN_MTU_IPV6));
                (icmpv6::PACKET_TOO_BIG, 0, mtu.to_be_bytes())
            }
            Kind::Parameter { code, pointer } => {
                let pointer = u32::from(pointer);
                (icmpv6::PARAMETER_PROBLEM, code, pointer.to_be_bytes())
            }
        }
    }

    /// Whether a packet to a group may be answered with it (RFC 4443 §2.4 e.3).
    const fn may_concern_groups(self) -> bool {
        matches!(
            self,
            Kind::TooBig { .. }
                | Kind::Parameter {
                    code: UNKNOWN_OPTION,
                    ..
                }
        )
    }
}

/// Whether an error may be about this packet at all (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e): it is no
/// ICMP error or redirect itself, no fragment but the first, has one sender, and was meant for one
/// receiver.
///
/// The broadcast address of a subnet looks like any other here; who knows the subnets checks that.
#[must_use]
pub fn may_answer(frame: &[u8], meta: &Meta, kind: Kind) -> bool {
    if meta.fragment == Fragment::Later || is_error(meta) {
        return false;
    }
    let link = frame.get(meta.l2()..).unwrap_or_default();
    let Ok((link, _)) = EthernetHeader::split(link) else {
        return false;
    };
    let to_group = link.dst().is_multicast();
    match meta.addrs(frame) {
        Some((IpAddr::V4(src), IpAddr::V4(dst))) => {
            is_one_ipv4(src) && is_one_ipv4(dst) && !to_group
        }
        Some((IpAddr::V6(src), IpAddr::V6(dst))) => {
            let to_group = to_group || dst.is_multicast();
            is_one_ipv6(src) && (!to_group || kind.may_concern_groups())
        }
        _ => false,
    }
}

/// Whether the packet is an ICMP error or a redirect: what no error may be about. Known of whole
/// packets and first fragments.
#[must_use]
pub fn is_error(meta: &Meta) -> bool {
    const SOURCE_QUENCH: u8 = 4;
    const REDIRECT: u8 = 5;
    const REDIRECT_V6: u8 = 137;
    if meta.is_icmp() {
        return matches!(
            meta.l4_flags,
            icmp::UNREACHABLE
                | SOURCE_QUENCH
                | REDIRECT
                | icmp::TIME_EXCEEDED
                | icmp::PARAMETER_PROBLEM
        );
    }
    meta.is_icmpv6() && (meta.l4_flags < 128 || meta.l4_flags == REDIRECT_V6)
}

/// One host's address, as far as the address alone tells (RFC 1812 §4.3.2.7).
const fn is_one_ipv4(addr: Ipv4Addr) -> bool {
    !matches!(addr.octets()[0], 0 | 127 | 224..)
}

const fn is_one_ipv6(addr: Ipv6Addr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && !addr.is_loopback()
}

/// Turns a packet into the error about it, from `src` at `src_mac` back to its sender: an untagged
/// Ethernet frame that quotes the packet as it is now.
///
/// The caller has asked [`may_answer`]. Of a packet in several pieces, what its first piece has room
/// for is quoted.
///
/// # Errors
/// [`Error::AddressFamily`] if `src` is not of the packet's IP version; [`Error::NoRoom`] if the
/// buffer cannot grow by 48 bytes at its front; [`Error::Truncated`] with a `meta` of another packet.
/// The packet is unchanged.
pub fn write<B: Buffer>(
    packet: &mut B,
    meta: &Meta,
    src: IpAddr,
    src_mac: MacAddr,
    kind: Kind,
) -> Result<(), Error> {
    let frame = packet.bytes();
    let (link, _) = EthernetHeader::split(frame.get(meta.l2()..).unwrap_or_default())?;
    let dst_mac = link.src();
    let l3 = usize::from(meta.l3);
    let there = usize::from(meta.end).min(packet.len()).saturating_sub(l3);
    match (src, meta.src_addr(frame)) {
        (IpAddr::V4(src), Some(IpAddr::V4(dst))) => {
            let quoted = there.min(MAX_IPV4 - ipv4::LEN - icmp::LEN);
            let room = make_room(packet, l3, quoted, ipv4::LEN)?;
            write_link(room, dst_mac, src_mac, ethernet::IPV4)?;
            write_ipv4(&mut room[ethernet::LEN..], (src, dst), kind.icmp())
        }
        (IpAddr::V6(src), Some(IpAddr::V6(dst))) => {
            let quoted = there.min(MAX_IPV6 - ipv6::LEN - icmpv6::LEN);
            let room = make_room(packet, l3, quoted, ipv6::LEN)?;
            write_link(room, dst_mac, src_mac, ethernet::IPV6)?;
            write_ipv6(&mut room[ethernet::LEN..], (src, dst), kind.icmpv6())
        }
        _ => Err(Error::AddressFamily),
    }
}

/// Leaves `quoted` bytes from `l3` on, behind room for Ethernet, IP and ICMP headers.
fn make_room<B: Buffer>(
    packet: &mut B,
    l3: usize,
    quoted: usize,
    ip_len: usize,
) -> Result<&mut [u8], Error> {
    let headers = ethernet::LEN + ip_len + icmp::LEN;
    if packet.headroom() + l3 < headers {
        return Err(Error::no_room(headers, packet.headroom() + l3));
    }
    // Without room for all of it there is a shorter quote.
    let whole = packet.pull_up(l3 + quoted);
    let quoted = whole.map_or(packet.bytes().len() - l3, |()| quoted);
    packet.truncate(l3 + quoted);
    packet.trim_front(l3)?;
    packet.prepend(headers)?;
    packet.set_offload(Offload::NONE);
    Ok(packet.bytes_mut())
}

fn write_link(frame: &mut [u8], dst: MacAddr, src: MacAddr, ether_type: u16) -> Result<(), Error> {
    let (mut link, _) = ethernet::Header::split_mut(frame)?;
    link.set_dst(dst);
    link.set_src(src);
    link.set_ether_type(ether_type);
    Ok(())
}

type Message = (u8, u8, [u8; 4]);

fn write_ipv4(
    packet: &mut [u8],
    (src, dst): (Ipv4Addr, Ipv4Addr),
    message: Message,
) -> Result<(), Error> {
    let len = packet.len() as u16;
    let (mut header, rest) = ipv4::Header::split_mut(packet)?;
    header.set(ICMP, src, dst, TTL, INTERNETWORK_CONTROL, len);
    header.fill_checksum();
    write_message(rest, message, Sum::new())
}

fn write_ipv6(
    packet: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    message: Message,
) -> Result<(), Error> {
    let len = packet.len().saturating_sub(ipv6::LEN);
    let (mut header, rest) = ipv6::Header::split_mut(packet)?;
    header.set(ICMPV6, src, dst, HOP_LIMIT, 0, len as u16);
    let pseudo = Sum::new().ipv6_pseudo(src, dst, ICMPV6, len as u32);
    write_message(rest, message, pseudo)
}

/// Writes the eight bytes before the quote, and the checksum over all of it.
fn write_message(
    message: &mut [u8],
    (kind, code, fields): Message,
    pseudo: Sum,
) -> Result<(), Error> {
    let (header, _) = crate::split_mut::<{ icmp::LEN }>(message)?;
    let [a, b, c, d] = fields;
    *header = [kind, code, 0, 0, a, b, c, d];
    let checksum = pseudo.bytes(message).finish();
    icmp::Header::split_mut(message)?.0.set_checksum(checksum);
    Ok(())
}

#[cfg(test)]
mod tests;
