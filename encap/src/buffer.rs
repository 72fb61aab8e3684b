//! A packet buffer: bytes with room to grow at both ends, in one piece or several.
//!
//! [`Buffer`] is all that protocol code knows of a packet. In production it is a DPDK mbuf; in
//! tests and replay it is [`MemBuffer`].
//!
//! ```text
//!             bytes(): the headers                  payload
//!   headroom │█████████████████████│ ─► │██████████████│ ─► │███████│ tailroom
//!            └───────────────── len() ──────────────────────────────┘
//! ```
//!
//! Nearly every packet is one piece, and then `bytes()` is all of it. A jumbo frame or a large TCP
//! segment from a virtio guest comes in several. Headers are read and written in the first piece,
//! which holds [`HEADERS`] bytes when a packet is received, and again after each
//! [`parse_packet`](crate::parse_packet); whoever needs payload visits the pieces, or copies a range
//! out.

mod memory;

use crate::{Error, Offload};

pub use memory::MemBuffer;

/// Bytes of a packet that are in its first piece, where the packet has as many: enough for an outer
/// Ethernet, IPv6, UDP and VXLAN header, and for inner headers with all TCP options and some IPv6
/// extension headers.
pub const HEADERS: usize = 256;

/// A packet that can grow and shrink at both ends without moving.
#[allow(
    clippy::len_without_is_empty,
    reason = "nobody asks a packet whether it is"
)]
pub trait Buffer {
    /// The packet's first piece, which holds all its headers; usually the whole packet.
    fn bytes(&self) -> &[u8];

    /// The first piece, to write.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Bytes in the whole packet.
    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Whether the packet goes on after [`bytes`](Self::bytes).
    fn is_chained(&self) -> bool {
        self.len() != self.bytes().len()
    }

    /// Visits the pieces in order, the first included. Their lengths add up to [`len`](Self::len);
    /// any may be odd, or zero.
    fn for_each_segment(&self, mut visit: impl FnMut(&[u8])) {
        visit(self.bytes());
    }

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
    /// [`Error::Truncated`] if the first piece is shorter; the packet is unchanged.
    fn trim_front(&mut self, len: usize) -> Result<(), Error>;

    /// Grows the packet at its end, which is the end of its last piece, by `len` zero bytes.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if `len` exceeds the tailroom; the packet is unchanged.
    fn append(&mut self, len: usize) -> Result<(), Error>;

    /// Cuts the packet to its first `len` bytes; a shorter packet stays as it is.
    fn truncate(&mut self, len: usize);

    /// Moves bytes up until the first piece holds `len` of them, or all there are.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the first piece has no room for them; the packet is unchanged.
    fn pull_up(&mut self, _len: usize) -> Result<(), Error> {
        Ok(())
    }

    /// Makes another packet the end of this one.
    ///
    /// # Errors
    /// The other packet, if this kind of buffer has one piece only, or if both are longer than any
    /// packet may be.
    fn attach(&mut self, more: Self) -> Result<(), Self>
    where
        Self: Sized,
    {
        Err(more)
    }

    /// What the port left to do, or did already, for this packet.
    fn offload(&self) -> Offload {
        Offload::NONE
    }

    /// Notes what is left to do. A buffer that never comes from a port with offloads need not
    /// remember it.
    fn set_offload(&mut self, _offload: Offload) {}

    /// Copies the bytes from `offset` on into all of `to`, from whatever pieces they lie in.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the packet ends before; what `to` holds is unspecified then.
    fn copy_to(&self, offset: usize, to: &mut [u8]) -> Result<(), Error> {
        let need = offset.saturating_add(to.len());
        if need > self.len() {
            return Err(Error::truncated(need, self.len()));
        }
        let mut skip = offset;
        let mut done = 0;
        self.for_each_segment(|segment| {
            let piece = segment.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(segment.len());
            let room = &mut to[done..];
            let n = piece.len().min(room.len());
            room[..n].copy_from_slice(&piece[..n]);
            done += n;
        });
        Ok(())
    }
}

/// Appends a range of `packet` to `to`, which is one piece or empty. Where its buffer is full, `more`
/// is asked for others, which are chained, until it gives none.
///
/// # Errors
/// [`Error::NoRoom`] if the buffers do not hold the range; [`Error::Truncated`] if the packet ends
/// before. `to` is worth nothing then.
pub fn append_range<B: Buffer>(
    packet: &B,
    range: core::ops::Range<usize>,
    to: &mut B,
    more: &mut dyn FnMut() -> Option<B>,
) -> Result<(), Error> {
    let (start, need) = (to.len(), to.len() + range.len());
    let first = range.len().min(to.tailroom());
    to.append(first)?;
    let mut at = range.start + first;
    packet.copy_to(range.start, &mut to.bytes_mut()[start..])?;
    while at < range.end {
        let mut next = more().ok_or_else(|| Error::no_room(need, to.len()))?;
        next.truncate(0);
        let n = (range.end - at).min(next.tailroom());
        next.append(n)?;
        packet.copy_to(at, next.bytes_mut())?;
        let attached = to.attach(next).is_ok();
        if !attached || n == 0 {
            return Err(Error::no_room(need, to.len()));
        }
        at += n;
    }
    Ok(())
}

/// Makes `packet` exactly `len` zero bytes, whatever it held, to build a new one in it.
pub(crate) fn clear<B: Buffer>(packet: &mut B, len: usize) -> Result<(), Error> {
    packet.truncate(0);
    packet.append(len)
}

#[cfg(test)]
mod tests;
