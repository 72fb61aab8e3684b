use super::*;
use crate::samples::{self, hex};
use crate::{MemBuffer, Network, parse};
use alloc::vec;

// Built by scapy: packets from 10.1.0.5 and fd01::5, and what 10.1.0.1 and fd01::1 say about them.
const UDP4: &str = "02000000000b02000000000a080045000024000700000111a5b60a0100050a01000603e8003500102ce47175657374696f6e";
const EXPIRED4: &str = "02000000000a02000000000b080045c0004000004000400125f60a0100010a0100050b00092e0000000045000024000700000111a5b60a0100050a01000603e8003500102ce47175657374696f6e";
const NEEDED4: &str = "02000000000a02000000000b080045c0004000004000400125f60a0100010a01000503040b80000005aa45000024000700000111a5b60a0100050a01000603e8003500102ce47175657374696f6e";
const PROHIBITED4: &str = "02000000000a02000000000b080045c0004000004000400125f60a0100010a010005030d11210000000045000024000700000111a5b60a0100050a01000603e8003500102ce47175657374696f6e";
const POINTER4: &str = "02000000000a02000000000b080045c0004000004000400125f60a0100010a0100050c00f42d1400000045000024000700000111a5b60a0100050a01000603e8003500102ce47175657374696f6e";
const UDP6: &str = "02000000000b02000000000a86dd6000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";
const EXPIRED6: &str = "02000000000a02000000000b86dd6000000000403afffd010000000000000000000000000001fd0100000000000000000000000000050300918b000000006000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";
const TOO_BIG6: &str = "02000000000a02000000000b86dd6000000000403afffd010000000000000000000000000001fd01000000000000000000000000000502008cf5000005966000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";
const NO_ROUTE6: &str = "02000000000a02000000000b86dd6000000000403afffd010000000000000000000000000001fd0100000000000000000000000000050100938b000000006000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";
const ADDRESS6: &str = "02000000000a02000000000b86dd6000000000403afffd010000000000000000000000000001fd01000000000000000000000000000501039388000000006000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";
const POINTER6: &str = "02000000000a02000000000b86dd6000000000403afffd010000000000000000000000000001fd01000000000000000000000000000504019062000000286000000000101101fd010000000000000000000000000005fd01000000000000000000000000000603e80035001046e27175657374696f6e";

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn error(frame: &[u8], kind: Kind) -> MemBuffer {
    let mut packet = MemBuffer::from_frame(frame);
    let meta = parse(frame).unwrap();
    let src = match meta.network {
        Network::Ipv4 => IpAddr::V4([10, 1, 0, 1].into()),
        _ => "fd01::1".parse().unwrap(),
    };
    assert!(may_answer(frame, &meta, kind));
    write(&mut packet, &meta, src, ROUTER, kind).unwrap();
    packet
}

#[test]
fn errors_are_those_scapy_builds() {
    let parameter = |code, pointer| Kind::Parameter { code, pointer };
    for (about, kind, expected) in [
        (UDP4, Kind::TimeExceeded, EXPIRED4),
        (UDP4, Kind::TooBig { mtu: 1450 }, NEEDED4),
        (UDP4, Kind::Prohibited, PROHIBITED4),
        (UDP4, parameter(0, 20), POINTER4),
        (UDP6, Kind::TimeExceeded, EXPIRED6),
        (UDP6, Kind::TooBig { mtu: 1430 }, TOO_BIG6),
        (UDP6, Kind::NoRoute, NO_ROUTE6),
        (UDP6, Kind::Unreachable, ADDRESS6),
        (UDP6, parameter(1, 40), POINTER6),
    ] {
        assert_eq!(error(&hex(about), kind).bytes(), hex(expected), "{kind:?}");
    }
}

#[test]
fn types_and_codes_are_those_of_the_rfcs() {
    let pair = |(kind, code, _)| (kind, code);
    for (kind, v4, v6) in [
        (Kind::TimeExceeded, (11, 0), (3, 0)),
        (Kind::NoRoute, (3, 0), (1, 0)),
        (Kind::Unreachable, (3, 1), (1, 3)),
        (Kind::ProtocolUnreachable, (3, 2), (1, 4)),
        (Kind::PortUnreachable, (3, 3), (1, 4)),
        (Kind::TooBig { mtu: 1500 }, (3, 4), (2, 0)),
        (Kind::Prohibited, (3, 13), (1, 1)),
    ] {
        assert_eq!((pair(kind.icmp()), pair(kind.icmpv6())), (v4, v6));
    }
}

/// RFC 1812 §4.3.2.3, RFC 4443 §2.4 c.
#[test]
fn as_much_is_quoted_as_fits() {
    for len in [0, 519, 520, 521, 1191, 1192, 1193, 1400, 9000] {
        let payload = vec![7; len];
        let v4 = samples::ipv4(17, &samples::udp(&payload));
        let made = error(&v4, Kind::TimeExceeded);
        assert_eq!(made.len() - 14, (28 + 28 + len).min(MAX_IPV4));
        assert_eq!(made.bytes()[42..], v4[14..][..made.len() - 42]);
        check(&made);
        let v6 = samples::ipv6(17, &samples::udp(&payload));
        let made = error(&v6, Kind::TimeExceeded);
        assert_eq!(made.len() - 14, (48 + 48 + len).min(MAX_IPV6));
        assert_eq!(made.bytes()[62..], v6[14..][..made.len() - 62]);
        check(&made);
    }
}

