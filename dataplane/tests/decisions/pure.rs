//! `decide` has no clock and does no I/O: neither it nor what it is made of names any.

use std::fs;
use std::path::Path;

#[test]
fn nothing_in_the_decision_names_a_clock_a_file_or_a_die() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join("spread.rs")];
    let decide = fs::read_dir(root.join("decide")).expect("the directory is there");
    files.extend(decide.map(|entry| entry.expect("readable").path()));
    assert!(files.len() > 5);
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        for word in [
            "std::time",
            "Instant",
            "SystemTime",
            "std::fs",
            "std::io",
            "std::process",
            "std::env",
            "std::thread",
            "TcpStream",
            "UdpSocket",
            "Mutex",
            "Atomic",
            "static ",
            "thread_local",
            "rand::",
            "unsafe",
            "println",
        ] {
            assert!(!text.contains(word), "{} names {word}", file.display());
        }
    }
}
