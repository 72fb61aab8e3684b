//! What rules have matched: their counters, and the log of those with `log`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dataplane::Tables;
use dataplane::rule_counters::rule_counters;
use dataplane::tables::policy::RuleId;
use dataplane::tables::policy::log::{Record, RuleLog};
use dataplane::tables::spec::{Object, RuleAction};
use encap::Buffer;
use flowtable::FlowTable;
use tokio::task::{JoinHandle, spawn_blocking};

use super::{SharedEngine, lock};
use crate::{convert, proto};

/// How often what is logged is written. The log has room for so many lines.
const EVERY: Duration = Duration::from_secs(1);

/// The counters of all rules, by policy, in the order in which they are asked.
pub(super) fn stats(tables: &Tables, flows: &FlowTable) -> Vec<proto::RuleStats> {
    let counts = rule_counters(tables, flows);
    let rules = tables.rules();
    let counts: HashMap<_, _> = rules
        .map(|rule| {
            let count = counts.get(&rule.id()).copied().unwrap_or_default();
            ((&*rule.policy_name, rule.number), count)
        })
        .collect();
    let policies = tables
        .objects()
        .filter_map(|(_, stored)| match &stored.object {
            Object::Policy(policy) => Some(policy),
            _ => None,
        });
    let rules = policies.flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)));
    rules
        .map(|(policy, rule)| {
            let count = counts.get(&(&*policy.name, rule.id));
            let count = count.copied().unwrap_or_default();
            proto::RuleStats {
                policy: policy.name.to_string(),
                rule: rule.id,
                packets: count.packets,
                bytes: count.bytes,
            }
        })
        .collect()
}

/// Writes what rules log, once a second, until it is dropped.
pub(super) struct Writer(JoinHandle<()>);

impl Writer {
    pub(super) fn spawn<B: Buffer + Send + 'static>(
        log: Arc<RuleLog>,
        engine: SharedEngine<B>,
    ) -> Writer {
        Writer(tokio::spawn(async move {
            let mut turns = tokio::time::interval(EVERY);
            loop {
                turns.tick().await;
                let (records, left_out) = log.take();
                if records.is_empty() && left_out == 0 {
                    continue;
                }
                let engine = engine.clone();
                let read = move || lock(&engine).as_ref().map(|engine| engine.tables());
                // The engine goes first when the daemon stops.
                let Ok(Some(tables)) = spawn_blocking(read).await else {
                    return;
                };
                for record in &records {
                    tracing::info!(target: "rules", "{}", line(&tables, record));
                }
                if left_out > 0 {
                    tracing::info!(target: "rules", "{left_out} more matches were left out");
                }
            }
        }))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A match as a sentence, e.g. `policy web rule 10 denies tcp 10.1.0.9:40000 -> 10.1.0.5:22 from
/// vif web-1`.
fn line(tables: &Tables, record: &Record) -> String {
    let does = match record.action {
        RuleAction::Allow => "allows",
        RuleAction::Deny => "denies",
        RuleAction::Reject => "rejects",
    };
    let tuple = &record.tuple;
    let protocol = convert::protocol_name(tuple.protocol);
    let (src, dst) = match tuple.ports {
        Some((src, dst)) => (
            SocketAddr::new(tuple.src, src).to_string(),
            SocketAddr::new(tuple.dst, dst).to_string(),
        ),
        None => (tuple.src.to_string(), tuple.dst.to_string()),
    };
    let kind = tuple.icmp.map(|(kind, code)| format!(" {kind}/{code}"));
    let vif = record.vif.and_then(|vif| tables.vif(vif));
    let from = vif.map_or("the fabric".into(), |vif| format!("vif {}", vif.name));
    let kind = kind.unwrap_or_default();
    let rule = rule(tables, record.rule);
    format!("{rule} {does} {protocol}{kind} {src} -> {dst} from {from}")
}

fn rule(tables: &Tables, id: RuleId) -> String {
    match tables.rule(id) {
        Some(rule) => format!("policy {} rule {}", rule.policy_name, rule.number),
        None => "a rule that is no more".into(),
    }
}
