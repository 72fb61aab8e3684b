//! The flow table: keys for the whole batch, one batched lookup, and a decision
//! for what missed.
//!
//! A hit counts only if the packet came from where this direction must come
//! from, and if the configuration that decided is still that of the vrf. A hit
//! that fails either is decided again: for a changed configuration as if the
//! flow's first packet came once more, whichever direction is at hand, so that
//! replies need no rule of their own; what it was given it keeps where that is
//! still legal. The flow keeps its counters and its start, unless it is another
//! flow to the receiver now.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use encap::{Buffer, EthernetHeader, protocol, tcp};
use flowtable::{
    Action, Class, FlowView, Hit, Insert, Key, NewFlow, Rewrite, SetClass, Translation, Verdict,
    Zone,
};

use super::state::{self, Step};
use super::{Burst, Context, Ingress, Lane, Layer, Next, policy, related, segment};
use crate::accounts;
use crate::decide::routed::way_back;
use crate::decide::{Decision, End, Headers, Kept, Note, Way, decide};
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
            // Of a query whose identifier is 0, as that of an error seems to be.
            Ok(hit) if hit.is_translated() && related::is_error(&lane.meta) => {
                Next::Drop(DropReason::ErrorUnrelated)
            }
            Ok(hit) => {
                let len = packet.len() as u32;
                context.flows.touch(&hit, 1, len, context.now);
                segment::note(context, &hit, &lane.meta, packet.bytes());
                if hit.is_translated() || hit.flags() != 0 {
                    lane.is_special = true;
                    burst.hits[index] = Some(hit);
                }
                lane.exit = hit.exit();
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
    let mut hit = match found {
        Some(hit) if is_fresh(context, lane, &hit) => hit,
        Some(hit) => again(context, lane, key, hit, frame)?,
        None => miss(context, lane, key, frame)?,
    };
    let worker = context.flows.worker(context.worker);
    loop {
        match state::next(hit.class(), &lane.meta, !hit.id.is_forward()) {
            Step::Stay => return Ok(hit),
            Step::To(Class::Closed)
                if lane.meta.l4_flags & tcp::RST != 0
                    && segment::is_off(context, &hit, &lane.meta, frame) =>
            {
                return Ok(hit);
            }
            Step::To(class) => match worker.set_class(&hit, class) {
                // By another packet, of this batch or of another worker's.
                SetClass::Overtaken(now) => hit = now,
                // If there is no room for one more half-open flow, it stays
                // what it is.
                SetClass::Set | SetClass::Refused | SetClass::Gone => return Ok(hit),
            },
            Step::Anew => {
                worker.remove(hit.id, hit.version());
                return miss(context, lane, key, frame);
            }
        }
    }
}

