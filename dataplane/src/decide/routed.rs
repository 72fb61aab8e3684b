//! Routed unicast: the destination is followed from network to network until a nexthop leads out of
//! the vrouter, translated where it is a virtual address; then policies, the way back, and what the
//! source becomes.
//!
//! Nothing is taken from [`Sessions`] before the policies have let the flow through, but for what
//! says where the destination is.

use std::net::{IpAddr, Ipv6Addr};

use encap::protocol;

use super::sessions::Step;
use super::{Decision, End, Headers, Note, Refused, Sessions, Way, group, ingress_of, nat, policy};
use super::{service, underlay};
use crate::reason::DropReason;
use crate::spread::Tuple;
use crate::stage::{Ingress, bridge};
use crate::tables::nat::PoolId;
use crate::tables::spec::{HashFields, Role};
use crate::tables::{Nexthop, NexthopId, PeerId, Tables, Target, UNDERLAY, Vrf};

/// Networks that a packet may be passed through on one node. Each step is a route that somebody
/// configured; more than these are a loop.
pub(super) const MAX_VRFS: usize = 8;

/// Where the destination has led so far.
pub(super) struct Walk<'a> {
    /// The configuration.
    pub(super) tables: &'a Tables,
    /// What came, as it came.
    pub(super) headers: &'a Headers,
    /// Where it came from.
    pub(super) ingress: Ingress,
    /// The network that the sender is in.
    pub(super) origin: &'a Vrf,
    /// The network the packet is in by now.
    pub(super) vrf: &'a Vrf,
    /// The destination by now.
    pub(super) dst: End,
    /// The destination that policies see, if that is another one: that of a packet to be translated
    /// between the families.
    pub(super) seen_dst: Option<End>,
    /// The destination is whose a pool's address and port are.
    pub(super) through_pool: bool,
    /// What the source was given before the destination was looked up on: see [`nat::pool_inward`].
    pub(super) bound: Option<End>,
    /// What stands before IPv4 addresses where an IPv6 machine is to see them.
    pub(super) embedding: Option<Ipv6Addr>,
    /// How the source is to be translated, by the first network it left its own for.
    pub(super) outward: Option<Outward>,
    /// The service that was called on the way.
    pub(super) called: Option<service::Called>,
    /// The address whose way is taken instead of the destination's: that of a backend which gets
    /// packets as they are.
    pub(super) via: Option<IpAddr>,
    /// What has been taken from the sessions.
    pub(super) note: Note,
}

/// What the source of a packet is to become.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outward {
    /// This address, with the port as it is.
    Floating(IpAddr),
    /// What this pool gives.
    Pool(PoolId),
}

/// Both directions of a routed flow.
pub(super) fn decide(
    tables: &Tables,
    sessions: &mut impl Sessions,
    vrf: &Vrf,
    headers: &Headers,
    ingress: Ingress,
) -> Result<Decision, Refused> {
    for addr in [headers.src_addr, headers.dst_addr] {
        if is_link_local(addr) {
            return Err(DropReason::LinkLocal.into());
        }
    }
    let mut walk = Walk {
        tables,
        headers,
        ingress,
        origin: vrf,
        vrf,
        dst: headers.destination(),
        seen_dst: None,
        through_pool: false,
        bound: None,
        embedding: None,
        outward: None,
        called: None,
        via: None,
        note: Note::default(),
    };
    let decided = walk.decide(sessions);
    if decided.is_err() && walk.note.binding != 0 {
        sessions.release(walk.note.binding);
    }
    decided
}

