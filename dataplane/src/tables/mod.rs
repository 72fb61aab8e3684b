//! The configuration as one immutable value.
//!
//! [`Tables`] holds the objects as the controller wrote them and, resolved from
//! them, what a packet needs: vrfs, vifs and nexthops by small index, prefixes,
//! bridge entries, tunnels with their prebuilt headers. A commit ([`commit`])
//! clones it, which shares everything, and changes only what the request touches.

mod apart;
pub mod bridge_port;
pub mod change;
pub mod commit;
pub mod ecmp;
mod host;
pub mod learned;
pub mod link;
pub mod lpm;
pub mod maglev;
pub mod meter;
pub mod nat;
pub mod neighbour;
mod objects;
pub mod path;
pub mod path_mtu;
pub mod policy;
pub mod replicate;
pub mod router;
pub mod service;
pub mod slab;
pub mod spec;
mod tunnel;
pub mod vip;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use encap::{Label, MacAddr, VlanId, Vni};
use flowtable::Endings;
use ipnet::IpNet;

use crate::counters::VifCounters;
use crate::sessions::Shared;
use crate::spread::{DEFAULT_KEY, SpreadKey};
use bridge_port::BridgePort;
use ecmp::Ecmp;
use learned::Learned;
use link::LinkState;
use lpm::Lpm;
use meter::{Guarding, Meter, MeterId, Mirror, MirrorId};
use nat::{Floating, FloatingId, Outwards, Pool, PoolId};
use neighbour::Neighbour;
use policy::{Policies, PolicyLists};
use replicate::Group;
use router::Advertised;
use service::{Service, ServiceId};
use slab::Slab;
use spec::{ForwardingMode, Key, Name, Object, Payload, Role};
pub use tunnel::{Terms, Tunnel};
use vip::{Vip, VipId};

/// Index of a vrf in a snapshot; stays the same while the vrf lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VrfId(pub u32);

/// Index of a vif in a snapshot; stays the same while the vif lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VifId(pub u32);

/// Index of a nexthop in a snapshot; stays the same while the nexthop lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NexthopId(pub u32);

/// Index of a tunnel remote; stays the same while a tunnel leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);

/// Vrfs of a node, the underlay included. The flow table keeps an account for
/// each, and flow keys have 23 bits for a vrf.
pub const MAX_VRFS: u32 = 4096;

/// Vifs of a node. The flow table keeps an account for each.
pub const MAX_VIFS: u32 = 4096;

/// The vrf named `underlay`, which always exists.
pub const UNDERLAY: VrfId = VrfId(0);

use objects::Objects;

type FastMap<K, V> = HashMap<K, V, ahash::RandomState>;
type FastSet<K> = HashSet<K, ahash::RandomState>;

/// One consistent configuration.
#[derive(Clone)]
pub struct Tables {
    generation: u64,
    /// Counts commits and what checks find out: where epochs come from.
    revision: u32,
    workers: usize,
    objects: Objects,
    /// The nexthops among them, which every route asks for.
    nexthop_objects: imbl::GenericHashMap<
        Name,
        Arc<Stored>,
        ahash::RandomState,
        imbl::shared_ptr::DefaultSharedPtr,
    >,
    /// How many objects mention this one.
    mentions: imbl::HashMap<Key, u32>,
    names: Names,
    vrfs: Slab<Vrf>,
    vifs: Slab<Vif>,
    nexthops: Slab<Nexthop>,
    vips: Slab<Vip>,
    floatings: Slab<Floating>,
    pools: Slab<Pool>,
    policies: Policies,
    meters: Slab<Meter>,
    mirrors: Slab<Mirror>,
    services: Slab<Service>,
    vnis: Arc<FastMap<Vni, Arrival>>,
    labels: Arc<FastMap<Label, LabelEntry>>,
    /// The nexthops that underlay routes can lead to: neighbours and groups of them.
    gateways: imbl::HashMap<NexthopId, spec::NexthopAction>,
    /// How many objects lead from a network into another.
    leads: imbl::HashMap<(VrfId, VrfId), u32>,
    /// By the network that packets leave and the one they enter.
    outwards: imbl::HashMap<(VrfId, VrfId), Arc<Outwards>>,
    /// How many fabric vifs have this address, or are on this link.
    uplink_prefixes: imbl::HashMap<IpNet, u32>,
    underlay: Arc<Underlay>,
    /// Shared by all snapshots: learning is no commit.
    learned: Arc<Learned>,
    /// Likewise.
    sessions: Arc<Shared>,
    spread_key: SpreadKey,
}

