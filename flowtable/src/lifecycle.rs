//! How flows change and go.
//!
//! # Removal and reuse
//! Whoever exchanges the forward entry's stamp from live to dead owns the pair
//! and clears it away: no other worker will. The stamps then change to the next
//! version, the reverse entry's first, before the pair goes to the free list, so
//! a reader, an update or a touch that still has the old one in hand finds out
//! (see `entry`). Whoever acts on the pair's death before the reverse entry's
//! stamp has changed makes that dead itself: lookups no longer find it then.
//! The pair's credits go back last: who has one to spend finds a free pair.
//!
//! # Update
//! The writing flag in the pair's stamp admits one updating worker. Removal
//! does not wait for it: it makes the reverse entry dead as well and leaves the
//! pair to that worker to clear away.

use crate::account::AccountId;
use crate::account::Owner;
use crate::action::Action;
use crate::ending::Ending;
use crate::entry::Entry;
use crate::holding::Holding;
use crate::lookup::{FlowId, Hit};
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::table::{FlowTable, Worker};
use crate::time::{Class, Ticks};

/// What became of a change of class.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum SetClass {
    /// The flow is in that class.
    Set,
    /// The flow was in a third class by then, in which it stays. This is the hit
    /// with that one.
    Overtaken(Hit),
    /// It would be half open beyond a share for those; it stays what it is.
    Refused,
    /// The flow is gone.
    Gone,
}

impl FlowTable {
    /// Counts packets of the direction that was hit, at `now`. Ignored if the
    /// flow is gone.
    ///
    /// Plain stores: exact as long as one worker at a time handles a direction;
    /// two that do may lose each other's counts.
    #[inline]
    pub fn touch(&self, hit: &Hit, packets: u32, bytes: u32, now: Ticks) {
        let entry = self.entry(hit.id);
        if entry.stamp(Relaxed).version() == hit.version() {
            entry.touch(hit.version(), packets, bytes, now);
        }
    }

    /// Counts packets that belong to a flow and do not prolong it: ICMP errors about it (RFC 4787
    /// REQ-12).
    pub fn count(&self, hit: &Hit, packets: u32, bytes: u32) {
        let entry = self.entry(hit.id);
        if entry.stamp(Relaxed).version() == hit.version() {
            entry.count(hit.version(), packets, bytes);
        }
    }

    /// The accounts a flow of these owners counts for: vif, vrf, table.
    #[inline]
    pub(crate) fn accounts_of(&self, vif: u32, vrf: u32) -> [AccountId; 3] {
        let accounts = self.accounts();
        [
            accounts.id(Owner::Vif(vif)),
            accounts.id(Owner::Vrf(vrf)),
            AccountId::TABLE,
        ]
    }
}

