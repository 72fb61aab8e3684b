//! Listing flows while workers go on.

use crate::action::Action;
use crate::entry::{Counters, Entry};
use crate::evict::owners_from;
use crate::key::Key;
use crate::lookup::{FlowId, Hit};
use crate::note::Note;
use crate::stamp::Stamp;
use crate::sync::{Acquire, Relaxed};
use crate::table::FlowTable;
use crate::time::{Class, Ticks};

/// Everything the table knows of a flow, copied at one moment; the counters
/// may be a few packets apart from each other.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FlowView {
    /// The forward direction; with `version` it names the flow.
    pub id: FlowId,
    /// Which use of the entry this is.
    pub version: u32,
    /// Key of the direction the flow was inserted as.
    pub forward: Key,
    /// Key of the replies.
    pub reverse: Key,
    /// What is done with forward packets.
    pub forward_action: Action,
    /// What is done with replies.
    pub reverse_action: Action,
    /// State of the pair.
    pub class: Class,
    /// The vif the flow counts for.
    pub vif: u32,
    /// The vrf the flow counts for.
    pub vrf: u32,
    /// What forward packets have been counted.
    pub forward_counters: Counters,
    /// What replies have been counted.
    pub reverse_counters: Counters,
    /// What it carries for the caller.
    pub note: Note,
    /// When the flow was inserted.
    pub start: Ticks,
    /// When a packet of either direction was last seen.
    pub last_seen: Ticks,
}

/// How far a walk has come. A walk sees every flow that is there from its
/// beginning to its end exactly once, and others at most once each.
#[derive(Clone, Debug, Default)]
pub struct WalkCursor {
    next: usize,
    done: bool,
}

impl WalkCursor {
    /// Whether the walk has seen the whole table.
    pub fn is_done(&self) -> bool {
        self.done
    }
}

impl FlowTable {
    /// Visits the flows in the next `budget` places of the table.
    ///
    /// Start with a default cursor and call until [`WalkCursor::is_done`].
    /// Flows do not move between places, and nobody is stopped meanwhile.
    pub fn walk(&self, cursor: &mut WalkCursor, budget: usize, mut visit: impl FnMut(&FlowView)) {
        let used = self.free().used();
        let end = cursor.next.saturating_add(budget).min(used);
        for pair in cursor.next..end {
            if let Some(view) = self.view(pair) {
                visit(&view);
            }
        }
        cursor.next = end;
        cursor.done = end >= used;
    }

    /// Everything known of a flow; `None` if it is gone.
    pub fn flow(&self, id: FlowId, version: u32) -> Option<FlowView> {
        self.view(id.pair()).filter(|view| view.version == version)
    }

    /// The key of the other direction of a hit; `None` if the flow is gone.
    /// [`crate::Translation::Partner`] is read off it.
    #[inline]
    pub fn partner_key(&self, hit: &Hit) -> Option<Key> {
        let entry = self.entry(hit.id.partner());
        loop {
            let stamp = entry.stamp(Acquire);
            if stamp.version() != hit.version() {
                return None;
            }
            let key = entry.key(stamp);
            if entry.unchanged_since(stamp) {
                return Some(key);
            }
        }
    }

    pub(crate) fn view(&self, pair: usize) -> Option<FlowView> {
        let [forward, reverse] = self.entries_of(pair);
        loop {
            let stamp = forward.stamp(Acquire);
            if !stamp.is_live(stamp.version()) {
                return None;
            }
            let reverse_stamp = reverse.stamp(Acquire);
            let view = self.copy(pair, [stamp, reverse_stamp]);
            // The forward stamp last: it changes before anything is reused.
            if reverse.unchanged_since(reverse_stamp) && forward.unchanged_since(stamp) {
                return Some(view);
            }
        }
    }

    /// Of a pair that the caller has claimed while nobody was writing it: but for the counters
    /// nothing of it changes any more.
    pub(crate) fn last_view(&self, pair: usize) -> FlowView {
        self.copy(
            pair,
            self.entries_of(pair).map(|entry| entry.stamp(Acquire)),
        )
    }

    /// What is there under these stamps.
    fn copy(&self, pair: usize, stamps: [Stamp; 2]) -> FlowView {
        let [forward, reverse] = self.entries_of(pair);
        let [stamp, reverse_stamp] = stamps;
        let version = stamp.version();
        let (vif, vrf) = owners_from(self.arrays().owners[pair].load(Relaxed));
        FlowView {
            id: FlowId::new(pair, true),
            version,
            forward: forward.key(stamp),
            reverse: reverse.key(reverse_stamp),
            forward_action: Action::unpack(forward.action(stamp)),
            reverse_action: Action::unpack(reverse.action(reverse_stamp)),
            class: stamp.class(),
            vif,
            vrf,
            forward_counters: forward.counters(version),
            reverse_counters: reverse.counters(version),
            note: self.note_at(pair),
            start: forward.start(),
            last_seen: last_seen(forward, reverse, version),
        }
    }
}

/// When either direction was last seen.
pub(crate) fn last_seen(forward: Entry<'_>, reverse: Entry<'_>, version: u32) -> Ticks {
    forward
        .last_seen(version)
        .latest(reverse.last_seen(version))
}
