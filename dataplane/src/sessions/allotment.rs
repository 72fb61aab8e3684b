//! What a pool has to give: its addresses with their ports, who may have how many, and whose the
//! blocks are. Made at commit; a new form of a pool keeps the ports of the addresses that stay.
//!
//! A machine always gets the same address (RFC 4787 REQ-2, RFC 6888 REQ-2), chosen by a keyed hash: of
//! its own address, or of its vif where vifs have blocks. So it may find its address exhausted while
//! another has ports left, which is what "paired" costs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ipnet::IpNet;

use super::gauge::{Gauge, Usage};
use super::ports::{Ports, Wish, mix};
use super::transport::Transport;
use crate::decide::End;
use crate::reason::DropReason;
use crate::tables::{MAX_VIFS, VifId};

/// Addresses that a pool has at most: each takes 24 KiB.
pub const MAX_ADDRESSES: u128 = 1024;

/// What a pool has to give.
#[derive(Debug)]
pub struct Allotment {
    serial: u32,
    /// In order.
    addresses: Box<[Address]>,
    ports: RangeInclusive<u16>,
    /// 0: no blocks.
    block_size: u16,
    ports_per_vif: u32,
    /// Ports that each vif has.
    shares: Arc<[AtomicU32]>,
    gauge: Arc<Gauge>,
}

#[derive(Debug)]
struct Address {
    addr: IpAddr,
    ports: Arc<Ports>,
    /// Of each block the vif that has it, plus one, in the upper half; in the lower one how many of
    /// its ports are taken. A block without any is nobody's.
    blocks: Box<[AtomicU64]>,
}

/// Who asks for a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub transport: Transport,
    pub vif: Option<VifId>,
    pub inside_port: u16,
    /// The same for whatever is to get the same address.
    pub address: u64,
    pub random: u64,
}

impl Allotment {
    /// Of these addresses; `old` is the same pool's until now.
    pub fn new(
        serial: u32,
        addresses: &[IpNet],
        ports: RangeInclusive<u16>,
        (block_size, ports_per_vif): (u16, u32),
        old: Option<&Allotment>,
    ) -> Allotment {
        let same_blocks = old.is_some_and(|old| old.block_size == block_size && old.ports == ports);
        let address = |addr: IpAddr| {
            let kept = old.and_then(|old| old.address(addr));
            let count = match block_size {
                0 => 0,
                size => len(&ports) / u32::from(size),
            };
            let word = |at: usize| match kept.filter(|_| same_blocks) {
                Some(kept) => kept.blocks[at].load(Ordering::Relaxed),
                None => 0,
            };
            Address {
                addr,
                ports: kept.map(|kept| kept.ports.clone()).unwrap_or_default(),
                blocks: (0..count as usize)
                    .map(|at| AtomicU64::new(word(at)))
                    .collect(),
            }
        };
        let hosts: BTreeSet<IpAddr> = addresses.iter().flat_map(|net| every(*net)).collect();
        Allotment {
            serial: old.map_or(serial, |old| old.serial),
            addresses: hosts.into_iter().map(address).collect(),
            ports,
            block_size,
            ports_per_vif,
            shares: match old {
                Some(old) => old.shares.clone(),
                None => (0..MAX_VIFS).map(|_| AtomicU32::new(0)).collect(),
            },
            gauge: old.map(|old| old.gauge.clone()).unwrap_or_default(),
        }
    }

    /// Tells the pool from all there were: names and indices are used again.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether vifs have blocks of ports.
    pub(super) fn has_blocks(&self) -> bool {
        self.block_size != 0
    }

