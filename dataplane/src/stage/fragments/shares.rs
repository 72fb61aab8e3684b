//! Who has how much of something that is bounded. As long as there is enough,
//! everybody gets what they ask for; then whoever has most makes room for those
//! who have less, and gets nothing more. So nobody's share has to be set aside,
//! and nobody can use up another's.

use crate::tables::{MAX_VRFS, VrfId};

/// How much of one bounded thing each vrf uses. Four bytes for every vrf there
/// may be.
pub(super) struct Shares {
    used: Box<[u32]>,
    /// One past the highest vrf that ever used any.
    vrfs: usize,
    total: u32,
    limit: u32,
}

/// What a vrf that wants more is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is enough.
    Enough,
    /// After this vrf has given some back.
    From(VrfId),
    /// Nobody has more than the vrf that asks.
    None,
}

impl Shares {
    /// Nobody uses any of `limit`.
    pub(super) fn new(limit: u32) -> Shares {
        Shares {
            used: vec![0; MAX_VRFS as usize].into(),
            vrfs: 0,
            total: 0,
            limit,
        }
    }

    /// Whether `vrf` may have `amount` more.
    pub(super) fn room(&self, vrf: VrfId, amount: u32) -> Room {
        if self.total.saturating_add(amount) <= self.limit {
            return Room::Enough;
        }
        let most = (0..self.vrfs).max_by_key(|index| self.used[*index]);
        match most.map(|index| VrfId(index as u32)) {
            Some(most) if self.used(most) > self.used(vrf).saturating_add(amount) => {
                Room::From(most)
            }
            _ => Room::None,
        }
    }

    /// `vrf` uses `amount` more.
    pub(super) fn take(&mut self, vrf: VrfId, amount: u32) {
        if let Some(used) = self.used.get_mut(vrf.0 as usize) {
            *used += amount;
            self.total += amount;
            self.vrfs = self.vrfs.max(vrf.0 as usize + 1);
        }
    }

    /// `vrf` uses `amount` less.
    pub(super) fn give_back(&mut self, vrf: VrfId, amount: u32) {
        if let Some(used) = self.used.get_mut(vrf.0 as usize) {
            debug_assert!(*used >= amount, "only what was taken is given back");
            *used = used.saturating_sub(amount);
            self.total = self.total.saturating_sub(amount);
        }
    }

    /// What `vrf` uses.
    pub(super) fn used(&self, vrf: VrfId) -> u32 {
        self.used.get(vrf.0 as usize).copied().unwrap_or_default()
    }

    /// What all use together.
    pub(super) fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: VrfId = VrfId(1);
    const BLUE: VrfId = VrfId(2);

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
