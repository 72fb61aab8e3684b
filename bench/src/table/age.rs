//! What ageing costs a worker, and how late flows go.
//!
//! A table full of flows in all classes, their idle times spread evenly over
//! their timeouts, as in a table that has been in use for hours. Time is
//! simulated: each millisecond the worker ages its slice, then what it would do
//! besides happens, uncounted: new flows come for those that went, and active
//! ones are touched. Only the slices are timed.

use flowtable::{AgeCursor, Class, FlowTable, Insert, Ticks, Timeouts};
use quanta::Clock;
use serde_json::{Value, json};

use super::flows::{Draw, Ipv4};
use super::ours::{Pair, capacity, config, table_with};
use crate::footprint::Footprint;
use crate::report::{self, Quantiles};

/// Of a hundred flows, how many are in each class.
const MIX: [(Class, usize); 11] = [
    (Class::SynSent, 3),
    (Class::SynReceived, 1),
    (Class::Established, 40),
    (Class::FinForward, 3),
    (Class::FinReverse, 3),
    (Class::Closed, 9),
    (Class::Udp, 10),
    (Class::UdpReplied, 18),
    (Class::Icmp, 3),
    (Class::Other, 2),
    (Class::Dropped, 8),
];
/// Of the flows in these classes, one in five is active, and sees a packet this
/// often.
const ACTIVE: [Class; 2] = [Class::Established, Class::UdpReplied];
const ACTIVE_ONE_IN: u32 = 5;
const PACKET_EVERY_MS: usize = 5_000;
/// When the simulation begins: so late that every flow began after zero.
const START: Ticks = Ticks(100_000_000);

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Flows in the table.
    pub flows: u32,
    /// Simulated time.
    pub seconds: u32,
    /// How long the hand takes to go round the whole table.
    pub round_ms: u32,
}

/// What came of it.
pub struct Outcome {
    plan: Plan,
    footprint: Footprint,
    /// Cycles spent on ageing, of one core's cycles in the simulated time.
    share: f64,
    /// Microseconds of each slice.
    slices: Quantiles,
    longest_slice: f64,
    classes: Vec<Lateness>,
}

/// How late the flows of a class went.
struct Lateness {
    class: Class,
    timeout_ms: u32,
    /// In percent of the timeout, ascending.
    percent: Vec<f64>,
}

/// Simulates a plan.
pub fn simulate(plan: Plan) -> Outcome {
    let before = Footprint::now();
    let mut world = World::new(plan);
    let footprint = Footprint::now().since(before);
    let clock = Clock::new();
    let mut slices = Vec::with_capacity(plan.seconds as usize * 1000);
    for elapsed in 0..plan.seconds * 1000 {
        let now = START.after(elapsed);
        let start = clock.raw();
        world.age(now);
        slices.push(clock.delta_as_nanos(start, clock.raw()) as f64 / 1e3);
        world.replace(now);
        world.touch(now);
    }
    slices.sort_by(f64::total_cmp);
    for class in &mut world.late {
        class.percent.sort_by(f64::total_cmp);
    }
    Outcome {
        plan,
        footprint,
        share: slices.iter().sum::<f64>() / (f64::from(plan.seconds) * 1e6),
        slices: Quantiles::of(&slices),
        longest_slice: slices[slices.len() - 1],
        classes: world.late,
    }
}

/// The table and what happens to it.
struct World {
    table: FlowTable,
    cursor: AgeCursor,
    /// Pairs to look at each millisecond.
    budget: usize,
    /// Number of the next flow.
    next: u32,
    /// Flows that are active, in turns.
    active: Vec<flowtable::Hit>,
    turn: usize,
    /// Classes of those that went in this millisecond.
    gone: Vec<Class>,
    late: Vec<Lateness>,
}

impl World {
    fn new(plan: Plan) -> World {
        let timeouts = Timeouts::default();
        let mut world = World {
            table: table_with(config(plan.flows)),
            cursor: AgeCursor::default(),
            budget: capacity(plan.flows).div_ceil(plan.round_ms as usize),
            next: 0,
            active: Vec::new(),
            turn: 0,
            gone: Vec::new(),
            late: MIX
                .map(|(class, _)| Lateness {
                    class,
                    timeout_ms: timeouts.timeout_ms(class),
                    percent: Vec::new(),
                })
                .into(),
        };
        world.fill(plan.flows, &timeouts);
        world
    }

