//! Work on DPDK's interrupt thread.

use std::ffi::c_void;
use std::ptr;
use std::sync::mpsc::{self, Sender};

/// Runs `work` on the interrupt thread, between two interrupts, and waits for
/// its end. Must not be called on that thread.
pub(super) fn run<F: FnOnce() + Send>(work: F) {
    run_after(1, work);
}

/// Waits until the interrupt thread has gone through the events it had already
/// fetched.
///
/// Descriptors that [`run`] closed may be among them; whoever opened the same
/// numbers now would be called for an event that was not theirs, and block.
pub(super) fn settle() {
    // An alarm that is due is run in the same pass, so this one must not be.
    run_after(1000, || ());
}

fn run_after<F: FnOnce() + Send>(micros: u64, work: F) {
    let (done, ended) = mpsc::channel();
    let mut job = Job {
        work: Some(work),
        done,
    };
    let job = ptr::from_mut(&mut job);
    // SAFETY: the alarm goes off once; `job` stays until it has, since this
    // function waits for `ended`, and is used by nobody else meanwhile.
    let status = unsafe { dpdk_sys::rte_eal_alarm_set(micros, Some(perform::<F>), job.cast()) };
    if status == 0 {
        // The sender is in `job`, so this ends with the message.
        let _ = ended.recv();
    } else {
        // SAFETY: no alarm was set, so nobody else has `job`.
        unsafe { perform::<F>(job.cast()) };
    }
}

struct Job<F> {
    work: Option<F>,
    done: Sender<()>,
}

/// # Safety
/// `job` is a `Job<F>` that nobody else uses until `done` is sent.
unsafe extern "C" fn perform<F: FnOnce()>(job: *mut c_void) {
    // SAFETY: the caller promises it.
    let job = unsafe { &mut *job.cast::<Job<F>>() };
    if let Some(work) = job.work.take() {
        work();
    }
    // A clone, because the job is gone as soon as the message is there.
    let done = job.done.clone();
    let _ = done.send(());
}
