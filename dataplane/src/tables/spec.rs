//! Objects as a controller means them: typed and well-formed one by one, still
//! referring to each other by name.
//!
//! These are the *checked* half of the configuration; the written half (YAML,
//! proto) lives in `ctl`. Whether a reference leads anywhere is decided at
//! commit, in [`super::commit`].

mod meter;
mod nat;
mod policy;
mod service;

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use encap::{Encap, Label, MacAddr, Model, VlanId, Vni};
use ipnet::IpNet;

pub use meter::{Meter, Mirror};
pub use nat::{Filtering, FloatingIp, FloatingTarget, NAT64_WELL_KNOWN, SnatPool};
pub use policy::{AddressSet, Guards, IcmpMatch, Policy, Rule, RuleAction};
pub use service::{Backend, BackendState, HealthCheck, MAGLEV_TABLE_SIZE, OnDown, Probe, Service};

/// A caller-chosen name; cheap to clone.
pub type Name = Arc<str>;

/// The vrf in which fabric and host vifs live unless they say otherwise.
pub const UNDERLAY: &str = "underlay";

/// One object of the model, checked on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A tenant network.
    Vrf(Vrf),
    /// A port.
    Vif(Vif),
    /// What to do with a packet.
    Nexthop(Nexthop),
    /// A prefix in a vrf.
    Route(Route),
    /// A bridge entry.
    Mac(Mac),
    /// What a VXLAN network id from the fabric leads to.
    Vni(VniEntry),
    /// What an MPLS label from the fabric leads to.
    Label(LabelEntry),
    /// Prefixes under one name.
    AddressSet(AddressSet),
    /// Ordered rules.
    Policy(Policy),
    /// A public address, one for one.
    FloatingIp(FloatingIp),
    /// Public addresses shared by port.
    SnatPool(SnatPool),
    /// A virtual address with backends.
    Service(Service),
    /// A place for copies of packets.
    Mirror(Mirror),
    /// A limit in bits and packets.
    Meter(Meter),
}

/// What an object is found by. Displays as `kind name`, e.g. `route front 10.1.0.9/32`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// By name.
    Vrf(Name),
    /// By name.
    Vif(Name),
    /// By name.
    Nexthop(Name),
    /// By vrf and prefix (host bits zero).
    Route(Name, IpNet),
    /// By vrf and address.
    Mac(Name, MacAddr),
    /// By number.
    Vni(Vni),
    /// By number.
    Label(Label),
    /// By name.
    AddressSet(Name),
    /// By name.
    Policy(Name),
    /// By name.
    FloatingIp(Name),
    /// By name.
    SnatPool(Name),
    /// By name.
    Service(Name),
    /// By name.
    Mirror(Name),
    /// By name.
    Meter(Name),
}

/// A tenant network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vrf {
    /// Its name.
    pub name: Name,
    /// Addresses the vrouter answers for, each with the prefix it serves.
    pub gateways: Vec<IpNet>,
    /// How frames are forwarded.
    pub mode: ForwardingMode,
    /// The virtual router MAC of this network.
    pub mac: MacAddr,
    /// Most flows it may have at once. `None`: as many as the table has room for.
    pub flow_quota: Option<NonZeroU32>,
    /// Largest TCP segment that SYNs may announce, in bytes of payload. `None`: they stay as sent.
    pub tcp_mss_clamp: Option<u16>,
    /// Learns where MACs are from the frames they send.
    pub learning: bool,
    /// What its IPv6 gateways say of themselves. `None`: the defaults.
    pub router_advertisement: Option<RouterAdvertisement>,
    /// What is held against the flows of its vifs: the policies for those that name none of their
    /// own in that direction, the meters for all of them together.
    pub guards: Guards,
}

/// What the virtual router tells the machines of a vrf with IPv6 gateways (RFC 4861 §6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Neither sent nor answered with.
    pub disabled: bool,
    /// The longest time between two that nobody asked for, in seconds, 4 to 1800.
    pub interval_s: u16,
    /// How long a machine may use the router as its default after each, in
    /// seconds; 0: not at all, else at least the interval and at most 9000.
    pub lifetime_s: u16,
    /// The A flag: machines make themselves addresses from the prefixes (RFC 4862).
    pub autonomous: bool,
    /// The M flag: addresses come by DHCPv6.
    pub managed: bool,
    /// The O flag: other settings come by DHCPv6.
    pub other_config: bool,
    /// Tells the MTU of the machine's vif.
    pub mtu: bool,
}

