//! Which networks lead into which others: a decision made in one looks at those it leads into, so it
//! must be made again when they change; and replies come back through them.

use std::collections::BTreeSet;

use super::{Draft, Steps};
use crate::tables::spec::{FloatingTarget, Name, NexthopAction, Object};
use crate::tables::{Tables, VrfId};

impl Draft {
    /// Takes out what the old objects of a request led into; before they are withdrawn.
    pub(super) fn unlead(&mut self, steps: &Steps) {
        if is_far_reaching(steps) {
            return;
        }
        for (_, old, _) in steps.iter() {
            for pair in old.map(|old| self.led(old)).unwrap_or_default() {
                match self.tables.leads.get_mut(&pair) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => _ = self.tables.leads.remove(&pair),
                }
            }
        }
    }

    /// Enters what the new objects of a request lead into; after they are installed.
    pub(super) fn lead(&mut self, steps: &Steps) {
        let pairs: Vec<(VrfId, VrfId)> = if is_far_reaching(steps) {
            self.tables.leads = imbl::HashMap::new();
            let objects = self.tables.objects.values();
            objects
                .flat_map(|stored| self.led(&stored.object))
                .collect()
        } else {
            let new = steps.iter().filter_map(|(_, _, new)| new);
            new.flat_map(|new| self.led(new)).collect()
        };
        for pair in pairs {
            *self.tables.leads.entry(pair).or_insert(0) += 1;
        }
    }

    /// From where to where an object leads.
    fn led(&self, object: &Object) -> Vec<(VrfId, VrfId)> {
        let mut pairs = Vec::new();
        let mut lead = |from: &Name, to: &Name| {
            let id = |name| self.tables.names.vrfs.get(name).copied();
            if let (Some(from), Some(to)) = (id(from), id(to))
                && from != to
            {
                pairs.push((from, to));
            }
        };
        match object {
            Object::Route(route) => {
                if let Some(NexthopAction::Vrf(to)) = self.action(&route.nexthop) {
                    lead(&route.vrf, to);
                }
            }
            Object::FloatingIp(floating) => match &floating.target {
                FloatingTarget::Prefix { vrf, .. } => lead(&floating.vrf, vrf),
                FloatingTarget::Vifs { vifs, .. } => {
                    for vif in vifs.iter().filter_map(|name| self.vif_spec(name)) {
                        lead(&floating.vrf, &vif.vrf);
                    }
                }
            },
            Object::SnatPool(pool) => lead(&pool.outside_vrf, &pool.vrf),
            Object::Service(service) => {
                if let Some(to) = &service.backend_vrf {
                    lead(&service.vrf, to);
                }
            }
            _ => {}
        }
        pairs
    }

    /// With each network that changed: those that lead into it, and those it leads into, over
    /// others or not.
    pub(super) fn touch_connected(&mut self) {
        if self.tables.leads.is_empty() || self.touched.is_empty() {
            return;
        }
        let forward = reached(&self.tables, &self.touched, |(from, to)| (from, to));
        let backward = reached(&self.tables, &self.touched, |(from, to)| (to, from));
        self.touched.extend(forward);
        self.touched.extend(backward);
    }
}

/// Whether a request changes what objects that it does not name lead into.
fn is_far_reaching(steps: &Steps) -> bool {
    steps.iter().any(|(_, old, new)| match (old, new) {
        (Some(Object::Nexthop(old)), Some(Object::Nexthop(new))) => {
            let leads = |action: &NexthopAction| matches!(action, NexthopAction::Vrf(_));
            leads(&old.action) || leads(&new.action)
        }
        (Some(Object::Vif(old)), Some(Object::Vif(new))) => old.vrf != new.vrf,
        _ => false,
    })
}

/// What can be reached from any of `start` over edges, in the direction that `turn` says.
fn reached(
    tables: &Tables,
    start: &BTreeSet<VrfId>,
    turn: impl Fn((VrfId, VrfId)) -> (VrfId, VrfId),
) -> BTreeSet<VrfId> {
    let edges: BTreeSet<(VrfId, VrfId)> = tables.leads.keys().copied().map(turn).collect();
    let mut found = BTreeSet::new();
    let mut open: Vec<VrfId> = start.iter().copied().collect();
    while let Some(at) = open.pop() {
        for (_, to) in edges.range((at, VrfId(0))..=(at, VrfId(u32::MAX))) {
            if found.insert(*to) {
                open.push(*to);
            }
        }
    }
    found
}
