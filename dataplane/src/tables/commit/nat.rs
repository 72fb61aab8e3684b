//! Floating addresses and pools, brought in and taken out.
//!
//! Each public address is claimed in the network where it is public, a pool's one by one, so that
//! whatever else wants one of them is refused by name. What a source becomes is found by the networks
//! it leaves and enters ([`Outwards`]).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::claims::{host, is_host};
use super::{Draft, Steps};
use crate::sessions::allotment::{Allotment, MAX_ADDRESSES, count};
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::nat::{Floating, FloatingId, Outwards, Pool, PoolId};
use crate::tables::spec::{self, FloatingIp, FloatingTarget, Key, Name, Object, Role, SnatPool};
use crate::tables::{Tables, Target, UNDERLAY, VifId, VrfId};

/// A floating address's inside: its network, and what the address stands for there.
type Inside = (VrfId, Vec<(IpNet, Option<VifId>)>);

impl Draft {
    pub(super) fn withdraw_floating(&mut self, spec: &FloatingIp, gone: bool) {
        let Some(id) = self.tables.names.floatings.get(&spec.name).copied() else {
            return;
        };
        let Some(old) = self.tables.floatings.get(id.0).cloned() else {
            return;
        };
        for (inside, _) in &old.targets {
            self.change_outwards(old.inside_vrf, old.vrf, |outwards| {
                if outwards.floatings.get(*inside) == Some(id) {
                    outwards.floatings.remove(*inside);
                }
            });
        }
        self.unclaim_vip(&spec.vrf, spec.address, |vip| {
            vip.floating.take_if(|holder| *holder == id);
        });
        if let Some(inside) = self.tables.vrf(old.inside_vrf).map(|vrf| vrf.name.clone()) {
            self.touch(&inside);
        }
        if gone {
            self.tables.names.floatings.remove(&spec.name);
            self.tables.floatings.remove(id.0);
        }
    }

    pub(super) fn install_floating(&mut self, spec: &FloatingIp, refusals: &mut Vec<Refusal>) {
        let key = Key::FloatingIp(spec.name.clone());
        let Some(vrf) = self.tables.names.vrfs.get(&spec.vrf).copied() else {
            return;
        };
        let (inside_vrf, targets) = match self.inside_of(spec) {
            Ok(inside) => inside,
            // A vif that is not there was refused, which says it all.
            Err(_) if self.misses_a_vif(spec) => return,
            Err((field, reason)) => {
                refusals.push(Refusal::field(key, field, reason));
                return;
            }
        };
        if inside_vrf == vrf {
            let reason = "is the network inside, too; a floating address is another network's";
            refusals.push(Refusal::field(key, "vrf", reason));
            return;
        }
        let public = spec.address.trunc();
        let known = self.tables.names.floatings.get(&spec.name).copied();
        let floating = Floating {
            name: spec.name.clone(),
            vrf,
            public,
            inside_vrf,
            targets: targets.into(),
        };
        let id = match known {
            Some(id) => {
                self.tables.floatings.set(id.0, floating.clone());
                id
            }
            None => FloatingId(self.tables.floatings.insert(floating.clone())),
        };
        self.tables.names.floatings.insert(spec.name.clone(), id);
        self.claim_floating(spec, id, &key, refusals);
        for (inside, _) in &floating.targets {
            let other = self.change_outwards(inside_vrf, vrf, |outwards| {
                outwards.floatings.insert(*inside, id)
            });
            let other = other.and_then(|other| self.tables.floating(other));
            if let Some(other) = other {
                let other = Key::FloatingIp(other.name.clone());
                let reason = format!(
                    "`{inside}` already goes to vrf `{}` as {other}; name another address of it",
                    spec.vrf
                );
                let refusal = Refusal::field(key.clone(), "fixed", reason);
                let refusal = refusal.with_code(RefusalCode::Taken);
                let refusal = refusal.with_code(RefusalCode::Taken);
                refusals.push(refusal.with_conflict(other));
            }
        }
        if let Some(inside) = self.tables.vrf(inside_vrf).map(|vrf| vrf.name.clone()) {
            self.touch(&inside);
        }
    }

