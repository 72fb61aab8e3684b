use super::*;
use crate::samples::{MPLS_GRE, MPLS_GRE_FIELDS, hex};

const AT: usize = 34;

// RFC 4023 §3.2 and §4: no flags, version 0, protocol type 8847.
#[test]
fn sent_header_is_bare() {
    let mut bytes = [0xff; LEN];
    Header::new(&mut bytes).set_mpls();
    assert_eq!(bytes, [0, 0, 0x88, 0x47]);
    assert_eq!(bytes, hex(MPLS_GRE)[AT..AT + LEN]);
}

#[test]
fn header_built_by_scapy_reads_right() {
    let frame = hex(MPLS_GRE_FIELDS);
    let (header, rest) = Header::split(&frame[AT..]).unwrap();
    assert_eq!((header.flags(), header.protocol()), (0xb000, MPLS));
    assert!(header.has_checksum());
    assert_eq!((header.header_len(), header.check()), (16, Ok(())));
    // Checksum and reserved bits, key, sequence number, and the label entry of 1000.
    assert_eq!(rest[4..12], [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 7]);
    assert_eq!(rest[12..16], [0x00, 0x3e, 0x8b, 0xff]);
}

// RFC 2890 §2: each optional field is four bytes.
#[test]
fn every_combination_of_fields_has_its_length() {
    for (flags, len) in [
        (0x00, 4),
        (0x80, 8),
        (0x20, 8),
        (0x10, 8),
        (0xa0, 12),
        (0x90, 12),
        (0x30, 12),
        (0xb0, 16),
    ] {
        let bytes = [flags, 0, 0x88, 0x47];
        let header = Header::new(&bytes);
        assert_eq!((header.header_len(), header.check()), (len, Ok(())));
        assert_eq!(header.has_checksum(), flags & 0x80 != 0);
    }
}

// RFC 2784 §2.3 numbers bits from the left: 1, 4 and 5 are refused, 6 to 12 ignored, 13 to 15 are
// the version.
#[test]
fn reserved_bits_count_or_do_not() {
    for bit in 0..16 {
        let flags = 0x8000u16 >> bit;
        let [high, low] = flags.to_be_bytes();
        let bytes = [high, low, 0x88, 0x47];
        let expected = match bit {
            1 | 4 | 5 => Err(Error::GreFlags(flags)),
            13..=15 => Err(Error::GreVersion(flags as u8)),
            _ => Ok(()),
        };
        assert_eq!(Header::new(&bytes).check(), expected, "bit {bit}");
    }
}

#[test]
fn other_payloads_are_refused() {
    for protocol in [0x0800, 0x6558, 0x86dd, 0x8848, 0x0000u16] {
        let [high, low] = protocol.to_be_bytes();
        let bytes = [0, 0, high, low];
        let refused = Err(Error::GreProtocol(protocol));
        assert_eq!(Header::new(&bytes).check(), refused);
    }
}

#[test]
fn short_buffer_is_refused() {
    let refused = Error::Truncated { need: 4, have: 3 };
    assert_eq!(Header::split(&[0; 3]).err(), Some(refused));
    assert_eq!(Header::split_mut(&mut [0; 3]).err(), Some(refused));
}
