//! Groups, in the underlay of neighbours, elsewhere of tunnels and tenants' vifs; and where tunnels
//! start that several uplinks carry.

use std::collections::BTreeSet;

use super::{Draft, Steps};
use crate::tables::change::Refusal;
use crate::tables::path::MAX_PATHS;
use crate::tables::spec::{self, Key, MAX_MEMBERS, NexthopAction, Object, Role};

impl Draft {
    /// A group's members must be of one kind, and only routes may lead to it: those of the
    /// underlay to neighbours, those of tenants' networks to anything else.
    pub(super) fn check_groups(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let mut changed = BTreeSet::new();
        for (key, old, new) in steps.iter() {
            if let Some(new) = new {
                self.check_mentions(key, new, refusals);
            }
            if let (Key::Nexthop(_), Some(_), Some(_)) = (key, old, new) {
                changed.insert(key);
            }
        }
        let is_named = |key: &&Key| self.tables.mentions.contains_key(*key);
        if !changed.iter().any(is_named) {
            return;
        }
        // Who names a nexthop that is something else now.
        for (key, stored) in self.tables.objects.iter() {
            let mut mentioned = stored.object.references().into_iter();
            if !steps.contains(&key) && mentioned.any(|(_, it)| changed.contains(&it)) {
                self.check_mentions(&key, &stored.object, refusals);
            }
        }
    }

    /// What an object mentions must be a group where that may be, and otherwise not.
    fn check_mentions(&self, key: &Key, object: &Object, refusals: &mut Vec<Refusal>) {
        if let Object::Nexthop(nexthop) = object
            && let NexthopAction::Group(group) = &nexthop.action
        {
            return self.check_kinds(group, key, refusals);
        }
        for (field, mentioned) in object.references() {
            let Key::Nexthop(name) = mentioned else {
                continue;
            };
            let Some(NexthopAction::Group(group)) = self.action(&name) else {
                continue;
            };
            let of_neighbours = self.is_of_neighbours(group);
            let reason = match object {
                Object::Route(route) => match (&*route.vrf == spec::UNDERLAY, of_neighbours) {
                    (true, true) | (false, false) => continue,
                    (true, false) => format!(
                        "`{name}` is a group of tunnels and vifs; the underlay's routes lead to neighbours"
                    ),
                    (false, true) => format!(
                        "`{name}` is a group of neighbours in the underlay; tenants' routes lead to tunnels and vifs"
                    ),
                },
                _ => format!("`{name}` is a group, which only routes may lead to"),
            };
            let refusal = Refusal::field(key.clone(), field, reason);
            refusals.push(refusal.with_conflict(Key::Nexthop(name)));
        }
    }

    /// A group's members must be of one kind.
    fn check_kinds(&self, group: &spec::Group, key: &Key, refusals: &mut Vec<Refusal>) {
        let of_neighbours = self.is_of_neighbours(group);
        for member in &group.members {
            let name = &member.nexthop;
            let Some(action) = self.action(name) else {
                continue; // refused for that
            };
            let reason = match of_neighbours {
                true if is_neighbour(action) => continue,
                true => format!("`{name}` is no neighbour on a fabric vif's link"),
                false if self.leads_to_tenants(action) => continue,
                false => format!("`{name}` is neither a tunnel nor the vif of a tenant"),
            };
            refusals.push(Refusal::field(key.clone(), "group.members", reason));
        }
    }

    /// Whether it is a group for the underlay.
    fn is_of_neighbours(&self, group: &spec::Group) -> bool {
        let mut actions = group.members.iter();
        actions.any(|member| self.action(&member.nexthop).is_some_and(is_neighbour))
    }

    fn leads_to_tenants(&self, action: &NexthopAction) -> bool {
        match action {
            NexthopAction::Tunnel(_) => true,
            NexthopAction::Vif { vif, .. } => {
                let vif = self.vif_spec(vif);
                vif.is_some_and(|vif| vif.role == Role::Tenant)
            }
            _ => false,
        }
    }

    /// What a group says of itself.
    pub(super) fn check_group(&self, group: &spec::Group, key: &Key, refusals: &mut Vec<Refusal>) {
        let mut refuse = |reason: String| {
            refusals.push(Refusal::field(key.clone(), "group.members", reason));
        };
        let mut named = BTreeSet::new();
        for member in &group.members {
            if !named.insert(&member.nexthop) {
                refuse(format!("`{}` is named twice", member.nexthop));
            }
        }
        let most = match self.is_of_neighbours(group) {
            true => MAX_PATHS,
            false => MAX_MEMBERS,
        };
        if named.is_empty() {
            refuse("a group needs at least one member".into());
        }
        if named.len() > most {
            refuse(format!("a group has at most {most} members"));
        }
    }

    /// A tunnel's packets must come from one address whichever uplink they
    /// leave by: the other end knows this node by it (RFC 7348 §4 and the
    /// reverse-path check both go by the outer source).
    pub(super) fn check_local_addresses(&self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let fabrics = self.tables.fabrics();
        if fabrics.len() < 2 {
            return;
        }
        let mut check = |key: &Key, object: &Object| {
            if let Object::Nexthop(nexthop) = object
                && let NexthopAction::Tunnel(tunnel) = &nexthop.action
                && tunnel.local.is_none()
            {
                let ways = self.tables.ways(tunnel.remote, &fabrics);
                let common = self.tables.common_address(&ways, tunnel.remote);
                if ways.len() > 1 && common.is_none() {
                    let uplinks = ways.iter().filter_map(|way| self.tables.vif(way.egress));
                    let names: BTreeSet<&str> = uplinks.map(|vif| &*vif.name).collect();
                    let reason = format!(
                        "`{}` is reached over {}, which have no address in common; \
                         give them one, or name the one that the other end knows this node by",
                        tunnel.remote,
                        names.into_iter().collect::<Vec<_>>().join(" and "),
                    );
                    refusals.push(Refusal::field(key.clone(), "tunnel.local", reason));
                }
            }
        };
        if self.underlay_changed {
            let all = self.tables.objects.besides_routes();
            all.for_each(|(key, stored)| check(key, &stored.object));
        } else {
            let new = steps.iter().filter_map(|(key, _, new)| Some((key, new?)));
            new.for_each(|(key, object)| check(key, object));
        }
    }
}

fn is_neighbour(action: &NexthopAction) -> bool {
    matches!(
        action,
        NexthopAction::Vif {
            address: Some(_),
            ..
        }
    )
}