    /// Gives the public address to a floating address, unless another or a pool has it.
    fn claim_floating(
        &mut self,
        spec: &FloatingIp,
        id: FloatingId,
        key: &Key,
        refusals: &mut Vec<Refusal>,
    ) {
        let public = spec.address.trunc();
        let Some(vip) = self.claim_vip(&spec.vrf, public, key, "address", refusals) else {
            return;
        };
        if vip.floating.is_none() && vip.pool.is_none() {
            vip.floating = Some(id);
        } else {
            let holder = self.vip_holder(&spec.vrf, public, key);
            refusals.push(taken(key, "address", public, holder));
            return;
        }
        // A pool's addresses are claimed one by one.
        let pools = || self.tables.pools().map(|(_, pool)| pool);
        let overlaps = |pool: &&Pool| {
            let mut all = pool.addresses.iter();
            let in_it = |net: &IpNet| public.contains(net) || net.contains(&public);
            self.tables
                .vrf(pool.outside_vrf)
                .is_some_and(|vrf| vrf.name == spec.vrf)
                && all.any(in_it)
        };
        if !is_host(&public)
            && let Some(pool) = pools().find(overlaps)
        {
            let holder = Key::SnatPool(pool.name.clone());
            refusals.push(taken(key, "address", public, Some(holder)));
        }
    }

    fn misses_a_vif(&self, spec: &FloatingIp) -> bool {
        match &spec.target {
            FloatingTarget::Vifs { vifs, .. } => vifs
                .iter()
                .any(|name| self.tables.vif_named(name).is_none()),
            FloatingTarget::Prefix { .. } => false,
        }
    }

    /// What a floating address stands for; or the field that is wrong, and why.
    fn inside_of(&self, spec: &FloatingIp) -> Result<Inside, (&'static str, String)> {
        let public = spec.address;
        let same_size = |fixed: &IpNet| {
            fixed.prefix_len() == public.prefix_len()
                && fixed.max_prefix_len() == public.max_prefix_len()
        };
        let unlike = |fixed: &IpNet| {
            format!(
                "`{fixed}` is not as long as `{public}`, or of the other IP version; each address stands for one"
            )
        };
        let (vifs, fixed) = match &spec.target {
            FloatingTarget::Prefix { vrf, fixed } => {
                let inside = self.tables.names.vrfs.get(vrf).copied();
                return match inside {
                    Some(inside) if same_size(fixed) => Ok((inside, vec![(fixed.trunc(), None)])),
                    _ => Err(("fixed", unlike(fixed))),
                };
            }
            FloatingTarget::Vifs { vifs, fixed } => (vifs, fixed),
        };
        if vifs.is_empty() {
            return Err((
                "vifs",
                "names none; name a tenant vif, or an `inside_vrf`".into(),
            ));
        }
        let mut found: Option<VrfId> = None;
        let mut targets = Vec::new();
        for name in vifs {
            let vif = self.tables.vif_named(name);
            let Some(vif) = vif.filter(|vif| vif.role == Role::Tenant) else {
                return Err(("vifs", format!("`{name}` is no tenant vif")));
            };
            if found.is_some_and(|found| found != vif.vrf) {
                let reason = format!("`{name}` is in another vrf than `{}`", vifs[0]);
                return Err(("vifs", reason));
            }
            found = Some(vif.vrf);
            let of_family = |net: &&IpNet| net.addr().is_ipv4() == public.addr().is_ipv4();
            let own: Vec<&IpNet> = vif.addresses.iter().filter(of_family).collect();
            let inside = match (fixed, &own[..]) {
                (Some(fixed), _) if !vif.addresses.iter().any(|net| net.contains(fixed)) => {
                    return Err(("fixed", format!("`{fixed}` is no address of vif `{name}`")));
                }
                (Some(fixed), _) => *fixed,
                (None, [only]) => **only,
                (None, []) => {
                    let version = if public.addr().is_ipv4() {
                        "IPv4"
                    } else {
                        "IPv6"
                    };
                    let reason = format!("vif `{name}` has no {version} address; give it one");
                    return Err(("vifs", reason));
                }
                (None, _) => {
                    let reason = format!("vif `{name}` has several addresses; say which one");
                    return Err(("fixed", reason));
                }
            };
            if !same_size(&inside) {
                return Err(("address", unlike(&inside)));
            }
            targets.push((inside.trunc(), Some(vif.id)));
        }
        let inside_vrf = found.unwrap_or_default();
        Ok((inside_vrf, targets))
    }

