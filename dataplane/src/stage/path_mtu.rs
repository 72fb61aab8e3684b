//! Routers in the fabric that say a tunnel packet was too big (RFC 1191 §4, RFC
//! 8201 §4): the path's MTU falls, and the next tenant whose packet is too big
//! for it is told (RFC 4459 §3.2).
//!
//! Anybody can send such an error, so it counts only if it quotes a packet that
//! this node could have sent: outer addresses and kind of a tunnel of ours, its
//! VNI or label as far as the quote reaches, a source port that we choose, and
//! longer than the MTU it reports. What is reported is bounded.

use encap::{
    LabelEntry, MPLS_UDP_PORT, Meta, Quote, VXLAN_PORT, VxlanHeader, gre, icmp_error, protocol, udp,
};

use super::{Context, Next};
use crate::reason::DropReason;
use crate::tables::path_mtu::{MIN_IPV4, MIN_IPV6, Path};

/// The lowest source port of our tunnels (RFC 7348 §5, RFC 7510 §3).
const FIRST_SOURCE_PORT: u16 = 49_152;

/// What becomes of a packet to this node's own address, if it is such an error;
/// `None` if it is something else, or about something that is no tunnel's.
pub fn hear(context: &Context, meta: &Meta, frame: &[u8]) -> Option<Result<Next, DropReason>> {
    if !icmp_error::is_error(meta) {
        return None;
    }
    // What cannot be read is for the kernel to judge.
    let quote = Quote::read(frame, meta).ok()??;
    let mtu = quote.mtu?;
    let port = tunnel_port(&quote)?;
    let path = context
        .tables
        .underlay()
        .path_mtus
        .get((quote.src, quote.dst));
    let Some(path) = path.filter(|path| is_ours(path, port, &quote, frame)) else {
        return Some(Err(DropReason::IcmpUnmatched));
    };
    let least = match meta.is_icmp() {
        true => MIN_IPV4,
        false => MIN_IPV6,
    };
    let is_too_long = quote.total_len > mtu;
    if is_too_long && path.mtu.learn(mtu, least, path.link_mtu, context.now) {
        Some(Ok(Next::Consumed))
    } else {
        Some(Err(DropReason::PathMtuIgnored))
    }
}

/// The UDP destination port of a quoted tunnel packet, 0 for GRE; `None` if this is no kind of
/// tunnel's.
fn tunnel_port(quote: &Quote) -> Option<u16> {
    match (quote.protocol, quote.dst_port) {
        _ if quote.is_later_fragment => None,
        (protocol::UDP, VXLAN_PORT | MPLS_UDP_PORT) => Some(quote.dst_port),
        (protocol::GRE, _) => Some(0),
        _ => None,
    }
}

fn is_ours(path: &Path, port: u16, quote: &Quote, frame: &[u8]) -> bool {
    let transport = quote.transport(frame);
    let number = match port {
        VXLAN_PORT => vni(transport),
        MPLS_UDP_PORT => label(transport, udp::LEN),
        _ if !is_mpls_in_gre(transport) => return false,
        _ => label(transport, gre::LEN),
    };
    let has_our_port = port == 0 || quote.src_port >= FIRST_SOURCE_PORT;
    has_our_port && path.has(quote.protocol, port, number)
}

/// Whether a GRE header is one of ours: without optional fields (RFC 4023 §4).
fn is_mpls_in_gre(transport: &[u8]) -> bool {
    transport.starts_with(&[0, 0, 0x88, 0x47])
}

/// The VNI, if the quote reaches that far.
fn vni(transport: &[u8]) -> Option<u32> {
    let (header, _) = VxlanHeader::split(transport.get(udp::LEN..)?).ok()?;
    header.vni().map(|vni| vni.get())
}

/// The top label at an offset, if the quote reaches that far (RFC 3032 §2.1).
fn label(transport: &[u8], offset: usize) -> Option<u32> {
    let (entry, _) = LabelEntry::split(transport.get(offset..)?).ok()?;
    Some(entry.label().get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_behind_udp_and_gre() {
        // Label 1000, TC 0, S, TTL 64 (RFC 3032 §2.1).
        let entry = [0, 0x3e, 0x81, 0x40];
        let udp = [&[0xc0, 0, 0x19, 0xeb, 0, 20, 0, 0][..], &entry].concat();
        let gre = [&[0, 0, 0x88, 0x47][..], &entry].concat();
        assert_eq!(label(&udp, udp::LEN), Some(1000));
        assert_eq!(label(&gre, gre::LEN), Some(1000));
        assert_eq!(label(&udp[..11], udp::LEN), None);
        assert!(is_mpls_in_gre(&gre) && !is_mpls_in_gre(&gre[1..]));
    }
}
