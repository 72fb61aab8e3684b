//! The headers of a frame from the fabric: [`parse_packet`] for what a fabric carries all day.
//!
//! Most of what arrives there is Ethernet, IP without options or extension headers, and UDP or GRE,
//! whole. Reading just that takes a third of the time; whatever is otherwise, or wrong, goes the long
//! way, and says there what is wrong with it.

use crate::ethernet::{IPV4, IPV6};
use crate::protocol::{GRE, UDP};
use crate::{Buffer, Error, Meta, Network, ethernet, ipv4, ipv6, parse_packet, udp};

/// Parses an Ethernet frame, exactly as [`parse_packet`] does, with tunnel packets in mind.
///
/// # Errors
/// As [`parse_packet`].
#[inline]
pub fn parse_outer<B: Buffer>(packet: &mut B) -> Result<Meta, Error> {
    if !packet.is_chained()
        && let Some(meta) = plain(packet.bytes())
    {
        return Ok(meta);
    }
    other(packet)
}

/// Apart, so that the short way stays short.
#[cold]
#[inline(never)]
fn other<B: Buffer>(packet: &mut B) -> Result<Meta, Error> {
    parse_packet(packet)
}

/// The plain case, or `None`. Every tunnel packet has eight bytes behind its IP header.
#[inline]
fn plain(frame: &[u8]) -> Option<Meta> {
    let (link, packet) = ethernet::Header::split(frame).ok()?;
    // The longest an IP length field can say is more than a frame may have.
    if frame.len() > usize::from(u16::MAX) {
        return None;
    }
    match link.ether_type() {
        IPV4 => plain_ipv4(packet),
        IPV6 => plain_ipv6(packet),
        _ => None,
    }
}

#[inline]
fn plain_ipv4(packet: &[u8]) -> Option<Meta> {
    const VERSION_AND_LEN: u8 = 0x45;

    let headers = packet.first_chunk::<{ ipv4::LEN + udp::LEN }>()?;
    let (header, transport) = ipv4::Header::split(headers).ok()?;
    let total_len = header.total_len();
    if headers[0] != VERSION_AND_LEN
        || header.is_fragment()
        || usize::from(total_len) > packet.len()
        || header.sum().finish() != 0
    {
        return None;
    }
    let mut meta = Meta::new(ethernet::LEN as u16, ethernet::LEN as u16 + total_len);
    meta.ether_type = IPV4;
    meta.network = Network::Ipv4;
    meta.l4 = (ethernet::LEN + ipv4::LEN) as u16;
    meta.fragment_id = u32::from(header.id());
    meta.protocol = header.protocol();
    meta.ttl = header.ttl();
    meta.traffic_class = header.traffic_class();
    let payload_len = total_len.checked_sub(ipv4::LEN as u16)?;
    with_transport(meta, transport, payload_len)
}

#[inline]
fn plain_ipv6(packet: &[u8]) -> Option<Meta> {
    let headers = packet.first_chunk::<{ ipv6::LEN + udp::LEN }>()?;
    let (header, transport) = ipv6::Header::split(headers).ok()?;
    let payload_len = header.payload_len();
    if header.version() != 6 || ipv6::LEN + usize::from(payload_len) > packet.len() {
        return None;
    }
    let l4 = (ethernet::LEN + ipv6::LEN) as u16;
    let mut meta = Meta::new(ethernet::LEN as u16, l4 + payload_len);
    meta.ether_type = IPV6;
    meta.network = Network::Ipv6;
    meta.l4 = l4;
    meta.protocol = header.next_header();
    meta.ttl = header.hop_limit();
    meta.traffic_class = header.traffic_class();
    with_transport(meta, transport, payload_len)
}

/// Completes `meta` with what begins with `header` and is `len` bytes long.
#[inline]
fn with_transport(mut meta: Meta, header: &[u8], len: u16) -> Option<Meta> {
    if meta.protocol == UDP {
        let (header, _) = udp::Header::split(header).ok()?;
        if !(udp::LEN as u16..=len).contains(&header.len_field()) {
            return None;
        }
        meta.src_port = header.src_port();
        meta.dst_port = header.dst_port();
        return Some(meta);
    }
    (meta.protocol == GRE && len > 0).then_some(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{self, Random};
    use crate::{MemBuffer, parse};

    #[test]
    fn every_frame_reads_as_the_long_way_does() {
        let mut random = Random(0x5eed);
        for original in samples::all() {
            for round in 0..if cfg!(miri) { 3 } else { 3_000 } {
                let mut frame = original.clone();
                for _ in 0..round % 4 {
                    let at = random.below(frame.len().min(60));
                    frame[at] = random.next() as u8;
                }
                frame.truncate(frame.len() - random.below(2) * random.below(frame.len()));
                if round % 5 == 0 && frame.len() > 18 {
                    frame[16..18].fill(0xff); // the largest total length there is
                }
                if random.below(2) == 0 && frame.len() > 14 + 60 {
                    samples::fix_ipv4(&mut frame[14..]);
                }
                let mut packet = MemBuffer::from_frame(&frame);
                assert_eq!(parse_outer(&mut packet), parse(&frame), "{frame:02x?}");
            }
        }
    }

    #[test]
    fn plain_tunnel_packets_take_the_short_way() {
        for text in [samples::VXLAN_PING, samples::VXLAN6_PING] {
            let frame = samples::hex(text);
            assert_eq!(plain(&frame), parse(&frame).ok());
        }
        let tagged = samples::tagged(&samples::hex(samples::VXLAN_PING), 7);
        assert_eq!(plain(&tagged), None);
    }
}
