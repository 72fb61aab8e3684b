//! The table: how it is made, hashed and looked up in.
//!
//! What changes it is in `insert` and `lifecycle`, time in `ageing`, listing in
//! `view`.

use crate::action::Action;
use crate::ageing::DueTimes;
use crate::bucket::{Buckets, Probe};
use crate::entry::{self, Entry};
use crate::freelist::FreeList;
use crate::key::Key;
use crate::memory::Lines;
use crate::stamp::{Stamp, State};
use crate::sync::{Acquire, AtomicUsize, Relaxed};
use crate::time::{Class, Timeouts};
use ahash::RandomState;
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
    /// What to do with the packet.
    pub action: Action,
    /// Lifetime class of the pair.
    pub class: Class,
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
}

/// A fixed-size table of flow pairs, shared by all workers.
///
/// Costs about 153 bytes of address space per direction, all of it reserved at
/// the start, touched as flows come.
pub struct FlowTable {
    pub(crate) buckets: Buckets,
    pub(crate) entries: Lines<{ entry::WORDS }>,
    pub(crate) free: FreeList,
    pub(crate) due: DueTimes,
    pub(crate) timeouts: Timeouts,
    pub(crate) usage: Usage,
    hasher: RandomState,
}

/// Counts that every insertion moves, on a line of their own.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Usage {
    pub(crate) live: AtomicUsize,
    pub(crate) high_water: AtomicUsize,
    pub(crate) refused: AtomicUsize,
}

impl FlowTable {
    /// Most flows a table can hold.
    pub const MAX_PAIRS: usize = 1 << 30;

    /// An empty table.
    ///
    /// # Panics
    /// If `pairs` is out of range, or there is no memory for it.
    pub fn new(config: &Config) -> FlowTable {
        let pairs = config.pairs;
        assert!(
            (1..=Self::MAX_PAIRS).contains(&pairs),
            "a flow table holds 1 to 2^30 flows, not {pairs}"
        );
        let [a, b, c, d] = config.seed;
        FlowTable {
            buckets: Buckets::new(2 * pairs),
            entries: Lines::zeroed(2 * pairs),
            free: FreeList::new(pairs),
            due: DueTimes::new(pairs),
            timeouts: config.timeouts,
            usage: Usage::default(),
            hasher: RandomState::with_seeds(a, b, c, d),
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
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
        }
        let chunks = keys.chunks(CHUNK).zip(hashes.chunks(CHUNK));
        for ((keys, hashes), out) in chunks.zip(out.chunks_mut(CHUNK)) {
            self.lookup_chunk(keys, hashes, out);
        }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.usage.live.load(Relaxed)
    }

    /// Whether there is no flow in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flows the table can hold.
    pub fn capacity(&self) -> usize {
        self.free.capacity()
    }

    /// The most flows there have been at once.
    pub fn high_water(&self) -> usize {
        self.usage.high_water.load(Relaxed)
    }

    /// Insertions refused because the table was full.
    pub fn refused(&self) -> usize {
        self.usage.refused.load(Relaxed)
    }

    /// Bytes of address space the table reserved.
    pub fn memory_bytes(&self) -> usize {
        self.buckets.bytes() + self.entries.bytes() + self.free.bytes() + self.due.bytes()
    }

    pub(crate) fn lookup_hashed(&self, key: &Key, hash: u64) -> Option<Hit> {
        self.buckets.find(hash, |index| {
            self.read(FlowId::from_index(index), key, hash)
        })
    }

    /// One pass over the buckets, one over the entries they name.
    fn lookup_chunk(&self, keys: &[Key], hashes: &[u64], out: &mut [Option<Hit>]) {
        let mut probes = [Probe::Absent; CHUNK];
        for (probe, hash) in probes.iter_mut().zip(hashes) {
            *probe = self.buckets.probe(*hash);
        }
        for (i, probe) in probes.iter().enumerate().take(keys.len()) {
            let (key, hash) = (&keys[i], hashes[i]);
            out[i] = match *probe {
                Probe::Absent => None,
                Probe::Elsewhere => self.lookup_hashed(key, hash),
                Probe::Candidate(index) => self
                    .read(FlowId::from_index(index), key, hash)
                    .or_else(|| self.lookup_hashed(key, hash)),
            };
        }
    }

    /// Copies an entry out if it is live and holds this key.
    ///
    /// Starts again only when another worker changed the entry meanwhile.
    #[inline]
    pub(crate) fn read(&self, id: FlowId, key: &Key, hash: u64) -> Option<Hit> {
        let entry = self.entry(id);
        loop {
            let stamp = entry.stamp(Acquire);
            if !self.is_found(id, stamp) || !entry.holds(stamp, key, hash) {
                return None;
            }
            let hit = Hit {
                id,
                version: stamp.version(),
                action: entry.action(stamp),
                class: entry.class(),
            };
            if entry.unchanged_since(stamp) {
                return Some(hit);
            }
        }
    }

    /// Whether lookups may find the entry with this stamp.
    ///
    /// The reverse entry's stamp becomes live a moment after the pair does;
    /// in that moment the forward entry's is asked.
    #[inline]
    fn is_found(&self, id: FlowId, stamp: Stamp) -> bool {
        match stamp.state() {
            State::Live => true,
            State::Pending if !id.is_forward() => {
                let pair = self.entry(id.partner()).stamp(Acquire);
                pair.is_live(stamp.version())
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn entry(&self, id: FlowId) -> Entry<'_> {
        Entry(self.entries.line(id.index()))
    }

    /// Both entries of a pair, forward first.
    pub(crate) fn entries_of(&self, pair: usize) -> [Entry<'_>; 2] {
        [true, false].map(|forward| self.entry(FlowId::new(pair, forward)))
    }
}

/// Packets per phase: as many cache misses as a core can usefully overlap.
const CHUNK: usize = 64;

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
