use super::*;
use crate::samples::{self, Random};
use crate::{MemBuffer, parse};
use alloc::vec;
use alloc::vec::Vec;

fn cut(frame: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let packet = MemBuffer::from_frame(frame);
    let meta = parse(frame).unwrap();
    write_all(Pieces::ipv4(&packet, &meta, mtu).unwrap(), &packet)
}

fn write_all(mut pieces: Pieces, packet: &MemBuffer) -> Vec<Vec<u8>> {
    let mut made = Vec::new();
    while !pieces.is_done() {
        let mut piece = MemBuffer::default();
        let more = &mut || Some(MemBuffer::default());
        pieces.write(packet, &mut piece, more).unwrap();
        made.push(piece.to_vec());
    }
    made
}

/// Puts pieces together as RFC 791 §3.2 says.
fn join(pieces: &[Vec<u8>]) -> (Vec<u8>, bool) {
    let mut payload = Vec::new();
    let mut more = true;
    for piece in pieces {
        let meta = parse(piece).unwrap();
        let first = parse(&pieces[0]).unwrap();
        assert_eq!(
            usize::from(meta.fragment_offset - first.fragment_offset),
            payload.len()
        );
        payload.extend(&piece[meta.l4.into()..meta.end.into()]);
        more = meta.more_fragments;
        assert_eq!(meta.fragment_id, first.fragment_id);
    }
    (payload, more)
}

