//! Packets that wait for a neighbour's MAC: a bounded while, and a bounded
//! number per neighbour and worker, so that one silent node holds up nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use encap::{Buffer, Inner};
use flowtable::Ticks;

use super::outbox::Outbox;
use crate::counters::VifCounters;
use crate::reason::DropReason;
use crate::tables::neighbour::Neighbour;
use crate::tables::{Tables, Tunnel, Vif};

/// Packets one worker holds at most.
const MAX_PACKETS: usize = 256;
/// Packets held for one neighbour at most; enough for the opening of a few flows.
const MAX_PER_NEIGHBOUR: usize = 32;
/// After three unanswered requests a second apart there is no point in waiting on.
const MAX_WAIT_MS: u32 = 3_000;

/// What one worker holds.
pub struct Waiting<B> {
    packets: VecDeque<Held<B>>,
}

struct Held<B> {
    packet: B,
    /// Of the vif it came from.
    counters: Arc<VifCounters>,
    tunnel: Arc<Tunnel>,
    inner: Inner,
    since: Ticks,
}

impl<B: Buffer> Waiting<B> {
    /// Holds nothing, and will never allocate.
    pub fn new() -> Waiting<B> {
        Waiting {
            packets: VecDeque::with_capacity(MAX_PACKETS),
        }
    }

    /// Keeps a packet until its tunnel's neighbour is known.
    ///
    /// # Errors
    /// [`DropReason::NeighbourQueueFull`].
    pub fn hold(
        &mut self,
        packet: B,
        from: &Vif,
        tunnel: &Arc<Tunnel>,
        inner: Inner,
        now: Ticks,
    ) -> Result<(), DropReason> {
        let neighbour = &tunnel.neighbour;
        let held = &self.packets;
        let same = held
            .iter()
            .filter(|held| Arc::ptr_eq(&held.tunnel.neighbour, neighbour));
        if held.len() == MAX_PACKETS || same.count() >= MAX_PER_NEIGHBOUR {
            return Err(DropReason::NeighbourQueueFull);
        }
        self.packets.push_back(Held {
            packet,
            counters: from.counters.clone(),
            tunnel: tunnel.clone(),
            inner,
            since: now,
        });
        Ok(())
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The neighbours that packets wait for, one for each packet.
    pub fn neighbours(&self) -> impl Iterator<Item = &Arc<Neighbour>> {
        self.packets.iter().map(|held| &held.tunnel.neighbour)
    }

    /// Sends what can go now and drops what waited too long, in order of arrival.
    /// Drops count on the uplink it would have left by, or where it came from if
    /// that uplink is gone.
    pub fn release(&mut self, tables: &Tables, worker: usize, now: Ticks, outbox: &mut Outbox<B>) {
        for _ in 0..self.packets.len() {
            let Some(mut held) = self.packets.pop_front() else {
                return;
            };
            let Some(uplink) = tables.vif(held.tunnel.egress) else {
                let counters = held.counters.block(worker);
                counters.dropped(DropReason::VifGone, 1);
                continue;
            };
            let outcome = match held.tunnel.neighbour.mac() {
                Some(mac) => {
                    let header = &held.tunnel.header;
                    header
                        .push(&mut held.packet, mac, &held.inner)
                        .map_err(DropReason::from)
                        .and_then(|()| {
                            let pushed = outbox.push(tables, uplink.id, held.packet);
                            pushed.map_err(|_packet| DropReason::VifGone)
                        })
                }
                None if now.since(held.since) < MAX_WAIT_MS => {
                    self.packets.push_back(held);
                    continue;
                }
                None => Err(DropReason::NeighbourUnresolved),
            };
            if let Err(reason) = outcome {
                uplink.counters.block(worker).dropped(reason, 1);
            }
        }
    }
}

impl<B: Buffer> Default for Waiting<B> {
    fn default() -> Self {
        Waiting::new()
    }
}
