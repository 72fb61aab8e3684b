//! Bridged unicast: bridge entries there and back.

use super::Headers;
use crate::reason::DropReason;
use crate::stage::{Ingress, bridge, learn};
use crate::tables::{NexthopId, Tables, Vrf};

/// The nexthops of both directions.
pub(super) fn decide(
    tables: &Tables,
    vrf: &Vrf,
    headers: &Headers,
    ingress: Ingress,
) -> Result<(NexthopId, NexthopId), DropReason> {
    bridge::check_source(tables, vrf, headers.src_mac, ingress)?;
    let forward = learn::find(tables, vrf, headers.dst_mac).ok_or(DropReason::NoMac)?;
    bridge::check_way(tables, forward, ingress)?;
    let back = learn::find(tables, vrf, headers.src_mac).ok_or(DropReason::ReversePath)?;
    Ok((forward, back))
}
