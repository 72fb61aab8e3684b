//! Dropped packets on their way from a worker to whoever looks at them: some of them, with their
//! first bytes, the reason, and what is needed to find out which object caused it ([`super::cause`]).

use encap::Buffer;
use flowtable::Ticks;

use super::Place;
use super::ring::{self, Record};
use super::sampling::Sampling;
use crate::reason::DropReason;
use crate::stage::{Ingress, Lane, Translated};
use crate::tables::{NexthopId, VifId, VrfId};

/// Bytes kept of a dropped packet.
pub const HEADERS: usize = 256;

/// A worker's ring, in words: some 400 whole notes, which is three times what it may note between
/// two looks of the reader.
const RING_WORDS: usize = 1 << 14;

/// A dropped packet as a worker notes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why.
    pub reason: DropReason,
    /// The vif it counts for.
    pub vif: VifId,
    /// The network it was in.
    pub vrf: VrfId,
    /// Where it came from.
    pub ingress: Ingress,
    /// The nexthop that a label or VNI named, if one did.
    pub direct: Option<NexthopId>,
    /// Ports as stage `fragments` knew them.
    pub ports: (u16, u16),
    /// The configuration that dropped it.
    pub generation: u64,
    /// When.
    pub at: Ticks,
    /// Drops of the same reason and vif since the last one noted, which were not.
    pub passed_over: u32,
    /// Bytes of the whole packet; 0 if it was not at hand any more.
    pub len: u32,
    /// What stands in it is not what came: addresses have been translated.
    pub is_translated: bool,
    /// Its first bytes as they were then, behind the tunnel's headers if those were off already.
    pub bytes: Vec<u8>,
}

/// The worker's end.
pub(super) struct Noter {
    /// By the worker's clock, set once a round.
    pub(super) now: Ticks,
    ring: ring::Writer,
    sampling: Sampling,
    /// The drop that is about to be counted has been noted, or passed over.
    settled: Option<DropReason>,
}

/// The reader's end.
pub struct Notes {
    ring: ring::Reader,
    record: Record,
}

/// Both ends for one worker.
pub(super) fn notes() -> (Noter, Notes) {
    let (writer, reader) = ring::ring(RING_WORDS);
    let noter = Noter {
        now: Ticks(0),
        ring: writer,
        sampling: Sampling::new(),
        settled: None,
    };
    let notes = Notes {
        ring: reader,
        record: Record::default(),
    };
    (noter, notes)
}

impl Noter {
    /// A packet in hand that will be counted as dropped next.
    #[cold]
    pub(super) fn packet<B: Buffer>(
        &mut self,
        place: Place,
        lane: &Lane,
        reason: DropReason,
        packet: &B,
    ) {
        let bytes = packet.bytes();
        let bytes = &bytes[..bytes.len().min(HEADERS)];
        self.write(place, lane, reason, (packet.len(), bytes));
        self.settled = Some(reason);
    }

    /// A drop has been counted. If nobody had the packet in hand, what its lane knows is noted.
    #[cold]
    pub(super) fn counted(&mut self, place: Place, lane: &Lane, reason: DropReason) {
        if self.settled.take() != Some(reason) {
            self.write(place, lane, reason, (0, &[]));
        }
    }

    fn write(&mut self, place: Place, lane: &Lane, reason: DropReason, packet: (usize, &[u8])) {
        let (len, bytes) = packet;
        let vif = place.vif;
        let Some(passed_over) = self.sampling.takes(vif, reason, self.now) else {
            return;
        };
        let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let translated = u32::from(lane.translated != Translated::No);
        let ports = u32::from(lane.meta.src_port) << 16 | u32::from(lane.meta.dst_port);
        self.ring.push(
            &[
                pair(vif.0, translated << 8 | reason as u32),
                pair(lane.vrf.0, lane.ingress.to_bits()),
                pair(lane.named.0, ports),
                place.tables.generation(),
                pair(self.now.0, passed_over),
                len as u64,
            ],
            bytes,
        );
    }
}

impl Notes {
    /// The oldest note that was not taken yet.
    pub fn take(&mut self) -> Option<Note> {
        if !self.ring.pop(&mut self.record) {
            return None;
        }
        let words: [u64; 6] = self.record.words[..].try_into().ok()?;
        let high = |word: u64| (word >> 32) as u32;
        let low = |word: u64| word as u32;
        let ingress = Ingress::from_bits(low(words[1]));
        let ports = low(words[2]);
        Some(Note {
            reason: *DropReason::ALL.get(words[0] as usize & 0xff)?,
            is_translated: words[0] >> 8 & 1 == 1,
            vif: VifId(high(words[0])),
            vrf: VrfId(high(words[1])),
            ingress,
            direct: ingress.is_direct().then_some(NexthopId(high(words[2]))),
            ports: ((ports >> 16) as u16, ports as u16),
            generation: words[3],
            at: Ticks(high(words[4])),
            passed_over: low(words[4]),
            len: words[5] as u32,
            bytes: self.record.bytes.clone(),
        })
    }

    /// Notes that found no room.
    pub fn left_out(&self) -> u64 {
        self.ring.left_out()
    }
}
