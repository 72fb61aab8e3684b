//! The index: from a hash to the entries that may hold its key.
//!
//! A bucket is one cache line of twelve slots. A slot is a tag of eight bits
//! from the hash and the number of an entry; which key the entry holds, and
//! whether it is live, is for the entry to say.
//!
//! ```text
//! tags     8 8 8 8 8 8 8 8 | 8 8 8 8   passed 32     16 bytes
//! entries  twelve times 32                           48 bytes
//! ```
//!
//! All twelve tags are compared at once. A tag of 0 is an empty slot. Two tags
//! of different keys agree once in 255 times; then a look at the entry is lost.
//!
//! There are seven entries to a bucket of a full table, so one bucket in forty
//! is full. What has no room there goes into the buckets after it, and each
//! bucket passed over counts it in *passed*: a lookup goes on to the next bucket
//! only while there is something to find, which is hardly ever. The count goes
//! up before the slot is taken and down after it is given up: whoever reads it
//! never looks too little.
//!
//! # Why slots need no protection against reuse
//! Taking a slot is one exchange of its word of tags; the entry number follows.
//! The slot belongs to that entry, which remembers where it is, until the tag is
//! 0 again. So a reader finds the owner's number beside the tag or that of an
//! owner before or after; it asks the entry for the key in any case.

use crate::memory::Arrays;
use crate::simd::{Baseline, Level, Pair};
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, Release};

/// Slots per bucket.
const SLOTS: usize = 12;
/// Entries per bucket of a full table.
const ENTRIES_PER_BUCKET: usize = 7;
/// In how many buckets after its home an entry may be. All of seventeen in a
/// row are full about once in 10^20 places of a full table.
const REACH: usize = 16;
/// Added to the second word of tags to count one entry that passed.
const PASSED: u64 = 1 << 32;
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// Eight tags; four tags and the count of those that passed.
    tags: Pair,
    /// Beside an empty slot's tag, whatever was there before.
    entries: [AtomicU32; SLOTS],
}

/// Where an entry is in the index: slot 4 | buckets from home 5.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place(pub(crate) u16);

impl Place {
    /// Nowhere.
    pub(crate) const NONE: Place = Place(u16::MAX);
}

/// How many buckets a table of so many entries has.
pub(crate) fn buckets_for(entries: usize) -> usize {
    entries.div_ceil(ENTRIES_PER_BUCKET)
}

/// The buckets of a table.
#[derive(Clone, Copy)]
pub(crate) struct Index<'a>(&'a [Bucket]);

impl<'a> Index<'a> {
    #[inline]
    pub(crate) fn of(arrays: &Arrays<'a>) -> Index<'a> {
        Index(arrays.buckets)
    }

    /// The bucket in which a hash is at home.
    #[inline(always)]
    #[expect(unsafe_code, reason = "a check would be wasted on every lookup")]
    pub(crate) fn home(self, hash: u64) -> &'a Bucket {
        let number = self.home_number(hash);
        debug_assert!(number < self.0.len());
        // SAFETY: less than 2^64 times the length, divided by 2^64, is below
        // the length.
        unsafe { self.0.get_unchecked(number) }
    }

    /// From the upper bits of the hash, without a division.
    #[inline(always)]
    fn home_number(self, hash: u64) -> usize {
        ((u128::from(hash) * self.0.len() as u128) >> 64) as usize
    }

