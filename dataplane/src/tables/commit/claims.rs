//! Prefixes, MACs and addresses of a vrf belong to one object each.

use std::net::IpAddr;

use encap::MacAddr;
use ipnet::IpNet;

use super::Draft;
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::spec::{Key, Name, Role};
use crate::tables::{Nexthop, NexthopId, Target, UNDERLAY, Vif, Vrf};

impl Draft {
    /// Gives `prefix` to `key`, unless something else already has it.
    pub(super) fn claim(
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
        let (code, reason) = match holder == *key {
            true => (RefusalCode::Duplicate, format!("`{prefix}` is named twice")),
            false => (
                RefusalCode::Taken,
                format!("`{prefix}` already belongs to {holder}"),
            ),
        };
        let refusal = Refusal::field(key.clone(), field, reason).with_code(code);
        refusals.push(refusal.with_conflict(holder));
    }

    /// Gives `prefix` to a fabric vif, which shares it with other fabric vifs:
    /// two may be on one link, or both have the address that tunnels start from.
    pub(super) fn claim_shared(
        &mut self,
        vrf: &Name,
        prefix: IpNet,
        target: Target,
        key: &Key,
        refusals: &mut Vec<Refusal>,
    ) {
        let before = refusals.len();
        let sharers = self.tables.uplink_prefixes.get(&prefix).copied();
        if sharers.is_none() {
            self.claim(vrf, prefix, target, key, "addresses", refusals);
        }
        if refusals.len() == before {
            let sharers = sharers.unwrap_or(0) + 1;
            self.tables.uplink_prefixes.insert(prefix, sharers);
        }
    }

    /// Takes `prefix` from one of the fabric vifs that share it.
    pub(super) fn unclaim_shared(&mut self, vrf: &Name, prefix: IpNet) {
        match self.tables.uplink_prefixes.get_mut(&prefix) {
            Some(sharers) if *sharers > 1 => *sharers -= 1,
            _ => {
                self.tables.uplink_prefixes.remove(&prefix);
                if let Some(vrf) = self.touch(vrf) {
                    vrf.routes.remove(prefix);
                }
            }
        }
    }

    pub(super) fn claim_mac(
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
        let refusal = Refusal::field(key.clone(), "mac", reason);
        refusals.push(refusal.with_code(RefusalCode::Taken));
    }

    /// Says that `ip` is at `mac`, unless something else says otherwise.
    pub(super) fn claim_neighbour(
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
            let refusal = Refusal::field(key.clone(), field, reason);
            refusals.push(refusal.with_code(RefusalCode::Taken));
        }
    }

    /// Whose prefix it is, when `key` wants it too.
    fn holder(&self, vrf: &Name, prefix: IpNet, target: Target, key: &Key) -> Key {
        // The asking vif may be in the tables already: it comes last.
        let of_vif = |has: &dyn Fn(&Vif) -> bool| {
            self.live_vifs()
                .filter(|vif| self.tables.vrf(vif.vrf).is_some_and(|at| at.name == *vrf))
                .filter(|vif| vif.role != Role::Tenant && has(vif))
                .min_by_key(|vif| (Key::Vif(vif.name.clone()) == *key, vif.name.clone()))
        };
        let vif = match target {
            Target::Connected => {
                of_vif(&|vif| vif.addresses.iter().any(|net| net.trunc() == prefix))
            }
            Target::Nexthop(nexthop) => match self.tables.nexthop(nexthop) {
                // Its own nexthop, that is; one that names it belongs to a route.
                Some(Nexthop::Vif(id)) => self.tables.vif(*id).filter(|vif| vif.nexthop == nexthop),
                _ => None,
            },
            Target::Gateway => of_vif(&|vif| vif.has_address(prefix.addr())),
            Target::Vip(_) => None,
        };
        match (vif, target) {
            (Some(vif), _) => Key::Vif(vif.name.clone()),
            (None, Target::Gateway) => Key::Vrf(vrf.clone()),
            (None, Target::Vip(_)) => self
                .vip_holder(vrf, prefix, key)
                .unwrap_or_else(|| Key::Route(vrf.clone(), prefix)),
            (None, _) => Key::Route(vrf.clone(), prefix),
        }
    }

    /// The vrf to change; decisions made in it will be made again.
    pub(super) fn touch(&mut self, name: &Name) -> Option<&mut Vrf> {
        let id = *self.tables.names.vrfs.get(name)?;
        self.touched.insert(id);
        self.underlay_changed |= id == UNDERLAY;
        self.tables.vrfs.get_mut(id.0)
    }
}

pub(super) fn host(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}

/// True for a prefix of one address.
pub(super) fn is_host(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}
