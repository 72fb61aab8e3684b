//! Other addresses and ports for a packet, as its flow says. How bytes change is
//! [`encap::translate`]'s business; here is what a worker has to know for it.
//!
//! Whether the packet will fit is asked before it is changed: then its sender is told about the packet
//! it sent, and in sizes of its own IP version (RFC 4787 REQ-13, RFC 7915 §4.2 and §5.2).

use encap::translate::{self, Change, End, Ends};
use encap::{Buffer, Fragment, Network, ipv4, ipv6};
use flowtable::{FlowTable, Hit, Key, Translation};

use super::{Context, Lane, Next, Translated, size};
use crate::reason::DropReason;
use crate::tables::NexthopId;

/// What the ends of a direction's packets become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Others of the same IP version.
    Same(Change),
    /// Those of the other one.
    Other(Ends),
}

/// Gives the packet the ends that its flow says, on its way to a nexthop. Returns what becomes of it
/// if that is something else now.
pub(super) fn packet<B: Buffer>(
    context: &Context,
    lane: &mut Lane,
    hit: &Hit,
    packet: &mut B,
    nexthop: NexthopId,
) -> Option<Next> {
    let becomes = match becomes(context.flows, lane, hit) {
        Ok(becomes) => becomes,
        Err(reason) => return Some(Next::Drop(reason)),
    };
    if let Some(mtu) = exceeded(context, lane, packet, nexthop, &becomes) {
        return Some(Next::TooBig(mtu));
    }
    let changed = match becomes {
        Becomes::Same(change) => within(context, lane, packet, &change),
        Becomes::Other(ends) => between(context, lane, packet, &ends),
    };
    changed.err().map(|error| Next::Drop(error.into()))
}

/// What the flow says of this direction's ends.
///
/// # Errors
/// [`DropReason::FlowGone`] if the flow is no more, whose other direction's key says it.
pub(super) fn becomes(flows: &FlowTable, lane: &Lane, hit: &Hit) -> Result<Becomes, DropReason> {
    becomes_of(flows, hit, lane.meta.network == Network::Ipv4)
}

/// The same of a packet of this IP version.
///
/// # Errors
/// As [`becomes`].
pub(super) fn becomes_of(
    flows: &FlowTable,
    hit: &Hit,
    is_ipv4: bool,
) -> Result<Becomes, DropReason> {
    let rewrite = hit.rewrite();
    let partner = match (rewrite.src, rewrite.dst) {
        (Translation::Partner, _) | (_, Translation::Partner) => {
            let key = flows.partner_key(hit);
            Some(key.ok_or(DropReason::FlowGone)?.reversed())
        }
        _ => None,
    };
    let src = end(rewrite.src, partner.as_ref().map(source));
    let dst = end(rewrite.dst, partner.as_ref().map(destination));
    Ok(match (src, dst) {
        (Some(src), Some(dst)) if src.addr.is_ipv4() != is_ipv4 => {
            Becomes::Other(Ends { src, dst })
        }
        _ => Becomes::Same(Change { src, dst }),
    })
}

fn end(translation: Translation, partner: Option<End>) -> Option<End> {
    match translation {
        Translation::Keep => None,
        Translation::To(addr, port) => {
            let addr = addr.into();
            Some(End { addr, port })
        }
        Translation::Partner => partner,
    }
}

fn source(key: &Key) -> End {
    End {
        addr: key.src_addr(),
        port: key.src_port(),
    }
}

fn destination(key: &Key) -> End {
    End {
        addr: key.dst_addr(),
        port: key.dst_port(),
    }
}

