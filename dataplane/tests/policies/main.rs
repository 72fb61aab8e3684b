//! Policies: what they say, how that changes while flows live, and what goes around the flow table.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;

mod pipeline;
mod random;
mod reference;

use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Refusal};
use dataplane::tables::spec::*;

/// A rule about which nothing is said but what becomes of everything.
pub fn rule(id: u32, action: RuleAction) -> Rule {
    Rule {
        id,
        action,
        protocol: None,
        sources: vec![],
        source_sets: vec![],
        destinations: vec![],
        destination_sets: vec![],
        source_ports: vec![],
        destination_ports: vec![],
        icmp: vec![],
        log: false,
        mirror: None,
        dscp: None,
    }
}

pub fn policy(name: &str, rules: Vec<Rule>) -> Object {
    Object::Policy(Policy {
        name: name.into(),
        rules,
    })
}

pub fn set(name: &str, prefixes: &[&str]) -> Object {
    Object::AddressSet(AddressSet {
        name: name.into(),
        prefixes: prefixes.iter().map(|net| common::net(net)).collect(),
    })
}

/// The same vif or vrf with these policies.
pub fn guarded(object: Object, ingress: &[&str], egress: &[&str]) -> Object {
    let names = |names: &[&str]| names.iter().map(|name| Name::from(*name)).collect();
    let guards = Guards {
        ingress_policies: names(ingress),
        egress_policies: names(egress),
        ..Guards::default()
    };
    match object {
        Object::Vif(vif) => Object::Vif(Vif { guards, ..vif }),
        Object::Vrf(vrf) => Object::Vrf(Vrf { guards, ..vrf }),
        other => panic!("{} has no policies", other.key()),
    }
}

/// The next snapshot, as one without devices.
pub fn commit(tables: &Tables, changes: Vec<Change>) -> Result<Arc<Tables>, Vec<Refusal>> {
    let draft = tables.prepare(&common::request(changes))?;
    Ok(Arc::new(draft.finish(|_| None).0))
}
