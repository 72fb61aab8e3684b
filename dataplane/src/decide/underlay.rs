//! The way of a tenant's plain packets, translated to an address outside, through the fabric.

use super::End;
use crate::reason::DropReason;
use crate::spread::SpreadKey;
use crate::tables::{Nexthop, NexthopId, Tables};

/// The neighbour that a nexthop of the underlay leads to; of a group one of those that answer, the
/// same for the same hash.
pub(super) fn way(
    tables: &Tables,
    nexthop: NexthopId,
    spread: u64,
) -> Result<NexthopId, DropReason> {
    if let Some(Nexthop::Neighbour(_)) = tables.nexthop(nexthop) {
        return Ok(nexthop);
    }
    let members = || tables.gateway_members(nexthop);
    let answers = |id: &NexthopId| match tables.nexthop(*id) {
        Some(Nexthop::Neighbour(neighbour)) => {
            let uplink = tables.vif(neighbour.vif);
            neighbour.mac().is_some() && uplink.is_some_and(|uplink| uplink.link.is_up())
        }
        _ => false,
    };
    let draw = |id: &NexthopId| match tables.nexthop(*id) {
        Some(Nexthop::Neighbour(neighbour)) => {
            let end = End {
                addr: neighbour.addr,
                port: 0,
            };
            SpreadKey::new(spread).end(end)
        }
        _ => 0,
    };
    let best = members().filter(answers).max_by_key(draw);
    let any = || members().max_by_key(draw);
    best.or_else(any).ok_or(DropReason::NoUnderlayRoute)
}