fn check(made: &MemBuffer) {
    let meta = parse(made.bytes()).unwrap();
    assert!(crate::checksum::transport_is_right(made.bytes(), &meta));
    assert!(is_error(&meta));
}

#[test]
fn padding_is_not_quoted() {
    let mut padded = hex(UDP4);
    padded.extend([0xee; 30]);
    assert_eq!(error(&padded, Kind::TimeExceeded).bytes(), hex(EXPIRED4));
}

/// P4: RFC 8201 §4 has senders ignore less.
#[test]
fn no_mtu_below_what_every_link_takes_is_reported() {
    let made = error(&hex(UDP6), Kind::TooBig { mtu: 600 });
    assert_eq!(made.bytes()[58..62], [0, 0, 5, 0]);
    let made = error(&hex(UDP4), Kind::TooBig { mtu: 40 });
    assert_eq!(made.bytes()[38..42], [0, 0, 0, 68]);
}

#[test]
fn a_vlan_tag_is_left_behind() {
    let tagged = samples::tagged(&hex(UDP4), 9);
    assert_eq!(error(&tagged, Kind::TimeExceeded).bytes(), hex(EXPIRED4));
}

fn answered(frame: &[u8], kind: Kind) -> bool {
    may_answer(frame, &parse(frame).unwrap(), kind)
}

/// RFC 1812 §4.3.2.7, RFC 4443 §2.4 e.
#[test]
fn nothing_is_said_about_errors() {
    let too_big = Kind::TooBig { mtu: 1400 };
    for text in [EXPIRED4, NEEDED4, POINTER4, EXPIRED6, TOO_BIG6, POINTER6] {
        assert!(!answered(&hex(text), Kind::TimeExceeded));
        assert!(!answered(&hex(text), too_big));
    }
    for (kind, is_error) in [
        (0, false),
        (3, true),
        (4, true),
        (5, true),
        (8, false),
        (13, false),
    ] {
        let frame = samples::ipv4(1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answered(&frame, Kind::TimeExceeded), !is_error, "{kind}");
    }
    for (kind, is_error) in [
        (1, true),
        (127, true),
        (128, false),
        (137, true),
        (135, false),
    ] {
        let frame = samples::ipv6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answered(&frame, Kind::TimeExceeded), !is_error, "{kind}");
    }
}

#[test]
fn of_fragments_only_the_first_is_answered() {
    let first = samples::ipv4_fragment(17, 0x2000, &samples::udp(&[9; 16]));
    assert!(answered(&first, Kind::TimeExceeded));
    assert!(!answered(&hex(samples::LAST_FRAGMENT), Kind::TimeExceeded));
    assert!(!answered(&hex(samples::LAST_FRAGMENT6), Kind::TimeExceeded));
}

#[test]
fn only_one_sender_is_answered() {
    let sources = [
        ([0, 1, 2, 3], false),
        ([127, 0, 0, 1], false),
        ([224, 0, 0, 1], false),
        ([240, 0, 0, 1], false),
        ([255; 4], false),
        ([10, 0, 0, 1], true),
    ];
    for (src, expected) in sources {
        let mut frame = hex(UDP4);
        frame[26..30].copy_from_slice(&src);
        samples::fix_ipv4(&mut frame[14..]);
        assert_eq!(answered(&frame, Kind::TimeExceeded), expected, "{src:?}");
    }
    for (src, expected) in [
        ("::", false),
        ("ff02::1", false),
        ("::1", false),
        ("fe80::1", true),
    ] {
        let mut frame = hex(UDP6);
        frame[22..38].copy_from_slice(&src.parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(answered(&frame, Kind::TimeExceeded), expected, "{src}");
    }
}

#[test]
fn what_went_to_a_group_is_answered_only_where_rfc_4443_says_so() {
    let unknown_option = Kind::Parameter {
        code: UNKNOWN_OPTION,
        pointer: 42,
    };
    let too_big = Kind::TooBig { mtu: 1400 };
    for (mac, addr) in [(0x33, "ff02::1"), (0x33, "fd01::6"), (0x02, "ff02::1")] {
        let mut frame = hex(UDP6);
        frame[0] = mac;
        frame[38..54].copy_from_slice(&addr.parse::<Ipv6Addr>().unwrap().octets());
        assert!(answered(&frame, too_big) && answered(&frame, unknown_option));
        assert!(!answered(&frame, Kind::TimeExceeded) && !answered(&frame, Kind::NoRoute));
    }
    for (mac, dst) in [(0xff, [10, 0, 0, 1]), (2, [255; 4]), (2, [224, 0, 0, 5])] {
        let mut frame = hex(UDP4);
        frame[0] = mac;
        frame[30..34].copy_from_slice(&dst);
        samples::fix_ipv4(&mut frame[14..]);
        assert!(!answered(&frame, too_big) && !answered(&frame, Kind::TimeExceeded));
    }
}

#[test]
fn refused_packets_stay_as_they_are() {
    let frame = hex(UDP4);
    let meta = parse(&frame).unwrap();
    let mut packet = MemBuffer::new(27, &frame);
    let v4 = IpAddr::V4([10, 1, 0, 1].into());
    let refused = write(&mut packet, &meta, v4, ROUTER, Kind::NoRoute);
    assert_eq!(refused, Err(Error::NoRoom { need: 42, have: 41 }));
    assert_eq!(packet.bytes(), frame);
    let v6 = "fd01::1".parse().unwrap();
    let refused = write(&mut packet, &meta, v6, ROUTER, Kind::NoRoute);
    assert_eq!(refused, Err(Error::AddressFamily));
    assert_eq!(packet.bytes(), frame);
}
