//! What an object does to the snapshot: brought in, and taken out again.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::checks::check_vif;
use super::claims::{host, is_host};
use super::{DEFAULT_MTU, Draft, Steps, device_name};
use crate::counters::VifCounters;
use crate::tables::bridge_port::BridgePort;
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::router::Advertised;
use crate::tables::spec::{self, Key, NexthopAction, Object, Role};
use crate::tables::{
    Arrival, LabelEntry, MAX_VIFS, MAX_VRFS, Nexthop, NexthopId, Tables, Target, Vif, VifId, Vrf,
    VrfId,
};
use encap::MacAddr;

impl Draft {
    /// Takes the old objects' effects out, dependants first.
    pub(super) fn withdraw(&mut self, steps: &Steps) {
        for (_, old, new) in steps.iter().rev() {
            let Some(old) = old else { continue };
            let gone = new.is_none();
            match old {
                Object::Vrf(vrf) => self.withdraw_vrf(vrf, gone),
                Object::Vif(vif) => self.withdraw_vif(vif, gone),
                Object::Nexthop(nexthop) => self.withdraw_nexthop(nexthop, gone),
                Object::Route(route) => {
                    if let Some(vrf) = self.touch(&route.vrf) {
                        vrf.routes.remove(route.prefix);
                    }
                }
                Object::Mac(mac) => {
                    if let Some(vrf) = self.touch(&mac.vrf) {
                        vrf.macs.remove(&mac.mac);
                        if mac.mac.is_broadcast() {
                            vrf.flood = None;
                        }
                        if let Some(ip) = mac.ip {
                            vrf.neighbours.remove(&ip);
                        }
                    }
                }
                Object::Vni(entry) => {
                    self.arrival(&entry.to);
                    Arc::make_mut(&mut self.tables.vnis).remove(&entry.vni);
                }
                Object::Label(entry) => {
                    self.arrival(&entry.to);
                    Arc::make_mut(&mut self.tables.labels).remove(&entry.label);
                }
                Object::AddressSet(_) | Object::Policy(_) => {}
                Object::Service(service) => self.withdraw_service(service, gone),
                Object::Mirror(mirror) if gone => self.withdraw_mirror(&mirror.name),
                Object::Meter(meter) if gone => self.withdraw_meter(&meter.name),
                Object::Mirror(_) | Object::Meter(_) => {}
                Object::FloatingIp(floating) => self.withdraw_floating(floating, gone),
                Object::SnatPool(pool) => self.withdraw_pool(pool, gone),
            }
        }
    }

    /// Where packets from the fabric go, or went: decisions about them will be made again.
    fn arrival(&mut self, to: &spec::Arrival) -> Option<Arrival> {
        match to {
            spec::Arrival::Vrf(name) => self.touch(name).map(|vrf| Arrival::Vrf(vrf.id)),
            spec::Arrival::Nexthop(name) => {
                self.all_touched = true; // whichever network its vif is in
                let id = self.tables.names.nexthops.get(name).copied();
                id.map(Arrival::Nexthop)
            }
        }
    }

    fn withdraw_vrf(&mut self, spec: &spec::Vrf, gone: bool) {
        if let Some(vrf) = self.touch(&spec.name) {
            for gateway in &spec.gateways {
                vrf.routes.remove(host(gateway.addr()));
            }
        }
        if !gone {
            return;
        }
        if &*spec.name == spec::UNDERLAY {
            // It always exists; what was said about it is unsaid.
            let unsaid = spec::Vrf::underlay();
            if let Some(vrf) = self.touch(&spec.name) {
                (vrf.mode, vrf.mac) = (unsaid.mode, unsaid.mac);
                (vrf.learning, vrf.advertised) = (false, None);
                vrf.tcp_mss_clamp = unsaid.tcp_mss_clamp;
            }
        } else if let Some(id) = self.tables.names.vrfs.remove(&spec.name) {
            self.gone_vrfs.push(id);
        }
    }

