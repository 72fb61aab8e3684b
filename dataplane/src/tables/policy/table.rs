//! What rules ask of one field, by value: each with the positions of the rules that ask for it.
//!
//! A sorted array. A commit hands in all its edits at once, and one pass merges them, so that a
//! whole policy is compiled in the time of a sort, and the change of one rule costs a copy.

use std::sync::Arc;

use super::bits::Bits;

/// Values in order, with the rules that ask for each.
#[derive(Clone, Debug)]
pub(super) struct Table<K> {
    entries: Vec<(K, Arc<Bits>)>,
}

/// A rule comes to ask for a value, or ceases to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edit<K> {
    /// The value.
    pub(super) key: K,
    /// Where the rule stands.
    pub(super) position: u32,
    /// Whether it asks for it now. After the other kind in order, for a position that passes from
    /// one rule to another.
    pub(super) asks: bool,
}

impl<K: Ord + Copy> Table<K> {
    /// What asks for exactly this value.
    #[inline]
    pub(super) fn get(&self, key: K) -> Option<&Bits> {
        let found = self.entries.binary_search_by_key(&key, |(key, _)| *key);
        found.ok().map(|index| &*self.entries[index].1)
    }

    /// All values in order.
    #[inline]
    pub(super) fn entries(&self) -> &[(K, Arc<Bits>)] {
        &self.entries
    }

    /// Makes the edits; true if other values are asked for than before.
    pub(super) fn apply(&mut self, mut edits: Vec<Edit<K>>) -> bool {
        edits.sort_unstable();
        let count = self.entries.len();
        let old = std::mem::take(&mut self.entries);
        self.entries.reserve_exact(count + edits.len());
        let mut old = old.into_iter().peekable();
        let mut has_changed = false;
        for edits in edits.chunk_by(|a, b| a.key == b.key) {
            let key = edits[0].key;
            while let Some(entry) = old.next_if(|(other, _)| *other < key) {
                self.entries.push(entry);
            }
            let known = old.next_if(|(other, _)| *other == key);
            let was_there = known.is_some();
            let mut bits = known.map(|(_, bits)| bits).unwrap_or_default();
            let writable = Arc::make_mut(&mut bits);
            for edit in edits {
                match edit.asks {
                    true => writable.insert(edit.position),
                    false => writable.remove(edit.position),
                }
            }
            has_changed |= was_there == bits.is_empty();
            if !bits.is_empty() {
                self.entries.push((key, bits));
            }
        }
        self.entries.extend(old);
        has_changed
    }
}

impl<K> Default for Table<K> {
    fn default() -> Table<K> {
        Table {
            entries: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(key: u8, position: u32, asks: bool) -> Edit<u8> {
        Edit {
            key,
            position,
            asks,
        }
    }

    #[test]
    fn a_position_may_pass_from_one_rule_to_another_in_one_go() {
        let mut table = Table::default();
        assert!(table.apply(vec![edit(6, 3, true), edit(17, 4, true)]));
        assert!(!table.apply(vec![edit(6, 3, true), edit(6, 3, false)]));
        assert_eq!(table.get(6).and_then(Bits::first), Some(3));
        assert!(table.apply(vec![edit(6, 3, false), edit(6, 9, false)]));
        assert!(table.get(6).is_none() && table.entries().len() == 1);
    }
}