    pub(super) fn withdraw_pool(&mut self, spec: &SnatPool, gone: bool) {
        let Some(id) = self.tables.names.pools.get(&spec.name).copied() else {
            return;
        };
        let Some(old) = self.tables.pools.get(id.0).cloned() else {
            return;
        };
        for source in sources(spec) {
            self.change_outwards(old.vrf, old.outside_vrf, |outwards| {
                if outwards.pools.get(source) == Some(id) {
                    outwards.pools.remove(source);
                }
            });
        }
        for addr in hosts(&spec.addresses) {
            self.unclaim_vip(&spec.outside_vrf, addr, |vip| {
                vip.pool.take_if(|holder| *holder == id);
            });
        }
        if let Some(prefix) = spec.nat64_prefix {
            self.unclaim_vip(&spec.vrf, prefix.into(), |vip| {
                vip.pool.take_if(|holder| *holder == id);
            });
        }
        self.touch(&spec.vrf);
        if gone {
            self.tables.names.pools.remove(&spec.name);
            self.tables.pools.remove(id.0);
        }
    }

    pub(super) fn install_pool(&mut self, spec: &SnatPool, refusals: &mut Vec<Refusal>) {
        let key = Key::SnatPool(spec.name.clone());
        if let Err((field, reason)) = check(spec) {
            refusals.push(Refusal::field(key, field, reason));
            return;
        }
        let id = |name: &Name| self.tables.names.vrfs.get(name).copied();
        let (Some(vrf), Some(outside_vrf)) = (id(&spec.vrf), id(&spec.outside_vrf)) else {
            return;
        };
        let known = self.tables.names.pools.get(&spec.name).copied();
        let old = known.and_then(|id| self.tables.pools.get(id.0));
        // Between other networks it is another pool.
        let old = old.filter(|old| (old.vrf, old.outside_vrf) == (vrf, outside_vrf));
        let serial = self.tables.sessions.prepare();
        let allotment = Allotment::new(
            serial,
            &spec.addresses,
            spec.ports.clone(),
            (
                spec.block_size.map_or(0, |size| size.get()),
                spec.ports_per_vif.unwrap_or(u32::MAX),
            ),
            old.map(|old| &*old.allotment),
        );
        self.tables.sessions.leftovers.hold(&allotment);
        let pool = Pool {
            name: spec.name.clone(),
            vrf,
            sources: spec.sources.clone().into(),
            outside_vrf,
            addresses: spec.addresses.clone().into(),
            allotment: Arc::new(allotment),
            filtering: spec.filtering,
            nat64_prefix: spec.nat64_prefix.map(|prefix| prefix.network()),
        };
        let id = match known {
            Some(id) => {
                self.tables.pools.set(id.0, pool);
                id
            }
            None => PoolId(self.tables.pools.insert(pool)),
        };
        self.tables.names.pools.insert(spec.name.clone(), id);
        self.claim_pool(spec, id, &key, refusals);
        for source in sources(spec) {
            let other = self.change_outwards(vrf, outside_vrf, |outwards| {
                outwards.pools.insert(source, id)
            });
            let other = other.filter(|other| *other != id);
            if let Some(other) = other.and_then(|other| self.tables.pool(other)) {
                let other = Key::SnatPool(other.name.clone());
                let reason = format!(
                    "`{source}` of vrf `{}` already goes to vrf `{}` by {other}; name other sources",
                    spec.vrf, spec.outside_vrf
                );
                let refusal = Refusal::field(key.clone(), "sources", reason);
                refusals.push(refusal.with_conflict(other));
            }
        }
        self.touch(&spec.vrf);
    }

