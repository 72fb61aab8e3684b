//! Letting bindings end whose time has come, a few at a time: worker 0 goes round them for all.

use flowtable::Ticks;

use crate::tables::Tables;

/// How long a round takes: short beside the shortest time that a binding stays.
const ROUND_MS: u64 = 2_000;
/// Slots passed at once: some ten microseconds.
const AT_ONCE: u64 = 1_024;

/// Where the round stands.
#[derive(Debug, Default)]
pub struct Sweeper {
    next: u32,
    /// What is due, in slots times [`ROUND_MS`].
    owed: u64,
}

impl Sweeper {
    /// Goes on, after so much time.
    pub fn run(&mut self, tables: &Tables, now: Ticks, elapsed_ms: usize) {
        let sessions = tables.sessions();
        sessions.leftovers.release(now);
        let Some(bindings) = sessions.bindings() else {
            return;
        };
        let bound = bindings.bound_of_slots();
        let round = u64::from(bound) * ROUND_MS;
        self.owed = (self.owed + u64::from(bound) * elapsed_ms as u64).min(round);
        let due = (self.owed / ROUND_MS).min(AT_ONCE);
        self.owed -= due * ROUND_MS;
        for _ in 0..due {
            if self.next >= bound {
                self.next = 0;
            }
            bindings.sweep(tables, self.next, now);
            self.next += 1;
        }
    }

    /// Looks at all of them once; for clocks that jump, as in a replay.
    pub fn run_all(tables: &Tables, now: Ticks) {
        tables.sessions().leftovers.release(now);
        if let Some(bindings) = tables.sessions().bindings() {
            let all = 0..bindings.bound_of_slots();
            all.for_each(|index| bindings.sweep(tables, index, now));
        }
    }
}
