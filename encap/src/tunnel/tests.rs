use super::*;
use crate::samples::{
    MPLS_GRE, MPLS_GRE6, MPLS_UDP, MPLS_UDP_ETHERNET, MPLS_UDP6, PING, Random, VXLAN_PING,
    VXLAN6_CHECKED, VXLAN6_PING, hex,
};
use crate::{Circuit, MemBuffer, decap, parse};
use alloc::collections::BTreeSet;
use alloc::vec;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn over_ipv4() -> Outer {
    Outer {
        src_mac: A,
        dst_mac: MacAddr::ZERO,
        vlan: None,
        src: [192, 0, 2, 1].into(),
        dst: [192, 0, 2, 2].into(),
        ttl: 64,
    }
}

fn over_ipv6() -> Outer {
    Outer {
        src: "2001:db8::1".parse().unwrap(),
        dst: "2001:db8::2".parse().unwrap(),
        ..over_ipv4()
    }
}

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn label(number: u32) -> Label {
    Label::new(number).unwrap()
}

fn vxlan(outer: &Outer, number: u32) -> TunnelHeader {
    TunnelHeader::new(outer, Encap::Vxlan(vni(number))).unwrap()
}

fn class(entropy: u32, traffic_class: u8) -> Inner {
    Inner {
        entropy,
        traffic_class,
        ttl: 0,
    }
}

/// Puts a header in front of `bytes`.
fn push_header(header: &TunnelHeader, bytes: &[u8], inner: &Inner) -> MemBuffer {
    let mut packet = MemBuffer::from_frame(bytes);
    header.push(&mut packet, B, inner).unwrap();
    assert_eq!(packet.bytes().len(), header.len() + bytes.len());
    packet
}

/// Puts a VXLAN header without a UDP checksum in front of `bytes`.
fn push(outer: &Outer, number: u32, bytes: &[u8], entropy: u32, traffic_class: u8) -> MemBuffer {
    let header = vxlan(outer, number).without_checksum();
    push_header(&header, bytes, &class(entropy, traffic_class))
}

/// All encapsulations over both IP versions.
fn tunnels() -> impl Iterator<Item = (Outer, Encap)> {
    [over_ipv4(), over_ipv6()].into_iter().flat_map(|outer| {
        let encaps = [
            Encap::Vxlan(vni(77)),
            Encap::MplsUdp(label(1000)),
            Encap::MplsGre(label(1000)),
        ];
        encaps.map(|encap| (outer, encap))
    })
}

// The Linux kernel's VXLAN device is the oracle.
#[test]
fn captured_packet_over_ipv4_is_rebuilt() {
    let mut expected = hex(VXLAN_PING);
    let packet = push(&over_ipv4(), 5000, &expected[50..], 0, 2);
    // The kernel left the id to count and fragments allowed, and chose a UDP checksum.
    expected[18..22].copy_from_slice(&[0, 0, 0x40, 0]);
    crate::samples::fix_ipv4(&mut expected[14..]);
    expected[34..36].copy_from_slice(&[0xc0, 0]);
    expected[40..42].fill(0);
    assert_eq!(packet.bytes(), expected);
}

#[test]
fn captured_packet_over_ipv6_is_rebuilt() {
    let mut expected = hex(VXLAN6_PING);
    let packet = push(&over_ipv6(), 5001, &expected[70..], 0, 1);
    // The kernel sends no flow label by default, and chose its own source port.
    expected[17] = 1;
    expected[54..56].copy_from_slice(&[0xc0, 0]);
    assert_eq!(packet.bytes(), expected);
}

