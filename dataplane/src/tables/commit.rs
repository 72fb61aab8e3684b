//! From one snapshot to the next: all of a request, or the list of everything
//! that is wrong with it.
//!
//! [`Tables::prepare`] checks the request and builds the next snapshot beside
//! the current one. What only an opened device can tell (its MAC and MTU) is
//! filled in by [`Draft::finish`], so that devices are opened only for requests
//! that are otherwise good.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use encap::MacAddr;
use ipnet::IpNet;

use super::change::{Change, Refusal, Request};
use super::spec::{self, Key, Name, NexthopAction, Object, Role};
use super::{Nexthop, NexthopId, Stored, Tables, Target, UNDERLAY, Vif, VifId, Vrf, VrfId};
use crate::counters::VifCounters;

/// Used when neither the object nor a device says otherwise.
const DEFAULT_MTU: u16 = 1500;

/// Highest vrf index: flow keys have 23 bits for it.
const MAX_VRF: u32 = (1 << 23) - 1;

/// The next snapshot, complete but for what devices know.
pub struct Draft {
    tables: Tables,
    changed: Changed,
    /// Vrfs in which a decision may now come out differently.
    touched: BTreeSet<VrfId>,
    all_touched: bool,
    underlay_changed: bool,
    /// Removed vifs. Their indices stay taken until the draft is finished, so
    /// that no new vif gets one while workers still hold the old one's queues.
    gone_vifs: Vec<VifId>,
}

/// What a request did, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Objects that were not there before.
    pub created: Vec<Key>,
    /// Objects that were there, and different.
    pub updated: Vec<Key>,
    /// Objects that are gone.
    pub deleted: Vec<Key>,
    /// How many named objects were already as wanted.
    pub unchanged: usize,
}

/// What a device says about itself.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts {
    /// Its MAC.
    pub mac: MacAddr,
    /// Largest IP packet it takes, in bytes.
    pub mtu: u16,
}

impl Tables {
    /// Checks a request against this snapshot and builds the next one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn prepare(&self, request: &Request) -> Result<Draft, Vec<Refusal>> {
        if let Some(wanted) = request.if_generation
            && wanted != self.generation
        {
            return Err(vec![Refusal {
                object: None,
                field: "if_generation".into(),
                reason: format!(
                    "the generation is {}, not {wanted}: read the objects again and retry",
                    self.generation
                ),
                conflict: None,
            }]);
        }
        let mut refusals = Vec::new();
        let steps = self.steps(request, &mut refusals);
        let mut draft = Draft::new(self, &steps);
        draft.store(&steps, &request.owner);
        draft.check_references(&steps, &mut refusals);
        draft.withdraw(&steps);
        draft.install(&steps, &mut refusals);
        check_devices(&steps, &mut refusals);
        draft.check_router_macs(&steps, &mut refusals);
        draft.check_standing_tunnels(&steps, &mut refusals);
        if refusals.is_empty() {
            Ok(draft)
        } else {
            refusals.sort_by(|a, b| a.object.cmp(&b.object));
            Err(refusals)
        }
    }

    /// What to do with each object that changes; ownership and repetition checked.
    fn steps(&self, request: &Request, refusals: &mut Vec<Refusal>) -> Steps {
        let mut steps = Steps::default();
        let mut named = BTreeSet::new();
        for change in &request.changes {
            let (key, new) = match change {
                Change::Upsert(object) => (object.key(), Some(object)),
                Change::Delete(key) => (key.clone(), None),
            };
            if !named.insert(key.clone()) {
                refusals.push(Refusal::field(key, "", "named twice in one request"));
                continue;
            }
            let old = self.objects.get(&key);
            if let Some(old) = old
                && old.owner != request.owner
            {
                let reason = format!(
                    "belongs to owner `{}`, not to `{}`",
                    old.owner, request.owner
                );
                refusals.push(Refusal::field(key.clone(), "", reason).with_conflict(key));
                continue;
            }
            match (old, new) {
                (None, None) => {
                    refusals.push(Refusal::field(key, "", "does not exist"));
                }
                (Some(old), Some(new)) if old.object == *new => steps.unchanged += 1,
                (old, new) => {
                    let old = old.map(|stored| stored.object.clone());
                    steps.by_key.insert(key, (old, new.cloned()));
                }
            }
        }
        if request.replace {
            let rest = self
                .objects
                .iter()
                .filter(|(key, stored)| stored.owner == request.owner && !named.contains(key));
            for (key, stored) in rest {
                steps
                    .by_key
                    .insert(key.clone(), (Some(stored.object.clone()), None));
            }
        }
        steps
    }
}

