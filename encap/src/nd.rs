//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements, read and written.
//!
//! Which addresses to answer for is the caller's business, and so is what to believe. What a router
//! says of itself is in [`router`].

pub mod router;

use crate::icmpv6::{NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION};
use crate::protocol::ICMPV6;
use crate::{Buffer, Error, Fragment, MacAddr, Meta, addr, buffer, checksum, ethernet, ipv6};
use core::net::Ipv6Addr;

/// Length of either message before its options, in bytes (RFC 4861 §4.3, §4.4).
const MESSAGE_LEN: usize = 24;
/// Length of a link-layer address option, in bytes (RFC 4861 §4.6.1).
const OPTION_LEN: usize = 8;
/// Hop limit that proves a message came from this very link (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A valid neighbour solicitation: who has `target`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Who asks; unspecified when it wants to know whether the address is free (RFC 4862 §5.4).
    pub src: Ipv6Addr,
    /// Whom it asked: the target, or its solicited-node group.
    pub dst: Ipv6Addr,
    /// The address asked for; never a group.
    pub target: Ipv6Addr,
    /// The asker's link-layer address, if told.
    pub src_mac: Option<MacAddr>,
}

/// A valid neighbour advertisement: `target` is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Who says so.
    pub src: Ipv6Addr,
    /// To whom.
    pub dst: Ipv6Addr,
    /// The address; never a group.
    pub target: Ipv6Addr,
    /// Its link-layer address, if told.
    pub target_mac: Option<MacAddr>,
    /// What the sender says about itself and its answer.
    pub flags: Flags,
}

/// Flags of an advertisement (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// R: the sender is a router.
    pub router: bool,
    /// S: this answers a solicitation.
    pub solicited: bool,
    /// O: this overrides what is cached.
    pub override_cache: bool,
}

impl Flags {
    const fn from_bits(bits: u8) -> Self {
        Self {
            router: bits & 0x80 != 0,
            solicited: bits & 0x40 != 0,
            override_cache: bits & 0x20 != 0,
        }
    }

    const fn to_bits(self) -> u8 {
        (self.router as u8) << 7 | (self.solicited as u8) << 6 | (self.override_cache as u8) << 5
    }
}

/// Reads a neighbour solicitation; `None` if the packet is something else.
///
/// # Errors
/// [`Error::MalformedNd`] if it fails the checks of RFC 4861 §7.1.1 or was fragmented (RFC 6980 §5);
/// [`Error::IcmpChecksum`] if it arrived damaged.
pub fn solicitation(frame: &[u8], meta: &Meta) -> Result<Option<Solicitation>, Error> {
    if !is_nd(meta, NEIGHBOR_SOLICITATION) {
        return Ok(None);
    }
    let message = Message::read(frame, meta)?;
    let src_mac = message.option(SOURCE_LINK_LAYER)?;
    if message.src.is_unspecified()
        && (message.dst != addr::solicited_node(message.target) || src_mac.is_some())
    {
        return Err(Error::MalformedNd);
    }
    Ok(Some(Solicitation {
        src: message.src,
        dst: message.dst,
        target: message.target,
        src_mac,
    }))
}

/// Reads a neighbour advertisement; `None` if the packet is something else.
///
/// # Errors
/// [`Error::MalformedNd`] if it fails the checks of RFC 4861 §7.1.2 or was fragmented (RFC 6980 §5);
/// [`Error::IcmpChecksum`] if it arrived damaged.
pub fn advertisement(frame: &[u8], meta: &Meta) -> Result<Option<Advertisement>, Error> {
    if !is_nd(meta, NEIGHBOR_ADVERTISEMENT) {
        return Ok(None);
    }
    let message = Message::read(frame, meta)?;
    let flags = Flags::from_bits(message.flags);
    if message.dst.is_multicast() && flags.solicited {
        return Err(Error::MalformedNd);
    }
    Ok(Some(Advertisement {
        src: message.src,
        dst: message.dst,
        target: message.target,
        target_mac: message.option(TARGET_LINK_LAYER)?,
        flags,
    }))
}