    /// Offers every entry whose tag agrees to `accept` until it returns
    /// something. Entries placed or cleared meanwhile may be offered or not.
    #[inline]
    pub(crate) fn find<T>(self, hash: u64, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut at = self.home_number(hash);
        for _ in 0..=self.reach() {
            let bucket = &self.0[at];
            let mut matches = bucket.matches(Baseline, tag(hash));
            while matches != 0 {
                let slot = matches.trailing_zeros() as usize;
                let found = accept(bucket.entries[slot].load(Acquire));
                if found.is_some() {
                    return found;
                }
                matches &= matches - 1;
            }
            if bucket.passed() == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Puts an entry where its hash will find it; `None` if there is no room
    /// within reach. The entry's words must have been written before.
    pub(crate) fn place(self, hash: u64, entry: u32) -> Option<Place> {
        let home = self.home_number(hash);
        let mut at = home;
        for distance in 0..=self.reach() {
            if let Some(slot) = self.0[at].place(tag(hash), entry) {
                return Some(Place((distance << 4 | slot) as u16));
            }
            if distance == self.reach() {
                break;
            }
            self.0[at].tags.0[1].fetch_add(PASSED, AcqRel);
            at = self.after(at);
        }
        self.uncount(home, self.reach());
        None
    }

    /// Takes an entry out of its place. Only the owner of the entry may.
    pub(crate) fn clear(self, hash: u64, place: Place) {
        if place == Place::NONE {
            return;
        }
        let home = self.home_number(hash);
        let (slot, distance) = (usize::from(place.0 & 15), usize::from(place.0 >> 4));
        let at = (0..distance).fold(home, |at, _| self.after(at));
        let lane = 0xff_u64 << (8 * (slot % 8));
        self.0[at].tags.0[slot / 8].fetch_and(!lane, Release);
        self.uncount(home, distance);
    }

    /// Takes back the counts of an entry that passed so many buckets.
    fn uncount(self, home: usize, distance: usize) {
        let mut at = home;
        for _ in 0..distance {
            self.0[at].tags.0[1].fetch_sub(PASSED, AcqRel);
            at = self.after(at);
        }
    }

    fn after(self, bucket: usize) -> usize {
        if bucket + 1 < self.0.len() {
            bucket + 1
        } else {
            0
        }
    }

    /// In a small table the bucket after the last one is home again.
    fn reach(self) -> usize {
        REACH.min(self.0.len() - 1)
    }
}

impl Bucket {
    /// The first entry whose tag agrees, of those at home in this bucket or
    /// displaced into it. Reads this one line. `None` if no entry has this hash.
    ///
    /// It may hold another key; then, and if entries are elsewhere, which makes
    /// it any entry, only [`Index::find`] can tell.
    #[inline(always)]
    pub(crate) fn probe(&self, level: impl Level, hash: u64) -> Option<u32> {
        // One hash in 256 has no tag of its own (see `tag`) and here finds an
        // empty slot or nothing; for the others this is the tag, and it saves
        // them four instructions not to ask.
        let matches = self.matches(level, hash as u8);
        if matches != 0 {
            let slot = matches.trailing_zeros() as usize;
            Some(self.entries[slot].load(Acquire))
        } else if self.passed() == 0 && hash as u8 == tag(hash) {
            None
        } else {
            Some(0)
        }
    }

    /// The slots with this tag, as bits.
    #[inline(always)]
    fn matches(&self, level: impl Level, tag: u8) -> u32 {
        level.equal_bytes(&self.tags, tag) & ((1 << SLOTS) - 1)
    }

    /// How many entries at home here or before went on to later buckets.
    #[inline]
    fn passed(&self) -> u32 {
        (self.tags.0[1].load(Acquire) >> 32) as u32
    }

    fn place(&self, tag: u8, entry: u32) -> Option<usize> {
        let slot = (0..2).find_map(|word| self.take_slot(word, tag))?;
        self.entries[slot].store(entry, Release);
        Some(slot)
    }

    /// Writes the tag into an empty slot of one of the two words of tags.
    fn take_slot(&self, word: usize, tag: u8) -> Option<usize> {
        let lanes = [8, SLOTS - 8][word];
        let mut tags = self.tags.0[word].load(Relaxed);
        loop {
            let lane = (0..lanes).find(|lane| tags >> (8 * lane) & 0xff == 0)?;
            let taken = tags | u64::from(tag) << (8 * lane);
            match self.tags.0[word].compare_exchange_weak(tags, taken, AcqRel, Relaxed) {
                Ok(_) => return Some(8 * word + lane),
                Err(now) => tags = now,
            }
        }
    }
}

/// From the lowest bits of the hash, which the home hardly depends on; never 0,
/// which marks an empty slot.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn buckets(count: usize) -> Vec<Bucket> {
        (0..count).map(|_| Bucket::default()).collect()
    }

    fn all(index: Index<'_>, hash: u64) -> Vec<u32> {
        let mut found = Vec::new();
        index.find(hash, |entry| -> Option<()> {
            found.push(entry);
            None
        });
        found
    }

    #[test]
    fn a_full_bucket_overflows_and_its_entries_are_found() {
        let buckets = buckets(100);
        let index = Index(&buckets);
        let hash = 0xffff_ffff_0000_0042;
        let room = (SLOTS * (REACH + 1)) as u32;
        for entry in 0..room {
            assert!(index.place(hash, entry).is_some());
        }
        assert!(index.place(hash, room).is_none());
        assert_eq!(all(index, hash), (0..room).collect::<Vec<_>>());
        assert_eq!(all(index, hash ^ 0x10), []);
        assert_eq!(buckets[99].probe(Baseline, hash), Some(0));
        assert!(buckets[99].probe(Baseline, hash ^ 0x10).is_some());
    }

    #[test]
    fn cleared_entries_leave_no_trace() {
        let buckets = buckets(100);
        let index = Index(&buckets);
        let hash = 0x8000_0000_0000_0042;
        for round in 0..3 {
            let places = (0..60).map(|entry| index.place(hash, entry));
            let places: Vec<_> = places.collect::<Option<_>>().unwrap();
            for place in places.into_iter().rev() {
                index.clear(hash, place);
            }
            assert_eq!(buckets[50].probe(Baseline, hash), None, "round {round}");
        }
        let words = buckets.iter().flat_map(|bucket| &bucket.tags.0);
        assert!(words.into_iter().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn a_table_of_one_bucket_works() {
        let buckets = buckets(1);
        let index = Index(&buckets);
        let place = index.place(1, 7).unwrap();
        for entry in 1..SLOTS as u32 {
            assert!(index.place(u64::from(entry) << 60, entry).is_some());
        }
        assert!(index.place(1, 8).is_none());
        index.clear(1, place);
        assert!(index.place(2, 8).is_some());
    }

    #[test]
    fn a_tag_says_more_than_the_home() {
        let buckets = buckets(1000);
        let index = Index(&buckets);
        index.place(5, 1);
        assert_eq!(buckets[0].probe(Baseline, 7), None);
        assert_eq!(buckets[0].probe(Baseline, 5), Some(1));
    }
}
