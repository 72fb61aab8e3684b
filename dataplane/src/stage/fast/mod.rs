//! The short way: what nearly every packet is, taken from the wire to its outbox in three passes.
//!
//! ```text
//! read       headers, sender, network ► a key        tenant.rs, fabric.rs
//! look up    all keys at once; the entries' counters are asked for
//! finish     the flow says how: TTL, translation, MACs, tunnel       way.rs, finish.rs
//! ```
//!
//! It is a shorter spelling of the other stages, and of nothing else: they are what defines what
//! becomes of a packet. Whatever is not plain (tags, options, fragments, ICMP, ARP), comes from a port
//! of which more is to be asked (meters, mirrors, learned MACs), or has no flow that says all about it,
//! is left exactly as it came for them. So nothing is dropped here, and nobody is told anything.
//! `tests/any_frames.rs` takes the same frames both ways and compares bytes, order and counters.
//!
//! What is finished stays in the batch, so that packets leave in the order in which they came; the
//! other stages pass it by. A batch that is finished as a whole never comes to them.

mod fabric;
mod finish;
mod tenant;
mod way;

use std::net::{Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use encap::{Buffer, L4Checksum, Plain};
use flowtable::{Hit, Key, Zone};

use super::outbox::Outbox;
use super::{Burst, Context, Ingress, Layer, flow};
use crate::io::BATCH;
use crate::reason::DropReason;
use crate::tables::spec::{ForwardingMode, Role};
use crate::tables::{NexthopId, VifId, Vrf};

/// A plain packet, and what is known of it before its flow is.
#[derive(Clone, Copy)]
struct Seen {
    /// Its place in the batch.
    index: u8,
    /// Where it came from, as [`Read::froms`] has it.
    from: u8,
    /// Bytes before the inner frame, if it came out of a tunnel; before a bare IP packet 14 less.
    before: u16,
    /// Offset one past the tunnel's datagram, or the frame.
    end: u16,
    /// What its headers say.
    plain: Plain,
}

/// A batch's plain packets.
struct Read<'t> {
    seen: ArrayVec<Seen, BATCH>,
    keys: ArrayVec<Key, BATCH>,
    froms: ArrayVec<From<'t>, BATCH>,
}

/// Where packets came from, the same for many.
#[derive(Clone, Copy)]
struct From<'t> {
    ingress: Ingress,
    /// The network they are in.
    vrf: &'t Vrf,
    /// For the keys of its routed flows.
    zone: Zone,
    /// The nexthop that a label or VNI has named.
    named: Option<NexthopId>,
    /// What is inside of what came.
    inside: Inside,
}

/// What a received packet is around.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// Nothing: it is a machine's frame itself.
    Itself,
    /// A frame.
    Frame,
    /// An IP packet, which gets an Ethernet header.
    Packet,
}

/// Takes the batch's plain packets all the way. Those that are done are in `Burst::finished`.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    burst.finished.clear();
    let mut read = Read {
        seen: ArrayVec::new(),
        keys: ArrayVec::new(),
        froms: ArrayVec::new(),
    };
    match context.vif.role {
        Role::Tenant => tenant::read(context, &burst.packets, &mut read),
        Role::Fabric => fabric::read(context, &burst.packets, &mut read),
        Role::Host => return,
    }
    let keys = &read.keys;
    let count = keys.len();
    if count == 0 {
        return;
    }
    let mut hashes = [0; BATCH];
    let mut hits = [None; BATCH];
    let flows = context.flows;
    flows.lookup_batch(keys, &mut hashes[..count], &mut hits[..count]);
    for hit in hits[..count].iter().flatten() {
        flows.prefetch_counters(hit);
    }
    finish(context, &read, &hashes[..count], &hits[..count], burst);
}

/// The last pass; a function of its own, as it needs all registers there are.
#[inline(never)]
fn finish<B: Buffer>(
    context: &Context,
    read: &Read,
    hashes: &[u64],
    hits: &[Option<Hit>],
    burst: &mut Burst<B>,
) {
    for ((seen, hit), hash) in read.seen.iter().zip(hits).zip(hashes) {
        let place = usize::from(seen.index);
        let (Some(hit), Some(packet), Some(from)) = (
            hit,
            burst.packets.get_mut(place),
            read.froms.get(usize::from(seen.from)),
        ) else {
            continue;
        };
        let found = Found {
            seen,
            from,
            hit,
            entropy: (hash >> 16) as u32,
        };
        if let Some(vif) = found.send(context, packet) {
            burst.finished.set(place, vif);
        }
    }
}

