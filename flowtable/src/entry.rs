//! One direction of a flow: sixteen words on two neighbouring cache lines.
//!
//! ```text
//!        word  IPv4                       IPv6
//! line 0   0   stamp                      stamp
//!          1   source, destination        hash of the key
//!          2   ports, protocol, zone      ports, protocol, zone
//!          3-4 action                     action
//!          5-6 action                     second copy of the action
//!          7   version, class             version, class
//! line 1   8   version, packets           version, packets
//!          9   version, bytes             version, bytes
//!         10   version, last seen         version, last seen
//!         11   start, owner               start, owner
//!      12-15   second copy of the action  source and destination address
//! ```
//!
//! An IPv4 hit reads line 0 alone. An IPv6 hit reads line 1 when the hash of
//! the key, all 64 bits of it, agrees.
//!
//! # Why a reader never sees two flows in one, or half an action
//! Key, class, start and owner are written while the pair belongs to nobody
//! else and under a stamp that no longer is the former flow's; a reader checks
//! the stamp after copying. The action has two copies, and the stamp says which
//! one to read. To replace it, the writer writes the copy nobody reads,
//! switches, writes the other, and switches back. A reader that was overtaken
//! sees the stamp changed and starts again, so it never waits for a writer.
//!
//! # Why counters need no such care
//! A worker may find that an entry is still its flow's, then sleep while the
//! entry is reused, and store its counters over those of the new flow. Each
//! of these words carries (the end of) the version it was written for, so such
//! a store is recognised and never counted for the wrong flow. What the new
//! flow had counted by then is lost.

use crate::action::{Action, WORDS_IPV4, WORDS_IPV6};
use crate::key::{Addresses, Key};
use crate::memory::Line;
use crate::stamp::{Stamp, State};
use crate::sync::{AtomicU64, Ordering, Relaxed, Release, fence};
use crate::time::{Class, Ticks};

pub(crate) const WORDS: usize = 16;

const STAMP: usize = 0;
const KEY: usize = 1;
const TUPLE: usize = 2;
const ACTION: usize = 3;
const SECOND_IPV6: usize = ACTION + WORDS_IPV6;
const CLASS: usize = 7;
const PACKETS: usize = 8;
const BYTES: usize = 9;
const SEEN: usize = 10;
const ORIGIN: usize = 11;
const SECOND_IPV4: usize = 12;
const ADDRESSES: usize = 12;

/// What one direction has carried. Wraps at 2^56.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, as the caller counts them.
    pub bytes: u64,
}

/// What a new entry is filled with.
pub(crate) struct Contents<'a> {
    pub(crate) key: &'a Key,
    pub(crate) hash: u64,
    pub(crate) action: &'a Action,
    pub(crate) class: Class,
    pub(crate) owner: u32,
    pub(crate) now: Ticks,
}

/// A view of one entry's words.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a>(pub(crate) &'a Line<WORDS>);

