//! Floating addresses and pools, resolved.

use std::net::Ipv6Addr;
use std::sync::Arc;

use ipnet::IpNet;

use super::lpm::Lpm;
use super::spec::{Filtering, Name};
use super::{VifId, VrfId};
use crate::sessions::allotment::Allotment;

/// Index of a floating address in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FloatingId(pub u32);

/// Index of a pool in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// What sources become on their way from one network into another.
#[derive(Clone, Debug, Default)]
pub struct Outwards {
    /// By the address or prefix inside: one for one.
    pub floatings: Lpm<FloatingId>,
    /// By the prefix inside: shared.
    pub pools: Lpm<PoolId>,
}

impl Outwards {
    /// True if they become nothing else.
    pub fn is_empty(&self) -> bool {
        self.floatings.is_empty() && self.pools.is_empty()
    }
}

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
    /// Who may answer.
    pub filtering: Filtering,
    /// What it has to give.
    pub allotment: Arc<Allotment>,
    /// The first 96 bits of destinations that are translated to IPv4.
    pub nat64_prefix: Option<Ipv6Addr>,
}

#[cfg(test)]
impl super::Tables {
    /// Tables with nothing in them but a pool.
    pub(crate) fn with_pool(pool: Pool) -> super::Tables {
        let mut tables = super::Tables::new(1);
        tables.pools.insert(pool);
        tables
    }
}
