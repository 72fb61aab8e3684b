//! Nothing that arrives may panic: every truncation and many mutations of valid frames, through every
//! entry of the crate and every accessor of every view.

use crate::samples::{self, Random};
use crate::translate::{Change, End, Ends};
use crate::{
    ArpPacket, Buffer, Circuit, EthernetHeader, GreHeader, IcmpHeader, Icmpv6Header, Ipv4Header,
    Ipv6Header, LabelEntry, MacAddr, MemBuffer, Meta, Pieces, Quote, TcpHeader, UdpHeader, VlanTag,
    VxlanHeader, arp, checksum, decap, ecn, icmp, icmp_error, mss, nd, parameter, parse, parse_at,
    parse_ip, parse_outer, rewrite, tcp_reset, translate,
};
use core::hint::black_box;
use core::net::{IpAddr, Ipv6Addr};

/// Mutations of each sample; few under an interpreter.
const ROUNDS: usize = if cfg!(miri) { 3 } else { 5_000 };

#[test]
fn no_truncation_panics() {
    for frame in samples::all() {
        for len in 0..=frame.len() {
            if cfg!(miri) && len % 7 != 0 {
                continue;
            }
            read(&frame[..len]);
        }
    }
}

#[test]
fn no_mutation_panics() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for original in samples::all() {
        for _ in 0..ROUNDS {
            let mut frame = original.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(frame.len());
                frame[at] = random.next() as u8;
            }
            frame.truncate(frame.len() - random.below(3));
            // Most mutations would end at the IPv4 checksum: mend it half the time.
            if random.below(2) == 0 && frame.len() > 14 + 60 {
                samples::fix_ipv4(&mut frame[14..]);
            }
            read(&frame);
        }
    }
}

#[test]
fn no_noise_panics() {
    let mut random = Random(7);
    for _ in 0..ROUNDS {
        let len = random.below(200);
        let frame: alloc::vec::Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        read(&frame);
    }
}

/// Everything the crate does with bytes it has not seen before.
fn read(frame: &[u8]) {
    views(frame);
    for offset in [0, 1, 14, 50, frame.len(), frame.len() + 1, usize::MAX] {
        let _ = black_box(parse_ip(frame, offset));
        if let Ok(meta) = parse_at(frame, offset) {
            stages(frame, &meta);
        }
    }
    assert_eq!(parse_outer(&mut MemBuffer::from_frame(frame)), parse(frame));
    let Ok(meta) = parse(frame) else { return };
    assert!(meta.l3 <= meta.l4 && meta.l4 <= meta.end && usize::from(meta.end) <= frame.len());
    assert_eq!(meta.l2(), 0);
    // A Meta of another, longer frame is a bug of the caller's, but must not bring a worker down.
    stages(&frame[..frame.len() / 2], &meta);
}

/// What is done with a parsed frame.
fn stages(frame: &[u8], meta: &Meta) {
    black_box((meta.src_addr(frame), meta.dst_addr(frame)));
    black_box(checksum::transport_is_right(frame, meta));
    let _ = black_box((
        nd::solicitation(frame, meta),
        nd::advertisement(frame, meta),
    ));
    let mac = MacAddr::VROUTER;
    let mut packet = MemBuffer::from_frame(frame);
    if let Ok(Some(outer)) = decap(&packet, meta) {
        if let Circuit::Labels(stack) = outer.circuit {
            assert!(stack.labels(frame).count() >= 1);
            assert!(usize::from(outer.inner) >= stack.len());
        }
        let _ = black_box(parse_ip(frame, outer.inner.into()));
        let _ = black_box(parse_at(frame, outer.inner.into()));
    }
    let bytes = packet.bytes_mut();
    rewrite::decrement_ttl(bytes, meta);
    rewrite::set_macs(bytes, meta.l2(), mac, mac);
    checksum::fill_transport(bytes, meta);
    let _ = ecn::apply(bytes, meta, 3, crate::Model::Uniform);
    rewrite::limit_ttl(bytes, meta, 9);
    arp::reply(bytes, meta.l2(), mac);
    let _ = icmp::echo_reply(&mut packet, meta);
    let _ = rewrite::pop_vlan(&mut packet);
    errors(frame, meta);
    translations(frame, meta);
    let _ = rewrite::push_vlan(&mut packet, crate::VlanId::new(1).unwrap());
    let asked = nd::Solicitation {
        src: core::net::Ipv6Addr::UNSPECIFIED,
        dst: core::net::Ipv6Addr::LOCALHOST,
        target: core::net::Ipv6Addr::LOCALHOST,
        src_mac: None,
    };
    let _ = nd::answer(&mut packet, meta, &asked, mac, nd::Flags::default());
}

