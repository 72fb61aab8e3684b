//! What rules have decided about, counted for all snapshots: a cell for each rule.
//!
//! A cell is taken by the commit that brings a rule, and free again when the last snapshot that has
//! the rule is gone. Its number is the rule's, with a tag that tells apart those that have had it,
//! so that a flow which outlives its rule counts for nobody. Pages of 1,024 cells come as they are
//! needed, in each a block for every worker: workers do not share cache lines.
//!
//! Costs 16 bytes for each rule and worker.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crossbeam_utils::CachePadded;

use super::RuleId;

const PER_PAGE: usize = 1024;

/// Bits of a [`RuleId`] that are the cell's place; the rest is a tag.
const PLACE_BITS: u32 = 24;

/// Cells of a node.
pub(super) const MAX_CELLS: usize = (1 << PLACE_BITS) - 1;

/// Packets and bytes that a rule decided about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, with the Ethernet header.
    pub bytes: u64,
}

/// All cells. Counting takes no lock.
pub struct RuleCells {
    pages: Box<[OnceLock<Box<Page>>]>,
    places: Mutex<Places>,
}

/// A rule's cell, its own as long as this lives.
pub(super) struct Cell {
    pub(super) id: RuleId,
    cells: Arc<RuleCells>,
}

#[derive(Default)]
struct Places {
    /// None was ever taken from here on.
    untouched: u32,
    /// Those that were given back, with their last number. The one that was first is taken first.
    free: VecDeque<RuleId>,
}

struct Page {
    tags: Box<[AtomicU8]>,
    /// Of each worker.
    blocks: Box<[CachePadded<Box<[Counter]>>]>,
}

#[derive(Default)]
struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl RuleId {
    pub(super) fn place(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }

    fn tag(self) -> u8 {
        (self.0 >> PLACE_BITS) as u8
    }

    /// The next rule at the same place.
    fn next(self) -> RuleId {
        RuleId(u32::from(self.tag().wrapping_add(1)) << PLACE_BITS | self.place())
    }
}

impl RuleCells {
    /// Cells of nobody: what is counted in them is nowhere.
    pub(super) fn nowhere() -> RuleCells {
        RuleCells {
            pages: Box::default(),
            places: Mutex::default(),
        }
    }

    /// A cell for a new rule, at zero.
    pub(super) fn take(self: &Arc<Self>, workers: usize) -> Cell {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match places.untouched as usize {
            // So that of few rules those that come and go do not take turns at one place.
            untouched if untouched < PER_PAGE || places.free.is_empty() => {
                // `commit` refuses more rules than that.
                let place = places.untouched.min(MAX_CELLS as u32 - 1);
                places.untouched = place + 1;
                RuleId(place)
            }
            _ => places.free.pop_front().unwrap_or_default().next(),
        };
        drop(places);
        let (page, place) = split(id);
        let page = self.pages[page].get_or_init(|| Box::new(Page::new(workers)));
        for block in &page.blocks {
            block[place].packets.store(0, Ordering::Relaxed);
            block[place].bytes.store(0, Ordering::Relaxed);
        }
        page.tags[place].store(id.tag(), Ordering::Relaxed);
        Cell {
            id,
            cells: self.clone(),
        }
    }

    /// Counts for a rule, in the block of a worker.
    pub fn count(&self, worker: usize, id: RuleId, count: RuleCount) {
        let (page, place) = split(id);
        let Some(page) = self.page(page) else { return };
        if page.tags[place].load(Ordering::Relaxed) != id.tag() {
            return; // whoever is there now did not match this
        }
        if let Some(block) = page.blocks.get(worker) {
            // Mostly the worker's own line; only the removal of flows may come from elsewhere.
            let counter = &block[place];
            counter.packets.fetch_add(count.packets, Ordering::Relaxed);
            counter.bytes.fetch_add(count.bytes, Ordering::Relaxed);
        }
    }

    fn page(&self, page: usize) -> Option<&Page> {
        self.pages.get(page)?.get().map(|page| &**page)
    }
}

impl Cell {
    /// What was counted.
    pub(super) fn read(&self) -> RuleCount {
        let (page, place) = split(self.id);
        let mut sum = RuleCount::default();
        let blocks = self.cells.page(page).map(|page| page.blocks.iter());
        for counter in blocks.into_iter().flatten().map(|block| &block[place]) {
            sum += RuleCount {
                packets: counter.packets.load(Ordering::Relaxed),
                bytes: counter.bytes.load(Ordering::Relaxed),
            };
        }
        sum
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let places = self.cells.places.lock();
        let mut places = places.unwrap_or_else(PoisonError::into_inner);
        places.free.push_back(self.id);
    }
}

impl Page {
    fn new(workers: usize) -> Page {
        let block = || CachePadded::new((0..PER_PAGE).map(|_| Counter::default()).collect());
        Page {
            tags: (0..PER_PAGE).map(|_| AtomicU8::new(0)).collect(),
            blocks: (0..workers).map(|_| block()).collect(),
        }
    }
}

fn split(id: RuleId) -> (usize, usize) {
    let place = id.place() as usize;
    (place / PER_PAGE, place % PER_PAGE)
}

impl Default for RuleCells {
    fn default() -> RuleCells {
        let pages = MAX_CELLS.div_ceil(PER_PAGE);
        RuleCells {
            pages: (0..pages).map(|_| OnceLock::new()).collect(),
            places: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for RuleCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleCells").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cell").field(&self.id).finish()
    }
}

impl AddAssign for RuleCount {
    fn add_assign(&mut self, other: RuleCount) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RuleCount = RuleCount {
        packets: 1,
        bytes: 60,
    };

    #[test]
    fn who_comes_after_another_begins_at_zero_and_hears_nothing_of_its_flows() {
        let cells = Arc::<RuleCells>::default();
        let first = cells.take(2);
        let old = first.id;
        cells.count(0, old, ONE);
        cells.count(1, old, ONE);
        let two = RuleCount {
            packets: 2,
            bytes: 120,
        };
        assert_eq!(first.read(), two);
        drop(first);
        // As many others as makes the place come round again.
        let mut next = cells.take(2);
        while next.id.place() != old.place() {
            next = cells.take(2);
        }
        assert_ne!(next.id, old);
        cells.count(0, old, ONE);
        assert_eq!(next.read(), RuleCount::default());
        cells.count(1, next.id, ONE);
        assert_eq!(next.read(), ONE);
        cells.count(7, next.id, ONE); // a worker that is not there
        cells.count(0, RuleId(u32::MAX), ONE);
        assert_eq!(next.read(), ONE);
    }
}
