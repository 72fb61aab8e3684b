//! Groups of nexthops, there and back.

use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::tables::spec::*;

use super::choices::{Choice, check_legal};
use super::walk::Walk;
use super::{Action, Leads, Reference};
use crate::words::From;

impl Reference {
    /// Whether packets can leave by a member now: its link is up, or that of one of its tunnel's
    /// uplinks, and the neighbour there is not silent.
    fn is_usable(&self, name: &str) -> bool {
        match self.action(name) {
            Action::Deliver(vif) => !self.down.contains(&vif),
            Action::Tunnel(tunnel) => self.paths(tunnel).iter().any(|(vif, neighbour)| {
                !self.down.contains(vif) && !self.silent.contains(&(vif.clone(), *neighbour))
            }),
            _ => false,
        }
    }

    fn is_tunnel(&self, name: &str) -> bool {
        matches!(self.action(name), Action::Tunnel(_) | Action::Unreachable)
    }
}

impl Walk<'_> {
    /// The nexthop itself, or of a group the member and its number.
    pub(super) fn member(&mut self, nexthop: Name) -> Result<(Name, u8), DropReason> {
        let Action::Group(group) = self.world.action(&nexthop) else {
            return Ok((nexthop, 0));
        };
        let from_tunnel = matches!(self.packet.from, From::Remote(_));
        let may_take = |name: &Name| !(from_tunnel && self.world.is_tunnel(name));
        let members = || group.members.iter().map(|member| member.nexthop.clone());
        let good: Vec<Name> = members()
            .filter(|name| may_take(name) && self.world.is_usable(name))
            .collect();
        let had = self.packet.had.as_ref().map(|had| &had.nexthop);
        let legal: Vec<Name> = match had {
            Some(had) if good.contains(had) => vec![had.clone()],
            _ if good.is_empty() => members().filter(may_take).collect(),
            _ => good,
        };
        if legal.is_empty() {
            return Err(DropReason::SplitHorizon);
        }
        let Choice::Member(of, chosen) = self.choices.next("a group's member") else {
            panic!("a group's member was to be chosen");
        };
        assert_eq!(of, nexthop);
        check_legal(&chosen, &legal, "the member");
        Ok((chosen.clone(), number(group, &chosen)))
    }

    /// Of a nexthop in the underlay, the neighbour that packets go to, or answers.
    pub(super) fn neighbour(&self, nexthop: &Name, is_forward: bool) -> Result<Name, DropReason> {
        let group = match self.world.action(nexthop) {
            Action::Neighbour(..) => return Ok(nexthop.clone()),
            Action::Group(group) => group,
            _ => return Err(DropReason::NoUnderlayRoute),
        };
        let answers = |name: &Name| match self.world.action(name) {
            Action::Neighbour(vif, addr) => {
                !self.world.down.contains(&vif) && self.world.answering.contains(&(vif, addr))
            }
            _ => false,
        };
        let members = || group.members.iter().map(|member| member.nexthop.clone());
        let good: Vec<Name> = members().filter(answers).collect();
        let legal = match good.is_empty() {
            true => members().collect(),
            false => good,
        };
        let chosen = self
            .choices
            .ways
            .as_ref()
            .map(|(forward, reverse)| match is_forward {
                true => forward.clone(),
                false => reverse.clone(),
            });
        // Where the engine refuses, none was chosen; whichever it is, it changes nothing.
        let chosen = chosen.unwrap_or_else(|| legal[0].clone());
        check_legal(&chosen, &legal, "the neighbour");
        Ok(chosen)
    }

    /// The way of answers, which must be where the packet came from.
    pub(super) fn way_back(&mut self) -> Result<(Name, u8), DropReason> {
        let source = self.packet.src.addr;
        let from = self.packet.from.clone();
        let back = || match self.world.lookup(&self.packet.vrf, source) {
            Some(Leads::To(name)) => Ok(name),
            _ => Err(DropReason::ReversePath),
        };
        match from {
            From::Vif(vif) => match self.world.vif(&vif).map(|vif| vif.role) {
                Some(Role::Fabric) => Ok((self.neighbour(&back()?, false)?, 0)),
                _ => Ok((vif, 0)),
            },
            From::Remote(remote) => self.tunnel_back(&back()?, remote),
        }
    }

    fn tunnel_back(&self, nexthop: &Name, remote: IpAddr) -> Result<(Name, u8), DropReason> {
        let ends_there = |name: &str| matches!(self.world.action(name), Action::Tunnel(tunnel) if tunnel.remote == remote);
        let Action::Group(group) = self.world.action(nexthop) else {
            return match ends_there(nexthop) {
                true => Ok((nexthop.clone(), 0)),
                false => Err(DropReason::ReversePath),
            };
        };
        let mut members = group.members.iter().map(|member| &member.nexthop);
        let own = members.find(|name| ends_there(name));
        let own = own.ok_or(DropReason::ReversePath)?;
        if self.world.is_usable(own) {
            return Ok((own.clone(), number(group, own)));
        }
        let others = group.members.iter().map(|member| &member.nexthop);
        let usable: Vec<Name> = others
            .filter(|name| self.world.is_usable(name))
            .cloned()
            .collect();
        let legal = match usable.is_empty() {
            true => vec![own.clone()],
            false => usable,
        };
        let chosen = self
            .choices
            .ways
            .as_ref()
            .map(|(_, reverse)| reverse.clone());
        let chosen = chosen.unwrap_or_else(|| legal[0].clone());
        check_legal(&chosen, &legal, "the member back");
        let number = number(group, &chosen);
        Ok((chosen, number))
    }
}

/// From 1 on.
fn number(group: &Group, name: &Name) -> u8 {
    let place = group.members.iter().position(|it| it.nexthop == *name);
    place.expect("it is a member") as u8 + 1
}
