//! Where MACs are, learned from the frames they send: one table of fixed size
//! for all vrfs and all workers.
//!
//! ```text
//! key (vrf, MAC) ── keyed hash ──▶ bucket ─▶ turn | 8 keys | 8 places | 8 times | 8 moves
//! ```
//!
//! **Concurrency.** A bucket is a sequence lock made of atomics alone. Whoever
//! writes makes `turn` odd by a compare-and-swap, changes the bucket, and makes it
//! even again. Who reads takes `turn` before and after, and believes what it read
//! only if both are the same even number; so a place is never taken for that of
//! another key, whatever happens to the entry meanwhile. Nobody waits for anybody:
//! after a bounded number of tries a reader takes the MAC for unknown (its frame
//! is flooded), and a writer leaves the learning to the next frame. `seen` alone
//! is written outside of that, by a compare-and-swap from the value read; should
//! the entry be another's by then, that other lives one period longer at most.
//!
//! **Bounds.** Each vif has a limit of its own, each vrf one for all MACs behind
//! tunnels, and the table has its size: 1.6 MB, taken when the first vrf learns. A
//! full bucket refuses like a full table; the hash is keyed, so that nobody can
//! choose MACs that fill one.
//!
//! **What an entry is worth.** It says where a MAC was last heard, by number. What
//! that number means is for the snapshot to say (`stage::learn`): numbers of
//! deleted vifs and vrfs are given to others, so [`Learned::forget`] clears
//! their entries before that happens.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use ahash::RandomState;
use encap::MacAddr;
use flowtable::Ticks;

use super::{MAX_VIFS, MAX_VRFS, VrfId};
use crate::stage::Ingress;

/// A MAC that was not heard of for this long is forgotten (IEEE 802.1Q §8.8.3: 300 s).
pub const AGE_MS: u32 = 300_000;
/// MACs learned behind tunnels, per vrf.
pub const MAX_REMOTE: u32 = 4_096;
/// A MAC may move this often in [`MOVES_MS`]; then it stays where it is until that
/// time is over (RFC 7432 §15.1, which has these numbers).
pub const MAX_MOVES: u32 = 5;
/// See [`MAX_MOVES`].
pub const MOVES_MS: u32 = 180_000;

/// Entries of a bucket: their keys fill a cache line.
const WAYS: usize = 8;
const BUCKETS: usize = 8_192;
/// Tries before a reader or writer gives up: a writer needs some 50 ns.
const TRIES: usize = 64;
/// `seen` is written this often at most, so that a busy MAC's line stays shared.
const REFRESH_MS: u32 = 1_000;

/// The learned MACs of a node.
#[derive(Debug)]
pub struct Learned {
    hash: RandomState,
    buckets: OnceLock<Box<[Bucket]>>,
    /// Entries by vif, then MACs behind tunnels by vrf.
    counts: OnceLock<Box<[AtomicU32]>>,
}

/// What became of a wish to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It was known to be there.
    Known,
    /// It is new.
    New,
    /// It was elsewhere until now.
    Moved,
    /// It is new, and there is no more room for it.
    Full,
    /// It moved too often: it stays where it was for a while.
    Moving,
    /// Others were writing; the next frame will do.
    Busy,
}

/// A learned MAC, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The network it is in.
    pub vrf: VrfId,
    /// The MAC.
    pub mac: MacAddr,
    /// Where it was heard.
    pub place: Ingress,
    /// Since it was heard, in milliseconds, to about a second.
    pub idle_ms: u32,
}

/// A few entries and the turn to write them.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    /// A free entry is 0: vrf 0 is the underlay, which learns nothing.
    keys: [AtomicU64; WAYS],
    places: [AtomicU32; WAYS],
    seen: [AtomicU32; WAYS],
    /// Moves so far in the low byte, above it when they began to count, in
    /// seconds since the clock's start.
    moves: [AtomicU32; WAYS],
    /// Odd while somebody writes.
    turn: AtomicU32,
}

