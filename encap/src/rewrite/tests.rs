use super::*;
use crate::samples::{self, ARP_REQUEST, PING, PING6, hex};
use crate::{MemBuffer, parse};

#[test]
fn ttl_64_becomes_63_with_the_checksum_of_a_full_recompute() {
    let mut frame = hex(PING);
    let meta = parse(&frame).unwrap();
    decrement_ttl(&mut frame, &meta);
    let mut expected = hex(PING);
    expected[22] = 63;
    samples::fix_ipv4(&mut expected[14..]);
    assert_eq!(frame, expected);
}

#[test]
fn every_ttl_and_checksum_goes_down_right() {
    for ttl in 1..=255 {
        for id in (0..=u16::MAX).step_by(if cfg!(miri) { 9973 } else { 61 }) {
            let mut frame = hex(PING);
            frame[22] = ttl;
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            samples::fix_ipv4(&mut frame[14..]);
            let meta = parse(&frame).unwrap();
            decrement_ttl(&mut frame, &meta);
            let updated = frame.clone();
            samples::fix_ipv4(&mut frame[14..]);
            assert_eq!(updated, frame);
            assert_eq!(frame[22], ttl - 1);
        }
        if cfg!(miri) && ttl > 2 {
            break;
        }
    }
}

#[test]
fn hop_limit_goes_down_in_a_tagged_frame() {
    let mut frame = samples::tagged(&hex(PING6), 5);
    let meta = parse(&frame).unwrap();
    decrement_ttl(&mut frame, &meta);
    let mut expected = samples::tagged(&hex(PING6), 5);
    expected[18 + 7] = 63;
    assert_eq!(frame, expected);
}

// RFC 3443 §3.6.1, and never up (RFC 4023 §5.2).
#[test]
fn ttl_is_lowered_and_never_raised() {
    for (template, at) in [(PING, 22), (PING6, 21)] {
        for (limit, expected) in [(255, 64), (64, 64), (63, 63), (2, 2)] {
            let mut frame = hex(template);
            let meta = parse(&frame).unwrap();
            limit_ttl(&mut frame, &meta, limit);
            let mut built = hex(template);
            built[at] = expected;
            if at == 22 {
                samples::fix_ipv4(&mut built[14..]);
            }
            assert_eq!(frame, built);
        }
    }
}

#[test]
fn frames_without_ip_have_no_ttl() {
    let mut frame = hex(ARP_REQUEST);
    let meta = parse(&frame).unwrap();
    decrement_ttl(&mut frame, &meta);
    assert_eq!(frame, hex(ARP_REQUEST));
}

#[test]
fn macs_are_set_where_the_frame_starts() {
    let mut frame = [&[0xaa; 4][..], &hex(PING)].concat();
    set_macs(&mut frame, 4, MacAddr([1; 6]), MacAddr([2; 6]));
    assert_eq!(
        frame[..16],
        [[0xaa; 4].as_slice(), &[1; 6], &[2; 6]].concat()
    );
    assert_eq!(frame[16..], hex(PING)[12..]);
}

#[test]
fn tag_is_pushed_and_popped() {
    let mut packet = MemBuffer::from_frame(&hex(PING));
    push_vlan(&mut packet, VlanId::new(0x123).unwrap()).unwrap();
    let expected = [
        &hex(PING)[..12],
        &[0x81, 0x00, 0x01, 0x23],
        &hex(PING)[12..],
    ]
    .concat();
    assert_eq!(packet.bytes(), expected);
    pop_vlan(&mut packet).unwrap();
    assert_eq!(packet.bytes(), hex(PING));
    pop_vlan(&mut packet).unwrap();
    assert_eq!(packet.bytes(), hex(PING));
}

#[test]
fn tag_without_room_or_frame_is_refused() {
    let id = VlanId::new(1).unwrap();
    let mut packet = MemBuffer::new(3, &hex(PING));
    let refused = push_vlan(&mut packet, id);
    assert_eq!(refused, Err(Error::NoRoom { need: 4, have: 3 }));
    assert_eq!(packet.bytes(), hex(PING));

    let mut packet = MemBuffer::from_frame(&[0; 13]);
    assert!(push_vlan(&mut packet, id).is_err());
    assert!(pop_vlan(&mut packet).is_err());
    let mut packet = MemBuffer::from_frame(&samples::tagged(&hex(PING), 1)[..17]);
    let refused = pop_vlan(&mut packet);
    assert_eq!(refused, Err(Error::Truncated { need: 4, have: 3 }));
}
