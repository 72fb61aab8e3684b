//! Who may have how many flows, and whose flow goes when another is to come:
//! what the table's documentation says, worked out by counting.

use flowtable::{Limit, Owner};
use std::cmp::Ordering;
use std::collections::HashMap;

/// What counts of a flow.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Holding {
    pub(crate) vif: u32,
    pub(crate) vrf: u32,
    pub(crate) half_open: bool,
}

/// The bounds of a table and of its owners.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) capacity: u32,
    pub(crate) half_open_percent: u32,
    /// Owners of each kind that have an account; the last one serves the rest.
    pub(crate) vifs: u32,
    pub(crate) vrfs: u32,
    pub(crate) quotas: HashMap<Owner, u32>,
}

/// Flows and half-open flows.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) pairs: u32,
    pub(crate) half_open: u32,
}

/// Used over share, exactly.
#[derive(Clone, Copy, Debug)]
struct Excess {
    used: u32,
    share: u32,
}

impl Excess {
    /// Just the share.
    const NONE: Excess = Excess { used: 1, share: 1 };
}

impl Ord for Excess {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |a: &Excess, b: &Excess| u64::from(a.used) * u64::from(b.share.max(1));
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for Excess {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Excess {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Excess {}

impl Rules {
    /// The owner by whose account this one is counted.
    pub(crate) fn account(&self, owner: Owner) -> Owner {
        match owner {
            Owner::Vif(vif) => Owner::Vif(vif.min(self.vifs - 1)),
            Owner::Vrf(vrf) => Owner::Vrf(vrf.min(self.vrfs - 1)),
        }
    }

    /// The table, then every owner that has an account.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = Option<Owner>> {
        let vifs = (0..self.vifs).map(Owner::Vif);
        let vrfs = (0..self.vrfs).map(Owner::Vrf);
        [None].into_iter().chain(vifs.chain(vrfs).map(Some))
    }

    /// Whether a flow counts for an owner, or for the table, as all do.
    pub(crate) fn counts(&self, flow: &Holding, owner: Option<Owner>) -> bool {
        owner.is_none_or(|owner| {
            let own = match owner {
                Owner::Vif(_) => Owner::Vif(flow.vif),
                Owner::Vrf(_) => Owner::Vrf(flow.vrf),
            };
            self.account(own) == self.account(owner)
        })
    }

    pub(crate) fn count(&self, flows: &[Holding], owner: Option<Owner>) -> Count {
        let own = flows.iter().filter(|flow| self.counts(flow, owner));
        own.fold(Count::default(), |count, flow| Count {
            pairs: count.pairs + 1,
            half_open: count.half_open + u32::from(flow.half_open),
        })
    }

    /// The bound of an owner, or of the table; `None` for an owner without.
    pub(crate) fn limit(&self, owner: Option<Owner>) -> Option<u32> {
        match owner {
            None => Some(self.capacity),
            Some(owner) => self.quotas.get(&self.account(owner)).copied(),
        }
    }

    fn half_open_share(&self, limit: u32) -> u32 {
        (limit * self.half_open_percent / 100).max(1)
    }

    /// Whether a flow may become half open.
    pub(crate) fn admits_half_open(&self, flows: &[Holding], flow: &Holding) -> bool {
        owners_of(flow).into_iter().all(|(owner, _)| {
            let half_open = self.count(flows, owner).half_open;
            let bound = self.limit(owner);
            bound.is_none_or(|bound| half_open < self.half_open_share(bound))
        })
    }

    /// What stands in the way of another flow, in the order in which it is
    /// asked for: an owner's bound before the table's, that of half-open flows
    /// before that of all. With by how many flows it is exceeded, which is none
    /// unless it was lowered.
    fn bounds<'a>(
        &'a self,
        flows: &'a [Holding],
        new: &'a Holding,
    ) -> impl Iterator<Item = (Limit, u32)> + 'a {
        owners_of(new).into_iter().flat_map(|(owner, limits)| {
            let count = self.count(flows, owner);
            let exceeded = |used: u32, bound: Option<u32>| used.checked_sub(bound?);
            let bound = self.limit(owner);
            let share = bound.map(|bound| self.half_open_share(bound));
            let half_open = exceeded(count.half_open, share).filter(|_| new.half_open);
            let [all, half] = limits;
            [
                half_open.map(|by| (half, by)),
                exceeded(count.pairs, bound).map(|by| (all, by)),
            ]
            .into_iter()
            .flatten()
        })
    }

