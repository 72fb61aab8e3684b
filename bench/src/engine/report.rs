//! The engine's results, for people and for programs.

use serde_json::{Value, json};

use super::Line;
use crate::report::{Quantiles, compiler, machine};

/// Where and how the numbers came about.
pub fn header(core: usize) {
    println!(
        "{} · core {core} · {} · bursts of 32, random flow order",
        machine(),
        compiler()
    );
    println!(
        "{:<6} {:<5} {:<9} {:<8} {:>5} {:>9} {:>6} {:>5} {:>8} {:>8} {:>8} {:>7} {:>7}",
        "path",
        "ip",
        "tunnel",
        "load",
        "bytes",
        "flows",
        "rules",
        "vrfs",
        "routes",
        "cycles",
        "(best)",
        "Mpps",
        "spread"
    );
}

/// One line of the table.
pub fn print(line: &Line) {
    let cycles = Quantiles::of(&line.cycles);
    let case = &line.case;
    println!(
        "{:<6} {:<5} {:<9} {:<8} {:>5} {:>9} {:>6} {:>5} {:>8} {:>8.1} {:>8.1} {:>7.2} {:>6.0}%",
        case.path,
        case.family,
        case.wrap,
        case.load,
        case.size.to_string(),
        case.flows,
        case.rules,
        case.vrfs,
        case.routes,
        cycles.median,
        cycles.best,
        mpps(line),
        cycles.spread() * 100.0,
    );
}

/// All lines as JSON.
pub fn document(core: usize, lines: &[Line]) -> Value {
    let results: Vec<_> = lines.iter().map(value).collect();
    json!({
        "machine": machine(),
        "compiler": compiler(),
        "core": core,
        "burst": 32,
        "results": results,
    })
}

fn value(line: &Line) -> Value {
    let cycles = Quantiles::of(&line.cycles);
    let case = &line.case;
    json!({
        "path": case.path.to_string(),
        "family": case.family.to_string(),
        "tunnel": case.wrap.to_string(),
        "load": case.load.to_string(),
        "frame_bytes": case.size.to_string(),
        "flows": case.flows,
        "rules": case.rules,
        "vrfs": case.vrfs,
        "routes": case.routes,
        "cycles_per_packet": {
            "best": cycles.best, "median": cycles.median, "p95": cycles.p95,
        },
        "mpps_median": mpps(line),
        "windows": line.cycles.len(),
    })
}

fn mpps(line: &Line) -> f64 {
    1_000.0 / Quantiles::of(&line.nanoseconds).median
}
