//! Fragments of tenants' datagrams: the first one has the ports, and lends them
//! to the others, so that all of them find the flow of the whole packets between
//! the same ports: one verdict, one translation, one entropy.
//!
//! A fragment that comes before the first one waits for it, a bounded while, and
//! goes on right behind it. Nothing is put together here; what overlaps is
//! refused (RFC 5722, RFC 8200 §4.5, and for IPv4 just the same), as are tiny
//! fragments already in `encap::parse` (RFC 1858, RFC 3128).
//!
//! A datagram is forgotten when all its bytes were seen, at the latest after
//! [`LIFETIME_MS`]. When there is no room, the vrf that has most makes it (see
//! `shares`), so that a flood costs its sender's network and nobody else.
//!
//! Each worker has a table of its own and shares nothing: fragments of one
//! datagram must arrive at one worker. NICs see to it, as they spread fragments,
//! first or not, by addresses alone; a port with one queue does anyway; and out
//! of a tunnel they come with one source port if its other end knows of flows
//! what this one knows. Where somebody spreads them all the same, those without
//! the first one are dropped as `fragment_timeout`.

pub(super) mod datagrams;
pub(super) mod held;
pub(super) mod pieces;
pub(super) mod shares;
mod usage;

use std::net::IpAddr;
use std::sync::Arc;

use encap::{Buffer, Fragment, Network, parse::fragment_payload};
use flowtable::Ticks;

use self::datagrams::{Datagram, Datagrams, Name, Ports, State};
use self::held::{Chain, Held};
use self::pieces::{Fit, Piece};
use self::shares::Room;
pub use self::usage::{Gauge, Limits, Usage};
use super::{Burst, Context, Lane, Layer, Next, flow};
use crate::reason::DropReason;
use crate::tables::{Tables, Vif, VifId, VrfId};

/// How long a datagram is remembered that never becomes complete, in
/// milliseconds: half of what RFC 8200 §4.5 lets reassembly take.
pub const LIFETIME_MS: u32 = 30_000;

/// A first fragment of IPv4 that comes again after so long, in milliseconds, is
/// of another datagram: 16 bits of identification come around (RFC 6864 §4.3).
const REUSE_MS: u32 = 1_000;

/// One worker's fragments.
pub struct Fragments<B> {
    datagrams: Datagrams<State>,
    held: Held<B>,
    /// What need not wait any longer, in order; empty between two batches.
    released: Chain,
    timeout_ms: u32,
    gauge: Arc<Gauge>,
}

/// Lends the batch's later fragments their ports, or takes them out of the batch
/// to wait. Packets that are whole cost a look at their metadata.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>, fragments: &mut Fragments<B>) {
    let is_one = |lane: &Lane| lane.meta.fragment != Fragment::Whole;
    if burst.lanes.iter().any(is_one) {
        fragments.sort_out(context, burst);
    }
}

impl<B: Buffer> Fragments<B> {
    /// Knows of none, and will never allocate.
    pub fn new(limits: &Limits) -> Fragments<B> {
        Fragments {
            datagrams: Datagrams::new(limits.datagrams),
            held: Held::new(limits),
            released: Chain::EMPTY,
            timeout_ms: limits.timeout_ms.min(LIFETIME_MS),
            gauge: Arc::default(),
        }
    }

    /// Where to read from elsewhere how much is in use.
    pub fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// True if packets wait.
    pub fn is_waiting(&self) -> bool {
        self.held.packets() > 0
    }

