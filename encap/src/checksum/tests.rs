use super::*;
use crate::samples::{self, PING, PING6, RST6, Random, SYN, VXLAN_ARP, hex};
use crate::{MemBuffer, parse};
use alloc::vec::Vec;

/// The definition, word by word (RFC 1071 §1).
fn by_definition(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

// RFC 1071 §3 sums these eight bytes to ddf2.
#[test]
fn example_of_rfc_1071_sums_right() {
    let sum = Sum::new().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    assert_eq!(sum.finish(), !0xddf2);
}

#[test]
fn sum_is_the_definition_at_every_length() {
    let mut random = Random(1);
    let bytes: Vec<u8> = (0..300).map(|_| random.next() as u8).collect();
    for len in 0..bytes.len() {
        let bytes = &bytes[..len];
        assert_eq!(Sum::new().bytes(bytes).finish(), by_definition(bytes));
        let (front, back) = bytes.split_at(len / 4 * 2);
        assert_eq!(
            Sum::new().bytes(front).bytes(back).finish(),
            by_definition(bytes)
        );
    }
    let ones = [0xff; 65535];
    assert_eq!(Sum::new().bytes(&ones).finish(), by_definition(&ones));
}

// Where one's complement arithmetic has two zeros, and words of all ones carry most.
#[test]
fn right_is_what_finishes_as_zero() {
    let mut random = Random(5);
    let edges = [0, 1, 0xfffe, 0xffff, 0x1_0000, u64::MAX - 1, u64::MAX];
    let around = edges.into_iter().chain((0..64).map(|bit| 1 << bit));
    for edge in around.chain((0..2_000).map(|_| random.next())) {
        let multiple = edge / 0xffff * 0xffff;
        for sum in [
            edge,
            multiple,
            multiple.wrapping_add(1),
            multiple.wrapping_sub(1),
        ] {
            assert_eq!(Sum(sum).is_right(), Sum(sum).finish() == 0, "{sum:#x}");
        }
    }
}

#[test]
fn words_of_all_ones_carry_right() {
    for len in 0..200 {
        for sum in [0, 1, u64::MAX - 1, u64::MAX] {
            let bytes = [0xff; 200];
            // As its four fields, whichever way they carry.
            let fields = [sum, sum >> 16, sum >> 32, sum >> 48].map(|field| field as u16);
            let mut expected = Sum::new();
            for field in fields.iter().chain([0xffff].iter().cycle().take(len / 2)) {
                expected = expected.u16(field.swap_bytes());
            }
            if len % 2 == 1 {
                expected = expected.u16(0xff00);
            }
            let bytes = &bytes[..len];
            assert_eq!(Sum(sum).bytes(bytes).finish(), expected.finish());
            let udp = never_zero(expected.finish());
            assert_eq!(Sum(sum).udp_checksum(bytes), udp);
        }
    }
}

#[test]
fn bytes_with_their_checksum_verify() {
    let mut random = Random(6);
    for len in 2..200 {
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        bytes[..2].fill(0);
        let before = Sum::new().u32(random.next() as u32);
        let checksum = before.bytes(&bytes).finish();
        bytes[..2].copy_from_slice(&checksum.to_be_bytes());
        assert!(before.verifies(&bytes));
        bytes[random.below(len)] ^= 4;
        assert!(!before.verifies(&bytes));
    }
}

#[test]
fn fields_sum_like_their_bytes() {
    let fields = Sum::new().u16(0x1234).u32(0x89ab_cdef).u16(0xffff);
    let bytes = [0x12, 0x34, 0x89, 0xab, 0xcd, 0xef, 0xff, 0xff];
    assert_eq!(fields.finish(), by_definition(&bytes));
}

// RFC 1624 §4, where the equation of RFC 1141 gives ffff instead.
#[test]
fn example_of_rfc_1624_updates_right() {
    assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

/// Prior checksums to try: all, but for an interpreter.
fn priors() -> impl Iterator<Item = u16> {
    (0..=u16::MAX).step_by(if cfg!(miri) { 997 } else { 1 })
}

/// Six bytes whose checksum is `prior`, beginning with `field`. There are none for `0xffff`, which
/// only bytes that are all zero have.
fn with_checksum(prior: u16, field: [u8; 4]) -> [u8; 6] {
    let [a, b, c, d] = field;
    // What is missing to the sum wanted, found with the definition itself.
    let missing = by_definition(&[a, b, c, d]);
    let sum = u32::from(!prior) + u32::from(missing);
    let [e, f] = (((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
    [a, b, c, d, e, f]
}

// RFC 1624 §3, for all prior checksums.
#[test]
fn updates_equal_a_full_recompute() {
    let rewrites: [([u8; 4], [u8; 4]); 6] = [
        ([10, 1, 0, 5], [198, 51, 100, 7]),
        ([0, 0, 0, 0], [255, 255, 255, 255]),
        ([255, 255, 255, 255], [0, 0, 0, 0]),
        ([255, 255, 0, 1], [0, 0, 0, 1]),
        ([10, 1, 0, 5], [10, 1, 0, 5]),
        ([0x14, 0xe9, 0xc0, 0x01], [0xc0, 0x01, 0x14, 0xe9]),
    ];
    for prior in priors() {
        for (old, new) in rewrites {
            let mut bytes = with_checksum(prior, old);
            if by_definition(&bytes) != prior {
                assert_eq!(prior, 0xffff, "{old:?}");
                continue;
            }
            bytes[..4].copy_from_slice(&new);
            let recomputed = by_definition(&bytes);
            if recomputed == 0xffff {
                // Everything is zero now; no header or pseudo-header ever is.
                continue;
            }
            let updated = update_u32(prior, u32::from_be_bytes(old), u32::from_be_bytes(new));
            assert_eq!(updated, recomputed, "{prior:04x} {old:?} {new:?}");
            assert_eq!(update_ipv4(prior, old.into(), new.into()), recomputed);
            let halves = update_u16(
                update_u16(prior, word(&old, 0), word(&new, 0)),
                word(&old, 2),
                word(&new, 2),
            );
            assert_eq!(halves, recomputed);
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[test]
fn ipv6_update_equals_a_full_recompute() {
    let mut random = Random(3);
    for _ in 0..if cfg!(miri) { 20 } else { 20_000 } {
        let mut bytes = [0; 40];
        bytes.fill_with(|| random.next() as u8);
        let prior = by_definition(&bytes);
        let mut old = [0; 16];
        old.copy_from_slice(&bytes[8..24]);
        let mut new = [0; 16];
        new.fill_with(|| random.next() as u8);
        bytes[8..24].copy_from_slice(&new);
        let updated = update_ipv6(prior, old.into(), new.into());
        assert_eq!(updated, by_definition(&bytes));
    }
}

#[test]
fn udp_without_checksum_stays_so_and_a_computed_zero_is_ffff() {
    for prior in priors() {
        let updated = update_udp(prior, |checksum| update_u16(checksum, 0x1234, 0x4321));
        let plain = update_u16(prior, 0x1234, 0x4321);
        match (prior, plain) {
            (0, _) => assert_eq!(updated, 0),
            (_, 0) => assert_eq!(updated, 0xffff),
            _ => assert_eq!(updated, plain),
        }
        assert_eq!(updated == 0, prior == 0);
    }
}

#[test]
fn captured_transport_checksums_are_right_until_damaged() {
    for text in [PING, PING6, SYN, RST6, VXLAN_ARP] {
        let frame = hex(text);
        let meta = parse(&frame).unwrap();
        assert!(transport_is_right(&frame, &meta));

        let mut damaged = frame.clone();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert!(!transport_is_right(&damaged, &meta));
        fill_transport(&mut damaged, &meta);
        assert!(transport_is_right(&damaged, &meta));
        damaged[last] ^= 1;
        fill_transport(&mut damaged, &meta);
        assert_eq!(damaged, frame);
    }
}

#[test]
fn a_device_adds_the_rest_to_the_sum_of_the_pseudo_header() {
    for text in [PING6, SYN, RST6, VXLAN_ARP] {
        let frame = hex(text);
        let meta = parse(&frame).unwrap();
        let mut packet = MemBuffer::from_frame(&frame);
        assert!(start_transport(&mut packet, &meta));
        // What the device does: sum what the checksum covers, its field included.
        let covered = &packet.bytes()[meta.l4.into()..];
        let checksum = Sum::new().bytes(covered).finish();
        let at = Covered::by(&frame, &meta).unwrap().field;
        assert_eq!(frame[at..at + 2], checksum.to_be_bytes());
    }
    let mut other = MemBuffer::from_frame(&hex(samples::ARP_REQUEST));
    let meta = parse(other.bytes()).unwrap();
    assert!(!start_transport(&mut other, &meta));
}

#[test]
fn udp_that_sums_to_zero_is_sent_as_ffff() {
    let mut frame = samples::ipv4(UDP, &samples::udp(&[0, 0]));
    let meta = parse(&frame).unwrap();
    fill_transport(&mut frame, &meta);
    // Adding the checksum to the payload leaves nothing for the field.
    let checksum = [frame[40], frame[41]];
    frame[42..44].copy_from_slice(&checksum);
    fill_transport(&mut frame, &meta);
    assert_eq!(frame[40..42], [0xff, 0xff]);
    assert!(transport_is_right(&frame, &meta));
}

#[test]
fn padding_is_not_summed() {
    let mut frame = hex(PING);
    frame.extend([0xaa; 10]);
    let meta = parse(&frame).unwrap();
    assert!(transport_is_right(&frame, &meta));
}

#[test]
fn fragments_are_left_alone() {
    let mut frame = samples::ipv4_fragment(UDP, 0x2000, &samples::udp(&[1; 16]));
    let meta = parse(&frame).unwrap();
    let before = frame.clone();
    assert!(transport_is_right(&frame, &meta));
    fill_transport(&mut frame, &meta);
    assert_eq!(frame, before);
}

#[test]
fn sums_over_pieces_are_those_over_the_whole() {
    let mut random = Random(11);
    for _ in 0..if cfg!(miri) { 20 } else { 5_000 } {
        let len = random.below(300);
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let cuts: Vec<usize> = (0..random.below(6)).map(|_| random.below(80)).collect();
        let packet = MemBuffer::chained(&bytes, &cuts);
        let (a, b) = (random.below(len + 1), random.below(len + 1));
        let range = a.min(b)..a.max(b);
        let whole = Sum::new().u16(7).bytes(&bytes[range.clone()]);
        let pieces = Sum::new().u16(7).packet(&packet, range);
        assert_eq!(pieces.finish(), whole.finish(), "{cuts:?} of {len}");
    }
}

#[test]
fn checksums_of_packets_in_pieces_are_verified_and_filled() {
    for text in [PING, PING6, SYN, RST6, VXLAN_ARP] {
        let frame = hex(text);
        let meta = parse(&frame).unwrap();
        for cuts in [&[72][..], &[73], &[74, 1, 1], &[78, 0, 3]] {
            let mut packet = MemBuffer::chained(&frame, cuts);
            assert!(packet_is_right(&packet, &meta));
            // A port, or the code.
            packet.bytes_mut()[usize::from(meta.l4) + 1] ^= 1;
            assert!(!packet_is_right(&packet, &meta));
            fill_packet(&mut packet, &meta);
            assert!(packet_is_right(&packet, &meta));
            packet.bytes_mut()[usize::from(meta.l4) + 1] ^= 1;
            fill_packet(&mut packet, &meta);
            assert_eq!(packet.to_vec(), frame);
        }
    }
}