/// Other ends, of either version; what was right stays right.
fn translations(frame: &[u8], meta: &Meta) {
    let end = |addr: &str, port| End {
        addr: addr.parse().unwrap(),
        port,
    };
    let pairs = [
        (end("192.0.2.77", 1024), end("198.51.100.3", 0xffff)),
        (end("2001:db8::77", 1024), end("64:ff9b::c633:6403", 0xffff)),
    ];
    let was_right = parse(frame) == Ok(*meta) && checksum::transport_is_right(frame, meta);
    for (src, dst) in pairs {
        let ends = Ends { src, dst };
        let change = Change {
            src: Some(src),
            dst: Some(dst),
        };
        let (mut packet, mut there) = (MemBuffer::from_frame(frame), *meta);
        let applied = translate::apply(packet.bytes_mut(), &mut there, &change);
        translate::set_ipv4_id(packet.bytes_mut(), meta, 7);
        assert!(applied.is_err() || !was_right || is_right(packet.bytes()));
        let (mut packet, mut there) = (MemBuffer::from_frame(frame), *meta);
        let converted = translate::convert(&mut packet, &mut there, &ends, 7);
        assert!(
            converted.is_err() || !was_right || is_right(packet.bytes()),
            "{frame:02x?}"
        );
        let Ok(Some(quote)) = Quote::read(frame, meta) else {
            continue;
        };
        let (mut packet, mut there) = (MemBuffer::from_frame(frame), *meta);
        let applied = translate::apply_to_error(&mut packet, &mut there, &quote, &change, &change);
        assert!(applied.is_err() || is_right(packet.bytes()));
        let (mut packet, mut there) = (MemBuffer::from_frame(frame), *meta);
        let addrs = (src.addr, dst.addr);
        let converted = translate::convert_error(&mut packet, &mut there, &quote, addrs, &ends, 7);
        assert!(converted.is_err() || is_right(packet.bytes()));
    }
}

fn is_right(frame: &[u8]) -> bool {
    parse(frame).is_ok_and(|meta| checksum::transport_is_right(frame, &meta))
}

/// What is owed about a packet, and what others say about ours.
fn errors(frame: &[u8], meta: &Meta) {
    let _ = black_box(
        Quote::read(frame, meta).map(|quote| quote.map(|quote| quote.transport(frame).len())),
    );
    black_box(parameter::unknown(frame, meta));
    mss::clamp(&mut frame.to_vec(), meta, 536);
    let kind = icmp_error::Kind::TooBig { mtu: 1280 };
    black_box(icmp_error::may_answer(frame, meta, kind));
    for src in [IpAddr::V4([10, 0, 0, 1].into()), Ipv6Addr::LOCALHOST.into()] {
        let mut packet = MemBuffer::from_frame(frame);
        let _ = icmp_error::write(&mut packet, meta, src, MacAddr::VROUTER, kind);
    }
    let mut packet = MemBuffer::from_frame(frame);
    let _ = tcp_reset::write(&mut packet, meta, MacAddr::VROUTER);
    let packet = MemBuffer::from_frame(frame);
    for pieces in [
        Pieces::ipv4(&packet, meta, 76),
        Pieces::ipv6(&packet, meta, 1280, 7),
    ] {
        let Ok(mut pieces) = pieces else { continue };
        let mut piece = MemBuffer::default();
        while !pieces.is_done() && pieces.write(&packet, &mut piece, &mut || None).is_ok() {
            black_box(piece.len());
        }
    }
}

/// Every accessor of every view, at a few offsets.
fn views(frame: &[u8]) {
    for offset in [0, 14, 18, 34, 42, 50, 54] {
        let bytes = frame.get(offset..).unwrap_or_default();
        if let Ok((header, _)) = EthernetHeader::split(bytes) {
            black_box((header.dst(), header.src(), header.ether_type()));
        }
        if let Ok((tag, _)) = VlanTag::split(bytes) {
            black_box((tag.priority(), tag.drop_eligible(), tag.id_field()));
            black_box((tag.id(), tag.ether_type()));
        }
        if let Ok((packet, _)) = ArpPacket::split(bytes) {
            black_box((packet.operation(), packet.is_request()));
            black_box((packet.sender_mac(), packet.sender_ip()));
            black_box((packet.target_mac(), packet.target_ip()));
        }
        if let Ok((header, _)) = Ipv4Header::split(bytes) {
            black_box((header.version(), header.header_len(), header.total_len()));
            black_box((header.id(), header.dont_fragment(), header.more_fragments()));
            black_box((header.fragment_offset(), header.ttl(), header.protocol()));
            black_box((header.traffic_class(), header.checksum(), header.sum()));
            black_box((header.src_addr(), header.dst_addr()));
        }
        if let Ok((header, _)) = Ipv6Header::split(bytes) {
            black_box((
                header.version(),
                header.traffic_class(),
                header.flow_label(),
            ));
            black_box((header.payload_len(), header.next_header()));
            black_box((header.hop_limit(), header.src_addr(), header.dst_addr()));
        }
        if let Ok((header, _)) = TcpHeader::split(bytes) {
            black_box((header.src_port(), header.dst_port(), header.sequence()));
            black_box((header.acknowledgment(), header.header_len(), header.flags()));
            black_box((header.window(), header.checksum(), header.urgent_pointer()));
        }
        if let Ok((header, _)) = UdpHeader::split(bytes) {
            black_box((header.src_port(), header.dst_port()));
            black_box((header.len_field(), header.checksum()));
        }
        if let Ok((header, _)) = IcmpHeader::split(bytes) {
            black_box((header.kind(), header.code(), header.checksum()));
            black_box((header.id(), header.sequence(), header.is_query()));
        }
        if let Ok((header, _)) = Icmpv6Header::split(bytes) {
            black_box((
                header.kind(),
                header.code(),
                header.checksum(),
                header.mtu(),
            ));
            black_box((header.id(), header.sequence(), header.is_query()));
        }
        if let Ok((header, _)) = VxlanHeader::split(bytes) {
            black_box((header.flags(), header.vni()));
        }
        if let Ok((header, _)) = GreHeader::split(bytes) {
            black_box((header.flags(), header.protocol(), header.has_checksum()));
            let _ = black_box((header.header_len(), header.check()));
        }
        if let Ok((entry, _)) = LabelEntry::split(bytes) {
            black_box((entry.label(), entry.traffic_class()));
            black_box((entry.is_bottom(), entry.ttl()));
        }
    }
}
