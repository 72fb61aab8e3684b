use super::*;
use crate::samples::{self, hex};
use crate::{MemBuffer, parse};

// Built by scapy: a SYN with 4 bytes of data and sequence number 0xffffffff, a segment with ACK
// number 0x01020304, and the resets RFC 9293 §3.5.2 has for them.
const SYN_DATA4: &str = "02000000000b02000000000a08004500003400070000400666b10a0100050a01000603e80050ffffffff000000007002200072020000020405b40402000066617374";
const SYN_DATA6: &str = "02000000000b02000000000a86dd6000000000200640fd010000000000000000000000000005fd01000000000000000000000000000603e80050ffffffff00000000700220008c000000020405b40402000066617374";
const RST_OF_SYN4: &str = "02000000000a02000000000b08004500002800004000400626c40a0100060a010005005003e800000000000000045014000097880000";
const RST_OF_SYN6: &str = "02000000000a02000000000b86dd6000000000140640fd010000000000000000000000000006fd010000000000000000000000000005005003e8000000000000000450140000b1860000";
const DATA4: &str = "02000000000b02000000000a08004500002d00070000400666b80a0100050a01000603e800500000000101020304501820002faa000068656c6c6f";
const DATA6: &str = "02000000000b02000000000a86dd6000000000190640fd010000000000000000000000000005fd01000000000000000000000000000603e8005000000001010203045018200049a8000068656c6c6f";
const RST_OF_DATA4: &str = "02000000000a02000000000b08004500002800004000400626c40a0100060a010005005003e801020304000000005004000093960000";
const RST_OF_DATA6: &str = "02000000000a02000000000b86dd6000000000140640fd010000000000000000000000000006fd010000000000000000000000000005005003e8010203040000000050040000ad940000";

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn reset(frame: &[u8]) -> MemBuffer {
    let mut packet = MemBuffer::from_frame(frame);
    let meta = parse(frame).unwrap();
    assert!(may_answer(&meta));
    write(&mut packet, &meta, ROUTER).unwrap();
    packet
}

#[test]
fn resets_are_those_scapy_builds() {
    for (segment, expected) in [
        (SYN_DATA4, RST_OF_SYN4),
        (SYN_DATA6, RST_OF_SYN6),
        (DATA4, RST_OF_DATA4),
        (DATA6, RST_OF_DATA6),
    ] {
        assert_eq!(reset(&hex(segment)).bytes(), hex(expected));
    }
}

#[test]
fn padding_takes_up_no_sequence_numbers() {
    let mut padded = hex(SYN_DATA4);
    padded.extend([0; 20]);
    assert_eq!(reset(&padded).bytes(), hex(RST_OF_SYN4));
    let tagged = samples::tagged(&hex(SYN_DATA4), 5);
    assert_eq!(reset(&tagged).bytes(), hex(RST_OF_SYN4));
}

#[test]
fn a_fin_takes_up_one() {
    let mut frame = hex(SYN_DATA4);
    frame[14 + 20 + 13] = tcp::FIN;
    let made = reset(&frame);
    assert_eq!(
        made.bytes()[42..46],
        (0xffff_ffff_u32.wrapping_add(5)).to_be_bytes()
    );
}

#[test]
fn resets_fragments_and_others_are_not_answered() {
    let never = |frame: &[u8]| assert!(!may_answer(&parse(frame).unwrap()));
    never(&hex(samples::RST6));
    never(&hex(samples::PING));
    never(&samples::ipv4_fragment(6, 0x2000, &samples::tcp(&[0; 4])));
}
