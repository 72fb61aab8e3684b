//! Looking after the backends of services: they are asked whether they work, by TCP or HTTP, and
//! what they say decides who gets flows.
//!
//! ```text
//! Prober (a thread of its own) ── Segment ──▶ worker 0 ──▶ by the vrf's routes to the backend
//!        ▲                                                          │
//!        └────────── Heard ── whichever worker it comes to ◀────────┘
//! ```
//!
//! Backends are in tenants' networks, which the node's kernel does not reach, so questions are asked
//! from a gateway's address of the backends' network, and what comes back to that address and
//! [`PORTS`] is handed to the [`Prober`]. Workers only pass segments on: no timer, no state, no lock,
//! and what there is no room for is lost, as on any wire.
//!
//! **Which address asks.** The last gateway of the IP version that the network lists. All nodes have
//! the same gateways, so answers to one find the node only from its own machines: backends behind
//! tunnels are asked only if there is another gateway of that version before it, and the last one is
//! this node's own (the other nodes have a route to it). Otherwise they are taken at their word.

mod probe;
mod prober;
mod schedule;

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use arrayvec::ArrayVec;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::decide::End;
use crate::tables::VrfId;
pub use prober::{News, Prober};

/// The ports that questions come from.
pub const PORTS: RangeInclusive<u16> = 61_440..=65_535;

/// How much of an answer is kept: an HTTP status line up to its number is 12 bytes.
pub const HEAD: usize = 16;

/// Segments that may wait on either way.
const ROOM: usize = 4_096;

/// A TCP segment to be sent to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The network.
    pub vrf: VrfId,
    /// A gateway's address, and one of [`PORTS`].
    pub src: End,
    /// The backend's.
    pub dst: End,
    /// Of the first byte.
    pub sequence: u32,
    /// The byte expected next.
    pub acknowledgment: u32,
    /// As in the header.
    pub flags: u8,
    /// What it carries; shared with the prober, so that a worker frees nothing.
    pub payload: Arc<[u8]>,
}

/// A TCP segment that a backend sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The network.
    pub vrf: VrfId,
    /// The backend's.
    pub src: End,
    /// A gateway's address, and one of [`PORTS`].
    pub dst: End,
    /// Of the first byte.
    pub sequence: u32,
    /// The byte expected next.
    pub acknowledgment: u32,
    /// As in the header.
    pub flags: u8,
    /// How much it carries, in bytes.
    pub len: u32,
    /// Its first bytes.
    pub head: ArrayVec<u8, HEAD>,
}

/// Between the prober and the workers; nobody is at the other end until somebody opens it.
#[derive(Debug, Default)]
pub struct Wire {
    heard: OnceLock<Sender<Heard>>,
    questions: OnceLock<Receiver<Segment>>,
}

impl Wire {
    /// The prober's end. `None` if somebody has it.
    pub fn open(&self) -> Option<(Sender<Segment>, Receiver<Heard>)> {
        let (ask, questions) = bounded(ROOM);
        let (heard, hear) = bounded(ROOM);
        self.questions.set(questions).ok()?;
        self.heard.set(heard).ok()?;
        Some((ask, hear))
    }

    /// Takes answers as this one does, and tells nobody.
    pub(crate) fn deaf(&self) -> Wire {
        let wire = Wire::default();
        if self.is_open() {
            let (heard, _) = bounded(1);
            _ = wire.heard.set(heard);
        }
        wire
    }

    /// True if what backends answer is waited for.
    pub fn is_open(&self) -> bool {
        self.heard.get().is_some()
    }

    /// Hands on what a backend answered; lost if there is no room.
    pub fn hear(&self, heard: Heard) {
        if let Some(to) = self.heard.get() {
            _ = to.try_send(heard);
        }
    }

    /// What is to be sent next.
    pub fn next(&self) -> Option<Segment> {
        self.questions.get()?.try_recv().ok()
    }
}
