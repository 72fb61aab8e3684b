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
    let plain = if packet.is_chained() {
        None
    } else {
        plain(packet.bytes())
    };
    let meta = match plain {
        Some(meta) => meta,
        None => other(packet)?,
    };
    Ok(meta)
}

/// What [`parse_outer`] says of a plain frame in one piece: untagged Ethernet, IP without options or
/// extension headers, UDP or GRE, whole. `None` for any other.
#[inline(always)]
#[must_use]
pub fn parse_plain_outer(frame: &[u8]) -> Option<Meta> {
    plain(frame)
}

/// Apart, so that the short way stays short.
#[cold]
#[inline(never)]
fn other<B: Buffer>(packet: &mut B) -> Result<Meta, Error> {
    parse_packet(packet)
}

/// The plain case, or `None`. Every tunnel packet has eight bytes behind its IP header.
///
/// Branches are what this costs, more than instructions: hence one comparison for what lies side by
/// side, and one length check per IP version.
#[inline(always)]
fn plain(frame: &[u8]) -> Option<Meta> {
    let headers = frame.first_chunk::<{ L3 + ipv4::LEN + udp::LEN }>()?;
    let len = u16::try_from(frame.len()).ok()?;
    // EtherType, and the first byte of the IP header: version, and the IPv4 header's length.
    let [.., a, b, c] = headers.first_chunk::<{ L3 + 1 }>()?;
    let kind = u32::from_be_bytes([0, *a, *b, *c]);
    if kind == (IPV4 as u32) << 8 | 0x45 {
        plain_ipv4(headers, len)
    } else if kind & 0xff_fff0 == (IPV6 as u32) << 8 | 0x60 {
        plain_ipv6(frame.first_chunk()?, len)
    } else {
        None
    }
}

const L3: usize = ethernet::LEN;

#[inline]
fn plain_ipv4(headers: &[u8; L3 + ipv4::LEN + udp::LEN], len: u16) -> Option<Meta> {
    let (header, transport) = ipv4::Header::split(&headers[L3..]).ok()?;
    let total_len = header.total_len();
    if header.is_fragment() || total_len > len - L3 as u16 || !header.sum().is_right() {
        return None;
    }
    let mut meta = Meta::new(L3 as u16, L3 as u16 + total_len);
    meta.ether_type = IPV4;
    meta.network = Network::Ipv4;
    meta.l4 = (L3 + ipv4::LEN) as u16;
    meta.fragment_id = u32::from(header.id());
    meta.protocol = header.protocol();
    meta.ttl = header.ttl();
    meta.traffic_class = header.traffic_class();
    with_transport(meta, transport, total_len, ipv4::LEN as u16)
}

#[inline]
fn plain_ipv6(headers: &[u8; L3 + ipv6::LEN + udp::LEN], len: u16) -> Option<Meta> {
    const L4: u16 = (L3 + ipv6::LEN) as u16;

    let (header, transport) = ipv6::Header::split(&headers[L3..]).ok()?;
    let payload_len = header.payload_len();
    if payload_len > len - L4 {
        return None;
    }
    let mut meta = Meta::new(L3 as u16, L4 + payload_len);
    meta.ether_type = IPV6;
    meta.network = Network::Ipv6;
    meta.l4 = L4;
    meta.protocol = header.next_header();
    meta.ttl = header.hop_limit();
    meta.traffic_class = header.traffic_class();
    with_transport(meta, transport, payload_len, 0)
}

/// Completes `meta` with what begins with `header`, behind `before` of the `len` bytes there are.
#[inline]
fn with_transport(mut meta: Meta, header: &[u8], len: u16, before: u16) -> Option<Meta> {
    if meta.protocol == UDP {
        let (header, _) = udp::Header::split(header).ok()?;
        // The length field goes from that of a header to `len - before`.
        let payload_len = header.len_field().wrapping_sub(udp::LEN as u16);
        if payload_len > len.checked_sub(before + udp::LEN as u16)? {
            return None;
        }
        meta.src_port = header.src_port();
        meta.dst_port = header.dst_port();
        return Some(meta);
    }
    (meta.protocol == GRE && len > before).then_some(meta)
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
