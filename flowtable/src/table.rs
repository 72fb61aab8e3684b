//! The table: how it is made, hashed and looked up in.
//!
//! What changes it is in `insert` and `lifecycle`, time in `ageing`, room in
//! `account` and `evict`, listing in `view`.

use crate::account::{AccountId, Accounts, Bounds, Owner, Usage};
use crate::action::{Action, Verdict, WORDS_IPV4};
use crate::ageing;
use crate::bucket::{Index, Probe, buckets_for};
use crate::entry::Entry;
use crate::evict::Shares;
use crate::freelist::FreeList;
use crate::key::Key;
#[cfg(not(loom))]
use crate::memory::Memory;
use crate::memory::{Arrays, Region, Shape};
use crate::stamp::{Stamp, State};
use crate::sync::{Acquire, AtomicU32};
use crate::time::{Class, Timeouts};
use ahash::RandomState;
#[cfg(not(loom))]
use alloc::boxed::Box;
use core::fmt;
use core::hash::{BuildHasher, Hasher};

/// One direction of a flow in the table: the index of its entry.
///
/// Says nothing about which flow that is today; together with a version it
/// does.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FlowId(u32);

impl FlowId {
    #[inline]
    pub(crate) fn new(pair: usize, forward: bool) -> FlowId {
        FlowId((pair as u32) << 1 | u32::from(!forward))
    }

    #[inline]
    pub(crate) fn from_index(index: u32) -> FlowId {
        FlowId(index)
    }

    /// The other direction of the same flow.
    #[inline]
    #[must_use]
    pub fn partner(self) -> FlowId {
        FlowId(self.0 ^ 1)
    }

    /// Whether this is the direction the flow was inserted as.
    #[inline]
    pub fn is_forward(self) -> bool {
        self.0 & 1 == 0
    }

    /// Index of the entry, below twice the table's capacity.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    #[inline]
    pub(crate) fn pair(self) -> usize {
        self.0 as usize >> 1
    }
}

/// A flow found, as it was at that moment.
///
/// Meant for the batch at hand: the flow may be gone a moment later, which
/// whatever takes a hit notices by the version.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hit {
    /// The direction that was looked up.
    pub id: FlowId,
    /// Which use of the entry this is.
    pub version: u32,
    /// State of the pair.
    pub class: Class,
    /// The packed action: most packets need two words of it.
    words: [u64; WORDS_IPV4],
}

impl Hit {
    pub(crate) fn new(id: FlowId, version: u32, class: Class, words: [u64; WORDS_IPV4]) -> Hit {
        Hit {
            id,
            version,
            class,
            words,
        }
    }

    /// What to do with the packet, all of it.
    #[inline]
    pub fn action(&self) -> Action {
        Action::unpack(self.words)
    }

    /// Forward, bridge or drop.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        Action::verdict_of(self.words[0])
    }

    /// [`Action::nexthop`].
    #[inline]
    pub fn nexthop(&self) -> u32 {
        (self.words[0] >> 32) as u32
    }

    /// [`Action::epoch`].
    #[inline]
    pub fn epoch(&self) -> u32 {
        (self.words[1] >> 32) as u32
    }

    /// [`Action::ingress`].
    #[inline]
    pub fn ingress(&self) -> u32 {
        self.words[1] as u32
    }

    /// Whether another configuration than the one of `epoch` decided. Such a
    /// flow is to be decided again and given to [`FlowTable::update_pair`],
    /// which keeps what binds it: identity, translation, counters, start.
    #[inline]
    pub fn is_stale(&self, epoch: u32) -> bool {
        self.epoch() != epoch
    }

    /// The same hit with another action.
    #[inline]
    #[must_use]
    pub(crate) fn with_words(self, words: [u64; WORDS_IPV4]) -> Hit {
        Hit { words, ..self }
    }
}

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
    /// ([`Class::is_half_open`]); at most 100.
    pub half_open_percent: u8,
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
        }
    }
}