    fn fill(&mut self, flows: u32, timeouts: &Timeouts) {
        let mut classes = MIX
            .into_iter()
            .flat_map(|(class, of_100)| vec![class; of_100])
            .collect::<Vec<_>>();
        let mut random = Draw::present(1 << 30);
        for number in 0..flows as usize {
            // Any order, and of each hundred flows the right number of each.
            let place = number % classes.len();
            let rest = classes.len() - place;
            classes.swap(place, place + random.pick() as usize % rest);
            let class = classes[place];
            let active = ACTIVE.contains(&class) && random.pick().is_multiple_of(ACTIVE_ONE_IN);
            let longest = if active {
                PACKET_EVERY_MS as u32
            } else {
                timeouts.timeout_ms(class)
            };
            let idle = random.pick() % longest;
            let hit = self.insert(class, Ticks(START.0 - idle));
            if active {
                self.active.push(hit);
            }
        }
    }

    fn insert(&mut self, class: Class, now: Ticks) -> flowtable::Hit {
        let mut flow = Pair::new::<Ipv4>(self.next);
        flow.class = class;
        self.next += 1;
        match flow.insert(self.table.worker(0), now) {
            Insert::Inserted(hit) => hit,
            other => panic!("a new flow, a table with room: {other:?}"),
        }
    }

    /// The slice of a millisecond.
    fn age(&mut self, now: Ticks) {
        let (gone, late) = (&mut self.gone, &mut self.late);
        let worker = self.table.worker(0);
        worker.age(&mut self.cursor, self.budget, now, |flow| {
            let late = &mut late[flow.class as usize];
            let late_ms = now.since(flow.last_seen) - late.timeout_ms;
            late.percent
                .push(f64::from(late_ms) * 100.0 / f64::from(late.timeout_ms));
            gone.push(flow.class);
        });
    }

    fn replace(&mut self, now: Ticks) {
        while let Some(class) = self.gone.pop() {
            self.insert(class, now);
        }
    }

    /// A packet for those active flows whose turn it is.
    fn touch(&mut self, now: Ticks) {
        for _ in 0..self.active.len().div_ceil(PACKET_EVERY_MS) {
            self.turn = (self.turn + 1) % self.active.len();
            self.table.touch(&self.active[self.turn], 1, 64, now);
        }
    }
}

/// Prints an outcome.
pub fn print(outcome: &Outcome) {
    let Outcome { plan, slices, .. } = outcome;
    println!("{} · {}", report::machine(), report::compiler());
    println!(
        "{} flows of at most {}, {}; one in {ACTIVE_ONE_IN} established is active; \
         {} s simulated, a round takes {} ms",
        plan.flows,
        capacity(plan.flows),
        outcome.footprint,
        plan.seconds,
        plan.round_ms,
    );
    println!(
        "{:<14}{:>10}{:>10}{:>16}{:>12}",
        "class", "timeout s", "expired", "late by, median", "at most"
    );
    for late in &outcome.classes {
        if late.percent.is_empty() {
            continue;
        }
        let quantiles = Quantiles::of(&late.percent);
        println!(
            "{:<14}{:>10}{:>10}{:>14.2} %{:>10.2} %",
            format!("{:?}", late.class),
            late.timeout_ms / 1000,
            late.percent.len(),
            quantiles.median,
            late.worst(),
        );
    }
    let gone: usize = outcome.classes.iter().map(|late| late.percent.len()).sum();
    let per_second = gone as f64 / f64::from(plan.seconds);
    println!(
        "{:.0} thousand flows expire each second, and as many come: {:.0} ns each, if all is theirs",
        per_second / 1e3,
        outcome.share * 1e9 / per_second,
    );
    println!(
        "{:.2} % of a core; a slice takes {:.0} µs in the middle, {:.0} µs in one of 20, {:.0} µs at most",
        outcome.share * 100.0,
        slices.median,
        slices.p95,
        outcome.longest_slice,
    );
}

impl Lateness {
    fn worst(&self) -> f64 {
        self.percent.last().copied().unwrap_or(0.0)
    }
}

/// An outcome as JSON.
pub fn document(outcome: &Outcome) -> Value {
    let classes: Vec<_> = outcome
        .classes
        .iter()
        .map(|late| {
            json!({
                "class": format!("{:?}", late.class),
                "timeout_ms": late.timeout_ms,
                "expired": late.percent.len(),
                "late_percent_worst": late.worst(),
            })
        })
        .collect();
    json!({
        "machine": report::machine(),
        "compiler": report::compiler(),
        "flows": outcome.plan.flows,
        "simulated_seconds": outcome.plan.seconds,
        "round_ms": outcome.plan.round_ms,
        "share_of_a_core": outcome.share,
        "slice_us": {
            "median": outcome.slices.median, "p95": outcome.slices.p95, "most": outcome.longest_slice,
        },
        "classes": classes,
    })
}
