use super::*;
use crate::samples::{self, PING, PING6, PONG, PONG6, hex};
use crate::{MemBuffer, parse, rewrite};
use alloc::vec::Vec;

fn echo_reply(frame: &mut Vec<u8>, meta: &Meta) -> Result<(), Error> {
    let mut packet = MemBuffer::from_frame(frame);
    let done = super::echo_reply(&mut packet, meta);
    *frame = packet.to_vec();
    done
}

#[test]
fn captured_ping_reads_right() {
    let frame = hex(PING);
    let (header, rest) = Header::split(&frame[34..]).unwrap();
    assert_eq!((header.kind(), header.code()), (ECHO_REQUEST, 0));
    assert_eq!((header.checksum(), header.id()), (0xaae9, 0x4105));
    assert_eq!(header.sequence(), 1);
    assert!(header.is_query());
    assert_eq!(rest, [0, 1, 2, 3, 4, 5, 6, 7]);

    let mut written = [0; LEN];
    let mut header = Header::new(&mut written);
    header.set_kind(ECHO_REQUEST);
    header.set_code(1);
    header.set_checksum(0xaae9);
    header.set_id(0x4105);
    assert_eq!(written, [8, 1, 0xaa, 0xe9, 0x41, 0x05, 0, 0]);
}

#[test]
fn captured_ping_becomes_the_captured_pong() {
    let mut frame = hex(PING);
    let meta = parse(&frame).unwrap();
    assert!(is_echo_request(&meta));
    echo_reply(&mut frame, &meta).unwrap();
    let mut expected = hex(PONG);
    // The kernel chose another id and DF, and wrote the Ethernet addresses.
    expected[..12].copy_from_slice(&hex(PING)[..12]);
    expected[18..22].copy_from_slice(&hex(PING)[18..22]);
    samples::fix_ipv4(&mut expected[14..]);
    assert_eq!(frame, expected);
}

#[test]
fn captured_ping6_becomes_the_captured_pong6() {
    let mut frame = hex(PING6);
    let meta = parse(&frame).unwrap();
    assert!(is_echo_request(&meta));
    echo_reply(&mut frame, &meta).unwrap();
    let mut expected = hex(PONG6);
    // The kernel chose another flow label, and wrote the Ethernet addresses.
    expected[..12].copy_from_slice(&hex(PING6)[..12]);
    expected[14..18].copy_from_slice(&hex(PING6)[14..18]);
    assert_eq!(frame, expected);
}

#[test]
fn reply_has_all_its_hops() {
    for text in [PING, PING6] {
        let mut frame = hex(text);
        let meta = parse(&frame).unwrap();
        rewrite::decrement_ttl(&mut frame, &meta);
        echo_reply(&mut frame, &meta).unwrap();
        assert_eq!(parse(&frame).unwrap().ttl, 64);
    }
}

#[test]
fn damaged_request_is_refused() {
    for text in [PING, PING6] {
        let mut frame = hex(text);
        let last = frame.len() - 1;
        frame[last] ^= 0x10;
        let before = frame.clone();
        let meta = parse(&frame).unwrap();
        assert_eq!(echo_reply(&mut frame, &meta), Err(Error::IcmpChecksum));
        assert_eq!(frame, before);
    }
}

#[test]
fn request_in_fragments_is_refused() {
    let mut frame = samples::ipv4_fragment(ICMP, 0x2000, &hex(PING)[34..]);
    let meta = parse(&frame).unwrap();
    assert!(is_echo_request(&meta));
    assert_eq!(echo_reply(&mut frame, &meta), Err(Error::FragmentedIcmp));
}

#[test]
fn replies_and_other_protocols_are_no_requests() {
    for text in [PONG, PONG6, samples::SYN, samples::ARP_REQUEST] {
        assert!(!is_echo_request(&parse(&hex(text)).unwrap()));
    }
}

#[test]
fn short_buffer_is_refused() {
    let refused = Error::Truncated { need: 8, have: 7 };
    assert_eq!(Header::split(&[0; 7]).err(), Some(refused));
    assert_eq!(Header::split_mut(&mut [0; 7]).err(), Some(refused));
}
