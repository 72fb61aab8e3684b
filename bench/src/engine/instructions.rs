//! Instructions per packet and where they are spent, counted by callgrind: exact and repeatable
//! where the processor's own counters are out of reach.
//!
//! The program runs itself under valgrind. That run sets all flows up, and lets callgrind count in
//! [`Rig::count`] alone, without what makes frames and takes them back.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::case::{Case, Load};
use super::prepared;
use super::rig::Rig;

/// Packets that are counted.
const PACKETS: u64 = 64_000;

/// What one packet takes.
pub struct Count {
    /// What was measured.
    pub case: Case,
    /// Instructions per packet.
    pub total: f64,
    /// The same by source file, most first.
    pub files: Vec<(String, f64)>,
}

/// Counts one case; `arguments` say it on the command line.
///
/// # Errors
/// A sentence, if valgrind is not there or does not say what it counted.
pub fn count(case: &Case, arguments: &[String]) -> Result<Count, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let name = format!("vrbench-{}.callgrind", std::process::id());
    let counts = env::temp_dir().join(name);
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--collect-atstart=no",
            "--toggle-collect=*rig::counted*",
            "--toggle-collect=*rig::outside*",
        ])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(program)
        .arg("engine-counted")
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot start valgrind ({error}); is it installed?"))?;
    let text = fs::read_to_string(&counts).unwrap_or_default();
    // Best effort: it is in the directory for temporary files.
    let _ = fs::remove_file(&counts);
    let files = by_file(&text);
    if files.is_empty() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("callgrind counted nothing: {said}"));
    }
    let mut files: Vec<(String, f64)> = files
        .into_iter()
        .map(|(file, cost)| (short(&file), cost as f64 / PACKETS as f64))
        .collect();
    files.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(Count {
        case: *case,
        total: files.iter().map(|(_, cost)| cost).sum(),
        files,
    })
}

/// The run that valgrind watches.
///
/// # Errors
/// As [`super::measure`].
pub fn run(case: &Case) -> Result<(), String> {
    let mut rig: Rig = prepared(case)?;
    rig.set_fresh(match case.load {
        Load::Established => 0,
        Load::New => 100,
        Load::Churn(percent) => percent,
    });
    rig.count(PACKETS);
    rig.check()
}

/// Prints the total, and the files in which more than one instruction in a hundred is spent.
pub fn print(count: &Count) {
    let case = &count.case;
    println!(
        "{} {} {} {}, {} flows: {:.0} instructions per packet",
        case.path, case.family, case.wrap, case.load, case.flows, count.total
    );
    for (file, cost) in count
        .files
        .iter()
        .filter(|(_, cost)| *cost > count.total / 100.0)
    {
        println!("{cost:>10.1}  {file}");
    }
}

/// For programs.
pub fn document(counts: &[Count]) -> Value {
    let results = counts.iter().map(|count| {
        let files = count.files.iter();
        let files: serde_json::Map<String, Value> = files
            .map(|(file, cost)| (file.clone(), json!(cost)))
            .collect();
        json!({
            "path": count.case.path.to_string(),
            "family": count.case.family.to_string(),
            "tunnel": count.case.wrap.to_string(),
            "load": count.case.load.to_string(),
            "flows": count.case.flows,
            "instructions_per_packet": count.total,
            "by_file": files,
        })
    });
    json!({ "compiler": crate::report::compiler(), "results": results.collect::<Vec<_>>() })
}

/// Instructions by the source file they come from, inlined or not, as callgrind's output has them
/// (its manual, "Callgrind Format Specification").
fn by_file(text: &str) -> HashMap<String, u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut costs: HashMap<String, u64> = HashMap::new();
    let mut file = "";
    let mut is_call = false;
    for line in text.lines() {
        if let Some((key, value)) = line.split_once('=') {
            match key {
                "fl" | "fi" | "fe" => file = named(&mut names, value),
                // Where calls go is said in the same names.
                "cfi" | "cfl" => _ = named(&mut names, value),
                "calls" => is_call = true,
                _ => {}
            }
            continue;
        }
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if !is_cost {
            continue;
        }
        // What a call costs is counted where it is spent.
        if std::mem::take(&mut is_call) {
            continue;
        }
        let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok());
        *costs.entry(file.to_owned()).or_default() += cost.unwrap_or(0_u64);
    }
    costs.retain(|_, cost| *cost > 0);
    costs
}

/// A name that is said in full the first time and by its number afterwards.
fn named<'a>(names: &mut HashMap<&'a str, &'a str>, value: &'a str) -> &'a str {
    match value.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(value).copied().unwrap_or(value),
    }
}

/// The end of a path that tells where in the project, or in which library, it is.
fn short(path: &str) -> String {
    let of = |mark: &str| path.rfind(mark).map(|at| path[at + 1..].to_owned());
    [
        "/dataplane/src/",
        "/flowtable/src/",
        "/encap/src/",
        "/bench/src/",
        "/library/",
    ]
    .into_iter()
    .find_map(of)
    .or_else(|| {
        path.rsplit_once("/src/").map(|(before, file)| {
            let package = before.rsplit('/').next().unwrap_or_default();
            format!("{package}/{file}")
        })
    })
    .unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_where_their_instructions_are() {
        let text = "events: Ir\n\nfl=(1) /x/dataplane/src/a.rs\nfn=(1) a\n16 400\nfi=(2) /x/encap/src/b.rs\n\
                    +3 20\ncfn=(2) c\ncalls=1 50\n16 400\nfe=(1)\n* 7\n";
        let costs = by_file(text);
        assert_eq!(costs["/x/dataplane/src/a.rs"], 407);
        assert_eq!(costs["/x/encap/src/b.rs"], 20);
        assert_eq!(short("/x/dataplane/src/a.rs"), "dataplane/src/a.rs");
    }
}
