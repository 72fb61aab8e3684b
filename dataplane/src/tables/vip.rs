//! Addresses of a network that belong to no machine: those of services, floating addresses and
//! pools. What they stand for is asked by protocol and port.

use super::nat::{FloatingId, PoolId};
use super::service::ServiceId;

/// Index of a virtual address in a snapshot; stays the same while anything has that prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VipId(pub u32);

/// What a prefix in a network stands for. A service is asked first, then the floating address, then
/// the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vip {
    /// By protocol and port, in order.
    pub services: Vec<((u8, u16), ServiceId)>,
    /// The floating address.
    pub floating: Option<FloatingId>,
    /// The pool whose addresses these are, or whose NAT64 prefix.
    pub pool: Option<PoolId>,
}

impl Vip {
    /// The service that is called by this protocol and port.
    pub fn service(&self, protocol: u8, port: u16) -> Option<ServiceId> {
        let key = (protocol, port);
        let found = self.services.binary_search_by_key(&key, |(key, _)| *key);
        found.ok().map(|index| self.services[index].1)
    }

    /// True if it stands for nothing any more.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.floating.is_none() && self.pool.is_none()
    }
}
