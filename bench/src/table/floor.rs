//! What the memory alone costs: two random cache lines for each lookup, asked
//! for together and early.
//!
//! The lines are spread over as much memory as the table takes. The table does
//! somewhat better than random: its buckets are a small part of its memory.
#![allow(unsafe_code, reason = "prefetch takes a pointer")]

use flowtable::FlowTable;

use super::flows::Direction;
use super::{BATCH, Contender, Found, ours};

/// Memory of the size of a table, in cache lines.
pub struct Floor {
    lines: Vec<Line>,
}

/// A cache line of zeroes.
#[derive(Clone)]
#[repr(align(64))]
struct Line([u32; 16]);

impl Floor {
    /// As much as our table takes for so many flows.
    pub fn for_table(flows: u32) -> Floor {
        Floor::new(FlowTable::memory_needed(&ours::config(flows)))
    }

    /// As many lines as fit into `bytes`, every page of them written to: what
    /// was never written to is one page of zeroes, and always cached.
    fn new(bytes: usize) -> Floor {
        Floor {
            lines: vec![Line([0; 16]); bytes / size_of::<Line>()],
        }
    }

    /// Two lines anywhere, by the two halves of a mixed number.
    #[inline]
    fn places(&self, direction: Direction) -> [usize; 2] {
        let mixed = u64::from(direction + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = mixed ^ mixed >> 32;
        let count = self.lines.len() as u64;
        [mixed >> 32, mixed & 0xffff_ffff].map(|half| ((half * count) >> 32) as usize)
    }
}

impl Contender for Floor {
    type Key = Direction;
    const NAME: &'static str = "floor";

    #[inline]
    fn key(direction: Direction) -> Direction {
        direction
    }

    #[inline]
    fn lookup(&mut self, keys: &[Direction]) -> Found {
        let mut places = [[0; 2]; BATCH];
        for (places, key) in places.iter_mut().zip(keys) {
            *places = self.places(*key);
            places
                .iter()
                .for_each(|place| prefetch(&self.lines[*place]));
        }
        let mut found = Found::default();
        for (key, [first, second]) in keys.iter().zip(places) {
            found.add(*key + self.lines[first].0[0] + self.lines[second].0[0]);
        }
        found
    }
}

#[inline]
fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, and the address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast());
    }
    // Elsewhere the loads themselves must overlap.
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(line);
}
