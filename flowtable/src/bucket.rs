//! The index: from a hash to the entries that may hold its key.
//!
//! A bucket is one cache line of seven slots and a control word. There are
//! three entries to a bucket, so a full table fills three slots of seven on
//! average. A slot is 0 or names one entry beside a tag from the hash; which
//! key the entry holds, and whether it is live, is for the entry to say.
//!
//! ```text
//! slot     tag 31 | 1 | entry index 32
//! control  eight counters of 8 bits
//! ```
//!
//! When a bucket is full, its entries go to the eight buckets after it. Counter
//! *d* of the control word says how many went *d* + 1 buckets further, so a
//! lookup leaves the home bucket only if there is something to find, and knows
//! where. A counter goes up before the slot is taken and down after it is
//! given up: whoever reads it never looks too little.
//!
//! A slot is taken by exchanging 0 for its value and given up only by the
//! owner of the pair, so it needs no protection against reuse of its own.

use crate::memory::{Line, Lines};
use crate::sync::{AcqRel, Acquire, Relaxed, Release};

/// Slots per bucket; the last word of the line is the control word.
const SLOTS: usize = 7;
const CONTROL: usize = 7;
/// Entries per bucket of a full table. At three of seven, nine buckets in a row
/// are all full about once in 10^9 places.
const ENTRIES_PER_BUCKET: usize = 3;
/// How many buckets after its home an entry may be.
const REACH: usize = 8;
const COUNTER_BITS: usize = 8;

pub(crate) struct Buckets {
    lines: Lines<8>,
    count: usize,
}

/// What the home bucket alone says about a hash.
#[derive(Clone, Copy)]
pub(crate) enum Probe {
    /// No entry has this hash.
    Absent,
    /// This entry's tag matches; there may be others.
    Candidate(u32),
    /// Not in the home bucket, but some of its entries are elsewhere.
    Elsewhere,
}

