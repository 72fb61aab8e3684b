//! Services: brought into the snapshot and taken out, and what must be right about one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use encap::protocol;

use super::claims::host;
use super::{Draft, Steps};
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::maglev::is_prime;
use crate::tables::service::{MAX_BACKENDS, Service, ServiceId};
use crate::tables::spec::{self, Key, Object};
use crate::tables::{Nexthop, Tables, Target, VifId, VrfId};

/// Places of a table at most: two bytes each, and some 30 ns to fill.
const MAX_TABLE_SIZE: u32 = 5_000_011;

/// A day.
const MAX_AFFINITY_S: u32 = 86_400;

impl Draft {
    pub(super) fn withdraw_service(&mut self, spec: &spec::Service, gone: bool) {
        let called = (spec.protocol, spec.port);
        let own = self.tables.names.services.get(&spec.name).copied();
        self.unclaim_vip(&spec.vrf, host(spec.address), |vip| {
            vip.services
                .retain(|(key, id)| *key != called || Some(*id) != own);
        });
        self.touch(backend_vrf(spec));
        if gone && let Some(id) = self.tables.names.services.remove(&spec.name) {
            self.tables.services.remove(id.0);
        }
    }

    pub(super) fn install_service(&mut self, spec: &spec::Service, refusals: &mut Vec<Refusal>) {
        let key = Key::Service(spec.name.clone());
        let before = refusals.len();
        check_service(spec, &key, refusals);
        let vrfs = [&spec.vrf, backend_vrf(spec)].map(|name| self.touch(name).map(|vrf| vrf.id));
        let [Some(vrf), Some(backend_vrf)] = vrfs else {
            return; // refused for that
        };
        if refusals.len() > before {
            return; // what is wrong is not to be built
        }
        let id = self.tables.put_service(spec, [vrf, backend_vrf]);
        let called = (spec.protocol, spec.port);
        let prefix = host(spec.address);
        let Some(vip) = self.claim_vip(&spec.vrf, prefix, &key, "address", refusals) else {
            return;
        };
        let place = vip.services.binary_search_by_key(&called, |(key, _)| *key);
        match place {
            Err(place) => vip.services.insert(place, (called, id)),
            Ok(place) => {
                let (_, other) = vip.services[place];
                let other = self.tables.service(other).map(|other| other.name.clone());
                let other = Key::Service(other.unwrap_or_else(|| spec.name.clone()));
                let reason = format!(
                    "`{}` port {} of this protocol already belongs to {other}",
                    spec.address, spec.port
                );
                let refusal = Refusal::field(key, "port", reason);
                let refusal = refusal.with_code(RefusalCode::Taken);
                refusals.push(refusal.with_conflict(other));
            }
        }
    }

    /// A check is made from the gateway of the backends' network: there has to be one.
    pub(super) fn check_services(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let mut changed_vrfs = BTreeSet::new();
        for (key, _, new) in steps.iter() {
            match new {
                Some(Object::Service(service)) => self.check_health(service, key, refusals),
                Some(Object::Vrf(vrf)) => _ = changed_vrfs.insert(&vrf.name),
                _ => {}
            }
        }
        if changed_vrfs.is_empty() {
            return;
        }
        for (key, stored) in self.tables.objects.besides_routes() {
            if let Object::Service(service) = &stored.object
                && changed_vrfs.contains(backend_vrf(service))
                && !steps.contains(key)
            {
                self.check_health(service, key, refusals);
            }
        }
    }

    fn check_health(&self, spec: &spec::Service, key: &Key, refusals: &mut Vec<Refusal>) {
        let Some(vrf) = self.tables.vrf_named(backend_vrf(spec)) else {
            return; // refused for that
        };
        let mut gateways = vrf.gateways.iter();
        let has_gateway = gateways.any(|net| net.addr().is_ipv4() == spec.address.is_ipv4());
        if spec.health.is_some() && !has_gateway {
            let reason = format!(
                "checks come from the gateway of the backends' network, and vrf `{}` has none of this IP version",
                vrf.name
            );
            refusals.push(Refusal::field(key.clone(), "health", reason));
        }
    }
}

impl Tables {
    fn put_service(&mut self, spec: &spec::Service, vrfs: [VrfId; 2]) -> ServiceId {
        let known = self.names.services.get(&spec.name).copied();
        let old = known.and_then(|id| self.service(id));
        let service = Service::new(spec, vrfs, old);
        if service.affinity_ms.is_some() {
            self.sessions.affinity.prepare();
        }
        match known {
            Some(id) => {
                self.services.set(id.0, service);
                id
            }
            None => {
                let id = ServiceId(self.services.insert(service));
                self.names.services.insert(spec.name.clone(), id);
                id
            }
        }
    }

    /// Lets the vifs of backends that answer for themselves send from the address that is called.
    pub(super) fn lend_addresses(&mut self) {
        let mut loans: BTreeMap<VifId, BTreeSet<IpAddr>> = BTreeMap::new();
        for service in self.services().filter(|service| service.direct_return) {
            for backend in &service.backends {
                if let Some(vif) = self.vif_at(service.backend_vrf, backend.end.addr) {
                    loans.entry(vif).or_default().insert(service.front.addr);
                }
            }
        }
        let has_loans = |vif: &&std::sync::Arc<super::super::Vif>| !vif.loaned.is_empty();
        let lent_before = self.vifs().filter(has_loans).map(|vif| vif.id);
        let concerned: BTreeSet<VifId> = lent_before.chain(loans.keys().copied()).collect();
        for id in concerned {
            let loaned: Vec<IpAddr> = loans.remove(&id).into_iter().flatten().collect();
            let is_news = self.vif(id).is_some_and(|vif| *vif.loaned != *loaned);
            if is_news && let Some(vif) = self.vifs.get_mut(id.0) {
                vif.loaned = loaned.into();
            }
        }
    }

