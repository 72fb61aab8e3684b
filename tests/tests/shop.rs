//! Two shops in four tiers on three nodes: `scripts/demo`, and what it says it showed.
#![cfg(feature = "dpdk")]

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::command::words;
use tests::{Lab, Scratch, programs, run, try_run, until};

/// What it has to show, in its own words.
const CLAIMS: [&str; 10] = [
    "shop",
    "two_shops",
    "ping",
    "balance",
    "failure",
    "refusal",
    "snat",
    "redis",
    "throughput",
    "accounts",
];

#[test]
fn the_demo_shows_what_it_says_in_time_and_leaves_nothing() {
    let Some(_lab) = Lab::enter() else { return };
    let scratch = Scratch::new("shop");
    let report = scratch.join("report.json");
    let start = Instant::now();
    let mut demo = demo();
    run(demo.arg("--report").arg(&report));
    assert!(start.elapsed() < Duration::from_secs(240));

    let text = std::fs::read_to_string(&report).expect("a report of what was shown");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let claims: Vec<&Value> = report["claims"].as_array().into_iter().flatten().collect();
    let names: Vec<_> = claims
        .iter()
        .filter_map(|claim| claim["name"].as_str())
        .collect();
    assert_eq!(names, CLAIMS);
    let figure = |claim: &str, name: &str| {
        let found = claims.iter().find(|entry| entry["name"] == claim);
        found
            .and_then(|entry| entry["figures"][name].as_f64())
            .unwrap_or(f64::NAN)
    };
    let is = |claim, name, expected: RangeInclusive<f64>| {
        let value = figure(claim, name);
        assert!(expected.contains(&value), "{claim}: {name} is {value}");
    };
    is("balance", "connections", 6000.0..=6000.0);
    is("balance", "least", 1800.0..=2000.0);
    is("balance", "most", 2000.0..=2200.0);
    is("failure", "noticed_ms", 0.0..=5000.0);
    is("redis", "gets_per_second", 100.0..=1e9);
    is("accounts", "received", 100_000.0..=1e12);
    assert_gone();
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let Some(_lab) = Lab::enter() else { return };
    let mut demo = demo();
    demo.stdout(Stdio::null()).stderr(Stdio::null());
    let mut demo = demo.spawn().expect("bash is there");
    let socket = Path::new(RUN).join("node3.sock");
    until(Duration::from_secs(30), "the third node", || {
        socket.exists().then_some(())
    });
    run(&mut words(&format!("kill -INT {}", demo.id())));
    let status = demo.wait().expect("it is our child");
    assert_eq!(status.code(), Some(130));
    assert_gone();
}

/// Where the demo keeps its files.
const RUN: &str = "/run/vrouter-demo";

/// The demo with the programs under test.
fn demo() -> Command {
    // A background job inherits that the signal is ignored, and then bash cannot trap it.
    let mut demo = Command::new("env");
    demo.env("VROUTER_PROGRAMS", programs::directory())
        .arg("--default-signal=INT")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo"))
        .arg("--built");
    demo
}

fn assert_gone() {
    assert!(!Path::new(RUN).exists());
    let namespaces = try_run(&mut words("ip netns list")).stdout;
    assert!(!namespaces.contains("vrdemo-"), "{namespaces}");
}
