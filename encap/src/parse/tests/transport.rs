//! Refusals of transport headers.

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
