//! A packet buffer: bytes with room to grow at both ends.
//!
//! [`Buffer`] is all that protocol code knows of a packet. In production it is a DPDK mbuf; in
//! tests and replay it is [`MemBuffer`]. Both are one contiguous piece.

use crate::Error;
use alloc::vec;
use alloc::vec::Vec;

/// A packet that can grow and shrink at both ends without moving.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks a packet whether it is"
)]
pub trait Buffer {
    /// The packet.
    fn bytes(&self) -> &[u8];

    /// Bytes in the packet.
    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The packet, to write.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Bytes by which [`prepend`](Self::prepend) can grow the packet.
    fn headroom(&self) -> usize;

    /// Bytes by which [`append`](Self::append) can grow the packet.
    fn tailroom(&self) -> usize;

    /// Grows the packet at its front. What the new bytes hold is unspecified: write all of them.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `len` exceeds the headroom; the packet is unchanged.
    fn prepend(&mut self, len: usize) -> Result<(), Error>;

    /// Drops `len` bytes from the packet's front; they become headroom.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the packet is shorter; it is unchanged.
    fn trim_front(&mut self, len: usize) -> Result<(), Error>;

    /// Grows the packet at its end by `len` zero bytes.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `len` exceeds the tailroom; the packet is unchanged.
    fn append(&mut self, len: usize) -> Result<(), Error>;

    /// Cuts the packet to its first `len` bytes; a shorter packet stays as it is.
    fn truncate(&mut self, len: usize);
}

/// A [`Buffer`] in ordinary memory.
///
/// It imitates an mbuf's limits: headroom as given, and [`DATA_ROOM`](Self::DATA_ROOM) bytes for
/// the packet, so that what does not fit in production does not fit in a test either.
#[derive(Clone, Debug)]
pub struct MemBuffer {
    store: Vec<u8>,
    start: usize,
    end: usize,
}

impl MemBuffer {
    /// Headroom of [`from_frame`](Self::from_frame), in bytes: DPDK's default.
    pub const HEADROOM: usize = 128;
    /// Bytes a packet may take behind its headroom; longer ones fit exactly.
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
        }
    }

    /// A copy of `frame` with the headroom packets have in production.
    #[must_use]
    pub fn from_frame(frame: &[u8]) -> Self {
        Self::new(Self::HEADROOM, frame)
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

    fn headroom(&self) -> usize {
        self.start
    }

    fn tailroom(&self) -> usize {
        self.store.len() - self.end
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
        self.store[self.end..self.end + len].fill(0);
        self.end += len;
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start.saturating_add(len));
    }
}

/// Makes `packet` exactly `len` zero bytes, whatever it held, to build a new one in it.
pub(crate) fn clear<B: Buffer>(packet: &mut B, len: usize) -> Result<(), Error> {
    packet.truncate(0);
    packet.append(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_shrinks_at_both_ends() {
        let mut packet = MemBuffer::new(4, b"middle");
        packet.prepend(4).unwrap();
        packet.bytes_mut()[..4].copy_from_slice(b"the ");
        packet.append(2).unwrap();
        assert_eq!(packet.bytes(), b"the middle\0\0");
        packet.trim_front(4).unwrap();
        packet.truncate(6);
        packet.truncate(7);
        assert_eq!(packet.bytes(), b"middle");
        assert_eq!(packet.headroom(), 4);
    }

    #[test]
    fn appended_bytes_are_zero_even_where_old_ones_lay() {
        let mut packet = MemBuffer::from_frame(b"secret");
        packet.truncate(0);
        packet.append(6).unwrap();
        assert_eq!(packet.bytes(), [0; 6]);
    }

    #[test]
    fn no_room_is_refused_and_changes_nothing() {
        let mut packet = MemBuffer::new(2, b"abc");
        assert_eq!(packet.prepend(3), Err(Error::NoRoom { need: 3, have: 2 }));
        let tailroom = packet.tailroom();
        assert_eq!(tailroom, MemBuffer::DATA_ROOM - 3);
        assert!(packet.append(tailroom + 1).is_err());
        assert_eq!(
            packet.trim_front(4),
            Err(Error::Truncated { need: 4, have: 3 })
        );
        assert_eq!(packet.bytes(), b"abc");
    }
}
