//! Tunnel headers, prebuilt once per nexthop and pushed with one copy and at most six fix-ups.
//! [`mod@crate::decap`] is the way out.
//!
//! The outer header of every packet to one nexthop is the same but for lengths and the checksum over
//! them, what balances load (source port, flow label), what marks traffic (DSCP, ECN), the label's
//! class and TTL, and the neighbour's MAC address.

use crate::checksum::{self, Sum};
use crate::ethernet::{IPV4, IPV6, VLAN};
use crate::protocol::{GRE, UDP};
use crate::{
    Buffer, Error, Label, MPLS_UDP_PORT, MacAddr, VXLAN_PORT, VlanId, Vni, ecn, ethernet, gre,
    ipv4, ipv6, mpls, udp, vlan, vxlan,
};
use core::net::IpAddr;

/// Ethernet, tag, IPv6, UDP, VXLAN.
const MAX_LEN: usize = ethernet::LEN + vlan::LEN + ipv6::LEN + udp::LEN + vxlan::LEN;

/// Length of each of the two pieces a header is copied in. They overlap, and cover every length
/// there is: copying a known number of bytes takes a few instructions, any number takes a call.
const PIECE: usize = 40;
const _: () =
    assert!(PIECE <= ethernet::LEN + ipv4::LEN + gre::LEN + mpls::LEN && MAX_LEN <= 2 * PIECE);

/// Lengths of untagged headers over IPv4.
const VXLAN_LEN: usize = ethernet::LEN + ipv4::LEN + udp::LEN + vxlan::LEN;
const MPLS_UDP_LEN: usize = ethernet::LEN + ipv4::LEN + udp::LEN + mpls::LEN;
const MPLS_GRE_LEN: usize = ethernet::LEN + ipv4::LEN + gre::LEN + mpls::LEN;

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

/// How packets travel: the encapsulation, and the number that tells the other end whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encap {
    /// VXLAN (RFC 7348), around Ethernet frames.
    Vxlan(Vni),
    /// MPLS over UDP (RFC 7510), around Ethernet or IP.
    MplsUdp(Label),
    /// MPLS over GRE (RFC 4023), around Ethernet or IP.
    MplsGre(Label),
}

/// Whether a tunnel is part of the path a packet sees, for its DSCP (RFC 2983) or its TTL (RFC 3443).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Model {
    /// The inner field stays as it is, and the outer one says nothing of it.
    #[default]
    Pipe,
    /// The outer field is the inner one on the way in, and goes back on the way out.
    Uniform,
}

/// What outer headers take from the packet they go in front of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inner {
    /// A hash of the flow, the same for all its packets and fragments.
    pub entropy: u32,
    /// DSCP and ECN; 0 for frames that are not IP.
    pub traffic_class: u8,
    /// TTL or hop limit as the packet is sent; 0 where a packet has none or was not routed.
    pub ttl: u8,
}

/// The headers of a tunnel, ready to be put in front of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelHeader {
    first: [u8; PIECE],
    last: [u8; PIECE],
    len: u8,
    is_tagged: bool,
    is_ipv6: bool,
    sums_payload: bool,
    encap: Encap,
    dscp: Model,
    ttl: Model,
    /// Sum of what does not change: of the IPv4 header, or over IPv6 of what a UDP checksum covers.
    sum: u16,
}

