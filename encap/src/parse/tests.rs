use super::*;
use crate::samples::{
    self, LAST_FRAGMENT, LAST_FRAGMENT6, MLD_REPORT, PING, PING6, RST6, SYN, fix_ipv4,
    fragment_header, frame, hex, ipv4, ipv4_fragment, ipv4_with_options, ipv6, tagged, tcp, udp,
};
use crate::{VlanId, protocol};
use alloc::vec;
use alloc::vec::Vec;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

fn refused(frame: &[u8]) -> Error {
    parse(frame).unwrap_err()
}

/// The frame with bytes of its IPv4 header changed and its checksum right.
fn changed(text: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = hex(text);
    change(&mut bytes);
    fix_ipv4(&mut bytes[14..]);
    bytes
}

mod accepted {
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
}

mod link {
    use super::*;

    #[test]
    fn short_frame_is_refused() {
        let expected = Error::Truncated { need: 14, have: 13 };
        assert_eq!(refused(&[0; 13]), expected);
        let none = Error::Truncated { need: 14, have: 0 };
        assert_eq!(parse_at(&hex(SYN), 75), Err(none));
    }

    #[test]
    fn short_tag_is_refused() {
        let bytes = &tagged(&hex(SYN), 1)[..17];
        assert_eq!(refused(bytes), Error::Truncated { need: 4, have: 3 });
    }

    #[test]
    fn stacked_tags_are_refused() {
        let twice = tagged(&tagged(&hex(SYN), 1), 2);
        assert_eq!(refused(&twice), Error::VlanStacked);
        let mut service = tagged(&hex(SYN), 1);
        service[12..14].copy_from_slice(&SERVICE_TAG.to_be_bytes());
        assert_eq!(refused(&service), Error::VlanStacked);
    }

    #[test]
    fn reserved_vlan_is_refused() {
        let mut bytes = tagged(&hex(SYN), 1);
        bytes[14..16].copy_from_slice(&[0x0f, 0xff]);
        assert_eq!(refused(&bytes), Error::VlanReserved);
    }

    #[test]
    fn frame_beyond_offsets_is_refused() {
        let bytes = vec![0; 65536];
        assert_eq!(refused(&bytes), Error::TooLong { len: 65536 });
        assert_eq!(parse_ip(&bytes, 0), Err(Error::TooLong { len: 65536 }));
    }

    #[test]
    fn every_truncation_of_ip_is_refused() {
        for bytes in samples::all() {
            let meta = parse(&bytes).unwrap();
            if !meta.is_ip() {
                continue;
            }
            for len in 0..bytes.len() {
                assert!(parse(&bytes[..len]).is_err(), "{len}");
            }
        }
    }
}

// RFC 1812 §5.2.2
mod ipv4_header {
    use super::*;

    #[test]
    fn short_header_is_refused() {
        let expected = Error::Truncated { need: 20, have: 19 };
        assert_eq!(refused(&hex(SYN)[..33]), expected);
    }

    #[test]
    fn wrong_checksum_is_refused() {
        for at in 14..34 {
            let mut bytes = hex(SYN);
            bytes[at] ^= 0x01;
            assert!(parse(&bytes).is_err(), "{at}");
        }
        let mut bytes = hex(SYN);
        bytes[25] ^= 1;
        assert_eq!(refused(&bytes), Error::IpChecksum);
        // Options are covered.
        let mut bytes = ipv4_with_options(TCP, &[148, 4, 0, 0], &tcp(&[]));
        bytes[37] = 1;
        assert_eq!(refused(&bytes), Error::IpChecksum);
    }

    #[test]
    fn other_version_is_refused() {
        let bytes = changed(SYN, |bytes| bytes[14] = 0x55);
        assert_eq!(refused(&bytes), Error::IpVersion(5));
        let mut bytes = hex(SYN);
        bytes[12..14].copy_from_slice(&IPV6.to_be_bytes());
        assert_eq!(refused(&bytes), Error::IpVersion(4));
        let mut bytes = hex(PING6);
        bytes[12..14].copy_from_slice(&IPV4.to_be_bytes());
        assert_eq!(refused(&bytes), Error::IpVersion(6));
        assert_eq!(parse_ip(&[0x00; 40], 0), Err(Error::IpVersion(0)));
        let empty = Error::Truncated { need: 1, have: 0 };
        assert_eq!(parse_ip(&[], 0), Err(empty));
    }

