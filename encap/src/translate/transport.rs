//! Ports, identifiers and checksums of what an IP header carries.

use super::delta::Delta;
use super::{Change, crc32c};
use crate::protocol::{DCCP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE};
use crate::{Error, Network, icmp, icmpv6};

/// Which transport header it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transport {
    /// Its protocol number.
    pub(super) protocol: u8,
    /// The IP version around it.
    pub(super) network: Network,
    /// Bytes of header and payload; `None` if they are not all in this packet.
    pub(super) len: Option<u16>,
}

impl Transport {
    /// Gives the header at the start of `segment` the ports of `change`, and keeps its checksum
    /// right, given what has changed of the pseudo-header. What the segment is too short for, as in
    /// a quote, is left out.
    ///
    /// Returns both ports if there are such.
    ///
    /// # Errors
    /// [`Error::Untranslatable`] if the checksum takes bytes that are not in this packet.
    #[inline]
    pub(super) fn change(
        &self,
        segment: &mut [u8],
        change: &Change,
        pseudo: Delta,
    ) -> Result<Option<(u16, u16)>, Error> {
        match self.protocol {
            TCP => {
                let Some((delta, ports)) = ports(segment, change) else {
                    return Ok(None);
                };
                pseudo.and(delta).update(field(segment, 16));
                Ok(Some(ports))
            }
            UDP => {
                let Some((delta, ports)) = ports(segment, change) else {
                    return Ok(None);
                };
                pseudo.and(delta).update_udp(field(segment, 6));
                Ok(Some(ports))
            }
            _ => self.change_other(segment, change, pseudo),
        }
    }

    fn change_other(
        &self,
        segment: &mut [u8],
        change: &Change,
        pseudo: Delta,
    ) -> Result<Option<(u16, u16)>, Error> {
        match (self.protocol, self.network) {
            (SCTP, _) => self.change_sctp(segment, change),
            (ICMP, Network::Ipv4) => Ok(identifier(segment, change, Delta::NONE, is_query)),
            (ICMPV6, Network::Ipv6) => Ok(identifier(segment, change, pseudo, is_query_v6)),
            // RFC 3828 §3.1, RFC 4340 §9.1.
            (UDP_LITE | DCCP, _) => {
                pseudo.update(field(segment, 6));
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn change_sctp(
        &self,
        segment: &mut [u8],
        change: &Change,
    ) -> Result<Option<(u16, u16)>, Error> {
        let Some(before) = segment.first_chunk::<4>().copied() else {
            return Ok(None);
        };
        let Some((_, ports)) = ports(segment, change) else {
            return Ok(None);
        };
        let difference = core::array::from_fn(|at| before[at] ^ segment[at]);
        if difference == [0; 4] {
            return Ok(Some(ports));
        }
        let len = self.len.ok_or(Error::Untranslatable)?;
        if let Some(field) = segment.get_mut(8..).and_then(<[u8]>::first_chunk_mut) {
            let checksum = u32::from_le_bytes(*field) ^ crc32c::change(difference, len);
            *field = checksum.to_le_bytes();
        }
        Ok(Some(ports))
    }
}

/// Writes the two ports a header begins with; `None` if they are not there.
#[inline]
fn ports(segment: &mut [u8], change: &Change) -> Option<(Delta, (u16, u16))> {
    let field = segment.first_chunk_mut::<4>()?;
    let [a, b, c, d] = *field;
    let src = change
        .src
        .map_or(u16::from_be_bytes([a, b]), |end| end.port);
    let dst = change
        .dst
        .map_or(u16::from_be_bytes([c, d]), |end| end.port);
    let delta = Delta::NONE.minus(field);
    let ([a, b], [c, d]) = (src.to_be_bytes(), dst.to_be_bytes());
    *field = [a, b, c, d];
    Some((delta.plus(field), (src, dst)))
}

/// Writes the identifier of an ICMP query, which stands for both ports; other messages have none, but
/// a checksum.
fn identifier(
    segment: &mut [u8],
    change: &Change,
    pseudo: Delta,
    is_query: fn(u8) -> bool,
) -> Option<(u16, u16)> {
    let (kind, id) = match segment {
        [kind, _, _, _, a, b, ..] => (*kind, [*a, *b]),
        _ => return None,
    };
    if !is_query(kind) {
        pseudo.update(field(segment, 2));
        return None;
    }
    let old = u16::from_be_bytes(id);
    // Whichever end is said to have another one.
    let mut ends = [change.src, change.dst].into_iter().flatten();
    let new = ends.find(|end| end.port != old).map_or(old, |end| end.port);
    let delta = pseudo.minus(&id).plus(&new.to_be_bytes());
    field(segment, 4).copy_from_slice(&new.to_be_bytes());
    delta.update(field(segment, 2));
    Some((new, new))
}

fn is_query(kind: u8) -> bool {
    icmp::Header::new(&[kind, 0, 0, 0, 0, 0, 0, 0]).is_query()
}

fn is_query_v6(kind: u8) -> bool {
    icmpv6::Header::new(&[kind, 0, 0, 0, 0, 0, 0, 0]).is_query()
}

/// The 16-bit field at an offset; nothing if the segment ends before.
#[inline]
fn field(segment: &mut [u8], at: usize) -> &mut [u8] {
    segment.get_mut(at..at + 2).unwrap_or_default()
}
