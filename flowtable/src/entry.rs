//! One direction of a flow: sixteen words on two cache lines.
//!
//! ```text
//!        word  IPv4                       IPv6
//! front    0   stamp                      stamp
//!          1   ports, protocol, zone      ports, protocol, zone
//!          2   source, destination        source and destination
//!          3   last of the second copy      "
//!        4-5   action                       "
//!        6-7     "                        action
//! back     8   version, packets           version, packets
//!          9   version, bytes             version, bytes
//!         10   version, last seen         version, last seen
//!         11   start, place               start, place
//!      12-13   second copy of the action  second copy of the action
//!         14     "                        -
//!         15   progress                   progress
//! ```
//!
//! A hit reads the front alone, in either family. Fronts and backs are arrays
//! of their own: the fronts, which every lookup reads at random, then need half
//! as many pages and use all sets of a cache. Whom the pair counts for is in an
//! array too, where evictions look for it.
//!
//! # Why a reader never sees two flows in one, or half an action
//! Key and start are written while the pair belongs to nobody else and under a
//! stamp that no longer is the former flow's, and so is the link of a free pair,
//! in the place of a key; a reader checks the stamp after copying. The action has two copies, and the stamp says which one to read. To
//! replace it, the writer writes the copy nobody reads, switches, writes the
//! other, and switches back. A reader that was overtaken sees the stamp changed
//! and starts again, so it never waits for a writer.
//!
//! # Why counters need no such care
//! A worker may find that an entry is still its flow's, then sleep while the
//! entry is reused, and store its counters over those of the new flow. Each
//! of these words carries (the end of) the version it was written for, so such
//! a store is recognised and never counted for the wrong flow. What the new
//! flow had counted by then is lost. The word of [`Progress`] has no room for a
//! version: such a store makes the new flow's connection look further than it
//! is until its next packet.

use crate::action::{Action, WORDS_IPV4, WORDS_IPV6};
use crate::bucket::Place;
use crate::key::Key;
use crate::progress::Progress;
use crate::simd::{Level, prefetch_near};
use crate::stamp::Stamp;
use crate::sync::{AtomicU64, Ordering, Relaxed, Release, fence};
use crate::time::{Class, Ticks};
use core::array;

const STAMP: usize = 0;
const TUPLE: usize = 1;
const ADDRESSES: usize = 2;
const ACTION_IPV4: usize = 4;
const ACTION_IPV6: usize = 6;
const PACKETS: usize = 8;
const BYTES: usize = 9;
const SEEN: usize = 10;
const START: usize = 11;
/// The second copy of the action. Of its four words that IPv4 has the last one is on the front, so
/// that the words that every packet writes are on the back.
const SECOND: usize = 12;
const SECOND_LAST: usize = 3;
const PROGRESS: usize = 15;

/// What one direction has carried. Wraps at 2^56.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, as the caller counts them.
    pub bytes: u64,
}

/// What a new entry is filled with.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) key: &'a Key,
    pub(crate) hash: u64,
    pub(crate) action: &'a Action,
}

/// One cache line of an entry.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(64))]
pub(crate) struct Line([AtomicU64; LINE]);

/// Words of a line.
const LINE: usize = 8;

impl Line {
    /// Of a forward entry's front: where a free pair is linked to the next one.
    pub(crate) fn link(&self) -> &AtomicU64 {
        &self.0[TUPLE]
    }

    /// Of a front: the packed action, if it is live with nothing unusual about
    /// it and the key is its own, and nobody changed it meanwhile. What nearly
    /// every hit is.
    #[inline(always)]
    pub(crate) fn plain<const FAMILY: u8>(
        &self,
        level: impl Level,
        key: &Key,
    ) -> Option<(Stamp, [u64; WORDS_IPV4])> {
        let ipv6 = key.is_ipv6_in::<FAMILY>();
        let stamp = if ipv6 {
            level.first_if_equal::<{ KEY_IPV6 }>(&self.0, &key.words, Stamp::PLAIN)?
        } else {
            level.first_if_equal::<{ KEY_IPV4 }>(&self.0, &key.words, Stamp::PLAIN)?
        };
        let mut words = level.copy_upper(&self.0);
        if ipv6 {
            words = [words[2], words[3], 0, 0];
        }
        fence(Ordering::Acquire);
        (self.0[STAMP].load(Relaxed) == stamp).then_some((Stamp(stamp), words))
    }
}

