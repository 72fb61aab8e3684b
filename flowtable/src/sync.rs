//! The atomics this crate is built from, in one place.
//!
//! Every shared word of the table is one of these. Under `--cfg loom` they are
//! the model checker's, so that it runs the very code that ships.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

/// For hints, of which any value is right: the model checker need not know.
pub(crate) use core::sync::atomic::AtomicU64 as Hint;

pub(crate) use core::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
