//! What a pool shares its addresses by: ports of TCP and UDP, identifiers of ICMP queries.

use encap::protocol;

/// A space of 65 536 ports that an address has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP ports.
    Tcp,
    /// UDP ports.
    Udp,
    /// Identifiers of ICMP queries, of either version (RFC 5508 §3.1).
    Icmp,
}

/// How long a binding outlives the last packet of its last flow: UDP (RFC 4787 REQ-5).
const UDP_MS: u32 = 300_000;
/// TCP: a connection that is not, or no longer, established (RFC 5382 REQ-5).
const TCP_MS: u32 = 240_000;
/// ICMP queries (RFC 5508 REQ-2).
const ICMP_MS: u32 = 60_000;
/// UDP to a name server: one question, one answer (RFC 4787 REQ-5 a). With the full time, a
/// resolver's random ports alone would use up a pool.
const DNS_MS: u32 = 30_000;
/// See [`DNS_MS`].
const DNS: u16 = 53;

/// A UDP port that was let go is nobody else's for this long (RFC 6888 REQ-8).
pub(super) const REST_MS: u32 = 120_000;

impl Transport {
    /// All of them, in the order of their numbers.
    pub const ALL: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Icmp];

    /// That of an IP protocol number; `None` where there is nothing to share an address by.
    pub fn of(protocol: u8) -> Option<Transport> {
        match protocol {
            protocol::TCP => Some(Transport::Tcp),
            protocol::UDP => Some(Transport::Udp),
            protocol::ICMP | protocol::ICMPV6 => Some(Transport::Icmp),
            _ => None,
        }
    }

    /// The name in counters and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Icmp => "icmp",
        }
    }

    /// How long a binding outlives the last packet to a remote of this port, in milliseconds.
    pub(super) fn linger_ms(self, remote_port: u16) -> u32 {
        match self {
            Transport::Tcp => TCP_MS,
            Transport::Udp if remote_port == DNS => DNS_MS,
            Transport::Udp => UDP_MS,
            Transport::Icmp => ICMP_MS,
        }
    }

    /// Whether a port that was let go rests for [`REST_MS`]. TCP ports need not: their connections
    /// were followed to the end (RFC 6888 REQ-8 a).
    pub(super) fn rests(self) -> bool {
        self == Transport::Udp
    }
}
