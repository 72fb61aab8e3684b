//! The flow table: keys for the whole batch, one batched lookup, and a decision
//! for what missed.
//!
//! A hit counts only if the packet came from where this direction must come
//! from, and if the configuration that decided is still that of the vrf. A hit
//! that fails either is decided again; the flow keeps its counters and its start.

use arrayvec::ArrayVec;
use encap::{Buffer, EthernetHeader};
use flowtable::{Action, Hit, Insert, Key, NewFlow, Rewrite, SetClass, Verdict, Zone};

use super::state::{self, Step};
use super::{Burst, Context, Lane, Layer, Next};
use crate::accounts;
use crate::decide::{Decision, Headers, Way, decide};
use crate::io::BATCH;
use crate::reason::DropReason;
use crate::tables::{NexthopId, VrfId};

/// Looks up or decides every packet whose flow says what becomes of it.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    let mut lanes: ArrayVec<u8, BATCH> = ArrayVec::new();
    let mut keys: ArrayVec<Key, BATCH> = ArrayVec::new();
    for (index, (packet, lane)) in burst.iter_mut().enumerate() {
        if let Next::Flow(layer) = lane.next {
            match key(lane, layer, packet.bytes()) {
                Some(key) => {
                    lanes.push(index as u8);
                    keys.push(key);
                }
                None => lane.next = Next::Drop(DropReason::Truncated),
            }
        }
    }
    if keys.is_empty() {
        return;
    }
    let mut hashes = [0; BATCH];
    let mut hits = [None; BATCH];
    let count = keys.len();
    context
        .flows
        .lookup_batch(&keys, &mut hashes[..count], &mut hits[..count]);
    // What missed is decided one by one, and then goes into the table.
    for (key, _) in keys.iter().zip(&hits).filter(|(_, hit)| hit.is_none()) {
        context.flows.prefetch(key);
        context.flows.prefetch(&key.reversed());
    }
    for (slot, index) in lanes.iter().enumerate() {
        let index = usize::from(*index);
        let packet = &burst.packets[index];
        let lane = &mut burst.lanes[index];
        lane.entropy = (hashes[slot] >> 16) as u32;
        let found = enter(context, lane, &keys[slot], hits[slot], packet.bytes());
        lane.next = match found {
            Ok(hit) => {
                let len = packet.len() as u32;
                context.flows.touch(&hit, 1, len, context.now);
                follow(&hit)
            }
            Err(reason) => Next::Drop(reason),
        };
    }
}

/// The packet's flow, in the state it is in after this packet.
fn enter(
    context: &Context,
    lane: &Lane,
    key: &Key,
    found: Option<Hit>,
    frame: &[u8],
) -> Result<Hit, DropReason> {
    let mut hit = match found.filter(|hit| is_fresh(context, lane, hit)) {
        Some(hit) => hit,
        None => miss(context, lane, key, found, frame)?,
    };
    let worker = context.flows.worker(context.worker);
    loop {
        match state::next(hit.class(), &lane.meta, !hit.id.is_forward()) {
            Step::Stay => return Ok(hit),
            Step::To(class) => match worker.set_class(&hit, class) {
                // By another packet, of this batch or of another worker's.
                SetClass::Overtaken(now) => hit = now,
                // If there is no room for one more half-open flow, it stays
                // what it is.
                SetClass::Set | SetClass::Refused | SetClass::Gone => return Ok(hit),
            },
            Step::Anew => {
                worker.remove(hit.id, hit.version());
                return miss(context, lane, key, None, frame);
            }
        }
    }
}

/// The key of a packet's direction.
fn key(lane: &Lane, layer: Layer, frame: &[u8]) -> Option<Key> {
    let meta = &lane.meta;
    // Of a later fragment, what stage `fragments` lent it.
    let (src_port, dst_port) = (meta.src_port, meta.dst_port);
    let zone = zone(lane.vrf, layer);
    if let Some((src, dst)) = meta.ipv4_addrs(frame) {
        return Some(Key::ipv4(zone, meta.protocol, src, dst, src_port, dst_port));
    }
    let (src, dst) = meta.ipv6_addrs(frame)?;
    Some(Key::ipv6(zone, meta.protocol, src, dst, src_port, dst_port))
}

