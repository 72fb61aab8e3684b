//! What a dry run says of live flows.

use std::net::IpAddr;
use std::time::Instant;

use dataplane::decide::End;
use dataplane::impact::{self, Difference, Fate};
use dataplane::tables::Tables;
use encap::Buffer;
use flowtable::FlowView;

use super::{SharedEngine, apply, lock};
use crate::flows::{Describer, nexthop_text};
use crate::proto::{ApplyRequest, ApplyResponse, FlowChange, FlowImpact, Outcome};

/// Flows listed at most: some hundred bytes each, while most gRPC clients take 4 MiB.
const MAX_LISTED: usize = 4096;

/// Adds to the answer of a dry run what the change would do to live flows, if that was asked for. The
/// engine is held only for as long as it takes to take references.
pub(super) fn add<B: Buffer + Send + 'static>(
    engine: &SharedEngine<B>,
    written: &ApplyRequest,
    response: &mut ApplyResponse,
) {
    if written.list_flows == 0 || response.outcome() != Outcome::Checked {
        return;
    }
    let read = lock(engine)
        .as_ref()
        .map(|engine| (engine.tables(), engine.flows().clone(), engine.now()));
    let (Some((tables, flows, now)), Ok(request)) = (read, apply::check(written)) else {
        return; // it stopped meanwhile
    };
    // Another commit may have come in between; then this is about what would be now.
    let Ok((next, _)) = tables.foresee(&request) else {
        return;
    };
    let began = Instant::now();
    let listed = (written.list_flows as usize).min(MAX_LISTED);
    let found = impact::of_change(&flows, &tables, &next, listed);
    let took = began.elapsed();
    let mut describer = Describer::new(&tables, now);
    let changes = found.changes.iter().map(|change| FlowChange {
        flow: Some(describer.flow(&change.flow)),
        what: what(change.what).into(),
        before: fate(&tables, &change.before, &change.flow),
        after: fate(&next, &change.after, &change.flow),
    });
    let all = found.verdict + found.translation + found.nexthop;
    response.impact = Some(FlowImpact {
        flows: found.flows,
        touched: found.touched,
        verdict: found.verdict,
        translation: found.translation,
        nexthop: found.nexthop,
        unknown: found.unknown,
        changes: changes.collect(),
        changes_left_out: all - found.changes.len() as u64,
        took_us: took.as_micros() as u64,
    });
}

fn what(difference: Difference) -> &'static str {
    match difference {
        Difference::Verdict => "verdict",
        Difference::Translation => "translation",
        Difference::Nexthop => "nexthop",
    }
}

/// `drop policy_denied (policy web rule 10)`, `tunnel to-node2 from 203.0.113.1:2000`.
fn fate(tables: &Tables, fate: &Fate, flow: &FlowView) -> String {
    match fate {
        Fate::Dropped(reason, rule) => {
            let rule = rule.and_then(|id| tables.rule(id));
            let by =
                rule.map(|rule| format!(" (policy {} rule {})", rule.policy_name, rule.number));
            format!("drop {}{}", reason.name(), by.unwrap_or_default())
        }
        Fate::Passes {
            nexthops,
            source,
            destination,
        } => {
            let mut text = nexthop_text(tables, nexthops.0);
            let came = (flow.forward.src_addr(), flow.forward.src_port());
            if came != (source.addr, source.port) {
                text += &format!(" from {}", end(source));
            }
            let came = (flow.forward.dst_addr(), flow.forward.dst_port());
            if came != (destination.addr, destination.port) {
                text += &format!(" to {}", end(destination));
            }
            text
        }
    }
}

fn end(end: &End) -> String {
    match end.addr {
        IpAddr::V4(addr) => format!("{addr}:{}", end.port),
        IpAddr::V6(addr) => format!("[{addr}]:{}", end.port),
    }
}
