//! What of an IPv6 packet addressed to this node it does not know, and owes a report about (RFC 8200
//! §4, §4.2, §4.4; RFC 4443 §3.4). A packet that only passes through is not asked this.

use crate::icmp_error::{Kind, UNKNOWN_NEXT_HEADER, UNKNOWN_OPTION};
use crate::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HOP_BY_HOP, ICMPV6, NO_NEXT_HEADER, ROUTING,
    TCP, UDP,
};
use crate::{Fragment, Meta, Network, ipv6};

/// What to do about something that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Drop the packet and say nothing.
    Silent,
    /// Drop the packet and send this error.
    Report(Kind),
}

/// The first thing in the headers of a parsed IPv6 packet that its destination must know and this
/// node does not: an option, a routing header with segments left, or a next header value.
///
/// `None` if there is nothing, which for other packets than IPv6 is always so.
#[must_use]
pub fn unknown(frame: &[u8], meta: &Meta) -> Option<Unknown> {
    if meta.network != Network::Ipv6 {
        return None;
    }
    let l3 = usize::from(meta.l3);
    let packet = frame.get(l3..usize::from(meta.end))?;
    // Where the current header is named, and where it begins.
    let mut named = 6;
    let mut at = ipv6::LEN;
    // `parse` has bounded their number.
    while let Some(fixed) = packet.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let len = match *packet.get(named)? {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(fixed[1]) + 2) * 4,
            HOP_BY_HOP | DESTINATION_OPTIONS | ROUTING => (usize::from(fixed[1]) + 1) * 8,
            _ => break,
        };
        match packet[named] {
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                let unknown = unknown_option(packet.get(at..at + len)?, at);
                if unknown.is_some() {
                    return unknown;
                }
            }
            ROUTING if fixed[3] > 0 => return Some(report(0, at + 2)),
            FRAGMENT if meta.fragment == Fragment::Later => return None,
            _ => {}
        }
        (named, at) = (at, at + len);
    }
    match *packet.get(named)? {
        TCP | UDP | ICMPV6 | NO_NEXT_HEADER => None,
        _ => Some(report(UNKNOWN_NEXT_HEADER, named)),
    }
}

/// The first option of a header that says what is to be done where it is not known (RFC 8200 §4.2).
fn unknown_option(header: &[u8], at: usize) -> Option<Unknown> {
    const PAD1: u8 = 0;

    let mut offset = 2;
    while let Some(&kind) = header.get(offset) {
        match kind >> 6 {
            0 => {}
            1 => return Some(Unknown::Silent),
            _ => return Some(report(UNKNOWN_OPTION, at + offset)),
        }
        offset += match kind {
            PAD1 => 1,
            _ => 2 + usize::from(*header.get(offset + 1)?),
        };
    }
    None
}

fn report(code: u8, pointer: usize) -> Unknown {
    let pointer = pointer as u16;
    Unknown::Report(Kind::Parameter { code, pointer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, samples};
    use alloc::vec::Vec;

    fn found(next_header: u8, payload: &[u8]) -> Option<Unknown> {
        let frame = samples::ipv6(next_header, payload);
        unknown(&frame, &parse(&frame).unwrap())
    }

    fn options(next_header: u8, option: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut bytes = [&[next_header, 0], option].concat();
        assert_eq!(bytes.len(), 8);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn what_this_node_speaks_is_no_problem() {
        assert_eq!(found(17, &samples::udp(b"x")), None);
        assert_eq!(found(6, &samples::tcp(b"x")), None);
        assert_eq!(found(59, b"x"), None);
        // Router alert, RFC 2711: skip it where it is not known.
        let alert = options(17, &[5, 2, 0, 0, 1, 0], &samples::udp(b"x"));
        assert_eq!(found(0, &alert), None);
    }

    #[test]
    fn an_unknown_next_header_is_reported_where_it_is_named() {
        assert_eq!(found(132, &[0; 16]), Some(report(1, 6)));
        let behind_options = options(132, &[1, 4, 0, 0, 0, 0], &[0; 16]);
        assert_eq!(found(60, &behind_options), Some(report(1, 40)));
    }

    /// RFC 8200 §4.2: the two highest bits of the type say what to do.
    #[test]
    fn an_unknown_option_says_itself_what_becomes_of_it() {
        let udp = samples::udp(b"x");
        let with = |kind| found(60, &options(17, &[0, 0, kind, 2, 9, 9], &udp));
        assert_eq!(with(0x1e), None);
        assert_eq!(with(0x5e), Some(Unknown::Silent));
        assert_eq!(with(0x9e), Some(report(2, 44)));
        assert_eq!(with(0xde), Some(report(2, 44)));
    }

    /// RFC 8200 §4.4.
    #[test]
    fn a_routing_header_with_segments_left_is_reported_at_its_type() {
        let udp = samples::udp(b"x");
        let left = |left| options(17, &[9, left, 0, 0, 0, 0], &udp);
        assert_eq!(found(43, &left(0)), None);
        assert_eq!(found(43, &left(1)), Some(report(0, 42)));
    }
}
