//! Packets too big for where they go: cut in pieces, or their sender is told the
//! size that would have passed (RFC 1191 §3, RFC 1812 §4.2.2.7, RFC 8201 §3).
//!
//! An IPv4 packet without DF is cut, and its receiver puts it together: the
//! tenant's packet, not the tunnel's. Anything else IP is dropped with an error
//! from the vrf's gateway, as is a bridged packet, which has no router but whose
//! sender must know all the same. Frames that are not IP are only dropped. A
//! tunnel may have its own packets cut instead (`fragment: outer`).

use encap::{Buffer, Error, Ipv4Header, L4Checksum, Meta, Network, Pieces, ethernet, icmp_error};
use flowtable::Ticks;

use super::forward::{Exits, by_nexthop, emit};
use super::{Context, Lane, Layer, Translated, errors};
use crate::reason::DropReason;
use crate::tables::path_mtu::PathMtu;
use crate::tables::spec::FragmentMode;
use crate::tables::{Nexthop, NexthopId, Tunnel, VifId};

/// A packet that is longer than where it goes takes.
pub struct TooBig {
    /// Where it goes.
    pub nexthop: NexthopId,
    /// What that takes, in bytes of an IP packet.
    pub mtu: usize,
    /// How it is forwarded.
    pub layer: Layer,
}

/// What the nexthop takes, in bytes of an IP packet, if the packet is longer.
#[inline]
pub fn exceeded(context: &Context, nexthop: &Nexthop, meta: &Meta) -> Option<usize> {
    let len = usize::from(meta.end.saturating_sub(meta.l3));
    let mtu = limit(context, nexthop)?;
    (len > mtu).then_some(mtu)
}

/// What a packet to the nexthop must not exceed, in bytes of an IP packet.
#[inline]
pub fn limit(context: &Context, nexthop: &Nexthop) -> Option<usize> {
    if let Nexthop::Tunnel(tunnel) = nexthop
        && tunnel.fragment == FragmentMode::Outer
    {
        return None; // the outer packet is cut, once it is there
    }
    mtu(context, nexthop)
}

/// What the nexthop takes, in bytes of an IP packet, if that is known here.
#[inline]
pub fn mtu(context: &Context, nexthop: &Nexthop) -> Option<usize> {
    match nexthop {
        Nexthop::Vif(id) => Some(usize::from(context.tables.vif(*id)?.mtu)),
        Nexthop::Tunnel(tunnel) => Some(inner_mtu(tunnel, context.now)),
        Nexthop::Neighbour(neighbour) => Some(usize::from(context.tables.vif(neighbour.vif)?.mtu)),
        _ => None,
    }
}

/// Largest inner IP packet that fits through a tunnel now, in bytes.
#[inline]
pub fn inner_mtu(tunnel: &Tunnel, now: Ticks) -> usize {
    let by_link = tunnel.inner_mtu;
    match tunnel.path_mtu.mtu(now) {
        Some(path_mtu) if !tunnel.mtu_is_fixed => {
            let less = tunnel.link_mtu.saturating_sub(path_mtu);
            by_link.saturating_sub(less.into())
        }
        _ => by_link,
    }
}

/// Largest outer IP packet that the way to a tunnel's other end takes now, in bytes.
fn outer_mtu(tunnel: &Tunnel, now: Ticks) -> u16 {
    match tunnel.path_mtu.mtu(now) {
        Some(path_mtu) if !tunnel.mtu_is_fixed => path_mtu.min(tunnel.link_mtu),
        _ => tunnel.link_mtu,
    }
}

/// Sends a tunnel packet with its outer headers on it, in pieces if its tunnel is one whose packets
/// are cut outside.
pub fn emit_outer<B: Buffer>(
    context: &Context,
    tunnel: &Tunnel,
    egress: VifId,
    packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if tunnel.fragment == FragmentMode::Inner {
        return emit(context.tables, egress, packet, exits);
    }
    let mtu = usize::from(outer_mtu(tunnel, context.now));
    if packet.len() <= ethernet::LEN + mtu {
        return emit(context.tables, egress, packet, exits);
    }
    cut_outer(context, (tunnel, egress), packet, mtu, exits)
}

/// Sends an outer packet in pieces (RFC 4459 §3.3). They are counted like those of [`cut`].
#[cold]
fn cut_outer<B: Buffer>(
    context: &Context,
    (tunnel, egress): (&Tunnel, VifId),
    mut packet: B,
    mtu: usize,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let mut pieces = outer_pieces(&mut packet, mtu, &tunnel.path_mtu, context.now)?;
    let counters = context.vif.counters.block(context.worker);
    while !pieces.is_done() {
        let mut piece = exits.pool.alloc().ok_or(DropReason::NoBuffer)?;
        write(&mut pieces, &packet, &mut piece, exits)?;
        emit(context.tables, egress, piece, exits)?;
        if !pieces.is_done() {
            counters.originated();
        }
    }
    Ok(())
}