impl Worker<'_> {
    /// Replaces both actions, after deciding again; identity, counters, class
    /// and start time stay. `forward` is the action of the direction the flow
    /// was inserted as, whichever direction was hit.
    ///
    /// Returns the hit with its new action, or `None` if the flow is gone. If
    /// another worker is doing the same at this moment, its decision stays in
    /// the table.
    pub fn update_pair(self, hit: &Hit, forward: &Action, reverse: &Action) -> Option<Hit> {
        let pair = hit.id.pair();
        let entries = self.table.entries_of(pair);
        let word = entries[0].stamp_word();
        let (action, entry) = match hit.id.is_forward() {
            true => (forward, entries[0]),
            false => (reverse, entries[1]),
        };
        let ipv6 = entry.stamp(Acquire).is_ipv6();
        let renewed = hit.with_words(action.pack_for(ipv6));
        let mut stamp = Stamp(word.load(Acquire));
        loop {
            if !stamp.is_live(hit.version()) {
                return None;
            }
            if stamp.is_writing() {
                return Some(renewed);
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
            self.clear_away(pair, left.class());
            return None;
        }
        Some(renewed)
    }

    /// Changes the class of the pair from the one that the hit says, or tells
    /// what it is by now: of two workers that see a connection's packets at the
    /// same moment, neither goes by a state that the other has ended.
    pub fn set_class(self, hit: &Hit, class: Class) -> SetClass {
        let table = self.table;
        let pair = hit.id.pair();
        let [forward, reverse] = table.entries_of(pair);
        let mut stamp = forward.stamp(Acquire);
        loop {
            if !stamp.is_live(hit.version()) {
                return SetClass::Gone;
            }
            let found = stamp.class();
            if found != hit.class() && found != class {
                return SetClass::Overtaken(hit.with_class(found));
            }
            // Whose it is, if the exchange below finds it still the same flow.
            let (vif, vrf) = Holding(table.arrays().holdings[pair].load(Relaxed)).owners();
            let change = (stamp.class().is_half_open(), class.is_half_open());
            if change == (false, true) && !self.spend_half_open(vif, vrf) {
                return SetClass::Refused;
            }
            let new = stamp.with_class(class);
            match forward
                .stamp_word()
                .compare_exchange(stamp.0, new.0, SeqCst, Acquire)
            {
                Ok(_) => {
                    self.settle_half_open(pair, vif, vrf, change);
                    break;
                }
                Err(now) => {
                    if change == (false, true) {
                        self.refund_half_open(vif, vrf);
                    }
                    stamp = Stamp(now);
                }
            }
        }
        // Of two workers that set it at once, the later one to look makes the
        // reverse entry follow.
        loop {
            let decided = forward.stamp(SeqCst).class();
            if !follow_class(reverse, hit.version(), decided)
                || forward.stamp(SeqCst).class() == decided
            {
                break;
            }
        }
        table.hasten(pair, hit.version(), class);
        SetClass::Set
    }

    /// Removes both directions of the flow in that version of the entry; false
    /// if it is gone already. Of several workers removing it, one gets true.
    pub fn remove(self, id: FlowId, version: u32) -> bool {
        let Some(stamp) = self.end(id.pair(), version, |_| true, Ending::Removed) else {
            return false;
        };
        self.bury_claimed(id.pair(), stamp);
        true
    }

    /// Clears a pair away that this worker has claimed, or leaves it to the
    /// one that is writing it.
    pub(crate) fn bury_claimed(self, pair: usize, stamp: Stamp) {
        if stamp.is_writing() {
            self.leave(pair, stamp);
        } else {
            self.clear_away(pair, stamp.class());
        }
    }

    /// Leaves a pair that this worker has claimed to the one that is writing it.
    pub(crate) fn leave(self, pair: usize, stamp: Stamp) {
        let [_, reverse] = self.table.entries_of(pair);
        follow(reverse, stamp.version(), State::Dead);
    }

    /// Clears away a dead pair that belongs to the caller, and frees it.
    fn clear_away(self, pair: usize, class: Class) {
        let table = self.table;
        let hashes = table.entries_of(pair).map(|entry| {
            let hash = table.hash(&entry.key(entry.stamp(Relaxed)));
            table.prefetch_home(hash);
            hash
        });
        self.release(pair, hashes, class);
    }

    /// Frees a pair that belongs to the caller, with keys of these hashes.
    pub(crate) fn release(self, pair: usize, hashes: [u64; 2], class: Class) {
        let leaving = self.take_out(pair, hashes, class);
        self.give_back(&[leaving]);
    }

    /// Lets nobody find a pair any more that belongs to the caller, with keys of
    /// these hashes; it is then to be given back.
    pub(crate) fn take_out(self, pair: usize, hashes: [u64; 2], class: Class) -> Leaving {
        let table = self.table;
        let entries = table.entries_of(pair);
        let version = entries[0].stamp(Relaxed).version();
        table.due().vacate(pair);
        let free = Stamp::free(version.wrapping_add(1));
        // The reverse entry first: whoever sees the forward one free need not
        // ask whether the reverse one is still found.
        for entry in entries.iter().rev() {
            entry.stamp_word().store(free.0, Release);
        }
        for (hash, entry) in hashes.into_iter().zip(entries) {
            table.index().clear(hash, entry.place());
        }
        let (vif, vrf) = Holding(table.arrays().holdings[pair].load(Relaxed)).owners();
        Leaving {
            pair,
            vif,
            vrf,
            half_open: class.is_half_open(),
        }
    }

    /// Gives pairs back that were taken out, and the credits for them: all
    /// pairs together, and those credits that go to the same account in a row.
    pub(crate) fn give_back(self, leaving: &[Leaving]) {
        if leaving.is_empty() {
            return;
        }
        let (free, accounts) = (self.table.free(), self.table.accounts());
        free.put(self.shard, leaving.iter().map(|leaving| leaving.pair));
        let refund = |owner, same: &[Leaving]| {
            let half_open = same.iter().filter(|leaving| leaving.half_open).count();
            accounts.refund(self.shard, owner, same.len(), half_open);
        };
        for same in leaving.chunk_by(|one, next| one.vif == next.vif) {
            refund(accounts.id(Owner::Vif(same[0].vif)), same);
        }
        for same in leaving.chunk_by(|one, next| one.vrf == next.vrf) {
            refund(accounts.id(Owner::Vrf(same[0].vrf)), same);
        }
        refund(AccountId::TABLE, leaving);
    }

    fn spend_half_open(self, vif: u32, vrf: u32) -> bool {
        let accounts = self.table.accounts();
        let ids = self.table.accounts_of(vif, vrf);
        let spent = ids
            .iter()
            .take_while(|id| accounts.spend_half_open(self.shard, **id).is_ok())
            .count();
        if spent < ids.len() {
            for id in &ids[..spent] {
                accounts.refund_half_open(self.shard, *id);
            }
        }
        spent == ids.len()
    }

    fn refund_half_open(self, vif: u32, vrf: u32) {
        for id in self.table.accounts_of(vif, vrf) {
            self.table.accounts().refund_half_open(self.shard, id);
        }
    }

    /// After a pair's class went from half open or not to half open or not.
    fn settle_half_open(self, pair: usize, vif: u32, vrf: u32, change: (bool, bool)) {
        let (was, is) = change;
        if was != is {
            Holding::note(&self.table.arrays().holdings[pair], is);
        }
        if was && !is {
            self.refund_half_open(vif, vrf);
        }
    }
}