/// An object with the controller it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The object as committed.
    pub object: Object,
    /// The controller that may change it.
    pub owner: Name,
    /// The generation that made it what it is.
    pub generation: u64,
}

/// A tenant network, resolved.
#[derive(Clone, Debug)]
pub struct Vrf {
    /// Its index.
    pub id: VrfId,
    /// Its name.
    pub name: Name,
    /// How frames are forwarded.
    pub mode: ForwardingMode,
    /// The virtual router's MAC here.
    pub mac: MacAddr,
    /// The virtual router's addresses here, each with the prefix it serves.
    pub gateways: Arc<[IpNet]>,
    /// Largest TCP segment that SYNs may announce.
    pub tcp_mss_clamp: Option<u16>,
    /// Changes whenever a decision made in this vrf might come out differently.
    pub epoch: u32,
    /// Where addresses lead.
    pub routes: Lpm<Target>,
    /// Where MACs lead.
    pub macs: imbl::HashMap<MacAddr, NexthopId>,
    /// The MACs behind addresses, for answering ARP and ND.
    pub neighbours: imbl::HashMap<IpAddr, MacAddr>,
    /// Where broadcasts go, and what has no bridge entry.
    pub flood: Option<NexthopId>,
    /// Learns MACs from frames.
    pub learning: bool,
    /// The policies of its vifs that name none of their own.
    pub policies: PolicyLists,
    /// What is held against every packet of its vifs.
    pub guarding: Guarding,
    /// What the router says of itself; `None`: nothing.
    pub advertised: Option<Arc<Advertised>>,
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To a nexthop.
    Nexthop(NexthopId),
    /// It is the vrouter's own in this vrf.
    Gateway,
    /// On the link of a fabric vif, or of several.
    Connected,
    /// No machine's: a service, a floating address or a pool.
    Vip(VipId),
}

/// Where packets from the fabric go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Into a network.
    Vrf(VrfId),
    /// Straight to a nexthop, which delivers to a tenant vif.
    Nexthop(NexthopId),
}

/// A label of ours, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelEntry {
    /// Where its packets go.
    pub to: Arrival,
    /// What they are.
    pub payload: Payload,
}

/// A port, resolved.
#[derive(Clone, Debug)]
pub struct Vif {
    /// Its index.
    pub id: VifId,
    /// Its name.
    pub name: Name,
    /// What it connects.
    pub role: Role,
    /// The network it is in.
    pub vrf: VrfId,
    /// A tenant's only source MAC, a fabric or host vif's own.
    pub mac: MacAddr,
    /// What it may send from, or for a fabric vif its own addresses; empty: anything.
    pub addresses: Arc<[IpNet]>,
    /// Addresses of services that it answers for directly: it may send from them, too.
    pub loaned: Arc<[IpAddr]>,
    /// The 802.1Q tag its frames carry on the device.
    pub vlan: Option<VlanId>,
    /// Largest IP packet it takes, in bytes.
    pub mtu: u16,
    /// Its device takes packets whose TCP or UDP checksum is still to be computed.
    pub finishes_checksums: bool,
    /// The nexthop that delivers to it.
    pub nexthop: NexthopId,
    /// Its counters, one block per worker.
    pub counters: Arc<VifCounters>,
    /// What it may do as a port of a bridge.
    pub port: BridgePort,
    /// Whether its link carries packets.
    pub link: Arc<LinkState>,
    /// Its own policies.
    pub policies: PolicyLists,
    /// What is held against every packet.
    pub guarding: Guarding,
    /// Something is, by itself or by its vrf.
    pub is_guarded: bool,
}

/// What to do with a packet, resolved.
#[derive(Clone, Debug)]
pub enum Nexthop {
    /// Deliver to a tenant or host vif.
    Vif(VifId),
    /// Send to a neighbour on a fabric vif's link.
    Neighbour(Arc<Neighbour>),
    /// Send through a tunnel.
    Tunnel(Arc<Tunnel>),
    /// A tunnel whose remote the underlay has no route to; also a group of neighbours, which
    /// only the underlay's routes lead to.
    Unreachable,
    /// Deliver to the node's kernel.
    Host,
    /// Drop.
    Discard,
    /// Send a copy by each member.
    Replicate(Arc<Group>),
    /// Send each flow by one of the members.
    Group(Arc<Ecmp>),
    /// Drop, and say so.
    Reject,
    /// Look up again, in this network.
    Vrf(VrfId),
}

