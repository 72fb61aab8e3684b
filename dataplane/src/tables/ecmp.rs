//! Groups in tenants' networks: several tunnels or vifs to the same place, and which of them a flow
//! takes.
//!
//! By highest random weight (RFC 2992 §4, with weights): every usable member draws a number from the
//! flow's hash and its own seed, and the best draw wins. One that fails or is taken out moves its own
//! flows and no others; one that is put in takes its share from all, and no flow moves between
//! the rest.

use super::link::LinkState;
use super::path::draw;
use super::spec::{self, HashFields};
use super::{Nexthop, NexthopId, Tables, Underlay, VifId};
use crate::spread;

/// A group, resolved.
#[derive(Clone, Debug)]
pub struct Ecmp {
    /// What tells flows apart.
    pub hash: HashFields,
    /// Both directions of a flow have the same hash, and members are told apart by their place.
    pub symmetric: bool,
    members: Box<[Member]>,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    nexthop: NexthopId,
    /// Makes its draws differ from those of the others.
    seed: u32,
    weight: u32,
}

impl Ecmp {
    /// The member of a flow with this hash, of those that fit, and its number; `None` if none does.
    pub fn pick(&self, hash: u64, fits: impl Fn(NexthopId) -> bool) -> Option<(NexthopId, u8)> {
        let entropy = (hash >> 32) as u32;
        let numbered = self.members.iter().enumerate();
        let fitting = numbered.filter(|(_, member)| fits(member.nexthop));
        let best = fitting.min_by_key(|(_, it)| draw(entropy ^ it.seed, it.weight));
        best.map(|(index, member)| (member.nexthop, number(index)))
    }

    /// The first member that fits, and its number.
    pub fn find(&self, fits: impl Fn(NexthopId) -> bool) -> Option<(NexthopId, u8)> {
        let index = self.members.iter().position(|it| fits(it.nexthop))?;
        Some((self.members[index].nexthop, number(index)))
    }

    /// Whether a member is this vif.
    pub fn delivers_to(&self, tables: &Tables, vif: VifId) -> bool {
        let mut members = self.members.iter();
        members.any(|it| matches!(tables.nexthop(it.nexthop), Some(Nexthop::Vif(id)) if *id == vif))
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = NexthopId> {
        self.members.iter().map(|it| it.nexthop)
    }

    /// Whether this is a member.
    pub fn has(&self, nexthop: NexthopId) -> bool {
        self.members.iter().any(|it| it.nexthop == nexthop)
    }
}

/// As a flow keeps it: from 1 on, as 0 stands for no group, and not beyond a byte.
fn number(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

impl Tables {
    /// Whether packets can leave by a nexthop now, as far as links and neighbours tell.
    #[inline]
    pub fn is_usable(&self, nexthop: NexthopId) -> bool {
        match self.nexthop(nexthop) {
            Some(Nexthop::Vif(vif)) => self.vif(*vif).is_some_and(|vif| vif.link.is_up()),
            Some(Nexthop::Tunnel(tunnel)) => tunnel.paths.iter().any(|path| !path.has_failed()),
            _ => false,
        }
    }

    /// A group as configured; `None` for one of neighbours in the underlay. Its members are resolved.
    /// Their links and neighbours are looked after from now on, traffic or not.
    pub(super) fn ecmp(&self, group: &spec::Group, next: &mut Underlay) -> Option<Ecmp> {
        let mut members = Vec::new();
        for (place, member) in group.members.iter().enumerate() {
            let nexthop = *self.names.nexthops.get(&member.nexthop)?;
            match self.nexthop(nexthop)? {
                Nexthop::Neighbour(_) => return None,
                Nexthop::Tunnel(tunnel) => {
                    let ways = tunnel.paths.iter();
                    let ways = ways.map(|path| (path.egress, path.neighbour.addr));
                    next.watched.extend(ways);
                }
                Nexthop::Vif(vif) => {
                    let link = self.vif(*vif).map(|vif| &*vif.link);
                    link.into_iter().for_each(LinkState::watch);
                }
                _ => {}
            }
            let seed = match group.symmetric {
                true => spread::of_name(&place.to_string()),
                false => spread::of_name(&member.nexthop),
            };
            members.push(Member {
                nexthop,
                seed: seed as u32,
                weight: member.weight.get().into(),
            });
        }
        Some(Ecmp {
            hash: group.hash,
            symmetric: group.symmetric,
            members: members.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::SpreadKey;

    fn group(members: &[(u32, u32)]) -> Ecmp {
        let member = |(id, weight): &(u32, u32)| Member {
            nexthop: NexthopId(*id),
            seed: spread::of_name(&format!("to-node{id}")) as u32,
            weight: *weight,
        };
        Ecmp {
            hash: HashFields::FiveTuple,
            symmetric: false,
            members: members.iter().map(member).collect(),
        }
    }

    fn hashes() -> impl Iterator<Item = u64> {
        let key = SpreadKey::new(7);
        (0..3_600).map(move |n: u16| {
            key.end(crate::decide::End {
                addr: std::net::IpAddr::from([10, 0, 0, 1]),
                port: n,
            })
        })
    }

    /// K2 of the checks: 3,600 flows, each way within 15 % of its weight.
    #[test]
    fn members_get_flows_by_their_weight() {
        let weights = [1, 1, 2, 4, 1, 3, 2, 2];
        let members: Vec<(u32, u32)> = (0..).zip(weights).collect();
        let group = group(&members);
        let mut flows = [0_u32; 8];
        for hash in hashes() {
            flows[group.pick(hash, |_| true).unwrap().0.0 as usize] += 1;
        }
        for (flows, weight) in flows.into_iter().zip(weights) {
            let share = f64::from(flows) / f64::from(3_600 * weight / 16);
            assert!((0.85..1.15).contains(&share), "{flows} for weight {weight}");
        }
    }

    /// K3 of the checks (RFC 2992 §3): one of eight goes, and no flow of the others moves.
    #[test]
    fn one_that_goes_moves_its_own_flows_only() {
        let eight: Vec<(u32, u32)> = (0..8).map(|id| (id, 1 + id % 3)).collect();
        let all = group(&eight);
        let seven = group(&[&eight[..3], &eight[4..]].concat());
        let mut moved = 0;
        for hash in hashes() {
            let (before, _) = all.pick(hash, |_| true).unwrap();
            let (without, _) = all.pick(hash, |id| id != NexthopId(3)).unwrap();
            let (removed, _) = seven.pick(hash, |_| true).unwrap();
            assert_eq!(without, removed);
            match before {
                NexthopId(3) => moved += 1,
                other => assert_eq!(other, removed),
            }
        }
        assert!(moved > 0);
    }

    #[test]
    fn when_none_fits_there_is_none() {
        assert_eq!(group(&[(1, 1), (2, 1)]).pick(7, |_| false), None);
    }
}
