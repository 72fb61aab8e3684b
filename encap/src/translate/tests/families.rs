//! Packets of the other IP version (RFC 7915).

use super::pairs::*;
use super::*;
use crate::protocol::ICMPV6;
use crate::{Error, Offload};
use alloc::vec;

const MACHINE: &str = "2001:db8::10";
/// 198.51.100.9 under the well-known prefix.
const SERVER6: &str = "64:ff9b::c633:6409";
const ID: u16 = 0x77;

fn outward(port: u16, server_port: u16) -> Ends {
    Ends {
        src: end(OUTSIDE, port),
        dst: end(SERVER, server_port),
    }
}

#[track_caller]
fn converted(frame: &[u8], ends: &Ends) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(frame);
    let mut meta = parse(frame).unwrap();
    convert(&mut packet, &mut meta, ends, ID).unwrap();
    check_meta(meta, packet.bytes());
    packet.to_vec()
}

/// What the conversion says is what parsing says.
#[track_caller]
fn check_meta(meta: Meta, frame: &[u8]) {
    let parsed = parse(frame).unwrap();
    let is_part = parsed.fragment != Fragment::Whole;
    let same = Meta {
        // Of a whole packet it means nothing.
        fragment_id: if is_part {
            meta.fragment_id
        } else {
            parsed.fragment_id
        },
        ..meta
    };
    assert_eq!(same, parsed);
}

fn refused(frame: &[u8], ends: &Ends) -> Error {
    let mut packet = MemBuffer::from_frame(frame);
    let mut meta = parse(frame).unwrap();
    convert(&mut packet, &mut meta, ends, ID).unwrap_err()
}

#[test]
fn ipv6_becomes_scapys_ipv4() {
    let to_server = [
        (TCP6, TCP4, 1024, 80),
        (UDP6, UDP4, 2222, 53),
        (OPTIONS6, UDP4, 2222, 53),
        (LARGE6, LARGE4, 2222, 53),
        (ECHO6, ECHO4, 0x9999, 0x9999),
        (FIRST6, FIRST4, 2222, 53),
        (LATER6, LATER4, 0, 0),
    ];
    for (from, to, port, server_port) in to_server {
        let found = converted(&hex(from), &outward(port, server_port));
        assert_eq!(found, hex(to), "{from}");
    }
    let reply = Ends {
        src: end(SERVER, 0x9999),
        dst: end(OUTSIDE, 0x9999),
    };
    assert_eq!(converted(&hex(REPLY6), &reply), hex(REPLY4));
}

#[test]
fn ipv4_becomes_scapys_ipv6() {
    let back = |port, server_port| Ends {
        src: end(MACHINE, port),
        dst: end(SERVER6, server_port),
    };
    let rows = [
        (TCP4, TCP6, 40_000, 80),
        (TCP4_OPTIONS, TCP6, 40_000, 80),
        (UDP4, UDP6, 1111, 53),
        // A checksum, where there was none.
        (UDP4_UNCHECKED, UDP6, 1111, 53),
        (LARGE4, LARGE6, 1111, 53),
        (ECHO4, ECHO6, 0x1234, 0x1234),
        (FIRST4, FIRST6, 1111, 53),
        (LATER4, LATER6, 0, 0),
    ];
    for (from, to, port, server_port) in rows {
        let found = converted(&hex(from), &back(port, server_port));
        assert_eq!(found, hex(to), "{from}");
    }
    let reply = Ends {
        src: end(SERVER6, 0x1234),
        dst: end(MACHINE, 0x1234),
    };
    assert_eq!(converted(&hex(REPLY4), &reply), hex(REPLY6));
}

/// RFC 7915 §5.1.1: a fragment header on a datagram that is whole (RFC 6946) goes, and the packet may
/// be cut again.
#[test]
fn an_atomic_fragment_loses_its_header() {
    let udp = &hex(UDP6)[54..];
    let mut frame = hex(UDP6)[..54].to_vec();
    frame[18..20].copy_from_slice(&(udp.len() as u16 + 8).to_be_bytes());
    frame[20] = 44;
    frame.extend(samples::fragment_header(17, 0));
    frame.extend(udp);
    assert_eq!(converted(&frame, &outward(2222, 53)), hex(UDP4));
}

