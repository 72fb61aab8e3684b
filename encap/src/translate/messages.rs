//! ICMP messages in the words of ICMPv6, and back (RFC 7915 §4.2 and §5.2).

use crate::icmp::{self, FRAGMENTATION_NEEDED};
use crate::icmp_error::{MIN_MTU_IPV4, MIN_MTU_IPV6};
use crate::{Error, icmpv6};

/// By how much an IPv6 header is longer than an IPv4 one, in bytes.
const GROWTH: u32 = 20;

/// What an ICMP or ICMPv6 error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u8,
    pub(super) code: u8,
    /// The four bytes behind the checksum.
    pub(super) fields: [u8; 4],
}

/// The type of an ICMP query, by its type in ICMP; ICMPv6 knows echo only.
pub(super) fn query_as_icmpv6(kind: u8) -> Result<u8, Error> {
    match kind {
        icmp::ECHO_REQUEST => Ok(icmpv6::ECHO_REQUEST),
        icmp::ECHO_REPLY => Ok(icmpv6::ECHO_REPLY),
        _ => Err(Error::NoCounterpart),
    }
}

/// The type of an ICMPv6 query, by its type in ICMPv6. What belongs to one link, as neighbour
/// discovery does, has no counterpart.
pub(super) fn query_as_icmp(kind: u8) -> Result<u8, Error> {
    match kind {
        icmpv6::ECHO_REQUEST => Ok(icmp::ECHO_REQUEST),
        icmpv6::ECHO_REPLY => Ok(icmp::ECHO_REPLY),
        _ => Err(Error::NoCounterpart),
    }
}

