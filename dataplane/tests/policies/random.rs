//! The compiled classifier against the reference, over random configurations that change commit by
//! commit, and random packets. `POLICY_PACKETS` says how many; a few take a second.

use std::env;
use std::net::IpAddr;
use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::change::Change;
use dataplane::tables::policy::{Direction, Tuple};
use dataplane::tables::spec::*;
use encap::MacAddr;
use ipnet::IpNet;

use crate::common::{Random, tenant, vrf};
use crate::reference::Reference;
use crate::{commit, guarded, policy};

/// Packets unless the environment says otherwise.
const FEW: usize = 20_000;

/// Packets for each configuration.
const PER_COMMIT: usize = 100;

const SETS: [&str; 4] = ["a", "b", "c", "d"];
const POLICIES: [&str; 4] = ["p", "q", "r", "s"];
const VIFS: [&str; 3] = ["v0", "v1", "v2"];

#[test]
fn the_classifier_agrees_with_the_reference_whatever_changes() {
    let count = env::var("POLICY_PACKETS").map_or(FEW, |text| text.parse().expect("a number"));
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut world = World::new(&mut random);
    for _ in 0..count.div_ceil(PER_COMMIT) {
        let before = (world.tables.clone(), world.reference.clone());
        let lists = world.lists.clone();
        world.change(&mut random);
        for _ in 0..PER_COMMIT {
            let tuple = world.tuple(&mut random);
            check(&world.tables, &world.reference, &world.lists, &tuple);
            if random.one_in(10) {
                check(&before.0, &before.1, &lists, &tuple);
            }
        }
    }
}

/// Ingress and egress policies of each vif, those of its vrf included.
type Lists = Vec<[Vec<Name>; 2]>;

#[track_caller]
fn check(tables: &Tables, reference: &Reference, lists: &Lists, tuple: &Tuple) {
    for (vif, lists) in VIFS.iter().zip(lists) {
        let vif = tables.vif_named(vif).expect("it is there");
        for (direction, names) in [Direction::Ingress, Direction::Egress].iter().zip(lists) {
            let found = tables.verdict(vif, *direction, tuple).map(|verdict| {
                let rule = verdict.rule.map(|id| {
                    let rule = tables.rule(id).expect("a rule that matched is there");
                    assert_eq!(rule.action, verdict.action);
                    (rule.policy_name.clone(), rule.number)
                });
                (verdict.action, rule)
            });
            assert_eq!(
                found,
                reference.verdict(names, tuple),
                "{tuple:?} {names:?}"
            );
        }
    }
}

struct World {
    tables: Arc<Tables>,
    reference: Reference,
    lists: Lists,
}

impl World {
    fn new(random: &mut Random) -> World {
        let mut reference = Reference::default();
        let mut objects = vec![vrf("red", &[])];
        for name in SETS {
            let prefixes: Vec<IpNet> = (0..random.below(20)).map(|_| net(random)).collect();
            reference.sets.insert(name.into(), prefixes.clone());
            objects.push(Object::AddressSet(AddressSet {
                name: name.into(),
                prefixes,
            }));
        }
        for name in POLICIES {
            let rules: Vec<Rule> = (0..random.below(40) as u32)
                .map(|id| any_rule(random, id))
                .collect();
            objects.push(policy(name, rules.clone()));
            let name = Name::from(name);
            reference
                .policies
                .insert(name.clone(), Policy { name, rules });
        }
        let lists: Lists = VIFS
            .iter()
            .map(|_| [any_list(random), any_list(random)])
            .collect();
        for (index, name) in VIFS.iter().enumerate() {
            objects.push(vif(name, index, &lists[index]));
        }
        let changes = objects.into_iter().map(Change::Upsert).collect();
        World {
            tables: commit(&Tables::new(1), changes).expect("it fits together"),
            reference,
            lists,
        }
    }

    /// One commit that changes a few things.
    fn change(&mut self, random: &mut Random) {
        let mut changes = Vec::new();
        if random.one_in(3) {
            let name = Name::from(random.pick(&SETS));
            let prefixes = self.reference.sets.get_mut(&name).expect("it is there");
            match random.below(4) {
                0 if !prefixes.is_empty() => _ = prefixes.remove(random.below(prefixes.len())),
                1 => prefixes.reverse(),
                2 => *prefixes = (0..random.below(20)).map(|_| net(random)).collect(),
                _ => prefixes.push(net(random)),
            }
            let prefixes = prefixes.clone();
            changes.push(Object::AddressSet(AddressSet { name, prefixes }));
        }
        if random.one_in(2) {
            let name = Name::from(random.pick(&POLICIES));
            let policy = self.reference.policies.get_mut(&name).expect("it is there");
            change_rules(random, &mut policy.rules);
            changes.push(Object::Policy(policy.clone()));
        }
        if random.one_in(10) {
            let index = random.below(VIFS.len());
            self.lists[index] = [any_list(random), any_list(random)];
            changes.push(vif(VIFS[index], index, &self.lists[index]));
        }
        let changes = changes.into_iter().map(Change::Upsert).collect();
        self.tables = commit(&self.tables, changes).expect("it fits together");
    }

