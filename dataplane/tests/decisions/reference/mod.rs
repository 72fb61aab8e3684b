//! What becomes of the first packet of a flow, by the words of `docs/configuration.md`: every object
//! looked at in turn, nothing prepared, nothing shared with the engine.
//!
//! [`Reference`] is the configuration with what links and neighbours do, [`Memory`] what outlives
//! flows, [`Choices`] what the engine drew where any of several would have been right.

mod choices;
mod follow;
mod groups;
mod memory;
mod nat;
mod services;
mod walk;

use std::collections::BTreeSet;
use std::net::IpAddr;

use dataplane::tables::spec::*;
use ipnet::IpNet;

use crate::policies;
pub use choices::{Choice, Choices};
pub use memory::Memory;

/// The configuration, and what is known of the world outside.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub objects: Vec<Object>,
    /// Vifs whose link is down.
    pub down: BTreeSet<Name>,
    /// Neighbours that answer, by fabric vif.
    pub answering: BTreeSet<(Name, IpAddr)>,
    /// Neighbours that were asked, and do not.
    pub silent: BTreeSet<(Name, IpAddr)>,
}

/// Where an address leads in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leads {
    /// To a nexthop, or to the vif of this name.
    To(Name),
    /// It is the virtual router's own.
    Gateway,
    /// On the link of a fabric vif.
    Connected,
    /// Services, a floating address or a pool: this prefix.
    Virtual(IpNet),
}

