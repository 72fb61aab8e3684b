//! Making room: whose flow goes when another is to come.
//!
//! Every owner has a share of the table. The share of one with a quota is its
//! quota; if all quotas together are more than the table, each counts in
//! proportion. Owners without a quota have what the quotas leave, in equal
//! parts, and one part more is kept for whoever comes next: else an owner who
//! is alone in the table would be within its share, and all of it. Accounts
//! count a flow for its vif and for its vrf, so a flow is as far over the share
//! as the worse of the two; but between flows of one vrf the vifs decide.
//!
//! A new flow that a bound does not admit may take the place of
//! - a half-open flow, of the same vif, or of an owner further over its share
//!   than the newcomer's;
//! - when the table is full, also of any other flow whose owner is over its
//!   share and further over it than the newcomer's; but never of one that
//!   counts for an owner with a quota who is within its share.
//!
//! A quota's or a class's own bound is made room for only within: by a half-open
//! flow of that vif in that vrf, of that vrf, or of the table.
//!
//! No flow goes in vain, unless workers race for the room. One that makes room within a bound makes room within
//! those that are asked after it: vif, vrf, table, of each the half-open flows
//! first. Where a quota was lowered below what is used, and one flow less would
//! not admit another, none goes.
//!
//! The victim is found by a clock hand over the owners of all pairs, eight to a
//! cache line, some dozens at a time, and of those the one that is half open
//! first and most over its share second. It is a bounded look: what it does not
//! find is not taken. An owner who holds a hundredth of the table is found in
//! all but one look in a hundred if its flows are anywhere. If they lie
//! together, as those do that came together, the hand finds them by leaps that
//! leave no large gap, and then goes on from where it found the last one.

use crate::account::{Accounts, Kind, Limit, Owner};
use crate::ending::Ending;
use crate::insert::NewFlow;
use crate::stamp::Stamp;
use crate::sync::{AcqRel, Acquire, AtomicU32, Relaxed, Release};
use crate::table::{FlowTable, Worker};
use crate::time::{Class, Ticks};

/// In a pair's word of owners: it is half open, as far as is known.
pub(crate) const HALF_OPEN: u64 = 1;

/// Whom a pair counts for: vif 32 | vrf 31 | half open 1.
///
/// Higher vrfs than that count as the highest: they share the last account.
pub(crate) fn owners_word(vif: u32, vrf: u32, class: Class) -> u64 {
    let vrf = vrf.min(u32::MAX >> 1);
    u64::from(vif) << 32 | u64::from(vrf) << 33 >> 32 | u64::from(class.is_half_open())
}

/// Vif and vrf of an [`owners_word`].
pub(crate) fn owners_from(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32 >> 1)
}

/// Pairs looked at before the best of them is taken.
const LOOK: usize = 64;
/// Such looks before it is given up.
const LOOKS: usize = 8;
/// For how long the shares of owners without quotas are taken as they are, in
/// milliseconds: counting those owners means reading all accounts.
const SHARES_LAST: u32 = 100;

/// What shares depend on besides an owner's own account, from time to time
/// counted anew.
#[derive(Default)]
pub(crate) struct Shares {
    /// When it was counted, plus one; 0 for never, and for a millisecond of
    /// the clock's round.
    counted: AtomicU32,
    vifs: Crowd,
    vrfs: Crowd,
}

/// Owners of one kind.
#[derive(Default)]
struct Crowd {
    /// Sum of the quotas, at most 2^32 - 1.
    promised: AtomicU32,
    /// Owners that have flows but no quota.
    unlimited: AtomicU32,
}

impl Shares {
    /// Counts anew at the next occasion.
    pub(crate) fn forget(&self) {
        self.counted.store(0, Relaxed);
    }

    fn refresh(&self, accounts: Accounts<'_>, now: Ticks) {
        let counted = self.counted.load(Acquire);
        if counted != 0 && now.0.wrapping_sub(counted - 1) < SHARES_LAST {
            return;
        }
        for (crowd, kind) in [(&self.vifs, Owner::Vif(0)), (&self.vrfs, Owner::Vrf(0))] {
            let (mut promised, mut unlimited) = (0_u32, 0);
            for id in accounts.alike(kind) {
                match accounts.limit(id) {
                    Some(quota) => promised = promised.saturating_add(quota),
                    None => unlimited += u32::from(accounts.used(id, Kind::Pairs) > 0),
                }
            }
            crowd.promised.store(promised, Relaxed);
            crowd.unlimited.store(unlimited, Relaxed);
        }
        // Last: whoever sees it sees the sums.
        self.counted.store(now.0.wrapping_add(1), Release);
    }
}

