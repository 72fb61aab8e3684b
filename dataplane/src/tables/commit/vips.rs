//! Virtual addresses: prefixes that services, floating addresses and pools share, each for what
//! the others leave.

use ipnet::IpNet;

use super::Draft;
use crate::tables::Target;
use crate::tables::change::Refusal;
use crate::tables::spec::{Key, Name, Object};
use crate::tables::vip::{Vip, VipId};

impl Draft {
    /// The virtual address at `prefix`, to enter something into; a new one if there is none. Only
    /// what is no machine's and no route's may be one.
    pub(super) fn claim_vip(
        &mut self,
        vrf: &Name,
        prefix: IpNet,
        key: &Key,
        field: &str,
        refusals: &mut Vec<Refusal>,
    ) -> Option<&mut Vip> {
        let held = self.touch(vrf)?.routes.get(prefix);
        let id = match held {
            Some(Target::Vip(id)) => id,
            _ => {
                let id = VipId(self.tables.vips.insert(Vip::default()));
                let before = refusals.len();
                self.claim(vrf, prefix, Target::Vip(id), key, field, refusals);
                if refusals.len() > before {
                    self.tables.vips.remove(id.0);
                    return None;
                }
                id
            }
        };
        self.tables.vips.get_mut(id.0)
    }

    /// Takes something out of the virtual address at `prefix`, and that away when it is empty.
    pub(super) fn unclaim_vip(&mut self, vrf: &Name, prefix: IpNet, take: impl FnOnce(&mut Vip)) {
        let Some(Target::Vip(id)) = self.touch(vrf).and_then(|vrf| vrf.routes.get(prefix)) else {
            return;
        };
        let Some(vip) = self.tables.vips.get_mut(id.0) else {
            return;
        };
        take(vip);
        if vip.is_empty() {
            self.tables.vips.remove(id.0);
            if let Some(vrf) = self.touch(vrf) {
                vrf.routes.remove(prefix);
            }
        }
    }

    /// Whose virtual address it is, when `key` wants it too.
    pub(super) fn vip_holder(&self, vrf: &Name, prefix: IpNet, key: &Key) -> Option<Key> {
        let has = |object: &Object| match object {
            Object::Service(service) => {
                service.vrf == *vrf && IpNet::from(service.address) == prefix
            }
            Object::FloatingIp(floating) => floating.vrf == *vrf && floating.address == prefix,
            Object::SnatPool(pool) => {
                let is_outside = pool.outside_vrf == *vrf
                    && pool.addresses.iter().any(|net| net.contains(&prefix));
                let is_nat64 = pool.nat64_prefix.map(IpNet::V6) == Some(prefix);
                is_outside || is_nat64 && pool.vrf == *vrf
            }
            _ => false,
        };
        let mut objects = self.tables.objects.besides_routes();
        let found = objects.find(|(other, stored)| *other != key && has(&stored.object));
        found.map(|(other, _)| other.clone())
    }
}
