//! Packets that wait for a neighbour's MAC: a bounded while, and a bounded
//! number, so that one silent node holds up nobody and one tenant's packets do
//! not take the room of another's. They wait as they came to stage `forward`, so
//! that a sender can be told that nobody answered.

use std::collections::VecDeque;
use std::sync::Arc;

use arrayvec::ArrayVec;
use encap::{Buffer, EthernetHeader, Inner, MacAddr};
use flowtable::Ticks;

use super::outbox::Outbox;
use super::{Context, Lane, Layer, forward};
use crate::counters::VifCounters;
use crate::observe::Place;
use crate::reason::DropReason;
use crate::tables::neighbour::Neighbour;
use crate::tables::spec::Name;
use crate::tables::{Nexthop, NexthopId, Tables, Target, Tunnel, Vif, VifId, Vrf, VrfId};

/// Packets one worker holds at most.
const MAX_PACKETS: usize = 256;
/// Packets of one vrf held for one neighbour at most; enough for the opening of
/// a few flows.
const MAX_PER_NEIGHBOUR: usize = 32;
/// After three unanswered requests a second apart there is no point in waiting on.
const MAX_WAIT_MS: u32 = 3_000;

/// What one worker holds.
pub struct Waiting<B> {
    packets: VecDeque<Held<B>>,
    /// Those that nobody answered for, whose senders are to be told.
    given_up: VecDeque<Held<B>>,
    /// Which configuration the tunnels are of.
    generation: u64,
}

struct Held<B> {
    packet: B,
    lane: Lane,
    /// The vif it came from, and that vif's counters, whoever has its number by now.
    vif: VifId,
    counters: Arc<VifCounters>,
    way: Way,
    decided: Decided,
    inner: Inner,
    since: Ticks,
}

/// How a packet goes on once the neighbour is known.
#[derive(Clone)]
pub enum Way {
    /// Through a tunnel.
    Tunnel(Arc<Tunnel>),
    /// As it is, to this neighbour.
    Plain(Arc<Neighbour>),
}

/// Why it takes that way; asked again after a commit.
struct Decided {
    nexthop: NexthopId,
    layer: Layer,
    vrf: VrfId,
    /// A new vrf may have an old one's index.
    vrf_name: Name,
    /// Of the vrf, when it was decided.
    epoch: u32,
}

impl<B: Buffer> Waiting<B> {
    /// Holds nothing, and will never allocate.
    pub fn new() -> Waiting<B> {
        Waiting {
            packets: VecDeque::with_capacity(MAX_PACKETS),
            given_up: VecDeque::with_capacity(MAX_PACKETS),
            generation: 0,
        }
    }

    /// Keeps a packet until the neighbour on its path is known. In a full queue
    /// it takes the place of a packet of the vrf that has most in it.
    ///
    /// # Errors
    /// [`DropReason::NeighbourQueueFull`].
    pub fn hold(
        &mut self,
        context: &Context,
        lane: &Lane,
        (nexthop, way): (NexthopId, Way),
        layer: Layer,
        inner: Inner,
        packet: B,
    ) -> Result<(), DropReason> {
        // Packets that came with an older configuration are looked at first.
        if self.packets.is_empty() {
            self.generation = context.tables.generation();
        }
        let vrf = match way {
            Way::Tunnel(_) => lane.exit_vrf(),
            // All tenants leave by the underlay: each has room of its own.
            Way::Plain(_) => lane.vrf,
        };
        let vrf = context.tables.vrf(vrf).ok_or(DropReason::VifGone)?;
        let neighbour = way.neighbour(lane.entropy);
        let alike = |held: &&Held<B>| {
            held.decided.vrf == vrf.id && Arc::ptr_eq(held.neighbour(), neighbour)
        };
        if self.packets.iter().filter(alike).count() >= MAX_PER_NEIGHBOUR {
            return Err(DropReason::NeighbourQueueFull);
        }
        if self.packets.len() == MAX_PACKETS {
            self.make_room(vrf.id, context.worker)?;
        }
        self.packets.push_back(Held {
            packet,
            lane: *lane,
            vif: context.vif.id,
            counters: context.vif.counters.clone(),
            way,
            decided: Decided {
                nexthop,
                layer,
                vrf: vrf.id,
                vrf_name: vrf.name.clone(),
                epoch: vrf.epoch,
            },
            inner,
            since: context.now,
        });
        Ok(())
    }

