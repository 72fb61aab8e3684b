//! What nearly every packet of a tenant is: IP without options or extension headers, whole, TCP or
//! UDP. [`Plain`] knows nothing else, and takes a quarter of what [`parse`](crate::parse) does; what it does not know goes the long way, which says what is wrong with what is wrong.

use crate::checksum::Sum;
use crate::ethernet::{IPV4, IPV6};
use crate::protocol::{TCP, UDP};
use crate::{Meta, Network, ipv4, ipv6, tcp, udp};
use core::net::{Ipv4Addr, Ipv6Addr};

/// What is found in the headers of a plain packet. Offsets count as in [`Meta`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Offset of the IP header.
    pub l3: u16,
    /// Offset one past the IP datagram.
    pub end: u16,
    /// Source port in the upper half, destination port in the lower.
    pub ports: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TCP or UDP.
    pub protocol: u8,
    /// Flags of TCP, otherwise 0.
    pub tcp_flags: u8,
    /// IPv4, or else IPv6.
    pub is_ipv4: bool,
    /// It is IPv4, and does not ask not to be fragmented.
    pub may_be_cut: bool,
}

impl Plain {
    /// Reads the IPv4 packet at `l3`, of which there are bytes up to the frame's end, with its source
    /// and destination; `None` if it is not plain, or not right.
    #[inline(always)]
    #[must_use]
    pub fn ipv4(frame: &[u8], l3: u16) -> Option<(Self, Ipv4Addr, Ipv4Addr)> {
        let packet = frame.get(l3.into()..)?;
        // Frames longer than a length field can say are not plain.
        let have = u16::try_from(packet.len()).ok()?;
        let head = packet.first_chunk::<{ ipv4::LEN + udp::LEN }>()?;
        if head[0] != 0x45 {
            return None;
        }
        let (header, transport) = head.split_first_chunk::<{ ipv4::LEN }>()?;
        let header = ipv4::Header::new(header);
        let total_len = header.total_len();
        let len = total_len.checked_sub(ipv4::LEN as u16)?;
        let is_right = Sum::new()
            .array(head.first_chunk::<{ ipv4::LEN }>()?)
            .is_right();
        if header.is_fragment() || total_len > have || !is_right {
            return None;
        }
        let transport = transport.first_chunk()?;
        let protocol = header.protocol();
        let plain = Self {
            l3,
            end: l3 + total_len,
            ports: ports(transport),
            ttl: header.ttl(),
            traffic_class: header.traffic_class(),
            protocol,
            tcp_flags: check(protocol, transport, packet, ipv4::LEN, len)?,
            is_ipv4: true,
            may_be_cut: !header.dont_fragment(),
        };
        Some((plain, header.src_addr(), header.dst_addr()))
    }

    /// The same of an IPv6 packet.
    #[inline(always)]
    #[must_use]
    pub fn ipv6(frame: &[u8], l3: u16) -> Option<(Self, Ipv6Addr, Ipv6Addr)> {
        let packet = frame.get(l3.into()..)?;
        let have = u16::try_from(packet.len()).ok()?;
        if packet.first()? >> 4 != 6 {
            return None;
        }
        let (header, rest) = packet.split_first_chunk::<{ ipv6::LEN }>()?;
        let header = ipv6::Header::new(header);
        let len = header.payload_len();
        if len > have.checked_sub(ipv6::LEN as u16)? {
            return None;
        }
        let transport = rest.first_chunk()?;
        let protocol = header.next_header();
        let plain = Self {
            l3,
            end: l3 + ipv6::LEN as u16 + len,
            ports: ports(transport),
            ttl: header.hop_limit(),
            traffic_class: header.traffic_class(),
            protocol,
            tcp_flags: check(protocol, transport, packet, ipv6::LEN, len)?,
            is_ipv4: false,
            may_be_cut: false,
        };
        Some((plain, header.src_addr(), header.dst_addr()))
    }

    /// The same as the long way would put it, of the frame that was read.
    #[must_use]
    pub fn meta(&self, frame: &[u8]) -> Meta {
        let l3 = usize::from(self.l3);
        let mut meta = Meta::new(self.l3, self.end);
        if self.is_ipv4 {
            meta.network = Network::Ipv4;
            meta.ether_type = IPV4;
            meta.l4 = self.l3 + ipv4::LEN as u16;
            let id = frame.get(l3 + 4..).and_then(<[u8]>::first_chunk);
            meta.fragment_id = id.map_or(0, |id| u16::from_be_bytes(*id).into());
        } else {
            meta.network = Network::Ipv6;
            meta.ether_type = IPV6;
            meta.l4 = self.l3 + ipv6::LEN as u16;
        }
        meta.src_port = self.src_port();
        meta.dst_port = self.dst_port();
        meta.protocol = self.protocol;
        meta.ttl = self.ttl;
        meta.traffic_class = self.traffic_class;
        meta.l4_flags = self.tcp_flags;
        meta
    }

