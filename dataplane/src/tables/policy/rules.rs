//! Every rule of a snapshot by number, and what each has matched.
//!
//! Counters belong to all snapshots: a page for 64 rules, in it a block for every worker, so that
//! workers do not share a cache line. The number of a rule that is gone is given to another one,
//! whose count then begins with what the page says at that moment.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use super::{Name, PolicyId, RuleId};
use crate::tables::slab::Slab;
use crate::tables::spec::{self, RuleAction};

/// A rule, resolved.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// The policy it is in.
    pub policy: PolicyId,
    /// That policy's name.
    pub policy_name: Name,
    /// What the policy calls it.
    pub number: u32,
    /// What becomes of what it matches.
    pub action: RuleAction,
    /// Says every match in the log.
    pub log: bool,
    /// Where copies go of the packets it lets through, by the mirror's name.
    pub mirror: Option<Name>,
    /// The DSCP that the packets it lets through get.
    pub dscp: Option<u8>,
    /// What the counters said when it got them.
    since: RuleCount,
}

/// Packets and bytes that a rule decided about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCount {
    /// Packets.
    pub packets: u64,
    /// Their bytes, with the Ethernet header.
    pub bytes: u64,
}

/// The rules of a snapshot.
#[derive(Clone)]
pub(in crate::tables) struct Rules {
    all: Slab<Rule>,
    pages: Arc<Vec<Arc<Page>>>,
    workers: usize,
}

/// Counters of 64 rules, a block per worker.
struct Page(Box<[CachePadded<[Counter; PER_PAGE]>]>);

#[derive(Default)]
struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

const PER_PAGE: usize = 64;

/// Bits of a [`RuleId`] that are an index; the rest tells apart those that have had it.
const INDEX_BITS: u32 = 24;

/// Rules of a node.
pub(in crate::tables) const MAX_RULES: usize = (1 << INDEX_BITS) - 2;

impl RuleId {
    fn new(index: u32, generation: u64) -> RuleId {
        RuleId((generation as u32) << INDEX_BITS | index)
    }

    fn index(self) -> u32 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

impl Rules {
    pub(super) fn new(workers: usize) -> Rules {
        Rules {
            all: Slab::new(),
            pages: Arc::default(),
            workers,
        }
    }

    /// How many there are.
    pub(in crate::tables) fn len(&self) -> usize {
        self.all.len()
    }

    /// The rule with this number, unless that is another's by now.
    #[inline]
    pub(super) fn get(&self, id: RuleId) -> Option<&Rule> {
        let rule = self.all.get(id.index())?;
        (rule.id == id).then_some(&**rule)
    }

    /// All rules, by index.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter().map(|(_, rule)| &**rule)
    }

    /// Enters a rule: in the place of `known`, if that is what it was before, or a new one.
    pub(super) fn enter(
        &mut self,
        known: Option<RuleId>,
        policy: (PolicyId, &Name),
        spec: &spec::Rule,
        generation: u64,
    ) -> RuleId {
        let mut rule = Rule {
            id: RuleId::default(),
            policy: policy.0,
            policy_name: policy.1.clone(),
            number: spec.id,
            action: spec.action,
            log: spec.log,
            mirror: spec.mirror.clone(),
            dscp: spec.dscp,
            since: RuleCount::default(),
        };
        if let Some(old) = known.and_then(|id| self.get(id)) {
            (rule.id, rule.since) = (old.id, old.since);
        } else {
            let index = self.all.insert(rule.clone());
            rule.id = RuleId::new(index, generation);
            while self.pages.len() * PER_PAGE <= index as usize {
                let page = Arc::new(Page::new(self.workers));
                Arc::make_mut(&mut self.pages).push(page);
            }
            rule.since = self.counted(rule.id);
        }
        let id = rule.id;
        self.all.set(id.index(), rule);
        id
    }

    /// Takes a rule away.
    pub(super) fn remove(&mut self, id: RuleId) {
        if self.get(id).is_some() {
            self.all.remove(id.index());
        }
    }

    /// Counts for a rule, in the block of a worker.
    pub(super) fn count(&self, worker: usize, id: RuleId, packets: u64, bytes: u64) {
        if self.get(id).is_none() {
            return; // whoever has its place now did not match this
        }
        let (page, place) = split(id);
        if let Some(block) = self.pages.get(page).and_then(|page| page.0.get(worker)) {
            // Mostly the worker's own line, but the removal of flows comes from elsewhere.
            block[place].packets.fetch_add(packets, Ordering::Relaxed);
            block[place].bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// What was counted for a rule since it is there.
    pub(super) fn read(&self, rule: &Rule) -> RuleCount {
        let all = self.counted(rule.id);
        RuleCount {
            packets: all.packets - rule.since.packets,
            bytes: all.bytes - rule.since.bytes,
        }
    }

    /// What was counted for a rule and for those that had its place.
    fn counted(&self, id: RuleId) -> RuleCount {
        let (page, place) = split(id);
        let mut sum = RuleCount::default();
        let blocks = self.pages.get(page).map(|page| page.0.iter());
        for counter in blocks.into_iter().flatten().map(|block| &block[place]) {
            sum += RuleCount {
                packets: counter.packets.load(Ordering::Relaxed),
                bytes: counter.bytes.load(Ordering::Relaxed),
            };
        }
        sum
    }
}

fn split(id: RuleId) -> (usize, usize) {
    let index = id.index() as usize;
    (index / PER_PAGE, index % PER_PAGE)
}

impl Page {
    fn new(workers: usize) -> Page {
        let block = || CachePadded::new(std::array::from_fn(|_| Counter::default()));
        Page((0..workers).map(|_| block()).collect())
    }
}

impl AddAssign for RuleCount {
    fn add_assign(&mut self, other: RuleCount) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}
