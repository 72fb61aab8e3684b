use super::*;
use crate::samples::{self, PING, PING6, hex};
use crate::{ipv6, parse};

/// An inner field, and what becomes of it under each outer one (Not-ECT, ECT(0), ECT(1), CE); `None`
/// drops. The flag says the figure marks the pair.
type Row = (u8, [(Option<u8>, bool); 4]);

/// RFC 6040 §4.2.
const FIGURE_4: [Row; 4] = [
    (
        NOT_ECT,
        [
            (Some(NOT_ECT), false),
            (Some(NOT_ECT), true),
            (Some(NOT_ECT), true),
            (None, true),
        ],
    ),
    (
        ECT0,
        [
            (Some(ECT0), false),
            (Some(ECT0), false),
            (Some(ECT1), false),
            (Some(CE), false),
        ],
    ),
    (
        ECT1,
        [
            (Some(ECT1), false),
            (Some(ECT1), true),
            (Some(ECT1), false),
            (Some(CE), false),
        ],
    ),
    (
        CE,
        [
            (Some(CE), false),
            (Some(CE), false),
            (Some(CE), true),
            (Some(CE), false),
        ],
    ),
];

const OUTER: [u8; 4] = [NOT_ECT, ECT0, ECT1, CE];
const DSCP: u8 = 0b1011_1000;

#[test]
fn outer_field_is_the_inner_one() {
    for inner in 0..=255 {
        assert_eq!(encapsulate(inner), inner & 3);
    }
}

#[test]
fn all_sixteen_pairs_follow_figure_4() {
    for (inner, row) in FIGURE_4 {
        for (outer, (expected, marked)) in OUTER.into_iter().zip(row) {
            let combined = decapsulate(inner | DSCP, outer | 0x40);
            assert_eq!(combined, expected.ok_or(Error::EcnNotCapable));
            assert_eq!(is_dubious(inner | DSCP, outer | 0x40), marked);
        }
    }
}

#[test]
fn all_sixteen_pairs_are_applied_and_checksums_stay_right() {
    for template in [PING, PING6] {
        for (inner, row) in FIGURE_4 {
            for (outer, (expected, _)) in OUTER.into_iter().zip(row) {
                let mut frame = with_traffic_class(template, inner | DSCP);
                let before = frame.clone();
                let meta = parse(&frame).unwrap();
                let Some(expected) = expected else {
                    let refused = apply(&mut frame, &meta, outer, Model::Pipe);
                    assert_eq!(refused, Err(Error::EcnNotCapable));
                    assert_eq!(frame, before);
                    continue;
                };
                apply(&mut frame, &meta, outer, Model::Pipe).unwrap();
                // Built anew with the field expected, checksum and all.
                assert_eq!(frame, with_traffic_class(template, expected | DSCP));
            }
        }
    }
}

// RFC 2983 §3: what became of the class on the way comes out of a uniform tunnel.
#[test]
fn outer_dscp_comes_out_of_a_uniform_tunnel() {
    for template in [PING, PING6] {
        let mut frame = with_traffic_class(template, DSCP | ECT0);
        let meta = parse(&frame).unwrap();
        apply(&mut frame, &meta, 0x40 | CE, Model::Uniform).unwrap();
        assert_eq!(frame, with_traffic_class(template, 0x40 | CE));
        let meta = parse(&frame).unwrap();
        apply(&mut frame, &meta, 0x20, Model::Uniform).unwrap();
        assert_eq!(frame, with_traffic_class(template, 0x20 | CE));
    }
}

#[test]
fn frames_without_ip_pass_through_congestion() {
    let mut frame = hex(samples::ARP_REQUEST);
    let meta = parse(&frame).unwrap();
    assert_eq!(apply(&mut frame, &meta, CE, Model::Uniform), Ok(()));
    assert_eq!(frame, hex(samples::ARP_REQUEST));
}

fn with_traffic_class(template: &str, traffic_class: u8) -> alloc::vec::Vec<u8> {
    let mut frame = hex(template);
    if frame[14] >> 4 == 6 {
        let (mut header, _) = ipv6::Header::split_mut(&mut frame[14..]).unwrap();
        header.set_traffic_class(traffic_class);
        return frame;
    }
    frame[15] = traffic_class;
    samples::fix_ipv4(&mut frame[14..]);
    frame
}