    /// Gives a pool its addresses, and its NAT64 prefix, unless they are somebody's.
    fn claim_pool(&mut self, spec: &SnatPool, id: PoolId, key: &Key, refusals: &mut Vec<Refusal>) {
        for addr in hosts(&spec.addresses) {
            if self.is_uplinks(&spec.outside_vrf, addr) {
                if (*spec.ports.start(), *spec.ports.end()) == (1, u16::MAX) {
                    let reason = format!(
                        "`{}` is a fabric vif's, and this node's kernel uses ports of it: name \
                         some that it does not (net.ipv4.ip_local_reserved_ports)",
                        addr.addr()
                    );
                    refusals.push(Refusal::field(key.clone(), "ports", reason));
                    return;
                }
                continue;
            }
            let before = refusals.len();
            self.claim_for_pool(&spec.outside_vrf, addr, "addresses", (id, key), refusals);
            if refusals.len() > before {
                return; // said once, not for each address
            }
        }
        if let Some(prefix) = spec.nat64_prefix {
            let prefix = IpNet::from(prefix);
            self.claim_for_pool(&spec.vrf, prefix, "nat64_prefix", (id, key), refusals);
        }
    }

    fn claim_for_pool(
        &mut self,
        vrf: &Name,
        prefix: IpNet,
        field: &str,
        (id, key): (PoolId, &Key),
        refusals: &mut Vec<Refusal>,
    ) {
        let Some(vip) = self.claim_vip(vrf, prefix, key, field, refusals) else {
            return;
        };
        if vip.floating.is_none() && vip.pool.is_none_or(|holder| holder == id) {
            vip.pool = Some(id);
        } else {
            let holder = self.vip_holder(vrf, prefix, key);
            refusals.push(taken(key, field, prefix, holder));
        }
    }

    /// True for a fabric vif's own address.
    fn is_uplinks(&self, vrf: &Name, addr: IpNet) -> bool {
        let vrf = self.tables.vrf_named(vrf);
        let vrf = vrf.filter(|vrf| vrf.id == UNDERLAY);
        vrf.is_some_and(|vrf| vrf.routes.get(addr) == Some(Target::Gateway))
            && self
                .live_vifs()
                .any(|vif| vif.role == Role::Fabric && vif.has_address(addr.addr()))
    }

    /// Brings floating addresses in again whose vifs a request changes, and pools that may have a
    /// fabric vif's address where it changes one.
    pub(super) fn refresh_nat(&mut self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let mut changed = BTreeSet::new();
        let mut uplinks = false;
        for (key, old, new) in steps.iter() {
            if let (Key::Vif(name), Some(Object::Vif(vif))) = (key, old.or(new)) {
                uplinks |= vif.role == Role::Fabric;
                // One that goes while it is used is refused for that.
                if new.is_some() {
                    changed.insert(name.clone());
                }
            }
        }
        let names = &self.tables.names;
        let has_none = names.floatings.is_empty() && names.pools.is_empty();
        if has_none || (!uplinks && changed.is_empty()) {
            return;
        }
        let objects = self.tables.objects.clone();
        for (key, stored) in objects.besides_routes() {
            if steps.contains(key) {
                continue;
            }
            match &stored.object {
                Object::FloatingIp(floating) => {
                    if let FloatingTarget::Vifs { vifs, .. } = &floating.target
                        && vifs.iter().any(|vif| changed.contains(vif))
                    {
                        self.withdraw_floating(floating, false);
                        self.install_floating(floating, refusals);
                    }
                }
                Object::SnatPool(pool) if uplinks && &*pool.outside_vrf == spec::UNDERLAY => {
                    self.withdraw_pool(pool, false);
                    self.install_pool(pool, refusals);
                }
                _ => {}
            }
        }
    }

    fn change_outwards<T>(
        &mut self,
        inside: VrfId,
        outside: VrfId,
        change: impl FnOnce(&mut Outwards) -> T,
    ) -> T {
        let pair = (inside, outside);
        let outwards = Arc::make_mut(self.tables.outwards.entry(pair).or_default());
        let changed = change(outwards);
        if outwards.is_empty() {
            self.tables.outwards.remove(&pair);
        }
        changed
    }
}

fn taken(key: &Key, field: &str, prefix: IpNet, holder: Option<Key>) -> Refusal {
    let Some(holder) = holder else {
        let reason = format!("`{prefix}` is named twice");
        return Refusal::field(key.clone(), field, reason);
    };
    let reason = format!("`{prefix}` already belongs to {holder}; name another");
    let refusal = Refusal::field(key.clone(), field, reason).with_code(RefusalCode::Taken);
    refusal.with_conflict(holder)
}

