//! Fragments of tunnel packets for this node, put together before they are opened
//! (RFC 791 §3.2, RFC 8200 §4.5): MPLS over UDP and over GRE from a peer that cuts
//! what does not fit. VXLAN must not come in fragments and is dropped (RFC 7348
//! §4.3). What is in the host's fragments is not read: they go on as they came.
//!
//! Only fragments from a tunnel's remote are kept, each peer's in its own share of
//! what there is (see `fragments::shares`), and for a second: 16 bits of
//! identification come around fast, and a fragment that is left over would go into
//! another packet (RFC 4963). Overlaps spoil the whole packet (RFC 5722, and for
//! IPv4 just the same), exact duplicates only themselves. No ICMP error says that
//! time ran out: a tunnel's other end could do nothing with it.
//!
//! Of UDP only the first fragment says whose it is. Later ones that come before it
//! wait too, and go to the host behind it if it is the host's.
//!
//! The packet keeps the buffer of its first fragment; short ones are copied behind
//! it while there is room, others chained (`encap::reassembly`). So a tenant's
//! packet of 1500 bytes is one piece again, and nothing here needs a new buffer,
//! which might not be there.
//!
//! Each worker has a table of its own, as in `fragments`, and for the same reason:
//! all fragments of a packet come to one worker, whatever uplink they take to it.

use std::sync::Arc;

use arrayvec::ArrayVec;
use encap::reassembly::Whole;
use encap::{Buffer, Error, Fragment, GreHeader, MPLS_UDP_PORT, Meta, Network, VXLAN_PORT};
use encap::{ecn, parse::fragment_payload, protocol, udp};
use flowtable::Ticks;

use super::fragments::datagrams::{Datagrams, Name};
use super::fragments::held::{Chain, Held};
use super::fragments::pieces::{Fit, MAX_PIECES, Piece};
use super::fragments::shares::{Owner, Room};
use super::fragments::{Gauge, LIFETIME_MS, Limits, Usage};
use super::{Burst, Context, Ingress, Lane, Layer, Next, flow};
use crate::reason::DropReason;
use crate::tables::{PeerId, Tables, Vif, VifId};

/// A first fragment of IPv4 that comes so long after another with its identification,
/// in milliseconds, is of another datagram.
const REUSE_MS: u32 = 1_000;

/// One worker's tunnel packets of which fragments are missing.
pub struct Reassembly<B> {
    datagrams: Datagrams<State>,
    held: Held<B>,
    /// What turned out to be the host's, in order; empty between two batches.
    released: Chain,
    timeout_ms: u32,
    gauge: Arc<Gauge>,
}

/// What is known of a datagram from a peer.
enum State {
    /// These wait for the others; the first may be among them, and is a tunnel packet's.
    Waiting { chain: Chain, has_first: bool },
    /// It is the host's.
    Passing,
    /// The rest of it is dropped for this reason.
    Refused(DropReason),
}

/// Whose a fragment is, as far as it says so itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// The first of a packet through a tunnel.
    Tunnel,
    /// The first of a datagram for the host.
    Host,
    /// Nothing.
    Nothing,
}

/// What becomes of a fragment.
enum Place {
    /// It goes on as it is.
    Batch,
    /// To those that wait for the others of this datagram.
    Wait(u32),
    /// It is the one that was missing.
    Complete(u32),
}

/// Takes the batch's fragments of tunnel packets out, and puts the packets in that
/// became whole. Packets that were whole cost a look at their metadata.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>, reassembly: &mut Reassembly<B>) {
    let is_one = |lane: &Lane| lane.meta.fragment != Fragment::Whole;
    if burst.lanes.iter().any(is_one) {
        reassembly.sort_out(context, burst);
    }
}

impl<B: Buffer> Reassembly<B> {
    /// Knows of none, and will never allocate.
    pub fn new(limits: &Limits) -> Reassembly<B> {
        Reassembly {
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

    /// Fills an empty batch with fragments that turned out to be the host's, all from
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
                self.give_up(index, DropReason::ReassemblyTimeout, tables, worker);
            }
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
        for (packet, lane) in packets.into_iter().zip(lanes) {
            let is_one = lane.meta.fragment != Fragment::Whole;
            let kept = match lane.next {
                Next::Drop(_) => Some((packet, lane)),
                _ if is_one => self.take(context, packet, lane),
                _ => Some((packet, lane)),
            };
            if let Some((packet, lane)) = kept {
                burst.packets.push(packet);
                burst.lanes.push(lane);
            }
        }
        self.publish();
    }

