//! Worker threads that DPDK knows.

use std::marker::PhantomData;

use super::EalError;
use super::eal::errno;

/// The calling thread's registration with DPDK; dropping it ends it.
///
/// A registered thread takes buffers from a cache of its own instead of the ring
/// that all threads share.
#[derive(Debug)]
pub struct WorkerThread {
    lcore: u32,
    /// Belongs to the thread that registered, so it is not `Send`.
    thread: PhantomData<*const ()>,
}

impl WorkerThread {
    pub(super) fn register() -> Result<Self, EalError> {
        // A second registration would succeed and be undone by the first drop.
        if lcore() != dpdk_sys::LCORE_ID_ANY {
            return Err(EalError::Refused(
                "this thread is registered already".to_owned(),
            ));
        }
        // SAFETY: the environment runs, since the caller has an `Eal`.
        if unsafe { dpdk_sys::rte_thread_register() } != 0 {
            return Err(EalError::Refused(errno()));
        }
        Ok(Self {
            lcore: lcore(),
            thread: PhantomData,
        })
    }

    /// The number DPDK gave this thread, as it appears in DPDK's messages.
    pub fn lcore(&self) -> u32 {
        self.lcore
    }
}

impl Drop for WorkerThread {
    fn drop(&mut self) {
        // SAFETY: this is the thread that registered, as the type is not `Send`.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}

fn lcore() -> u32 {
    // SAFETY: reads a thread-local variable.
    unsafe { dpdk_sys::vr_lcore_id() }
}
