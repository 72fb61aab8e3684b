//! Whom flows count for: the vifs and vrfs of the configuration as owners in
//! the flow table, with their quotas.
//!
//! A flow counts for its vrf and for the vif its first packet came from; if that
//! came out of a tunnel, for the vif it goes to. So a machine answers for the
//! flows it opens, and for those that others open to it from other nodes.
//!
//! The table knows owners by number only, and a snapshot gives the number of
//! what was deleted to what comes next. Therefore [`close`] removes the flows of
//! deleted objects: nobody inherits them, nor a quota.

use std::collections::HashSet;

use flowtable::{FlowTable, Owner, Timeouts, WalkCursor};

use crate::decide::{Decision, Way};
use crate::tables::commit::Changed;
use crate::tables::spec::{Key, Object};
use crate::tables::{MAX_VIFS, MAX_VRFS, Tables, UNDERLAY, VifId, VrfId};

/// Owner of flows between no vifs of this node.
const FABRIC: u32 = 0;

/// Places of the flow table looked at between two looks at what they showed.
const STEP: usize = 4096;

/// A flow table with an account for every vif and vrf there may be.
pub fn table_config(
    pairs: usize,
    seed: [u64; 4],
    timeouts: Timeouts,
    workers: usize,
) -> flowtable::Config {
    flowtable::Config {
        pairs,
        seed,
        timeouts,
        workers,
        vifs: MAX_VIFS as usize + 1,
        vrfs: MAX_VRFS as usize,
        ..flowtable::Config::default()
    }
}

/// A vif as the flow table knows it.
pub fn vif(id: VifId) -> Owner {
    Owner::Vif(number(id))
}

/// A vrf as the flow table knows it.
pub fn vrf(id: VrfId) -> Owner {
    Owner::Vrf(id.0)
}

/// The number of the vif that a flow counts for.
pub fn vif_number(decision: &Decision) -> u32 {
    let [first, second] = ways(decision).map(|way| way.ingress.as_vif());
    first.or(second).map_or(FABRIC, number)
}

/// The number of the vrf that a flow counts for.
pub fn vrf_number(decision: &Decision) -> u32 {
    let [first, _] = ways(decision);
    first.vrf.0
}

/// Both directions, that of the tenant first: the underlay has no quotas.
fn ways(decision: &Decision) -> [Way; 2] {
    match decision.forward.vrf {
        UNDERLAY => [decision.reverse, decision.forward],
        _ => [decision.forward, decision.reverse],
    }
}

/// A vif's index, beyond [`FABRIC`].
fn number(id: VifId) -> u32 {
    id.0 + 1
}

/// Sets the quotas of what a commit made or changed. Called before its packets
/// come.
pub fn set_quotas(flows: &FlowTable, tables: &Tables, changed: &Changed) {
    for key in changed.created.iter().chain(&changed.updated) {
        let quota = match tables.object(key).map(|stored| &stored.object) {
            Some(Object::Vif(vif)) => vif.flow_quota,
            Some(Object::Vrf(vrf)) => vrf.flow_quota,
            _ => continue,
        };
        if let Some(owner) = owner(tables, key) {
            flows.set_quota(owner, quota.map(Into::into));
        }
    }
}

/// Removes the flows and quotas of what a commit deleted; `before` is the
/// snapshot that still had it. Called when no worker uses that any more.
pub fn close(flows: &FlowTable, before: &Tables, changed: &Changed) {
    let gone = changed.deleted.iter().filter_map(|key| owner(before, key));
    let gone: Vec<Owner> = gone.collect();
    let mut had_flows = HashSet::new();
    for &owner in &gone {
        flows.set_quota(owner, None);
        if flows.usage(owner).used > 0 {
            had_flows.insert(owner);
        }
    }
    let mut cursor = WalkCursor::default();
    let mut found = Vec::new();
    while !had_flows.is_empty() && !cursor.is_done() {
        flows.walk(&mut cursor, STEP, |flow| {
            let owners = [Owner::Vif(flow.vif), Owner::Vrf(flow.vrf)];
            if owners.iter().any(|owner| had_flows.contains(owner)) {
                found.push((flow.id, flow.version));
            }
        });
        flows.worker(0).remove_all(&found);
        found.clear();
    }
    if !gone.is_empty() {
        before.learned().forget(|vrf, place| {
            let vif = place
                .as_vif()
                .is_some_and(|id| gone.contains(&self::vif(id)));
            vif || gone.contains(&self::vrf(vrf))
        });
    }
    // Whoever gets the number next has no past.
    gone.into_iter().for_each(|owner| flows.forget(owner));
}

fn owner(tables: &Tables, key: &Key) -> Option<Owner> {
    match key {
        Key::Vif(name) => tables.vif_named(name).map(|it| vif(it.id)),
        Key::Vrf(name) => tables.vrf_named(name).map(|it| vrf(it.id)),
        _ => None,
    }
}