#[test]
fn a_tag_stays_in_front() {
    let tagged = samples::tagged(&hex(TCP6), 7);
    let expected = samples::tagged(&hex(TCP4), 7);
    assert_eq!(converted(&tagged, &outward(1024, 80)), expected);
}

#[test]
fn a_bare_packet_has_no_ether_type() {
    let mut packet = MemBuffer::from_frame(&hex(TCP6)[14..]);
    let mut meta = crate::parse_ip_packet(&mut packet, 0).unwrap();
    convert(&mut packet, &mut meta, &outward(1024, 80), ID).unwrap();
    assert_eq!(packet.bytes(), &hex(TCP4)[14..]);
}

#[test]
fn padding_behind_the_datagram_stays_behind_it() {
    let padded = [&hex(UDP4)[..], &[0; 7]].concat();
    let ends = Ends {
        src: end(MACHINE, 1111),
        dst: end(SERVER6, 53),
    };
    let expected = [&hex(UDP6)[..], &[0; 7]].concat();
    assert_eq!(converted(&padded, &ends), expected);
}

/// Also without a checksum, for which all of the payload is read.
#[test]
fn a_packet_in_pieces_keeps_its_payload() {
    let data: Vec<u8> = (0..901).map(|n| n as u8).collect();
    let ends = Ends {
        src: end(MACHINE, 1111),
        dst: end(SERVER6, 53),
    };
    for protocol in [TCP, UDP] {
        let payload = match protocol {
            TCP => samples::tcp(&data),
            _ => samples::udp(&data),
        };
        let mut whole = samples::ipv4(protocol, &payload);
        if protocol == TCP {
            whole = recomputed(&whole);
        }
        let mut packet = MemBuffer::chained(&whole, &[70, 333]);
        let mut meta = crate::parse_packet(&mut packet).unwrap();
        convert(&mut packet, &mut meta, &ends, ID).unwrap();
        let all = packet.to_vec();
        check_meta(meta, &all);
        assert!(checksum::transport_is_right(&all, &meta));
        assert_eq!(all, converted(&whole, &ends));
        assert_eq!(all[all.len() - 901..], data);
    }
}

/// Its checksum is computed on the way out.
#[test]
fn an_unfinished_checksum_is_left_alone() {
    let mut packet = MemBuffer::from_frame(&hex(UDP4_UNCHECKED));
    packet.set_offload(Offload::PARTIAL);
    let mut meta = parse(packet.bytes()).unwrap();
    let ends = Ends {
        src: end(MACHINE, 1111),
        dst: end(SERVER6, 53),
    };
    convert(&mut packet, &mut meta, &ends, ID).unwrap();
    assert_eq!(packet.offload(), Offload::PARTIAL);
    checksum::fill_packet(&mut packet, &meta);
    assert_eq!(packet.bytes(), hex(UDP6));
}