    fn share(&self, flows: &[Holding], owner: Owner) -> u32 {
        let same_kind = |other: &Owner| {
            matches!(
                (owner, other),
                (Owner::Vif(_), Owner::Vif(_)) | (Owner::Vrf(_), Owner::Vrf(_))
            )
        };
        let quotas = self.quotas.iter().filter(|(other, _)| same_kind(other));
        let promised: u32 = quotas.map(|(_, quota)| quota).sum();
        match self.limit(Some(owner)) {
            Some(quota) if promised > self.capacity => quota * self.capacity / promised,
            Some(quota) => quota,
            None => {
                let others = self.accounts().flatten().filter(same_kind);
                let without_quota = others
                    .filter(|other| self.limit(Some(*other)).is_none())
                    .filter(|other| self.count(flows, Some(*other)).pairs > 0);
                // One part is kept for whoever comes next.
                self.capacity.saturating_sub(promised) / (without_quota.count() as u32 + 1)
            }
        }
    }

    fn excess(&self, flows: &[Holding], owner: Owner, limit: Limit, more: u32) -> Excess {
        let (count, share) = (self.count(flows, Some(owner)), self.share(flows, owner));
        match limit {
            Limit::TableHalfOpen => Excess {
                used: count.half_open + more,
                share: self.half_open_share(share),
            },
            _ => Excess {
                used: count.pairs + more,
                share,
            },
        }
    }

    /// How far the worse of its owners is over its share, and how far its vif
    /// is, were there `more` of it.
    fn excess_of(
        &self,
        flows: &[Holding],
        flow: &Holding,
        limit: Limit,
        more: u32,
    ) -> (Excess, Excess) {
        let vif = self.excess(flows, Owner::Vif(flow.vif), limit, more);
        let vrf = self.excess(flows, Owner::Vrf(flow.vrf), limit, more);
        (vif.max(vrf), vif)
    }

    /// Whether an owner of the flow has a quota and is within its share.
    fn is_protected(&self, flows: &[Holding], flow: &Holding) -> bool {
        [Owner::Vif(flow.vif), Owner::Vrf(flow.vrf)]
            .into_iter()
            .any(|owner| {
                let excess = self.excess(flows, owner, Limit::Table, 0);
                self.limit(Some(owner)).is_some() && excess <= Excess::NONE
            })
    }

    fn may_go(&self, flows: &[Holding], old: &Holding, new: &Holding, limit: Limit) -> bool {
        let (same_vif, same_vrf) = (old.vif == new.vif, old.vrf == new.vrf);
        let (excess, vif_excess) = self.excess_of(flows, old, limit, 0);
        let (own, own_vif) = self.excess_of(flows, new, limit, 1);
        let further = match same_vrf {
            true => vif_excess > own_vif,
            false => excess > own,
        };
        match limit {
            Limit::Table | Limit::TableHalfOpen if old.half_open => same_vif || further,
            Limit::Table => further && excess > Excess::NONE && !self.is_protected(flows, old),
            Limit::TableHalfOpen => false,
            Limit::Vif | Limit::VifHalfOpen => old.half_open && same_vif && same_vrf,
            Limit::Vrf | Limit::VrfHalfOpen => old.half_open && same_vrf && (same_vif || further),
        }
    }

    /// The flows of which one should go: half-open ones before others, then
    /// those of whoever is furthest over its share.
    fn victims(&self, flows: &[Holding], new: &Holding, limit: Limit) -> Vec<usize> {
        let rank = |old: &Holding| (old.half_open, self.excess_of(flows, old, limit, 0));
        let may_go = flows.iter().enumerate();
        let may_go = may_go.filter(|(_, old)| self.may_go(flows, old, new, limit));
        let ranks: Vec<_> = may_go.map(|(at, old)| (at, rank(old))).collect();
        let best = ranks.iter().map(|(_, rank)| *rank).max();
        let first = ranks.into_iter().filter(|(_, rank)| Some(*rank) == best);
        first.map(|(at, _)| at).collect()
    }

    /// What comes of inserting `new`: it is refused, or at most one flow goes
    /// for it, of those in the list.
    pub(crate) fn outcome(&self, flows: &[Holding], new: &Holding) -> Result<Vec<usize>, Limit> {
        let Some((limit, _)) = self.bounds(flows, new).next() else {
            return Ok(Vec::new());
        };
        let one_less_would_do = self.bounds(flows, new).all(|(_, by)| by == 0);
        let victims = self.victims(flows, new, limit);
        if one_less_would_do && !victims.is_empty() {
            Ok(victims)
        } else {
            Err(limit)
        }
    }
}

/// For whom a flow counts, and the limits of theirs it may meet, in the order
/// in which they are tried.
fn owners_of(flow: &Holding) -> [(Option<Owner>, [Limit; 2]); 3] {
    [
        (Some(Owner::Vif(flow.vif)), [Limit::Vif, Limit::VifHalfOpen]),
        (Some(Owner::Vrf(flow.vrf)), [Limit::Vrf, Limit::VrfHalfOpen]),
        (None, [Limit::Table, Limit::TableHalfOpen]),
    ]
}
