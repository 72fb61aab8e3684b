//! Which host vif stands behind which uplink.
//!
//! The kernel knows an uplink by its MAC, so a host vif with the MAC of a fabric
//! vif is its own. What other fabric vifs hear goes to the first host vif
//! without an uplink of its own, or to the first of all.

use super::{Tables, Underlay, VifId, spec};

impl Tables {
    /// Host vifs, by name.
    pub(super) fn hosts(&self) -> Vec<VifId> {
        let live = self.names.vifs.values().filter_map(|id| self.vif(*id));
        let mut hosts: Vec<_> = live.filter(|vif| vif.role == spec::Role::Host).collect();
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts.iter().map(|vif| vif.id).collect()
    }

    /// Each fabric vif with its host vif, if there is any.
    pub(super) fn pair_hosts(&self, fabrics: &[VifId], hosts: &[VifId]) -> Vec<(VifId, VifId)> {
        let same_mac = |a: &VifId, b: &VifId| match (self.vif(*a), self.vif(*b)) {
            (Some(a), Some(b)) => a.mac == b.mac,
            _ => false,
        };
        let has_uplink = |host: &VifId| fabrics.iter().any(|fabric| same_mac(fabric, host));
        let common = hosts
            .iter()
            .find(|host| !has_uplink(host))
            .or(hosts.first());
        let pair = |fabric: &VifId| {
            let own = hosts.iter().find(|host| same_mac(fabric, host));
            Some((*fabric, *own.or(common)?))
        };
        fabrics.iter().filter_map(pair).collect()
    }
}

impl Underlay {
    /// The host vif that gets what this fabric vif hears.
    #[inline]
    pub fn host_of(&self, fabric: VifId) -> Option<VifId> {
        let mut hosts = self.hosts.iter();
        hosts
            .find(|(uplink, _)| *uplink == fabric)
            .map(|(_, host)| *host)
    }

    /// The fabric vifs, by name, that this host vif stands behind.
    pub fn uplinks_of(&self, host: VifId) -> impl Iterator<Item = VifId> {
        let hosts = self.hosts.iter();
        hosts
            .filter(move |(_, behind)| *behind == host)
            .map(|(uplink, _)| *uplink)
    }
}
