//! Prefixes, MACs and addresses of a vrf belong to one object each.

use std::net::IpAddr;

use encap::MacAddr;
use ipnet::IpNet;

use super::Draft;
use crate::tables::change::Refusal;
use crate::tables::spec::{Key, Name, Role};
use crate::tables::{Nexthop, NexthopId, Target, UNDERLAY, Vrf};

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
        let reason = match holder == *key {
            true => format!("`{prefix}` is named twice"),
            false => format!("`{prefix}` already belongs to {holder}"),
        };
        refusals.push(Refusal::field(key.clone(), field, reason).with_conflict(holder));
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
        refusals.push(Refusal::field(key.clone(), "mac", reason));
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
            refusals.push(Refusal::field(key.clone(), field, reason));
        }
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
