//! Our table against each of the others, in alternation.
//!
//! On a shared machine a figure drifts with what the neighbours do; the ratio
//! of two that are measured in turns, a few dozen milliseconds each, drifts
//! much less. So our table stays, and the others come one after the other: made,
//! measured in turns with ours, dropped. Each turn begins with lookups that are
//! not counted, because the other one has had the caches meanwhile.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::floor::Floor;
use super::flows::{Draw, Family, Ipv4, Ipv6};
use super::meter::Meter;
use super::ours::Ours;
use super::peers::{Dashmap, Papaya, Scc};
#[cfg(feature = "dpdk")]
use super::rte_hash::RteHash;
use super::{BATCH, Contender};
use crate::footprint::Footprint;
use crate::report::{self, Quantiles};

/// Lookups in a window: about a millisecond.
const WINDOW: u64 = 16_384;
/// Windows in a turn.
const WINDOWS: usize = 24;
/// Lookups to begin a turn with, at most: they touch 200 MiB.
const WARM_UP: u64 = 1_600_000;
/// Turns of each, whatever time they take.
const TURNS: usize = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Directions that are there.
    Hit,
    /// Directions that are not.
    Miss,
}

impl Asked {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Asked::Hit => "hit",
            Asked::Miss => "miss",
        }
    }

    /// Keys of this kind, for tables of so many flows.
    pub fn draw(self, flows: u32) -> Draw {
        match self {
            Asked::Hit => Draw::present(flows),
            Asked::Miss => Draw::absent(flows),
        }
    }
}

/// One contender beside our table.
pub struct Row {
    /// Flows in both tables.
    pub flows: u32,
    /// IPv4 or IPv6.
    pub family: &'static str,
    /// Whether the flows asked for were there.
    pub asked: Asked,
    /// The contender.
    pub name: &'static str,
    /// Our table.
    pub ours: Side,
    /// The contender.
    pub theirs: Side,
    /// What one of their lookups costs in ours: the middle of all pairs of turns.
    pub ratio: f64,
}

/// One of the two.
pub struct Side {
    /// Cycles per lookup.
    pub cycles: Quantiles,
    /// The memory it takes.
    pub footprint: Footprint,
}

/// Compares at one size, each pair for `time`; tells each row when it is there.
///
/// # Errors
/// A sentence, if one of the tables could not be made.
pub fn compare(flows: u32, time: Duration, rows: &mut dyn FnMut(Row)) -> Result<(), String> {
    const BOTH: &[Asked] = &[Asked::Hit, Asked::Miss];
    let mut ipv4 = Comparison::<Ipv4>::new(flows, time, rows);
    ipv4.with(|| Ok(Floor::for_table(flows)), &[Asked::Hit])?;
    #[cfg(feature = "dpdk")]
    ipv4.with(|| RteHash::<Ipv4>::new(flows), BOTH)?;
    ipv4.with(|| Ok(Papaya::<Ipv4>::new(flows)), BOTH)?;
    ipv4.with(|| Ok(Dashmap::<Ipv4>::new(flows)), BOTH)?;
    ipv4.with(|| Ok(Scc::<Ipv4>::new(flows)), BOTH)?;
    drop(ipv4);
    let mut ipv6 = Comparison::<Ipv6>::new(flows, time, rows);
    ipv6.with(|| Ok(Floor::for_table(flows)), &[Asked::Hit])?;
    #[cfg(feature = "dpdk")]
    ipv6.with(|| RteHash::<Ipv6>::new(flows), BOTH)?;
    Ok(())
}

/// Our table, and whoever is beside it.
struct Comparison<'a, F: Family> {
    flows: u32,
    time: Duration,
    ours: Meter<Ours<F>>,
    footprint: Footprint,
    rows: &'a mut dyn FnMut(Row),
}

impl<'a, F: Family> Comparison<'a, F> {
    fn new(flows: u32, time: Duration, rows: &'a mut dyn FnMut(Row)) -> Self {
        let (ours, footprint) = Footprint::of(|| Ours::new(flows));
        Comparison {
            flows,
            time,
            ours: Meter::new(ours),
            footprint,
            rows,
        }
    }