    #[test]
    fn header_length_below_five_words_or_beyond_the_packet_is_refused() {
        for words in 0..5 {
            let mut bytes = hex(SYN);
            bytes[14] = 0x40 | words;
            assert_eq!(refused(&bytes), Error::IpHeaderLen(words));
        }
        let mut bytes = hex(PING);
        bytes[14] = 0x4a;
        assert_eq!(refused(&bytes), Error::IpHeaderLen(10));
    }

    #[test]
    fn total_length_below_the_header_is_refused() {
        let bytes = changed(SYN, |bytes| bytes[17] = 19);
        let expected = Error::IpTotalLen {
            total_len: 19,
            header_len: 20,
        };
        assert_eq!(refused(&bytes), expected);
    }

    #[test]
    fn total_length_beyond_the_link_is_refused() {
        let bytes = changed(SYN, |bytes| bytes[17] = 61);
        let expected = Error::IpTruncated {
            total_len: 61,
            have: 60,
        };
        assert_eq!(refused(&bytes), expected);
    }

    #[test]
    fn options_that_do_not_add_up_are_refused() {
        for options in [[7, 0, 0, 0], [7, 1, 0, 0], [7, 5, 0, 0], [1, 1, 1, 7]] {
            let bytes = ipv4_with_options(TCP, &options, &tcp(&[]));
            assert_eq!(refused(&bytes), Error::IpOptions);
        }
    }
}

mod ipv6_header {
    use super::*;

    /// A header of destination options with nothing but padding.
    fn padding(next_header: u8) -> [u8; 8] {
        [next_header, 0, 1, 4, 0, 0, 0, 0]
    }

    #[test]
    fn short_header_is_refused() {
        let expected = Error::Truncated { need: 40, have: 39 };
        assert_eq!(refused(&hex(PING6)[..53]), expected);
    }

    #[test]
    fn payload_length_zero_is_refused() {
        let mut bytes = hex(PING6);
        bytes[18..20].fill(0);
        assert_eq!(refused(&bytes), Error::Ipv6PayloadLen);
    }

    #[test]
    fn payload_beyond_the_link_is_refused() {
        let mut bytes = hex(PING6);
        bytes[19] += 1;
        let expected = Error::IpTruncated {
            total_len: 57,
            have: 56,
        };
        assert_eq!(refused(&bytes), expected);
    }

    #[test]
    fn hop_by_hop_behind_another_header_is_refused() {
        let payload = [&padding(0)[..], &padding(UDP), &udp(&[])].concat();
        assert_eq!(refused(&ipv6(60, &payload)), Error::ExtensionHeaders);
        assert_eq!(refused(&ipv6(0, &payload)), Error::ExtensionHeaders);
    }

    #[test]
    fn nine_extension_headers_are_refused() {
        let mut payload = padding(60).repeat(8);
        payload.extend(padding(UDP));
        payload.extend(udp(&[]));
        assert_eq!(refused(&ipv6(60, &payload)), Error::ExtensionHeaders);
    }

    #[test]
    fn nine_options_are_refused_and_eight_are_not() {
        for (count, expected) in [(8, None), (9, Some(Error::ExtensionOptions))] {
            // Spread over two headers, as the limit is for all of them.
            let mut first = vec![60, 1];
            first.extend([0x1e, 0].repeat(7));
            let mut second = vec![UDP, 0];
            second.extend([0x1e, 0].repeat(count - 7));
            second.resize(8, 0);
            let payload = [&first[..], &second, &udp(&[])].concat();
            assert_eq!(parse(&ipv6(60, &payload)).err(), expected);
        }
    }

