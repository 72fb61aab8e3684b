//! Cycles per pair inserted into a table that is half full.
//!
//! The table goes from somewhat below half to as much above; then the new flows
//! leave in random order, which is not counted, and the next ones find free
//! places wherever those have been. So much goes in and out that none of it is
//! still in the caches when its place is used again, from a million flows on.

use flowtable::{FlowId, FlowTable, Insert, Ticks};
use quanta::Clock;

use super::flows::{Draw, Ipv4};
use super::ours::{Pair, capacity, fill, table};

/// Flows that are made before the clock starts.
const RUN: usize = 64;

/// A table that flows come to and go from.
pub struct Insertion {
    table: FlowTable,
    clock: Clock,
    /// The flows that come and go, in the order they will leave.
    guests: Vec<(FlowId, u32)>,
    /// How many of them there may be.
    most: usize,
    next: u32,
    shuffle: Draw,
}

impl Insertion {
    /// A table that has room for 10 / 9 of `flows`, like those that are looked
    /// up in, and is about half full.
    pub fn new(flows: u32) -> Insertion {
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
            shuffle: Draw::present(1 << 30),
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
        for pair in &pairs {
            match pair.insert(self.table.worker(0), Ticks(0)) {
                Insert::Inserted(hit) => self.guests.push((hit.id, hit.version())),
                other => panic!("a new flow, a table half empty: {other:?}"),
            }
        }
        self.clock.raw() - start
    }

    /// Sends all guests away, and starts their numbers again.
    fn empty(&mut self) {
        self.next -= self.guests.len() as u32;
        // Fisher and Yates, from the end.
        while !self.guests.is_empty() {
            let random = u64::from(self.shuffle.pick() >> 1);
            let chosen = (random * self.guests.len() as u64) >> 30;
            let (id, version) = self.guests.swap_remove(chosen as usize);
            let removed = self.table.worker(0).remove(id, version);
            assert!(removed, "nobody else removes flows");
        }
    }
}
