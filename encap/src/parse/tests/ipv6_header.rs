//! Refusals of IPv6 headers and extension headers.

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
fn padding_may_stand_between_options() {
    let mut payload = vec![UDP, 1];
    payload.extend([1, 4, 0, 0, 0, 0, 0x1e, 0, 1, 4, 0, 0, 0, 0]);
    payload.extend(udp(&[]));
    assert!(parse(&ipv6(60, &payload)).is_ok());
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

// RFC 8200 §4.7: what follows "no next header" is not read, and has no ports.
#[test]
fn nothing_is_read_behind_no_next_header() {
    let meta = parse(&ipv6(59, &udp(b"looks like ports"))).unwrap();
    assert_eq!((meta.protocol, meta.src_port, meta.dst_port), (59, 0, 0));
    assert_eq!(meta.l4, meta.end);
    let behind_options = [&padding(59)[..], &udp(&[])].concat();
    let meta = parse(&ipv6(60, &behind_options)).unwrap();
    assert_eq!((meta.protocol, meta.dst_port), (59, 0));
}

// Eight headers of eight options in all are the most a packet can ask for (RFC 8504 §5.3).
#[test]
fn eight_extension_headers_are_walked() {
    let mut payload = [60, 0, 0x1e, 0, 0x1e, 0, 1, 0].repeat(4);
    payload.extend(padding(60).repeat(3));
    payload.extend(padding(UDP));
    payload.extend(udp(&[]));
    let meta = parse(&ipv6(60, &payload)).unwrap();
    assert_eq!((meta.protocol, meta.dst_port), (UDP, 53));
}
