//! Frames from a tenant's machine: only with its own addresses, then into its
//! network (DESIGN: `spoofed_source` before anything else).
//!
//! Its neighbours believe what they hear, so a machine may speak for itself only:
//! ARP and neighbour advertisements carry its own addresses and MAC, nobody has
//! the router's, and what only routers send is not let through (RFC 6105).

use std::net::IpAddr;

use encap::icmpv6::{REDIRECT, ROUTER_ADVERTISEMENT};
use encap::{ArpPacket, Buffer, EthernetHeader, Fragment, MacAddr, Network, nd};

use super::{Burst, Context, Lane, Next, overlay, respond};
use crate::reason::DropReason;

/// Admits or drops each packet, then asks the overlay what becomes of it.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if matches!(lane.next, Next::Drop(_) | Next::Emit(_)) {
            continue;
        }
        lane.next = match admit(context, lane, packet.bytes()) {
            Ok(()) => overlay::classify(context, lane, packet),
            Err(reason) => Next::Drop(reason),
        };
    }
}

fn admit(context: &Context, lane: &Lane, frame: &[u8]) -> Result<(), DropReason> {
    let vif = context.vif;
    let (ethernet, _) = EthernetHeader::split(frame)?;
    // Behind a vif without a MAC of its own they are learned, in `overlay`.
    if vif.port.is_strict && ethernet.src() != vif.mac {
        return Err(DropReason::SpoofedMac);
    }
    let allowed = match lane.meta.network {
        Network::Arp => {
            let arp = ArpPacket::split(&frame[lane.meta.l3.into()..])?.0;
            // 0.0.0.0 asks whether an address is free (RFC 5227 §2.1.1).
            arp.sender_mac() == ethernet.src()
                && (arp.sender_ip().is_unspecified()
                    || speaks_for(context, ethernet.src(), arp.sender_ip().into())?)
        }
        Network::Ipv4 => match lane.meta.src_addr(frame) {
            Some(addr) => vif.may_send_from(addr),
            None => false,
        },
        Network::Ipv6 => admit_ipv6(context, lane, frame, ethernet.src())?,
        Network::Other => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(DropReason::SpoofedSource)
    }
}

fn admit_ipv6(
    context: &Context,
    lane: &Lane,
    frame: &[u8],
    mac: MacAddr,
) -> Result<bool, DropReason> {
    let meta = &lane.meta;
    // A fragment that is not the first does nothing without the first.
    if meta.is_icmpv6() && meta.fragment != Fragment::Later {
        if matches!(meta.l4_flags, ROUTER_ADVERTISEMENT | REDIRECT) {
            return Err(DropReason::RaGuard);
        }
        if let Some(told) = nd::advertisement(frame, meta)? {
            let is_own = told.target_mac.is_none_or(|told| told == mac);
            if !is_own || !speaks_for(context, mac, told.target.into())? {
                return Ok(false);
            }
        }
    }
    match meta.src_addr(frame) {
        // Neighbour discovery and the like; routed packets are checked again.
        Some(IpAddr::V6(addr)) if addr.is_unspecified() => Ok(true),
        // Whoever speaks as the router could redirect its neighbours (RFC 4861 §8.1).
        Some(addr @ IpAddr::V6(v6)) if v6.is_unicast_link_local() => speaks_for(context, mac, addr),
        Some(addr) => Ok(context.vif.may_send_from(addr)),
        None => Ok(false),
    }
}

/// Whether the machine with this MAC may say that an address is its own: not the
/// router's, and not one that is configured for another.
fn speaks_for(context: &Context, mac: MacAddr, addr: IpAddr) -> Result<bool, DropReason> {
    let vrf = context
        .tables
        .vrf(context.vif.vrf)
        .ok_or(DropReason::VifGone)?;
    let is_link_local = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    // A service's address is answered for by the router, whoever may send from it.
    let is_free = vrf.neighbours.get(&addr).is_none_or(|owner| *owner == mac)
        && !context.vif.loaned.contains(&addr);
    Ok(is_free
        && !respond::is_gateway(vrf, addr)
        && (is_link_local || context.vif.may_send_from(addr)))
}
