//! What is legal, and what is read from it.

use super::*;

#[test]
fn captured_syn_reads_right() {
    let bytes = hex(SYN);
    let meta = parse(&bytes).unwrap();
    assert_eq!((meta.l3, meta.l4, meta.end), (14, 34, 74));
    assert_eq!((meta.ether_type, meta.vlan), (IPV4, None));
    assert_eq!(
        (meta.network, meta.fragment),
        (Network::Ipv4, Fragment::Whole)
    );
    assert_eq!((meta.protocol, meta.ttl, meta.traffic_class), (TCP, 64, 0));
    assert_eq!((meta.src_port, meta.dst_port), (0xb218, 80));
    assert_eq!(meta.l4_flags, tcp::SYN);
    assert_eq!(meta.fragment_id, 0x941a);
    assert!(meta.is_tcp() && !meta.is_udp() && !meta.tagged && !meta.ip_options);
    assert_eq!(meta.src_addr(&bytes), Some([192, 0, 2, 1].into()));
    assert_eq!(meta.dst_addr(&bytes), Some([192, 0, 2, 2].into()));
}

#[test]
fn captured_pings_have_their_identifier_for_ports() {
    let meta = parse(&hex(PING)).unwrap();
    assert!(meta.is_icmp());
    assert_eq!((meta.src_port, meta.dst_port), (0x4105, 0x4105));
    assert_eq!((meta.l4_flags, meta.icmp_code), (8, 0));
    let meta = parse(&hex(PING6)).unwrap();
    assert!(meta.is_icmpv6());
    assert_eq!((meta.src_port, meta.dst_port), (0x410a, 0x410a));
    assert_eq!((meta.l4_flags, meta.icmp_code), (128, 0));
}

#[test]
fn icmp_error_has_no_ports() {
    let mut bytes = [0; 36];
    bytes[..8].copy_from_slice(&[3, 4, 0, 0, 0x12, 0x34, 0x05, 0x78]);
    let meta = parse(&ipv4(ICMP, &bytes)).unwrap();
    assert_eq!((meta.src_port, meta.dst_port), (0, 0));
    assert_eq!((meta.l4_flags, meta.icmp_code), (3, 4));
}

#[test]
fn captured_last_fragments_have_no_ports() {
    let meta = parse(&hex(LAST_FRAGMENT)).unwrap();
    assert_eq!(
        (meta.fragment, meta.more_fragments),
        (Fragment::Later, false)
    );
    assert_eq!((meta.fragment_offset, meta.fragment_id), (1480, 0xb9b7));
    assert_eq!((meta.src_port, meta.dst_port, meta.l4_flags), (0, 0, 0));
    assert_eq!((meta.l4, meta.end), (34, 62));
    let meta = parse(&hex(LAST_FRAGMENT6)).unwrap();
    assert_eq!(
        (meta.fragment, meta.more_fragments),
        (Fragment::Later, false)
    );
    assert_eq!(
        (meta.fragment_offset, meta.fragment_id),
        (1448, 0xd986_473d)
    );
    assert_eq!(
        (meta.protocol, meta.src_port, meta.dst_port),
        (ICMPV6, 0, 0)
    );
    assert!(meta.fragment_header);
    assert_eq!((meta.l4, meta.end), (62, 122));
}

#[test]
fn first_fragment_has_its_ports() {
    let bytes = ipv4_fragment(UDP, 0x2000, &udp(&[7; 16]));
    let meta = parse(&bytes).unwrap();
    assert_eq!(
        (meta.fragment, meta.more_fragments),
        (Fragment::First, true)
    );
    assert_eq!((meta.src_port, meta.dst_port), (1000, 53));
    let payload = [&fragment_header(UDP, 1)[..], &udp(&[7; 16])].concat();
    let meta = parse(&ipv6(44, &payload)).unwrap();
    assert_eq!(meta.fragment, Fragment::First);
    assert_eq!((meta.src_port, meta.dst_port), (1000, 53));
    assert_eq!(meta.fragment_id, 0xdead_beef);
}

// RFC 6946 §4
#[test]
fn atomic_fragment_is_a_whole_datagram() {
    let payload = [&fragment_header(UDP, 0)[..], &udp(b"odd")].concat();
    let meta = parse(&ipv6(44, &payload)).unwrap();
    assert_eq!(meta.fragment, Fragment::Whole);
    assert!(meta.fragment_header && !meta.more_fragments);
    assert_eq!(meta.dst_port, 53);
}

#[test]
fn extension_headers_are_walked_over() {
    let meta = parse(&hex(MLD_REPORT)).unwrap();
    assert_eq!((meta.protocol, meta.l4, meta.l4_flags), (ICMPV6, 62, 143));
    let chain = samples::all()
        .into_iter()
        .find(|frame| frame[14] == 0x60 && frame[20] == 0 && frame[54] == 43)
        .unwrap();
    let meta = parse(&chain).unwrap();
    assert_eq!(
        (meta.protocol, meta.src_port, meta.dst_port),
        (TCP, 1000, 80)
    );
    assert_eq!(usize::from(meta.end - meta.l4), tcp(b"data").len());
}

#[test]
fn eight_extension_headers_are_few_enough() {
    let mut payload = [60, 0, 1, 4, 0, 0, 0, 0].repeat(7);
    payload.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    payload.extend(udp(&[]));
    assert_eq!(parse(&ipv6(60, &payload)).unwrap().dst_port, 53);
}

// RFC 8200 §4.7
#[test]
fn what_follows_no_next_header_is_not_read() {
    let meta = parse(&ipv6(59, b"???")).unwrap();
    assert_eq!((meta.protocol, meta.l4), (NO_NEXT_HEADER, meta.end));
}