/// What the node has towards the fabric and its own kernel.
#[derive(Clone, Debug, Default)]
pub struct Underlay {
    /// Fabric vifs, by name.
    pub fabrics: Vec<VifId>,
    /// The vif to the node's kernel; of several, the first by name.
    pub host: Option<VifId>,
    /// Each fabric vif with the host vif that gets what it hears.
    hosts: Vec<(VifId, VifId)>,
    /// Addresses of the fabric vifs.
    pub addresses: Vec<(IpAddr, VifId)>,
    /// Addresses of fabric vifs that pools have ports of.
    pub pools: Vec<(IpAddr, PoolId)>,
    /// In order, so that what is done to all of them is done in the same order in every run.
    neighbours: BTreeMap<(VifId, IpAddr), Arc<Neighbour>>,
    /// What is known of the ways that tunnels take.
    pub path_mtus: path_mtu::Paths,
    /// Neighbours that are one of several ways to some tunnel's end: whether they
    /// answer is looked after, traffic or not.
    watched: BTreeSet<(VifId, IpAddr)>,
    peers: FastMap<IpAddr, PeerId>,
    /// Only of peers with which anything but the default was agreed.
    terms: FastMap<IpAddr, Terms>,
    next_peer: u32,
}

/// Names to indices.
#[derive(Clone, Default)]
struct Names {
    vrfs: imbl::HashMap<Name, VrfId>,
    vifs: imbl::HashMap<Name, VifId>,
    nexthops: imbl::HashMap<Name, NexthopId>,
    floatings: imbl::HashMap<Name, FloatingId>,
    pools: imbl::HashMap<Name, PoolId>,
    meters: imbl::HashMap<Name, MeterId>,
    mirrors: imbl::HashMap<Name, MirrorId>,
    services: imbl::HashMap<Name, ServiceId>,
    /// By the device's own name: the part before the first comma.
    devices: imbl::HashMap<Arc<str>, Name>,
}

impl Tables {
    /// Generation 0: nothing but the underlay. Counters are kept for `workers` workers.
    pub fn new(workers: usize) -> Tables {
        let sessions = Arc::<Shared>::default();
        let mut tables = Tables {
            generation: 0,
            revision: 0,
            workers,
            objects: Objects::default(),
            nexthop_objects: imbl::GenericHashMap::default(),
            mentions: imbl::HashMap::new(),
            names: Names::default(),
            vrfs: Slab::new(),
            vifs: Slab::new(),
            nexthops: Slab::new(),
            vips: Slab::new(),
            floatings: Slab::new(),
            pools: Slab::new(),
            policies: Policies::new(workers, sessions.rules().clone()),
            meters: Slab::new(),
            mirrors: Slab::new(),
            services: Slab::new(),
            gateways: imbl::HashMap::new(),
            leads: imbl::HashMap::new(),
            outwards: imbl::HashMap::new(),
            uplink_prefixes: imbl::HashMap::new(),
            vnis: Arc::default(),
            labels: Arc::default(),
            underlay: Arc::default(),
            learned: Arc::default(),
            sessions,
            spread_key: DEFAULT_KEY,
        };
        let underlay = tables.add_vrf(&spec::Vrf::underlay());
        debug_assert_eq!(underlay, UNDERLAY);
        tables
    }

    /// The same with this secret for the tables of learned MACs and of what outlives flows, which is
    /// one known to all otherwise: whoever knows it can choose what gets into each other's way.
    #[must_use]
    pub fn with_secret(self, secret: [u64; 4]) -> Tables {
        let sessions = Arc::new(Shared::new(secret));
        Tables {
            learned: Arc::new(Learned::new(secret)),
            policies: Policies::new(self.workers, sessions.rules().clone()),
            sessions,
            ..self
        }
    }

    /// The same with room for so many bindings of pools; to be said before the first pool.
    #[must_use]
    pub fn with_bindings(self, room: usize) -> Tables {
        self.sessions.set_room(room);
        self
    }

    /// The same with this key for spreading flows over backends and members.
    #[must_use]
    pub fn with_spread_key(self, spread_key: SpreadKey) -> Tables {
        Tables { spread_key, ..self }
    }

