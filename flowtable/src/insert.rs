//! How flows come: both directions at once, and never twice.
//!
//! A worker takes a free pair, fills both entries under *pending* stamps,
//! places both in the index, and looks there for rivals: other pairs with one
//! of its two keys. If none is left, one exchange of the forward entry's stamp
//! from pending to live makes both directions visible at once. A lookup that
//! finds the reverse entry pending asks the forward entry, so there is no
//! moment in which one direction is found and the other is not there yet.
//!
//! # Why two live pairs never share a key
//! Each places its entry before it looks, with a sequentially consistent fence
//! between, so of two rivals at least one sees the other. It goes on only after
//! it has seen the other dead: a live rival wins; a pending one is killed by an
//! exchange of the same word it would go live by, at once by the lower pair
//! number, after a while by the higher one. Waiting first is what keeps two
//! rivals from killing each other; not waiting forever is what keeps a worker
//! that the system has put to sleep from stopping others. The loser clears its
//! pair away and starts again, which finds the winner.

use crate::action::Action;
use crate::entry::{Contents, Entry};
use crate::key::Key;
use crate::lifecycle::{bury, follow};
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, SeqCst, fence, spin_loop};
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
