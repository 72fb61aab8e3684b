//! Refusals at the link layer, and by length alone.

use super::*;

#[test]
fn short_frame_is_refused() {
    let expected = Error::Truncated { need: 14, have: 13 };
    assert_eq!(refused(&[0; 13]), expected);
    let none = Error::Truncated { need: 14, have: 0 };
    assert_eq!(parse_at(&hex(SYN), 75), Err(none));
}

#[test]
fn short_tag_is_refused() {
    let bytes = &tagged(&hex(SYN), 1)[..17];
    assert_eq!(refused(bytes), Error::Truncated { need: 4, have: 3 });
}

#[test]
fn stacked_tags_are_refused() {
    let twice = tagged(&tagged(&hex(SYN), 1), 2);
    assert_eq!(refused(&twice), Error::VlanStacked);
    let mut service = tagged(&hex(SYN), 1);
    service[12..14].copy_from_slice(&SERVICE_TAG.to_be_bytes());
    assert_eq!(refused(&service), Error::VlanStacked);
}

#[test]
fn reserved_vlan_is_refused() {
    let mut bytes = tagged(&hex(SYN), 1);
    bytes[14..16].copy_from_slice(&[0x0f, 0xff]);
    assert_eq!(refused(&bytes), Error::VlanReserved);
}

#[test]
fn frame_beyond_offsets_is_refused() {
    let bytes = vec![0; 65536];
    assert_eq!(refused(&bytes), Error::TooLong { len: 65536 });
    assert_eq!(parse_ip(&bytes, 0), Err(Error::TooLong { len: 65536 }));
}

#[test]
fn every_truncation_of_ip_is_refused() {
    for bytes in samples::all() {
        let meta = parse(&bytes).unwrap();
        if !meta.is_ip() {
            continue;
        }
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len}");
        }
    }
}
