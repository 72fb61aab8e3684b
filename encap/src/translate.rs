//! Other addresses and ports for a packet: what network address translation does to its bytes, in
//! place and with every checksum kept right (RFC 3022, RFC 1624).
//!
//! Who becomes whom is the caller's to know. [`apply`] changes ends within an IP version; [`convert`]
//! makes an IPv4 packet of an IPv6 one and back (RFC 7915); [`apply_to_error`] and [`convert_error`]
//! do the same for ICMP errors and the packet they quote (RFC 5508 §4).
//!
//! | what | changes |
//! |---|---|
//! | TCP, UDP | addresses and ports; no UDP checksum stays none, a computed 0 is sent as 0xFFFF |
//! | SCTP | addresses and ports; its CRC32c covers no addresses and is updated without reading the payload |
//! | ICMP and ICMPv6 queries | addresses and the identifier |
//! | UDP-Lite, DCCP | addresses; their checksums cover them |
//! | others | addresses |
//! | later fragments | addresses |
//!
//! IPv4 options stay, but a packet with one that may hold addresses (record route, timestamp, and
//! whatever is not known) is refused rather than sent half translated (RFC 1812 §5.3.13.1).

mod crc32c;
mod delta;
mod error;
mod family;
mod header;
mod messages;
mod transport;

use crate::protocol::{TCP, UDP};
use crate::{Error, Fragment, Meta, Network, ipv4, ipv6};
use core::net::IpAddr;
use delta::Delta;
use transport::Transport;

pub use error::{apply_to_error, convert_error};
pub use family::convert;
pub use header::MAY_BE_CUT;

/// One end of a flow: an address, and a port or the identifier of ICMP queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// The address.
    pub addr: IpAddr,
    /// The port or identifier; of no meaning for protocols that have neither.
    pub port: u16,
}

/// What a packet's ends become; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The new source.
    pub src: Option<End>,
    /// The new destination.
    pub dst: Option<End>,
}

/// Both ends of a packet of the other IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The source.
    pub src: End,
    /// The destination.
    pub dst: End,
}

/// Gives a packet other ends of its own IP version, and `meta` their ports.
///
/// `frame` holds the headers; the payload may be elsewhere. What is not IP stays as it is.
///
/// # Errors
/// [`Error::Untranslatable`]: an option that may hold an address, a first fragment of SCTP whose
/// ports would change, or an end of the other IP version. [`Error::Truncated`] with a `meta` of
/// another packet. The packet is worth nothing then.
#[inline]
pub fn apply(frame: &mut [u8], meta: &mut Meta, change: &Change) -> Result<(), Error> {
    // Nearly all there is, and every packet of a translated flow comes here.
    let is_plain = meta.network == Network::Ipv4 && !meta.ip_options;
    match meta.protocol {
        TCP if is_plain && meta.fragment != Fragment::Later => {
            let (head, delta) = plain_ipv4::<38>(frame, meta, change)?;
            delta.update(&mut head[36..]);
            Ok(())
        }
        UDP if is_plain && meta.fragment != Fragment::Later => {
            let (head, delta) = plain_ipv4::<28>(frame, meta, change)?;
            delta.update_udp(&mut head[26..]);
            Ok(())
        }
        _ => apply_any(frame, meta, change),
    }
}

/// Changes the ends of an IPv4 packet without options, of which `N` bytes are asked for, and its
/// header's checksum. Returns those bytes and what has changed for the checksum behind the ports.
#[inline]
fn plain_ipv4<'a, const N: usize>(
    frame: &'a mut [u8],
    meta: &mut Meta,
    change: &Change,
) -> Result<(&'a mut [u8; N], Delta), Error> {
    let (l3, have) = (usize::from(meta.l3), frame.len());
    let head = frame.get_mut(l3..l3 + N);
    let Some(head) = head.and_then(<[u8]>::first_chunk_mut::<N>) else {
        return Err(Error::truncated(N, have));
    };
    let (mut addresses, mut ports) = (Delta::NONE, Delta::NONE);
    if let Some(end) = &change.src {
        (addresses, ports) = exchange(head, (12, 20), end, (addresses, ports))?;
        meta.src_port = end.port;
    }
    if let Some(end) = &change.dst {
        (addresses, ports) = exchange(head, (16, 22), end, (addresses, ports))?;
        meta.dst_port = end.port;
    }
    addresses.update(&mut head[10..12]);
    Ok((head, addresses.and(ports)))
}