impl Default for RouterAdvertisement {
    fn default() -> RouterAdvertisement {
        RouterAdvertisement {
            disabled: false,
            interval_s: 600,
            lifetime_s: 1800,
            autonomous: false,
            managed: false,
            other_config: false,
            mtu: true,
        }
    }
}

/// How a vrf forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingMode {
    /// By IP address only; frames to other MACs are dropped.
    Routed,
    /// By MAC address only.
    Bridged,
    /// To the router MAC: routed; to any other: bridged.
    #[default]
    Both,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Its name.
    pub name: Name,
    /// The device behind it, in the driver's own words, e.g. `net_af_packet0,iface=eth1`.
    pub device: Arc<str>,
    /// What it connects.
    pub role: Role,
    /// The network it is in.
    pub vrf: Name,
    /// Its MAC; for a tenant the only source it may use. `None`: the device's own,
    /// or for a tenant in a vrf with `learning`: those behind it are learned.
    pub mac: Option<MacAddr>,
    /// Addresses with their on-link prefix. A tenant may send from these
    /// addresses only (none given: from any); they become host routes of its vrf.
    pub addresses: Vec<IpNet>,
    /// Frames carry this 802.1Q tag on the device.
    pub vlan: Option<VlanId>,
    /// Largest IP packet it takes, in bytes. `None`: the device's own.
    pub mtu: Option<u16>,
    /// Most flows a tenant's machine may have at once. `None`: as many as the
    /// table has room for.
    pub flow_quota: Option<NonZeroU32>,
    /// Most broadcast, multicast and unknown unicast frames a tenant may have
    /// flooded, per second; 0: any number. `None`: [`DEFAULT_STORM_LIMIT`].
    pub storm_limit: Option<u32>,
    /// Most MACs learned behind a tenant vif. `None`: [`DEFAULT_LEARNED_MACS`].
    pub max_learned_macs: Option<u32>,
    /// What is held against its flows.
    pub guards: Guards,
}

/// Frames per second that a tenant vif may have flooded unless it says otherwise:
/// far more than the ARP of a busy machine, far less than hurts its neighbours.
pub const DEFAULT_STORM_LIMIT: u32 = 1_000;

/// MACs learned behind a tenant vif unless it says otherwise.
pub const DEFAULT_LEARNED_MACS: u32 = 16;

/// MACs that are learned behind one vif at the very most: as many as there is room for.
pub const MAX_LEARNED_MACS: u32 = 65_536;

/// Members of one `replicate` nexthop. A frame makes at most so many.
pub const MAX_MEMBERS: usize = 256;

/// What a vif connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A virtual machine or container.
    Tenant,
    /// The IP fabric between nodes.
    Fabric,
    /// This node's own kernel.
    Host,
}

/// What to do with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nexthop {
    /// Its name.
    pub name: Name,
    /// What it does.
    pub action: NexthopAction,
}

/// What a nexthop does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopAction {
    /// Deliver to a vif; with an address, to that neighbour on a fabric vif's link.
    Vif {
        /// The vif.
        vif: Name,
        /// The neighbour, e.g. the fabric's router.
        address: Option<IpAddr>,
    },
    /// Send through a tunnel.
    Tunnel(Tunnel),
    /// Deliver to the node's kernel.
    Host,
    /// Drop.
    Discard,
    /// Send a copy by each of these nexthops, which are tunnels that carry
    /// Ethernet or tenant vifs; 1 to [`MAX_MEMBERS`], each once.
    Replicate(Vec<Name>),
    /// Drop, and say so: a TCP reset, or "administratively prohibited".
    Reject,
    /// Send each flow to one of several nexthops.
    Group(Group),
    /// Look up again, in this network.
    Vrf(Name),
}

