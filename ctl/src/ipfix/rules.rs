//! The rules that let flows through, by name.

use std::collections::HashMap;

use dataplane::decide::Note;
use dataplane::snapshot::Watcher;
use dataplane::tables::Tables;
use dataplane::tables::policy::{Rule, RuleId};
use flowtable::FlowView;

use super::record::Admitted;

/// Names of rules that were once looked up, which a flow may outlive.
const KEPT: usize = 1 << 16;

/// Finds the names of rules, also of some that are gone.
pub struct Rules {
    tables: Watcher<Tables>,
    known: HashMap<RuleId, Admitted>,
    generation: Option<u64>,
}

impl Rules {
    /// Looks rules up in what is published.
    pub fn new(tables: Watcher<Tables>) -> Rules {
        Rules {
            tables,
            known: HashMap::new(),
            generation: None,
        }
    }

    /// Notes all rules there are, if any commit came since the last time: so rules have names even
    /// if they are gone when the first of their flows ends.
    pub(super) fn refresh(&mut self) {
        let tables = self.tables.current();
        if self.generation.replace(tables.generation()) == Some(tables.generation()) {
            return;
        }
        if self.known.len() > KEPT {
            self.known.clear();
        }
        let rules = tables.rules().take(KEPT);
        self.known
            .extend(rules.map(|rule| (rule.id(), named(rule))));
    }

    /// Who let a flow through: on the sender's side, on the receiver's.
    pub(super) fn admitted(&mut self, flow: &FlowView) -> [Admitted; 2] {
        let note = Note::from_words(flow.note);
        [note.egress_rule, note.ingress_rule].map(|rule| match rule {
            Some(rule) => self.find(rule),
            None => Admitted::default(),
        })
    }

    fn find(&mut self, id: RuleId) -> Admitted {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let tables = self.tables.current();
        tables.rule(id).map(named).unwrap_or_default()
    }
}

fn named(rule: &Rule) -> Admitted {
    Admitted {
        policy: rule.policy_name.to_string(),
        rule: rule.number,
    }
}