    fn with<C: Contender>(
        &mut self,
        make: impl FnOnce() -> Result<C, String>,
        asked: &[Asked],
    ) -> Result<(), String> {
        let (theirs, footprint) = Footprint::of(make);
        let mut theirs = Meter::new(theirs?);
        for asked in asked {
            let turns = self.alternate(&mut theirs, *asked);
            let ratio = turns.ratio();
            let [ours, theirs] = [turns.ours, turns.theirs].map(|turns| {
                let mut cycles = turns.concat();
                cycles.sort_by(f64::total_cmp);
                Quantiles::of(&cycles)
            });
            (self.rows)(Row {
                flows: self.flows,
                family: F::NAME,
                asked: *asked,
                name: C::NAME,
                ours: Side {
                    cycles: ours,
                    footprint: self.footprint,
                },
                theirs: Side {
                    cycles: theirs,
                    footprint,
                },
                ratio,
            });
        }
        Ok(())
    }

    fn alternate<C: Contender>(&mut self, theirs: &mut Meter<C>, asked: Asked) -> Turns {
        let mut turns = Turns::default();
        let mut draws = [asked.draw(self.flows), asked.draw(self.flows)];
        let started = Instant::now();
        while turns.ours.len() < TURNS || started.elapsed() < self.time {
            turns
                .ours
                .push(turn(&mut self.ours, &mut draws[0], self.flows));
            turns.theirs.push(turn(theirs, &mut draws[1], self.flows));
        }
        turns
    }
}

/// Cycles per lookup in the windows of each turn.
#[derive(Default)]
struct Turns {
    ours: Vec<Vec<f64>>,
    theirs: Vec<Vec<f64>>,
}

impl Turns {
    fn ratio(&self) -> f64 {
        let pairs = self.ours.iter().zip(&self.theirs);
        let ratios = pairs.map(|(ours, theirs)| middle(theirs) / middle(ours));
        middle(&ratios.collect::<Vec<_>>())
    }
}

/// One turn of one table, beginning with lookups that only warm its caches.
fn turn<C: Contender>(meter: &mut Meter<C>, draw: &mut Draw, flows: u32) -> Vec<f64> {
    meter.cycles(draw, u64::from(flows * 4).min(WARM_UP));
    (0..WINDOWS).map(|_| meter.cycles(draw, WINDOW)).collect()
}

fn middle(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Where and how the numbers came about.
pub fn header(core: usize) {
    println!(
        "{} · {} · core {core} · batches of {BATCH}, random directions of random flows",
        report::machine(),
        report::compiler()
    );
    println!("Cycles of the time-stamp counter per lookup; the ratio is theirs to ours, in turns.");
    if cfg!(not(feature = "dpdk")) {
        println!("left out: rte_hash, because this was built without the feature dpdk");
    }
    println!(
        "{:>9} {:<10} {:<9}{:>9}{:>8}{:>8}{:>9}{:>8}{:>8}{:>8}  memory, ours and theirs",
        "flows", "asked", "beside", "ours", "(5 %)", "spread", "theirs", "(5 %)", "spread", "ratio"
    );
}

/// One row of the table.
pub fn print(row: &Row) {
    let side = |side: &Side| {
        let Quantiles { median, p5, .. } = side.cycles;
        let spread = side.cycles.spread() * 100.0;
        format!("{median:>9.1}{p5:>8.1}{spread:>7.0}%")
    };
    println!(
        "{:>9} {:<10} {:<9}{}{}{:>8.2}  {} · {}",
        row.flows,
        format!("{} {}", row.family, row.asked.name()),
        row.name,
        side(&row.ours),
        side(&row.theirs),
        row.ratio,
        row.ours.footprint,
        row.theirs.footprint,
    );
}

/// All rows as JSON.
pub fn document(core: usize, rows: &[Row]) -> Value {
    let side = |side: &Side| {
        let Quantiles {
            median, p5, p95, ..
        } = side.cycles;
        json!({
            "cycles_per_lookup": { "p5": p5, "median": median, "p95": p95 },
            "memory_mib": side.footprint.mebibytes(),
            "pages": side.footprint.pages(),
        })
    };
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "flows": row.flows,
                "family": row.family,
                "asked": row.asked.name(),
                "beside": row.name,
                "ours": side(&row.ours),
                "theirs": side(&row.theirs),
                "ratio": row.ratio,
            })
        })
        .collect();
    json!({
        "machine": report::machine(),
        "compiler": report::compiler(),
        "core": core,
        "batch": BATCH,
        "results": rows,
    })
}
