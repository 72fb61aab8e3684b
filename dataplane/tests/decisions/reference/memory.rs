//! What outlives flows: who has which end of a pool, whom that end may be reached by, and which
//! backend a client has. Nothing is ever forgotten here, as no time passes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use dataplane::DropReason;
use dataplane::decide::End;
use dataplane::tables::spec::*;

use super::choices::Choice;

#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub clients: BTreeMap<(Name, IpAddr), End>,
    pub bindings: Vec<Bond>,
    /// The address of a pool that a host, or a vif with blocks, has.
    paired: BTreeMap<(Name, Host), IpAddr>,
}

#[derive(Clone, Debug)]
pub struct Bond {
    pub pool: Name,
    pub transport: Transport,
    pub vrf: Name,
    pub inside: End,
    pub outside: End,
    vif: Option<Name>,
    permits: Vec<(IpAddr, Option<u16>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
    Icmp,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Address(Name, IpAddr),
    Vif(Name),
}

fn transport(protocol: u8) -> Result<Transport, DropReason> {
    match protocol {
        6 => Ok(Transport::Tcp),
        17 => Ok(Transport::Udp),
        1 | 58 => Ok(Transport::Icmp),
        _ => Err(DropReason::SnatProtocol),
    }
}

/// Whether a pool has this end to give.
fn has(pool: &SnatPool, end: End) -> bool {
    pool.ports.contains(&end.port) && pool.addresses.iter().any(|net| net.contains(&end.addr))
}

/// What stands for a remote where it must have been sent to.
fn permit(pool: &SnatPool, transport: Transport, remote: End) -> Option<(IpAddr, Option<u16>)> {
    match (pool.filtering, transport) {
        (Filtering::EndpointIndependent, _) => None,
        (Filtering::AddressDependent, _) | (_, Transport::Icmp) => Some((remote.addr, None)),
        (Filtering::AddressAndPortDependent, _) => Some((remote.addr, Some(remote.port))),
    }
}

impl Memory {
    /// Whose an end outside is, for this remote.
    pub(super) fn owner(
        &self,
        pool: &SnatPool,
        protocol: u8,
        outside: End,
        remote: End,
    ) -> Result<(Name, End), DropReason> {
        let transport = transport(protocol)?;
        let is_it = |bond: &&Bond| {
            (&bond.pool, bond.transport, bond.outside) == (&pool.name, transport, outside)
        };
        let found = self
            .bindings
            .iter()
            .find(is_it)
            .filter(|_| has(pool, outside));
        let bond = found.ok_or(DropReason::SnatUnknown)?;
        let allowed = permit(pool, transport, remote);
        match allowed.is_none_or(|remote| bond.permits.contains(&remote)) {
            true => Ok((bond.vrf.clone(), bond.inside)),
            false => Err(DropReason::SnatFiltered),
        }
    }

    /// The end outside that a machine's end gets: the one it has, or one that is legal.
    pub(super) fn bind(&mut self, pool: &SnatPool, choice: &Choice) -> Result<End, DropReason> {
        let Choice::Outside {
            vrf,
            vif,
            protocol,
            inside,
            remote,
            answer,
            ..
        } = choice
        else {
            unreachable!("the caller looked");
        };
        let wanted = transport(*protocol);
        let Ok(transport) = wanted else {
            assert_eq!(*answer, Err(DropReason::SnatProtocol));
            return *answer;
        };
        let place = self.bindings.iter().rposition(|bond| {
            (&bond.pool, &bond.vrf, bond.transport, bond.inside)
                == (&pool.name, vrf, transport, *inside)
                && has(pool, bond.outside)
        });
        let place = match place {
            Some(place) => {
                let has = Ok(self.bindings[place].outside);
                assert_eq!(
                    *answer, has,
                    "an end keeps its end outside (RFC 4787 REQ-1)"
                );
                place
            }
            None => {
                let host = match (pool.block_size, vif) {
                    (Some(_), Some(vif)) => Host::Vif(vif.clone()),
                    _ => Host::Address(vrf.clone(), inside.addr),
                };
                self.check_new(pool, transport, vif.as_ref(), &host, *inside, *answer);
                let outside = (*answer)?;
                self.paired.insert((pool.name.clone(), host), outside.addr);
                self.bindings.push(Bond {
                    pool: pool.name.clone(),
                    transport,
                    vrf: vrf.clone(),
                    inside: *inside,
                    outside,
                    vif: vif.clone(),
                    permits: vec![],
                });
                self.bindings.len() - 1
            }
        };
        let bond = &mut self.bindings[place];
        bond.permits.extend(permit(pool, transport, *remote));
        Ok(bond.outside)
    }

