//! Cycles per lookup.

use quanta::Clock;

use super::flows::Draw;
use super::{BATCH, Contender, Found};

/// Keys that are made before the clock starts: few enough to stay in the first
/// two caches, as keys that a parser has just made do, and enough that reading
/// the clock costs each next to nothing.
const RUN: usize = 16 * BATCH;

/// Asks a table for flows in random order and takes the time.
pub struct Meter<C: Contender> {
    table: C,
    clock: Clock,
    keys: Vec<C::Key>,
}

impl<C: Contender> Meter<C> {
    /// A meter for this table.
    pub fn new(table: C) -> Meter<C> {
        Meter {
            table,
            clock: Clock::new(),
            keys: Vec::with_capacity(RUN),
        }
    }

    /// Cycles of the time-stamp counter per lookup, over at least so many.
    /// Making the keys is not counted.
    ///
    /// # Panics
    /// If the table did not find what it should have, or found anything else.
    pub fn cycles(&mut self, draw: &mut Draw, lookups: u64) -> f64 {
        let mut cycles = 0;
        let runs = lookups.div_ceil(RUN as u64);
        for _ in 0..runs {
            cycles += self.run(draw);
        }
        cycles as f64 / (runs * RUN as u64) as f64
    }

    fn run(&mut self, draw: &mut Draw) -> u64 {
        let mut expected = Found::default();
        self.keys.clear();
        for _ in 0..RUN {
            let direction = draw.pick();
            if draw.is_present() {
                expected.add(direction);
            }
            self.keys.push(C::key(direction));
        }
        let start = self.clock.raw();
        let mut found = Found::default();
        for batch in self.keys.chunks_exact(BATCH) {
            found.merge(self.table.lookup(batch));
        }
        let cycles = self.clock.raw() - start;
        assert_eq!(found, expected, "{}", C::NAME);
        cycles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::floor::Floor;
    use crate::table::flows::{Ipv4, Ipv6};
    use crate::table::ours::Ours;
    use crate::table::peers::{Dashmap, Papaya, Scc};

    #[test]
    fn every_table_finds_what_is_there_and_nothing_else() {
        fn check<C: Contender>(table: C) {
            let mut meter = Meter::new(table);
            meter.cycles(&mut Draw::present(1_000), 10_000);
            meter.cycles(&mut Draw::absent(1_000), 10_000);
        }
        check(Ours::<Ipv4>::new(1_000));
        check(Ours::<Ipv6>::new(1_000));
        check(Papaya::<Ipv4>::new(1_000));
        check(Dashmap::<Ipv4>::new(1_000));
        check(Scc::<Ipv4>::new(1_000));
    }

    #[test]
    fn the_floor_is_asked_for_present_ones_only() {
        Meter::new(Floor::for_table(1_000)).cycles(&mut Draw::present(1_000), 10_000);
    }
}
