//! What rules ask of addresses, or of numbers as if they were addresses: prefixes, each with the
//! rules that ask for it. A number is looked up once, and what is found are all prefixes it is in.
//!
//! Prefixes contain each other or have nothing in common. So the numbers fall into stretches, each
//! with an innermost prefix, and every prefix has at most one that contains it next. A lookup is a
//! binary search over the beginnings of stretches, and a walk outwards: as many steps as prefixes
//! are found. Both arrays are made anew, in one pass, when a prefix comes or goes: some 10 ns for
//! each there is.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::bits::Bits;
use super::table::{Edit, Table};

/// A number that has prefixes.
pub(super) trait Number: Copy + Ord {
    /// The lowest.
    const ZERO: Self;
    /// The last number that has the same first `len` bits as this one.
    fn last(self, len: u8) -> Self;
    /// The number after this one, if there is one.
    fn next(self) -> Option<Self>;
}

macro_rules! number {
    ($($int:ty),+) => {$(
        impl Number for $int {
            const ZERO: $int = 0;
            fn last(self, len: u8) -> $int {
                self | <$int>::MAX.checked_shr(len.into()).unwrap_or(0)
            }
            fn next(self) -> Option<$int> {
                self.checked_add(1)
            }
        }
    )+};
}

number!(u16, u32, u128);

/// A prefix: its first number, and its length in bits. A longer one comes after those it is in.
pub(super) type Prefix<N> = (N, u8);

/// The prefixes.
#[derive(Clone, Debug)]
pub(super) struct Prefixes<N> {
    table: Table<Prefix<N>>,
    nest: Arc<Nest<N>>,
}

/// How they contain each other.
#[derive(Clone, Debug)]
struct Nest<N> {
    /// Where each stretch begins; the first at zero.
    starts: Vec<N>,
    /// The innermost prefix of each stretch, or [`NONE`].
    inner: Vec<u32>,
    /// The innermost prefix that contains each prefix, or [`NONE`].
    outer: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl<N: Number> Prefixes<N> {
    /// Makes the edits.
    pub(super) fn apply(&mut self, edits: Vec<Edit<Prefix<N>>>) {
        if self.table.apply(edits) {
            self.nest = Arc::new(Nest::new(self.table.entries()));
        }
    }

    /// The rules that ask for each prefix that the number is in, innermost first.
    #[inline]
    pub(super) fn find(&self, number: N) -> impl Iterator<Item = &Bits> {
        let entries = self.table.entries();
        let nest = &*self.nest;
        let stretch = nest.starts.partition_point(|start| *start <= number) - 1;
        let mut at = nest.inner[stretch];
        std::iter::from_fn(move || {
            let bits = &entries.get(at as usize)?.1;
            at = nest.outer[at as usize];
            Some(&**bits)
        })
    }
}

impl<N: Number> Nest<N> {
    fn new(entries: &[(Prefix<N>, Arc<Bits>)]) -> Nest<N> {
        let mut nest = Nest {
            starts: Vec::with_capacity(2 * entries.len() + 1),
            inner: Vec::with_capacity(2 * entries.len() + 1),
            outer: Vec::with_capacity(entries.len()),
        };
        nest.begin(N::ZERO, NONE);
        // Those that contain the place that the pass has reached, with where they end.
        let mut open: Vec<(u32, N)> = Vec::new();
        for (index, ((start, len), _)) in entries.iter().enumerate() {
            while open.last().is_some_and(|(_, last)| last < start) {
                nest.close(&mut open);
            }
            nest.outer.push(innermost(&open));
            nest.begin(*start, index as u32);
            open.push((index as u32, start.last(*len)));
        }
        while !open.is_empty() {
            nest.close(&mut open);
        }
        nest
    }

    /// The innermost of the open prefixes ends.
    fn close(&mut self, open: &mut Vec<(u32, N)>) {
        if let Some(next) = open.pop().and_then(|(_, last)| last.next()) {
            self.begin(next, innermost(open));
        }
    }

    /// A stretch begins, perhaps where another would have.
    fn begin(&mut self, start: N, inner: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.inner.pop();
        }
        self.starts.push(start);
        self.inner.push(inner);
    }
}

fn innermost<N>(open: &[(u32, N)]) -> u32 {
    open.last().map_or(NONE, |(index, _)| *index)
}

impl<N: Number> Default for Prefixes<N> {
    fn default() -> Prefixes<N> {
        Prefixes {
            table: Table::default(),
            nest: Arc::new(Nest::new(&[])),
        }
    }
}

/// The prefixes that together are a range of 16-bit numbers: 30 at most, and 1 for most ranges
/// that people write.
pub(super) fn of_range(range: &RangeInclusive<u16>) -> impl Iterator<Item = Prefix<u16>> + use<> {
    let (mut start, last) = (u32::from(*range.start()), u32::from(*range.end()));
    std::iter::from_fn(move || {
        let left = (last + 1).checked_sub(start).filter(|left| *left > 0)?;
        // As long as it is aligned, and no longer than what is left.
        let size = start.trailing_zeros().min(left.ilog2()).min(16);
        let prefix = (start as u16, 16 - size as u8);
        start += 1 << size;
        Some(prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_exactly_its_prefixes() {
        let ranges = [
            0..=65535,
            80..=80,
            8000..=8100,
            1..=65534,
            1024..=65535,
            0..=0,
            65535..=65535,
        ];
        for range in ranges {
            let mut covered = vec![0; 65536];
            for (start, len) in of_range(&range) {
                (start..=start.last(len)).for_each(|number| covered[usize::from(number)] += 1);
            }
            for (number, times) in covered.iter().enumerate() {
                let expected = i32::from(range.contains(&(number as u16)));
                assert_eq!(*times, expected, "{number} in {range:?}");
            }
            assert!(of_range(&range).count() <= 30);
        }
    }

    #[test]
    fn every_number_finds_the_prefixes_it_is_in_and_no_other() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random >> 11
        };
        for _ in 0..50 {
            let mut prefixes = Prefixes::<u16>::default();
            let mut model: Vec<Prefix<u16>> = Vec::new();
            for position in 0..40 {
                let len = (next() % 17) as u8;
                // Few distinct bits, so that they nest and repeat; both ends of the numbers.
                let number = [next() as u16 & 0xe007, u16::MAX][usize::from(next() % 5 == 0)];
                let start = number & !0_u16.last(len);
                model.push((start, len));
                let key = (start, len);
                prefixes.apply(vec![Edit {
                    key,
                    position,
                    asks: true,
                }]);
                if next() % 3 == 0 {
                    let position = next() as u32 % (position + 1);
                    let key = model[position as usize];
                    model[position as usize] = (1, 0); // no prefix begins there
                    prefixes.apply(vec![Edit {
                        key,
                        position,
                        asks: false,
                    }]);
                }
            }
            for _ in 0..500 {
                let number = next() as u16 & 0xe00f | (next() as u16 & 0x1ff0 & next() as u16);
                let mut expected: Vec<u32> = Vec::new();
                for (position, (start, len)) in model.iter().enumerate() {
                    let is_there = (*start, *len) != (1, 0);
                    if is_there && (*start..=start.last(*len)).contains(&number) {
                        expected.push(position as u32);
                    }
                }
                let mut found: Vec<u32> = Vec::new();
                for bits in prefixes.find(number) {
                    let all = super::super::bits::ones(bits.word(0, 0));
                    found.extend(all);
                }
                found.sort_unstable();
                assert_eq!(found, expected, "{number:#x}");
            }
        }
    }
}
