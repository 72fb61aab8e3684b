//! ICMP errors and the packets they quote.

use super::pairs::*;
use super::*;
use crate::{Error, Quote};

const MACHINE: &str = "2001:db8::10";
const SERVER6: &str = "64:ff9b::c633:6409";
const ROUTER: &str = "192.0.2.1";
const ROUTER6: &str = "64:ff9b::c000:201";
const ID: u16 = 0x77;

fn to(addr: &str) -> Change {
    Change {
        src: None,
        dst: Some(end(addr, 0)),
    }
}

#[track_caller]
fn applied_to(frame: &str, outer: &Change, quoted: &Change) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(&hex(frame));
    let mut meta = parse(packet.bytes()).unwrap();
    let quote = Quote::read(packet.bytes(), &meta).unwrap().unwrap();
    apply_to_error(&mut packet, &mut meta, &quote, outer, quoted).unwrap();
    assert_eq!(meta, parse(packet.bytes()).unwrap());
    packet.to_vec()
}

#[track_caller]
fn converted(frame: &[u8], outer: (&str, &str), quoted: &Ends) -> Result<Vec<u8>, Error> {
    let mut packet = MemBuffer::from_frame(frame);
    let mut meta = parse(packet.bytes()).unwrap();
    let quote = Quote::read(packet.bytes(), &meta).unwrap().unwrap();
    let outer = (outer.0.parse().unwrap(), outer.1.parse().unwrap());
    convert_error(&mut packet, &mut meta, &quote, outer, quoted, ID)?;
    let parsed = parse(packet.bytes()).unwrap();
    let id = parsed.fragment_id;
    assert_eq!(
        Meta {
            fragment_id: id,
            ..meta
        },
        parsed
    );
    Quote::read(packet.bytes(), &meta).expect("all checksums are right");
    Ok(packet.to_vec())
}

/// RFC 5508 REQ-4: from outside, about what a machine inside sent.
#[test]
fn an_error_from_outside_is_about_the_inside_packet() {
    let inside = source(INSIDE, 1111);
    for (out, inner) in [(TTL4, IN_TTL4), (OPTION4, IN_OPTION4)] {
        assert_eq!(applied_to(out, &to(INSIDE), &inside), hex(inner));
    }
    let ping = source(INSIDE, 0x1234);
    assert_eq!(applied_to(NOPING4, &to(INSIDE), &ping), hex(IN_NOPING4));
    let inside = source("fd01::10", 1111);
    assert_eq!(applied_to(OUT_TTL6, &to("fd01::10"), &inside), hex(IN_TTL6));
}

/// RFC 5508 REQ-5: the same the other way.
#[test]
fn and_back() {
    let outside = source(OUTSIDE, 2222);
    for (out, inner) in [(TTL4, IN_TTL4), (OPTION4, IN_OPTION4)] {
        assert_eq!(applied_to(inner, &to(OUTSIDE), &outside), hex(out));
    }
    let outside = source(MACHINE, 2222);
    assert_eq!(applied_to(IN_TTL6, &to(MACHINE), &outside), hex(OUT_TTL6));
}

/// Whatever is quoted beyond eight bytes of the transport header, or not.
#[test]
fn short_quotes_are_translated_as_far_as_they_go() {
    for quoted in 0..13 {
        let mut frame = hex(TTL4);
        frame.truncate(14 + 20 + 8 + 20 + quoted);
        let len = frame.len() as u16 - 14;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        samples::fix_ipv4(&mut frame[14..]);
        let meta = parse(&frame).unwrap();
        checksum::fill_transport(&mut frame, &meta);
        let mut packet = MemBuffer::from_frame(&frame);
        let mut meta = parse(&frame).unwrap();
        let quote = Quote::read(&frame, &meta).unwrap().unwrap();
        let inside = source(INSIDE, 1111);
        apply_to_error(&mut packet, &mut meta, &quote, &to(INSIDE), &inside).unwrap();
        assert!(checksum::transport_is_right(packet.bytes(), &meta));
        if quoted >= 8 {
            assert_eq!(packet.bytes()[42..], hex(IN_TTL4)[42..][..20 + quoted]);
        }
    }
}

fn machine() -> Ends {
    Ends {
        src: end(MACHINE, 1111),
        dst: end(SERVER6, 53),
    }
}

fn outside() -> Ends {
    Ends {
        src: end(OUTSIDE, 2222),
        dst: end(SERVER, 53),
    }
}

#[test]
fn icmp_errors_become_scapys_icmpv6() {
    let rows = [(TTL4, TTL6), (BIG4, BIG6), (EXTENDED4, EXTENDED6)];
    for (from, expected) in rows {
        let found = converted(&hex(from), (ROUTER6, MACHINE), &machine()).unwrap();
        assert_eq!(found, hex(expected), "{from}");
    }
    let ping = Ends {
        src: end(MACHINE, 0x1234),
        dst: end(SERVER6, 0x1234),
    };
    let found = converted(&hex(NOPING4), (ROUTER6, MACHINE), &ping).unwrap();
    assert_eq!(found, hex(NOPING6));
    // About the server's answer, with the ports the other way round.
    let answer = Ends {
        src: end(SERVER6, 53),
        dst: end(MACHINE, 1111),
    };
    let found = converted(&hex(PORT4), (MACHINE, SERVER6), &answer).unwrap();
    assert_eq!(found, hex(PORT6));
}

#[test]
fn icmpv6_errors_become_scapys_icmp() {
    let found = converted(&hex(TTL6), (ROUTER, OUTSIDE), &outside()).unwrap();
    assert_eq!(found, hex(TTL4));
    let answer = Ends {
        src: end(SERVER, 53),
        dst: end(OUTSIDE, 2222),
    };
    let found = converted(&hex(PORT6), (OUTSIDE, SERVER), &answer).unwrap();
    assert_eq!(found, hex(PORT4));
    let ping = Ends {
        src: end(OUTSIDE, 0x9999),
        dst: end(SERVER, 0x9999),
    };
    let found = converted(&hex(NOPING6), (ROUTER, OUTSIDE), &ping).unwrap();
    assert_eq!(found, hex(NOPING4));
}

/// What a router quotes of 1,500 bytes and more does not fit, 40 bytes longer (RFC 4443 §2.4 c).
#[test]
fn an_error_becomes_no_longer_than_errors_are() {
    let quoted = [&hex(UDP4)[14..34], &samples::udp(&[7; 1300])].concat();
    let mut message = alloc::vec![11, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let mut frame = samples::ipv4(1, &message);
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    let found = converted(&frame, (ROUTER6, MACHINE), &machine()).unwrap();
    assert_eq!(found.len(), 14 + 1280);
}

#[test]
fn what_the_other_version_has_no_word_for_is_refused() {
    // Source quench.
    let mut frame = hex(TTL4);
    frame[34] = 4;
    let meta = parse(&frame).unwrap();
    checksum::fill_transport(&mut frame, &meta);
    let refused = converted(&frame, (ROUTER6, MACHINE), &machine());
    assert_eq!(refused, Err(Error::NoCounterpart));
}

#[test]
fn an_error_in_pieces_is_refused() {
    let frame = hex(TTL4);
    let mut meta = parse(&frame).unwrap();
    let quote = Quote::read(&frame, &meta).unwrap().unwrap();
    let mut packet = MemBuffer::chained(&frame, &[50]);
    let inside = source(INSIDE, 1111);
    let refused = apply_to_error(&mut packet, &mut meta, &quote, &to(INSIDE), &inside);
    assert!(matches!(refused, Err(Error::Truncated { .. })));
}
