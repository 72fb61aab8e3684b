//! Which pairs are free: a counter of never used ones, a stack of used ones.
//!
//! The stack is Treiber's. Its head carries a count of changes beside the
//! index, so a worker that slept between reading the head's successor and
//! exchanging the head cannot mistake a head that left and came back for one
//! that stayed. Pairs never used are handed out by a counter, so the memory of
//! a table larger than its traffic is never touched.

use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, zeroed};
use alloc::boxed::Box;

pub(crate) struct FreeList {
    /// Changes so far 32 | index of the first free pair plus one, 0 if none.
    head: AtomicU64,
    /// Pairs handed out at least once; those below have been touched.
    used: AtomicU32,
    /// Per pair, the pair below it in the stack plus one, 0 if it is the last.
    next: Box<[AtomicU32]>,
}

impl FreeList {
    pub(crate) fn new(pairs: usize) -> FreeList {
        FreeList {
            head: AtomicU64::new(0),
            used: AtomicU32::new(0),
            next: zeroed(pairs),
        }
    }

    /// Takes a pair; it belongs to the caller until [`FreeList::put`].
    pub(crate) fn take(&self) -> Option<usize> {
        self.pop().or_else(|| self.take_unused())
    }

    /// Gives a pair back. Everything the caller did to it is visible to
    /// whoever takes it next.
    pub(crate) fn put(&self, pair: usize) {
        let mut head = self.head.load(Relaxed);
        loop {
            self.next[pair].store(head as u32, Relaxed);
            let new = bump(head) | (pair as u64 + 1);
            match self.head.compare_exchange_weak(head, new, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Every pair that was ever taken is below this number.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed) as usize
    }

    pub(crate) fn capacity(&self) -> usize {
        self.next.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.next)
    }

    fn pop(&self) -> Option<usize> {
        let mut head = self.head.load(Acquire);
        loop {
            let pair = (head as u32).checked_sub(1)? as usize;
            // May be nonsense if another worker took the pair meanwhile; then
            // the head has changed and the exchange fails.
            let next = self.next[pair].load(Relaxed);
            let new = bump(head) | u64::from(next);
            match self.head.compare_exchange_weak(head, new, AcqRel, Acquire) {
                Ok(_) => return Some(pair),
                Err(now) => head = now,
            }
        }
    }

    fn take_unused(&self) -> Option<usize> {
        let mut used = self.used.load(Relaxed);
        while (used as usize) < self.next.len() {
            match self
                .used
                .compare_exchange_weak(used, used + 1, Relaxed, Relaxed)
            {
                Ok(_) => return Some(used as usize),
                Err(now) => used = now,
            }
        }
        // A pair may have come back since the stack was found empty.
        self.pop()
    }
}

/// The count of changes, one further, with no index.
fn bump(head: u64) -> u64 {
    ((head >> 32).wrapping_add(1)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashSet, sync::Mutex, thread, vec::Vec};

    #[test]
    fn hands_out_every_pair_once_and_again_after_return() {
        let list = FreeList::new(3);
        let taken: Vec<_> = (0..3).map(|_| list.take().unwrap()).collect();
        assert_eq!(taken, [0, 1, 2]);
        assert_eq!(list.take(), None);
        list.put(1);
        list.put(0);
        assert_eq!(list.take(), Some(0));
        assert_eq!(list.take(), Some(1));
        assert_eq!(list.take(), None);
        assert_eq!(list.used(), 3);
    }

    #[test]
    fn no_pair_has_two_owners() {
        let list = FreeList::new(16);
        let owned = Mutex::new(HashSet::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let Some(pair) = list.take() else { continue };
                        assert!(owned.lock().unwrap().insert(pair));
                        assert!(owned.lock().unwrap().remove(&pair));
                        list.put(pair);
                    }
                });
            }
        });
        let rest: HashSet<_> = (0..16).map(|_| list.take().unwrap()).collect();
        assert_eq!(rest.len(), 16);
        assert_eq!(list.take(), None);
    }
}