/// The prefixes whose packets a pool translates when they leave; none of one for NAT64, which
/// packets come to by its prefix.
fn sources(spec: &SnatPool) -> Vec<IpNet> {
    let is_ipv4 = spec
        .addresses
        .first()
        .is_some_and(|net| net.addr().is_ipv4());
    let all = if is_ipv4 {
        IpNet::from(ipnet::Ipv4Net::default())
    } else {
        IpNet::from(ipnet::Ipv6Net::default())
    };
    match (spec.nat64_prefix, spec.sources.is_empty()) {
        (Some(_), _) => Vec::new(),
        (None, true) => vec![all],
        (None, false) => spec.sources.iter().map(IpNet::trunc).collect(),
    }
}

/// The addresses of a pool, each once.
fn hosts(addresses: &[IpNet]) -> BTreeSet<IpNet> {
    let every = addresses
        .iter()
        .flat_map(|net| crate::sessions::allotment::every(*net));
    every.map(host).collect()
}

/// What can be seen of a pool alone: the field that is wrong, and why.
fn check(spec: &SnatPool) -> Result<(), (&'static str, String)> {
    let wrong = |field, reason: &str| Err((field, reason.to_owned()));
    let is_ipv4 = |net: &IpNet| net.addr().is_ipv4();
    let Some(first) = spec.addresses.first() else {
        return wrong("addresses", "are none; name at least one");
    };
    if spec
        .addresses
        .iter()
        .any(|net| is_ipv4(net) != is_ipv4(first))
    {
        return wrong("addresses", "are of both IP versions; make a pool for each");
    }
    let total = spec
        .addresses
        .iter()
        .fold(0_u128, |sum, net| sum.saturating_add(count(*net)));
    if total > MAX_ADDRESSES {
        let reason = format!("are more than {MAX_ADDRESSES}; name longer prefixes");
        return Err(("addresses", reason));
    }
    if spec.ports.is_empty() || *spec.ports.start() == 0 {
        return wrong(
            "ports",
            "must be from 1 to 65535, the first not above the last",
        );
    }
    let ports = spec.ports.end() - spec.ports.start();
    if spec.block_size.is_some_and(|size| size.get() - 1 > ports) {
        return wrong("block_size", "is more than there are `ports`");
    }
    if spec.ports_per_vif == Some(0) {
        return wrong("ports_per_vif", "is 0; leave it out, or let vifs have some");
    }
    match spec.nat64_prefix {
        None if spec.vrf == spec.outside_vrf => wrong(
            "outside_vrf",
            "is the network inside, too; name that which the addresses are public in",
        ),
        None if spec
            .sources
            .iter()
            .any(|net| is_ipv4(net) != is_ipv4(first)) =>
        {
            wrong(
                "sources",
                "are of another IP version than the addresses; for IPv6 to IPv4 give a `nat64_prefix`",
            )
        }
        None => Ok(()),
        Some(prefix) if prefix.prefix_len() != 96 => {
            wrong("nat64_prefix", "must have 96 bits (RFC 6052)")
        }
        Some(_) if !is_ipv4(first) => {
            wrong("addresses", "are IPv6; with a `nat64_prefix` they are IPv4")
        }
        Some(_) if spec.sources.iter().any(is_ipv4) => {
            wrong("sources", "are IPv4; with a `nat64_prefix` they are IPv6")
        }
        Some(_) => Ok(()),
    }
}

impl Tables {
    /// Addresses of fabric vifs, with the pools that have ports of them.
    pub(in crate::tables) fn uplink_pools(&self) -> Vec<(IpAddr, PoolId)> {
        let fabrics = self.fabrics();
        let has = |addr: IpAddr| {
            let mut vifs = fabrics.iter().filter_map(|id| self.vif(*id));
            vifs.any(|vif| vif.has_address(addr))
        };
        let pools = self
            .pools()
            .filter(|(_, pool)| pool.outside_vrf == UNDERLAY);
        let addresses = pools.flat_map(|(id, pool)| {
            let hosts = hosts(&pool.addresses).into_iter();
            hosts.map(move |net| (net.addr(), id))
        });
        addresses.filter(|(addr, _)| has(*addr)).collect()
    }
}
