//! Who has how many flows, and how many more.
//!
//! Every pair counts for three accounts: its vif's, its vrf's and the table's.
//! An account bounds its pairs, and among them those that are half open.
//!
//! Accounts are exact, yet workers do not write to the same words for each
//! flow. An account grants credits to a worker some dozens at a time; the
//! worker keeps them in a cell of its own, spends one for each pair it inserts
//! and gets one back for each it removes. What is used is what was granted less
//! what lies in the cells. When nothing is left to grant, a worker takes
//! credits out of the others' cells, so no flow is refused for a credit that is
//! merely elsewhere.
//!
//! ```text
//! account    granted | limit | half-open granted | high-water mark
//!               │ 32 at a time
//! cells      worker 0: credits │ worker 1: credits │ …
//! ```
//!
//! A reading takes these words one after the other. What moves between them
//! meanwhile, from the account to a cell or from cell to cell, may be seen twice
//! or not at all: a reading is exact when workers pause, and else off by no more
//! than what lies in their cells. The high-water mark is exact for one worker;
//! with several it may be too high by as much.

use crate::memory::Arrays;
use crate::sync::{AcqRel, Acquire, AtomicU32, AtomicU64, Relaxed, Release};

/// Whom a flow counts for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Owner {
    /// The interface with this number.
    Vif(u32),
    /// The routing instance with this number.
    Vrf(u32),
}

/// How an owner, or the whole table, stands; all in pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Flows there are.
    pub used: u32,
    /// The most there may be: an owner's quota, the table's capacity; `None`
    /// for an owner without a quota.
    pub limit: Option<u32>,
    /// How many of them are half open ([`crate::Class::is_half_open`]).
    pub half_open: u32,
    /// The most there have been at once.
    pub high_water: u32,
    /// Flows that were not admitted, whatever stood in their way.
    pub refused: u64,
    /// Flows removed before their time to make room for others.
    pub evicted: u64,
}

/// Which bound stands in a flow's way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// The table is full.
    Table,
    /// The table's share for half-open flows is.
    TableHalfOpen,
    /// The vif has its quota of flows.
    Vif,
    /// The vif has its share of half-open flows.
    VifHalfOpen,
    /// The vrf has its quota of flows.
    Vrf,
    /// The vrf has its share of half-open flows.
    VrfHalfOpen,
}

/// What there are credits of. Every pair takes one of `Pairs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Pairs,
    HalfOpen,
}

/// What an account has granted, and its bound.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(16))]
pub(crate) struct Account {
    granted: AtomicU32,
    half_open_granted: AtomicU32,
    /// One more than the limit; 0 for none.
    limit: AtomicU32,
    high_water: AtomicU32,
}

/// What one worker holds of one account.
#[cfg_attr(
    not(loom),
    derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout)
)]
#[derive(Default)]
#[repr(C, align(32))]
pub(crate) struct Cell {
    /// A [`Credits`].
    credits: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
    _pad: AtomicU64,
}

/// Which account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AccountId(usize);

impl AccountId {
    pub(crate) const TABLE: AccountId = AccountId(0);
}

/// Credits that go to a worker at once.
const GRANT: u16 = 32;

/// What spending did to a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    before: u64,
    after: u64,
}

/// All accounts of a table.
#[derive(Clone, Copy)]
pub(crate) struct Accounts<'a> {
    accounts: &'a [Account],
    cells: &'a [Cell],
    bounds: Bounds,
}

/// What all accounts have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Owners of each kind that have an account; the last one serves all with
    /// higher numbers.
    pub(crate) vifs: usize,
    pub(crate) vrfs: usize,
    /// Pairs of the table.
    pub(crate) capacity: u32,
    pub(crate) half_open_percent: u8,
}

impl Bounds {
    pub(crate) fn accounts(&self) -> usize {
        1 + self.vifs + self.vrfs
    }

    /// So much of a limit may be half open, but one at least.
    pub(crate) fn half_open_share(&self, limit: u32) -> u32 {
        let share = u64::from(limit) * u64::from(self.half_open_percent) / 100;
        (share as u32).max(1)
    }
}

