use super::*;
use crate::samples::{MPLS_STACK, hex};
use alloc::vec;
use alloc::vec::Vec;

/// Entries of these labels, the last one at the bottom, TTL 64, and one byte behind them.
fn stack(labels: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, label) in labels.iter().enumerate() {
        let is_bottom = index + 1 == labels.len();
        bytes.extend(entry(Label::new(*label).unwrap(), 0, is_bottom, 64).to_be_bytes());
    }
    bytes.push(0x45);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Stack, Error> {
    Stack::parse(bytes, 0, bytes.len() as u16)
}

fn labels(bytes: &[u8]) -> Vec<u32> {
    let stack = parse(bytes).unwrap();
    stack.labels(bytes).map(Label::get).collect()
}

// RFC 3032 §2.1: 20 bits of label, 3 of class, S, 8 of TTL.
#[test]
fn entry_lies_where_rfc_3032_puts_it() {
    let mut bytes = [0xff; LEN];
    let label = Label::new(0xabcde).unwrap();
    Entry::new(&mut bytes).set(label, 0b1_101, false, 63);
    assert_eq!(bytes, [0xab, 0xcd, 0xea, 63]);
    let (read, _) = Entry::split(&bytes).unwrap();
    assert_eq!((read.label(), read.traffic_class()), (label, 5));
    assert!(!read.is_bottom());
    Entry::new(&mut bytes).set(label, 0, true, 63);
    assert_eq!(bytes, [0xab, 0xcd, 0xe1, 63]);
    assert!(Entry::new(&bytes).is_bottom());
    assert_eq!(Entry::new(&bytes).ttl(), 63);
}

#[test]
fn stack_built_by_scapy_reads_right() {
    let frame = hex(MPLS_STACK);
    let stack = Stack::parse(&frame[38..], 38, frame.len() as u16 - 38).unwrap();
    let expected = [17, 1000].map(Label::new).map(Option::unwrap);
    assert!(stack.labels(&frame).eq(expected));
    assert_eq!((stack.len(), stack.ttl, stack.traffic_class), (16, 64, 3));
    assert_eq!(stack.payload, Payload::OfLabel);
}

#[test]
fn one_label_and_many_are_read() {
    assert_eq!(labels(&stack(&[16])), [16]);
    assert_eq!(labels(&stack(&[100, 200, 300])), [100, 200, 300]);
    let deepest: Vec<u32> = (16..).take(MAX_DEPTH).collect();
    assert_eq!(labels(&stack(&deepest)), deepest);
}

#[test]
fn deeper_stacks_are_refused() {
    for depth in [MAX_DEPTH + 1, 100, 1000] {
        assert_eq!(parse(&stack(&vec![99; depth])), Err(Error::LabelStack));
    }
}

#[test]
fn stack_without_bottom_is_refused() {
    for depth in 0..6 {
        let mut bytes = stack(&[99, 98, 97, 96, 95, 94]);
        bytes.truncate(depth * LEN);
        assert_eq!(parse(&bytes), Err(Error::LabelStack), "{depth}");
    }
    // A bottom in the padding is none.
    let bytes = stack(&[99, 98]);
    assert_eq!(Stack::parse(&bytes, 0, 4), Err(Error::LabelStack));
}

#[test]
fn stack_with_nothing_behind_is_refused() {
    for labels in [&[99][..], &[99, 98]] {
        let bytes = stack(labels);
        let len = bytes.len() - 1;
        let refused = Err(Error::truncated(1, 0));
        assert_eq!(parse(&bytes[..len]), refused);
        assert_eq!(Stack::parse(&bytes, 0, len as u16), refused);
    }
}

// RFC 3032 §2.1, and RFC 4182 §1: explicit null need not be alone.
#[test]
fn explicit_nulls_say_what_follows() {
    assert_eq!(parse(&stack(&[0])).unwrap().payload, Payload::Ipv4);
    assert_eq!(parse(&stack(&[2])).unwrap().payload, Payload::Ipv6);
    assert_eq!(parse(&stack(&[100, 2])).unwrap().payload, Payload::Ipv6);
    assert_eq!(parse(&stack(&[0, 100])).unwrap().payload, Payload::OfLabel);
    assert_eq!(labels(&stack(&[100, 0])), [100, 0]);
}

#[test]
fn reserved_labels_are_refused() {
    for label in [1, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
        let refused = Err(Error::ReservedLabel(label as u8));
        assert_eq!(parse(&stack(&[label])), refused);
        assert_eq!(parse(&stack(&[100, label])), refused);
        assert_eq!(parse(&stack(&[label, 100])), refused);
    }
}

#[test]
fn entropy_labels_are_skipped() {
    assert_eq!(labels(&stack(&[100, 7, 0xfffff])), [100]);
    assert_eq!(labels(&stack(&[7, 16, 100])), [100]);
    assert_eq!(labels(&stack(&[7, 16, 100, 7, 17, 200])), [100, 200]);
    assert_eq!(parse(&stack(&[2, 7, 99])).unwrap().payload, Payload::Ipv6);
    // Its TTL is zero, so that it is never taken for a label to forward by (RFC 6790 §4.2).
    let mut bytes = stack(&[100, 7, 99]);
    bytes[11] = 0;
    assert_eq!(parse(&bytes).unwrap().ttl, 64);
}

#[test]
fn malformed_entropy_labels_are_refused() {
    for labels in [
        &[7][..],
        &[100, 7],
        &[100, 7, 15],
        &[100, 7, 0, 101],
        &[7, 99],
        &[7, 99, 7, 98],
    ] {
        assert_eq!(
            parse(&stack(labels)),
            Err(Error::EntropyLabel),
            "{labels:?}"
        );
    }
}

// RFC 3032 §2.4.2: the outgoing TTL would be zero, or less.
#[test]
fn ttl_that_runs_out_is_refused_in_every_place() {
    for depth in 1..4 {
        for at in 0..depth {
            for (ttl, lowest) in [(0, None), (1, None), (2, Some(2)), (255, None)] {
                let mut bytes = stack(&vec![99; depth]);
                bytes[at * LEN + 3] = ttl;
                let parsed = parse(&bytes).map(|stack| stack.ttl);
                match ttl {
                    0 | 1 => assert_eq!(parsed, Err(Error::LabelTtl)),
                    255 if depth == 1 => assert_eq!(parsed, Ok(255)),
                    _ => assert_eq!(parsed, Ok(lowest.unwrap_or(64))),
                }
            }
        }
    }
}

#[test]
fn short_buffer_is_refused() {
    let refused = Error::Truncated { need: 4, have: 3 };
    assert_eq!(Entry::split(&[0; 3]).err(), Some(refused));
    assert_eq!(Entry::split_mut(&mut [0; 3]).err(), Some(refused));
}
