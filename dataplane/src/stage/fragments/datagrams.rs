//! The datagrams of which a fragment was seen: a hash table of fixed size, each
//! entry also in a queue of its vrf, oldest first, from which the vrf with the
//! most makes room when all entries are taken.

use encap::{Fragment, Meta, Network, protocol};
use flowtable::{Key, Ticks};

use super::held::Chain;
use super::pieces::Pieces;
use super::shares::{Room, Shares};
use crate::reason::DropReason;
use crate::stage::Ingress;
use crate::tables::{MAX_VRFS, VrfId};

/// What all fragments of one datagram share (RFC 791 §2.3, RFC 8200 §4.5), and
/// where they come from: nobody spoils a datagram from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Addresses, network, layer and protocol, with the identification in the
    /// place of the ports. In IPv6 the protocol does not count.
    pub(super) key: Key,
    pub(super) ingress: Ingress,
}

/// A datagram of which a fragment was seen.
pub(super) struct Datagram {
    name: Name,
    vrf: VrfId,
    /// Its identification, if it needs another one.
    pub(super) id: u16,
    /// When the first one came.
    pub(super) since: Ticks,
    pub(super) pieces: Pieces,
    pub(super) state: State,
    /// Its bucket, and the next one in there.
    bucket: u32,
    next: u32,
    /// Its neighbours in the queue of its vrf.
    older: u32,
    newer: u32,
}

/// What is known of a datagram.
#[derive(Debug)]
pub(super) enum State {
    /// Its first fragment has not come; these wait for it.
    Unknown(Chain),
    /// Its first fragment came.
    Known(Ports),
    /// The rest of it is dropped for this reason.
    Refused(DropReason),
}

/// What only the first fragment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    protocol: u8,
    src_port: u16,
    dst_port: u16,
}

/// The table. Some 400 bytes for a datagram.
pub(super) struct Datagrams {
    entries: Box<[Option<Datagram>]>,
    /// Entries without a datagram.
    free: Vec<u32>,
    buckets: Box<[u32]>,
    queues: Box<[Queue]>,
    shares: Shares,
}

/// A vrf's datagrams in order of age.
#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
}

/// No entry.
const END: u32 = u32::MAX;

impl Ports {
    /// Of a first fragment.
    pub(super) fn of(meta: &Meta) -> Ports {
        debug_assert_eq!(meta.fragment, Fragment::First);
        Ports {
            protocol: meta.protocol,
            src_port: meta.src_port,
            dst_port: meta.dst_port,
        }
    }

    /// Lets a later fragment be of the same flow as the first one.
    pub(super) fn give_to(self, meta: &mut Meta) {
        meta.protocol = self.protocol;
        meta.src_port = self.src_port;
        meta.dst_port = self.dst_port;
    }
}

impl State {
    /// What waits for the first fragment.
    pub(super) fn into_chain(self) -> Chain {
        match self {
            State::Unknown(chain) => chain,
            State::Known(_) | State::Refused(_) => Chain::EMPTY,
        }
    }
}

impl Name {
    /// The datagram's of a fragment; `None` without addresses.
    pub(super) fn of(
        meta: &Meta,
        frame: &[u8],
        zone: flowtable::Zone,
        ingress: Ingress,
    ) -> Option<Name> {
        let (high, low) = ((meta.fragment_id >> 16) as u16, meta.fragment_id as u16);
        let key = match meta.network {
            Network::Ipv4 => {
                let (src, dst) = meta.ipv4_addrs(frame)?;
                Key::ipv4(zone, meta.protocol, src, dst, high, low)
            }
            _ => {
                let (src, dst) = meta.ipv6_addrs(frame)?;
                Key::ipv6(zone, protocol::FRAGMENT, src, dst, high, low)
            }
        };
        Some(Name { key, ingress })
    }
}

