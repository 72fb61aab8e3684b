//! Meters and mirrors, resolved.
//!
//! A meter is shared by everything that names it and by all workers; a commit that does not change
//! it does not refill it.

use std::sync::atomic::{AtomicU64, Ordering};

use flowtable::Ticks;

use super::NexthopId;
use super::spec::{self, Name};

/// Index of a meter in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MeterId(pub u32);

/// Index of a mirror in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MirrorId(pub u32);

/// What is held against every packet of a vif or of a network's vifs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guarding {
    /// What may be delivered.
    pub ingress_meter: Option<MeterId>,
    /// What may be sent.
    pub egress_meter: Option<MeterId>,
    /// Where copies of both go.
    pub mirror: Option<MirrorId>,
}

/// A place for copies.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Its name.
    pub name: Name,
    /// A tunnel that carries Ethernet, or a tenant vif's.
    pub nexthop: NexthopId,
}

/// Two buckets; a packet must find room in both.
#[derive(Debug)]
pub struct Meter {
    spec: spec::Meter,
    bytes: Option<Bucket>,
    packets: Option<Bucket>,
    refused: AtomicU64,
}

/// A token bucket by the virtual scheduling algorithm (ITU-T I.371, GCRA): one word says until when
/// what has passed would have taken at the rate, and that may lie ahead of the clock by as much as a
/// burst takes.
#[derive(Debug)]
struct Bucket {
    /// What one unit takes, in [`FINE`] parts of a millisecond, times [`SCALE`].
    cost: u64,
    /// How far ahead of the clock, in [`FINE`] parts of a millisecond.
    ahead: u64,
    /// In [`FINE`] parts of a millisecond, wrapping at [`WRAP`].
    until: AtomicU64,
}

/// Parts of a millisecond that time is counted in: less than a nanosecond each.
const FINE: u64 = 1 << 20;
/// The clock wraps where [`Ticks`] do.
const WRAP: u64 = 1 << 52;
/// Costs have this many steps below one part, so that rates are exact to 10 digits.
const SCALE: u64 = 1 << 12;

/// No time at all, as all times are below [`WRAP`].
const NEVER: u64 = u64::MAX;

/// By how much one worker's clock may be behind another's.
const LAG: u64 = 60_000 * FINE;

/// What passes in this time may come at once unless the meter says otherwise.
const BURST_MS: u64 = 10;
/// Whatever it says, what passes in this time may: the clock has no smaller steps.
const CLOCK_MS: u64 = 2;
/// At least so many bytes may: a large segment.
const MIN_BURST_BYTES: u64 = 65_536;
/// At least so many packets may: a batch.
const MIN_BURST_PACKETS: u64 = 64;

impl Meter {
    /// Full buckets.
    pub fn new(spec: &spec::Meter) -> Meter {
        let bucket = |per_second: Option<u64>, burst: Option<u32>, least: u64| {
            let per_second = per_second?.max(1);
            let burst = burst.map_or(per_second * BURST_MS / 1_000, u64::from);
            let tick = per_second * CLOCK_MS / 1_000;
            Some(Bucket::new(per_second, burst.max(least).max(tick)))
        };
        let bytes = spec.bits_per_second.map(|bits| bits.div_ceil(8));
        let least = |said: Option<u32>, least| said.map_or(least, |_| 1);
        Meter {
            bytes: bucket(
                bytes,
                spec.burst_bytes,
                least(spec.burst_bytes, MIN_BURST_BYTES),
            ),
            packets: bucket(
                spec.packets_per_second,
                spec.burst_packets,
                least(spec.burst_packets, MIN_BURST_PACKETS),
            ),
            spec: spec.clone(),
            refused: AtomicU64::new(0),
        }
    }

    /// The same with buckets of its own, as full as these, for trying things out.
    pub(super) fn apart(&self) -> Meter {
        let bucket = |bucket: &Bucket| Bucket {
            until: AtomicU64::new(bucket.until.load(Ordering::Relaxed)),
            ..*bucket
        };
        Meter {
            spec: self.spec.clone(),
            bytes: self.bytes.as_ref().map(bucket),
            packets: self.packets.as_ref().map(bucket),
            refused: AtomicU64::new(0),
        }
    }

