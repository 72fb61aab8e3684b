//! Packets from the fabric to addresses that tenants' machines have there: floating addresses, pools
//! and services of the underlay. They take the flows' way; all other plain packets are the kernel's.

use std::net::IpAddr;

use encap::{Buffer, Meta, Quote, icmp_error};

use super::{Context, Ingress, Lane, Next, overlay};
use crate::decide::End;
use crate::reason::DropReason;
use crate::sessions::Transport;
use crate::tables::{Target, UNDERLAY};

/// Whether the address is a virtual one of the underlay.
#[inline]
pub fn is_virtual(context: &Context, addr: IpAddr) -> bool {
    let underlay = context.tables.vrf(UNDERLAY);
    underlay.is_some_and(|vrf| matches!(vrf.routes.lookup(addr), Some(Target::Vip(_))))
}

/// Whether a packet to a fabric vif's own address is for a port that a pool has given to a machine.
/// What is not is the kernel's.
pub fn is_bound(context: &Context, meta: &Meta, frame: &[u8], addr: IpAddr) -> bool {
    let pool = context.tables.underlay().pool_at(addr);
    let Some(pool) = pool.and_then(|pool| context.tables.pool(pool)) else {
        return false;
    };
    // An error is for whom the packet was from that it quotes.
    let (protocol, port) = match icmp_error::is_error(meta) {
        false => (meta.protocol, meta.dst_port),
        true => match Quote::read(frame, meta) {
            Ok(Some(quote)) if quote.src == addr => (quote.protocol, quote.src_port),
            _ => return false,
        },
    };
    let transport = Transport::of(protocol);
    transport.is_some_and(|transport| pool.allotment.is_taken(transport, End { addr, port }))
}

/// What becomes of it.
pub fn route<B: Buffer>(context: &Context, lane: &mut Lane, packet: &B) -> Next {
    let underlay = context.tables.underlay();
    let Some(vrf) = context.tables.vrf(UNDERLAY) else {
        return Next::Drop(DropReason::NoRoute);
    };
    lane.vrf = UNDERLAY;
    // Of several uplinks any may bring it: the flow does not ask which.
    lane.ingress = Ingress::vif(*underlay.fabrics.first().unwrap_or(&context.vif.id));
    overlay::routed(vrf, lane, packet.bytes())
}
