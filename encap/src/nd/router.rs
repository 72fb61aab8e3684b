//! Router discovery (RFC 4861 §6): solicitations read, advertisements written.
//!
//! Reading advertisements is not here: we are the router. Nor are redirects, which
//! we never send.

use super::{ALL_NODES, HOP_LIMIT, OPTION_LEN, SOURCE_LINK_LAYER, is_nd, link_layer_option};
use crate::icmpv6::{self, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION};
use crate::protocol::ICMPV6;
use crate::{Buffer, Error, MacAddr, Meta, buffer, checksum, ethernet, ipv6};
use core::net::Ipv6Addr;

/// Length of a solicitation before its options, in bytes (RFC 4861 §4.1).
const SOLICITATION_LEN: usize = icmpv6::LEN;
/// Length of an advertisement before its options, in bytes (RFC 4861 §4.2).
const ADVERTISEMENT_LEN: usize = 16;
/// Length of an MTU option, in bytes (RFC 4861 §4.6.4).
const MTU_LEN: usize = 8;
/// Length of a prefix information option, in bytes (RFC 4861 §4.6.2).
const PREFIX_LEN: usize = 32;

const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;

/// What machines are told to send with (RFC 4861 §6.2.1 AdvCurHopLimit; IANA's recommendation).
const HOST_HOP_LIMIT: u8 = 64;

/// A valid router solicitation: which routers are there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified while it has no address.
    pub src: Ipv6Addr,
    /// The asker's link-layer address, if told.
    pub src_mac: Option<MacAddr>,
}

/// What a router says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// M: addresses come by DHCPv6.
    pub managed: bool,
    /// O: other settings come by DHCPv6.
    pub other_config: bool,
    /// How long it may be used as a default router, in seconds; 0: not at all.
    pub lifetime_s: u16,
}

/// A prefix of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix, bits after its length zero.
    pub addr: Ipv6Addr,
    /// Its length in bits.
    pub len: u8,
    /// L: addresses in it are on the link.
    pub on_link: bool,
    /// A: machines make themselves addresses from it (RFC 4862).
    pub autonomous: bool,
    /// How long it is on the link, in seconds.
    pub valid_s: u32,
    /// How long addresses made from it are preferred, in seconds.
    pub preferred_s: u32,
}

/// A router and to whom it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// The router's link-layer address.
    pub mac: MacAddr,
    /// The router's link-local address.
    pub src: Ipv6Addr,
    /// One machine; `None`: all that are on the link.
    pub to: Option<(MacAddr, Ipv6Addr)>,
}

/// Reads a router solicitation; `None` if the packet is something else.
///
/// # Errors
/// [`Error::MalformedNd`] if it fails the checks of RFC 4861 §6.1.1 or was fragmented (RFC 6980 §5);
/// [`Error::IcmpChecksum`] if it arrived damaged.
pub fn solicitation(frame: &[u8], meta: &Meta) -> Result<Option<Solicitation>, Error> {
    if !is_nd(meta, ROUTER_SOLICITATION) {
        return Ok(None);
    }
    if meta.ttl != HOP_LIMIT || meta.icmp_code != 0 || meta.fragment_header {
        return Err(Error::MalformedNd);
    }
    if !checksum::transport_is_right(frame, meta) {
        return Err(Error::IcmpChecksum);
    }
    let range = usize::from(meta.l4)..usize::from(meta.end);
    let bytes = frame.get(range).unwrap_or_default();
    let (_, options) = crate::split::<SOLICITATION_LEN>(bytes).map_err(|_| Error::MalformedNd)?;
    let src_mac = link_layer_option(options, SOURCE_LINK_LAYER)?;
    let (src, _) = meta.ipv6_addrs(frame).ok_or(Error::MalformedNd)?;
    if src.is_unspecified() && src_mac.is_some() {
        return Err(Error::MalformedNd);
    }
    Ok(Some(Solicitation { src, src_mac }))
}

/// Makes `packet` a frame with a router advertisement (RFC 4861 §4.2), whatever it held before: with
/// the router's link-layer address, the MTU if there is one, and the prefixes.
///
/// # Errors
/// [`Error::NoRoom`] if the buffer cannot hold it: 78 bytes, 8 for an MTU, 32 for each prefix.
pub fn advertise<B: Buffer>(
    packet: &mut B,
    sender: &Sender,
    settings: Settings,
    mtu: Option<u32>,
    prefixes: &[Prefix],
) -> Result<(), Error> {
    let mtu_len = if mtu.is_some() { MTU_LEN } else { 0 };
    let len = ADVERTISEMENT_LEN + OPTION_LEN + mtu_len + PREFIX_LEN * prefixes.len();
    buffer::clear(packet, ethernet::LEN + ipv6::LEN + len)?;
    let (dst_mac, dst) = sender
        .to
        .unwrap_or((MacAddr::ipv6_multicast(ALL_NODES), ALL_NODES));
    let (mut link, rest) = ethernet::Header::split_mut(packet.bytes_mut())?;
    link.set_dst(dst_mac);
    link.set_src(sender.mac);
    link.set_ether_type(ethernet::IPV6);
    let (mut header, message) = ipv6::Header::split_mut(rest)?;
    header.set(ICMPV6, sender.src, dst, HOP_LIMIT, 0, len as u16);
    let (head, rest) = crate::split_mut::<ADVERTISEMENT_LEN>(message)?;
    head[0] = ROUTER_ADVERTISEMENT;
    head[4] = HOST_HOP_LIMIT;
    head[5] = (settings.managed as u8) << 7 | (settings.other_config as u8) << 6;
    head[6..8].copy_from_slice(&settings.lifetime_s.to_be_bytes());
    let (option, mut rest) = crate::split_mut::<OPTION_LEN>(rest)?;
    option[..2].copy_from_slice(&[SOURCE_LINK_LAYER, (OPTION_LEN / 8) as u8]);
    option[2..].copy_from_slice(&sender.mac.0);
    if let Some(mtu) = mtu {
        let (option, after) = crate::split_mut::<MTU_LEN>(rest)?;
        option[..2].copy_from_slice(&[MTU, (MTU_LEN / 8) as u8]);
        option[4..].copy_from_slice(&mtu.to_be_bytes());
        rest = after;
    }
    for prefix in prefixes {
        let (option, after) = crate::split_mut::<PREFIX_LEN>(rest)?;
        prefix.write(option);
        rest = after;
    }
    let sum = checksum::Sum::new()
        .ipv6_pseudo(sender.src, dst, ICMPV6, len as u32)
        .bytes(message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    Ok(())
}

impl Prefix {
    fn write(&self, option: &mut [u8; PREFIX_LEN]) {
        option[0] = PREFIX_INFORMATION;
        option[1] = (PREFIX_LEN / 8) as u8;
        option[2] = self.len;
        option[3] = (self.on_link as u8) << 7 | (self.autonomous as u8) << 6;
        option[4..8].copy_from_slice(&self.valid_s.to_be_bytes());
        option[8..12].copy_from_slice(&self.preferred_s.to_be_bytes());
        option[16..].copy_from_slice(&self.addr.octets());
    }
}

#[cfg(test)]
mod tests;
