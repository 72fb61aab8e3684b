//! One word per pair: whom it counts for while it is taken, and the pair below
//! it in a stack of free ones while it is free. Never both, so one line less is
//! touched by whoever takes or frees it.
//!
//! ```text
//! taken   0 | vif 31 | vrf 31 | half open 1
//! free    1 | 0   31 | the pair below plus one, 0 if none 32
//! ```
//!
//! An eviction, a change of class, or a worker that has just lost the race for
//! a free pair may read the word when it is the other one already. The topmost
//! bit tells them apart, and what is changed is exchanged for what was read: a
//! link in a stack is written by its owner only.

use crate::sync::{AtomicU64, Relaxed};
use crate::time::Class;

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Holding(pub(crate) u64);

impl Holding {
    const FREE: u64 = 1 << 63;
    /// It is half open, as far as is known.
    const HALF_OPEN: u64 = 1;
    /// Higher numbers of owners count as this one: they share the last account.
    const HIGHEST: u32 = u32::MAX >> 1;

    /// Of a pair that counts for these.
    pub(crate) fn taken(vif: u32, vrf: u32, class: Class) -> Holding {
        let [vif, vrf] = [vif, vrf].map(|owner| u64::from(owner.min(Self::HIGHEST)));
        Holding(vif << 32 | vrf << 1 | u64::from(class.is_half_open()))
    }

    /// Of a free pair above this one in its stack.
    pub(crate) fn free(below: Option<usize>) -> Holding {
        Holding(Self::FREE | below.map_or(0, |pair| pair as u64 + 1))
    }

    /// Vif and vrf of a pair that is taken.
    #[inline]
    pub(crate) fn owners(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32 >> 1)
    }

    /// Whether a pair that is taken is half open, as far as is known.
    #[inline]
    pub(crate) fn is_half_open(self) -> bool {
        self.0 & Self::HALF_OPEN != 0
    }

    #[inline]
    pub(crate) fn is_free(self) -> bool {
        self.0 & Self::FREE != 0
    }

    /// The pair below, if the pair is free and not the last one.
    #[inline]
    pub(crate) fn below(self) -> Option<usize> {
        let link = if self.is_free() { self.0 as u32 } else { 0 };
        link.checked_sub(1).map(|pair| pair as usize)
    }

    /// Notes whether a flow is half open. Only a hint: if the pair is another
    /// flow's by now, an eviction that believes it finds out from the stamp.
    pub(crate) fn note(word: &AtomicU64, half_open: bool) {
        let noted = |word| {
            let bit = u64::from(half_open);
            (!Holding(word).is_free()).then_some(word & !Self::HALF_OPEN | bit)
        };
        let _ = word.fetch_update(Relaxed, Relaxed, noted);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn taken_and_free_are_told_apart() {
        let taken = Holding::taken(u32::MAX, u32::MAX, Class::SynSent);
        assert_eq!(taken.owners(), (u32::MAX >> 1, u32::MAX >> 1));
        assert!(taken.is_half_open() && !taken.is_free() && taken.below().is_none());
        let taken = Holding::taken(7, 9, Class::Established);
        assert_eq!((taken.owners(), taken.is_half_open()), ((7, 9), false));
        assert_eq!(Holding::free(None).below(), None);
        let free = Holding::free(Some((1 << 30) - 1));
        assert_eq!((free.below(), free.is_free()), (Some((1 << 30) - 1), true));
    }

    #[test]
    fn no_note_is_taken_of_a_free_pair() {
        let word = AtomicU64::new(Holding::free(Some(4)).0);
        Holding::note(&word, true);
        assert_eq!(Holding(word.load(Relaxed)), Holding::free(Some(4)));
        word.store(Holding::taken(1, 2, Class::SynSent).0, Relaxed);
        Holding::note(&word, false);
        let expected = Holding::taken(1, 2, Class::Established);
        assert_eq!(Holding(word.load(Relaxed)), expected);
    }
}
