//! What ageing costs a worker, and how late flows go.
//!
//! A table full of flows in all classes, their idle times spread evenly over
//! their timeouts, as in a table that has been in use for hours. Time is
//! simulated: each millisecond the worker ages in slices, then what it would do
//! besides happens, uncounted: new flows come for those that went, and active
//! ones are touched. Only the slices are timed. One in which the system let
//! others run says nothing about ageing: it counts as a mean one, and how many
//! those were is said, with the share as it is with them.

use flowtable::{AgeCursor, Class, FlowTable, Insert, Ticks, Timeouts};
use quanta::Clock;
use serde_json::{Value, json};

use super::flows::{Draw, Ipv4};
use super::ours::{Pair, capacity, config, table_with};
use super::turns::Turns;
use crate::footprint::Footprint;
use crate::report::{self, Quantiles};

/// What kinds of flows the table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Long-lived flows only: hardly any expires, so this is what looking costs.
    Settled,
    /// All classes as on a busy node: what looking and removing cost together.
    Busy,
}

impl Mix {
    /// Both, the easier one first.
    pub const ALL: [Mix; 2] = [Mix::Settled, Mix::Busy];

    fn name(self) -> &'static str {
        match self {
            Mix::Settled => "settled",
            Mix::Busy => "busy",
        }
    }

    /// Of a hundred flows, how many are in each class.
    fn percent(self, class: Class) -> usize {
        match (self, class) {
            (Mix::Settled, Class::Established) => 70,
            (Mix::Settled, Class::UdpReplied) => 30,
            (Mix::Settled, _) => 0,
            (Mix::Busy, Class::Established) => 50,
            (Mix::Busy, Class::UdpReplied) => 24,
            (Mix::Busy, Class::Udp) => 9,
            (Mix::Busy, Class::Closed) => 7,
            (Mix::Busy, Class::Icmp | Class::Other | Class::Dropped) => 2,
            (Mix::Busy, Class::SynSent | Class::SynReceived) => 1,
            (Mix::Busy, Class::FinForward | Class::FinReverse) => 1,
        }
    }
}

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
    mix: Mix,
    footprint: Footprint,
    /// Time spent on ageing, of one core's simulated time.
    share: f64,
    /// The same with all that passed in slices that were interrupted.
    share_interrupted: f64,
    interrupted: usize,
    /// Flows that expired in a second, and as many that came.
    per_second: f64,
    /// Microseconds of each slice.
    slices: Quantiles,
    longest_slice: f64,
    classes: Vec<Lateness>,
}

/// How late the flows of a class went.
struct Lateness {
    class: Class,
    timeout_ms: u32,
    /// In milliseconds, ascending.
    late_ms: Vec<u32>,
}

