use super::*;
use crate::samples::{
    DAD, NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, PING6, fragment_header, hex, tagged,
};
use crate::{MemBuffer, parse};
use alloc::vec::Vec;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const A_IP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B_IP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Offset of the ICMPv6 message in the captures.
const AT: usize = 54;

const ANSWER: Flags = Flags {
    router: false,
    solicited: true,
    override_cache: true,
};

fn read_solicitation(frame: &[u8]) -> Result<Option<Solicitation>, Error> {
    solicitation(frame, &parse(frame).unwrap())
}

fn read_advertisement(frame: &[u8]) -> Result<Option<Advertisement>, Error> {
    advertisement(frame, &parse(frame).unwrap())
}

/// The capture, changed, with a right checksum again.
fn changed(text: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = hex(text);
    change(&mut frame);
    let payload_len = frame.len() as u16 - 54;
    frame[18..20].copy_from_slice(&payload_len.to_be_bytes());
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    frame
}

#[test]
fn captured_messages_read_right() {
    let asked = read_solicitation(&hex(NEIGHBOR_SOLICITATION)).unwrap();
    let expected = Solicitation {
        src: A_IP,
        dst: addr::solicited_node(B_IP),
        target: B_IP,
        src_mac: Some(A),
    };
    assert_eq!(asked, Some(expected));
    let told = read_advertisement(&hex(NEIGHBOR_ADVERTISEMENT)).unwrap();
    let expected = Advertisement {
        src: B_IP,
        dst: A_IP,
        target: B_IP,
        target_mac: Some(B),
        flags: ANSWER,
    };
    assert_eq!(told, Some(expected));
}

#[test]
fn other_packets_are_neither() {
    assert_eq!(read_solicitation(&hex(PING6)), Ok(None));
    assert_eq!(read_advertisement(&hex(PING6)), Ok(None));
    assert_eq!(read_advertisement(&hex(NEIGHBOR_SOLICITATION)), Ok(None));
}

#[test]
fn captured_solicitation_becomes_the_captured_advertisement() {
    let mut packet = MemBuffer::from_frame(&hex(NEIGHBOR_SOLICITATION));
    let meta = parse(packet.bytes()).unwrap();
    let asked = solicitation(packet.bytes(), &meta).unwrap().unwrap();
    answer(&mut packet, &meta, &asked, B, ANSWER).unwrap();
    assert_eq!(packet.bytes(), hex(NEIGHBOR_ADVERTISEMENT));
}

#[test]
fn tagged_solicitation_without_option_is_answered_too() {
    let bare = changed(NEIGHBOR_SOLICITATION, |frame| frame.truncate(AT + 24));
    let mut packet = MemBuffer::from_frame(&tagged(&bare, 3));
    let meta = parse(packet.bytes()).unwrap();
    let asked = solicitation(packet.bytes(), &meta).unwrap().unwrap();
    assert_eq!(asked.src_mac, None);
    answer(&mut packet, &meta, &asked, B, ANSWER).unwrap();
    assert_eq!(packet.bytes(), tagged(&hex(NEIGHBOR_ADVERTISEMENT), 3));
}

