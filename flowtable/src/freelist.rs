//! Which pairs are free: a counter of never used ones, stacks of used ones.
//!
//! Each worker has a shard: a stack of the pairs it gave back, and a range of
//! those never used. It takes from its own; only when both are empty does it
//! take from another's. So workers that insert and remove do not fight for one
//! word, yet no free pair is out of anyone's reach.
//!
//! The stacks are Treiber's. The head carries a count of changes beside the
//! index, so a worker that slept between reading the head's successor and
//! exchanging the head cannot mistake a head that left and came back for one
//! that stayed. Pairs never used are handed out in order, so the memory of a
//! table larger than its traffic is never touched.

use crate::entry::Line;
use crate::memory::Arrays;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Hint, Relaxed, Release, fence};

/// What one worker holds in store.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(128))]
pub(crate) struct Shard {
    /// Changes so far 32 | the first free pair plus one, 0 if none.
    head: AtomicU64,
    /// Pairs never used: the first 32 | the one after the last 32.
    range: AtomicU64,
    /// Where this worker's next eviction looks; see `evict`.
    hand: AtomicU64,
    /// How far [`FreeList::foresee`] has told: a pair 32 | how many takes away
    /// it is 32. Only a hint.
    foreseen: Hint,
    /// Keeps the next shard off the line that a prefetcher fetches with it.
    _pad: [AtomicU64; 12],
}

/// How many takes ahead a pair is foreseen: an insertion takes somewhat longer
/// than a line from memory.
const AHEAD: u32 = 3;

/// Pairs never used that a worker takes into store at once.
const RANGE: u32 = 64;

/// The free pairs of a table.
#[derive(Clone, Copy)]
pub(crate) struct FreeList<'a> {
    shards: &'a [Shard],
    /// Two per pair. The first of a free one links it to the pair below it in
    /// its stack: whoever takes it will write that line, whoever frees it has.
    fronts: &'a [Line],
    /// Pairs that have come into some shard's store; no others were ever used.
    used: &'a AtomicU32,
}

