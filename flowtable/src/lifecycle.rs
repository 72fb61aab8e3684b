//! How flows change and go.
//!
//! # Removal and reuse
//! Whoever exchanges the forward entry's stamp from live to dead owns the pair
//! and clears it away: no other worker will. The reverse entry's stamp follows;
//! whoever acts on the pair's death before it has does so in its stead. The
//! stamps then change to the next version before the pair goes to the free
//! list, so a reader, an update or a touch that still has the old one in hand
//! finds out (see `entry`).
//!
//! # Update
//! The writing flag in the pair's stamp admits one updating worker. Removal
//! does not wait for it: it leaves the dead pair to that worker to clear away.

use crate::action::Action;
use crate::entry::{Entry, stamped};
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::table::{FlowId, FlowTable, Hit};
use crate::time::{Class, Ticks};

impl FlowTable {
    /// Replaces both actions, after deciding again; identity, counters, class
    /// and start time stay. `forward` is the action of the direction the flow
    /// was inserted as, whichever direction was hit.
    ///
    /// If another worker is doing the same at this moment, its decision stays.
    /// Returns false if the flow is gone.
    pub fn update_pair(&self, hit: &Hit, forward: &Action, reverse: &Action) -> bool {
        let pair = hit.id.pair();
        let entries = self.entries_of(pair);
        let word = entries[0].stamp_word();
        let mut stamp = Stamp(word.load(Acquire));
        loop {
            if !stamp.is_live(hit.version) {
                return false;
            }
            if stamp.is_writing() {
                return true;
            }
            match word.compare_exchange(stamp.0, stamp.with_writing().0, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => stamp = Stamp(now),
            }
        }
        entries[0].replace_action(forward);
        entries[1].replace_action(reverse);
        let left = Stamp(word.fetch_and(!Stamp::WRITING, AcqRel));
        if left.state() == State::Dead {
            self.release(pair);
            return false;
        }
        true
    }

    /// Counts packets of the direction that was hit, at `now`. Ignored if the
    /// flow is gone.
    ///
    /// Plain stores: exact as long as one worker at a time handles a direction;
    /// two that do may lose each other's counts.
    #[inline]
    pub fn touch(&self, hit: &Hit, packets: u32, bytes: u32, now: Ticks) {
        let entry = self.entry(hit.id);
        if entry.stamp(Relaxed).version() == hit.version {
            entry.touch(hit.version, packets, bytes, now);
        }
    }

    /// Changes the lifetime class of the pair. Ignored if the flow is gone.
    pub fn set_class(&self, hit: &Hit, class: Class) {
        let [forward, reverse] = self.entries_of(hit.id.pair());
        if !exchange_class(forward, hit.version, class) {
            return;
        }
        // The forward entry's class is the pair's. Of two workers that set it
        // at once, the later one to look makes the reverse entry follow.
        loop {
            let decided = forward.class();
            if !exchange_class(reverse, hit.version, decided) || forward.class() == decided {
                break;
            }
        }
        self.hasten(hit.id.pair(), hit.version, class);
    }

    /// Removes both directions of the flow in that version of the entry; false
    /// if it is gone already. Of several workers removing it, one gets true.
    pub fn remove(&self, id: FlowId, version: u32) -> bool {
        let Some(stamp) = self.claim(id.pair(), version) else {
            return false;
        };
        if !stamp.is_writing() {
            self.release(id.pair());
        }
        true
    }

    /// Makes a live pair dead. Returns the stamp it had, if it was this
    /// worker: unless it says *writing*, the pair is now the caller's to
    /// [`release`](Self::release).
    pub(crate) fn claim(&self, pair: usize, version: u32) -> Option<Stamp> {
        let [forward, reverse] = self.entries_of(pair);
        let word = forward.stamp_word();
        let mut stamp = Stamp(word.load(Acquire));
        loop {
            if !stamp.is_live(version) {
                bury(reverse, version, stamp);
                return None;
            }
            let dead = stamp.with_state(State::Dead);
            match word.compare_exchange(stamp.0, dead.0, AcqRel, Acquire) {
                Ok(_) => break,
                Err(now) => stamp = Stamp(now),
            }
        }
        self.usage.live.fetch_sub(1, Relaxed);
        follow(reverse, version, State::Dead);
        Some(stamp)
    }

    /// Clears away a pair that belongs to the caller, and frees it.
    pub(crate) fn release(&self, pair: usize) {
        let entries = self.entries_of(pair);
        let version = entries[0].stamp(Relaxed).version();
        let keys = entries.map(|entry| entry.key(entry.stamp(Relaxed)));
        self.due.vacate(pair);
        let free = Stamp::free(version.wrapping_add(1));
        // The reverse entry first: whoever sees the forward one free need not
        // ask whether the reverse one is still found.
        for entry in entries.iter().rev() {
            entry.stamp_word().store(free.0, Release);
        }
        for (key, forward) in keys.iter().zip([true, false]) {
            let id = FlowId::new(pair, forward);
            self.buckets.clear(self.hash(key), id.index() as u32);
        }
        self.free.put(pair);
    }
}

/// Brings the reverse entry's state up to the pair's, unless it is there or
/// the entry has a new flow by now.
pub(crate) fn follow(reverse: Entry<'_>, version: u32, state: State) {
    let word = reverse.stamp_word();
    let mut stamp = Stamp(word.load(Relaxed));
    while stamp.version() == version && (stamp.state() as u8) < state as u8 {
        match word.compare_exchange_weak(stamp.0, stamp.with_state(state).0, AcqRel, Relaxed) {
            Ok(_) => return,
            Err(now) => stamp = Stamp(now),
        }
    }
}

/// Does for a worker that made a pair dead what it may not have come to yet:
/// lookups must not find the reverse entry once others act on its death.
pub(crate) fn bury(reverse: Entry<'_>, version: u32, pair: Stamp) {
    if pair.version() == version && pair.state() == State::Dead {
        follow(reverse, version, State::Dead);
    }
}

/// Sets an entry's class; false if it has a new flow by now.
fn exchange_class(entry: Entry<'_>, version: u32, class: Class) -> bool {
    let word = entry.class_word();
    let mut old = word.load(Acquire);
    while (old >> 32) as u32 == version {
        match word.compare_exchange_weak(old, stamped(version, class as u32), SeqCst, Acquire) {
            Ok(_) => return true,
            Err(now) => old = now,
        }
    }
    false
}
