//! The first pass: the vif's VLAN tag comes off, the outer headers are found.

use encap::{Buffer, Meta, Offload};

use super::{Burst, Context, Ingress, Lane, Next, Translated, offload};
use crate::reason::DropReason;
use crate::tables::NexthopId;
use crate::tables::spec::Role;

/// Makes a lane for every packet; malformed ones are dropped with the reason. What stage `fast` has
/// finished needs no more than to be sent.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    burst.lanes.clear();
    for (index, packet) in burst.packets.iter_mut().enumerate() {
        if let Some(vif) = burst.finished.get(index) {
            burst
                .lanes
                .push(lane(context, Meta::new(0, 0), Next::Emit(vif)));
            continue;
        }
        let parsed = headers(context, packet).and_then(|meta| {
            if packet.offload() != Offload::NONE {
                offload::arrived(context, packet, &meta)?;
            }
            Ok(meta)
        });
        let (meta, next) = match parsed {
            // Whoever takes the packet says what becomes of it.
            Ok(meta) => (meta, Next::Consumed),
            Err(reason) => (Meta::new(0, 0), Next::Drop(reason)),
        };
        burst.lanes.push(lane(context, meta, next));
    }
}

fn lane(context: &Context, meta: Meta, next: Next) -> Lane {
    Lane {
        meta,
        vrf: context.vif.vrf,
        exit: Lane::SAME,
        is_special: false,
        translated: Translated::No,
        is_copy: false,
        ingress: Ingress::vif(context.vif.id),
        entropy: 0,
        named: NexthopId(0),
        next,
    }
}

fn headers<B: Buffer>(context: &Context, packet: &mut B) -> Result<Meta, DropReason> {
    let meta = match context.vif.role {
        Role::Fabric => encap::parse_outer(packet)?,
        Role::Tenant | Role::Host => encap::parse_packet(packet)?,
    };
    if !meta.tagged && context.vif.vlan.is_none() {
        return Ok(meta);
    }
    // What passes between fabric and kernel keeps a tag that is not ours.
    let is_tenant = context.vif.role == Role::Tenant;
    if context.vif.vlan.is_none() && meta.vlan.is_some() && !is_tenant {
        return Ok(meta);
    }
    if meta.vlan != context.vif.vlan {
        return Err(DropReason::VlanUnexpected);
    }
    encap::rewrite::pop_vlan(packet)?;
    Ok(encap::parse_packet(packet)?)
}
