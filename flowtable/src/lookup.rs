//! Finding flows.
//!
//! A batch goes through in passes, each of which asks for the cache lines that
//! the next one reads, so that the misses of its packets overlap. What is
//! unusual about an entry (a flow of which the other direction went live a
//! moment ago, an action being replaced, another key behind the same tag) is
//! left to a slower way that knows everything.

use crate::action::{Action, Rewrite, Verdict, WORDS_IPV4};
use crate::bucket::Index;
use crate::key::{Key, family};
use crate::memory::Arrays;
use crate::simd::{Baseline, Level, Work, prefetch, prefetch_near};
use crate::stamp::{Stamp, State};
use crate::sync::Acquire;
use crate::table::FlowTable;
use crate::time::Class;
use ahash::RandomState;
use core::hash::{BuildHasher, Hasher};
use core::num::NonZeroU64;

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
    /// As it was: version and class. Never 0 for a live entry.
    stamp: NonZeroU64,
    /// The packed action: most packets need two words of it.
    words: [u64; WORDS_IPV4],
}

impl Hit {
    /// `stamp` is that of a live entry.
    #[inline(always)]
    pub(crate) fn new(id: FlowId, stamp: Stamp, words: [u64; WORDS_IPV4]) -> Hit {
        debug_assert!(stamp.state() == State::Live);
        // Tells the compiler that it is not 0: three instructions less.
        const LIVE: NonZeroU64 = NonZeroU64::new(State::Live as u64).expect("2");
        let stamp = LIVE | stamp.0;
        Hit { id, stamp, words }
    }

    /// Which use of the entry this is.
    #[inline]
    pub fn version(&self) -> u32 {
        Stamp(self.stamp.get()).version()
    }

