//! From network to network, until something leads out of the vrouter.

use dataplane::DropReason;
use dataplane::tables::spec::*;
use ipnet::IpNet;

use super::walk::Walk;
use super::{Action, Leads};

/// Networks on one packet's way at most.
pub(super) const MOST: usize = 8;

impl Walk<'_> {
    /// The nexthop that the destination leads to.
    pub(super) fn follow(&mut self) -> Result<Name, DropReason> {
        for _ in 0..MOST {
            let addr = self.via.unwrap_or(self.dst.addr);
            match self.world.lookup(&self.vrf, addr) {
                None | Some(Leads::Connected) => return Err(DropReason::NoRoute),
                Some(Leads::To(name)) => match self.world.action(&name) {
                    Action::Vrf(next) => self.enter(next),
                    _ => return Ok(name),
                },
                Some(Leads::Gateway) => self.own_address()?,
                Some(Leads::Virtual(net)) => self.virtual_address(net)?,
            }
        }
        Err(DropReason::VrfLoop)
    }

    /// Into another network, where the source may have to be another one: the first one that says
    /// so counts.
    pub(super) fn enter(&mut self, next: Name) {
        if self.outward.is_none() {
            self.outward = self.outward_into(&next);
        }
        self.vrf = next;
    }

    /// The router's own address: of the underlay, a pool may have ports of it.
    fn own_address(&mut self) -> Result<(), DropReason> {
        let addr = self.dst.addr;
        let mut pools = self.world.pools();
        let has = |pool: &&SnatPool| {
            &*pool.outside_vrf == UNDERLAY && pool.addresses.iter().any(|net| net.contains(&addr))
        };
        match pools.find(has) {
            Some(pool) if &*self.vrf == UNDERLAY => self.pool_inward(pool),
            _ => Err(DropReason::ToGateway),
        }
    }

    /// A service comes first, then a floating address, then a pool.
    fn virtual_address(&mut self, net: IpNet) -> Result<(), DropReason> {
        let world = self.world;
        let called = (self.packet.protocol, self.dst.port);
        let service = world.services().find(|it| {
            it.vrf == self.vrf && IpNet::from(it.address) == net && (it.protocol, it.port) == called
        });
        if let Some(service) = service {
            return self.service_inward(service);
        }
        let mut floatings = world.floatings();
        let floating = floatings.find(|it| it.vrf == self.vrf && it.address.trunc() == net);
        if let Some(floating) = floating {
            return self.floating_inward(floating);
        }
        let is_its = |pool: &&SnatPool| {
            let is_outside =
                pool.outside_vrf == self.vrf && pool.addresses.iter().any(|own| own.contains(&net));
            let is_nat64 = pool.vrf == self.vrf && pool.nat64_prefix.map(IpNet::V6) == Some(net);
            is_outside || is_nat64
        };
        match world.pools().find(is_its) {
            Some(pool) => self.pool_inward(pool),
            None => Err(DropReason::NoService),
        }
    }
}
