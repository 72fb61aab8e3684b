//! How flows change.
//!
//! # Update
//! The writing flag in the pair's stamp admits one updating worker. Removal
//! does not wait for it: it leaves the dead pair to that worker to clear away.

use crate::account::{AccountId, Owner};
use crate::action::Action;
use crate::entry::Entry;
use crate::evict::{HALF_OPEN, owners_from};
use crate::lookup::Hit;
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, SeqCst};
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
            let (vif, vrf) = owners_from(table.arrays().owners[pair].load(Relaxed));
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
        let owners = &self.table.arrays().owners[pair];
        // Only a hint: if the pair is another flow's by now, an eviction that
        // believes it finds out from the stamp.
        match change {
            (true, false) => {
                owners.fetch_and(!HALF_OPEN, Relaxed);
                self.refund_half_open(vif, vrf);
            }
            (false, true) => {
                owners.fetch_or(HALF_OPEN, Relaxed);
            }
            _ => (),
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