/// How much of its share an owner uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Excess(u64);

impl Excess {
    /// Just the share.
    const NONE: Excess = Excess(1 << 32);

    fn of(used: u32, share: u32) -> Excess {
        Excess((u64::from(used) << 32) / u64::from(share.max(1)))
    }
}

/// How a flow stands in the question at hand.
#[derive(Clone, Copy)]
struct Standing {
    /// The worse of its vif's and its vrf's.
    excess: Excess,
    vif_excess: Excess,
    /// An owner of it has a quota, and is within its share.
    protected: bool,
}

/// What room is needed for, and who asks.
struct Need<'t> {
    table: &'t FlowTable,
    limit: Limit,
    vif: u32,
    vrf: u32,
    own: Standing,
}

/// A pair that may be evicted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    half_open: bool,
    excess: Excess,
    vif_excess: Excess,
    pair: usize,
}

impl Worker<'_> {
    /// Evicts one flow so that this limit admits another; false if none was
    /// found that may go.
    #[cold]
    pub(crate) fn make_room(self, limit: Limit, flow: &NewFlow<'_>) -> bool {
        let table = self.table;
        let exceeded = table.accounts_of(flow.vif, flow.vrf).into_iter().any(|id| {
            let exceeded = |kind| table.accounts().is_exceeded(id, kind);
            exceeded(Kind::Pairs) || flow.class.is_half_open() && exceeded(Kind::HalfOpen)
        });
        // A flood at its bound is refused for each packet: the look for a flow
        // that cannot be there would cost all workers' tenants.
        if exceeded || self.only_half_open_would_do(limit, flow) == Some(0) {
            return false;
        }
        table.apart.shares.refresh(table.accounts(), flow.now);
        let need = Need {
            table,
            limit,
            vif: flow.vif,
            vrf: flow.vrf,
            // As if the newcomer were there: two who are even change nothing.
            own: table.standing(limit, flow.vif, flow.vrf, 1),
        };
        let used = table.free().used();
        (0..LOOKS.min(used.div_ceil(LOOK))).any(|_| {
            let from = table.free().advance_hand(self.shard, LOOK, used);
            let best = need.best_of((from..from + LOOK).map(|pair| pair % used));
            let done = best.is_some_and(|best| self.evict(&need, best));
            if !done {
                table.free().advance_hand(self.shard, leap(used), used);
            }
            done
        })
    }

    /// How many half-open flows there are to choose from, where no others may
    /// go.
    fn only_half_open_would_do(self, limit: Limit, flow: &NewFlow<'_>) -> Option<u32> {
        let accounts = self.table.accounts();
        let [vif, vrf, table] = self.table.accounts_of(flow.vif, flow.vrf);
        let whose = match limit {
            Limit::Vif | Limit::VifHalfOpen => vif,
            Limit::Vrf | Limit::VrfHalfOpen => vrf,
            Limit::TableHalfOpen => table,
            Limit::Table => return None,
        };
        Some(accounts.used(whose, Kind::HalfOpen))
    }

    /// Removes a pair if what made it a candidate still holds.
    fn evict(self, need: &Need<'_>, candidate: Candidate) -> bool {
        let table = self.table;
        let pair = candidate.pair;
        let [forward, _] = table.entries_of(pair);
        let stamp = forward.stamp(Acquire);
        // Read after the stamp: if that can be exchanged, they are this flow's.
        let owners = &table.arrays().owners[pair];
        let word = owners.load(Relaxed);
        let (vif, vrf) = owners_from(word);
        let half_open = stamp.class().is_half_open();
        if (word & HALF_OPEN != 0) != half_open {
            // A worker's note of a change came after that of a later one.
            let _ = owners.compare_exchange(word, word ^ HALF_OPEN, AcqRel, Relaxed);
        }
        if need.candidate(pair, vif, vrf, half_open).is_none() {
            return false;
        }
        let wanted = |stamp: Stamp| stamp.class().is_half_open() == half_open;
        let Some(stamp) = self.end(pair, stamp.version(), wanted, Ending::Evicted) else {
            return false;
        };
        for id in table.accounts_of(vif, vrf) {
            table.accounts().count_evicted(self.shard, id);
        }
        self.bury_claimed(pair, stamp);
        !stamp.is_writing()
    }
}

