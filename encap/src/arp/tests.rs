use super::*;
use crate::samples::{self, ARP_REPLY, ARP_REQUEST, hex};
use crate::{MemBuffer, Network, parse};
use alloc::vec::Vec;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const A_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

#[test]
fn captured_request_and_reply_read_right() {
    let frame = hex(ARP_REQUEST);
    assert_eq!(parse(&frame).unwrap().network, Network::Arp);
    let (packet, rest) = Packet::split(&frame[14..]).unwrap();
    assert!(rest.is_empty() && packet.is_request());
    assert_eq!((packet.sender_mac(), packet.sender_ip()), (A, A_IP));
    assert_eq!(
        (packet.target_mac(), packet.target_ip()),
        (MacAddr::ZERO, B_IP)
    );
    let frame = hex(ARP_REPLY);
    let (packet, _) = Packet::split(&frame[14..]).unwrap();
    assert_eq!(packet.operation(), REPLY);
    assert_eq!((packet.sender_mac(), packet.sender_ip()), (B, B_IP));
    assert_eq!((packet.target_mac(), packet.target_ip()), (A, A_IP));
}

#[test]
fn captured_request_becomes_the_captured_reply() {
    let mut frame = hex(ARP_REQUEST);
    reply(&mut frame, 0, B);
    assert_eq!(frame, hex(ARP_REPLY));
}

#[test]
fn tagged_request_within_a_buffer_keeps_its_tag() {
    let mut frame = [
        [0xaa; 50].as_slice(),
        &samples::tagged(&hex(ARP_REQUEST), 9),
    ]
    .concat();
    reply(&mut frame, 50, B);
    let expected = [[0xaa; 50].as_slice(), &samples::tagged(&hex(ARP_REPLY), 9)].concat();
    assert_eq!(frame, expected);
}

#[test]
fn what_is_no_request_is_left_as_it_is() {
    for mut frame in [
        hex(ARP_REPLY),
        hex(samples::PING),
        hex(ARP_REQUEST)[..41].to_vec(),
    ] {
        let before = frame.clone();
        reply(&mut frame, 0, B);
        assert_eq!(frame, before);
    }
}

#[test]
fn built_request_is_the_captured_one() {
    let mut packet = MemBuffer::from_frame(b"anything");
    request(&mut packet, A, A_IP, B_IP).unwrap();
    assert_eq!(packet.bytes(), hex(ARP_REQUEST));
}

#[test]
fn other_hardware_or_protocol_is_refused() {
    for (at, value) in [(0, 1), (1, 6), (2, 0x86), (3, 1), (4, 8), (5, 16)] {
        let mut bytes: Vec<u8> = hex(ARP_REQUEST)[14..].to_vec();
        bytes[at] = value;
        assert_eq!(Packet::split(&bytes).err(), Some(Error::MalformedArp));
        assert_eq!(
            Packet::split_mut(&mut bytes).err(),
            Some(Error::MalformedArp)
        );
    }
}

#[test]
fn short_buffer_is_refused() {
    let bytes = &hex(ARP_REQUEST)[14..41];
    assert_eq!(Packet::split(bytes).err(), Some(Error::MalformedArp));
}
