//! The conformance checks of `scapy/checks/` through `vrouterd replay`, and
//! `docs/conformance.md`, which says what came of each.
//!
//! `UPDATE_DOCS=1 cargo test -p tests --test conformance` writes that page anew.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{env, fs, thread};

use tests::Scratch;
use tests::replay::{scapy, try_replay, try_scapy};
use tests::tshark::Capture;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conformance.md");

/// A capture this long holds many packets of few kinds; shorter ones hold all kinds.
const LONG: u64 = 1 << 20;

#[test]
fn every_check_is_as_docs_conformance_says() {
    let scratch = Scratch::new("conformance");
    let base = scratch.to_str().expect("a plain path");
    if scapy("conformance.py", &["make", base]).is_none() {
        return;
    }
    let cases = sorted(&scratch);
    replay_all(&cases);
    let Some(judged) = try_scapy("conformance.py", &["check", base]) else {
        return;
    };
    let found = fs::read_to_string(scratch.join("conformance.md")).unwrap_or_default();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PAGE, &found).expect("docs/ can be written");
    }
    println!("{}", judged.stdout.trim());
    assert!(judged.status == Some(0), "{judged}");
    assert!(
        found == fs::read_to_string(PAGE).unwrap_or_default(),
        "run UPDATE_DOCS=1 cargo test -p tests --test conformance"
    );
    tshark_agrees(&scratch, &cases);
}

/// Takes every case through a replay, two at a time. What a refused
/// configuration was refused for stands in `refused.txt` afterwards.
fn replay_all(cases: &[PathBuf]) {
    let next = Mutex::new(cases.iter());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = take(&next) {
                    replay_one(case);
                }
            });
        }
    });
}

fn take<'a>(next: &Mutex<std::slice::Iter<'a, PathBuf>>) -> Option<&'a PathBuf> {
    next.lock().expect("no replay panics").next()
}

fn replay_one(case: &Path) {
    let inputs = sorted(&case.join("in"));
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let output = try_replay(&case.join("objects.yaml"), &inputs, case);
    if output.status != Some(0) {
        fs::write(case.join("refused.txt"), &output.stderr).expect("the directory is ours");
    }
}

/// Another reader finds nothing wrong with what was sent either.
fn tshark_agrees(scratch: &Scratch, cases: &[PathBuf]) {
    let sent = cases.iter().flat_map(|case| sorted(&case.join("out")));
    let short = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() < LONG);
    let captures: Vec<PathBuf> = sent.filter(short).collect();
    let wrong = Capture::merge(&captures, scratch).objections();
    assert!(wrong.is_empty(), "tshark objects to:\n{wrong}");
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