impl<'a> Accounts<'a> {
    pub(crate) fn of(arrays: &Arrays<'a>, bounds: Bounds) -> Accounts<'a> {
        Accounts {
            accounts: arrays.accounts,
            cells: arrays.cells,
            bounds,
        }
    }

    #[inline]
    pub(crate) fn id(self, owner: Owner) -> AccountId {
        match owner {
            Owner::Vif(vif) => AccountId(1 + (vif as usize).min(self.bounds.vifs - 1)),
            Owner::Vrf(vrf) => {
                AccountId(1 + self.bounds.vifs + (vrf as usize).min(self.bounds.vrfs - 1))
            }
        }
    }

    /// The accounts of all vifs, or of all vrfs.
    pub(crate) fn alike(self, owner: Owner) -> impl Iterator<Item = AccountId> {
        let all = match owner {
            Owner::Vif(_) => 1..1 + self.bounds.vifs,
            Owner::Vrf(_) => 1 + self.bounds.vifs..self.bounds.accounts(),
        };
        all.map(AccountId)
    }

    /// Spends a credit of an account for a pair, and one for a half-open pair
    /// if it is.
    ///
    /// # Errors
    /// What there was no credit of; then none is spent.
    #[inline]
    pub(crate) fn spend(self, shard: usize, id: AccountId, half_open: bool) -> Result<Spent, Kind> {
        let credits = &self.cell(shard, id).credits;
        let mut word = credits.load(Relaxed);
        loop {
            let mut left = Credits::from_word(word);
            if left.pairs == 0 || half_open && left.half_open == 0 {
                // Of two bounds the half-open one: who makes room for it makes
                // room for both.
                let kind = match half_open && left.half_open == 0 {
                    true => Kind::HalfOpen,
                    false => Kind::Pairs,
                };
                self.fetch(shard, id, kind)?;
                word = credits.load(Relaxed);
                continue;
            }
            left.pairs -= 1;
            left.half_open -= u16::from(half_open);
            left.low = left.low.min(left.pairs);
            match credits.compare_exchange_weak(word, left.word(), AcqRel, Relaxed) {
                Ok(before) => {
                    let after = left.word();
                    return Ok(Spent { before, after });
                }
                Err(now) => word = now,
            }
        }
    }

    /// Undoes what [`Accounts::spend`] has just done, for a pair that did not
    /// come to be: it leaves no high-water mark either, unless another worker
    /// has used the cell meanwhile.
    #[cold]
    pub(crate) fn take_back(self, shard: usize, id: AccountId, half_open: bool, spent: Spent) {
        let Spent { before, after } = spent;
        let credits = &self.cell(shard, id).credits;
        if credits
            .compare_exchange(after, before, AcqRel, Relaxed)
            .is_err()
        {
            self.refund(shard, id, 1, half_open.into());
        }
    }

    /// Spends a credit for a half-open pair that was not half open before.
    pub(crate) fn spend_half_open(self, shard: usize, id: AccountId) -> Result<(), Kind> {
        let credits = &self.cell(shard, id).credits;
        let spent = |word| {
            let mut left = Credits::from_word(word);
            left.half_open = left.half_open.checked_sub(1)?;
            Some(left.word())
        };
        while credits.fetch_update(AcqRel, Relaxed, spent).is_err() {
            self.fetch(shard, id, Kind::HalfOpen)?;
        }
        Ok(())
    }

    /// Gives the credits of pairs back that are gone, so many of them half open;
    /// some dozens at most.
    #[inline]
    pub(crate) fn refund(self, shard: usize, id: AccountId, pairs: usize, half_open: usize) {
        debug_assert!(half_open <= pairs && pairs <= usize::from(GRANT));
        self.put(shard, id, pairs as u16, half_open as u16);
    }

    /// Gives the credit of a half-open pair back that is half open no more.
    pub(crate) fn refund_half_open(self, shard: usize, id: AccountId) {
        self.put(shard, id, 0, 1);
    }

    pub(crate) fn count_refused(self, shard: usize, id: AccountId) {
        self.cell(shard, id).refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_evicted(self, shard: usize, id: AccountId) {
        self.cell(shard, id).evicted.fetch_add(1, Relaxed);
    }

    /// What was granted and is not in the cells.
    pub(crate) fn used(self, id: AccountId, kind: Kind) -> u32 {
        let granted = self.granted_word(id, kind).load(Acquire);
        if granted == 0 {
            // Nearly all owners, where many are looked at.
            return 0;
        }
        let unspent = |shard| {
            let word = self.cell(shard, id).credits.load(Acquire);
            u32::from(Credits::from_word(word).of(kind))
        };
        let unspent: u32 = (0..self.shards()).map(unspent).sum();
        granted.saturating_sub(unspent)
    }

    /// The account's limit of pairs.
    #[inline]
    pub(crate) fn limit(self, id: AccountId) -> Option<u32> {
        self.accounts[id.0].limit.load(Relaxed).checked_sub(1)
    }

    /// Whether more was granted than the limit, since that was lowered.
    #[inline]
    pub(crate) fn is_exceeded(self, id: AccountId, kind: Kind) -> bool {
        self.granted_word(id, kind).load(Relaxed) > self.limit_of(id, kind)
    }

    /// Sets the limit. What is used beyond it stays until it goes by itself.
    pub(crate) fn set_limit(self, id: AccountId, limit: Option<u32>) {
        let word = limit.map_or(0, |limit| limit.saturating_add(1));
        self.accounts[id.0].limit.store(word, Release);
        // No worker may go on spending what it was granted under another one.
        for shard in 0..self.shards() {
            self.give_back(shard, id, 0);
        }
    }

    /// Begins marks and counts anew.
    pub(crate) fn forget(self, id: AccountId) {
        // What is unspent is the mark from which a new peak is measured.
        for shard in 0..self.shards() {
            self.change(shard, id, |credits| credits.low = credits.pairs);
            let cell = self.cell(shard, id);
            cell.refused.store(0, Relaxed);
            cell.evicted.store(0, Relaxed);
        }
        let used = self.used(id, Kind::Pairs);
        self.accounts[id.0].high_water.store(used, Relaxed);
    }

    pub(crate) fn usage(self, id: AccountId) -> Usage {
        self.note_peak(id);
        let cells = || (0..self.shards()).map(|shard| self.cell(shard, id));
        Usage {
            used: self.used(id, Kind::Pairs),
            limit: self.limit(id),
            half_open: self.used(id, Kind::HalfOpen),
            high_water: self.accounts[id.0].high_water.load(Relaxed),
            refused: cells().map(|cell| cell.refused.load(Relaxed)).sum(),
            evicted: cells().map(|cell| cell.evicted.load(Relaxed)).sum(),
        }
    }

    /// Gets credits into an empty cell: granted ones, or another worker's.
    #[cold]
    fn fetch(self, shard: usize, id: AccountId, kind: Kind) -> Result<(), Kind> {
        self.note_peak(id);
        let limit = self.limit_of(id, kind);
        let step = |granted: u32| {
            let left = limit.checked_sub(granted)?;
            // The last ones singly: they are where workers would have to take
            // them from each other.
            let close = left / (2 * self.shards() as u32);
            (left > 0).then(|| close.clamp(1, GRANT.into()))
        };
        let granted = self.granted_word(id, kind);
        let grant = granted.fetch_update(AcqRel, Relaxed, |now| Some(now + step(now)?));
        if let Ok(before) = grant {
            let got = step(before).unwrap_or(0) as u16;
            self.fill(shard, id, kind, got);
            if self.is_exceeded(id, kind) {
                // The limit was lowered while these were on their way.
                self.give_back(shard, id, 0);
            }
            return Ok(());
        }
        for other in (0..self.shards()).filter(|other| *other != shard) {
            let got = self.draw(other, id, kind);
            if got > 0 {
                self.fill(shard, id, kind, got);
                return Ok(());
            }
        }
        // One may have come into the own cell while the others were looked at.
        let own = Credits::from_word(self.cell(shard, id).credits.load(Acquire));
        if own.of(kind) > 0 { Ok(()) } else { Err(kind) }
    }

    /// Puts fetched credits into a cell, where a new mark begins.
    fn fill(self, shard: usize, id: AccountId, kind: Kind, got: u16) {
        self.change(shard, id, |credits| {
            *credits.of_mut(kind) = credits.of(kind).saturating_add(got);
            credits.low = credits.pairs;
        });
    }

    /// Takes half of the credits out of a cell, rounded up.
    fn draw(self, shard: usize, id: AccountId, kind: Kind) -> u16 {
        let before = self.change(shard, id, |credits| {
            *credits.of_mut(kind) /= 2;
            credits.low = credits.low.min(credits.pairs);
        });
        before.of(kind).div_ceil(2)
    }

    #[inline]
    fn put(self, shard: usize, id: AccountId, pairs: u16, half_open: u16) {
        let before = self.change(shard, id, |credits| {
            credits.pairs = credits.pairs.saturating_add(pairs);
            credits.half_open = credits.half_open.saturating_add(half_open);
        });
        if before.pairs.max(before.half_open) >= 2 * GRANT {
            self.give_back(shard, id, GRANT);
        } else if self.is_exceeded(id, Kind::Pairs)
            || half_open > 0 && self.is_exceeded(id, Kind::HalfOpen)
        {
            self.give_back(shard, id, 0);
        }
    }

    /// Returns the credits in a cell beyond so many to the account.
    #[cold]
    fn give_back(self, shard: usize, id: AccountId, keep: u16) {
        self.note_peak(id);
        let before = self.change(shard, id, |credits| {
            credits.pairs = credits.pairs.min(keep);
            credits.half_open = credits.half_open.min(keep);
            credits.low = credits.pairs;
        });
        for kind in [Kind::Pairs, Kind::HalfOpen] {
            let surplus = before.of(kind).saturating_sub(keep);
            self.granted_word(id, kind)
                .fetch_sub(surplus.into(), AcqRel);
        }
    }

    /// Raises the high-water mark to what has been used since the last time.
    fn note_peak(self, id: AccountId) {
        let account = &self.accounts[id.0];
        let granted = account.granted.load(Acquire);
        let low = |shard| {
            let word = self.cell(shard, id).credits.load(Acquire);
            u32::from(Credits::from_word(word).low)
        };
        let unspent: u32 = (0..self.shards()).map(low).sum();
        let peak = granted.saturating_sub(unspent);
        if peak > account.high_water.load(Relaxed) {
            account.high_water.fetch_max(peak, Relaxed);
        }
    }

    /// Changes a cell's credits; returns what they were.
    #[inline]
    fn change(self, shard: usize, id: AccountId, change: impl Fn(&mut Credits)) -> Credits {
        let word = &self.cell(shard, id).credits;
        let mut before = word.load(Relaxed);
        loop {
            let mut credits = Credits::from_word(before);
            change(&mut credits);
            match word.compare_exchange_weak(before, credits.word(), AcqRel, Relaxed) {
                Ok(_) => return Credits::from_word(before),
                Err(now) => before = now,
            }
        }
    }

    /// The most credits an account grants.
    fn limit_of(self, id: AccountId, kind: Kind) -> u32 {
        let Some(limit) = self.limit(id) else {
            return u32::MAX;
        };
        match kind {
            Kind::Pairs => limit,
            Kind::HalfOpen => self.bounds.half_open_share(limit),
        }
    }

    fn granted_word(self, id: AccountId, kind: Kind) -> &'a AtomicU32 {
        let account = &self.accounts[id.0];
        match kind {
            Kind::Pairs => &account.granted,
            Kind::HalfOpen => &account.half_open_granted,
        }
    }

    fn shards(self) -> usize {
        self.cells.len() / self.accounts.len()
    }

    #[inline]
    fn cell(self, shard: usize, id: AccountId) -> &'a Cell {
        &self.cells[shard * self.accounts.len() + id.0]
    }
}

/// What lies in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Credits {
    pairs: u16,
    half_open: u16,
    /// The fewest `pairs` since the mark was set: the most that were in use.
    low: u16,
}

impl Credits {
    #[inline]
    fn from_word(word: u64) -> Credits {
        Credits {
            pairs: word as u16,
            half_open: (word >> 16) as u16,
            low: (word >> 32) as u16,
        }
    }

    #[inline]
    fn word(self) -> u64 {
        u64::from(self.pairs) | u64::from(self.half_open) << 16 | u64::from(self.low) << 32
    }

    #[inline]
    fn of(self, kind: Kind) -> u16 {
        match kind {
            Kind::Pairs => self.pairs,
            Kind::HalfOpen => self.half_open,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut u16 {
        match kind {
            Kind::Pairs => &mut self.pairs,
            Kind::HalfOpen => &mut self.half_open,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
