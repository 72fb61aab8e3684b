//! What happened to packets, counted per vif and worker.
//!
//! Every worker has a block of its own per vif and is the only one to write it,
//! so counting is a load, an add and a store, all relaxed; readers add the
//! blocks up whenever they like.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::reason::DropReason;

/// One vif's counters, a block per worker.
#[derive(Debug)]
pub struct VifCounters {
    blocks: Box<[CachePadded<Block>]>,
}

/// What one worker counted on one vif. Written by that worker only.
#[derive(Debug)]
pub struct Block {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    consumed: AtomicU64,
    originated: AtomicU64,
    errors_withheld: AtomicU64,
    ecn_dubious: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
}

/// A reading of a vif's counters over all workers. For the sum over all vifs,
/// `rx + originated = tx + consumed + drops`, once nothing is in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes, without the frame check sequence.
    pub rx_bytes: u64,
    /// Frames the device accepted for sending.
    pub tx_packets: u64,
    /// Their bytes, without the frame check sequence.
    pub tx_bytes: u64,
    /// Frames received that were for the vrouter itself and needed no answer, such
    /// as the ARP replies that it waited for; and fragments that became part of
    /// another packet.
    pub consumed: u64,
    /// Frames the vrouter made itself: ARP requests, ICMP errors, the further pieces of a packet.
    pub originated: u64,
    /// ICMP errors and TCP resets that were owed, and not sent for being too many. Packets they
    /// would have been about are counted as dropped all the same.
    pub errors_withheld: u64,
    /// Packets out of tunnels whose two ECN fields no proper tunnel entry makes (RFC 6040 §4.2,
    /// figure 4), those dropped for it included.
    pub ecn_dubious: u64,
    /// Frames dropped, by reason in the order of [`DropReason::ALL`].
    pub drops: [u64; DropReason::COUNT],
}

impl VifCounters {
    /// All zero, for `workers` workers.
    pub fn new(workers: usize) -> VifCounters {
        VifCounters {
            blocks: (0..workers)
                .map(|_| CachePadded::new(Block::new()))
                .collect(),
        }
    }

    /// The block of the worker with this index, which must be the caller's.
    #[inline]
    pub fn block(&self, worker: usize) -> &Block {
        &self.blocks[worker]
    }

    /// The sum over all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for block in &self.blocks {
            totals += block.read();
        }
        totals
    }
}

impl Block {
    fn new() -> Block {
        Block {
            rx_packets: AtomicU64::new(0),
            rx_bytes: AtomicU64::new(0),
            tx_packets: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            originated: AtomicU64::new(0),
            errors_withheld: AtomicU64::new(0),
            ecn_dubious: AtomicU64::new(0),
            drops: [const { AtomicU64::new(0) }; DropReason::COUNT],
        }
    }

    /// Counts received frames.
    #[inline]
    pub fn received(&self, packets: u64, bytes: u64) {
        add(&self.rx_packets, packets);
        add(&self.rx_bytes, bytes);
    }

    /// Counts frames the device took.
    #[inline]
    pub fn sent(&self, packets: u64, bytes: u64) {
        add(&self.tx_packets, packets);
        add(&self.tx_bytes, bytes);
    }

    /// Counts a frame that ended here, as it should.
    #[inline]
    pub fn consumed(&self) {
        add(&self.consumed, 1);
    }

    /// Counts a frame that began here.
    #[inline]
    pub fn originated(&self) {
        add(&self.originated, 1);
    }

    /// Counts an error that was owed and not sent.
    #[inline]
    pub fn error_withheld(&self) {
        add(&self.errors_withheld, 1);
    }

    /// Counts a packet whose ECN fields do not go together.
    #[inline]
    pub fn ecn_dubious(&self) {
        add(&self.ecn_dubious, 1);
    }

    /// Counts dropped frames.
    #[inline]
    pub fn dropped(&self, reason: DropReason, packets: u64) {
        add(&self.drops[reason as usize], packets);
    }

    fn read(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            rx_packets: read(&self.rx_packets),
            rx_bytes: read(&self.rx_bytes),
            tx_packets: read(&self.tx_packets),
            tx_bytes: read(&self.tx_bytes),
            consumed: read(&self.consumed),
            originated: read(&self.originated),
            errors_withheld: read(&self.errors_withheld),
            ecn_dubious: read(&self.ecn_dubious),
            drops: self.drops.each_ref().map(read),
        }
    }
}

impl Totals {
    /// The reasons that occurred, with how often.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let counted = DropReason::ALL
            .iter()
            .map(|reason| (*reason, self.drops[*reason as usize]));
        counted.filter(|(_, count)| *count > 0)
    }
}

impl Default for Totals {
    fn default() -> Totals {
        Block::new().read()
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Totals) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.consumed += other.consumed;
        self.originated += other.originated;
        self.errors_withheld += other.errors_withheld;
        self.ecn_dubious += other.ecn_dubious;
        for (sum, count) in self.drops.iter_mut().zip(other.drops) {
            *sum += count;
        }
    }
}

/// Single writer: no read-modify-write needed.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
