//! What bridging asks of the objects: who may be replicated to, where group
//! addresses may lead, and which vifs may do without a MAC.

use super::{Draft, Steps};
use crate::tables::change::Refusal;
use crate::tables::spec::{self, Key, Mac, NexthopAction, Object, Payload, Role};

impl Draft {
    /// Everything about bridging that depends on more than one object, with the
    /// objects as they would be. Those that the request does not name count, too:
    /// what they refer to may have changed under them.
    pub(super) fn check_bridging(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        for (key, old, new) in steps.iter() {
            match new {
                Some(Object::Nexthop(nexthop)) => {
                    self.check_members(nexthop, key, refusals);
                    if old.is_some() && self.tables.mentions.contains_key(key) {
                        self.check_users(key, steps, refusals);
                    }
                }
                Some(Object::Route(route)) => {
                    self.check_one_place(&route.nexthop, key, refusals);
                }
                Some(Object::Mac(mac)) => self.check_mac(mac, key, refusals),
                Some(Object::Vif(vif)) => {
                    self.check_learning_vif(vif, key, refusals);
                    if old.is_some() && self.tables.mentions.contains_key(key) {
                        self.check_users(key, steps, refusals);
                    }
                }
                Some(Object::Vrf(vrf)) => self.check_learning_vrf(vrf, old, key, steps, refusals),
                _ => {}
            }
        }
    }

    /// What mentions a nexthop or vif that changed, and is itself not in the request.
    fn check_users(&self, changed: &Key, steps: &Steps, refusals: &mut Vec<Refusal>) {
        for (user, stored) in self.tables.objects.iter() {
            let mut mentioned = stored.object.references().into_iter();
            if steps.contains(&user) || !mentioned.any(|(_, key)| key == *changed) {
                continue;
            }
            match &stored.object {
                Object::Nexthop(nexthop) => {
                    self.check_members(nexthop, &user, refusals);
                    // Of a vif: its role decides whether it may be a member.
                    if matches!(changed, Key::Vif(_)) {
                        self.check_users(&user, steps, refusals);
                    }
                }
                Object::Route(route) => self.check_one_place(&route.nexthop, &user, refusals),
                Object::Mac(mac) => self.check_mac(mac, &user, refusals),
                _ => {}
            }
        }
    }

    /// Members are places, each of them one: so there are no cycles, and no frame
    /// makes more copies than there are members.
    fn check_members(&self, nexthop: &spec::Nexthop, key: &Key, refusals: &mut Vec<Refusal>) {
        let NexthopAction::Replicate(members) = &nexthop.action else {
            return;
        };
        for member in members {
            let reason = match self.action(member) {
                None => continue, // refused already
                Some(action) if self.is_place(action) => continue,
                Some(NexthopAction::Replicate(_)) if *member == nexthop.name => {
                    format!("`{member}` is this nexthop itself")
                }
                Some(NexthopAction::Replicate(_)) => {
                    format!("`{member}` replicates, too; name its members instead")
                }
                Some(_) => format!(
                    "`{member}` is neither a tunnel that carries Ethernet nor the vif of a tenant"
                ),
            };
            let refusal = Refusal::field(key.clone(), "replicate.members", reason);
            refusals.push(refusal.with_conflict(Key::Nexthop(member.clone())));
        }
    }

    /// Routes and the entries of single machines lead to one place.
    fn check_one_place(&self, nexthop: &spec::Name, key: &Key, refusals: &mut Vec<Refusal>) {
        if let Some(NexthopAction::Replicate(_)) = self.action(nexthop) {
            let reason = format!("`{nexthop}` replicates, which only a group's MAC may lead to");
            let refusal = Refusal::field(key.clone(), "nexthop", reason);
            refusals.push(refusal.with_conflict(Key::Nexthop(nexthop.clone())));
        }
    }