    /// Its name.
    pub fn name(&self) -> &Name {
        &self.spec.name
    }

    /// How many packets found no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes room for a packet of so many bytes, if there is any.
    pub fn take(&self, bytes: usize, now: Ticks) -> bool {
        let fits = |bucket: &Option<Bucket>, units: u64| {
            bucket.as_ref().is_none_or(|it| it.take(units, now))
        };
        // A packet that finds room in one only has used that up: it was sent, for the meter.
        let passes = fits(&self.packets, 1) && fits(&self.bytes, bytes as u64);
        if !passes {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }
}

impl Bucket {
    fn new(per_second: u64, burst: u64) -> Bucket {
        let cost = (1_000 * FINE * SCALE).div_ceil(per_second);
        let ahead = u128::from(cost) * u128::from(burst) / u128::from(SCALE);
        Bucket {
            cost,
            // A quarter of the clock's round at most: some days.
            ahead: ahead.min(u128::from(WRAP / 4)) as u64,
            until: AtomicU64::new(NEVER),
        }
    }

    fn take(&self, units: u64, now: Ticks) -> bool {
        let now = u64::from(now.0) * FINE;
        let cost = u128::from(self.cost) * u128::from(units) / u128::from(SCALE);
        let cost = cost.min(u128::from(WRAP / 4)) as u64;
        let taken = |until: u64| {
            let ahead = until.wrapping_sub(now) % WRAP;
            let most = self.ahead.max(cost);
            // Further ahead than it can be, but for a clock that lags, is behind.
            let is_behind = until == NEVER || ahead > most + LAG;
            let ahead = if is_behind { 0 } else { ahead };
            (ahead + cost <= most).then(|| (now + ahead + cost) % WRAP)
        };
        let order = Ordering::Relaxed;
        self.until.fetch_update(order, order, taken).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(bits: Option<u64>, packets: Option<u64>) -> Meter {
        Meter::new(&spec::Meter {
            name: "m".into(),
            bits_per_second: bits,
            burst_bytes: bits.map(|_| 3_000),
            packets_per_second: packets,
            burst_packets: packets.map(|_| 2),
        })
    }

    fn passed(meter: &Meter, from_ms: u32, ms: u32, per_ms: usize, bytes: usize) -> usize {
        (0..ms)
            .flat_map(|ms| (0..per_ms).map(move |_| Ticks(from_ms.wrapping_add(ms))))
            .filter(|now| meter.take(bytes, *now))
            .count()
    }

    #[test]
    fn bits_are_held_to_their_rate() {
        for bits in [1_000_000, 80_000_000, 123_456_789] {
            let meter = meter(Some(bits), None);
            assert!(passed(&meter, 0, 100, 50, 1_000) > 0);
            let passed = passed(&meter, 100, 10_000, 50, 1_000) as u64;
            let wanted = bits * 10 / 8_000;
            assert!(
                passed.abs_diff(wanted) <= 1 + wanted / 1_000,
                "{passed} for {wanted}"
            );
        }
    }

    #[test]
    fn packets_are_held_to_their_rate_across_the_clocks_wrap() {
        let meter = meter(None, Some(500));
        let start = u32::MAX - 500;
        assert_eq!(passed(&meter, start, 1, 10, 60), 2);
        assert_eq!(passed(&meter, start + 1, 1_000, 10, 60), 500);
        assert_eq!(meter.refused(), 8 + 9_500);
    }

    #[test]
    fn a_packet_larger_than_a_burst_passes_when_nothing_else_did() {
        let meter = meter(Some(8_000), None);
        assert!(meter.take(9_000, Ticks(50)));
        // It took nine seconds' worth, and three may be ahead of the clock.
        assert!(!meter.take(60, Ticks(6_100)));
        assert!(meter.take(60, Ticks(6_120)));
    }
}
