//! Capture files as queues, for an engine that is to be fed from a file.
//!
//! A burst has no way to report an error, so the queue keeps the first one and
//! stands still from then on.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};

use encap::{Buffer, MemBuffer};

use super::{PcapError, PcapReader, PcapWriter};
use crate::io::{Batch, RxQueue, TxQueue};

/// Receives the frames of a capture file, as fast as it is asked, and nothing
/// after its end.
pub struct PcapRx<R = BufReader<File>> {
    reader: PcapReader<R>,
    ended: bool,
    error: Option<PcapError>,
}

impl<R: Read> PcapRx<R> {
    /// Receives what `reader` has left.
    pub fn new(reader: PcapReader<R>) -> Self {
        Self {
            reader,
            ended: false,
            error: None,
        }
    }

    /// Whether nothing more will come, because of the file's end or an error.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Why the file ended early, if it did.
    pub fn error(&self) -> Option<&PcapError> {
        self.error.as_ref()
    }
}

impl<R: Read + Send> RxQueue<MemBuffer> for PcapRx<R> {
    fn rx_burst(&mut self, batch: &mut Batch<MemBuffer>) -> usize {
        let before = batch.len();
        while !self.ended && !batch.is_full() {
            match self.reader.next_packet() {
                Ok(Some((_, frame))) => batch.push(MemBuffer::from_frame(frame)),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.error = Some(error);
                }
            }
        }
        batch.len() - before
    }
}

/// Transmits into a capture file, stamping every frame with the time last set.
pub struct PcapTx<W: Write = BufWriter<File>> {
    writer: PcapWriter<W>,
    time_ns: u64,
    error: Option<PcapError>,
    /// A packet of several pieces is put together here.
    whole: Vec<u8>,
}

impl<W: Write> PcapTx<W> {
    /// Appends to `writer`; the time is 0 until it is set.
    pub fn new(writer: PcapWriter<W>) -> Self {
        Self {
            writer,
            time_ns: 0,
            error: None,
            whole: Vec::new(),
        }
    }

    /// The time of the frames to come, in nanoseconds since 1970.
    pub fn set_time(&mut self, time_ns: u64) {
        self.time_ns = time_ns;
    }

    fn write<B: Buffer>(&mut self, packet: &B) -> Result<(), PcapError> {
        if !packet.is_chained() {
            return self.writer.write(self.time_ns, packet.bytes());
        }
        let whole = &mut self.whole;
        whole.clear();
        packet.for_each_segment(|segment| whole.extend_from_slice(segment));
        self.writer.write(self.time_ns, whole)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// The first [`PcapError`] of any write, or that of the last one.
    pub fn finish(self) -> Result<W, PcapError> {
        match self.error {
            Some(error) => Err(error),
            None => self.writer.finish(),
        }
    }
}

impl<B: Buffer, W: Write + Send> TxQueue<B> for PcapTx<W> {
    fn tx_burst(&mut self, batch: &mut Batch<B>) -> usize {
        let mut sent = 0;
        while self.error.is_none() && sent < batch.len() {
            match self.write(&batch[sent]) {
                Ok(()) => sent += 1,
                Err(error) => self.error = Some(error),
            }
        }
        batch.drain(..sent);
        sent
    }
}
