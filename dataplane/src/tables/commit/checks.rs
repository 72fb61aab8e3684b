//! What an object must be to fit the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use encap::MacAddr;
use ipnet::IpNet;

use super::{Draft, Steps, device_name};
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::spec::{self, Key, NexthopAction, Object, Role};
use crate::tables::{FastSet, Vif};

impl Draft {
    pub(super) fn check_references(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let mut found = FastSet::default();
        for (key, _, new) in steps.iter() {
            match new {
                Some(object) => {
                    for (field, mentioned) in object.references() {
                        if found.contains(&mentioned) {
                            continue;
                        }
                        if self.exists(&mentioned) {
                            found.insert(mentioned);
                        } else {
                            let reason = format!(
                                "there is no {} named `{}`",
                                mentioned.kind(),
                                mentioned.name()
                            );
                            let refusal = Refusal::field(key.clone(), field, reason);
                            refusals.push(refusal.with_code(RefusalCode::Unresolved));
                        }
                    }
                }
                None if self.tables.mentions.contains_key(key) && !self.exists(key) => {
                    // Slow, but only on the way to a refusal.
                    let user = self.tables.objects.iter().find(|(user, stored)| {
                        let mut mentioned = stored.object.references().into_iter();
                        // Changed objects that mention it were already refused for that.
                        !steps.contains(user) && mentioned.any(|(_, it)| it == *key)
                    });
                    if let Some((user, _)) = user {
                        let reason = format!("is still used by {user}");
                        let refusal = Refusal::field(key.clone(), "", reason);
                        let refusal = refusal.with_code(RefusalCode::InUse);
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

    /// A router's new MAC must not be that of a machine which is there already.
    pub(super) fn check_router_macs(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
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
    pub(super) fn check_standing_tunnels(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let is_fabric = |object: Option<&Object>| matches!(object, Some(Object::Vif(vif)) if vif.role == Role::Fabric);
        if !steps
            .iter()
            .any(|(_, old, new)| is_fabric(old) || is_fabric(new))
        {
            return;
        }
        for (key, stored) in self.tables.objects.besides_routes() {
            if let Object::Nexthop(nexthop) = &stored.object
                && let NexthopAction::Tunnel(tunnel) = &nexthop.action
                && !steps.contains(key)
            {
                self.check_tunnel(tunnel, key, refusals);
            }
        }
    }

    pub(super) fn check_tunnel(
        &self,
        tunnel: &spec::Tunnel,
        key: &Key,
        refusals: &mut Vec<Refusal>,
    ) {
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
        let is_vxlan = matches!(tunnel.encap, encap::Encap::Vxlan(_));
        if is_vxlan && tunnel.fragment == spec::FragmentMode::Outer {
            let reason = "`outer` does not go with vxlan, whose packets must not be fragmented (RFC \
                          7348 section 4.3); leave it out";
            refusals.push(Refusal::field(key.clone(), "tunnel.fragment", reason));
        }
        if is_local(tunnel.remote) {
            let reason = format!("`{}` is this node's own address", tunnel.remote);
            refusals.push(Refusal::field(key.clone(), "tunnel.remote", reason));
        }
    }

    pub(super) fn live_vifs(&self) -> impl Iterator<Item = &Arc<Vif>> {
        let vifs = self.tables.vifs();
        vifs.filter(|vif| !self.gone_vifs.contains(&vif.id))
    }
}

pub(super) fn check_vif(
    spec: &spec::Vif,
    old: Option<&Object>,
    key: &Key,
    refusals: &mut Vec<Refusal>,
) {
    let mut refuse = |field: &str, reason: &str| {
        refusals.push(Refusal::field(key.clone(), field, reason));
    };
    if spec.role == Role::Tenant {
        if &*spec.vrf == spec::UNDERLAY {
            refuse(
                "vrf",
                "a tenant vif cannot be in the underlay; name a vrf of its own",
            );
        }
    } else if &*spec.vrf != spec::UNDERLAY {
        refuse("vrf", "fabric and host vifs live in the vrf `underlay`");
    }
    if spec.role != Role::Tenant && spec.flow_quota.is_some() {
        refuse(
            "flow_quota",
            "only tenant vifs have one: a flow counts for the machine at its end",
        );
    }
    let twice = |(index, net): &(usize, &IpNet)| {
        let before = spec.addresses[..*index].iter();
        before.into_iter().any(|other| other.addr() == net.addr())
    };
    if spec.role == Role::Fabric
        && let Some((_, net)) = spec.addresses.iter().enumerate().find(twice)
    {
        refuse("addresses", &format!("`{}` is named twice", net.addr()));
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

/// Policies, meters and mirrors are for tenants' flows: they go with a tenant vif, and with any vrf
/// but the underlay.
pub(super) fn check_guards(steps: &Steps, refusals: &mut Vec<Refusal>) {
    for (key, _, new) in steps.iter() {
        let reason = match new {
            Some(Object::Vif(vif)) if vif.role != Role::Tenant => {
                "only tenant vifs have one: it is held against what machines send and get"
            }
            Some(Object::Vrf(vrf)) if &*vrf.name == spec::UNDERLAY => {
                "the underlay has no machines; give it to the tenants' vrfs"
            }
            _ => continue,
        };
        let mentioned = new.map(Object::references).unwrap_or_default().into_iter();
        let is_guard = |key: &Key| matches!(key, Key::Policy(_) | Key::Meter(_) | Key::Mirror(_));
        let fields: BTreeSet<&str> = mentioned
            .filter_map(|(field, key)| is_guard(&key).then_some(field))
            .collect();
        for field in fields {
            refusals.push(Refusal::field(key.clone(), field, reason));
        }
    }
}

/// A device goes to another vif in two commits: the new vif's is opened before
/// the old one's is closed.
pub(super) fn check_devices(steps: &Steps, refusals: &mut Vec<Refusal>) {
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
            let refusal = refusal.with_code(RefusalCode::Taken);
            refusals.push(refusal.with_conflict((*holder).clone()));
        }
    }
}