/// The pieces of an outer packet, under an identification of their own.
fn outer_pieces<B: Buffer>(
    packet: &mut B,
    mtu: usize,
    path: &PathMtu,
    now: Ticks,
) -> Result<Pieces, DropReason> {
    let meta = encap::parse_packet(packet)?;
    if meta.network == Network::Ipv6 {
        return Ok(Pieces::ipv6(packet, &meta, mtu, path.ipv6_id())?);
    }
    let id = path.ipv4_id(now).ok_or(DropReason::FragmentIds)?;
    let header = packet.bytes_mut().get_mut(meta.l3.into()..);
    let (mut header, _) = Ipv4Header::split_mut(header.unwrap_or_default())?;
    header.set_id(id);
    Ok(Pieces::ipv4(packet, &meta, mtu)?)
}

/// Cuts the packet, or tells its sender.
///
/// # Errors
/// The reason it is counted as dropped for.
#[cold]
pub fn handle<B: Buffer>(
    context: &Context,
    lane: &Lane,
    too_big: &TooBig,
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    if may_cut(lane, packet.bytes()) {
        if packet.offload().l4_checksum == L4Checksum::Partial {
            // It covers all pieces, so nobody can compute it later.
            encap::checksum::fill_packet(&mut packet, &lane.meta);
        }
        return cut(context, lane, too_big, &packet, exits);
    }
    if lane.translated != Translated::No {
        // It fitted a moment ago, when its sender could be told.
        return exits.refuse(context, lane, &packet, DropReason::TooBig);
    }
    if too_big.layer == Layer::Routed {
        // The error quotes the packet as it came.
        encap::rewrite::increment_ttl(packet.bytes_mut(), &lane.meta);
    }
    let mtu = u16::try_from(too_big.mtu).unwrap_or(u16::MAX);
    Err(tell(context, lane, mtu, packet, exits))
}

/// Tells the sender of a packet, which is as it came, what would have passed. Returns the reason it
/// is counted as dropped for.
#[cold]
pub fn tell<B: Buffer>(
    context: &Context,
    lane: &Lane,
    mtu: u16,
    packet: B,
    exits: &mut Exits<B>,
) -> DropReason {
    let observer = &mut exits.outbox.observer;
    observer.dropping(context.into(), lane, &packet, DropReason::TooBig);
    let kind = icmp_error::Kind::TooBig { mtu };
    errors::tell_icmp(context, lane, kind, packet, exits);
    DropReason::TooBig
}

fn may_cut(lane: &Lane, frame: &[u8]) -> bool {
    lane.translated == Translated::MayBeCut || may_cut_ipv4(&lane.meta, frame)
}

/// Whether this is an IPv4 packet that does not ask not to be cut.
pub fn may_cut_ipv4(meta: &Meta, frame: &[u8]) -> bool {
    let packet = frame.get(usize::from(meta.l3)..).unwrap_or_default();
    meta.network == Network::Ipv4
        && Ipv4Header::split(packet).is_ok_and(|(header, _)| !header.dont_fragment())
}

/// Sends the packet in pieces, each the same way. They are counted as made here, but for one that
/// stands for the packet itself; if one cannot be made, the packet is dropped with what is left.
fn cut<B: Buffer>(
    context: &Context,
    lane: &Lane,
    too_big: &TooBig,
    packet: &B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let (meta, mtu) = (&lane.meta, too_big.mtu);
    let pieces = match meta.network {
        // The number that it had as an IPv4 packet (RFC 7915 §4.1).
        Network::Ipv6 => Pieces::ipv6(packet, meta, mtu, meta.fragment_id),
        _ => Pieces::ipv4(packet, meta, mtu),
    };
    let Ok(mut pieces) = pieces else {
        return Err(DropReason::TooBig);
    };
    let counters = context.vif.counters.block(context.worker);
    while !pieces.is_done() {
        let mut piece = exits.pool.alloc().ok_or(DropReason::NoBuffer)?;
        write(&mut pieces, packet, &mut piece, exits)?;
        let lane = Lane {
            meta: encap::parse_packet(&mut piece)?,
            ..*lane
        };
        let is_last = pieces.is_done();
        if !is_last {
            counters.originated();
        }
        let sent = by_nexthop(context, &lane, too_big.nexthop, too_big.layer, piece, exits);
        match sent {
            Ok(()) => {}
            // The last one stands for the packet; whoever called counts it.
            Err(reason) if is_last => return Err(reason),
            Err(reason) => exits.count(context, &lane, reason),
        }
    }
    Ok(())
}

/// Writes the next piece, into several buffers if one does not hold it.
fn write<B: Buffer>(
    pieces: &mut Pieces,
    packet: &B,
    piece: &mut B,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let written = pieces.write(packet, piece, &mut || exits.pool.alloc());
    written.map_err(|error| match error {
        Error::NoRoom { .. } => DropReason::NoBuffer,
        error => error.into(),
    })
}

#[cfg(test)]
mod tests;
