//! `vrouterd replay`, and the scapy scripts that feed and judge it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::{Output, try_run};
use crate::programs;

/// Runs a script of `scapy/` with Debian's Python; `None`, with a line that
/// says so, where scapy is not installed.
///
/// # Panics
/// With all it said, if it fails.
pub fn scapy(script: &str, args: &[&str]) -> Option<String> {
    let output = try_scapy(script, args)?;
    assert!(output.status == Some(0), "{output}");
    Some(output.stdout)
}

/// The same for a script whose failure says something.
pub fn try_scapy(script: &str, args: &[&str]) -> Option<Output> {
    let path = format!("{}/scapy/{script}", env!("CARGO_MANIFEST_DIR"));
    try_python(&[&[path.as_str()], args].concat())
}

/// Runs Debian's Python, for a program that imports scapy; `None`, with a line that says so, where
/// that is not installed.
pub fn try_python(args: &[&str]) -> Option<Output> {
    if python(&["-c", "import scapy"]).status != Some(0) {
        eprintln!("left out: python3-scapy is not installed; run scripts/setup");
        return None;
    }
    Some(python(args))
}

/// Another Python may come first on the path, without Debian's packages.
fn python(args: &[&str]) -> Output {
    try_run(
        Command::new("/usr/bin/python3")
            .args(["-B", "-W", "ignore"])
            .args(args),
    )
}

/// Runs captures, each `VIF.pcap` in `inputs`, through the configuration in
/// `objects`. Writes `out/VIF.pcap` and `report.json` into `directory` and
/// returns the report.
///
/// # Panics
/// If it fails, or its report is not JSON.
pub fn replay(objects: &Path, inputs: &[&Path], directory: &Path) -> Value {
    let output = try_replay(objects, inputs, directory);
    assert!(output.status == Some(0), "{output}");
    let report = directory.join("report.json");
    let text = fs::read_to_string(&report).expect("the report was written");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{report:?}: {error}"))
}

/// The same for a configuration that may be refused.
pub fn try_replay(objects: &Path, inputs: &[&Path], directory: &Path) -> Output {
    let mut command = Command::new(programs::vrouterd());
    command.arg("replay").arg("--config").arg(objects);
    for input in inputs {
        let vif = input.file_stem().unwrap_or_default().to_string_lossy();
        command
            .arg("--in")
            .arg(format!("{vif}={}", input.display()));
    }
    command.arg("--out").arg(directory.join("out"));
    command.arg("--report").arg(directory.join("report.json"));
    try_run(command.args(["--seed", "1"]))
}
