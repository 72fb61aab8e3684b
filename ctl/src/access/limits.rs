//! What callers can ask for at most: `limits` of the node file.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::proto::{CallLimits, MAX_MESSAGE_LEN};

/// Each is refused by the name it has here and in the node file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message to the daemon.
    pub message_bytes: usize,
    /// Changes in one `Apply`.
    pub changes_per_apply: usize,
    /// Calls under way at once.
    pub calls: usize,
    /// Connections at once.
    pub connections: usize,
    /// How long an answer may lie unread.
    pub slow_reader: Duration,
    /// Objects named in the commits that are kept for `Watch`.
    pub watch_history: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_bytes: MAX_MESSAGE_LEN,
            changes_per_apply: 2_000_000,
            // Half of the threads that wait for readers: commits find one always.
            calls: 256,
            connections: 256,
            slow_reader: Duration::from_secs(30),
            watch_history: 262_144,
        }
    }
}

impl Limits {
    /// What is written, or the default.
    pub fn new(written: &CallLimits) -> Limits {
        let default = Limits::default();
        let or = |written: Option<u32>, default| written.map_or(default, |it| it as usize);
        Limits {
            message_bytes: written
                .message_bytes
                .map_or(default.message_bytes, |it| it as usize),
            changes_per_apply: or(written.changes_per_apply, default.changes_per_apply),
            calls: or(written.calls, default.calls),
            connections: or(written.connections, default.connections),
            slow_reader: written
                .slow_reader_ms
                .map_or(default.slow_reader, |it| Duration::from_millis(it.into())),
            watch_history: or(written.watch_history, default.watch_history),
        }
    }

    /// The same in the words of the protocol, nothing left out.
    pub fn written(&self) -> CallLimits {
        CallLimits {
            message_bytes: Some(self.message_bytes as u64),
            changes_per_apply: Some(self.changes_per_apply as u32),
            calls: Some(self.calls as u32),
            connections: Some(self.connections as u32),
            slow_reader_ms: Some(self.slow_reader.as_millis() as u32),
            watch_history: Some(self.watch_history as u32),
        }
    }

    /// What is out of its range, each as a sentence.
    pub(super) fn out_of_range(&self) -> Vec<String> {
        let ranges: [(&str, usize, RangeInclusive<usize>); 6] = [
            ("message_bytes", self.message_bytes, 1 << 16..=1 << 30),
            (
                "changes_per_apply",
                self.changes_per_apply,
                1..=u32::MAX as usize,
            ),
            ("calls", self.calls, 4..=512),
            ("connections", self.connections, 2..=65_536),
            (
                "slow_reader_ms",
                self.slow_reader.as_millis() as usize,
                100..=3_600_000,
            ),
            ("watch_history", self.watch_history, 1..=100_000_000),
        ];
        let wrong = ranges
            .into_iter()
            .filter(|(_, value, range)| !range.contains(value));
        wrong
            .map(|(key, value, range)| {
                let (min, max) = range.into_inner();
                format!("{key}: {value} is out of range, {min} to {max}")
            })
            .collect()
    }
}