    /// The vif on this node that an address of a network leads to.
    fn vif_at(&self, vrf: VrfId, addr: IpAddr) -> Option<VifId> {
        match self.vrf(vrf)?.routes.lookup(addr)? {
            Target::Nexthop(nexthop) => match self.nexthop(nexthop)? {
                Nexthop::Vif(vif) => Some(*vif),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The network that a service's backends are in.
fn backend_vrf(spec: &spec::Service) -> &spec::Name {
    spec.backend_vrf.as_ref().unwrap_or(&spec.vrf)
}

/// What a service says of itself.
fn check_service(spec: &spec::Service, key: &Key, refusals: &mut Vec<Refusal>) {
    let mut refuse = |field: &str, reason: String| {
        refusals.push(Refusal::field(key.clone(), field, reason));
    };
    for (field, vrf) in [("vrf", &spec.vrf), ("backend_vrf", backend_vrf(spec))] {
        if &**vrf == spec::UNDERLAY {
            refuse(
                field,
                "services are for tenants' networks, not the underlay".into(),
            );
        }
    }
    if !matches!(
        spec.protocol,
        protocol::TCP | protocol::UDP | protocol::SCTP
    ) {
        let reason = "a service is called by port; the protocol must be tcp, udp or sctp";
        refuse("protocol", reason.into());
    }
    if spec.port == 0 {
        refuse("port", "must not be 0".into());
    }
    if !is_one_machines(spec.address) {
        refuse(
            "address",
            format!("`{}` is not the address of one machine", spec.address),
        );
    }
    if spec.table_size < 2 || spec.table_size > MAX_TABLE_SIZE || !is_prime(spec.table_size) {
        let reason = format!("must be a prime from 2 to {MAX_TABLE_SIZE}, such as 65537 or 655373");
        refuse("table_size", reason);
    }
    let most = MAX_BACKENDS.min(spec.table_size as usize);
    if spec.backends.len() > most {
        let reason = format!(
            "at most {most}, the table having {} entries",
            spec.table_size
        );
        refuse("backends", reason);
    }
    if spec
        .affinity_timeout_s
        .is_some_and(|s| !(1..=MAX_AFFINITY_S).contains(&s))
    {
        let reason = format!("must be from 1 to {MAX_AFFINITY_S}");
        refuse("affinity_timeout_s", reason);
    }
    check_backends(spec, &mut refuse);
    if let Some(health) = &spec.health {
        check_terms(health, &mut refuse);
    }
}

fn check_backends(spec: &spec::Service, refuse: &mut impl FnMut(&str, String)) {
    let mut named = BTreeSet::new();
    for backend in &spec.backends {
        let (address, port) = (backend.address, backend.port);
        if !named.insert((address, port)) {
            refuse(
                "backends",
                format!("`{address}` port {port} is named twice"),
            );
        }
        if address.is_ipv4() != spec.address.is_ipv4() {
            let reason = format!(
                "`{address}` and the service's `{}` are of different IP versions",
                spec.address
            );
            refuse("backends.address", reason);
        }
        if !is_one_machines(address) {
            refuse(
                "backends.address",
                format!("`{address}` is not the address of one machine"),
            );
        }
        if port == 0 {
            refuse("backends.port", "must not be 0".into());
        }
        if spec.direct_return && port != spec.port {
            let reason = format!(
                "{port} is not the service's port {}; with `direct_return` packets are not changed",
                spec.port
            );
            refuse("backends.port", reason);
        }
    }
}

fn check_terms(health: &spec::HealthCheck, refuse: &mut impl FnMut(&str, String)) {
    if !(100..=3_600_000).contains(&health.interval_ms) {
        refuse("health.interval_ms", "must be from 100 to 3600000".into());
    }
    if health.timeout_ms < 10 || health.timeout_ms > health.interval_ms {
        refuse(
            "health.timeout_ms",
            "must be from 10 to `interval_ms`".into(),
        );
    }
    for (field, count) in [("health.rise", health.rise), ("health.fall", health.fall)] {
        if count == 0 {
            refuse(field, "must be 1 or more".into());
        }
    }
    if health.port == Some(0) {
        refuse("health.port", "must not be 0".into());
    }
    if let spec::Probe::Http { path, host, status } = &health.probe {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !path.starts_with('/') || !is_plain(path) || path.len() > 1_024 {
            let reason = "must begin with a slash, without spaces, and be short of 1024 characters";
            refuse("health.http.path", reason.into());
        }
        if host
            .as_ref()
            .is_some_and(|host| !is_plain(host) || host.len() > 255)
        {
            refuse(
                "health.http.host",
                "must be a host's name, without spaces".into(),
            );
        }
        if status.0 > status.1 || status.0 < 100 || status.1 > 599 {
            refuse(
                "health.http.status_min",
                "must be from 100 up to `status_max`, at most 599".into(),
            );
        }
    }
}

/// Whether an address can be a machine's, or stand for one.
fn is_one_machines(addr: IpAddr) -> bool {
    let is_link_local = match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    };
    !is_link_local && !crate::decide::is_martian_source(addr)
}
