//! A vif as a port of its vrf's bridge: whose frames it takes, and how many of
//! them may be flooded.
//!
//! The token bucket is shared by all snapshots and workers, like counters: a
//! commit that does not change the limit does not refill it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use flowtable::Ticks;

use super::spec;

/// What a vif may do as a port of a bridge.
#[derive(Clone, Debug)]
pub struct BridgePort {
    /// Frames come from the vif's own MAC only; without, MACs are learned.
    pub is_strict: bool,
    /// Most MACs learned behind it.
    pub max_learned: u32,
    /// How often it may flood; `None`: as often as it likes.
    pub storm: Option<Arc<StormLimit>>,
    /// When a router advertisement to all last left by it.
    pub advertised: Arc<LastTime>,
}

/// A token bucket (one second's worth deep) that all workers draw from.
#[derive(Debug)]
pub struct StormLimit {
    per_second: u32,
    /// When it was last filled, in ticks, in the high half; what is in it, in
    /// thousandths of a frame, in the low half.
    state: AtomicU64,
}

/// A moment that any worker may set.
#[derive(Debug, Default)]
pub struct LastTime(AtomicU32);

impl BridgePort {
    /// The port of a vif as configured, which keeps what it can of its old form.
    pub fn new(spec: &spec::Vif, old: Option<&BridgePort>) -> BridgePort {
        let per_second = spec.storm_limit.unwrap_or(spec::DEFAULT_STORM_LIMIT);
        let kept = old
            .and_then(|old| old.storm.clone())
            .filter(|storm| storm.per_second == per_second);
        BridgePort {
            is_strict: spec.mac.is_some() || spec.role != spec::Role::Tenant,
            max_learned: spec.max_learned_macs.unwrap_or(spec::DEFAULT_LEARNED_MACS),
            storm: match per_second {
                0 => None,
                _ => Some(kept.unwrap_or_else(|| Arc::new(StormLimit::new(per_second)))),
            },
            advertised: old.map_or_else(Arc::default, |old| old.advertised.clone()),
        }
    }

    /// The same with cells of its own, for trying things out.
    pub(super) fn apart(&self) -> BridgePort {
        let storm = self.storm.as_ref().map(|storm| StormLimit {
            per_second: storm.per_second,
            state: AtomicU64::new(storm.state.load(Ordering::Relaxed)),
        });
        let advertised = self.advertised.0.load(Ordering::Relaxed);
        BridgePort {
            storm: storm.map(Arc::new),
            advertised: Arc::new(LastTime(AtomicU32::new(advertised))),
            ..*self
        }
    }

    /// Whether one more frame may be flooded now.
    pub fn may_flood(&self, now: Ticks) -> bool {
        self.storm.as_ref().is_none_or(|storm| storm.take(now))
    }
}

impl StormLimit {
    /// A full bucket; at most 4 000 000 frames per second, so that thousandths fit.
    pub fn new(per_second: u32) -> StormLimit {
        let full = per_second.saturating_mul(1_000);
        StormLimit {
            per_second,
            state: AtomicU64::new(full.into()),
        }
    }

    /// Takes one frame's worth, if there is that much.
    pub fn take(&self, now: Ticks) -> bool {
        let taken = |state: u64| {
            let (filled, level) = (Ticks((state >> 32) as u32), state as u32);
            let elapsed = elapsed(filled, now);
            let filled = filled.after(elapsed);
            let full = u64::from(self.per_second) * 1_000;
            let gained = u64::from(elapsed) * u64::from(self.per_second);
            let level = (u64::from(level) + gained).min(full).checked_sub(1_000)?;
            Some(u64::from(filled.0) << 32 | level)
        };
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }
}

impl LastTime {
    /// It happened now.
    pub fn note(&self, now: Ticks) {
        self.0.store(now.0 | 1, Ordering::Relaxed);
    }

    /// True for the one caller that may act now, because nobody did for `pause_ms`.
    /// The first may in any case.
    pub fn may_act(&self, pause_ms: u32, now: Ticks) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        // The lowest bit says that there was a time; half a tick is nobody's loss.
        let is_due = last == 0 || elapsed(Ticks(last & !1), now) >= pause_ms;
        is_due
            && self
                .0
                .compare_exchange(last, now.0 | 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// Milliseconds between two readings, perhaps of two workers' clocks, the later of
/// which may be a moment behind. A silence may be as long as it likes: what
/// matters here is weeks apart, where [`Ticks::since`] has turned around.
fn elapsed(earlier: Ticks, now: Ticks) -> u32 {
    const LAG_MS: u32 = 60_000;
    match now.0.wrapping_sub(earlier.0) {
        lag if lag > u32::MAX - LAG_MS => 0,
        elapsed => elapsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(storm: &StormLimit, from_ms: u32, to_ms: u32, per_ms: u32) -> usize {
        (from_ms..to_ms)
            .flat_map(|ms| (0..per_ms).map(move |_| Ticks(ms)))
            .filter(|now| storm.take(*now))
            .count()
    }

    #[test]
    fn a_storm_is_held_to_its_rate_after_a_seconds_worth_at_once() {
        for rate in [1, 3, 1_000, 4_000] {
            let storm = StormLimit::new(rate);
            let first = taken(&storm, 0, 1, 10_000);
            assert_eq!(first, rate as usize);
            let second = taken(&storm, 1, 10_001, 5);
            assert_eq!(second, 10 * rate as usize, "{rate} a second for 10 s");
        }
    }

    #[test]
    fn a_clock_that_lags_neither_fills_nor_empties_it() {
        let storm = StormLimit::new(1);
        assert!(storm.take(Ticks(5_000)));
        assert!(!storm.take(Ticks(4_999)));
        assert!(!storm.take(Ticks(5_500)));
        assert!(storm.take(Ticks(6_000)));
    }

    #[test]
    fn the_first_may_act_at_any_time_and_the_next_after_the_pause() {
        let last = LastTime::default();
        let acted: Vec<u32> = (0..7_000)
            .filter(|ms| last.may_act(3_000, Ticks(*ms)))
            .collect();
        assert_eq!(acted, [0, 3_000, 6_000]);
    }
}
