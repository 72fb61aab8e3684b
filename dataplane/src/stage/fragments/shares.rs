//! Who has how much of something that is bounded. As long as there is enough,
//! everybody gets what they ask for; then whoever has most makes room for those
//! who have less, and gets nothing more. So nobody's share has to be set aside,
//! and nobody can use up another's.

use crate::tables::{MAX_VRFS, PeerId, VrfId};

/// Whose share it is: of tenants' fragments a vrf's, of tunnel packets' a peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

/// So many owners are told apart.
pub(crate) const OWNERS: usize = MAX_VRFS as usize;

impl From<VrfId> for Owner {
    fn from(vrf: VrfId) -> Owner {
        Owner(vrf.0)
    }
}

impl From<PeerId> for Owner {
    /// Where there are more peers, several have one share.
    fn from(peer: PeerId) -> Owner {
        Owner(peer.0 % OWNERS as u32)
    }
}

impl Owner {
    /// Its place among [`OWNERS`], if it is one of them.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How much of one bounded thing each owner uses. Four bytes for every owner there
/// may be.
pub(crate) struct Shares {
    used: Box<[u32]>,
    /// One past the highest owner that ever used any.
    owners: usize,
    total: u32,
    limit: u32,
}

/// What an owner that wants more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is enough.
    Enough,
    /// After this owner has given some back.
    From(Owner),
    /// Nobody has more than the one that asks.
    None,
}

impl Shares {
    /// Nobody uses any of `limit`.
    pub(crate) fn new(limit: u32) -> Shares {
        Shares {
            used: vec![0; OWNERS].into(),
            owners: 0,
            total: 0,
            limit,
        }
    }

    /// Whether `owner` may have `amount` more.
    pub(crate) fn room(&self, owner: Owner, amount: u32) -> Room {
        if self.total.saturating_add(amount) <= self.limit {
            return Room::Enough;
        }
        let most = (0..self.owners).max_by_key(|index| self.used[*index]);
        match most.map(|index| Owner(index as u32)) {
            Some(most) if self.used(most) > self.used(owner).saturating_add(amount) => {
                Room::From(most)
            }
            _ => Room::None,
        }
    }

    /// `owner` uses `amount` more.
    pub(crate) fn take(&mut self, owner: Owner, amount: u32) {
        if let Some(used) = self.used.get_mut(owner.index()) {
            *used += amount;
            self.total += amount;
            self.owners = self.owners.max(owner.index() + 1);
        }
    }

    /// `owner` uses `amount` less.
    pub(crate) fn give_back(&mut self, owner: Owner, amount: u32) {
        if let Some(used) = self.used.get_mut(owner.index()) {
            debug_assert!(*used >= amount, "only what was taken is given back");
            *used = used.saturating_sub(amount);
            self.total = self.total.saturating_sub(amount);
        }
    }

    /// What `owner` uses.
    pub(crate) fn used(&self, owner: Owner) -> u32 {
        self.used.get(owner.index()).copied().unwrap_or_default()
    }

    /// What all use together.
    pub(crate) fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Owner = Owner(1);
    const BLUE: Owner = Owner(2);

    #[test]
    fn one_may_use_all_until_another_asks() {
        let mut shares = Shares::new(10);
        for _ in 0..10 {
            assert_eq!(shares.room(RED, 1), Room::Enough);
            shares.take(RED, 1);
        }
        assert_eq!(shares.room(RED, 1), Room::None);
        let mut moved = 0;
        while shares.room(BLUE, 1) == Room::From(RED) {
            shares.give_back(RED, 1);
            shares.take(BLUE, 1);
            moved += 1;
        }
        assert_eq!((moved, shares.total()), (5, 10));
        // Equal shares stay as they are.
        assert_eq!(shares.room(BLUE, 1), Room::None);
        assert_eq!(shares.room(RED, 1), Room::None);
    }

    #[test]
    fn more_than_there_is_at_all_is_refused() {
        let mut shares = Shares::new(10);
        assert_eq!(shares.room(RED, 11), Room::None);
        shares.take(BLUE, 10);
        assert_eq!(shares.room(RED, 11), Room::None);
    }
}
