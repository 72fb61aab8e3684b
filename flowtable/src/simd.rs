//! What the compiler has no safe words for: the only `unsafe` of this crate.
//!
//! Three things every lookup does, each with its portable form: comparing
//! sixteen bytes at once, copying four neighbouring words, and asking for a
//! cache line before it is needed. Together they are a third of a lookup's
//! instructions.
//!
//! # Why these reads are no data races
//! Other workers may write the words meanwhile, so they must be read as atomics,
//! which come singly: there is no intrinsic for two at once. The instruction
//! below is written out instead. It reads each of the two words whole, as two
//! relaxed loads would, because neither crosses a cache line (Intel SDM vol. 3
//! §10.1.1, AMD APM vol. 2 §7.3.2), and the fence after it makes them acquire.

use crate::sync::AtomicU64;

/// Two words side by side, where one instruction can read both.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(16))]
pub(crate) struct Pair(pub(crate) [AtomicU64; 2]);

/// Which of the bytes of two words, lowest first, equal `byte`. Acquires.
#[inline]
pub(crate) fn equal_bytes(words: &Pair, byte: u8) -> u32 {
    imp::equal_bytes(words, byte)
}

/// The last four words of a line. Relaxed; each by itself.
#[inline]
pub(crate) fn copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
    imp::copy_upper(line)
}

/// Starts to bring a line near.
///
/// Into the second-level cache: the first level has room for 24 lines on their
/// way at once (Zen 4), which a batch of 32 exceeds, and then stands still. A
/// hit in a table of a million flows costs 46 cycles so, and 72 with a prefetch
/// into all levels; in one of ten thousand a cycle more.
#[inline]
pub(crate) fn prefetch<T>(line: *const T) {
    imp::prefetch(line);
}

#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[expect(unsafe_code, reason = "see the top")]
mod imp {
    use super::Pair;
    use crate::sync::{Acquire, AtomicU64, fence};
    use core::arch::{asm, x86_64::*};

    #[inline]
    pub(super) fn equal_bytes(words: &Pair, byte: u8) -> u32 {
        // SAFETY: arithmetic on values; SSE2 is in every x86-64.
        let bytes = unsafe { _mm_set1_epi8(byte as i8) };
        let equal: __m128i;
        // SAFETY: reads the sixteen bytes of a reference, which are aligned; as
        // an atomic access, see the top.
        unsafe {
            #[cfg(target_feature = "avx")]
            asm!(
                "vpcmpeqb {equal}, {bytes}, [{words}]",
                equal = lateout(xmm_reg) equal,
                bytes = in(xmm_reg) bytes,
                words = in(reg) words,
                options(nostack, preserves_flags, readonly),
            );
            #[cfg(not(target_feature = "avx"))]
            asm!(
                "pcmpeqb {bytes}, [{words}]",
                bytes = inlateout(xmm_reg) bytes => equal,
                words = in(reg) words,
                options(nostack, preserves_flags, readonly),
            );
        }
        fence(Acquire);
        // SAFETY: as the first.
        unsafe { _mm_movemask_epi8(equal) as u32 }
    }

    #[cfg(target_feature = "avx")]
    #[inline]
    pub(super) fn copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
        let all: __m256i;
        // SAFETY: reads the last 32 of the bytes of a reference; as an atomic
        // access, see the top. Any bytes are some number.
        unsafe {
            asm!(
                "vmovdqu {all}, [{line} + 32]",
                all = lateout(ymm_reg) all,
                line = in(reg) line,
                options(nostack, preserves_flags, readonly),
            );
            core::mem::transmute::<__m256i, [u64; 4]>(all)
        }
    }

    #[cfg(not(target_feature = "avx"))]
    #[inline]
    pub(super) fn copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
        let (low, high): (__m128i, __m128i);
        // SAFETY: as above.
        unsafe {
            asm!(
                "movdqu {low}, [{line} + 32]",
                "movdqu {high}, [{line} + 48]",
                low = out(xmm_reg) low,
                high = lateout(xmm_reg) high,
                line = in(reg) line,
                options(nostack, preserves_flags, readonly),
            );
            core::mem::transmute::<[__m128i; 2], [u64; 4]>([low, high])
        }
    }

    #[inline]
    pub(super) fn prefetch<T>(line: *const T) {
        // SAFETY: a prefetch reads nothing into the program and cannot fault,
        // whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
mod imp {
    pub(super) use super::portable::{copy_upper, equal_bytes};

    pub(super) fn prefetch<T>(_line: *const T) {}
}

/// The same in ordinary words.
#[cfg_attr(
    all(target_arch = "x86_64", not(any(loom, miri, test))),
    expect(dead_code, reason = "for other processors, and to compare with")
)]
mod portable {
    use super::Pair;
    use crate::sync::{Acquire, AtomicU64, Relaxed};
    use core::array;

    /// One in each byte.
    const ONES: u64 = 0x0101_0101_0101_0101;

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
        fn both_ways_to_compare_agree(words: [u64; 2], byte: u8, at in 0..16_u32) {
            let bytes = u128::from(words[1]) << 64 | u128::from(words[0]);
            let planted = bytes & !(0xff << (8 * at)) | u128::from(byte) << (8 * at);
            let expected = (0..16).filter(|i| (planted >> (8 * i)) as u8 == byte);
            let expected = expected.fold(0, |bits, i| bits | 1 << i);
            let words = Pair([planted, planted >> 64].map(|word| AtomicU64::new(word as u64)));
            prop_assert_eq!(equal_bytes(&words, byte), expected);
            prop_assert_eq!(portable::equal_bytes(&words, byte), expected);
        }

        #[test]
        fn both_ways_to_copy_agree(words: [u64; 8]) {
            let line = words.map(AtomicU64::new);
            prop_assert_eq!(&copy_upper(&line), &words[4..]);
            prop_assert_eq!(&portable::copy_upper(&line), &words[4..]);
        }
    }
}
