//! Who has which address and port of a pool: bindings of one end inside to one end outside.
//!
//! **What is promised.** An end inside has one end outside, whatever it talks to (RFC 4787 REQ-1, RFC
//! 5382 REQ-1, RFC 5508 REQ-1), and an end outside is one machine's. A binding stays while a flow or a
//! decision holds it, and after its last flow for as long as its transport asks, counted from that
//! flow's last packet. A UDP port then rests: for two minutes it is nobody's but the same machine's
//! (RFC 6888 REQ-8), however short of ports the pool is. Nothing is ever taken from who has it.
//!
//! **Who comes here.** First packets of flows that are translated by a pool, and ends of such flows.
//! A packet of a flow that exists finds its translation in the flow table and nothing of this is
//! touched, read or locked for it.
//!
//! ```text
//! inside end ─ hash ─▶ list (lock) ─▶ slot ◀─ list (lock) ◀─ hash ─ outside end
//! ```
//!
//! **Locks.** Each of the two indexes has 1024 locks. One is held for the walk along a list of about
//! one slot, some 50 ns; to make a binding, the lock of the inside end is held as well while a port is
//! looked for, some 200 ns, up to 2 µs for an address that is all but exhausted. Two workers meet if
//! they make bindings of hosts whose hashes fall together, once in a thousand, or of one host's end.
//! Whoever holds an inside lock may take an outside one, never the reverse, and never two of a kind: so
//! nobody waits in a circle. To hold and to let go of a binding is one compare-and-swap without a lock.
//!
//! **Ends.** A slot is found by the outside list only while it is entered there, and held only if its
//! life says that it is not gone. [`Bindings::sweep`] makes a life that is over gone by a
//! compare-and-swap that fails if somebody has come to hold it; after that it is the sweeper's alone
//! until it is free. A port becomes free last of all.

use std::net::IpAddr;

use ahash::RandomState;
use flowtable::Ticks;

use super::allotment::{Allotment, Claim};
use super::chains::Chains;
use super::permits::Permits;
use super::slots::{Bond, Life, Phase, Slot, Slots};
use super::transport::{REST_MS, Transport};
use crate::decide::End;
use crate::decide::sessions::{Asked, Binding, Bound};
use crate::reason::DropReason;
use crate::tables::nat::Pool;
use crate::tables::spec::Filtering;
use crate::tables::{Tables, VifId};

/// All bindings of a node.
#[derive(Debug)]
pub struct Bindings {
    hasher: RandomState,
    slots: Slots,
    inside: Chains,
    outside: Chains,
    permits: Permits,
}

impl Bindings {
    /// Room for so many; the secret keys the hashes and the choice of ports.
    pub fn new(capacity: usize, [a, b, c, d]: [u64; 4]) -> Bindings {
        Bindings {
            hasher: RandomState::with_seeds(a, b, c, d),
            slots: Slots::new(capacity),
            inside: Chains::new(capacity),
            outside: Chains::new(capacity),
            permits: Permits::new(2 * capacity),
        }
    }

    /// The end outside of a machine's end, held once more.
    pub fn bind(&self, pool: &Pool, asked: &Asked, now: Ticks) -> Result<Binding, DropReason> {
        let transport = Transport::of(asked.protocol).ok_or(DropReason::SnatProtocol)?;
        let allotment = &pool.allotment;
        let hash = self.hash_inside(allotment.serial(), transport, asked);
        let mut chain = self.inside.lock(hash);
        let found = chain.find(|index| self.is_of(index, allotment.serial(), transport, asked));
        let held = found.and_then(|index| self.hold_again(index, allotment));
        let index = match (held, found) {
            (Some(held), _) => held?,
            (None, found) => {
                // What the pool no longer has is left to the flows that hold it.
                if let Some(index) = found {
                    chain.remove(index);
                }
                let index = self.make(allotment, transport, asked, now)?;
                chain.push(index);
                index
            }
        };
        drop(chain);
        let slot = self.slots.get(index).ok_or(DropReason::SnatExhausted)?;
        if let Some(tag) = self.tag(
            pool.filtering,
            transport,
            (index, slot.turn()),
            asked.remote,
        ) {
            self.permits.admit(tag, now);
        }
        Ok(Binding {
            id: index + 1,
            outside: slot.bond().outside,
        })
    }