/// One direction's words.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) front: &'a Line,
    pub(crate) back: &'a Line,
}

impl<'a> Entry<'a> {
    /// The stamp word itself, for those who may change it.
    pub(crate) fn stamp_word(self) -> &'a AtomicU64 {
        &self.front.0[STAMP]
    }

    #[inline]
    pub(crate) fn stamp(self, order: Ordering) -> Stamp {
        Stamp(self.stamp_word().load(order))
    }

    /// Whether the stamp is still the same after words were copied.
    #[inline]
    pub(crate) fn unchanged_since(self, stamp: Stamp) -> bool {
        fence(Ordering::Acquire);
        self.stamp(Relaxed) == stamp
    }

    /// Fills the entry of a free pair that belongs to the caller. Nobody finds
    /// it before its stamp says so ([`Entry::offer`]).
    pub(crate) fn fill(self, version: u32, contents: &Contents<'_>, now: Ticks) {
        // Whoever reads one of the words below sees the free stamp at least.
        fence(Release);
        let ipv6 = contents.key.is_ipv6();
        self.set_all(TUPLE, &contents.key.words[TUPLE..key_words(ipv6)]);
        self.set_action(first_copy(ipv6), ipv6, contents.action);
        self.set(PACKETS, counted(version, 0));
        self.set(BYTES, counted(version, 0));
        self.set(SEEN, stamped(version, now.0));
        self.set(START, u64::from(Place::NONE.0) << 32 | u64::from(now.0));
        self.set(PROGRESS, 0);
    }

    /// Remembers where the filled entry is in the index; before its offer.
    pub(crate) fn set_place(self, place: Place) {
        let start = self.get(START) as u32;
        self.set(START, u64::from(place.0) << 32 | u64::from(start));
    }

    /// Where the entry is in the index.
    pub(crate) fn place(self) -> Place {
        Place((self.get(START) >> 32) as u16)
    }

    /// Lets rivals see the filled entry.
    pub(crate) fn offer(self, version: u32, key: &Key, class: Class) {
        let stamp = Stamp::pending(version, key.is_ipv6(), class);
        self.stamp_word().store(stamp.0, Release);
    }

    pub(crate) fn holds(self, stamp: Stamp, key: &Key) -> bool {
        stamp.is_ipv6() == key.is_ipv6() && self.key(stamp) == *key
    }

    pub(crate) fn key(self, stamp: Stamp) -> Key {
        let ipv6 = stamp.is_ipv6();
        let mut addresses = [0; 4];
        for (at, word) in (ADDRESSES..key_words(ipv6)).zip(&mut addresses) {
            *word = self.get(at);
        }
        Key::from_words(ipv6, self.get(TUPLE), addresses)
    }

    /// The action, packed, from the copy that the stamp says.
    #[inline]
    pub(crate) fn action(self, stamp: Stamp) -> [u64; WORDS_IPV4] {
        match (stamp.is_ipv6(), stamp.second_copy()) {
            (true, second) => {
                let at = if second { SECOND } else { ACTION_IPV6 };
                let [head, origin] = self.get_all(at);
                [head, origin, 0, 0]
            }
            (false, false) => self.get_all(ACTION_IPV4),
            (false, true) => {
                let [a, b, c] = self.get_all(SECOND);
                [a, b, c, self.get(SECOND_LAST)]
            }
        }
    }

    /// Replaces the action while readers read. The caller holds the pair's
    /// writing flag.
    pub(crate) fn replace_action(self, action: &Action) {
        let ipv6 = self.stamp(Relaxed).is_ipv6();
        for copy in [SECOND, first_copy(ipv6)] {
            // Whoever reads a new word of this copy sees that it was not the
            // one to read.
            fence(Release);
            self.set_action(copy, ipv6, action);
            let switched = |stamp| Some(Stamp(stamp).switched().0);
            let _ = self.stamp_word().fetch_update(Release, Relaxed, switched);
        }
    }

    /// Adds to the counters and sets the time of the last packet.
    #[inline]
    pub(crate) fn touch(self, version: u32, packets: u32, bytes: u32, now: Ticks) {
        let counters = self.counters(version);
        let packets = counters.packets.wrapping_add(packets.into());
        let bytes = counters.bytes.wrapping_add(bytes.into());
        self.set(PACKETS, counted(version, packets));
        self.set(BYTES, counted(version, bytes));
        self.set(SEEN, stamped(version, now.0));
    }

    /// [`touch`](Self::touch), but for when it was last seen.
    pub(crate) fn count(self, version: u32, packets: u32, bytes: u32) {
        self.touch(version, packets, bytes, self.last_seen(version));
    }

    /// Takes note of a segment that goes this way.
    #[inline]
    pub(crate) fn advance(self, next: u32, acked: Option<u32>) {
        let known = Progress::from_word(self.get(PROGRESS));
        self.set(PROGRESS, known.after(next, acked).to_word());
    }

    /// How far this direction is.
    pub(crate) fn progress(self) -> Progress {
        Progress::from_word(self.get(PROGRESS))
    }

    #[inline]
    pub(crate) fn counters(self, version: u32) -> Counters {
        Counters {
            packets: count(self.get(PACKETS), version),
            bytes: count(self.get(BYTES), version),
        }
    }

    /// When this direction was last touched, or else when it began.
    pub(crate) fn last_seen(self, version: u32) -> Ticks {
        let seen = self.get(SEEN);
        if (seen >> 32) as u32 == version {
            Ticks(seen as u32)
        } else {
            self.start()
        }
    }

    pub(crate) fn start(self) -> Ticks {
        Ticks(self.get(START) as u32)
    }

    /// Brings both lines near.
    #[inline]
    pub(crate) fn prefetch(self) {
        prefetch_near(self.front);
        prefetch_near(self.back);
    }

    fn set_action(self, at: usize, ipv6: bool, action: &Action) {
        let words = action.pack_for(ipv6);
        match (ipv6, at) {
            (true, _) => self.set_all(at, &words[..WORDS_IPV6]),
            (false, SECOND) => {
                self.set_all(at, &words[..WORDS_IPV4 - 1]);
                self.set(SECOND_LAST, words[WORDS_IPV4 - 1]);
            }
            (false, _) => self.set_all(at, &words[..WORDS_IPV4]),
        }
    }

    #[inline]
    fn word(self, at: usize) -> &'a AtomicU64 {
        if at < LINE {
            &self.front.0[at]
        } else {
            &self.back.0[at - LINE]
        }
    }

    #[inline]
    fn get(self, at: usize) -> u64 {
        self.word(at).load(Relaxed)
    }

    #[inline]
    fn get_all<const N: usize>(self, at: usize) -> [u64; N] {
        array::from_fn(|i| self.get(at + i))
    }

    #[inline]
    fn set(self, at: usize, value: u64) {
        self.word(at).store(value, Relaxed);
    }

    #[inline]
    fn set_all(self, at: usize, values: &[u64]) {
        for (i, value) in values.iter().enumerate() {
            self.set(at + i, *value);
        }
    }
}

