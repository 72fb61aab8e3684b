//! Packets that pass a vif, copied for somebody who wants to look at them.
//!
//! A [`Tap`] is handed to each worker with a ring of its own, and goes when the reader has gone.
//! What it costs a worker is bounded: the filter's steps, a copy of at most the snap length, and no
//! more copies than the rate allows, of which a tenth of a second's may come at once. A full ring loses packets of the capture and
//! never any of the traffic; both losses are counted.
//!
//! Received packets are seen as they came, before any stage; sent ones as they leave, with tunnel
//! headers and VLAN tags on, before the device is asked to take them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use encap::Buffer;

use super::filter::Program;
use super::ring::{self, Record};
use crate::io::BATCH;
use crate::tables::spec::Name;
use crate::tables::{Vif, VifId};

/// Bytes kept of each packet at most.
pub const MAX_SNAP_LEN: usize = 65_535;

/// Which way a packet passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It was received.
    Rx,
    /// It was sent.
    Tx,
}

/// What is wanted of a capture.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of these vifs; empty: of all.
    pub vifs: Vec<Name>,
    /// Received packets.
    pub rx: bool,
    /// Sent packets.
    pub tx: bool,
    /// Only those that the filter accepts.
    pub filter: Option<Program>,
    /// Bytes kept of each packet, up to [`MAX_SNAP_LEN`].
    pub snap_len: usize,
    /// Packets copied in a second by each worker, at most.
    pub rate: u32,
    /// Memory of each worker's ring, in bytes.
    pub ring_bytes: usize,
}

/// What a capture has counted, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that the filter accepted.
    pub accepted: u64,
    /// Of them those left out for the rate.
    pub over_rate: u64,
    /// Of them those left out for want of room in the ring: the reader was too slow.
    pub no_room: u64,
}

/// One packet seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When, since the epoch, in nanoseconds.
    pub at_ns: u64,
    /// The vif.
    pub vif: VifId,
    /// Which way.
    pub way: Way,
    /// Bytes of the whole packet.
    pub len: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// A capture in one worker.
pub struct Tap {
    wanted: Arc<Wanted>,
    ring: ring::Writer,
    counts: Arc<Counters>,
    /// When `credit` was last added to.
    now_ms: u64,
    /// Thousandths of copies that may be made.
    credit: u64,
    /// For packets in several pieces.
    scratch: Vec<u8>,
}

/// What a worker sees, to be read.
pub struct Seeing {
    ring: ring::Reader,
    counts: Arc<Counters>,
    record: Record,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    over_rate: AtomicU64,
}

/// A tap for one worker, and where to read what it sees.
pub fn tap(wanted: &Arc<Wanted>) -> (Tap, Seeing) {
    let (writer, reader) = ring::ring(wanted.ring_bytes / 8);
    let counts = Arc::<Counters>::default();
    let tap = Tap {
        ring: writer,
        counts: counts.clone(),
        now_ms: 0,
        credit: burst(wanted.rate),
        scratch: vec![0; wanted.snap_len.min(MAX_SNAP_LEN)],
        wanted: wanted.clone(),
    };
    let seeing = Seeing {
        ring: reader,
        counts,
        record: Record::default(),
    };
    (tap, seeing)
}

impl Tap {
    /// True once nobody reads any more.
    pub fn is_over(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// A batch passes a vif.
    pub(super) fn see<B: Buffer>(&mut self, vif: &Vif, way: Way, packets: &[B]) {
        let is_wanted = match way {
            Way::Rx => self.wanted.rx,
            Way::Tx => self.wanted.tx,
        };
        let vifs = &self.wanted.vifs;
        if !is_wanted || !(vifs.is_empty() || vifs.contains(&vif.name)) {
            return;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.map_or(0, |since| since.as_nanos() as u64);
        self.refill(now / 1_000_000);
        for packet in packets {
            self.packet(vif.id, way, now, packet);
        }
    }

    fn refill(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.now_ms).min(1_000);
        let rate = self.wanted.rate;
        self.credit = (self.credit + elapsed * u64::from(rate)).min(burst(rate));
        self.now_ms = now_ms;
    }

    fn packet<B: Buffer>(&mut self, vif: VifId, way: Way, now: u64, packet: &B) {
        let filter = self.wanted.filter.as_ref();
        if filter.is_some_and(|filter| !filter.accepts(packet.bytes(), packet.len())) {
            return;
        }
        add(&self.counts.accepted);
        let Some(credit) = self.credit.checked_sub(1_000) else {
            add(&self.counts.over_rate);
            return;
        };
        self.credit = credit;
        let len = packet.len();
        let words = [now, u64::from(vif.0) << 1 | way as u64, len as u64];
        let kept = len.min(self.scratch.len());
        if packet.bytes().len() >= kept {
            self.ring.push(&words, &packet.bytes()[..kept]);
        } else if packet.copy_to(0, &mut self.scratch[..kept]).is_ok() {
            self.ring.push(&words, &self.scratch[..kept]);
        }
    }
}

impl Seeing {
    /// The oldest packet that was not taken yet.
    pub fn take(&mut self) -> Option<Seen> {
        if !self.ring.pop(&mut self.record) {
            return None;
        }
        let [at_ns, from, len] = self.record.words[..].try_into().ok()?;
        Some(Seen {
            at_ns,
            vif: VifId((from >> 1) as u32),
            way: if from & 1 == 0 { Way::Rx } else { Way::Tx },
            len: len as u32,
            bytes: self.record.bytes.clone(),
        })
    }

