//! Packets in ordinary memory.

use super::Buffer;
use crate::{Error, Offload};
use alloc::vec;
use alloc::vec::Vec;

/// A [`Buffer`] in ordinary memory.
///
/// It imitates an mbuf's limits: headroom as given, and [`DATA_ROOM`](Self::DATA_ROOM) bytes for
/// the packet, so that what does not fit in production does not fit in a test either.
#[derive(Clone, Debug)]
pub struct MemBuffer {
    store: Vec<u8>,
    start: usize,
    end: usize,
    /// The pieces after the first.
    tail: Vec<Vec<u8>>,
    tail_len: usize,
    offload: Offload,
}

impl MemBuffer {
    /// Headroom of [`from_frame`](Self::from_frame), in bytes: DPDK's default.
    pub const HEADROOM: usize = 128;
    /// Bytes a piece may take behind its headroom; longer ones fit exactly.
    pub const DATA_ROOM: usize = 2048;

    /// A copy of `packet` with `headroom` bytes in front.
    #[must_use]
    pub fn new(headroom: usize, packet: &[u8]) -> Self {
        let end = headroom + packet.len();
        let mut store = vec![0; headroom + packet.len().max(Self::DATA_ROOM)];
        store[headroom..end].copy_from_slice(packet);
        Self {
            store,
            start: headroom,
            end,
            tail: Vec::new(),
            tail_len: 0,
            offload: Offload::NONE,
        }
    }

    /// A copy of `frame` with the headroom packets have in production.
    #[must_use]
    pub fn from_frame(frame: &[u8]) -> Self {
        Self::new(Self::HEADROOM, frame)
    }

    /// A copy of `frame` in several pieces, of which `lens` says how long they are; what they leave
    /// is the last one, and what they have too much is ignored.
    #[must_use]
    pub fn chained(frame: &[u8], lens: &[usize]) -> Self {
        let mut pieces = Vec::new();
        let mut rest = frame;
        for len in lens {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*len).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = after;
        }
        if pieces.is_empty() || !rest.is_empty() {
            pieces.push(rest.to_vec());
        }
        let mut packet = Self::from_frame(&pieces.remove(0));
        packet.tail_len = pieces.iter().map(Vec::len).sum();
        packet.tail = pieces;
        packet
    }

    /// A copy of the whole packet, in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = self.bytes().to_vec();
        all.extend(self.tail.iter().flatten());
        all
    }
}

impl Default for MemBuffer {
    /// An empty packet, to build one in.
    fn default() -> Self {
        Self::from_frame(&[])
    }
}

impl Buffer for MemBuffer {
    fn bytes(&self) -> &[u8] {
        &self.store[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.store[self.start..self.end]
    }

    fn len(&self) -> usize {
        self.end - self.start + self.tail_len
    }

    fn is_chained(&self) -> bool {
        self.tail_len != 0
    }

    fn for_each_segment(&self, mut visit: impl FnMut(&[u8])) {
        visit(self.bytes());
        for piece in &self.tail {
            visit(piece);
        }
    }

    fn headroom(&self) -> usize {
        self.start
    }

    fn tailroom(&self) -> usize {
        match self.tail.last() {
            None => self.store.len() - self.end,
            Some(last) => Self::DATA_ROOM.saturating_sub(last.len()),
        }
    }

    fn prepend(&mut self, len: usize) -> Result<(), Error> {
        match self.start.checked_sub(len) {
            Some(start) => self.start = start,
            None => return Err(Error::no_room(len, self.start)),
        }
        Ok(())
    }

    fn trim_front(&mut self, len: usize) -> Result<(), Error> {
        let have = self.end - self.start;
        if len > have {
            return Err(Error::truncated(len, have));
        }
        self.start += len;
        Ok(())
    }

    fn append(&mut self, len: usize) -> Result<(), Error> {
        if len > self.tailroom() {
            return Err(Error::no_room(len, self.tailroom()));
        }
        if let Some(last) = self.tail.last_mut() {
            last.resize(last.len() + len, 0);
            self.tail_len += len;
            return Ok(());
        }
        self.store[self.end..self.end + len].fill(0);
        self.end += len;
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        if !self.tail.is_empty() {
            let mut left = len.saturating_sub(self.end - self.start);
            for piece in &mut self.tail {
                piece.truncate(left);
                left -= piece.len();
            }
            self.tail.retain(|piece| !piece.is_empty());
            self.tail_len = self.tail.iter().map(Vec::len).sum();
        }
        self.end = self.end.min(self.start.saturating_add(len));
    }

    fn pull_up(&mut self, len: usize) -> Result<(), Error> {
        let have = self.end - self.start;
        let need = len.min(self.len()).saturating_sub(have);
        let room = self.store.len() - self.end;
        if need > room {
            return Err(Error::no_room(need, room));
        }
        for _ in 0..need {
            while self.tail.first().is_some_and(Vec::is_empty) {
                self.tail.remove(0);
            }
            self.store[self.end] = self.tail[0].remove(0);
            self.end += 1;
        }
        self.tail.retain(|piece| !piece.is_empty());
        self.tail_len -= need;
        Ok(())
    }

    fn attach(&mut self, more: Self) -> Result<(), Self> {
        self.tail_len += more.len();
        self.tail.push(more.bytes().to_vec());
        self.tail.extend(more.tail);
        Ok(())
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn set_offload(&mut self, offload: Offload) {
        self.offload = offload;
    }
}