/// Several nexthops that lead to the same place. In the underlay neighbours, over one uplink or
/// several; in a tenant network tunnels and tenant vifs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// In the underlay between one and [`MAX_PATHS`](super::path::MAX_PATHS), elsewhere up to
    /// [`MAX_MEMBERS`], each once.
    pub members: Vec<Member>,
    /// What tells flows apart.
    pub hash: HashFields,
    /// Both directions of a flow have the same hash, so that two vrouters, or one that sees only the
    /// other direction, pick the member in the same place.
    pub symmetric: bool,
}

/// What tells flows apart where each goes one of several ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFields {
    /// Addresses, protocol and ports.
    #[default]
    FiveTuple,
    /// Addresses.
    Addresses,
    /// The source address.
    Source,
}

/// One nexthop of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The nexthop.
    pub nexthop: Name,
    /// Its share of the flows, beside the other members'.
    pub weight: NonZeroU16,
}

/// A tunnel to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// How packets are wrapped, and the network id or label sent.
    pub encap: Encap,
    /// What is wrapped.
    pub payload: Payload,
    /// Outer source. `None`: the address of the fabric vif that leads to `remote`.
    pub local: Option<IpAddr>,
    /// Outer destination.
    pub remote: IpAddr,
    /// Inner destination MAC of routed packets. `None`: the vrf's router MAC.
    pub inner_mac: Option<MacAddr>,
    /// What the outer DSCP is (RFC 2983), and what becomes of it at the end.
    pub dscp: Model,
    /// What the label's TTL is (RFC 3443), and what becomes of it at the end.
    pub ttl: Model,
    /// Over IPv6: UDP checksums are sent as zero (RFC 6935), and MPLS over UDP without them is taken
    /// from this remote.
    pub udp_zero_checksum: bool,
    /// What is cut when a packet is too big.
    pub fragment: FragmentMode,
    /// The path MTU, in bytes of the outer IP packet, instead of the one heard of. `None`: the
    /// uplink's, or less once a router on the way says so.
    pub mtu: Option<u16>,
}

/// What a tunnel or a label wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    /// IP packets, without a link layer's header.
    #[default]
    Ip,
    /// Ethernet frames.
    Ethernet,
}

/// Which packet is cut in pieces when a tunnel cannot carry it whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FragmentMode {
    /// The tenant's, unless it asks not to be; its receiver puts it together again.
    #[default]
    Inner,
    /// The tunnel's; the other node must put it together again. Not for VXLAN (RFC 7348 §4.3).
    Outer,
}

/// A prefix in a vrf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub vrf: Name,
    /// The destinations, host bits zero.
    pub prefix: IpNet,
    /// Where they go.
    pub nexthop: Name,
}

/// A bridge entry. In the underlay, one with an address is a static neighbour.
///
/// One for a group address says where frames to that group go; the one for
/// ff:ff:ff:ff:ff:ff where broadcasts go, and all that has no entry of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mac {
    /// The network.
    pub vrf: Name,
    /// The destination.
    pub mac: MacAddr,
    /// Where it is.
    pub nexthop: Name,
    /// Its address: ARP and ND requests for it are answered with this MAC.
    pub ip: Option<IpAddr>,
}

/// What arrives from the fabric under a VXLAN network id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VniEntry {
    /// The network id.
    pub vni: Vni,
    /// Where its frames go.
    pub to: Arrival,
}

/// What arrives from the fabric under an MPLS label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelEntry {
    /// The label.
    pub label: Label,
    /// Where its packets go.
    pub to: Arrival,
    /// What is behind the label stack.
    pub payload: Payload,
}

/// Where packets go that arrived from the fabric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Into this network, whose routes and bridge entries say more.
    Vrf(Name),
    /// Straight to this nexthop, which delivers to a tenant vif.
    Nexthop(Name),
}

impl Tunnel {
    /// A tunnel to `remote` of which nothing else was said.
    pub fn new(remote: IpAddr, encap: Encap) -> Tunnel {
        Tunnel {
            encap,
            payload: match encap {
                Encap::Vxlan(_) => Payload::Ethernet,
                Encap::MplsUdp(_) | Encap::MplsGre(_) => Payload::Ip,
            },
            local: None,
            remote,
            inner_mac: None,
            dscp: Model::Pipe,
            ttl: Model::Pipe,
            udp_zero_checksum: false,
            fragment: FragmentMode::Inner,
            mtu: None,
        }
    }
}

