//! Every rule of a snapshot by number.

use std::sync::Arc;

use super::cells::{Cell, MAX_CELLS, RuleCells};
use super::{Name, PolicyId, RuleCount, RuleId};
use crate::tables::slab::Slab;
use crate::tables::spec::{self, RuleAction};

/// A rule, resolved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The policy it is in.
    pub policy: PolicyId,
    /// That policy's name.
    pub policy_name: Name,
    /// What the policy calls it.
    pub number: u32,
    /// What becomes of what it matches.
    pub action: RuleAction,
    /// Says every match in the log.
    pub log: bool,
    /// Where copies go of the packets it lets through, by the mirror's name.
    pub mirror: Option<Name>,
    /// The DSCP that the packets it lets through get.
    pub dscp: Option<u8>,
    /// Its own as long as a snapshot has it.
    cell: Arc<Cell>,
}

/// The rules of a snapshot.
#[derive(Clone)]
pub(super) struct Rules {
    all: Slab<Rule>,
    cells: Arc<RuleCells>,
    workers: usize,
}

/// Rules that a node may have: one for each cell, and some time for those of old snapshots to go.
pub(in crate::tables) const MAX_RULES: usize = MAX_CELLS / 2;

impl Rule {
    /// Its number.
    #[inline]
    pub fn id(&self) -> RuleId {
        self.cell.id
    }

    /// What was counted for it: packets it denied or rejected, and those of the flows it let through
    /// that have ended. With those that live, [`crate::rule_counters`].
    pub fn count(&self) -> RuleCount {
        self.cell.read()
    }
}

impl Rules {
    pub(super) fn new(workers: usize, cells: Arc<RuleCells>) -> Rules {
        Rules {
            all: Slab::new(),
            cells,
            workers,
        }
    }

    /// The same rules, for which nothing is counted.
    pub(super) fn apart(&self) -> Rules {
        Rules {
            cells: Arc::new(RuleCells::nowhere()),
            ..self.clone()
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The rule with this number, unless that is another's by now.
    #[inline]
    pub(super) fn get(&self, id: RuleId) -> Option<&Rule> {
        let rule = self.all.get(id.place())?;
        (rule.id() == id).then_some(&**rule)
    }

    /// All rules, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter().map(|(_, rule)| &**rule)
    }

    /// Enters a rule: as the next form of `known`, if that is what it was before, or a new one.
    pub(super) fn enter(
        &mut self,
        known: Option<RuleId>,
        policy: (PolicyId, &Name),
        spec: &spec::Rule,
    ) -> RuleId {
        let known = known.and_then(|id| self.get(id));
        let cell = match known {
            Some(rule) => rule.cell.clone(),
            None => Arc::new(self.cells.take(self.workers)),
        };
        let id = cell.id;
        let rule = Rule {
            policy: policy.0,
            policy_name: policy.1.clone(),
            number: spec.id,
            action: spec.action,
            log: spec.log,
            mirror: spec.mirror.clone(),
            dscp: spec.dscp,
            cell,
        };
        self.all.set(id.place(), rule);
        id
    }

    /// Takes a rule away.
    pub(super) fn remove(&mut self, id: RuleId) {
        if self.get(id).is_some() {
            self.all.remove(id.place());
        }
    }

    /// Counts for a rule, in the block of a worker.
    pub(super) fn count(&self, worker: usize, id: RuleId, count: RuleCount) {
        self.cells.count(worker, id, count);
    }
}
