//! The decision, from the checks of addresses to both directions' ways.

use std::net::{IpAddr, Ipv6Addr};

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::stage::Layer;
use dataplane::tables::policy::Tuple;
use dataplane::tables::spec::*;
use encap::MacAddr;

use super::{Action, Choices, Leads, Memory, Reference};
use crate::words::*;

/// What a source becomes.
#[derive(Clone, Debug)]
pub(super) enum Outward {
    Address(IpAddr),
    Pool(Name),
}

/// A packet on its way through the networks.
pub(super) struct Walk<'a> {
    pub world: &'a Reference,
    pub memory: &'a mut Memory,
    pub choices: &'a mut Choices,
    pub packet: &'a Packet,
    /// The network it is in by now.
    pub vrf: Name,
    pub dst: End,
    /// What policies see as the destination, if that is another one.
    pub seen_dst: Option<End>,
    pub outward: Option<Outward>,
    /// What a pool has given the source.
    pub bound: Option<End>,
    pub through_pool: bool,
    /// Stands before IPv4 addresses that an IPv6 machine sees.
    pub embedding: Option<Ipv6Addr>,
    pub called: Option<(Name, End)>,
    /// The way is looked up to this address, not to the destination.
    pub via: Option<IpAddr>,
    pub holds: bool,
}

impl Reference {
    /// What becomes of a packet.
    pub fn decide(&self, memory: &mut Memory, choices: &mut Choices, packet: &Packet) -> Outcome {
        if self.is_martian(packet) {
            return Err(DropReason::Martian.into());
        }
        if packet.dst.addr.is_multicast() {
            return Err(DropReason::Multicast.into());
        }
        if self.is_spoofed(packet) {
            return Err(DropReason::SpoofedSource.into());
        }
        match packet.layer {
            Layer::Bridged => self.bridged(packet),
            Layer::Routed => {
                if is_link_local(packet.src.addr) || is_link_local(packet.dst.addr) {
                    return Err(DropReason::LinkLocal.into());
                }
                let walk = Walk {
                    world: self,
                    memory,
                    choices,
                    packet,
                    vrf: packet.vrf.clone(),
                    dst: packet.dst,
                    seen_dst: None,
                    outward: None,
                    bound: None,
                    through_pool: false,
                    embedding: None,
                    called: None,
                    via: None,
                    holds: false,
                };
                walk.routed()
            }
        }
    }

    fn is_martian(&self, packet: &Packet) -> bool {
        let is_reserved = |addr: IpAddr| match addr {
            IpAddr::V4(addr) => {
                let first = addr.octets()[0];
                first == 0 || first == 127 || first >= 240
            }
            IpAddr::V6(addr) => addr.to_bits() <= 1, // :: and ::1
        };
        let source = packet.src.addr;
        is_reserved(source) || source.is_multicast() || is_reserved(packet.dst.addr)
    }

    /// A machine sends from its own addresses, and never from the router's.
    fn is_spoofed(&self, packet: &Packet) -> bool {
        let From::Vif(name) = &packet.from else {
            return false;
        };
        let vif = self.vif(name).expect("it is there");
        if vif.role != Role::Tenant {
            return false;
        }
        let source = packet.src.addr;
        let [a, b, c, d, e, f] = self.vrf(&packet.vrf).mac.0;
        let router = [
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            a ^ 2,
            b,
            c,
            0xff,
            0xfe,
            d,
            e,
            f,
        ];
        let is_routers = self.lookup(&packet.vrf, source) == Some(Leads::Gateway);
        if is_routers || source == IpAddr::from(router) {
            return true;
        }
        let is_own =
            vif.addresses.is_empty() || vif.addresses.iter().any(|net| net.contains(&source));
        let on_link = packet.layer == Layer::Bridged && source.is_ipv6() && is_link_local(source);
        !(is_own || on_link || self.answers_for(vif, source))
    }

