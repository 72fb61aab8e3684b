use super::*;
use crate::fragment::Pieces;
use crate::samples::{self, Random};
use crate::{MemBuffer, ecn};
use alloc::vec;
use alloc::vec::Vec;

/// A frame's fragments of at most `mtu` bytes.
fn cut(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let packet = MemBuffer::from_frame(frame);
    let meta = parse(frame).unwrap();
    let mut pieces = match meta.network {
        Network::Ipv4 => Pieces::ipv4(&packet, &meta, mtu).unwrap(),
        _ => Pieces::ipv6(&packet, &meta, mtu, 7).unwrap(),
    };
    let mut made = Vec::new();
    while !pieces.is_done() {
        let mut piece = MemBuffer::default();
        pieces.write(&packet, &mut piece, &mut || None).unwrap();
        made.push(piece.to_vec());
    }
    made
}

fn parse(frame: &[u8]) -> Result<Meta, Error> {
    crate::parse(frame)
}

fn unite(fragments: &[Vec<u8>]) -> Result<MemBuffer, Error> {
    let first = parse(&fragments[0])?;
    let mut whole = Whole::begin(MemBuffer::from_frame(&fragments[0]), &first)?;
    for fragment in &fragments[1..] {
        whole.add(MemBuffer::from_frame(fragment), &parse(fragment)?)?;
    }
    whole.finish(first.traffic_class)
}

/// An IPv4 frame without DF, which cutting clears.
fn without_df(mut frame: Vec<u8>, meta: &Meta) -> Vec<u8> {
    if meta.network == Network::Ipv4 {
        frame[usize::from(meta.l3) + 6] &= !0x40;
        samples::fix_ipv4(&mut frame[meta.l3.into()..]);
    }
    frame
}

#[test]
fn what_was_cut_is_itself_again() {
    let (mut random, mut seen) = (Random(11), 0);
    for frame in samples::all() {
        let Ok(meta) = parse(&frame) else { continue };
        let is_plain = meta.network == Network::Ipv6 && meta.l4 == meta.l3 + ipv6::LEN as u16;
        let is_cut = meta.fragment != Fragment::Whole;
        if is_cut || !(meta.network == Network::Ipv4 || is_plain) {
            continue;
        }
        let header = usize::from(meta.l4 - meta.l3) + IPV6_HEADER_LEN;
        let fragments = cut(&frame, header + 8 + 8 * random.below(6));
        // The first one may be too tiny for its transport header.
        if fragments.len() == 1 || parse(&fragments[0]).is_err() {
            continue;
        }
        let original = without_df(frame[..meta.end.into()].to_vec(), &meta);
        assert_eq!(unite(&fragments).unwrap().to_vec(), original);
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn a_packet_of_the_usual_size_is_one_piece_and_a_longer_one_a_chain() {
    for (len, chained) in [
        (1_500, false),
        (1_900, false),
        (9_000, true),
        (65_000, true),
    ] {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let frame = samples::ipv4(47, &payload);
        let original = without_df(frame.clone(), &parse(&frame).unwrap());
        let whole = unite(&cut(&frame, 1_400)).unwrap();
        assert_eq!(whole.is_chained(), chained, "{len} bytes");
        assert_eq!(whole.to_vec(), original, "{len} bytes");
        assert_eq!(parse(&whole.to_vec()).unwrap().fragment, Fragment::Whole);
    }
}

#[test]
fn padding_of_a_fragment_does_not_get_between_them() {
    let frame = samples::ipv6(17, &samples::udp(&[5; 80]));
    let mut fragments = cut(&frame, 40 + 8 + 40);
    let expected = unite(&fragments).unwrap().to_vec();
    for fragment in &mut fragments {
        fragment.extend([0xee; 9]);
    }
    assert_eq!(unite(&fragments).unwrap().to_vec(), expected);
    assert_eq!(expected, frame);
}

/// RFC 8200 §4.5: headers before the fragment header are kept, the last of them says what followed.
#[test]
fn extension_headers_before_the_fragment_header_stay() {
    let udp = samples::udp(&[5; 40]);
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |field, data: &[u8]| {
        let mut payload = options(44).to_vec();
        payload.extend(samples::fragment_header(17, field));
        payload.extend(data);
        samples::ipv6(60, &payload)
    };
    let fragments = [fragment(1, &udp[..32]), fragment(32, &udp[32..])];
    let mut payload = options(17).to_vec();
    payload.extend(&udp);
    let expected = samples::ipv6(60, &payload);
    assert_eq!(unite(&fragments).unwrap().to_vec(), expected);
}

#[test]
fn what_does_not_follow_is_refused() {
    let frame = samples::ipv4(47, &[1; 64]);
    let fragments = cut(&frame, 44);
    for wrong in [
        vec![fragments[1].clone(), fragments[2].clone()],
        vec![fragments[0].clone(), fragments[2].clone()],
        vec![fragments[0].clone(), fragments[0].clone()],
        vec![fragments[0].clone(), frame.clone()],
    ] {
        assert_eq!(unite(&wrong).err(), Some(Error::FragmentLen));
    }
}

/// RFC 3168 §5.3.
#[test]
fn congestion_of_one_fragment_is_that_of_the_packet() {
    for (classes, expected) in [
        (&[0xb8, 0xb8][..], Ok(0xb8)),
        (&[2, 2, 3], Ok(3)),
        (&[3, 2], Ok(3)),
        (&[1, 2], Ok(1)),
        (&[2, 1], Ok(2)),
        (&[0, 2], Ok(0)),
        (&[0, 3], Err(Error::EcnNotCapable)),
        (&[2, 3, 0], Err(Error::EcnNotCapable)),
    ] {
        let all = classes.iter().copied();
        assert_eq!(ecn::of_fragments(classes[0], all), expected, "{classes:?}");
    }
}
