//! What policies mean, written to be read: every rule of every policy in order, every condition one
//! by one. It knows nothing of how the engine does it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dataplane::tables::policy::Tuple;
use dataplane::tables::spec::{Name, Policy, Rule, RuleAction};
use ipnet::IpNet;

/// All policies and address sets.
#[derive(Clone, Default)]
pub struct Reference {
    pub sets: BTreeMap<Name, Vec<IpNet>>,
    pub policies: BTreeMap<Name, Policy>,
}

/// The action, and the rule that matched by policy and id.
pub type Answer = (RuleAction, Option<(Name, u32)>);

impl Reference {
    /// What a vif's policies say, in their order; `None` for a vif without.
    pub fn verdict(&self, policies: &[Name], tuple: &Tuple) -> Option<Answer> {
        if policies.is_empty() {
            return None;
        }
        for name in policies {
            for rule in &self.policies[name].rules {
                if self.matches(rule, tuple) {
                    return Some((rule.action, Some((name.clone(), rule.id))));
                }
            }
        }
        Some((RuleAction::Deny, None))
    }

    fn matches(&self, rule: &Rule, tuple: &Tuple) -> bool {
        rule.protocol.is_none_or(|number| number == tuple.protocol)
            && self.is_in(tuple.src, &rule.sources, &rule.source_sets)
            && self.is_in(tuple.dst, &rule.destinations, &rule.destination_sets)
            && has_port(&rule.source_ports, tuple.ports.map(|(src, _)| src))
            && has_port(&rule.destination_ports, tuple.ports.map(|(_, dst)| dst))
            && is_message(rule, tuple)
    }

    fn is_in(&self, addr: IpAddr, prefixes: &[IpNet], sets: &[Name]) -> bool {
        if prefixes.is_empty() && sets.is_empty() {
            return true;
        }
        let in_sets = sets.iter().flat_map(|name| &self.sets[name]);
        prefixes
            .iter()
            .chain(in_sets)
            .any(|net| net.contains(&addr))
    }
}

fn has_port(ranges: &[std::ops::RangeInclusive<u16>], port: Option<u16>) -> bool {
    let in_any = |port| ranges.iter().any(|range| range.contains(&port));
    ranges.is_empty() || port.is_some_and(in_any)
}

fn is_message(rule: &Rule, tuple: &Tuple) -> bool {
    let is_one = |(kind, code): (u8, u8)| {
        let mut wanted = rule.icmp.iter();
        wanted.any(|wanted| wanted.kind == kind && wanted.code.is_none_or(|it| it == code))
    };
    rule.icmp.is_empty() || tuple.icmp.is_some_and(is_one)
}
