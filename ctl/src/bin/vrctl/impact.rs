//! What a dry run says of live flows.

use std::io::{self, Write};

use ctl::proto::FlowImpact;

use crate::table::{Table, count};

/// Flows that a dry run lists.
pub(crate) const LISTED: u32 = 100;

pub(crate) fn print(impact: &FlowImpact, out: &mut dyn Write) -> io::Result<()> {
    let changed = impact.verdict + impact.translation + impact.nexthop;
    if changed > 0 {
        let mut table = Table::new(&["CHANGES", "VRF", "PROTO", "FROM", "TO", "NOW", "THEN"]);
        for change in &impact.changes {
            let flow = change.flow.as_ref().and_then(|flow| flow.forward.clone());
            let flow = flow.unwrap_or_default();
            table.row(vec![
                change.what.clone(),
                flow.vrf,
                flow.protocol,
                crate::flows::endpoint(&flow.src_addr, flow.src_port),
                crate::flows::endpoint(&flow.dst_addr, flow.dst_port),
                change.before.clone(),
                change.after.clone(),
            ]);
        }
        table.flush(out)?;
        if impact.changes_left_out > 0 {
            writeln!(out, "… and {} more", impact.changes_left_out)?;
        }
    }
    write!(
        out,
        "{} of {} would change: {} in verdict, {} in translation, {} in nexthop",
        count(changed as usize, "live flow"),
        impact.flows,
        impact.verdict,
        impact.translation,
        impact.nexthop
    )?;
    match impact.unknown {
        0 => writeln!(out),
        unknown => writeln!(out, "; {unknown} cannot be told before their next packet"),
    }
}
