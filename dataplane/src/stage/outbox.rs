//! Packets on their way out, gathered per vif and sent in bursts.

use encap::Buffer;

use crate::io::{BATCH, Batch, TxQueue};
use crate::reason::DropReason;
use crate::tables::{Tables, VifId};

/// One worker's transmit queues with what waits to be sent on each.
pub struct Outbox<B> {
    /// Its index, for counters.
    worker: usize,
    lines: Vec<Option<Line<B>>>,
    /// Lines with packets waiting.
    busy: Vec<VifId>,
}

struct Line<B> {
    queue: Box<dyn TxQueue<B>>,
    waiting: Batch<B>,
}

impl<B: Buffer> Outbox<B> {
    /// Without queues, for the worker with this index.
    pub fn new(worker: usize) -> Outbox<B> {
        Outbox {
            worker,
            lines: Vec::new(),
            busy: Vec::new(),
        }
    }

    /// The worker's own queue to a vif.
    pub fn attach(&mut self, vif: VifId, queue: Box<dyn TxQueue<B>>) {
        let index = vif.0 as usize;
        if self.lines.len() <= index {
            self.lines.resize_with(index + 1, || None);
        }
        self.busy.reserve(self.lines.len());
        self.lines[index] = Some(Line {
            queue,
            waiting: Batch::new(),
        });
    }

    /// Gives up the queue to a vif.
    pub fn detach(&mut self, vif: VifId) {
        self.busy.retain(|busy| *busy != vif);
        if let Some(line) = self.lines.get_mut(vif.0 as usize) {
            *line = None;
        }
    }

    /// Takes a packet for a vif; hands it back if there is no queue to it.
    pub fn push(&mut self, tables: &Tables, vif: VifId, packet: B) -> Result<(), B> {
        let Some(Some(line)) = self.lines.get_mut(vif.0 as usize) else {
            return Err(packet);
        };
        if line.waiting.is_empty() {
            self.busy.push(vif);
        }
        line.waiting.push(packet);
        if line.waiting.len() == BATCH {
            self.busy.retain(|busy| *busy != vif);
            self.flush_line(tables, vif);
        }
        Ok(())
    }

    /// Sends a whole batch at once, if nothing waits that came before; false, and the batch as it
    /// was, if something does, or there is no queue to the vif.
    pub fn send(&mut self, tables: &Tables, vif: VifId, packets: &mut Batch<B>) -> bool {
        let Some(Some(line)) = self.lines.get_mut(vif.0 as usize) else {
            return false;
        };
        if !line.waiting.is_empty() {
            return false;
        }
        transmit(tables, self.worker, vif, &mut *line.queue, packets);
        true
    }

    /// Sends everything that waits. What a ring refuses is dropped and counted.
    pub fn flush(&mut self, tables: &Tables) {
        while let Some(vif) = self.busy.pop() {
            self.flush_line(tables, vif);
        }
    }

    fn flush_line(&mut self, tables: &Tables, id: VifId) {
        let Some(Some(line)) = self.lines.get_mut(id.0 as usize) else {
            return;
        };
        transmit(tables, self.worker, id, &mut *line.queue, &mut line.waiting);
    }
}

/// Sends a batch, which is empty then. What the ring refuses is dropped and counted.
fn transmit<B: Buffer>(
    tables: &Tables,
    worker: usize,
    id: VifId,
    queue: &mut dyn TxQueue<B>,
    packets: &mut Batch<B>,
) {
    let Some(vif) = tables.vif(id) else {
        // Removed by the snapshot pinned meanwhile; its queue goes next.
        packets.clear();
        return;
    };
    let counters = vif.counters.block(worker);
    if let Some(vlan) = vif.vlan {
        let before = packets.len();
        packets.retain(|packet| encap::rewrite::push_vlan(packet, vlan).is_ok());
        let lost = before - packets.len();
        counters.dropped(DropReason::NoHeadroom, lost as u64);
    }
    let bytes: u64 = packets.iter().map(|packet| packet.len() as u64).sum();
    let sent = queue.tx_burst(packets) as u64;
    let refused = packets.iter().map(|packet| packet.len() as u64);
    counters.sent(sent, bytes - refused.sum::<u64>());
    if !packets.is_empty() {
        counters.dropped(DropReason::TxRingFull, packets.len() as u64);
        packets.clear();
    }
}
