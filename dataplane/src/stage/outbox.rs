//! Packets on their way out, gathered per vif and sent in bursts.

use encap::Buffer;

use crate::io::{BATCH, Batch, TxQueue};
use crate::observe::{Observer, Place};
use crate::reason::DropReason;
use crate::tables::{Tables, VifId};

/// One worker's transmit queues with what waits to be sent on each.
pub struct Outbox<B> {
    /// Sees what leaves here, and what ends on its way here.
    pub observer: Observer,
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
            observer: Observer::default(),
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
        let way = Way {
            worker: self.worker,
            vif,
            observer: &mut self.observer,
        };
        transmit(tables, way, &mut *line.queue, packets);
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
        let way = Way {
            worker: self.worker,
            vif: id,
            observer: &mut self.observer,
        };
        transmit(tables, way, &mut *line.queue, &mut line.waiting);
    }
}

/// Out of which vif, by whom, and who looks on.
struct Way<'a> {
    worker: usize,
    vif: VifId,
    observer: &'a mut Observer,
}

/// Sends a batch, which is empty then. What the ring refuses is dropped and counted.
fn transmit<B: Buffer>(
    tables: &Tables,
    way: Way<'_>,
    queue: &mut dyn TxQueue<B>,
    packets: &mut Batch<B>,
) {
    let Some(vif) = tables.vif(way.vif) else {
        // Removed by the snapshot pinned meanwhile; its queue goes next.
        packets.clear();
        return;
    };
    let counters = vif.counters.block(way.worker);
    let observer = way.observer;
    if let Some(vlan) = vif.vlan {
        let before = packets.len();
        let place = Place::new(tables, vif);
        packets.retain(|packet| {
            let pushed = encap::rewrite::push_vlan(packet, vlan);
            if pushed.is_err() {
                observer.undelivered(place, vif, packet, DropReason::NoHeadroom);
            }
            pushed.is_ok()
        });
        let lost = before - packets.len();
        counters.dropped(DropReason::NoHeadroom, lost as u64);
    }
    observer.sending(vif, packets);
    let bytes: u64 = packets.iter().map(|packet| packet.len() as u64).sum();
    let sent = queue.tx_burst(packets) as u64;
    let refused = packets.iter().map(|packet| packet.len() as u64);
    counters.sent(sent, bytes - refused.sum::<u64>());
    if !packets.is_empty() {
        counters.dropped(DropReason::TxRingFull, packets.len() as u64);
        let place = Place::new(tables, vif);
        for packet in packets.iter() {
            observer.undelivered(place, vif, packet, DropReason::TxRingFull);
        }
        packets.clear();
    }
}