    /// Whether the machine is a backend that answers from the service's address itself.
    fn answers_for(&self, vif: &Vif, source: IpAddr) -> bool {
        let mut direct = self
            .services()
            .filter(|it| it.direct_return && it.address == source);
        direct.any(|service| {
            let vrf = service.backend_vrf.as_ref().unwrap_or(&service.vrf);
            service
                .backends
                .iter()
                .any(|backend| match self.lookup(vrf, backend.address) {
                    Some(Leads::To(name)) => {
                        self.action(&name) == Action::Deliver(vif.name.clone())
                    }
                    _ => false,
                })
        })
    }

    /// By the bridge entries of both MACs.
    fn bridged(&self, packet: &Packet) -> Outcome {
        let (src, dst) = packet.macs;
        let back = self.bridge_entry(&packet.vrf, src);
        if let From::Remote(remote) = packet.from {
            let from_there = back.as_ref().map(|name| self.action(name));
            if !matches!(from_there, Some(Action::Tunnel(it)) if it.remote == remote) {
                return Err(DropReason::ReversePath.into());
            }
        }
        let to = self
            .bridge_entry(&packet.vrf, dst)
            .ok_or(DropReason::NoMac)?;
        let action = self.action(&to);
        match (&action, &packet.from) {
            (Action::Deliver(vif), From::Vif(from)) if vif == from => {
                return Err(DropReason::SameVif.into());
            }
            (Action::Tunnel(_) | Action::Unreachable, From::Remote(_)) => {
                return Err(DropReason::SplitHorizon.into());
            }
            (Action::Neighbour(..), _) => return Err(DropReason::NoRoute.into()),
            _ => {}
        }
        let back = back.ok_or(DropReason::ReversePath)?;
        let (egress_rule, egress_marks) = self.egress(packet, packet.dst)?;
        let (ingress_rule, ingress_marks) = self.ingress(packet, &action, packet.dst)?;
        let from = self.answers_from(&action)?;
        let way = |from: From, nexthop: Name| Way {
            from,
            nexthop,
            vrf: packet.vrf.clone(),
            exit: packet.vrf.clone(),
            member: 0,
        };
        Ok(Allowed {
            forward: way(packet.from.clone(), to),
            reverse: way(from, back),
            source: packet.src,
            destination: packet.dst,
            egress_rule,
            ingress_rule,
            marks: egress_marks || ingress_marks,
            bound: false,
        })
    }

    /// Where frames to a MAC go.
    fn bridge_entry(&self, vrf: &str, mac: MacAddr) -> Option<Name> {
        self.objects.iter().find_map(|object| match object {
            Object::Vif(vif) if vif.role == Role::Tenant && &*vif.vrf == vrf => {
                (vif.mac == Some(mac)).then(|| vif.name.clone())
            }
            Object::Mac(entry) if &*entry.vrf == vrf && entry.mac == mac => {
                Some(entry.nexthop.clone())
            }
            _ => None,
        })
    }

    /// What the sender's policies say: the rule, and whether it marks.
    pub(super) fn egress(
        &self,
        packet: &Packet,
        dst: End,
    ) -> Result<(Option<RuleName>, bool), Refused> {
        let vif = match &packet.from {
            From::Vif(name) => self.vif(name),
            From::Remote(_) => None,
        };
        self.ask(vif, |guards| &guards.egress_policies, packet, dst)
    }

    /// What the receiver's policies say.
    pub(super) fn ingress(
        &self,
        packet: &Packet,
        action: &Action,
        dst: End,
    ) -> Result<(Option<RuleName>, bool), Refused> {
        let vif = match action {
            Action::Deliver(name) => self.vif(name),
            _ => None,
        };
        self.ask(vif, |guards| &guards.ingress_policies, packet, dst)
    }