#[test]
fn duplicate_detection_is_answered_to_all_nodes_as_unsolicited() {
    let mut packet = MemBuffer::from_frame(&hex(DAD));
    let meta = parse(packet.bytes()).unwrap();
    let asked = solicitation(packet.bytes(), &meta).unwrap().unwrap();
    assert!(asked.src.is_unspecified());
    answer(&mut packet, &meta, &asked, B, ANSWER).unwrap();
    let told = read_advertisement(packet.bytes()).unwrap().unwrap();
    assert_eq!(told.dst, ALL_NODES);
    assert_eq!((told.target, told.target_mac), (asked.target, Some(B)));
    assert!(!told.flags.solicited && told.flags.override_cache);
    assert_eq!(packet.bytes()[..6], [0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn built_solicitation_is_the_captured_one() {
    let mut packet = MemBuffer::default();
    solicit(&mut packet, A, A_IP, B_IP).unwrap();
    assert_eq!(packet.bytes(), hex(NEIGHBOR_SOLICITATION));
}

#[test]
fn announcement_is_the_captured_advertisement_to_all_nodes() {
    let mut packet = MemBuffer::default();
    announce(&mut packet, B, B_IP).unwrap();
    let expected = changed(NEIGHBOR_ADVERTISEMENT, |frame| {
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
        frame[38..54].copy_from_slice(&ALL_NODES.octets());
        frame[AT + 4] = 0x20;
    });
    assert_eq!(packet.bytes(), expected);
    for nobody in [Ipv6Addr::UNSPECIFIED, ALL_NODES] {
        assert_eq!(announce(&mut packet, B, nobody), Err(Error::MalformedNd));
    }
}

#[test]
fn solicitation_nobody_may_answer_is_not_built() {
    let mut packet = MemBuffer::default();
    for (src, target) in [(Ipv6Addr::UNSPECIFIED, B_IP), (A_IP, ALL_NODES)] {
        let refused = solicit(&mut packet, A, src, target);
        assert_eq!(refused, Err(Error::MalformedNd));
    }
}

#[test]
fn flags_are_where_rfc_4861_puts_them() {
    for bits in [0x00, 0x20, 0x40, 0x80, 0xe0] {
        assert_eq!(Flags::from_bits(bits).to_bits(), bits);
    }
    assert!(Flags::from_bits(0x80).router);
}

#[test]
fn message_from_beyond_the_link_is_refused() {
    for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
        let frame = changed(text, |frame| frame[21] = 254);
        assert!(malformed(&frame));
    }
}

#[test]
fn damaged_message_is_refused() {
    let mut frame = hex(NEIGHBOR_SOLICITATION);
    frame[85] ^= 1;
    assert_eq!(read_solicitation(&frame), Err(Error::IcmpChecksum));
}

#[test]
fn code_other_than_zero_is_refused() {
    for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
        assert!(malformed(&changed(text, |frame| frame[AT + 1] = 1)));
    }
}

#[test]
fn short_message_is_refused() {
    for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
        assert!(malformed(&changed(text, |frame| frame.truncate(AT + 23))));
    }
}

#[test]
fn multicast_target_is_refused() {
    for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
        assert!(malformed(&changed(text, |frame| frame[AT + 8] = 0xff)));
    }
}

#[test]
fn option_of_length_zero_or_past_the_end_is_refused() {
    for len in [0, 2, 255] {
        for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
            assert!(malformed(&changed(text, |frame| frame[AT + 25] = len)));
            // Also behind a good one.
            let options = [1, 1, 2, 0, 0, 0, 0, 0xa, 14, len, 0, 0, 0, 0, 0, 0];
            let frame = changed(text, |frame| {
                frame.truncate(AT + 24);
                frame.extend(options);
            });
            assert!(malformed(&frame));
        }
    }
}

#[test]
fn unspecified_source_with_option_or_to_an_address_is_refused() {
    let with_option = changed(DAD, |frame| frame[AT + 24] = SOURCE_LINK_LAYER);
    assert!(malformed(&with_option));
    let to_an_address = changed(DAD, |frame| frame[38..54].copy_from_slice(&B_IP.octets()));
    assert!(malformed(&to_an_address));
}

#[test]
fn solicited_advertisement_to_a_group_is_refused() {
    let frame = changed(NEIGHBOR_ADVERTISEMENT, |frame| {
        frame[38..54].copy_from_slice(&ALL_NODES.octets());
    });
    assert!(malformed(&frame));
}

// RFC 6980 §5: even an atomic fragment.
#[test]
fn fragmented_message_is_refused() {
    for text in [NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT] {
        let frame = changed(text, |frame| {
            frame[20] = 44;
            frame.splice(AT..AT, fragment_header(58, 0));
        });
        assert!(malformed(&frame));
    }
}

fn malformed(frame: &[u8]) -> bool {
    let refused = Err(Error::MalformedNd);
    read_solicitation(frame).map(|_| ()) == refused
        || read_advertisement(frame).map(|_| ()) == refused
}