/// What a nexthop does, a vif being one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    Deliver(Name),
    Neighbour(Name, IpAddr),
    Tunnel(&'a Tunnel),
    /// A tunnel that no way leads to.
    Unreachable,
    Group(&'a Group),
    Vrf(Name),
    Host,
    Discard,
    Reject,
    Replicate,
}

impl Reference {
    pub fn vrf(&self, name: &str) -> &Vrf {
        let mut all = self.objects.iter();
        let found = all.find_map(|object| match object {
            Object::Vrf(vrf) if &*vrf.name == name => Some(vrf),
            _ => None,
        });
        found.expect("references are checked at commit")
    }

    pub fn vif(&self, name: &str) -> Option<&Vif> {
        self.vifs().find(|vif| &*vif.name == name)
    }

    pub fn vifs(&self) -> impl Iterator<Item = &Vif> {
        self.objects.iter().filter_map(|object| match object {
            Object::Vif(vif) => Some(vif),
            _ => None,
        })
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.objects.iter().filter_map(|object| match object {
            Object::Service(service) => Some(service),
            _ => None,
        })
    }

    pub fn floatings(&self) -> impl Iterator<Item = &FloatingIp> {
        self.objects.iter().filter_map(|object| match object {
            Object::FloatingIp(floating) => Some(floating),
            _ => None,
        })
    }

    pub fn pools(&self) -> impl Iterator<Item = &SnatPool> {
        self.objects.iter().filter_map(|object| match object {
            Object::SnatPool(pool) => Some(pool),
            _ => None,
        })
    }

    /// Fabric vifs, in the order of their names.
    pub fn fabrics(&self) -> Vec<&Vif> {
        let mut all: Vec<&Vif> = self.vifs().filter(|vif| vif.role == Role::Fabric).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The host vif; of several the first by name.
    pub fn host(&self) -> Option<Name> {
        let hosts = self.vifs().filter(|vif| vif.role == Role::Host);
        hosts.map(|vif| vif.name.clone()).min()
    }

    /// Policies and address sets.
    pub fn rules(&self) -> policies::Reference {
        let mut rules = policies::Reference::default();
        for object in &self.objects {
            match object {
                Object::Policy(policy) => {
                    _ = rules.policies.insert(policy.name.clone(), policy.clone());
                }
                Object::AddressSet(set) => {
                    _ = rules.sets.insert(set.name.clone(), set.prefixes.clone());
                }
                _ => {}
            }
        }
        rules
    }

    /// The longest of all prefixes of a network that an address is in.
    pub fn lookup(&self, vrf: &str, addr: IpAddr) -> Option<Leads> {
        let mut best: Option<(u8, Leads)> = None;
        let mut consider = |net: IpNet, leads: Leads| {
            let is_longer = best.as_ref().is_none_or(|(len, _)| net.prefix_len() > *len);
            if net.contains(&addr) && is_longer {
                best = Some((net.prefix_len(), leads));
            }
        };
        for object in &self.objects {
            match object {
                Object::Vrf(it) if &*it.name == vrf => {
                    for gateway in &it.gateways {
                        consider(gateway.addr().into(), Leads::Gateway);
                    }
                }
                Object::Vif(vif) if &*vif.vrf == vrf => {
                    for net in &vif.addresses {
                        let own = IpNet::from(net.addr());
                        match vif.role {
                            // What is behind a vif without a MAC is bridged only.
                            Role::Tenant if vif.mac.is_none() => {}
                            Role::Tenant => consider(*net, Leads::To(vif.name.clone())),
                            Role::Fabric => {
                                consider(own, Leads::Gateway);
                                consider(*net, Leads::Connected);
                            }
                            Role::Host => {
                                consider(own, Leads::Gateway);
                                consider(*net, Leads::To(vif.name.clone()));
                            }
                        }
                    }
                }
                Object::Route(route) if &*route.vrf == vrf => {
                    consider(route.prefix, Leads::To(route.nexthop.clone()));
                }
                Object::Service(service) if &*service.vrf == vrf => {
                    let net = IpNet::from(service.address);
                    consider(net, Leads::Virtual(net));
                }
                Object::FloatingIp(floating) if &*floating.vrf == vrf => {
                    let net = floating.address.trunc();
                    consider(net, Leads::Virtual(net));
                }
                Object::SnatPool(pool) => {
                    if &*pool.outside_vrf == vrf
                        && !self.is_uplinks(vrf, addr)
                        && pool.addresses.iter().any(|net| net.contains(&addr))
                    {
                        let net = IpNet::from(addr);
                        consider(net, Leads::Virtual(net));
                    }
                    if let Some(prefix) = pool.nat64_prefix
                        && &*pool.vrf == vrf
                    {
                        consider(prefix.into(), Leads::Virtual(prefix.into()));
                    }
                }
                _ => {}
            }
        }
        best.map(|(_, leads)| leads)
    }

    /// Whether an address of the underlay is a fabric vif's own.
    pub fn is_uplinks(&self, vrf: &str, addr: IpAddr) -> bool {
        let has = |vif: &Vif| vif.addresses.iter().any(|net| net.addr() == addr);
        vrf == UNDERLAY && self.vifs().any(|vif| vif.role == Role::Fabric && has(vif))
    }

    /// What the nexthop, or the vif, of this name does.
    pub fn action(&self, name: &str) -> Action<'_> {
        if let Some(vif) = self.vif(name) {
            return Action::Deliver(vif.name.clone());
        }
        let mut all = self.objects.iter();
        let found = all.find_map(|object| match object {
            Object::Nexthop(nexthop) if &*nexthop.name == name => Some(&nexthop.action),
            _ => None,
        });
        match found.expect("references are checked at commit") {
            NexthopAction::Vif { vif, address: None } => Action::Deliver(vif.clone()),
            NexthopAction::Vif {
                vif,
                address: Some(address),
            } => Action::Neighbour(vif.clone(), *address),
            NexthopAction::Tunnel(tunnel) => match self.paths(tunnel).is_empty() {
                true => Action::Unreachable,
                false => Action::Tunnel(tunnel),
            },
            NexthopAction::Group(group) => Action::Group(group),
            NexthopAction::Vrf(vrf) => Action::Vrf(vrf.clone()),
            NexthopAction::Host => Action::Host,
            NexthopAction::Discard => Action::Discard,
            NexthopAction::Reject => Action::Reject,
            NexthopAction::Replicate(_) => Action::Replicate,
        }
    }

    /// The ways to a tunnel's remote: uplinks, each with the neighbour on it; none if it cannot start
    /// anywhere.
    fn paths(&self, tunnel: &Tunnel) -> Vec<(Name, IpAddr)> {
        let paths = self.underlay_ways(tunnel.remote);
        let starts = |name: &Name| {
            let vif = self.vif(name);
            let mut own = vif.into_iter().flat_map(|vif| &vif.addresses);
            own.any(|net| net.addr().is_ipv4() == tunnel.remote.is_ipv4())
        };
        let has_start = tunnel.local.is_some() || paths.iter().any(|(vif, _)| starts(vif));
        match has_start {
            true => paths,
            false => vec![],
        }
    }

    fn underlay_ways(&self, remote: IpAddr) -> Vec<(Name, IpAddr)> {
        match self.lookup(UNDERLAY, remote) {
            Some(Leads::Connected) => {
                let len = |vif: &Vif| {
                    let on = vif.addresses.iter().filter(|net| net.contains(&remote));
                    on.map(IpNet::prefix_len).max()
                };
                let longest = self.fabrics().into_iter().filter_map(len).max();
                let fabrics = self.fabrics().into_iter();
                let near = fabrics.filter(|vif| longest.is_some() && len(vif) == longest);
                near.map(|vif| (vif.name.clone(), remote)).collect()
            }
            Some(Leads::To(name)) => {
                let one = self.action_of_neighbour(&name);
                one.map_or_else(|| self.neighbours_of(&name), |one| vec![one])
            }
            _ => vec![],
        }
    }

    fn action_of_neighbour(&self, name: &str) -> Option<(Name, IpAddr)> {
        self.objects.iter().find_map(|object| match object {
            Object::Nexthop(nexthop) if &*nexthop.name == name => match &nexthop.action {
                NexthopAction::Vif {
                    vif,
                    address: Some(address),
                } => Some((vif.clone(), *address)),
                _ => None,
            },
            _ => None,
        })
    }

    fn neighbours_of(&self, group: &str) -> Vec<(Name, IpAddr)> {
        let mut all = self.objects.iter();
        let members = all.find_map(|object| match object {
            Object::Nexthop(nexthop) if &*nexthop.name == group => match &nexthop.action {
                NexthopAction::Group(group) => Some(&group.members),
                _ => None,
            },
            _ => None,
        });
        let members = members.into_iter().flatten();
        let neighbours = members.filter_map(|it| self.action_of_neighbour(&it.nexthop));
        neighbours.collect()
    }
}
