//! A packet of one IP version as a packet of the other (RFC 7915).

use super::delta::Delta;
use super::header::Header;
use super::transport::Transport;
use super::{Change, Ends, messages};
use crate::protocol::{ICMP, ICMPV6, UDP};
use crate::{Buffer, Error, Fragment, L4Checksum, Meta, Network, checksum, ethernet, icmp_error};
use core::net::IpAddr;

/// Makes an IPv6 packet of an IPv4 one, or the other way round, with these ends, and `meta` that of
/// the new packet. `id` is the identification of an IPv4 packet that may be, or is, in fragments.
///
/// What the other version cannot say is left behind where that does no harm: IPv4 options, IPv6 hop
/// and destination options, flow labels. TTL and hop limit stay; who forwards it lowers them. A
/// frame's EtherType changes with it.
///
/// # Errors
/// [`Error::NoCounterpart`]: an ICMP message that is neither an echo nor its reply (for errors there
/// is [`convert_error`](super::convert_error)), other extension headers, a routing header that has
/// yet to be followed, a source route, a fragment of UDP without a checksum.
/// [`Error::FragmentedIcmp`], whose checksum covers what is not here. [`Error::TooLong`],
/// [`Error::NoRoom`] for the longer header; [`Error::Untranslatable`] as [`apply`](super::apply) and
/// for ends of the wrong version. The packet is worth nothing then.
pub fn convert<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    ends: &Ends,
    id: u16,
) -> Result<(), Error> {
    let (l3, l4) = (usize::from(meta.l3), usize::from(meta.l4));
    let is_partial = packet.offload().l4_checksum == L4Checksum::Partial;
    let frame = packet.bytes_mut();
    let mut header = Header::read(meta.network, frame.get(l3..).unwrap_or_default())?;
    // A later fragment's protocol is what its first one has, which may stand behind other headers.
    if header.protocol != meta.protocol || meta.source_route {
        return Err(Error::NoCounterpart);
    }
    header.payload_len = usize::from(meta.end.saturating_sub(meta.l4));
    if header.payload_len == 0 {
        return Err(Error::NoCounterpart); // over IPv6 that would be a jumbogram's header
    }
    let head = header.as_other(ends, id)?;
    let end = l3 + head.bytes().len() + header.payload_len;
    let end = u16::try_from(end).map_err(|_| Error::too_long(end))?;
    let mut is_unchecked = false;
    if matches!(meta.protocol, ICMP | ICMPV6) && meta.fragment != Fragment::Whole {
        return Err(Error::FragmentedIcmp);
    }
    if meta.fragment != Fragment::Later {
        if icmp_error::is_error(meta) {
            return Err(Error::NoCounterpart);
        }
        let segment = frame.get_mut(l4..).unwrap_or_default();
        is_unchecked = meta.protocol == UDP
            && meta.network == Network::Ipv4
            && !is_partial
            && segment.get(6..8) == Some(&[0; 2]);
        if is_unchecked && meta.fragment == Fragment::First {
            return Err(Error::NoCounterpart);
        }
        let old = Old::of(frame, meta)?;
        let segment = frame.get_mut(l4..).unwrap_or_default();
        let len = (meta.fragment == Fragment::Whole).then_some(header.payload_len as u16);
        let ports = convert_transport(segment, (&header, &old), ends, len)?;
        if let Some((src, dst)) = ports {
            (meta.src_port, meta.dst_port) = (src, dst);
        }
    }
    replace(packet, l3, l4, head.bytes())?;
    describe(meta, &header, head.bytes().len(), end);
    if matches!(meta.protocol, ICMP | ICMPV6) {
        meta.l4_flags = packet
            .bytes()
            .get(usize::from(meta.l4))
            .copied()
            .unwrap_or(0);
    }
    set_ether_type(packet.bytes_mut(), meta);
    if is_unchecked {
        // Over IPv6 every datagram has one (RFC 7915 §4.5).
        checksum::fill_packet(packet, meta);
    }
    Ok(())
}

/// The addresses a packet had.
pub(super) struct Old {
    addrs: (IpAddr, IpAddr),
}

impl Old {
    /// Of a parsed packet.
    fn of(frame: &[u8], meta: &Meta) -> Result<Self, Error> {
        let addrs = meta.addrs(frame).ok_or(Error::NoCounterpart)?;
        Ok(Self { addrs })
    }

    /// Of a packet whose addresses are known.
    pub(super) const fn new(src: IpAddr, dst: IpAddr) -> Self {
        Self { addrs: (src, dst) }
    }
}