/// Writes an IPv4 address and a port at their offsets.
#[inline(always)]
fn exchange(
    head: &mut [u8],
    (address_at, port_at): (usize, usize),
    end: &End,
    (addresses, ports): (Delta, Delta),
) -> Result<(Delta, Delta), Error> {
    let IpAddr::V4(addr) = end.addr else {
        return Err(Error::Untranslatable);
    };
    let (address, _) = crate::split_mut(&mut head[address_at..])?;
    let addresses = addresses.exchange(address, addr.octets());
    let (port, _) = crate::split_mut(&mut head[port_at..])?;
    Ok((addresses, ports.exchange(port, end.port.to_be_bytes())))
}

/// [`apply`] to any packet; apart, as in one function it would cost the others a dozen saved registers.
#[inline(never)]
fn apply_any(frame: &mut [u8], meta: &mut Meta, change: &Change) -> Result<(), Error> {
    let (l3, l4) = (usize::from(meta.l3), usize::from(meta.l4));
    let addresses = match meta.network {
        Network::Ipv4 => {
            if meta.ip_options {
                check_options(frame.get(l3 + ipv4::LEN..l4).unwrap_or_default())?;
            }
            ipv4_ends(frame.get_mut(l3..).unwrap_or_default(), change)?
        }
        Network::Ipv6 => ipv6_ends(frame.get_mut(l3..).unwrap_or_default(), change)?,
        Network::Arp | Network::Other => return Ok(()),
    };
    if meta.fragment == Fragment::Later {
        return Ok(());
    }
    let transport = Transport {
        protocol: meta.protocol,
        network: meta.network,
        len: match meta.fragment {
            Fragment::Whole => Some(meta.end.saturating_sub(l4 as u16)),
            _ => None,
        },
    };
    let segment = frame.get_mut(l4..).unwrap_or_default();
    let ports = transport.change(segment, change, addresses)?;
    if let Some((src, dst)) = ports {
        (meta.src_port, meta.dst_port) = (src, dst);
    }
    Ok(())
}

/// Gives an IPv4 packet another identification: those of several machines behind one address must
/// not be alike (RFC 6864 §5.3.1). What is not IPv4 stays as it is.
pub fn set_ipv4_id(frame: &mut [u8], meta: &Meta, id: u16) {
    if meta.network != Network::Ipv4 {
        return;
    }
    let packet = frame.get_mut(usize::from(meta.l3)..).unwrap_or_default();
    if let Ok((mut header, _)) = ipv4::Header::split_mut(packet) {
        let checksum = crate::checksum::update_u16(header.checksum(), header.id(), id);
        header.set_id(id);
        header.set_checksum(checksum);
    }
}

/// Changes the addresses of the IPv4 header at the start of `packet`, and its checksum. Returns what
/// that means for a checksum that covers them.
fn ipv4_ends(packet: &mut [u8], change: &Change) -> Result<Delta, Error> {
    let (header, _) = crate::split_mut::<{ ipv4::LEN }>(packet)?;
    let mut delta = Delta::NONE;
    for (end, at) in [(&change.src, 12), (&change.dst, 16)] {
        let Some(end) = end else { continue };
        let IpAddr::V4(addr) = end.addr else {
            return Err(Error::Untranslatable);
        };
        let (field, _) = crate::split_mut(&mut header[at..])?;
        delta = delta.exchange(field, addr.octets());
    }
    delta.update(&mut header[10..12]);
    Ok(delta)
}

/// [`ipv4_ends`] for IPv6, whose header has no checksum.
fn ipv6_ends(packet: &mut [u8], change: &Change) -> Result<Delta, Error> {
    let (header, _) = crate::split_mut::<{ ipv6::LEN }>(packet)?;
    let mut delta = Delta::NONE;
    for (end, at) in [(&change.src, 8), (&change.dst, 24)] {
        let Some(end) = end else { continue };
        let IpAddr::V6(addr) = end.addr else {
            return Err(Error::Untranslatable);
        };
        let (field, _) = crate::split_mut(&mut header[at..])?;
        delta = delta.exchange(field, addr.octets());
    }
    Ok(delta)
}

/// Whether IPv4 options, found well-formed before, hold no address that translation would have to
/// change.
///
/// # Errors
/// [`Error::Untranslatable`] if one may.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), Error> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    // Security, extended security, stream identifier and router alert (RFC 1108, RFC 791, RFC 2113).
    const WITHOUT_ADDRESSES: [u8; 4] = [130, 133, 136, 148];

    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            END => break,
            NO_OPERATION => options = rest,
            _ if WITHOUT_ADDRESSES.contains(&kind) => {
                let len = rest.first().map_or(0, |len| usize::from(*len));
                options = options.get(len.max(2)..).unwrap_or_default();
            }
            _ => return Err(Error::Untranslatable),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
