//! Where the programs under test are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::run;

/// The directory they are in. Built before the first use: by cargo into the
/// directory this test runs from, or by whoever set `VROUTER_PROGRAMS` to it.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| match env::var_os("VROUTER_PROGRAMS") {
        Some(directory) => directory.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    // target/PROFILE/deps/TEST-HASH
    let test = env::current_exe().expect("the system knows what runs");
    let directory = test
        .ancestors()
        .nth(2)
        .unwrap_or_else(|| panic!("{test:?} is in no target directory"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "ctl", "--bins"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.arg("--target-dir").arg(directory.join(".."));
    if directory.ends_with("release") {
        cargo.arg("--release");
    }
    if cfg!(not(feature = "dpdk")) {
        cargo.arg("--no-default-features");
    }
    run(&mut cargo);
    directory.into()
}

/// The daemon.
pub fn vrouterd() -> PathBuf {
    directory().join("vrouterd")
}

/// The command line.
pub fn vrctl() -> PathBuf {
    directory().join("vrctl")
}
