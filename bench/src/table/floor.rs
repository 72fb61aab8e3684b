//! What the memory alone costs: two random cache lines for each lookup, asked
//! for together and early.
//!
//! The lines are spread over as much memory as the table takes. The table does
//! somewhat better than random: its buckets are a small part of its memory.
#![allow(unsafe_code, reason = "prefetch takes a pointer")]

use dataplane::memory::Block;
use flowtable::FlowTable;

use super::flows::Direction;
use super::{BATCH, Contender, Found, ours};

/// Memory of the size of a table.
pub struct Floor(Block);

/// Bytes of a cache line.
const LINE: usize = 64;

impl Floor {
    /// As much as our table takes for so many flows, and in the same way.
    pub fn for_table(flows: u32) -> Floor {
        let mut memory = ours::memory(FlowTable::memory_needed(&ours::config(flows)));
        // What was never written to may be one page of zeroes, always cached.
        memory.bytes().fill(0);
        Floor(memory)
    }
}

/// Two lines of so many, by the two halves of a mixed number.
#[inline]
fn places(direction: Direction, lines: usize) -> [usize; 2] {
    let mixed = u64::from(direction + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = mixed ^ mixed >> 32;
    [mixed >> 32, mixed & 0xffff_ffff].map(|half| ((half * lines as u64) >> 32) as usize)
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
        let (lines, _) = self.0.bytes().as_chunks::<LINE>();
        let mut batch = [[0; 2]; BATCH];
        for (pair, key) in batch.iter_mut().zip(keys) {
            *pair = places(*key, lines.len());
            pair.iter().for_each(|place| prefetch(&lines[*place]));
        }
        let mut found = Found::default();
        for (key, [first, second]) in keys.iter().zip(batch) {
            let zero = u32::from(lines[first][0]) + u32::from(lines[second][0]);
            found.add(*key + zero);
        }
        found
    }
}

#[inline]
fn prefetch(line: &[u8; LINE]) {
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
