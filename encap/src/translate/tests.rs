//! Against packets that scapy built, against full recomputation, and back again.

mod errors;
mod families;
mod pairs;

use super::*;
use crate::checksum::{self, Sum};
use crate::protocol::{SCTP, UDP_LITE};
use crate::samples::{self, Random, hex};
use crate::{Buffer, MemBuffer, parse};
use alloc::vec::Vec;

pub(super) const INSIDE: &str = "10.1.0.10";
pub(super) const OUTSIDE: &str = "203.0.113.7";
pub(super) const SERVER: &str = "198.51.100.9";

pub(super) fn end(addr: &str, port: u16) -> End {
    let addr = addr.parse().unwrap();
    End { addr, port }
}

fn source(addr: &str, port: u16) -> Change {
    Change {
        src: Some(end(addr, port)),
        dst: None,
    }
}

#[track_caller]
fn applied(frame: &[u8], change: &Change) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut meta = parse(&frame).unwrap();
    apply(&mut frame, &mut meta, change).unwrap();
    assert_eq!(meta, parse(&frame).unwrap());
    frame
}

/// Writes the checksums of a whole TCP or UDP packet anew.
fn recomputed(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[14] >> 4 == 4 {
        samples::fix_ipv4(&mut frame[14..]);
    }
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    frame
}

#[test]
fn udp_gets_the_source_of_scapys_packet() {
    let change = source(OUTSIDE, 2222);
    assert_eq!(applied(&hex(pairs::IN_UDP4), &change), hex(pairs::UDP4));
}

#[test]
fn sctp_gets_the_checksum_of_scapys_packet() {
    let change = source(OUTSIDE, 2222);
    assert_eq!(applied(&hex(pairs::IN_SCTP4), &change), hex(pairs::SCTP4));
    // With the ports as they are it covers nothing that changes.
    let only_address = source(OUTSIDE, 1111);
    let frame = applied(&hex(pairs::IN_SCTP4), &only_address);
    assert_eq!(frame[34..], hex(pairs::IN_SCTP4)[34..]);
}

/// RFC 1624 §3: whatever the checksum was before, of both headers.
#[test]
fn all_prior_checksums_and_rewrites_equal_a_full_recompute() {
    let changes = [
        source("203.0.113.7", 1024),
        source("255.255.255.255", 0xffff),
        source("0.0.0.0", 0),
        Change {
            src: Some(end("1.2.3.4", 5)),
            dst: Some(end("254.253.252.251", 0xfffa)),
        },
        Change {
            src: None,
            dst: Some(end("10.0.0.1", 80)),
        },
    ];
    let steps = if cfg!(miri) { 9_973 } else { 1 };
    for protocol in [TCP, UDP] {
        let payload = match protocol {
            TCP => samples::tcp(&[0; 2]),
            _ => samples::udp(&[0; 2]),
        };
        let template = samples::ipv4(protocol, &payload);
        for word in (0..=u16::MAX).step_by(steps) {
            let mut frame = template.clone();
            // The identification makes the header's checksum any, the payload the transport's.
            frame[18..20].copy_from_slice(&word.to_be_bytes());
            let end = frame.len();
            frame[end - 2..].copy_from_slice(&word.to_be_bytes());
            let frame = recomputed(&frame);
            let change = &changes[usize::from(word) % changes.len()];
            let new = applied(&frame, change);
            assert_eq!(new, recomputed(&new), "{protocol} {word}");
        }
    }
}

#[test]
fn ipv6_rewrites_equal_a_full_recompute() {
    let mut random = Random(17);
    for payload in [samples::tcp(b"data!"), samples::udp(b"data")] {
        let protocol = if payload.len() > 20 { TCP } else { UDP };
        let template = recomputed(&samples::ipv6(protocol, &payload));
        for _ in 0..if cfg!(miri) { 5 } else { 20_000 } {
            let new = applied(&template, &any_change(&mut random, false));
            assert_eq!(new, recomputed(&new));
        }
    }
}

