//! Fragments that wait for the first of their datagram, in a fixed number of
//! places; each datagram's form a chain in order of arrival.

use encap::Buffer;

use super::Limits;
use super::shares::{Room, Shares};
use crate::stage::Lane;
use crate::tables::{VifId, VrfId};

/// The places, of a packet and its lane each.
pub(super) struct Held<B> {
    places: Box<[Place<B>]>,
    /// The first free place; each leads to the next.
    free: u32,
    packets: Shares,
    bytes: Shares,
    /// Counts arrivals, to tell which is older.
    turn: u64,
}

/// A packet with what was known of it when it came.
pub(super) struct Waiter<B> {
    pub(super) packet: B,
    pub(super) lane: Lane,
    /// Where it came from.
    pub(super) vif: VifId,
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
pub(super) struct Chain {
    head: u32,
    tail: u32,
}

/// No place.
const END: u32 = u32::MAX;

impl Chain {
    pub(super) const EMPTY: Chain = Chain {
        head: END,
        tail: END,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.head == END
    }
}

impl<B: Buffer> Held<B> {
    /// Holds nothing, and will never allocate.
    pub(super) fn new(limits: &Limits) -> Held<B> {
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

    /// Whether `vrf` may hold one more packet of `len` bytes.
    pub(super) fn room(&self, vrf: VrfId, len: usize) -> Room {
        match self.packets.room(vrf, 1) {
            Room::Enough => self.bytes.room(vrf, u32::try_from(len).unwrap_or(u32::MAX)),
            other => other,
        }
    }

    /// Puts a packet at the end of its datagram's chain; hands it back if there
    /// is no place, which [`Self::room`] tells before.
    pub(super) fn push(
        &mut self,
        chain: &mut Chain,
        datagram: u32,
        packet: B,
        lane: Lane,
        vif: VifId,
    ) -> Result<(), B> {
        let index = self.free;
        let Some(place) = self.places.get_mut(index as usize) else {
            return Err(packet);
        };
        self.free = place.next;
        self.packets.take(lane.vrf, 1);
        self.bytes.take(lane.vrf, packet.len() as u32);
        self.turn += 1;
        place.next = END;
        place.waiter = Some(Waiter {
            packet,
            lane,
            vif,
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
    pub(super) fn pop(&mut self, chain: &mut Chain) -> Option<Waiter<B>> {
        let index = chain.head;
        let place = self.places.get_mut(index as usize)?;
        chain.head = place.next;
        place.next = self.free;
        self.free = index;
        let waiter = place.waiter.take()?;
        self.packets.give_back(waiter.lane.vrf, 1);
        let len = waiter.packet.len() as u32;
        self.bytes.give_back(waiter.lane.vrf, len);
        Some(waiter)
    }

    /// The first of a chain.
    pub(super) fn first(&self, chain: &Chain) -> Option<&Waiter<B>> {
        self.places.get(chain.head as usize)?.waiter.as_ref()
    }

    /// Puts one chain behind another.
    pub(super) fn append(&mut self, chain: &mut Chain, more: Chain) {
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
    pub(super) fn let_go(&mut self, chain: &Chain, mut change: impl FnMut(&mut Lane)) {
        let mut index = chain.head;
        while let Some(place) = self.places.get_mut(index as usize) {
            if let Some(waiter) = &mut place.waiter {
                waiter.datagram = END;
                change(&mut waiter.lane);
            }
            index = place.next;
        }
    }

    /// The datagram of the packet of `vrf` that waits longest. Looks at every
    /// place: for the moment a vrf's share has to shrink.
    pub(super) fn oldest_of(&self, vrf: VrfId) -> Option<u32> {
        let own = self.waiting().filter(|waiter| waiter.lane.vrf == vrf);
        own.min_by_key(|waiter| waiter.turn)
            .map(|waiter| waiter.datagram)
    }

    /// A datagram of which a packet from `vif` waits. Looks at every place.
    pub(super) fn any_from(&self, vif: VifId) -> Option<u32> {
        let mut own = self.waiting().filter(|waiter| waiter.vif == vif);
        own.next().map(|waiter| waiter.datagram)
    }

    fn waiting(&self) -> impl Iterator<Item = &Waiter<B>> {
        let waiters = self.places.iter().filter_map(|place| place.waiter.as_ref());
        waiters.filter(|waiter| waiter.datagram != END)
    }

    /// Packets held.
    pub(super) fn packets(&self) -> u32 {
        self.packets.total()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.total()
    }
}