impl Datagrams {
    /// Knows of none, and will never allocate.
    pub(super) fn new(count: u32) -> Datagrams {
        let buckets = (count as usize * 2).next_power_of_two();
        let none = Queue {
            oldest: END,
            newest: END,
        };
        Datagrams {
            entries: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
            buckets: vec![END; buckets].into(),
            queues: vec![none; MAX_VRFS as usize].into(),
            shares: Shares::new(count),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.shares.total()
    }

    /// How many there can be.
    pub(super) fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The entry of a datagram. `hash` is that of its name's key.
    pub(super) fn find(&self, hash: u64, name: &Name) -> Option<u32> {
        let mut index = self.buckets[self.bucket(hash)];
        while let Some(datagram) = self.get(index) {
            if datagram.name == *name {
                return Some(index);
            }
            index = datagram.next;
        }
        None
    }

    /// The datagram at `index`.
    pub(super) fn get(&self, index: u32) -> Option<&Datagram> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// The datagram at `index`, to change.
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Datagram> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The datagram to remove before `vrf` may have another.
    ///
    /// # Errors
    /// [`DropReason::FragmentLimit`] if others have no more and `vrf` has none.
    pub(super) fn in_the_way(&self, vrf: VrfId) -> Result<Option<u32>, DropReason> {
        let owner = match self.shares.room(vrf, 1) {
            Room::Enough => return Ok(None),
            Room::From(other) => other,
            Room::None => vrf, // its oldest are the ones least likely to be completed
        };
        match self.oldest_of(owner) {
            Some(oldest) => Ok(Some(oldest)),
            None => Err(DropReason::FragmentLimit),
        }
    }

    /// The oldest datagram of a vrf.
    pub(super) fn oldest_of(&self, vrf: VrfId) -> Option<u32> {
        let queue = self.queues.get(vrf.0 as usize)?;
        (queue.oldest != END).then_some(queue.oldest)
    }

    /// Enters a datagram that is not there; `None` if there is no room, which
    /// [`Self::in_the_way`] tells before.
    pub(super) fn insert(
        &mut self,
        (hash, id): (u64, u16),
        name: Name,
        vrf: VrfId,
        now: Ticks,
    ) -> Option<u32> {
        if vrf.0 >= MAX_VRFS {
            return None;
        }
        let index = self.free.pop()?;
        let bucket = self.bucket(hash);
        let queue = &mut self.queues[vrf.0 as usize];
        self.entries[index as usize] = Some(Datagram {
            name,
            vrf,
            id,
            since: now,
            pieces: Pieces::default(),
            state: State::Unknown(Chain::EMPTY),
            bucket: bucket as u32,
            next: self.buckets[bucket],
            older: queue.newest,
            newer: END,
        });
        self.buckets[bucket] = index;
        let before = std::mem::replace(&mut queue.newest, index);
        match self.get_mut(before) {
            Some(before) => before.newer = index,
            None => self.queues[vrf.0 as usize].oldest = index,
        }
        self.shares.take(vrf, 1);
        Some(index)
    }

    /// Takes a datagram out; what waited for its first fragment is the caller's.
    pub(super) fn remove(&mut self, index: u32) -> Option<Datagram> {
        let datagram = self.entries.get_mut(index as usize)?.take()?;
        let bucket = datagram.bucket as usize;
        let mut at = self.buckets[bucket];
        if at == index {
            self.buckets[bucket] = datagram.next;
        }
        while let Some(other) = self.get_mut(at) {
            if other.next == index {
                other.next = datagram.next;
                break;
            }
            at = other.next;
        }
        match self.get_mut(datagram.older) {
            Some(older) => older.newer = datagram.newer,
            None => self.queues[datagram.vrf.0 as usize].oldest = datagram.newer,
        }
        match self.get_mut(datagram.newer) {
            Some(newer) => newer.older = datagram.older,
            None => self.queues[datagram.vrf.0 as usize].newest = datagram.older,
        }
        self.free.push(index);
        self.shares.give_back(datagram.vrf, 1);
        Some(datagram)
    }

    fn bucket(&self, hash: u64) -> usize {
        // The flow table takes its bucket from other bits of the hash.
        (hash >> 32) as usize & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowtable::Zone;

    fn name(id: u16) -> Name {
        let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        Name {
            key: Key::ipv4(Zone::default(), 17, src, dst, 0, id),
            ingress: Ingress::from_bits(0),
        }
    }

    /// Few different values, so that buckets have several entries.
    fn hash(key: &Key) -> u64 {
        u64::from(key.dst_port() % 3) << 32
    }

    fn enter(table: &mut Datagrams, id: u16, vrf: VrfId) -> u32 {
        let name = name(id);
        let index = table.insert((hash(&name.key), 0), name, vrf, Ticks(0));
        index.expect("there is room")
    }

    fn find(table: &Datagrams, id: u16) -> Option<u32> {
        table.find(hash(&name(id).key), &name(id))
    }

    #[test]
    fn what_was_entered_is_found_until_it_is_removed() {
        let mut table = Datagrams::new(16);
        for round in 0..3 {
            for id in 0..16 {
                let index = enter(&mut table, id, VrfId(u32::from(id % 2)));
                assert_eq!(find(&table, id), Some(index), "round {round}");
            }
            assert_eq!((table.len(), table.capacity()), (16, 16));
            // in another order than they came
            for id in [3, 0, 15, 7, 8, 1, 2, 14, 4, 9, 5, 13, 12, 6, 11, 10] {
                let index = find(&table, id).expect("it was entered");
                assert!(table.remove(index).is_some());
                assert_eq!(find(&table, id), None);
            }
            assert_eq!(table.len(), 0);
            assert_eq!(table.oldest_of(VrfId(0)), None);
        }
    }

    #[test]
    fn a_full_table_makes_room_at_the_cost_of_who_has_most() {
        let (red, blue) = (VrfId(1), VrfId(2));
        let mut table = Datagrams::new(4);
        assert_eq!(table.in_the_way(red), Ok(None));
        let indices: Vec<u32> = (0..4).map(|id| enter(&mut table, id, red)).collect();
        // red makes room for itself, and blue takes from red: the oldest each time
        assert_eq!(table.in_the_way(red), Ok(Some(indices[0])));
        assert_eq!(table.in_the_way(blue), Ok(Some(indices[0])));
        table.remove(indices[0]);
        let first = enter(&mut table, 10, blue);
        assert_eq!(table.in_the_way(blue), Ok(Some(indices[1])));
        table.remove(indices[1]);
        enter(&mut table, 11, blue);
        // two each now
        assert_eq!(table.in_the_way(blue), Ok(Some(first)));
    }
}