// What scapy built has class 5 and TTL 255 in the label: the inner DSCP is 46.
#[test]
fn packets_built_by_scapy_are_rebuilt() {
    let udp = Encap::MplsUdp(label(1000));
    let gre = Encap::MplsGre(label(1000));
    for (text, outer, encap) in [
        (MPLS_UDP, over_ipv4(), udp),
        (MPLS_UDP_ETHERNET, over_ipv4(), udp),
        (MPLS_UDP6, over_ipv6(), udp),
        (MPLS_GRE, over_ipv4(), gre),
        (MPLS_GRE6, over_ipv6(), gre),
    ] {
        let header = TunnelHeader::new(&outer, encap).unwrap();
        let expected = hex(text);
        let packet = push_header(&header, &expected[header.len()..], &class(0, 0xb9));
        assert_eq!(packet.bytes(), expected);
    }
    let expected = hex(VXLAN6_CHECKED);
    let header = vxlan(&over_ipv6(), 5001);
    let packet = push_header(&header, &expected[70..], &class(0, 0));
    assert_eq!(packet.bytes(), expected);
}

// RFC 7510 §3.1, RFC 6935 §5: summed over IPv6, but where a tunnel says otherwise; never over IPv4.
#[test]
fn udp_checksum_is_right_at_every_length_or_zero() {
    let mut random = Random(3);
    for (outer, encap) in tunnels().filter(|(_, encap)| encap.protocol() == UDP) {
        let header = TunnelHeader::new(&outer, encap).unwrap();
        let at = header.len() - if let Encap::Vxlan(_) = encap { 10 } else { 6 };
        for len in (0..if cfg!(miri) { 20 } else { 300 }).chain([1500, 8999]) {
            let bytes: alloc::vec::Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
            let inner = class(random.next() as u32, random.next() as u8);
            let packet = push_header(&header, &bytes, &inner);
            let meta = parse(packet.bytes()).unwrap();
            assert!(checksum::transport_is_right(packet.bytes(), &meta));
            let is_zero = packet.bytes()[at..at + 2] == [0, 0];
            assert_eq!(is_zero, outer.src.is_ipv4());
            let packet = push_header(&header.without_checksum(), &bytes, &inner);
            assert_eq!(packet.bytes()[at..at + 2], [0, 0]);
        }
    }
}

#[test]
fn packet_in_pieces_gets_the_same_headers() {
    let bytes: alloc::vec::Vec<u8> = (0..201).collect();
    for (outer, encap) in tunnels() {
        let header = TunnelHeader::new(&outer, encap).unwrap();
        let whole = push_header(&header, &bytes, &class(7, 2));
        for lens in [&[0, 1, 0, 7, 8, 64][..], &[200], &[33, 33, 1]] {
            let mut packet = MemBuffer::chained(&bytes, lens);
            header.push(&mut packet, B, &class(7, 2)).unwrap();
            assert_eq!(packet.to_vec(), whole.bytes());
        }
    }
}

// RFC 768: what comes out as zero is sent as FFFF. Two bytes of payload make it do so.
#[test]
fn udp_checksum_is_never_zero_by_chance() {
    let header = vxlan(&over_ipv6(), 1);
    let mut bytes = [0; 16];
    let packet = push_header(&header, &bytes, &class(0, 0));
    let checksum = [packet.bytes()[60], packet.bytes()[61]];
    bytes[14..].copy_from_slice(&checksum);
    let packet = push_header(&header, &bytes, &class(0, 0));
    assert_eq!(packet.bytes()[60..62], [0xff, 0xff]);
}

// RFC 3443 §3.4: 255 whatever is inside, or what is inside; RFC 5462: the class selector.
#[test]
fn label_has_the_class_and_the_ttl_of_its_model() {
    for (outer, encap) in tunnels().filter(|(_, encap)| !matches!(encap, Encap::Vxlan(_))) {
        let pipe = TunnelHeader::new(&outer, encap).unwrap();
        let uniform = pipe.with_ttl(Model::Uniform);
        for (header, ttl, expected) in [
            (&pipe, 7, 255),
            (&pipe, 0, 255),
            (&uniform, 7, 7),
            // A frame that has none, or was not routed.
            (&uniform, 0, 255),
        ] {
            for dscp in 0..64 {
                let inner = Inner {
                    ttl,
                    ..class(9, dscp << 2)
                };
                let packet = push_header(header, &hex(PING), &inner);
                let entry = packet.bytes()[header.len() - 4..].first_chunk().unwrap();
                let entry = mpls::Entry::new(entry);
                assert_eq!(entry.label(), label(1000));
                assert_eq!((entry.traffic_class(), entry.ttl()), (dscp >> 3, expected));
                assert!(entry.is_bottom());
            }
        }
    }
}