/// Where an entry was found.
#[derive(Clone, Copy)]
struct Found {
    way: usize,
    place: u32,
    seen: u32,
}

impl Learned {
    /// Empty; the secret keys the hash.
    pub fn new([a, b, c, d]: [u64; 4]) -> Learned {
        Learned {
            hash: RandomState::with_seeds(a, b, c, d),
            buckets: OnceLock::new(),
            counts: OnceLock::new(),
        }
    }

    /// A table of its own with the same entries, for trying things out.
    pub(super) fn apart(&self) -> Learned {
        let copy = Learned {
            hash: self.hash.clone(),
            buckets: OnceLock::new(),
            counts: OnceLock::new(),
        };
        let word = |word: &AtomicU32| AtomicU32::new(word.load(Ordering::Relaxed));
        if let Some(counts) = self.counts.get() {
            copy.counts
                .get_or_init(|| counts.iter().map(word).collect());
        }
        if let Some(buckets) = self.buckets.get() {
            let all = || buckets.iter().map(Bucket::apart).collect();
            copy.buckets.get_or_init(all);
        }
        copy
    }

    /// Takes the memory, if that is not done yet. Called before the first vrf that
    /// learns is published.
    pub fn prepare(&self) {
        let counts = MAX_VIFS + MAX_VRFS;
        self.counts
            .get_or_init(|| (0..counts).map(|_| AtomicU32::new(0)).collect());
        self.buckets
            .get_or_init(|| (0..BUCKETS).map(|_| Bucket::default()).collect());
    }

    /// Where a MAC was last heard.
    #[inline]
    pub fn lookup(&self, vrf: VrfId, mac: MacAddr) -> Option<Ingress> {
        let key = key(vrf, mac);
        let found = self.bucket(key)?.find(key)?;
        Some(Ingress::from_bits(found.place))
    }

    /// Notes that a MAC was heard at a place, where at most `limit` may be.
    #[inline]
    pub fn learn(
        &self,
        vrf: VrfId,
        mac: MacAddr,
        place: Ingress,
        limit: u32,
        now: Ticks,
    ) -> Lesson {
        let key = key(vrf, mac);
        let Some(bucket) = self.bucket(key) else {
            return Lesson::Full;
        };
        match bucket.find(key) {
            Some(found) if found.place == place.to_bits() => {
                bucket.refresh(found, now);
                Lesson::Known
            }
            _ => self.write(bucket, key, place, limit, now),
        }
    }

    #[cold]
    fn write(&self, bucket: &Bucket, key: u64, place: Ingress, limit: u32, now: Ticks) -> Lesson {
        let Some(_turn) = Turn::take(bucket) else {
            return Lesson::Busy;
        };
        match bucket.scan(key) {
            Some(found) if found.place == place.to_bits() => Lesson::Known,
            Some(found) => {
                if !bucket.may_move(found.way, now) {
                    return Lesson::Moving;
                }
                if !self.count(key, place, limit) {
                    return Lesson::Full;
                }
                self.uncount(key, Ingress::from_bits(found.place));
                bucket.places[found.way].store(place.to_bits(), Ordering::Relaxed);
                bucket.seen[found.way].store(now.0, Ordering::Relaxed);
                Lesson::Moved
            }
            None => {
                let Some(Found { way, .. }) = bucket.scan(0) else {
                    return Lesson::Full;
                };
                if !self.count(key, place, limit) {
                    return Lesson::Full;
                }
                bucket.places[way].store(place.to_bits(), Ordering::Relaxed);
                bucket.seen[way].store(now.0, Ordering::Relaxed);
                bucket.moves[way].store(0, Ordering::Relaxed);
                bucket.keys[way].store(key, Ordering::Relaxed);
                Lesson::New
            }
        }
    }

