//! What can be seen of packets without being in their way: those dropped, with headers and cause
//! ([`drops`], [`cause`]); those that pass a vif ([`capture`]); how busy workers are ([`pulse`]).
//!
//! A worker has one [`Observer`], which stages reach through the outbox. What nobody asked for costs
//! one branch per batch; what is dropped is noted by allowance (`sampling`); everything leaves the
//! worker through rings of fixed size ([`ring`]), and whoever reads too slowly misses some.

pub mod capture;
pub mod cause;
pub mod drops;
pub mod filter;
pub mod pulse;
pub mod ring;
mod sampling;

use std::sync::Arc;

use encap::{Buffer, Meta};
use flowtable::Ticks;

use crate::reason::DropReason;
use crate::stage::{Context, Ingress, Lane, Next, Translated};
use crate::tables::{NexthopId, Tables, Vif, VifId};
use capture::{Tap, Way};
use drops::{Noter, Notes};
use pulse::{Beat, Pulse};

/// One worker's side of all that is observed.
pub struct Observer {
    /// Where dropped packets are noted; nowhere in a replay or benchmark.
    drops: Option<Noter>,
    /// Captures that run.
    taps: Vec<Tap>,
    beat: Beat,
}

/// Where a drop counts, and by which configuration.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    tables: &'a Tables,
    vif: VifId,
}

impl Observer {
    /// Observes nothing yet.
    pub fn new() -> Observer {
        Observer {
            drops: None,
            taps: Vec::new(),
            beat: Beat::new(),
        }
    }

    /// Notes dropped packets from now on, to be read from what this returns.
    pub fn note_drops(&mut self) -> Notes {
        let (noter, notes) = drops::notes();
        self.drops = Some(noter);
        notes
    }

    /// Where to read how the worker does.
    pub fn pulse(&self) -> Arc<Pulse> {
        self.beat.pulse()
    }

    /// Captures from now on, until whoever reads has gone.
    pub fn tap(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    /// A round begins.
    #[inline]
    pub fn round(&mut self, now: Ticks) {
        if let Some(drops) = &mut self.drops {
            drops.now = now;
        }
        if !self.taps.is_empty() {
            self.taps.retain(|tap| !tap.is_over());
        }
    }

    /// A batch has come from a vif.
    #[inline]
    pub fn received<B: Buffer>(&mut self, vif: &Vif, packets: &[B]) {
        self.beat.begin(packets.len());
        if !self.taps.is_empty() {
            self.see(vif, Way::Rx, packets);
        }
    }

    /// What came of the batch received last has been sent.
    #[inline]
    pub fn finished(&mut self) {
        self.beat.end();
    }

    /// A batch is about to be handed to a vif's device.
    #[inline]
    pub fn sending<B: Buffer>(&mut self, vif: &Vif, packets: &[B]) {
        if !self.taps.is_empty() {
            self.see(vif, Way::Tx, packets);
        }
    }

    #[cold]
    fn see<B: Buffer>(&mut self, vif: &Vif, way: Way, packets: &[B]) {
        for tap in &mut self.taps {
            tap.see(vif, way, packets);
        }
    }

    /// A packet in hand that the caller is about to have counted as dropped: to be said before it is
    /// freed, so that its headers can be seen. Returns the reason.
    #[cold]
    pub fn dropping<B: Buffer>(
        &mut self,
        place: Place,
        lane: &Lane,
        packet: &B,
        reason: DropReason,
    ) -> DropReason {
        if let Some(drops) = &mut self.drops {
            drops.packet(place, lane, reason, packet);
        }
        reason
    }

    /// A drop has been counted.
    #[cold]
    pub fn dropped(&mut self, place: Place, lane: &Lane, reason: DropReason) {
        if let Some(drops) = &mut self.drops {
            drops.counted(place, lane, reason);
        }
    }

    /// A packet could not be sent on a vif, which counts it.
    #[cold]
    pub fn undelivered<B: Buffer>(
        &mut self,
        place: Place,
        vif: &Vif,
        packet: &B,
        reason: DropReason,
    ) {
        let lane = Lane {
            meta: Meta::new(0, 0),
            vrf: vif.vrf,
            exit: Lane::SAME,
            is_special: false,
            // It is as it would have left.
            translated: Translated::Yes,
            is_copy: false,
            ingress: Ingress::vif(vif.id),
            entropy: 0,
            named: NexthopId(0),
            next: Next::Drop(reason),
        };
        self.dropping(place, &lane, packet, reason);
        self.dropped(place, &lane, reason);
    }
}

impl Default for Observer {
    fn default() -> Self {
        Observer::new()
    }
}

impl<'a> Place<'a> {
    /// On a vif.
    pub fn new(tables: &'a Tables, vif: &Vif) -> Place<'a> {
        Place {
            tables,
            vif: vif.id,
        }
    }
}

impl<'a> From<&Context<'a>> for Place<'a> {
    /// Where the batch came from.
    fn from(context: &Context<'a>) -> Place<'a> {
        Place::new(context.tables, context.vif)
    }
}
