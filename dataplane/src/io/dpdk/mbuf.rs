//! A DPDK packet buffer as an [`encap::Buffer`].

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::slice;

use dpdk_sys::rte_mbuf;
use encap::{Buffer, Error, Offload};

use super::flags;

/// One packet, owned: it ends by being transmitted or by being dropped. It lies
/// in one DPDK buffer or, if it is larger than one, in a chain of them.
///
/// ```text
/// buf_addr          data_off            data_off+data_len        buf_len
///    │── headroom ──────│────── bytes() ───────│────── tailroom ─────│
///                          next ──► the same again, without headroom
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
    /// Takes over a packet.
    ///
    /// # Safety
    /// `raw` is a live mbuf with all segments of its chain, nobody else has any
    /// of them or will use it, and their pools are never freed.
    pub(super) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        // SAFETY: the caller owns the mbuf.
        debug_assert_eq!(unsafe { raw.as_ref().refcnt }, 1, "an mbuf has one owner");
        Self(raw)
    }

    /// Moves a packet of several segments into its first one; `false` if it does
    /// not fit.
    pub(super) fn join(&mut self) -> bool {
        self.pull_up(self.len()).is_ok()
    }

    pub(super) fn head(&self) -> &rte_mbuf {
        // SAFETY: live and not written by others, being owned.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn head_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: live and not used by others, being owned.
        unsafe { self.0.as_mut() }
    }

    /// The segments, the first included.
    fn segments(&self) -> impl Iterator<Item = &rte_mbuf> {
        std::iter::successors(Some(self.head()), |segment| {
            // SAFETY: null, or the next segment of the chain, which is owned and
            // borrowed as a whole.
            unsafe { segment.next.as_ref() }
        })
    }

    /// Changes the length of the first segment, and the packet's with it.
    fn set_len(&mut self, len: u16) {
        let head = self.head_mut();
        head.pkt_len = head.pkt_len - u32::from(head.data_len) + u32::from(len);
        head.data_len = len;
    }

    /// Cuts a chain to `len` bytes, fewer than it has.
    #[cold]
    fn cut(&mut self, len: usize) {
        let head = self.head_mut();
        head.pkt_len = len as u32;
        head.nb_segs = 1;
        let mut left = len;
        let mut at: *mut rte_mbuf = head;
        loop {
            // SAFETY: `at` is a segment of the chain, which is owned and reached
            // by this pointer only.
            let segment = unsafe { &mut *at };
            if left <= usize::from(segment.data_len) || segment.next.is_null() {
                segment.data_len = segment.data_len.min(left as u16);
                let rest = std::mem::replace(&mut segment.next, ptr::null_mut());
                if !rest.is_null() {
                    // SAFETY: the segments after this one, cut off just now.
                    unsafe { dpdk_sys::vr_mbuf_free(rest) };
                }
                break;
            }
            left -= usize::from(segment.data_len);
            at = segment.next;
            self.head_mut().nb_segs += 1;
        }
    }

    /// Moves up to `most` bytes from the second segment to the end of the first,
    /// which has room for them; an empty second segment goes.
    fn move_up(&mut self, most: usize) {
        let head = self.head_mut();
        // SAFETY: null, or the next segment, which is owned and reached by this
        // pointer only.
        let Some(second) = (unsafe { head.next.as_mut() }) else {
            return;
        };
        let n = most.min(second.data_len.into()) as u16;
        // SAFETY: two buffers, the first with room for `n` bytes behind its data,
        // the second with as many from the start of its.
        unsafe {
            ptr::copy_nonoverlapping(
                start(second),
                start(head).add(head.data_len.into()),
                n.into(),
            )
        };
        head.data_len += n;
        second.data_off += n;
        second.data_len -= n;
        if second.data_len == 0 {
            head.next = std::mem::replace(&mut second.next, ptr::null_mut());
            head.nb_segs -= 1;
            // SAFETY: alone and out of the chain.
            unsafe { dpdk_sys::vr_mbuf_free(second) };
        }
    }

    /// The last segment.
    fn last_mut(&mut self) -> &mut rte_mbuf {
        let mut at = self.0;
        // SAFETY: `at` is a segment of the chain, which is owned and borrowed for
        // writing as a whole.
        while let Some(next) = NonNull::new(unsafe { at.as_ref() }.next) {
            at = next;
        }
        // SAFETY: as above.
        unsafe { at.as_mut() }
    }
}

