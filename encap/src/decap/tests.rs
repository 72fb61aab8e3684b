use super::*;
use crate::checksum::fill_transport;
use crate::samples::{
    self, MPLS_GRE, MPLS_GRE_FIELDS, MPLS_GRE6, MPLS_STACK, MPLS_UDP, MPLS_UDP_ETHERNET, MPLS_UDP6,
    PING, Random, VXLAN_ARP, VXLAN_PING, VXLAN6_CHECKED, VXLAN6_PING, fix_ipv4, fragment_header,
    hex,
};
use crate::{Label, MemBuffer, parse, parse_at, parse_ip};
use alloc::vec::Vec;

/// Tunnel packets of every kind.
const ALL: [&str; 11] = [
    VXLAN_ARP,
    VXLAN_PING,
    VXLAN6_PING,
    VXLAN6_CHECKED,
    MPLS_UDP,
    MPLS_UDP_ETHERNET,
    MPLS_UDP6,
    MPLS_GRE,
    MPLS_GRE6,
    MPLS_GRE_FIELDS,
    MPLS_STACK,
];

/// Offsets in the captures over IPv4.
const UDP: usize = 34;
const VXLAN: usize = 42;

fn open(frame: &[u8]) -> Result<Decap, Error> {
    let decap = decap(&MemBuffer::from_frame(frame), &parse(frame)?)?;
    Ok(decap.expect("a tunnel packet"))
}

/// What the short way makes of a packet, and what the long way does.
fn both(frame: &[u8], meta: &Meta) -> (Option<Decap>, Result<Decap, Error>) {
    let plain = match (meta.protocol, meta.dst_port) {
        (GRE, _) => plain::mpls_over_gre(frame, meta),
        (_, VXLAN_PORT) => plain::vxlan(frame, meta),
        _ => plain::mpls_over_udp(frame, meta),
    };
    (plain, any(&MemBuffer::from_frame(frame), *meta))
}

#[test]
fn every_packet_opens_as_the_long_way_does() {
    let mut random = Random(0x0dec_a500);
    let mut short = 0;
    for original in ALL.map(hex) {
        for round in 0..if cfg!(miri) { 3 } else { 20_000 } {
            let mut frame = original.clone();
            for _ in 0..round % 4 {
                let at = 14 + random.below(frame.len().min(86) - 14);
                frame[at] = random.next() as u8;
            }
            match round % 16 {
                0 => frame.truncate(frame.len() - random.below(frame.len())),
                1 => frame.resize(frame.len() + random.below(9), 0xee),
                _ => {}
            }
            // Most mutations would end at a checksum.
            if frame.len() > 14 + 60 && frame[12] == 8 && random.below(8) > 0 {
                fix_ipv4(&mut frame[14..]);
            }
            let Ok(meta) = parse(&frame) else { continue };
            if random.below(2) == 0 {
                fill_transport(&mut frame, &meta);
            }
            let whole = decap(&MemBuffer::from_frame(&frame), &meta);
            let is_tunnel = meta.protocol == GRE
                || meta.is_udp() && [VXLAN_PORT, MPLS_UDP_PORT].contains(&meta.dst_port);
            if !is_tunnel {
                assert_eq!(whole, Ok(None));
                continue;
            }
            let (plain, long) = both(&frame, &meta);
            assert_eq!(whole, long.map(Some), "{frame:02x?}");
            if let Some(plain) = plain {
                short += 1;
                assert_eq!(Ok(plain), long, "{frame:02x?}");
            }
        }
    }
    assert!(cfg!(miri) || short > 50_000, "{short}");
}

// A Meta of another packet is a bug of the caller's, and must not become more than a wrong answer.
#[test]
fn offsets_of_another_packet_do_no_harm() {
    let mut random = Random(11);
    let frame = hex(VXLAN6_CHECKED);
    let meta = parse(&frame).unwrap();
    for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
        let meta = Meta {
            l3: random.below(90) as u16,
            l4: random.below(200) as u16,
            end: (random.next() as u16) >> random.below(16),
            ..meta
        };
        let _ = both(&frame, &meta);
    }
}

#[test]
fn plain_tunnel_packets_open_the_short_way() {
    for text in ALL {
        let frame = hex(text);
        let meta = parse(&frame).unwrap();
        let (plain, long) = both(&frame, &meta);
        // Optional fields of GRE, and a second label, are for the long way.
        match text == MPLS_GRE_FIELDS || text == MPLS_STACK {
            true => assert_eq!(plain, None),
            false => assert_eq!(plain.ok_or(Error::LabelStack), long),
        }
    }
}