    fn ask(
        &self,
        vif: Option<&Vif>,
        list: impl Fn(&Guards) -> &Vec<Name>,
        packet: &Packet,
        dst: End,
    ) -> Result<(Option<RuleName>, bool), Refused> {
        let Some(vif) = vif else {
            return Ok((None, false));
        };
        let own = list(&vif.guards);
        let policies = match own.is_empty() && &*vif.vrf != UNDERLAY {
            true => list(&self.vrf(&vif.vrf).guards),
            false => own,
        };
        let ends = (packet.src.addr, dst.addr);
        let ports = (packet.src.port, dst.port);
        let tuple = Tuple::new(ends, packet.protocol, ports, packet.icmp);
        let Some((action, rule)) = self.rules().verdict(policies, &tuple) else {
            return Ok((None, false));
        };
        let reason = match action {
            RuleAction::Allow => {
                let marks = rule.as_ref().is_some_and(|rule| self.marks(rule));
                return Ok((rule, marks));
            }
            RuleAction::Deny => DropReason::PolicyDenied,
            RuleAction::Reject => DropReason::PolicyRejected,
        };
        Err(Refused { reason, rule })
    }

    fn marks(&self, (policy, id): &RuleName) -> bool {
        let mut rules = self.objects.iter().flat_map(|object| match object {
            Object::Policy(it) if it.name == *policy => &it.rules[..],
            _ => &[],
        });
        let rule = rules.find(|rule| rule.id == *id).expect("it matched");
        rule.mirror.is_some() || rule.dscp.is_some()
    }

    /// Where answers to what goes there come from; or why nothing goes there.
    fn answers_from(&self, action: &Action) -> Result<From, DropReason> {
        match action {
            Action::Deliver(vif) => Ok(From::Vif(vif.clone())),
            Action::Tunnel(tunnel) => Ok(From::Remote(tunnel.remote)),
            Action::Neighbour(..) => {
                let first = self.fabrics()[0].name.clone(); // any uplink will do
                Ok(From::Vif(first))
            }
            Action::Host => self.host().map(From::Vif).ok_or(DropReason::NoHost),
            Action::Unreachable => Err(DropReason::NoUnderlayRoute),
            Action::Discard => Err(DropReason::Discard),
            Action::Reject => Err(DropReason::Reject),
            Action::Group(_) | Action::Vrf(_) | Action::Replicate => Err(DropReason::NoRoute),
        }
    }
}

impl Walk<'_> {
    fn routed(mut self) -> Outcome {
        let (world, packet) = (self.world, self.packet);
        let led = match &packet.direct {
            Some(nexthop) => nexthop.clone(),
            None => self.follow()?,
        };
        let (nexthop, member) = match &*self.vrf {
            // The fabric sees no machine's own address.
            UNDERLAY if self.outward.is_none() => return Err(DropReason::NoRoute.into()),
            UNDERLAY => (self.neighbour(&led, true)?, 0),
            _ => self.member(led)?,
        };
        let action = world.action(&nexthop);
        if matches!(action, Action::Neighbour(..)) && &*self.vrf != UNDERLAY {
            return Err(DropReason::NoRoute.into());
        }
        let is_tunnel = matches!(action, Action::Tunnel(_) | Action::Unreachable);
        if is_tunnel && matches!(packet.from, From::Remote(_)) {
            return Err(DropReason::SplitHorizon.into());
        }
        let seen = self.seen_dst.unwrap_or(self.dst);
        let (egress_rule, egress_marks) = world.egress(packet, seen)?;
        let (ingress_rule, ingress_marks) = world.ingress(packet, &action, seen)?;
        let (back, member_back) = self.way_back()?;
        let from = world.answers_from(&action)?;
        let source = self.source()?;
        self.keep_backend();
        Ok(Allowed {
            forward: Way {
                from: packet.from.clone(),
                nexthop,
                vrf: packet.vrf.clone(),
                exit: self.vrf.clone(),
                member,
            },
            reverse: Way {
                from,
                nexthop: back,
                vrf: self.vrf,
                exit: packet.vrf.clone(),
                member: member_back,
            },
            source,
            destination: self.dst,
            egress_rule,
            ingress_rule,
            marks: egress_marks || ingress_marks,
            bound: self.holds,
        })
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.octets()[..2] == [169, 254],
        IpAddr::V6(addr) => addr.segments()[0] & 0xffc0 == 0xfe80,
    }
}