/// The key of a packet's direction.
pub(crate) fn key(lane: &Lane, layer: Layer, frame: &[u8]) -> Option<Key> {
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

pub(crate) fn is_fresh(context: &Context, lane: &Lane, hit: &Hit) -> bool {
    let vrf = context.tables.vrf(lane.vrf);
    comes_from_there(lane, hit)
        && vrf.is_some_and(|vrf| !hit.is_stale(vrf.epoch))
        // A group's flow moves as soon as its member fails; that is no commit.
        && (hit.group_choice() == 0 || context.tables.is_usable(NexthopId(hit.nexthop())))
}

/// Whether a packet of a flow whose other direction goes to a group came by another member of it than
/// before: the other end may send by any.
pub(super) fn comes_by_other_member(
    context: &Context,
    lane: &Lane,
    key: &Key,
    flow: &FlowView,
    hit: &Hit,
) -> bool {
    let back = match hit.id.is_forward() {
        true => &flow.reverse_action,
        false => &flow.forward_action,
    };
    let (Some(peer), Some(vrf)) = (lane.ingress.as_peer(), context.tables.vrf(lane.vrf)) else {
        return false;
    };
    back.group_choice != 0
        && lane.direct().is_none()
        && way_back(context.tables, vrf, key.src_addr(), peer).is_ok()
}

/// Whether the packet came from where this direction of its flow comes from.
fn comes_from_there(lane: &Lane, hit: &Hit) -> bool {
    let is_there = |nexthop: NexthopId| hit.nexthop() == nexthop.0;
    hit.ingress() == lane.ingress.to_bits() && lane.direct().is_none_or(is_there)
}

pub(super) fn follow(hit: &Hit) -> Next {
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

/// Decides about a packet that is the first of its flow, and enters the flow.
#[cold]
fn miss(context: &Context, lane: &Lane, key: &Key, frame: &[u8]) -> Result<Hit, DropReason> {
    let (headers, ingress) = as_first(lane, key, frame)?;
    let decision = ask(context, lane, &headers, ingress)?;
    insert(
        context,
        lane,
        key,
        &decision,
        state::first(&lane.meta),
        frame,
    )
}

/// Decides again about a flow whose hit does not count.
#[cold]
fn again(
    context: &Context,
    lane: &Lane,
    key: &Key,
    hit: Hit,
    frame: &[u8],
) -> Result<Hit, DropReason> {
    let worker = context.flows.worker(context.worker);
    let Some(flow) = context.flows.flow(hit.id, hit.version()) else {
        return miss(context, lane, key, frame);
    };
    // From elsewhere than before: whoever that is asks for itself.
    let is_from_there = comes_from_there(lane, &hit);
    let is_other = !is_from_there && !comes_by_other_member(context, lane, key, &flow, &hit);
    let asked = match is_other {
        true => as_first(lane, key, frame),
        false => as_before(lane, &flow, hit.id.is_forward(), frame),
    };
    let (headers, ingress) = asked?;
    let mut decision = match ask(context, lane, &headers, ingress) {
        Ok(decision) => decision,
        Err(reason) => {
            if !is_other {
                worker.remove(hit.id, hit.version());
            }
            return Err(reason);
        }
    };
    if !is_other && !is_from_there {
        // Only where it comes from is another; where answers go stays.
        let way = match hit.id.is_forward() {
            true => &mut decision.forward,
            false => &mut decision.reverse,
        };
        way.ingress = lane.ingress;
    }
    let is_forward = !is_other || hit.id.is_forward();
    let (first, second) = match is_forward {
        true => (flow.forward, flow.reverse),
        false => (flow.reverse, flow.forward),
    };
    if reply_key(&first, &decision) != second {
        // To the receiver this is another flow, and there cannot be both.
        worker.remove(hit.id, hit.version());
        let hit = insert(context, lane, &first, &decision, flow.class, frame)?;
        return other_side(context, hit, key);
    }
    let actions = actions(&first, &decision);
    let (forward, reverse) = match is_forward {
        true => (&actions.0, &actions.1),
        false => (&actions.1, &actions.0),
    };
    match worker.update_pair(&hit, forward, reverse) {
        Some(hit) => {
            worker.annotate(&hit, decision.note.to_words());
            let held = Note::from_words(flow.note).binding;
            if held != 0 {
                context.tables.sessions().let_go(held, &flow);
            }
            Ok(hit)
        }
        None => miss(context, lane, key, frame),
    }
}

/// The hit of the direction with this key, of a flow that was entered a moment ago.
fn other_side(context: &Context, hit: Hit, key: &Key) -> Result<Hit, DropReason> {
    match context.flows.flow(hit.id, hit.version()) {
        Some(flow) if flow.forward == *key => Ok(hit),
        // What came belongs to a flow that is no more.
        _ => context.flows.lookup(key).ok_or(DropReason::FlowConflict),
    }
}

fn ask(
    context: &Context,
    lane: &Lane,
    headers: &Headers,
    ingress: Ingress,
) -> Result<Decision, DropReason> {
    let mut sessions = context.tables.sessions().live(context);
    let decided = decide(context.tables, &mut sessions, headers, ingress);
    let decided = decided.and_then(|decision| {
        let alone = related::may_stand_alone(headers, &decision);
        alone.inspect_err(|_| release(context, &decision))?;
        Ok(decision)
    });
    match &decided {
        Err(refused) => policy::refused(context, lane, headers, refused),
        Ok(decision) if headers.kept.is_none() => {
            policy::allowed(context, lane, headers, decision);
        }
        Ok(_) => {}
    }
    decided.map_err(|refused| refused.reason)
}

/// What to decide about a packet that stands for itself, and where it came from.
fn as_first(lane: &Lane, key: &Key, frame: &[u8]) -> Result<(Headers, Ingress), DropReason> {
    let (_, layer) = vrf_of(key.zone());
    let (ethernet, _) = EthernetHeader::split(frame)?;
    let is_icmp = matches!(key.protocol(), protocol::ICMP | protocol::ICMPV6);
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
        icmp: is_icmp.then_some((lane.meta.l4_flags, lane.meta.icmp_code)),
        direct: lane.direct(),
        kept: None,
    };
    Ok((headers, lane.ingress))
}

/// What to decide about the first packet of a flow that exists, at hand one of either direction.
pub(crate) fn as_before(
    lane: &Lane,
    flow: &FlowView,
    is_forward: bool,
    frame: &[u8],
) -> Result<(Headers, Ingress), DropReason> {
    let (at_hand, _) = as_first(lane, &flow.forward, frame)?;
    let (vrf, _) = vrf_of(flow.forward.zone());
    let ingress = Ingress::from_bits(flow.forward_action.ingress);
    let nexthop = NexthopId(flow.forward_action.nexthop);
    let end = |addr, port| End { addr, port };
    let kept = Kept {
        nexthop,
        source: end(flow.reverse.dst_addr(), flow.reverse.dst_port()),
        destination: end(flow.reverse.src_addr(), flow.reverse.src_port()),
        binding: Note::from_words(flow.note).binding,
    };
    let headers = Headers {
        vrf,
        kept: Some(kept),
        // What was not kept of the first packet: the echo request that began it, most likely.
        icmp: match (is_forward, at_hand.icmp) {
            (true, icmp) => icmp,
            (false, Some(_)) if flow.forward.is_ipv6() => Some((encap::icmpv6::ECHO_REQUEST, 0)),
            (false, Some(_)) => Some((encap::icmp::ECHO_REQUEST, 0)),
            (false, None) => None,
        },
        direct: match is_forward {
            true => lane.direct(),
            false => ingress.is_direct().then_some(nexthop),
        },
        src_mac: match is_forward {
            true => at_hand.src_mac,
            false => at_hand.dst_mac,
        },
        dst_mac: match is_forward {
            true => at_hand.dst_mac,
            false => at_hand.src_mac,
        },
        ..at_hand
    };
    Ok((headers, ingress))
}

/// Enters a flow of which `key` is the first direction.
fn insert(
    context: &Context,
    lane: &Lane,
    key: &Key,
    decision: &Decision,
    class: Class,
    frame: &[u8],
) -> Result<Hit, DropReason> {
    let (forward, reverse) = actions(key, decision);
    let inserted = context.flows.worker(context.worker).insert_pair(&NewFlow {
        forward: key,
        forward_action: &forward,
        reverse: &reply_key(key, decision),
        reverse_action: &reverse,
        class,
        vif: accounts::vif_number(decision),
        vrf: accounts::vrf_number(decision),
        note: decision.note.to_words(),
        now: context.now,
    });
    let refused = match inserted {
        Insert::Inserted(hit) => return Ok(hit),
        // Another worker, or an earlier packet of this batch, was first.
        Insert::Exists(hit) => {
            release(context, decision);
            return match is_fresh(context, lane, &hit) {
                true => Ok(hit),
                false => again(context, lane, key, hit, frame),
            };
        }
        Insert::ReverseTaken(_) => DropReason::FlowConflict,
        Insert::Refused(limit) => limit.into(),
    };
    release(context, decision);
    Err(refused)
}

/// Gives back what a decision was given, when no flow holds it.
fn release(context: &Context, decision: &Decision) {
    if decision.note.binding != 0 {
        use crate::decide::Sessions;
        let mut sessions = context.tables.sessions().live(context);
        sessions.release(decision.note.binding);
    }
}

/// The key of the replies to packets of this key.
fn reply_key(key: &Key, decision: &Decision) -> Key {
    let (_, layer) = vrf_of(key.zone());
    let zone = zone(decision.forward.exit, layer);
    let (src, dst) = (decision.destination, decision.source);
    match (src.addr, dst.addr) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let protocol = match key.protocol() {
                protocol::ICMPV6 if key.is_ipv6() => protocol::ICMP,
                other => other,
            };
            Key::ipv4(zone, protocol, from, to, src.port, dst.port)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let protocol = match key.protocol() {
                protocol::ICMP if !key.is_ipv6() => protocol::ICMPV6,
                other => other,
            };
            Key::ipv6(zone, protocol, from, to, src.port, dst.port)
        }
        _ => unreachable!("a decision translates both ends into one family, or none"),
    }
}

