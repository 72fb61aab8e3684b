//! Removing flows that have been idle for their class's timeout.
//!
//! Each pair has a due time, 4 bytes, before which it cannot have expired, and
//! each block of 64 pairs the soonest of these. A clock hand goes round the
//! blocks, sixteen at a time, and looks at the pairs only of a block that is
//! due, and at the entries only of pairs that are. Most are then found to
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
//!   brings back the soonest: of those that were not due as they were then, of
//!   the others as they are after the look. Who brings a pair's forward does so
//!   before the block's.
//!
//! A fence between the two steps on both sides lets one of them notice.

use crate::due::{BLOCK, GROUP, Opened, blocks_for, rounded};
use crate::ending::Ending;
use crate::removal::Gone;
use crate::stamp::Stamp;
use crate::sync::{Acquire, Relaxed, SeqCst, fence};
use crate::table::{FlowTable, Worker};
use crate::time::{Class, Ticks};
use crate::view::{FlowView, last_seen};
use arrayvec::ArrayVec;
use core::ops::Range;

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
    /// table; each ages its own part, in pieces of 1024 pairs, so that none
    /// reads and writes what another does.
    ///
    /// # Panics
    /// If `worker` is not below `workers`.
    pub fn new(worker: usize, workers: usize) -> AgeCursor {
        assert!(worker < workers, "worker {worker} of {workers}");
        AgeCursor {
            next: worker * GROUP,
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

    /// The blocks from the hand to the end of their group, `most` at most;
    /// `None` if this worker has none among the first `blocks`.
    fn group(&mut self, blocks: usize, most: usize) -> Option<Range<usize>> {
        if self.next >= blocks {
            self.next = self.worker * GROUP;
        }
        let end = (self.next / GROUP + 1) * GROUP;
        let end = end.min(self.next + most).min(blocks);
        (self.next < end).then_some(self.next..end)
    }

    /// Moves the hand to the block before which it has seen all of a group, and
    /// on to the next group of this worker at its end.
    fn pass(&mut self, next: usize) {
        let others = (self.workers - 1) * GROUP;
        self.next = next
            + if next.is_multiple_of(GROUP) {
                others
            } else {
                0
            };
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
    /// Sixteen blocks of 64 pairs cost few instructions if none is due: a round
    /// over a million idle pairs takes some 10 µs.
    pub fn age(
        self,
        cursor: &mut AgeCursor,
        budget: usize,
        now: Ticks,
        mut expired: impl FnMut(&FlowView),
    ) -> usize {
        let blocks = blocks_for(self.table.free().used());
        let own = blocks.div_ceil(GROUP * cursor.workers) * GROUP;
        let mut left = blocks_for(budget).min(own);
        let (mut looked, mut removed) = (0, 0);
        let due = self.table.due();
        let mut slice = Slice::default();
        while left > 0 && looked < cursor.most {
            let Some(group) = cursor.group(blocks, left) else {
                break;
            };
            let ahead = group.start + AHEAD * cursor.workers;
            if ahead.is_multiple_of(GROUP) && ahead < blocks {
                due.due_blocks(ahead..blocks.min(ahead + GROUP), now)
                    .for_each(|block| due.prefetch_block(block));
            }
            let Range { start, mut end } = group;
            for block in due.due_blocks(group, now) {
                slice.push(due.open_block(block, now));
                if slice.is_full() {
                    looked += slice.pairs.len();
                    removed += self.look_at(&mut slice, now, &mut expired);
                    if looked >= cursor.most {
                        end = block + 1;
                        break;
                    }
                }
            }
            left -= end - start;
            cursor.pass(end);
        }
        cursor.left = left * BLOCK;
        removed + self.look_at(&mut slice, now, &mut expired)
    }

    /// Looks at the pairs of a slice, one after the other, and asks for the lines
    /// of those that come later meanwhile: first the pair's own, and once its
    /// keys are known those of the index. Returns how many were removed.
    fn look_at(self, slice: &mut Slice, now: Ticks, expired: &mut impl FnMut(&FlowView)) -> usize {
        let pairs = &slice.pairs;
        for pair in &pairs[..pairs.len().min(PAIRS_AHEAD)] {
            self.table.prefetch_pair(*pair);
        }
        let mut gone = Gone::new(self);
        let mut idle = ArrayVec::<Idle, PAIRS>::new();
        let mut next = 0;
        for (at, pair) in pairs.iter().enumerate() {
            if let Some(later) = pairs.get(at + PAIRS_AHEAD) {
                self.table.prefetch_pair(*later);
            }
            idle.extend(self.idle(*pair, now));
            if idle.len() > next + HOMES_AHEAD {
                self.expire(&idle[next], now, &mut gone, expired);
                next += 1;
            }
        }
        for idle in &idle[next..] {
            self.expire(idle, now, &mut gone, expired);
        }
        let removed = gone.finish();
        for opened in slice.blocks.drain(..) {
            self.table.due().close_block(opened, now);
        }
        slice.pairs.clear();
        removed
    }

    /// What is needed to remove a pair that was due, if it is indeed idle; puts
    /// it off if not.
    fn idle(self, pair: usize, now: Ticks) -> Option<Idle> {
        let table = self.table;
        let due = table.due().of(pair);
        if due == 0 {
            return None;
        }
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
        let hashes = table.foresee_clearing(pair);
        Some(Idle {
            pair,
            version,
            class,
            hashes,
        })
    }

    /// Takes an idle pair out, unless it was seen meanwhile, or is another flow
    /// or in another class by now. One that is being written waits for the next
    /// look: its writer would clear it away, and what it was like could not be told.
    fn expire(
        self,
        idle: &Idle,
        now: Ticks,
        gone: &mut Gone<'_>,
        expired: &mut impl FnMut(&FlowView),
    ) {
        let table = self.table;
        let &Idle {
            pair,
            version,
            class,
            hashes,
        } = idle;
        let [forward, reverse] = table.entries_of(pair);
        let seen = last_seen(forward, reverse, version);
        if now.since(seen) < table.timeouts.timeout_ms(class) {
            return;
        }
        let wanted = |stamp: Stamp| stamp.class() == class && !stamp.is_writing();
        let Some(stamp) = table.claim(pair, version, wanted) else {
            return;
        };
        // A packet of this very moment comes too late, and is counted, but did not decide.
        let view = FlowView {
            last_seen: seen,
            ..table.last_view(pair)
        };
        if let Some(endings) = &table.endings {
            endings.ended(self.shard, &view, Ending::Idle);
        }
        gone.bury(pair, stamp, hashes);
        expired(&view);
    }
}

/// So many blocks before the hand comes to one that is due, its due times are
/// asked for: most blocks are passed over in a nanosecond.
const AHEAD: usize = 8 * GROUP;

/// So many pairs before the hand looks at one, its lines are asked for: six for
/// each, as many as the first-level cache can wait for at once. Asked for in the
/// second-level cache only, many did not come, and a flood took half as long again.
const PAIRS_AHEAD: usize = 4;

/// So many pairs are looked at before one that is idle is removed, whose two
/// buckets are on their way.
const HOMES_AHEAD: usize = 3;

/// Pairs in a slice, at most.
const PAIRS: usize = 2 * BLOCK;

/// Blocks that the hand has opened, and their pairs that were due.
#[derive(Default)]
struct Slice {
    blocks: ArrayVec<Opened, BLOCK>,
    pairs: ArrayVec<usize, PAIRS>,
}

impl Slice {
    /// Only if not full.
    fn push(&mut self, opened: Opened) {
        self.pairs.extend(opened.pairs());
        self.blocks.push(opened);
    }

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
