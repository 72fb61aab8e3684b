//! Objects as they were committed, by key. Routes are by far the most: they lie by
//! network, so that a look for one is a look among those of its network.

use std::ops::Bound;
use std::sync::Arc;

use encap::MacAddr;
use imbl::OrdMap;
use ipnet::IpNet;

use super::Stored;
use super::spec::{Key, Name};

/// A persistent map in key order: a copy shares what neither side changes.
#[derive(Clone, Default)]
pub(super) struct Objects {
    routes: OrdMap<Name, OrdMap<IpNet, Arc<Stored>>>,
    others: OrdMap<Key, Arc<Stored>>,
}

impl Objects {
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        match key {
            Key::Route(vrf, prefix) => self.routes.get(vrf)?.get(prefix),
            key => self.others.get(key),
        }
    }

    pub(super) fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: &Key, stored: Arc<Stored>) {
        match key {
            Key::Route(vrf, prefix) => {
                let routes = match self.routes.get_mut(vrf) {
                    Some(routes) => routes,
                    None => self.routes.entry(vrf.clone()).or_default(),
                };
                routes.insert(*prefix, stored);
            }
            key => _ = self.others.insert(key.clone(), stored),
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        match key {
            Key::Route(vrf, prefix) => {
                if let Some(routes) = self.routes.get_mut(vrf) {
                    routes.remove(prefix);
                    if routes.is_empty() {
                        self.routes.remove(vrf);
                    }
                }
            }
            key => _ = self.others.remove(key),
        }
    }

    /// In key order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Arc<Stored>)> {
        self.after(None)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<Stored>> {
        let routes = self.routes.values().flat_map(OrdMap::values);
        self.others.values().chain(routes)
    }

    /// In key order, without routes.
    pub(super) fn besides_routes(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.others.iter()
    }

    /// In key order, those after `key`; all, without one.
    pub(super) fn after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, &Arc<Stored>)> {
        // The first key that may be behind all routes.
        let end = Key::Mac("".into(), MacAddr::ZERO);
        let from = key.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let (before, routes, behind) = match key {
            Some(key) if *key >= end => (None, None, (from, Bound::Unbounded)),
            _ => {
                let behind = (Bound::Included(end.clone()), Bound::Unbounded);
                (
                    Some((from, Bound::Excluded(end))),
                    Some(self.routes_after(key)),
                    behind,
                )
            }
        };
        let others = |range| {
            let others = self.others.range::<(Bound<Key>, Bound<Key>), Key>(range);
            others.map(|(key, stored)| (key.clone(), stored))
        };
        let before = before.into_iter().flat_map(others);
        before
            .chain(routes.into_iter().flatten())
            .chain(others(behind))
    }

    fn routes_after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, &Arc<Stored>)> {
        let after = match key {
            Some(Key::Route(vrf, prefix)) => Some((vrf.clone(), *prefix)),
            // Of a kind before them.
            _ => None,
        };
        let first = after.as_ref().map(|(vrf, _)| vrf.clone());
        let from = first.map_or(Bound::Unbounded, Bound::Included);
        self.routes
            .range::<_, Name>((from, Bound::Unbounded))
            .flat_map(move |(vrf, routes)| {
                let from = match &after {
                    Some((first, prefix)) if first == vrf => Bound::Excluded(*prefix),
                    _ => Bound::Unbounded,
                };
                let routes = routes.range::<_, IpNet>((from, Bound::Unbounded));
                routes.map(|(prefix, stored)| (Key::Route(vrf.clone(), *prefix), stored))
            })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use encap::{Label, Vni};
    use proptest::prelude::*;

    use super::*;
    use crate::tables::spec::{AddressSet, Object};

    fn key() -> impl Strategy<Value = Key> {
        let name = || prop_oneof![Just(""), Just("a"), Just("b")].prop_map(Name::from);
        let net = (0u8..3, 8u8..=10).prop_map(|(octet, len)| {
            IpNet::new([octet << 5, 0, 0, 0].into(), len)
                .unwrap()
                .trunc()
        });
        let mac = || (0u8..2).prop_map(|octet| MacAddr([0, 0, 0, 0, 0, octet]));
        prop_oneof![
            name().prop_map(Key::Vrf),
            name().prop_map(Key::Nexthop),
            (name(), net).prop_map(|(vrf, net)| Key::Route(vrf, net)),
            (name(), mac()).prop_map(|(vrf, mac)| Key::Mac(vrf, mac)),
            (1u32..3).prop_map(|vni| Key::Vni(Vni::new(vni).unwrap())),
            (16u32..18).prop_map(|label| Key::Label(Label::new(label).unwrap())),
            name().prop_map(Key::Meter),
        ]
    }

    fn stored(generation: u64) -> Arc<Stored> {
        Arc::new(Stored {
            object: Object::AddressSet(AddressSet {
                name: "set".into(),
                prefixes: Vec::new(),
            }),
            owner: "me".into(),
            generation,
        })
    }

    proptest! {
        #[test]
        fn is_a_map_in_key_order(
            steps in prop::collection::vec((key(), any::<bool>()), 0..60),
            from in proptest::option::of(key()),
        ) {
            let (mut objects, mut model) = (Objects::default(), BTreeMap::new());
            for (generation, (key, stays)) in (0..).zip(&steps) {
                if *stays {
                    objects.insert(key, stored(generation));
                    model.insert(key.clone(), generation);
                } else {
                    objects.remove(key);
                    model.remove(key);
                }
                let found = objects.get(key).map(|stored| stored.generation);
                prop_assert_eq!(found, model.get(key).copied());
            }
            let seen: Vec<_> = objects.iter().map(|(key, it)| (key, it.generation)).collect();
            let all: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(seen, all);
            let start = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
            let rest = model.range::<Key, _>((start, Bound::Unbounded));
            let seen: Vec<_> = objects.after(from.as_ref()).map(|(key, _)| key).collect();
            prop_assert_eq!(seen, rest.map(|(key, _)| key.clone()).collect::<Vec<_>>());
            prop_assert_eq!(objects.values().count(), model.len());
        }
    }
}