/// What to do with both directions of a flow whose first one has this key.
fn actions(key: &Key, decision: &Decision) -> (Action, Action) {
    let end = |addr, port| End { addr, port };
    let (src, dst) = (
        end(key.src_addr(), key.src_port()),
        end(key.dst_addr(), key.dst_port()),
    );
    let (_, layer) = vrf_of(key.zone());
    let forward = Rewrite {
        src: translation(src, decision.source),
        dst: translation(dst, decision.destination),
    };
    let reverse = Rewrite {
        src: translation(decision.destination, dst),
        dst: translation(decision.source, src),
    };
    (
        action(&decision.forward, layer, forward),
        action(&decision.reverse, layer, reverse),
    )
}

/// How one end becomes another.
fn translation(from: End, to: End) -> Translation {
    match (from.addr, to.addr) {
        _ if from == to => Translation::Keep,
        (IpAddr::V4(_), IpAddr::V4(addr)) => Translation::To(addr, to.port),
        _ => Translation::Partner,
    }
}

fn action(way: &Way, layer: Layer, rewrite: Rewrite) -> Action {
    Action {
        verdict: match layer {
            Layer::Routed => Verdict::Forward,
            Layer::Bridged => Verdict::Bridge,
        },
        nexthop: way.nexthop.0,
        epoch: way.epoch,
        ingress: way.ingress.to_bits(),
        rewrite,
        group_choice: way.member,
        // `commit` refuses vrfs beyond 12 bits.
        exit: way.exit.0 as u16,
        flags: way.flags,
    }
}
