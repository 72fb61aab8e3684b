//! The concurrent maps of other crates, each used as its documentation asks.
//!
//! They get what a flow table needs: a keyed hash (ahash, as ours), the same
//! action as value, room for all flows at the start. They are asked one key
//! after the other, because they offer nothing else; what can be done once per
//! batch is.

use ahash::RandomState;
use flowtable::Action;

use super::flows::{Direction, Family};
use super::ours::action;
use super::{Contender, Found};

fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// `papaya::HashMap`: lock-free; pinned once per batch.
pub struct Papaya<F: Family>(papaya::HashMap<F::Compact, Action, RandomState>);

impl<F: Family> Papaya<F> {
    /// A map that holds the first `flows` flows.
    pub fn new(flows: u32) -> Papaya<F> {
        let map = papaya::HashMap::with_capacity_and_hasher(2 * flows as usize, hasher());
        let pinned = map.pin();
        for direction in 0..2 * flows {
            pinned.insert(F::compact(direction), action(direction));
        }
        drop(pinned);
        Papaya(map)
    }
}

impl<F: Family> Contender for Papaya<F> {
    type Key = F::Compact;
    const NAME: &'static str = "papaya";

    #[inline]
    fn key(direction: Direction) -> F::Compact {
        F::compact(direction)
    }

    #[inline]
    fn lookup(&mut self, keys: &[F::Compact]) -> Found {
        let map = self.0.pin();
        let mut found = Found::default();
        for key in keys {
            if let Some(action) = map.get(key) {
                found.add(action.nexthop);
            }
        }
        found
    }
}

/// `dashmap::DashMap`: shards under reader-writer locks.
pub struct Dashmap<F: Family>(dashmap::DashMap<F::Compact, Action, RandomState>);

impl<F: Family> Dashmap<F> {
    /// A map that holds the first `flows` flows.
    pub fn new(flows: u32) -> Dashmap<F> {
        let map = dashmap::DashMap::with_capacity_and_hasher(2 * flows as usize, hasher());
        for direction in 0..2 * flows {
            map.insert(F::compact(direction), action(direction));
        }
        Dashmap(map)
    }
}

impl<F: Family> Contender for Dashmap<F> {
    type Key = F::Compact;
    const NAME: &'static str = "dashmap";

    #[inline]
    fn key(direction: Direction) -> F::Compact {
        F::compact(direction)
    }

    #[inline]
    fn lookup(&mut self, keys: &[F::Compact]) -> Found {
        let mut found = Found::default();
        for key in keys {
            if let Some(action) = self.0.get(key) {
                found.add(action.nexthop);
            }
        }
        found
    }
}

/// `scc::HashIndex`: the one of scc's maps that is for readers above all; they
/// take no lock.
pub struct Scc<F: Family>(scc::HashIndex<F::Compact, Action, RandomState>);

impl<F: Family> Scc<F> {
    /// A map that holds the first `flows` flows.
    pub fn new(flows: u32) -> Scc<F> {
        let map = scc::HashIndex::with_capacity_and_hasher(2 * flows as usize, hasher());
        for direction in 0..2 * flows {
            let _ = map.insert_sync(F::compact(direction), action(direction));
        }
        Scc(map)
    }
}

impl<F: Family> Contender for Scc<F> {
    type Key = F::Compact;
    const NAME: &'static str = "scc";

    #[inline]
    fn key(direction: Direction) -> F::Compact {
        F::compact(direction)
    }

    #[inline]
    fn lookup(&mut self, keys: &[F::Compact]) -> Found {
        let mut found = Found::default();
        for key in keys {
            if let Some(nexthop) = self.0.peek_with(key, |_, action| action.nexthop) {
                found.add(nexthop);
            }
        }
        found
    }
}
