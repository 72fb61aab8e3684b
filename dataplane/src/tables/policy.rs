//! Policies, compiled: what the policies of a vif say to the first packet of a flow.
//!
//! The rules of one policy are one `classifier`, whoever uses it; the policies of a vif
//! are asked in their order, so the cost is that of one policy times how many there are. Address
//! sets are kept once for all. A commit compiles anew what it changes, and shares the rest.

mod bits;
mod cells;
mod classifier;
mod compile;
pub mod log;
mod order;
mod prefixes;
mod rules;
mod sets;
mod stretches;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use encap::protocol;
use ipnet::IpNet;

use super::slab::Slab;
use super::spec::{self, Name, RuleAction};
use super::{Tables, Vif};
pub use cells::{RuleCells, RuleCount};
use classifier::{Classifier, Slot};
use log::RuleLog;
pub use rules::Rule;
use sets::{AddressSets, Membership};

/// Number of a rule; stays the same while a policy has a rule of that id, and leads nowhere when that
/// is gone, until 255 others had its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// Index of a policy in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// Index of an address set in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct SetId(u32);

/// Which way a flow goes, for the machine whose policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards it.
    Ingress,
    /// From it.
    Egress,
}

/// What rules look at: a first packet as the machines at both ends know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// The sender.
    pub src: IpAddr,
    /// The receiver.
    pub dst: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// Source and destination port, of TCP, UDP and SCTP only.
    pub ports: Option<(u16, u16)>,
    /// Type and code, of ICMP and ICMPv6 only.
    pub icmp: Option<(u8, u8)>,
}

/// What the policies of a vif say to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub action: RuleAction,
    /// The rule that matched; `None`: none did.
    pub rule: Option<RuleId>,
    /// That rule has a mirror or a DSCP for its packets.
    pub marks: bool,
}

/// The policies that a vif or vrf names, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct PolicyLists {
    /// For what is to be delivered.
    pub ingress: Arc<[PolicyId]>,
    /// For what is sent.
    pub egress: Arc<[PolicyId]>,
}

/// The policies and address sets of a snapshot.
#[derive(Clone)]
pub(super) struct Policies {
    names: imbl::HashMap<Name, PolicyId>,
    all: Slab<Policy>,
    rules: rules::Rules,
    sets: AddressSets,
    /// Shared by all snapshots.
    log: Arc<RuleLog>,
}

/// A policy, compiled.
#[derive(Clone)]
struct Policy {
    rules: Classifier,
    /// Its rules by what it calls them.
    ids: imbl::HashMap<u32, RuleId>,
}

/// Rules that a policy may have.
pub(super) const MAX_RULES_PER_POLICY: usize = order::MAX_RULES;

/// Rules that a node may have.
pub(super) const MAX_RULES: usize = rules::MAX_RULES;

impl Tuple {
    /// Of a packet's headers: ports and types only where the protocol has them.
    pub fn new(
        (src, dst): (IpAddr, IpAddr),
        protocol: u8,
        ports: (u16, u16),
        icmp: Option<(u8, u8)>,
    ) -> Tuple {
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let is_icmp = match src {
            IpAddr::V4(_) => protocol == protocol::ICMP,
            IpAddr::V6(_) => protocol == protocol::ICMPV6,
        };
        Tuple {
            src,
            dst,
            protocol,
            ports: has_ports.then_some(ports),
            icmp: icmp.filter(|_| is_icmp),
        }
    }
}

impl PolicyLists {
    /// Those for one direction.
    pub fn of(&self, direction: Direction) -> &[PolicyId] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

impl Tables {
    /// What the policies that hold for a vif in one direction say to a flow; `None`: there are none,
    /// and it may pass.
    pub fn verdict(&self, vif: &Vif, direction: Direction, tuple: &Tuple) -> Option<Verdict> {
        let lists = self.policies_of(vif, direction)?;
        let sets = &self.policies.sets;
        let policies = lists.iter().filter_map(|id| self.policies.all.get(id.0));
        let membership: [&Membership; 2] =
            match policies.clone().any(|policy| policy.rules.asks_for_sets()) {
                true => [sets.of(tuple.src), sets.of(tuple.dst)],
                false => [&[], &[]],
            };
        let mut matches = policies.filter_map(|policy| policy.rules.first(tuple, membership));
        Some(match matches.next() {
            Some(Slot {
                rule,
                action,
                marks,
            }) => Verdict {
                action,
                rule: Some(rule),
                marks: marks && action == RuleAction::Allow,
            },
            // Whoever has a policy gets nothing that it does not allow.
            None => Verdict {
                action: RuleAction::Deny,
                rule: None,
                marks: false,
            },
        })
    }