    /// Takes a fragment; gives back what goes on in its place, if anything does.
    fn take(&mut self, context: &Context, packet: B, mut lane: Lane) -> Option<(B, Lane)> {
        let (packet, reason) = match self.look_at(context, &packet, &lane) {
            Ok(Place::Batch) => return Some((packet, lane)),
            Ok(Place::Complete(index)) => return self.complete(context, index, packet, lane),
            Ok(Place::Wait(index)) => match self.hold(context, index, packet, lane) {
                Ok(()) => return None,
                Err(packet) => (packet, DropReason::ReassemblyLimit),
            },
            Err(reason) => (packet, reason),
        };
        lane.next = Next::Drop(reason);
        Some((packet, lane))
    }

    /// Takes note of a fragment.
    fn look_at(&mut self, context: &Context, packet: &B, lane: &Lane) -> Result<Place, DropReason> {
        let (meta, frame) = (&lane.meta, packet.bytes());
        let Some((peer, says)) = from_peer(context, meta, frame)? else {
            return Ok(Place::Batch);
        };
        let zone = flow::zone(lane.vrf, Layer::Routed);
        let name = Name::of(meta, frame, zone, Ingress::peer(peer));
        let payload = fragment_payload(frame, meta);
        let piece = payload.and_then(|payload| Piece::new(meta, payload));
        let (Some(name), Some(piece)) = (name, piece) else {
            return Err(DropReason::Truncated);
        };
        let hash = context.flows.hash(&name.key);
        let mut found = self.datagrams.find(hash, &name);
        if let Some(index) = found
            && (self.is_over(index, context.now)
                || self.begins_anew(index, meta, says, context.now))
        {
            let (tables, worker) = (context.tables, context.worker);
            self.give_up(index, DropReason::ReassemblyTimeout, tables, worker);
            found = None;
        }
        let index = match found {
            Some(index) => index,
            None => self.enter(context, hash, name, peer.into())?,
        };
        let refusal = match says {
            Says::Tunnel => refusal(meta, frame, payload),
            Says::Host | Says::Nothing => None,
        };
        if let Some(reason) = refusal {
            return Err(self.refuse(context, index, reason));
        }
        self.add(context, index, piece, says)
    }

    /// Enters a datagram of which nothing is known; another may have to go.
    fn enter(
        &mut self,
        context: &Context,
        hash: u64,
        name: Name,
        owner: Owner,
    ) -> Result<u32, DropReason> {
        let in_the_way = self.datagrams.in_the_way(owner);
        if let Some(other) = in_the_way.map_err(|_| DropReason::ReassemblyLimit)? {
            let (tables, worker) = (context.tables, context.worker);
            self.give_up(other, DropReason::ReassemblyLimit, tables, worker);
        }
        let waiting = State::Waiting {
            chain: Chain::EMPTY,
            has_first: false,
        };
        let entered = self
            .datagrams
            .insert(hash, name, owner, context.now, waiting);
        entered.ok_or(DropReason::ReassemblyLimit)
    }

    /// Adds a piece to a datagram.
    fn add(
        &mut self,
        context: &Context,
        index: u32,
        piece: Piece,
        says: Says,
    ) -> Result<Place, DropReason> {
        let Some(datagram) = self.datagrams.get_mut(index) else {
            unreachable!("it was found or entered a moment ago");
        };
        if let State::Refused(reason) = datagram.state {
            return Err(reason);
        }
        let fit = datagram.pieces.add(piece);
        let is_complete = datagram.pieces.is_complete();
        if let State::Waiting { has_first, .. } = &mut datagram.state {
            if says == Says::Host && *has_first {
                // Two beginnings of one datagram.
                return Err(self.refuse(context, index, DropReason::FragmentOverlap));
            }
            *has_first |= says == Says::Tunnel;
        }
        if says == Says::Host {
            let state = std::mem::replace(&mut datagram.state, State::Passing);
            let chain = state.into_chain();
            self.held.let_go(&chain, |_lane| {});
            self.held.append(&mut self.released, chain);
        }
        if matches!(datagram.state, State::Passing) {
            // What of it is wrong, the host sees for itself.
            if is_complete {
                self.datagrams.remove(index);
            }
            return Ok(Place::Batch);
        }
        match fit {
            Fit::New if is_complete => Ok(Place::Complete(index)),
            Fit::New => Ok(Place::Wait(index)),
            Fit::Again => Err(DropReason::FragmentDuplicate),
            Fit::Overlap => Err(self.refuse(context, index, DropReason::FragmentOverlap)),
            Fit::TooMany => Err(self.refuse(context, index, DropReason::FragmentPieces)),
        }
    }