#[test]
fn reserved_labels_are_refused() {
    for number in 0..16 {
        for encap in [Encap::MplsUdp(label(number)), Encap::MplsGre(label(number))] {
            let refused = Err(Error::ReservedLabel(number as u8));
            assert_eq!(TunnelHeader::new(&over_ipv4(), encap), refused);
        }
    }
}

// RFC 7348 §5: port 4789, flags 0x08, reserved fields zero, 24 bits of VNI, and no UDP checksum.
#[test]
fn vxlan_bytes_are_those_of_rfc_7348() {
    let packet = push(&over_ipv4(), 5000, &hex(PING), 0x1234_5678, 0);
    let bytes = packet.bytes();
    assert_eq!(bytes[36..38], 4789u16.to_be_bytes());
    assert_eq!(bytes[40..42], [0, 0]);
    assert_eq!(bytes[42..50], [8, 0, 0, 0, 0x00, 0x13, 0x88, 0]);
    assert_eq!(bytes[50..], hex(PING));
}

#[test]
fn another_parser_reads_what_was_pushed() {
    let mut random = Random(11);
    for round in 0..if cfg!(miri) { 8 } else { 2_000 } {
        let mut outer = if round % 2 == 0 {
            over_ipv4()
        } else {
            over_ipv6()
        };
        outer.vlan = VlanId::new(random.next() as u16 & 0x7ff);
        outer.ttl = random.next() as u8;
        let inner = vec![0x5a; 14 + random.below(1500)];
        let (entropy, traffic_class) = (random.next() as u32, random.next() as u8);
        let packet = push(&outer, 77, &inner, entropy, traffic_class);

        let sliced = SlicedPacket::from_ethernet(packet.bytes()).unwrap();
        assert_eq!(
            sliced.vlan_ids().first().map(|id| id.value()),
            outer.vlan.map(VlanId::get)
        );
        match sliced.net.unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(IpAddr::from(ip.header().source_addr()), outer.src);
                assert_eq!(IpAddr::from(ip.header().destination_addr()), outer.dst);
                assert_eq!((header.identification, header.dont_fragment), (0, true));
                assert_eq!(header.time_to_live, outer.ttl);
                assert_eq!(header.ecn.value(), traffic_class & 3);
                assert_eq!(header.dscp.value(), 0);
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header().to_header();
                assert_eq!(IpAddr::from(ip.header().source_addr()), outer.src);
                assert_eq!(IpAddr::from(ip.header().destination_addr()), outer.dst);
                assert_eq!(header.hop_limit, outer.ttl);
                assert_eq!(header.traffic_class, traffic_class & 3);
                assert_ne!(header.flow_label.value(), 0);
            }
            NetSlice::Arp(_) => unreachable!("no ARP was pushed"),
        }
        let Some(TransportSlice::Udp(udp)) = sliced.transport else {
            panic!("no UDP");
        };
        assert_eq!(usize::from(udp.length()), 8 + 8 + inner.len());
        assert!(udp.source_port() >= 49152);
        assert_eq!(udp.destination_port(), VXLAN_PORT);
        assert_eq!(udp.payload()[8..], inner);
    }
}

