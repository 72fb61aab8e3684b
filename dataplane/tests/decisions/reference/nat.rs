//! Floating addresses and pools.

use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::tables::spec::*;
use ipnet::IpNet;

use super::Reference;
use super::choices::{Choice, check_legal};
use super::walk::{Outward, Walk};
use crate::words::From;

const ICMP: [u8; 2] = [1, 58];

impl Reference {
    /// What a floating address stands for: a network, and prefixes there.
    fn insides(&self, floating: &FloatingIp) -> (Name, Vec<IpNet>) {
        match &floating.target {
            FloatingTarget::Prefix { vrf, fixed } => (vrf.clone(), vec![fixed.trunc()]),
            FloatingTarget::Vifs { vifs, fixed } => {
                let all = || vifs.iter().filter_map(|name| self.vif(name));
                let is_ipv4 = floating.address.addr().is_ipv4();
                let own = |vif: &Vif| {
                    let mut own = vif.addresses.iter();
                    let only = own.find(|net| net.addr().is_ipv4() == is_ipv4);
                    fixed.or(only.copied()).expect("checked at commit").trunc()
                };
                let vrf = all().next().expect("it names one").vrf.clone();
                (vrf, all().map(own).collect())
            }
        }
    }
}

impl Walk<'_> {
    /// The destination becomes a machine's own.
    pub(super) fn floating_inward(&mut self, floating: &FloatingIp) -> Result<(), DropReason> {
        let (vrf, insides) = self.world.insides(floating);
        let addr = self.dst.addr;
        let all: Vec<IpAddr> = insides.iter().map(|inside| moved(addr, *inside)).collect();
        let had = self.packet.had.as_ref().map(|had| had.destination.addr);
        let legal = match had {
            Some(had) if all.contains(&had) => vec![had],
            _ => all,
        };
        let Choice::Inside(chosen) = self.choices.next("a floating address's machine") else {
            panic!("a floating address's machine was to be chosen");
        };
        check_legal(&chosen.addr, &legal, "the machine");
        assert_eq!(chosen.port, self.dst.port, "ports stay as they are");
        self.dst = chosen;
        self.enter(vrf);
        Ok(())
    }

    /// The destination becomes that of the machine that has this end of the pool; or, under a NAT64
    /// prefix, the IPv4 address in it.
    pub(super) fn pool_inward(&mut self, pool: &SnatPool) -> Result<(), DropReason> {
        if let (IpAddr::V6(addr), Some(prefix)) = (self.dst.addr, pool.nat64_prefix) {
            let source = self.packet.src.addr;
            let is_source = pool.sources.iter().any(|net| net.contains(&source));
            if !pool.sources.is_empty() && !is_source {
                return Err(DropReason::NoRoute);
            }
            self.embedding = Some(prefix.network());
            self.seen_dst = Some(self.dst); // policies see what the machine wrote
            let [.., a, b, c, d] = addr.octets();
            self.dst.addr = IpAddr::from([a, b, c, d]);
            self.outward = Some(Outward::Pool(pool.name.clone()));
            self.enter(pool.outside_vrf.clone());
            return Ok(());
        }
        // A machine behind a pool that calls another one is who it is outside (RFC 4787 REQ-9 a).
        let remote = match self.outward.clone() {
            None => self.packet.src,
            Some(Outward::Address(addr)) => End {
                addr,
                ..self.packet.src
            },
            Some(Outward::Pool(own)) => self.bind(&own)?,
        };
        let choice = self.choices.next("whose the end is");
        let Choice::Owner { answer, .. } = &choice else {
            panic!(
                "whose an end of {} is was to be asked: {choice:?}",
                pool.name
            );
        };
        let expected = self
            .memory
            .owner(pool, self.packet.protocol, self.dst, remote);
        assert_eq!(*answer, expected, "whose {:?} is, for {remote:?}", self.dst);
        let asked = Choice::Owner {
            pool: pool.name.clone(),
            protocol: self.packet.protocol,
            outside: self.dst,
            remote,
            answer: answer.clone(),
        };
        assert_eq!(choice, asked);
        let (vrf, inside) = expected?;
        self.holds = true;
        self.dst = inside;
        self.through_pool = true;
        if let Some(prefix) = pool.nat64_prefix {
            self.embedding = Some(prefix.network());
            self.seen_dst = None;
        }
        self.enter(vrf);
        Ok(())
    }

    /// What the source has to become on its way into a network.
    pub(super) fn outward_into(&self, next: &Name) -> Option<Outward> {
        let (addr, origin) = (self.packet.src.addr, &self.packet.vrf);
        let mut best: Option<(u8, IpAddr)> = None;
        for floating in self.world.floatings().filter(|it| it.vrf == *next) {
            let (vrf, insides) = self.world.insides(floating);
            for inside in insides
                .iter()
                .filter(|net| vrf == *origin && net.contains(&addr))
            {
                if best.is_none_or(|(len, _)| inside.prefix_len() > len) {
                    best = Some((inside.prefix_len(), moved(addr, floating.address)));
                }
            }
        }
        if let Some((_, public)) = best {
            return Some(Outward::Address(public));
        }
        let mut best: Option<(u8, Name)> = None;
        let plain = |pool: &&SnatPool| pool.nat64_prefix.is_none();
        for pool in self.world.pools().filter(plain) {
            if pool.vrf != *origin || pool.outside_vrf != *next {
                continue;
            }
            let len = match pool.sources.is_empty() {
                true => (pool.addresses[0].addr().is_ipv4() == addr.is_ipv4()).then_some(0),
                false => {
                    let its = pool.sources.iter().filter(|net| net.contains(&addr));
                    its.map(IpNet::prefix_len).max()
                }
            };
            if let Some(len) = len
                && best.as_ref().is_none_or(|(other, _)| len > *other)
            {
                best = Some((len, pool.name.clone()));
            }
        }
        best.map(|(_, pool)| Outward::Pool(pool))
    }

    /// The end that a pool gives the source.
    fn bind(&mut self, name: &Name) -> Result<End, DropReason> {
        let mut pools = self.world.pools();
        let pool = pools.find(|it| it.name == *name).expect("it is there");
        let choice = self.choices.next("an end of a pool");
        let Choice::Outside { answer, .. } = &choice else {
            panic!("an end of {name} was to be asked for: {choice:?}");
        };
        let vif = match &self.packet.from {
            From::Vif(vif) => Some(vif.clone()),
            From::Remote(_) => None,
        };
        let asked = Choice::Outside {
            pool: name.clone(),
            vrf: self.packet.vrf.clone(),
            vif: vif.clone(),
            protocol: self.packet.protocol,
            inside: self.packet.src,
            remote: self.dst,
            answer: *answer,
        };
        assert_eq!(choice, asked);
        let given = self.memory.bind(pool, &choice);
        self.holds |= given.is_ok();
        self.bound = given.ok();
        given
    }

    /// The source as it leaves.
    pub(super) fn source(&mut self) -> Result<End, DropReason> {
        let own = self.packet.src;
        let outward = self.outward.clone();
        let mut source = match (&outward, self.bound) {
            (None, _) => own,
            (Some(Outward::Address(addr)), _) => End { addr: *addr, ..own },
            (Some(Outward::Pool(_)), Some(bound)) => bound,
            (Some(Outward::Pool(pool)), None) => self.bind(pool)?,
        };
        if ICMP.contains(&self.packet.protocol) {
            // A query has one identifier, which cannot become two others.
            match outward {
                Some(Outward::Pool(_)) if self.through_pool => {
                    return Err(DropReason::SnatProtocol);
                }
                Some(Outward::Pool(_)) => self.dst.port = source.port,
                _ => source.port = self.dst.port,
            }
        }
        if let (IpAddr::V6(_), Some(prefix), IpAddr::V4(addr)) =
            (self.dst.addr, self.embedding, source.addr)
        {
            let mut octets = prefix.octets();
            octets[12..].copy_from_slice(&addr.octets());
            source.addr = IpAddr::from(octets);
        }
        match source.addr.is_ipv4() == self.dst.addr.is_ipv4() {
            true => Ok(source),
            false => Err(DropReason::NoRoute),
        }
    }
}

/// The address with the host's bits of `addr` in another prefix.
fn moved(addr: IpAddr, to: IpNet) -> IpAddr {
    match (addr, to) {
        (IpAddr::V4(addr), IpNet::V4(to)) => {
            let host = addr.to_bits() & to.hostmask().to_bits();
            IpAddr::V4((to.network().to_bits() | host).into())
        }
        (IpAddr::V6(addr), IpNet::V6(to)) => {
            let host = addr.to_bits() & to.hostmask().to_bits();
            IpAddr::V6((to.network().to_bits() | host).into())
        }
        _ => unreachable!("checked at commit"),
    }
}
