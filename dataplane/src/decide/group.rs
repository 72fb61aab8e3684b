//! Groups of nexthops: which member a flow takes.

use std::net::IpAddr;

use super::routed::Walk;
use super::sessions::{Chosen, Step};
use super::{End, Sessions};
use crate::reason::DropReason;
use crate::spread::Tuple;
use crate::stage::bridge;
use crate::tables::{Nexthop, NexthopId, PeerId, Tables};

/// The nexthop itself, or of a group the member that the flow takes and its number from 1 on.
///
/// A flow keeps its member as long as that is usable. Where none is, it takes one that may become so.
pub(super) fn member(
    walk: &Walk,
    nexthop: NexthopId,
    sessions: &mut impl Sessions,
) -> Result<(NexthopId, u8), DropReason> {
    let tables = walk.tables;
    let Some(Nexthop::Group(group)) = tables.nexthop(nexthop) else {
        return Ok((nexthop, 0));
    };
    let may_take = |id| bridge::check_horizon(tables, id, walk.ingress).is_ok();
    let is_good = |id| tables.is_usable(id) && may_take(id);
    let kept = walk.headers.kept.map(|kept| kept.nexthop);
    let kept = group.find(|id| Some(id) == kept && is_good(id));
    let kept = kept.map(|found| (found, Chosen::Kept));
    let chosen = kept.or_else(|| {
        let tuple = Tuple {
            src: walk.headers.source(),
            dst: walk.dst,
            protocol: walk.headers.protocol,
        };
        let key = tables.spread_key();
        let hash = key.flow(&tuple, group.hash, group.symmetric);
        let good = group.pick(hash, is_good);
        let good = good.map(|found| (found, Chosen::Hash));
        let any = || Some((group.pick(hash, may_take)?, Chosen::NoneUsable));
        good.or_else(any)
    });
    let ((member, number), why) = chosen.ok_or(DropReason::SplitHorizon)?;
    sessions.step(Step::Member(nexthop, member, why));
    Ok((member, number))
}

/// The way back to `addr`, of which packets come from this remote: the nexthop, or of a group the
/// member, that is a tunnel there, with its number. Of a group whose member that is has failed,
/// another one.
pub(super) fn towards(
    tables: &Tables,
    nexthop: NexthopId,
    addr: IpAddr,
    peer: PeerId,
) -> Option<(NexthopId, u8)> {
    let ends_there = |id| match tables.nexthop(id) {
        Some(Nexthop::Tunnel(tunnel)) => tunnel.peer == peer,
        _ => false,
    };
    let Some(Nexthop::Group(group)) = tables.nexthop(nexthop) else {
        return ends_there(nexthop).then_some((nexthop, 0));
    };
    let (own, number) = group.find(ends_there)?;
    if tables.is_usable(own) {
        return Some((own, number));
    }
    let hash = tables.spread_key().end(End { addr, port: 0 });
    let other = group.pick(hash, |id| tables.is_usable(id));
    other.or(Some((own, number)))
}