    fn withdraw_vif(&mut self, spec: &spec::Vif, gone: bool) {
        self.underlay_changed |= spec.role != Role::Tenant;
        // Any vrf may have a way to the kernel, and answers come from there.
        self.all_touched |= spec.role == Role::Host;
        let device = device_name(&spec.device);
        self.tables.names.devices.remove(device);
        if spec.role == Role::Fabric {
            self.touch(&spec.vrf);
            for address in &spec.addresses {
                self.unclaim_shared(&spec.vrf, host(address.addr()));
                if !is_host(address) {
                    self.unclaim_shared(&spec.vrf, address.trunc());
                }
            }
        } else if let Some(vrf) = self.touch(&spec.vrf) {
            // Only what `install_vif` claimed: the rest is another object's.
            let is_bridged_only = spec.role == Role::Tenant && spec.mac.is_none();
            for address in spec.addresses.iter().filter(|_| !is_bridged_only) {
                vrf.routes.remove(address.trunc());
                match spec.role {
                    Role::Tenant if is_host(address) => _ = vrf.neighbours.remove(&address.addr()),
                    Role::Tenant | Role::Fabric => {}
                    Role::Host => _ = vrf.routes.remove(host(address.addr())),
                }
            }
            if let (Role::Tenant, Some(mac)) = (spec.role, spec.mac) {
                vrf.macs.remove(&mac);
            }
        }
        if gone && let Some(id) = self.tables.names.vifs.remove(&spec.name) {
            if let Some(vif) = self.tables.vifs.get(id.0).cloned() {
                self.tables.nexthops.remove(vif.nexthop.0);
            }
            self.gone_vifs.push(id);
        }
    }

    fn withdraw_nexthop(&mut self, spec: &spec::Nexthop, gone: bool) {
        // Whoever decided on it must decide again. A deleted one has no users left.
        self.all_touched |= !gone;
        self.underlay_changed = true;
        if gone && let Some(id) = self.tables.names.nexthops.remove(&spec.name) {
            self.tables.nexthops.remove(id.0);
            self.tables.gateways.remove(&id);
        }
    }

    /// Brings the new objects' effects in, in key order.
    pub(super) fn install(&mut self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let missing: BTreeSet<Key> = refusals.iter().filter_map(|r| r.object.clone()).collect();
        for (key, old, new) in steps.iter() {
            let Some(new) = new else { continue };
            if missing.contains(key) {
                continue;
            }
            match new {
                Object::Vrf(vrf) => self.install_vrf(vrf, refusals),
                Object::Vif(vif) => self.install_vif(vif, old, refusals),
                Object::Nexthop(nexthop) => self.install_nexthop(nexthop, refusals),
                Object::Route(route) => self.install_route(route, refusals),
                Object::Mac(mac) => self.install_mac(mac, refusals),
                Object::Vni(entry) => {
                    if let Some(to) = self.arrival(&entry.to) {
                        Arc::make_mut(&mut self.tables.vnis).insert(entry.vni, to);
                    }
                }
                Object::Label(entry) => {
                    if let Some(to) = self.arrival(&entry.to) {
                        let payload = entry.payload;
                        let entry_of = LabelEntry { to, payload };
                        Arc::make_mut(&mut self.tables.labels).insert(entry.label, entry_of);
                    }
                }
                Object::AddressSet(_) | Object::Policy(_) => {}
                Object::Service(service) => self.install_service(service, refusals),
                Object::Mirror(mirror) => self.install_mirror(mirror, refusals),
                Object::Meter(meter) => self.install_meter(meter),
                Object::FloatingIp(floating) => self.install_floating(floating, refusals),
                Object::SnatPool(pool) => self.install_pool(pool, refusals),
            }
        }
    }

    fn install_vrf(&mut self, spec: &spec::Vrf, refusals: &mut Vec<Refusal>) {
        let key = Key::Vrf(spec.name.clone());
        if !self.tables.names.vrfs.contains_key(&spec.name) {
            let id = self.tables.add_vrf(spec);
            if id.0 >= MAX_VRFS {
                refusals.push(too_many(&key, MAX_VRFS));
            }
        }
        if &*spec.name == spec::UNDERLAY && !spec.gateways.is_empty() {
            let reason = "the underlay has no gateways; give the fabric vifs addresses";
            refusals.push(Refusal::field(key.clone(), "gateways", reason));
            return;
        }
        if &*spec.name == spec::UNDERLAY && spec.flow_quota.is_some() {
            let reason = "the underlay keeps no flows; give the tenants' vrfs quotas";
            refusals.push(Refusal::field(key.clone(), "flow_quota", reason));
        }
        if &*spec.name == spec::UNDERLAY && spec.tcp_mss_clamp.is_some() {
            let reason = "the underlay routes no tenant's connections; give it to their vrfs";
            refusals.push(Refusal::field(key.clone(), "tcp_mss_clamp", reason));
        }
        if let Some(vrf) = self.touch(&spec.name) {
            vrf.mode = spec.mode;
            vrf.mac = spec.mac;
            vrf.learning = spec.learning;
            vrf.advertised = Advertised::new(spec).map(Arc::new);
            vrf.gateways = spec.gateways.clone().into();
            vrf.tcp_mss_clamp = spec.tcp_mss_clamp;
        }
        if spec.learning {
            self.tables.learned.prepare();
        }
        for gateway in &spec.gateways {
            let prefix = host(gateway.addr());
            self.claim(
                &spec.name,
                prefix,
                Target::Gateway,
                &key,
                "gateways",
                refusals,
            );
        }
    }

