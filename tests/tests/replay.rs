//! Captures made by scapy through `vrouterd replay`: exactly the expected frames
//! come out, scapy and tshark say; and nothing malformed goes unaccounted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tests::replay::{replay, scapy};
use tests::tshark::Capture;
use tests::{Ledger, Scratch};

#[test]
fn golden_captures_come_out_as_scapy_expects() {
    let scratch = Scratch::new("golden");
    let base = scratch.to_str().expect("a plain path");
    if scapy("golden.py", &["make", base]).is_none() {
        return;
    }
    for case in sorted(&scratch) {
        let inputs = sorted(&case.join("in"));
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        replay(&case.join("objects.yaml"), &inputs, &case);
        let first = contents(&case);
        replay(&case.join("objects.yaml"), &inputs, &case);
        assert!(first == contents(&case), "{case:?} differs from run to run");
    }
    let said = scapy("golden.py", &["check", base]);
    println!("{}", said.unwrap_or_default().trim());
    tshark_agrees(&scratch);
}

/// An independent reader finds every frame well-formed, every checksum right,
/// and the tunnel headers as RFC 7348 §5 wants them.
fn tshark_agrees(base: &Path) {
    let cases = sorted(base).into_iter().filter(|path| path.is_dir());
    let captures: Vec<PathBuf> = cases.flat_map(|case| sorted(&case.join("out"))).collect();
    let all = Capture::merge(&captures, base);
    let wrong = all.objections();
    // A first fragment alone has a UDP length that reaches beyond it.
    assert!(wrong.is_empty(), "tshark objects to:\n{wrong}");

    let fields = [
        "udp.srcport",
        "udp.checksum",
        "ip.flags.df",
        "vxlan.flags",
        "vxlan.vni",
    ];
    // Not what an error quotes of a tenant's own.
    let tunnelled = all.fields("vxlan && ip.src == 192.0.2.1", &fields);
    assert!(
        tunnelled.lines().count() > 50,
        "few tunnel packets:\n{tunnelled}"
    );
    for line in tunnelled.lines() {
        let values: Vec<&str> = line.split('\t').collect();
        let port: u16 = values[0].parse().expect("a port");
        assert!(port >= 49152, "{line}");
        assert_eq!(&values[1..4], ["0x0000", "1", "0x0800"], "{line}");
        assert!(["5001", "5002"].contains(&values[4]), "{line}");
    }
}

#[test]
fn malformed_frames_are_all_accounted_for() {
    let scratch = Scratch::new("malformed");
    if scapy("malformed.py", &[scratch.to_str().expect("a plain path")]).is_none() {
        return;
    }
    for vif in ["red_a", "up0"] {
        let directory = scratch.join(vif);
        fs::create_dir(&directory).expect("the directory is ours");
        let input = scratch.join(format!("{vif}.pcap"));
        let report = replay(&scratch.join("objects.yaml"), &[&input], &directory);
        let ledger = Ledger::of_report(&report);
        println!("{vif}: {ledger:?}");
        assert!(ledger.rx > 20_000 && ledger.tx > 0, "{ledger:?}");
        assert!(ledger.is_balanced(), "{ledger:?}");
        if vif == "red_a" {
            for other in ["blue_a", "blue_b"] {
                assert_eq!(
                    report["vifs"][other]["tx_packets"], 0,
                    "red reached {other}"
                );
            }
        }
    }
}

/// The files a replay wrote, by name.
fn contents(case: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = sorted(&case.join("out"));
    files.push(case.join("report.json"));
    let read = |path: PathBuf| {
        let content = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {path:?}: {e}"));
        (path, content)
    };
    files.into_iter().map(read).collect()
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
