//! The table's memory: one piece, carved into arrays of atomics.
//!
//! Whoever makes a table may bring the memory, from huge pages or from a
//! certain NUMA node; by default it is the heap's. All workers share it, and
//! there is no other way to it than the atomics carved from it here.

use crate::account::{Account, Cell};
use crate::bucket::Bucket;
use crate::entry::{Entry, Line};
use crate::freelist::Shard;
use crate::sync::{AtomicU32, AtomicU64};

/// Zeroed bytes for a table, given to it for good.
pub trait Memory: Send {
    /// All of them; the table asks once.
    fn bytes(&mut self) -> &mut [u8];
}

/// How many elements each array has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) pairs: usize,
    pub(crate) buckets: usize,
    pub(crate) blocks: usize,
    pub(crate) shards: usize,
    pub(crate) accounts: usize,
}

/// Everything workers share, by what it is for.
pub(crate) struct Arrays<'a> {
    /// Two per pair, forward first.
    pub(crate) fronts: &'a [Line],
    pub(crate) backs: &'a [Line],
    pub(crate) buckets: &'a [Bucket],
    /// Per pair, when it may have expired; see `ageing`.
    pub(crate) due: &'a [AtomicU32],
    /// Per block of pairs, the earliest of these.
    pub(crate) soonest: &'a [AtomicU32],
    /// Per pair, whom it counts for; see `account`.
    pub(crate) owners: &'a [AtomicU64],
    /// Two per pair, its note; see `note`.
    pub(crate) notes: &'a [AtomicU64],
    pub(crate) shards: &'a [Shard],
    pub(crate) accounts: &'a [Account],
    /// Per shard, one for each account.
    pub(crate) cells: &'a [Cell],
}

impl<'a> Arrays<'a> {
    /// The entry of this number, if there is one.
    #[inline]
    pub(crate) fn entry(&self, index: usize) -> Option<Entry<'a>> {
        Some(Entry {
            front: self.fronts.get(index)?,
            back: self.backs.get(index)?,
        })
    }
}

pub(crate) use arrays::Region;

#[cfg(not(loom))]
mod arrays {
    use super::{Arrays, Memory, Shape};
    use crate::account::{Account, Cell};
    use crate::bucket::Bucket;
    use crate::entry::Line;
    use crate::freelist::Shard;
    use crate::sync::{AtomicU32, AtomicU64};
    use alloc::boxed::Box;
    use self_cell::{MutBorrow, self_cell};
    use zerocopy::{FromBytes, FromZeros, IntoBytes, KnownLayout};

    self_cell!(
        pub(crate) struct Region {
            owner: MutBorrow<Box<dyn Memory>>,
            #[covariant]
            dependent: Arrays,
        }
    );

    impl Region {
        /// # Panics
        /// If `memory` is too short for the shape.
        pub(crate) fn carve(memory: Box<dyn Memory>, shape: &Shape) -> Region {
            Region::new(MutBorrow::new(memory), |memory| {
                let bytes = memory.borrow_mut().bytes();
                let (given, needed) = (bytes.len(), shape.bytes());
                assert!(given >= needed, "a flow table of {needed} bytes in {given}");
                Arrays::carve(bytes, shape)
            })
        }

        pub(crate) fn heap(shape: &Shape) -> Region {
            Region::carve(Box::new(Heap::zeroed(shape.bytes())), shape)
        }

