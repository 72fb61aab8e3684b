//! The policies of the vifs at both ends: each vrouter asks those of its own vifs, so of a flow
//! between nodes the sender's asks for what is sent, and the receiver's for what is delivered.
//!
//! Only first packets are asked about. What is let through is let through with its replies.

use super::routed::Walk;
use super::sessions::Step;
use super::{End, FLAG_RULES, Headers, Note, Refused, Sessions};
use crate::reason::DropReason;
use crate::stage::Ingress;
use crate::tables::policy::{Direction, RuleId, Tuple};
use crate::tables::spec::RuleAction;
use crate::tables::{Nexthop, NexthopId, Tables, VifId};

/// What the sender's vif may send: flags for the flow.
pub(super) fn egress(walk: &mut Walk, sessions: &mut impl Sessions) -> Result<u8, Refused> {
    let tuple = tuple(walk.headers, walk.seen());
    let asked = (walk.tables, walk.ingress.as_vif(), Direction::Egress);
    let (rule, flags) = ask(asked, &tuple, sessions)?;
    walk.note.egress_rule = rule;
    Ok(flags)
}

/// What may be sent to the vif that `nexthop` delivers to: flags for the flow.
pub(super) fn ingress(
    walk: &mut Walk,
    nexthop: NexthopId,
    sessions: &mut impl Sessions,
) -> Result<u8, Refused> {
    let tuple = tuple(walk.headers, walk.seen());
    let vif = delivers_to(walk.tables, nexthop);
    let asked = (walk.tables, vif, Direction::Ingress);
    let (rule, flags) = ask(asked, &tuple, sessions)?;
    walk.note.ingress_rule = rule;
    Ok(flags)
}

/// Both, for a bridged flow.
pub(super) fn bridged(
    tables: &Tables,
    headers: &Headers,
    (ingress, nexthop): (Ingress, NexthopId),
    note: &mut Note,
    sessions: &mut impl Sessions,
) -> Result<u8, Refused> {
    let tuple = tuple(headers, (headers.source(), headers.destination()));
    let sender = (tables, ingress.as_vif(), Direction::Egress);
    let (egress_rule, egress_flags) = ask(sender, &tuple, sessions)?;
    let receiver = (tables, delivers_to(tables, nexthop), Direction::Ingress);
    let (ingress_rule, ingress_flags) = ask(receiver, &tuple, sessions)?;
    (note.egress_rule, note.ingress_rule) = (egress_rule, ingress_rule);
    Ok(egress_flags | ingress_flags)
}

/// What the policies of a vif say in one direction to what stands for itself, for those that have
/// no flow.
///
/// # Errors
/// The rule that does not let it through, or that none does.
pub fn stateless(
    tables: &Tables,
    vif: VifId,
    direction: Direction,
    tuple: &Tuple,
) -> Result<(), Refused> {
    let asked = (tables, Some(vif), direction);
    ask(asked, tuple, &mut super::Stateless).map(|_| ())
}

/// The rule that lets a flow through, and flags for it.
fn ask(
    (tables, vif, direction): (&Tables, Option<VifId>, Direction),
    tuple: &Tuple,
    sessions: &mut impl Sessions,
) -> Result<(Option<RuleId>, u8), Refused> {
    let Some(vif) = vif.and_then(|vif| tables.vif(vif)) else {
        return Ok((None, 0));
    };
    let Some(verdict) = tables.verdict(vif, direction, tuple) else {
        return Ok((None, 0));
    };
    sessions.step(match direction {
        Direction::Egress => Step::EgressPolicy(vif.id, verdict.rule),
        Direction::Ingress => Step::IngressPolicy(vif.id, verdict.rule),
    });
    let reason = match verdict.action {
        RuleAction::Allow => {
            let flags = if verdict.marks { FLAG_RULES } else { 0 };
            return Ok((verdict.rule, flags));
        }
        RuleAction::Deny => DropReason::PolicyDenied,
        RuleAction::Reject => DropReason::PolicyRejected,
    };
    Err(Refused {
        reason,
        rule: verdict.rule,
    })
}

fn tuple(headers: &Headers, (source, destination): (End, End)) -> Tuple {
    let ends = (source.addr, destination.addr);
    let ports = (source.port, destination.port);
    Tuple::new(ends, headers.protocol, ports, headers.icmp)
}

/// The vif that a nexthop delivers to, if it does.
fn delivers_to(tables: &Tables, nexthop: NexthopId) -> Option<VifId> {
    match tables.nexthop(nexthop)? {
        Nexthop::Vif(vif) => Some(*vif),
        _ => None,
    }
}
