//! Address sets, policies, and whose they are.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use encap::protocol;

use super::{Draft, Steps};
use crate::tables::change::{Refusal, RefusalCode};
use crate::tables::policy::{self, Direction, PolicyId, PolicyLists};
use crate::tables::spec::{self, Key, Object, Rule};

/// Values of the DSCP.
const MAX_DSCP: u8 = 63;

impl Draft {
    /// Brings sets and policies in and takes them out, and tells vifs and vrfs which are theirs;
    /// after everything else is there. What a policy lets through is decided again in the networks
    /// of the vifs that have it, and nowhere else.
    pub(super) fn install_policies(&mut self, steps: &Steps, refusals: &mut Vec<Refusal>) {
        let mut changed_sets = Vec::new();
        let mut changed = BTreeSet::new();
        let policies = &mut self.tables.policies;
        for (_, old, new) in steps.iter() {
            if let Some(Object::AddressSet(new)) = new {
                let old = match old {
                    Some(Object::AddressSet(old)) => &old.prefixes[..],
                    _ => &[],
                };
                policies.change_set(&new.name, old, &new.prefixes);
                changed_sets.push(new.name.clone());
            }
        }
        for (key, old, new) in steps.iter() {
            match (old, new) {
                (old, Some(Object::Policy(new))) => {
                    let refused = check_policy(new, key);
                    if !refused.is_empty() {
                        refusals.extend(refused);
                        continue;
                    }
                    let old = match old {
                        Some(Object::Policy(old)) => &old.rules[..],
                        _ => &[],
                    };
                    policies.change(&new.name, old, &new.rules);
                    changed.extend(policies.named(std::slice::from_ref(&new.name)).iter());
                }
                (Some(Object::Policy(old)), None) => policies.remove(&old.name),
                _ => {}
            }
        }
        if policies.rule_count() > policy::MAX_RULES {
            let limit = policy::MAX_RULES;
            let mut newest = steps.iter().map(|(key, ..)| key);
            let key = newest.rfind(|key| matches!(key, Key::Policy(_)));
            let reason = format!("a node has at most {limit} rules");
            let refusal = key.map(|key| Refusal::field(key.clone(), "rules", reason));
            refusals.extend(refusal.map(|refusal| refusal.with_code(RefusalCode::Limit)));
        }
        changed.extend(policies.that_ask(&changed_sets));
        for (_, old, new) in steps.iter() {
            if let (Some(Object::AddressSet(old)), None) = (old, new) {
                policies.remove_set(&old.name, &old.prefixes);
            }
        }
        self.install_lists(steps);
        self.touch_users(&changed);
    }

    /// Tells vifs and vrfs which policies are theirs.
    fn install_lists(&mut self, steps: &Steps) {
        for (key, _, new) in steps.iter() {
            let guards = match new {
                Some(Object::Vrf(vrf)) => &vrf.guards,
                Some(Object::Vif(vif)) => &vif.guards,
                _ => continue,
            };
            let policies = &self.tables.policies;
            let lists = PolicyLists {
                ingress: policies.named(&guards.ingress_policies),
                egress: policies.named(&guards.egress_policies),
            };
            let (vrfs, vifs) = (&mut self.tables.vrfs, &mut self.tables.vifs);
            let names = &self.tables.names;
            match key {
                Key::Vrf(name) => {
                    let vrf = names.vrfs.get(name).and_then(|id| vrfs.get_mut(id.0));
                    if let Some(vrf) = vrf {
                        vrf.policies = lists;
                    }
                }
                Key::Vif(name) => {
                    let vif = names.vifs.get(name).and_then(|id| vifs.get_mut(id.0));
                    if let Some(vif) = vif {
                        vif.policies = lists;
                    }
                }
                _ => {}
            }
        }
    }

    /// What was decided by these policies is decided again.
    fn touch_users(&mut self, changed: &BTreeSet<PolicyId>) {
        if changed.is_empty() {
            return;
        }
        for vif in self.tables.vifs() {
            let uses = [Direction::Ingress, Direction::Egress].iter().any(|way| {
                let lists = self.tables.policies_of(vif, *way).unwrap_or_default();
                lists.iter().any(|id| changed.contains(id))
            });
            if uses {
                self.touched.insert(vif.vrf);
            }
        }
    }
}

/// What is wrong with a policy.
fn check_policy(policy: &spec::Policy, key: &Key) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if policy.rules.len() > policy::MAX_RULES_PER_POLICY {
        let limit = policy::MAX_RULES_PER_POLICY;
        let reason = format!("a policy has at most {limit} rules");
        let refusal = Refusal::field(key.clone(), "rules", reason);
        refusals.push(refusal.with_code(RefusalCode::Limit));
    }
    let mut refuse = |field: &str, reason: String| {
        refusals.push(Refusal::field(key.clone(), field, reason));
    };
    let mut ids = BTreeSet::new();
    for rule in &policy.rules {
        if !ids.insert(rule.id) {
            let reason = format!("rule {} is there twice; give each its own id", rule.id);
            refuse("rules.id", reason);
        }
        if let Some((field, reason)) = contradiction(rule) {
            refuse(field, format!("rule {}: {reason}", rule.id));
        }
    }
    refusals
}

/// Why a rule could not match anything, or cannot be done.
fn contradiction(rule: &Rule) -> Option<(&'static str, String)> {
    let ports = [
        ("rules.source_ports", &rule.source_ports),
        ("rules.destination_ports", &rule.destination_ports),
    ];
    for (field, ranges) in ports {
        if let Some(range) = ranges.iter().find(|range| range.is_empty()) {
            return Some((field, format!("`{}` is no range", text(range))));
        }
        let may_have = [protocol::TCP, protocol::UDP, protocol::SCTP];
        if let Some(number) = rule.protocol
            && !ranges.is_empty()
            && !may_have.contains(&number)
        {
            let reason = "only tcp, udp and sctp have ports";
            return Some((field, reason.into()));
        }
    }
    let has_ports = ports.iter().any(|(_, ranges)| !ranges.is_empty());
    let is_icmp = |number| [protocol::ICMP, protocol::ICMPV6].contains(&number);
    if !rule.icmp.is_empty() && (has_ports || !rule.protocol.is_none_or(is_icmp)) {
        let reason = "only icmp and icmpv6 have types";
        return Some(("rules.icmp_types", reason.into()));
    }
    if let Some(dscp) = rule.dscp.filter(|dscp| *dscp > MAX_DSCP) {
        let reason = format!("`{dscp}` is beyond {MAX_DSCP}");
        return Some(("rules.dscp", reason));
    }
    None
}

fn text(range: &RangeInclusive<u16>) -> String {
    format!("{}-{}", range.start(), range.end())
}
