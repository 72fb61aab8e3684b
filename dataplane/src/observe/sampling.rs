//! Which dropped packets are looked at: not all of a flood, and of everything some.
//!
//! Drops are counted all (`counters`). Of each vif and reason only so many in a while are noted with
//! their headers, so that a flood costs what a trickle does, and hides neither another reason nor
//! another vif. Vifs and reasons share places by a hash; two that share one share its allowance.

use flowtable::Ticks;

use crate::reason::DropReason;
use crate::tables::VifId;

/// Places.
const PLACES: usize = 256;
/// Notes of a vif and reason in one period.
const PER_PLACE: u8 = 8;
/// Notes of a worker in one period.
const PER_WORKER: u16 = 128;
/// A period is 2 to the power of this many milliseconds: some 128 ms.
const PERIOD_BITS: u32 = 7;

/// One worker's allowance.
pub(super) struct Sampling {
    period: u32,
    left: u16,
    noted: [u8; PLACES],
    /// Not noted since the last note, by place.
    passed_over: Box<[u32; PLACES]>,
}

impl Sampling {
    pub(super) fn new() -> Sampling {
        Sampling {
            period: 0,
            left: PER_WORKER,
            noted: [0; PLACES],
            passed_over: Box::new([0; PLACES]),
        }
    }

    /// Whether this drop is to be noted, and how many like it were not since the last one was.
    pub(super) fn takes(&mut self, vif: VifId, reason: DropReason, now: Ticks) -> Option<u32> {
        let period = now.0 >> PERIOD_BITS;
        if period != self.period {
            self.period = period;
            self.left = PER_WORKER;
            self.noted = [0; PLACES];
        }
        let place = place(vif, reason);
        if self.left == 0 || self.noted[place] == PER_PLACE {
            self.passed_over[place] = self.passed_over[place].saturating_add(1);
            return None;
        }
        self.left -= 1;
        self.noted[place] += 1;
        Some(std::mem::take(&mut self.passed_over[place]))
    }
}

/// Neighbouring numbers go to different places (Fibonacci hashing).
fn place(vif: VifId, reason: DropReason) -> usize {
    let number = u64::from(vif.0) << 8 | reason as u64;
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sampling: &mut Sampling, vif: u32, reason: DropReason, now: u32) -> usize {
        let drops = 0..10_000;
        drops
            .filter(|_| sampling.takes(VifId(vif), reason, Ticks(now)).is_some())
            .count()
    }

    #[test]
    fn a_flood_is_noted_a_few_times_in_a_period() {
        let mut sampling = Sampling::new();
        assert_eq!(taken(&mut sampling, 1, DropReason::PolicyDenied, 1), 8);
        // Neither another reason nor another vif suffers.
        assert_eq!(taken(&mut sampling, 1, DropReason::SpoofedSource, 1), 8);
        assert_eq!(taken(&mut sampling, 2, DropReason::PolicyDenied, 1), 8);
        let later = sampling.takes(VifId(1), DropReason::PolicyDenied, Ticks(200));
        assert_eq!(later, Some(9_992), "and says how many it stands for");
    }

    #[test]
    fn all_of_a_worker_together_are_bounded() {
        let mut sampling = Sampling::new();
        let all: usize = (0..1_000)
            .map(|vif| taken(&mut sampling, vif, DropReason::NoRoute, 1))
            .sum();
        assert_eq!(all, usize::from(PER_WORKER));
    }
}
