//! Head-end replication: one frame in, a copy by each member of a group out.
//!
//! Nothing goes back to the vif it came from, and nothing from one tunnel into
//! another: every node delivers to its own machines (RFC 7432 §11.2 calls the
//! scheme ingress replication). The last member gets the frame itself. Each
//! copy counts as originated where the frame came in, and is then sent or
//! dropped like any frame, so the accounts hold with however many of them.

use encap::{Buffer, buffer};

use super::forward::{self, Exits};
use super::{Context, Lane, Layer, policy};
use crate::io::Pool;
use crate::reason::DropReason;
use crate::tables::replicate::Group;
use crate::tables::{Nexthop, NexthopId, Tables};

/// Sends a frame to every member that may have it.
///
/// # Errors
/// What kept the frame itself from being sent; what kept copies is counted here.
pub(super) fn run<B: Buffer>(
    context: &Context,
    lane: &Lane,
    group: &Group,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let counters = context.vif.counters.block(context.worker);
    let mut members = group
        .members
        .iter()
        .copied()
        .filter(|id| is_eligible(context.tables, *id, lane));
    let Some(mut member) = members.next() else {
        return Err(DropReason::NoMember);
    };
    for next in members {
        counters.originated();
        let sent = may_have(context, lane, member, packet.bytes())
            .and_then(|()| copy(&packet, exits.pool))
            .and_then(|copy| {
                forward::by_nexthop(context, lane, member, Layer::Bridged, copy, exits)
            });
        if let Err(reason) = sent {
            exits.count(context, lane, reason);
        }
        member = next;
    }
    may_have(context, lane, member, packet.bytes())?;
    forward::by_nexthop(context, lane, member, Layer::Bridged, packet, exits)
}

/// Whether the policies of the machine behind a member let it have the frame.
fn may_have(
    context: &Context,
    lane: &Lane,
    member: NexthopId,
    frame: &[u8],
) -> Result<(), DropReason> {
    match context.tables.nexthop(member) {
        Some(Nexthop::Vif(vif)) => policy::may_get(context, lane, frame, *vif),
        _ => Ok(()),
    }
}

/// Whether the member may have the frame: unless it came from there, or from another tunnel.
fn is_eligible(tables: &Tables, member: NexthopId, lane: &Lane) -> bool {
    match tables.nexthop(member) {
        Some(Nexthop::Vif(vif)) => lane.ingress.as_vif() != Some(*vif),
        Some(Nexthop::Tunnel(_) | Nexthop::Unreachable) => lane.ingress.as_peer().is_none(),
        // `commit` refuses all others as members.
        _ => false,
    }
}

/// The same bytes in buffers of their own.
pub(super) fn copy<B: Buffer>(packet: &B, pool: &mut dyn Pool<B>) -> Result<B, DropReason> {
    let mut copy = pool.alloc().ok_or(DropReason::NoBuffer)?;
    copy.truncate(0);
    let all = 0..packet.len();
    let copied = buffer::append_range(packet, all, &mut copy, &mut || pool.alloc());
    copied.map_err(|_no_room| DropReason::NoBuffer)?;
    Ok(copy)
}
