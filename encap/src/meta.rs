//! What one pass over a packet's headers leaves for the stages after it.

use crate::protocol::{ICMP, ICMPV6, TCP, UDP};
use crate::{VlanId, ethernet, vlan};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Network {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP; its fields are not checked yet, see [`crate::ArpPacket`].
    Arp,
    /// Anything else, to be bridged or dropped unread.
    Other,
}

/// Which part of an IP datagram the packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fragment {
    /// All of it. An IPv6 packet whose fragment header says so is one too (RFC 6946).
    Whole,
    /// The first of several, which has the ports.
    First,
    /// A later one, which has none.
    Later,
}

/// Offsets and fields of one parsed packet.
///
/// Half a cache line, so that a batch of them stays in the L1 cache. It does not borrow the packet:
/// offsets count from the start of the buffer that was parsed, and stand until bytes are added or
/// removed in front. Fields are copies and go stale when a header is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Offset of the network header.
    pub l3: u16,
    /// Offset of the transport header, after IPv4 options and IPv6 extension headers; of the
    /// payload in a later fragment; equal to `end` when there is none.
    pub l4: u16,
    /// Offset one past the IP datagram, which excludes Ethernet padding; for other frames, their end.
    pub end: u16,
    /// EtherType, after the VLAN tag when there is one.
    pub ether_type: u16,
    /// The VLAN; `None` without a tag and with one that only gives a priority.
    pub vlan: Option<VlanId>,
    /// TCP, UDP or SCTP source port; identifier of an ICMP query; otherwise 0, as in later fragments
    /// until somebody who has seen the first one fills it in.
    pub src_port: u16,
    /// TCP, UDP or SCTP destination port; identifier of an ICMP query; otherwise as [`Self::src_port`].
    pub dst_port: u16,
    /// Where the payload belongs in its datagram, in bytes.
    pub fragment_offset: u16,
    /// Identification that the fragments of one datagram share; 0 in IPv6 without a fragment header.
    pub fragment_id: u32,
    /// What the frame carries.
    pub network: Network,
    /// Which part of a datagram it is.
    pub fragment: Fragment,
    /// IP protocol, or the last next header value; in later IPv6 fragments what the fragment header
    /// names, which may still be an extension header.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flags of TCP, type of ICMP and ICMPv6, otherwise 0.
    pub l4_flags: u8,
    /// Code of ICMP and ICMPv6, otherwise 0.
    pub icmp_code: u8,
    /// Whether the frame has a VLAN tag, if only for priority.
    pub tagged: bool,
    /// Whether fragments follow this one.
    pub more_fragments: bool,
    /// Whether an IPv6 fragment header is present, also in a whole datagram.
    pub fragment_header: bool,
    /// Whether the IPv4 header has options.
    pub ip_options: bool,
    /// Whether one of them is a source route, loose or strict (RFC 7126 §4.3 to §4.4).
    pub source_route: bool,
}

const _: () = assert!(size_of::<Meta>() == 32);

impl Meta {
    /// A frame of which only the ends are known.
    pub const fn new(l3: u16, end: u16) -> Self {
        Self {
            l3,
            l4: end,
            end,
            ether_type: 0,
            vlan: None,
            src_port: 0,
            dst_port: 0,
            fragment_offset: 0,
            fragment_id: 0,
            network: Network::Other,
            fragment: Fragment::Whole,
            protocol: 0,
            ttl: 0,
            traffic_class: 0,
            l4_flags: 0,
            icmp_code: 0,
            tagged: false,
            more_fragments: false,
            fragment_header: false,
            ip_options: false,
            source_route: false,
        }
    }

    /// Offset of the Ethernet header, if the packet was parsed as a frame.
    #[must_use]
    pub fn l2(&self) -> usize {
        let tag = if self.tagged { vlan::LEN } else { 0 };
        usize::from(self.l3).saturating_sub(ethernet::LEN + tag)
    }

    /// Source and destination of an IPv4 packet.
    #[must_use]
    pub fn ipv4_addrs(&self, frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
        if self.network != Network::Ipv4 {
            return None;
        }
        let [a, b, c, d, e, f, g, h] = *self.l3_field(frame, 12)?;
        Some((Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)))
    }

    /// Source and destination of an IPv6 packet.
    #[must_use]
    pub fn ipv6_addrs(&self, frame: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
        if self.network != Network::Ipv6 {
            return None;
        }
        let src = *self.l3_field(frame, 8)?;
        let dst = *self.l3_field(frame, 24)?;
        Some((Ipv6Addr::from(src), Ipv6Addr::from(dst)))
    }

    /// Source and destination of an IP packet.
    #[must_use]
    pub fn addrs(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        match self.network {
            Network::Ipv4 => self
                .ipv4_addrs(frame)
                .map(|(src, dst)| (src.into(), dst.into())),
            Network::Ipv6 => self
                .ipv6_addrs(frame)
                .map(|(src, dst)| (src.into(), dst.into())),
            Network::Arp | Network::Other => None,
        }
    }

    /// Source of an IP packet.
    #[must_use]
    pub fn src_addr(&self, frame: &[u8]) -> Option<IpAddr> {
        self.addrs(frame).map(|(src, _)| src)
    }

    /// Destination of an IP packet.
    #[must_use]
    pub fn dst_addr(&self, frame: &[u8]) -> Option<IpAddr> {
        self.addrs(frame).map(|(_, dst)| dst)
    }

    /// Whether the frame carries IP.
    #[must_use]
    pub const fn is_ip(&self) -> bool {
        matches!(self.network, Network::Ipv4 | Network::Ipv6)
    }

    /// Whether the packet is TCP over IP.
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.is_ip() && self.protocol == TCP
    }

    /// Whether the packet is UDP over IP.
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        self.is_ip() && self.protocol == UDP
    }

    /// Whether the packet is ICMP over IPv4.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(self.network, Network::Ipv4) && self.protocol == ICMP
    }

    /// Whether the packet is ICMPv6 over IPv6.
    #[must_use]
    pub const fn is_icmpv6(&self) -> bool {
        matches!(self.network, Network::Ipv6) && self.protocol == ICMPV6
    }

    /// The `N` bytes at `offset` in the network header.
    fn l3_field<'a, const N: usize>(&self, frame: &'a [u8], offset: usize) -> Option<&'a [u8; N]> {
        frame.get(usize::from(self.l3) + offset..)?.first_chunk()
    }
}
