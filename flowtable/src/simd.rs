//! What the compiler has no safe words for: with one line of `bucket`, the only
//! `unsafe` of this crate.
//!
//! Four things every lookup does, each with its portable form: comparing sixteen
//! tags at once, comparing a key, copying four neighbouring words, and asking for
//! a cache line before it is needed. Together they are a third of a lookup's
//! instructions. And one that ageing does: comparing sixty-four times at once.
//!
//! And the choice of instructions: a program is built for every processor of its
//! architecture, but most have more than that, with which a lookup takes a tenth
//! less. So it is compiled twice, as [`Work`] that a [`Level`] does, and the
//! table knows from its making which of the two this processor can run.
//!
//! # Why these reads are no data races
//! Other workers may write the words meanwhile, so they must be read as atomics,
//! which come singly: there is no intrinsic for two at once. The instruction
//! below is written out instead. It reads each of the words whole, as relaxed
//! loads would, because none crosses a cache line (Intel SDM vol. 3 §10.1.1, AMD
//! APM vol. 2 §7.3.2), and the fence after it makes them acquire.

use crate::sync::{AtomicU32, AtomicU64};

/// Two words side by side, where one instruction can read both.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(16))]
pub(crate) struct Pair(pub(crate) [AtomicU64; 2]);

/// The instructions there are. A value of such a type is the proof that this
/// processor has them.
pub(crate) trait Level: Copy {
    /// Which of the bytes of two words, lowest first, equal `byte`. Acquires.
    fn equal_bytes(self, words: &Pair, byte: u8) -> u32;

    /// The first word of a line, if it and those after it, `N` together, are
    /// `words`, as far as the bits in `mask` of the first one go. `N` is 3 or 6.
    /// Reads the first before the others, and acquires.
    fn first_if_equal<const N: usize>(
        self,
        line: &[AtomicU64; 8],
        words: &[u64; 6],
        mask: u64,
    ) -> Option<u64>;

    /// The last four words of a line. Relaxed; each by itself.
    fn copy_upper(self, line: &[AtomicU64; 8]) -> [u64; 4];

    /// Does the work, as it was compiled for these instructions.
    fn run(self, work: impl Work);
}

/// What is to be compiled for each [`Level`]. Only what is inlined into `run`
/// is: `#[inline(always)]` where the compiler might decide otherwise.
pub(crate) trait Work {
    fn run(self, level: impl Level);
}

/// What every processor of the architecture has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Baseline;

impl Level for Baseline {
    #[inline(always)]
    fn equal_bytes(self, words: &Pair, byte: u8) -> u32 {
        imp::equal_bytes(words, byte)
    }

    #[inline(always)]
    fn first_if_equal<const N: usize>(
        self,
        line: &[AtomicU64; 8],
        words: &[u64; 6],
        mask: u64,
    ) -> Option<u64> {
        portable::first_if_equal::<N>(line, words, mask)
    }

    #[inline(always)]
    fn copy_upper(self, line: &[AtomicU64; 8]) -> [u64; 4] {
        imp::copy_upper(line)
    }

    #[inline(never)]
    fn run(self, work: impl Work) {
        work.run(self);
    }
}

/// What x86-64-v3 has besides, as far as it is of use here: loads of 32 bytes,
/// operations with three operands, and multiplication that spares the flags.
pub(crate) use imp::Wide;

/// Starts to bring a line into the second-level cache.
///
/// The first level has room for 24 lines on their way at once (Zen 4), which a
/// batch of 32 exceeds, and then stands still until some have come. A hit in a
/// table of a million flows costs 46 cycles so, and 72 with [`prefetch_near`].
#[inline(always)]
pub(crate) fn prefetch<T>(line: *const T) {
    imp::prefetch(line);
}

/// Starts to bring a line into the first-level cache: for a few at a time, or
/// such as come soon. A hit in a table of ten thousand flows costs 14.7 cycles
/// so, and 15.5 with [`prefetch`].
#[inline(always)]
pub(crate) fn prefetch_near<T>(line: *const T) {
    imp::prefetch_near(line);
}