    /// Lets a fragment wait; hands it back if there is no room for it, and then there
    /// is no point in keeping the others.
    fn hold(&mut self, context: &Context, index: u32, packet: B, lane: Lane) -> Result<(), B> {
        let (tables, worker) = (context.tables, context.worker);
        let Some(owner) = self.datagrams.get(index).map(|datagram| datagram.owner()) else {
            unreachable!("a piece was added to it a moment ago");
        };
        let has_room = loop {
            match self.held.room(owner, packet.len()) {
                Room::Enough => break true,
                Room::None => break false,
                Room::From(other) => match self.held.oldest_of(other) {
                    Some(oldest) => {
                        self.give_up(oldest, DropReason::ReassemblyLimit, tables, worker);
                    }
                    None => break false,
                },
            }
        };
        let held = match self
            .datagrams
            .get_mut(index)
            .map(|datagram| &mut datagram.state)
        {
            Some(State::Waiting { chain, .. }) if has_room => {
                let vif = context.vif.id;
                self.held.push(chain, index, owner, packet, lane, vif)
            }
            _ => Err(packet),
        };
        held.inspect_err(|_packet| {
            self.refuse(context, index, DropReason::ReassemblyLimit);
        })
    }

    /// Puts a datagram together, of which this fragment was missing. It goes on as the
    /// one packet; the others have served.
    fn complete(
        &mut self,
        context: &Context,
        index: u32,
        packet: B,
        mut lane: Lane,
    ) -> Option<(B, Lane)> {
        let state = self.datagrams.remove(index).map(|datagram| datagram.state);
        let mut chain = state.map_or(Chain::EMPTY, State::into_chain);
        let mut fragments = ArrayVec::<(B, Meta), MAX_PIECES>::new();
        let mut vifs = ArrayVec::<VifId, MAX_PIECES>::new();
        fragments.push((packet, lane.meta));
        while let Some(waiter) = self.held.pop(&mut chain) {
            fragments.push((waiter.packet, waiter.lane.meta));
            vifs.push(waiter.vif);
        }
        let united = unite(fragments);
        for vif in vifs.iter().filter_map(|vif| context.tables.vif(*vif)) {
            let counters = vif.counters.block(context.worker);
            match &united {
                Ok(_) => counters.consumed(),
                Err(error) => counters.dropped((*error).into(), 1),
            }
        }
        match united {
            Ok((packet, meta)) => {
                lane.meta = meta;
                Some((packet, lane))
            }
            Err(error) => {
                let own = context.vif.counters.block(context.worker);
                own.dropped(error.into(), 1);
                None
            }
        }
    }

    /// Whether a datagram is too old.
    fn is_over(&self, index: u32, now: Ticks) -> bool {
        let Some(datagram) = self.datagrams.get(index) else {
            return false;
        };
        let limit = match datagram.state {
            State::Waiting { .. } | State::Refused(_) => self.timeout_ms,
            State::Passing => LIFETIME_MS,
        };
        now.since(datagram.since) >= limit
    }

    /// Whether this is the first fragment of another datagram than the one known
    /// by the same identification.
    fn begins_anew(&self, index: u32, meta: &Meta, says: Says, now: Ticks) -> bool {
        let Some(datagram) = self.datagrams.get(index) else {
            return false;
        };
        let is_first = meta.fragment == Fragment::First;
        match datagram.state {
            State::Waiting { .. } => false,
            // Nothing of a tunnel follows the host's.
            State::Passing if says == Says::Tunnel => true,
            State::Passing | State::Refused(_) => {
                let is_old = now.since(datagram.since) >= REUSE_MS;
                is_first && is_old && meta.network == Network::Ipv4
            }
        }
    }

