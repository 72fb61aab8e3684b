//! Addresses of one family in stretches that are in the same sets, persistent.
//!
//! Sorted arrays of at most 512 beginnings, and one array of them: a lookup is two binary searches
//! next to each other in memory, a few cache lines even when nothing is cached. A clone copies a
//! pointer; a write copies the upper array, which has some 500 entries for 100,000 prefixes, and
//! the lower ones it changes.

use std::sync::Arc;

use super::prefixes::Number;
use super::sets::Membership;

/// Beginnings in one array at most.
const FULL: usize = 512;
/// With fewer it is put together with the one behind it, if that leaves room.
const SPARSE: usize = 128;

/// The stretches, by where they begin. Before the first there are no sets.
#[derive(Clone)]
pub(super) struct Stretches<N> {
    /// Where each chunk begins.
    firsts: Arc<Vec<N>>,
    chunks: Arc<Vec<Arc<Chunk<N>>>>,
}

/// None is empty.
#[derive(Clone)]
struct Chunk<N> {
    starts: Vec<N>,
    sets: Vec<Arc<Membership>>,
}

impl<N: Number> Stretches<N> {
    /// The sets of the stretch that the address is in.
    #[inline]
    pub(super) fn at(&self, addr: N) -> &Membership {
        self.find(addr).map_or(&[], |sets| sets)
    }

    /// All addresses from `first` to `last` get other sets; those that had different ones still do.
    pub(super) fn change(
        &mut self,
        (first, last): (N, N),
        mut step: impl FnMut(&Arc<Membership>) -> Arc<Membership>,
    ) {
        let after = last.next();
        self.split(first);
        after.inspect(|after| self.split(*after));
        let chunk = self.chunk_of(first).unwrap_or(0);
        for chunk in &mut Arc::make_mut(&mut self.chunks)[chunk..] {
            if chunk.starts[0] > last {
                break;
            }
            let Chunk { starts, sets } = Arc::make_mut(chunk);
            let from = starts.partition_point(|start| *start < first);
            let to = starts.partition_point(|start| *start <= last);
            sets[from..to]
                .iter_mut()
                .for_each(|sets| *sets = step(sets));
        }
        self.join(first);
        after.inspect(|after| self.join(*after));
    }

    /// True without stretches.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    fn find(&self, addr: N) -> Option<&Arc<Membership>> {
        let chunk = &self.chunks[self.chunk_of(addr)?];
        let behind = chunk.starts.partition_point(|start| *start <= addr);
        chunk.sets.get(behind - 1)
    }

    /// The last chunk that does not begin behind the address.
    fn chunk_of(&self, addr: N) -> Option<usize> {
        let behind = self.firsts.partition_point(|first| *first <= addr);
        behind.checked_sub(1)
    }

    /// A stretch begins here, whether or not it did.
    fn split(&mut self, at: N) {
        let sets = self.find(at).cloned().unwrap_or_default();
        let index = self.chunk_of(at).unwrap_or(0);
        let (firsts, chunks) = self.writable();
        if chunks.is_empty() {
            firsts.push(at);
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[index]);
        if let Err(place) = chunk.starts.binary_search(&at) {
            chunk.starts.insert(place, at);
            chunk.sets.insert(place, sets);
        }
        firsts[index] = chunk.starts[0];
        if chunk.starts.len() > FULL {
            let starts = chunk.starts.split_off(FULL / 2);
            let sets = chunk.sets.split_off(FULL / 2);
            firsts.insert(index + 1, starts[0]);
            chunks.insert(index + 1, Arc::new(Chunk { starts, sets }));
        }
    }

    /// No stretch begins here, unless it is in other sets than the one before.
    fn join(&mut self, at: N) {
        let Some(index) = self.chunk_of(at) else {
            return;
        };
        let chunk = &self.chunks[index];
        let Ok(place) = chunk.starts.binary_search(&at) else {
            return;
        };
        let before = match (place, index) {
            (0, 0) => None,
            (0, index) => self.chunks[index - 1].sets.last(),
            (place, _) => chunk.sets.get(place - 1),
        };
        if before.map_or(&[][..], |sets| sets) != &*chunk.sets[place] {
            return;
        }
        let (firsts, chunks) = self.writable();
        let chunk = Arc::make_mut(&mut chunks[index]);
        chunk.starts.remove(place);
        chunk.sets.remove(place);
        match chunk.starts.first() {
            Some(first) => firsts[index] = *first,
            None => {
                firsts.remove(index);
                chunks.remove(index);
                return;
            }
        }
        let len = chunk.starts.len();
        let has_room = |next: &Arc<Chunk<N>>| len + next.starts.len() <= FULL / 2;
        if len < SPARSE && chunks.get(index + 1).is_some_and(has_room) {
            firsts.remove(index + 1);
            let next = chunks.remove(index + 1);
            let chunk = Arc::make_mut(&mut chunks[index]);
            chunk.starts.extend(&next.starts);
            chunk.sets.extend(next.sets.iter().cloned());
        }
    }

    fn writable(&mut self) -> (&mut Vec<N>, &mut Vec<Arc<Chunk<N>>>) {
        (
            Arc::make_mut(&mut self.firsts),
            Arc::make_mut(&mut self.chunks),
        )
    }
}

impl<N> Default for Stretches<N> {
    fn default() -> Stretches<N> {
        Stretches {
            firsts: Arc::default(),
            chunks: Arc::default(),
        }
    }
}

impl<N> Default for Chunk<N> {
    fn default() -> Chunk<N> {
        Chunk {
            starts: Vec::new(),
            sets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::SetId;
    use super::*;

    #[test]
    fn stretches_are_those_of_a_map_however_many_come_and_go() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = move |bound: u32| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 20) as u32 % bound
        };
        let mut stretches = Stretches::<u16>::default();
        let mut model = BTreeMap::from([(0_u32, 0), (65_536, 0)]);
        // More of them than one chunk has, and then fewer and fewer.
        for step in 0..6_000 {
            let first = next(65_536);
            let last = (first + next([20, 40_000][usize::from(step % 50 == 0)])).min(65_535);
            let number = match next(6_000) < step {
                true => 0,
                false => next(4),
            };
            let sets: Arc<Membership> = match number {
                0 => Arc::default(),
                _ => Arc::new([(SetId(number), 1)]),
            };
            stretches.change((first as u16, last as u16), |_| sets.clone());
            let (_, behind) = model.range(..=last + 1).next_back().expect("0 is there");
            let behind = *behind;
            let gone: Vec<u32> = model.range(first..=last + 1).map(|(at, _)| *at).collect();
            gone.iter().for_each(|at| _ = model.remove(at));
            model.insert(first, number);
            model.insert(last + 1, behind);
            for at in [
                first,
                last,
                first.saturating_sub(1),
                (last + 1).min(65_535),
                next(65_536),
            ] {
                let (_, expected) = model.range(..=at).next_back().expect("0 is there");
                let found = stretches.at(at as u16).first().map_or(0, |(set, _)| set.0);
                assert_eq!(found, *expected, "{at} in step {step}");
            }
        }
        let begins = stretches.chunks.iter().map(|chunk| chunk.starts[0]);
        assert!(begins.eq(stretches.firsts.iter().copied()));
        assert!(stretches.firsts.is_sorted());
    }
}