    /// The EtherType that a frame around it has.
    #[inline]
    #[must_use]
    pub const fn ether_type(&self) -> u16 {
        if self.is_ipv4 { IPV4 } else { IPV6 }
    }

    /// Source port.
    #[inline]
    #[must_use]
    pub const fn src_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Destination port.
    #[inline]
    #[must_use]
    pub const fn dst_port(&self) -> u16 {
        self.ports as u16
    }

    /// Bytes of the IP packet.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        (self.end - self.l3) as usize
    }

    /// Never: an IP packet has a header.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

#[inline(always)]
fn ports(transport: &[u8; udp::LEN]) -> u32 {
    let [a, b, c, d, ..] = *transport;
    u32::from_be_bytes([a, b, c, d])
}

/// Checks the lengths in a transport header, of which `len` bytes with their payload belong to the
/// packet; the flags of TCP.
#[inline(always)]
fn check(
    protocol: u8,
    transport: &[u8; udp::LEN],
    packet: &[u8],
    at: usize,
    len: u16,
) -> Option<u8> {
    match protocol {
        UDP => {
            let len_field = udp::Header::new(transport).len_field();
            let is_right = len_field >= udp::LEN as u16 && len_field <= len;
            is_right.then_some(0)
        }
        TCP => {
            let header = packet.get(at..at + tcp::LEN)?.first_chunk()?;
            let header = tcp::Header::new(header);
            let header_len = header.header_len();
            let is_right = header_len >= tcp::LEN && header_len <= usize::from(len);
            is_right.then_some(header.flags())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Random};
    use crate::{Fragment, ethernet, parse};
    use core::net::IpAddr;

    fn read(frame: &[u8]) -> Option<(Plain, (IpAddr, IpAddr))> {
        const L3: u16 = ethernet::LEN as u16;
        let ipv4 = Plain::ipv4(frame, L3).map(|(plain, a, b)| (plain, (a.into(), b.into())));
        ipv4.or_else(|| Plain::ipv6(frame, L3).map(|(plain, a, b)| (plain, (a.into(), b.into()))))
    }

    #[test]
    fn what_is_plain_reads_as_the_long_way_does() {
        let mut random = Random(0x5eed);
        let mut plain = 0;
        for original in samples::all() {
            for round in 0..if cfg!(miri) { 3 } else { 3_000 } {
                let mut frame = original.clone();
                for _ in 0..round % 4 {
                    let at = random.below(frame.len().min(60));
                    frame[at] = random.next() as u8;
                }
                frame.truncate(frame.len() - random.below(2) * random.below(frame.len()));
                if random.below(2) == 0 && frame.len() > 14 + 60 {
                    samples::fix_ipv4(&mut frame[14..]);
                }
                let Some((read, ends)) = read(&frame) else {
                    continue;
                };
                // Of whatever link it is the payload: the EtherType is not asked.
                frame[12..14].copy_from_slice(&read.ether_type().to_be_bytes());
                let meta = read.meta(&frame);
                assert_eq!(Ok(meta), parse(&frame), "{frame:02x?}");
                assert_eq!(meta.addrs(&frame), Some(ends), "{frame:02x?}");
                plain += 1;
            }
        }
        assert!(cfg!(miri) || plain > 1_000, "{plain}");
    }

    #[test]
    fn tcp_and_udp_of_both_versions_are_plain() {
        let mut seen = [false; 4];
        for frame in samples::all() {
            let Ok(meta) = parse(&frame) else { continue };
            let is_plain = meta.fragment == Fragment::Whole
                && matches!(meta.protocol, TCP | UDP)
                && !meta.ip_options
                && !meta.tagged
                && meta.l4 - meta.l3
                    == if meta.network == Network::Ipv4 {
                        20
                    } else {
                        40
                    };
            if meta.is_ip() && is_plain {
                assert!(read(&frame).is_some(), "{frame:02x?}");
                let kind = usize::from(meta.protocol == TCP);
                seen[kind + 2 * usize::from(meta.network == Network::Ipv6)] = true;
            }
        }
        assert_eq!(seen[0], true, "UDP over IPv4 at least");
    }
}