    /// How many buckets there are to [`sweep`](Learned::sweep); 0 while nobody learns.
    pub fn buckets(&self) -> usize {
        self.buckets.get().map_or(0, |buckets| buckets.len())
    }

    /// Removes what is too old, and what `is_valid` does not accept, from
    /// the bucket with this index.
    pub fn sweep(&self, index: usize, now: Ticks, is_valid: impl Fn(VrfId, Ingress) -> bool) {
        // A bucket that others write just now has its turn in the next round.
        self.remove_if(index, |vrf, place, seen| {
            now.since(Ticks(seen)) >= AGE_MS || !is_valid(vrf, place)
        });
    }

    /// Removes all that has to do with a place or a vrf, so that whoever gets the
    /// number next inherits nothing. Called when no worker uses that any more; not
    /// by a worker, as it waits for those who write.
    pub fn forget(&self, is_gone: impl Fn(VrfId, Ingress) -> bool) {
        for index in 0..self.buckets() {
            while !self.remove_if(index, |vrf, place, _| is_gone(vrf, place)) {
                std::thread::yield_now();
            }
        }
    }

    /// All entries as they are, in no particular order.
    pub fn entries(&self, now: Ticks) -> Vec<Entry> {
        let mut entries = Vec::new();
        for bucket in self.buckets.get().into_iter().flatten() {
            for key in &bucket.keys {
                let key = key.load(Ordering::Relaxed);
                if key != 0
                    && let Some(found) = bucket.find(key)
                {
                    entries.push(Entry {
                        vrf: vrf_of(key),
                        mac: MacAddr::from_u64(key),
                        place: Ingress::from_bits(found.place),
                        idle_ms: now.since(Ticks(found.seen)),
                    });
                }
            }
        }
        entries
    }

    /// False if others were writing, and nothing was done.
    fn remove_if(&self, index: usize, is_over: impl Fn(VrfId, Ingress, u32) -> bool) -> bool {
        let Some(bucket) = self.buckets.get().and_then(|buckets| buckets.get(index)) else {
            return true;
        };
        let is_empty = bucket
            .keys
            .iter()
            .all(|key| key.load(Ordering::Relaxed) == 0);
        if is_empty {
            return true; // without a turn: most are
        }
        let Some(_turn) = Turn::take(bucket) else {
            return false;
        };
        for way in 0..WAYS {
            let key = bucket.keys[way].load(Ordering::Relaxed);
            let place = Ingress::from_bits(bucket.places[way].load(Ordering::Relaxed));
            let seen = bucket.seen[way].load(Ordering::Relaxed);
            if key != 0 && is_over(vrf_of(key), place, seen) {
                bucket.keys[way].store(0, Ordering::Relaxed);
                self.uncount(key, place);
            }
        }
        true
    }

    #[inline]
    fn bucket(&self, key: u64) -> Option<&Bucket> {
        let hash = self.hash.hash_one(key);
        self.buckets.get()?.get(hash as usize % BUCKETS)
    }