impl<'a> FreeList<'a> {
    pub(crate) fn of(arrays: &Arrays<'a>, used: &'a AtomicU32) -> FreeList<'a> {
        FreeList {
            shards: arrays.shards,
            fronts: arrays.fronts,
            used,
        }
    }

    /// Takes a pair; it belongs to the caller until [`FreeList::put`].
    pub(crate) fn take(self, shard: usize) -> Option<usize> {
        let own = &self.shards[shard];
        let foreseen = own.foreseen.load(Relaxed);
        if foreseen as u32 > 0 {
            own.foreseen.store(foreseen - 1, Relaxed);
        }
        let mine = self.pop(own).or_else(|| take_from(&own.range));
        let mine = mine.or_else(|| self.take_unused(own));
        mine.or_else(|| {
            let others = self.shards.iter();
            others
                .into_iter()
                .find_map(|other| self.pop(other).or_else(|| take_from(&other.range)))
        })
    }

    /// Tells which pairs [`FreeList::take`] is likely to give, each [`AHEAD`]
    /// calls before it does; to be called after each.
    ///
    /// Each pair is known only from the one above it in the stack, of which the
    /// line must have come first: so no more than two a time.
    pub(crate) fn foresee(self, shard: usize, mut tell: impl FnMut(usize)) {
        let own = &self.shards[shard];
        let foreseen = own.foreseen.load(Relaxed);
        let (mut pair, mut takes) = ((foreseen >> 32) as usize, foreseen as u32);
        for _ in 0..2 {
            let next = match takes {
                0 => top(own.head.load(Relaxed)),
                1..AHEAD => top(self.link(pair).load(Relaxed)),
                _ => break,
            };
            // Another worker may have taken the pair and filled it.
            let Some(next) = next.filter(|next| *next < self.pairs()) else {
                break;
            };
            pair = next;
            takes += 1;
            tell(pair);
        }
        own.foreseen
            .store((pair as u64) << 32 | u64::from(takes), Relaxed);
        if takes == 0 {
            let (first, end) = bounds(own.range.load(Relaxed));
            if first < end {
                tell(first as usize);
            }
        }
    }

    /// Gives pairs back. Everything the caller did to them is visible to whoever
    /// takes them next.
    pub(crate) fn put(self, shard: usize, pairs: impl IntoIterator<Item = usize>) {
        let own = &self.shards[shard];
        // What was foreseen comes later by now; these need no foresight.
        own.foreseen.store(0, Relaxed);
        self.push(own, pairs);
    }

    /// Every pair that was ever taken is below this number.
    pub(crate) fn used(self) -> usize {
        self.used.load(Relaxed) as usize
    }

    /// Moves a worker's clock hand on by `step` of `used` pairs; returns where
    /// it was.
    pub(crate) fn advance_hand(self, shard: usize, step: usize, used: usize) -> usize {
        let hand = &self.shards[shard].hand;
        let from = hand.load(Relaxed) as usize % used;
        hand.store(((from + step) % used) as u64, Relaxed);
        from
    }

    fn pairs(self) -> usize {
        self.fronts.len() / 2
    }

    /// In a free pair, one more than the pair below, 0 for none.
    fn link(self, pair: usize) -> &'a AtomicU64 {
        self.fronts[2 * pair].link()
    }

    /// Puts pairs on a stack, linked to each other, in one exchange.
    fn push(self, shard: &Shard, pairs: impl IntoIterator<Item = usize>) {
        let link = |pair, below: Option<usize>| {
            let below = below.map_or(0, |below| below as u64 + 1);
            self.link(pair).store(below, Relaxed);
        };
        // Whoever reads a link in place of a key sees that the flow is gone.
        fence(Release);
        let mut pairs = pairs.into_iter();
        let Some(lowest) = pairs.next() else {
            return;
        };
        let highest = pairs.fold(lowest, |below, pair| {
            link(pair, Some(below));
            pair
        });
        let mut head = shard.head.load(Relaxed);
        loop {
            link(lowest, top(head));
            let new = bump(head, Some(highest));
            match shard.head.compare_exchange_weak(head, new, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop(self, shard: &Shard) -> Option<usize> {
        let mut head = shard.head.load(Acquire);
        loop {
            let pair = top(head)?;
            // Nonsense if another worker took the pair meanwhile; then the head
            // has changed and the exchange fails.
            let new = bump(head, top(self.link(pair).load(Relaxed)));
            match shard.head.compare_exchange_weak(head, new, AcqRel, Acquire) {
                Ok(_) => return Some(pair),
                Err(now) => head = now,
            }
        }
    }

    /// Takes a range of pairs never used into a shard's store, and one of them.
    fn take_unused(self, own: &Shard) -> Option<usize> {
        let pairs = self.pairs() as u32;
        let range = |used: u32| {
            let left = pairs.checked_sub(used)?;
            // The last ones singly: no other worker is to find none while this
            // one has some in its hands.
            let step = (left / (2 * self.shards.len() as u32)).clamp(1, RANGE);
            (left > 0).then(|| used + step)
        };
        let first = self.used.fetch_update(Relaxed, Relaxed, range).ok()?;
        let end = range(first).unwrap_or(pairs);
        let left = first + 1..end;
        let mut old = own.range.load(Relaxed);
        loop {
            let (from, to) = bounds(old);
            if from < to {
                // Another worker with this number has just done the same.
                self.push(own, left.map(|pair| pair as usize));
                break;
            }
            let new = u64::from(left.start) << 32 | u64::from(left.end);
            match own.range.compare_exchange(old, new, Release, Relaxed) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        Some(first as usize)
    }
}

/// Takes the first pair of a range.
fn take_from(range: &AtomicU64) -> Option<usize> {
    let mut old = range.load(Acquire);
    loop {
        let (first, end) = bounds(old);
        if first >= end {
            return None;
        }
        match range.compare_exchange_weak(old, old + (1 << 32), AcqRel, Acquire) {
            Ok(_) => return Some(first as usize),
            Err(now) => old = now,
        }
    }
}

fn bounds(range: u64) -> (u32, u32) {
    ((range >> 32) as u32, range as u32)
}

/// The pair that a head or a link names.
fn top(link: u64) -> Option<usize> {
    (link as u32).checked_sub(1).map(|pair| pair as usize)
}

/// The head after one more change, with another pair on top.
fn bump(head: u64, pair: Option<usize>) -> u64 {
    (head >> 32).wrapping_add(1) << 32 | pair.map_or(0, |pair| pair as u64 + 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{collections::HashSet, sync::Mutex, thread, vec::Vec};

    struct Lists {
        shards: Vec<Shard>,
        fronts: Vec<Line>,
        used: AtomicU32,
    }

    impl Lists {
        fn new(shards: usize, pairs: usize) -> Lists {
            Lists {
                shards: (0..shards).map(|_| Shard::default()).collect(),
                fronts: (0..2 * pairs).map(|_| Line::default()).collect(),
                used: AtomicU32::default(),
            }
        }

        fn list(&self) -> FreeList<'_> {
            FreeList {
                shards: &self.shards,
                fronts: &self.fronts,
                used: &self.used,
            }
        }
    }

    #[test]
    fn hands_out_every_pair_once_and_again_after_return() {
        let lists = Lists::new(1, 3);
        let list = lists.list();
        let taken: Vec<_> = (0..3).map(|_| list.take(0).unwrap()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!(list.take(0), None);
        list.put(0, [1, 0]);
        assert_eq!(list.take(0), Some(0));
        assert_eq!(list.take(0), Some(1));
        assert_eq!(list.take(0), None);
        assert_eq!(list.used(), 3);
    }

    #[test]
    fn pairs_are_foreseen_once_and_in_time() {
        let lists = Lists::new(1, 20);
        let list = lists.list();
        let all: Vec<_> = (0..20).map_while(|_| list.take(0)).collect();
        for pair in [7, 3, 18, 0, 11, 5, 16] {
            assert!(all.contains(&pair));
            list.put(0, [pair]);
        }
        let mut foreseen = Vec::new();
        for (taken, pair) in [16, 5, 11, 0, 18, 3, 7].into_iter().enumerate() {
            assert_eq!(list.take(0), Some(pair));
            list.foresee(0, |pair| foreseen.push(pair));
            assert_eq!(foreseen.len(), (2 * (taken + 1)).min(taken + 3).min(6));
        }
        assert_eq!(foreseen, [5, 11, 0, 18, 3, 7]);
    }

    #[test]
    fn what_one_worker_stores_is_in_reach_of_all() {
        let lists = Lists::new(3, 200);
        let list = lists.list();
        // Shards 0 and 1 take several into store, of which one is used.
        let mut taken: HashSet<_> = [0, 1].map(|shard| list.take(shard).unwrap()).into();
        let back = taken.iter().next().copied().unwrap();
        list.put(1, [back]);
        taken.remove(&back);
        while let Some(pair) = list.take(2) {
            assert!(taken.insert(pair));
        }
        assert_eq!(taken.len(), 200);
    }

    #[test]
    fn no_pair_has_two_owners() {
        let lists = Lists::new(2, 300);
        let list = lists.list();
        let owned = Mutex::new(HashSet::new());
        thread::scope(|scope| {
            for worker in 0..4 {
                let owned = &owned;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let Some(pair) = list.take(worker % 2) else {
                            continue;
                        };
                        assert!(owned.lock().unwrap().insert(pair));
                        assert!(owned.lock().unwrap().remove(&pair));
                        list.put((worker + round) % 2, [pair]);
                    }
                });
            }
        });
        let rest: HashSet<_> = (0..300).map(|_| list.take(0).unwrap()).collect();
        assert_eq!(rest.len(), 300);
        assert_eq!(list.take(0), None);
    }
}
