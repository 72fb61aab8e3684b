use super::*;
use crate::samples::{self, hex};
use crate::{checksum, parse};
use alloc::vec::Vec;

// Built by scapy: SYNs whose MSS option stands at an even and at an odd offset, with 1460 and 1360.
const MSS_EVEN4_1460: &str = "02000000000b02000000000a08004500003000070000400666b50a0100050a01000603e800500000000000000000700220004bdc0000020405b404020000";
const MSS_EVEN4_1360: &str = "02000000000b02000000000a08004500003000070000400666b50a0100050a01000603e800500000000000000000700220004c4000000204055004020000";
const MSS_EVEN6_1460: &str = "02000000000b02000000000a86dd60000000001c0640fd010000000000000000000000000005fd01000000000000000000000000000603e8005000000000000000007002200065da0000020405b404020000";
const MSS_EVEN6_1360: &str = "02000000000b02000000000a86dd60000000001c0640fd010000000000000000000000000005fd01000000000000000000000000000603e80050000000000000000070022000663e00000204055004020000";
const MSS_ODD4_1460: &str = "02000000000b02000000000a08004500003000070000400666b50a0100050a01000603e800500000000000000000700220009b84000001020405b4030307";
const MSS_ODD4_1360: &str = "02000000000b02000000000a08004500003000070000400666b50a0100050a01000603e80050000000000000000070022000ff8400000102040550030307";
const MSS_ODD6_1460: &str = "02000000000b02000000000a86dd60000000001c0640fd010000000000000000000000000005fd01000000000000000000000000000603e80050000000000000000070022000b582000001020405b4030307";
const MSS_ODD6_1360: &str = "02000000000b02000000000a86dd60000000001c0640fd010000000000000000000000000005fd01000000000000000000000000000603e80050000000000000000070022000198300000102040550030307";

fn clamped(frame: &[u8], most: u16) -> (bool, Vec<u8>) {
    let mut frame = frame.to_vec();
    let meta = parse(&frame).unwrap();
    (clamp(&mut frame, &meta, most), frame)
}

#[test]
fn a_larger_size_is_lowered_as_scapy_would_have_written_it() {
    for (before, after) in [
        (MSS_EVEN4_1460, MSS_EVEN4_1360),
        (MSS_EVEN6_1460, MSS_EVEN6_1360),
        (MSS_ODD4_1460, MSS_ODD4_1360),
        (MSS_ODD6_1460, MSS_ODD6_1360),
    ] {
        assert_eq!(clamped(&hex(before), 1360), (true, hex(after)));
        assert_eq!(clamped(&hex(before), 1460), (false, hex(before)));
        assert_eq!(clamped(&hex(after), 1460), (false, hex(after)));
    }
}

#[test]
fn every_size_leaves_the_checksum_right() {
    for text in [MSS_EVEN4_1460, MSS_ODD6_1460] {
        for most in 0..1460 {
            let (changed, frame) = clamped(&hex(text), most);
            let meta = parse(&frame).unwrap();
            assert!(changed && checksum::transport_is_right(&frame, &meta));
        }
    }
}

#[test]
fn what_is_no_syn_or_malformed_stays() {
    let stays = |frame: &[u8]| assert_eq!(clamped(frame, 1), (false, frame.to_vec()));
    stays(&hex(samples::PING));
    stays(&samples::ipv4(6, &samples::tcp(b"no options")));
    let mut no_syn = hex(MSS_EVEN4_1460);
    no_syn[47] = tcp::ACK;
    stays(&no_syn);
    for len in [0, 1, 3, 5, 9, 255] {
        let mut malformed = hex(MSS_EVEN4_1460);
        malformed[55] = len;
        stays(&malformed);
    }
    let mut twice = hex(MSS_EVEN4_1460);
    twice[58..62].copy_from_slice(&[2, 4, 5, 0xb4]);
    stays(&twice);
}