    /// State of the pair.
    #[inline]
    pub fn class(&self) -> Class {
        Stamp(self.stamp.get()).class()
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

    /// Whether addresses or ports change, which is rarely asked twice.
    #[inline]
    pub fn is_translated(&self) -> bool {
        self.words[0] & 0x3c != 0
    }

    /// Whether its packets are only to be sent on: the verdict is [`Verdict::Forward`], nothing is
    /// translated, and there are no flags.
    #[inline]
    pub fn is_simple(&self) -> bool {
        self.words[0] as u8 == 0
    }

    /// What addresses and ports become.
    #[inline]
    pub fn rewrite(&self) -> Rewrite {
        Action::rewrite_of(self.words)
    }

    /// See [`Action::exit`].
    #[inline]
    pub fn exit(&self) -> u16 {
        (self.words[0] >> 16) as u16
    }

    /// See [`Action::flags`].
    #[inline]
    pub fn flags(&self) -> u8 {
        self.words[0] as u8 & 3
    }

    /// [`Action::group_choice`], of an action that is not a drop.
    #[inline]
    pub fn group_choice(&self) -> u8 {
        (self.words[0] >> 8) as u8
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
    /// flow is to be decided again and given to [`crate::Worker::update_pair`],
    /// which keeps what binds it: identity, translation, counters, start.
    #[inline]
    pub fn is_stale(&self, epoch: u32) -> bool {
        self.epoch() != epoch
    }

    /// The same hit with another class.
    #[must_use]
    pub(crate) fn with_class(self, class: Class) -> Hit {
        let stamp = Stamp(self.stamp.get()).with_class(class);
        Hit::new(self.id, stamp, self.words)
    }

    /// The same hit with another action.
    #[inline]
    #[must_use]
    pub(crate) fn with_words(self, words: [u64; WORDS_IPV4]) -> Hit {
        Hit { words, ..self }
    }
}

impl FlowTable {
    /// The keyed hash of a key: the same for the life of the table, and as
    /// good in any of its bits as in any other.
    #[inline]
    pub fn hash(&self, key: &Key) -> u64 {
        hash_in::<{ family::MIXED }>(&self.hasher, key)
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
        match self.wide {
            Some(wide) => self.lookup_all(wide, keys, hashes, out),
            None => self.lookup_all(Baseline, keys, hashes, out),
        }
    }

    fn lookup_all(
        &self,
        level: impl Level,
        keys: &[Key],
        hashes: &mut [u64],
        out: &mut [Option<Hit>],
    ) {
        let (hashes, out) = (&mut hashes[..keys.len()], &mut out[..keys.len()]);
        let rest = if self.arrays().fronts.len() <= SMALL {
            self.lookup_chunks::<32, NEAR>(level, keys, hashes, out)
        } else {
            self.lookup_chunks::<32, FAR>(level, keys, hashes, out)
        };
        if rest == keys.len() {
            return;
        }
        let (keys, hashes, out) = (&keys[rest..], &mut hashes[rest..], &mut out[rest..]);
        let rest = self.lookup_chunks::<8, NEAR>(level, keys, hashes, out);
        let (keys, hashes, out) = (&keys[rest..], &mut hashes[rest..], &mut out[rest..]);
        self.lookup_chunks::<1, NEAR>(level, keys, hashes, out);
    }

    /// Asks for what [`FlowTable::touch`] will write, in time.
    #[inline]
    pub fn prefetch_counters(&self, hit: &Hit) {
        if let Some(back) = self.arrays().backs.get(hit.id.index()) {
            prefetch_near(back);
        }
    }

    pub(crate) fn lookup_hashed(&self, key: &Key, hash: u64) -> Option<Hit> {
        let arrays = self.arrays();
        self.index()
            .find(hash, |index| read(arrays, index as usize, key))
    }

    /// Looks up as many whole chunks of `N` as there are; returns how many keys
    /// that was.
    #[inline]
    fn lookup_chunks<const N: usize, const HOW: bool>(
        &self,
        level: impl Level,
        keys: &[Key],
        hashes: &mut [u64],
        out: &mut [Option<Hit>],
    ) -> usize {
        let keys = keys.as_chunks::<N>().0;
        let hashes = hashes.as_chunks_mut::<N>().0;
        let out = out.as_chunks_mut::<N>().0;
        for ((keys, hashes), out) in keys.iter().zip(hashes).zip(out) {
            let chunk = Chunk::<N, HOW> {
                table: self,
                keys,
                hashes,
                out,
            };
            let any_ipv6 = keys
                .iter()
                .fold(0, |any, key| any | u8::from(key.is_ipv6()));
            if any_ipv6 == 0 {
                level.run(Of::<N, HOW, { family::IPV4 }>(chunk));
            } else {
                chunk.look_up_with_ipv6(level);
            }
        }
        keys.len() * N
    }

    /// For one in sixty: the tag was another key's, or there is something
    /// unusual about the entry. Out of line, and through a reference, so that
    /// the others' results go straight to their place.
    #[cold]
    #[inline(never)]
    fn look_further(&self, key: &Key, hash: u64, out: &mut Option<Hit>) {
        *out = self.lookup_hashed(key, hash);
    }
}

/// Keys that are looked up together.
struct Chunk<'a, const N: usize, const HOW: bool> {
    table: &'a FlowTable,
    keys: &'a [Key; N],
    hashes: &'a mut [u64; N],
    out: &'a mut [Option<Hit>; N],
}

impl<const N: usize, const HOW: bool> Chunk<'_, N, HOW> {
    /// Apart, or the compiler counts families where one `or` a key will do.
    #[inline(never)]
    fn look_up_with_ipv6(self, level: impl Level) {
        if self.keys.iter().all(Key::is_ipv6) {
            level.run(Of::<N, HOW, { family::IPV6 }>(self));
        } else {
            level.run(Of::<N, HOW, { family::MIXED }>(self));
        }
    }
}

/// A chunk of a family.
struct Of<'a, const N: usize, const HOW: bool, const FAMILY: u8>(Chunk<'a, N, HOW>);