    /// Whether an answer to a machine that has no end yet is legal.
    fn check_new(
        &self,
        pool: &SnatPool,
        transport: Transport,
        vif: Option<&Name>,
        host: &Host,
        inside: End,
        answer: Result<End, DropReason>,
    ) {
        let counts = |bond: &&Bond| bond.pool == pool.name && bond.vif.is_some();
        let its = self.bindings.iter().filter(counts);
        let count = its.filter(|bond| bond.vif.as_ref() == vif).count();
        if vif.is_some()
            && pool
                .ports_per_vif
                .is_some_and(|most| count >= most as usize)
        {
            assert_eq!(answer, Err(DropReason::SnatPortLimit), "it has {count}");
            return;
        }
        let paired = self.paired.get(&(pool.name.clone(), host.clone()));
        let addresses: Vec<IpAddr> = match paired {
            Some(addr) => vec![*addr],
            None => pool.addresses.iter().flat_map(hosts).collect(),
        };
        let legal: Vec<Result<Vec<u16>, DropReason>> = addresses
            .iter()
            .map(|addr| self.ports(pool, transport, vif, *addr, inside.port))
            .collect();
        let is_legal = match answer {
            Ok(end) => {
                let at = addresses.iter().position(|addr| *addr == end.addr);
                at.is_some_and(|at| {
                    let ports = legal[at].as_ref();
                    ports.is_ok_and(|ports| ports.contains(&end.port))
                })
            }
            Err(reason) => legal.contains(&Err(reason)),
        };
        assert!(
            is_legal,
            "{answer:?} for {inside:?} of {vif:?} is not legal at {addresses:?}; the best were {:?}",
            legal
                .iter()
                .map(|ports| ports.as_ref().map(|ports| (ports.len(), ports.first())))
                .collect::<Vec<_>>()
        );
    }

    /// The ports of an address that would do best.
    fn ports(
        &self,
        pool: &SnatPool,
        transport: Transport,
        vif: Option<&Name>,
        addr: IpAddr,
        inside: u16,
    ) -> Result<Vec<u16>, DropReason> {
        let is_there = |bond: &&Bond| {
            (&bond.pool, bond.transport, bond.outside.addr) == (&pool.name, transport, addr)
        };
        let there = self.bindings.iter().filter(is_there);
        let taken: BTreeSet<u16> = there.map(|bond| bond.outside.port).collect();
        let best = |range: &RangeInclusive<u16>| {
            let free: Vec<u16> = range.clone().filter(|port| !taken.contains(port)).collect();
            best_of(transport, inside, range, free)
        };
        let (Some(size), Some(vif)) = (pool.block_size, vif) else {
            let ports = best(&pool.ports);
            return match ports.is_empty() {
                true => Err(DropReason::SnatExhausted),
                false => Ok(ports),
            };
        };
        let owner = |block: &RangeInclusive<u16>| {
            let in_it = |bond: &&Bond| {
                bond.pool == pool.name
                    && bond.outside.addr == addr
                    && block.contains(&bond.outside.port)
            };
            let mut its = self.bindings.iter().filter(in_it);
            its.find_map(|bond| bond.vif.clone())
        };
        let blocks = blocks(&pool.ports, size.get());
        let own: Vec<_> = blocks
            .iter()
            .filter(|it| owner(it).as_ref() == Some(vif))
            .collect();
        let ports: Vec<u16> = own.iter().flat_map(|block| best(block)).collect();
        if !ports.is_empty() {
            return Ok(ports);
        }
        // Without a limit of ports, one block is the limit.
        if !own.is_empty() && pool.ports_per_vif.is_none() {
            return Err(DropReason::SnatPortLimit);
        }
        let free = blocks.iter().filter(|block| owner(block).is_none());
        let ports: Vec<u16> = free.flat_map(best).collect();
        match ports.is_empty() {
            true => Err(DropReason::SnatExhausted),
            false => Ok(ports),
        }
    }
}

/// Of free ports those of the best kind: below 1024 or not as the machine's own is, and for UDP of
/// its parity (RFC 4787 REQ-3 and REQ-4).
fn best_of(
    transport: Transport,
    inside: u16,
    range: &RangeInclusive<u16>,
    free: Vec<u16>,
) -> Vec<u16> {
    if transport == Transport::Icmp {
        return free;
    }
    let is_low = |port: &u16| *port < 1024;
    let has_high = range.end() >= &1024;
    let like_it: Vec<u16> = free
        .iter()
        .copied()
        .filter(|port| is_low(port) == is_low(&inside))
        .collect();
    let others: Vec<u16> = free
        .into_iter()
        .filter(|port| is_low(port) != is_low(&inside))
        .collect();
    let kind = match (like_it.is_empty(), is_low(&inside)) {
        (false, _) => like_it,
        // A low one may become a high one; the reverse only where there are no others.
        (true, true) => others,
        (true, false) if has_high => vec![],
        (true, false) => others,
    };
    let same: Vec<u16> = kind
        .iter()
        .copied()
        .filter(|port| port % 2 == inside % 2)
        .collect();
    match transport == Transport::Udp && !same.is_empty() {
        true => same,
        false => kind,
    }
}

fn blocks(ports: &RangeInclusive<u16>, size: u16) -> Vec<RangeInclusive<u16>> {
    let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let size = u32::from(size);
    let starts = (0..(last - first + 1) / size).map(|block| first + block * size);
    let range = |start: u32| start as u16..=(start + size - 1) as u16;
    starts.map(range).collect()
}

fn hosts(net: &ipnet::IpNet) -> Vec<IpAddr> {
    let (first, last) = (net.network(), net.broadcast());
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let all = first.to_bits()..=last.to_bits();
            all.map(|bits| IpAddr::V4(bits.into())).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let all = first.to_bits()..=last.to_bits();
            all.map(|bits| IpAddr::V6(bits.into())).collect()
        }
        _ => unreachable!("one family"),
    }
}