/// Old and new form of every object that changes, in key order: vrfs before
/// vifs before nexthops before what refers to them.
#[derive(Default)]
struct Steps {
    by_key: BTreeMap<Key, (Option<Object>, Option<Object>)>,
    unchanged: usize,
}

impl Steps {
    fn iter(&self) -> impl DoubleEndedIterator<Item = (&Key, Option<&Object>, Option<&Object>)> {
        self.by_key
            .iter()
            .map(|(key, (old, new))| (key, old.as_ref(), new.as_ref()))
    }
}

impl Draft {
    fn new(base: &Tables, steps: &Steps) -> Draft {
        let mut changed = Changed {
            unchanged: steps.unchanged,
            ..Changed::default()
        };
        for (key, old, new) in steps.iter() {
            match (old, new) {
                (None, _) => changed.created.push(key.clone()),
                (Some(_), Some(_)) => changed.updated.push(key.clone()),
                (Some(_), None) => changed.deleted.push(key.clone()),
            }
        }
        let mut tables = base.clone();
        if !changed.is_empty() {
            tables.generation += 1;
        }
        Draft {
            tables,
            changed,
            touched: BTreeSet::new(),
            all_touched: false,
            underlay_changed: false,
            gone_vifs: Vec::new(),
        }
    }

    /// What the request changes.
    pub fn changed(&self) -> &Changed {
        &self.changed
    }

    /// The snapshot so far: names and indices are final.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Fills in what devices know and returns the finished snapshot. `facts` is
    /// asked for created and updated vifs; `None` stands for a vif without a
    /// device, as in a replay.
    pub fn finish(mut self, facts: impl Fn(&Name) -> Option<PortFacts>) -> (Tables, Changed) {
        for id in &self.gone_vifs {
            self.tables.vifs.remove(id.0);
        }
        let vifs: Vec<_> = self
            .changed
            .created
            .iter()
            .chain(&self.changed.updated)
            .cloned()
            .collect();
        for key in &vifs {
            if let (Key::Vif(name), Some(stored)) = (key, self.tables.objects.get(key))
                && let Object::Vif(spec) = stored.object.clone()
            {
                self.fill_in(&spec, facts(name));
            }
        }
        let tables = &mut self.tables;
        if self.underlay_changed {
            tables.resolve_underlay();
        } else {
            for key in &self.changed.created {
                if let (Key::Nexthop(_), Some(stored)) = (key, tables.objects.get(key))
                    && let Object::Nexthop(nexthop) = stored.object.clone()
                {
                    tables.resolve_one(&nexthop);
                }
            }
        }
        if self.all_touched {
            self.touched.extend((0..tables.vrfs.bound()).map(VrfId));
        }
        for id in &self.touched {
            if let Some(vrf) = tables.vrfs.get_mut(id.0) {
                vrf.epoch = tables.generation as u32;
            }
        }
        (self.tables, self.changed)
    }

    fn fill_in(&mut self, spec: &spec::Vif, facts: Option<PortFacts>) {
        let Some(id) = self.tables.names.vifs.get(&spec.name).copied() else {
            return;
        };
        if let Some(vif) = self.tables.vifs.get_mut(id.0) {
            vif.mac = spec
                .mac
                .or(facts.map(|facts| facts.mac))
                .unwrap_or_else(|| derived_mac(&spec.name));
            vif.mtu = spec
                .mtu
                .or(facts.map(|facts| facts.mtu))
                .unwrap_or(DEFAULT_MTU);
        }
    }

