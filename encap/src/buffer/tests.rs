use super::*;
use alloc::vec;
use alloc::vec::Vec;

#[test]
fn grows_and_shrinks_at_both_ends() {
    let mut packet = MemBuffer::new(4, b"middle");
    packet.prepend(4).unwrap();
    packet.bytes_mut()[..4].copy_from_slice(b"the ");
    packet.append(2).unwrap();
    assert_eq!(packet.bytes(), b"the middle\0\0");
    packet.trim_front(4).unwrap();
    packet.truncate(6);
    packet.truncate(7);
    assert_eq!(packet.bytes(), b"middle");
    assert_eq!(packet.headroom(), 4);
}

#[test]
fn appended_bytes_are_zero_even_where_old_ones_lay() {
    let mut packet = MemBuffer::from_frame(b"secret");
    packet.truncate(0);
    packet.append(6).unwrap();
    assert_eq!(packet.bytes(), [0; 6]);
}

#[test]
fn no_room_is_refused_and_changes_nothing() {
    let mut packet = MemBuffer::new(2, b"abc");
    assert_eq!(packet.prepend(3), Err(Error::NoRoom { need: 3, have: 2 }));
    let tailroom = packet.tailroom();
    assert_eq!(tailroom, MemBuffer::DATA_ROOM - 3);
    assert!(packet.append(tailroom + 1).is_err());
    assert_eq!(
        packet.trim_front(4),
        Err(Error::Truncated { need: 4, have: 3 })
    );
    assert_eq!(packet.bytes(), b"abc");
}

#[test]
fn a_chain_is_the_frame_it_was_cut_from() {
    let packet = MemBuffer::chained(b"one two three", &[4, 0, 4]);
    assert_eq!(packet.bytes(), b"one ");
    assert_eq!((packet.len(), packet.is_chained()), (13, true));
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    packet.for_each_segment(|piece| pieces.push(piece.to_vec()));
    assert_eq!(pieces, [&b"one "[..], b"", b"two ", b"three"]);
    assert!(!MemBuffer::chained(b"one", &[3]).is_chained());
    assert!(!MemBuffer::chained(b"one", &[]).is_chained());
}

#[test]
fn ranges_are_copied_from_whatever_pieces_they_lie_in() {
    let frame = b"0123456789";
    for cuts in [&[][..], &[1], &[3, 3], &[0, 5], &[2, 1, 0, 4]] {
        let packet = MemBuffer::chained(frame, cuts);
        for offset in 0..=10 {
            for len in 0..=10 - offset {
                let mut to = vec![0; len];
                packet.copy_to(offset, &mut to).unwrap();
                assert_eq!(to, frame[offset..offset + len], "{cuts:?}");
            }
        }
        let beyond = packet.copy_to(8, &mut [0; 3]);
        assert_eq!(beyond, Err(Error::Truncated { need: 11, have: 10 }));
    }
}

#[test]
fn a_chain_is_cut_and_grows_at_its_last_piece() {
    for len in 0..=12 {
        let mut packet = MemBuffer::chained(b"0123456789", &[4, 3]);
        packet.truncate(len);
        assert_eq!(packet.to_vec(), b"0123456789"[..len.min(10)]);
        packet.append(1).unwrap();
        assert_eq!(packet.len(), len.min(10) + 1);
        assert_eq!(packet.to_vec().last(), Some(&0));
    }
}

#[test]
fn a_packet_is_attached_to_another() {
    let mut packet = MemBuffer::from_frame(b"one");
    packet
        .attach(MemBuffer::chained(b" two three", &[4]))
        .unwrap();
    assert_eq!((packet.bytes(), packet.len()), (&b"one"[..], 13));
    assert_eq!(packet.to_vec(), b"one two three");
    packet.append(1).unwrap();
    assert_eq!(packet.to_vec(), b"one two three\0");
}

#[test]
fn pulling_up_moves_bytes_into_the_first_piece() {
    for len in 0..=12 {
        let mut packet = MemBuffer::chained(b"0123456789", &[4, 3]);
        packet.pull_up(len).unwrap();
        assert_eq!(packet.bytes().len(), len.clamp(4, 10));
        assert_eq!(packet.to_vec(), b"0123456789");
        assert_eq!(packet.is_chained(), len < 10);
    }
    let mut large = MemBuffer::chained(&[1; 5000], &[1000]);
    let room = MemBuffer::DATA_ROOM - 1000;
    assert_eq!(
        large.pull_up(5000),
        Err(Error::NoRoom {
            need: 4000,
            have: room as u16
        })
    );
    assert_eq!((large.bytes().len(), large.len()), (1000, 5000));
}
