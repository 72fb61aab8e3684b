//! The large segments and the pieces expected of them were written by scapy 2.8.0, lengths and
//! checksums its own.

use super::*;
use crate::samples::{self, Random, hex};
use crate::{MemBuffer, checksum, parse};
use alloc::vec::Vec;

/// With an IPv4 option, TCP timestamps, ECN marks, 50 urgent bytes, identification and sequence
/// number about to wrap, and everything that belongs to one piece only: FIN, PSH, CWR.
const LARGE: &str = "02000000000b02000000000a0800460200a6ffff40003f0692370a01000a0a010009940400009c400050ffffffd00000000780f902001cd800320101080a0000000100000002000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d";
const PIECES: [&str; 3] = [
    "02000000000b02000000000a080046020068ffff40003f0692750a01000a0a010009940400009c400050ffffffd00000000780f0020098b900320101080a0000000100000002000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
    "02000000000b02000000000a080046020068000040003f0692750a01000a0a010009940400009c40005000000000000000078070020014b600020101080a0000000100000002303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
    "02000000000b02000000000a080046020046000140003f0692960a01000a0a010009940400009c400050000000300000000780590200f6b300000101080a0000000100000002606162636465666768696a6b6c6d",
];
/// Over IPv6, behind destination options.
const LARGE6: &str = "02000000000b02000000000a86dd60312345008a3c40fd010000000000000000000000000010fd01000000000000000000000000000906000104000000009c4001bb0000000100000002501803e86d7f0000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f606162636465666768696a6b6c6d";
const PIECES6: [&str; 3] = [
    "02000000000b02000000000a86dd60312345004c3c40fd010000000000000000000000000010fd01000000000000000000000000000906000104000000009c4001bb0000000100000002501003e8e95f0000000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
    "02000000000b02000000000a86dd60312345004c3c40fd010000000000000000000000000010fd01000000000000000000000000000906000104000000009c4001bb0000003100000002501003e864ab0000303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
    "02000000000b02000000000a86dd60312345002a3c40fd010000000000000000000000000010fd01000000000000000000000000000906000104000000009c4001bb0000006100000002501803e846880000606162636465666768696a6b6c6d",
];

/// Cuts a packet of pieces as long as given into buffers with `room` each.
fn cut(
    frame: &[u8],
    cuts: &[usize],
    mss: u16,
    mtu: usize,
    room: usize,
) -> Result<Vec<Vec<u8>>, Error> {
    let packet = MemBuffer::chained(frame, cuts);
    let meta = parse(frame).unwrap();
    let mut segments = Segments::new(&packet, &meta, Gso { mss }, mtu)?;
    let mut pieces = Vec::new();
    let buffer = || MemBuffer::new(MemBuffer::DATA_ROOM - room, &[0; MemBuffer::DATA_ROOM]);
    while !segments.is_done() {
        let mut piece = buffer();
        let meta = segments.write(&packet, &mut piece, &mut || Some(buffer()))?;
        let piece = piece.to_vec();
        assert_eq!(parse(&piece), Ok(with_id(meta, &piece)));
        pieces.push(piece);
    }
    Ok(pieces)
}

/// What is said of a piece leaves out its identification, and that urgent data is over.
fn with_id(meta: Meta, piece: &[u8]) -> Meta {
    let read = parse(piece).unwrap();
    Meta {
        fragment_id: read.fragment_id,
        l4_flags: meta.l4_flags & (read.l4_flags | !URG),
        ..meta
    }
}

#[test]
fn pieces_are_those_of_another_implementation() {
    for (large, expected) in [(LARGE, PIECES), (LARGE6, PIECES6)] {
        for cuts in [&[][..], &[100], &[101, 3, 30]] {
            let pieces = cut(&hex(large), cuts, 48, 1500, 2048).unwrap();
            assert_eq!(pieces, expected.map(hex), "{cuts:?}");
        }
    }
}

#[test]
fn padding_behind_the_datagram_is_no_payload() {
    let padded = [&hex(LARGE)[..], &[0xee; 9]].concat();
    let pieces = cut(&padded, &[], 48, 1500, 2048).unwrap();
    assert_eq!(pieces, PIECES.map(hex));
}