#[test]
fn padding_is_not_part_of_the_datagram() {
    for text in [PING, RST6] {
        let mut bytes = hex(text);
        let len = bytes.len();
        bytes.extend([0xaa; 6]);
        let mut expected = parse(&hex(text)).unwrap();
        assert_eq!(parse(&bytes), Ok(expected));
        assert_eq!(usize::from(expected.end), len);
        // Nor when the frame lies deeper in the buffer.
        expected.l3 += 50;
        expected.l4 += 50;
        expected.end += 50;
        let within = [&[0; 50][..], &bytes].concat();
        assert_eq!(parse_at(&within, 50), Ok(expected));
        assert_eq!(expected.l2(), 50);
    }
}

#[test]
fn tag_shifts_everything_by_four() {
    let plain = parse(&hex(SYN)).unwrap();
    let meta = parse(&tagged(&hex(SYN), 4094)).unwrap();
    let expected = Meta {
        l3: plain.l3 + 4,
        l4: plain.l4 + 4,
        end: plain.end + 4,
        vlan: VlanId::new(4094),
        tagged: true,
        ..plain
    };
    assert_eq!(meta, expected);
    assert_eq!(meta.l2(), 0);
}

#[test]
fn priority_tag_names_no_vlan() {
    let mut bytes = tagged(&hex(SYN), 1);
    bytes[14..16].copy_from_slice(&[0xe0, 0]);
    let meta = parse(&bytes).unwrap();
    assert_eq!((meta.vlan, meta.tagged, meta.dst_port), (None, true, 80));
}

#[test]
fn other_frames_are_no_error() {
    for ether_type in [0x0026, 0x88cc, 0x8847, 0xffff] {
        let meta = parse(&frame(ether_type, b"anything")).unwrap();
        assert_eq!(
            (meta.network, meta.ether_type),
            (Network::Other, ether_type)
        );
        assert_eq!((meta.l3, meta.l4, meta.end), (14, 22, 22));
    }
    assert!(parse(&frame(0x88cc, &[])).is_ok());
}

#[test]
fn ip_without_ethernet_reads_the_same() {
    for text in [SYN, PING6, LAST_FRAGMENT6] {
        let bytes = hex(text);
        assert_eq!(parse_ip(&bytes, 14), parse(&bytes));
    }
}

#[test]
fn source_routes_are_recorded() {
    let strict = [1, 137, 7, 4, 10, 0, 0, 9];
    let loose = [131, 7, 4, 10, 0, 0, 9, 0];
    for options in [strict, loose] {
        let meta = parse(&ipv4_with_options(TCP, &options, &tcp(&[]))).unwrap();
        assert!(meta.ip_options && meta.source_route);
        assert_eq!((meta.l4, meta.dst_port), (42, 80));
    }
    let router_alert = [148, 4, 0, 0];
    let meta = parse(&ipv4_with_options(TCP, &router_alert, &tcp(&[]))).unwrap();
    assert!(meta.ip_options && !meta.source_route);
    // What follows the end of the list is no option.
    let after_end = [0, 131, 7, 4];
    let meta = parse(&ipv4_with_options(TCP, &after_end, &tcp(&[]))).unwrap();
    assert!(!meta.source_route);
}

#[test]
fn udp_datagram_may_end_before_the_packet() {
    let mut datagram = udp(b"data");
    datagram.extend(b"options");
    assert_eq!(parse(&ipv4(UDP, &datagram)).unwrap().dst_port, 53);
}

#[test]
fn another_parser_agrees_on_all_samples() {
    for bytes in samples::all() {
        let meta = parse(&bytes).unwrap();
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let id = sliced.vlan_ids().first().map(|id| id.value());
        assert_eq!(id, meta.vlan.map(VlanId::get));
        match sliced.net.as_ref() {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                assert_eq!(meta.network, Network::Ipv4);
                let expected = (header.source_addr(), header.destination_addr());
                assert_eq!(meta.ipv4_addrs(&bytes), Some(expected));
                assert_eq!(meta.ttl, header.ttl());
                assert_eq!(meta.protocol, header.protocol().0);
                assert_eq!(
                    meta.fragment_offset,
                    header.fragments_offset().byte_offset()
                );
                assert_eq!(meta.more_fragments, header.more_fragments());
                assert_eq!(
                    &bytes[meta.l4.into()..meta.end.into()],
                    ip.payload().payload
                );
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header();
                assert_eq!(meta.network, Network::Ipv6);
                let expected = (header.source_addr(), header.destination_addr());
                assert_eq!(meta.ipv6_addrs(&bytes), Some(expected));
                assert_eq!(meta.ttl, header.hop_limit());
                assert_eq!(meta.traffic_class, header.traffic_class());
                assert_eq!(meta.protocol, ip.payload().ip_number.0);
                if meta.protocol != NO_NEXT_HEADER {
                    assert_eq!(
                        &bytes[meta.l4.into()..meta.end.into()],
                        ip.payload().payload
                    );
                }
            }
            Some(NetSlice::Arp(_)) => assert_eq!(meta.network, Network::Arp),
            None => assert_eq!(meta.network, Network::Other),
        }
        let ports = (meta.src_port, meta.dst_port);
        match sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                assert_eq!(ports, (tcp.source_port(), tcp.destination_port()));
            }
            Some(TransportSlice::Udp(udp)) => {
                assert_eq!(ports, (udp.source_port(), udp.destination_port()));
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                assert_eq!(meta.l4_flags, icmp.type_u8());
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                assert_eq!(meta.l4_flags, icmp.type_u8());
            }
            _ => {}
        }
    }
}