/// Changes ports, ICMP types and checksums of a segment that gets another IP version's header. `len`
/// is that of all the segment, if it is known.
pub(super) fn convert_transport(
    segment: &mut [u8],
    (header, old): (&Header, &Old),
    ends: &Ends,
    len: Option<u16>,
) -> Result<Option<(u16, u16)>, Error> {
    let change = Change {
        src: Some(ends.src),
        dst: Some(ends.dst),
    };
    let new_addrs = (ends.src.addr, ends.dst.addr);
    let is_icmp = matches!(header.protocol, ICMP | ICMPV6);
    let mut pseudo = add_addrs(Delta::NONE, new_addrs, false);
    pseudo = add_addrs(pseudo, old.addrs, true);
    let (protocol, network) = match old.addrs.0 {
        IpAddr::V4(_) if is_icmp => {
            query_as_icmpv6(segment, new_addrs, header.payload_len)?;
            pseudo = Delta::NONE;
            (ICMPV6, Network::Ipv6)
        }
        IpAddr::V6(_) if is_icmp => {
            query_as_icmp(segment, old.addrs, header.payload_len)?;
            (ICMP, Network::Ipv4)
        }
        IpAddr::V4(_) => (header.protocol, Network::Ipv4),
        IpAddr::V6(_) => (header.protocol, Network::Ipv6),
    };
    let transport = Transport {
        protocol,
        network,
        len,
    };
    transport.change(segment, &change, pseudo)
}

/// ICMP's checksum covers no pseudo-header, that of ICMPv6 does.
fn query_as_icmpv6(segment: &mut [u8], addrs: (IpAddr, IpAddr), len: usize) -> Result<(), Error> {
    let (message, _) = crate::split_mut::<4>(segment)?;
    let [kind, code, ..] = *message;
    let new = messages::query_as_icmpv6(kind)?;
    add_addrs(Delta::NONE, addrs, false)
        .plus(&(len as u32).to_be_bytes())
        .plus(&u32::from(ICMPV6).to_be_bytes())
        .minus(&[kind, code])
        .plus(&[new, code])
        .update(&mut message[2..4]);
    message[0] = new;
    Ok(())
}

fn query_as_icmp(segment: &mut [u8], addrs: (IpAddr, IpAddr), len: usize) -> Result<(), Error> {
    let (message, _) = crate::split_mut::<4>(segment)?;
    let [kind, code, ..] = *message;
    let new = messages::query_as_icmp(kind)?;
    add_addrs(Delta::NONE, addrs, true)
        .minus(&(len as u32).to_be_bytes())
        .minus(&u32::from(ICMPV6).to_be_bytes())
        .minus(&[kind, code])
        .plus(&[new, code])
        .update(&mut message[2..4]);
    message[0] = new;
    Ok(())
}

fn add_addrs(delta: Delta, (src, dst): (IpAddr, IpAddr), are_gone: bool) -> Delta {
    [src, dst]
        .into_iter()
        .fold(delta, |delta, addr| match addr {
            IpAddr::V4(addr) if are_gone => delta.minus(&addr.octets()),
            IpAddr::V4(addr) => delta.plus(&addr.octets()),
            IpAddr::V6(addr) if are_gone => delta.minus(&addr.octets()),
            IpAddr::V6(addr) => delta.plus(&addr.octets()),
        })
}

/// Puts other headers in the place of those from `l3` to `until`; what is before, the link's, moves
/// along with them.
pub(super) fn replace<B: Buffer>(
    packet: &mut B,
    l3: usize,
    until: usize,
    front: &[u8],
) -> Result<(), Error> {
    let old = until.saturating_sub(l3);
    if until > packet.bytes().len() {
        return Err(Error::truncated(until, packet.bytes().len()));
    }
    if front.len() >= old {
        let more = front.len() - old;
        packet.prepend(more)?;
        packet.bytes_mut().copy_within(more..more + l3, 0);
    } else {
        let less = old - front.len();
        packet.bytes_mut().copy_within(..l3, less);
        packet.trim_front(less)?;
    }
    packet.bytes_mut()[l3..l3 + front.len()].copy_from_slice(front);
    Ok(())
}

/// Makes `meta` that of a packet whose IP header became the other version's, of `head_len` bytes.
pub(super) fn describe(meta: &mut Meta, header: &Header, head_len: usize, end: u16) {
    meta.protocol = header.other_protocol();
    meta.l4 = meta.l3 + head_len as u16;
    meta.end = end;
    meta.ip_options = false;
    (meta.network, meta.ether_type) = match meta.network {
        Network::Ipv4 => (Network::Ipv6, ethernet::IPV6),
        _ => (Network::Ipv4, ethernet::IPV4),
    };
    meta.fragment_header = meta.network == Network::Ipv6 && header.is_part();
}

/// Writes the EtherType of a frame, if that is what the packet is.
pub(super) fn set_ether_type(frame: &mut [u8], meta: &Meta) {
    let l3 = usize::from(meta.l3);
    if l3 >= ethernet::LEN
        && let Some(field) = frame.get_mut(l3 - 2..l3)
    {
        field.copy_from_slice(&meta.ether_type.to_be_bytes());
    }
}
