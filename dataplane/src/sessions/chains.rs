//! Lists of slots by hash: heads under locks, many hashes to a lock, and one link a slot.
//!
//! A lock is held for a walk along one list, which is about one slot long when there are as many
//! heads as slots, and for what the caller does with what it found.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

const STRIPES: usize = 1024;
const NONE: u32 = u32::MAX;

/// The heads of some lists.
type Stripe = Mutex<Box<[u32]>>;

/// An index over slots.
#[derive(Debug)]
pub(super) struct Chains {
    stripes: Box<[CachePadded<Stripe>]>,
    /// By slot: the next one in its list. Written under the lock of that list only.
    links: Box<[AtomicU32]>,
}

/// The list of one hash, locked.
pub(super) struct Chain<'a> {
    heads: MutexGuard<'a, Box<[u32]>>,
    place: usize,
    links: &'a [AtomicU32],
}

impl Chains {
    /// An index over so many slots, without any in it.
    pub(super) fn new(slots: usize) -> Chains {
        let heads = slots.div_ceil(STRIPES).max(1);
        let stripe = || CachePadded::new(Mutex::new(vec![NONE; heads].into()));
        Chains {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            links: (0..slots).map(|_| AtomicU32::new(NONE)).collect(),
        }
    }

    /// Locks the list of a hash.
    pub(super) fn lock(&self, hash: u64) -> Chain<'_> {
        let stripe = &self.stripes[hash as usize % STRIPES];
        let heads = stripe.lock().unwrap_or_else(PoisonError::into_inner);
        Chain {
            place: (hash >> 32) as usize % heads.len(),
            heads,
            links: &self.links,
        }
    }
}

impl Chain<'_> {
    /// The first slot that fits.
    pub(super) fn find(&self, fits: impl Fn(u32) -> bool) -> Option<u32> {
        self.iter().find(|slot| fits(*slot))
    }

    /// Enters a slot that is in no list of this index.
    pub(super) fn push(&mut self, slot: u32) {
        let head = &mut self.heads[self.place];
        self.links[slot as usize].store(*head, Ordering::Relaxed);
        *head = slot;
    }

    /// Takes a slot out; false if it is not in this list.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let next = self.links[slot as usize].load(Ordering::Relaxed);
        let head = self.heads[self.place];
        if head == slot {
            self.heads[self.place] = next;
            return true;
        }
        let before = self.iter().find(|at| self.link(*at) == slot);
        if let Some(before) = before {
            self.links[before as usize].store(next, Ordering::Relaxed);
        }
        before.is_some()
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        let head = some(self.heads[self.place]);
        std::iter::successors(head, move |slot| some(self.link(*slot)))
    }

    fn link(&self, slot: u32) -> u32 {
        self.links[slot as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_in_and_out_of_their_list() {
        let chains = Chains::new(16);
        let one = 5 << 32 | 7;
        for slot in 0..4 {
            chains.lock(one).push(slot);
        }
        chains.lock(8).push(9);
        assert_eq!(chains.lock(one).iter().collect::<Vec<_>>(), [3, 2, 1, 0]);
        assert!(chains.lock(one).remove(2) && chains.lock(one).remove(3));
        assert!(!chains.lock(one).remove(2) && !chains.lock(one).remove(9));
        assert!(chains.lock(one).remove(0));
        assert_eq!(chains.lock(one).iter().collect::<Vec<_>>(), [1]);
        assert_eq!(chains.lock(8).find(|slot| slot == 9), Some(9));
    }
}
