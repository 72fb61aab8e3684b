//! Clients in other languages against the daemon: the conformance script, and the
//! example controllers of `examples/`, from an environment made for the occasion.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::support::{Daemon, runtime, upserts};
use ctl::access::{Limits, Permissions, Settings};
use ctl::proto;
use tempfile::TempDir;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a program; what it says belongs to the failure.
fn did(command: &mut Command) -> bool {
    match command.output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            eprintln!("{}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            eprintln!("{error}");
            false
        }
    }
}

/// A virtual environment with what the examples ask for; `None` where it cannot be made.
fn python() -> Option<PathBuf> {
    // Python ends with the process; the directory is the tests' own.
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        _ = std::fs::remove_dir_all(&at);
        let made = did(Command::new("/usr/bin/python3")
            .args(["-m", "venv"])
            .arg(&at));
        let installed = made
            && did(Command::new(at.join("bin/python"))
                .args(["-m", "pip", "install", "-q", "--no-cache-dir", "-r"])
                .arg(here("examples/python/requirements.txt")));
        installed.then(|| at.join("bin/python"))
    });
    if made.is_none() {
        println!(
            "left out: Python clients need python3-venv and a package index; run scripts/setup"
        );
    }
    made.clone()
}

fn daemon() -> Daemon {
    Daemon::start_with(|dir| Settings {
        read_only: Some((dir.join("view.sock"), Permissions::default())),
        limits: Limits {
            message_bytes: 1 << 20,
            changes_per_apply: 50,
            calls: 16,
            ..Limits::default()
        },
        ..Settings::default()
    })
}

/// A client and what it says, line by line.
struct Client {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    said: Vec<String>,
}

impl Client {
    fn start(command: &mut Command) -> Client {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = Vec::new();
        Client { child, lines, said }
    }

    /// Reads on until a line has this in it.
    fn until(&mut self, wanted: &str) {
        for line in self.lines.by_ref() {
            self.said.push(line.unwrap());
            if self.said.last().unwrap().contains(wanted) {
                return;
            }
        }
        panic!("`{wanted}` was never said: {:#?}", self.said);
    }

    fn ends_well(mut self) {
        self.said.extend(self.lines.map(Result::unwrap));
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.said);
    }
}

#[test]
fn every_call_and_every_error_is_as_the_protocol_says() {
    let Some(python) = python() else { return };
    let mut daemon = daemon();
    let _peer = daemon.devices.plug("memory:conf", 1);
    let mut client = Client::start(
        Command::new(python)
            .arg(here("tests/conformance/conformance.py"))
            .arg("--socket")
            .arg(daemon.socket())
            .arg("--read-only")
            .arg(daemon.dir.path().join("view.sock"))
            .arg("--proto")
            .arg(here("proto"))
            .args([
                "--device",
                "memory:conf",
                "--small-message",
                "1048576",
                "--stop",
            ]),
    );
    client.until("STOP ME");
    daemon.stop();
    client.ends_well();
}

#[test]
fn a_controller_in_python_programs_a_network_and_watches_it() {
    let Some(python) = python() else { return };
    let daemon = daemon();
    let peer = daemon.devices.plug("memory:web", 1);
    let script = here("examples/python/controller.py");
    let mut client = Client::start(
        Command::new(&python)
            .arg(&script)
            .arg("--socket")
            .arg(daemon.socket())
            .args(["--vif", "memory:web", "--events", "5"]),
    );
    client.until("generation 1: 14 created");
    client.until("link demo-1 is up");
    peer.set_link(false);
    client.until("link demo-1 is down");
    // Somebody takes something of the controller's away, and it puts it back.
    runtime().block_on(async {
        let meddle = proto::ApplyRequest {
            owner: "example-python".into(),
            changes: vec![proto::Change {
                change: Some(proto::change::Change::Delete(proto::Key {
                    key: Some(proto::key::Key::Vni(7007)),
                })),
            }],
            ..Default::default()
        };
        daemon.client().await.apply(meddle).await.unwrap();
    });
    client.until("commit 2 by example-python: vni 7007 deleted");
    client.until("generation 3: 1 created");
    client.until("commit 3 by example-python: vni 7007 created");
    client.ends_well();
    let withdrawn = Command::new(python)
        .arg(script)
        .arg("--socket")
        .arg(daemon.socket())
        .arg("--withdraw")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&withdrawn.stdout), "14 deleted\n");
}

#[test]
fn a_controller_in_javascript_programs_a_network_and_watches_it() {
    // The modules lie beside the program, and neither in the repository.
    let dir = TempDir::new().unwrap();
    for file in ["package.json", "controller.mjs"] {
        std::fs::copy(here("examples/node").join(file), dir.path().join(file)).unwrap();
    }
    let npm = ["install", "--silent", "--no-audit", "--no-fund", "--cache"];
    let npm = did(Command::new("npm")
        .args(npm)
        .arg(dir.path().join("cache"))
        .current_dir(dir.path()));
    if !npm {
        println!(
            "left out: the client in JavaScript needs npm and its registry; run scripts/setup"
        );
        return;
    }
    let daemon = daemon();
    let mut client = Client::start(
        Command::new("node")
            .arg(dir.path().join("controller.mjs"))
            .arg("--socket")
            .arg(daemon.socket())
            .arg("--proto")
            .arg(here("proto"))
            .args(["--events", "2"]),
    );
    client.until("generation 1: 5 created");
    client.until("synced");
    runtime().block_on(async {
        let other = upserts("other", "vrfs: [{name: more}]");
        daemon.client().await.apply(other).await.unwrap();
    });
    client.until("commit 2 by other: 1 objects");
    client.ends_well();
}