/// A vrf's routed and bridged flows are apart: the same addresses may be both.
pub(super) fn zone(vrf: VrfId, layer: Layer) -> Zone {
    let bridged = u32::from(layer == Layer::Bridged);
    // `commit` refuses vrfs beyond 23 bits, so nothing is cut off here.
    Zone::new((vrf.0 << 1 | bridged) & 0xff_ffff).unwrap_or_default()
}

/// The vrf and layer of a flow's key.
pub fn vrf_of(zone: Zone) -> (VrfId, Layer) {
    let layer = match zone.value() & 1 {
        0 => Layer::Routed,
        _ => Layer::Bridged,
    };
    (VrfId(zone.value() >> 1), layer)
}

fn is_fresh(context: &Context, lane: &Lane, hit: &Hit) -> bool {
    let vrf = context.tables.vrf(lane.vrf);
    let is_there = |nexthop: NexthopId| hit.nexthop() == nexthop.0;
    hit.ingress() == lane.ingress.to_bits()
        && lane.direct.is_none_or(is_there)
        && vrf.is_some_and(|vrf| !hit.is_stale(vrf.epoch))
}

fn follow(hit: &Hit) -> Next {
    match hit.verdict() {
        Verdict::Forward => Next::Forward(NexthopId(hit.nexthop()), Layer::Routed),
        Verdict::Bridge => Next::Bridge,
        Verdict::Drop(reason) => Next::Drop(
            DropReason::ALL
                .get(usize::from(reason))
                .copied()
                .unwrap_or(DropReason::Discard),
        ),
    }
}

/// Decides, and enters or renews the flow.
#[cold]
fn miss(
    context: &Context,
    lane: &Lane,
    key: &Key,
    stale: Option<Hit>,
    frame: &[u8],
) -> Result<Hit, DropReason> {
    let (_, layer) = vrf_of(key.zone());
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let headers = Headers {
        vrf: lane.vrf,
        layer,
        src_mac: ethernet.src(),
        dst_mac: ethernet.dst(),
        src_addr: key.src_addr(),
        dst_addr: key.dst_addr(),
        protocol: key.protocol(),
        src_port: key.src_port(),
        dst_port: key.dst_port(),
        direct: lane.direct,
    };
    let decision = decide(context.tables, &headers, lane.ingress)?;
    let forward = action(&decision.forward, &decision, layer);
    let reverse = action(&decision.reverse, &decision, layer);
    if let Some(hit) = stale
        && let Some(hit) = renew(context, hit, &forward, &reverse)
    {
        return Ok(hit);
    }
    let inserted = context.flows.worker(context.worker).insert_pair(&NewFlow {
        forward: key,
        forward_action: &forward,
        reverse: &key.reversed(),
        reverse_action: &reverse,
        class: state::first(&lane.meta),
        vif: accounts::vif_number(&decision),
        vrf: lane.vrf.0,
        now: context.now,
    });
    match inserted {
        Insert::Inserted(hit) => Ok(hit),
        // Another worker, or an earlier packet of this batch, was first.
        Insert::Exists(hit) if is_fresh(context, lane, &hit) => Ok(hit),
        Insert::Exists(hit) => {
            renew(context, hit, &forward, &reverse).ok_or(DropReason::FlowConflict)
        }
        Insert::ReverseTaken(_) => Err(DropReason::FlowConflict),
        Insert::Refused(limit) => Err(limit.into()),
    }
}

/// Gives a flow its new decision; `None` if it is gone. What is forward to the
/// packet at hand may be the flow's reverse.
fn renew(context: &Context, hit: Hit, forward: &Action, reverse: &Action) -> Option<Hit> {
    let (first, second) = match hit.id.is_forward() {
        true => (forward, reverse),
        false => (reverse, forward),
    };
    let worker = context.flows.worker(context.worker);
    worker.update_pair(&hit, first, second)
}

fn action(way: &Way, decision: &Decision, layer: Layer) -> Action {
    Action {
        verdict: match layer {
            Layer::Routed => Verdict::Forward,
            Layer::Bridged => Verdict::Bridge,
        },
        nexthop: way.nexthop.0,
        epoch: decision.epoch,
        ingress: way.ingress.to_bits(),
        rewrite: Rewrite::NONE,
        group_choice: 0,
    }
}
