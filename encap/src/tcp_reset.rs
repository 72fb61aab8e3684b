//! The reset that refuses a TCP segment (RFC 9293 §3.5.2 and §3.10.7.1): the segment becomes it.

use crate::checksum::Sum;
use crate::protocol::TCP;
use crate::{
    Buffer, Error, Fragment, MacAddr, Meta, Offload, TcpHeader, ethernet, ipv4, ipv6, tcp,
};
use core::net::IpAddr;

/// TTL or hop limit of resets (IANA's recommendation).
const TTL: u8 = 64;

/// Whether a reset may answer this packet: it is a whole TCP segment, and no reset itself.
#[must_use]
pub fn may_answer(meta: &Meta) -> bool {
    meta.is_tcp() && meta.fragment == Fragment::Whole && meta.l4_flags & tcp::RST == 0
}

/// Turns a segment into the reset about it, as if its destination had sent it: an untagged frame to
/// the segment's sender, from `src_mac`.
///
/// With ACK set, the reset takes its sequence number from there; without, it has sequence number 0
/// and acknowledges all that the segment takes up, SYN and FIN included.
///
/// The caller has asked [`may_answer`], and that the segment came from one sender to one receiver.
///
/// # Errors
/// [`Error::Truncated`] with a `meta` of another packet, [`Error::NoRoom`] if the buffer cannot hold
/// 74 bytes. The packet is unchanged.
pub fn write<B: Buffer>(packet: &mut B, meta: &Meta, src_mac: MacAddr) -> Result<(), Error> {
    let frame = packet.bytes();
    let (link, _) = crate::EthernetHeader::split(frame.get(meta.l2()..).unwrap_or_default())?;
    let dst_mac = link.src();
    let (segment, _) = TcpHeader::split(frame.get(usize::from(meta.l4)..).unwrap_or_default())?;
    let reset = Reset::about(&segment, meta);
    let addrs = meta.addrs(frame);
    let ip_len = match addrs {
        Some((IpAddr::V4(_), _)) => ipv4::LEN,
        _ => ipv6::LEN,
    };
    let len = ethernet::LEN + ip_len + tcp::LEN;
    // A segment without options is longer than its reset only with padding; options go.
    if packet.len() < len {
        packet.append(len - packet.len())?;
    }
    packet.truncate(len);
    packet.set_offload(Offload::NONE);
    let frame = packet.bytes_mut();
    let (mut link, rest) = ethernet::Header::split_mut(frame)?;
    link.set_dst(dst_mac);
    link.set_src(src_mac);
    link.set_ether_type(meta.ether_type);
    let sum = match addrs {
        Some((IpAddr::V4(to), IpAddr::V4(from))) => {
            let (mut header, _) = ipv4::Header::split_mut(rest)?;
            header.set(TCP, from, to, TTL, 0, (ip_len + tcp::LEN) as u16);
            header.fill_checksum();
            Sum::new().ipv4_pseudo(from, to, TCP, tcp::LEN as u16)
        }
        Some((IpAddr::V6(to), IpAddr::V6(from))) => {
            let (mut header, _) = ipv6::Header::split_mut(rest)?;
            header.set(TCP, from, to, TTL, 0, tcp::LEN as u16);
            Sum::new().ipv6_pseudo(from, to, TCP, tcp::LEN as u32)
        }
        _ => return Err(Error::AddressFamily),
    };
    let (bytes, _) = crate::split_mut::<{ tcp::LEN }>(rest.get_mut(ip_len..).unwrap_or_default())?;
    *bytes = reset.to_bytes();
    let checksum = sum.array(bytes).finish();
    TcpHeader::new(bytes).set_checksum(checksum);
    Ok(())
}

/// The fields of a reset.
struct Reset {
    src_port: u16,
    dst_port: u16,
    sequence: u32,
    acknowledgment: u32,
    flags: u8,
}

impl Reset {
    fn about(segment: &TcpHeader<&[u8; tcp::LEN]>, meta: &Meta) -> Self {
        let (sequence, acknowledgment, flags) = match segment.flags() & tcp::ACK {
            0 => {
                let end = segment.sequence().wrapping_add(segment_len(segment, meta));
                (0, end, tcp::RST | tcp::ACK)
            }
            _ => (segment.acknowledgment(), 0, tcp::RST),
        };
        Self {
            src_port: segment.dst_port(),
            dst_port: segment.src_port(),
            sequence,
            acknowledgment,
            flags,
        }
    }

    fn to_bytes(&self) -> [u8; tcp::LEN] {
        let mut bytes = [0; tcp::LEN];
        bytes[..2].copy_from_slice(&self.src_port.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.acknowledgment.to_be_bytes());
        bytes[12] = (tcp::LEN as u8 / 4) << 4;
        bytes[13] = self.flags;
        bytes
    }
}

/// SEG.LEN: the sequence numbers the segment takes up (RFC 9293 §3.4).
fn segment_len(segment: &TcpHeader<&[u8; tcp::LEN]>, meta: &Meta) -> u32 {
    let payload = usize::from(meta.end.saturating_sub(meta.l4));
    let data = payload.saturating_sub(segment.header_len()) as u32;
    let syn = u32::from(segment.flags() & tcp::SYN != 0);
    let fin = u32::from(segment.flags() & tcp::FIN != 0);
    data + syn + fin
}

#[cfg(test)]
mod tests;