/// Starts to bring a line that will be written, and to take it away from other
/// cores: asked for in time, that happens beside other work.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(wide: Option<Wide>, line: *const T) {
    match wide {
        Some(wide) => imp::prefetch_to_write(wide, line),
        None => prefetch(line),
    }
}

/// Which of up to 64 times, 0 for none, are `now` or before it, as bits; and how
/// long after `now` the next of the others is, `u32::MAX` if there is none.
/// Before is what lies in the half of the clock's round before. Relaxed.
pub(crate) fn compare_times(wide: Option<Wide>, times: &[AtomicU32], now: u32) -> (u64, u32) {
    debug_assert!(times.len() <= 64, "a bit for each");
    match (wide, times.as_chunks::<8>()) {
        (Some(wide), (eights, [])) => imp::compare_times(wide, eights, now),
        _ => portable::compare_times(times, now),
    }
}

#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[expect(unsafe_code, reason = "see the top")]
#[path = "simd/x86_64.rs"]
mod imp;

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod imp {
    pub(super) use super::portable::{copy_upper, equal_bytes};
    use super::{Level, Pair, Work};
    use crate::sync::{AtomicU32, AtomicU64};

    pub(super) fn compare_times(wide: Wide, _times: &[[AtomicU32; 8]], _now: u32) -> (u64, u32) {
        match wide {}
    }

    pub(super) fn prefetch_near<T>(_line: *const T) {}

    pub(super) fn prefetch<T>(_line: *const T) {}

    pub(super) fn prefetch_to_write<T>(wide: Wide, _line: *const T) {
        match wide {}
    }

    /// There is none here.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Wide {}

    impl Wide {
        pub(crate) fn detect() -> Option<Wide> {
            None
        }
    }

    impl Level for Wide {
        fn equal_bytes(self, _words: &Pair, _byte: u8) -> u32 {
            match self {}
        }

        fn first_if_equal<const N: usize>(
            self,
            _line: &[AtomicU64; 8],
            _words: &[u64; 6],
            _mask: u64,
        ) -> Option<u64> {
            match self {}
        }

        fn copy_upper(self, _line: &[AtomicU64; 8]) -> [u64; 4] {
            match self {}
        }

        fn run(self, _work: impl Work) {
            match self {}
        }
    }
}

/// The same in ordinary words.
mod portable {
    use super::Pair;
    use crate::sync::{Acquire, AtomicU32, AtomicU64, Relaxed};
    use core::array;

    pub(super) fn compare_times(times: &[AtomicU32], now: u32) -> (u64, u32) {
        let (mut passed, mut next) = (0, u32::MAX);
        for (i, time) in times.iter().enumerate() {
            let time = time.load(Relaxed);
            let has_come = now.wrapping_sub(time) <= i32::MAX as u32;
            passed |= u64::from(has_come && time != 0) << i;
            if !has_come && time != 0 {
                next = next.min(time.wrapping_sub(now));
            }
        }
        (passed, next)
    }

    /// One in each byte.
    const ONES: u64 = 0x0101_0101_0101_0101;

