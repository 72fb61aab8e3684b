//! How flows come: both directions at once, and never twice.
//!
//! A worker takes a free pair, fills both entries, places both in the index,
//! and offers the pair: its stamps go from free to *pending*. Then it looks for
//! rivals: other pairs, pending or live, with one of its two keys. If none
//! stands against it, one exchange of the forward entry's stamp from pending to
//! live makes both directions visible at once. A lookup that finds the reverse
//! entry pending asks the forward entry, so there is no moment in which one
//! direction is found and the other is not there yet.
//!
//! # Why two live pairs never share a key
//! Each offers itself before it looks, with a sequentially consistent fence
//! between, so of two rivals at least one sees the other. It goes on only after
//! that one's fate is settled: a live rival wins; of two pending ones the lower
//! pair number does.
//!
//! # Why nobody waits
//! The lower one of two pending rivals beats the higher at once, by an exchange
//! of the very word it would go live by. The higher does not wait for the lower
//! to go live, which its worker may be too asleep to do: it *settles* it, taking
//! the lower's remaining steps in its stead. Those are a look for rivals and an
//! exchange that only one of all who try can make. Before its offer a pair
//! stands in nobody's way; so whoever sleeps where, of several rivals one always
//! gets through. The beaten clear their pairs away and start again, and find
//! the winner.

use crate::account::{Kind, Limit, Spent};
use crate::action::Action;
use crate::bucket::Place;
use crate::due::rounded;
use crate::entry::{Contents, Entry};
use crate::evict::owners_word;
use crate::key::Key;
use crate::lifecycle::follow;
use crate::lookup::{FlowId, Hit};
use crate::note::Note;
use crate::removal::bury;
use crate::simd::{prefetch, prefetch_to_write};
use crate::stamp::{Stamp, State};
use crate::sync::{AcqRel, Acquire, Relaxed, SeqCst, fence};
use crate::table::{FlowTable, Worker};
use crate::time::{Class, Ticks};

/// A flow to insert.
#[derive(Clone, Copy, Debug)]
pub struct NewFlow<'a> {
    /// Key of the direction that came first.
    pub forward: &'a Key,
    /// What to do with its packets.
    pub forward_action: &'a Action,
    /// Key of the replies. If it is the same (a packet to itself), the flow is
    /// found by it as its forward direction.
    pub reverse: &'a Key,
    /// What to do with replies.
    pub reverse_action: &'a Action,
    /// State of the pair.
    pub class: Class,
    /// The vif it counts for.
    pub vif: u32,
    /// The vrf it counts for.
    pub vrf: u32,
    /// What it carries for the caller.
    pub note: Note,
    /// The time.
    pub now: Ticks,
}

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
    /// This bound does not admit it, and nothing was found to make room for it.
    Refused(Limit),
}

impl<'t> Worker<'t> {
    /// Inserts both directions of a flow together, or finds the flow that is
    /// already there; of several workers inserting the same flow at once, one
    /// gets [`Insert::Inserted`] and the others its flow.
    pub fn insert_pair(self, flow: &NewFlow<'_>) -> Insert {
        let table = self.table;
        let contents = [
            (flow.forward, flow.forward_action),
            (flow.reverse, flow.reverse_action),
        ];
        let contents = contents.map(|(key, action)| {
            let hash = table.hash(key);
            table.prefetch_home(hash);
            Contents { key, hash, action }
        });
        // The two buckets are on their way: first what can be done without.
        let mut held = self.hold(flow, &contents);
        loop {
            if let Some(there) = table.find_either(&contents) {
                if let Ok(held) = held {
                    self.let_go(held, flow);
                }
                return there;
            }
            let Held { pair, version, .. } = match self.hold_at_last(held, flow, &contents) {
                Ok(held) => held,
                Err(limit) => return self.refuse(flow, limit),
            };
            match self.publish(pair, version, flow, &contents) {
                Publish::Live => {
                    self.prefetch_next();
                    let ipv6 = flow.forward.is_ipv6();
                    let stamp = Stamp::pending(version, ipv6, flow.class).with_state(State::Live);
                    let words = flow.forward_action.pack_for(ipv6);
                    let id = FlowId::new(pair, true);
                    return Insert::Inserted(Hit::new(id, stamp, words));
                }
                Publish::Lost => held = self.hold(flow, &contents),
                Publish::NoRoom => return self.refuse(flow, Limit::Table),
            }
        }
    }