    /// Enters the new objects and counts who mentions whom.
    fn store(&mut self, steps: &Steps, owner: &Name) {
        let tables = &mut self.tables;
        for (key, old, new) in steps.iter() {
            for (_, mentioned) in old.into_iter().flat_map(Object::references) {
                let count = tables.mentions.entry(mentioned).or_default();
                *count = count.saturating_sub(1);
            }
            for (_, mentioned) in new.into_iter().flat_map(Object::references) {
                *tables.mentions.entry(mentioned).or_default() += 1;
            }
            match new {
                Some(object) => {
                    let stored = Stored {
                        object: object.clone(),
                        owner: owner.clone(),
                    };
                    tables.objects.insert(key.clone(), Arc::new(stored));
                }
                None => _ = tables.objects.remove(key),
            }
        }
        for (_, old, _) in steps.iter() {
            for (_, mentioned) in old.into_iter().flat_map(Object::references) {
                if tables.mentions.get(&mentioned) == Some(&0) {
                    tables.mentions.remove(&mentioned);
                }
            }
        }
    }

    fn check_references(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        for (key, _, new) in steps.iter() {
            match new {
                Some(object) => {
                    for (field, mentioned) in object.references() {
                        if !self.exists(&mentioned) {
                            let reason = format!(
                                "there is no {} named `{}`",
                                mentioned.kind(),
                                mentioned.name()
                            );
                            refusals.push(Refusal::field(key.clone(), field, reason));
                        }
                    }
                }
                None if self.tables.mentions.contains_key(key) && !self.exists(key) => {
                    // Slow, but only on the way to a refusal.
                    let user = self.tables.objects.iter().find(|(user, stored)| {
                        let mut mentioned = stored.object.references().into_iter();
                        // Changed objects that mention it were already refused for that.
                        !steps.by_key.contains_key(user) && mentioned.any(|(_, it)| it == *key)
                    });
                    if let Some((user, _)) = user {
                        let reason = format!("is still used by {user}");
                        let refusal = Refusal::field(key.clone(), "", reason);
                        refusals.push(refusal.with_conflict(user.clone()));
                    }
                }
                None => {}
            }
        }
    }

    fn exists(&self, key: &Key) -> bool {
        self.tables.objects.contains_key(key)
            || matches!(key, Key::Vrf(name) if &**name == spec::UNDERLAY)
    }