#[test]
fn a_change_and_its_inverse_are_nothing() {
    let mut random = Random(5);
    for frame in samples::all() {
        let Ok(meta) = parse(&frame) else { continue };
        let Some((src, dst)) = meta.addrs(&frame) else {
            continue;
        };
        for _ in 0..if cfg!(miri) { 2 } else { 500 } {
            let change = any_change(&mut random, src.is_ipv4());
            let (mut packet, mut there) = (frame.clone(), meta);
            if apply(&mut packet, &mut there, &change).is_err() {
                assert!(meta.ip_options);
                continue;
            }
            let back = Change {
                src: Some(End {
                    addr: src,
                    port: meta.src_port,
                }),
                dst: Some(End {
                    addr: dst,
                    port: meta.dst_port,
                }),
            };
            assert_eq!(
                checksum::transport_is_right(&packet, &there),
                checksum::transport_is_right(&frame, &meta)
            );
            apply(&mut packet, &mut there, &back).unwrap();
            assert_eq!((packet, there), (frame.clone(), meta));
        }
    }
}

pub(super) fn any_change(random: &mut Random, ipv4: bool) -> Change {
    let mut any = || {
        let (high, low) = (u128::from(random.next()) << 64, u128::from(random.next()));
        let addr = match ipv4 {
            true => IpAddr::from((low as u32).to_be_bytes()),
            false => IpAddr::from((high | low).to_be_bytes()),
        };
        let port = random.next() as u16;
        (random.below(4) > 0).then_some(End { addr, port })
    };
    Change {
        src: any(),
        dst: any(),
    }
}

#[test]
fn no_udp_checksum_stays_none_and_a_computed_zero_is_ffff() {
    let frame = samples::ipv4(UDP, &samples::udp(b"query"));
    let new = applied(&frame, &source(OUTSIDE, 2222));
    assert_eq!(new[40..42], [0, 0]);
    // The port at which the sum comes out as zero.
    let checked = recomputed(&frame);
    let zero = (0..=u16::MAX).find(|port| {
        let new = applied(&checked, &source(OUTSIDE, *port));
        let mut without = new.clone();
        without[40..42].fill(0);
        let sum = Sum::new()
            .ipv4_pseudo(
                OUTSIDE.parse().unwrap(),
                [10, 0, 0, 2].into(),
                UDP,
                (new.len() - 34) as u16,
            )
            .bytes(&without[34..]);
        sum.finish() == 0
    });
    let new = applied(&checked, &source(OUTSIDE, zero.unwrap()));
    assert_eq!(new[40..42], [0xff, 0xff]);
    assert_eq!(new, recomputed(&new));
}

#[test]
fn identifiers_of_queries_change_with_either_end() {
    for template in [samples::PING, samples::PONG, samples::PING6, samples::PONG6] {
        let frame = hex(template);
        let (src, dst) = parse(&frame).unwrap().addrs(&frame).unwrap();
        let id = parse(&frame).unwrap().src_port;
        let keep = |addr| End { addr, port: id };
        let new = |addr| End { addr, port: 0x0102 };
        for (src, dst) in [
            (Some(new(src)), None),
            (None, Some(new(dst))),
            (Some(new(src)), Some(keep(dst))),
            (Some(keep(src)), Some(new(dst))),
            (Some(new(src)), Some(new(dst))),
        ] {
            let changed = applied(&frame, &Change { src, dst });
            let meta = parse(&changed).unwrap();
            assert_eq!((meta.src_port, meta.dst_port), (0x0102, 0x0102));
            assert!(checksum::transport_is_right(&changed, &meta));
        }
    }
}

#[test]
fn later_fragments_get_addresses_only() {
    for template in [samples::LAST_FRAGMENT, samples::LAST_FRAGMENT6] {
        let frame = hex(template);
        let mut meta = parse(&frame).unwrap();
        // As lent by the first one.
        (meta.src_port, meta.dst_port) = (7, 8);
        let addr = match meta.network {
            Network::Ipv4 => "203.0.113.7",
            _ => "fd01::1",
        };
        let mut new = frame.clone();
        apply(&mut new, &mut meta, &source(addr, 9)).unwrap();
        assert_eq!((meta.src_port, meta.dst_port), (7, 8));
        let l4 = usize::from(meta.l4);
        assert_eq!(new[l4..], frame[l4..]);
        assert_eq!(parse(&new).unwrap().src_addr(&new), addr.parse().ok());
    }
}

#[test]
fn a_first_fragment_keeps_the_sum_of_the_whole_datagram_right() {
    let datagram = [samples::udp(&[9; 24]), Vec::new()].concat();
    let whole = recomputed(&samples::ipv4(UDP, &datagram));
    let mut first = samples::ipv4_fragment(UDP, 0x2000, &whole[34..34 + 16]);
    let change = source(OUTSIDE, 2222);
    let mut meta = parse(&first).unwrap();
    apply(&mut first, &mut meta, &change).unwrap();
    assert_eq!(first[34..50], applied(&whole, &change)[34..50]);
}

