//! Floating addresses and pools, resolved.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use super::spec::{Filtering, Name};
use super::{VifId, VrfId};

/// Index of a floating address in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FloatingId(pub u32);

/// Index of a pool in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// A floating address, resolved.
#[derive(Clone, Debug)]
pub struct Floating {
    /// Its name.
    pub name: Name,
    /// The network in which it is public.
    pub vrf: VrfId,
    /// The public address or prefix.
    pub public: IpNet,
    /// The network inside.
    pub inside_vrf: VrfId,
    /// What it stands for: each an address or prefix inside, as long as `public`, with the vif it
    /// belongs to. A shared one has several.
    pub targets: Box<[(IpNet, Option<VifId>)]>,
}

/// A pool, resolved.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// The network inside.
    pub vrf: VrfId,
    /// Whose packets are translated; empty: everybody's.
    pub sources: Box<[IpNet]>,
    /// The network outside.
    pub outside_vrf: VrfId,
    /// The addresses.
    pub addresses: Arc<[IpNet]>,
    /// The ports and ICMP identifiers that are given out.
    pub ports: RangeInclusive<u16>,
    /// Consecutive ports that a vif has to itself; 0: all share all.
    pub block_size: u16,
    /// Most ports one vif may have at once.
    pub ports_per_vif: u32,
    /// Who may answer.
    pub filtering: Filtering,
    /// The first 96 bits of destinations that are translated to IPv4.
    pub nat64_prefix: Option<Ipv6Addr>,
}
