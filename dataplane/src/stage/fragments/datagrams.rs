//! The datagrams of which a fragment was seen: a hash table of fixed size, each
//! entry also in a queue of its owner, oldest first, from which the owner with the
//! most makes room when all entries are taken. What is known of a datagram besides
//! its pieces, `S`, is the caller's.

use encap::{Fragment, Meta, Network, protocol};
use flowtable::{Key, Ticks};

use super::held::Chain;
use super::pieces::Pieces;
use super::shares::{OWNERS, Owner, Room, Shares};
use crate::reason::DropReason;
use crate::stage::Ingress;

/// What all fragments of one datagram share (RFC 791 §2.3, RFC 8200 §4.5), and
/// where they come from: nobody spoils a datagram from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Addresses, network, layer and protocol, with the identification in the
    /// place of the ports. In IPv6 the protocol does not count.
    pub(crate) key: Key,
    pub(crate) ingress: Ingress,
}

/// A datagram of which a fragment was seen.
pub(crate) struct Datagram<S> {
    name: Name,
    owner: Owner,
    /// When the first one came.
    pub(crate) since: Ticks,
    pub(crate) pieces: Pieces,
    pub(crate) state: S,
    /// Its bucket, and the next one in there.
    bucket: u32,
    next: u32,
    /// Its neighbours in the queue of its owner.
    older: u32,
    newer: u32,
}

/// What is known of a tenant's datagram.
#[derive(Debug)]
pub(crate) enum State {
    /// Its first fragment has not come; these wait for it.
    Unknown(Chain),
    /// Its first fragment came, with these ports; and the identification of all fragments if they
    /// get another source (RFC 6864 §5.3.1).
    Known(Ports, u16),
    /// The rest of it is dropped for this reason.
    Refused(DropReason),
}

/// What only the first fragment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    protocol: u8,
    src_port: u16,
    dst_port: u16,
}

/// The table. Some 400 bytes for a datagram.
pub(crate) struct Datagrams<S> {
    entries: Box<[Option<Datagram<S>>]>,
    /// Entries without a datagram.
    free: Vec<u32>,
    buckets: Box<[u32]>,
    queues: Box<[Queue]>,
    shares: Shares,
    /// The next entry to be looked at for its age, and since when none was.
    cursor: u32,
    looked: Ticks,
}

/// Every entry's age is looked at within so many milliseconds.
const ROUND_MS: u32 = 64;

/// An owner's datagrams in order of age.
#[derive(Clone, Copy)]
struct Queue {
    oldest: u32,
    newest: u32,
}

/// No entry.
const END: u32 = u32::MAX;

impl Ports {
    /// Of a first fragment.
    pub(crate) fn of(meta: &Meta) -> Ports {
        debug_assert_eq!(meta.fragment, Fragment::First);
        Ports {
            protocol: meta.protocol,
            src_port: meta.src_port,
            dst_port: meta.dst_port,
        }
    }

    /// Lets a later fragment be of the same flow as the first one.
    pub(crate) fn give_to(self, meta: &mut Meta) {
        meta.protocol = self.protocol;
        meta.src_port = self.src_port;
        meta.dst_port = self.dst_port;
    }
}

impl<S> Datagram<S> {
    /// Whose it is.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }
}

impl State {
    /// What waits for the first fragment.
    pub(crate) fn into_chain(self) -> Chain {
        match self {
            State::Unknown(chain) => chain,
            State::Known(..) | State::Refused(_) => Chain::EMPTY,
        }
    }
}