    fn install_vif(&mut self, spec: &spec::Vif, old: Option<&Object>, refusals: &mut Vec<Refusal>) {
        let key = Key::Vif(spec.name.clone());
        check_vif(spec, old, &key, refusals);
        self.underlay_changed |= spec.role != Role::Tenant;
        self.all_touched |= spec.role == Role::Host;
        let Some(vrf) = self.tables.names.vrfs.get(&spec.vrf).copied() else {
            return;
        };
        let device: Arc<str> = device_name(&spec.device).into();
        if let Some(other) = self
            .tables
            .names
            .devices
            .insert(device.clone(), spec.name.clone())
        {
            let other = Key::Vif(other);
            let reason = format!("device `{device}` already belongs to {other}");
            let refusal = Refusal::field(key.clone(), "device", reason);
            refusals.push(refusal.with_code(RefusalCode::Taken).with_conflict(other));
        }
        let (id, nexthop) = self.tables.add_vif(spec, vrf);
        if id.0 >= MAX_VIFS {
            refusals.push(too_many(&key, MAX_VIFS));
        }
        for address in &spec.addresses {
            let (own, net) = (host(address.addr()), address.trunc());
            let to_it = Target::Nexthop(nexthop);
            match spec.role {
                // Nobody knows the MAC to route it to; it is bridged only.
                Role::Tenant if spec.mac.is_none() => {}
                Role::Tenant => self.claim(&spec.vrf, net, to_it, &key, "addresses", refusals),
                Role::Host => {
                    self.claim(&spec.vrf, own, Target::Gateway, &key, "addresses", refusals);
                    if !is_host(address) {
                        self.claim(&spec.vrf, net, to_it, &key, "addresses", refusals);
                    }
                }
                Role::Fabric => {
                    self.claim_shared(&spec.vrf, own, Target::Gateway, &key, refusals);
                    if !is_host(address) {
                        self.claim_shared(&spec.vrf, net, Target::Connected, &key, refusals);
                    }
                }
            }
        }
        let is_tenant = spec.role == Role::Tenant;
        if let (true, Some(mac)) = (is_tenant, spec.mac) {
            self.claim_mac(&spec.vrf, mac, nexthop, &key, refusals);
            for address in spec.addresses.iter().filter(|net| is_host(net)) {
                self.claim_neighbour(&spec.vrf, address.addr(), mac, &key, "addresses", refusals);
            }
        }
        self.touch(&spec.vrf);
    }

    fn install_nexthop(&mut self, spec: &spec::Nexthop, refusals: &mut Vec<Refusal>) {
        let key = Key::Nexthop(spec.name.clone());
        match &spec.action {
            NexthopAction::Vif { vif, address } => {
                let role = self
                    .tables
                    .vif_named(vif)
                    .map_or(Role::Tenant, |vif| vif.role);
                let reason = match (role, address) {
                    (Role::Fabric, None) => {
                        "a nexthop out of a fabric vif needs the neighbour's address"
                    }
                    (Role::Tenant | Role::Host, Some(_)) => {
                        "only a nexthop out of a fabric vif has a neighbour's address"
                    }
                    _ => "",
                };
                if !reason.is_empty() {
                    refusals.push(Refusal::field(key, "address", reason));
                }
            }
            NexthopAction::Tunnel(tunnel) => self.check_tunnel(tunnel, &key, refusals),
            NexthopAction::Group(group) => self.check_group(group, &key, refusals),
            NexthopAction::Host
            | NexthopAction::Discard
            | NexthopAction::Replicate(_)
            | NexthopAction::Vrf(_)
            | NexthopAction::Reject => {}
        }
        let tables = &mut self.tables;
        let known = tables.names.nexthops.get(&spec.name).copied();
        let id = known.unwrap_or_else(|| {
            let id = NexthopId(tables.nexthops.insert(Nexthop::Unreachable));
            tables.names.nexthops.insert(spec.name.clone(), id);
            id
        });
        if spec.action.leads_into_underlay() {
            tables.gateways.insert(id, spec.action.clone());
        } else {
            tables.gateways.remove(&id);
        }
    }