#[test]
fn what_was_pushed_opens_again() {
    for (outer, encap) in tunnels() {
        for id in [None, VlanId::new(9)] {
            let outer = Outer { vlan: id, ..outer };
            let header = TunnelHeader::new(&outer, encap).unwrap();
            let packet = push_header(&header, &hex(PING), &class(5, 3));
            let meta = parse(packet.bytes()).unwrap();
            assert_eq!(meta.vlan, id);
            assert_eq!(meta.addrs(packet.bytes()), Some((outer.src, outer.dst)));
            assert_eq!((meta.traffic_class, meta.protocol), (3, encap.protocol()));
            let opened = decap(&packet, &meta).unwrap().unwrap();
            match (opened.circuit, encap) {
                (Circuit::Vni(vni), Encap::Vxlan(sent)) => assert_eq!(vni, sent),
                (Circuit::Labels(stack), Encap::MplsUdp(sent) | Encap::MplsGre(sent)) => {
                    assert!(stack.labels(packet.bytes()).eq([sent]));
                }
                _ => panic!("{encap:?} opened as {opened:?}"),
            }
            assert_eq!(packet.bytes()[opened.inner.into()..], hex(PING));
            assert!(!opened.lacks_checksum);
        }
    }
}

// RFC 6040 §4.1 for all four, and RFC 2983: DSCP stays inside unless asked for.
#[test]
fn outer_ecn_is_the_inner_one_and_dscp_stays_inside() {
    for (outer, encap) in tunnels() {
        let pipe = TunnelHeader::new(&outer, encap).unwrap();
        for ecn in 0..4 {
            let inner = 0xb8 | ecn;
            let packet = push_header(&pipe, &hex(PING), &class(0, inner));
            assert_eq!(parse(packet.bytes()).unwrap().traffic_class, ecn);
            let uniform = pipe.with_dscp(Model::Uniform);
            let packet = push_header(&uniform, &hex(PING), &class(0, inner));
            assert_eq!(parse(packet.bytes()).unwrap().traffic_class, inner);
        }
    }
}

// RFC 7348 §5: the port follows the flow.
#[test]
fn thousand_flows_have_many_ports_and_one_flow_has_one() {
    let mut random = Random(99);
    let ports: BTreeSet<u16> = (0..1000)
        .map(|_| src_port((random.next() >> 32) as u32))
        .collect();
    assert!(ports.len() >= 940, "{}", ports.len());
    assert!(ports.iter().all(|port| *port >= 49152));
    // Hashes that differ only in a few high or a few low bits spread too.
    let high: BTreeSet<u16> = (0..1000).map(|flow| src_port(flow << 22)).collect();
    let low: BTreeSet<u16> = (0..1000).map(src_port).collect();
    assert!(high.len() >= 940 && low.len() == 1000, "{}", high.len());
    assert!((0..10_000).all(|_| src_port(0xdead_beef) == src_port(0xdead_beef)));
}

#[test]
fn flow_label_fits_and_is_never_zero() {
    let mut random = Random(5);
    for entropy in [0, 0x0010_0001, u32::MAX] {
        assert!((1..1 << 20).contains(&flow_label(entropy)));
    }
    for _ in 0..1000 {
        assert!((1..1 << 20).contains(&flow_label(random.next() as u32)));
    }
}

#[test]
fn ends_of_different_versions_are_refused() {
    let mixed = Outer {
        dst: over_ipv6().dst,
        ..over_ipv4()
    };
    assert_eq!(
        TunnelHeader::new(&mixed, Encap::Vxlan(vni(1))),
        Err(Error::AddressFamily)
    );
}

#[test]
fn packet_without_headroom_is_refused_unchanged() {
    let header = vxlan(&over_ipv4(), 1);
    let mut packet = MemBuffer::new(49, &hex(PING));
    assert_eq!(
        header.push(&mut packet, B, &Inner::default()),
        Err(Error::NoRoom { need: 50, have: 49 })
    );
    assert_eq!(packet.bytes(), hex(PING));
}

#[test]
fn packet_beyond_the_length_field_is_refused_unchanged() {
    let header = vxlan(&over_ipv4(), 1);
    let largest = 65535 - 20 - 8 - 8;
    let mut packet = MemBuffer::from_frame(&vec![0; largest]);
    header.push(&mut packet, B, &Inner::default()).unwrap();
    let mut packet = MemBuffer::from_frame(&vec![0; largest + 1]);
    assert_eq!(
        header.push(&mut packet, B, &Inner::default()),
        Err(Error::TooLong { len: 65536 })
    );
    assert_eq!(packet.bytes().len(), largest + 1);
}
