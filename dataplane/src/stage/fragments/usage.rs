//! How much a worker may keep of fragments, tenants' or tunnel packets', and how
//! much it keeps.

use std::sync::atomic::{AtomicU32, Ordering};

/// What one worker may keep of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams of which a fragment was seen; some 400 bytes each, taken at
    /// the start.
    pub datagrams: u32,
    /// Packets that wait: of a tenant's for the first fragment, of a tunnel packet
    /// for all others.
    pub held_packets: u32,
    /// Bytes of those packets.
    pub held_bytes: u32,
    /// How long one waits at most, in milliseconds; no longer than
    /// [`super::LIFETIME_MS`].
    pub timeout_ms: u32,
}

impl Limits {
    /// Of tunnel packets, unless configured. A peer that cuts every packet has a few
    /// of them under way at a time.
    pub const REASSEMBLY: Limits = Limits {
        datagrams: 1_024,
        held_packets: 1_024,
        held_bytes: 2 << 20,
        timeout_ms: 1_000,
    };
}

impl Default for Limits {
    /// Of tenants' fragments.
    fn default() -> Limits {
        Limits {
            datagrams: 4_096,
            held_packets: 512,
            held_bytes: 1 << 20,
            timeout_ms: 1_000,
        }
    }
}

/// What one worker keeps of fragments, for others to read; written by that
/// worker once per batch.
#[derive(Debug, Default)]
pub struct Gauge {
    datagrams: AtomicU32,
    held_packets: AtomicU32,
    held_bytes: AtomicU32,
}

/// A reading of a [`Gauge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Datagrams that are not complete.
    pub datagrams: u32,
    /// Packets that wait for others.
    pub held_packets: u32,
    /// Their bytes.
    pub held_bytes: u32,
}

impl Gauge {
    /// Says what is used now; for one writer.
    pub(crate) fn write(&self, usage: Usage) {
        self.datagrams.store(usage.datagrams, Ordering::Relaxed);
        self.held_packets
            .store(usage.held_packets, Ordering::Relaxed);
        self.held_bytes.store(usage.held_bytes, Ordering::Relaxed);
    }

    /// What is used now.
    pub fn read(&self) -> Usage {
        let read = |gauge: &AtomicU32| gauge.load(Ordering::Relaxed);
        Usage {
            datagrams: read(&self.datagrams),
            held_packets: read(&self.held_packets),
            held_bytes: read(&self.held_bytes),
        }
    }
}
