//! What is held against every packet of a vif or of a network: meters, and copies for mirrors.
//!
//! Towards the vrouter both are asked once a batch, as all of a batch came from one vif; towards a
//! machine packet by packet, where it is delivered. What a meter refuses is mirrored nevertheless:
//! the copy shows what was sent.

use encap::Buffer;

use super::forward::{self, Exits};
use super::{Burst, Context, Lane, Layer, Next, replicate};
use crate::reason::DropReason;
use crate::tables::meter::{MeterId, MirrorId};
use crate::tables::{Tables, Vif};

/// What a tenant's vif sends: copied, and metered.
pub fn egress<B: Buffer>(context: &Context, burst: &mut Burst<B>, exits: &mut Exits<B>) {
    let vif = context.vif;
    let vrf = context.tables.vrf(vif.vrf).map(|vrf| vrf.guarding);
    let vrf = vrf.unwrap_or_default();
    let mirrors = [vif.guarding.mirror, vrf.mirror];
    let meters = [vif.guarding.egress_meter, vrf.egress_meter];
    if mirrors == [None; 2] && meters == [None; 2] {
        return;
    }
    for (packet, lane) in burst.iter_mut() {
        if matches!(lane.next, Next::Drop(_)) {
            continue;
        }
        for mirror in mirrors.into_iter().flatten() {
            copy(context, lane, mirror, packet, exits);
        }
        if !admits(context, meters, packet.len()) {
            lane.next = Next::Drop(DropReason::Metered);
        }
    }
}

/// What a tenant's vif is about to get: copied, and metered.
///
/// # Errors
/// [`DropReason::Metered`].
#[inline]
pub(super) fn ingress<B: Buffer>(
    context: &Context,
    lane: &Lane,
    vif: &Vif,
    packet: &B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if vif.is_guarded {
        return ingress_guarded(context, lane, vif, packet, exits);
    }
    Ok(())
}

#[cold]
fn ingress_guarded<B: Buffer>(
    context: &Context,
    lane: &Lane,
    vif: &Vif,
    packet: &B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let vrf = context.tables.vrf(vif.vrf).map(|vrf| vrf.guarding);
    let vrf = vrf.unwrap_or_default();
    for mirror in [vif.guarding.mirror, vrf.mirror].into_iter().flatten() {
        copy(context, lane, mirror, packet, exits);
    }
    let meters = [vif.guarding.ingress_meter, vrf.ingress_meter];
    match admits(context, meters, packet.len()) {
        true => Ok(()),
        false => Err(DropReason::Metered),
    }
}

fn admits(context: &Context, meters: [Option<MeterId>; 2], len: usize) -> bool {
    let bytes = len.saturating_sub(encap::ethernet::LEN);
    let mut meters = meters.into_iter().flatten();
    meters.all(|id| {
        let meter = context.tables.meter(id);
        meter.is_none_or(|meter| meter.take(bytes, context.now))
    })
}

/// Sends a copy to a mirror. It counts as originated where the packet came in, and is then sent or
/// dropped like any; nothing is copied again.
pub(super) fn copy<B: Buffer>(
    context: &Context,
    lane: &Lane,
    mirror: MirrorId,
    packet: &B,
    exits: &mut Exits<B>,
) {
    let Some(nexthop) = nexthop(context.tables, mirror) else {
        return;
    };
    let counters = context.vif.counters.block(context.worker);
    counters.originated();
    let copied = replicate::copy(packet, exits.pool);
    let sent = copied.and_then(|copy| {
        let lane = Lane {
            is_copy: true,
            ..*lane
        };
        forward::by_nexthop(context, &lane, nexthop, Layer::Bridged, copy, exits)
    });
    if let Err(reason) = sent {
        exits.count(context, lane, reason);
    }
}

fn nexthop(tables: &Tables, mirror: MirrorId) -> Option<crate::tables::NexthopId> {
    tables.mirror(mirror).map(|mirror| mirror.nexthop)
}