impl TunnelHeader {
    /// Ethernet, IP and the headers of the encapsulation.
    ///
    /// The IPv4 header is that of an atomic datagram, DF set and id 0 (RFC 6864 §4.1): a tunnel packet
    /// must not be fragmented (RFC 7348 §4.3, RFC 4023 §5.1). GRE goes without optional fields
    /// (RFC 4023 §4). Over IPv6 there is a UDP checksum (RFC 7510 §3.1), over IPv4 there is none.
    ///
    /// # Errors
    /// [`Error::AddressFamily`] if one end is IPv4 and the other IPv6; [`Error::ReservedLabel`] for a
    /// label below 16: implicit null is never sent, and the explicit nulls name no network.
    pub fn new(outer: &Outer, encap: Encap) -> Result<Self, Error> {
        if let Encap::MplsUdp(label) | Encap::MplsGre(label) = encap
            && label.is_reserved()
        {
            return Err(Error::ReservedLabel(label.get() as u8));
        }
        let mut bytes = [0; MAX_LEN];
        let (l3, rest) = set_link(outer, &mut bytes)?;
        let (l4, sum, rest) = set_network(outer, encap.protocol(), rest)?;
        let len = l3 + l4 + set_transport(encap, rest)?;
        let is_ipv6 = outer.src.is_ipv6();
        let sums_payload = is_ipv6 && encap.protocol() == UDP;
        let sum = if sums_payload {
            sum.bytes(&bytes[l3 + l4..len])
        } else {
            sum
        };
        let bytes = &bytes[..len];
        let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
            unreachable!("a piece is no longer than the shortest header");
        };
        Ok(Self {
            first: *first,
            last: *last,
            len: len as u8,
            is_tagged: outer.vlan.is_some(),
            is_ipv6,
            sums_payload,
            encap,
            dscp: Model::Pipe,
            ttl: Model::Pipe,
            sum: !sum.finish(),
        })
    }

    /// Has the inner DSCP copied to the outer header (RFC 2983 §3, uniform), or not: then the outer
    /// DSCP is 0, which is how a new header is.
    #[must_use]
    pub fn with_dscp(self, dscp: Model) -> Self {
        Self { dscp, ..self }
    }

    /// Has the inner TTL copied to the label (RFC 3443 §3.4, uniform), or not: then the label's is 255,
    /// which is how a new header is. VXLAN has no such field.
    #[must_use]
    pub fn with_ttl(self, ttl: Model) -> Self {
        Self { ttl, ..self }
    }

    /// Leaves the UDP checksum zero over IPv6, too (RFC 6935 §5), which the other end must expect.
    #[must_use]
    pub fn without_checksum(self) -> Self {
        Self {
            sums_payload: false,
            ..self
        }
    }

    /// Bytes a packet grows by.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a tunnel header never is")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Puts the headers in front of a packet: an Ethernet frame, or for MPLS a bare IP packet.
    ///
    /// `inner.entropy` chooses the source port among 49152 to 65535 (RFC 7348 §5, RFC 7510 §3) and,
    /// over IPv6, the flow label (RFC 6438 §3). The outer ECN is the inner one (RFC 6040 §4.1, normal
    /// mode). A label's traffic class is the class selector of the inner DSCP, its upper three bits.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the headroom is shorter than [`len`](Self::len); [`Error::TooLong`] if
    /// the outer datagram would not fit its length field. The packet is unchanged.
    #[inline]
    pub fn push<B: Buffer>(
        &self,
        packet: &mut B,
        dst_mac: MacAddr,
        inner: &Inner,
    ) -> Result<(), Error> {
        if self.is_tagged || self.is_ipv6 {
            return self.push_any(packet, dst_mac, inner);
        }
        match self.encap {
            Encap::Vxlan(_) => self.push_plain::<VXLAN_LEN, _>(packet, dst_mac, inner),
            Encap::MplsUdp(_) => self.push_plain::<MPLS_UDP_LEN, _>(packet, dst_mac, inner),
            Encap::MplsGre(_) => self.push_plain::<MPLS_GRE_LEN, _>(packet, dst_mac, inner),
        }
    }

    /// [`push`](Self::push) over IPv4 without a tag, which is `LEN` bytes long: at places known when
    /// compiling, in half the instructions.
    #[inline(always)]
    fn push_plain<const LEN: usize, B: Buffer>(
        &self,
        packet: &mut B,
        dst_mac: MacAddr,
        inner: &Inner,
    ) -> Result<(), Error> {
        const L3: usize = ethernet::LEN;
        const L4: usize = L3 + ipv4::LEN;

        let len = LEN - L3 + packet.len();
        let Ok(datagram_len) = u16::try_from(len) else {
            return Err(Error::too_long(len));
        };
        packet.prepend(LEN)?;
        let Some(head) = packet.bytes_mut().first_chunk_mut::<LEN>() else {
            return Err(Error::no_room(LEN, 0)); // only from a buffer that does not grow
        };
        head[..PIECE].copy_from_slice(&self.first);
        head[LEN - PIECE..].copy_from_slice(&self.last);
        head[..6].copy_from_slice(&dst_mac.0);
        let traffic_class = match self.dscp {
            Model::Pipe => ecn::encapsulate(inner.traffic_class),
            Model::Uniform => inner.traffic_class,
        };
        let sum = Sum::new()
            .u16(self.sum)
            .u16(datagram_len)
            .u16(traffic_class.into());
        let mut put = |at: usize, word: u16| head[at..at + 2].copy_from_slice(&word.to_be_bytes());
        put(L3 + 2, datagram_len);
        put(L3 + 10, sum.finish());
        if LEN != MPLS_GRE_LEN {
            put(L4, src_port(inner.entropy));
            put(L4 + 4, datagram_len - ipv4::LEN as u16);
        }
        head[L3 + 1] = traffic_class;
        if let Encap::MplsUdp(label) | Encap::MplsGre(label) = self.encap {
            let class = inner.traffic_class >> 5;
            let entry = mpls::entry(label, class, true, self.label_ttl(inner));
            head[LEN - mpls::LEN..].copy_from_slice(&entry.to_be_bytes());
        }
        Ok(())
    }

    /// [`push`](Self::push) of any header.
    fn push_any<B: Buffer>(
        &self,
        packet: &mut B,
        dst_mac: MacAddr,
        inner: &Inner,
    ) -> Result<(), Error> {
        let l3 = self.l3();
        let frame_len = self.len() + packet.len();
        let Ok(datagram_len) = u16::try_from(frame_len - l3) else {
            return Err(Error::too_long(frame_len - l3));
        };
        packet.prepend(self.len())?;
        let is_chained = packet.is_chained();
        let (frame, payload) = packet.bytes_mut().split_at_mut(self.len());
        frame[..PIECE].copy_from_slice(&self.first);
        frame[self.len() - PIECE..].copy_from_slice(&self.last);
        frame[..6].copy_from_slice(&dst_mac.0);

        let mut traffic_class = ecn::encapsulate(inner.traffic_class);
        if self.dscp == Model::Uniform {
            traffic_class = inner.traffic_class;
        }
        let sum = Sum::new().u16(self.sum);
        let len = if self.is_ipv6 {
            let (mut header, _) = ipv6::Header::split_mut(&mut frame[l3..])?;
            let payload_len = datagram_len - ipv6::LEN as u16;
            header.set_payload_len(payload_len);
            header.set_class_and_label(traffic_class, flow_label(inner.entropy));
            payload_len
        } else {
            let (mut header, _) = ipv4::Header::split_mut(&mut frame[l3..])?;
            header.set_total_len(datagram_len);
            header.set_traffic_class(traffic_class);
            let sum = sum.u16(datagram_len).u16(u16::from(traffic_class));
            header.set_checksum(sum.finish());
            datagram_len - ipv4::LEN as u16
        };
        // All that follows the IP header is in the last piece.
        let (label, transport_len) = match self.encap {
            Encap::Vxlan(_) => (None, udp::LEN + vxlan::LEN),
            Encap::MplsUdp(label) => (Some(label), udp::LEN + mpls::LEN),
            Encap::MplsGre(label) => (Some(label), gre::LEN + mpls::LEN),
        };
        let transport = &mut frame[self.len() - transport_len..];
        let mut entry = 0;
        if let Some(label) = label {
            entry = mpls::entry(label, inner.traffic_class >> 5, true, self.label_ttl(inner));
            transport[transport_len - mpls::LEN..].copy_from_slice(&entry.to_be_bytes());
        }
        if let Encap::MplsGre(_) = self.encap {
            return Ok(());
        }
        let (mut udp, _) = udp::Header::split_mut(transport)?;
        let src_port = src_port(inner.entropy);
        udp.set_src_port(src_port);
        udp.set_len_field(len);
        if !self.sums_payload {
            return Ok(());
        }
        let sum = sum.u16(src_port).u16(len).u16(len).u32(entry);
        if is_chained {
            self.sum_pieces(packet, transport_len, sum);
        } else {
            udp.set_checksum(sum.udp_checksum(payload));
        }
        Ok(())
    }

    /// Writes the UDP checksum, given the sum of the headers, of which `transport_len` bytes begin
    /// with that of UDP.
    #[cold]
    fn sum_pieces<B: Buffer>(&self, packet: &mut B, transport_len: usize, sum: Sum) {
        let sum = sum.packet(packet, self.len()..packet.len());
        let header = &mut packet.bytes_mut()[self.len() - transport_len..];
        if let Ok((mut udp, _)) = udp::Header::split_mut(header) {
            udp.set_checksum(checksum::never_zero(sum.finish()));
        }
    }

    /// Offset of the IP header.
    const fn l3(&self) -> usize {
        if self.is_tagged {
            ethernet::LEN + vlan::LEN
        } else {
            ethernet::LEN
        }
    }

    const fn label_ttl(&self, inner: &Inner) -> u8 {
        match (self.ttl, inner.ttl) {
            (Model::Pipe, _) | (_, 0) => u8::MAX,
            (Model::Uniform, ttl) => ttl,
        }
    }
}