/// The labels of a packet, and the offset of what they lead to.
fn labels(frame: &[u8]) -> (Vec<u32>, usize) {
    let opened = open(frame).unwrap();
    let Circuit::Labels(stack) = opened.circuit else {
        panic!("no labels: {opened:?}");
    };
    let labels = stack.labels(frame).map(Label::get).collect();
    (labels, opened.inner.into())
}

/// The capture without a UDP checksum, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = hex(VXLAN_PING);
    frame[UDP + 6..UDP + 8].fill(0);
    change(&mut frame);
    frame
}

#[test]
fn captured_packets_open() {
    let frame = hex(VXLAN_PING);
    let opened = open(&frame).unwrap();
    let expected = Decap {
        circuit: Circuit::Vni(Vni::new(5000).unwrap()),
        inner: 50,
        lacks_checksum: false,
    };
    assert_eq!(opened, expected);
    let inner = parse_at(&frame, opened.inner.into()).unwrap();
    assert_eq!(inner.src_addr(&frame), Some([10, 1, 0, 1].into()));
    assert!(inner.is_icmp());

    let frame = hex(VXLAN6_PING);
    let opened = open(&frame).unwrap();
    assert_eq!(opened.circuit, Circuit::Vni(Vni::new(5001).unwrap()));
    assert_eq!((opened.inner, opened.lacks_checksum), (70, true));
    let inner = parse_at(&frame, opened.inner.into()).unwrap();
    assert_eq!(inner.dst_addr(&frame), Some([10, 2, 0, 2].into()));
}

#[test]
fn without_the_i_flag_it_is_refused() {
    for flags in [0x00, 0xf7] {
        let frame = changed(|frame| frame[VXLAN] = flags);
        assert_eq!(open(&frame), Err(Error::VxlanFlags(flags)));
    }
}

#[test]
fn everything_reserved_is_ignored() {
    let expected = open(&hex(VXLAN_PING)).unwrap();
    let frame = changed(|frame| {
        frame[VXLAN..VXLAN + 4].fill(0xff);
        frame[VXLAN + 7] = 0xff;
    });
    assert_eq!(open(&frame), Ok(expected));
}

#[test]
fn udp_checksum_is_taken_when_right_or_absent_and_refused_when_wrong() {
    let frame = hex(VXLAN_PING);
    assert_ne!(frame[UDP + 6..UDP + 8], [0, 0]);
    assert!(open(&frame).is_ok());
    assert!(open(&changed(|_| {})).is_ok());
    let wrong = changed(|frame| frame[UDP + 7] = 1);
    assert_eq!(open(&wrong), Err(Error::UdpChecksum));

    let mut frame = hex(VXLAN6_PING);
    assert_eq!(frame[60..62], [0, 0]);
    let meta = parse(&frame).unwrap();
    fill_transport(&mut frame, &meta);
    assert_ne!(frame[60..62], [0, 0]);
    assert!(open(&frame).is_ok());
    frame[61] ^= 1;
    assert_eq!(open(&frame), Err(Error::UdpChecksum));
}