impl<'a> Entry<'a> {
    /// The stamp word itself, for those who may change it.
    pub(crate) fn stamp_word(self) -> &'a AtomicU64 {
        &self.0[STAMP]
    }

    #[inline]
    pub(crate) fn stamp(self, order: Ordering) -> Stamp {
        Stamp(self.0[STAMP].load(order))
    }

    /// Whether the stamp is still the same after words were copied.
    #[inline]
    pub(crate) fn unchanged_since(self, stamp: Stamp) -> bool {
        fence(Ordering::Acquire);
        self.stamp(Relaxed) == stamp
    }

    /// Fills the entry of a free pair that belongs to the caller.
    pub(crate) fn fill(self, contents: &Contents<'_>) {
        let version = self.stamp(Relaxed).version();
        // Whoever reads one of the words below sees the free stamp at least.
        fence(Release);
        match contents.key.addresses {
            Addresses::Ipv4(both) => self.set(KEY, both),
            Addresses::Ipv6(words) => {
                self.set(KEY, contents.hash);
                self.set_all(ADDRESSES, &words);
            }
        }
        self.set(TUPLE, contents.key.tuple);
        let ipv6 = contents.key.is_ipv6();
        self.set_action(ACTION, ipv6, contents.action);
        self.set(CLASS, stamped(version, contents.class as u32));
        self.set(PACKETS, counted(version, 0));
        self.set(BYTES, counted(version, 0));
        self.set(SEEN, stamped(version, contents.now.0));
        self.set(ORIGIN, stamped(contents.now.0, contents.owner));
        let stamp = Stamp::filled(version, ipv6, State::Pending);
        self.0[STAMP].store(stamp.0, Release);
    }

    #[inline]
    pub(crate) fn holds(self, stamp: Stamp, key: &Key, hash: u64) -> bool {
        if self.get(TUPLE) != key.tuple {
            return false;
        }
        match key.addresses {
            Addresses::Ipv4(both) => !stamp.is_ipv6() && self.get(KEY) == both,
            Addresses::Ipv6(words) => {
                stamp.is_ipv6() && self.get(KEY) == hash && self.get_all(ADDRESSES) == words
            }
        }
    }

    pub(crate) fn key(self, stamp: Stamp) -> Key {
        let addresses = if stamp.is_ipv6() {
            Addresses::Ipv6(self.get_all(ADDRESSES))
        } else {
            Addresses::Ipv4(self.get(KEY))
        };
        Key {
            addresses,
            tuple: self.get(TUPLE),
        }
    }

    #[inline]
    pub(crate) fn action(self, stamp: Stamp) -> Action {
        let at = match (stamp.second_copy(), stamp.is_ipv6()) {
            (false, _) => ACTION,
            (true, false) => SECOND_IPV4,
            (true, true) => SECOND_IPV6,
        };
        if stamp.is_ipv6() {
            let [head, origin] = self.get_all(at);
            Action::unpack([head, origin, 0, 0])
        } else {
            Action::unpack(self.get_all(at))
        }
    }

    /// Replaces the action while readers read. The caller holds the pair's
    /// writing flag.
    pub(crate) fn replace_action(self, action: &Action) {
        let ipv6 = self.stamp(Relaxed).is_ipv6();
        let second = if ipv6 { SECOND_IPV6 } else { SECOND_IPV4 };
        for copy in [second, ACTION] {
            // Whoever reads a new word of this copy sees that it was not the
            // one to read.
            fence(Release);
            self.set_action(copy, ipv6, action);
            self.0[STAMP].fetch_add(Stamp::SWITCH, Release);
        }
    }

    /// The class and the version it belongs to, as one word.
    #[inline]
    pub(crate) fn class_word(self) -> &'a AtomicU64 {
        &self.0[CLASS]
    }

    #[inline]
    pub(crate) fn class(self) -> Class {
        Class::from_bits(self.get(CLASS))
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
        Ticks((self.get(ORIGIN) >> 32) as u32)
    }

    pub(crate) fn owner(self) -> u32 {
        self.get(ORIGIN) as u32
    }

    fn set_action(self, at: usize, ipv6: bool, action: &Action) {
        if ipv6 {
            let words = action.for_ipv6().pack();
            self.set_all(at, &words[..WORDS_IPV6]);
        } else {
            self.set_all(at, &action.pack());
        }
    }

    #[inline]
    fn get(self, at: usize) -> u64 {
        self.0[at].load(Relaxed)
    }

    #[inline]
    fn get_all<const N: usize>(self, at: usize) -> [u64; N] {
        core::array::from_fn(|i| self.get(at + i))
    }

    #[inline]
    fn set(self, at: usize, value: u64) {
        self.0[at].store(value, Relaxed);
    }

    #[inline]
    fn set_all(self, at: usize, values: &[u64]) {
        for (i, value) in values.iter().enumerate() {
            self.set(at + i, *value);
        }
    }
}

/// A 32-bit value under the version it belongs to.
#[inline]
pub(crate) fn stamped(version: u32, value: u32) -> u64 {
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

// Both families' second copies end where the next thing begins.
const _: () = assert!(SECOND_IPV6 + WORDS_IPV6 == CLASS && ACTION + WORDS_IPV4 == CLASS);
const _: () = assert!(SECOND_IPV4 + WORDS_IPV4 == WORDS && ADDRESSES + 4 == WORDS);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Rewrite, Verdict};
    use crate::key::Zone;
    use crate::memory::Lines;
    use core::net::Ipv6Addr;

    const ACTION: Action = Action {
        verdict: Verdict::Forward,
        nexthop: 0,
        epoch: 0,
        ingress: 0,
        rewrite: Rewrite::NONE,
        group_choice: 0,
    };

    fn fill(entry: Entry<'_>, version: u32, key: &Key, hash: u64, now: Ticks) {
        entry
            .stamp_word()
            .store(Stamp::free(version).0, Ordering::Relaxed);
        entry.fill(&Contents {
            key,
            hash,
            action: &ACTION,
            class: Class::Udp,
            owner: 0,
            now,
        });
    }

    #[test]
    fn a_late_touch_counts_for_no_other_flow() {
        let lines = Lines::<WORDS>::zeroed(1);
        let entry = Entry(lines.line(0));
        let key = Key::ipv4(Zone::default(), 6, [1; 4].into(), [2; 4].into(), 1, 2);
        fill(entry, 7, &key, 0, Ticks(100));
        entry.touch(7, 50, 5000, Ticks(150));
        fill(entry, 8, &key, 0, Ticks(200));
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
    fn a_hash_is_not_mistaken_for_addresses() {
        let lines = Lines::<WORDS>::zeroed(1);
        let entry = Entry(lines.line(0));
        let both = 0x0a00_0001_0a00_0002;
        let ipv4 = Key::ipv4(
            Zone::default(),
            6,
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
            1,
            2,
        );
        let ipv6 = |last| {
            let dst = Ipv6Addr::from_bits(last);
            Key::ipv6(Zone::default(), 6, Ipv6Addr::LOCALHOST, dst, 1, 2)
        };
        fill(entry, 0, &ipv6(9), both, Ticks(0));
        let stamp = entry.stamp(Ordering::Relaxed);
        assert!(entry.holds(stamp, &ipv6(9), both));
        assert!(!entry.holds(stamp, &ipv4, both));
        // Nor is a hash that agrees enough.
        assert!(!entry.holds(stamp, &ipv6(8), both));
    }

    #[test]
    fn counters_wrap_without_touching_their_version() {
        assert_eq!(count(counted(3, u64::MAX), 3), (1 << COUNT_BITS) - 1);
        assert_eq!(count(counted(3, (1 << COUNT_BITS) + 5), 3), 5);
    }
}