impl Config {
    fn shape(&self) -> Shape {
        Shape {
            pairs: self.pairs,
            buckets: buckets_for(2 * self.pairs),
            blocks: ageing::blocks_for(self.pairs),
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
/// Costs about 149 bytes per direction, 32 bytes per owner and worker, and
/// writes to words that all workers read only some dozens of flows at a time.
pub struct FlowTable {
    region: Region,
    hasher: RandomState,
    shape: Shape,
    pub(crate) bounds: Bounds,
    pub(crate) timeouts: Timeouts,
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

    /// Bytes that a table of this configuration takes, all in one piece.
    pub fn memory_needed(config: &Config) -> usize {
        config.shape().bytes()
    }

    fn of(config: &Config, region: Region) -> FlowTable {
        let [a, b, c, d] = config.seed;
        let table = FlowTable {
            region,
            hasher: RandomState::with_seeds(a, b, c, d),
            shape: config.shape(),
            bounds: config.bounds(),
            timeouts: config.timeouts,
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

    /// The keyed hash of a key: the same for the life of the table, and as
    /// good in any of its bits as in any other.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        key.hash_into(&mut hasher);
        hasher.finish()
    }

    /// Finds the flow direction with this key.
    #[inline]
    pub fn lookup(&self, key: &Key) -> Option<Hit> {
        self.lookup_hashed(key, self.hash(key))
    }

    /// Looks up a batch in phases, so that the cache misses of its packets
    /// overlap. `hashes` and `out` are written for as many packets as there
    /// are keys.
    ///
    /// # Panics
    /// If `hashes` or `out` is shorter than `keys`.
    pub fn lookup_batch(&self, keys: &[Key], hashes: &mut [u64], out: &mut [Option<Hit>]) {
        let hashes = &mut hashes[..keys.len()];
        let out = &mut out[..keys.len()];
        let arrays = self.arrays();
        let chunks = keys.chunks(CHUNK).zip(hashes.chunks_mut(CHUNK));
        for ((keys, hashes), out) in chunks.zip(out.chunks_mut(CHUNK)) {
            self.lookup_chunk(arrays, keys, hashes, out);
        }
    }

    /// Brings near what [`FlowTable::touch`] will write for this hit.
    #[inline]
    pub fn prefetch_counters(&self, hit: &Hit) {
        self.entry(hit.id).prefetch_counters();
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

    pub(crate) fn lookup_hashed(&self, key: &Key, hash: u64) -> Option<Hit> {
        let arrays = self.arrays();
        self.index()
            .find(hash, |index| read(arrays, index as usize, key))
    }

    /// One pass over the buckets, one over the entries they name.
    #[inline]
    fn lookup_chunk(
        &self,
        arrays: &Arrays<'_>,
        keys: &[Key],
        hashes: &mut [u64],
        out: &mut [Option<Hit>],
    ) {
        let index = Index::of(arrays);
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
            index.prefetch(*hash);
        }
        let mut probes = [Probe::ABSENT; CHUNK];
        for (probe, hash) in probes.iter_mut().zip(&*hashes) {
            *probe = index.probe(*hash);
            if let Some(entry) = arrays.entries.get(probe.entry()) {
                entry.prefetch_key();
            }
        }
        let packets = keys.iter().zip(&*hashes).zip(&probes);
        for (((key, hash), probe), out) in packets.zip(out) {
            *out = match *probe {
                Probe::ABSENT => None,
                Probe::ELSEWHERE => self.lookup_hashed(key, *hash),
                // A tag that agrees is nearly always the key's.
                _ => read(arrays, probe.entry(), key).or_else(|| self.lookup_hashed(key, *hash)),
            };
        }
    }

    #[inline]
    pub(crate) fn entry(&self, id: FlowId) -> &Entry {
        &self.arrays().entries[id.index()]
    }

    /// Both entries of a pair, forward first.
    pub(crate) fn entries_of(&self, pair: usize) -> [&Entry; 2] {
        [true, false].map(|forward| self.entry(FlowId::new(pair, forward)))
    }
}

/// A worker's way to change a table. Copied freely.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'t> {
    pub(crate) table: &'t FlowTable,
    pub(crate) shard: usize,
}

/// Copies an entry out if it is live and holds this key.
///
/// Starts again only when another worker changed the entry meanwhile.
#[inline]
fn read(arrays: &Arrays<'_>, index: usize, key: &Key) -> Option<Hit> {
    let entry = arrays.entries.get(index)?;
    loop {
        let stamp = entry.stamp(Acquire);
        if !stamp.is_plain(key.is_ipv6()) && !is_found(arrays, index, stamp) {
            return None;
        }
        if !entry.holds(stamp, key) {
            return None;
        }
        let id = FlowId::from_index(index as u32);
        let words = entry.action(stamp);
        let hit = Hit::new(id, stamp.version(), stamp.class(), words);
        if entry.unchanged_since(stamp) {
            return Some(hit);
        }
    }
}

/// Whether lookups may find the entry with this stamp.
///
/// The reverse entry's stamp becomes live a moment after the pair does; in that
/// moment the forward entry's is asked.
#[cold]
fn is_found(arrays: &Arrays<'_>, index: usize, stamp: Stamp) -> bool {
    match stamp.state() {
        State::Live => true,
        State::Pending if index % 2 == 1 => {
            let pair = arrays.entries[index ^ 1].stamp(Acquire);
            pair.is_live(stamp.version())
        }
        _ => false,
    }
}

/// Packets per phase: as many cache misses as a core can usefully overlap.
const CHUNK: usize = 32;

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
