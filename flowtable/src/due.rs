//! When pairs may have expired: four bytes for each, and for each block of 64
//! pairs the soonest of them. What makes them trustworthy is argued in `ageing`,
//! whose clock hand reads them.

use crate::simd::{Wide, compare_times, prefetch_near};
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, SeqCst, fence};
use crate::table::FlowTable;
use crate::time::Ticks;
use core::{iter, ops::Range};

/// Pairs to a block.
pub(crate) const BLOCK: usize = 64;

/// Blocks whose due times share a cache line.
pub(crate) const GROUP: usize = 16;

/// Blocks of a table of so many pairs.
pub(crate) fn blocks_for(pairs: usize) -> usize {
    pairs.div_ceil(BLOCK)
}

impl FlowTable {
    #[inline]
    pub(crate) fn due(&self) -> DueTimes<'_> {
        let arrays = self.arrays();
        DueTimes {
            pairs: arrays.due,
            blocks: arrays.soonest,
            wide: self.wide,
        }
    }
}

/// When a flow seen at `seen` is due: a little late, at a time that others
/// share.
#[inline]
pub(crate) fn rounded(seen: Ticks, timeout_ms: u32) -> Ticks {
    let due = seen.after(timeout_ms);
    // The power of two that is a thirty-second of the timeout at most.
    let step = 1_u32 << (timeout_ms >> 5).checked_ilog2().unwrap_or(0);
    Ticks(due.0.wrapping_add(step - 1) & !(step - 1))
}

/// The due time of every pair, and the soonest of every block; 0 for none.
#[derive(Clone, Copy)]
pub(crate) struct DueTimes<'a> {
    pairs: &'a [AtomicU32],
    blocks: &'a [AtomicU32],
    wide: Option<Wide>,
}

/// A block that the hand has opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    block: usize,
    /// Its pairs that were due, as bits.
    passed: u64,
    /// How long it was then until the next of the others is, `u32::MAX` if
    /// there was none.
    next: u32,
}

impl DueTimes<'_> {
    /// The hand will see it when its block is due: see
    /// [`DueTimes::hasten_block`].
    #[inline]
    pub(crate) fn set(self, pair: usize, due: Ticks) {
        self.pairs[pair].store(word(due), Relaxed);
    }

    /// The hand passes over the pair until it is set again.
    #[inline]
    pub(crate) fn vacate(self, pair: usize) {
        self.pairs[pair].store(0, Relaxed);
    }

    /// Lets the hand look at the pair's block when that pair is due. To be
    /// called after its due time was set and a fence.
    #[inline]
    pub(crate) fn hasten_block(self, pair: usize, due: Ticks) {
        let block = &self.blocks[pair / BLOCK];
        let mut soonest = block.load(Relaxed);
        while soonest == 0 || Ticks(soonest).since(due) > 0 {
            match block.compare_exchange_weak(soonest, word(due), AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => soonest = now,
            }
        }
    }

    /// Which of a [`GROUP`] of blocks, or of part of one, are due.
    #[inline]
    pub(crate) fn due_blocks(self, group: Range<usize>, now: Ticks) -> impl Iterator<Item = usize> {
        let (due, _) = compare_times(self.wide, &self.blocks[group.clone()], now.0);
        ones(due).map(move |bit| group.start + bit)
    }

    /// Asks for the due times of its pairs.
    pub(crate) fn prefetch_block(self, block: usize) {
        const LINE: usize = 64 / size_of::<AtomicU32>();
        for line in self.pairs[self.pairs(block)].chunks(LINE) {
            prefetch_near(line.as_ptr());
        }
    }

    /// Takes the block's due time away, then reads those of its pairs.
    pub(crate) fn open_block(self, block: usize, now: Ticks) -> Opened {
        self.blocks[block].swap(0, AcqRel);
        fence(SeqCst);
        let times = &self.pairs[self.pairs(block)];
        let (passed, next) = compare_times(self.wide, times, now.0);
        Opened {
            block,
            passed,
            next,
        }
    }

    /// After the hand has looked at those that were due, at the same `now`.
    pub(crate) fn close_block(self, opened: Opened, now: Ticks) {
        // Of those that were not, the times are as good as new: who has brought
        // one forward meanwhile does so with the block's as well.
        let in_how_long = |pair: usize| {
            let due = self.pairs[pair].load(Relaxed);
            (due != 0).then_some(i64::from(due.wrapping_sub(now.0) as i32))
        };
        let others = (opened.next < u32::MAX).then_some(i64::from(opened.next));
        let left = opened.pairs().filter_map(in_how_long).chain(others);
        if let Some(next) = left.min() {
            let soonest = Ticks(now.0.wrapping_add(next as u32));
            self.hasten_block(opened.block * BLOCK, soonest);
        }
    }

    fn pairs(self, block: usize) -> Range<usize> {
        let first = block * BLOCK;
        first..self.pairs.len().min(first + BLOCK)
    }

    /// The due time of a pair of an opened block; 0 if there is none any more.
    #[inline]
    pub(crate) fn of(self, pair: usize) -> u32 {
        self.pairs[pair].load(Acquire)
    }

    /// Replaces `due` by a later one, unless it was replaced meanwhile or the
    /// reason for it turns out not to hold any more.
    pub(crate) fn put_off(self, pair: usize, due: u32, later: Ticks, holds: impl FnOnce() -> bool) {
        let later = word(later);
        let due_word = &self.pairs[pair];
        if due_word
            .compare_exchange(due, later, AcqRel, Relaxed)
            .is_err()
        {
            return;
        }
        fence(SeqCst);
        if !holds() {
            let _ = due_word.compare_exchange(later, due, AcqRel, Relaxed);
        }
    }

    /// Returns whether it was later, and there was one.
    pub(crate) fn bring_forward(self, pair: usize, due: Ticks) -> bool {
        let earlier = |now: u32| {
            let sooner = now != 0 && Ticks(now).since(due) > 0;
            sooner.then_some(word(due))
        };
        self.pairs[pair]
            .fetch_update(AcqRel, Acquire, earlier)
            .is_ok()
    }
}