/// An ICMP error about a packet of `quoted_len` bytes as an ICMPv6 error.
pub(super) fn error_as_icmpv6(message: Message, quoted_len: u32) -> Result<Message, Error> {
    const NEXT_HEADER: u32 = 6;

    let unreachable = |code| (icmpv6::UNREACHABLE, code, 0);
    let (kind, code, fields) = match (message.kind, message.code) {
        // Net, host, source route, unknown, isolated; both by type of service.
        (icmp::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => unreachable(0),
        (icmp::UNREACHABLE, 2) => (icmpv6::PARAMETER_PROBLEM, 1, NEXT_HEADER),
        (icmp::UNREACHABLE, 3) => unreachable(4),
        (icmp::UNREACHABLE, FRAGMENTATION_NEEDED) => {
            let mtu = match u32::from_be_bytes(message.fields) & 0xffff {
                0 => plateau(quoted_len),
                mtu => mtu,
            };
            let mtu = (mtu + GROWTH).max(MIN_MTU_IPV6.into());
            (icmpv6::PACKET_TOO_BIG, 0, mtu)
        }
        // Prohibited: net, host, filtered, precedence.
        (icmp::UNREACHABLE, 9 | 10 | 13 | 15) => unreachable(1),
        (icmp::TIME_EXCEEDED, code) => (icmpv6::TIME_EXCEEDED, code, 0),
        (icmp::PARAMETER_PROBLEM, 0 | 2) => {
            let pointer = field_in_ipv6(message.fields[0])?;
            (icmpv6::PARAMETER_PROBLEM, 0, pointer)
        }
        _ => return Err(Error::NoCounterpart),
    };
    let fields = fields.to_be_bytes();
    Ok(Message { kind, code, fields })
}

/// An ICMPv6 error as an ICMP error.
pub(super) fn error_as_icmp(message: Message) -> Result<Message, Error> {
    let unreachable = |code| (icmp::UNREACHABLE, code, 0);
    let (kind, code, fields) = match (message.kind, message.code) {
        (icmpv6::UNREACHABLE, 0 | 2 | 3) => unreachable(1),
        (icmpv6::UNREACHABLE, 1) => unreachable(10),
        (icmpv6::UNREACHABLE, 4) => unreachable(3),
        (icmpv6::PACKET_TOO_BIG, _) => {
            let mtu = u32::from_be_bytes(message.fields).saturating_sub(GROWTH);
            let mtu = mtu.clamp(MIN_MTU_IPV4.into(), u16::MAX.into());
            (icmp::UNREACHABLE, FRAGMENTATION_NEEDED, mtu)
        }
        (icmpv6::TIME_EXCEEDED, code) => (icmp::TIME_EXCEEDED, code, 0),
        (icmpv6::PARAMETER_PROBLEM, 0) => {
            let pointer = field_in_ipv4(u32::from_be_bytes(message.fields))?;
            (icmp::PARAMETER_PROBLEM, 0, u32::from(pointer) << 24)
        }
        (icmpv6::PARAMETER_PROBLEM, 1) => unreachable(2),
        _ => return Err(Error::NoCounterpart),
    };
    let fields = fields.to_be_bytes();
    Ok(Message { kind, code, fields })
}

/// Where a field of the IPv4 header stands in the IPv6 header (RFC 7915 figure 3).
fn field_in_ipv6(pointer: u8) -> Result<u32, Error> {
    match pointer {
        0 | 1 => Ok(pointer.into()),
        2 | 3 => Ok(4),
        8 => Ok(7),
        9 => Ok(6),
        12..=15 => Ok(8),
        16..=19 => Ok(24),
        _ => Err(Error::NoCounterpart),
    }
}

/// Where a field of the IPv6 header stands in the IPv4 header (RFC 7915 figure 6).
fn field_in_ipv4(pointer: u32) -> Result<u8, Error> {
    match pointer {
        0 => Ok(0),
        1 => Ok(1),
        4 | 5 => Ok(2),
        6 => Ok(9),
        7 => Ok(8),
        8..=23 => Ok(12),
        24..=39 => Ok(16),
        _ => Err(Error::NoCounterpart),
    }
}

/// The largest usual MTU that a packet of this length did not fit, where the router that says so
/// does not say the MTU (RFC 1191 §7).
fn plateau(len: u32) -> u32 {
    const PLATEAUS: [u32; 11] = [
        65_535, 32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 508, 296, 68,
    ];
    let below = PLATEAUS.into_iter().find(|plateau| *plateau < len);
    below.unwrap_or(MIN_MTU_IPV4.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_v6(kind: u8, code: u8, fields: u32) -> Option<(u8, u8, u32)> {
        let fields = fields.to_be_bytes();
        let message = error_as_icmpv6(Message { kind, code, fields }, 1500).ok()?;
        Some((
            message.kind,
            message.code,
            u32::from_be_bytes(message.fields),
        ))
    }

    fn to_v4(kind: u8, code: u8, fields: u32) -> Option<(u8, u8, u32)> {
        let fields = fields.to_be_bytes();
        let message = error_as_icmp(Message { kind, code, fields }).ok()?;
        Some((
            message.kind,
            message.code,
            u32::from_be_bytes(message.fields),
        ))
    }

    /// Every row of RFC 7915 §4.2.
    #[test]
    fn icmp_errors_as_icmpv6() {
        let unreachable: [Option<(u8, u8, u32)>; 16] = [
            Some((1, 0, 0)),
            Some((1, 0, 0)),
            Some((4, 1, 6)),
            Some((1, 4, 0)),
            Some((2, 0, 1420)),
            Some((1, 0, 0)),
            Some((1, 0, 0)),
            Some((1, 0, 0)),
            Some((1, 0, 0)),
            Some((1, 1, 0)),
            Some((1, 1, 0)),
            Some((1, 0, 0)),
            Some((1, 0, 0)),
            Some((1, 1, 0)),
            None,
            Some((1, 1, 0)),
        ];
        for (code, expected) in unreachable.into_iter().enumerate() {
            assert_eq!(to_v6(3, code as u8, 1400), expected, "code {code}");
        }
        assert_eq!(to_v6(11, 1, 0), Some((3, 1, 0)));
        assert_eq!(to_v6(4, 0, 0), None);
        assert_eq!(to_v6(5, 0, 0), None);
        assert_eq!(to_v6(12, 1, 0), None);
    }

    #[test]
    fn pointers_follow_their_fields() {
        let to_v6_pointers: [Option<u32>; 20] = [
            Some(0),
            Some(1),
            Some(4),
            Some(4),
            None,
            None,
            None,
            None,
            Some(7),
            Some(6),
            None,
            None,
            Some(8),
            Some(8),
            Some(8),
            Some(8),
            Some(24),
            Some(24),
            Some(24),
            Some(24),
        ];
        for (pointer, expected) in to_v6_pointers.into_iter().enumerate() {
            let found = to_v6(12, 0, (pointer as u32) << 24);
            assert_eq!(found, expected.map(|at| (4, 0, at)), "{pointer}");
            assert_eq!(found, to_v6(12, 2, (pointer as u32) << 24));
        }
        assert_eq!(to_v6(12, 0, 20 << 24), None);
        let to_v4_pointers = [
            (0, 0),
            (1, 1),
            (4, 2),
            (5, 2),
            (6, 9),
            (7, 8),
            (8, 12),
            (39, 16),
        ];
        for (pointer, expected) in to_v4_pointers {
            assert_eq!(to_v4(4, 0, pointer), Some((12, 0, expected << 24)));
        }
        for pointer in [2, 3, 40, u32::MAX] {
            assert_eq!(to_v4(4, 0, pointer), None);
        }
    }

    /// Every row of RFC 7915 §5.2.
    #[test]
    fn icmpv6_errors_as_icmp() {
        let rows = [
            ((1, 0), Some((3, 1))),
            ((1, 1), Some((3, 10))),
            ((1, 2), Some((3, 1))),
            ((1, 3), Some((3, 1))),
            ((1, 4), Some((3, 3))),
            ((1, 5), None),
            ((3, 0), Some((11, 0))),
            ((3, 1), Some((11, 1))),
            ((4, 1), Some((3, 2))),
            ((4, 2), None),
            ((100, 0), None),
        ];
        for ((kind, code), expected) in rows {
            let found = to_v4(kind, code, 0).map(|(kind, code, _)| (kind, code));
            assert_eq!(found, expected, "{kind}/{code}");
        }
    }

    #[test]
    fn an_mtu_changes_by_the_difference_of_the_headers() {
        assert_eq!(to_v6(3, 4, 1480), Some((2, 0, 1500)));
        // Never below what every IPv6 link takes.
        assert_eq!(to_v6(3, 4, 576), Some((2, 0, 1280)));
        assert_eq!(to_v4(2, 0, 1500), Some((3, 4, 1480)));
        assert_eq!(to_v4(2, 0, u32::MAX), Some((3, 4, 65_535)));
        // A router that does not say: the next smaller of RFC 1191's, about a packet of 1500.
        assert_eq!(to_v6(3, 4, 0), Some((2, 0, 1512)));
        assert_eq!(plateau(40), 68);
    }
}
