//! Which backend a flow may get.

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::tables::spec::*;

use super::choices::{Choice, check_legal};
use super::follow::MOST;
use super::walk::{Outward, Walk};
use super::{Action, Leads};
use crate::words::From;

impl Walk<'_> {
    /// The destination becomes a backend's, or the way does.
    pub(super) fn service_inward(&mut self, service: &Service) -> Result<(), DropReason> {
        if self.called.is_some() {
            return Err(DropReason::VrfLoop); // a backend cannot be a service
        }
        let legal = match self.kept_backends(service)? {
            Some(kept) => kept,
            None => self.new_backends(service)?,
        };
        let Choice::Backend(of, chosen) = self.choices.next("a backend") else {
            panic!("a backend was to be chosen");
        };
        assert_eq!(of, service.name);
        check_legal(&chosen, &legal, "the backend");
        self.called = Some((service.name.clone(), chosen));
        let vrf = backend_vrf(service).clone();
        if service.direct_return {
            self.via = Some(chosen.addr);
            self.seen_dst = Some(chosen);
        } else {
            self.dst = chosen;
            // A machine that calls itself would answer itself.
            let is_itself = self.packet.src.addr == chosen.addr && self.packet.vrf == vrf;
            if is_itself && self.outward.is_none() {
                self.outward = Some(Outward::Address(service.address));
            }
        }
        if vrf != self.vrf {
            self.enter(vrf);
        }
        Ok(())
    }

    /// The client keeps the backend, if the service says so, now that the flow is let through.
    pub(super) fn keep_backend(&mut self) {
        let Some((name, backend)) = self.called.take() else {
            return;
        };
        let mut services = self.world.services();
        let service = services.find(|it| it.name == name).expect("it was called");
        if service.affinity_timeout_s.is_some() {
            let client = self.packet.src.addr;
            let kept = self.choices.next("to keep the backend");
            assert_eq!(kept, Choice::Kept(name.clone(), client, backend));
            self.memory.clients.insert((name, client), backend);
        }
    }

    /// The backend that an established flow has, if it may keep it.
    fn kept_backends(&self, service: &Service) -> Result<Option<Vec<End>>, DropReason> {
        let Some(had) = &self.packet.had else {
            return Ok(None);
        };
        if !service.direct_return && had.destination == self.dst {
            return Ok(None); // it began before there was the service
        }
        let keeps = service
            .backends
            .iter()
            .filter(|it| it.state != BackendState::Down);
        let its: Vec<End> = keeps
            .map(end)
            .filter(|end| match service.direct_return {
                true => self.leads_to(service, *end, &had.nexthop),
                false => *end == had.destination,
            })
            .collect();
        match (its.is_empty(), service.on_down) {
            (false, _) => Ok(Some(its)),
            (true, OnDown::Move) => Ok(None),
            (true, OnDown::Reset) => Err(DropReason::BackendDown),
        }
    }

    /// Those that a new flow may get.
    fn new_backends(&self, service: &Service) -> Result<Vec<End>, DropReason> {
        let active = || {
            let all = service.backends.iter();
            all.filter(|it| it.state == BackendState::Active).map(end)
        };
        if active().next().is_none() {
            return Err(DropReason::NoBackend);
        }
        let near: Vec<End> = active()
            .filter(|end| self.is_in_reach(service, *end))
            .collect();
        let client = (service.name.clone(), self.packet.src.addr);
        if service.affinity_timeout_s.is_some()
            && let Some(its) = self.memory.clients.get(&client)
            && near.contains(its)
        {
            return Ok(vec![*its]);
        }
        match near.is_empty() {
            true => Ok(active().collect()),
            false => Ok(near),
        }
    }

    /// What a tunnel brought goes into no other.
    fn is_in_reach(&self, service: &Service, backend: End) -> bool {
        if !matches!(self.packet.from, From::Remote(_)) {
            return true;
        }
        let is_tunnel = |name: &Name| {
            matches!(
                self.world.action(name),
                Action::Tunnel(_) | Action::Unreachable
            )
        };
        match self.way(service, backend) {
            Some(name) => match self.world.action(&name) {
                Action::Group(group) => !group.members.iter().all(|it| is_tunnel(&it.nexthop)),
                _ => !is_tunnel(&name),
            },
            None => true,
        }
    }

    fn leads_to(&self, service: &Service, backend: End, nexthop: &Name) -> bool {
        match self.way(service, backend) {
            Some(name) => match self.world.action(&name) {
                Action::Group(group) => group.members.iter().any(|it| it.nexthop == *nexthop),
                _ => name == *nexthop,
            },
            None => false,
        }
    }

    /// The nexthop that a backend's address leads to, over other networks or not.
    fn way(&self, service: &Service, backend: End) -> Option<Name> {
        let mut vrf = backend_vrf(service).clone();
        for _ in 0..MOST {
            let Some(Leads::To(name)) = self.world.lookup(&vrf, backend.addr) else {
                return None;
            };
            match self.world.action(&name) {
                Action::Vrf(next) => vrf = next,
                _ => return Some(name),
            }
        }
        None
    }
}

fn backend_vrf(service: &Service) -> &Name {
    service.backend_vrf.as_ref().unwrap_or(&service.vrf)
}

fn end(backend: &Backend) -> End {
    End {
        addr: backend.address,
        port: backend.port,
    }
}
