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
//! Taking a slot is one exchange of its word of tags. It belongs to that owner
//! until the tag is 0 again, and before that the entry number is. So a reader
//! finds the owner's entry beside the tag, or none, or that of the owner before
//! or after; it asks the entry for the key in any case.

use crate::memory::Arrays;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release};

/// Slots per bucket.
const SLOTS: usize = 12;
/// Entries per bucket of a full table.
const ENTRIES_PER_BUCKET: usize = 7;
/// In how many buckets after its home an entry may be. All of seventeen in a
/// row are full about once in 10^20 places of a full table.
const REACH: usize = 16;
/// Added to the second word of tags to count one entry that passed.
const PASSED: u64 = 1 << 32;
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Bucket {
    /// Eight tags; four tags and the count of those that passed.
    tags: [AtomicU64; 2],
    /// Entry number plus one, so that 0 is none.
    entries: [AtomicU32; SLOTS],
}

/// What the home bucket alone says about a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Probe(u32);

impl Probe {
    /// No entry has this hash.
    pub(crate) const ABSENT: Probe = Probe(u32::MAX - 1);
    /// Only [`Index::find`] can tell.
    pub(crate) const ELSEWHERE: Probe = Probe(u32::MAX);

    /// The first entry whose tag agrees, unless it is one of the two above.
    #[inline]
    pub(crate) fn entry(self) -> usize {
        self.0 as usize
    }
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

    /// Brings the home bucket of a hash near.
    #[inline]
    pub(crate) fn prefetch(self, hash: u64) {
        prefetch(&self.0[self.home(hash)]);
    }

    /// Reads one line: the first entry in the home bucket whose tag agrees.
    #[inline]
    pub(crate) fn probe(self, hash: u64) -> Probe {
        let bucket = &self.0[self.home(hash)];
        let (matches, passed) = bucket.matches(tag(hash));
        if matches != 0 {
            let slot = matches.trailing_zeros() as usize;
            let number = bucket.entries[slot].load(Acquire);
            // No number beside a tag: that slot is about to be filled or was
            // just given up, which makes this `ELSEWHERE`.
            return Probe(number.wrapping_sub(1));
        }
        if passed == 0 {
            Probe::ABSENT
        } else {
            Probe::ELSEWHERE
        }
    }