/// Words from the stamp to the end of the key.
const KEY_IPV4: usize = ADDRESSES + 1;
const KEY_IPV6: usize = ADDRESSES + 4;

#[inline]
fn key_words(ipv6: bool) -> usize {
    if ipv6 { KEY_IPV6 } else { KEY_IPV4 }
}

#[inline]
fn first_copy(ipv6: bool) -> usize {
    if ipv6 { ACTION_IPV6 } else { ACTION_IPV4 }
}

/// A 32-bit value under the version it belongs to.
#[inline]
fn stamped(version: u32, value: u32) -> u64 {
    u64::from(version) << 32 | u64::from(value)
}

const COUNT_BITS: u32 = 56;

/// A count under the last eight bits of the version it belongs to.
#[inline]
fn counted(version: u32, value: u64) -> u64 {
    u64::from(version) << COUNT_BITS | value & ((1 << COUNT_BITS) - 1)
}

/// The count, or 0 if it belongs to another version.
#[inline]
fn count(word: u64, version: u32) -> u64 {
    if word >> COUNT_BITS == u64::from(version as u8) {
        word & ((1 << COUNT_BITS) - 1)
    } else {
        0
    }
}

// Both families' keys and actions are on the front, and the second copy is in nobody's way.
const _: () = assert!(ACTION_IPV4 + WORDS_IPV4 == PACKETS && KEY_IPV4 <= SECOND_LAST);
const _: () = assert!(SECOND + WORDS_IPV4 - 1 == PROGRESS && SECOND_LAST < ACTION_IPV4);
const _: () = assert!(ACTION_IPV6 + WORDS_IPV6 == PACKETS && KEY_IPV6 == ACTION_IPV6);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::action::{Rewrite, Verdict};
    use crate::key::Zone;
    use core::net::Ipv6Addr;

    const ACTION: Action = Action {
        verdict: Verdict::Forward,
        nexthop: 0,
        epoch: 0,
        ingress: 0,
        rewrite: Rewrite::NONE,
        group_choice: 0,
        exit: 0,
        flags: 0,
    };

    fn fill(entry: Entry<'_>, version: u32, key: &Key, now: Ticks) {
        let contents = Contents {
            key,
            hash: 0,
            action: &ACTION,
        };
        entry.fill(version, &contents, now);
        entry.offer(version, key, Class::Udp);
    }

    #[test]
    fn a_late_touch_counts_for_no_other_flow() {
        let lines = [Line::default(), Line::default()];
        let [front, back] = &lines;
        let entry = Entry { front, back };
        let key = Key::ipv4(Zone::default(), 6, [1; 4].into(), [2; 4].into(), 1, 2);
        fill(entry, 7, &key, Ticks(100));
        entry.touch(7, 50, 5000, Ticks(150));
        fill(entry, 8, &key, Ticks(200));
        entry.touch(8, 1, 64, Ticks(205));

        // A worker of version 7 wakes up between its check and its stores.
        entry.touch(7, 1, 64, Ticks(206));
        assert_eq!(entry.counters(8), Counters::default());
        assert_eq!(entry.last_seen(8), Ticks(200));

        entry.touch(8, 2, 128, Ticks(210));
        let counters = entry.counters(8);
        assert_eq!((counters.packets, counters.bytes), (2, 128));
        assert_eq!(entry.last_seen(8), Ticks(210));
    }

    #[test]
    fn families_are_not_mistaken_for_each_other() {
        let lines = [Line::default(), Line::default()];
        let [front, back] = &lines;
        let entry = Entry { front, back };
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let ipv4 = Key::ipv4(Zone::default(), 6, src, dst, 1, 2);
        let ipv6 = |last| {
            // The first word is that of the IPv4 addresses.
            let src = Ipv6Addr::from_bits(0x0a00_0001_0a00_0002 << 64);
            let dst = Ipv6Addr::from_bits(last);
            Key::ipv6(Zone::default(), 6, src, dst, 1, 2)
        };
        fill(entry, 0, &ipv6(9), Ticks(0));
        let stamp = entry.stamp(Relaxed);
        assert!(entry.holds(stamp, &ipv6(9)));
        assert!(!entry.holds(stamp, &ipv4) && !entry.holds(stamp, &ipv6(8)));
        assert_eq!(entry.key(stamp), ipv6(9));
        fill(entry, 1, &ipv4, Ticks(0));
        let stamp = entry.stamp(Relaxed);
        assert!(entry.holds(stamp, &ipv4) && !entry.holds(stamp, &ipv6(9)));
    }

    #[test]
    fn counters_wrap_without_touching_their_version() {
        assert_eq!(count(counted(3, u64::MAX), 3), (1 << COUNT_BITS) - 1);
        assert_eq!(count(counted(3, (1 << COUNT_BITS) + 5), 3), 5);
    }
}