    #[cfg_attr(
        all(target_arch = "x86_64", not(any(loom, miri, test))),
        expect(dead_code, reason = "for other processors, and to compare with")
    )]
    pub(super) fn equal_bytes(Pair(words): &Pair, byte: u8) -> u32 {
        const LOW: u64 = 0x7f * ONES;
        let in_word = |word: &AtomicU64| {
            let differ = word.load(Acquire) ^ (u64::from(byte) * ONES);
            // The top bit of each byte: set unless all eight are 0.
            let differ = (differ & LOW).wrapping_add(LOW) | differ;
            let equal = !differ >> 7 & ONES;
            // Gathers the lowest bits of the bytes in the topmost byte.
            (equal.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
        };
        in_word(&words[0]) | in_word(&words[1]) << 8
    }

    #[inline(always)]
    pub(super) fn first_if_equal<const N: usize>(
        line: &[AtomicU64; 8],
        words: &[u64; 6],
        mask: u64,
    ) -> Option<u64> {
        let first = line[0].load(Acquire);
        // Together, so that there is one branch to mispredict.
        let mut differ = (first ^ words[0]) & mask;
        for (word, expected) in line.iter().zip(words).take(N).skip(1) {
            differ |= word.load(Relaxed) ^ expected;
        }
        (differ == 0).then_some(first)
    }

    #[cfg_attr(
        all(target_arch = "x86_64", not(any(loom, miri, test))),
        expect(dead_code, reason = "for other processors, and to compare with")
    )]
    pub(super) fn copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
        array::from_fn(|i| line[4 + i].load(Relaxed))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_ways_to_compare_agree(words: [u64; 2], byte: u8, at in 0..16_u32) {
            let bytes = u128::from(words[1]) << 64 | u128::from(words[0]);
            let planted = bytes & !(0xff << (8 * at)) | u128::from(byte) << (8 * at);
            let expected = (0..16).filter(|i| (planted >> (8 * i)) as u8 == byte);
            let expected = expected.fold(0, |bits, i| bits | 1 << i);
            let words = Pair([planted, planted >> 64].map(|word| AtomicU64::new(word as u64)));
            prop_assert_eq!(Baseline.equal_bytes(&words, byte), expected);
            prop_assert_eq!(portable::equal_bytes(&words, byte), expected);
            if let Some(wide) = Wide::detect() {
                prop_assert_eq!(wide.equal_bytes(&words, byte), expected);
            }
        }

        #[test]
        fn all_ways_to_compare_a_key_agree(
            words: [u64; 8],
            mask: u64,
            flipped in 0..2 * 512_usize,
        ) {
            let key: [u64; 6] = core::array::from_fn(|i| words[i]);
            let mut line = words;
            if flipped < 512 {
                line[flipped / 64] ^= 1 << (flipped % 64);
            }
            let seen = |words: usize| match flipped {
                0..64 => mask >> flipped & 1 == 1,
                _ => flipped < 64 * words,
            };
            let expected = [3, 6].map(|words| (!seen(words)).then_some(line[0]));
            let line = line.map(AtomicU64::new);
            let baseline = [
                Baseline.first_if_equal::<3>(&line, &key, mask),
                Baseline.first_if_equal::<6>(&line, &key, mask),
            ];
            prop_assert_eq!(baseline, expected);
            if let Some(wide) = Wide::detect() {
                let wide = [
                    wide.first_if_equal::<3>(&line, &key, mask),
                    wide.first_if_equal::<6>(&line, &key, mask),
                ];
                prop_assert_eq!(wide, expected);
            }
        }

        #[test]
        fn all_ways_to_compare_times_agree(
            mut times: [u32; 64],
            now: u32,
            near in prop::collection::vec((0..64_usize, -3..3_i32), 0..64),
        ) {
            for (at, after) in near {
                times[at] = if after == 2 { 0 } else { now.wrapping_add_signed(after) };
            }
            let has_come = |time: u32| now.wrapping_sub(time) >> 31 == 0;
            let (mut passed, mut next) = (0, u32::MAX);
            for (i, time) in times.into_iter().enumerate().filter(|(_, time)| *time != 0) {
                match has_come(time) {
                    true => passed |= 1_u64 << i,
                    false => next = next.min(time.wrapping_sub(now)),
                }
            }
            let words: std::vec::Vec<_> = times.into_iter().map(AtomicU32::new).collect();
            prop_assert_eq!(compare_times(Wide::detect(), &words, now), (passed, next));
            prop_assert_eq!(compare_times(None, &words, now), (passed, next));
            for few in [16, 20] {
                let (few, mask) = (&words[..few], (1 << few) - 1);
                prop_assert_eq!(compare_times(Wide::detect(), few, now).0, passed & mask);
            }
        }

        #[test]
        fn all_ways_to_copy_agree(words: [u64; 8]) {
            let line = words.map(AtomicU64::new);
            prop_assert_eq!(&Baseline.copy_upper(&line), &words[4..]);
            prop_assert_eq!(&portable::copy_upper(&line), &words[4..]);
            if let Some(wide) = Wide::detect() {
                prop_assert_eq!(&wide.copy_upper(&line), &words[4..]);
            }
        }
    }
}
