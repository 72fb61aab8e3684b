//! How many ICMP errors and TCP resets may be sent (RFC 4443 §2.4 f, RFC 1812
//! §4.3.2.8): a token bucket per source, and one for all sources of a worker.
//!
//! Sources share a fixed number of buckets by a keyed hash, so nothing grows
//! and nobody can choose whose bucket they share. 8 KiB a worker.

use std::net::IpAddr;

use flowtable::Ticks;

use crate::tables::VrfId;

/// Errors to one source in a second unless configured otherwise: enough for
/// several path discoveries at once, and nothing to a link.
pub const PER_SECOND: u32 = 100;

/// Errors that one source may get at once: RFC 4443 §2.4 f suggests 10, three
/// hops of a traceroute's three probes.
const BURST: u32 = 10;

/// All sources together get so many times what one may get.
const ALL: u32 = 10;

/// Buckets of one worker.
const BUCKETS: usize = 1024;

/// One worker's share of what may be sent.
pub struct ErrorRate {
    hasher: ahash::RandomState,
    /// For one source; 0 when no errors are sent.
    per_second: u32,
    sources: Box<[Bucket]>,
    all: Bucket,
}

/// Tokens in thousandths, as of a moment.
#[derive(Clone, Copy)]
struct Bucket {
    thousandths: u32,
    since: Ticks,
}

impl ErrorRate {
    /// Allows `per_second` errors to one source, all `workers` together: the
    /// packets of a source may arrive at any of them, so each allows its part.
    pub fn new(per_second: u32, workers: usize, seed: [u64; 4]) -> ErrorRate {
        let [a, b, c, d] = seed;
        // A part of less than one would be none at all.
        let part = match per_second {
            0 => 0,
            some => (some / workers.max(1) as u32).max(1),
        };
        ErrorRate {
            hasher: ahash::RandomState::with_seeds(a, b, c, d),
            per_second: part,
            sources: vec![Bucket::full(BURST); BUCKETS].into(),
            all: Bucket::full(BURST * ALL),
        }
    }

    /// True if one more error may be sent to this source now; that one is counted.
    pub fn allows(&mut self, vrf: VrfId, source: IpAddr, now: Ticks) -> bool {
        if self.per_second == 0 {
            return false;
        }
        let place = self.hasher.hash_one((vrf, source)) as usize % BUCKETS;
        let bucket = &mut self.sources[place];
        bucket.fill(self.per_second, BURST, now);
        self.all
            .fill(self.per_second.saturating_mul(ALL), BURST * ALL, now);
        // Both or none, so that a flood which its own bucket stops takes nothing from others.
        let is_allowed = bucket.has_one() && self.all.has_one();
        if is_allowed {
            bucket.take_one();
            self.all.take_one();
        }
        is_allowed
    }
}

impl Bucket {
    fn full(burst: u32) -> Bucket {
        Bucket {
            thousandths: burst * 1_000,
            since: Ticks(0),
        }
    }

    /// A rate per second is as many thousandths per millisecond.
    fn fill(&mut self, per_second: u32, burst: u32, now: Ticks) {
        let earned = now.since(self.since).saturating_mul(per_second);
        self.thousandths = self.thousandths.saturating_add(earned).min(burst * 1_000);
        self.since = now;
    }

    fn has_one(&self) -> bool {
        self.thousandths >= 1_000
    }

    fn take_one(&mut self) {
        self.thousandths -= 1_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VRF: VrfId = VrfId(3);

    fn source(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn allowed(rate: &mut ErrorRate, source: IpAddr, ms: std::ops::Range<u32>) -> usize {
        ms.filter(|ms| rate.allows(VRF, source, Ticks(*ms))).count()
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut rate = ErrorRate::new(100, 1, [1; 4]);
        let at_once = (0..100).filter(|_| rate.allows(VRF, source(1), Ticks(0)));
        assert_eq!(at_once.count(), 10);
        // I8: 1,000 a second for ten seconds.
        assert_eq!(allowed(&mut rate, source(1), 1..10_001), 1_000);
        // A rest earns one burst, not more.
        assert_eq!(allowed(&mut rate, source(1), 3_600_000..3_600_009), 9);
    }

    #[test]
    fn one_source_does_not_take_anothers() {
        let mut rate = ErrorRate::new(100, 1, [1; 4]);
        let mut others = 0;
        for ms in 0..1_000 {
            for _ in 0..50 {
                rate.allows(VRF, source(1), Ticks(ms));
            }
            if ms % 10 == 0 {
                others += usize::from(rate.allows(VRF, source(2), Ticks(ms)));
            }
        }
        assert_eq!(others, 100);
    }

    #[test]
    fn all_sources_together_have_a_limit_too() {
        let mut rate = ErrorRate::new(100, 1, [1; 4]);
        let sent = (0..10_000)
            .flat_map(|ms| (0..20).map(move |n| (ms, source(ms * 20 + n))))
            .filter(|(ms, source)| rate.allows(VRF, *source, Ticks(*ms)))
            .count();
        assert_eq!(sent, 100 + 9_999);
    }

    #[test]
    fn workers_share_the_rate() {
        let mut rate = ErrorRate::new(100, 4, [1; 4]);
        assert_eq!(allowed(&mut rate, source(1), 0..10_000), 10 + 249);
        // Less than one each is one each.
        let mut rate = ErrorRate::new(2, 4, [1; 4]);
        assert_eq!(allowed(&mut rate, source(1), 0..10_000), 10 + 9);
    }

    #[test]
    fn with_a_rate_of_zero_none_is_sent() {
        let mut rate = ErrorRate::new(0, 1, [1; 4]);
        assert_eq!(allowed(&mut rate, source(1), 0..10_000), 0);
    }
}