    /// Drops the youngest packet of the vrf with most, unless that is `vrf`
    /// itself or has hardly more.
    fn make_room(&mut self, vrf: VrfId, worker: usize) -> Result<(), DropReason> {
        let mut counts = ArrayVec::<(VrfId, usize), MAX_PACKETS>::new();
        for held in &self.packets {
            match counts.iter_mut().find(|(id, _)| *id == held.decided.vrf) {
                Some((_, count)) => *count += 1,
                None => counts.push((held.decided.vrf, 1)),
            }
        }
        let own = counts.iter().find(|(id, _)| *id == vrf);
        let own = own.map_or(0, |(_, count)| *count);
        let most = counts.iter().max_by_key(|(_, count)| *count);
        let (most, _) = *most
            .filter(|(_, most)| *most > own + 1)
            .ok_or(DropReason::NeighbourQueueFull)?;
        let mut held = self.packets.iter();
        let youngest = held.rposition(|held| held.decided.vrf == most);
        if let Some(index) = youngest
            && let Some(held) = self.packets.remove(index)
        {
            held.drop_where_it_came_from(DropReason::NeighbourQueueFull, worker);
        }
        Ok(())
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The neighbours that packets wait for, one for each packet.
    pub fn neighbours(&self) -> impl Iterator<Item = &Arc<Neighbour>> {
        self.packets.iter().map(Held::neighbour)
    }

    /// Sends what can go now and drops what waited too long, in order of arrival.
    /// Drops count on the uplink it would have left by, or where it came from if
    /// that uplink is gone.
    pub fn release(&mut self, tables: &Tables, worker: usize, now: Ticks, outbox: &mut Outbox<B>) {
        if self.generation != tables.generation() {
            self.decide_again(tables, worker);
        }
        for _ in 0..self.packets.len() {
            let Some(mut held) = self.packets.pop_front() else {
                return;
            };
            let lane = held.lane;
            let neighbour = held.neighbour();
            let Some(uplink) = tables.vif(neighbour.vif) else {
                held.drop_where_it_came_from(DropReason::VifGone, worker);
                continue;
            };
            let outcome = match neighbour.mac() {
                Some(mac) => held.finish(tables, mac, uplink.mac).and_then(|()| {
                    let pushed = outbox.push(tables, uplink.id, held.packet);
                    pushed.map_err(|_packet| DropReason::VifGone)
                }),
                None if now.since(held.since) < MAX_WAIT_MS => {
                    self.packets.push_back(held);
                    continue;
                }
                None => {
                    let reason = DropReason::NeighbourUnresolved;
                    let place = Place::new(tables, uplink);
                    let observer = &mut outbox.observer;
                    observer.dropping(place, &lane, &held.packet, reason);
                    // What was translated is not what its sender sent.
                    if let Way::Tunnel(_) = held.way {
                        self.given_up.push_back(held);
                    }
                    Err(reason)
                }
            };
            if let Err(reason) = outcome {
                uplink.counters.block(worker).dropped(reason, 1);
                let place = Place::new(tables, uplink);
                outbox.observer.dropped(place, &lane, reason);
            }
        }
    }

    /// A packet that nobody answered for, as it was when it came, with where it came
    /// from, to tell its sender. It is counted already. To be called until there is
    /// none.
    pub fn give_up<'t>(&mut self, tables: &'t Tables) -> Option<(B, Lane, &'t Arc<Vif>)> {
        while let Some(mut held) = self.given_up.pop_front() {
            let vif = tables.vif(held.vif);
            let same = vif.filter(|vif| Arc::ptr_eq(&vif.counters, &held.counters));
            if let (Some(vif), Layer::Routed) = (same, held.decided.layer) {
                // Stage `rewrite` has lowered it.
                encap::rewrite::increment_ttl(held.packet.bytes_mut(), &held.lane.meta);
                return Some((held.packet, held.lane, vif));
            }
        }
        None
    }

