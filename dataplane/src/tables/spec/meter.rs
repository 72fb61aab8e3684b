//! How much may pass, and who gets a copy.

use super::{Key, Name};

/// Token buckets in bits and in packets; a packet must find room in both. Whatever the bursts are,
/// what passes in 2 ms may come at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// Its name.
    pub name: Name,
    /// Bits of IP packets per second. `None`: any number.
    pub bits_per_second: Option<u64>,
    /// Bytes that may come at once. `None`: what comes in 10 ms, at least 65,536.
    pub burst_bytes: Option<u32>,
    /// Packets per second. `None`: any number.
    pub packets_per_second: Option<u64>,
    /// Packets that may come at once. `None`: what comes in 10 ms, at least 64.
    pub burst_packets: Option<u32>,
}

/// A place for copies of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Its name.
    pub name: Name,
    /// A tunnel that carries Ethernet, or a tenant vif.
    pub nexthop: Name,
}

impl Mirror {
    /// The objects mentioned, with the field that does.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        vec![("nexthop", Key::Nexthop(self.nexthop.clone()))]
    }
}