/// Turns a frame with a solicitation into the advertisement that answers it: the target is at
/// `our_mac`. A VLAN tag stays. The answer goes to where the frame came from.
///
/// An asker without an address cannot be answered in person: the answer then goes to all nodes, and
/// is not marked as solicited whatever `flags` say (RFC 4861 §7.2.4).
///
/// # Errors
/// [`Error::NoRoom`] if the buffer is too small to hold the answer.
pub fn answer<B: Buffer>(
    packet: &mut B,
    meta: &Meta,
    solicitation: &Solicitation,
    our_mac: MacAddr,
    flags: Flags,
) -> Result<(), Error> {
    let l3 = usize::from(meta.l3);
    let end = l3 + ipv6::LEN + MESSAGE_LEN + OPTION_LEN;
    packet.truncate(end);
    packet.pull_up(end)?;
    packet.append(end - packet.len())?;

    let to_all = solicitation.src.is_unspecified();
    let dst = if to_all { ALL_NODES } else { solicitation.src };
    let flags = Flags {
        solicited: flags.solicited && !to_all,
        ..flags
    };
    let frame = packet.bytes_mut();
    let link = frame.get_mut(meta.l2()..).unwrap_or_default();
    let (mut link, _) = ethernet::Header::split_mut(link)?;
    link.set_dst(match to_all {
        true => MacAddr::ipv6_multicast(ALL_NODES),
        false => link.src(),
    });
    link.set_src(our_mac);
    let message = [NEIGHBOR_ADVERTISEMENT, flags.to_bits(), TARGET_LINK_LAYER];
    write(
        &mut frame[l3..],
        message,
        (solicitation.target, dst),
        solicitation.target,
        our_mac,
    )
}

/// Makes `packet` a frame that asks the link who has `target`, whatever it held before.
///
/// # Errors
/// [`Error::MalformedNd`] if `src` is unspecified, which must not come with a link-layer address, or
/// if `target` is a group; [`Error::NoRoom`] if the buffer cannot hold 86 bytes.
pub fn solicit<B: Buffer>(
    packet: &mut B,
    src_mac: MacAddr,
    src: Ipv6Addr,
    target: Ipv6Addr,
) -> Result<(), Error> {
    if src.is_unspecified() || target.is_multicast() {
        return Err(Error::MalformedNd);
    }
    let len = ethernet::LEN + ipv6::LEN + MESSAGE_LEN + OPTION_LEN;
    buffer::clear(packet, len)?;
    let group = addr::solicited_node(target);
    let (mut link, rest) = ethernet::Header::split_mut(packet.bytes_mut())?;
    link.set_dst(MacAddr::ipv6_multicast(group));
    link.set_src(src_mac);
    link.set_ether_type(ethernet::IPV6);
    let message = [NEIGHBOR_SOLICITATION, 0, SOURCE_LINK_LAYER];
    write(rest, message, (src, group), target, src_mac)
}

/// Makes `packet` a frame that tells all nodes on the link that `addr` is at `our_mac` now, whatever
/// they have cached (RFC 4861 §7.2.6), whatever it held before.
///
/// # Errors
/// [`Error::MalformedNd`] if `addr` is not one node's; [`Error::NoRoom`] if the buffer cannot hold
/// 86 bytes.
pub fn announce<B: Buffer>(packet: &mut B, our_mac: MacAddr, addr: Ipv6Addr) -> Result<(), Error> {
    if addr.is_unspecified() || addr.is_multicast() {
        return Err(Error::MalformedNd);
    }
    let len = ethernet::LEN + ipv6::LEN + MESSAGE_LEN + OPTION_LEN;
    buffer::clear(packet, len)?;
    let (mut link, rest) = ethernet::Header::split_mut(packet.bytes_mut())?;
    link.set_dst(MacAddr::ipv6_multicast(ALL_NODES));
    link.set_src(our_mac);
    link.set_ether_type(ethernet::IPV6);
    let flags = Flags {
        override_cache: true,
        ..Flags::default()
    };
    let message = [NEIGHBOR_ADVERTISEMENT, flags.to_bits(), TARGET_LINK_LAYER];
    write(rest, message, (addr, ALL_NODES), addr, our_mac)
}