    #[test]
    fn excess_padding_is_refused() {
        let mut payload = vec![UDP, 1];
        payload.extend([0; 14]);
        payload.extend(udp(&[]));
        assert_eq!(refused(&ipv6(60, &payload)), Error::ExtensionOptions);
    }

    #[test]
    fn options_that_do_not_add_up_are_refused() {
        for options in [[5, 5, 0, 0, 0, 0], [1, 3, 0, 0, 0, 5]] {
            let mut payload = vec![UDP, 0];
            payload.extend(options);
            payload.extend(udp(&[]));
            assert_eq!(refused(&ipv6(60, &payload)), Error::ExtensionOptions);
        }
    }

    // RFC 5095
    #[test]
    fn routing_type_0_is_refused_and_others_are_not() {
        for (kind, expected) in [(0, Some(Error::RoutingType0)), (2, None), (4, None)] {
            let payload = [&[UDP, 0, kind, 0, 0, 0, 0, 0][..], &udp(&[])].concat();
            assert_eq!(parse(&ipv6(43, &payload)).err(), expected);
        }
    }

    #[test]
    fn chain_cut_short_is_refused() {
        let refusal = refused(&ipv6(60, &[UDP, 0, 1, 4]));
        assert_eq!(refusal, Error::Truncated { need: 8, have: 4 });
        let refusal = refused(&ipv6(60, &[UDP, 1, 1, 4, 0, 0, 0, 0]));
        assert_eq!(refusal, Error::Truncated { need: 16, have: 8 });
    }

    #[test]
    fn second_fragment_header_is_refused() {
        let payload = [
            &fragment_header(protocol::FRAGMENT, 0)[..],
            &fragment_header(UDP, 0),
            &udp(&[]),
        ]
        .concat();
        assert_eq!(refused(&ipv6(44, &payload)), Error::ExtensionHeaders);
    }
}

mod fragments {
    use super::*;

    /// A frame with an IPv6 fragment.
    fn ipv6_fragment(next_header: u8, field: u16, payload: &[u8]) -> Vec<u8> {
        ipv6(
            44,
            &[&fragment_header(next_header, field), payload].concat(),
        )
    }

    // RFC 1858 §3.1 and RFC 8200 §4.5, RFC 7112 §5
    #[test]
    fn first_fragment_without_all_of_tcp_is_refused() {
        for len in [8, 16] {
            let part = &tcp(&[])[..len];
            assert_eq!(
                refused(&ipv4_fragment(TCP, 0x2000, part)),
                Error::TinyFragment
            );
            assert_eq!(refused(&ipv6_fragment(TCP, 1, part)), Error::TinyFragment);
        }
        let mut with_options = tcp(&[1; 4]);
        with_options[12] = 0x80;
        assert_eq!(
            refused(&ipv4_fragment(TCP, 0x2000, &with_options)),
            Error::TinyFragment
        );
    }

    // RFC 1858 §3.2, RFC 3128
    #[test]
    fn tcp_fragment_over_the_flags_is_refused() {
        for more in [0, 1] {
            let bytes = ipv4_fragment(TCP, more << 13 | 1, &[0; 16]);
            assert_eq!(refused(&bytes), Error::TinyFragment);
            assert_eq!(
                refused(&ipv6_fragment(TCP, 8 | more, &[0; 16])),
                Error::TinyFragment
            );
        }
        assert!(parse(&ipv4_fragment(UDP, 1, &[0; 16])).is_ok());
        assert!(parse(&ipv4_fragment(TCP, 2, &[0; 16])).is_ok());
    }