// Later fragments of UDP have no ports: nobody knows whose they are, and without the first they are
// nobody's.
#[test]
fn outer_fragments_are_refused() {
    for (text, field, is_refused) in [
        (VXLAN_PING, 0x2000u16, true),
        (VXLAN_PING, 0x2010, false),
        (VXLAN_PING, 0x0010, false),
        (MPLS_UDP, 0x2000, true),
        (MPLS_GRE, 0x2000, true),
        (MPLS_GRE, 0x2010, true),
        (MPLS_GRE, 0x0010, true),
    ] {
        let mut frame = hex(text);
        frame.truncate(14 + 20 + 24);
        frame[16..18].copy_from_slice(&44u16.to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        fix_ipv4(&mut frame[14..]);
        let meta = parse(&frame).unwrap();
        let expected = match is_refused {
            true => Err(Error::FragmentedOuter),
            false => Ok(None),
        };
        assert_eq!(decap(&MemBuffer::from_frame(&frame), &meta), expected);
    }
    let payload = [&fragment_header(17, 1)[..], &hex(VXLAN_PING)[UDP..UDP + 64]].concat();
    let refused = open(&samples::ipv6(44, &payload));
    assert_eq!(refused, Err(Error::FragmentedOuter));
}

#[test]
fn every_truncation_is_refused() {
    for text in ALL {
        let frame = hex(text);
        for len in 0..frame.len() {
            assert!(open(&frame[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn datagram_too_short_for_an_inner_frame_is_refused() {
    let datagram = &changed(|_| {})[UDP..];
    for len in 8..8 + vxlan::LEN + ethernet::LEN {
        let mut datagram = datagram[..len].to_vec();
        datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        let refused = open(&samples::ipv4(17, &datagram));
        assert!(matches!(refused, Err(Error::Truncated { .. })), "{len}");
    }
}

#[test]
fn every_wrong_udp_length_is_refused() {
    let right = hex(VXLAN_PING).len() as u16 - UDP as u16;
    let step = if cfg!(miri) { 499 } else { 1 };
    for len in (0..=u16::MAX).step_by(step).filter(|len| *len != right) {
        let frame = changed(|frame| {
            frame[UDP + 4..UDP + 6].copy_from_slice(&len.to_be_bytes());
        });
        let expected = Error::UdpLen {
            len_field: len,
            have: right,
        };
        assert_eq!(open(&frame), Err(expected));
    }
}

#[test]
fn outer_padding_is_not_within_the_tunnel() {
    let mut frame = hex(VXLAN_PING);
    frame.extend([0; 6]);
    let meta = parse(&frame).unwrap();
    assert!(open(&frame).is_ok());
    assert_eq!(usize::from(meta.end), frame.len() - 6);
}

#[test]
fn other_packets_are_none_of_a_tunnel() {
    for text in [PING, samples::SYN, samples::RST6, samples::ARP_REQUEST] {
        let frame = hex(text);
        let meta = parse(&frame).unwrap();
        assert_eq!(decap(&MemBuffer::from_frame(&frame), &meta), Ok(None));
    }
}

#[test]
fn packets_built_by_scapy_open() {
    for (text, inner) in [
        (MPLS_UDP, 46),
        (MPLS_UDP6, 66),
        (MPLS_GRE, 42),
        (MPLS_GRE6, 62),
        (MPLS_GRE_FIELDS, 54),
    ] {
        let frame = hex(text);
        assert_eq!(labels(&frame), (alloc::vec![1000], inner));
        let meta = parse_ip(&frame, inner).unwrap();
        assert_eq!((meta.src_port, meta.dst_port), (1000, 53));
    }
    let frame = hex(MPLS_UDP_ETHERNET);
    let inner = parse_at(&frame, labels(&frame).1).unwrap();
    assert_eq!(inner.src_addr(&frame), Some([10, 1, 0, 1].into()));
    assert_eq!(labels(&hex(MPLS_STACK)), (alloc::vec![17, 1000], 54));
    assert!(!open(&hex(VXLAN6_CHECKED)).unwrap().lacks_checksum);
}

// RFC 7510 §3.1: whether that is welcome is for the tunnel to say.
#[test]
fn zero_checksum_over_ipv6_is_told() {
    let mut frame = hex(MPLS_UDP6);
    assert!(!open(&frame).unwrap().lacks_checksum);
    frame[60..62].fill(0);
    assert!(open(&frame).unwrap().lacks_checksum);
    assert!(!open(&hex(MPLS_UDP)).unwrap().lacks_checksum);
    assert!(!open(&hex(MPLS_GRE6)).unwrap().lacks_checksum);
}

// RFC 2784 §2.5: header and payload are covered.
#[test]
fn gre_checksum_is_verified_where_there_is_one() {
    let frame = hex(MPLS_GRE_FIELDS);
    for at in 38..frame.len() {
        let mut frame = frame.clone();
        frame[at] ^= 0x10;
        assert_eq!(open(&frame), Err(Error::GreChecksum), "{at}");
    }
}

#[test]
fn optional_gre_fields_move_the_label_and_nothing_else() {
    let (head, tail) = (&hex(MPLS_GRE)[34..38], &hex(MPLS_GRE)[38..]);
    for flags in 0..8u8 {
        let fields = alloc::vec![0xee; 4 * flags.count_ones() as usize];
        let mut gre = [head, &fields, tail].concat();
        // C, K and S are bits 7, 5 and 4 of the first byte.
        gre[0] = (flags & 4) << 5 | (flags & 3) << 4;
        if flags & 4 != 0 {
            gre[4..8].fill(0);
            let checksum = checksum::Sum::new().bytes(&gre).finish();
            gre[4..6].copy_from_slice(&checksum.to_be_bytes());
        }
        let expected = (alloc::vec![1000], 42 + fields.len());
        assert_eq!(labels(&samples::ipv4(GRE, &gre)), expected, "{flags:03b}");
    }
}

#[test]
fn gre_that_is_not_understood_is_refused() {
    let with = |at: usize, byte: u8| {
        let mut frame = hex(MPLS_GRE);
        frame[34 + at] = byte;
        open(&frame)
    };
    assert_eq!(with(0, 0x40), Err(Error::GreFlags(0x4000)));
    assert_eq!(with(1, 1), Err(Error::GreVersion(1)));
    assert_eq!(with(3, 0x48), Err(Error::GreProtocol(0x8848)));
    assert!(with(1, 0xf8).is_ok());
}
