//! A ring of records from one worker to one reader, without locks on either side.
//!
//! Records are a few words and some bytes of a packet, each as long as it is. The memory is
//! allocated once. A writer that finds no room leaves the record out and counts it; it never waits.
//!
//! ```text
//!   record:  │ words: u32, bytes: u32 │ words … │ bytes, eight to a word … │
//! ```
//!
//! The words are relaxed atomics, which cost what plain memory does. `head` is stored with release
//! after a record's words and loaded with acquire before they are read, `tail` likewise in the other
//! direction: no word is written while it may be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

struct Shared {
    words: Box<[AtomicU64]>,
    /// Words ever written; only the writer stores it.
    head: CachePadded<AtomicU64>,
    /// Words ever read; only the reader stores it.
    tail: CachePadded<AtomicU64>,
    left_out: AtomicU64,
}

/// The worker's end.
pub struct Writer {
    shared: Arc<Shared>,
    head: u64,
}

/// The other end.
pub struct Reader {
    shared: Arc<Shared>,
    tail: u64,
}

/// One record, as read.
#[derive(Debug, Default)]
pub struct Record {
    /// Its words.
    pub words: Vec<u64>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A ring of at least so many words of 8 bytes.
pub fn ring(words: usize) -> (Writer, Reader) {
    let words = words.next_power_of_two();
    let shared = Arc::new(Shared {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        head: CachePadded::default(),
        tail: CachePadded::default(),
        left_out: AtomicU64::new(0),
    });
    let writer = Writer {
        shared: shared.clone(),
        head: 0,
    };
    (writer, Reader { shared, tail: 0 })
}

impl Writer {
    /// Appends a record; false if there was no room, which is counted.
    pub fn push(&mut self, words: &[u64], bytes: &[u8]) -> bool {
        let need = 1 + words.len() as u64 + bytes.len().div_ceil(8) as u64;
        let used = self.head - self.shared.tail.load(Ordering::Acquire);
        if used + need > self.shared.words.len() as u64 {
            self.leave_out();
            return false;
        }
        self.put((words.len() as u64) << 32 | bytes.len() as u64);
        for word in words {
            self.put(*word);
        }
        let (whole, rest) = bytes.as_chunks::<8>();
        for chunk in whole {
            self.put(u64::from_le_bytes(*chunk));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.put(u64::from_le_bytes(last));
        }
        self.shared.head.store(self.head, Ordering::Release);
        true
    }

    /// Counts a record that is not even tried.
    pub fn leave_out(&mut self) {
        let left_out = &self.shared.left_out;
        left_out.store(left_out.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// True once nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    fn put(&mut self, word: u64) {
        let mask = self.shared.words.len() - 1;
        self.shared.words[self.head as usize & mask].store(word, Ordering::Relaxed);
        self.head += 1;
    }
}

impl Reader {
    /// Takes the oldest record, if there is one, into `record`, whose memory is used again.
    pub fn pop(&mut self, record: &mut Record) -> bool {
        if self.shared.head.load(Ordering::Acquire) == self.tail {
            return false;
        }
        let lengths = self.take();
        let (words, bytes) = (lengths >> 32, (lengths & 0xffff_ffff) as usize);
        record.words.clear();
        record.bytes.clear();
        for _ in 0..words {
            let word = self.take();
            record.words.push(word);
        }
        for _ in 0..bytes.div_ceil(8) {
            let word = self.take();
            record.bytes.extend_from_slice(&word.to_le_bytes());
        }
        record.bytes.truncate(bytes);
        self.shared.tail.store(self.tail, Ordering::Release);
        true
    }

    /// Records that found no room since the start.
    pub fn left_out(&self) -> u64 {
        self.shared.left_out.load(Ordering::Relaxed)
    }

    /// True once nobody writes any more.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    fn take(&mut self) -> u64 {
        let mask = self.shared.words.len() - 1;
        let word = self.shared.words[self.tail as usize & mask].load(Ordering::Relaxed);
        self.tail += 1;
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let (mut writer, mut reader) = ring(16);
        let mut record = Record::default();
        assert!(!reader.pop(&mut record));
        // Often enough to go round the ring at every alignment.
        for len in 0..60 {
            let bytes: Vec<u8> = (0..len).collect();
            assert!(writer.push(&[7, u64::from(len)], &bytes));
            assert!(reader.pop(&mut record));
            assert_eq!(record.words, [7, u64::from(len)]);
            assert_eq!(record.bytes, bytes);
        }
        assert!(!reader.pop(&mut record));
    }

    #[test]
    fn a_full_ring_leaves_out_and_counts() {
        let (mut writer, mut reader) = ring(8);
        assert!(writer.push(&[1, 2, 3], &[]));
        assert!(writer.push(&[4, 5, 6], &[]));
        assert!(!writer.push(&[7], &[]));
        assert_eq!(reader.left_out(), 1);
        assert!(reader.pop(&mut Record::default()));
        assert!(writer.push(&[7], &[1, 2]));
        // What does not fit at all never does.
        assert!(!writer.push(&[], &[0; 100]));
        assert_eq!(reader.left_out(), 2);
    }

    #[test]
    fn each_end_sees_when_the_other_has_gone() {
        let (writer, reader) = ring(8);
        assert!(!writer.is_abandoned() && !reader.is_abandoned());
        drop(reader);
        assert!(writer.is_abandoned());
    }

    #[test]
    fn a_reader_beside_the_writer_sees_whole_records_in_order() {
        let (mut writer, mut reader) = ring(64);
        let written = std::thread::spawn(move || {
            let mut written = 0_u64;
            for number in 0..200_000_u64 {
                let bytes = [number as u8; 24];
                if writer.push(&[number], &bytes[..(number % 25) as usize]) {
                    written += 1;
                }
            }
            written
        });
        let (mut read, mut next) = (0, 0);
        let mut record = Record::default();
        loop {
            let is_over = written.is_finished();
            while reader.pop(&mut record) {
                let number = record.words[0];
                assert!(number >= next);
                next = number + 1;
                assert_eq!(record.bytes.len() as u64, number % 25);
                assert!(record.bytes.iter().all(|byte| *byte == number as u8));
                read += 1;
            }
            if is_over {
                break;
            }
        }
        assert_eq!(written.join().unwrap(), read);
        assert_eq!(read + reader.left_out(), 200_000);
    }
}
