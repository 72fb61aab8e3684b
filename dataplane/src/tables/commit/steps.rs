//! What a commit does to each object that it changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tables::change::{Change, Refusal, RefusalCode, Request};
use crate::tables::spec::{Key, Name, Object};
use crate::tables::{FastSet, Stored, Tables};

/// Old and new form of every object that changes, in key order: vrfs before
/// vifs before nexthops before what refers to them.
#[derive(Default)]
pub(super) struct Steps {
    all: Vec<Step>,
    /// How many named objects are already as wanted.
    pub(super) unchanged: usize,
}

pub(super) struct Step {
    pub(super) key: Key,
    pub(super) old: Option<Arc<Stored>>,
    pub(super) new: Option<Arc<Stored>>,
}

impl Steps {
    /// Ownership and repetition checked.
    pub(super) fn of_request(
        tables: &Tables,
        request: &Request,
        refusals: &mut Vec<Refusal>,
    ) -> Steps {
        let mut names = SharedNames::new(tables);
        let mut wanted: Vec<(Key, Option<Object>)> = request
            .changes
            .iter()
            .map(|change| match change {
                Change::Upsert(object) => {
                    let object = names.share(object.clone());
                    (object.key(), Some(object))
                }
                Change::Delete(key) => (key.clone(), None),
            })
            .collect();
        // Stable, and quick where a controller goes by order: of those that name
        // one object twice, the first counts.
        wanted.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut steps = Steps::default();
        let mut before = None;
        for (key, new) in &mut wanted {
            if before.replace(&*key) == Some(&*key) {
                let refusal = Refusal::field(key.clone(), "", "named twice in one request");
                refusals.push(refusal.with_code(RefusalCode::Duplicate));
                continue;
            }
            let old = tables.objects.get(key);
            if let Some(old) = old
                && old.owner != request.owner
            {
                refusals.push(of_another_owner(key, old, &request.owner));
                continue;
            }
            match (old, new) {
                (None, None) => {
                    let refusal = Refusal::field(key.clone(), "", "does not exist");
                    refusals.push(refusal.with_code(RefusalCode::NotFound));
                }
                (Some(old), Some(new)) if old.object == *new => steps.unchanged += 1,
                (old, new) => {
                    let new = new.take().map(|object| {
                        Arc::new(Stored {
                            object,
                            owner: request.owner.clone(),
                            generation: tables.generation + 1,
                        })
                    });
                    let (key, old) = (key.clone(), old.cloned());
                    steps.all.push(Step { key, old, new });
                }
            }
        }
        if request.replace {
            steps.drop_the_rest(tables, &request.owner, &wanted);
        }
        steps
    }

    /// Objects where there were none.
    pub(super) fn of_objects(objects: &BTreeMap<Key, Arc<Stored>>) -> Steps {
        let all = objects.iter().map(|(key, stored)| Step {
            key: key.clone(),
            old: None,
            new: Some(stored.clone()),
        });
        Steps {
            all: all.collect(),
            unchanged: 0,
        }
    }

    /// Deletes what the owner has and no longer names.
    fn drop_the_rest(&mut self, tables: &Tables, owner: &Name, named: &[(Key, Option<Object>)]) {
        let is_named = |key: &Key| named.binary_search_by(|(it, _)| it.cmp(key)).is_ok();
        let rest = tables
            .objects
            .iter()
            .filter(|(key, stored)| stored.owner == *owner && !is_named(key));
        let before = self.all.len();
        self.all.extend(rest.map(|(key, stored)| Step {
            key: key.clone(),
            old: Some(stored.clone()),
            new: None,
        }));
        if self.all.len() > before {
            self.all.sort_by(|a, b| a.key.cmp(&b.key));
        }
    }

    pub(super) fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Key, Option<&Object>, Option<&Object>)> {
        self.all.iter().map(|step| {
            let old = step.old.as_ref().map(|stored| &stored.object);
            let new = step.new.as_ref().map(|stored| &stored.object);
            (&step.key, old, new)
        })
    }

    /// The same with who committed what, and when.
    pub(super) fn stored(&self) -> &[Step] {
        &self.all
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        self.all.binary_search_by(|step| step.key.cmp(key)).is_ok()
    }
}

fn of_another_owner(key: &Key, old: &Stored, owner: &Name) -> Refusal {
    let reason = format!("belongs to owner `{}`, not to `{owner}`", old.owner);
    let refusal = Refusal::field(key.clone(), "", reason).with_conflict(key.clone());
    refusal.with_code(RefusalCode::OtherOwner)
}

/// One copy of a network's or nexthop's name for the objects that mention it: less
/// memory, and names that are the same are so at a glance.
struct SharedNames<'a> {
    tables: &'a Tables,
    seen: FastSet<Name>,
}

impl SharedNames<'_> {
    fn new(tables: &Tables) -> SharedNames<'_> {
        SharedNames {
            tables,
            seen: FastSet::default(),
        }
    }

    /// An object with such names, if it is of those that there are many of.
    fn share(&mut self, mut object: Object) -> Object {
        let (vrf, nexthop) = match &mut object {
            Object::Route(route) => (&mut route.vrf, &mut route.nexthop),
            Object::Mac(mac) => (&mut mac.vrf, &mut mac.nexthop),
            _ => return object,
        };
        let Tables { names, .. } = self.tables;
        let known = names.vrfs.get_key_value(vrf);
        Self::unite(&mut self.seen, vrf, known.map(|(name, _)| name));
        let known = names.nexthops.get_key_value(nexthop);
        Self::unite(&mut self.seen, nexthop, known.map(|(name, _)| name));
        object
    }

    fn unite(seen: &mut FastSet<Name>, name: &mut Name, known: Option<&Name>) {
        if let Some(known) = known.or_else(|| seen.get(name)) {
            *name = known.clone();
        } else {
            seen.insert(name.clone());
        }
    }
}