impl<const N: usize, const HOW: bool, const FAMILY: u8> Work for Of<'_, N, HOW, FAMILY> {
    /// One pass over the keys, one over the buckets, one over the entries they
    /// name: each asks for the lines that the next one reads.
    #[inline(always)]
    fn run(self, level: impl Level) {
        let Chunk {
            table,
            keys,
            hashes,
            out,
        } = self.0;
        let arrays = table.arrays();
        let (index, fronts) = (Index::of(arrays), arrays.fronts);
        // Or its words are read anew for every key.
        let hasher = table.hasher.clone();
        let mut homes = [index.home(0); N];
        unrolled::<N>(|i| {
            hashes[i] = hash_in::<FAMILY>(&hasher, &keys[i]);
            homes[i] = index.home(hashes[i]);
            bring::<HOW, _>(homes[i]);
        });
        let mut numbers = [ABSENT; N];
        unrolled::<N>(|i| {
            let Some(number) = homes[i].probe(level, hashes[i]) else {
                return;
            };
            numbers[i] = number as usize;
            bring::<HOW, _>(fronts.as_ptr().wrapping_add(number as usize));
        });
        unrolled::<N>(|i| {
            let number = numbers[i];
            let Some(front) = fronts.get(number) else {
                out[i] = None;
                return;
            };
            match front.plain::<FAMILY>(level, &keys[i]) {
                Some((stamp, words)) => {
                    let id = FlowId::from_index(number as u32);
                    out[i] = Some(Hit::new(id, stamp, words));
                }
                None => table.look_further(&keys[i], hashes[i], &mut out[i]),
            }
        });
    }
}

#[inline(always)]
fn hash_in<const FAMILY: u8>(state: &RandomState, key: &Key) -> u64 {
    let mut hasher = state.build_hasher();
    key.hash_into::<FAMILY>(&mut hasher);
    hasher.finish()
}

/// Asks for the lines of a batch: see the two in `simd`.
#[inline(always)]
fn bring<const HOW: bool, T>(line: *const T) {
    match HOW {
        NEAR => prefetch_near(line),
        FAR => prefetch(line),
    }
}

/// Into which cache a batch's lines are brought.
const NEAR: bool = true;
const FAR: bool = false;

/// Tables of so many entries are small: their lines come soon enough to be
/// brought near. Theirs take 4 MiB; at 14 MiB it no longer pays.
const SMALL: usize = 1 << 16;

/// Calls `each` for 0 to `N`, four calls to a turn of the loop.
#[inline(always)]
fn unrolled<const N: usize>(mut each: impl FnMut(usize)) {
    if N.is_multiple_of(4) {
        for first in (0..N).step_by(4) {
            each(first);
            each(first + 1);
            each(first + 2);
            each(first + 3);
        }
    } else {
        (0..N).for_each(each);
    }
}

/// Copies an entry out if it is live and holds this key.
///
/// Starts again only when another worker changed the entry meanwhile.
fn read(arrays: &Arrays<'_>, index: usize, key: &Key) -> Option<Hit> {
    let entry = arrays.entry(index)?;
    let id = FlowId::from_index(index as u32);
    if let Some((stamp, words)) = entry.front.plain::<{ family::MIXED }>(Baseline, key) {
        return Some(Hit::new(id, stamp, words));
    }
    loop {
        let stamp = entry.stamp(Acquire);
        if !is_found(arrays, index, stamp) || !entry.holds(stamp, key) {
            return None;
        }
        let words = entry.action(stamp);
        if entry.unchanged_since(stamp) {
            return Some(Hit::new(id, stamp.with_state(State::Live), words));
        }
    }
}

/// Whether lookups may find the entry with this stamp.
///
/// The reverse entry's stamp becomes live a moment after the pair does; in that
/// moment the forward entry's is asked.
fn is_found(arrays: &Arrays<'_>, index: usize, stamp: Stamp) -> bool {
    match stamp.state() {
        State::Live => true,
        State::Pending if index % 2 == 1 => {
            let pair = arrays.entry(index ^ 1).map(|entry| entry.stamp(Acquire));
            pair.is_some_and(|pair| pair.is_live(stamp.version()))
        }
        _ => false,
    }
}

/// In place of the number of an entry that is not there.
const ABSENT: usize = usize::MAX;
