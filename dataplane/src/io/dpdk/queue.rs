//! Bursts: the packet path's only calls into DPDK.

use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use dpdk_sys::rte_mbuf;
use encap::Buffer;

use super::port::OpenPort;
use super::{Mbuf, flags};
use crate::io::{Batch, RxQueue, TxQueue};

/// A receive queue. There is one handle for each hardware queue.
pub(super) struct Rx {
    port: Arc<OpenPort>,
    queue: u16,
}

impl Rx {
    /// # Safety
    /// The port is started and has this receive queue, and no other handle for
    /// it exists.
    pub(super) unsafe fn new(port: Arc<OpenPort>, queue: u16) -> Self {
        Self { port, queue }
    }
}

impl RxQueue<Mbuf> for Rx {
    fn rx_burst(&mut self, batch: &mut Batch<Mbuf>) -> usize {
        let before = batch.len();
        // SAFETY: this handle is the queue's only user. `Mbuf` has the layout of
        // a pointer to one, so the batch's free room is an array of those, and
        // DPDK fills the first `n` of it with mbufs that are now ours.
        unsafe {
            let room = batch.as_mut_ptr().add(before).cast::<*mut rte_mbuf>();
            let free = batch.remaining_capacity() as u16;
            let n = dpdk_sys::vr_rx_burst(self.port.id(), self.queue, room, free);
            batch.set_len(before + usize::from(n));
        }
        if let Some(len) = self.port.cut_len() {
            let all = batch.len();
            drop_cut(batch, before, len);
            self.port.count_oversized((all - batch.len()) as u64);
        }
        batch.len() - before
    }
}

/// Drops the packets from `start` on that fill the device's ring frames: they
/// were longer, and arrived cut.
fn drop_cut(batch: &mut Batch<Mbuf>, start: usize, len: usize) {
    let mut at = 0;
    batch.retain(|packet| {
        at += 1;
        at <= start || packet.len() < len
    });
}

/// A transmit queue with one user.
pub(super) struct Tx {
    port: Arc<OpenPort>,
    queue: u16,
}

impl Tx {
    /// # Safety
    /// The port is started and has this transmit queue, and no other handle for
    /// it exists.
    pub(super) unsafe fn new(port: Arc<OpenPort>, queue: u16) -> Self {
        Self { port, queue }
    }
}

impl TxQueue<Mbuf> for Tx {
    fn tx_burst(&mut self, batch: &mut Batch<Mbuf>) -> usize {
        if !self.port.sends_chains() {
            join_all(batch, &self.port);
        }
        if self.port.finishes_checksums() {
            let unfinished = batch.iter_mut().filter(|p| !p.offload().is_finished());
            unfinished.for_each(flags::request);
        }
        let all = batch.len();
        // SAFETY: this handle is the queue's only user. The batch is an array of
        // `all` mbufs that are ours; DPDK takes over the first `sent`, which
        // leave the batch without being dropped, and the others move down.
        unsafe {
            let packets = batch.as_mut_ptr();
            let sent = dpdk_sys::vr_tx_burst(
                self.port.id(),
                self.queue,
                packets.cast::<*mut rte_mbuf>(),
                all as u16,
            );
            let sent = usize::from(sent);
            ptr::copy(packets.add(sent), packets, all - sent);
            batch.set_len(all - sent);
            sent
        }
    }
}

/// Makes every packet one segment, for a port that sends no others. What is too
/// long for that is lost to the port, which counts it.
fn join_all(batch: &mut Batch<Mbuf>, port: &OpenPort) {
    let before = batch.len();
    batch.retain(|packet| !packet.is_chained() || packet.join());
    port.count_unsendable((before - batch.len()) as u64);
}

/// A transmit queue that several workers use because the device has too few.
///
/// The lock is held for one burst and is rarely contended for longer than it
/// takes to spin.
pub(super) struct SharedTx(pub(super) Arc<Mutex<Tx>>);

impl TxQueue<Mbuf> for SharedTx {
    fn tx_burst(&mut self, batch: &mut Batch<Mbuf>) -> usize {
        // A burst cannot panic half-way, so a poisoned lock guards a sound queue.
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.tx_burst(batch)
    }
}
