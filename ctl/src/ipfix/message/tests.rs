use super::*;
use crate::ipfix::record::EndReason;
use flowtable::Counters;

fn record(source: &str, translated: &str) -> Record {
    let end = |addr: &str, port| End {
        addr: addr.parse().expect("an address"),
        port,
    };
    let count = |packets, bytes| Counters { packets, bytes };
    Record {
        start_ms: 0x0102_0304_0506,
        end_ms: 0x0102_0304_0606,
        forward: count(3, 300),
        reverse: count(2, 200),
        protocol: 6,
        reason: EndReason::Detected,
        vrfs: (1, 2),
        source: end(source, 1024),
        destination: end(source, 80),
        translated_source: end(translated, 40_000),
        translated_destination: end(translated, 8080),
        egress: Admitted {
            policy: "web".into(),
            rule: 10,
        },
        ingress: Admitted::default(),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// RFC 7011 §3.1: version 10, the message's length, time, sequence, domain.
#[test]
fn the_header_says_version_length_sequence_and_domain() {
    let mut message = Message::new();
    assert!(message.push(&record("10.0.0.1", "192.0.2.1")));
    let bytes = message.finish(0x5566_7788, 41, 7);
    assert_eq!(u16_at(&bytes, 0), 10);
    assert_eq!(usize::from(u16_at(&bytes, 2)), bytes.len());
    let rest = [0x55, 0x66, 0x77, 0x88, 0, 0, 0, 41, 0, 0, 0, 7];
    assert_eq!(bytes[4..16], rest);
    // One set of one record behind it (§3.3).
    assert_eq!(u16_at(&bytes, 16), 256);
    assert_eq!(usize::from(u16_at(&bytes, 18)), 4 + Template::V4.len());
    assert_eq!(bytes.len(), 16 + 4 + Template::V4.len());
}

/// Reads templates as a collector does, and with them a record of each.
#[test]
fn a_collector_that_reads_the_templates_finds_the_fields() {
    let mut message = Message::new();
    message.push_templates();
    let bytes = message.finish(0, 0, 0);
    let mut at = 20;
    let mut found = Vec::new();
    while at < bytes.len() {
        let (id, count) = (u16_at(&bytes, at), u16_at(&bytes, at + 2));
        at += 4;
        let mut len = 0;
        let mut offsets = Vec::new();
        for _ in 0..count {
            let number = u16_at(&bytes, at);
            offsets.push((number, len));
            len += usize::from(u16_at(&bytes, at + 2));
            at += if number & HAS_ENTERPRISE == 0 { 4 } else { 8 };
        }
        found.push((id, len, offsets));
    }
    assert_eq!(at, bytes.len());
    let records = [
        record("10.0.0.1", "192.0.2.1"),
        record("fd01::1", "2001:db8::1"),
        record("fd01::1", "192.0.2.1"),
        record("10.0.0.1", "2001:db8::1"),
    ];
    for ((id, len, offsets), record) in found.into_iter().zip(records) {
        let mut message = Message::new();
        assert!(message.push(&record));
        let bytes = message.finish(0, 0, 0);
        assert_eq!((u16_at(&bytes, 16), bytes.len()), (id, 20 + len));
        let field = |number: u16| {
            let (_, offset) = offsets
                .iter()
                .find(|(other, _)| *other == number)
                .expect("there");
            &bytes[20 + offset..]
        };
        assert_eq!(field(152)[..8], record.start_ms.to_be_bytes());
        assert_eq!(field(2)[..8], 3u64.to_be_bytes());
        assert_eq!(field(1 | HAS_ENTERPRISE)[..8], 200u64.to_be_bytes());
        assert_eq!(field(7)[..2], 1024u16.to_be_bytes());
        assert_eq!(field(228)[..2], 8080u16.to_be_bytes());
        assert_eq!(field(136)[0], 3);
    }
}

#[test]
fn a_full_message_fits_ethernet_and_takes_no_more() {
    let mut message = Message::new();
    let mut pushed = 0;
    while message.push(&record("fd01::1", "2001:db8::1")) {
        pushed += 1;
    }
    assert_eq!(message.records(), pushed);
    let bytes = message.finish(0, 0, 0);
    assert!(bytes.len() <= MAX_LEN && bytes.len() + Template::V6.len() > MAX_LEN);
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let name = "ä".repeat(20);
    let padded = padded(&format!("a{name}"));
    assert_eq!(&padded[..31], format!("a{}", "ä".repeat(15)).as_bytes());
    assert_eq!(padded[31], 0);
}