    fn check_mac(&self, mac: &Mac, key: &Key, refusals: &mut Vec<Refusal>) {
        if !mac.mac.is_multicast() {
            return self.check_one_place(&mac.nexthop, key, refusals);
        }
        let mut refuse = |field: &str, reason: String| {
            refusals.push(Refusal::field(key.clone(), field, reason));
        };
        if &*mac.vrf == spec::UNDERLAY {
            refuse("vrf", "nothing is bridged in the underlay".into());
        }
        if mac.ip.is_some() {
            let reason = "a group has no address that is asked for; leave it out";
            refuse("ip", reason.into());
        }
        let leads_well = |action: &NexthopAction| match action {
            NexthopAction::Replicate(_) | NexthopAction::Discard => true,
            action => self.is_place(action),
        };
        if self.action(&mac.nexthop).is_some_and(|it| !leads_well(it)) {
            let reason = format!(
                "`{}` is not for groups; use a replicate, discard, a tenant's vif or a tunnel \
                 that carries Ethernet",
                mac.nexthop
            );
            refuse("nexthop", reason);
        }
    }

    /// Whether a frame can be sent there as it is.
    fn is_place(&self, action: &NexthopAction) -> bool {
        match action {
            NexthopAction::Tunnel(tunnel) => tunnel.payload == Payload::Ethernet,
            NexthopAction::Vif { vif, address } => {
                address.is_none() && self.vif_spec(vif).is_some_and(|it| it.role == Role::Tenant)
            }
            _ => false,
        }
    }

    fn check_learning_vif(&self, vif: &spec::Vif, key: &Key, refusals: &mut Vec<Refusal>) {
        let mut refuse = |field: &str, reason: &str| {
            refusals.push(Refusal::field(key.clone(), field, reason));
        };
        if vif.role != Role::Tenant {
            if vif.storm_limit.is_some() {
                refuse("storm_limit", "only tenant vifs have one");
            }
            if vif.max_learned_macs.is_some() {
                refuse("max_learned_macs", "only tenant vifs have one");
            }
        } else if vif.mac.is_none() && !self.learns(&vif.vrf) {
            refuse(
                "mac",
                "a tenant vif needs the MAC of the machine behind it, or a vrf with `learning`",
            );
        } else if vif.mac.is_some() && vif.max_learned_macs.is_some() {
            refuse(
                "max_learned_macs",
                "nothing is learned behind a vif with a `mac`; leave one of them out",
            );
        }
    }

    fn check_learning_vrf(
        &self,
        vrf: &spec::Vrf,
        old: Option<&Object>,
        key: &Key,
        steps: &Steps,
        refusals: &mut Vec<Refusal>,
    ) {
        if &*vrf.name == spec::UNDERLAY && (vrf.learning || vrf.router_advertisement.is_some()) {
            let field = match vrf.learning {
                true => "learning",
                false => "router_advertisement",
            };
            let reason = "the underlay has no machines of tenants";
            refusals.push(Refusal::field(key.clone(), field, reason));
        }
        let learned = matches!(old, Some(Object::Vrf(old)) if old.learning);
        if !learned || vrf.learning {
            return;
        }
        for (user, stored) in self.tables.objects.iter() {
            if let Object::Vif(vif) = &stored.object
                && vif.vrf == vrf.name
                && vif.mac.is_none()
                && !steps.contains(&user)
            {
                let reason = format!("{user} has no `mac` and needs it");
                let refusal = Refusal::field(key.clone(), "learning", reason);
                refusals.push(refusal.with_conflict(user.clone()));
            }
        }
    }

    pub(super) fn learns(&self, vrf: &spec::Name) -> bool {
        let stored = self.tables.objects.get(&Key::Vrf(vrf.clone()));
        matches!(stored.map(|it| &it.object), Some(Object::Vrf(vrf)) if vrf.learning)
    }

    pub(super) fn action(&self, nexthop: &spec::Name) -> Option<&NexthopAction> {
        let stored = self.tables.nexthop_objects.get(nexthop)?;
        match &stored.object {
            Object::Nexthop(nexthop) => Some(&nexthop.action),
            _ => None,
        }
    }

    pub(super) fn vif_spec(&self, vif: &spec::Name) -> Option<&spec::Vif> {
        let stored = self.tables.objects.get(&Key::Vif(vif.clone()))?;
        match &stored.object {
            Object::Vif(vif) => Some(vif),
            _ => None,
        }
    }
}
