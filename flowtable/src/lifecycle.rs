//! How flows come, change and go.
//!
//! # Insertion
//! A worker takes a free pair, fills both entries under *pending* stamps,
//! places both in the index, and looks there for rivals: other pairs with one
//! of its two keys. If none is left, one exchange of the forward entry's stamp
//! from pending to live makes both directions visible at once. A lookup that
//! finds the reverse entry pending asks the forward entry, so there is no
//! moment in which one direction is found and the other is not there yet.
//!
//! *Two live pairs never share a key.* Each places its entry before it looks,
//! with a sequentially consistent fence between, so of two rivals at least one
//! sees the other. It goes on only after it has seen the other dead: a live
//! rival wins; a pending one is killed by the same exchange word it would go
//! live by, at once by the lower pair number, after a while by the higher one.
//! Waiting first is what keeps two rivals from killing each other; not waiting
//! forever is what keeps a worker that the system has put to sleep from
//! stopping others. The loser clears its pair away and starts again, which
//! finds the winner.
//!
//! # Removal and reuse
//! Whoever exchanges the stamp from live to dead owns the pair and clears it
//! away: no other worker will. The stamp then changes to the next version
//! before the pair goes to the free list, so a reader, an update or a touch
//! that still has the old one in hand finds out (see `entry`).
//!
//! # Update
//! The writing flag in the pair's stamp admits one updating worker. Removal does not
//! wait for it: it leaves the dead pair to that worker to clear away.

use crate::action::Action;
use crate::entry::{Contents, Entry, stamped};
use crate::key::Key;
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, Release, SeqCst, fence, spin_loop};
use crate::table::{FlowId, FlowTable, Hit};
use crate::time::{Class, Ticks};

/// What became of an insertion.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Insert {
    /// The flow is in the table; this is its forward direction.
    Inserted(Hit),
    /// The forward key is there already, perhaps as some flow's reverse.
    Exists(Hit),
    /// The forward key is not there, but the reverse key is: another flow has
    /// the same translation. The hit is of the reverse key.
    ReverseTaken(Hit),
    /// There is no free pair, or (hardly ever) no slot within reach.
    Full,
}

/// How an attempt to make a filled pair live ended.
enum Publish {
    Live,
    /// A rival was first; the pair has been cleared away.
    Lost,
    /// The index has no room; the pair has been cleared away.
    NoRoom,
}

impl FlowTable {
    /// Inserts both directions of a flow together, or finds the flow that is
    /// already there; of several workers inserting the same flow at once, one
    /// gets [`Insert::Inserted`] and the others its flow.
    ///
    /// A flow whose two keys are equal (a packet to itself) is found by it as
    /// its forward direction.
    #[expect(clippy::too_many_arguments, reason = "two directions of one flow")]
    pub fn insert_pair(
        &self,
        forward: &Key,
        forward_action: &Action,
        reverse: &Key,
        reverse_action: &Action,
        class: Class,
        owner: u32,
        now: Ticks,
    ) -> Insert {
        let contents = [(forward, forward_action), (reverse, reverse_action)];
        let contents = contents.map(|(key, action)| Contents {
            key,
            hash: self.hash(key),
            action,
            class,
            owner,
            now,
        });
        loop {
            if let Some(there) = self.find_either(&contents) {
                return there;
            }
            let Some(pair) = self.free.take() else {
                return self.refuse();
            };
            let version = self.entries_of(pair)[0].stamp(Relaxed).version();
            match self.publish(pair, version, &contents) {
                Publish::Live => {
                    return Insert::Inserted(self.new_hit(pair, version, &contents[0]));
                }
                Publish::Lost => continue,
                Publish::NoRoom => return self.refuse(),
            }
        }
    }

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