        #[inline]
        pub(crate) fn arrays(&self) -> &Arrays<'_> {
            self.borrow_dependent()
        }
    }

    /// Memory of the allocator: large pieces come from the operating system as
    /// untouched pages, which cost nothing until they are written.
    struct Heap(Box<[u64]>);

    impl Heap {
        /// # Panics
        /// If there is no memory.
        fn zeroed(bytes: usize) -> Heap {
            let words = bytes.div_ceil(size_of::<u64>());
            let memory = <[u64]>::new_box_zeroed_with_elems(words);
            Heap(memory.expect("memory for the flow table"))
        }
    }

    impl Memory for Heap {
        fn bytes(&mut self) -> &mut [u8] {
            self.0.as_mut_bytes()
        }
    }

    impl Shape {
        /// Bytes the arrays need wherever they begin.
        pub(crate) fn bytes(&self) -> usize {
            fn array<T>(len: usize) -> usize {
                len * size_of::<T>() + align::<T>()
            }
            2 * array::<Line>(2 * self.pairs)
                + array::<Bucket>(self.buckets)
                + array::<AtomicU32>(self.pairs)
                + array::<AtomicU32>(self.blocks)
                + array::<AtomicU64>(self.pairs)
                + array::<AtomicU64>(2 * self.pairs)
                + array::<Shard>(self.shards)
                + array::<Account>(self.accounts)
                + array::<Cell>(self.shards * self.accounts)
        }
    }

    impl<'a> Arrays<'a> {
        fn carve(bytes: &'a mut [u8], shape: &Shape) -> Self {
            let rest = &mut { bytes };
            Arrays {
                fronts: take(rest, 2 * shape.pairs),
                backs: take(rest, 2 * shape.pairs),
                buckets: take(rest, shape.buckets),
                due: take(rest, shape.pairs),
                soonest: take(rest, shape.blocks),
                owners: take(rest, shape.pairs),
                notes: take(rest, 2 * shape.pairs),
                shards: take(rest, shape.shards),
                accounts: take(rest, shape.accounts),
                cells: take(rest, shape.shards * shape.accounts),
            }
        }
    }

    /// At least a cache line: what belongs together then shares one, such as the due times of a
    /// block or the two words of a note.
    const fn align<T>() -> usize {
        const LINE: usize = 64;
        if align_of::<T>() > LINE {
            align_of::<T>()
        } else {
            LINE
        }
    }

    /// Splits off an array, aligned as its type and a cache line ask.
    fn take<'a, T>(rest: &mut &'a mut [u8], len: usize) -> &'a [T]
    where
        [T]: FromBytes + IntoBytes + KnownLayout<PointerMetadata = usize>,
    {
        let bytes = core::mem::take(rest);
        let skip = bytes.as_ptr().align_offset(align::<T>());
        let (array, left) = <[T]>::mut_from_prefix_with_elems(&mut bytes[skip..], len)
            .unwrap_or_else(|_| unreachable!("the length was checked, the start aligned"));
        *rest = left;
        array
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::sync::Relaxed;

        struct Odd(Box<[u8]>);

        impl Memory for Odd {
            fn bytes(&mut self) -> &mut [u8] {
                &mut self.0[1..]
            }
        }

        const SHAPE: Shape = Shape {
            pairs: 100,
            buckets: 30,
            blocks: 2,
            shards: 3,
            accounts: 5,
        };

        #[test]
        fn arrays_are_aligned_and_zero_wherever_the_memory_begins() {
            let memory = Odd(std::vec![0; SHAPE.bytes() + 1].into());
            let region = Region::carve(Box::new(memory), &SHAPE);
            let arrays = region.arrays();
            assert_eq!(arrays.fronts.as_ptr() as usize % 64, 0);
            assert_eq!(arrays.buckets.as_ptr() as usize % 64, 0);
            assert_eq!(arrays.shards.as_ptr() as usize % 128, 0);
            assert_eq!((arrays.backs.len(), arrays.cells.len()), (200, 15));
            assert!(arrays.due.iter().all(|due| due.load(Relaxed) == 0));
        }

        #[test]
        #[should_panic(expected = "a flow table of")]
        fn memory_that_is_too_short_is_refused() {
            let memory = Odd(std::vec![0; SHAPE.bytes()].into());
            Region::carve(Box::new(memory), &SHAPE);
        }
    }
}

/// The model checker's atomics are no plain bytes: each array is its own.
#[cfg(loom)]
mod arrays {
    use super::{Arrays, Shape};
    use crate::account::{Account, Cell};
    use crate::bucket::Bucket;
    use crate::entry::Line;
    use crate::freelist::Shard;
    use crate::sync::{AtomicU32, AtomicU64};
    use alloc::boxed::Box;
    use self_cell::self_cell;

    self_cell!(
        pub(crate) struct Region {
            owner: Owned,
            #[covariant]
            dependent: Arrays,
        }
    );

    pub(crate) struct Owned {
        fronts: Box<[Line]>,
        backs: Box<[Line]>,
        buckets: Box<[Bucket]>,
        due: Box<[AtomicU32]>,
        soonest: Box<[AtomicU32]>,
        owners: Box<[AtomicU64]>,
        notes: Box<[AtomicU64]>,
        shards: Box<[Shard]>,
        accounts: Box<[Account]>,
        cells: Box<[Cell]>,
    }

    fn array<T: Default>(len: usize) -> Box<[T]> {
        (0..len).map(|_| T::default()).collect()
    }

    impl Region {
        pub(crate) fn heap(shape: &Shape) -> Region {
            let owned = Owned {
                fronts: array(2 * shape.pairs),
                backs: array(2 * shape.pairs),
                buckets: array(shape.buckets),
                due: array(shape.pairs),
                soonest: array(shape.blocks),
                owners: array(shape.pairs),
                notes: array(2 * shape.pairs),
                shards: array(shape.shards),
                accounts: array(shape.accounts),
                cells: array(shape.shards * shape.accounts),
            };
            Region::new(owned, |owned| Arrays {
                fronts: &owned.fronts,
                backs: &owned.backs,
                buckets: &owned.buckets,
                due: &owned.due,
                soonest: &owned.soonest,
                owners: &owned.owners,
                notes: &owned.notes,
                shards: &owned.shards,
                accounts: &owned.accounts,
                cells: &owned.cells,
            })
        }

        pub(crate) fn arrays(&self) -> &Arrays<'_> {
            self.borrow_dependent()
        }
    }

    impl Shape {
        /// Nothing here comes from one piece of memory.
        pub(crate) fn bytes(&self) -> usize {
            0
        }
    }
}
