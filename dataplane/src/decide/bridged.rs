//! Bridged unicast: bridge entries there and back.

use super::{Decision, Headers, Note, Refused, Sessions, Way, ingress_of, policy};
use crate::reason::DropReason;
use crate::stage::{Ingress, bridge, learn};
use crate::tables::{Nexthop, Tables, Vrf};

/// Both directions of a bridged flow.
pub(super) fn decide(
    tables: &Tables,
    sessions: &mut impl Sessions,
    vrf: &Vrf,
    headers: &Headers,
    ingress: Ingress,
) -> Result<Decision, Refused> {
    bridge::check_source(tables, vrf, headers.src_mac, ingress)?;
    let forward = learn::find(tables, vrf, headers.dst_mac).ok_or(DropReason::NoMac)?;
    bridge::check_way(tables, forward, ingress)?;
    if let Some(Nexthop::Neighbour(_)) = tables.nexthop(forward) {
        return Err(DropReason::NoRoute.into()); // frames are not the fabric's
    }
    let back = learn::find(tables, vrf, headers.src_mac).ok_or(DropReason::ReversePath)?;
    let mut note = Note::default();
    let flags = policy::bridged(tables, headers, (ingress, forward), &mut note, sessions)?;
    let way = |ingress, nexthop| Way {
        ingress,
        nexthop,
        vrf: vrf.id,
        exit: vrf.id,
        epoch: vrf.epoch,
        flags,
        member: 0,
    };
    Ok(Decision {
        forward: way(ingress, forward),
        reverse: way(ingress_of(tables, forward)?, back),
        source: headers.source(),
        destination: headers.destination(),
        note,
    })
}