/// How far the hand goes on among `used` pairs after a look in vain.
fn leap(used: usize) -> usize {
    if used <= LOOK * LOOKS {
        // As many looks as there are see all of them.
        return 0;
    }
    // The golden section: the places of any number of leaps lie evenly.
    ((used as u64 * 0x9e37_79b9) >> 32) as usize
}

impl Need<'_> {
    /// The pair that is to go first.
    fn best_of(&self, pairs: impl Iterator<Item = usize>) -> Option<Candidate> {
        let arrays = self.table.arrays();
        let mut best = None;
        // A flood's pairs have the same owners: most need no second thought.
        let mut last = (u64::MAX, None);
        for pair in pairs {
            // A pair without a due time is free.
            if arrays.due[pair].load(Relaxed) == 0 {
                continue;
            }
            let word = arrays.owners[pair].load(Relaxed);
            if last.0 != word {
                let (vif, vrf) = owners_from(word);
                last = (word, self.candidate(pair, vif, vrf, word & HALF_OPEN != 0));
            }
            let candidate = last.1.map(|like| Candidate { pair, ..like });
            best = best.max(candidate);
        }
        best
    }

    /// Whether a pair of these owners may go.
    fn candidate(&self, pair: usize, vif: u32, vrf: u32, half_open: bool) -> Option<Candidate> {
        let standing = self.table.standing(self.limit, vif, vrf, 0);
        let Standing {
            excess, vif_excess, ..
        } = standing;
        let further = match vrf == self.vrf {
            true => vif_excess > self.own.vif_excess,
            false => excess > self.own.excess,
        };
        let may_go = match self.limit {
            Limit::Table if half_open => vif == self.vif || further,
            Limit::Table => further && excess > Excess::NONE && !standing.protected,
            Limit::TableHalfOpen => half_open && (vif == self.vif || further),
            Limit::Vif | Limit::VifHalfOpen => half_open && vif == self.vif && vrf == self.vrf,
            Limit::Vrf | Limit::VrfHalfOpen => {
                half_open && vrf == self.vrf && (vif == self.vif || further)
            }
        };
        may_go.then_some(Candidate {
            half_open,
            excess,
            vif_excess,
            pair,
        })
    }
}

impl FlowTable {
    /// How a flow of these owners stands before this limit, if they had `more`
    /// flows.
    fn standing(&self, limit: Limit, vif: u32, vrf: u32, more: u32) -> Standing {
        let (vif_excess, vif_protected) = self.excess(limit, Owner::Vif(vif), more);
        let (vrf_excess, vrf_protected) = self.excess(limit, Owner::Vrf(vrf), more);
        Standing {
            excess: vif_excess.max(vrf_excess),
            vif_excess,
            protected: vif_protected || vrf_protected,
        }
    }

    /// An owner's excess, and whether it has a quota and is within its share.
    fn excess(&self, limit: Limit, owner: Owner, more: u32) -> (Excess, bool) {
        let accounts = self.accounts();
        let id = accounts.id(owner);
        let quota = accounts.limit(id);
        let share = self.share(owner, quota);
        let excess = match limit {
            Limit::TableHalfOpen => Excess::of(
                accounts.used(id, Kind::HalfOpen) + more,
                self.bounds.half_open_share(share),
            ),
            _ => Excess::of(accounts.used(id, Kind::Pairs) + more, share),
        };
        (excess, quota.is_some() && excess <= Excess::NONE)
    }

    fn share(&self, owner: Owner, quota: Option<u32>) -> u32 {
        let shares = &self.apart.shares;
        let crowd = match owner {
            Owner::Vif(_) => &shares.vifs,
            Owner::Vrf(_) => &shares.vrfs,
        };
        let capacity = self.bounds.capacity;
        let promised = crowd.promised.load(Relaxed);
        match quota {
            Some(quota) if promised > capacity => {
                (u64::from(quota) * u64::from(capacity) / u64::from(promised)) as u32
            }
            Some(quota) => quota,
            None => capacity.saturating_sub(promised) / (crowd.unlimited.load(Relaxed) + 1),
        }
    }
}
