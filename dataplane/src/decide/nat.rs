//! Floating addresses and pools: destinations inwards, sources outwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::routed::{Outward, Walk};
use super::sessions::{Asked, Step};
use super::{End, Sessions};
use crate::reason::DropReason;
use crate::spread::SpreadKey;
use crate::tables::Vrf;
use crate::tables::nat::{FloatingId, PoolId};

/// The destination is a floating address: it becomes the machine's own, in its own network.
pub(super) fn floating_inward(
    walk: &mut Walk,
    id: FloatingId,
    sessions: &mut impl Sessions,
) -> Result<(), DropReason> {
    let floating = walk.tables.floating(id).ok_or(DropReason::NoRoute)?;
    let addr = walk.dst.addr;
    let translated = |(inside, _): &(IpNet, _)| transposed(addr, &floating.public, inside);
    let all = floating.targets.iter().filter_map(translated);
    let had = walk.headers.kept.map(|kept| kept.destination.addr);
    let kept = all.clone().find(|addr| Some(*addr) == had);
    let drawn = || match floating.targets.len() {
        1 => all.clone().next(),
        // Of several, the highest draw: one that goes moves its own flows and no others.
        _ => all.clone().max_by_key(|addr| draw(walk, *addr)),
    };
    walk.dst.addr = kept.or_else(drawn).ok_or(DropReason::NoRoute)?;
    sessions.step(Step::Floating(id, walk.dst));
    walk.enter(floating.inside_vrf)
}

/// The destination is a pool's: it becomes the end of the machine that it was given to, in its own
/// network. Or it is under the pool's NAT64 prefix: it becomes the IPv4 address in it, outside.
pub(super) fn pool_inward(
    walk: &mut Walk,
    id: PoolId,
    sessions: &mut impl Sessions,
) -> Result<(), DropReason> {
    let pool = walk.tables.pool(id).ok_or(DropReason::NoRoute)?;
    if let (IpAddr::V6(addr), Some(prefix)) = (walk.dst.addr, pool.nat64_prefix) {
        let source = walk.headers.src_addr;
        let mut sources = pool.sources.iter();
        if !pool.sources.is_empty() && !sources.any(|net| net.contains(&source)) {
            return Err(DropReason::NoRoute);
        }
        // A packet that comes back to a machine inside must be one of its family again.
        walk.embedding = Some(prefix);
        walk.seen_dst = Some(walk.dst);
        walk.dst.addr = Ipv4Addr::from_bits(addr.to_bits() as u32).into();
        walk.outward = Some(Outward::Pool(id));
        sessions.step(Step::Pool(id, walk.dst));
        return walk.enter(pool.outside_vrf);
    }
    // Of a hairpin the source first: it is by its address outside that it is let in (RFC 4787 REQ-9
    // a), and what is sent to it from there is let in from now on, whatever becomes of this packet.
    let remote = match walk.outward {
        None => walk.headers.source(),
        Some(Outward::Floating(addr)) => End {
            addr,
            ..walk.headers.source()
        },
        Some(Outward::Pool(own)) => bind(walk, own, sessions)?,
    };
    let bound = sessions.bound(id, walk.headers.protocol, walk.dst, remote)?;
    match walk.note.binding {
        0 => walk.hold(bound.id, sessions),
        _ => sessions.release(bound.id),
    }
    walk.dst = bound.inside;
    walk.through_pool = true;
    if let Some(prefix) = pool.nat64_prefix {
        walk.embedding = Some(prefix);
        walk.seen_dst = None;
    }
    sessions.step(Step::Pool(id, walk.dst));
    walk.enter(bound.vrf)
}

/// What the source has to become when the packet leaves its own network for `next`.
pub(super) fn outward(walk: &Walk, next: &Vrf) -> Option<Outward> {
    let outwards = walk.tables.outwards(walk.origin.id, next.id)?;
    let addr = walk.headers.src_addr;
    if let Some(id) = outwards.floatings.lookup(addr)
        && let Some(floating) = walk.tables.floating(id)
    {
        let mut targets = floating.targets.iter();
        let public = targets.find_map(|(inside, _)| transposed(addr, inside, &floating.public));
        if let Some(public) = public {
            return Some(Outward::Floating(public));
        }
    }
    outwards.pools.lookup(addr).map(Outward::Pool)
}

/// The source that the pool gives.
pub(super) fn bind(
    walk: &mut Walk,
    pool: PoolId,
    sessions: &mut impl Sessions,
) -> Result<End, DropReason> {
    let binding = sessions.bind(&Asked {
        pool,
        vrf: walk.origin.id,
        vif: walk.ingress.as_vif(),
        protocol: walk.headers.protocol,
        inside: walk.headers.source(),
        remote: walk.dst,
    })?;
    walk.hold(binding.id, sessions);
    walk.bound = Some(binding.outside);
    sessions.step(Step::Pool(pool, binding.outside));
    Ok(binding.outside)
}

/// An IPv4 address as IPv6 machines behind a NAT64 see it (RFC 6052 §2.2, 96 bits).
pub(super) fn embedded(prefix: Ipv6Addr, addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            Ipv6Addr::from_bits(prefix.to_bits() | u128::from(addr.to_bits())).into()
        }
        IpAddr::V6(_) => addr,
    }
}

/// How strongly a flow is drawn to one of several machines that share an address.
fn draw(walk: &Walk, addr: IpAddr) -> u64 {
    SpreadKey::new(walk.spread()).end(End { addr, port: 0 })
}

/// The address at the same place in `to` as `addr` has in `from`; `None` if it has none there.
fn transposed(addr: IpAddr, from: &IpNet, to: &IpNet) -> Option<IpAddr> {
    if !from.contains(&addr) {
        return None;
    }
    match (addr, to) {
        (IpAddr::V4(addr), IpNet::V4(to)) => {
            let host = addr.to_bits() & to.hostmask().to_bits();
            Some(Ipv4Addr::from_bits(to.network().to_bits() | host).into())
        }
        (IpAddr::V6(addr), IpNet::V6(to)) => {
            let host = addr.to_bits() & to.hostmask().to_bits();
            Some(Ipv6Addr::from_bits(to.network().to_bits() | host).into())
        }
        _ => None,
    }
}
