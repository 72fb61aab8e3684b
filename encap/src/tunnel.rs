//! Tunnel headers, prebuilt once per nexthop and pushed with one copy and a few fix-ups.
//!
//! The outer header of every packet to one nexthop is the same but for lengths, what balances load
//! (source port, flow label), what marks traffic (DSCP, ECN), and the neighbour's MAC address.

use crate::checksum::Sum;
use crate::ethernet::{IPV4, IPV6, VLAN};
use crate::protocol::UDP;
use crate::{
    Buffer, Error, MacAddr, VXLAN_PORT, VlanId, Vni, ecn, ethernet, ipv4, ipv6, udp, vlan, vxlan,
};
use core::net::IpAddr;

/// Ethernet, tag, IPv6, UDP, VXLAN.
const MAX_LEN: usize = ethernet::LEN + vlan::LEN + ipv6::LEN + udp::LEN + vxlan::LEN;

/// What a tunnel's outer headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The fabric port's address.
    pub src_mac: MacAddr,
    /// The neighbour's address; [`TunnelHeader::push`] names the current one.
    pub dst_mac: MacAddr,
    /// VLAN of the underlay.
    pub vlan: Option<VlanId>,
    /// This end of the tunnel.
    pub src: IpAddr,
    /// The other end, of the same IP version.
    pub dst: IpAddr,
    /// Outer TTL or hop limit.
    pub ttl: u8,
}

/// The headers of a tunnel, ready to be put in front of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeader {
    bytes: [u8; MAX_LEN],
    len: u8,
    l3: u8,
    is_ipv6: bool,
    copies_dscp: bool,
    /// Sum of the prebuilt IPv4 header, in which what `push` fixes up is zero.
    sum: Sum,
}

impl TunnelHeader {
    /// Ethernet, IP, UDP and VXLAN headers (RFC 7348 §5).
    ///
    /// The IPv4 header is that of an atomic datagram, DF set and id 0 (RFC 6864 §4.1): a tunnel packet
    /// must not be fragmented (RFC 7348 §4.3).
    ///
    /// # Errors
    /// [`Error::AddressFamily`] if one end is IPv4 and the other IPv6.
    pub fn vxlan(outer: &Outer, vni: Vni) -> Result<Self, Error> {
        let mut bytes = [0; MAX_LEN];
        let (mut link, mut rest) = ethernet::Header::split_mut(&mut bytes)?;
        link.set_dst(outer.dst_mac);
        link.set_src(outer.src_mac);
        let ether_type = match outer.src {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        };
        let mut l3 = ethernet::LEN;
        match outer.vlan {
            None => link.set_ether_type(ether_type),
            Some(id) => {
                link.set_ether_type(VLAN);
                let mut tag;
                (tag, rest) = vlan::Tag::split_mut(rest)?;
                tag.set_id(id);
                tag.set_ether_type(ether_type);
                l3 += vlan::LEN;
            }
        }
        let mut sum = Sum::new();
        let l4;
        match (outer.src, outer.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header;
                (header, rest) = ipv4::Header::split_mut(rest)?;
                header.set(UDP, src, dst, outer.ttl, 0, 0);
                sum = header.sum();
                l4 = l3 + ipv4::LEN;
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header;
                (header, rest) = ipv6::Header::split_mut(rest)?;
                header.set(UDP, src, dst, outer.ttl, 0, 0);
                l4 = l3 + ipv6::LEN;
            }
            _ => return Err(Error::AddressFamily),
        }
        let (mut udp, rest) = udp::Header::split_mut(rest)?;
        udp.set_dst_port(VXLAN_PORT);
        let (mut header, _) = vxlan::Header::split_mut(rest)?;
        header.set(vni);
        Ok(Self {
            bytes,
            len: (l4 + udp::LEN + vxlan::LEN) as u8,
            l3: l3 as u8,
            is_ipv6: outer.src.is_ipv6(),
            copies_dscp: false,
            sum,
        })
    }

    /// Has the inner DSCP copied to the outer header: the uniform model of RFC 2983 §3. Without, the
    /// outer DSCP is 0, the pipe model.
    #[must_use]
    pub fn with_inner_dscp(self) -> Self {
        Self {
            copies_dscp: true,
            ..self
        }
    }

    /// Bytes a packet grows by.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a tunnel header never is")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Puts the headers in front of an inner Ethernet frame.
    ///
    /// `entropy` is a hash of the inner flow: it chooses the source port among 49152 to 65535
    /// (RFC 7348 §5) and, over IPv6, the flow label (RFC 6438 §3). The outer ECN is that of
    /// `inner_traffic_class` (RFC 6040 §4.1, normal mode), which is 0 for frames that are not IP. The
    /// UDP checksum is zero over both IP versions (RFC 7348 §5, RFC 6935 §5).
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the headroom is shorter than [`len`](Self::len); [`Error::TooLong`] if
    /// the outer datagram would not fit its length field. The packet is unchanged.
    pub fn push<B: Buffer>(
        &self,
        packet: &mut B,
        dst_mac: MacAddr,
        entropy: u32,
        inner_traffic_class: u8,
    ) -> Result<(), Error> {
        let l3 = usize::from(self.l3);
        let frame_len = self.len() + packet.len();
        let Ok(datagram_len) = u16::try_from(frame_len - l3) else {
            return Err(Error::too_long(frame_len - l3));
        };
        packet.prepend(self.len())?;
        let frame = &mut packet.bytes_mut()[..self.len()];
        frame.copy_from_slice(&self.bytes[..self.len()]);
        frame[..6].copy_from_slice(&dst_mac.0);

        let mut traffic_class = ecn::encapsulate(inner_traffic_class);
        if self.copies_dscp {
            traffic_class = inner_traffic_class;
        }
        let (udp_len, rest) = if self.is_ipv6 {
            let (mut header, rest) = ipv6::Header::split_mut(&mut frame[l3..])?;
            let payload_len = datagram_len - ipv6::LEN as u16;
            header.set_payload_len(payload_len);
            header.set_traffic_class(traffic_class);
            header.set_flow_label(flow_label(entropy));
            (payload_len, rest)
        } else {
            let (mut header, rest) = ipv4::Header::split_mut(&mut frame[l3..])?;
            header.set_total_len(datagram_len);
            header.set_traffic_class(traffic_class);
            let sum = self.sum.u16(datagram_len).u16(u16::from(traffic_class));
            header.set_checksum(sum.finish());
            (datagram_len - ipv4::LEN as u16, rest)
        };
        let (mut udp, _) = udp::Header::split_mut(rest)?;
        udp.set_src_port(src_port(entropy));
        udp.set_len_field(udp_len);
        Ok(())
    }
}

/// Maps a flow's hash to a source port in the dynamic range, 14 bits wide. All of the hash counts,
/// as flows that fall into one bucket of a table share its low or its high bits.
const fn src_port(entropy: u32) -> u16 {
    let folded = entropy ^ entropy >> 14 ^ entropy >> 28;
    0xc000 | (folded & 0x3fff) as u16
}

/// Maps a flow's hash to a flow label; zero would say there is none (RFC 6437 §2).
const fn flow_label(entropy: u32) -> u32 {
    let folded = (entropy ^ entropy >> 20) & 0xf_ffff;
    if folded == 0 { 1 } else { folded }
}

#[cfg(test)]
mod tests;
