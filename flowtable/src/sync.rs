//! The atomics this crate is built from, in one place.
//!
//! Every shared word of the table is one of these, so that a model checker's
//! versions can be put in their place by changing this file alone.

use alloc::boxed::Box;
use zerocopy::FromZeros;

pub(crate) use core::hint::spin_loop;
pub(crate) use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, fence};

/// Zeroed words that cost no memory until they are first written: large ones
/// come from the operating system as untouched pages.
///
/// # Panics
/// If there is no memory for them.
pub(crate) fn zeroed<T>(len: usize) -> Box<[T]>
where
    [T]: FromZeros + zerocopy::KnownLayout<PointerMetadata = usize>,
{
    <[T]>::new_box_zeroed_with_elems(len).expect("memory for the flow table")
}
