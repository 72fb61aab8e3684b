//! What may talk to what: address sets, and policies made of ordered rules.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::{Key, Name};

/// Prefixes that rules refer to by one name: a group of machines, a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// Its name.
    pub name: Name,
    /// The addresses in it, host bits zero. May be empty: then it matches nothing.
    pub prefixes: Vec<IpNet>,
}

/// Rules in the order in which they are asked; the first that matches says what becomes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Name,
    /// Each with another id.
    pub rules: Vec<Rule>,
}

/// One rule. It matches a flow if every condition does; a condition of which nothing is said
/// always does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What counters, drops and explanations call it; unique in its policy.
    pub id: u32,
    /// What becomes of the flows that match.
    pub action: RuleAction,
    /// The IP protocol number. `None`: any.
    pub protocol: Option<u8>,
    /// Where flows come from: any of these prefixes or of those in `source_sets`.
    pub sources: Vec<IpNet>,
    /// Address sets, by name.
    pub source_sets: Vec<Name>,
    /// Where flows go: any of these prefixes or of those in `destination_sets`.
    pub destinations: Vec<IpNet>,
    /// Address sets, by name.
    pub destination_sets: Vec<Name>,
    /// Source ports, for TCP, UDP and SCTP only.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// Destination ports, for TCP, UDP and SCTP only.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// Types, for ICMP and ICMPv6 only.
    pub icmp: Vec<IcmpMatch>,
    /// Says every match in the log, so many a second at most.
    pub log: bool,
    /// Copies the packets of the flows that match, to the mirror of this name.
    pub mirror: Option<Name>,
    /// The DSCP that packets of the flows that match get, 0 to 63.
    pub dscp: Option<u8>,
}

/// What a rule does with the flows it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Lets them, and their replies, through.
    Allow,
    /// Drops them.
    Deny,
    /// Drops them and says so: a TCP reset, or ICMP "administratively prohibited".
    Reject,
}

/// ICMP or ICMPv6 messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// The code. `None`: any.
    pub code: Option<u8>,
}

/// What is held against every flow of a port, or of the ports of a network that say nothing of
/// their own. Ingress is towards the machine, egress is from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guards {
    /// Asked in this order for what is to be delivered; none: all is let through.
    pub ingress_policies: Vec<Name>,
    /// Asked in this order for what is sent; none: all is let through.
    pub egress_policies: Vec<Name>,
    /// What may be delivered at most.
    pub ingress_meter: Option<Name>,
    /// What may be sent at most.
    pub egress_meter: Option<Name>,
    /// Gets a copy of everything.
    pub mirror: Option<Name>,
}

impl Guards {
    /// The objects mentioned, with the field that does.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        let policies = |field, names: &[Name]| -> Vec<_> {
            let keys = names.iter().cloned().map(Key::Policy);
            keys.map(|key| (field, key)).collect()
        };
        let mut all = policies("ingress_policies", &self.ingress_policies);
        all.extend(policies("egress_policies", &self.egress_policies));
        let meters = [
            ("ingress_meter", &self.ingress_meter),
            ("egress_meter", &self.egress_meter),
        ];
        for (field, name) in meters {
            all.extend(name.clone().map(|name| (field, Key::Meter(name))));
        }
        let mirror = self.mirror.clone();
        all.extend(mirror.map(|name| ("mirror", Key::Mirror(name))));
        all
    }
}

impl Policy {
    /// The objects mentioned, with the field that does; each once.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        // By name first: many rules mention few sets.
        let (mut sources, mut destinations) = (BTreeSet::new(), BTreeSet::new());
        let mut mirrors = BTreeSet::new();
        for rule in &self.rules {
            sources.extend(&rule.source_sets);
            destinations.extend(&rule.destination_sets);
            mirrors.extend(&rule.mirror);
        }
        let set = |name: &Name| Key::AddressSet(name.clone());
        let sources = sources.into_iter().map(set);
        let destinations = destinations.into_iter().map(set);
        let mirrors = mirrors.into_iter().map(|name| Key::Mirror(name.clone()));
        let destinations = destinations.map(|key| ("rules.destination_sets", key));
        let mirrors = mirrors.map(|key| ("rules.mirror", key));
        let sources = sources.map(|key| ("rules.source_sets", key));
        destinations.chain(mirrors).chain(sources).collect()
    }
}
