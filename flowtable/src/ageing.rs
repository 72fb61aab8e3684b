//! Removing flows that have been idle for their class's timeout.
//!
//! Each pair has a due time, 4 bytes, before which it cannot have expired. A
//! clock hand goes round these, sixteen pairs to a cache line, and looks at the
//! entries only of pairs that are due. Most are then found to have been seen
//! since and get a later due time; touching a flow does not move it. Whatever
//! shortens a flow's life brings the due time forward.
//!
//! A due time may be too early, which costs a look, but not too late: whoever
//! puts one off checks afterwards that it was for the flow and the class that
//! are still there, and those who change flow or class do so before they write
//! the due time. A fence between the two on both sides lets one of them notice.

use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, SeqCst, fence, zeroed};
use crate::table::FlowTable;
use crate::time::{Class, Ticks};
use crate::view::{FlowView, last_seen};
use alloc::boxed::Box;

/// A place on the clock: where a worker's hand is, and which blocks of the
/// table are its own to age.
#[derive(Clone, Debug)]
pub struct AgeCursor {
    next: usize,
    worker: usize,
    workers: usize,
}

/// Pairs a hand sweeps before it leaves the next blocks to the other workers.
const BLOCK: usize = 64;

impl AgeCursor {
    /// The hand of one of `workers` workers, numbered from 0, that share the
    /// table; each ages its own part.
    ///
    /// # Panics
    /// If `worker` is not below `workers`.
    pub fn new(worker: usize, workers: usize) -> AgeCursor {
        assert!(worker < workers, "worker {worker} of {workers}");
        AgeCursor {
            next: worker * BLOCK,
            worker,
            workers,
        }
    }

    /// The pair under the hand, which moves on; `None` if this worker has none
    /// among the first `used` pairs.
    fn advance(&mut self, used: usize) -> Option<usize> {
        if self.next >= used {
            self.next = self.worker * BLOCK;
        }
        let pair = self.next;
        self.next += 1;
        if self.next.is_multiple_of(BLOCK) {
            self.next += (self.workers - 1) * BLOCK;
        }
        (pair < used).then_some(pair)
    }
}

/// The hand of a worker that ages the whole table alone.
impl Default for AgeCursor {
    fn default() -> Self {
        AgeCursor::new(0, 1)
    }
}

impl FlowTable {
    /// Moves the hand over the next `budget` pairs, at most once round, and
    /// removes those of which neither direction was seen for the timeout of
    /// their class. Tells each one removed to `expired`, with its final
    /// counters; returns how many there were.
    pub fn age(
        &self,
        cursor: &mut AgeCursor,
        budget: usize,
        now: Ticks,
        mut expired: impl FnMut(&FlowView),
    ) -> usize {
        let used = self.free.used();
        let mut removed = 0;
        for _ in 0..budget.min(used) {
            let Some(pair) = cursor.advance(used) else {
                break;
            };
            let Some(due) = self.due.passed(pair, now) else {
                continue;
            };
            if let Some(view) = self.expire(pair, due, now) {
                expired(&view);
                removed += 1;
            }
        }
        removed
    }

    /// Removes a pair that is due if it is indeed idle, or puts it off.
    fn expire(&self, pair: usize, due: u32, now: Ticks) -> Option<FlowView> {
        let [forward, reverse] = self.entries_of(pair);
        let mut view = self.view(pair)?;
        let timeout_ms = self.timeouts.timeout_ms(view.class);
        if now.since(view.last_seen) < timeout_ms {
            let later = view.last_seen.after(timeout_ms);
            self.due.put_off(pair, due, later, || {
                forward.stamp(Relaxed).is_live(view.version) && forward.class() == view.class
            });
            return None;
        }
        let stamp = self.claim(pair, view.version)?;
        if !stamp.is_writing() {
            view.forward_counters = forward.counters(view.version);
            view.reverse_counters = reverse.counters(view.version);
            self.release(pair);
        }
        Some(view)
    }

    /// Brings the due time forward after the class became `class`.
    pub(crate) fn hasten(&self, pair: usize, version: u32, class: Class) {
        let [forward, reverse] = self.entries_of(pair);
        let seen = last_seen(forward, reverse, version);
        fence(SeqCst);
        self.due
            .bring_forward(pair, seen.after(self.timeouts.timeout_ms(class)));
    }
}

/// The due time of every pair; 0 for none.
pub(crate) struct DueTimes(Box<[AtomicU32]>);

impl DueTimes {
    pub(crate) fn new(pairs: usize) -> DueTimes {
        DueTimes(zeroed(pairs))
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    pub(crate) fn set(&self, pair: usize, due: Ticks) {
        self.0[pair].store(word(due), Relaxed);
    }

    /// The hand passes over the pair until it is set again.
    pub(crate) fn vacate(&self, pair: usize) {
        self.0[pair].store(0, Relaxed);
    }

    /// The due time if it has come.
    #[inline]
    fn passed(&self, pair: usize, now: Ticks) -> Option<u32> {
        let due = self.0[pair].load(Acquire);
        (due != 0 && now.0.wrapping_sub(due) <= i32::MAX as u32).then_some(due)
    }

    /// Replaces `due` by a later one, unless it was replaced meanwhile or the
    /// reason for it turns out not to hold any more.
    fn put_off(&self, pair: usize, due: u32, later: Ticks, holds: impl FnOnce() -> bool) {
        let later = word(later);
        let due_word = &self.0[pair];
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

    fn bring_forward(&self, pair: usize, due: Ticks) {
        let earlier = |now: u32| {
            let sooner = now != 0 && Ticks(now).since(due) > 0;
            sooner.then_some(word(due))
        };
        let _ = self.0[pair].fetch_update(AcqRel, Acquire, earlier);
    }
}

/// A due time as stored: 0 means none, so that one is a millisecond late.
fn word(due: Ticks) -> u32 {
    due.0.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_put_off_for_what_is_gone_comes_back() {
        let times = DueTimes::new(1);
        times.set(0, Ticks(5));
        times.put_off(0, 5, Ticks(900), || false);
        assert_eq!(times.passed(0, Ticks(5)), Some(5));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(times.passed(0, Ticks(899)), None);
        assert_eq!(times.passed(0, Ticks(900)), Some(900));
    }

    #[test]
    fn a_due_time_that_changed_meanwhile_stays() {
        let times = DueTimes::new(1);
        times.set(0, Ticks(7));
        times.put_off(0, 5, Ticks(900), || true);
        assert_eq!(times.passed(0, Ticks(7)), Some(7));
    }

    #[test]
    fn bringing_forward_never_puts_off() {
        let times = DueTimes::new(1);
        times.bring_forward(0, Ticks(3));
        assert_eq!(times.passed(0, Ticks(3)), None, "there is no flow");
        times.set(0, Ticks(10));
        times.bring_forward(0, Ticks(20));
        assert_eq!(times.passed(0, Ticks(10)), Some(10));
        times.bring_forward(0, Ticks(4));
        assert_eq!(times.passed(0, Ticks(4)), Some(4));
    }
}
