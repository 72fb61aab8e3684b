//! ICMP errors in tenant networks: each goes with the flow of the packet it is
//! about, so that it needs no rule of its own and arrives translated, inside and
//! out (RFC 5508 §4, RFC 4787 REQ-10, RFC 8900 §6.5).
//!
//! The quoted packet left towards where the error comes from. So the error is one
//! of the flow's packets in the opposite direction, that of the reversed key, and
//! must come from where those come from; any router on that side may have sent it.
//! It is counted with the flow, and neither prolongs nor ends it (REQ-12).
//!
//! An error about no flow goes its way like any packet, as long as no translation
//! and no policy is on that way: see `may_stand_alone`.

use std::net::{IpAddr, Ipv6Addr};

use encap::translate::{self, Change, Ends};
use encap::{Buffer, Fragment, L4Checksum, Meta, Offload, Quote, icmp_error, protocol};
use flowtable::{FlowView, Hit, Key};

use super::translate::{Becomes, becomes};
use super::{Burst, Context, Lane, Layer, Next, Translated, flow};
use crate::decide::{self, Decision, Headers};
use crate::reason::DropReason;

/// Finds the flows that errors of the batch are about; those without one are left to stage `flow`.
pub fn run<B: Buffer>(context: &Context, burst: &mut Burst<B>) {
    let Burst {
        packets,
        lanes,
        hits,
        ..
    } = burst;
    for (index, (packet, lane)) in packets.iter_mut().zip(lanes).enumerate() {
        let Next::Flow(layer) = lane.next else {
            continue;
        };
        if !is_error(&lane.meta) {
            continue;
        }
        match find(context, lane, layer, packet) {
            Ok(None) => {}
            Ok(Some(related)) => {
                hits[index] = Some(related.hit);
                lane.next = related.send(context, lane, packet);
            }
            Err(reason) => lane.next = Next::Drop(reason),
        }
    }
}

/// Whether the packet is an ICMP error, or begins one.
#[inline]
pub(super) fn is_error(meta: &Meta) -> bool {
    matches!(meta.protocol, protocol::ICMP | protocol::ICMPV6)
        && meta.fragment != Fragment::Later
        && icmp_error::is_error(meta)
}

/// Whether what has been decided about an ICMP error that is about no flow may be done: only where
/// nothing is translated and no policy is asked. Of other packets, yes.
///
/// # Errors
/// [`DropReason::ErrorUnrelated`].
pub(super) fn may_stand_alone(headers: &Headers, decision: &Decision) -> Result<(), DropReason> {
    // Type 0 is what later fragments have, and no error.
    let is_error = match (headers.src_addr, headers.icmp) {
        (IpAddr::V4(_), Some((kind, _))) => matches!(kind, 3..=5 | 11 | 12),
        (IpAddr::V6(_), Some((kind, _))) => matches!(kind, 1..=127 | 137),
        (_, None) => false,
    };
    let note = &decision.note;
    let is_bound = note.egress_rule.is_some() || note.ingress_rule.is_some() || note.binding != 0;
    let is_same =
        decision.source == headers.source() && decision.destination == headers.destination();
    match is_error && (is_bound || !is_same) {
        true => Err(DropReason::ErrorUnrelated),
        false => Ok(()),
    }
}

/// An error and the flow it is about.
struct Related {
    quote: Quote,
    key: Key,
    hit: Hit,
}

/// The flow of the quoted packet, if there is one that says where the error goes.
///
/// # Errors
/// What is wrong with the error: a checksum, its own or of the quoted IPv4 header (RFC 5508 REQ-3), or
/// that it is in fragments.
fn find<B: Buffer>(
    context: &Context,
    lane: &Lane,
    layer: Layer,
    packet: &mut B,
) -> Result<Option<Related>, DropReason> {
    // It is short, and read as a whole.
    packet.pull_up(lane.meta.end.into())?;
    if packet.offload().l4_checksum == L4Checksum::Partial {
        encap::checksum::fill_packet(packet, &lane.meta);
        packet.set_offload(Offload::NONE);
    }
    let frame = packet.bytes();
    let Some(quote) = Quote::read(frame, &lane.meta)? else {
        return Ok(None);
    };
    let Some((src, dst)) = lane.meta.addrs(frame) else {
        return Ok(None);
    };
    let is_redirect = lane.meta.is_icmp() && quote.kind == REDIRECT;
    let is_misdirected = dst != quote.src || decide::is_martian_source(src);
    if is_redirect || is_misdirected || quote.is_later_fragment {
        return Ok(None);
    }
    let Some(key) = key(lane, layer, &quote) else {
        return Ok(None);
    };
    let hit = context.flows.lookup(&key);
    let hit = hit.filter(|hit| is_from_there(context, lane, &key, hit));
    Ok(hit.map(|hit| Related { quote, key, hit }))
}