    /// What this worker has counted.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.counts.accepted.load(Ordering::Relaxed),
            over_rate: self.counts.over_rate.load(Ordering::Relaxed),
            no_room: self.ring.left_out(),
        }
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.over_rate += other.over_rate;
        self.no_room += other.no_room;
    }
}

/// What may be saved up: copies of a tenth of a second, or of one batch.
fn burst(rate: u32) -> u64 {
    u64::from(rate).max(10 * BATCH as u64) * 100
}

/// Single writer: no read-modify-write needed.
fn add(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::filter::Instruction;
    use encap::MemBuffer;

    fn wanted(rate: u32) -> Arc<Wanted> {
        Arc::new(Wanted {
            vifs: Vec::new(),
            rx: true,
            tx: true,
            filter: None,
            snap_len: 64,
            rate,
            ring_bytes: 1 << 16,
        })
    }

    fn packet(len: usize) -> MemBuffer {
        MemBuffer::new(0, &vec![7; len])
    }

    #[test]
    fn packets_are_cut_to_the_snap_length_and_their_length_is_kept() {
        let (mut tap, mut seeing) = tap(&wanted(1_000));
        for len in [60, 200] {
            tap.packet(VifId(3), Way::Tx, 5, &packet(len));
        }
        let lens: Vec<_> = std::iter::from_fn(|| seeing.take())
            .map(|seen| (seen.vif, seen.way, seen.at_ns, seen.len, seen.bytes.len()))
            .collect();
        let (vif, way) = (VifId(3), Way::Tx);
        assert_eq!(lens, [(vif, way, 5, 60, 60), (vif, way, 5, 200, 64)]);
    }

    #[test]
    fn a_flood_is_cut_to_the_rate_and_a_slow_reader_to_its_ring() {
        let (mut tap, mut seeing) = tap(&wanted(10_000));
        for ms in 0..1_000 {
            tap.refill(ms);
            for _ in 0..100 {
                tap.packet(VifId(0), Way::Rx, 0, &packet(60));
            }
        }
        let counts = seeing.counts();
        assert_eq!(counts.accepted, 100_000);
        let copied = counts.accepted - counts.over_rate;
        assert!((10_000..=11_000).contains(&copied), "{counts:?}");
        let mut taken = 0;
        while seeing.take().is_some() {
            taken += 1;
        }
        assert_eq!(taken + counts.no_room, copied);
        assert!(taken > 0 && counts.no_room > 0, "{counts:?}");
    }

    #[test]
    fn the_filter_sees_all_and_the_rate_only_what_it_accepts() {
        // Longer than 100 bytes.
        let code = [
            (0x80, 0, 0, 0),
            (0x25, 0, 1, 100),
            (6, 0, 0, 1),
            (6, 0, 0, 0),
        ];
        let code = code.map(|(code, jump_true, jump_false, operand)| Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        });
        let filter = Some(Program::new(code.to_vec()).unwrap());
        let wanted = Wanted {
            filter,
            ..(*wanted(10)).clone()
        };
        let (mut tap, mut seeing) = tap(&Arc::new(wanted));
        for len in [60; 1_000].into_iter().chain([101]) {
            tap.packet(VifId(0), Way::Rx, 0, &packet(len));
        }
        assert_eq!(seeing.take().unwrap().len, 101);
        assert_eq!(seeing.take(), None);
        assert_eq!(seeing.counts().accepted, 1);
    }

    #[test]
    fn a_tap_ends_with_its_reader() {
        let (tap, seeing) = tap(&wanted(1));
        assert!(!tap.is_over());
        drop(seeing);
        assert!(tap.is_over());
    }
}
