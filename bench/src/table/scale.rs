//! Two workers on two cores beside one: how far they are in each other's way.
//!
//! A worker looks up batches of flows that stay, and in the mixed cases inserts
//! flows of its own and removes its oldest ones: of ten operations nine are
//! lookups, the tenth an insertion or a removal. As in a worker, the places of
//! flows that come together are asked for first, and flows go together. Making
//! keys is not counted.
//!
//! Each round measures the first worker alone, the second alone, and both at
//! once, for a tenth of a second each; the ratio is the rate of both to the mean
//! of one. Two cores that share caches and memory cannot quite reach 2.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use flowtable::{Config, FlowId, FlowTable, Insert, Key, Ticks};
use quanta::Clock;
use serde_json::{Value, json};

use super::BATCH;
use super::flows::{Draw, Family, Ipv4};
use super::ours::{Batch, Pair, config, fill, table_with};
use crate::report::{self, Quantiles};

/// Batches looked up in a stint, and flows that come and that go after them.
const BATCHES: usize = 9;
const UPDATES: usize = 16;
/// Flows of its own that each worker has in the table, at most.
const OWN: usize = 4096;
/// Numbers of flows that come and go, before they are used again.
const SPAN: u32 = 1 << 20;
/// How long each of a round's three runs takes, before it counts and while.
const WARM_UP: Duration = Duration::from_millis(30);
const COUNTED: Duration = Duration::from_millis(100);

/// What the workers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Only look up.
    Lookups,
    /// One in ten operations changes the table, for the same vif and vrf.
    SameOwner,
    /// The same, each for a vif and a vrf of its own.
    OwnOwner,
}

impl Mix {
    /// All, in the order they are measured.
    pub const ALL: [Mix; 3] = [Mix::Lookups, Mix::SameOwner, Mix::OwnOwner];

    fn name(self) -> &'static str {
        match self {
            Mix::Lookups => "lookups",
            Mix::SameOwner => "90/10, one owner",
            Mix::OwnOwner => "90/10, two owners",
        }
    }

    /// The owner that a worker's own flows count for; 0 owns those that stay.
    fn owner(self, worker: usize) -> u32 {
        match self {
            Mix::OwnOwner => 1 + worker as u32,
            Mix::Lookups | Mix::SameOwner => 1,
        }
    }
}

/// One line of the result.
pub struct Line {
    mix: Mix,
    flows: u32,
    /// Millions of operations per second, of one worker and of both.
    one: Quantiles,
    both: Quantiles,
    ratio: Quantiles,
}

/// Measures each mix for `time`, telling each line when it is there.
pub fn measure(flows: u32, time: Duration, cores: [CoreId; 2], lines: &mut dyn FnMut(Line)) {
    let table = table_with(Config {
        workers: cores.len(),
        ..config(flows)
    });
    fill::<Ipv4>(&table, flows);
    for mix in Mix::ALL {
        let mut workers =
            [0, 1].map(|number| Worker::new(&table, flows, mix, number, cores[number]));
        let (mut one, mut both, mut ratio) = (Vec::new(), Vec::new(), Vec::new());
        let started = Instant::now();
        while one.is_empty() || started.elapsed() < time {
            let [first, second] = &mut workers;
            let alone = [run(&mut [first]), run(&mut [second])];
            let mean = (alone[0] + alone[1]) / 2.0;
            let [first, second] = &mut workers;
            let together = run(&mut [first, second]);
            one.push(mean);
            both.push(together);
            ratio.push(together / mean);
        }
        for worker in &mut workers {
            worker.go(worker.own.len());
        }
        let [one, both, ratio] = [one, both, ratio].map(|mut values| {
            values.sort_by(f64::total_cmp);
            Quantiles::of(&values)
        });
        lines(Line {
            mix,
            flows,
            one,
            both,
            ratio,
        });
    }
}

