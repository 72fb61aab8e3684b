//! The flow table beside other tables: what a lookup costs each of them, with
//! the same flows asked for in the same order.
//!
//! ```text
//! flows ──► keys ──► Contender: ours, peers (papaya, dashmap, scc), rte_hash, floor
//!            meter: cycles per lookup ──► benches/flowtable.rs, compare
//! ```

pub mod age;
pub mod compare;
pub mod floor;
pub mod flows;
pub mod insertion;
pub mod instructions;
pub mod meter;
pub mod ours;
pub mod peers;
#[cfg(feature = "dpdk")]
pub mod rte_hash;
pub mod scale;
mod turns;

use flows::Direction;

/// Keys in a batch, as packets in a burst.
pub const BATCH: usize = 32;

/// A table under measurement.
pub trait Contender {
    /// A key as this table takes it.
    type Key: Copy;
    /// For people.
    const NAME: &'static str;

    /// The key of a direction.
    fn key(direction: Direction) -> Self::Key;

    /// Looks up at most [`BATCH`] keys as a good user of this table would, and
    /// reads the value of each that is there.
    fn lookup(&mut self, keys: &[Self::Key]) -> Found;
}

/// What lookups found, which says whether it was the right thing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// How many keys are in the table.
    pub hits: u32,
    /// The sum of their values: each is the number of its direction.
    pub sum: u32,
}

impl Found {
    /// Counts one more that was found.
    #[inline]
    pub fn add(&mut self, value: u32) {
        self.hits += 1;
        self.sum = self.sum.wrapping_add(value);
    }

    /// Counts what another batch has found.
    #[inline]
    pub fn merge(&mut self, other: Found) {
        self.hits += other.hits;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}