impl Arrival {
    /// The object this mentions, with the field that does.
    fn reference(&self) -> (&'static str, Key) {
        match self {
            Arrival::Vrf(vrf) => ("vrf", Key::Vrf(vrf.clone())),
            Arrival::Nexthop(nexthop) => ("nexthop", Key::Nexthop(nexthop.clone())),
        }
    }
}

impl Vrf {
    /// The underlay as it is when nobody says anything about it.
    pub fn underlay() -> Vrf {
        Vrf {
            name: UNDERLAY.into(),
            gateways: vec![],
            mode: ForwardingMode::Routed,
            mac: MacAddr::VROUTER,
            flow_quota: None,
            learning: false,
            router_advertisement: None,
            tcp_mss_clamp: None,
            guards: Guards::default(),
        }
    }
}

impl NexthopAction {
    /// True if it is made of other nexthops.
    pub fn has_members(&self) -> bool {
        matches!(self, NexthopAction::Replicate(_) | NexthopAction::Group(_))
    }

    /// True if underlay routes can lead to it: a neighbour, or a group of them.
    pub fn leads_into_underlay(&self) -> bool {
        match self {
            NexthopAction::Vif { address, .. } => address.is_some(),
            NexthopAction::Group(_) => true,
            NexthopAction::Tunnel(_)
            | NexthopAction::Host
            | NexthopAction::Discard
            | NexthopAction::Reject
            | NexthopAction::Vrf(_)
            | NexthopAction::Replicate(_) => false,
        }
    }
}

impl Object {
    /// What this object is found by.
    pub fn key(&self) -> Key {
        match self {
            Object::Vrf(vrf) => Key::Vrf(vrf.name.clone()),
            Object::Vif(vif) => Key::Vif(vif.name.clone()),
            Object::Nexthop(nexthop) => Key::Nexthop(nexthop.name.clone()),
            Object::Route(route) => Key::Route(route.vrf.clone(), route.prefix),
            Object::Mac(mac) => Key::Mac(mac.vrf.clone(), mac.mac),
            Object::Vni(entry) => Key::Vni(entry.vni),
            Object::Label(entry) => Key::Label(entry.label),
            Object::AddressSet(set) => Key::AddressSet(set.name.clone()),
            Object::Policy(policy) => Key::Policy(policy.name.clone()),
            Object::FloatingIp(floating) => Key::FloatingIp(floating.name.clone()),
            Object::SnatPool(pool) => Key::SnatPool(pool.name.clone()),
            Object::Service(service) => Key::Service(service.name.clone()),
            Object::Mirror(mirror) => Key::Mirror(mirror.name.clone()),
            Object::Meter(meter) => Key::Meter(meter.name.clone()),
        }
    }
}

impl Object {
    /// The objects this one mentions, with the field that does.
    pub fn references(&self) -> Vec<(&'static str, Key)> {
        match self {
            Object::Vrf(vrf) => vrf.guards.references(),
            Object::Vif(vif) => {
                let mut all = vec![("vrf", Key::Vrf(vif.vrf.clone()))];
                all.extend(vif.guards.references());
                all
            }
            Object::Nexthop(nexthop) => match &nexthop.action {
                NexthopAction::Vif { vif, .. } => vec![("vif", Key::Vif(vif.clone()))],
                NexthopAction::Tunnel(_)
                | NexthopAction::Host
                | NexthopAction::Discard
                | NexthopAction::Reject => vec![],
                NexthopAction::Replicate(members) => members
                    .iter()
                    .map(|member| ("replicate.members", Key::Nexthop(member.clone())))
                    .collect(),
                NexthopAction::Vrf(vrf) => vec![("vrf", Key::Vrf(vrf.clone()))],
                NexthopAction::Group(group) => {
                    let members = group.members.iter();
                    let keys = members.map(|member| Key::Nexthop(member.nexthop.clone()));
                    keys.map(|key| ("group.members", key)).collect()
                }
            },
            Object::Route(Route { vrf, nexthop, .. }) | Object::Mac(Mac { vrf, nexthop, .. }) => {
                vec![
                    ("vrf", Key::Vrf(vrf.clone())),
                    ("nexthop", Key::Nexthop(nexthop.clone())),
                ]
            }
            Object::Vni(VniEntry { to, .. }) | Object::Label(LabelEntry { to, .. }) => {
                vec![to.reference()]
            }
            Object::AddressSet(_) | Object::Meter(_) => vec![],
            Object::Policy(policy) => policy.references(),
            Object::FloatingIp(floating) => floating.references(),
            Object::SnatPool(pool) => pool.references(),
            Object::Service(service) => service.references(),
            Object::Mirror(mirror) => mirror.references(),
        }
    }
}