    /// Takes what the flow needs, if no bound stands in the way, and fills the
    /// entries, which nobody sees yet.
    #[inline]
    fn hold(self, flow: &NewFlow<'_>, contents: &[Contents<'_>; 2]) -> Result<Held, Limit> {
        let table = self.table;
        let spent = self.spend(flow)?;
        let Some(pair) = table.free().take(self.shard) else {
            // Only while another worker has the last ones in its hands.
            self.take_back(flow, spent.map(Some));
            return Err(Limit::Table);
        };
        let entries = table.entries_of(pair);
        let version = entries[0].stamp(Relaxed).version();
        for (entry, contents) in entries.into_iter().zip(contents) {
            entry.fill(version, contents, flow.now);
        }
        let owners = owners_word(flow.vif, flow.vrf, flow.class);
        table.arrays().owners[pair].store(owners, Relaxed);
        table.set_note(pair, flow.note);
        Ok(Held {
            pair,
            version,
            spent,
        })
    }

    /// What is held, or what there is to hold after room was made.
    #[inline]
    fn hold_at_last(
        self,
        held: Result<Held, Limit>,
        flow: &NewFlow<'_>,
        contents: &[Contents<'_>; 2],
    ) -> Result<Held, Limit> {
        let mut held = held;
        for _ in 0..ATTEMPTS {
            match held {
                // Another worker may be faster to take the room that was made.
                Err(limit) if self.make_room(limit, flow) => held = self.hold(flow, contents),
                _ => break,
            }
        }
        held
    }

    /// Undoes [`Worker::hold`].
    #[cold]
    fn let_go(self, held: Held, flow: &NewFlow<'_>) {
        self.table.free().put(self.shard, [held.pair]);
        self.take_back(flow, held.spent.map(Some));
    }

    /// Spends a credit of each account the flow counts for.
    fn spend(self, flow: &NewFlow<'_>) -> Result<[Spent; 3], Limit> {
        let accounts = self.table.accounts();
        let half_open = flow.class.is_half_open();
        let [vif, vrf, table] = self.table.accounts_of(flow.vif, flow.vrf);
        let spend = |id| accounts.spend(self.shard, id, half_open);
        let which = |kind, pairs, half| match kind {
            Kind::Pairs => pairs,
            Kind::HalfOpen => half,
        };
        // The table's last: another owner's flow may go for it, in vain if a
        // bound of the own one stands.
        let vif = spend(vif).map_err(|kind| which(kind, Limit::Vif, Limit::VifHalfOpen))?;
        let vrf = spend(vrf).map_err(|kind| {
            self.take_back(flow, [Some(vif), None, None]);
            which(kind, Limit::Vrf, Limit::VrfHalfOpen)
        })?;
        let table = spend(table).map_err(|kind| {
            self.take_back(flow, [Some(vif), Some(vrf), None]);
            which(kind, Limit::Table, Limit::TableHalfOpen)
        })?;
        Ok([vif, vrf, table])
    }

    /// Undoes [`Worker::spend`].
    #[cold]
    fn take_back(self, flow: &NewFlow<'_>, spent: [Option<Spent>; 3]) {
        let half_open = flow.class.is_half_open();
        let ids = self.table.accounts_of(flow.vif, flow.vrf);
        for (id, spent) in ids.into_iter().zip(spent) {
            if let Some(spent) = spent {
                let accounts = self.table.accounts();
                accounts.take_back(self.shard, id, half_open, spent);
            }
        }
    }

    #[cold]
    fn refuse(self, flow: &NewFlow<'_>, limit: Limit) -> Insert {
        let accounts = self.table.accounts();
        for id in self.table.accounts_of(flow.vif, flow.vrf) {
            accounts.count_refused(self.shard, id);
        }
        Insert::Refused(limit)
    }

    /// Makes a filled pair live that belongs to the caller, or clears it away.
    #[inline]
    fn publish(
        self,
        pair: usize,
        version: u32,
        flow: &NewFlow<'_>,
        contents: &[Contents<'_>; 2],
    ) -> Publish {
        let table = self.table;
        let [forward, reverse] = table.entries_of(pair);
        let due = rounded(flow.now, table.timeouts.timeout_ms(flow.class));
        table.due().set(pair, due);
        if !table.place(pair, contents) {
            self.release(pair, contents.map(|c| c.hash), flow.class);
            return Publish::NoRoom;
        }
        reverse.offer(version, flow.reverse, flow.class);
        forward.offer(version, flow.forward, flow.class);
        // Between the offer and the look for rivals, who do the same; also
        // between the due time and its block's, see `ageing`.
        fence(SeqCst);
        table.due().hasten_block(pair, due);
        let goal = match contents.iter().all(|c| table.prevails(pair, c.key, c.hash)) {
            true => State::Live,
            false => State::Beaten,
        };
        if decide(forward, version, goal) == State::Beaten {
            self.release(pair, contents.map(|c| c.hash), flow.class);
            return Publish::Lost;
        }
        follow(reverse, version, State::Live);
        Publish::Live
    }

    /// An insertion uses six lines of its pair: have those of the next ones
    /// come meanwhile.
    #[inline]
    fn prefetch_next(self) {
        if cfg!(loom) {
            return; // there are no caches, and each look is one more to check
        }
        let arrays = self.table.arrays();
        self.table.free().foresee(self.shard, |next| {
            let entries = self.table.entries_of(next);
            entries.into_iter().for_each(Entry::prefetch);
            prefetch(&arrays.due[next]);
            prefetch(&arrays.owners[next]);
            prefetch(&arrays.notes[2 * next]);
        });
    }
}

/// A pair that belongs to a worker, filled, and the credits for it.
struct Held {
    pair: usize,
    version: u32,
    spent: [Spent; 3],
}

/// How an attempt to make a filled pair live ended.
enum Publish {
    Live,
    /// A rival was first; the pair has been cleared away.
    Lost,
    /// The index has no room; the pair has been cleared away.
    NoRoom,
}

/// How often an insertion makes room before it is refused.
const ATTEMPTS: usize = 4;

impl FlowTable {
    /// Asks for the line of the index in which a flow with this key will be. For
    /// several flows at once: first this for both keys of each, then
    /// [`Worker::insert_pair`], which otherwise waits for memory each time.
    #[inline]
    pub fn prefetch(&self, key: &Key) {
        self.prefetch_home(self.hash(key));
    }

    #[inline]
    pub(crate) fn prefetch_home(&self, hash: u64) {
        prefetch_to_write(self.wide, self.index().home(hash));
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
        bury(reverse, hit.version(), stamp);
        stamp.is_live(hit.version())
    }

    fn place(&self, pair: usize, contents: &[Contents<'_>; 2]) -> bool {
        let [forward, reverse] = contents;
        let [first, second] = self.entries_of(pair);
        let index = |forward| FlowId::new(pair, forward).index() as u32;
        let put = |entry: Entry<'_>, hash, number| {
            let place = self.index().place(hash, number);
            entry.set_place(place.unwrap_or(Place::NONE));
            place.is_some()
        };
        put(first, forward.hash, index(true))
            && (forward.key == reverse.key || put(second, reverse.hash, index(false)))
    }

    /// Whether no rival of `pair` for this key stands against it.
    fn prevails(&self, pair: usize, key: &Key, hash: u64) -> bool {
        let winner = self.index().find(hash, |index| {
            let rival = FlowId::from_index(index);
            if rival.pair() == pair {
                return None;
            }
            let version = self.version_holding(rival, key)?;
            self.stands(rival.pair(), version, pair).then_some(rival)
        });
        winner.is_none()
    }

    /// The version of an entry if it holds this key, be it live or pending.
    fn version_holding(&self, id: FlowId, key: &Key) -> Option<u32> {
        let entry = self.entry(id);
        loop {
            let stamp = entry.stamp(Acquire);
            let offered = matches!(stamp.state(), State::Pending | State::Live);
            if !offered || !entry.holds(stamp, key) {
                return None;
            }
            if entry.unchanged_since(stamp) {
                return Some(stamp.version());
            }
        }
    }

    /// Whether the rival in that version is live, after it has been beaten or
    /// settled if it was pending.
    fn stands(&self, rival: usize, version: u32, pair: usize) -> bool {
        let [forward, reverse] = self.entries_of(rival);
        let mut stamp = forward.stamp(Acquire);
        if stamp.version() == version && stamp.state() == State::Pending {
            if pair < rival {
                decide(forward, version, State::Beaten);
            } else {
                self.settle(rival, version);
            }
            stamp = forward.stamp(Acquire);
        }
        bury(reverse, version, stamp);
        stamp.is_live(version)
    }

    /// Takes the remaining steps of a pending pair in its worker's stead.
    ///
    /// May lead to further ones, but only of ever lower pairs: no deeper than
    /// there are workers inserting the same keys.
    #[cold]
    fn settle(&self, pair: usize, version: u32) {
        let entries = self.entries_of(pair);
        let stamps = entries.map(|entry| entry.stamp(Acquire));
        let keys = [0, 1].map(|side| entries[side].key(stamps[side]));
        // Keys change with the version only. That the state has changed says
        // nothing here: the pair may still look pending to us.
        fence(Acquire);
        if entries.map(|entry| entry.stamp(Relaxed).version()) != [version; 2] {
            return;
        }
        // As after the pair's own offer: a rival that offers itself later than
        // we look sees this pair, as we have.
        fence(SeqCst);
        let goal = match keys
            .iter()
            .all(|key| self.prevails(pair, key, self.hash(key)))
        {
            true => State::Live,
            false => State::Beaten,
        };
        decide(entries[0], version, goal);
    }
}

/// Decides the fate of a pending pair, unless that is done; returns what it is.
fn decide(forward: Entry<'_>, version: u32, goal: State) -> State {
    let pending = forward.stamp(Acquire);
    let now = if pending.version() == version && pending.state() == State::Pending {
        let word = forward.stamp_word();
        match word.compare_exchange(pending.0, pending.with_state(goal).0, AcqRel, Acquire) {
            Ok(_) => return goal,
            Err(now) => Stamp(now),
        }
    } else {
        pending
    };
    // Only the worker that filled it clears a beaten pair away, so while that
    // one asks, whatever else the stamp says became of a live pair.
    match (now.version() == version, now.state()) {
        (true, State::Beaten) => State::Beaten,
        _ => State::Live,
    }
}
