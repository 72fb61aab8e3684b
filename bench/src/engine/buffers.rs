//! Packet buffers as a NIC driver has them: made once, passed by pointer, used
//! again. [`encap::MemBuffer`] would measure the allocator.

use std::sync::{Arc, Mutex, PoisonError};

use encap::{Buffer, Error};

/// As DPDK's default: room for the outer headers.
const HEADROOM: usize = 128;
/// Headroom and the largest frame measured.
const SIZE: usize = 2_048;

/// A frame in a buffer of its own.
pub struct Frame(Box<Store>);

#[repr(align(64))]
struct Store {
    // Narrower ones the compiler would read together, of which one was written just before.
    start: u32,
    end: u32,
    bytes: [u8; SIZE],
}

/// Buffers not in use; shared by the two ends of the engine.
#[derive(Clone)]
pub struct Pool(Arc<Mutex<Vec<Frame>>>);

impl Pool {
    /// `count` buffers.
    pub fn new(count: usize) -> Pool {
        let frames = (0..count).map(|_| Frame::new()).collect();
        Pool(Arc::new(Mutex::new(frames)))
    }

    /// Runs `with` on the free buffers: one lock a burst.
    pub fn with<T>(&self, with: impl FnOnce(&mut Vec<Frame>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl dataplane::io::Pool<Frame> for Pool {
    fn alloc(&mut self) -> Option<Frame> {
        self.with(Vec::pop)
    }
}

impl Frame {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "two kilobytes are no default")]
    pub fn new() -> Frame {
        Frame(Box::new(Store {
            start: HEADROOM as u32,
            end: HEADROOM as u32,
            bytes: [0; SIZE],
        }))
    }

    /// Makes the frame a copy of `bytes`, with the headroom of a received packet.
    #[inline]
    pub fn fill(&mut self, bytes: &[u8]) {
        self.0.start = HEADROOM as u32;
        self.0.end = (HEADROOM + bytes.len()) as u32;
        self.0.bytes[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
    }
}

impl Buffer for Frame {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0.bytes[self.0.start as usize..self.0.end as usize]
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.0.start as usize, self.0.end as usize);
        &mut self.0.bytes[start..end]
    }

    #[inline]
    fn len(&self) -> usize {
        (self.0.end - self.0.start) as usize
    }

    #[inline]
    fn is_chained(&self) -> bool {
        false
    }

    #[inline]
    fn headroom(&self) -> usize {
        self.0.start as usize
    }

    #[inline]
    fn tailroom(&self) -> usize {
        SIZE - self.0.end as usize
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> Result<(), Error> {
        match (self.0.start as usize).checked_sub(len) {
            Some(start) => self.0.start = start as u32,
            None => {
                return Err(Error::no_room(len, self.0.start as usize));
            }
        }
        Ok(())
    }

    #[inline]
    fn trim_front(&mut self, len: usize) -> Result<(), Error> {
        let have = self.len();
        if len > have {
            return Err(Error::truncated(len, have));
        }
        self.0.start += len as u32;
        Ok(())
    }

    #[inline]
    fn append(&mut self, len: usize) -> Result<(), Error> {
        let have = self.tailroom();
        if len > have {
            return Err(Error::no_room(len, have));
        }
        let end = self.0.end as usize;
        self.0.bytes[end..end + len].fill(0);
        self.0.end += len as u32;
        Ok(())
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        let len = len.min(self.len());
        self.0.end = self.0.start + len as u32;
    }
}
