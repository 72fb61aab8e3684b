//! A persistent array: values by small index, cheap to clone, sharing what did
//! not change.
//!
//! Two levels: a spine of chunks of 64. A clone copies one pointer, a write to a
//! shared slab copies the spine (`n / 64` pointers) and one chunk. Reading is two
//! dependent loads, which is what the packet path pays for a nexthop.

use std::sync::Arc;

const CHUNK: usize = 64;

/// Values by index. Indices of removed values are reused, lowest first.
#[derive(Debug)]
pub struct Slab<T> {
    spine: Arc<Vec<Arc<Chunk<T>>>>,
    len: usize,
    /// No index below this one is free.
    full_below: u32,
}

type Chunk<T> = [Option<Arc<T>>; CHUNK];

impl<T> Slab<T> {
    /// An empty slab.
    pub fn new() -> Slab<T> {
        Slab {
            spine: Arc::new(Vec::new()),
            len: 0,
            full_below: 0,
        }
    }

    /// Puts `value` into the lowest free place and returns its index.
    pub fn insert(&mut self, value: T) -> u32 {
        let index = (self.full_below..)
            .find(|&index| self.get(index).is_none())
            .unwrap_or_else(|| unreachable!("memory ends before 2^32 values"));
        self.set(index, value);
        self.full_below = index + 1;
        index
    }

    /// Puts `value` at `index`, whether or not something is there.
    pub fn set(&mut self, index: u32, value: T) {
        let (chunk, place) = split(index);
        let spine = Arc::make_mut(&mut self.spine);
        while spine.len() <= chunk {
            spine.push(Arc::new([const { None }; CHUNK]));
        }
        let place = &mut Arc::make_mut(&mut spine[chunk])[place];
        self.len += usize::from(place.is_none());
        *place = Some(Arc::new(value));
    }

    /// Frees `index`; false if nothing was there.
    pub fn remove(&mut self, index: u32) -> bool {
        if self.get(index).is_none() {
            return false;
        }
        let (chunk, place) = split(index);
        let spine = Arc::make_mut(&mut self.spine);
        Arc::make_mut(&mut spine[chunk])[place] = None;
        self.len -= 1;
        self.full_below = self.full_below.min(index);
        true
    }

    /// The value at `index` to change; copied first if an older clone shares it.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T>
    where
        T: Clone,
    {
        self.get(index)?;
        let (chunk, place) = split(index);
        let spine = Arc::make_mut(&mut self.spine);
        Arc::make_mut(&mut spine[chunk])[place]
            .as_mut()
            .map(Arc::make_mut)
    }

    /// The value at `index`.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Arc<T>> {
        let (chunk, place) = split(index);
        self.spine.get(chunk)?[place].as_ref()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the highest index ever used.
    pub fn bound(&self) -> u32 {
        (self.spine.len() * CHUNK) as u32
    }

    /// The values with their indices, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Arc<T>)> {
        self.spine.iter().enumerate().flat_map(|(chunk, values)| {
            values.iter().enumerate().filter_map(move |(place, value)| {
                Some(((chunk * CHUNK + place) as u32, value.as_ref()?))
            })
        })
    }
}

fn split(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

impl<T> Clone for Slab<T> {
    fn clone(&self) -> Self {
        Slab {
            spine: self.spine.clone(),
            len: self.len,
            full_below: self.full_below,
        }
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_reused_lowest_first() {
        let mut slab = Slab::new();
        let ids: Vec<u32> = (0..200).map(|n| slab.insert(n)).collect();
        assert_eq!(ids, (0..200).collect::<Vec<_>>());
        assert!(slab.remove(130) && slab.remove(7) && !slab.remove(7));
        assert_eq!(
            (slab.insert(1000), slab.insert(1001), slab.insert(1002)),
            (7, 130, 200)
        );
        assert_eq!(slab.get(7).map(|v| **v), Some(1000));
        assert_eq!(slab.len(), 201);
    }

    #[test]
    fn a_clone_keeps_its_values_and_shares_untouched_chunks() {
        let mut slab = Slab::new();
        (0..130).for_each(|n| _ = slab.insert(n));
        let old = slab.clone();
        slab.set(0, 999);
        slab.remove(1);
        assert_eq!(
            (old.get(0).map(|v| **v), old.get(1).map(|v| **v)),
            (Some(0), Some(1))
        );
        assert!(!Arc::ptr_eq(&old.spine[0], &slab.spine[0]));
        assert!(Arc::ptr_eq(&old.spine[1], &slab.spine[1]));
    }

    #[test]
    fn an_index_beyond_the_end_is_none() {
        assert!(Slab::<u8>::new().get(u32::MAX).is_none());
    }
}