#[test]
fn pieces_are_no_larger_than_the_way_out_takes() {
    for (large, expected) in [(LARGE, PIECES), (LARGE6, PIECES6)] {
        let mtu = hex(expected[0]).len() - 14;
        let pieces = cut(&hex(large), &[], 9000, mtu, 2048).unwrap();
        assert_eq!(pieces, expected.map(hex));
        assert_eq!(
            cut(&hex(large), &[], 9000, mtu - 1, 2048),
            Err(Error::NotSegmentable)
        );
    }
}

#[test]
fn a_large_piece_takes_several_buffers() {
    let payload: Vec<u8> = (0..60_000_u32).map(|n| (n / 7) as u8).collect();
    let frame = samples::ipv6(6, &samples::tcp(&payload));
    let pieces = cut(&frame, &[2048; 30], 8900, 9000, 1000).unwrap();
    assert_eq!(pieces.len(), 7);
    let mut whole = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let meta = parse(piece).unwrap();
        assert!(checksum::transport_is_right(piece, &meta));
        let (header, payload) = TcpHeader::split(&piece[54..]).unwrap();
        assert_eq!(header.sequence(), 1 + n as u32 * 8900);
        whole.extend_from_slice(payload);
    }
    assert_eq!(whole, payload);
}

#[test]
fn without_buffers_there_is_no_piece() {
    let frame = samples::ipv4(6, &samples::tcp(&[1; 3000]));
    let packet = MemBuffer::chained(&frame, &[2048]);
    let meta = parse(&frame).unwrap();
    let gso = Gso { mss: 2500 };
    let mut segments = Segments::new(&packet, &meta, gso, 9000).unwrap();
    let wrote = segments.write(&packet, &mut MemBuffer::default(), &mut || None);
    assert!(matches!(wrote, Err(Error::NoRoom { need: 2554, .. })));
}

#[test]
fn a_segment_without_payload_is_one_piece() {
    let frame = samples::ipv4(6, &samples::tcp(&[]));
    let pieces = cut(&frame, &[], 1000, 1500, 2048).unwrap();
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].len(), frame.len());
}

#[test]
fn what_is_not_a_stream_is_refused() {
    let tcp = |flags: u8| {
        let mut segment = samples::tcp(&[7; 200]);
        segment[13] = flags;
        samples::ipv4(6, &segment)
    };
    let fragment = samples::ipv4_fragment(6, 0x2000, &samples::tcp(&[7; 204]));
    let udp = samples::ipv4(17, &samples::udp(&[7; 200]));
    for frame in [tcp(SYN), tcp(RST), fragment, udp, hex(samples::PING)] {
        assert_eq!(
            cut(&frame, &[], 100, 1500, 2048),
            Err(Error::NotSegmentable)
        );
    }
    for (mss, mtu) in [(47, 1500), (0, 1500), (100, 40), (100, 87), (100, 0)] {
        assert_eq!(
            cut(&tcp(0), &[], mss, mtu, 2048),
            Err(Error::NotSegmentable)
        );
    }
}

#[test]
fn no_mutation_panics() {
    let mut random = Random(21);
    for _ in 0..if cfg!(miri) { 10 } else { 20_000 } {
        let mut frame = hex(if random.below(2) == 0 { LARGE } else { LARGE6 });
        for _ in 0..=random.below(3) {
            let at = random.below(80);
            frame[at] = random.next() as u8;
        }
        samples::fix_ipv4(&mut frame[14..]);
        if let Ok(meta) = parse(&frame) {
            let (mss, mtu) = (random.below(200) as u16, random.below(300));
            // A `meta` of another packet is a bug of the caller's, but must not panic either.
            let packet = MemBuffer::from_frame(&frame[..frame.len() - random.below(2) * 60]);
            let Ok(mut segments) = Segments::new(&packet, &meta, Gso { mss }, mtu) else {
                continue;
            };
            while !segments.is_done() {
                let mut piece = MemBuffer::default();
                if segments.write(&packet, &mut piece, &mut || None).is_err() {
                    break;
                }
                assert!(piece.len() <= mtu + 18);
            }
        }
    }
}
