//! Identifications for IPv4 datagrams that leave from an address that is not their sender's.
//!
//! Several machines behind one address number their datagrams as if they were alone, and pieces of
//! two with the same number would be put together as one (RFC 6864 §5.3.1). So what may be in pieces
//! gets a number anew. There is one counter for many destinations, shared by all workers: who has the
//! same one leaves numbers out, and 65,536 datagrams later they come again, as with any host.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use flowtable::{FlowTable, Key, Zone};

/// Counters; a power of two. They take 4 KiB.
const COUNTERS: usize = 2048;

/// The next numbers.
#[derive(Debug)]
pub(crate) struct Ids(Box<[AtomicU16]>);

impl Ids {
    /// The number of another datagram to this destination, which may be one under a NAT64 prefix. The
    /// table's keyed hash makes it hard to guess for others (RFC 7739 §5.2 does it so for IPv6).
    pub(crate) fn next(&self, flows: &FlowTable, dst: IpAddr) -> u16 {
        let low = match dst {
            IpAddr::V4(addr) => addr.to_bits(),
            IpAddr::V6(addr) => addr.to_bits() as u32,
        };
        let zone = Zone::default();
        let hash = flows.hash(&Key::ipv4(zone, 0, 0.into(), low.into(), 0, 0));
        let count = self.0[hash as usize % COUNTERS].fetch_add(1, Ordering::Relaxed);
        count.wrapping_add((hash >> 48) as u16)
    }
}

impl Ids {
    /// Counters that stand where these do, for trying things out.
    pub(crate) fn apart(&self) -> Ids {
        let count = |count: &AtomicU16| AtomicU16::new(count.load(Ordering::Relaxed));
        Ids(self.0.iter().map(count).collect())
    }
}

impl Default for Ids {
    fn default() -> Ids {
        Ids((0..COUNTERS).map(|_| AtomicU16::new(0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_number_comes_twice_before_all_were_used() {
        let table = crate::accounts::table_config(64, [1, 2, 3, 4], Default::default(), 1);
        let (ids, flows) = (Ids::default(), FlowTable::new(&table));
        let dst = "198.51.100.9".parse().expect("an address");
        let under_prefix = "64:ff9b::c633:6409".parse().expect("an address");
        let numbers: HashSet<u16> = (0..65_536)
            .map(|n| ids.next(&flows, if n % 2 == 0 { dst } else { under_prefix }))
            .collect();
        assert_eq!(numbers.len(), 65_536);
    }
}