    /// The policies that hold for a vif in one direction: its own, or else those of its vrf.
    pub fn policies_of<'a>(&'a self, vif: &'a Vif, direction: Direction) -> Option<&'a [PolicyId]> {
        let own = vif.policies.of(direction);
        if !own.is_empty() {
            return Some(own);
        }
        let of_vrf = self.vrf(vif.vrf)?.policies.of(direction);
        (!of_vrf.is_empty()).then_some(of_vrf)
    }

    /// The name of a policy, for people: looked for among all.
    pub fn policy_name(&self, id: PolicyId) -> Option<&Name> {
        let mut names = self.policies.names.iter();
        names.find(|(_, at)| **at == id).map(|(name, _)| name)
    }

    /// The rule with this number.
    #[inline]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.policies.rules.get(id)
    }

    /// All rules of all policies.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.policies.rules.iter()
    }

    /// Counts for a rule, in the block of a worker.
    pub fn count_rule(&self, worker: usize, id: RuleId, count: RuleCount) {
        self.policies.rules.count(worker, id, count);
    }

    /// Where the matches of rules with `log` go.
    pub fn rule_log(&self) -> &Arc<RuleLog> {
        &self.policies.log
    }
}

impl Policies {
    /// None. Rules that come are counted in `cells`, for so many workers.
    pub(super) fn new(workers: usize, cells: Arc<RuleCells>) -> Policies {
        Policies {
            names: imbl::HashMap::new(),
            all: Slab::new(),
            rules: rules::Rules::new(workers, cells),
            sets: AddressSets::default(),
            log: Arc::default(),
        }
    }

    /// The same, of which nothing is counted and nothing said in the log.
    pub(super) fn apart(&self) -> Policies {
        Policies {
            rules: self.rules.apart(),
            log: Arc::default(),
            ..self.clone()
        }
    }

    /// The policies of these names; what does not exist is refused elsewhere.
    pub(super) fn named(&self, names: &[Name]) -> Arc<[PolicyId]> {
        let ids = names.iter().filter_map(|name| self.names.get(name));
        ids.copied().collect()
    }

    /// The policies with a rule that asks for one of these address sets.
    pub(super) fn that_ask(&self, sets: &[Name]) -> Vec<PolicyId> {
        let sets: Vec<SetId> = sets
            .iter()
            .filter_map(|name| self.sets.named(name))
            .collect();
        let asks = |policy: &Policy| sets.iter().any(|set| policy.rules.asks_for(*set));
        let policies = self.all.iter().filter(|(_, policy)| asks(policy));
        policies.map(|(id, _)| PolicyId(id)).collect()
    }

    /// How many rules there are in all.
    pub(super) fn rule_count(&self) -> usize {
        self.rules.len()
    }

    /// Makes an address set what it is to be from what it was.
    pub(super) fn change_set(&mut self, name: &Name, old: &[IpNet], new: &[IpNet]) {
        self.sets.change(name, old, new);
    }

    /// Takes an address set away, of which no policy asks any more.
    pub(super) fn remove_set(&mut self, name: &Name, prefixes: &[IpNet]) {
        self.sets.remove(name, prefixes);
    }

    /// Makes a policy what it is to be from what it was. The address sets that either mentions are
    /// there.
    pub(super) fn change(&mut self, name: &Name, old: &[spec::Rule], new: &[spec::Rule]) {
        let id = self.names.get(name).copied().unwrap_or_else(|| {
            let id = PolicyId(self.all.insert(Policy {
                rules: Classifier::default(),
                ids: imbl::HashMap::new(),
            }));
            self.names.insert(name.clone(), id);
            id
        });
        let Some(policy) = self.all.get_mut(id.0) else {
            return;
        };
        let Policy { rules, ids } = policy;
        let known = &mut self.rules;
        *rules = compile::update(rules, old, new, &self.sets, |rule| {
            let number = known.enter(ids.get(&rule.id).copied(), (id, name), rule);
            ids.insert(rule.id, number);
            number
        });
        if ids.len() > new.len() {
            let wanted: std::collections::HashSet<u32> = new.iter().map(|rule| rule.id).collect();
            let gone: Vec<u32> = ids.keys().copied().collect();
            for id in gone.into_iter().filter(|id| !wanted.contains(id)) {
                if let Some(number) = ids.remove(&id) {
                    known.remove(number);
                }
            }
        }
    }

    /// Takes a policy away that nobody names any more.
    pub(super) fn remove(&mut self, name: &Name) {
        let Some(id) = self.names.remove(name) else {
            return;
        };
        if let Some(policy) = self.all.get(id.0).cloned() {
            for number in policy.ids.values() {
                self.rules.remove(*number);
            }
        }
        self.all.remove(id.0);
    }
}
