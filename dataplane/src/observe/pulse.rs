//! How a worker does: how full its batches are, how long a packet is in its hands, how much of its
//! time it works.
//!
//! Of one batch in `SAMPLED` two clock readings are taken, when it has come and when what came of
//! it has been handed to the devices: that is how long its packets were here, but for those that
//! wait for others. The value goes through a ring to whoever keeps the histogram.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::ring::{self, Record};

/// One batch in so many is timed.
const SAMPLED: u32 = 16;

/// Batches are counted by length: of 1, of 2, of up to 4, 8, 16, 32 and 64 packets.
pub const BATCH_SIZES: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Samples that wait to be read.
const RING_WORDS: usize = 1 << 13;

/// What others may read of a worker.
pub struct Pulse {
    batches: [AtomicU64; BATCH_SIZES.len()],
    latencies: Mutex<(ring::Reader, Record)>,
}

/// The worker's end.
pub(super) struct Beat {
    pulse: Arc<Pulse>,
    ring: ring::Writer,
    /// Batches until one is timed.
    until: u32,
    began: Option<Instant>,
}

impl Beat {
    pub(super) fn new() -> Beat {
        let (writer, reader) = ring::ring(RING_WORDS);
        let pulse = Pulse {
            batches: [const { AtomicU64::new(0) }; BATCH_SIZES.len()],
            latencies: Mutex::new((reader, Record::default())),
        };
        Beat {
            pulse: Arc::new(pulse),
            ring: writer,
            until: SAMPLED,
            began: None,
        }
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }

    /// A batch has come; not an empty one.
    #[inline]
    pub(super) fn begin(&mut self, packets: usize) {
        let size = packets.next_power_of_two().trailing_zeros() as usize;
        let counter = &self.pulse.batches[size.min(BATCH_SIZES.len() - 1)];
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.until -= 1;
        if self.until == 0 {
            self.until = SAMPLED;
            self.began = Some(Instant::now());
        }
    }

    /// All of it has been seen to.
    #[inline]
    pub(super) fn end(&mut self) {
        if let Some(began) = self.began.take() {
            self.ring.push(&[began.elapsed().as_nanos() as u64], &[]);
        }
    }
}

impl Pulse {
    /// Batches counted, by [`BATCH_SIZES`].
    pub fn batches(&self) -> [u64; BATCH_SIZES.len()] {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.batches.each_ref().map(read)
    }

    /// Hands on the times that packets were here, in nanoseconds, each once.
    pub fn take_latencies(&self, mut visit: impl FnMut(u64)) {
        let mut reader = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (ring, record) = &mut *reader;
        while ring.pop(record) {
            record.words.iter().for_each(|nanos| visit(*nanos));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_count_by_their_length() {
        let mut beat = Beat::new();
        for packets in [1, 2, 3, 4, 5, 64, 64] {
            beat.begin(packets);
            beat.end();
        }
        assert_eq!(beat.pulse().batches(), [1, 1, 2, 1, 0, 0, 2]);
    }

    #[test]
    fn one_batch_in_some_is_timed() {
        let mut beat = Beat::new();
        for _ in 0..SAMPLED * 10 {
            beat.begin(1);
            beat.end();
        }
        let mut times = 0;
        beat.pulse().take_latencies(|_| times += 1);
        beat.pulse().take_latencies(|_| times += 1);
        assert_eq!(times, 10);
    }
}
