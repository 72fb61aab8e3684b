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

use crate::due::{BLOCK, blocks_for, rounded};
use crate::entry::Entry;
use crate::simd::prefetch;
use crate::sync::{Acquire, Relaxed, SeqCst, fence};
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
    /// with its final counters (nearly, if it was being changed); returns how
    /// many there were.
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
            let ahead = block + AHEAD * cursor.workers;
            if ahead < blocks && self.table.due().is_block_due(ahead, now) {
                self.table.due().prefetch_block(ahead);
            }
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
            table.prefetch_home(hash);
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

/// So many blocks before the hand comes to one that is due, its due times are
/// asked for: most blocks are passed over in a nanosecond or two.
const AHEAD: usize = 64;

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
}
