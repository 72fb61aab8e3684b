//! Pools of packet buffers.

use std::ffi::{CString, c_int};
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use dpdk_sys::rte_mempool;

use super::eal::errno;
use super::{Eal, Mbuf, log};
use crate::io::Pool;

/// Bytes for a frame in a buffer of [`Mempool::jumbo`]: three pages, which hold a
/// frame of 9234 bytes with what af_packet's ring puts before it.
pub(super) const JUMBO_ROOM: u16 = 12_288;

/// The size of a pool. Costs about `count` × (`data_room` + 256) bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolConfig {
    /// Buffers. Each receive queue keeps up to 1024 and each worker `cache`;
    /// one less than a power of two wastes least.
    pub count: u32,
    /// Bytes in a buffer: headroom, frame and tailroom.
    pub data_room: u16,
    /// Buffers that each worker keeps for itself, at most 512.
    pub cache: u32,
}

impl MempoolConfig {
    /// The longest frame a fresh buffer takes behind its headroom, in bytes.
    pub fn frame_room(&self) -> usize {
        usize::from(self.data_room).saturating_sub(dpdk_sys::RTE_PKTMBUF_HEADROOM as usize)
    }
}

impl Default for MempoolConfig {
    fn default() -> Self {
        Self {
            count: 16_383,
            // Frames of 2 KiB (what the rings of af_packet hold by default)
            // behind room for an outer Ethernet, IPv6, UDP and VXLAN header.
            data_room: 2048 + dpdk_sys::RTE_PKTMBUF_HEADROOM as u16,
            cache: 256,
        }
    }
}

/// A pool of buffers, shared by all threads and ports; copies are the same pool.
///
/// Lives until the process ends: an [`Mbuf`] is a bare pointer into it, so
/// that bursts need not count references, and nobody can tell when the last
/// one is gone without racing a cache of another thread.
#[derive(Clone, Copy, Debug)]
pub struct Mempool {
    raw: NonNull<rte_mempool>,
    config: MempoolConfig,
}

// SAFETY: DPDK's pools are made for use by many threads.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Reserves the buffers.
    ///
    /// # Errors
    /// [`MempoolError`] if the environment has too little memory left, or the
    /// configuration makes no sense to DPDK.
    pub fn new(_: Eal, config: MempoolConfig) -> Result<Self, MempoolError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("vrouter-{number}")).unwrap_or_default();
        let (raw, said) = log::collect(|| {
            // SAFETY: the environment runs, as the token shows; DPDK copies the
            // name.
            unsafe {
                dpdk_sys::rte_pktmbuf_pool_create(
                    name.as_ptr(),
                    config.count,
                    config.cache,
                    0,
                    config.data_room,
                    dpdk_sys::SOCKET_ID_ANY as c_int,
                )
            }
        });
        match NonNull::new(raw) {
            Some(raw) => Ok(Self { raw, config }),
            None => Err(MempoolError {
                config,
                said: if said.is_empty() { errno() } else { said },
            }),
        }
    }

    /// The buffers of ports that receive no frame into several, and longer ones
    /// than fit one of an ordinary pool. Made when first asked for; 25 MiB.
    ///
    /// Such ports copy frames out of a ring of their own, so that few buffers are
    /// in use at a time.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn jumbo(eal: Eal) -> Result<Self, MempoolError> {
        static MADE: Mutex<Option<Mempool>> = Mutex::new(None);
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = *made {
            return Ok(pool);
        }
        let pool = Self::new(
            eal,
            MempoolConfig {
                count: 2_047,
                data_room: JUMBO_ROOM + dpdk_sys::RTE_PKTMBUF_HEADROOM as u16,
                cache: 64,
            },
        )?;
        *made = Some(pool);
        Ok(pool)
    }

    /// Buffers that are not in use, wherever they lie. Exact only while no
    /// other thread works.
    pub fn available(&self) -> usize {
        // SAFETY: the pool is never freed.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) as usize }
    }

    /// What the pool was made with.
    pub fn config(&self) -> MempoolConfig {
        self.config
    }

    pub(super) fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }
}

impl Pool<Mbuf> for Mempool {
    fn alloc(&mut self) -> Option<Mbuf> {
        // SAFETY: the pool is never freed.
        let raw = unsafe { dpdk_sys::vr_mbuf_alloc(self.raw.as_ptr()) };
        // SAFETY: fresh from the pool, one segment, and ours.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }
}

/// Why there is no pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MempoolError {
    /// What was asked for.
    pub config: MempoolConfig,
    /// What DPDK said.
    pub said: String,
}

impl fmt::Display for MempoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MempoolConfig {
            count, data_room, ..
        } = self.config;
        let mebibytes = (u64::from(count) * (u64::from(data_room) + 256)).div_ceil(1 << 20);
        write!(
            f,
            "no pool of {count} packet buffers of {data_room} bytes ({}): it takes about \
             {mebibytes} MiB of DPDK's memory; give DPDK more, or ask for fewer buffers",
            self.said
        )
    }
}

impl std::error::Error for MempoolError {}
