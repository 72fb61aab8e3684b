//! A packet's way, one stage a file: each looks at a whole batch and leaves its
//! verdict in the packet's [`Lane`]. `worker` calls them in order.

pub mod announce;
pub mod bridge;
pub mod decap;
pub mod error_rate;
pub mod errors;
pub mod fabric;
pub mod fast;
pub mod flow;
pub mod forward;
pub mod fragments;
pub mod guard;
pub mod host;
pub mod learn;
pub mod marks;
pub mod offload;
pub mod outbox;
pub mod overlay;
pub mod parse;
pub mod path_mtu;
mod policy;
pub mod probes;
pub mod public;
pub mod reassembly;
pub mod related;
pub mod replicate;
pub mod respond;
pub mod rewrite;
pub mod router;
pub mod segment;
pub mod size;
pub mod state;
pub mod tenant;
pub mod translate;
pub mod waiting;
pub mod watch;

use arrayvec::ArrayVec;
use encap::{Buffer, Meta};
use flowtable::{FlowTable, Hit, Ticks};

use crate::io::{BATCH, Batch};
use crate::reason::DropReason;
use crate::tables::{NexthopId, PeerId, Tables, Vif, VifId, VrfId};

/// What every stage may look at; the same for the whole batch.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The configuration pinned for this batch.
    pub tables: &'a Tables,
    /// The flows of all workers.
    pub flows: &'a FlowTable,
    /// This worker's number.
    pub worker: usize,
    /// Read once for this batch.
    pub now: Ticks,
    /// Where the batch came from.
    pub vif: &'a Vif,
}

/// Packets with what is known of each, index by index.
pub struct Burst<B> {
    /// The packets.
    pub packets: Batch<B>,
    /// What the stages found out.
    pub lanes: ArrayVec<Lane, BATCH>,
    /// The flows of packets whose lane `is_special`; of others whatever was there.
    pub hits: Box<[Option<Hit>; BATCH]>,
    /// Where packets go that stage `fast` has finished.
    pub finished: fast::Finished,
}

/// What is known of one packet on its way.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// Where its headers are; after `decap`, those of the inner frame.
    pub meta: Meta,
    /// The network it came in.
    pub vrf: VrfId,
    /// The number of the network it leaves by, once its flow has said so; [`Lane::SAME`] before.
    pub exit: u16,
    /// Its flow is to be looked at again, in `Burst::hits`.
    pub is_special: bool,
    /// Whether its addresses are those of the other side already.
    pub translated: Translated,
    /// It is a mirror's copy, of which there is no other.
    pub is_copy: bool,
    /// Where it came from.
    pub ingress: Ingress,
    /// Tells flows apart: tunnel source ports and flow labels come from it.
    pub entropy: u32,
    /// The nexthop that a label or VNI named; only of `ingress` one can say whether one did.
    pub named: NexthopId,
    /// What becomes of it, as far as decided.
    pub next: Next,
}

const _: () = assert!(
    size_of::<Lane>() <= 64,
    "a packet's metadata is one cache line"
);

impl Lane {
    /// The network it came in is the one it leaves by.
    pub const SAME: u16 = u16::MAX;

    /// Where it goes whatever routes and bridge entries say, if a label or VNI said so.
    #[inline]
    pub fn direct(&self) -> Option<NexthopId> {
        self.ingress.is_direct().then_some(self.named)
    }

    /// The network it leaves by.
    #[inline]
    pub fn exit_vrf(&self) -> VrfId {
        match self.exit {
            Lane::SAME => self.vrf,
            exit => VrfId(exit.into()),
        }
    }
}

/// Whether a packet's addresses have been translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translated {
    /// They are as they came.
    No,
    /// They have, and its sender has been told if the packet is too big.
    Yes,
    /// From IPv4 to IPv6, and the packet may be cut as it could be before (RFC 7915 §4).
    MayBeCut,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Its flow says.
    Flow(Layer),
    /// The bridge entry for its destination MAC says.
    Bridge,
    /// By a nexthop.
    Forward(NexthopId, Layer),
    /// Out of a vif as it is.
    Emit(VifId),
    /// Nowhere.
    Drop(DropReason),
    /// Nowhere, and its sender is told the size that would have passed, in bytes of an IP packet.
    TooBig(u16),
    /// It was for the vrouter itself, and needs no answer.
    Consumed,
}

/// How a packet is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// By IP address: new MACs, TTL minus one.
    Routed,
    /// By MAC address, unchanged.
    Bridged,
}

/// Where a packet came from: a vif or a tunnel remote, in one word as flow
/// entries keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress(u32);

const PEER: u32 = 1 << 31;
/// Under a label or VNI that leads straight to a nexthop. Part of where a packet came from, so that
/// a flow decided by a route is none for it, and the other way round.
const DIRECT: u32 = 1 << 30;

impl Ingress {
    /// From a vif.
    pub const fn vif(id: VifId) -> Ingress {
        Ingress(id.0)
    }

    /// Out of a tunnel.
    pub const fn peer(id: PeerId) -> Ingress {
        Ingress(id.0 | PEER)
    }

    /// The same, straight to a nexthop.
    pub fn direct(self) -> Ingress {
        Ingress(self.0 | DIRECT)
    }

    /// True if a label or VNI named its nexthop.
    pub fn is_direct(self) -> bool {
        self.0 & PEER != 0 && self.0 & DIRECT != 0
    }

    /// The vif, unless it came out of a tunnel.
    pub fn as_vif(self) -> Option<VifId> {
        (self.0 & PEER == 0).then_some(VifId(self.0))
    }

    /// The tunnel remote, if it came out of a tunnel.
    pub fn as_peer(self) -> Option<PeerId> {
        (self.0 & PEER != 0).then_some(PeerId(self.0 & !(PEER | DIRECT)))
    }

    /// As flow entries keep it.
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// As flow entries keep it.
    pub fn from_bits(bits: u32) -> Ingress {
        Ingress(bits)
    }
}

impl<B: Buffer> Burst<B> {
    /// Empty.
    pub fn new() -> Burst<B> {
        Burst {
            packets: Batch::new(),
            lanes: ArrayVec::new(),
            hits: Box::new([None; BATCH]),
            finished: fast::Finished::new(),
        }
    }

    /// The packets with their lanes.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&mut B, &mut Lane)> {
        self.packets.iter_mut().zip(&mut self.lanes)
    }
}

impl<B: Buffer> Default for Burst<B> {
    fn default() -> Self {
        Burst::new()
    }
}
