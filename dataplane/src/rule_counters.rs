//! What every rule has decided about: packets and bytes.
//!
//! Packets that a rule denied or rejected are counted as they come. Those of a flow that it let
//! through, both directions, are counted by the flow, and for the rule when the flow ends; what is
//! read here adds the flows that live. A flow that a commit puts under another rule takes its
//! counts along.

use std::collections::HashMap;

use flowtable::{FlowTable, FlowView, WalkCursor};

use crate::decide::Note;
use crate::tables::Tables;
use crate::tables::policy::{RuleCells, RuleCount, RuleId};

/// Places of the flow table looked at in one go.
const STEP: usize = 4096;

/// What each rule has decided about since it is there, by number; those with nothing are there too.
/// Walks the whole flow table, beside the workers. A flow that ends meanwhile may be missing or
/// counted twice in this one reading.
pub fn rule_counters(tables: &Tables, flows: &FlowTable) -> HashMap<RuleId, RuleCount> {
    let rules = tables.rules().map(|rule| (rule.id(), rule.count()));
    let mut counts: HashMap<RuleId, RuleCount> = rules.collect();
    let mut cursor = WalkCursor::default();
    while !cursor.is_done() {
        flows.walk(&mut cursor, STEP, |flow| {
            let count = counted(flow);
            for rule in rules_of(flow) {
                if let Some(sum) = counts.get_mut(&rule) {
                    *sum += count;
                }
            }
        });
    }
    counts
}

/// A flow has ended: what it counted is its rules' now. To be called once for each, with the number
/// of the worker that ended it.
pub fn flow_ended(cells: &RuleCells, worker: usize, flow: &FlowView) {
    let count = counted(flow);
    for rule in rules_of(flow) {
        cells.count(worker, rule, count);
    }
}

fn counted(flow: &FlowView) -> RuleCount {
    RuleCount {
        packets: flow.forward_counters.packets + flow.reverse_counters.packets,
        bytes: flow.forward_counters.bytes + flow.reverse_counters.bytes,
    }
}

/// The rules that let a flow through; once if it is the same at both ends.
fn rules_of(flow: &FlowView) -> impl Iterator<Item = RuleId> + use<> {
    let note = Note::from_words(flow.note);
    let ingress = note
        .ingress_rule
        .filter(|rule| Some(*rule) != note.egress_rule);
    note.egress_rule.into_iter().chain(ingress)
}