    fn find_either(&self, contents: &[Contents<'_>; 2]) -> Option<Insert> {
        let [forward, reverse] = contents;
        loop {
            if let Some(hit) = self.find_live(forward) {
                return Some(Insert::Exists(hit));
            }
            let taken = self.find_live(reverse)?;
            // The very flow may have come between the two looks; if the taker
            // was there all the time, the third look would have found that.
            if let Some(hit) = self.find_live(forward) {
                return Some(Insert::Exists(hit));
            }
            if self.is_live(&taken) {
                return Some(Insert::ReverseTaken(taken));
            }
        }
    }

    /// A lookup that does not take the reverse of a pair that has just died
    /// for a flow: a new one may not be refused for its sake.
    fn find_live(&self, contents: &Contents<'_>) -> Option<Hit> {
        loop {
            let hit = self.lookup_hashed(contents.key, contents.hash)?;
            if self.is_live(&hit) {
                return Some(hit);
            }
        }
    }

    /// Whether the pair of a hit is live; if not, neither entry is found from
    /// now on.
    fn is_live(&self, hit: &Hit) -> bool {
        let [forward, reverse] = self.entries_of(hit.id.pair());
        let stamp = forward.stamp(Acquire);
        bury(reverse, hit.version, stamp);
        stamp.is_live(hit.version)
    }

    fn refuse(&self) -> Insert {
        self.usage.refused.fetch_add(1, Relaxed);
        Insert::Full
    }

    fn new_hit(&self, pair: usize, version: u32, forward: &Contents<'_>) -> Hit {
        let stored = if forward.key.is_ipv6() {
            forward.action.for_ipv6()
        } else {
            *forward.action
        };
        Hit {
            id: FlowId::new(pair, true),
            version,
            action: stored,
            class: forward.class,
        }
    }

    /// Fills a pair that belongs to the caller and makes it live, or clears
    /// it away.
    fn publish(&self, pair: usize, version: u32, contents: &[Contents<'_>; 2]) -> Publish {
        let entries = self.entries_of(pair);
        for (entry, contents) in entries.iter().zip(contents) {
            entry.fill(contents);
        }
        if !self.place(pair, contents) {
            self.release(pair);
            return Publish::NoRoom;
        }
        // Between placing our entries and looking for those of rivals, who do
        // the same: see the top.
        fence(SeqCst);
        let timeout_ms = self.timeouts.timeout_ms(contents[0].class);
        self.due.set(pair, contents[0].now.after(timeout_ms));
        if !contents.iter().all(|c| self.prevails(pair, c)) || !self.go_live(entries[0]) {
            self.release(pair);
            return Publish::Lost;
        }
        follow(entries[1], version, State::Live);
        Publish::Live
    }

    fn place(&self, pair: usize, contents: &[Contents<'_>; 2]) -> bool {
        let [forward, reverse] = contents;
        let index = |forward| FlowId::new(pair, forward).index() as u32;
        self.buckets.place(forward.hash, index(true))
            && (forward.key == reverse.key || self.buckets.place(reverse.hash, index(false)))
    }

    /// Whether no rival of `pair` for this key is left.
    fn prevails(&self, pair: usize, contents: &Contents<'_>) -> bool {
        let winner = self.buckets.find(contents.hash, |index| {
            let rival = FlowId::from_index(index);
            if rival.pair() == pair {
                return None;
            }
            let version = self.version_holding(rival, contents)?;
            let beaten = self.beats(pair, rival.pair(), version);
            (!beaten).then_some(rival)
        });
        winner.is_none()
    }

    /// The version of an entry if it holds this key, be it live or pending.
    fn version_holding(&self, id: FlowId, contents: &Contents<'_>) -> Option<u32> {
        let entry = self.entry(id);
        loop {
            let stamp = entry.stamp(Acquire);
            let filled = matches!(stamp.state(), State::Pending | State::Live);
            if !filled || !entry.holds(stamp, contents.key, contents.hash) {
                return None;
            }
            if entry.unchanged_since(stamp) {
                return Some(stamp.version());
            }
        }
    }

    /// Whether the rival in that version is dead or gone, if need be by our
    /// hand; false if it is live.
    fn beats(&self, pair: usize, rival: usize, version: u32) -> bool {
        let [forward, reverse] = self.entries_of(rival);
        let word = forward.stamp_word();
        let mut patience = if pair < rival { 0 } else { PATIENCE };
        loop {
            let stamp = Stamp(word.load(Acquire));
            if stamp.version() != version {
                return true;
            }
            match stamp.state() {
                State::Free => return true,
                State::Dead => {
                    bury(reverse, version, stamp);
                    return true;
                }
                State::Live => return false,
                State::Pending if patience > 0 => {
                    patience -= 1;
                    spin_loop();
                }
                State::Pending => {
                    let dead = stamp.with_state(State::Dead).0;
                    // Whether it worked, the next look will tell.
                    let _ = word.compare_exchange(stamp.0, dead, AcqRel, Relaxed);
                }
            }
        }
    }

    /// The exchange by which a pair becomes visible; false if a rival was
    /// faster with the other one.
    fn go_live(&self, forward: Entry<'_>) -> bool {
        // Counted first: a worker that finds the flow may remove it at once.
        let live = self.usage.live.fetch_add(1, Relaxed) + 1;
        let word = forward.stamp_word();
        let pending = Stamp(word.load(Relaxed));
        let went = pending.state() == State::Pending && {
            let goal = pending.with_state(State::Live).0;
            word.compare_exchange(pending.0, goal, AcqRel, Relaxed)
                .is_ok()
        };
        if went {
            self.usage.high_water.fetch_max(live, Relaxed);
        } else {
            self.usage.live.fetch_sub(1, Relaxed);
        }
        went
    }
}

/// How often the higher of two rivals looks whether the lower one has gone
/// live before it kills it: some microseconds, many times what that takes.
const PATIENCE: u32 = 1000;

/// Brings the reverse entry's state up to the pair's, unless it is there or
/// the entry has a new flow by now.
fn follow(reverse: Entry<'_>, version: u32, state: State) {
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
fn bury(reverse: Entry<'_>, version: u32, pair: Stamp) {
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
