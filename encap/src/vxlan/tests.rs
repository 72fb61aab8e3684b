use super::*;
use crate::samples::{
    self, PING, VXLAN_ARP, VXLAN_PING, VXLAN6_PING, fix_ipv4, fragment_header, hex,
};
use crate::{MemBuffer, parse, parse_at};
use alloc::vec::Vec;

/// Offsets in the captures over IPv4.
const UDP: usize = 34;
const VXLAN: usize = 42;

fn decap(frame: &[u8]) -> Result<Decap, Error> {
    vxlan_decap(&MemBuffer::from_frame(frame), &parse(frame)?)
}

/// The capture without a UDP checksum, changed.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = hex(VXLAN_PING);
    frame[UDP + 6..UDP + 8].fill(0);
    change(&mut frame);
    frame
}

// RFC 7348 §5; the bytes are those of VNI 5000.
#[test]
fn header_lies_where_rfc_7348_puts_it() {
    let mut bytes = [0xff; LEN];
    Header::new(&mut bytes).set(Vni::new(5000).unwrap());
    assert_eq!(bytes, [0x08, 0, 0, 0, 0x00, 0x13, 0x88, 0]);
    let (header, rest) = Header::split(&bytes).unwrap();
    assert!(rest.is_empty());
    assert_eq!((header.flags(), header.vni()), (0x08, Vni::new(5000)));
}

#[test]
fn captured_packets_open() {
    let frame = hex(VXLAN_PING);
    let opened = decap(&frame).unwrap();
    let expected = Decap {
        vni: Vni::new(5000).unwrap(),
        inner: 50,
        outer_src: [192, 0, 2, 1].into(),
        outer_dst: [192, 0, 2, 2].into(),
        outer_traffic_class: 2,
    };
    assert_eq!(opened, expected);
    let inner = parse_at(&frame, opened.inner).unwrap();
    assert_eq!(inner.src_addr(&frame), Some([10, 1, 0, 1].into()));
    assert!(inner.is_icmp());

    let frame = hex(VXLAN6_PING);
    let opened = decap(&frame).unwrap();
    assert_eq!((opened.vni.get(), opened.inner), (5001, 70));
    assert_eq!(opened.outer_src, "2001:db8::1".parse::<IpAddr>().unwrap());
    let inner = parse_at(&frame, opened.inner).unwrap();
    assert_eq!(inner.dst_addr(&frame), Some([10, 2, 0, 2].into()));
}

#[test]
fn without_the_i_flag_it_is_refused() {
    for flags in [0x00, 0xf7] {
        let frame = changed(|frame| frame[VXLAN] = flags);
        assert_eq!(decap(&frame), Err(Error::VxlanFlags(flags)));
    }
}

#[test]
fn everything_reserved_is_ignored() {
    let expected = decap(&hex(VXLAN_PING)).unwrap();
    let frame = changed(|frame| {
        frame[VXLAN..VXLAN + 4].fill(0xff);
        frame[VXLAN + 7] = 0xff;
    });
    assert_eq!(decap(&frame), Ok(expected));
}

#[test]
fn udp_checksum_is_taken_when_right_or_absent_and_refused_when_wrong() {
    let frame = hex(VXLAN_PING);
    assert_ne!(frame[UDP + 6..UDP + 8], [0, 0]);
    assert!(decap(&frame).is_ok());
    assert!(decap(&changed(|_| {})).is_ok());
    let wrong = changed(|frame| frame[UDP + 7] = 1);
    assert_eq!(decap(&wrong), Err(Error::UdpChecksum));

    let mut frame = hex(VXLAN6_PING);
    assert_eq!(frame[60..62], [0, 0]);
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    assert_ne!(frame[60..62], [0, 0]);
    assert!(decap(&frame).is_ok());
    frame[61] ^= 1;
    assert_eq!(decap(&frame), Err(Error::UdpChecksum));
}

#[test]
fn outer_fragments_are_refused() {
    for field in [0x2000, 0x2010, 0x0010] {
        let frame = changed(|frame| {
            frame.truncate(14 + 20 + 64);
            frame[16..18].copy_from_slice(&84u16.to_be_bytes());
            frame[20..22].copy_from_slice(&u16::to_be_bytes(field));
            fix_ipv4(&mut frame[14..]);
        });
        assert_eq!(decap(&frame), Err(Error::FragmentedOuter));
    }
    let payload = [&fragment_header(17, 1)[..], &hex(VXLAN_PING)[UDP..UDP + 64]].concat();
    assert_eq!(
        decap(&samples::ipv6(44, &payload)),
        Err(Error::FragmentedOuter)
    );
}

#[test]
fn every_truncation_is_refused() {
    for text in [VXLAN_ARP, VXLAN_PING, VXLAN6_PING] {
        let frame = hex(text);
        for len in 0..frame.len() {
            assert!(decap(&frame[..len]).is_err(), "{len}");
        }
    }
}

#[test]
fn datagram_too_short_for_an_inner_frame_is_refused() {
    let datagram = &changed(|_| {})[UDP..];
    for len in 8..8 + LEN + ethernet::LEN {
        let mut datagram = datagram[..len].to_vec();
        datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        let refused = decap(&samples::ipv4(17, &datagram));
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
        assert_eq!(decap(&frame), Err(expected));
    }
}

#[test]
fn outer_padding_is_not_within_the_tunnel() {
    let mut frame = hex(VXLAN_PING);
    frame.extend([0; 6]);
    let meta = parse(&frame).unwrap();
    assert!(decap(&frame).is_ok());
    assert_eq!(usize::from(meta.end), frame.len() - 6);
}

#[test]
fn packets_without_udp_are_refused() {
    for text in [PING, samples::ARP_REQUEST] {
        assert!(decap(&hex(text)).is_err());
    }
}

#[test]
fn short_buffer_is_refused() {
    let refused = Error::Truncated { need: 8, have: 7 };
    assert_eq!(Header::split(&[0; 7]).err(), Some(refused));
    assert_eq!(Header::split_mut(&mut [0; 7]).err(), Some(refused));
}