    /// Whose an end outside is, held once more, if `remote` may send to it.
    pub fn bound(
        &self,
        pool: &Pool,
        protocol: u8,
        (outside, remote): (End, End),
        now: Ticks,
    ) -> Result<Bound, DropReason> {
        let hold = |slot: &Slot| slot.update(|life| life.held_if_alive(now)).is_some();
        self.find_bound(pool, protocol, (outside, remote), now, hold)
    }

    /// What [`Self::bind`] would give now, and whether the machine's end has that already. Changes
    /// nothing.
    pub fn foresee(
        &self,
        pool: &Pool,
        asked: &Asked,
        now: Ticks,
    ) -> Result<(Binding, bool), DropReason> {
        let transport = Transport::of(asked.protocol).ok_or(DropReason::SnatProtocol)?;
        let allotment = &pool.allotment;
        let serial = allotment.serial();
        let hash = self.hash_inside(serial, transport, asked);
        let chain = self.inside.lock(hash);
        let found = chain.find(|index| self.is_of(index, serial, transport, asked));
        drop(chain);
        let found = found.and_then(|index| Some((index, self.slots.get(index)?)));
        if let Some((index, slot)) = found
            && allotment.has(slot.bond().outside)
        {
            let bond = slot.bond();
            let phase = slot.life().phase;
            if phase == Phase::Resting {
                allotment.may_join(bond.vif.map(|vif| VifId(vif.into())))?;
            }
            if phase != Phase::Gone {
                let outside = bond.outside;
                return Ok((
                    Binding {
                        id: index + 1,
                        outside,
                    },
                    true,
                ));
            }
        }
        let (index, slot) = self.slots.next().ok_or(DropReason::SnatExhausted)?;
        let claim = self.claim(allotment, transport, asked, (index, slot.turn()), now);
        let outside = allotment.foresee(&claim)?;
        let id = index + 1;
        Ok((Binding { id, outside }, false))
    }

    /// What [`Self::bound`] would say now. Changes nothing.
    pub fn foresee_bound(
        &self,
        pool: &Pool,
        protocol: u8,
        ends: (End, End),
        now: Ticks,
    ) -> Result<Bound, DropReason> {
        self.find_bound(pool, protocol, ends, now, |_| true)
    }

    /// Whose an end outside is; `hold` makes that last, or cannot.
    fn find_bound(
        &self,
        pool: &Pool,
        protocol: u8,
        (outside, remote): (End, End),
        now: Ticks,
        hold: impl Fn(&Slot) -> bool,
    ) -> Result<Bound, DropReason> {
        let transport = Transport::of(protocol).ok_or(DropReason::SnatProtocol)?;
        let serial = pool.allotment.serial();
        if !pool.allotment.has(outside) {
            return Err(DropReason::SnatUnknown);
        }
        let hash = self.hash_outside(serial, transport, outside);
        let chain = self.outside.lock(hash);
        let index = chain.find(|index| self.is_at(index, serial, transport, outside));
        let index = index.ok_or(DropReason::SnatUnknown)?;
        let slot = self.slots.get(index).ok_or(DropReason::SnatUnknown)?;
        let alive = slot.life().held_if_alive(now);
        alive.ok_or(DropReason::SnatUnknown)?;
        let tag = self.tag(pool.filtering, transport, (index, slot.turn()), remote);
        if tag.is_some_and(|tag| !self.permits.allows(tag, now)) {
            return Err(DropReason::SnatFiltered);
        }
        if !hold(slot) {
            return Err(DropReason::SnatUnknown);
        }
        let bond = slot.bond();
        Ok(Bound {
            id: index + 1,
            vrf: bond.vrf,
            inside: bond.inside,
        })
    }

    /// Lets go of what [`Self::bind`] or [`Self::bound`] held, without a flow having used it.
    pub fn release(&self, id: u32) {
        if let Some(slot) = self.slot(id) {
            slot.update(|life| life.let_go(life.due, false));
        }
    }

    /// Lets go of what a flow held that is over: with whom it was, and when it was last seen.
    pub fn end(&self, id: u32, remote: End, last_seen: Ticks) {
        let Some(slot) = self.slot(id) else {
            return;
        };
        let transport = slot.bond().transport;
        let due = last_seen.after(transport.linger_ms(remote.port));
        let index = id - 1;
        for filtering in [
            Filtering::AddressDependent,
            Filtering::AddressAndPortDependent,
        ] {
            if let Some(tag) = self.tag(filtering, transport, (index, slot.turn()), remote) {
                self.permits.end(tag, due);
            }
        }
        slot.update(|life| match life.used {
            // Of two flows, the one that was seen last counts.
            true => life.let_go(due.latest(life.due), true),
            false => life.let_go(due, true),
        });
    }