/// What the sender has to be told about the size of its packet, in bytes of an IP packet as it sent
/// it, if its way takes less than the packet will be, and it must not be cut.
fn exceeded<B: Buffer>(
    context: &Context,
    lane: &Lane,
    packet: &B,
    nexthop: NexthopId,
    becomes: &Becomes,
) -> Option<u16> {
    let nexthop = context.tables.nexthop(nexthop)?;
    let mtu = size::limit(context, nexthop)?;
    let meta = &lane.meta;
    let len = usize::from(meta.end.saturating_sub(meta.l3));
    let will_be = match becomes {
        Becomes::Same(_) => len,
        Becomes::Other(_) => len_between(lane),
    };
    if will_be <= mtu || packet.offload().gso.is_some() {
        return None; // large segments are cut to what fits
    }
    let may_be_cut = match (meta.network, becomes) {
        (Network::Ipv4, _) => size::may_cut_ipv4(meta, packet.bytes()),
        (_, Becomes::Same(_)) => false,
        (_, Becomes::Other(_)) => meta.fragment_header || will_be <= translate::MAY_BE_CUT,
    };
    let told = (mtu + len).saturating_sub(will_be);
    (!may_be_cut).then(|| u16::try_from(told).unwrap_or(u16::MAX))
}

/// The length that the packet has in the other IP version, in bytes.
fn len_between(lane: &Lane) -> usize {
    let payload = usize::from(lane.meta.end.saturating_sub(lane.meta.l4));
    let is_part = lane.meta.fragment != Fragment::Whole;
    payload
        + match (lane.meta.network, is_part) {
            (Network::Ipv4, false) => ipv6::LEN,
            (Network::Ipv4, true) => ipv6::LEN + encap::fragment::IPV6_HEADER_LEN,
            _ => ipv4::LEN,
        }
}

fn within<B: Buffer>(
    context: &Context,
    lane: &mut Lane,
    packet: &mut B,
    change: &Change,
) -> Result<(), encap::Error> {
    let frame = packet.bytes_mut();
    translate::apply(frame, &mut lane.meta, change)?;
    lane.translated = Translated::Yes;
    let is_shared = change.src.is_some() && lane.meta.network == Network::Ipv4;
    if is_shared && (is_part(lane) || size::may_cut_ipv4(&lane.meta, frame)) {
        let id = match (is_part(lane), lane.meta.dst_addr(frame)) {
            (false, Some(dst)) => context.tables.sessions().ids.next(context.flows, dst),
            // Which stage `fragments` has chosen for all of them.
            _ => lane.meta.fragment_id as u16,
        };
        translate::set_ipv4_id(frame, &lane.meta, id);
    }
    Ok(())
}

fn between<B: Buffer>(
    context: &Context,
    lane: &mut Lane,
    packet: &mut B,
    ends: &Ends,
) -> Result<(), encap::Error> {
    if lane.meta.network == Network::Ipv6 {
        let is_atomic = len_between(lane) > translate::MAY_BE_CUT;
        let id = match lane.meta.fragment {
            Fragment::Whole if is_atomic && !lane.meta.fragment_header => 0,
            Fragment::Whole => context
                .tables
                .sessions()
                .ids
                .next(context.flows, ends.dst.addr),
            Fragment::First | Fragment::Later => lane.meta.fragment_id as u16,
        };
        translate::convert(packet, &mut lane.meta, ends, id)?;
        lane.translated = Translated::Yes;
        return Ok(());
    }
    let frame = packet.bytes();
    let may_be_cut = size::may_cut_ipv4(&lane.meta, frame);
    // Its own number is good enough: nobody shares the address it comes from.
    let header = frame.get(lane.meta.l3.into()..).unwrap_or_default();
    let (header, _) = encap::Ipv4Header::split(header)?;
    lane.meta.fragment_id = header.id().into();
    translate::convert(packet, &mut lane.meta, ends, 0)?;
    lane.translated = match may_be_cut {
        true => Translated::MayBeCut,
        false => Translated::Yes,
    };
    Ok(())
}

fn is_part(lane: &Lane) -> bool {
    lane.meta.fragment != Fragment::Whole
}

#[cfg(test)]
mod tests;
