//! The instructions of x86-64, those of every processor and those of a [`Wide`].
//!
//! Why these reads are no data races: see the parent module.

use super::{Level, Pair, Work};
use crate::sync::{Acquire, AtomicU32, AtomicU64, fence};
use core::arch::{asm, x86_64::*};

#[inline(always)]
pub(super) fn equal_bytes(words: &Pair, byte: u8) -> u32 {
    // SAFETY: arithmetic on values; SSE2 is in every x86-64.
    let bytes = unsafe { _mm_set1_epi8(byte as i8) };
    let equal: __m128i;
    // SAFETY: reads the sixteen bytes of a reference, which are aligned; as
    // an atomic access, see the top.
    unsafe {
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

#[inline(always)]
pub(super) fn copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
    let (low, high): (__m128i, __m128i);
    // SAFETY: reads the last 32 of the bytes of a reference; as an atomic
    // access, see the top. Any bytes are some number.
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

#[inline(always)]
pub(super) fn prefetch_near<T>(line: *const T) {
    // SAFETY: a prefetch reads nothing into the program and cannot fault,
    // whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

#[inline(always)]
pub(super) fn prefetch<T>(line: *const T) {
    // SAFETY: as above.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
}

/// The instruction is older than those of a [`Wide`], and does nothing where
/// it is not known.
#[inline(always)]
pub(super) fn prefetch_to_write<T>(_wide: Wide, line: *const T) {
    // SAFETY: as above; it changes who has the line, not what is in it.
    unsafe {
        asm!("prefetchw [{line}]", line = in(reg) line, options(nostack, preserves_flags, readonly));
    }
}

pub(super) fn compare_times(_wide: Wide, times: &[[AtomicU32; 8]], now: u32) -> (u64, u32) {
    // SAFETY: there is no `Wide` where these are not.
    unsafe { wide_compare_times(times, now) }
}

cpufeatures::new!(wide, "avx2", "bmi1", "bmi2");

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide(());

impl Wide {
    /// `None` if this processor, or the system, does not have it all.
    pub(crate) fn detect() -> Option<Wide> {
        wide::get().then_some(Wide(()))
    }
}

impl Level for Wide {
    #[inline(always)]
    fn equal_bytes(self, words: &Pair, byte: u8) -> u32 {
        // SAFETY: there is no `Wide` where these are not.
        unsafe { wide_equal_bytes(words, byte) }
    }

    #[inline(always)]
    fn first_if_equal<const N: usize>(
        self,
        line: &[AtomicU64; 8],
        words: &[u64; 6],
        mask: u64,
    ) -> Option<u64> {
        let first = line[0].load(Acquire);
        // SAFETY: as above.
        unsafe { wide_equal::<N>(line, words, mask) }.then_some(first)
    }

    #[inline(always)]
    fn copy_upper(self, line: &[AtomicU64; 8]) -> [u64; 4] {
        // SAFETY: as above.
        unsafe { wide_copy_upper(line) }
    }

    #[inline(always)]
    fn run(self, work: impl Work) {
        // SAFETY: as above.
        unsafe { run_widely(self, work) };
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2")]
fn run_widely(wide: Wide, work: impl Work) {
    work.run(wide);
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_equal_bytes(words: &Pair, byte: u8) -> u32 {
    let bytes = _mm_set1_epi8(byte as i8);
    let equal: __m128i;
    // SAFETY: as in `equal_bytes`.
    unsafe {
        asm!(
            "vpcmpeqb {equal}, {bytes}, [{words}]",
            equal = lateout(xmm_reg) equal,
            bytes = in(xmm_reg) bytes,
            words = in(reg) words,
            options(nostack, preserves_flags, readonly),
        );
    }
    fence(Acquire);
    _mm_movemask_epi8(equal) as u32
}

/// Of [`Level::first_if_equal`] all but the first word itself.
#[inline]
#[target_feature(enable = "avx2")]
fn wide_equal<const N: usize>(line: &[AtomicU64; 8], words: &[u64; 6], mask: u64) -> bool {
    let fourth = if N > 3 { -1 } else { 0 };
    let mask = _mm256_setr_epi64x(mask as i64, -1, -1, fourth);
    let first: __m256i;
    // SAFETY: reads the first 32 of the bytes of a reference; as an atomic
    // access, see the top.
    unsafe {
        asm!(
            "vmovdqu {first}, [{line}]",
            first = lateout(ymm_reg) first,
            line = in(reg) line,
            options(nostack, preserves_flags, readonly),
        );
    }
    // SAFETY: reads the first 32 of the bytes of a reference.
    let words_first = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let differ = _mm256_xor_si256(first, words_first);
    if _mm256_testz_si256(differ, mask) == 0 {
        return false;
    }
    if N == 3 {
        return true;
    }
    let last: __m128i;
    // SAFETY: reads the 16 bytes after those.
    unsafe {
        asm!(
            "vmovdqu {last}, [{line} + 32]",
            last = lateout(xmm_reg) last,
            line = in(reg) line,
            options(nostack, preserves_flags, readonly),
        );
    }
    // SAFETY: as well.
    let words_last = unsafe { _mm_loadu_si128(words.as_ptr().add(4).cast()) };
    let differ = _mm_xor_si128(last, words_last);
    _mm_testz_si128(differ, differ) == 1
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_copy_upper(line: &[AtomicU64; 8]) -> [u64; 4] {
    let all: __m256i;
    // SAFETY: as in `copy_upper`.
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

#[target_feature(enable = "avx2")]
fn wide_compare_times(times: &[[AtomicU32; 8]], now: u32) -> (u64, u32) {
    let now = _mm256_set1_epi32(now as i32);
    let (mut passed, mut next) = (0, _mm256_set1_epi32(-1));
    for (i, eight) in times.iter().enumerate() {
        let times: __m256i;
        // SAFETY: reads the 32 bytes of a reference; each word whole, as an
        // atomic access, see the top.
        unsafe {
            asm!(
                "vmovdqu {times}, [{eight}]",
                times = lateout(ymm_reg) times,
                eight = in(reg) eight,
                options(nostack, preserves_flags, readonly),
            );
        }
        let none = _mm256_cmpeq_epi32(times, _mm256_setzero_si256());
        // The sign says whether it is yet to come.
        let since = _mm256_sub_epi32(now, times);
        let neither = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_or_si256(none, since)));
        passed |= u64::from(!neither as u8) << (8 * i);
        let yet_to_come = _mm256_andnot_si256(none, _mm256_srai_epi32::<31>(since));
        let until = _mm256_sub_epi32(times, now);
        // All ones if it is not to come.
        let until = _mm256_or_si256(until, _mm256_xor_si256(yet_to_come, _mm256_set1_epi32(-1)));
        next = _mm256_min_epu32(next, until);
    }
    // The least of eight, of four, of two.
    let next = _mm_min_epu32(
        _mm256_castsi256_si128(next),
        _mm256_extracti128_si256::<1>(next),
    );
    let next = _mm_min_epu32(next, _mm_shuffle_epi32::<0b01_00_11_10>(next));
    let next = _mm_min_epu32(next, _mm_shuffle_epi32::<0b10_11_00_01>(next));
    (passed, _mm_cvtsi128_si32(next) as u32)
}
