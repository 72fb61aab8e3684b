//! What a port left to be done for a packet: its checksum, and the cutting of
//! large TCP segments. And what a port found out: that a checksum is wrong.
//!
//! A virtual machine's packet keeps its unfinished checksum through the stages,
//! none of which reads it, and is finished when it is known where it goes: by then
//! all headers are as they will be; or it is left to the next machine, if that
//! stands behind a port of the same kind. A large segment has been looked up, admitted
//! and rewritten once for all the packets it becomes; each of those then goes the
//! same way, through a tunnel's push or to a vif. Cut are they to what the machine
//! asked for, or to what the way out carries if that is less.
//!
//! Tenants' TCP and UDP checksums are verified where that costs nothing: where the
//! port says what they are. Software does not read payloads only to verify them;
//! a wrong checksum stays as wrong as it was, and the receiver sees it.

use encap::{Buffer, Error, Fragment, Gso, L4Checksum, Meta, Offload};
use encap::{checksum, gso::Segments};

use super::forward::{Exits, by_nexthop};
use super::{Context, Lane, Layer, size};
use crate::reason::DropReason;
use crate::tables::spec::Role;
use crate::tables::{Nexthop, NexthopId};

/// What becomes of a packet that arrived with something to do or to know.
///
/// What comes from the fabric or the kernel is finished here: it may be a tunnel
/// packet, whose checksum is read before long.
///
/// # Errors
/// [`DropReason::L4Checksum`] for a tenant's packet; [`DropReason::NotSegmentable`]
/// for a large segment of anybody else's.
#[cold]
pub fn arrived<B: Buffer>(
    context: &Context,
    packet: &mut B,
    meta: &Meta,
) -> Result<(), DropReason> {
    let offload = packet.offload();
    if context.vif.role == Role::Tenant {
        return match offload.l4_checksum {
            L4Checksum::Wrong => Err(DropReason::L4Checksum),
            _ => Ok(()),
        };
    }
    if offload.gso.is_some() {
        return Err(DropReason::NotSegmentable);
    }
    if offload.l4_checksum == L4Checksum::Partial {
        checksum::fill_packet(packet, meta);
    }
    packet.set_offload(Offload::NONE);
    Ok(())
}

/// Finishes a packet on its way to a nexthop. `None` if it was cut: its pieces
/// went there instead.
///
/// # Errors
/// The reason to count it under, when it cannot be cut, or its last piece not sent.
#[cold]
pub fn finish<B: Buffer>(
    context: &Context,
    lane: &Lane,
    id: NexthopId,
    layer: Layer,
    mut packet: B,
    exits: &mut Exits<B>,
) -> Result<Option<B>, DropReason> {
    let nexthop = context.tables.nexthop(id).ok_or(DropReason::NoRoute)?;
    let offload = packet.offload();
    if let Some(gso) = offload.gso
        && let Some(mtu) = mtu(context, nexthop)
    {
        let large = Large { packet, gso, mtu };
        return cut(context, lane, id, layer, &large, exits).map(|()| None);
    }
    let unfinished = offload.l4_checksum == L4Checksum::Partial;
    packet.set_offload(Offload::NONE);
    // What is to be fragmented must be right as a whole.
    let may_stay = is_stream_or_datagram(&lane.meta)
        && port_finishes(context, nexthop)
        && size::exceeded(context, nexthop, &lane.meta).is_none();
    if unfinished && may_stay {
        packet.set_offload(Offload::PARTIAL);
    } else if unfinished {
        checksum::fill_packet(&mut packet, &lane.meta);
    }
    Ok(Some(packet))
}

/// A segment to be cut.
struct Large<B> {
    packet: B,
    gso: Gso,
    /// Largest IP packet to make of it, in bytes.
    mtu: usize,
}

/// Sends a segment in pieces, each the same way. They are counted as made here,
/// but for the last, which stands for the packet itself; if one cannot be made,
/// the packet is dropped with what is left.
fn cut<B: Buffer>(
    context: &Context,
    lane: &Lane,
    nexthop: NexthopId,
    layer: Layer,
    large: &Large<B>,
    exits: &mut Exits<B>,
) -> Result<(), DropReason> {
    let counters = context.vif.counters.block(context.worker);
    let mut segments = Segments::new(&large.packet, &lane.meta, large.gso, large.mtu)?;
    loop {
        let mut piece = exits.pool.alloc().ok_or(DropReason::NoBuffer)?;
        let written = segments.write(&large.packet, &mut piece, &mut || exits.pool.alloc());
        let meta = written.map_err(|error| match error {
            Error::NoRoom { .. } => DropReason::NoBuffer,
            error => error.into(),
        })?;
        let lane = Lane { meta, ..*lane };
        if segments.is_done() {
            return by_nexthop(context, &lane, nexthop, layer, piece, exits);
        }
        counters.originated();
        if let Err(reason) = by_nexthop(context, &lane, nexthop, layer, piece, exits) {
            exits.count(context, &lane, reason);
        }
    }
}

/// Whether it is TCP or UDP as a whole: of what else a port finishes, drivers know
/// nothing.
fn is_stream_or_datagram(meta: &Meta) -> bool {
    meta.fragment == Fragment::Whole && (meta.is_tcp() || meta.is_udp())
}

/// Whether the packet goes out of a port that computes its checksum.
fn port_finishes(context: &Context, nexthop: &Nexthop) -> bool {
    let Nexthop::Vif(id) = nexthop else {
        return false;
    };
    let vif = context.tables.vif(*id);
    vif.is_some_and(|vif| vif.finishes_checksums)
}

/// Largest IP packet that goes to a nexthop, in bytes; `None` if none does.
fn mtu(context: &Context, nexthop: &Nexthop) -> Option<usize> {
    if let Nexthop::Host = nexthop {
        let host = context.tables.vif(context.tables.underlay().host?)?;
        return Some(host.mtu.into());
    }
    size::mtu(context, nexthop)
}