    fn install_route(&mut self, spec: &spec::Route, refusals: &mut Vec<Refusal>) {
        let Some(nexthop) = self.tables.names.nexthops.get(&spec.nexthop).copied() else {
            return; // its nexthop was refused, which says it all
        };
        self.underlay_changed |= &*spec.vrf == spec::UNDERLAY;
        let key = Key::Route(spec.vrf.clone(), spec.prefix);
        let target = Target::Nexthop(nexthop);
        self.claim(&spec.vrf, spec.prefix, target, &key, "prefix", refusals);
    }

    fn install_mac(&mut self, spec: &spec::Mac, refusals: &mut Vec<Refusal>) {
        let Some(nexthop) = self.tables.names.nexthops.get(&spec.nexthop).copied() else {
            return; // its nexthop was refused, which says it all
        };
        self.underlay_changed |= &*spec.vrf == spec::UNDERLAY;
        let key = Key::Mac(spec.vrf.clone(), spec.mac);
        self.claim_mac(&spec.vrf, spec.mac, nexthop, &key, refusals);
        if spec.mac.is_broadcast()
            && let Some(vrf) = self.touch(&spec.vrf)
        {
            vrf.flood = Some(nexthop);
        }
        if let Some(ip) = spec.ip {
            self.claim_neighbour(&spec.vrf, ip, spec.mac, &key, "ip", refusals);
        }
    }
}

/// Places of objects that the request deletes are taken until it is committed.
fn too_many(key: &Key, limit: u32) -> Refusal {
    let kind = key.kind();
    let reason = format!("a node has at most {limit} {kind}s, those this request deletes included");
    Refusal::field(key.clone(), "", reason).with_code(RefusalCode::Limit)
}

impl Tables {
    pub(in crate::tables) fn add_vrf(&mut self, spec: &spec::Vrf) -> VrfId {
        let id = VrfId(self.vrfs.insert(Vrf {
            id: VrfId(0),
            name: spec.name.clone(),
            mode: spec.mode,
            mac: spec.mac,
            gateways: spec.gateways.clone().into(),
            policies: Default::default(),
            guarding: Default::default(),
            tcp_mss_clamp: spec.tcp_mss_clamp,
            epoch: 0,
            routes: crate::tables::lpm::Lpm::new(),
            macs: imbl::HashMap::new(),
            neighbours: imbl::HashMap::new(),
            flood: None,
            learning: false,
            advertised: None,
        }));
        if let Some(vrf) = self.vrfs.get_mut(id.0) {
            vrf.id = id;
        }
        self.names.vrfs.insert(spec.name.clone(), id);
        id
    }

    /// Enters a vif, or its new form at its old place.
    fn add_vif(&mut self, spec: &spec::Vif, vrf: VrfId) -> (VifId, NexthopId) {
        let old = self
            .names
            .vifs
            .get(&spec.name)
            .and_then(|id| self.vif(*id))
            .cloned();
        let mut vif = Vif {
            id: VifId(0),
            name: spec.name.clone(),
            role: spec.role,
            vrf,
            mac: MacAddr::ZERO,
            addresses: spec.addresses.clone().into(),
            loaned: old
                .as_ref()
                .map_or_else(Arc::default, |old| old.loaned.clone()),
            vlan: spec.vlan,
            mtu: DEFAULT_MTU,
            finishes_checksums: false,
            nexthop: NexthopId(0),
            counters: match &old {
                Some(old) => old.counters.clone(),
                None => Arc::new(VifCounters::new(self.workers)),
            },
            port: BridgePort::new(spec, old.as_ref().map(|old| &old.port)),
            link: old.as_ref().map(|old| old.link.clone()).unwrap_or_default(),
            policies: Default::default(),
            guarding: Default::default(),
            is_guarded: false,
        };
        match old {
            Some(old) => (vif.id, vif.nexthop) = (old.id, old.nexthop),
            None => {
                vif.nexthop = NexthopId(self.nexthops.insert(Nexthop::Discard));
                vif.id = VifId(self.vifs.insert(vif.clone()));
                self.nexthops.set(vif.nexthop.0, Nexthop::Vif(vif.id));
                self.names.vifs.insert(spec.name.clone(), vif.id);
            }
        }
        let ids = (vif.id, vif.nexthop);
        self.vifs.set(vif.id.0, vif);
        ids
    }
}