    /// From now on drops everything of a datagram, beginning with what waits.
    fn refuse(&mut self, context: &Context, index: u32, reason: DropReason) -> DropReason {
        if let Some(datagram) = self.datagrams.get_mut(index) {
            let state = std::mem::replace(&mut datagram.state, State::Refused(reason));
            let chain = state.into_chain();
            self.held
                .drop_all(chain, reason, context.tables, context.worker);
        }
        reason
    }

    /// Forgets a datagram, and drops what waits of it.
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

impl State {
    fn into_chain(self) -> Chain {
        match self {
            State::Waiting { chain, .. } => chain,
            State::Passing | State::Refused(_) => Chain::EMPTY,
        }
    }
}

/// The peer that a fragment is from, if it may be of a tunnel packet for this node.
///
/// # Errors
/// [`DropReason::UnknownTunnelSource`] if it is of one, and from nobody's remote.
fn from_peer(
    context: &Context,
    meta: &Meta,
    frame: &[u8],
) -> Result<Option<(PeerId, Says)>, DropReason> {
    let underlay = context.tables.underlay();
    let (src, dst) = meta.addrs(frame).ok_or(DropReason::Truncated)?;
    if meta.tagged || !underlay.is_local(dst) {
        return Ok(None);
    }
    let says = match (meta.protocol, meta.fragment, meta.dst_port) {
        (protocol::GRE, Fragment::First, _) => Says::Tunnel,
        (protocol::UDP, Fragment::First, MPLS_UDP_PORT | VXLAN_PORT) => Says::Tunnel,
        (protocol::UDP, Fragment::First, _) => Says::Host,
        (protocol::GRE | protocol::UDP, ..) => Says::Nothing,
        _ => return Ok(None),
    };
    match underlay.peer(src) {
        Some(peer) => Ok(Some((peer, says))),
        None if says == Says::Tunnel || meta.protocol == protocol::GRE => {
            Err(DropReason::UnknownTunnelSource)
        }
        None => Ok(None),
    }
}

/// Why a datagram with this first fragment is not put together: it is VXLAN; it has
/// extension headers behind the fragment header, which no tunnel's other end writes;
/// or its tunnel headers do not reach the first label (as RFC 1858 has it of others).
fn refusal(meta: &Meta, frame: &[u8], payload: Option<usize>) -> Option<DropReason> {
    const LABEL: usize = 4;

    if meta.protocol == protocol::UDP && meta.dst_port == VXLAN_PORT {
        return Some(DropReason::TunnelFragment);
    }
    if payload != Some(meta.l4.into()) {
        return Some(DropReason::TunnelFragment);
    }
    let headers = match meta.protocol {
        protocol::UDP => udp::LEN,
        _ => {
            let gre = frame.get(meta.l4.into()..).map(GreHeader::split);
            gre?.map_or(usize::MAX - LABEL, |(header, _)| header.header_len())
        }
    };
    let have = usize::from(meta.end.saturating_sub(meta.l4));
    (have < headers + LABEL).then_some(DropReason::TinyFragment)
}

/// Makes one packet of all its fragments, which come in any order.
fn unite<B: Buffer>(mut fragments: ArrayVec<(B, Meta), MAX_PIECES>) -> Result<(B, Meta), Error> {
    fragments.sort_unstable_by_key(|(_, meta)| meta.fragment_offset);
    let classes = fragments.iter().map(|(_, meta)| meta.traffic_class);
    let first = fragments.first().map_or(0, |(_, meta)| meta.traffic_class);
    let traffic_class = ecn::of_fragments(first, classes)?;
    let mut fragments = fragments.into_iter();
    let Some((packet, meta)) = fragments.next() else {
        return Err(Error::FragmentLen);
    };
    let mut whole = Whole::begin(packet, &meta)?;
    for (packet, meta) in fragments {
        whole.add(packet, &meta)?;
    }
    let mut packet = whole.finish(traffic_class)?;
    let meta = encap::parse_packet(&mut packet)?;
    Ok((packet, meta))
}