impl Walk<'_> {
    fn decide(&mut self, sessions: &mut impl Sessions) -> Result<Decision, Refused> {
        let (tables, ingress) = (self.tables, self.ingress);
        let nexthop = match self.headers.direct {
            Some(nexthop) => nexthop,
            None => self.follow(sessions)?,
        };
        let (nexthop, member) = match self.vrf.id {
            // The fabric sees no tenant's own address, and is not routed to itself.
            UNDERLAY if self.outward.is_none() => return Err(DropReason::NoRoute.into()),
            UNDERLAY => (underlay::way(tables, nexthop, self.spread())?, 0),
            _ => group::member(self, nexthop, sessions)?,
        };
        let is_neighbour = matches!(tables.nexthop(nexthop), Some(Nexthop::Neighbour(_)));
        if is_neighbour && self.vrf.id != UNDERLAY {
            // The fabric's neighbours are the underlay's, and tenants' vrfs lead there by themselves.
            return Err(DropReason::NoRoute.into());
        }
        bridge::check_horizon(tables, nexthop, ingress)?;
        let mut flags = policy::egress(self, sessions)?;
        flags |= policy::ingress(self, nexthop, sessions)?;
        let (back, member_back) = self.way_back(sessions)?;
        // What leads nowhere takes nothing.
        let answers = ingress_of(tables, nexthop)?;
        let source = self.source(sessions)?;
        service::settle(self, sessions);
        let (exit, origin) = (self.vrf, self.origin);
        Ok(Decision {
            forward: Way {
                ingress,
                nexthop,
                vrf: origin.id,
                exit: exit.id,
                epoch: origin.epoch,
                flags,
                member,
            },
            reverse: Way {
                ingress: answers,
                nexthop: back,
                vrf: exit.id,
                exit: origin.id,
                epoch: exit.epoch,
                flags,
                member: member_back,
            },
            source,
            destination: self.dst,
            note: self.note,
        })
    }

    /// From prefix to prefix until a nexthop leads out of the vrouter, or to a group of such.
    fn follow(&mut self, sessions: &mut impl Sessions) -> Result<NexthopId, DropReason> {
        for _ in 0..MAX_VRFS {
            let addr = self.via.unwrap_or(self.dst.addr);
            let target = self.vrf.routes.lookup(addr);
            sessions.step(Step::Route(self.vrf.id, addr, target));
            match target {
                Some(Target::Nexthop(id)) => match self.tables.nexthop(id) {
                    Some(Nexthop::Vrf(next)) => self.enter(*next)?,
                    _ => return Ok(id),
                },
                Some(Target::Vip(id)) => {
                    let vip = self.tables.vip(id).ok_or(DropReason::NoRoute)?;
                    let (protocol, port) = (self.headers.protocol, self.dst.port);
                    if let Some(id) = vip.service(protocol, port) {
                        service::inward(self, id, sessions)?;
                    } else if let Some(id) = vip.floating {
                        nat::floating_inward(self, id, sessions)?;
                    } else if let Some(id) = vip.pool {
                        nat::pool_inward(self, id, sessions)?;
                    } else {
                        return Err(DropReason::NoService);
                    }
                }
                Some(Target::Gateway) => match self.uplink_pool() {
                    Some(id) => nat::pool_inward(self, id, sessions)?,
                    None => return Err(DropReason::ToGateway),
                },
                Some(Target::Connected) | None => return Err(DropReason::NoRoute),
            }
        }
        Err(DropReason::VrfLoop)
    }

    /// The pool that has ports of this node's own address in the underlay.
    fn uplink_pool(&self) -> Option<PoolId> {
        let own = || self.tables.underlay().pool_at(self.dst.addr);
        (self.vrf.id == UNDERLAY).then(own).flatten()
    }

    /// Passes into another network, where the source may have to be another one.
    pub(super) fn enter(&mut self, next: crate::tables::VrfId) -> Result<(), DropReason> {
        let next = self.tables.vrf(next).ok_or(DropReason::NoRoute)?;
        if self.outward.is_none() {
            self.outward = nat::outward(self, next);
        }
        self.vrf = next;
        Ok(())
    }

    /// Holds a binding for the flow; of two, as in a hairpin, the one of the source.
    pub(super) fn hold(&mut self, binding: u32, sessions: &mut impl Sessions) {
        if self.note.binding != 0 {
            sessions.release(self.note.binding);
        }
        self.note.binding = binding;
    }

    /// The ends that policies see: the machines' own.
    pub(super) fn seen(&self) -> (End, End) {
        (self.headers.source(), self.seen_dst.unwrap_or(self.dst))
    }

    /// The way of replies, which must be the way by which the packet came.
    /// With the number of the group's member that it is.
    fn way_back(&self, sessions: &mut impl Sessions) -> Result<(NexthopId, u8), DropReason> {
        match (self.ingress.as_vif(), self.ingress.as_peer()) {
            (Some(vif), _) => {
                let vif = self.tables.vif(vif).ok_or(DropReason::VifGone)?;
                match vif.role {
                    Role::Fabric => Ok((self.way_into_underlay(sessions)?, 0)),
                    Role::Tenant | Role::Host => Ok((vif.nexthop, 0)),
                }
            }
            (None, Some(peer)) => {
                sessions.step(Step::ReversePath(self.headers.src_addr));
                member_back(self.tables, self.origin, self.headers.src_addr, peer)
            }
            (None, None) => unreachable!("an ingress is a vif or a peer"),
        }
    }

    /// The way back to whoever sent from the fabric.
    fn way_into_underlay(&self, sessions: &mut impl Sessions) -> Result<NexthopId, DropReason> {
        sessions.step(Step::ReversePath(self.headers.src_addr));
        match self.origin.routes.lookup(self.headers.src_addr) {
            Some(Target::Nexthop(nexthop)) => underlay::way(self.tables, nexthop, self.spread()),
            _ => Err(DropReason::ReversePath),
        }
    }

    /// Tells flows apart where there are several to choose from.
    pub(super) fn spread(&self) -> u64 {
        let tuple = Tuple {
            src: self.headers.source(),
            dst: self.headers.destination(),
            protocol: self.headers.protocol,
        };
        let key = self.tables.spread_key();
        key.flow(&tuple, HashFields::FiveTuple, false)
    }

    /// The source as it leaves.
    fn source(&mut self, sessions: &mut impl Sessions) -> Result<End, DropReason> {
        let own = self.headers.source();
        let mut source = match (self.outward, self.bound) {
            (None, _) => own,
            (Some(Outward::Floating(addr)), _) => End { addr, ..own },
            (Some(Outward::Pool(_)), Some(bound)) => bound,
            (Some(Outward::Pool(pool)), None) => nat::bind(self, pool, sessions)?,
        };
        if matches!(self.headers.protocol, protocol::ICMP | protocol::ICMPV6) {
            // The identifier of a query is one field, and both ends' port.
            match self.outward {
                Some(Outward::Pool(_)) if self.through_pool => {
                    return Err(DropReason::SnatProtocol);
                }
                Some(Outward::Pool(_)) => self.dst.port = source.port,
                _ => source.port = self.dst.port,
            }
        }
        if let (IpAddr::V6(_), Some(prefix)) = (self.dst.addr, self.embedding) {
            source.addr = nat::embedded(prefix, source.addr);
        }
        match source.addr.is_ipv4() == self.dst.addr.is_ipv4() {
            true => Ok(source),
            false => Err(DropReason::NoRoute),
        }
    }
}

/// The nexthop to `addr`, which must be a tunnel that ends where the packet came
/// from: the reverse-path check and the way for answers in one. Of a group the member that does.
pub fn way_back(
    tables: &Tables,
    vrf: &Vrf,
    addr: IpAddr,
    peer: PeerId,
) -> Result<NexthopId, DropReason> {
    member_back(tables, vrf, addr, peer).map(|(nexthop, _)| nexthop)
}

fn member_back(
    tables: &Tables,
    vrf: &Vrf,
    addr: IpAddr,
    peer: PeerId,
) -> Result<(NexthopId, u8), DropReason> {
    if let Some(Target::Nexthop(nexthop)) = vrf.routes.lookup(addr)
        && let Some(found) = group::towards(tables, nexthop, addr, peer)
    {
        return Ok(found);
    }
    Err(DropReason::ReversePath)
}

fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}
