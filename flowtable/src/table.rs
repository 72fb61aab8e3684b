//! The table: how it is made, what it is made of, and how it stands.
//!
//! Finding flows is in `lookup`, changing them in `insert` and `lifecycle`, time
//! in `ageing`, room in `account` and `evict`, listing in `view`.

use crate::account::{AccountId, Accounts, Bounds, Owner, Usage};
use crate::bucket::{Index, buckets_for};
use crate::due::blocks_for;
use crate::ending::Endings;
use crate::entry::Entry;
use crate::evict::Shares;
use crate::freelist::FreeList;
use crate::lookup::FlowId;
#[cfg(not(loom))]
use crate::memory::Memory;
use crate::memory::{Arrays, Region, Shape};
use crate::simd::Wide;
use crate::sync::AtomicU32;
use crate::time::Timeouts;
use ahash::RandomState;
use alloc::boxed::Box;
use core::fmt;

/// How to make a table.
#[derive(Clone, Debug)]
pub struct Config {
    /// Capacity in flows, each one forward and one reverse direction; from 1
    /// to [`FlowTable::MAX_PAIRS`].
    pub pairs: usize,
    /// Key of the hash. Random for each process, or tenants can choose
    /// addresses and ports that collide.
    pub seed: [u64; 4],
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Workers that insert and remove at the same time; 1 at least. More than
    /// these work too, but in each other's way.
    pub workers: usize,
    /// Vifs that can have a quota, numbered from 0; 1 at least.
    pub vifs: usize,
    /// Vrfs that can have a quota, numbered from 0; 1 at least.
    pub vrfs: usize,
    /// How much of the table, and of each quota, may be half-open flows
    /// ([`crate::Class::is_half_open`]); at most 100.
    pub half_open_percent: u8,
    /// Whether lookups keep to the instructions that every processor of the
    /// architecture has, even if this one has more; to compare the two.
    pub baseline: bool,
}

/// A million flows, one worker, a thousand owners of each kind, a quarter half
/// open, and a seed of zeroes, which is for tests only.
impl Default for Config {
    fn default() -> Self {
        Config {
            pairs: 1 << 20,
            seed: [0; 4],
            timeouts: Timeouts::default(),
            workers: 1,
            vifs: 1024,
            vrfs: 1024,
            half_open_percent: 25,
            baseline: false,
        }
    }
}

impl Config {
    fn shape(&self) -> Shape {
        Shape {
            pairs: self.pairs,
            buckets: buckets_for(2 * self.pairs),
            blocks: blocks_for(self.pairs),
            shards: self.workers,
            accounts: self.bounds().accounts(),
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            vifs: self.vifs,
            vrfs: self.vrfs,
            capacity: self.pairs as u32,
            half_open_percent: self.half_open_percent.min(100),
        }
    }

    fn check(&self) {
        let pairs = self.pairs;
        assert!(
            (1..=FlowTable::MAX_PAIRS).contains(&pairs),
            "a flow table holds 1 to 2^30 flows, not {pairs}"
        );
        assert!(
            self.workers > 0 && self.vifs > 0 && self.vrfs > 0,
            "a flow table is for one worker, one vif and one vrf at least"
        );
    }
}

/// A fixed-size table of flow pairs, shared by all workers.
///
/// Costs about 152 bytes per direction, 32 bytes per owner and worker, and
/// writes to words that all workers read only some dozens of flows at a time.
pub struct FlowTable {
    region: Region,
    pub(crate) hasher: RandomState,
    /// If lookups may use what this processor has beyond the baseline.
    pub(crate) wide: Option<Wide>,
    shape: Shape,
    pub(crate) bounds: Bounds,
    pub(crate) timeouts: Timeouts,
    pub(crate) endings: Option<Box<dyn Endings>>,
    pub(crate) apart: Apart,
}

/// What changes, on lines of its own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Apart {
    /// Pairs that were ever in use are below this.
    used: AtomicU32,
    pub(crate) shares: Shares,
}

impl FlowTable {
    /// Most flows a table can hold.
    pub const MAX_PAIRS: usize = 1 << 30;

    /// An empty table in memory of the allocator.
    ///
    /// # Panics
    /// If a number in `config` is out of range, or there is no memory.
    pub fn new(config: &Config) -> FlowTable {
        config.check();
        FlowTable::of(config, Region::heap(&config.shape()))
    }

