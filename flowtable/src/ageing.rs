//! Removing flows that have been idle for their class's timeout.
//!
//! Each pair has a due time, 4 bytes, before which it cannot have expired, and
//! each block of 64 pairs the soonest of these. A clock hand goes round the
//! blocks, sixteen to a cache line, and looks at the pairs only of a block that
//! is due, and at the entries only of pairs that are. Most are then found to
//! have been seen since and get a later due time; touching a flow does not move
//! it. Whatever shortens a flow's life brings the due time forward.
//!
//! Due times are rounded up by at most a thirty-second of the timeout, so that
//! several pairs of a block come due at once. A flow goes that much late, and
//! as much later as the hand takes for its round.
//!
//! A due time, a pair's or a block's, may be too early, which costs a look, but
//! not too late:
//! - Whoever puts a pair's off checks afterwards that it was for the flow and
//!   the class that are still there, and those who change flow or class do so
//!   before they write the due time.
//! - The hand takes a block's away before it reads those of the pairs, and
//!   brings the soonest of them back; who brings a pair's forward does so before
//!   the block's.
//!
//! A fence between the two steps on both sides lets one of them notice.

use crate::entry::Entry;
use crate::simd::prefetch;
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, SeqCst, fence};
use crate::table::{FlowTable, Worker};
use crate::time::{Class, Ticks};
use crate::view::{FlowView, last_seen};
use arrayvec::ArrayVec;

/// A place on the clock: where a worker's hand is, and which blocks of the
/// table are its own to age.
#[derive(Clone, Debug)]
pub struct AgeCursor {
    next: usize,
    worker: usize,
    workers: usize,
    most: usize,
    left: usize,
}

/// Pairs to a block.
const BLOCK: usize = 64;

/// Blocks of a table of so many pairs.
pub(crate) fn blocks_for(pairs: usize) -> usize {
    pairs.div_ceil(BLOCK)
}

impl AgeCursor {
    /// The hand of one of `workers` workers, numbered from 0, that share the
    /// table; each ages its own part.
    ///
    /// # Panics
    /// If `worker` is not below `workers`.
    pub fn new(worker: usize, workers: usize) -> AgeCursor {
        assert!(worker < workers, "worker {worker} of {workers}");
        AgeCursor {
            next: worker,
            worker,
            workers,
            most: usize::MAX,
            left: 0,
        }
    }

    /// The same hand, which ends a call early once it has looked at so many
    /// pairs that were due, give or take 64: each takes up to a microsecond,
    /// while packets wait. Flows come in floods, and so they come due.
    pub fn at_most(&mut self, pairs: usize) -> &mut AgeCursor {
        self.most = pairs;
        self
    }

    /// Pairs of the last call's budget that were left because it ended early.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The block under the hand, which moves on; `None` if this worker has
    /// none among the first `blocks`.
    fn advance(&mut self, blocks: usize) -> Option<usize> {
        if self.next >= blocks {
            self.next = self.worker;
        }
        let block = self.next;
        self.next += self.workers;
        (block < blocks).then_some(block)
    }
}

/// The hand of a worker that ages the whole table alone.
impl Default for AgeCursor {
    fn default() -> Self {
        AgeCursor::new(0, 1)
    }
}

