//! A DPDK packet buffer as an [`encap::Buffer`].

use std::fmt;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;
use encap::{Buffer, Error};

/// One packet in one DPDK buffer, owned: it ends by being transmitted or by
/// being dropped.
///
/// ```text
/// buf_addr          data_off            data_off+data_len        buf_len
///    │── headroom ──────│────── bytes() ───────│────── tailroom ─────│
/// ```
///
/// The same size as a pointer, so that an array of them is what DPDK's bursts
/// take.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: an mbuf has one owner and no tie to a thread; pools are thread-safe.
unsafe impl Send for Mbuf {}
// SAFETY: shared access only reads.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes over a buffer.
    ///
    /// # Safety
    /// `raw` is a live mbuf of one segment or (until [`Self::join`]) several,
    /// nobody else has it or will use it, and its pool is never freed.
    pub(super) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        // SAFETY: the caller owns the mbuf.
        debug_assert_eq!(unsafe { raw.as_ref().refcnt }, 1, "an mbuf has one owner");
        Self(raw)
    }

    /// Whether the packet lies in one segment, as everything here but
    /// [`Self::join`] takes for granted.
    pub(super) fn is_whole(&self) -> bool {
        self.head().nb_segs == 1
    }

    /// Moves a packet of several segments into its first one; `false` if it does
    /// not fit.
    pub(super) fn join(&mut self) -> bool {
        // SAFETY: this is the only owner of the whole chain.
        unsafe { dpdk_sys::vr_mbuf_linearize(self.0.as_ptr()) == 0 }
    }

    fn head(&self) -> &rte_mbuf {
        // SAFETY: live and not written by others, being owned.
        unsafe { self.0.as_ref() }
    }

    fn head_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: live and not used by others, being owned.
        unsafe { self.0.as_mut() }
    }

    /// Changes the length of the packet, which is `u16` in the segment.
    fn set_len(&mut self, len: u16) {
        let head = self.head_mut();
        head.data_len = len;
        head.pkt_len = u32::from(len);
    }

    fn start(&self) -> *mut u8 {
        let head = self.head();
        // SAFETY: `data_off` is at most `buf_len`, which every change keeps.
        unsafe { head.buf_addr.cast::<u8>().add(usize::from(head.data_off)) }
    }
}

impl Buffer for Mbuf {
    fn bytes(&self) -> &[u8] {
        // SAFETY: the segment has `buf_len` initialised bytes (a pool's memory
        // is zeroed when it is mapped), `data_off + data_len` is within it, and
        // the owner is borrowed.
        unsafe { slice::from_raw_parts(self.start(), self.len()) }
    }

    fn len(&self) -> usize {
        usize::from(self.head().data_len)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the owner is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    fn headroom(&self) -> usize {
        usize::from(self.head().data_off)
    }

    fn tailroom(&self) -> usize {
        let used = self.headroom() + self.len();
        usize::from(self.head().buf_len).saturating_sub(used)
    }

    fn prepend(&mut self, len: usize) -> Result<(), Error> {
        let have = self.headroom();
        if len > have {
            return Err(Error::no_room(len, have));
        }
        // Both fit u16: `len` is within the headroom, the sum within `buf_len`.
        self.head_mut().data_off -= len as u16;
        self.set_len((self.len() + len) as u16);
        Ok(())
    }

    fn trim_front(&mut self, len: usize) -> Result<(), Error> {
        let have = self.len();
        if len > have {
            return Err(Error::truncated(len, have));
        }
        self.head_mut().data_off += len as u16;
        self.set_len((have - len) as u16);
        Ok(())
    }

    fn append(&mut self, len: usize) -> Result<(), Error> {
        let have = self.tailroom();
        if len > have {
            return Err(Error::no_room(len, have));
        }
        let old = self.len();
        self.set_len((old + len) as u16);
        self.bytes_mut()[old..].fill(0);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        let len = len.min(self.len());
        self.set_len(len as u16);
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: owned, and gone after this.
        unsafe { dpdk_sys::vr_mbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("headroom", &self.headroom())
            .field("len", &self.len())
            .field("tailroom", &self.tailroom())
            .finish()
    }
}
