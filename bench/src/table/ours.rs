//! Our flow table under measurement; the only place here that knows how it is
//! made and filled.

use std::marker::PhantomData;

use dataplane::memory::{Block, Settings};
use flowtable::{
    Action, Class, Config, FlowTable, Hit, Insert, Key, NewFlow, Rewrite, Ticks, Verdict, Worker,
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
    table_with(config(flows))
}

/// A table that can hold [`capacity`] flows.
pub fn config(flows: u32) -> Config {
    Config {
        pairs: capacity(flows),
        seed: [1, 2, 3, 4],
        ..Config::default()
    }
}

/// An empty table, in the memory that a node would give it.
///
/// # Panics
/// If there is no such memory.
pub fn table_with(config: Config) -> FlowTable {
    let memory = memory(FlowTable::memory_needed(&config));
    FlowTable::with_memory(&config, Box::new(memory))
}

/// Memory as a node gives it to its flow table: on the largest pages there are.
///
/// # Panics
/// If there is none.
pub fn memory(bytes: usize) -> Block {
    let core = core_affinity::get_core_ids().unwrap_or_default().pop();
    let core = core.map_or(0, |core| core.id);
    match Block::new(bytes, Settings::default(), core) {
        Ok(block) => block,
        Err(error) => panic!("{error}"),
    }
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
        exit: 0,
        flags: 0,
    }
}

/// A flow that is ready to go into the table.
#[derive(Clone, Copy)]
pub struct Pair {
    keys: [Key; 2],
    actions: [Action; 2],
    /// Lifetime class.
    pub class: Class,
    /// The vif and the vrf it counts for.
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

    /// Asks for what putting the flow into the table waits for.
    #[inline]
    pub fn prefetch(&self, table: &FlowTable) {
        self.keys.iter().for_each(|key| table.prefetch(key));
    }

    /// Puts the flow into the table.
    #[inline]
    pub fn insert(&self, worker: Worker<'_>, now: Ticks) -> Insert {
        let ([forward, reverse], [forward_action, reverse_action]) = (&self.keys, &self.actions);
        worker.insert_pair(&NewFlow {
            forward,
            forward_action,
            reverse,
            reverse_action,
            class: self.class,
            vif: self.owner,
            vrf: self.owner,
            note: [0; 4],
            now,
        })
    }
}

/// Puts the first `flows` flows into the table.
///
/// # Panics
/// If one does not go in.
pub fn fill<F: Family>(table: &FlowTable, flows: u32) {
    for flow in 0..flows {
        let inserted = Pair::new::<F>(flow).insert(table.worker(0), Ticks(0));
        assert!(
            matches!(inserted, Insert::Inserted(_)),
            "flow {flow}: {inserted:?}"
        );
    }
}

/// Room for the results of a batch.
#[derive(Default)]
pub struct Batch {
    hashes: [u64; BATCH],
    hits: [Option<Hit>; BATCH],
}

impl Batch {
    /// Looks up at most [`BATCH`] keys.
    #[inline]
    pub fn lookup(&mut self, table: &FlowTable, keys: &[Key]) {
        table.lookup_batch(keys, &mut self.hashes, &mut self.hits);
    }

    /// What the last lookup of so many keys found.
    #[inline]
    pub fn found(&self, keys: usize) -> Found {
        let mut found = Found::default();
        for hit in self.hits[..keys].iter().flatten() {
            found.add(hit.nexthop());
        }
        found
    }
}

/// The flow table, with room for the results of a batch.
pub struct Ours<F> {
    table: FlowTable,
    batch: Batch,
    family: PhantomData<F>,
}

impl<F: Family> Ours<F> {
    /// A table that holds the first `flows` flows.
    pub fn new(flows: u32) -> Ours<F> {
        let table = table(flows);
        fill::<F>(&table, flows);
        Ours {
            table,
            batch: Batch::default(),
            family: PhantomData,
        }
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
        self.batch.lookup(&self.table, keys);
        self.batch.found(keys.len())
    }
}