    /// Looks at one slot and takes it further if its time has come. `index` is below
    /// [`Self::bound_of_slots`].
    pub fn sweep(&self, tables: &Tables, index: u32, now: Ticks) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let life = slot.life();
        if life.phase == Phase::Gone || life.holders > 0 {
            return;
        }
        let bond = slot.bond();
        let vif = bond.vif.map(|vif| VifId(vif.into()));
        // A vif that is made next must not find its share taken.
        let is_orphan = vif.is_some_and(|vif| tables.vif(vif).is_none());
        if now.since(life.due) == 0 && !(is_orphan && life.phase == Phase::Live) {
            return;
        }
        let allotment = allotment(tables, &bond);
        let unchanged = |next: Life| move |now: Life| (now == life).then_some(next);
        if life.phase == Phase::Live && life.used && bond.transport.rests() {
            let resting = Life {
                phase: Phase::Resting,
                due: now.after(REST_MS),
                ..life
            };
            if slot.update(unchanged(resting)).is_some()
                && let Some(allotment) = allotment
            {
                allotment.leave(vif);
            }
            return;
        }
        let gone = Life {
            phase: Phase::Gone,
            ..life
        };
        if slot.update(unchanged(gone)).is_none() {
            return;
        }
        self.unlink(index, &bond);
        if let Some(allotment) = allotment {
            if life.phase == Phase::Live {
                allotment.leave(vif);
            }
            allotment.give_back(bond.transport, vif, bond.outside);
        }
        self.slots.put(index);
    }

    /// One more than the highest slot that was ever used.
    pub fn bound_of_slots(&self) -> u32 {
        self.slots.bound()
    }

    /// Every binding that is, with how many hold it; for people.
    pub fn iter(&self) -> impl Iterator<Item = (u32, End, End, u32)> {
        (0..self.slots.bound()).filter_map(|index| {
            let slot = self.slots.get(index)?;
            let (bond, life) = (slot.bond(), slot.life());
            let is_live = life.phase == Phase::Live;
            is_live.then_some((bond.pool, bond.inside, bond.outside, life.holders))
        })
    }

    fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id.checked_sub(1)?)
    }

    /// Holds a binding that was found by its inside end; `None` if it is none any more, or the pool
    /// has no longer what it gives.
    fn hold_again(&self, index: u32, allotment: &Allotment) -> Option<Result<u32, DropReason>> {
        let slot = self.slots.get(index)?;
        let bond = slot.bond();
        if !allotment.has(bond.outside) {
            return None;
        }
        let vif = bond.vif.map(|vif| VifId(vif.into()));
        if slot.life().phase == Phase::Resting {
            if let Err(reason) = allotment.join(vif) {
                return Some(Err(reason));
            }
            let wake = |life: Life| (life.phase == Phase::Resting).then_some(life.held());
            if slot.update(wake).is_some() {
                return Some(Ok(index));
            }
            allotment.leave(vif);
        }
        let hold = |life: Life| (life.phase == Phase::Live).then_some(life.held());
        slot.update(hold).map(|_| Ok(index))
    }

    /// Makes a binding, held once and entered in the outside index. The caller has the lock of the
    /// inside end, and enters it there.
    fn make(
        &self,
        allotment: &Allotment,
        transport: Transport,
        asked: &Asked,
        now: Ticks,
    ) -> Result<u32, DropReason> {
        let Some((index, slot)) = self.slots.take() else {
            allotment.refuse();
            return Err(DropReason::SnatExhausted);
        };
        let claim = self.claim(allotment, transport, asked, (index, slot.turn()), now);
        let outside = match allotment.take(&claim) {
            Ok(outside) => outside,
            Err(reason) => {
                self.slots.put(index);
                return Err(reason);
            }
        };
        let pool = allotment.serial();
        let bond = Bond {
            pool,
            transport,
            vrf: asked.vrf,
            inside: asked.inside,
            outside,
            vif: asked.vif.map(|vif| vif.0 as u16),
        };
        slot.fill(&bond, now);
        let hash = self.hash_outside(pool, transport, outside);
        self.outside.lock(hash).push(index);
        Ok(index)
    }

    /// What a binding in this slot asks of what the pool has to give.
    fn claim(
        &self,
        allotment: &Allotment,
        transport: Transport,
        asked: &Asked,
        slot: (u32, u32),
        now: Ticks,
    ) -> Claim {
        let host = match (allotment.has_blocks(), asked.vif) {
            (true, Some(vif)) => self.hasher.hash_one((allotment.serial(), vif)),
            _ => {
                let host = (allotment.serial(), asked.vrf, asked.inside.addr);
                self.hasher.hash_one(host)
            }
        };
        let drawn = (asked.inside, asked.remote, now.0, slot.0, slot.1);
        Claim {
            transport,
            vif: asked.vif,
            inside_port: asked.inside.port,
            address: host,
            random: self.hasher.hash_one(drawn),
        }
    }

    /// Whether a slot is that of a machine's end.
    fn is_of(&self, index: u32, pool: u32, transport: Transport, asked: &Asked) -> bool {
        let bond = self.slots.get(index).map(Slot::bond);
        bond.is_some_and(|bond| {
            bond.inside == asked.inside
                && (bond.pool, bond.transport) == (pool, transport)
                && bond.vrf == asked.vrf
        })
    }

    /// Takes a binding that is gone out of both indexes.
    fn unlink(&self, index: u32, bond: &Bond) {
        let asked = Asked {
            pool: Default::default(),
            vrf: bond.vrf,
            vif: None,
            protocol: 0,
            inside: bond.inside,
            remote: bond.outside,
        };
        let hash = self.hash_inside(bond.pool, bond.transport, &asked);
        self.inside.lock(hash).remove(index);
        let hash = self.hash_outside(bond.pool, bond.transport, bond.outside);
        self.outside.lock(hash).remove(index);
    }

    fn is_at(&self, index: u32, pool: u32, transport: Transport, outside: End) -> bool {
        self.slots.get(index).is_some_and(|slot| {
            let bond = slot.bond();
            (bond.pool, bond.transport, bond.outside) == (pool, transport, outside)
                && slot.life().phase != Phase::Gone
        })
    }

    fn hash_inside(&self, pool: u32, transport: Transport, asked: &Asked) -> u64 {
        let end = (asked.vrf, asked.inside.addr, asked.inside.port);
        self.hasher.hash_one((pool, transport, end))
    }

    fn hash_outside(&self, pool: u32, transport: Transport, outside: End) -> u64 {
        self.hasher.hash_one((transport, pool, outside))
    }

    /// What stands for a remote in the permits of a binding; `None` where anybody is let in.
    fn tag(
        &self,
        filtering: Filtering,
        transport: Transport,
        binding: (u32, u32),
        remote: End,
    ) -> Option<u64> {
        let port = match (filtering, transport) {
            (Filtering::EndpointIndependent, _) => return None,
            // The other end has no port of its own.
            (Filtering::AddressDependent, _) | (_, Transport::Icmp) => None,
            (Filtering::AddressAndPortDependent, _) => Some(remote.port),
        };
        let remote: (IpAddr, Option<u16>) = (remote.addr, port);
        Some(self.hasher.hash_one((binding, remote)))
    }
}

impl Life {
    fn held(self) -> Life {
        Life {
            holders: self.holders + 1,
            phase: Phase::Live,
            ..self
        }
    }

    /// Held once more, unless it is over.
    fn held_if_alive(self, now: Ticks) -> Option<Life> {
        let is_due = self.holders == 0 && now.since(self.due) > 0;
        (self.phase == Phase::Live && !is_due).then_some(self.held())
    }

    fn let_go(self, due: Ticks, used: bool) -> Option<Life> {
        Some(Life {
            holders: self.holders.checked_sub(1)?,
            due,
            used: self.used || used,
            ..self
        })
    }
}

/// What the pool of a binding has to give, unless it is another pool by now, or none.
fn allotment<'a>(tables: &'a Tables, bond: &Bond) -> Option<&'a Allotment> {
    let mut pools = tables.pools().map(|(_, pool)| &*pool.allotment);
    pools.find(|allotment| allotment.serial() == bond.pool)
}

#[cfg(test)]
mod tests;
