//! How flows go.
//!
//! Whoever exchanges the forward entry's stamp from live to dead owns the pair
//! and clears it away: no other worker will. The stamps then change to the next
//! version, the reverse entry's first, before the pair goes to the free list, so
//! a reader, an update or a touch that still has the old one in hand finds out
//! (see `entry`). Whoever acts on the pair's death before the reverse entry's
//! stamp has changed makes that dead itself: lookups no longer find it then.
//! The pair's credits go back last: who has one to spend finds a free pair.
//!
//! A pair that is being updated (see `lifecycle`) is left to the worker that
//! does so; then the reverse entry's stamp becomes dead as well.
//!
//! Several that go at once are claimed first, then taken out, then given back
//! together: the buckets of one come while others are claimed, and free list
//! and accounts are written once.

use crate::account::{AccountId, Owner};
use crate::ending::Ending;
use crate::entry::Entry;
use crate::evict::owners_from;
use crate::lifecycle::follow;
use crate::lookup::FlowId;
use crate::simd::prefetch_near;
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, Release};
use crate::table::{FlowTable, Worker};
use crate::time::Class;
use arrayvec::ArrayVec;

/// Pairs that are given back at once. Others may be refused as long as these
/// are on their way, if they are the last ones.
const TOGETHER: usize = 16;

impl Worker<'_> {
    /// Removes both directions of the flow in that version of the entry; false
    /// if it is gone already. Of several workers removing it, one gets true.
    pub fn remove(self, id: FlowId, version: u32) -> bool {
        let Some(stamp) = self.end(id.pair(), version, |_| true, Ending::Removed) else {
            return false;
        };
        self.bury_claimed(id.pair(), stamp);
        true
    }

    /// Removes several flows, given as to [`Worker::remove`], so that the cache
    /// misses of each overlap with those of others; returns how many of them
    /// were not gone already.
    pub fn remove_all(self, flows: &[(FlowId, u32)]) -> usize {
        let table = self.table;
        let mut gone = Gone::new(self);
        for some in flows.chunks(TOGETHER) {
            for (id, _) in some {
                table.prefetch_pair(id.pair());
            }
            let claim = |&(id, version): &(FlowId, u32)| {
                let stamp = self.end(id.pair(), version, |_| true, Ending::Removed)?;
                Some((id.pair(), stamp, table.foresee_clearing(id.pair())))
            };
            let claimed: ArrayVec<_, TOGETHER> = some.iter().filter_map(claim).collect();
            for (pair, stamp, hashes) in claimed {
                gone.bury(pair, stamp, hashes);
            }
        }
        gone.finish()
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
    fn leave(self, pair: usize, stamp: Stamp) {
        let [_, reverse] = self.table.entries_of(pair);
        follow(reverse, stamp.version(), State::Dead);
    }

    /// Clears away a dead pair that belongs to the caller, and frees it.
    pub(crate) fn clear_away(self, pair: usize, class: Class) {
        let hashes = self.table.foresee_clearing(pair);
        self.release(pair, hashes, class);
    }

    /// Frees a pair that belongs to the caller, with keys of these hashes.
    pub(crate) fn release(self, pair: usize, hashes: [u64; 2], class: Class) {
        let leaving = self.take_out(pair, hashes, class);
        self.give_back(&[leaving]);
    }

    /// Lets nobody find a pair any more that belongs to the caller, with keys of
    /// these hashes; it is then to be given back.
    fn take_out(self, pair: usize, hashes: [u64; 2], class: Class) -> Leaving {
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
        let (vif, vrf) = owners_from(table.arrays().owners[pair].load(Relaxed));
        Leaving {
            pair,
            vif,
            vrf,
            half_open: class.is_half_open(),
        }
    }

    /// Gives pairs back that were taken out, and the credits for them: all
    /// pairs together, and those credits that go to the same account in a row.
    fn give_back(self, leaving: &[Leaving]) {
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
}

/// Pairs that were claimed, some of which are yet to be given back.
pub(crate) struct Gone<'t> {
    worker: Worker<'t>,
    leaving: ArrayVec<Leaving, TOGETHER>,
    claimed: usize,
}

impl<'t> Gone<'t> {
    pub(crate) fn new(worker: Worker<'t>) -> Gone<'t> {
        Gone {
            worker,
            leaving: ArrayVec::new(),
            claimed: 0,
        }
    }

    /// As [`Worker::bury_claimed`], with the hashes of the pair's keys.
    pub(crate) fn bury(&mut self, pair: usize, stamp: Stamp, hashes: [u64; 2]) {
        self.claimed += 1;
        if stamp.is_writing() {
            return self.worker.leave(pair, stamp);
        }
        self.leaving
            .push(self.worker.take_out(pair, hashes, stamp.class()));
        if self.leaving.is_full() {
            self.give_back();
        }
    }

    /// Gives the last ones back; returns how many there were.
    pub(crate) fn finish(mut self) -> usize {
        self.give_back();
        self.claimed
    }

    fn give_back(&mut self) {
        if !self.leaving.is_empty() {
            self.worker.give_back(&self.leaving);
            self.leaving.clear();
        }
    }
}

/// A pair that nobody finds any more, and whom it counts for until it is given
/// back.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    pair: usize,
    vif: u32,
    vrf: u32,
    half_open: bool,
}

impl FlowTable {
    /// Makes a live pair dead, if it is of that version and its stamp is
    /// `wanted` at that very moment. Returns the stamp it had, if it was this
    /// worker: the pair is then the caller's to [`Worker::bury_claimed`].
    pub(crate) fn claim(
        &self,
        pair: usize,
        version: u32,
        wanted: impl Fn(Stamp) -> bool,
    ) -> Option<Stamp> {
        let [forward, reverse] = self.entries_of(pair);
        let word = forward.stamp_word();
        let mut stamp = Stamp(word.load(Acquire));
        loop {
            if !stamp.is_live(version) {
                bury(reverse, version, stamp);
                return None;
            }
            if !wanted(stamp) {
                return None;
            }
            let dead = stamp.with_state(State::Dead);
            match word.compare_exchange(stamp.0, dead.0, AcqRel, Acquire) {
                Ok(_) => return Some(stamp),
                Err(now) => stamp = Stamp(now),
            }
        }
    }

    /// Asks for the lines that a removal of this pair touches, but for those of
    /// the index: which they are, only the keys tell.
    pub(crate) fn prefetch_pair(&self, pair: usize) {
        let entries = self.entries_of(pair);
        entries.into_iter().for_each(Entry::prefetch);
        prefetch_near(&self.arrays().owners[pair]);
        self.prefetch_note(pair);
    }

    /// Hashes of a pair's keys, whose buckets are asked for. Only the one who
    /// clears the pair away can go by them.
    pub(crate) fn foresee_clearing(&self, pair: usize) -> [u64; 2] {
        self.entries_of(pair).map(|entry| {
            let hash = self.hash(&entry.key(entry.stamp(Acquire)));
            self.prefetch_home(hash);
            hash
        })
    }
}

/// Does for a worker that made a pair dead what it may not have come to yet:
/// lookups must not find the reverse entry once others act on its death.
pub(crate) fn bury(reverse: Entry<'_>, version: u32, pair: Stamp) {
    if pair.version() == version && pair.state() == State::Dead {
        follow(reverse, version, State::Dead);
    }
}
