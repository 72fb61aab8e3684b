//! Objects as a controller means them: typed and well-formed one by one, still
//! referring to each other by name.
//!
//! These are the *checked* half of the configuration; the written half (YAML,
//! proto) lives in `ctl`. Whether a reference leads anywhere is decided at
//! commit, in [`super::commit`].

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use encap::{MacAddr, VlanId, Vni};
use ipnet::IpNet;

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
}

/// What an object is found by. Displays as `kind name`, e.g. `route front 10.1.0.9/32`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Its MAC; for a tenant the only source it may use. `None`: the device's own.
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
}

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
    /// Send each flow to one of several neighbours in the underlay.
    Group(Group),
}

/// Several neighbours that lead to the same place, over one uplink or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Between one and [`MAX_PATHS`](super::path::MAX_PATHS), each once.
    pub members: Vec<Member>,
}

/// One nexthop of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The nexthop.
    pub nexthop: Name,
    /// Its share of the flows, beside the other members'.
    pub weight: NonZeroU16,
}

/// A VXLAN tunnel to another node (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Outer source. `None`: the address of the fabric vif that leads to `remote`.
    pub local: Option<IpAddr>,
    /// Outer destination.
    pub remote: IpAddr,
    /// The network id sent.
    pub vni: Vni,
    /// Inner destination MAC of routed packets. `None`: the vrf's router MAC.
    pub inner_mac: Option<MacAddr>,
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
    /// The network its frames belong to.
    pub vrf: Name,
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
        }
    }
}

impl NexthopAction {
    /// True if underlay routes can lead to it: a neighbour, or a group of them.
    pub fn leads_into_underlay(&self) -> bool {
        match self {
            NexthopAction::Vif { address, .. } => address.is_some(),
            NexthopAction::Group(_) => true,
            NexthopAction::Tunnel(_) | NexthopAction::Host | NexthopAction::Discard => false,
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
        }
    }
}

impl Object {
    /// The objects this one mentions, with the field that does.
    pub fn references(&self) -> Vec<(&'static str, Key)> {
        match self {
            Object::Vrf(_) => vec![],
            Object::Vif(vif) => vec![("vrf", Key::Vrf(vif.vrf.clone()))],
            Object::Nexthop(nexthop) => match &nexthop.action {
                NexthopAction::Vif { vif, .. } => vec![("vif", Key::Vif(vif.clone()))],
                NexthopAction::Tunnel(_) | NexthopAction::Host | NexthopAction::Discard => vec![],
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
            Object::Vni(entry) => vec![("vrf", Key::Vrf(entry.vrf.clone()))],
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
        }
    }

    /// The key without its kind.
    pub fn name(&self) -> String {
        match self {
            Key::Vrf(name) | Key::Vif(name) | Key::Nexthop(name) => name.to_string(),
            Key::Route(vrf, prefix) => format!("{vrf} {prefix}"),
            Key::Mac(vrf, mac) => format!("{vrf} {mac}"),
            Key::Vni(vni) => vni.get().to_string(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}
