//! Fragments that wait for others of their datagram, in a fixed number of places;
//! each datagram's form a chain in order of arrival.

use std::sync::Arc;

use encap::Buffer;

use super::Limits;
use super::shares::{Owner, Room, Shares};
use crate::io::BATCH;
use crate::reason::DropReason;
use crate::stage::{Burst, Lane};
use crate::tables::{Tables, Vif, VifId};

/// The places, of a packet and its lane each.
pub(crate) struct Held<B> {
    places: Box<[Place<B>]>,
    /// The first free place; each leads to the next.
    free: u32,
    packets: Shares,
    bytes: Shares,
    /// Counts arrivals, to tell which is older.
    turn: u64,
}

/// A packet with what was known of it when it came.
pub(crate) struct Waiter<B> {
    pub(crate) packet: B,
    pub(crate) lane: Lane,
    /// Where it came from.
    pub(crate) vif: VifId,
    /// Whose share it is of.
    owner: Owner,
    /// The datagram it waits for; [`END`] if it waits no longer.
    datagram: u32,
    turn: u64,
}

struct Place<B> {
    waiter: Option<Waiter<B>>,
    next: u32,
}

/// Places one after the other. Not `Copy`: a chain has one owner.
#[derive(Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
}

/// No place.
const END: u32 = u32::MAX;

impl Chain {
    pub(crate) const EMPTY: Chain = Chain {
        head: END,
        tail: END,
    };

    pub(crate) fn is_empty(&self) -> bool {
        self.head == END
    }
}

impl<B: Buffer> Held<B> {
    /// Holds nothing, and will never allocate.
    pub(crate) fn new(limits: &Limits) -> Held<B> {
        let count = limits.held_packets;
        let places = (0..count).map(|index| Place {
            waiter: None,
            next: if index + 1 < count { index + 1 } else { END },
        });
        Held {
            places: places.collect(),
            free: if count > 0 { 0 } else { END },
            packets: Shares::new(count),
            bytes: Shares::new(limits.held_bytes),
            turn: 0,
        }
    }

    /// Whether `owner` may hold one more packet of `len` bytes.
    pub(crate) fn room(&self, owner: Owner, len: usize) -> Room {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        match self.packets.room(owner, 1) {
            Room::Enough => self.bytes.room(owner, len),
            other => other,
        }
    }

    /// Puts a packet at the end of its datagram's chain; hands it back if there
    /// is no place, which [`Self::room`] tells before.
    pub(crate) fn push(
        &mut self,
        chain: &mut Chain,
        datagram: u32,
        owner: Owner,
        packet: B,
        lane: Lane,
        vif: VifId,
    ) -> Result<(), B> {
        let index = self.free;
        let Some(place) = self.places.get_mut(index as usize) else {
            return Err(packet);
        };
        self.free = place.next;
        self.packets.take(owner, 1);
        self.bytes.take(owner, packet.len() as u32);
        self.turn += 1;
        place.next = END;
        place.waiter = Some(Waiter {
            packet,
            lane,
            vif,
            owner,
            datagram,
            turn: self.turn,
        });
        self.append(
            chain,
            Chain {
                head: index,
                tail: index,
            },
        );
        Ok(())
    }

    /// Takes the first of a chain out.
    pub(crate) fn pop(&mut self, chain: &mut Chain) -> Option<Waiter<B>> {
        let index = chain.head;
        let place = self.places.get_mut(index as usize)?;
        chain.head = place.next;
        place.next = self.free;
        self.free = index;
        let waiter = place.waiter.take()?;
        self.packets.give_back(waiter.owner, 1);
        let len = waiter.packet.len() as u32;
        self.bytes.give_back(waiter.owner, len);
        Some(waiter)
    }

    /// The first of a chain.
    pub(crate) fn first(&self, chain: &Chain) -> Option<&Waiter<B>> {
        self.places.get(chain.head as usize)?.waiter.as_ref()
    }

    /// Puts one chain behind another.
    pub(crate) fn append(&mut self, chain: &mut Chain, more: Chain) {
        if chain.is_empty() {
            *chain = more;
        } else if !more.is_empty()
            && let Some(place) = self.places.get_mut(chain.tail as usize)
        {
            place.next = more.head;
            chain.tail = more.tail;
        }
    }

    /// Lets a chain belong to no datagram any more, and changes its lanes.
    pub(crate) fn let_go(&mut self, chain: &Chain, mut change: impl FnMut(&mut Lane)) {
        let mut index = chain.head;
        while let Some(place) = self.places.get_mut(index as usize) {
            if let Some(waiter) = &mut place.waiter {
                waiter.datagram = END;
                change(&mut waiter.lane);
            }
            index = place.next;
        }
    }

    /// Fills an empty batch from a chain, with packets that all came from the vif that is returned;
    /// `None` when the chain is empty.
    pub(crate) fn fill<'t>(
        &mut self,
        chain: &mut Chain,
        tables: &'t Tables,
        burst: &mut Burst<B>,
    ) -> Option<&'t Arc<Vif>> {
        burst.lanes.clear();
        while let Some(vif) = self.first(chain).map(|first| first.vif) {
            let same = |first: Option<&Waiter<B>>| first.is_some_and(|first| first.vif == vif);
            while burst.lanes.len() < BATCH && same(self.first(chain)) {
                if let Some(waiter) = self.pop(chain) {
                    burst.lanes.push(waiter.lane);
                    burst.packets.push(waiter.packet);
                }
            }
            let vif = tables.vif(vif);
            if vif.is_some() {
                return vif;
            }
            // It is gone, and its counters with it.
            burst.packets.clear();
            burst.lanes.clear();
        }
        None
    }

    /// Drops what is in a chain, and counts it.
    pub(crate) fn drop_all(
        &mut self,
        mut chain: Chain,
        reason: DropReason,
        tables: &Tables,
        worker: usize,
    ) {
        while let Some(waiter) = self.pop(&mut chain) {
            if let Some(vif) = tables.vif(waiter.vif) {
                vif.counters.block(worker).dropped(reason, 1);
            }
        }
    }

    /// The datagram of the packet of `owner` that waits longest. Looks at every
    /// place: for the moment an owner's share has to shrink.
    pub(crate) fn oldest_of(&self, owner: Owner) -> Option<u32> {
        let own = self.waiting().filter(|waiter| waiter.owner == owner);
        own.min_by_key(|waiter| waiter.turn)
            .map(|waiter| waiter.datagram)
    }

    /// A datagram of which a packet from `vif` waits. Looks at every place.
    pub(crate) fn any_from(&self, vif: VifId) -> Option<u32> {
        let mut own = self.waiting().filter(|waiter| waiter.vif == vif);
        own.next().map(|waiter| waiter.datagram)
    }

    fn waiting(&self) -> impl Iterator<Item = &Waiter<B>> {
        let waiters = self.places.iter().filter_map(|place| place.waiter.as_ref());
        waiters.filter(|waiter| waiter.datagram != END)
    }

    /// Packets held.
    pub(crate) fn packets(&self) -> u32 {
        self.packets.total()
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u32 {
        self.bytes.total()
    }
}
