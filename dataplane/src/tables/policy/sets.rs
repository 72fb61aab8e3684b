//! Address sets: which of them an address is in.
//!
//! One structure for all sets of the node, so that an address is looked up once whatever the number
//! of sets and rules, and no rule has a copy of a set. The addresses fall into stretches that are
//! all in the same sets ([`super::stretches`]). To put a prefix into a set, or take one out, changes
//! the stretches inside it and nothing else.
//!
//! Costs some 50 bytes a prefix.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::stretches::Stretches;
use super::{Name, SetId};
use crate::tables::slab::Slab;

/// The address sets of a snapshot.
#[derive(Clone, Default)]
pub(in crate::tables) struct AddressSets {
    names: imbl::HashMap<Name, SetId>,
    /// Only to give out indices.
    ids: Slab<Name>,
    v4: Stretches<u32>,
    v6: Stretches<u128>,
}

/// The sets that an address is in, each with how many of its prefixes contain it.
pub(super) type Membership = [(SetId, u32)];

impl AddressSets {
    /// The set of this name.
    pub(in crate::tables) fn named(&self, name: &str) -> Option<SetId> {
        self.names.get(name).copied()
    }

    /// Makes a set what it is to be from what it was; without prefixes before, if it is new.
    pub(in crate::tables) fn change(&mut self, name: &Name, old: &[IpNet], new: &[IpNet]) {
        let id = self.named(name).unwrap_or_else(|| {
            let id = SetId(self.ids.insert(name.clone()));
            self.names.insert(name.clone(), id);
            id
        });
        let (mut into, mut out_of) = (Known::default(), Known::default());
        for (prefix, comes) in differences(old, new) {
            let known = match comes {
                true => &mut into,
                false => &mut out_of,
            };
            match prefix {
                IpNet::V4(net) => {
                    let range = (net.network().to_bits(), net.broadcast().to_bits());
                    self.v4.change(range, |sets| known.step(sets, id, comes));
                }
                IpNet::V6(net) => {
                    let range = (net.network().to_bits(), net.broadcast().to_bits());
                    self.v6.change(range, |sets| known.step(sets, id, comes));
                }
            }
        }
    }

    /// Takes a set away that has these prefixes.
    pub(in crate::tables) fn remove(&mut self, name: &Name, prefixes: &[IpNet]) {
        self.change(name, prefixes, &[]);
        if let Some(id) = self.names.remove(name) {
            self.ids.remove(id.0);
        }
    }

    /// The sets that an address is in.
    #[inline]
    pub(super) fn of(&self, addr: IpAddr) -> &Membership {
        match addr {
            IpAddr::V4(addr) => self.v4.at(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.at(addr.to_bits()),
        }
    }
}

/// What became of memberships in one direction of one change, so that stretches in the same sets
/// share them. By where they are, with the old and the new one.
#[derive(Default)]
struct Known(HashMap<*const (SetId, u32), [Arc<Membership>; 2]>);

impl Known {
    fn step(&mut self, sets: &Arc<Membership>, set: SetId, comes: bool) -> Arc<Membership> {
        let entry = self.0.entry(sets.as_ptr());
        // The old one is kept too, so that nothing else gets its address.
        let [_, next] = entry.or_insert_with(|| [sets.clone(), with(sets, set, comes).into()]);
        next.clone()
    }
}

/// A membership with one more or one less prefix of a set.
fn with(sets: &Membership, set: SetId, comes: bool) -> Vec<(SetId, u32)> {
    let mut sets = sets.to_vec();
    match (sets.binary_search_by_key(&set, |(id, _)| *id), comes) {
        (Ok(at), true) => sets[at].1 += 1,
        (Err(at), true) => sets.insert(at, (set, 1)),
        (Ok(at), false) if sets[at].1 > 1 => sets[at].1 -= 1,
        (Ok(at), false) => _ = sets.remove(at),
        (Err(_), false) => {}
    }
    sets
}

/// What is only in one of two lists, with whether it is the new one. A prefix that is named twice
/// counts twice.
fn differences(old: &[IpNet], new: &[IpNet]) -> Vec<(IpNet, bool)> {
    // Mostly little has changed, and nothing changed places.
    let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[same..], &new[same..]);
    let (ends, news) = (old.iter().rev(), new.iter().rev());
    let same = ends.zip(news).take_while(|(a, b)| a == b).count();
    let sorted = |nets: &[IpNet]| {
        let mut nets = nets[..nets.len() - same].to_vec();
        nets.sort_unstable();
        nets
    };
    let (old, new) = (sorted(old), sorted(new));
    let (mut old, mut new) = (old.into_iter().peekable(), new.into_iter().peekable());
    let mut all = Vec::new();
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (Some(a), Some(b)) if a == b => _ = (old.next(), new.next()),
            (Some(a), b) if b.is_none_or(|b| a < b) => {
                all.push((a, false));
                old.next();
            }
            (_, Some(b)) => {
                all.push((b, true));
                new.next();
            }
            (_, None) => return all,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_the_sets_that_a_scan_finds_whatever_comes_and_goes() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 11
        };
        let prefix = |next: &mut dyn FnMut() -> u64| -> IpNet {
            let word = next();
            let net: IpNet = match word & 3 {
                0 => {
                    let addr = u128::from(word >> 8 & 0xFF01) << 112 | u128::from(word >> 30 & 7);
                    let net = ipnet::Ipv6Net::new(addr.into(), (word >> 40) as u8 % 129);
                    net.unwrap().into()
                }
                _ => {
                    let addr = (word >> 8) as u32 & 0xC1C3_000F;
                    let net = ipnet::Ipv4Net::new(addr.into(), (word >> 40) as u8 % 33);
                    net.unwrap().into()
                }
            };
            net.trunc()
        };
        let names: Vec<Name> = ["a", "b", "c", "d"].map(Name::from).to_vec();
        let mut sets = AddressSets::default();
        let mut model: Vec<Vec<IpNet>> = vec![Vec::new(); names.len()];
        for _ in 0..2_000 {
            let which = next() as usize % names.len();
            let mut new = model[which].clone();
            match next() % 8 {
                0 => new.clear(),
                1 => new.reverse(),
                2 | 3 if !new.is_empty() => _ = new.remove(next() as usize % new.len()),
                _ => (0..next() % 4).for_each(|_| new.push(prefix(&mut next))),
            }
            sets.change(&names[which], &model[which], &new);
            model[which] = new;
            for _ in 0..4 {
                let addr = prefix(&mut next).addr();
                for (name, nets) in names.iter().zip(&model) {
                    let Some(id) = sets.named(name) else { continue };
                    let count = nets.iter().filter(|net| net.contains(&addr)).count();
                    let found = sets.of(addr).iter().find(|(set, _)| *set == id);
                    assert_eq!(found.map_or(0, |(_, count)| *count as usize), count);
                }
            }
        }
        for (name, nets) in names.iter().zip(&model) {
            sets.remove(name, nets);
        }
        assert!(sets.v4.is_empty() && sets.v6.is_empty() && sets.ids.is_empty());
    }
}