    /// One more at a place, unless there are `limit` already.
    fn count(&self, key: u64, place: Ingress, limit: u32) -> bool {
        let Some(counter) = self.counter(key, place) else {
            return false;
        };
        let more = |count: u32| (count < limit).then_some(count + 1);
        counter
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    fn uncount(&self, key: u64, place: Ingress) {
        if let Some(counter) = self.counter(key, place) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// What counts the entries at a place: for tunnels, those of the vrf.
    fn counter(&self, key: u64, place: Ingress) -> Option<&AtomicU32> {
        let index = match place.as_vif() {
            Some(vif) => vif.0,
            None => MAX_VIFS + vrf_of(key).0,
        };
        self.counts.get()?.get(index as usize)
    }
}

impl Default for Learned {
    /// With a hash that is the same in every run, as replays need it.
    fn default() -> Learned {
        Learned::new([1, 2, 3, 4])
    }
}

impl Bucket {
    /// A copy as of one moment; an empty bucket if others keep writing.
    fn apart(&self) -> Bucket {
        let word = |word: &AtomicU32| AtomicU32::new(word.load(Ordering::Relaxed));
        for _ in 0..TRIES {
            let before = self.turn.load(Ordering::Acquire);
            if before & 1 == 0 {
                let key = |key: &AtomicU64| AtomicU64::new(key.load(Ordering::Relaxed));
                let copy = Bucket {
                    keys: self.keys.each_ref().map(key),
                    places: self.places.each_ref().map(word),
                    seen: self.seen.each_ref().map(word),
                    moves: self.moves.each_ref().map(word),
                    turn: AtomicU32::new(0),
                };
                // As in `find`.
                fence(Ordering::Acquire);
                if self.turn.load(Ordering::Relaxed) == before {
                    return copy;
                }
            }
            std::hint::spin_loop();
        }
        Bucket::default()
    }

    /// The entry of a key, as of one moment.
    #[inline]
    fn find(&self, key: u64) -> Option<Found> {
        for _ in 0..TRIES {
            let before = self.turn.load(Ordering::Acquire);
            if before & 1 == 0 {
                let found = self.scan(key);
                // The loads above are done before the turn is looked at again.
                fence(Ordering::Acquire);
                if self.turn.load(Ordering::Relaxed) == before {
                    return found;
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// The entry of a key, for who has the turn or checks it.
    #[inline]
    fn scan(&self, key: u64) -> Option<Found> {
        let mut keys = self.keys.iter();
        let way = keys.position(|at| at.load(Ordering::Relaxed) == key)?;
        Some(Found {
            way,
            place: self.places[way].load(Ordering::Relaxed),
            seen: self.seen[way].load(Ordering::Relaxed),
        })
    }

    #[inline]
    fn refresh(&self, found: Found, now: Ticks) {
        if now.since(Ticks(found.seen)) >= REFRESH_MS {
            let seen = &self.seen[found.way];
            // Whoever else wrote it meanwhile was as late as we are.
            _ = seen.compare_exchange(found.seen, now.0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Counts a move, unless there were too many.
    fn may_move(&self, way: usize, now: Ticks) -> bool {
        let moves = self.moves[way].load(Ordering::Relaxed);
        let (began_s, count) = (moves >> 8, moves & 0xff);
        let now_s = now.0 / 1_000;
        let is_over = now_s.wrapping_sub(began_s) >= MOVES_MS / 1_000;
        let (began_s, count) = match count == 0 || is_over {
            true => (now_s, 0),
            false => (began_s, count),
        };
        if count >= MAX_MOVES {
            return false;
        }
        self.moves[way].store(began_s << 8 | (count + 1), Ordering::Relaxed);
        true
    }
}

/// The right to write a bucket; given back when dropped.
struct Turn<'a>(&'a Bucket, u32);

impl<'a> Turn<'a> {
    fn take(bucket: &'a Bucket) -> Option<Turn<'a>> {
        for _ in 0..TRIES {
            let turn = bucket.turn.load(Ordering::Relaxed);
            let odd = turn.wrapping_add(1);
            if turn & 1 == 0
                && bucket
                    .turn
                    .compare_exchange(turn, odd, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                // Who sees one of the writes that follow sees the odd turn, too.
                fence(Ordering::Release);
                return Some(Turn(bucket, odd.wrapping_add(1)));
            }
            std::hint::spin_loop();
        }
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turn.store(self.1, Ordering::Release);
    }
}

/// Vrf and MAC in one word. There are 4096 vrfs at most: 12 bits.
fn key(vrf: VrfId, mac: MacAddr) -> u64 {
    u64::from(vrf.0) << 48 | mac.to_u64()
}

fn vrf_of(key: u64) -> VrfId {
    VrfId((key >> 48) as u32)
}

#[cfg(test)]
mod tests;
