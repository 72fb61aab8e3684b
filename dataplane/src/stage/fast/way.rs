//! Whether a flow says all about a packet, and which way it takes then: stages `flow` and `forward`
//! where nothing has to be decided, waited for, cut or told.

use encap::{MacAddr, ethernet};

use super::Found;
use crate::stage::{Context, size, state};
use crate::tables::path::Path;
use crate::tables::spec::{FragmentMode, Payload};
use crate::tables::{Nexthop, NexthopId, Tunnel, Vif, Vrf, VrfId};

/// How a packet leaves.
pub(super) enum Way<'t> {
    /// Delivered to a vif.
    Vif {
        vif: &'t Vif,
        /// That vif's network.
        vrf: &'t Vrf,
    },
    /// Through a tunnel.
    Tunnel {
        tunnel: &'t Tunnel,
        path: &'t Path,
        /// Who takes it from the uplink.
        mac: MacAddr,
        /// The network it leaves.
        vrf: &'t Vrf,
    },
}

impl<'t> Found<'_, 't> {
    /// `None` if there is more to it.
    #[inline(always)]
    pub(super) fn way(&self, context: &Context<'t>, frame_len: usize) -> Option<Way<'t>> {
        let hit = self.hit;
        let from = self.from;
        let plain = &self.seen.plain;
        if hit.is_stale(from.vrf.epoch)
            || hit.ingress() != from.ingress.to_bits()
            || from.named.is_some_and(|named| named.0 != hit.nexthop())
        {
            return None;
        }
        let is_reply = !hit.id.is_forward();
        if !state::is_settled(hit.class(), plain.protocol, plain.tcp_flags, is_reply) {
            return None;
        }
        let tables = context.tables;
        let id = NexthopId(hit.nexthop());
        match tables.nexthop(id)? {
            Nexthop::Tunnel(tunnel) => {
                let most = match tunnel.payload {
                    Payload::Ethernet => frame_len - ethernet::LEN,
                    Payload::Ip => plain.len(),
                };
                let fits =
                    plain.len() <= size::inner_mtu(tunnel, context.now) && most <= tunnel.inner_mtu;
                if tunnel.fragment != FragmentMode::Inner || !fits {
                    return None;
                }
                let path = tunnel.paths.choose(self.entropy);
                // A group's flow moves as soon as its member fails; that is no commit.
                if hit.group_choice() != 0 && !path.is_usable() {
                    return None;
                }
                let mac = path.neighbour.mac()?;
                let exit = VrfId(hit.exit().into());
                let vrf = match exit == from.vrf.id {
                    true => from.vrf,
                    false => tables.vrf(exit)?,
                };
                Some(Way::Tunnel {
                    tunnel,
                    path,
                    mac,
                    vrf,
                })
            }
            Nexthop::Vif(vif) => {
                let vif = tables.vif(*vif)?;
                let fits = frame_len <= ethernet::LEN + usize::from(vif.mtu);
                let is_usable = hit.group_choice() == 0 || vif.link.is_up();
                if vif.is_guarded || !vif.port.is_strict || !fits || !is_usable {
                    return None;
                }
                let vrf = match vif.vrf == from.vrf.id {
                    true => from.vrf,
                    false => tables.vrf(vif.vrf)?,
                };
                Some(Way::Vif { vif, vrf })
            }
            _ => None,
        }
    }
}