/// A pair that nobody finds any more, and whom it counts for until it is given
/// back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaving {
    pair: usize,
    vif: u32,
    vrf: u32,
    half_open: bool,
}

impl FlowTable {
    /// Makes a live pair dead, if it is of that version and its class is
    /// `wanted` at that very moment. Returns the stamp it had, if it was this
    /// worker: the pair is then the caller's to [`Worker::bury_claimed`].
    pub(crate) fn claim(
        &self,
        pair: usize,
        version: u32,
        wanted: impl Fn(Class) -> bool,
    ) -> Option<Stamp> {
        let [forward, reverse] = self.entries_of(pair);
        let word = forward.stamp_word();
        let mut stamp = Stamp(word.load(Acquire));
        loop {
            if !stamp.is_live(version) {
                bury(reverse, version, stamp);
                return None;
            }
            if !wanted(stamp.class()) {
                return None;
            }
            let dead = stamp.with_state(State::Dead);
            match word.compare_exchange(stamp.0, dead.0, AcqRel, Acquire) {
                Ok(_) => return Some(stamp),
                Err(now) => stamp = Stamp(now),
            }
        }
    }
}

/// Brings the reverse entry's state up to the pair's, unless it is there or
/// the entry has a new flow by now.
pub(crate) fn follow(reverse: Entry<'_>, version: u32, state: State) {
    change(reverse, version, |stamp| {
        (stamp.state() < state).then(|| stamp.with_state(state))
    });
}

/// Does for a worker that made a pair dead what it may not have come to yet:
/// lookups must not find the reverse entry once others act on its death.
pub(crate) fn bury(reverse: Entry<'_>, version: u32, pair: Stamp) {
    if pair.version() == version && pair.state() == State::Dead {
        follow(reverse, version, State::Dead);
    }
}

/// Sets an entry's class; false if it has a new flow by now.
fn follow_class(entry: Entry<'_>, version: u32, class: Class) -> bool {
    change(entry, version, |stamp| Some(stamp.with_class(class)))
}

/// Exchanges the stamp of that version for a new one until it worked or there
/// is none to have; false if the entry has a new flow by now.
fn change(entry: Entry<'_>, version: u32, new: impl Fn(Stamp) -> Option<Stamp>) -> bool {
    let word = entry.stamp_word();
    let mut stamp = Stamp(word.load(Relaxed));
    while stamp.version() == version {
        let Some(new) = new(stamp) else {
            return true;
        };
        match word.compare_exchange_weak(stamp.0, new.0, AcqRel, Relaxed) {
            Ok(_) => return true,
            Err(now) => stamp = Stamp(now),
        }
    }
    false
}