    /// What flows are spread with.
    #[inline]
    pub fn spread_key(&self) -> SpreadKey {
        self.spread_key
    }

    /// The MACs that were learned.
    #[inline]
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What outlives flows: bindings and affinities.
    #[inline]
    pub fn sessions(&self) -> &Shared {
        &self.sessions
    }

    /// What the flow table of these snapshots has to tell of flows that end.
    pub fn endings(&self) -> Box<dyn Endings> {
        self.sessions.clone().endings()
    }

    /// Counts commits.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many workers counters are kept for.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The object with this key, as written.
    pub fn object(&self, key: &Key) -> Option<&Stored> {
        self.objects.get(key).map(|stored| &**stored)
    }

    /// All objects as written: by kind, then by key.
    pub fn objects(&self) -> impl Iterator<Item = (Key, &Stored)> {
        self.objects_after(None)
    }

    /// Objects as written, those after this key; all, without one.
    pub fn objects_after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, &Stored)> {
        let objects = self.objects.after(key);
        objects.map(|(key, stored)| (key, &**stored))
    }

    /// The vrf with this index.
    #[inline]
    pub fn vrf(&self, id: VrfId) -> Option<&Vrf> {
        self.vrfs.get(id.0).map(|vrf| &**vrf)
    }

    /// The vif with this index.
    #[inline]
    pub fn vif(&self, id: VifId) -> Option<&Arc<Vif>> {
        self.vifs.get(id.0)
    }

    /// The virtual address with this index.
    pub fn vip(&self, id: VipId) -> Option<&Vip> {
        self.vips.get(id.0).map(|vip| &**vip)
    }

    /// The floating address with this index.
    pub fn floating(&self, id: FloatingId) -> Option<&Floating> {
        self.floatings.get(id.0).map(|floating| &**floating)
    }

    /// All floating addresses, by index.
    pub fn floatings(&self) -> impl Iterator<Item = (FloatingId, &Floating)> {
        let all = self.floatings.iter();
        all.map(|(id, floating)| (FloatingId(id), &**floating))
    }

    /// All pools, by index.
    pub fn pools(&self) -> impl Iterator<Item = (PoolId, &Pool)> {
        self.pools.iter().map(|(id, pool)| (PoolId(id), &**pool))
    }

    /// What sources become on their way from a network into another.
    pub fn outwards(&self, from: VrfId, to: VrfId) -> Option<&Outwards> {
        self.outwards.get(&(from, to)).map(|outwards| &**outwards)
    }

    /// The meter with this index.
    pub fn meter(&self, id: MeterId) -> Option<&Meter> {
        self.meters.get(id.0).map(|meter| &**meter)
    }

    /// All meters, by index.
    pub fn meters(&self) -> impl Iterator<Item = &Meter> {
        self.meters.iter().map(|(_, meter)| &**meter)
    }

    /// The mirror of this name.
    pub fn mirror_named(&self, name: &str) -> Option<MirrorId> {
        self.names.mirrors.get(name).copied()
    }

    /// The mirror with this index.
    pub fn mirror(&self, id: MirrorId) -> Option<&Mirror> {
        self.mirrors.get(id.0).map(|mirror| &**mirror)
    }

    /// The service with this index.
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.0).map(|service| &**service)
    }

    /// The service of this name, with its index.
    pub fn service_named(&self, name: &str) -> Option<(ServiceId, &Service)> {
        let id = *self.names.services.get(name)?;
        Some((id, self.service(id)?))
    }

    /// All services, by index.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.iter().map(|(_, service)| &**service)
    }

    /// The pool with this index.
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.0).map(|pool| &**pool)
    }

    /// All vifs, by index.
    pub fn vifs(&self) -> impl Iterator<Item = &Arc<Vif>> {
        self.vifs.iter().map(|(_, vif)| vif)
    }

    /// All vrfs, by index; the underlay first.
    pub fn vrfs(&self) -> impl Iterator<Item = &Vrf> {
        self.vrfs.iter().map(|(_, vrf)| &**vrf)
    }

    /// The vif of this name.
    pub fn vif_named(&self, name: &str) -> Option<&Arc<Vif>> {
        self.vif(*self.names.vifs.get(name)?)
    }

    /// The vrf of this name.
    pub fn vrf_named(&self, name: &str) -> Option<&Vrf> {
        self.vrf(*self.names.vrfs.get(name)?)
    }

    /// The nexthop of this name.
    pub fn nexthop_named(&self, name: &str) -> Option<NexthopId> {
        self.names.nexthops.get(name).copied()
    }

    /// The nexthop with this index.
    #[inline]
    pub fn nexthop(&self, id: NexthopId) -> Option<&Nexthop> {
        self.nexthops.get(id.0).map(|nexthop| &**nexthop)
    }

    /// Where a network id from the fabric leads.
    #[inline]
    pub fn vni(&self, vni: Vni) -> Option<Arrival> {
        self.vnis.get(&vni).copied()
    }

    /// Where a label from the fabric leads.
    #[inline]
    pub fn label(&self, label: Label) -> Option<LabelEntry> {
        self.labels.get(&label).copied()
    }

    /// The name of a nexthop, for people: its own, or that of the vif it delivers to.
    pub fn nexthop_name(&self, id: NexthopId) -> Option<Name> {
        if let Some(Nexthop::Vif(vif)) = self.nexthop(id)
            && let Some(vif) = self.vif(*vif)
            && vif.nexthop == id
        {
            return Some(vif.name.clone());
        }
        let mut names = self.names.nexthops.iter();
        names
            .find(|(_, named)| **named == id)
            .map(|(name, _)| name.clone())
    }

    /// The members of a group that routes of the underlay lead to.
    pub fn gateway_members(&self, group: NexthopId) -> impl Iterator<Item = NexthopId> {
        let members = match self.gateways.get(&group) {
            Some(spec::NexthopAction::Group(group)) => &group.members[..],
            _ => &[],
        };
        let ids = members
            .iter()
            .map(|member| self.names.nexthops.get(&member.nexthop));
        ids.flatten().copied()
    }

    /// The fabric side.
    #[inline]
    pub fn underlay(&self) -> &Underlay {
        &self.underlay
    }
}

