//! The virtual router as IPv6 machines find it (RFC 4861 §6.2): solicitations
//! answered, and what it says of itself built.

use std::net::{IpAddr, Ipv6Addr};

use encap::nd::router::{self, Sender};
use encap::{Buffer, EthernetHeader, MacAddr};

use super::respond::link_local;
use super::{Context, Lane, Next};
use crate::reason::DropReason;
use crate::tables::router::Advertised;
use crate::tables::{Vif, Vrf};

/// Between two advertisements to all of a link (RFC 4861 §6.2.6, MIN_DELAY_BETWEEN_RAS).
const PAUSE_MS: u32 = 3_000;

/// IPv6 carries this much on any link, and nothing less may be told (RFC 8200 §5).
const IPV6_MTU: u16 = 1_280;

/// The answer to a router solicitation, or `None` if the packet is not one, or
/// comes out of a tunnel: each machine has its router on its own node.
pub(super) fn answer<B: Buffer>(
    context: &Context,
    vrf: &Vrf,
    lane: &Lane,
    packet: &mut B,
) -> Option<Result<Next, DropReason>> {
    let said = vrf.advertised.as_ref()?;
    lane.ingress.as_vif()?;
    let asked = match router::solicitation(packet.bytes(), &lane.meta) {
        Ok(Some(asked)) => asked,
        Ok(None) => return None,
        Err(error) => return Some(Err(error.into())),
    };
    let (ethernet, _) = EthernetHeader::split(packet.bytes()).ok()?;
    let to = match asked.src.is_unspecified() {
        true => None,
        false => Some((ethernet.src(), asked.src)),
    };
    if to.is_none() && !context.vif.port.advertised.may_act(PAUSE_MS, context.now) {
        return Some(Ok(Next::Consumed)); // it has just heard one
    }
    let built = advertise(packet, vrf, said, context.vif, to);
    Some(built.map(|()| Next::Emit(context.vif.id)))
}

/// Makes `packet` what the router says of itself on a vif's link, to one machine
/// or to all.
///
/// # Errors
/// [`DropReason::NoHeadroom`] if the buffer is too small.
pub fn advertise<B: Buffer>(
    packet: &mut B,
    vrf: &Vrf,
    said: &Advertised,
    vif: &Vif,
    to: Option<(MacAddr, Ipv6Addr)>,
) -> Result<(), DropReason> {
    let IpAddr::V6(src) = link_local(vrf.mac) else {
        unreachable!("it is made from IPv6 bits");
    };
    let sender = Sender {
        mac: vrf.mac,
        src,
        to,
    };
    let mtu = (said.mtu && vif.mtu >= IPV6_MTU).then_some(vif.mtu.into());
    router::advertise(packet, &sender, said.settings, mtu, &said.prefixes)?;
    Ok(())
}
