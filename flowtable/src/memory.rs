//! Zeroed memory in aligned lines of atomic words.
//!
//! Costs up to one line more than asked for, to align without `unsafe`. The
//! memory is shared by all workers; there is no other way to it than atomics.

use crate::sync::{AtomicU64, zeroed};
use alloc::boxed::Box;

/// `WORDS` atomic words, aligned to their size: 8 are a cache line, 16 a pair
/// of neighbouring lines.
pub(crate) type Line<const WORDS: usize> = [AtomicU64; WORDS];

/// An array of [`Line`]s.
pub(crate) struct Lines<const WORDS: usize> {
    words: Box<[AtomicU64]>,
    /// Words before the first aligned one.
    skip: usize,
}

impl<const WORDS: usize> Lines<WORDS> {
    /// `count` lines of zeroes.
    pub(crate) fn zeroed(count: usize) -> Self {
        let words = zeroed::<AtomicU64>((count + 1) * WORDS);
        let skip = words.as_ptr().align_offset(WORDS * size_of::<u64>());
        // An interpreter may decline to align; then the lines are merely slow.
        let skip = if skip < WORDS { skip } else { 0 };
        Lines { words, skip }
    }

    #[inline]
    pub(crate) fn line(&self, index: usize) -> &Line<WORDS> {
        &self.words[self.skip..].as_chunks().0[index]
    }

    /// Bytes of address space this takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_to_their_size_and_zero() {
        let lines = Lines::<16>::zeroed(100);
        for index in [0, 1, 99] {
            let line = lines.line(index);
            assert_eq!(line.as_ptr() as usize % 128, 0);
            assert!(line.iter().all(|w| w.load(crate::sync::Relaxed) == 0));
        }
    }
}