/// Millions of operations per second of all these workers, on a core each.
fn run(workers: &mut [&mut Worker<'_>]) -> f64 {
    let warm = Barrier::new(workers.len());
    let warm = &warm;
    thread::scope(|scope| {
        let rates: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(move || worker.work(warm)))
            .collect();
        let rates = rates.into_iter().map(|rate| match rate.join() {
            Ok(rate) => rate,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        rates.sum()
    })
}

/// One of the two, with its own order of flows and its own flows.
struct Worker<'t> {
    table: &'t FlowTable,
    mix: Mix,
    number: usize,
    core: CoreId,
    clock: Clock,
    batch: Batch,
    draw: Draw,
    own: VecDeque<(FlowId, u32)>,
    /// Number of the first flow that does not stay, and how far from it the
    /// last one of its own is.
    first: u32,
    next: u32,
}

impl<'t> Worker<'t> {
    fn new(table: &'t FlowTable, flows: u32, mix: Mix, number: usize, core: CoreId) -> Worker<'t> {
        let mut draw = Draw::present(flows);
        // Each in an order of its own.
        (0..1000 * number).for_each(|_| _ = draw.pick());
        let mut worker = Worker {
            table,
            mix,
            number,
            core,
            clock: Clock::new(),
            batch: Batch::default(),
            draw,
            own: VecDeque::with_capacity(OWN),
            first: flows,
            next: number as u32,
        };
        // A small table has room for fewer beside those that stay.
        let own = OWN.min(flows as usize / 40);
        while mix != Mix::Lookups && worker.own.len() < own {
            let flows = worker.new_flows();
            worker.come(&flows);
        }
        worker
    }

    /// Millions of operations per second, once all are warm.
    fn work(&mut self, warm: &Barrier) -> f64 {
        assert!(core_affinity::set_for_current(self.core), "a core");
        self.work_for(WARM_UP);
        warm.wait();
        let cycles = undisturbed(self.work_for(COUNTED));
        let nanoseconds = self.clock.delta_as_nanos(0, cycles as u64);
        self.operations() as f64 * 1e3 / nanoseconds as f64
    }

    /// Cycles of each stint in this time.
    fn work_for(&mut self, time: Duration) -> Vec<u64> {
        let mut stints = Vec::new();
        let started = Instant::now();
        while started.elapsed() < time {
            let mut cycles = self.look_up();
            if self.mix != Mix::Lookups {
                cycles += self.update();
            }
            stints.push(cycles);
        }
        stints
    }

    /// Operations in a stint.
    fn operations(&self) -> usize {
        let updates = if self.mix == Mix::Lookups {
            0
        } else {
            2 * UPDATES
        };
        BATCHES * BATCH + updates
    }

    fn look_up(&mut self) -> u64 {
        let keys: [Key; BATCHES * BATCH] = std::array::from_fn(|_| Ipv4::key(self.draw.pick()));
        let mut hits = 0;
        let start = self.clock.raw();
        for keys in keys.chunks_exact(BATCH) {
            self.batch.lookup(self.table, keys);
            hits += self.batch.found(BATCH).hits;
        }
        let cycles = self.clock.raw() - start;
        assert_eq!(hits as usize, keys.len());
        cycles
    }

    /// New flows come, the oldest ones go.
    fn update(&mut self) -> u64 {
        let flows = self.new_flows();
        let start = self.clock.raw();
        self.come(&flows);
        self.go(UPDATES);
        self.clock.raw() - start
    }

    /// Numbers of both workers alternate, so none is used twice at a time.
    fn new_flows(&mut self) -> [Pair; UPDATES] {
        std::array::from_fn(|_| {
            self.next = (self.next + 2) % SPAN;
            let mut flow = Pair::new::<Ipv4>(self.first + self.next);
            flow.owner = self.mix.owner(self.number);
            flow
        })
    }

    #[inline]
    fn come(&mut self, flows: &[Pair]) {
        flows.iter().for_each(|flow| flow.prefetch(self.table));
        for flow in flows {
            match flow.insert(self.table.worker(self.number), Ticks(0)) {
                Insert::Inserted(hit) => self.own.push_back((hit.id, hit.version())),
                other => panic!("a new flow, a table with room: {other:?}"),
            }
        }
    }

    #[inline]
    fn go(&mut self, count: usize) {
        let worker = self.table.worker(self.number);
        let removed = worker.remove_all(&self.own.make_contiguous()[..count]);
        assert_eq!(removed, count, "nobody else removes flows");
        self.own.drain(..count);
    }
}

/// The mean of what stints took, without those that the system interrupted to
/// let others run: a stint is some 10 µs, and none that the other worker merely
/// slows down takes [`INTERRUPTED`] times as long as most.
fn undisturbed(mut stints: Vec<u64>) -> f64 {
    const INTERRUPTED: u64 = 8;
    stints.sort_unstable();
    let bound = stints[stints.len() / 2] * INTERRUPTED;
    let count = stints.partition_point(|cycles| *cycles <= bound);
    stints[..count].iter().sum::<u64>() as f64 / count as f64
}

/// Where and how the numbers came about.
pub fn header(cores: [CoreId; 2]) {
    println!(
        "{} · {} · cores {} and {} · batches of {BATCH}, IPv4",
        report::machine(),
        report::compiler(),
        cores[0].id,
        cores[1].id,
    );
    println!("Millions of operations per second; the ratio is both to one, round by round.");
    println!(
        "{:>9} {:<18}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "flows", "mix", "one", "both", "ratio", "(5 %)", "(95 %)"
    );
}

/// One line of the table.
pub fn print(line: &Line) {
    println!(
        "{:>9} {:<18}{:>8.2}{:>8.2}{:>8.2}{:>8.2}{:>8.2}",
        line.flows,
        line.mix.name(),
        line.one.median,
        line.both.median,
        line.ratio.median,
        line.ratio.p5,
        line.ratio.p95,
    );
}

/// All lines as JSON.
pub fn document(cores: [CoreId; 2], lines: &[Line]) -> Value {
    let lines: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "flows": line.flows,
                "mix": line.mix.name(),
                "one_mops": line.one.median,
                "both_mops": line.both.median,
                "ratio": {
                    "p5": line.ratio.p5, "median": line.ratio.median, "p95": line.ratio.p95,
                },
            })
        })
        .collect();
    json!({
        "machine": report::machine(),
        "compiler": report::compiler(),
        "cores": cores.map(|core| core.id),
        "batch": BATCH,
        "results": lines,
    })
}