    // RFC 8200 §4.5, RFC 7112 §5
    #[test]
    fn first_fragment_without_the_whole_chain_is_refused() {
        let cut = [60, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(refused(&ipv6_fragment(60, 1, &cut)), Error::TinyFragment);
        let longer = [UDP, 2, 1, 4, 0, 0, 0, 0];
        assert_eq!(refused(&ipv6_fragment(60, 1, &longer)), Error::TinyFragment);
    }

    // RFC 8200 §4.5
    #[test]
    fn fragment_that_leaves_a_hole_is_refused() {
        for len in [9, 15, 17] {
            let part = &udp(&[0; 16])[..len];
            assert_eq!(
                refused(&ipv4_fragment(UDP, 0x2000, part)),
                Error::FragmentLen
            );
            assert_eq!(
                refused(&ipv4_fragment(UDP, 0x2002, part)),
                Error::FragmentLen
            );
            assert_eq!(refused(&ipv6_fragment(UDP, 1, part)), Error::FragmentLen);
            assert_eq!(refused(&ipv6_fragment(UDP, 17, part)), Error::FragmentLen);
        }
    }

    #[test]
    fn fragment_past_the_largest_datagram_is_refused() {
        // 20 bytes of header, 8189 units of 8, and then 3 bytes fit; 4 do not.
        assert!(parse(&ipv4_fragment(UDP, 8189, &[0; 3])).is_ok());
        assert_eq!(
            refused(&ipv4_fragment(UDP, 8189, &[0; 4])),
            Error::FragmentLen
        );
        assert!(parse(&ipv6_fragment(UDP, 0xfff8, &[0; 7])).is_ok());
        assert_eq!(
            refused(&ipv6_fragment(UDP, 0xfff8, &[0; 8])),
            Error::FragmentLen
        );
        // Headers before the fragment header are part of every fragment, and of the whole.
        let payload = [
            &[44, 0, 1, 4, 0, 0, 0, 0][..],
            &fragment_header(UDP, 0xfff8),
            &[0; 7],
        ]
        .concat();
        assert_eq!(refused(&ipv6(60, &payload)), Error::FragmentLen);
    }

    #[test]
    fn empty_fragment_is_refused() {
        assert_eq!(
            refused(&ipv4_fragment(UDP, 0x2000, &[])),
            Error::FragmentLen
        );
        assert_eq!(refused(&ipv6_fragment(UDP, 8, &[])), Error::FragmentLen);
    }
}

mod transport {
    use super::*;

    #[test]
    fn header_cut_short_is_refused() {
        for (number, need) in [(TCP, 20), (UDP, 8), (ICMP, 8), (SCTP, 12)] {
            let have = need - 1;
            let bytes = &tcp(&[])[..usize::from(have)];
            let expected = Error::Truncated { need, have };
            assert_eq!(refused(&ipv4(number, bytes)), expected);
        }
        let expected = Error::Truncated { need: 8, have: 7 };
        assert_eq!(refused(&ipv6(ICMPV6, &[128; 7])), expected);
        assert_eq!(refused(&ipv6(UDP, &[0; 7])), expected);
    }

    #[test]
    fn tcp_header_length_that_cannot_be_is_refused() {
        let mut short = tcp(&[]);
        short[12] = 0x40;
        assert_eq!(refused(&ipv4(TCP, &short)), Error::TcpHeaderLen(4));
        let mut long = tcp(&[0; 3]);
        long[12] = 0x60;
        let expected = Error::Truncated { need: 24, have: 23 };
        assert_eq!(refused(&ipv4(TCP, &long)), expected);
    }

    #[test]
    fn udp_length_that_cannot_be_is_refused() {
        for len_field in [0, 7, 13, 0xffff] {
            let mut datagram = udp(b"data");
            datagram[4..6].copy_from_slice(&u16::to_be_bytes(len_field));
            let expected = Error::UdpLen {
                len_field,
                have: 12,
            };
            assert_eq!(refused(&ipv4(UDP, &datagram)), expected);
            assert_eq!(refused(&ipv6(UDP, &datagram)), expected);
        }
    }

    #[test]
    fn icmp_of_the_other_version_is_not_read() {
        assert_eq!(parse(&ipv6(ICMP, &[8; 4])).unwrap().l4_flags, 0);
        assert_eq!(parse(&ipv4(ICMPV6, &[128; 4])).unwrap().l4_flags, 0);
    }
}