    /// Fills an empty batch with packets that need not wait any longer, all from
    /// the vif that is returned. To be called until there are none.
    pub fn release<'t>(
        &mut self,
        tables: &'t Tables,
        burst: &mut Burst<B>,
    ) -> Option<&'t Arc<Vif>> {
        if self.released.is_empty() {
            return None;
        }
        let vif = self.held.fill(&mut self.released, tables, burst);
        self.publish();
        vif
    }

    /// Forgets what is too old: a part of the datagrams at each call.
    pub fn expire(&mut self, tables: &Tables, worker: usize, now: Ticks) {
        if self.datagrams.len() == 0 {
            return;
        }
        for index in self.datagrams.due(now) {
            if self.is_over(index, now) {
                self.give_up(index, DropReason::FragmentTimeout, tables, worker);
            }
        }
        self.publish();
    }

    /// Forgets everything in a vrf that was removed, before its number is given
    /// to another.
    pub fn forget_vrf(&mut self, vrf: VrfId, tables: &Tables, worker: usize) {
        while let Some(index) = self.datagrams.oldest_of(vrf.into()) {
            self.give_up(index, DropReason::VifGone, tables, worker);
        }
        self.publish();
    }

    /// Forgets what came from a vif that was removed, before its number is given
    /// to another.
    pub fn forget_vif(&mut self, vif: VifId, tables: &Tables, worker: usize) {
        while let Some(index) = self.held.any_from(vif) {
            self.give_up(index, DropReason::VifGone, tables, worker);
        }
        self.publish();
    }

    /// Looks at every packet of the batch; those that wait are no longer in it.
    #[cold]
    fn sort_out(&mut self, context: &Context, burst: &mut Burst<B>) {
        let packets = std::mem::take(&mut burst.packets);
        let lanes = std::mem::take(&mut burst.lanes);
        for (packet, mut lane) in packets.into_iter().zip(lanes) {
            let place = match lane.next {
                Next::Flow(layer) if lane.meta.fragment != Fragment::Whole => {
                    self.look_at(context, &mut lane, layer, &packet)
                }
                _ => Ok(Place::Batch),
            };
            let kept = match place {
                Ok(Place::Batch) => Ok(packet),
                Ok(Place::Wait(index)) => match self.hold(context, index, packet, lane) {
                    Ok(()) => continue,
                    Err(packet) => Err((packet, DropReason::FragmentLimit)),
                },
                Err(reason) => Err((packet, reason)),
            };
            burst.packets.push(kept.unwrap_or_else(|(packet, reason)| {
                lane.next = Next::Drop(reason);
                packet
            }));
            burst.lanes.push(lane);
        }
        self.publish();
    }

    /// Takes note of a fragment, and lends it its ports if they are known.
    fn look_at(
        &mut self,
        context: &Context,
        lane: &mut Lane,
        layer: Layer,
        packet: &B,
    ) -> Result<Place, DropReason> {
        let frame = packet.bytes();
        let zone = flow::zone(lane.vrf, layer);
        let name = Name::of(&lane.meta, frame, zone, lane.ingress);
        let payload = fragment_payload(frame, &lane.meta);
        let piece = payload.and_then(|payload| Piece::new(&lane.meta, payload));
        let (Some(name), Some(piece)) = (name, piece) else {
            return Err(DropReason::Truncated);
        };
        let hash = context.flows.hash(&name.key);
        let dst = name.key.dst_addr();
        let mut found = self.datagrams.find(hash, &name);
        if let Some(index) = found
            && (self.is_over(index, context.now) || self.begins_anew(index, lane, context.now))
        {
            let (tables, worker) = (context.tables, context.worker);
            self.give_up(index, DropReason::FragmentTimeout, tables, worker);
            found = None;
        }
        let index = match found {
            Some(index) => index,
            None => {
                let must_wait = lane.meta.fragment == Fragment::Later;
                if must_wait && self.held.room(lane.vrf.into(), packet.len()) == Room::None {
                    return Err(DropReason::FragmentLimit);
                }
                self.enter(context, hash, name, lane.vrf)?
            }
        };
        self.add(context, index, lane, (piece, dst))
    }

    /// Enters a datagram of which nothing is known; another may have to go.
    fn enter(
        &mut self,
        context: &Context,
        hash: u64,
        name: Name,
        vrf: VrfId,
    ) -> Result<u32, DropReason> {
        if let Some(other) = self.datagrams.in_the_way(vrf.into())? {
            let (tables, worker) = (context.tables, context.worker);
            self.give_up(other, DropReason::FragmentLimit, tables, worker);
        }
        let unknown = State::Unknown(Chain::EMPTY);
        let owner = vrf.into();
        let entered = self
            .datagrams
            .insert(hash, name, owner, context.now, unknown);
        entered.ok_or(DropReason::FragmentLimit)
    }

    /// Adds a piece to a datagram.
    fn add(
        &mut self,
        context: &Context,
        index: u32,
        lane: &mut Lane,
        (piece, dst): (Piece, IpAddr),
    ) -> Result<Place, DropReason> {
        let Some(datagram) = self.datagrams.get_mut(index) else {
            unreachable!("it was found or entered a moment ago");
        };
        let first = (lane.meta.fragment == Fragment::First).then(|| Ports::of(&lane.meta));
        let wrong = match (&datagram.state, datagram.pieces.add(piece), first) {
            (State::Refused(reason), ..) => return Err(*reason),
            (_, Fit::Overlap, _) => Some(DropReason::FragmentOverlap),
            (_, Fit::TooMany, _) => Some(DropReason::FragmentPieces),
            // Two beginnings of one datagram.
            (State::Known(ports, _), _, Some(first)) if first != *ports => {
                Some(DropReason::FragmentOverlap)
            }
            _ => None,
        };
        if let Some(reason) = wrong {
            let state = std::mem::replace(&mut datagram.state, State::Refused(reason));
            let chain = state.into_chain();
            self.held
                .drop_all(chain, reason, context.tables, context.worker);
            return Err(reason);
        }
        if let (State::Unknown(_), Some(ports)) = (&datagram.state, first) {
            let id = context.tables.sessions().ids.next(context.flows, dst);
            let state = std::mem::replace(&mut datagram.state, State::Known(ports, id));
            let chain = state.into_chain();
            self.held.let_go(&chain, |lane| {
                ports.give_to(&mut lane.meta);
                lane.meta.fragment_id = id.into();
            });
            self.held.append(&mut self.released, chain);
        }
        let State::Known(ports, id) = datagram.state else {
            return Ok(Place::Wait(index));
        };
        ports.give_to(&mut lane.meta);
        lane.meta.fragment_id = id.into();
        if datagram.pieces.is_complete() {
            self.datagrams.remove(index);
        }
        Ok(Place::Batch)
    }

    /// Lets a packet wait for the first fragment of its datagram; hands it back
    /// if there is no room for it.
    fn hold(&mut self, context: &Context, index: u32, packet: B, lane: Lane) -> Result<(), B> {
        let (tables, worker) = (context.tables, context.worker);
        let has_room = loop {
            match self.held.room(lane.vrf.into(), packet.len()) {
                Room::Enough => break true,
                Room::None => break false,
                Room::From(other) => match self.held.oldest_of(other) {
                    Some(oldest) => self.give_up(oldest, DropReason::FragmentLimit, tables, worker),
                    None => break false,
                },
            }
        };
        let Some(Datagram {
            state: State::Unknown(chain),
            ..
        }) = self.datagrams.get_mut(index)
        else {
            unreachable!("only another vrf's datagrams were given up");
        };
        let held = match has_room {
            true => {
                let owner = lane.vrf.into();
                self.held
                    .push(chain, index, owner, packet, lane, context.vif.id)
            }
            false => Err(packet),
        };
        if chain.is_empty() {
            self.datagrams.remove(index); // of which there is nothing else
        }
        held
    }

    /// Whether a datagram is too old, or has packets that waited too long.
    fn is_over(&self, index: u32, now: Ticks) -> bool {
        let Some(datagram) = self.datagrams.get(index) else {
            return false;
        };
        let limit = match datagram.state {
            State::Unknown(_) => self.timeout_ms,
            State::Known(..) | State::Refused(_) => LIFETIME_MS,
        };
        now.since(datagram.since) >= limit
    }

    /// Whether this is the first fragment of another datagram than the one known
    /// by the same identification.
    fn begins_anew(&self, index: u32, lane: &Lane, now: Ticks) -> bool {
        lane.meta.fragment == Fragment::First
            && lane.meta.network == Network::Ipv4
            && self.datagrams.get(index).is_some_and(|datagram| {
                let waits = matches!(datagram.state, State::Unknown(_));
                !waits && now.since(datagram.since) >= REUSE_MS
            })
    }

    /// Forgets a datagram, and drops what waits for its first fragment.
    fn give_up(&mut self, index: u32, reason: DropReason, tables: &Tables, worker: usize) {
        if let Some(datagram) = self.datagrams.remove(index) {
            let chain = datagram.state.into_chain();
            self.held.drop_all(chain, reason, tables, worker);
        }
    }

    fn publish(&self) {
        self.gauge.write(Usage {
            datagrams: self.datagrams.len(),
            held_packets: self.held.packets(),
            held_bytes: self.held.bytes(),
        });
    }
}

/// Where a fragment goes.
enum Place {
    /// On with the others.
    Batch,
    /// To those that wait for the first one of this datagram.
    Wait(u32),
}