#[test]
fn a_first_fragment_of_sctp_keeps_its_ports_or_is_refused() {
    let frame = samples::ipv4_fragment(SCTP, 0x2000, &[0x11; 16]);
    let change = |port| source(OUTSIDE, port);
    let mut meta = parse(&frame).unwrap();
    let refused = apply(&mut frame.clone(), &mut meta, &change(9));
    assert_eq!(refused, Err(Error::Untranslatable));
    let mut meta = parse(&frame).unwrap();
    assert_eq!(
        apply(&mut frame.clone(), &mut meta, &change(0x1111)),
        Ok(())
    );
}

#[test]
fn checksums_without_ports_of_ours_follow_the_addresses() {
    // UDP-Lite that covers its header (RFC 3828 §3.1): as UDP, but for the protocol number.
    let mut lite = samples::udp(b"query");
    let sum = Sum::new().ipv4_pseudo([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), UDP_LITE, 13);
    let checksum = sum.bytes(&lite).finish();
    lite[6..8].copy_from_slice(&checksum.to_be_bytes());
    let new = applied(&samples::ipv4(UDP_LITE, &lite), &source(OUTSIDE, 9));
    let sum = Sum::new().ipv4_pseudo(OUTSIDE.parse().unwrap(), [10, 0, 0, 2].into(), UDP_LITE, 13);
    assert_eq!(sum.bytes(&new[34..]).finish(), 0);
    // Its ports are nobody's business.
    assert_eq!(new[34..38], lite[..4]);
}

/// RFC 1812 §5.3.13.1: translated, or dropped.
#[test]
fn options_that_may_hold_addresses_are_refused() {
    let refuses = |options: &[u8]| {
        let mut frame = samples::ipv4_with_options(UDP, options, &samples::udp(b"x"));
        let mut meta = parse(&frame).unwrap();
        let result = apply(&mut frame, &mut meta, &source(OUTSIDE, 9));
        match result {
            Ok(()) => {
                assert!(parse(&frame).is_ok(), "the checksum covers the options");
                assert_eq!(frame[34..34 + options.len()], *options);
                false
            }
            Err(error) => {
                assert_eq!(error, Error::Untranslatable);
                true
            }
        }
    };
    assert!(!refuses(&[1, 1, 1, 0]));
    assert!(!refuses(&[148, 4, 0, 0]));
    assert!(!refuses(&[136, 4, 1, 2, 1, 1, 148, 4, 0, 0, 0, 0]));
    assert!(refuses(&[7, 7, 4, 10, 0, 0, 9, 0]));
    assert!(refuses(&[68, 12, 13, 1, 10, 0, 0, 9, 0, 0, 0, 1]));
    assert!(refuses(&[148, 4, 0, 0, 94, 4, 0, 0]));
    assert!(refuses(&[131, 7, 4, 10, 0, 0, 9, 0]));
}

#[test]
fn an_end_of_the_other_version_is_refused() {
    for (template, addr) in [(samples::PING, "fd01::1"), (samples::PING6, "10.0.0.1")] {
        let mut frame = hex(template);
        let mut meta = parse(&frame).unwrap();
        let refused = apply(&mut frame, &mut meta, &source(addr, 1));
        assert_eq!(refused, Err(Error::Untranslatable));
    }
}

#[test]
fn an_identification_keeps_the_header_right() {
    for id in [0, 1, 0x1234, 0xffff] {
        let mut frame = hex(samples::PING);
        let meta = parse(&frame).unwrap();
        set_ipv4_id(&mut frame, &meta, id);
        let parsed = parse(&frame).unwrap();
        assert_eq!(parsed.fragment_id, u32::from(id));
    }
    let mut frame = hex(samples::PING6);
    let meta = parse(&frame).unwrap();
    set_ipv4_id(&mut frame, &meta, 7);
    assert_eq!(frame, hex(samples::PING6));
}

/// The payload is elsewhere; nothing of it is needed.
#[test]
fn a_packet_in_pieces_is_translated_as_one() {
    let whole = recomputed(&samples::ipv4(TCP, &samples::tcp(&[7; 600])));
    let mut packet = MemBuffer::chained(&whole, &[60, 300]);
    let mut meta = crate::parse_packet(&mut packet).unwrap();
    let change = source(OUTSIDE, 2222);
    apply(packet.bytes_mut(), &mut meta, &change).unwrap();
    assert_eq!(packet.to_vec(), applied(&whole, &change));
}
