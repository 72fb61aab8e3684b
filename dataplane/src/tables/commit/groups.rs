//! Groups of neighbours, and where tunnels start that several uplinks carry.

use std::collections::BTreeSet;

use super::{Draft, Steps};
use crate::tables::change::Refusal;
use crate::tables::path::MAX_PATHS;
use crate::tables::spec::{self, Key, NexthopAction, Object};

impl Draft {
    /// A group's members must be neighbours in the underlay, and only the
    /// underlay's routes may lead to a group.
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
        for (key, stored) in &self.tables.objects {
            let mut mentioned = stored.object.references().into_iter();
            if !steps.by_key.contains_key(key) && mentioned.any(|(_, it)| changed.contains(&it)) {
                self.check_mentions(key, &stored.object, refusals);
            }
        }
    }

    /// What an object mentions must be a group where that may be, and otherwise not.
    fn check_mentions(&self, key: &Key, object: &Object, refusals: &mut Vec<Refusal>) {
        for (field, mentioned) in object.references() {
            let Key::Nexthop(name) = mentioned else {
                continue;
            };
            let Some(action) = self.action(&name) else {
                continue; // refused for that
            };
            let is_group = matches!(action, NexthopAction::Group(_));
            let reason = match object {
                Object::Nexthop(nexthop) if matches!(nexthop.action, NexthopAction::Group(_)) => {
                    if !is_group && action.leads_into_underlay() {
                        continue;
                    }
                    format!("`{name}` is no neighbour on a fabric vif's link")
                }
                Object::Route(spec::Route { vrf, .. }) | Object::Mac(spec::Mac { vrf, .. })
                    if &**vrf == spec::UNDERLAY =>
                {
                    continue;
                }
                _ if is_group => {
                    format!("`{name}` is a group; groups in tenant networks are not there yet")
                }
                _ => continue,
            };
            refusals.push(Refusal::field(key.clone(), field, reason));
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
            let all = self.tables.objects.iter();
            all.for_each(|(key, stored)| check(key, &stored.object));
        } else {
            let new = steps.iter().filter_map(|(key, _, new)| Some((key, new?)));
            new.for_each(|(key, object)| check(key, object));
        }
    }
}

/// What a group says of itself.
pub(super) fn check_group(group: &spec::Group, key: &Key, refusals: &mut Vec<Refusal>) {
    let mut refuse = |reason: String| {
        refusals.push(Refusal::field(key.clone(), "group.members", reason));
    };
    let mut named = BTreeSet::new();
    for member in &group.members {
        if !named.insert(&member.nexthop) {
            refuse(format!("`{}` is named twice", member.nexthop));
        }
    }
    if named.is_empty() {
        refuse("a group needs at least one member".into());
    }
    if named.len() > MAX_PATHS {
        refuse(format!("a group has at most {MAX_PATHS} members"));
    }
}
