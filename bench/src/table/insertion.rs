//! Cycles per pair inserted into a table that is half full.
//!
//! The table goes from somewhat below half to as much above; then the new flows
//! leave, which is not counted, and the next ones use their places. So much goes
//! in and out that from a million flows on nothing of a place is still in the
//! caches when it is used again. What differs is the order of the [`Places`].

use flowtable::{FlowId, FlowTable, Insert, Ticks};
use quanta::Clock;

use super::flows::{Draw, Ipv4};
use super::ours::{Pair, capacity, fill, table};

/// Flows that are made before the clock starts.
const RUN: usize = 64;

/// Flows that are asked for together, if they are: as many as a burst of first
/// packets may bring, within what the first-level cache can wait for.
const TOGETHER: usize = 8;

/// How flows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// Each by itself.
    Singly,
    /// Some at a time, whose places in the index are asked for first.
    Together,
}

impl Coming {
    /// Both.
    pub const ALL: [Coming; 2] = [Coming::Singly, Coming::Together];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Coming::Singly => "singly",
            Coming::Together => "together",
        }
    }
}

/// The order in which free places are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// As they are in memory: a table that fills for the first time. The
    /// processor sees the next place coming.
    InOrder,
    /// At random: a table in use, where every flow lasts as long as it likes.
    AtRandom,
}

impl Places {
    /// Both, the easier ones first.
    pub const ALL: [Places; 2] = [Places::InOrder, Places::AtRandom];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Places::InOrder => "in order",
            Places::AtRandom => "at random",
        }
    }
}

/// A table that flows come to and go from.
pub struct Insertion {
    table: FlowTable,
    clock: Clock,
    /// The flows that come and go, in the order they came.
    guests: Vec<(FlowId, u32)>,
    /// How many of them there may be.
    most: usize,
    next: u32,
    places: Places,
    coming: Coming,
    random: Draw,
}

impl Insertion {
    /// A table that has room for 10 / 9 of `flows`, like those that are looked
    /// up in, and is about half full.
    pub fn new(flows: u32, places: Places, coming: Coming) -> Insertion {
        let table = table(flows);
        let capacity = capacity(flows);
        let most = (capacity / 4).min(1 << 20);
        let residents = (capacity - most) as u32 / 2;
        fill::<Ipv4>(&table, residents);
        Insertion {
            table,
            clock: Clock::new(),
            guests: Vec::with_capacity(most),
            most,
            next: residents,
            places,
            coming,
            random: Draw::present(1 << 30),
        }
    }

    /// Cycles of the time-stamp counter per pair, over at least so many.
    pub fn cycles(&mut self, pairs: u64) -> f64 {
        let runs = pairs.div_ceil(RUN as u64);
        let cycles: u64 = (0..runs).map(|_| self.run()).sum();
        cycles as f64 / (runs * RUN as u64) as f64
    }

    fn run(&mut self) -> u64 {
        if self.guests.len() + RUN > self.most {
            self.empty();
        }
        let pairs: [Pair; RUN] = std::array::from_fn(|i| Pair::new::<Ipv4>(self.next + i as u32));
        self.next += RUN as u32;
        let start = self.clock.raw();
        for some in pairs.chunks(TOGETHER) {
            if self.coming == Coming::Together {
                some.iter().for_each(|pair| pair.prefetch(&self.table));
            }
            for pair in some {
                match pair.insert(self.table.worker(0), Ticks(0)) {
                    Insert::Inserted(hit) => self.guests.push((hit.id, hit.version())),
                    other => panic!("a new flow, a table half empty: {other:?}"),
                }
            }
        }
        self.clock.raw() - start
    }

    /// Sends all guests away, and starts their numbers again.
    fn empty(&mut self) {
        self.next -= self.guests.len() as u32;
        while let Some((id, version)) = self.next_to_leave() {
            let removed = self.table.worker(0).remove(id, version);
            assert!(removed, "nobody else removes flows");
        }
    }

    /// The place that was left last is the first to be used again.
    fn next_to_leave(&mut self) -> Option<(FlowId, u32)> {
        if self.places == Places::AtRandom && !self.guests.is_empty() {
            let random = u64::from(self.random.pick() >> 1);
            let chosen = (random * self.guests.len() as u64) >> 30;
            let last = self.guests.len() - 1;
            self.guests.swap(chosen as usize, last);
        }
        self.guests.pop()
    }
}