/// The first byte of a segment's data.
fn start(segment: &rte_mbuf) -> *mut u8 {
    // SAFETY: `data_off` is at most `buf_len`, which every change keeps.
    unsafe {
        segment
            .buf_addr
            .cast::<u8>()
            .add(usize::from(segment.data_off))
    }
}

/// A segment's data.
fn data(segment: &rte_mbuf) -> &[u8] {
    // SAFETY: the segment has `buf_len` initialised bytes (a pool's memory is
    // zeroed when it is mapped), `data_off + data_len` is within it, and the
    // segment is borrowed.
    unsafe { slice::from_raw_parts(start(segment), usize::from(segment.data_len)) }
}

/// Bytes behind a segment's data.
fn room(segment: &rte_mbuf) -> usize {
    let used = usize::from(segment.data_off) + usize::from(segment.data_len);
    usize::from(segment.buf_len).saturating_sub(used)
}

impl Buffer for Mbuf {
    fn bytes(&self) -> &[u8] {
        data(self.head())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let head = self.head_mut();
        // SAFETY: as in `data`, and the owner is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(start(head), usize::from(head.data_len)) }
    }

    fn len(&self) -> usize {
        self.head().pkt_len as usize
    }

    fn for_each_segment(&self, visit: impl FnMut(&[u8])) {
        self.segments().map(data).for_each(visit);
    }

    fn headroom(&self) -> usize {
        usize::from(self.head().data_off)
    }

    fn tailroom(&self) -> usize {
        match self.is_chained() {
            false => room(self.head()),
            true => self.segments().last().map_or(0, room),
        }
    }

    fn prepend(&mut self, len: usize) -> Result<(), Error> {
        let have = self.headroom();
        if len > have {
            return Err(Error::no_room(len, have));
        }
        // Both fit u16: `len` is within the headroom, the sum within `buf_len`.
        let head = self.head_mut();
        head.data_off -= len as u16;
        head.data_len += len as u16;
        head.pkt_len += len as u32;
        Ok(())
    }

    fn trim_front(&mut self, len: usize) -> Result<(), Error> {
        let have = self.bytes().len();
        if len > have {
            return Err(Error::truncated(len, have));
        }
        let head = self.head_mut();
        head.data_off += len as u16;
        head.data_len -= len as u16;
        head.pkt_len -= len as u32;
        Ok(())
    }

    fn append(&mut self, len: usize) -> Result<(), Error> {
        let have = self.tailroom();
        if len > have {
            return Err(Error::no_room(len, have));
        }
        let last = match self.is_chained() {
            false => self.head_mut(),
            true => self.last_mut(),
        };
        // SAFETY: the segment has room for `len` bytes behind its data.
        unsafe { start(last).add(last.data_len.into()).write_bytes(0, len) };
        last.data_len += len as u16;
        self.head_mut().pkt_len += len as u32;
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        match self.is_chained() {
            false => self.set_len(len as u16),
            true => self.cut(len),
        }
    }

    fn pull_up(&mut self, len: usize) -> Result<(), Error> {
        let len = len.min(self.len());
        let need = len.saturating_sub(self.bytes().len());
        if need > room(self.head()) {
            return Err(Error::no_room(need, room(self.head())));
        }
        while self.bytes().len() < len {
            let missing = len - self.bytes().len();
            self.move_up(missing);
        }
        Ok(())
    }

    fn attach(&mut self, more: Self) -> Result<(), Self> {
        let segments = self.head().nb_segs.checked_add(more.head().nb_segs);
        let Some(segments) = segments else {
            return Err(more);
        };
        self.head_mut().pkt_len += more.head().pkt_len;
        // Its segments are this packet's now.
        self.last_mut().next = ManuallyDrop::new(more).0.as_ptr();
        self.head_mut().nb_segs = segments;
        Ok(())
    }

    fn offload(&self) -> Offload {
        flags::read(self.head())
    }

    fn set_offload(&mut self, offload: Offload) {
        flags::write(self.head_mut(), offload);
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
