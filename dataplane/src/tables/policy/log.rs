//! Matches of rules with `log`, on their way from the workers to whoever writes them down.
//!
//! A queue of bounded length that all snapshots share. Workers put records in without waiting, and
//! when it is full count what they leave out. Whoever writes takes all there is once a second, so
//! the length is also how many lines a second there are at most.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use flowtable::Ticks;

use super::{RuleId, Tuple};
use crate::tables::VifId;
use crate::tables::spec::RuleAction;

/// Records that wait at most.
pub const LENGTH: usize = 100;

/// One match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, by the workers' clock.
    pub at: Ticks,
    /// The rule.
    pub rule: RuleId,
    /// The vif that the packet came from; `None`: it came out of a tunnel.
    pub vif: Option<VifId>,
    /// The packet as it came.
    pub tuple: Tuple,
    /// What became of it.
    pub action: RuleAction,
}

/// The queue.
pub struct RuleLog {
    sender: Sender<Record>,
    receiver: Receiver<Record>,
    left_out: AtomicU64,
}

impl RuleLog {
    /// Puts a record in, or counts that it was left out. Never waits.
    pub fn push(&self, record: Record) {
        if self.sender.try_send(record).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes out what there is, oldest first, and how many were left out since this was last asked.
    pub fn take(&self) -> (Vec<Record>, u64) {
        // Not more than there is room for, however fast others put in.
        let records = self.receiver.try_iter().take(LENGTH).collect();
        (records, self.left_out.swap(0, Ordering::Relaxed))
    }
}

impl Default for RuleLog {
    fn default() -> RuleLog {
        let (sender, receiver) = bounded(LENGTH);
        RuleLog {
            sender,
            receiver,
            left_out: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_once() {
        let log = RuleLog::default();
        let record = Record {
            at: Ticks(0),
            rule: RuleId(1),
            vif: Some(VifId(1)),
            tuple: Tuple {
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
                protocol: 6,
                ports: None,
                icmp: None,
            },
            action: RuleAction::Deny,
        };
        (0..LENGTH + 7).for_each(|_| log.push(record));
        let (records, left_out) = log.take();
        assert_eq!((records.len(), left_out), (LENGTH, 7));
        assert_eq!(log.take(), (vec![], 0));
    }
}