impl Worker<'_> {
    /// Moves the hand over the next `budget` pairs, rounded up to 64 and at
    /// most once round, and removes those of which neither direction was seen
    /// for the timeout of their class. Tells each one removed to `expired`,
    /// with its final counters; returns how many there were.
    ///
    /// Most blocks of 64 pairs cost one comparison: a round over a million
    /// idle pairs takes some 20 µs.
    pub fn age(
        self,
        cursor: &mut AgeCursor,
        budget: usize,
        now: Ticks,
        mut expired: impl FnMut(&FlowView),
    ) -> usize {
        let blocks = blocks_for(self.table.free().used());
        let mut left = blocks_for(budget).min(blocks.div_ceil(cursor.workers));
        let (mut looked, mut removed) = (0, 0);
        let mut slice = Slice::default();
        while left > 0 && looked < cursor.most {
            left -= 1;
            let Some(block) = cursor.advance(blocks) else {
                break;
            };
            if self.table.due().is_block_due(block, now) {
                self.open(block, now, &mut slice);
            }
            if slice.is_full() {
                looked += slice.pairs.len();
                removed += self.look_at(&mut slice, now, &mut expired);
            }
        }
        cursor.left = left * BLOCK;
        removed + self.look_at(&mut slice, now, &mut expired)
    }

    /// Takes the pairs of a block that are due into the slice, and asks for the
    /// lines that a look at them will read.
    fn open(self, block: usize, now: Ticks, slice: &mut Slice) {
        let (due, arrays) = (self.table.due(), self.table.arrays());
        due.open_block(block);
        slice.blocks.push(block);
        for pair in due.pairs(block) {
            let Some(passed) = due.passed(pair, now) else {
                continue;
            };
            slice.pairs.push((pair, passed));
            let entries = self.table.entries_of(pair);
            entries.into_iter().for_each(Entry::prefetch);
            prefetch(&arrays.owners[pair]);
            prefetch(&arrays.next[pair]);
        }
    }

    /// Looks at the pairs of a slice, in passes, each of which asks for the
    /// lines that the next one reads. Returns how many were removed.
    fn look_at(self, slice: &mut Slice, now: Ticks, expired: &mut impl FnMut(&FlowView)) -> usize {
        let mut removed = 0;
        // So many at once as the second-level cache has lines on their way.
        for some in slice.pairs.chunks(16) {
            let mut idle = ArrayVec::<Idle, 16>::new();
            idle.extend(
                some.iter()
                    .filter_map(|(pair, due)| self.idle(*pair, *due, now)),
            );
            removed += idle
                .iter()
                .filter(|idle| self.expire(idle, now, expired))
                .count();
        }
        for block in slice.blocks.drain(..) {
            self.table.due().close_block(block, now);
        }
        slice.pairs.clear();
        removed
    }

    /// What is needed to remove a pair that is due, if it is indeed idle; puts
    /// it off if not.
    fn idle(self, pair: usize, due: u32, now: Ticks) -> Option<Idle> {
        let table = self.table;
        let entries = table.entries_of(pair);
        let [forward, reverse] = entries;
        let stamp = forward.stamp(Acquire);
        let (version, class) = (stamp.version(), stamp.class());
        if !stamp.is_live(version) {
            return None;
        }
        let timeout_ms = table.timeouts.timeout_ms(class);
        let seen = last_seen(forward, reverse, version);
        if now.since(seen) < timeout_ms {
            table
                .due()
                .put_off(pair, due, rounded(seen, timeout_ms), || {
                    let stamp = forward.stamp(Relaxed);
                    stamp.is_live(version) && stamp.class() == class
                });
            return None;
        }
        // The keys of that version, or of a later one whose removal will fail.
        let hashes = entries.map(|entry| table.hash(&entry.key(entry.stamp(Acquire))));
        for hash in hashes {
            prefetch(table.index().home(hash));
        }
        Some(Idle {
            pair,
            version,
            class,
            hashes,
        })
    }

    /// Removes an idle pair, unless it was seen meanwhile, or is another flow
    /// or in another class by now.
    fn expire(self, idle: &Idle, now: Ticks, expired: &mut impl FnMut(&FlowView)) -> bool {
        let table = self.table;
        let &Idle {
            pair,
            version,
            class,
            hashes,
        } = idle;
        let timeout_ms = table.timeouts.timeout_ms(class);
        let same = |view: &FlowView| {
            let idle = now.since(view.last_seen) >= timeout_ms;
            (view.version, view.class) == (version, class) && idle
        };
        let Some(mut view) = table.view(pair).filter(same) else {
            return false;
        };
        let Some(stamp) = table.claim(pair, version, |now| now == class) else {
            return false;
        };
        // A worker that is writing the dead pair clears it away.
        if !stamp.is_writing() {
            let [forward, reverse] = table.entries_of(pair);
            view.forward_counters = forward.counters(version);
            view.reverse_counters = reverse.counters(version);
            self.release(pair, hashes, class);
        }
        expired(&view);
        true
    }
}

/// Blocks that the hand has opened, and their pairs that are due.
#[derive(Default)]
struct Slice {
    blocks: ArrayVec<usize, BLOCK>,
    /// Pair and due time.
    pairs: ArrayVec<(usize, u32), { 2 * BLOCK }>,
}

impl Slice {
    /// Whether another block might not fit.
    fn is_full(&self) -> bool {
        self.pairs.len() >= BLOCK || self.blocks.is_full()
    }
}

/// A pair that has been idle for its timeout.
#[derive(Clone, Copy)]
struct Idle {
    pair: usize,
    version: u32,
    class: Class,
    hashes: [u64; 2],
}

