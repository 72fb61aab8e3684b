//! The places of bindings: who inside is who outside, who holds it, and until when it stays.
//!
//! One cache line each. What a binding is stays the same while it lives, and is written before it is
//! entered anywhere; its life is one word, which changes by compare-and-swap. So to hold and to let
//! go takes no lock, and a slot that somebody holds is never given to another.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use flowtable::Ticks;

use super::transport::Transport;
use crate::decide::End;
use crate::tables::VrfId;

/// The slots, and which are free.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Slot]>,
    /// How many were ever used.
    fresh: AtomicU32,
    /// The first of those that were used and are free, plus one; above it a count of changes, so
    /// that a head which went and came back is not taken for one that stayed.
    free: AtomicU64,
}

/// One binding.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Slot {
    inside: [AtomicU64; 2],
    outside: [AtomicU64; 2],
    /// Inside port, outside port, vrf, vif plus one.
    ends: AtomicU64,
    /// Pool, transport, and which addresses are IPv4.
    whose: AtomicU64,
    life: AtomicU64,
    /// Counts the bindings that the slot had; of a free one, the next free one plus one.
    turn: AtomicU32,
    next_free: AtomicU32,
}

const _: () = assert!(size_of::<Slot>() == 64, "a binding is one cache line");

/// What a binding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bond {
    /// The pool, by its serial number.
    pub pool: u32,
    pub transport: Transport,
    pub vrf: VrfId,
    pub inside: End,
    pub outside: End,
    /// The place of the vif that it counts for, if for any.
    pub vif: Option<u16>,
}

/// How long it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Flows and decisions that hold it.
    pub holders: u32,
    pub phase: Phase,
    /// Whether any flow ever held it.
    pub used: bool,
    /// When the phase ends, if nobody holds it.
    pub due: Ticks,
}

/// Where a binding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Free.
    Gone,
    /// Packets use it, or may.
    Live,
    /// Its port is nobody else's yet.
    Resting,
}