impl Underlay {
    /// The tunnel remote with this address.
    #[inline]
    pub fn peer(&self, addr: IpAddr) -> Option<PeerId> {
        self.peers.get(&addr).copied()
    }

    /// What was agreed with the tunnel remote at this address.
    #[inline]
    pub fn terms(&self, addr: IpAddr) -> Terms {
        self.terms.get(&addr).copied().unwrap_or_default()
    }

    /// The address of a tunnel remote.
    pub fn peer_addr(&self, id: PeerId) -> Option<IpAddr> {
        let mut peers = self.peers.iter();
        peers.find(|(_, peer)| **peer == id).map(|(addr, _)| *addr)
    }

    /// The neighbour with this address on this vif's link, if a nexthop needs it.
    pub fn neighbour(&self, vif: VifId, addr: IpAddr) -> Option<&Arc<Neighbour>> {
        self.neighbours.get(&(vif, addr))
    }

    /// All neighbours that nexthops need, by vif and address.
    pub fn neighbours(&self) -> impl Iterator<Item = &Arc<Neighbour>> {
        self.neighbours.values()
    }

    /// Those after a vif and address, or all, in the same order.
    pub fn neighbours_from(
        &self,
        from: Bound<(VifId, IpAddr)>,
    ) -> impl Iterator<Item = &Arc<Neighbour>> {
        let rest = self.neighbours.range((from, Bound::Unbounded));
        rest.map(|(_, neighbour)| neighbour)
    }

    /// True if whether this neighbour answers decides which path flows take.
    pub fn is_watched(&self, neighbour: &Neighbour) -> bool {
        self.watched.contains(&(neighbour.vif, neighbour.addr))
    }

    /// The pool that has ports of this address of a fabric vif.
    #[inline]
    pub fn pool_at(&self, addr: IpAddr) -> Option<PoolId> {
        let mut pools = self.pools.iter();
        pools.find(|(own, _)| *own == addr).map(|(_, pool)| *pool)
    }

    /// True if a fabric vif has this address.
    #[inline]
    pub fn is_local(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|(local, _)| *local == addr)
    }
}

impl Vif {
    /// True if a packet from this vif may carry this source address.
    #[inline]
    pub fn may_send_from(&self, addr: IpAddr) -> bool {
        self.addresses.is_empty()
            || self.addresses.iter().any(|net| net.contains(&addr))
            || self.loaned.contains(&addr)
    }

    /// True if the address is the vif's own, as a fabric vif has them.
    #[inline]
    pub fn has_address(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == addr)
    }
}
