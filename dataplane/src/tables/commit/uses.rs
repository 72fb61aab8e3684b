//! Which nexthops may stand where: in a bridge entry none that wraps bare IP
//! packets, behind a label or VNI only one that delivers to a tenant vif.

use super::{Draft, Steps};
use crate::tables::change::Refusal;
use crate::tables::spec::{self, Arrival, Key, Name, NexthopAction, Object, Payload, Role};

impl Draft {
    /// Checks every object that a request names, and if it changes a nexthop or vif
    /// those that use it, too.
    pub(super) fn check_uses(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        for (key, _, new) in steps.iter() {
            if let Some(object) = new {
                self.check_use(key, object, refusals);
            }
        }
        let could_matter = |key: &Key| matches!(key, Key::Nexthop(_) | Key::Vif(_));
        let changes_a_way = steps
            .iter()
            .any(|(key, old, new)| could_matter(key) && old.is_some() && new.is_some());
        if !changes_a_way {
            return;
        }
        for (key, stored) in self.tables.objects.iter() {
            if !steps.contains(&key) {
                self.check_use(&key, &stored.object, refusals);
            }
        }
    }

    fn check_use(&self, key: &Key, object: &Object, refusals: &mut Vec<Refusal>) {
        let (nexthop, reason) = match object {
            // Groups have rules of their own.
            Object::Mac(mac) if mac.mac.is_multicast() => return,
            Object::Mac(spec::Mac { nexthop, .. }) => (nexthop, self.no_bridging(nexthop)),
            Object::Vni(spec::VniEntry { to, .. }) | Object::Label(spec::LabelEntry { to, .. }) => {
                match to {
                    Arrival::Nexthop(nexthop) => (nexthop, self.no_arrival(nexthop)),
                    Arrival::Vrf(_) => return,
                }
            }
            _ => return,
        };
        if let Some(reason) = reason {
            let refusal = Refusal::field(key.clone(), "nexthop", reason);
            refusals.push(refusal.with_conflict(Key::Nexthop(nexthop.clone())));
        }
    }

    /// Why frames cannot be bridged to this nexthop.
    fn no_bridging(&self, name: &Name) -> Option<String> {
        match self.action(name)? {
            NexthopAction::Tunnel(tunnel) if tunnel.payload == Payload::Ip => Some(format!(
                "`{name}` carries IP packets, not frames; give the tunnel `payload: ethernet`, or use a route"
            )),
            _ => None,
        }
    }

    /// Why packets from the fabric cannot go straight to this nexthop.
    fn no_arrival(&self, name: &Name) -> Option<String> {
        let is_tenant = match self.action(name)? {
            NexthopAction::Vif { vif, .. } => {
                let vif = self.tables.vif_named(vif);
                vif.is_some_and(|vif| vif.role == Role::Tenant)
            }
            _ => false,
        };
        (!is_tenant).then(|| format!("`{name}` does not deliver to a tenant vif"))
    }
}