impl Key {
    /// The kind's name in YAML, proto and messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Key::Vrf(_) => "vrf",
            Key::Vif(_) => "vif",
            Key::Nexthop(_) => "nexthop",
            Key::Route(..) => "route",
            Key::Mac(..) => "mac",
            Key::Vni(_) => "vni",
            Key::Label(_) => "label",
            Key::AddressSet(_) => "address_set",
            Key::Policy(_) => "policy",
            Key::FloatingIp(_) => "floating_ip",
            Key::SnatPool(_) => "snat_pool",
            Key::Service(_) => "service",
            Key::Mirror(_) => "mirror",
            Key::Meter(_) => "meter",
        }
    }

    /// The key without its kind.
    pub fn name(&self) -> String {
        match self {
            Key::Vrf(name)
            | Key::Vif(name)
            | Key::Nexthop(name)
            | Key::AddressSet(name)
            | Key::Policy(name)
            | Key::FloatingIp(name)
            | Key::SnatPool(name)
            | Key::Service(name)
            | Key::Mirror(name)
            | Key::Meter(name) => name.to_string(),
            Key::Route(vrf, prefix) => format!("{vrf} {prefix}"),
            Key::Mac(vrf, mac) => format!("{vrf} {mac}"),
            Key::Vni(vni) => vni.get().to_string(),
            Key::Label(label) => label.get().to_string(),
        }
    }
}

impl Key {
    fn kind_and_name(&self) -> (u8, Option<&Name>) {
        match self {
            Key::Vrf(name) => (0, Some(name)),
            Key::Vif(name) => (1, Some(name)),
            Key::Nexthop(name) => (2, Some(name)),
            Key::Route(vrf, _) => (3, Some(vrf)),
            Key::Mac(vrf, _) => (4, Some(vrf)),
            Key::Vni(_) => (5, None),
            Key::Label(_) => (6, None),
            Key::AddressSet(name) => (7, Some(name)),
            Key::Policy(name) => (8, Some(name)),
            Key::FloatingIp(name) => (9, Some(name)),
            Key::SnatPool(name) => (10, Some(name)),
            Key::Service(name) => (11, Some(name)),
            Key::Mirror(name) => (12, Some(name)),
            Key::Meter(name) => (13, Some(name)),
        }
    }
}

/// By kind, in the order above, then by name, then by the rest.
impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        match (self, other) {
            (Key::Route(a, prefix), Key::Route(b, other)) => {
                by_name(a, b).then_with(|| prefix.cmp(other))
            }
            (Key::Mac(a, mac), Key::Mac(b, other)) => by_name(a, b).then_with(|| mac.cmp(other)),
            (Key::Vni(a), Key::Vni(b)) => a.cmp(b),
            (Key::Label(a), Key::Label(b)) => a.cmp(b),
            _ => {
                let ((kind, name), (others, other)) = (self.kind_and_name(), other.kind_and_name());
                let names = name.zip(other);
                let by_names = || names.map_or(Ordering::Equal, |(a, b)| by_name(a, b));
                kind.cmp(&others).then_with(by_names)
            }
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As text, but names that are shared need no look at it.
fn by_name(a: &Name, b: &Name) -> Ordering {
    match Arc::ptr_eq(a, b) {
        true => Ordering::Equal,
        false => a.cmp(b),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}
