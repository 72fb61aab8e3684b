//! Address sets, policies with their rules, and what vifs and vrfs name of them.

use std::collections::HashMap;

use dataplane::tables::spec::{AddressSet, Guards, Name, Policy, Rule, RuleAction};

use super::problems::Problems;
use super::{l4, text};
use crate::proto;

/// Prefixes under one name.
pub(super) fn address_set(w: &proto::AddressSet, p: &mut Problems) -> Option<AddressSet> {
    let name = p.text("name", &w.name, text::name);
    let prefixes = p.texts("prefixes", &w.prefixes, text::prefix);
    Some(AddressSet {
        name: name?,
        prefixes: prefixes?,
    })
}

/// Rules under one name.
pub(super) fn policy(w: &proto::Policy, p: &mut Problems) -> Option<Policy> {
    let name = p.text("name", &w.name, text::name);
    let mut places = HashMap::new();
    let rules = w.rules.iter().enumerate().map(|(index, w)| {
        p.within("rules", index, |p| {
            let earlier = w.id.map(|id| *places.entry(id).or_insert(index));
            if let (Some(id), Some(earlier)) = (w.id, earlier.filter(|at| *at != index)) {
                let reason = format!("{id} is the id of rules[{earlier}], too; give each its own");
                p.invalid::<()>("id", reason);
            }
            rule(w, p)
        })
    });
    let rules: Vec<Option<Rule>> = rules.collect();
    let rules: Option<Vec<Rule>> = rules.into_iter().collect();
    Some(Policy {
        name: name?,
        rules: rules?,
    })
}

fn rule(w: &proto::Rule, p: &mut Problems) -> Option<Rule> {
    use proto::RuleAction as Written;
    let id = match w.id {
        Some(id) => Some(id),
        None => p.missing("id", "a number that no other rule of the policy has"),
    };
    let action = match Written::try_from(w.action) {
        Ok(Written::Allow) => Some(RuleAction::Allow),
        Ok(Written::Deny) => Some(RuleAction::Deny),
        Ok(Written::Reject) => Some(RuleAction::Reject),
        Ok(Written::Unspecified) => p.missing("action", "one of allow, deny, reject"),
        Err(_) => p.invalid("action", format!("{} is no action", w.action)),
    };
    let protocol = match &*w.protocol {
        "" => Some(None),
        written => p.text("protocol", written, l4::any_protocol),
    };
    let sources = p.texts("sources", &w.sources, text::prefix);
    let source_sets = p.texts("source_sets", &w.source_sets, text::name);
    let destinations = p.texts("destinations", &w.destinations, text::prefix);
    let destination_sets = p.texts("destination_sets", &w.destination_sets, text::name);
    let source_ports = p.texts("source_ports", &w.source_ports, l4::ports);
    let destination_ports = p.texts("destination_ports", &w.destination_ports, l4::ports);
    let icmp = p.texts("icmp_types", &w.icmp_types, l4::icmp);
    if let Some(protocol) = protocol {
        let is = |of: fn(u8) -> bool| protocol.is_some_and(of);
        let lists = [
            ("source_ports", &w.source_ports, is(l4::has_ports), PORTS),
            (
                "destination_ports",
                &w.destination_ports,
                is(l4::has_ports),
                PORTS,
            ),
            ("icmp_types", &w.icmp_types, is(l4::is_icmp), TYPES),
        ];
        for (field, written, goes, reason) in lists {
            if !written.is_empty() && !goes {
                p.invalid::<()>(field, reason.into());
            }
        }
    }
    let mirror = p.name("mirror", w.mirror.as_ref());
    let dscp = p.optional("dscp", w.dscp, |p, field, dscp| {
        p.number(field, dscp, 0..=63, "a DSCP")
    });
    if w.dscp.is_some() && matches!(action, Some(RuleAction::Deny | RuleAction::Reject)) {
        let reason = "only goes with action allow; leave it out";
        p.invalid::<()>("dscp", reason.into());
    }
    Some(Rule {
        id: id?,
        action: action?,
        protocol: protocol?,
        sources: sources?,
        source_sets: source_sets?,
        destinations: destinations?,
        destination_sets: destination_sets?,
        source_ports: source_ports?,
        destination_ports: destination_ports?,
        icmp: icmp?,
        log: w.log,
        mirror: mirror?,
        dscp: dscp?,
    })
}

const PORTS: &str = "only goes with protocol tcp, udp or sctp";
const TYPES: &str = "only goes with protocol icmp or icmpv6";

/// The five fields of a vrf or vif that name what is held against flows.
pub(super) struct WrittenGuards<'a> {
    pub(super) ingress_policies: &'a [String],
    pub(super) egress_policies: &'a [String],
    pub(super) ingress_meter: Option<&'a String>,
    pub(super) egress_meter: Option<&'a String>,
    pub(super) mirror: Option<&'a String>,
}

/// What a vrf or vif names.
pub(super) fn guards(w: &WrittenGuards<'_>, p: &mut Problems) -> Option<Guards> {
    let ingress_policies = p.names("ingress_policies", w.ingress_policies);
    let egress_policies = p.names("egress_policies", w.egress_policies);
    let ingress_meter = p.name("ingress_meter", w.ingress_meter);
    let egress_meter = p.name("egress_meter", w.egress_meter);
    let mirror = p.name("mirror", w.mirror);
    Some(Guards {
        ingress_policies: ingress_policies?,
        egress_policies: egress_policies?,
        ingress_meter: ingress_meter?,
        egress_meter: egress_meter?,
        mirror: mirror?,
    })
}

/// Names as the protocol has them.
pub(super) fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// A name as the protocol has it.
pub(super) fn name(name: &Option<Name>) -> Option<String> {
    name.as_ref().map(ToString::to_string)
}

impl From<&AddressSet> for proto::AddressSet {
    fn from(set: &AddressSet) -> Self {
        proto::AddressSet {
            name: set.name.to_string(),
            prefixes: text::prefix_texts(&set.prefixes),
        }
    }
}

impl From<&Policy> for proto::Policy {
    fn from(policy: &Policy) -> Self {
        proto::Policy {
            name: policy.name.to_string(),
            rules: policy.rules.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Rule> for proto::Rule {
    fn from(rule: &Rule) -> Self {
        let action = match rule.action {
            RuleAction::Allow => proto::RuleAction::Allow,
            RuleAction::Deny => proto::RuleAction::Deny,
            RuleAction::Reject => proto::RuleAction::Reject,
        };
        proto::Rule {
            id: Some(rule.id),
            action: action.into(),
            protocol: rule.protocol.map(l4::protocol_name).unwrap_or_default(),
            sources: text::prefix_texts(&rule.sources),
            source_sets: names(&rule.source_sets),
            destinations: text::prefix_texts(&rule.destinations),
            destination_sets: names(&rule.destination_sets),
            source_ports: rule.source_ports.iter().map(l4::ports_text).collect(),
            destination_ports: rule.destination_ports.iter().map(l4::ports_text).collect(),
            icmp_types: rule.icmp.iter().map(l4::icmp_text).collect(),
            log: rule.log,
            mirror: name(&rule.mirror),
            dscp: rule.dscp.map(u32::from),
        }
    }
}
