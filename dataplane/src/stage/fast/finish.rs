//! Makes a packet what leaves: stages `rewrite` and `forward` on a packet whose way is known.
//!
//! Everything that may be in the way is asked before the first byte changes.

use encap::{Buffer, Inner, Offload, Plain, ethernet, rewrite, translate};
use flowtable::{Rewrite, Translation, Verdict};

use super::way::Way;
use super::{Found, Inside};
use crate::stage::translate::Becomes;
use crate::stage::{Context, translate as ends};
use crate::tables::VifId;
use crate::tables::spec::Payload;

impl<'t> Found<'_, 't> {
    /// Takes the packet to the vif it leaves by; `None`, and the packet as it was, if that is a
    /// matter of the other stages.
    #[inline(always)]
    pub(super) fn send<B: Buffer>(&self, context: &Context<'t>, packet: &mut B) -> Option<VifId> {
        let (seen, plain) = (self.seen, &self.seen.plain);
        let frame_len = usize::from(seen.end - seen.before);
        let way = self.way(context, frame_len)?;
        let change = match self.hit.is_simple() {
            true => None,
            false => Some(self.change(context)?),
        };
        if let Way::Tunnel { path, .. } = &way
            && packet.headroom() < path.header.len()
        {
            return None;
        }
        self.unwrap(packet);
        let flows = context.flows;
        flows.touch(self.hit, 1, frame_len as u32, context.now);
        if let Some(change) = &change {
            translate(packet.bytes_mut(), plain, change);
        }
        let frame = packet.bytes_mut();
        match way {
            Way::Vif { vif, vrf } => {
                rewrite::route_plain(frame, plain.is_ipv4, vif.mac, vrf.mac);
                Some(vif.id)
            }
            Way::Tunnel {
                tunnel,
                path,
                mac,
                vrf,
            } => {
                let dst = tunnel.inner_mac.unwrap_or(vrf.mac);
                rewrite::route_plain(frame, plain.is_ipv4, dst, vrf.mac);
                if tunnel.payload == Payload::Ip {
                    packet.truncate(ethernet::LEN + plain.len());
                    _ = packet.trim_front(ethernet::LEN);
                }
                let inner = Inner {
                    entropy: self.entropy,
                    traffic_class: plain.traffic_class,
                    ttl: plain.ttl - 1,
                };
                // It cannot fail: there is room, and the packet is no longer than its way takes.
                _ = path.header.push(packet, mac, &inner);
                Some(path.egress)
            }
        }
    }

    /// Takes the outer headers and what is behind the datagram off, and puts an Ethernet header to
    /// the front of what has none.
    #[inline(always)]
    fn unwrap<B: Buffer>(&self, packet: &mut B) {
        let inside = self.from.inside;
        if inside == Inside::Itself {
            return;
        }
        if packet.offload() != Offload::NONE {
            packet.set_offload(Offload::NONE);
        }
        packet.truncate(self.seen.end.into());
        _ = packet.trim_front(self.seen.before.into());
        if inside == Inside::Packet
            && let Some(link) = packet.bytes_mut().first_chunk_mut::<{ ethernet::LEN }>()
        {
            link[12..].copy_from_slice(&self.seen.plain.ether_type().to_be_bytes());
        }
    }

    /// The other ends the packet gets; `None` if there is more to it than that.
    #[inline(never)]
    fn change(&self, context: &Context) -> Option<translate::Change> {
        let plain = &self.seen.plain;
        if self.hit.flags() != 0 || self.hit.verdict() != Verdict::Forward {
            return None;
        }
        if plain.is_ipv4
            && let Some(change) = own_change(&self.hit.rewrite())
        {
            return (change.src.is_none() || !plain.may_be_cut).then_some(change);
        }
        let becomes = ends::becomes_of(context.flows, self.hit, plain.is_ipv4).ok()?;
        let Becomes::Same(change) = becomes else {
            return None;
        };
        // What may be in pieces and leaves from an address that others have, too, gets another
        // identification.
        (change.src.is_none() || !plain.may_be_cut).then_some(change)
    }
}

/// The change that an action says by itself.
#[inline(always)]
fn own_change(rewrite: &Rewrite) -> Option<translate::Change> {
    let end = |translation| match translation {
        Translation::Keep => Some(None),
        Translation::To(addr, port) => {
            let addr = addr.into();
            Some(Some(translate::End { addr, port }))
        }
        Translation::Partner => None,
    };
    Some(translate::Change {
        src: end(rewrite.src)?,
        dst: end(rewrite.dst)?,
    })
}

/// Gives a frame's packet other ends. It cannot fail: nothing is out of the ordinary about it.
#[inline(never)]
fn translate(frame: &mut [u8], plain: &Plain, change: &translate::Change) {
    let here = Plain {
        l3: ethernet::LEN as u16,
        end: (ethernet::LEN + plain.len()) as u16,
        ..*plain
    };
    _ = translate::apply(frame, &mut here.meta(&[]), change);
}