impl Buckets {
    /// An index for so many entries.
    pub(crate) fn new(entries: usize) -> Buckets {
        let count = entries.div_ceil(ENTRIES_PER_BUCKET);
        Buckets {
            lines: Lines::zeroed(count),
            count,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Reads one line: the first entry in the home bucket whose tag matches.
    #[inline]
    pub(crate) fn probe(&self, hash: u64) -> Probe {
        let line = self.lines.line(self.home(hash));
        for slot in &line[..SLOTS] {
            let value = slot.load(Acquire);
            if tag_of(value) == tag(hash) {
                return Probe::Candidate(value as u32);
            }
        }
        if line[CONTROL].load(Acquire) == 0 {
            Probe::Absent
        } else {
            Probe::Elsewhere
        }
    }

    /// Offers every entry whose tag matches to `accept` until it returns
    /// something. Entries placed or cleared meanwhile may be offered or not.
    #[inline]
    pub(crate) fn find<T>(&self, hash: u64, mut accept: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let home = self.home(hash);
        let found = self.find_in(home, hash, &mut accept);
        if found.is_some() {
            return found;
        }
        let displaced = self.lines.line(home)[CONTROL].load(Acquire);
        if displaced == 0 {
            return None;
        }
        self.find_displaced(home, displaced, hash, &mut accept)
    }

    /// Puts an entry where its hash will find it; false if there is no room
    /// within reach. The entry's words must have been written before.
    pub(crate) fn place(&self, hash: u64, index: u32) -> bool {
        let home = self.home(hash);
        if self.place_in(home, hash, index) {
            return true;
        }
        let control = &self.lines.line(home)[CONTROL];
        for distance in 1..=self.reach() {
            control.fetch_add(one_at(distance), AcqRel);
            if self.place_in(self.after(home, distance), hash, index) {
                return true;
            }
            control.fetch_sub(one_at(distance), AcqRel);
        }
        false
    }

    /// Takes an entry out again; nothing happens if it was not placed. Only
    /// the owner of the entry may.
    pub(crate) fn clear(&self, hash: u64, index: u32) {
        let home = self.home(hash);
        if self.clear_in(home, hash, index) {
            return;
        }
        let control = &self.lines.line(home)[CONTROL];
        for distance in distances(control.load(Acquire)) {
            if self.clear_in(self.after(home, distance), hash, index) {
                control.fetch_sub(one_at(distance), AcqRel);
                return;
            }
        }
    }

    #[cold]
    fn find_displaced<T>(
        &self,
        home: usize,
        displaced: u64,
        hash: u64,
        accept: &mut impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        distances(displaced).find_map(|d| self.find_in(self.after(home, d), hash, accept))
    }

    #[inline]
    fn find_in<T>(
        &self,
        bucket: usize,
        hash: u64,
        accept: &mut impl FnMut(u32) -> Option<T>,
    ) -> Option<T> {
        for slot in self.slots(bucket) {
            let value = slot.load(Acquire);
            if tag_of(value) == tag(hash) {
                let found = accept(value as u32);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    fn place_in(&self, bucket: usize, hash: u64, index: u32) -> bool {
        let value = slot_value(hash, index);
        self.slots(bucket).iter().any(|slot| {
            slot.load(Relaxed) == 0 && slot.compare_exchange(0, value, AcqRel, Relaxed).is_ok()
        })
    }

    fn clear_in(&self, bucket: usize, hash: u64, index: u32) -> bool {
        let value = slot_value(hash, index);
        let slot = self.slots(bucket).iter().find(|s| s.load(Relaxed) == value);
        if let Some(slot) = slot {
            slot.store(0, Release);
        }
        slot.is_some()
    }

    /// From the upper half of the hash, without a division.
    #[inline]
    pub(crate) fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.count as u64) >> 32) as usize
    }

    fn after(&self, home: usize, distance: usize) -> usize {
        let bucket = home + distance;
        if bucket < self.count {
            bucket
        } else {
            bucket - self.count
        }
    }

    /// In a small table the bucket after the last one is home again.
    fn reach(&self) -> usize {
        REACH.min(self.count - 1)
    }

    #[inline]
    fn slots(&self, bucket: usize) -> &[crate::sync::AtomicU64] {
        let line: &Line<8> = self.lines.line(bucket);
        &line[..SLOTS]
    }
}

/// From the lower half of the hash, which the home does not depend on; never
/// that of an empty slot.
#[inline]
fn tag(hash: u64) -> u32 {
    hash as u32 | 1
}

#[inline]
fn tag_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[inline]
fn slot_value(hash: u64, index: u32) -> u64 {
    u64::from(tag(hash)) << 32 | u64::from(index)
}

fn one_at(distance: usize) -> u64 {
    1 << ((distance - 1) * COUNTER_BITS)
}

/// The distances a control word counts something at.
fn distances(control: u64) -> impl Iterator<Item = usize> {
    let counted = move |d: &usize| control & (one_at(*d) * 0xff) != 0;
    (1..=REACH).filter(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn all(buckets: &Buckets, hash: u64) -> Vec<u32> {
        let mut found = Vec::new();
        buckets.find(hash, |index| -> Option<()> {
            found.push(index);
            None
        });
        found
    }

    #[test]
    fn a_full_bucket_overflows_and_its_entries_are_found() {
        let buckets = Buckets::new(300);
        let hash = 0x8000_0000_0000_0042;
        let room = (SLOTS * (REACH + 1)) as u32;
        for index in 0..room {
            assert!(buckets.place(hash, index));
        }
        assert!(!buckets.place(hash, room));
        assert_eq!(all(&buckets, hash), (0..room).collect::<Vec<_>>());
        assert_eq!(all(&buckets, hash ^ 0x10), []);
    }

    #[test]
    fn cleared_entries_leave_no_trace() {
        let buckets = Buckets::new(300);
        let hash = 0xffff_ffff_0000_0042;
        for round in 0..3 {
            for index in 0..40 {
                assert!(buckets.place(hash, index), "round {round}");
            }
            for index in (0..40).rev() {
                buckets.clear(hash, index);
                buckets.clear(hash, index);
            }
            assert!(matches!(buckets.probe(hash), Probe::Absent));
        }
    }

    #[test]
    fn a_table_of_one_bucket_works() {
        let buckets = Buckets::new(2);
        for index in 0..SLOTS as u32 {
            assert!(buckets.place(u64::from(index) << 60, index));
        }
        assert!(!buckets.place(1, 7));
        buckets.clear(0, 0);
        assert!(buckets.place(1, 7));
    }

    #[test]
    fn a_tag_says_more_than_the_home() {
        let buckets = Buckets::new(3000);
        buckets.place(5, 1);
        assert!(matches!(buckets.probe(7), Probe::Absent));
        assert!(matches!(buckets.probe(5), Probe::Candidate(1)));
    }
}
