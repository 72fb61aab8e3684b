use std::net::IpAddr;

use encap::{MemBuffer, parse};
use etherparse::PacketBuilder;

use super::*;

/// An outer packet as a tunnel makes it: DF, id 0.
fn outer(src: &str, dst: &str, len: usize) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let network = match (src.parse().unwrap(), dst.parse().unwrap()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => link.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => link.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("one family"),
    };
    let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    let mut frame = Vec::new();
    let builder = network.udp(50_000, 6635);
    builder.write(&mut frame, &payload).unwrap();
    frame
}

fn cut(frame: &[u8], mtu: usize, path: &PathMtu) -> Vec<Vec<u8>> {
    let mut packet = MemBuffer::from_frame(frame);
    let mut pieces = outer_pieces(&mut packet, mtu, path, Ticks(0)).unwrap();
    let mut made = Vec::new();
    while !pieces.is_done() {
        let mut piece = MemBuffer::default();
        pieces.write(&packet, &mut piece, &mut || None).unwrap();
        made.push(piece.bytes().to_vec());
    }
    made
}

#[test]
fn outer_pieces_fit_share_an_identification_and_come_together() {
    for (src, dst) in [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")] {
        let path = PathMtu::default();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let frame = outer(src, dst, 3_000);
            let whole = parse(&frame).unwrap();
            let made = cut(&frame, 1_400, &path);
            assert_eq!(made.len(), 3);
            let mut payload: Vec<u8> = Vec::new();
            for piece in &made {
                let meta = parse(piece).unwrap();
                assert!(piece.len() - 14 <= 1_400);
                assert_eq!(usize::from(meta.fragment_offset), payload.len());
                assert_eq!(meta.fragment_id, parse(&made[0]).unwrap().fragment_id);
                payload.extend(&piece[meta.l4.into()..meta.end.into()]);
            }
            assert_eq!(payload, frame[whole.l4.into()..whole.end.into()]);
            ids.push(parse(&made[0]).unwrap().fragment_id);
        }
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    }
}

#[test]
fn without_a_free_identification_nothing_is_sent() {
    let path = PathMtu::default();
    while path.ipv4_id(Ticks(0)).is_some() {}
    let mut packet = MemBuffer::from_frame(&outer("192.0.2.1", "192.0.2.2", 3_000));
    let refused = outer_pieces(&mut packet, 1_400, &path, Ticks(1)).err();
    assert_eq!(refused, Some(DropReason::FragmentIds));
}