#[test]
fn what_has_no_counterpart_is_refused() {
    let ends = outward(1, 2);
    // Neighbour discovery, listener reports, other extension headers.
    for frame in [samples::NEIGHBOR_SOLICITATION, samples::MLD_REPORT] {
        assert_eq!(refused(&hex(frame), &ends), Error::NoCounterpart);
    }
    let udp = samples::udp(b"x");
    let with = |header: &[u8], kind| samples::ipv6(kind, &[header, &udp].concat());
    let refused_header = |header: &[u8], kind| refused(&with(header, kind), &ends);
    let authentication = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refused_header(&authentication, 51), Error::NoCounterpart);
    let mobility = [17, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(refused_header(&mobility, 135), Error::NoCounterpart);
    // A route still to be followed.
    let route = [17, 0, 4, 1, 0, 0, 0, 0];
    assert_eq!(refused_header(&route, 43), Error::NoCounterpart);
    // Options that were cut with the payload.
    let cut = [
        &samples::fragment_header(60, 1)[..],
        &[17, 0, 1, 4, 0, 0, 0, 0],
        &udp,
        &[0; 7],
    ]
    .concat();
    assert_eq!(
        refused(&samples::ipv6(44, &cut), &ends),
        Error::NoCounterpart
    );
    // Fragments of ICMP, whose checksum covers a pseudo-header over IPv6 only.
    let last = hex(samples::LAST_FRAGMENT6);
    let piece = parse(&last).unwrap();
    assert_eq!(piece.protocol, ICMPV6);
    assert_eq!(refused(&last, &ends), Error::FragmentedIcmp);

    let ends = Ends {
        src: end(MACHINE, 1),
        dst: end(SERVER6, 2),
    };
    let timestamp = [13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        refused(&samples::ipv4(1, &timestamp), &ends),
        Error::NoCounterpart
    );
    assert_eq!(refused(&hex(TTL4), &ends), Error::NoCounterpart);
    let unchecked = samples::ipv4_fragment(UDP, 0x2000, &samples::udp(&[9; 16]));
    assert_eq!(refused(&unchecked, &ends), Error::NoCounterpart);
    let route = samples::ipv4_with_options(UDP, &[131, 7, 4, 10, 0, 0, 9, 0], &udp);
    assert_eq!(refused(&route, &ends), Error::NoCounterpart);
    // A number that says something else in an IPv6 header.
    assert_eq!(
        refused(&samples::ipv4(44, &udp), &ends),
        Error::NoCounterpart
    );
    // Ends of the same version.
    assert_eq!(refused(&hex(UDP4), &outward(1, 2)), Error::Untranslatable);
}

#[test]
fn too_little_headroom_is_refused() {
    let mut packet = MemBuffer::new(19, &hex(TCP4));
    let mut meta = parse(packet.bytes()).unwrap();
    let ends = Ends {
        src: end(MACHINE, 1),
        dst: end(SERVER6, 2),
    };
    let refused = convert(&mut packet, &mut meta, &ends, ID);
    assert_eq!(refused, Err(Error::NoRoom { need: 20, have: 19 }));
}

#[test]
fn a_packet_that_would_be_too_long_is_refused() {
    let mut frame = samples::ipv4(TCP, &vec![0x55; 65_500]);
    samples::fix_ipv4(&mut frame[14..]);
    frame.truncate(65_500);
    frame[16..18].copy_from_slice(&(65_500_u16 - 14).to_be_bytes());
    samples::fix_ipv4(&mut frame[14..]);
    let mut packet = MemBuffer::from_frame(&frame);
    let mut meta = parse(&frame).unwrap();
    let ends = Ends {
        src: end(MACHINE, 1),
        dst: end(SERVER6, 2),
    };
    // 65,500 bytes and 20 more are what a packet's offsets can just say.
    assert_eq!(convert(&mut packet, &mut meta, &ends, ID), Ok(()));
    frame.extend([0; 30]);
    frame[16..18].copy_from_slice(&(65_530_u16 - 14).to_be_bytes());
    samples::fix_ipv4(&mut frame[14..]);
    assert_eq!(refused(&frame, &ends), Error::TooLong { len: 65_550 });
}

/// There and back again: what differs is what IPv4 cannot say.
#[test]
fn there_and_back_is_the_same_packet() {
    let mut random = Random(9);
    for frame in [TCP6, UDP6, ECHO6, REPLY6, FIRST6, LATER6] {
        let frame = hex(frame);
        let meta = parse(&frame).unwrap();
        let (src, dst) = meta.addrs(&frame).unwrap();
        for _ in 0..if cfg!(miri) { 2 } else { 500 } {
            let Change {
                src: Some(new_src),
                dst: Some(new_dst),
            } = any_change(&mut random, true)
            else {
                continue;
            };
            let ends = Ends {
                src: new_src,
                dst: new_dst,
            };
            let there = converted(&frame, &ends);
            let ports = parse(&frame).unwrap();
            let back = Ends {
                src: End {
                    addr: src,
                    port: ports.src_port,
                },
                dst: End {
                    addr: dst,
                    port: ports.dst_port,
                },
            };
            assert_eq!(converted(&there, &back), frame);
        }
    }
}
