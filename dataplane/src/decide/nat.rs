//! Floating addresses and pools: destinations inwards, sources outwards.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::routed::{Outward, Walk};
use super::sessions::{Asked, Step};
use super::{End, Sessions};
use crate::reason::DropReason;
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
    let had = walk.headers.kept.map(|kept| kept.destination.addr);
    let mut all = floating.targets.iter().filter_map(translated);
    let kept = all.clone().find(|addr| Some(*addr) == had);
    walk.dst.addr = kept.or_else(|| all.next()).ok_or(DropReason::NoRoute)?;
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
    if let (IpAddr::V6(addr), Some(_)) = (walk.dst.addr, pool.nat64_prefix) {
        walk.seen_dst = Some(walk.dst);
        walk.dst.addr = Ipv4Addr::from_bits(addr.to_bits() as u32).into();
        walk.outward = Some(Outward::Pool(id));
        sessions.step(Step::Pool(id, walk.dst));
        return walk.enter(pool.outside_vrf);
    }
    let remote = walk.headers.source();
    let bound = sessions.bound(id, walk.headers.protocol, walk.dst, remote)?;
    walk.hold(bound.id, sessions);
    walk.dst = bound.inside;
    sessions.step(Step::Pool(id, walk.dst));
    walk.enter(bound.vrf)
}

/// What the source has to become when the packet leaves its own network for `next`.
pub(super) fn outward(walk: &Walk, next: &Vrf) -> Option<Outward> {
    let (from, addr) = (walk.origin.id, walk.headers.src_addr);
    let public = walk.tables.floatings().find_map(|(_, floating)| {
        let is_ours = floating.vrf == next.id && floating.inside_vrf == from;
        let mut targets = floating.targets.iter().filter(|_| is_ours);
        targets.find_map(|(inside, _)| transposed(addr, inside, &floating.public))
    });
    if let Some(public) = public {
        return Some(Outward::Floating(public));
    }
    let pool = walk.tables.pools().find(|(_, pool)| {
        let is_for_it = pool.vrf == from && pool.outside_vrf == next.id;
        let is_same_family = pool.nat64_prefix.is_none()
            && pool
                .addresses
                .iter()
                .any(|net| net.addr().is_ipv4() == addr.is_ipv4());
        let is_meant =
            pool.sources.is_empty() || pool.sources.iter().any(|net| net.contains(&addr));
        is_for_it && is_same_family && is_meant
    });
    pool.map(|(id, _)| Outward::Pool(id))
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
    sessions.step(Step::Pool(pool, binding.outside));
    Ok(binding.outside)
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