impl Name {
    /// The datagram's of a fragment; `None` without addresses.
    pub(crate) fn of(
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

impl<S> Datagrams<S> {
    /// Knows of none, and will never allocate.
    pub(crate) fn new(count: u32) -> Datagrams<S> {
        let buckets = (count as usize * 2).next_power_of_two();
        let none = Queue {
            oldest: END,
            newest: END,
        };
        Datagrams {
            entries: (0..count).map(|_| None).collect(),
            free: (0..count).rev().collect(),
            buckets: vec![END; buckets].into(),
            queues: vec![none; OWNERS].into(),
            shares: Shares::new(count),
            cursor: 0,
            looked: Ticks(0),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.shares.total()
    }

    /// How many there can be.
    pub(crate) fn capacity(&self) -> u32 {
        self.entries.len() as u32
    }

    /// The entry of a datagram. `hash` is that of its name's key.
    pub(crate) fn find(&self, hash: u64, name: &Name) -> Option<u32> {
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
    pub(crate) fn get(&self, index: u32) -> Option<&Datagram<S>> {
        self.entries.get(index as usize)?.as_ref()
    }

    /// The datagram at `index`, to change.
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Datagram<S>> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    /// The datagram to remove before `owner` may have another.
    ///
    /// # Errors
    /// [`DropReason::FragmentLimit`] if others have no more and `owner` has none.
    pub(crate) fn in_the_way(&self, owner: Owner) -> Result<Option<u32>, DropReason> {
        let who = match self.shares.room(owner, 1) {
            Room::Enough => return Ok(None),
            Room::From(other) => other,
            Room::None => owner, // its oldest are the ones least likely to be completed
        };
        match self.oldest_of(who) {
            Some(oldest) => Ok(Some(oldest)),
            None => Err(DropReason::FragmentLimit),
        }
    }

    /// The entries whose age is to be looked at now: all of them in [`ROUND_MS`].
    pub(crate) fn due(&mut self, now: Ticks) -> impl Iterator<Item = u32> + use<S> {
        let elapsed = now.since(self.looked);
        self.looked = now;
        let count = self.capacity();
        let some = match self.len() {
            0 => 0,
            _ => count.div_ceil(ROUND_MS).saturating_mul(elapsed).min(count),
        };
        let from = self.cursor;
        self.cursor = (from + some) % count.max(1);
        (from..from + some).map(move |index| index % count)
    }

    /// The oldest datagram of an owner.
    pub(crate) fn oldest_of(&self, owner: Owner) -> Option<u32> {
        let queue = self.queues.get(owner.index())?;
        (queue.oldest != END).then_some(queue.oldest)
    }

    /// Enters a datagram that is not there; `None` if there is no room, which
    /// [`Self::in_the_way`] tells before.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        name: Name,
        owner: Owner,
        now: Ticks,
        state: S,
    ) -> Option<u32> {
        if owner.index() >= OWNERS {
            return None;
        }
        let index = self.free.pop()?;
        let bucket = self.bucket(hash);
        let queue = &mut self.queues[owner.index()];
        self.entries[index as usize] = Some(Datagram {
            name,
            owner,
            since: now,
            pieces: Pieces::default(),
            state,
            bucket: bucket as u32,
            next: self.buckets[bucket],
            older: queue.newest,
            newer: END,
        });
        self.buckets[bucket] = index;
        let before = std::mem::replace(&mut queue.newest, index);
        match self.get_mut(before) {
            Some(before) => before.newer = index,
            None => self.queues[owner.index()].oldest = index,
        }
        self.shares.take(owner, 1);
        Some(index)
    }

    /// Takes a datagram out; what waited for its first fragment is the caller's.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Datagram<S>> {
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
            None => self.queues[datagram.owner.index()].oldest = datagram.newer,
        }
        match self.get_mut(datagram.newer) {
            Some(newer) => newer.older = datagram.older,
            None => self.queues[datagram.owner.index()].newest = datagram.older,
        }
        self.free.push(index);
        self.shares.give_back(datagram.owner, 1);
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
    use crate::tables::VrfId;
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

    fn enter(table: &mut Datagrams<()>, id: u16, owner: Owner) -> u32 {
        let name = name(id);
        let index = table.insert(hash(&name.key), name, owner, Ticks(0), ());
        index.expect("there is room")
    }

    fn find(table: &Datagrams<()>, id: u16) -> Option<u32> {
        table.find(hash(&name(id).key), &name(id))
    }

    #[test]
    fn what_was_entered_is_found_until_it_is_removed() {
        let mut table = Datagrams::new(16);
        for round in 0..3 {
            for id in 0..16 {
                let index = enter(&mut table, id, VrfId(u32::from(id % 2)).into());
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
            assert_eq!(table.oldest_of(VrfId(0).into()), None);
        }
    }

    #[test]
    fn a_full_table_makes_room_at_the_cost_of_who_has_most() {
        let (red, blue) = (Owner::from(VrfId(1)), Owner::from(VrfId(2)));
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
