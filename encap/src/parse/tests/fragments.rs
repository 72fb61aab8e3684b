//! Refusals of fragments.

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

// RFC 8200 §4.5: the fragmentable part begins behind the fragment header, whatever follows it.
#[test]
fn a_fragments_payload_begins_behind_its_fragment_header() {
    let options = [UDP, 0, 1, 4, 0, 0, 0, 0];
    let hop_by_hop = [44, 0, 1, 4, 0, 0, 0, 0];
    let first = ipv6(
        0,
        &[
            &hop_by_hop[..],
            &fragment_header(60, 1),
            &options,
            &udp(&[7; 16]),
        ]
        .concat(),
    );
    let meta = parse(&first).unwrap();
    assert_eq!((meta.protocol, meta.dst_port), (UDP, 53));
    assert_eq!(fragment_payload(&first, &meta), Some(14 + 40 + 16));
    assert_eq!(usize::from(meta.l4), 14 + 40 + 16 + 8);
    let later = ipv6_fragment(60, 8 << 3, &[7; 16]);
    let meta = parse(&later).unwrap();
    assert_eq!(fragment_payload(&later, &meta), Some(14 + 40 + 8));
    let first = ipv4_fragment(UDP, 0x2000, &udp(&[7; 16]));
    let meta = parse(&first).unwrap();
    assert_eq!(fragment_payload(&first, &meta), Some(14 + 20));
}

// A later fragment has no ports, whatever its bytes look like.
#[test]
fn what_looks_like_ports_in_a_later_fragment_is_not_read() {
    for bytes in [
        ipv4_fragment(UDP, 2, &udp(&[0; 16])),
        ipv6_fragment(TCP, 17, &tcp(&[0; 12])),
    ] {
        let meta = parse(&bytes).unwrap();
        assert_eq!(meta.fragment, Fragment::Later);
        assert_eq!((meta.src_port, meta.dst_port, meta.l4_flags), (0, 0, 0));
    }
}