    /// Takes the old objects' effects out, dependants first.
    fn withdraw(&mut self, steps: &Steps) {
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
                        if let Some(ip) = mac.ip {
                            vrf.neighbours.remove(&ip);
                        }
                    }
                }
                Object::Vni(entry) => {
                    self.touch(&entry.vrf);
                    Arc::make_mut(&mut self.tables.vnis).remove(&entry.vni);
                }
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
            }
        } else if let Some(id) = self.tables.names.vrfs.remove(&spec.name) {
            self.tables.vrfs.remove(id.0);
        }
    }

    fn withdraw_vif(&mut self, spec: &spec::Vif, gone: bool) {
        self.underlay_changed |= spec.role != Role::Tenant;
        let device = device_name(&spec.device);
        self.tables.names.devices.remove(device);
        if let Some(vrf) = self.touch(&spec.vrf) {
            // Only what `install_vif` claimed: the rest is another object's.
            for address in &spec.addresses {
                vrf.routes.remove(address.trunc());
                match spec.role {
                    Role::Tenant if is_host(address) => _ = vrf.neighbours.remove(&address.addr()),
                    Role::Tenant => {}
                    Role::Fabric | Role::Host => _ = vrf.routes.remove(host(address.addr())),
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
        }
    }

    /// Brings the new objects' effects in, in key order.
    fn install(&mut self, steps: &Steps, refusals: &mut Vec<Refusal>) {
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
                    self.touch(&entry.vrf);
                    if let Some(vrf) = self.tables.names.vrfs.get(&entry.vrf).copied() {
                        Arc::make_mut(&mut self.tables.vnis).insert(entry.vni, vrf);
                    }
                }
            }
        }
    }

    /// A router's new MAC must not be that of a machine which is there already.
    fn check_router_macs(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        for (key, _, _) in steps.iter() {
            if let Key::Vrf(name) = key
                && let Some(vrf) = self.tables.vrf_named(name)
                && vrf.macs.contains_key(&vrf.mac)
            {
                let reason = format!("`{}` is already in use in vrf `{name}`", vrf.mac);
                refusals.push(Refusal::field(key.clone(), "mac", reason));
            }
        }
    }

    /// Tunnels that this request does not name must fit the fabric vifs it changes.
    fn check_standing_tunnels(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let is_fabric = |object: Option<&Object>| matches!(object, Some(Object::Vif(vif)) if vif.role == Role::Fabric);
        if !steps
            .iter()
            .any(|(_, old, new)| is_fabric(old) || is_fabric(new))
        {
            return;
        }
        for (key, stored) in &self.tables.objects {
            if let Object::Nexthop(nexthop) = &stored.object
                && let NexthopAction::Tunnel(tunnel) = &nexthop.action
                && !steps.by_key.contains_key(key)
            {
                self.check_tunnel(tunnel, key, refusals);
            }
        }
    }

    fn install_vrf(&mut self, spec: &spec::Vrf, refusals: &mut Vec<Refusal>) {
        let key = Key::Vrf(spec.name.clone());
        if !self.tables.names.vrfs.contains_key(&spec.name) {
            let id = self.tables.add_vrf(spec);
            if id.0 > MAX_VRF {
                let reason = format!("there are {MAX_VRF} vrfs already");
                refusals.push(Refusal::field(key.clone(), "", reason));
            }
        }
        if &*spec.name == spec::UNDERLAY && !spec.gateways.is_empty() {
            let reason = "the underlay has no gateways; give the fabric vifs addresses";
            refusals.push(Refusal::field(key.clone(), "gateways", reason));
            return;
        }
        if let Some(vrf) = self.touch(&spec.name) {
            vrf.mode = spec.mode;
            vrf.mac = spec.mac;
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
            refusals.push(Refusal::field(key.clone(), "device", reason).with_conflict(other));
        }
        let (id, nexthop) = self.tables.add_vif(spec, vrf);
        for address in &spec.addresses {
            match spec.role {
                Role::Tenant => {
                    let target = Target::Nexthop(nexthop);
                    self.claim(
                        &spec.vrf,
                        address.trunc(),
                        target,
                        &key,
                        "addresses",
                        refusals,
                    );
                }
                Role::Fabric | Role::Host => {
                    let own = host(address.addr());
                    self.claim(&spec.vrf, own, Target::Gateway, &key, "addresses", refusals);
                    if !is_host(address) {
                        let target = Target::Connected(id);
                        self.claim(
                            &spec.vrf,
                            address.trunc(),
                            target,
                            &key,
                            "addresses",
                            refusals,
                        );
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
            NexthopAction::Host | NexthopAction::Discard => {}
        }
        let tables = &mut self.tables;
        if !tables.names.nexthops.contains_key(&spec.name) {
            let id = NexthopId(tables.nexthops.insert(Nexthop::Unreachable));
            tables.names.nexthops.insert(spec.name.clone(), id);
        }
    }

    fn check_tunnel(&self, tunnel: &spec::Tunnel, key: &Key, refusals: &mut Vec<Refusal>) {
        let is_local = |addr: IpAddr| {
            self.live_vifs()
                .any(|vif| vif.role == Role::Fabric && vif.has_address(addr))
        };
        if let Some(local) = tunnel.local {
            if local.is_ipv4() != tunnel.remote.is_ipv4() {
                let reason = format!(
                    "`{local}` and the remote `{}` are of different IP versions",
                    tunnel.remote
                );
                refusals.push(Refusal::field(key.clone(), "tunnel.local", reason));
            } else if !is_local(local) {
                let reason = format!("`{local}` is no fabric vif's address");
                refusals.push(Refusal::field(key.clone(), "tunnel.local", reason));
            }
        }
        if is_local(tunnel.remote) {
            let reason = format!("`{}` is this node's own address", tunnel.remote);
            refusals.push(Refusal::field(key.clone(), "tunnel.remote", reason));
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
        if let Some(ip) = spec.ip {
            self.claim_neighbour(&spec.vrf, ip, spec.mac, &key, "ip", refusals);
        }
    }

    /// Gives `prefix` to `key`, unless something else already has it.
    fn claim(
        &mut self,
        vrf: &Name,
        prefix: IpNet,
        target: Target,
        key: &Key,
        field: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        let Some(entry) = self.touch(vrf) else { return };
        let Some(old) = entry.routes.insert(prefix, target) else {
            return;
        };
        entry.routes.insert(prefix, old);
        let holder = self.holder(vrf, prefix, old, key);
        let reason = match holder == *key {
            true => format!("`{prefix}` is named twice"),
            false => format!("`{prefix}` already belongs to {holder}"),
        };
        refusals.push(Refusal::field(key.clone(), field, reason).with_conflict(holder));
    }

    fn claim_mac(
        &mut self,
        vrf: &Name,
        mac: MacAddr,
        nexthop: NexthopId,
        key: &Key,
        refusals: &mut Vec<Refusal>,
    ) {
        let Some(entry) = self.touch(vrf) else { return };
        let reason = if mac == entry.mac {
            format!("`{mac}` is the virtual router's own MAC in vrf `{vrf}`")
        } else if entry.macs.insert(mac, nexthop).is_some() {
            format!("`{mac}` is already in use in vrf `{vrf}`")
        } else {
            return;
        };
        refusals.push(Refusal::field(key.clone(), "mac", reason));
    }

    /// Says that `ip` is at `mac`, unless something else says otherwise.
    fn claim_neighbour(
        &mut self,
        vrf: &Name,
        ip: IpAddr,
        mac: MacAddr,
        key: &Key,
        field: &str,
        refusals: &mut Vec<Refusal>,
    ) {
        let Some(entry) = self.touch(vrf) else { return };
        if let Some(other) = entry.neighbours.insert(ip, mac)
            && other != mac
        {
            let reason = format!("`{ip}` is already at `{other}`");
            refusals.push(Refusal::field(key.clone(), field, reason));
        }
    }

    fn live_vifs(&self) -> impl Iterator<Item = &Arc<Vif>> {
        let vifs = self.tables.vifs();
        vifs.filter(|vif| !self.gone_vifs.contains(&vif.id))
    }

    /// Whose prefix it is, when `key` wants it too.
    fn holder(&self, vrf: &Name, prefix: IpNet, target: Target, key: &Key) -> Key {
        let vif = match target {
            Target::Connected(id) => self.tables.vif(id),
            Target::Nexthop(nexthop) => match self.tables.nexthop(nexthop) {
                // Its own nexthop, that is; one that names it belongs to a route.
                Some(Nexthop::Vif(id)) => self.tables.vif(*id).filter(|vif| vif.nexthop == nexthop),
                _ => None,
            },
            // The asking vif may be in the tables already: it comes last.
            Target::Gateway => self
                .live_vifs()
                .filter(|vif| self.tables.vrf(vif.vrf).is_some_and(|at| at.name == *vrf))
                .filter(|vif| vif.role != Role::Tenant && vif.has_address(prefix.addr()))
                .min_by_key(|vif| (Key::Vif(vif.name.clone()) == *key, vif.name.clone())),
        };
        match (vif, target) {
            (Some(vif), _) => Key::Vif(vif.name.clone()),
            (None, Target::Gateway) => Key::Vrf(vrf.clone()),
            (None, _) => Key::Route(vrf.clone(), prefix),
        }
    }

    /// The vrf to change; decisions made in it will be made again.
    fn touch(&mut self, name: &Name) -> Option<&mut Vrf> {
        let id = *self.tables.names.vrfs.get(name)?;
        self.touched.insert(id);
        self.underlay_changed |= id == UNDERLAY;
        self.tables.vrfs.get_mut(id.0)
    }
}

impl Changed {
    /// True if nothing was created, updated or deleted.
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.deleted.is_empty()
    }
}

impl Tables {
    pub(super) fn add_vrf(&mut self, spec: &spec::Vrf) -> VrfId {
        let id = VrfId(self.vrfs.insert(Vrf {
            id: VrfId(0),
            name: spec.name.clone(),
            mode: spec.mode,
            mac: spec.mac,
            epoch: 0,
            routes: super::lpm::Lpm::new(),
            macs: imbl::HashMap::new(),
            neighbours: imbl::HashMap::new(),
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
            vlan: spec.vlan,
            mtu: DEFAULT_MTU,
            nexthop: NexthopId(0),
            counters: match &old {
                Some(old) => old.counters.clone(),
                None => Arc::new(VifCounters::new(self.workers)),
            },
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

fn check_vif(spec: &spec::Vif, old: Option<&Object>, key: &Key, refusals: &mut Vec<Refusal>) {
    let mut refuse = |field: &str, reason: &str| {
        refusals.push(Refusal::field(key.clone(), field, reason));
    };
    if spec.role == Role::Tenant {
        if spec.mac.is_none() {
            refuse("mac", "a tenant vif needs the MAC of the machine behind it");
        }
        if &*spec.vrf == spec::UNDERLAY {
            refuse(
                "vrf",
                "a tenant vif cannot be in the underlay; name a vrf of its own",
            );
        }
    } else if &*spec.vrf != spec::UNDERLAY {
        refuse("vrf", "fabric and host vifs live in the vrf `underlay`");
    }
    if spec
        .mac
        .is_some_and(|mac| mac.is_multicast() || mac == MacAddr::ZERO)
    {
        refuse("mac", "is not the address of one machine");
    }
    if let Some(Object::Vif(old)) = old {
        if old.device != spec.device {
            refuse(
                "device",
                "cannot change while the vif exists; delete the vif and create it again",
            );
        }
        if old.role != spec.role {
            refuse(
                "role",
                "cannot change while the vif exists; delete the vif and create it again",
            );
        }
    }
}

/// A device goes to another vif in two commits: the new vif's is opened before
/// the old one's is closed.
fn check_devices(steps: &Steps, refusals: &mut Vec<Refusal>) {
    let mut leaving = BTreeMap::new();
    for (key, old, new) in steps.iter() {
        if let (Some(Object::Vif(old)), None) = (old, new) {
            leaving.insert(device_name(&old.device), key);
        }
    }
    for (key, old, new) in steps.iter() {
        if let (None, Some(Object::Vif(new))) = (old, new)
            && let Some(holder) = leaving.get(device_name(&new.device))
        {
            let device = device_name(&new.device);
            let reason = format!(
                "device `{device}` belongs to {holder} until it is deleted; \
                 delete that in a request of its own first"
            );
            let refusal = Refusal::field(key.clone(), "device", reason);
            refusals.push(refusal.with_conflict((*holder).clone()));
        }
    }
}

/// The device's own name: what stands before its arguments.
pub fn device_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// A MAC for a vif that neither configuration nor a device gave one: locally
/// administered, and the same in every run.
fn derived_mac(name: &str) -> MacAddr {
    // FNV-1a: stable across builds and machines, which a keyed hash is not.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}

fn host(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}

/// True for a prefix of one address.
fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}