/// The example of RFC 791 §3.2 and appendix A: 452 bytes of data through 280.
#[test]
fn the_example_of_rfc_791_comes_out() {
    let mut packet = vec![0; 472];
    packet[..12].copy_from_slice(&[0x45, 0, 1, 0xd8, 0, 111, 0, 0, 123, 6, 0, 0]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[32] = 0x50;
    samples::fix_ipv4(&mut packet);
    let pieces = cut(&samples::frame(ethernet::IPV4, &packet), 280);
    // Total length, identification, flags and offset as printed there.
    assert_eq!(
        pieces[0][14 + 2..14 + 8],
        [1, 276_u16.to_be_bytes()[1], 0, 111, 0x20, 0]
    );
    assert_eq!(pieces[1][14 + 2..14 + 8], [0, 216, 0, 111, 0, 32]);
    assert_eq!(pieces.len(), 2);
}

#[test]
fn any_packet_through_any_mtu_comes_together_again() {
    let mut random = Random(3);
    for _ in 0..300 {
        let len = random.below(3000);
        let data: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let options = [&[131, 7, 4, 10, 0, 0, 9, 0][..], &[]][random.below(2)];
        let mut payload = vec![0x03, 0xe8, 0, 53, 0, 0, 0, 0];
        let udp_len = 8 + len as u16;
        payload[4..6].copy_from_slice(&udp_len.to_be_bytes());
        payload.extend(&data);
        let frame = samples::ipv4_with_options(17, options, &payload);
        let mut frame = [&frame[..], &[0xee; 9]].concat(); // padding
        frame[20] = 0;
        samples::fix_ipv4(&mut frame[14..]);
        let mtu = 68 + random.below(2000);
        let pieces = cut(&frame, mtu);
        for piece in &pieces {
            assert!(piece.len() - 14 <= mtu);
        }
        assert_eq!(join(&pieces), (payload, false));
        // A piece cut again, as by the next router, changes nothing.
        let again: Vec<Vec<u8>> = pieces.iter().flat_map(|piece| cut(piece, 76)).collect();
        assert_eq!(join(&again), join(&pieces));
    }
}

#[test]
fn a_fragment_in_the_middle_stays_one() {
    let frame = samples::ipv4_fragment(17, 0x2000 | 10, &[5; 64]);
    let pieces = cut(&frame, 20 + 24);
    let fields: Vec<_> = pieces.iter().map(|piece| [piece[20], piece[21]]).collect();
    assert_eq!(fields, [[0x20, 10], [0x20, 13], [0x20, 16]]);
    let last = samples::ipv4_fragment(17, 10, &[5; 60]);
    let fields: Vec<_> = cut(&last, 20 + 24).iter().map(|p| [p[20], p[21]]).collect();
    assert_eq!(fields, [[0x20, 10], [0x20, 13], [0, 16]]);
}

/// RFC 791 §3.1: record route (7) stays in the first piece, a loose source route (131) goes along.
#[test]
fn options_are_copied_by_their_flag() {
    let options = [7, 7, 4, 0, 0, 0, 0, 131, 7, 4, 10, 0, 0, 9, 1, 0];
    let mut frame = samples::ipv4_with_options(17, &options, &samples::udp(&[1; 40]));
    frame[20] = 0;
    samples::fix_ipv4(&mut frame[14..]);
    let pieces = cut(&frame, 36 + 24);
    assert_eq!(pieces[0][14], 0x49);
    assert_eq!(pieces[0][34..50], options);
    for piece in &pieces[1..] {
        assert_eq!(piece[14], 0x47);
        assert_eq!(piece[34..42], [131, 7, 4, 10, 0, 0, 9, 0]);
        assert!(parse(piece).unwrap().source_route);
    }
}

#[test]
fn a_piece_longer_than_a_buffer_goes_on_in_others() {
    let frame = samples::ipv4_fragment(17, 0, &samples::udp(&[3; 6000]));
    let pieces = cut(&frame, 3000);
    let lens: Vec<usize> = pieces.iter().map(|piece| piece.len() - 34).collect();
    assert_eq!(lens, [2976, 2976, 56]);
    let whole = parse(&frame).unwrap();
    let payload = &frame[whole.l4.into()..whole.end.into()];
    assert_eq!(join(&pieces), (payload.to_vec(), false));
}

#[test]
fn without_further_buffers_there_is_no_piece() {
    let frame = samples::ipv4_fragment(17, 0, &samples::udp(&[3; 4000]));
    let (packet, meta) = (MemBuffer::from_frame(&frame), parse(&frame).unwrap());
    let mut pieces = Pieces::ipv4(&packet, &meta, 3000).unwrap();
    let written = pieces.write(&packet, &mut MemBuffer::default(), &mut || None);
    assert!(matches!(written, Err(Error::NoRoom { .. })), "{written:?}");
}

/// RFC 8200 §4.5, the fields written out by hand.
#[test]
fn an_outer_ipv6_packet_is_cut_by_its_sender() {
    let payload = samples::udp(&[4; 40]);
    let frame = samples::ipv6(17, &payload);
    let packet = MemBuffer::from_frame(&frame);
    let meta = parse(&frame).unwrap();
    let made = write_all(
        Pieces::ipv6(&packet, &meta, 48 + 30, 0xdead_beef).unwrap(),
        &packet,
    );
    assert_eq!(made.len(), 2);
    assert_eq!(made[0][18..21], [0, 8 + 24, 44]);
    assert_eq!(made[0][54..62], [17, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(made[1][18..21], [0, 8 + 24, 44]);
    assert_eq!(made[1][54..62], [17, 0, 0, 24, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(join(&made), (payload, false));
}

/// As what was an IPv4 fragment may be (RFC 7915 §4.1): the pieces are of the same datagram.
#[test]
fn an_ipv6_fragment_is_cut_again() {
    let payload = [5; 48];
    let header = samples::fragment_header(17, 64 | 1);
    let frame = samples::ipv6(44, &[&header[..], &payload].concat());
    let packet = MemBuffer::from_frame(&frame);
    let meta = parse(&frame).unwrap();
    let pieces = Pieces::ipv6(&packet, &meta, 48 + 30, 1).unwrap();
    let made = write_all(pieces, &packet);
    assert_eq!(made.len(), 2);
    assert_eq!(made[0][18..21], [0, 8 + 24, 44]);
    assert_eq!(made[0][54..62], [17, 0, 0, 64 | 1, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(made[1][54..62], [17, 0, 0, 88 | 1, 0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(made[1][62..], payload[24..]);
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let frame = samples::ipv4(17, &samples::udp(b"12345678"));
    let packet = MemBuffer::from_frame(&frame);
    let meta = parse(&frame).unwrap();
    let refused = Pieces::ipv4(&packet, &meta, 27).err();
    assert_eq!(refused, Some(Error::NoRoom { need: 28, have: 27 }));
    assert_eq!(
        Pieces::ipv6(&packet, &meta, 1280, 1).err(),
        Some(Error::IpVersion(4))
    );
    let chain = samples::ipv6(
        60,
        &[&[17, 0, 1, 4, 0, 0, 0, 0][..], &samples::udp(b"x")].concat(),
    );
    let meta = parse(&chain).unwrap();
    let refused = Pieces::ipv6(&MemBuffer::from_frame(&chain), &meta, 1280, 1).err();
    assert_eq!(refused, Some(Error::ExtensionHeaders));
}