/// Simulates a plan.
pub fn simulate(plan: Plan, mix: Mix) -> Outcome {
    let before = Footprint::now();
    let mut world = World::new(plan, mix);
    let footprint = Footprint::now().since(before);
    let clock = Clock::new();
    let mut turns = Turns::of_this_thread();
    let (mut slices, mut interrupted) = (Vec::with_capacity(1 << 20), Vec::new());
    for elapsed in 0..plan.seconds * 1000 {
        let now = START.after(elapsed);
        // As a worker does it: what one slice leaves, the next one takes, with
        // packets in between.
        let mut owed = world.budget;
        while owed > 0 {
            turns.passed();
            let start = clock.raw();
            owed = world.age(now, owed);
            let took = clock.delta_as_nanos(start, clock.raw()) as f64 / 1e3;
            match turns.passed() {
                false => slices.push(took),
                true => interrupted.push(took),
            }
        }
        world.replace(now);
        world.touch(now);
    }
    slices.sort_by(f64::total_cmp);
    for class in &mut world.late {
        class.late_ms.sort_unstable();
    }
    let seconds = f64::from(plan.seconds);
    let all = slices.len() + interrupted.len();
    let undisturbed: f64 = slices.iter().sum();
    let mean = undisturbed / slices.len() as f64;
    let gone: usize = world.late.iter().map(|late| late.late_ms.len()).sum();
    Outcome {
        mix,
        footprint,
        share: mean * all as f64 / (seconds * 1e6),
        share_interrupted: (undisturbed + interrupted.iter().sum::<f64>()) / (seconds * 1e6),
        interrupted: interrupted.len(),
        per_second: gone as f64 / seconds,
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
    fn new(plan: Plan, mix: Mix) -> World {
        let timeouts = Timeouts::default();
        let mut world = World {
            table: table_with(config(plan.flows)),
            cursor: AgeCursor::default(),
            budget: capacity(plan.flows).div_ceil(plan.round_ms as usize),
            next: 0,
            active: Vec::new(),
            turn: 0,
            gone: Vec::new(),
            late: Class::ALL
                .map(|class| Lateness {
                    class,
                    timeout_ms: timeouts.timeout_ms(class),
                    late_ms: room(plan.flows as usize),
                })
                .into(),
        };
        world.fill(plan.flows, mix, &timeouts);
        world
    }

    fn fill(&mut self, flows: u32, mix: Mix, timeouts: &Timeouts) {
        let of_100 = |class| vec![class; mix.percent(class)];
        let mut classes = Class::ALL.map(of_100).concat();
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

    /// One slice; returns what it leaves of the budget.
    fn age(&mut self, now: Ticks, budget: usize) -> usize {
        let (gone, late) = (&mut self.gone, &mut self.late);
        let worker = self.table.worker(0);
        worker.age(self.cursor.at_most(64), budget, now, |flow| {
            let late = &mut late[flow.class as usize];
            late.late_ms
                .push(now.since(flow.last_seen) - late.timeout_ms);
            gone.push(flow.class);
        });
        self.cursor.left()
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

/// An empty vector whose memory is there, so that neither making room nor the first touch of a page
/// is counted.
fn room(most: usize) -> Vec<u32> {
    let mut room = vec![u32::MAX; most];
    room.clear();
    room
}

/// Where and how the numbers came about.
pub fn header(plan: Plan) {
    println!("{} · {}", report::machine(), report::compiler());
    println!(
        "{} flows of at most {}; {} s simulated; a round takes {} ms; one in {ACTIVE_ONE_IN} \
         established or answered is active",
        plan.flows,
        capacity(plan.flows),
        plan.seconds,
        plan.round_ms,
    );
}

/// Prints an outcome.
pub fn print(outcome: &Outcome) {
    let Outcome { share, slices, .. } = outcome;
    println!("\n{} ({})", outcome.mix.name(), outcome.footprint);
    println!(
        "  {:<14}{:>10}{:>10}{:>18}{:>12}",
        "class", "timeout s", "expired", "late by, median", "at most"
    );
    let expired = |late: &&Lateness| !late.late_ms.is_empty();
    for late in outcome.classes.iter().filter(expired) {
        println!(
            "  {:<14}{:>10}{:>10}{:>16.2} %{:>10.2} %",
            format!("{:?}", late.class),
            late.timeout_ms / 1000,
            late.late_ms.len(),
            late.percent(late.late_ms[late.late_ms.len() / 2]),
            late.worst(),
        );
    }
    println!(
        "  {:.2} % of a core, {:.0} thousand flows expiring and coming each second",
        share * 100.0,
        outcome.per_second / 1e3,
    );
    println!(
        "  {:.2} % with {} slices in which others ran",
        outcome.share_interrupted * 100.0,
        outcome.interrupted,
    );
    println!(
        "  a slice takes {:.1} µs in the middle, {:.1} µs in one of 20, {:.0} µs at most",
        slices.median, slices.p95, outcome.longest_slice,
    );
}

impl Lateness {
    /// So much later, in percent of the timeout.
    fn percent(&self, late_ms: u32) -> f64 {
        f64::from(late_ms) * 100.0 / f64::from(self.timeout_ms)
    }

    fn worst(&self) -> f64 {
        self.percent(self.late_ms.last().copied().unwrap_or(0))
    }
}

/// All outcomes as JSON.
pub fn document(plan: Plan, outcomes: &[Outcome]) -> Value {
    let classes = |outcome: &Outcome| {
        let classes = outcome.classes.iter().map(|late| {
            json!({
                "class": format!("{:?}", late.class),
                "timeout_ms": late.timeout_ms,
                "expired": late.late_ms.len(),
                "late_percent_worst": late.worst(),
            })
        });
        classes.collect::<Vec<_>>()
    };
    let outcomes: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            let Quantiles { median, p95, .. } = outcome.slices;
            json!({
                "mix": outcome.mix.name(),
                "share_of_a_core": outcome.share,
                "share_with_interrupted_slices": outcome.share_interrupted,
                "interrupted_slices": outcome.interrupted,
                "expired_per_second": outcome.per_second,
                "slice_us": { "median": median, "p95": p95, "most": outcome.longest_slice },
                "classes": classes(outcome),
            })
        })
        .collect();
    json!({
        "machine": report::machine(),
        "compiler": report::compiler(),
        "flows": plan.flows,
        "simulated_seconds": plan.seconds,
        "round_ms": plan.round_ms,
        "results": outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_is_of_a_hundred() {
        for mix in Mix::ALL {
            let sum: usize = Class::ALL.iter().map(|class| mix.percent(*class)).sum();
            assert_eq!(sum, 100, "{}", mix.name());
        }
    }

    #[test]
    fn flows_expire_at_the_rate_their_timeouts_say() {
        let plan = Plan {
            flows: 20_000,
            seconds: 10,
            round_ms: 100,
        };
        let outcome = simulate(plan, Mix::Busy);
        // A timeout long, every one of these went once; those that came
        // meanwhile stay.
        let dropped = &outcome.classes[Class::Dropped as usize];
        assert!((380..=400).contains(&dropped.late_ms.len()));
    }
}
