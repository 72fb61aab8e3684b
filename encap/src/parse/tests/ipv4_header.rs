//! Refusals of IPv4 headers, RFC 1812 §5.2.2.

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
