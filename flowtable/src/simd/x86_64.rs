//! The instructions of x86-64, those of every processor and those of a [`Wide`].
//!
//! Why these reads are no data races: see the parent module.

use super::{Level, Pair, Work};
use crate::sync::{Acquire, AtomicU64, fence};
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
