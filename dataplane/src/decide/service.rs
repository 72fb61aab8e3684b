//! Services: which backend a flow gets.
//!
//! The one it has, as long as that may keep it; else the one its client has, if the service keeps
//! clients together; else the one whose place in the service's table its hash says.

use std::net::IpAddr;

use super::routed::{MAX_VRFS, Outward, Walk};
use super::sessions::{Chosen, Step};
use super::{End, Sessions};
use crate::reason::DropReason;
use crate::spread::{SpreadKey, Tuple};
use crate::stage::bridge;
use crate::tables::service::{Backend, Service, ServiceId};
use crate::tables::spec::{HashFields, OnDown};
use crate::tables::{Nexthop, NexthopId, Target};

/// A service that a packet called on its way, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Called {
    service: ServiceId,
    backend: End,
}

/// The destination is a service's: it becomes that of a backend, in the backends' network. Or it
/// stays and only the way is the backend's, which answers for itself.
pub(super) fn inward(
    walk: &mut Walk,
    id: ServiceId,
    sessions: &mut impl Sessions,
) -> Result<(), DropReason> {
    if walk.called.is_some() {
        // A backend that is a service: which flow is whose could not be told again.
        return Err(DropReason::VrfLoop);
    }
    let service = walk.tables.service(id).ok_or(DropReason::NoService)?;
    let kept = kept(walk, service);
    let chosen = match kept.inspect_err(|_| sessions.step(Step::NoBackend(id)))? {
        Some(backend) => Some((backend, Chosen::Kept)),
        None => choose(walk, id, service, sessions),
    };
    let Some((backend, why)) = chosen else {
        sessions.step(Step::NoBackend(id));
        return Err(DropReason::NoBackend);
    };
    let end = backend.end;
    sessions.step(Step::Service(id, end, why));
    walk.called = Some(Called {
        service: id,
        backend: end,
    });
    if service.direct_return {
        walk.via = Some(end.addr);
        walk.seen_dst = Some(end);
    } else {
        walk.dst = end;
        if is_client_itself(walk, service, end) {
            walk.outward = Some(Outward::Floating(service.front.addr));
        }
    }
    match service.backend_vrf == walk.vrf.id {
        true => Ok(()),
        false => walk.enter(service.backend_vrf),
    }
}

/// Has the client keep its backend, now that the flow is let through.
pub(super) fn settle(walk: &Walk, sessions: &mut impl Sessions) {
    let Some(Called { service, backend }) = walk.called else {
        return;
    };
    let found = walk.tables.service(service);
    if found.is_some_and(|service| service.affinity_ms.is_some()) {
        sessions.keep_backend(service, walk.headers.src_addr, backend);
    }
}

/// A machine that is answered by itself would get its own address as the sender's and answer that
/// without asking the router. So the sender becomes the address that was called, which is no
/// machine's: answers to it come here, and find the flow.
fn is_client_itself(walk: &Walk, service: &Service, backend: End) -> bool {
    walk.outward.is_none()
        && walk.origin.id == service.backend_vrf
        && walk.headers.src_addr == backend.addr
}

/// The backend that an established flow has; `None` if it needs one.
fn kept<'a>(walk: &Walk, service: &'a Service) -> Result<Option<&'a Backend>, DropReason> {
    let Some(kept) = walk.headers.kept else {
        return Ok(None);
    };
    let has = match service.direct_return {
        true => service.backends.iter().find(|backend| {
            backend.keeps_flows() && leads_to(walk, service, backend.end.addr, kept.nexthop)
        }),
        // It went to the address itself when there was no service yet.
        false if kept.destination == walk.dst => return Ok(None),
        false => service.backend(kept.destination),
    };
    match (has, service.on_down) {
        (Some(backend), _) if backend.keeps_flows() => Ok(Some(backend)),
        (_, OnDown::Move) => Ok(None),
        (_, OnDown::Reset) => Err(DropReason::BackendDown),
    }
}

/// The backend of a new flow.
fn choose<'a>(
    walk: &Walk,
    id: ServiceId,
    service: &'a Service,
    sessions: &mut impl Sessions,
) -> Option<(&'a Backend, Chosen)> {
    let is_good = |backend: &&Backend| backend.takes_flows && is_in_reach(walk, service, backend);
    if service.affinity_ms.is_some()
        && let Some(end) = sessions.backend_of(id, walk.headers.src_addr)
        && let Some(backend) = service.backend(end).filter(is_good)
    {
        return Some((backend, Chosen::Client));
    }
    let tuple = Tuple {
        src: walk.headers.source(),
        dst: service.front,
        protocol: service.protocol,
    };
    let key = walk.tables.spread_key();
    let hash = key.flow(&tuple, HashFields::FiveTuple, false);
    let picked = service.pick(hash)?;
    if is_good(&picked) {
        return Some((picked, Chosen::Hash));
    }
    // Highest random weight among those that it can be brought to.
    let near = service.backends.iter().filter(is_good);
    let best = near.max_by_key(|backend| SpreadKey::new(hash).end(backend.end));
    Some((best.unwrap_or(picked), Chosen::Reach))
}

/// What a tunnel brought goes into no other: only backends on this node can get it.
fn is_in_reach(walk: &Walk, service: &Service, backend: &Backend) -> bool {
    if walk.ingress.as_peer().is_none() {
        return true; // and nothing is looked up
    }
    let tables = walk.tables;
    let may_take = |id| bridge::check_horizon(tables, id, walk.ingress).is_ok();
    match way(walk, service, backend.end.addr) {
        Some(id) => match tables.nexthop(id) {
            Some(Nexthop::Group(group)) => group.find(may_take).is_some(),
            _ => may_take(id),
        },
        None => true,
    }
}

/// Whether the way to an address is this nexthop.
fn leads_to(walk: &Walk, service: &Service, addr: IpAddr, nexthop: NexthopId) -> bool {
    match way(walk, service, addr) {
        Some(id) if id == nexthop => true,
        Some(id) => match walk.tables.nexthop(id) {
            Some(Nexthop::Group(group)) => group.has(nexthop),
            // Of neighbours in the underlay.
            _ => walk.tables.gateway_members(id).any(|it| it == nexthop),
        },
        None => false,
    }
}

/// The nexthop that a backend's address leads to, over other networks or not.
fn way(walk: &Walk, service: &Service, addr: IpAddr) -> Option<NexthopId> {
    let mut vrf = service.backend_vrf;
    for _ in 0..MAX_VRFS {
        let Some(Target::Nexthop(id)) = walk.tables.vrf(vrf)?.routes.lookup(addr) else {
            return None;
        };
        match walk.tables.nexthop(id)? {
            Nexthop::Vrf(next) => vrf = *next,
            _ => return Some(id),
        }
    }
    None
}
