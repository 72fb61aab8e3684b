//! Instructions per lookup, counted by callgrind: exact and repeatable where the
//! processor's own counters are out of reach.
//!
//! The program runs itself under valgrind. That run fills a table, warms it up,
//! and looks up batches through `counted`, in which alone callgrind counts;
//! what makes the keys and reads the hits is outside of it.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use flowtable::{FlowTable, Key};
use serde_json::{Value, json};

use super::compare::Asked;
use super::flows::{Draw, Family, Ipv4, Ipv6};
use super::ours::{Batch, fill, table};
use super::{BATCH, Found};
use crate::report;

/// Flows in the table: the count hardly depends on it, valgrind's time does.
const FLOWS: u32 = 10_000;
/// Batches before those that are counted, and those.
const WARM_UP: u64 = 100;
const BATCHES: u64 = 2_000;

/// What is counted, by a name that fits on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Case {
    Ipv4Hit,
    Ipv4Miss,
    Ipv6Hit,
    Ipv6Miss,
}

impl Case {
    const ALL: [Case; 4] = [Case::Ipv4Hit, Case::Ipv4Miss, Case::Ipv6Hit, Case::Ipv6Miss];

    fn name(self) -> &'static str {
        match self {
            Case::Ipv4Hit => "ipv4-hit",
            Case::Ipv4Miss => "ipv4-miss",
            Case::Ipv6Hit => "ipv6-hit",
            Case::Ipv6Miss => "ipv6-miss",
        }
    }
}

/// Counts all cases, printing each; the result is for JSON.
///
/// # Errors
/// A sentence, if valgrind is not there or does not say what it counted.
pub fn count() -> Result<Value, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    println!(
        "{} · batches of {BATCH} · {FLOWS} flows · callgrind",
        report::compiler()
    );
    println!("{:<12}{:>24}", "asked", "instructions per lookup");
    let mut results = Vec::new();
    for case in Case::ALL {
        let instructions = count_one(&program, case)?;
        let each = instructions as f64 / (BATCHES * BATCH as u64) as f64;
        println!("{:<12}{each:>24.1}", case.name());
        results.push(json!({ "asked": case.name(), "instructions_per_lookup": each }));
    }
    Ok(json!({
        "compiler": report::compiler(),
        "flows": FLOWS,
        "batch": BATCH,
        "results": results,
    }))
}

fn count_one(program: &Path, case: Case) -> Result<u64, String> {
    let name = format!("vrbench-{}-{}.callgrind", std::process::id(), case.name());
    let counts = env::temp_dir().join(name);
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--toggle-collect=*instructions::counted*",
        ])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(program)
        .args(["table", "counted", case.name()])
        .output()
        .map_err(|error| format!("cannot start valgrind ({error}); is it installed?"))?;
    let text = fs::read_to_string(&counts).unwrap_or_default();
    // Best effort: it is in the directory for temporary files.
    let _ = fs::remove_file(&counts);
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    match total.and_then(|total| total.trim().parse().ok()) {
        Some(total) if total > 0 => Ok(total),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("callgrind counted nothing: {said}"))
        }
    }
}

/// The run that valgrind watches.
///
/// # Panics
/// If the table does not find what is in it.
pub fn run(case: Case) {
    match case {
        Case::Ipv4Hit => lookups::<Ipv4>(Asked::Hit),
        Case::Ipv4Miss => lookups::<Ipv4>(Asked::Miss),
        Case::Ipv6Hit => lookups::<Ipv6>(Asked::Hit),
        Case::Ipv6Miss => lookups::<Ipv6>(Asked::Miss),
    }
}

fn lookups<F: Family>(asked: Asked) {
    let table = table(FLOWS);
    fill::<F>(&table, FLOWS);
    let mut draw = asked.draw(FLOWS);
    let mut batch = Batch::default();
    for _ in 0..WARM_UP {
        batch.lookup(&table, &keys::<F>(&mut draw));
    }
    let mut found = Found::default();
    for _ in 0..BATCHES {
        let keys = keys::<F>(&mut draw);
        counted(&table, &keys, &mut batch);
        found.merge(batch.found(BATCH));
    }
    let expected = if asked == Asked::Hit { BATCHES } else { 0 };
    assert_eq!(u64::from(found.hits), expected * BATCH as u64);
}

fn keys<F: Family>(draw: &mut Draw) -> [Key; BATCH] {
    std::array::from_fn(|_| F::key(draw.pick()))
}

/// One batch; callgrind finds it by its name.
#[inline(never)]
fn counted(table: &FlowTable, keys: &[Key; BATCH], batch: &mut Batch) {
    batch.lookup(table, keys);
}
