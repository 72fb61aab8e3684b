//! Packets in pieces: whatever the cuts, the same as in one piece.

use crate::samples::{self, Random, ipv4, udp};
use crate::{Buffer, Error, HEADERS, MemBuffer, Network, parse, parse_packet};
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn any_cuts_parse_as_the_whole_does() {
    let mut random = Random(5);
    for frame in samples::all() {
        for _ in 0..if cfg!(miri) { 2 } else { 200 } {
            let mut frame = frame.clone();
            let at = random.below(frame.len());
            frame[at] = random.next() as u8;
            let cuts: Vec<usize> = (0..random.below(5)).map(|_| random.below(60)).collect();
            let mut packet = MemBuffer::chained(&frame, &cuts);
            assert_eq!(parse_packet(&mut packet), parse(&frame), "{cuts:?}");
            assert_eq!(packet.to_vec(), frame);
        }
    }
}

#[test]
fn headers_are_in_the_first_piece_and_the_length_is_the_whole() {
    let frame = ipv4(17, &udp(&[7; 8000]));
    for cuts in [&[2048, 2048, 2048][..], &[1], &[0, 100, 3]] {
        let mut packet = MemBuffer::chained(&frame, cuts);
        let meta = parse_packet(&mut packet).unwrap();
        assert_eq!(packet.bytes().len(), HEADERS.max(cuts[0]));
        assert_eq!(usize::from(meta.end), frame.len());
        assert_eq!((meta.network, meta.dst_port), (Network::Ipv4, 53));
    }
    let mut packet = MemBuffer::chained(&frame[..8000], &[2048]);
    let short = Error::IpTruncated {
        total_len: 8028,
        have: 7986,
    };
    assert_eq!(parse_packet(&mut packet), Err(short));
}

#[test]
fn a_packet_longer_than_offsets_count_is_refused() {
    let mut packet = MemBuffer::chained(&vec![0; 65_536], &[2048]);
    assert_eq!(
        parse_packet(&mut packet),
        Err(Error::TooLong { len: 65_536 })
    );
}