    /// After a commit: gives every packet its way as it is now, and drops
    /// those that would go elsewhere or nowhere.
    fn decide_again(&mut self, tables: &Tables, worker: usize) {
        self.generation = tables.generation();
        for _ in 0..self.packets.len() {
            let Some(mut held) = self.packets.pop_front() else {
                return;
            };
            match held.way_now(tables) {
                Ok(way) => {
                    held.way = way;
                    self.packets.push_back(held);
                }
                Err(reason) => held.drop_where_it_came_from(reason, worker),
            }
        }
    }
}

impl<B: Buffer> Held<B> {
    fn neighbour(&self) -> &Arc<Neighbour> {
        self.way.neighbour(self.inner.entropy)
    }

    /// Puts on what depends on the neighbour.
    fn finish(&mut self, tables: &Tables, mac: MacAddr, own: MacAddr) -> Result<(), DropReason> {
        match &self.way {
            Way::Tunnel(tunnel) => {
                let (lane, layer) = (&self.lane, self.decided.layer);
                forward::to_payload(tables, lane, tunnel, layer, &mut self.packet)?;
                let path = tunnel.paths.choose(self.inner.entropy);
                path.header.push(&mut self.packet, mac, &self.inner)?;
            }
            Way::Plain(_) => encap::rewrite::set_macs(self.packet.bytes_mut(), 0, mac, own),
        }
        Ok(())
    }

    /// The way that the network's routes or bridge entries lead to now, if it
    /// is still the same tunnel: its headers are as if it were, inside too.
    fn way_now(&self, tables: &Tables) -> Result<Way, DropReason> {
        let vrf = tables
            .vrf(self.decided.vrf)
            .filter(|vrf| vrf.name == self.decided.vrf_name)
            .ok_or(DropReason::NexthopChanged)?;
        let same = (vrf.epoch == self.decided.epoch).then_some(self.decided.nexthop);
        let nexthop = match (same, &self.way) {
            (Some(same), _) => Some(same),
            (None, Way::Tunnel(_)) => self.leads_to(vrf),
            // Translated for what may be another network now.
            (None, Way::Plain(_)) => None,
        };
        match (
            nexthop.and_then(|nexthop| tables.nexthop(nexthop)),
            &self.way,
        ) {
            (Some(Nexthop::Tunnel(now)), Way::Tunnel(tunnel)) if now.spec == tunnel.spec => {
                Ok(Way::Tunnel(now.clone()))
            }
            (Some(Nexthop::Neighbour(now)), Way::Plain(neighbour))
                if (now.vif, now.addr) == (neighbour.vif, neighbour.addr) =>
            {
                Ok(Way::Plain(now.clone()))
            }
            (Some(Nexthop::Unreachable), Way::Tunnel(_)) => Err(DropReason::NoUnderlayRoute),
            _ => Err(DropReason::NexthopChanged),
        }
    }

    fn leads_to(&self, vrf: &Vrf) -> Option<NexthopId> {
        let frame = self.packet.bytes();
        match self.decided.layer {
            Layer::Routed => {
                let dst = encap::parse(frame).ok()?.dst_addr(frame)?;
                match vrf.routes.lookup(dst)? {
                    Target::Nexthop(nexthop) => Some(nexthop),
                    Target::Gateway | Target::Connected | Target::Vip(_) => None,
                }
            }
            Layer::Bridged => {
                let (ethernet, _) = EthernetHeader::split(frame).ok()?;
                vrf.macs.get(&ethernet.dst()).copied()
            }
        }
    }

    fn drop_where_it_came_from(self, reason: DropReason, worker: usize) {
        self.counters.block(worker).dropped(reason, 1);
    }
}

impl Way {
    /// Who takes packets with this entropy.
    fn neighbour(&self, entropy: u32) -> &Arc<Neighbour> {
        match self {
            Way::Tunnel(tunnel) => &tunnel.paths.choose(entropy).neighbour,
            Way::Plain(neighbour) => neighbour,
        }
    }
}

impl<B: Buffer> Default for Waiting<B> {
    fn default() -> Self {
        Waiting::new()
    }
}