impl FlowTable {
    /// Brings the due time forward after the class became `class`.
    pub(crate) fn hasten(&self, pair: usize, version: u32, class: Class) {
        let [forward, reverse] = self.entries_of(pair);
        let seen = last_seen(forward, reverse, version);
        let due = rounded(seen, self.timeouts.timeout_ms(class));
        fence(SeqCst);
        if self.due().bring_forward(pair, due) {
            fence(SeqCst);
            self.due().hasten_block(pair, due);
        }
    }

    #[inline]
    pub(crate) fn due(&self) -> DueTimes<'_> {
        let arrays = self.arrays();
        DueTimes {
            pairs: arrays.due,
            blocks: arrays.soonest,
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

    #[inline]
    fn is_block_due(self, block: usize, now: Ticks) -> bool {
        has_come(self.blocks[block].load(Relaxed), now)
    }

    /// Before the hand reads the due times of its pairs.
    fn open_block(self, block: usize) {
        self.blocks[block].swap(0, AcqRel);
        fence(SeqCst);
    }

    /// After the hand has looked at those that were due.
    fn close_block(self, block: usize, now: Ticks) {
        let left = self.pairs(block).filter_map(|pair| {
            let due = self.pairs[pair].load(Relaxed);
            (due != 0).then_some(Ticks(due))
        });
        let in_how_long = |due: &Ticks| due.0.wrapping_sub(now.0) as i32;
        if let Some(soonest) = left.min_by_key(in_how_long) {
            self.hasten_block(block * BLOCK, soonest);
        }
    }

    fn pairs(self, block: usize) -> core::ops::Range<usize> {
        let first = block * BLOCK;
        first..self.pairs.len().min(first + BLOCK)
    }

    /// The due time if it has come.
    #[inline]
    fn passed(self, pair: usize, now: Ticks) -> Option<u32> {
        let due = self.pairs[pair].load(Acquire);
        has_come(due, now).then_some(due)
    }

    /// Replaces `due` by a later one, unless it was replaced meanwhile or the
    /// reason for it turns out not to hold any more.
    fn put_off(self, pair: usize, due: u32, later: Ticks, holds: impl FnOnce() -> bool) {
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
    fn bring_forward(self, pair: usize, due: Ticks) -> bool {
        let earlier = |now: u32| {
            let sooner = now != 0 && Ticks(now).since(due) > 0;
            sooner.then_some(word(due))
        };
        self.pairs[pair]
            .fetch_update(AcqRel, Acquire, earlier)
            .is_ok()
    }
}

#[inline]
fn has_come(due: u32, now: Ticks) -> bool {
    due != 0 && now.0.wrapping_sub(due) <= i32::MAX as u32
}

/// A due time as stored: 0 means none, so that one is a millisecond late.
fn word(due: Ticks) -> u32 {
    due.0.max(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::array;

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
            }
        }
    }

    #[test]
    fn a_due_time_put_off_for_what_is_gone_comes_back() {
        let times = Times::new();
        let times = times.due();
        times.set(0, Ticks(5));
        times.put_off(0, 5, Ticks(900), || false);
        assert_eq!(times.passed(0, Ticks(5)), Some(5));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(times.passed(0, Ticks(899)), None);
        assert_eq!(times.passed(0, Ticks(900)), Some(900));
    }

    #[test]
    fn a_due_time_that_changed_meanwhile_stays() {
        let times = Times::new();
        let times = times.due();
        times.set(0, Ticks(7));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(times.passed(0, Ticks(7)), Some(7));
    }

    #[test]
    fn bringing_forward_never_puts_off() {
        let times = Times::new();
        let times = times.due();
        assert!(!times.bring_forward(0, Ticks(3)), "there is no flow");
        assert_eq!(times.passed(0, Ticks(3)), None);
        times.set(0, Ticks(10));
        assert!(!times.bring_forward(0, Ticks(20)));
        assert_eq!(times.passed(0, Ticks(10)), Some(10));
        assert!(times.bring_forward(0, Ticks(4)));
        assert_eq!(times.passed(0, Ticks(4)), Some(4));
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
        assert!(!times.is_block_due(1, start.after(19)));
        assert!(times.is_block_due(1, start.after(20)));
        assert!(!times.is_block_due(0, start.after(20)));
        times.open_block(1);
        times.vacate(99);
        times.close_block(1, start.after(20));
        assert!(!times.is_block_due(1, start.after(24)));
        assert!(times.is_block_due(1, start.after(25)));
        times.open_block(1);
        times.vacate(80);
        times.vacate(70);
        times.close_block(1, start.after(30));
        assert!(!times.is_block_due(1, start.after(1000)));
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