/// Whether the port left nothing to be done for the packet, and found nothing wrong with it.
#[inline(always)]
fn is_ready<B: Buffer>(packet: &B) -> bool {
    let offload = packet.offload();
    !packet.is_chained() && offload.is_finished() && offload.l4_checksum != L4Checksum::Wrong
}

/// Hands on what is finished, if that is all of the batch.
pub fn send<B: Buffer>(context: &Context, burst: &mut Burst<B>, outbox: &mut Outbox<B>) -> bool {
    let Some(vifs) = burst.finished.all(burst.packets.len()) else {
        return false;
    };
    if let Some(first) = vifs.first()
        && vifs.iter().all(|vif| vif == first)
        && outbox.send(context.tables, *first, &mut burst.packets)
    {
        return true;
    }
    for (packet, vif) in burst.packets.drain(..).zip(vifs) {
        if outbox.push(context.tables, *vif, packet).is_err() {
            let counters = context.vif.counters.block(context.worker);
            counters.dropped(DropReason::VifGone, 1);
        }
    }
    true
}

/// A plain packet whose flow is known.
struct Found<'a, 't> {
    seen: &'a Seen,
    from: &'a From<'t>,
    hit: &'a Hit,
    /// See `Lane::entropy`.
    entropy: u32,
}

impl<'t> From<'t> {
    /// `None` if the network's packets are not routed.
    fn new(vrf: &'t Vrf, ingress: Ingress) -> Option<From<'t>> {
        (vrf.mode != ForwardingMode::Bridged).then(|| From {
            ingress,
            vrf,
            zone: flow::zone(vrf.id, Layer::Routed),
            named: None,
            inside: Inside::Itself,
        })
    }
}

impl Read<'_> {
    #[inline(always)]
    fn push_ipv4(&mut self, zone: Zone, seen: Seen, src: Ipv4Addr, dst: Ipv4Addr) {
        let plain = &seen.plain;
        let (src_port, dst_port) = (plain.src_port(), plain.dst_port());
        let key = Key::ipv4(zone, plain.protocol, src, dst, src_port, dst_port);
        self.keys.push(key);
        self.seen.push(seen);
    }

    #[inline(always)]
    fn push_ipv6(&mut self, zone: Zone, seen: Seen, src: Ipv6Addr, dst: Ipv6Addr) {
        let plain = &seen.plain;
        let (src_port, dst_port) = (plain.src_port(), plain.dst_port());
        let key = Key::ipv6(zone, plain.protocol, src, dst, src_port, dst_port);
        self.keys.push(key);
        self.seen.push(seen);
    }
}

/// Where finished packets go, by their place in the batch.
pub struct Finished {
    vifs: [VifId; BATCH],
    count: usize,
}

/// Not finished; there are no such many vifs.
const NOT_YET: VifId = VifId(u32::MAX);

impl Finished {
    /// None is.
    pub fn new() -> Finished {
        Finished {
            vifs: [NOT_YET; BATCH],
            count: 0,
        }
    }

    /// Forgets the batch before.
    pub fn clear(&mut self) {
        *self = Finished::new();
    }

    #[inline]
    fn set(&mut self, place: usize, vif: VifId) {
        self.vifs[place] = vif;
        self.count += 1;
    }

    /// The vif of all packets of the batch, if so many are finished.
    #[inline]
    fn all(&self, len: usize) -> Option<&[VifId]> {
        (self.count == len).then(|| &self.vifs[..len])
    }

    /// The vif that a packet leaves by, if it is finished.
    #[inline]
    pub fn get(&self, place: usize) -> Option<VifId> {
        self.vifs.get(place).copied().filter(|vif| *vif != NOT_YET)
    }
}

impl Default for Finished {
    fn default() -> Finished {
        Finished::new()
    }
}