    /// The addresses, with their ports.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Arc<Ports>)> {
        self.addresses.iter().map(|it| (it.addr, &it.ports))
    }

    /// The UDP ports of each address that are given out, or rest.
    pub fn udp_ports(&self) -> impl Iterator<Item = (IpAddr, Vec<u16>)> {
        let taken = |ports: &Ports| ports.all_taken(Transport::Udp).collect();
        self.addresses()
            .map(move |(addr, ports)| (addr, taken(ports)))
    }

    /// How much is given out.
    pub fn usage(&self) -> Usage {
        self.gauge.read(self.limit())
    }

    /// Whether the pool, as it is now, gives this end to anybody.
    pub fn has(&self, end: End) -> bool {
        self.ports.contains(&end.port) && self.address(end.addr).is_some()
    }

    /// Whether somebody has this end: one look at a bit.
    pub fn is_taken(&self, transport: Transport, end: End) -> bool {
        let address = self.address(end.addr);
        address.is_some_and(|address| address.ports.is_taken(transport, end.port))
    }

    /// Gives an end.
    pub(super) fn take(&self, claim: &Claim) -> Result<End, DropReason> {
        let taken = self.join(claim.vif).and_then(|()| {
            let taken = self.pick(claim);
            if taken.is_err() {
                self.leave(claim.vif);
            }
            taken
        });
        match taken {
            Ok(_) => self.gauge.took(claim.transport, self.limit()),
            Err(_) => self.gauge.refused(),
        }
        taken
    }

    /// The end that [`Self::take`] would give now. Takes nothing; copies the ports of one address.
    pub(super) fn foresee(&self, claim: &Claim) -> Result<End, DropReason> {
        self.may_join(claim.vif)?;
        self.pick_at(&self.address_for(claim)?.apart(), claim)
    }

    /// Whether one more port may count for a vif.
    pub(super) fn may_join(&self, vif: Option<VifId>) -> Result<(), DropReason> {
        let share = self.share(vif);
        let is_free = |share: &AtomicU32| share.load(Ordering::Relaxed) < self.ports_per_vif;
        match share.is_none_or(is_free) {
            true => Ok(()),
            false => Err(DropReason::SnatPortLimit),
        }
    }

    /// Counts a flow that gets none for want of room to note it.
    pub(super) fn refuse(&self) {
        self.gauge.refused();
    }

    /// One more port counts for a vif.
    pub(super) fn join(&self, vif: Option<VifId>) -> Result<(), DropReason> {
        let Some(share) = self.share(vif) else {
            return Ok(());
        };
        let limit = self.ports_per_vif;
        let more = |ports: u32| (ports < limit).then_some(ports + 1);
        let joined = share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        joined.map(drop).map_err(|_| DropReason::SnatPortLimit)
    }

    /// One less.
    pub(super) fn leave(&self, vif: Option<VifId>) {
        if let Some(share) = self.share(vif) {
            let less = |ports: u32| ports.checked_sub(1);
            let _ = share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Takes an end back, which has left its vif's share before.
    pub(super) fn give_back(&self, transport: Transport, vif: Option<VifId>, end: End) {
        self.gauge.freed(transport, self.limit());
        let Some(address) = self.address(end.addr) else {
            return;
        };
        address.ports.give_back(transport, end.port);
        if let (Some(vif), Some(block)) = (vif, self.block_of(end.port)) {
            address.leave_block(block, vif);
        }
    }

    fn pick(&self, claim: &Claim) -> Result<End, DropReason> {
        self.pick_at(self.address_for(claim)?, claim)
    }

    /// The one address that whoever asks gets ports of.
    fn address_for(&self, claim: &Claim) -> Result<&Address, DropReason> {
        let place = (u128::from(claim.address) * self.addresses.len() as u128) >> 64;
        let address = self.addresses.get(place as usize);
        address.ok_or(DropReason::SnatExhausted)
    }

    fn pick_at(&self, address: &Address, claim: &Claim) -> Result<End, DropReason> {
        let port = match claim.vif {
            Some(vif) if self.block_size != 0 => self.pick_in_blocks(address, vif, claim)?,
            _ => {
                let port = address.pick(claim, &self.ports);
                port.ok_or(DropReason::SnatExhausted)?
            }
        };
        let addr = address.addr;
        Ok(End { addr, port })
    }

    /// A port of a block that the vif has, or of one that it gets.
    fn pick_in_blocks(
        &self,
        address: &Address,
        vif: VifId,
        claim: &Claim,
    ) -> Result<u16, DropReason> {
        let mut has_one = false;
        for block in 0..address.blocks.len() {
            if !address.join_block(block, vif) {
                continue;
            }
            has_one = true;
            if let Some(port) = address.pick(claim, &self.block(block)) {
                return Ok(port);
            }
            address.leave_block(block, vif);
        }
        // Without a limit of ports, one block is the limit.
        if has_one && self.ports_per_vif == u32::MAX {
            return Err(DropReason::SnatPortLimit);
        }
        let count = address.blocks.len();
        let start = mix(claim.random) as usize % count.max(1);
        let mut around = (0..count).map(|step| (start + step) % count);
        let block = around.find(|block| address.get_block(*block, vif));
        let block = block.ok_or(DropReason::SnatExhausted)?;
        let port = address.pick(claim, &self.block(block));
        if port.is_none() {
            address.leave_block(block, vif);
        }
        port.ok_or(DropReason::SnatExhausted)
    }

    fn block(&self, block: usize) -> RangeInclusive<u16> {
        let first = self.ports.start() + block as u16 * self.block_size;
        first..=first + (self.block_size - 1)
    }

    fn block_of(&self, port: u16) -> Option<usize> {
        let offset = port.checked_sub(*self.ports.start())?;
        Some(usize::from(offset.checked_div(self.block_size)?))
    }

    fn share(&self, vif: Option<VifId>) -> Option<&AtomicU32> {
        self.shares.get(vif?.0 as usize)
    }

    fn address(&self, addr: IpAddr) -> Option<&Address> {
        let all = &self.addresses;
        let found = all.binary_search_by_key(&addr, |address| address.addr);
        found.ok().map(|at| &all[at])
    }

    /// Ports for each transport.
    fn limit(&self) -> u32 {
        len(&self.ports) * self.addresses.len() as u32
    }
}

impl Address {
    /// The same, for trying things out.
    fn apart(&self) -> Address {
        let word = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        Address {
            addr: self.addr,
            ports: Arc::new(self.ports.apart()),
            blocks: self.blocks.iter().map(word).collect(),
        }
    }

    fn pick(&self, claim: &Claim, range: &RangeInclusive<u16>) -> Option<u16> {
        let wishes = Wish::for_port(claim.transport, claim.inside_port, range);
        let mut wishes = wishes.iter();
        wishes.find_map(|wish| self.ports.take(claim.transport, wish, claim.random))
    }

    /// Counts one more port of a block, if it is the vif's.
    fn join_block(&self, block: usize, vif: VifId) -> bool {
        let owner = u64::from(vif.0 + 1);
        self.change_block(block, |word| (word >> 32 == owner).then_some(word + 1))
    }

    /// Gives a block to a vif, with its first port, if it is nobody's.
    fn get_block(&self, block: usize, vif: VifId) -> bool {
        let owned = u64::from(vif.0 + 1) << 32 | 1;
        self.change_block(block, |word| (word == 0).then_some(owned))
    }

    /// Counts one port less; without any, the block is nobody's.
    fn leave_block(&self, block: usize, vif: VifId) {
        let owner = u64::from(vif.0 + 1);
        self.change_block(block, |word| match word >> 32 == owner {
            true if word as u32 > 1 => Some(word - 1),
            true => Some(0),
            false => None, // the blocks are others than when it got the port
        });
    }

    fn change_block(&self, block: usize, change: impl Fn(u64) -> Option<u64>) -> bool {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let word = self.blocks.get(block);
        word.is_some_and(|word| word.fetch_update(set, get, change).is_ok())
    }
}

fn len(ports: &RangeInclusive<u16>) -> u32 {
    (u32::from(*ports.end()) + 1).saturating_sub((*ports.start()).into())
}

/// Every address of a prefix, of which there are [`MAX_ADDRESSES`] at most.
pub fn every(net: IpNet) -> impl Iterator<Item = IpAddr> {
    let count = count(net).min(MAX_ADDRESSES);
    (0..count).map(move |at| match net.network() {
        IpAddr::V4(first) => {
            IpAddr::from(std::net::Ipv4Addr::from_bits(first.to_bits() + at as u32))
        }
        IpAddr::V6(first) => IpAddr::from(std::net::Ipv6Addr::from_bits(first.to_bits() + at)),
    })
}

/// How many addresses a prefix has.
pub fn count(net: IpNet) -> u128 {
    let bits = u32::from(net.max_prefix_len() - net.prefix_len());
    1_u128.checked_shl(bits).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests;