    /// A packet that something is probably said about.
    fn tuple(&self, random: &mut Random) -> Tuple {
        let any = random.below(256) as u8;
        let protocol = random.pick(&[1, 6, 17, 58, 132, 47, any]);
        let is_ipv4 = !random.one_in(3);
        let port = |random: &mut Random| match random.below(3) {
            0 => random.below(65_536) as u16,
            1 => random.below(20) as u16 * 50,
            _ => random.pick(&[0, 1, 79, 80, 81, 1023, 1024, 65_535]),
        };
        let ports = (port(random), port(random));
        let message = (random.below(6) as u8, random.below(3) as u8);
        let ends = (addr(random, is_ipv4), addr(random, is_ipv4));
        Tuple::new(ends, protocol, ports, Some(message))
    }
}

fn vif(name: &str, index: usize, [ingress, egress]: &[Vec<Name>; 2]) -> Object {
    let mac = MacAddr([2, 0, 0, 0, 0, index as u8]);
    let names = |list: &[Name]| -> Vec<String> { list.iter().map(Name::to_string).collect() };
    let (ingress, egress) = (names(ingress), names(egress));
    let ingress: Vec<&str> = ingress.iter().map(String::as_str).collect();
    let egress: Vec<&str> = egress.iter().map(String::as_str).collect();
    guarded(tenant(name, "red", mac, &[]), &ingress, &egress)
}

fn any_list(random: &mut Random) -> Vec<Name> {
    let count = random.below(4);
    (0..count).map(|_| random.pick(&POLICIES).into()).collect()
}

fn change_rules(random: &mut Random, rules: &mut Vec<Rule>) {
    let next = rules.iter().map(|rule| rule.id + 1).max().unwrap_or(0);
    let at = random.below(rules.len() + 1);
    match random.below(8) {
        0 if at < rules.len() => _ = rules.remove(at),
        1 if at < rules.len() => {
            let moved = rules.remove(at);
            rules.insert(random.below(rules.len() + 1), moved);
        }
        2 if at < rules.len() => rules[at] = any_rule(random, rules[at].id),
        3 => rules.reverse(),
        4 => {
            let new = (0..60).map(|n| any_rule(random, next + n));
            let new: Vec<Rule> = new.collect();
            rules.splice(at..at, new);
        }
        5 => rules.truncate(at.max(20)),
        _ => rules.insert(at, any_rule(random, next)),
    }
}

/// Few distinct bits, so that prefixes and addresses often meet; and the ends of all numbers.
fn addr(random: &mut Random, is_ipv4: bool) -> IpAddr {
    let word = random.next();
    match (is_ipv4, word & 15) {
        (true, 0) => IpAddr::from([255; 4]),
        (true, 1) => IpAddr::from([0; 4]),
        (true, _) => IpAddr::from(((word >> 8) as u32 & 0x0003_0301 | 0x0a00_0000).to_be_bytes()),
        (false, 0) => IpAddr::from([0xff; 16]),
        (false, 1) => IpAddr::from([0; 16]),
        (false, _) => {
            let bits = u128::from(word >> 8 & 3) << 80 | u128::from(word >> 12 & 0x301);
            IpAddr::from((bits | 0xfd << 120).to_be_bytes())
        }
    }
}

fn net(random: &mut Random) -> IpNet {
    let is_ipv4 = !random.one_in(3);
    let lens: &[u8] = match is_ipv4 {
        true => &[0, 8, 14, 15, 16, 22, 23, 24, 31, 32],
        false => &[0, 8, 46, 47, 48, 118, 119, 120, 127, 128],
    };
    let net = IpNet::new(addr(random, is_ipv4), random.pick(lens));
    net.expect("short enough").trunc()
}

fn any_rule(random: &mut Random, id: u32) -> Rule {
    let actions = [RuleAction::Allow, RuleAction::Deny, RuleAction::Reject];
    let mut rule = crate::rule(id, random.pick(&actions));
    let nets =
        |random: &mut Random| -> Vec<IpNet> { (0..random.below(3)).map(|_| net(random)).collect() };
    let sets = |random: &mut Random| -> Vec<Name> {
        (0..random.below(3))
            .map(|_| random.pick(&SETS).into())
            .collect()
    };
    if !random.one_in(3) {
        (rule.sources, rule.source_sets) = (nets(random), sets(random));
    }
    if !random.one_in(3) {
        (rule.destinations, rule.destination_sets) = (nets(random), sets(random));
    }
    let ports = |random: &mut Random| {
        let (a, b) = (random.below(65_536) as u16, random.below(20) as u16 * 50);
        random.pick(&[
            (80, 80),
            (b, b),
            (a.min(b), a.max(b)),
            (0, 65_535),
            (1024, 65_535),
            (0, b),
        ])
    };
    match random.below(4) {
        0 => rule.protocol = Some(random.pick(&[6, 17, 132, 47, 1, 58])),
        1 => {
            rule.protocol = random.pick(&[None, Some(6), Some(17)]);
            for _ in 0..random.below(3) {
                let (start, end) = ports(random);
                rule.destination_ports.push(start..=end);
            }
            if random.one_in(3) {
                let (start, end) = ports(random);
                rule.source_ports.push(start..=end);
            }
        }
        2 => {
            rule.protocol = random.pick(&[None, Some(1), Some(58)]);
            for _ in 0..random.below(3) {
                rule.icmp.push(IcmpMatch {
                    kind: random.below(6) as u8,
                    code: (!random.one_in(2)).then_some(random.below(3) as u8),
                });
            }
        }
        _ => {}
    }
    rule
}
