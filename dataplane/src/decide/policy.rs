//! The policies of the vifs at both ends.

use super::routed::Walk;
use super::{Headers, Note, Refused, Sessions};
use crate::stage::Ingress;
use crate::tables::{NexthopId, Tables};

/// What the sender's vif may send: flags for the flow.
pub(super) fn egress(walk: &mut Walk, sessions: &mut impl Sessions) -> Result<u8, Refused> {
    let _ = (walk.seen(), sessions);
    Ok(0)
}

/// What may be sent to the vif that `nexthop` delivers to: flags for the flow.
pub(super) fn ingress(
    walk: &mut Walk,
    nexthop: NexthopId,
    sessions: &mut impl Sessions,
) -> Result<u8, Refused> {
    let _ = (walk, nexthop, sessions);
    Ok(0)
}

/// Both, for a bridged flow.
pub(super) fn bridged(
    tables: &Tables,
    headers: &Headers,
    (ingress, nexthop): (Ingress, NexthopId),
    note: &mut Note,
    sessions: &mut impl Sessions,
) -> Result<u8, Refused> {
    let _ = (tables, headers, ingress, nexthop, note, sessions);
    Ok(0)
}
