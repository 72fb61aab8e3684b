//! What is checked, when next, and what the checks have said so far.

use crate::decide::End;
use crate::tables::service::Service;
use crate::tables::spec::{HealthCheck, Name};
use crate::tables::{Nexthop, Tables, Target, VrfId};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// A backend that is asked again and again.
pub(super) struct Check {
    /// Which one it is.
    pub(super) service: Name,
    pub(super) backend: End,
    /// How it is asked.
    pub(super) terms: Terms,
    /// When it is asked next.
    pub(super) due: u64,
    is_up: bool,
    /// Answers in a row that say otherwise.
    streak: u8,
}

/// How a backend is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) health: Arc<HealthCheck>,
    pub(super) vrf: VrfId,
    pub(super) source: IpAddr,
    pub(super) target: End,
}

impl Check {
    pub(super) fn new(service: Name, backend: End, terms: Terms, is_up: bool, due: u64) -> Check {
        Check {
            service,
            backend,
            terms,
            due,
            is_up,
            streak: 0,
        }
    }

    /// Takes the outcome of a check; the new state, if that is news: as many outcomes in a row as
    /// `rise` or `fall` says.
    pub(super) fn conclude(&mut self, is_good: bool) -> Option<bool> {
        if is_good == self.is_up {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let needed = match is_good {
            true => self.terms.health.rise,
            false => self.terms.health.fall,
        };
        if self.streak < needed {
            return None;
        }
        (self.is_up, self.streak) = (is_good, 0);
        Some(is_good)
    }
}

/// Everything that is to be checked: service, backend, whether that counts as healthy now, and how.
pub(super) fn wanted(tables: &Tables) -> Vec<(Name, End, bool, Terms)> {
    let mut all = Vec::new();
    for service in tables.services() {
        let Some(health) = &service.health else {
            continue;
        };
        for backend in &service.backends {
            let Some(source) = source(tables, service, backend.end.addr) else {
                continue;
            };
            let terms = Terms {
                health: health.clone(),
                vrf: service.backend_vrf,
                source,
                target: End {
                    port: health.port.unwrap_or(backend.end.port),
                    ..backend.end
                },
            };
            let is_up = backend.is_healthy;
            all.push((service.name.clone(), backend.end, is_up, terms));
        }
    }
    all
}

/// The address from which a backend can be asked; `None` if its answers would not find this node.
fn source(tables: &Tables, service: &Service, backend: IpAddr) -> Option<IpAddr> {
    let vrf = tables.vrf(service.backend_vrf)?;
    let own: Vec<IpAddr> = vrf
        .gateways
        .iter()
        .map(IpNet::addr)
        .filter(|addr| addr.is_ipv4() == backend.is_ipv4())
        .collect();
    let is_here = match vrf.routes.lookup(backend)? {
        Target::Nexthop(nexthop) => matches!(tables.nexthop(nexthop), Some(Nexthop::Vif(_))),
        _ => false,
    };
    match is_here || own.len() > 1 {
        true => own.last().copied(),
        false => None,
    }
}
