//! Meters and mirrors, and who names them.

use super::{Draft, Steps};
use crate::tables::change::Refusal;
use crate::tables::meter::{Guarding, Meter, MeterId, Mirror, MirrorId};
use crate::tables::spec::{self, Guards, Key, Name, NexthopAction, Object, Payload, Role};

impl Draft {
    pub(super) fn install_meter(&mut self, spec: &spec::Meter) {
        let tables = &mut self.tables;
        match tables.names.meters.get(&spec.name) {
            Some(id) => tables.meters.set(id.0, Meter::new(spec)),
            None => {
                let id = MeterId(tables.meters.insert(Meter::new(spec)));
                tables.names.meters.insert(spec.name.clone(), id);
            }
        }
    }

    pub(super) fn withdraw_meter(&mut self, name: &Name) {
        if let Some(id) = self.tables.names.meters.remove(name) {
            self.tables.meters.remove(id.0);
        }
    }

    pub(super) fn install_mirror(&mut self, spec: &spec::Mirror, refusals: &mut Vec<Refusal>) {
        let Some(nexthop) = self.tables.names.nexthops.get(&spec.nexthop).copied() else {
            return; // its nexthop was refused, which says it all
        };
        if let Some(reason) = self.no_mirroring(&spec.nexthop) {
            let refusal = Refusal::field(Key::Mirror(spec.name.clone()), "nexthop", reason);
            refusals.push(refusal.with_conflict(Key::Nexthop(spec.nexthop.clone())));
        }
        let tables = &mut self.tables;
        let mirror = Mirror {
            name: spec.name.clone(),
            nexthop,
        };
        match tables.names.mirrors.get(&spec.name) {
            Some(id) => tables.mirrors.set(id.0, mirror),
            None => {
                let id = MirrorId(tables.mirrors.insert(mirror));
                tables.names.mirrors.insert(spec.name.clone(), id);
            }
        }
    }

    pub(super) fn withdraw_mirror(&mut self, name: &Name) {
        if let Some(id) = self.tables.names.mirrors.remove(name) {
            self.tables.mirrors.remove(id.0);
        }
    }

    /// Why copies of frames cannot go by this nexthop.
    fn no_mirroring(&self, name: &Name) -> Option<String> {
        let takes_frames = match self.action(name)? {
            NexthopAction::Tunnel(tunnel) => tunnel.payload == Payload::Ethernet,
            NexthopAction::Vif { vif, .. } => {
                let vif = self.tables.vif_named(vif);
                vif.is_some_and(|vif| vif.role == Role::Tenant)
            }
            _ => false,
        };
        (!takes_frames).then(|| {
            format!(
                "`{name}` takes no frames; name a tunnel that carries ethernet, or a tenant vif"
            )
        })
    }

    /// Enters the meters and mirrors that vifs and networks name; after all objects are in.
    pub(super) fn resolve_guards(&mut self, steps: &Steps) {
        for (_, _, new) in steps.iter() {
            match new {
                Some(Object::Vif(spec)) => self.guard_vif(spec),
                Some(Object::Vrf(spec)) => self.guard_vrf(spec),
                _ => {}
            }
        }
    }

    fn guard_vif(&mut self, spec: &spec::Vif) {
        let guarding = self.guarding(&spec.guards);
        let vrf = self.tables.vrf_named(&spec.vrf).map(|vrf| vrf.guarding);
        let id = self.tables.names.vifs.get(&spec.name).copied();
        if let Some(vif) = id.and_then(|id| self.tables.vifs.get_mut(id.0)) {
            vif.guarding = guarding;
            vif.is_guarded = is_guarded(guarding, vrf);
        }
    }

    fn guard_vrf(&mut self, spec: &spec::Vrf) {
        let guarding = self.guarding(&spec.guards);
        let Some(id) = self.tables.names.vrfs.get(&spec.name).copied() else {
            return;
        };
        match self.tables.vrfs.get_mut(id.0) {
            Some(vrf) if vrf.guarding != guarding => vrf.guarding = guarding,
            _ => return,
        }
        let its = self.tables.vifs().filter(|vif| vif.vrf == id);
        let its: Vec<_> = its.map(|vif| (vif.id, vif.guarding)).collect();
        for (id, own) in its {
            if let Some(vif) = self.tables.vifs.get_mut(id.0) {
                vif.is_guarded = is_guarded(own, Some(guarding));
            }
        }
    }

    fn guarding(&self, guards: &Guards) -> Guarding {
        let names = &self.tables.names;
        let meter = |name: &Option<Name>| names.meters.get(name.as_ref()?).copied();
        let mirror = |name: &Option<Name>| names.mirrors.get(name.as_ref()?).copied();
        Guarding {
            ingress_meter: meter(&guards.ingress_meter),
            egress_meter: meter(&guards.egress_meter),
            mirror: mirror(&guards.mirror),
        }
    }
}

fn is_guarded(own: Guarding, vrf: Option<Guarding>) -> bool {
    own != Guarding::default() || vrf.is_some_and(|vrf| vrf != Guarding::default())
}