    /// Offers every entry whose tag agrees to `accept` until it returns
    /// something. Entries placed or cleared meanwhile may be offered or not.
    #[inline]
    pub(crate) fn find<T>(self, hash: u64, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut at = self.home(hash);
        for _ in 0..=self.reach() {
            let bucket = &self.0[at];
            let (matches, passed) = bucket.matches(tag(hash));
            let entries = slots(matches).map(|slot| bucket.entries[slot].load(Acquire));
            let found = entries
                .filter_map(|number| number.checked_sub(1))
                .find_map(&mut accept);
            if found.is_some() {
                return found;
            }
            if passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Puts an entry where its hash will find it; false if there is no room
    /// within reach. The entry's words must have been written before.
    pub(crate) fn place(self, hash: u64, entry: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..=self.reach() {
            if self.0[at].place(tag(hash), entry) {
                return true;
            }
            if distance == self.reach() {
                break;
            }
            self.0[at].tags[1].fetch_add(PASSED, AcqRel);
            at = self.after(at);
        }
        self.uncount(home, self.reach());
        false
    }

    /// Takes an entry out again; nothing happens if it was not placed. Only
    /// the owner of the entry may.
    pub(crate) fn clear(self, hash: u64, entry: u32) {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..=self.reach() {
            if self.0[at].clear(tag(hash), entry) {
                self.uncount(home, distance);
                return;
            }
            if self.0[at].tags[1].load(Acquire) < PASSED {
                return;
            }
            at = self.after(at);
        }
    }

    /// Takes back the counts of an entry that passed so many buckets.
    fn uncount(self, home: usize, distance: usize) {
        let mut at = home;
        for _ in 0..distance {
            self.0[at].tags[1].fetch_sub(PASSED, AcqRel);
            at = self.after(at);
        }
    }

    /// From the upper half of the hash, without a division.
    #[inline]
    fn home(self, hash: u64) -> usize {
        (((hash >> 32) * self.0.len() as u64) >> 32) as usize
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
    /// The slots with this tag, as bits, and how many entries passed.
    #[inline]
    fn matches(&self, tag: u8) -> (u32, u32) {
        let words = [self.tags[0].load(Acquire), self.tags[1].load(Acquire)];
        let matches = equal_bytes(words, tag) & ((1 << SLOTS) - 1);
        (matches, (words[1] >> 32) as u32)
    }

    fn place(&self, tag: u8, entry: u32) -> bool {
        let Some(slot) = [0, 1]
            .into_iter()
            .find_map(|word| self.take_slot(word, tag))
        else {
            return false;
        };
        self.entries[slot].store(entry + 1, Release);
        true
    }

    /// Writes the tag into an empty slot of one of the two words of tags.
    fn take_slot(&self, word: usize, tag: u8) -> Option<usize> {
        let in_word = [0xff, 0x0f][word];
        let mut tags = self.tags[word].load(Relaxed);
        loop {
            let empty = equal_bytes([tags, 0], 0) & in_word;
            if empty == 0 {
                return None;
            }
            let lane = empty.trailing_zeros();
            let taken = tags | u64::from(tag) << (8 * lane);
            match self.tags[word].compare_exchange_weak(tags, taken, AcqRel, Relaxed) {
                Ok(_) => return Some(8 * word + lane as usize),
                Err(now) => tags = now,
            }
        }
    }

    fn clear(&self, tag: u8, entry: u32) -> bool {
        let (matches, _) = self.matches(tag);
        let slot = slots(matches).find(|slot| self.entries[*slot].load(Relaxed) == entry + 1);
        if let Some(slot) = slot {
            self.entries[slot].store(0, Relaxed);
            let lane = 0xff_u64 << (8 * (slot % 8));
            self.tags[slot / 8].fetch_and(!lane, Release);
        }
        slot.is_some()
    }
}

/// The slots of a set of bits, lowest first.
#[inline]
fn slots(mut bits: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let slot = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (slot < SLOTS).then_some(slot)
    })
}

/// From the lower half of the hash, which the home does not depend on; never
/// that of an empty slot.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

/// Which of the sixteen bytes, lowest first, equal `byte`.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline]
fn equal_bytes(words: [u64; 2], byte: u8) -> u32 {
    use core::arch::x86_64::*;
    #[expect(unsafe_code, reason = "one comparison instead of twelve")]
    // SAFETY: these are arithmetic on values; SSE2 is in every x86-64.
    unsafe {
        let bytes = _mm_set_epi64x(words[1] as i64, words[0] as i64);
        let equal = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
        _mm_movemask_epi8(equal) as u32
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
use equal_bytes_portable as equal_bytes;

/// The same in ordinary arithmetic.
#[cfg_attr(all(target_arch = "x86_64", not(test), not(loom)), expect(dead_code))]
#[inline]
fn equal_bytes_portable(words: [u64; 2], byte: u8) -> u32 {
    const LOW: u64 = 0x7f * ONES;
    let in_word = |word: u64| {
        let differ = word ^ u64::from(byte) * ONES;
        // The top bit of each byte: set unless all eight are 0.
        let differ = (differ & LOW).wrapping_add(LOW) | differ;
        let equal = !differ >> 7 & ONES;
        // Gathers the lowest bits of the bytes in the topmost byte.
        (equal.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    in_word(words[0]) | in_word(words[1]) << 8
}

/// Starts to bring a line near, into all caches.
#[inline]
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
pub(crate) fn prefetch<T>(line: &T) {
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "the one intrinsic of its kind")]
    // SAFETY: the address is that of a reference; a prefetch reads nothing into
    // the program and cannot fault.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
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
            assert!(index.place(hash, entry));
        }
        assert!(!index.place(hash, room));
        assert_eq!(all(index, hash), (0..room).collect::<Vec<_>>());
        assert_eq!(all(index, hash ^ 0x10), []);
        assert_eq!(index.probe(hash).entry(), 0);
        assert_eq!(index.probe(hash ^ 0x10), Probe::ELSEWHERE);
    }

    #[test]
    fn cleared_entries_leave_no_trace() {
        let buckets = buckets(100);
        let index = Index(&buckets);
        let hash = 0x8000_0000_0000_0042;
        for round in 0..3 {
            for entry in 0..60 {
                assert!(index.place(hash, entry), "round {round}");
            }
            for entry in (0..60).rev() {
                index.clear(hash, entry);
                index.clear(hash, entry);
            }
            assert_eq!(index.probe(hash), Probe::ABSENT);
        }
        let words = buckets.iter().flat_map(|bucket| &bucket.tags);
        assert!(words.into_iter().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn a_table_of_one_bucket_works() {
        let buckets = buckets(1);
        let index = Index(&buckets);
        for entry in 0..SLOTS as u32 {
            assert!(index.place(u64::from(entry) << 60, entry));
        }
        assert!(!index.place(1, 7));
        index.clear(0, 0);
        assert!(index.place(1, 7));
    }

    #[test]
    fn a_tag_says_more_than_the_home() {
        let buckets = buckets(1000);
        let index = Index(&buckets);
        index.place(5, 1);
        assert_eq!(index.probe(7), Probe::ABSENT);
        assert_eq!(index.probe(5).entry(), 1);
    }

    #[test]
    fn a_slot_about_to_be_filled_is_none() {
        let buckets = buckets(1);
        buckets[0].take_slot(0, 5);
        let index = Index(&buckets);
        assert_eq!(index.probe(5), Probe::ELSEWHERE);
        assert_eq!(all(index, 5), []);
    }

    proptest! {
        #[test]
        fn both_ways_to_compare_agree(words: [u64; 2], byte: u8, at in 0..16_u32) {
            let planted = (u128::from(words[1]) << 64 | u128::from(words[0]))
                & !(0xff << (8 * at))
                | u128::from(byte) << (8 * at);
            let words = [planted as u64, (planted >> 64) as u64];
            let expected = (0..16).filter(|i| (planted >> (8 * i)) as u8 == byte);
            let expected = expected.fold(0, |bits, i| bits | 1 << i);
            prop_assert_eq!(equal_bytes(words, byte), expected);
            prop_assert_eq!(equal_bytes_portable(words, byte), expected);
        }
    }
}
