//! What policies ask of the stages: matches are counted and logged, and what has no flow is held
//! against the rules packet by packet.
//!
//! No flow have frames to a group, and to a MAC of which nobody knows where it is. Whoever sends or
//! gets such IP packets needs a rule for each of them, answers included. ARP and neighbour discovery
//! (RFC 4861) always pass: without them there is nothing to have policies about.

use encap::icmpv6::{REDIRECT, ROUTER_SOLICITATION};

use super::{Context, Lane};
use crate::decide::{Decision, Headers, Refused, stateless};
use crate::reason::DropReason;
use crate::tables::policy::log::Record;
use crate::tables::policy::{Direction, RuleCount, RuleId, Tuple};
use crate::tables::{VifId, spec::RuleAction};

/// Counts a packet that a rule does not let through, and logs it if the rule wants that.
pub(super) fn refused(context: &Context, lane: &Lane, headers: &Headers, refused: &Refused) {
    if let Some(rule) = refused.rule {
        count(context, lane, rule, &tuple_of(headers));
    }
}

/// Logs a flow that was let through, if its rules want that.
pub(super) fn allowed(context: &Context, lane: &Lane, headers: &Headers, decision: &Decision) {
    let note = &decision.note;
    for rule in note.egress_rule.into_iter().chain(note.ingress_rule) {
        log(context, lane, rule, &tuple_of(headers));
    }
}

/// Whether a machine may send a packet that will have no flow.
///
/// # Errors
/// Why not; counted for the rule, not yet for the vif.
pub(super) fn may_send(context: &Context, lane: &Lane, frame: &[u8]) -> Result<(), DropReason> {
    match lane.ingress.as_vif() {
        Some(vif) => may_pass(context, lane, frame, (vif, Direction::Egress)),
        None => Ok(()), // the node it came from has asked
    }
}

/// Whether a machine may get a packet that has no flow.
///
/// # Errors
/// As of [`may_send`].
pub(super) fn may_get(
    context: &Context,
    lane: &Lane,
    frame: &[u8],
    vif: VifId,
) -> Result<(), DropReason> {
    may_pass(context, lane, frame, (vif, Direction::Ingress))
}

fn may_pass(
    context: &Context,
    lane: &Lane,
    frame: &[u8],
    (vif, direction): (VifId, Direction),
) -> Result<(), DropReason> {
    let meta = &lane.meta;
    let message = (meta.l4_flags, meta.icmp_code);
    let is_nd = meta.is_icmpv6() && (ROUTER_SOLICITATION..=REDIRECT).contains(&message.0);
    let Some(ends) = meta.addrs(frame).filter(|_| !is_nd) else {
        return Ok(());
    };
    let ports = (meta.src_port, meta.dst_port);
    let tuple = Tuple::new(ends, meta.protocol, ports, Some(message));
    stateless(context.tables, vif, direction, &tuple).map_err(|refused| {
        if let Some(rule) = refused.rule {
            count(context, lane, rule, &tuple);
        }
        refused.reason
    })
}

fn count(context: &Context, lane: &Lane, rule: RuleId, tuple: &Tuple) {
    let one = RuleCount {
        packets: 1,
        bytes: lane.meta.end.into(),
    };
    context.tables.count_rule(context.worker, rule, one);
    log(context, lane, rule, tuple);
}

fn log(context: &Context, lane: &Lane, id: RuleId, tuple: &Tuple) {
    if let Some(rule) = context.tables.rule(id).filter(|rule| rule.log) {
        let action: RuleAction = rule.action;
        context.tables.rule_log().push(Record {
            at: context.now,
            rule: id,
            vif: lane.ingress.as_vif(),
            tuple: *tuple,
            action,
        });
    }
}

fn tuple_of(headers: &Headers) -> Tuple {
    let ends = (headers.src_addr, headers.dst_addr);
    let ports = (headers.src_port, headers.dst_port);
    Tuple::new(ends, headers.protocol, ports, headers.icmp)
}