    /// An empty table in memory of the caller's.
    ///
    /// # Panics
    /// If a number in `config` is out of range, or the memory is shorter than
    /// [`FlowTable::memory_needed`].
    #[cfg(not(loom))]
    pub fn with_memory(config: &Config, memory: Box<dyn Memory>) -> FlowTable {
        config.check();
        FlowTable::of(config, Region::carve(memory, &config.shape()))
    }

    /// An empty table for `pairs` flows that hashes keys as this one does and has as many owners, none
    /// with a quota; for trying things out.
    ///
    /// # Panics
    /// As [`FlowTable::new`].
    #[cfg(not(loom))]
    pub fn twin(&self, pairs: usize) -> FlowTable {
        let config = Config {
            pairs,
            seed: [0; 4],
            timeouts: self.timeouts,
            workers: 1,
            vifs: self.bounds.vifs,
            vrfs: self.bounds.vrfs,
            half_open_percent: 100,
            baseline: self.wide.is_none(),
        };
        FlowTable {
            hasher: self.hasher.clone(),
            ..FlowTable::new(&config)
        }
    }

    /// Bytes that a table of this configuration takes, all in one piece.
    pub fn memory_needed(config: &Config) -> usize {
        config.shape().bytes()
    }

    fn of(config: &Config, region: Region) -> FlowTable {
        let [a, b, c, d] = config.seed;
        let table = FlowTable {
            region,
            hasher: RandomState::with_seeds(a, b, c, d),
            wide: Wide::detect().filter(|_| !config.baseline),
            shape: config.shape(),
            bounds: config.bounds(),
            timeouts: config.timeouts,
            endings: None,
            apart: Apart::default(),
        };
        let capacity = table.bounds.capacity;
        table.accounts().set_limit(AccountId::TABLE, Some(capacity));
        table
    }

    /// A worker's way to change the table. Any number is right; each worker
    /// using its own keeps them out of each other's way.
    #[inline]
    pub fn worker(&self, number: usize) -> Worker<'_> {
        Worker {
            table: self,
            shard: number % self.shape.shards,
        }
    }

    /// Flows in the table; as exact as [`Usage::used`].
    pub fn len(&self) -> usize {
        self.table_usage().used as usize
    }

    /// Whether there is no flow in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows the table can hold.
    pub fn capacity(&self) -> usize {
        self.shape.pairs
    }

    /// Bytes of memory the table has.
    pub fn memory_bytes(&self) -> usize {
        self.shape.bytes()
    }

    /// How the table stands. Reads what workers write, and stops none.
    pub fn table_usage(&self) -> Usage {
        self.accounts().usage(AccountId::TABLE)
    }

    /// How an owner stands. Reads what workers write, and stops none.
    ///
    /// Owners with higher numbers than the table has accounts for share the
    /// last one.
    pub fn usage(&self, owner: Owner) -> Usage {
        let accounts = self.accounts();
        accounts.usage(accounts.id(owner))
    }

    /// Sets the most flows an owner may have; `None` for no bound but the
    /// table's. Flows beyond a new quota stay until they end by themselves.
    pub fn set_quota(&self, owner: Owner, quota: Option<u32>) {
        let accounts = self.accounts();
        accounts.set_limit(accounts.id(owner), quota);
        self.apart.shares.forget();
    }

    /// Begins the marks and counts of an owner anew, for another one that takes
    /// over its number: high-water, refused and evicted.
    pub fn forget(&self, owner: Owner) {
        let accounts = self.accounts();
        accounts.forget(accounts.id(owner));
    }

    #[inline]
    pub(crate) fn arrays(&self) -> &Arrays<'_> {
        self.region.arrays()
    }

    #[inline]
    pub(crate) fn index(&self) -> Index<'_> {
        Index::of(self.arrays())
    }

    #[inline]
    pub(crate) fn accounts(&self) -> Accounts<'_> {
        Accounts::of(self.arrays(), self.bounds)
    }

    #[inline]
    pub(crate) fn free(&self) -> FreeList<'_> {
        FreeList::of(self.arrays(), &self.apart.used)
    }

    #[inline]
    pub(crate) fn entry(&self, id: FlowId) -> Entry<'_> {
        let arrays = self.arrays();
        Entry {
            front: &arrays.fronts[id.index()],
            back: &arrays.backs[id.index()],
        }
    }

    /// Both entries of a pair, forward first.
    pub(crate) fn entries_of(&self, pair: usize) -> [Entry<'_>; 2] {
        [true, false].map(|forward| self.entry(FlowId::new(pair, forward)))
    }
}

/// A worker's way to change a table. Copied freely.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'t> {
    pub(crate) table: &'t FlowTable,
    pub(crate) shard: usize,
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