impl Slots {
    pub(super) fn new(capacity: usize) -> Slots {
        Slots {
            slots: (0..capacity).map(|_| Slot::default()).collect(),
            fresh: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    /// One more than the highest that was ever used.
    pub(super) fn bound(&self) -> u32 {
        self.fresh
            .load(Ordering::Relaxed)
            .min(self.slots.len() as u32)
    }

    /// A slot for the caller alone.
    pub(super) fn take(&self) -> Option<(u32, &Slot)> {
        let index = self.pop().or_else(|| {
            let below = |fresh: u32| ((fresh as usize) < self.slots.len()).then_some(fresh + 1);
            let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
            self.fresh.fetch_update(set, get, below).ok()
        })?;
        Some((index, &self.slots[index as usize]))
    }

    /// The slot that [`Self::take`] would give now.
    pub(super) fn next(&self) -> Option<(u32, &Slot)> {
        let head = self.free.load(Ordering::Acquire) as u32;
        let fresh = || self.fresh.load(Ordering::Relaxed);
        let index = head.checked_sub(1).unwrap_or_else(fresh);
        Some((index, self.get(index)?))
    }

    /// Gives one back that is entered nowhere any more.
    pub(super) fn put(&self, index: u32) {
        let slot = &self.slots[index as usize];
        slot.turn.fetch_add(1, Ordering::Relaxed);
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            slot.next_free.store(head as u32, Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(index + 1);
            match self.swap_head(head, new) {
                Ok(()) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let next = self.slots[index as usize].next_free.load(Ordering::Relaxed);
            let new = (head >> 32).wrapping_add(1) << 32 | u64::from(next);
            match self.swap_head(head, new) {
                Ok(()) => return Some(index),
                Err(now) => head = now,
            }
        }
    }

    fn swap_head(&self, old: u64, new: u64) -> Result<(), u64> {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let swapped = self.free.compare_exchange_weak(old, new, set, get);
        swapped.map(drop)
    }
}

impl Slot {
    /// Writes what the binding is, held once. Nobody else knows the slot yet.
    pub(super) fn fill(&self, bond: &Bond, now: Ticks) {
        let set = |words: &[AtomicU64; 2], addr: IpAddr| {
            let bits = to_bits(addr);
            words[0].store((bits >> 64) as u64, Ordering::Relaxed);
            words[1].store(bits as u64, Ordering::Relaxed);
        };
        set(&self.inside, bond.inside.addr);
        set(&self.outside, bond.outside.addr);
        let vif = bond.vif.map_or(0, |vif| u64::from(vif) + 1);
        let ends = u64::from(bond.inside.port) << 48
            | u64::from(bond.outside.port) << 32
            | u64::from(bond.vrf.0 as u16) << 16
            | vif;
        self.ends.store(ends, Ordering::Relaxed);
        let whose = u64::from(bond.pool) << 32
            | (bond.transport as u64) << 8
            | u64::from(bond.inside.addr.is_ipv4()) << 1
            | u64::from(bond.outside.addr.is_ipv4());
        self.whose.store(whose, Ordering::Relaxed);
        let life = Life {
            holders: 1,
            phase: Phase::Live,
            used: false,
            due: now,
        };
        self.life.store(life.to_bits(), Ordering::Release);
    }

    /// What the binding is; of one that ends meanwhile, anything.
    pub(super) fn bond(&self) -> Bond {
        let whose = self.whose.load(Ordering::Relaxed);
        let ends = self.ends.load(Ordering::Relaxed);
        let addr = |words: &[AtomicU64; 2], is_ipv4| {
            let [high, low] = [0, 1].map(|word: usize| words[word].load(Ordering::Relaxed));
            from_bits(u128::from(high) << 64 | u128::from(low), is_ipv4)
        };
        Bond {
            pool: (whose >> 32) as u32,
            transport: Transport::ALL[(whose >> 8 & 0xff).min(2) as usize],
            vrf: VrfId((ends >> 16 & 0xffff) as u32),
            inside: End {
                addr: addr(&self.inside, whose & 2 != 0),
                port: (ends >> 48) as u16,
            },
            outside: End {
                addr: addr(&self.outside, whose & 1 != 0),
                port: (ends >> 32) as u16,
            },
            vif: (ends as u16).checked_sub(1),
        }
    }

    pub(super) fn life(&self) -> Life {
        Life::from_bits(self.life.load(Ordering::Acquire))
    }

    /// Tells this binding of the slot from others that it had or will have.
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Changes the life in one step, as `change` says; what it was, unless `change` declines.
    pub(super) fn update(&self, change: impl Fn(Life) -> Option<Life>) -> Option<Life> {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let word = self.life.fetch_update(set, get, |word| {
            change(Life::from_bits(word)).map(Life::to_bits)
        });
        word.ok().map(Life::from_bits)
    }
}

impl Life {
    const USED: u64 = 1 << 61;

    fn to_bits(self) -> u64 {
        let used = if self.used { Life::USED } else { 0 };
        let holders = u64::from(self.holders.min((1 << 29) - 1));
        (self.phase as u64) << 62 | used | holders << 32 | u64::from(self.due.0)
    }

    fn from_bits(word: u64) -> Life {
        Life {
            holders: (word >> 32) as u32 & ((1 << 29) - 1),
            phase: match word >> 62 {
                1 => Phase::Live,
                2 => Phase::Resting,
                _ => Phase::Gone,
            },
            used: word & Life::USED != 0,
            due: Ticks(word as u32),
        }
    }
}

fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn from_bits(bits: u128, is_ipv4: bool) -> IpAddr {
    match is_ipv4 {
        true => std::net::Ipv4Addr::from_bits(bits as u32).into(),
        false => Ipv6Addr::from_bits(bits).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bond(inside: &str, outside: &str) -> Bond {
        let end = |addr: &str, port| End {
            addr: addr.parse().expect("an address"),
            port,
        };
        Bond {
            pool: 0xffff_fffe,
            transport: Transport::Icmp,
            vrf: VrfId(4095),
            inside: end(inside, 0xfffe),
            outside: end(outside, 0x8001),
            vif: Some(4095),
        }
    }

    #[test]
    fn a_slot_keeps_what_it_was_given() {
        let slot = Slot::default();
        for bond in [
            bond("10.0.0.1", "198.51.100.255"),
            bond("2001:db8::1", "198.51.100.255"),
            Bond {
                vif: None,
                ..bond("fd00::ffff", "2001:db8:ffff::1")
            },
        ] {
            slot.fill(&bond, Ticks(77));
            assert_eq!(slot.bond(), bond);
            let life = slot.life();
            assert_eq!(
                (life.holders, life.phase, life.due),
                (1, Phase::Live, Ticks(77))
            );
        }
    }

    #[test]
    fn lives_survive_packing() {
        for phase in [Phase::Gone, Phase::Live, Phase::Resting] {
            for used in [false, true] {
                let due = Ticks(u32::MAX - 1);
                let life = Life {
                    holders: (1 << 29) - 1,
                    phase,
                    used,
                    due,
                };
                assert_eq!(Life::from_bits(life.to_bits()), life);
            }
        }
    }

    #[test]
    fn slots_are_taken_once_and_come_back() {
        let slots = Slots::new(3);
        let mut taken: Vec<u32> = std::iter::from_fn(|| slots.take().map(|(at, _)| at)).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 2]);
        let turn = slots.get(1).map(Slot::turn);
        slots.put(1);
        slots.put(2);
        assert_ne!(slots.get(1).map(Slot::turn), turn);
        let again = [slots.take(), slots.take(), slots.take()].map(|got| got.map(|(at, _)| at));
        assert_eq!(again, [Some(2), Some(1), None]);
    }
}