/// Whether the error came from where its direction's packets come from, and the flow is one of the
/// configuration as it is.
fn is_from_there(context: &Context, lane: &Lane, key: &Key, hit: &Hit) -> bool {
    if flow::is_fresh(context, lane, hit) {
        return true;
    }
    let vrf = context.tables.vrf(lane.vrf);
    let is_stale = vrf.is_none_or(|vrf| hit.is_stale(vrf.epoch));
    let flow = context.flows.flow(hit.id, hit.version());
    let by_other = |view: FlowView| flow::comes_by_other_member(context, lane, key, &view, hit);
    !is_stale && flow.is_some_and(by_other)
}

/// The key of the direction that an error goes, of the flow of the packet it quotes.
pub(crate) fn quoted_key(lane: &Lane, layer: Layer, frame: &[u8]) -> Option<Key> {
    let quote = Quote::read(frame, &lane.meta).ok().flatten();
    is_error(&lane.meta).then(|| key(lane, layer, &quote?))?
}

/// The key of the direction that the error goes.
fn key(lane: &Lane, layer: Layer, quote: &Quote) -> Option<Key> {
    let zone = flow::zone(lane.vrf, layer);
    let (protocol, src_port, dst_port) = (quote.protocol, quote.dst_port, quote.src_port);
    match (quote.dst, quote.src) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            Some(Key::ipv4(zone, protocol, src, dst, src_port, dst_port))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Some(Key::ipv6(zone, protocol, src, dst, src_port, dst_port))
        }
        _ => None,
    }
}

impl Related {
    /// Sends the error the way of its direction's packets.
    fn send<B: Buffer>(&self, context: &Context, lane: &mut Lane, packet: &mut B) -> Next {
        let len = packet.len() as u32;
        context.flows.count(&self.hit, 1, len);
        lane.entropy = (context.flows.hash(&self.key) >> 16) as u32;
        lane.exit = self.hit.exit();
        lane.is_special = self.hit.flags() != 0;
        if self.hit.is_translated()
            && let Err(reason) = self.translate(context, lane, packet)
        {
            return Next::Drop(reason);
        }
        flow::follow(&self.hit)
    }

    /// Translates the error and what it quotes, which went the other way.
    fn translate<B: Buffer>(
        &self,
        context: &Context,
        lane: &mut Lane,
        packet: &mut B,
    ) -> Result<(), DropReason> {
        let quote = &self.quote;
        lane.translated = Translated::Yes;
        match becomes(context.flows, lane, &self.hit)? {
            Becomes::Same(change) => {
                let quoted = Change {
                    src: change.dst,
                    dst: change.src,
                };
                // Whichever router it is from: those inside have no other name outside (RFC 5508
                // REQ-5), those outside keep theirs, as there is no new source then.
                translate::apply_to_error(packet, &mut lane.meta, quote, &change, &quoted)?;
            }
            Becomes::Other(ends) => {
                let quoted = Ends {
                    src: ends.dst,
                    dst: ends.src,
                };
                let from = lane.meta.src_addr(packet.bytes());
                let from = from.ok_or(DropReason::Truncated)?;
                let outer = (self.sender(from, ends.src.addr), ends.dst.addr);
                let id = context.tables.sessions().ids.next(context.flows, outer.1);
                translate::convert_error(packet, &mut lane.meta, quote, outer, &quoted, id)?;
            }
        }
        Ok(())
    }

    /// The address of the error's sender in the other IP version: that of the flow's end if it is
    /// that, or outside of everybody inside, or behind the same NAT64 prefix (RFC 7915 §6).
    fn sender(&self, from: IpAddr, end: IpAddr) -> IpAddr {
        match (from, end) {
            (IpAddr::V4(from), IpAddr::V6(end)) if IpAddr::V4(from) != self.key.src_addr() => {
                let prefix = end.to_bits() >> 32 << 32;
                Ipv6Addr::from_bits(prefix | u128::from(from.to_bits())).into()
            }
            _ => end,
        }
    }
}

/// Type of an ICMP redirect, which is about nobody's flow.
const REDIRECT: u8 = 5;