impl Opened {
    /// The pairs that were due.
    #[inline]
    pub(crate) fn pairs(self) -> impl Iterator<Item = usize> {
        ones(self.passed).map(move |bit| self.block * BLOCK + bit)
    }
}

/// The numbers of the bits that are set.
#[inline]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(lowest)
    })
}

/// A due time as stored: 0 means none, so that one is a millisecond late.
fn word(due: Ticks) -> u32 {
    due.0.max(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{array, vec::Vec};

    struct Times([AtomicU32; 100], [AtomicU32; 2]);

    impl Times {
        fn new() -> Times {
            Times(
                array::from_fn(|_| AtomicU32::default()),
                array::from_fn(|_| AtomicU32::default()),
            )
        }

        fn due(&self) -> DueTimes<'_> {
            DueTimes {
                pairs: &self.0,
                blocks: &self.1,
                wide: Wide::detect(),
            }
        }
    }

    fn passed(times: DueTimes<'_>, pair: usize, now: Ticks) -> Option<u32> {
        let due = times.of(pair);
        (due != 0 && now.0.wrapping_sub(due) <= i32::MAX as u32).then_some(due)
    }

    fn is_block_due(times: DueTimes<'_>, block: usize, now: Ticks) -> bool {
        times.due_blocks(0..2, now).any(|due| due == block)
    }

    #[test]
    fn a_due_time_put_off_for_what_is_gone_comes_back() {
        let times = Times::new();
        let times = times.due();
        times.set(0, Ticks(5));
        times.put_off(0, 5, Ticks(900), || false);
        assert_eq!(passed(times, 0, Ticks(5)), Some(5));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(passed(times, 0, Ticks(899)), None);
        assert_eq!(passed(times, 0, Ticks(900)), Some(900));
    }

    #[test]
    fn a_due_time_that_changed_meanwhile_stays() {
        let times = Times::new();
        let times = times.due();
        times.set(0, Ticks(7));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(passed(times, 0, Ticks(7)), Some(7));
    }

    #[test]
    fn bringing_forward_never_puts_off() {
        let times = Times::new();
        let times = times.due();
        assert!(!times.bring_forward(0, Ticks(3)), "there is no flow");
        assert_eq!(passed(times, 0, Ticks(3)), None);
        times.set(0, Ticks(10));
        assert!(!times.bring_forward(0, Ticks(20)));
        assert_eq!(passed(times, 0, Ticks(10)), Some(10));
        assert!(times.bring_forward(0, Ticks(4)));
        assert_eq!(passed(times, 0, Ticks(4)), Some(4));
    }

    #[test]
    fn a_block_is_due_with_the_first_of_its_pairs() {
        let times = Times::new();
        let times = times.due();
        let start = Ticks(u32::MAX - 5);
        for (pair, ms) in [(70, 30), (99, 20), (80, 25)] {
            times.set(pair, start.after(ms));
            times.hasten_block(pair, start.after(ms));
        }
        assert!(!is_block_due(times, 1, start.after(19)));
        assert!(is_block_due(times, 1, start.after(20)));
        assert!(!is_block_due(times, 0, start.after(20)));
        let opened = times.open_block(1, start.after(20));
        assert_eq!(opened.pairs().collect::<Vec<_>>(), [99]);
        times.vacate(99);
        times.close_block(opened, start.after(20));
        assert!(!is_block_due(times, 1, start.after(24)));
        assert!(is_block_due(times, 1, start.after(25)));
        let opened = times.open_block(1, start.after(30));
        assert_eq!(opened.pairs().collect::<Vec<_>>(), [70, 80]);
        times.vacate(80);
        times.vacate(70);
        times.close_block(opened, start.after(30));
        assert!(!is_block_due(times, 1, start.after(1000)));
    }

    #[test]
    fn due_times_are_at_most_a_thirty_second_late() {
        for timeout_ms in [0, 1, 10, 31, 32, 1000, 10_000, 7_440_000, i32::MAX as u32] {
            for seen in [0, 1, 12_345, u32::MAX - 3] {
                let due = rounded(Ticks(seen), timeout_ms);
                let late = due.0.wrapping_sub(seen.wrapping_add(timeout_ms));
                assert!(late <= timeout_ms / 32, "{late} of {timeout_ms}");
            }
        }
    }
}