/// Writes IPv6 header, message and one option over `packet`.
fn write(
    packet: &mut [u8],
    [kind, flags, option]: [u8; 3],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    mac: MacAddr,
) -> Result<(), Error> {
    const LEN: usize = MESSAGE_LEN + OPTION_LEN;
    let (mut header, rest) = ipv6::Header::split_mut(packet)?;
    header.set(ICMPV6, src, dst, HOP_LIMIT, 0, LEN as u16);
    let (message, _) = crate::split_mut::<LEN>(rest)?;
    *message = [0; LEN];
    message[0] = kind;
    message[4] = flags;
    message[8..24].copy_from_slice(&target.octets());
    message[24] = option;
    message[25] = (OPTION_LEN / 8) as u8;
    message[26..].copy_from_slice(&mac.0);
    let sum = checksum::Sum::new()
        .ipv6_pseudo(src, dst, ICMPV6, LEN as u32)
        .array(message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    Ok(())
}

fn is_nd(meta: &Meta, kind: u8) -> bool {
    meta.is_icmpv6() && meta.fragment != Fragment::Later && meta.l4_flags == kind
}

/// What both messages have in common, checked.
struct Message<'a> {
    src: Ipv6Addr,
    dst: Ipv6Addr,
    flags: u8,
    target: Ipv6Addr,
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// The checks that §7.1.1 and §7.1.2 of RFC 4861 share.
    fn read(frame: &'a [u8], meta: &Meta) -> Result<Self, Error> {
        if meta.ttl != HOP_LIMIT || meta.icmp_code != 0 || meta.fragment_header {
            return Err(Error::MalformedNd);
        }
        if !checksum::transport_is_right(frame, meta) {
            return Err(Error::IcmpChecksum);
        }
        let range = usize::from(meta.l4)..usize::from(meta.end);
        let bytes = frame.get(range).unwrap_or_default();
        let (message, options) =
            crate::split::<MESSAGE_LEN>(bytes).map_err(|_| Error::MalformedNd)?;
        let [_, _, _, _, flags, _, _, _, target @ ..] = *message;
        let target = Ipv6Addr::from(target);
        let (src, dst) = meta.ipv6_addrs(frame).ok_or(Error::MalformedNd)?;
        if target.is_multicast() {
            return Err(Error::MalformedNd);
        }
        Ok(Self {
            src,
            dst,
            flags,
            target,
            options,
        })
    }

    /// The link-layer address in the option of type `wanted`; the first, should there be several.
    /// Walks all options, as one of length zero makes the message invalid wherever it stands.
    fn option(&self, wanted: u8) -> Result<Option<MacAddr>, Error> {
        link_layer_option(self.options, wanted)
    }
}

fn link_layer_option(options: &[u8], wanted: u8) -> Result<Option<MacAddr>, Error> {
    let mut found = None;
    let mut rest = options;
    while let [kind, units, ..] = *rest {
        let len = usize::from(units) * 8;
        if len == 0 {
            return Err(Error::MalformedNd);
        }
        let (option, after) = rest.split_at_checked(len).ok_or(Error::MalformedNd)?;
        if let ([_, _, mac @ ..], true, None) = (option, kind == wanted, found) {
            found = mac.first_chunk().map(|mac| MacAddr(*mac));
        }
        rest = after;
    }
    match rest {
        [] => Ok(found),
        _ => Err(Error::MalformedNd),
    }
}

#[cfg(test)]
mod tests;