impl Encap {
    /// The IP protocol it travels in.
    #[must_use]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Vxlan(_) | Self::MplsUdp(_) => UDP,
            Self::MplsGre(_) => GRE,
        }
    }
}

/// Writes the link layer's header, and returns its length and the bytes behind it.
fn set_link<'a>(outer: &Outer, bytes: &'a mut [u8]) -> Result<(usize, &'a mut [u8]), Error> {
    let ether_type = match outer.src {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    };
    let (mut link, rest) = ethernet::Header::split_mut(bytes)?;
    link.set_dst(outer.dst_mac);
    link.set_src(outer.src_mac);
    let Some(id) = outer.vlan else {
        link.set_ether_type(ether_type);
        return Ok((ethernet::LEN, rest));
    };
    link.set_ether_type(VLAN);
    let (mut tag, rest) = vlan::Tag::split_mut(rest)?;
    tag.set_id(id);
    tag.set_ether_type(ether_type);
    Ok((ethernet::LEN + vlan::LEN, rest))
}

/// Writes the IP header. Returns its length, the sum of it (IPv4) or of its part in the pseudo-header
/// (IPv6), in both without lengths, and the bytes behind it.
fn set_network<'a>(
    outer: &Outer,
    protocol: u8,
    bytes: &'a mut [u8],
) -> Result<(usize, Sum, &'a mut [u8]), Error> {
    match (outer.src, outer.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (mut header, rest) = ipv4::Header::split_mut(bytes)?;
            header.set(protocol, src, dst, outer.ttl, 0, 0);
            Ok((ipv4::LEN, header.sum(), rest))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (mut header, rest) = ipv6::Header::split_mut(bytes)?;
            header.set(protocol, src, dst, outer.ttl, 0, 0);
            let sum = Sum::new().ipv6_pseudo(src, dst, protocol, 0);
            Ok((ipv6::LEN, sum, rest))
        }
        _ => Err(Error::AddressFamily),
    }
}

/// Writes what follows the IP header, but for what [`TunnelHeader::push`] fixes up, and returns its
/// length. A label is left out, being among that.
fn set_transport(encap: Encap, bytes: &mut [u8]) -> Result<usize, Error> {
    if let Encap::MplsGre(_) = encap {
        gre::Header::split_mut(bytes)?.0.set_mpls();
        return Ok(gre::LEN + mpls::LEN);
    }
    let (mut udp, rest) = udp::Header::split_mut(bytes)?;
    if let Encap::Vxlan(vni) = encap {
        udp.set_dst_port(VXLAN_PORT);
        vxlan::Header::split_mut(rest)?.0.set(vni);
        return Ok(udp::LEN + vxlan::LEN);
    }
    udp.set_dst_port(MPLS_UDP_PORT);
    Ok(udp::LEN + mpls::LEN)
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
