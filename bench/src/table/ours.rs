//! Our flow table under measurement; the only place here that knows how it is
//! made and filled.

use std::marker::PhantomData;

use flowtable::{
    Action, Class, Config, FlowId, FlowTable, Hit, Insert, Key, Rewrite, Ticks, Timeouts, Verdict,
};

use super::flows::{Direction, Family};
use super::{BATCH, Contender, Found};

/// Share of its places that a table of so many flows uses, in percent.
pub const LOAD_PERCENT: usize = 90;

/// Flows that a table can hold of which so many are [`LOAD_PERCENT`].
pub fn capacity(flows: u32) -> usize {
    flows as usize * 100 / LOAD_PERCENT
}

/// An empty table that can hold [`capacity`] flows.
pub fn table(flows: u32) -> FlowTable {
    FlowTable::new(&Config {
        pairs: capacity(flows),
        seed: [1, 2, 3, 4],
        timeouts: Timeouts::default(),
    })
}

/// What a direction's packets are done with; the nexthop is its number.
pub fn action(direction: Direction) -> Action {
    Action {
        verdict: Verdict::Forward,
        nexthop: direction,
        epoch: 1,
        ingress: 1,
        rewrite: Rewrite::NONE,
        group_choice: 0,
    }
}

/// A flow that is ready to go into the table.
#[derive(Clone, Copy)]
pub struct Pair {
    keys: [Key; 2],
    actions: [Action; 2],
    /// Lifetime class.
    pub class: Class,
    /// Whom it counts for.
    pub owner: u32,
}

impl Pair {
    /// The flow of this number, of the first owner.
    #[inline]
    pub fn new<F: Family>(flow: u32) -> Pair {
        let directions = [2 * flow, 2 * flow + 1];
        Pair {
            keys: directions.map(F::key),
            actions: directions.map(action),
            class: Class::Established,
            owner: 0,
        }
    }

    /// Puts the flow into the table, as a worker does.
    #[inline]
    pub fn insert(&self, table: &FlowTable, _worker: usize, now: Ticks) -> Insert {
        let ([forward, reverse], [there, back]) = (&self.keys, &self.actions);
        table.insert_pair(forward, there, reverse, back, self.class, self.owner, now)
    }
}

/// Takes a flow out of the table, as a worker does.
#[inline]
pub fn remove(table: &FlowTable, _worker: usize, (id, version): (FlowId, u32)) -> bool {
    table.remove(id, version)
}

/// Puts the first `flows` flows into the table.
///
/// # Panics
/// If one does not go in.
pub fn fill<F: Family>(table: &FlowTable, flows: u32) {
    for flow in 0..flows {
        let inserted = Pair::new::<F>(flow).insert(table, 0, Ticks(0));
        assert!(
            matches!(inserted, Insert::Inserted(_)),
            "flow {flow}: {inserted:?}"
        );
    }
}

/// The flow table, with room for the results of a batch.
pub struct Ours<F> {
    table: FlowTable,
    hashes: [u64; BATCH],
    hits: [Option<Hit>; BATCH],
    family: PhantomData<F>,
}

impl<F: Family> Ours<F> {
    /// A table that holds the first `flows` flows.
    pub fn new(flows: u32) -> Ours<F> {
        let table = table(flows);
        fill::<F>(&table, flows);
        Ours {
            table,
            hashes: [0; BATCH],
            hits: [None; BATCH],
            family: PhantomData,
        }
    }

    /// The table itself.
    pub fn flows(&self) -> &FlowTable {
        &self.table
    }
}

impl<F: Family> Contender for Ours<F> {
    type Key = Key;
    const NAME: &'static str = "flowtable";

    #[inline]
    fn key(direction: Direction) -> Key {
        F::key(direction)
    }

    #[inline]
    fn lookup(&mut self, keys: &[Key]) -> Found {
        self.table
            .lookup_batch(keys, &mut self.hashes, &mut self.hits);
        let mut found = Found::default();
        for hit in self.hits[..keys.len()].iter().flatten() {
            found.add(hit.action.nexthop);
        }
        found
    }
}
