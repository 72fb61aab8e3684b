//! How much of a pool is given out, and whether that is cause for alarm. Readable at any time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::transport::Transport;

/// Counters of one pool, which all its forms share over commits.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    used: [AtomicU32; 3],
    high_water: [AtomicU32; 3],
    refused: AtomicU64,
    alarmed: AtomicBool,
    alarms: AtomicU64,
}

/// What a pool's gauge says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Ports that are taken, by [`Transport`]; those that rest included.
    pub used: [u32; 3],
    /// Most that were taken at once.
    pub high_water: [u32; 3],
    /// Ports there are, for each transport.
    pub limit: u32,
    /// Flows that got none: [`SnatExhausted`](crate::DropReason::SnatExhausted) and
    /// [`SnatPortLimit`](crate::DropReason::SnatPortLimit).
    pub refused: u64,
    /// Four fifths of a transport's ports were taken, and more than seven tenths still are.
    pub is_alarmed: bool,
    /// How often that began.
    pub alarms: u64,
}

impl Gauge {
    /// One more port is taken.
    pub(super) fn took(&self, transport: Transport, limit: u32) {
        let used = self.used[transport as usize].fetch_add(1, Ordering::Relaxed) + 1;
        self.high_water[transport as usize].fetch_max(used, Ordering::Relaxed);
        let is_high = u64::from(used) * 5 >= u64::from(limit) * 4;
        if is_high && !self.alarmed.swap(true, Ordering::Relaxed) {
            self.alarms.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One is free again.
    pub(super) fn freed(&self, transport: Transport, limit: u32) {
        let less = |used: u32| used.checked_sub(1);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.used[transport as usize].fetch_update(set, get, less);
        let most = self
            .used
            .iter()
            .map(|used| used.load(Ordering::Relaxed))
            .max();
        if u64::from(most.unwrap_or(0)) * 10 <= u64::from(limit) * 7 {
            self.alarmed.store(false, Ordering::Relaxed);
        }
    }

    /// Somebody got none.
    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, limit: u32) -> Usage {
        let all =
            |counts: &[AtomicU32; 3]| std::array::from_fn(|at| counts[at].load(Ordering::Relaxed));
        Usage {
            used: all(&self.used),
            high_water: all(&self.high_water),
            limit,
            refused: self.refused.load(Ordering::Relaxed),
            is_alarmed: self.alarmed.load(Ordering::Relaxed),
            alarms: self.alarms.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_begins_at_four_fifths_and_ends_at_seven_tenths() {
        let gauge = Gauge::default();
        let alarmed = |gauge: &Gauge| gauge.read(10).is_alarmed;
        (0..7).for_each(|_| gauge.took(Transport::Udp, 10));
        (0..7).for_each(|_| gauge.took(Transport::Tcp, 10));
        assert!(!alarmed(&gauge));
        gauge.took(Transport::Udp, 10);
        gauge.took(Transport::Udp, 10);
        assert!(alarmed(&gauge));
        gauge.freed(Transport::Udp, 10);
        assert!(alarmed(&gauge));
        gauge.freed(Transport::Udp, 10);
        assert!(!alarmed(&gauge));
        gauge.took(Transport::Udp, 10);
        let usage = gauge.read(10);
        assert_eq!((usage.used, usage.high_water), ([7, 8, 0], [7, 9, 0]));
        assert_eq!((usage.alarms, usage.is_alarmed), (2, true));
    }
}
