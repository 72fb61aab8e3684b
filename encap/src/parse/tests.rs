mod accepted;
mod fragments;
mod ipv4_header;
mod ipv6_header;
mod link;
mod pieces;
mod transport;

use super::*;
use crate::samples::{
    self, LAST_FRAGMENT, LAST_FRAGMENT6, MLD_REPORT, PING, PING6, RST6, SYN, fix_ipv4,
    fragment_header, frame, hex, ipv4, ipv4_fragment, ipv4_with_options, ipv6, tagged, tcp, udp,
};
use crate::{VlanId, protocol};
use alloc::vec;
use alloc::vec::Vec;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

fn refused(frame: &[u8]) -> Error {
    parse(frame).unwrap_err()
}

/// The frame with bytes of its IPv4 header changed and its checksum right.
fn changed(text: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = hex(text);
    change(&mut bytes);
    fix_ipv4(&mut bytes[14..]);
    bytes
}
