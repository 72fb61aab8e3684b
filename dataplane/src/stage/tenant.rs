//! Frames from a tenant's machine: only with its own addresses, then into its
//! network (DESIGN: `spoofed_source` before anything else).

use std::net::IpAddr;

use encap::{ArpPacket, Buffer, EthernetHeader, Network};

use super::{Burst, Context, Lane, Next, overlay, respond};
use crate::reason::DropReason;

/// Admits or drops each packet, then asks the overlay what becomes of it.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    for (packet, lane) in burst.iter_mut() {
        if matches!(lane.next, Next::Drop(_)) {
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
    if ethernet.src() != vif.mac {
        return Err(DropReason::SpoofedMac);
    }
    let allowed = match lane.meta.network {
        Network::Arp => {
            let arp = ArpPacket::split(&frame[lane.meta.l3.into()..])?.0;
            // 0.0.0.0 asks whether an address is free (RFC 5227 §2.1.1).
            arp.sender_mac() == vif.mac
                && (arp.sender_ip().is_unspecified() || vif.may_send_from(arp.sender_ip().into()))
        }
        Network::Ipv4 | Network::Ipv6 => match lane.meta.src_addr(frame) {
            // Neighbour discovery and the like; routed packets are checked again.
            Some(IpAddr::V6(addr)) if addr.is_unspecified() => true,
            // Whoever speaks as the router could redirect its neighbours (RFC 4861 §8.1).
            Some(addr @ IpAddr::V6(v6)) if v6.is_unicast_link_local() => {
                let vrf = context.tables.vrf(vif.vrf).ok_or(DropReason::VifGone)?;
                addr != respond::link_local(vrf.mac)
            }
            Some(addr) => vif.may_send_from(addr),
            None => false,
        },
        Network::Other => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(DropReason::SpoofedSource)
    }
}
