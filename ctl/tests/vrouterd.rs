//! vrouterd as an operator starts it: replay, the daemon, and what it says when
//! it cannot.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::process::Command;

use dataplane::io::pcap::{PcapReader, PcapWriter};
use serde_json::{Value, json};
use support::Said;

fn vrouterd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vrouterd"))
}

fn said(command: &mut Command) -> Said {
    Said::of(command.output().unwrap())
}

const OBJECTS: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
vifs:
  - {name: web-1, role: tenant, device: "net_null0", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
  - {name: web-2, role: tenant, device: "net_null1", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
"#;

/// An ARP request of web-1 (RFC 826) for an address.
fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let sender = [2, 0, 0, 0, 1, 5];
    let mut frame = vec![0xff; 6];
    frame.extend(sender);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(sender);
    frame.extend([10, 1, 0, 5]);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let mut writer = PcapWriter::create(path).unwrap();
    for (second, frame) in (1..).zip(frames) {
        writer.write(second * 1_000_000_000, frame).unwrap();
    }
    writer.finish().unwrap();
}

fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PcapReader::open(path).unwrap();
    let mut frames = Vec::new();
    while let Some((_, frame)) = reader.next_packet().unwrap() {
        frames.push(frame.to_vec());
    }
    frames
}

/// A directory with `net.yaml` and `in.pcap`, and a replay of them.
fn replay(dir: &Path, more: &[&str]) -> Said {
    let mut command = vrouterd();
    command
        .current_dir(dir)
        .args(["replay", "--config", "net.yaml", "--in", "web-1=in.pcap"]);
    said(command.args(more))
}

fn prepare() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("net.yaml"), OBJECTS).unwrap();
    let requests = [arp_request([10, 1, 0, 1]), vec![0; 5]];
    write_capture(&dir.path().join("in.pcap"), &requests);
    dir
}

#[test]
fn a_replay_answers_and_accounts_for_every_packet() {
    let dir = prepare();
    let ended = replay(dir.path(), &["--out", "sent", "--report", "report.json"]);
    assert_eq!(
        (ended.status, ended.err.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );

    let answers = read_capture(&dir.path().join("sent/web-1.pcap"));
    assert_eq!(answers.len(), 1);
    // The gateway's answer: from the virtual router's MAC, operation 2.
    assert_eq!(answers[0][6..12], [0, 0, 0x5e, 0, 1, 0]);
    assert_eq!(answers[0][20..22], [0, 2]);
    assert!(!dir.path().join("sent/web-2.pcap").exists());

    let report = std::fs::read_to_string(dir.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let keys: Vec<_> = report.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["vifs", "flows", "generation"]);
    let web_1 = &report["vifs"]["web-1"];
    assert_eq!(web_1["rx_packets"], 2);
    assert_eq!(web_1["tx_packets"], 1);
    assert_eq!(web_1["drops"], json!({"truncated": 1}));
    assert_eq!(report["vifs"]["web-2"]["tx_packets"], 0);
    assert_eq!(
        (&report["flows"], &report["generation"]),
        (&json!([]), &json!(1))
    );
}

#[test]
fn two_replays_write_the_same_bytes_and_leave_nothing_old() {
    let dir = prepare();
    let files = ["sent/web-1.pcap", "report.json"];
    let read = |name| std::fs::read(dir.path().join(name)).unwrap();
    let args = ["--out", "sent", "--report", "report.json"];
    replay(dir.path(), &args);
    let first = files.map(read);
    std::fs::write(dir.path().join("sent/web-2.pcap"), "of an earlier day").unwrap();
    replay(dir.path(), &args);
    assert!(first == files.map(read));
    let left = std::fs::read_dir(dir.path().join("sent")).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn a_replay_that_cannot_be_says_why_and_writes_nothing() {
    let dir = prepare();
    let refused = |more: &[&str], reason: &str| {
        let ended = replay(dir.path(), &[more, &["--out", "sent"]].concat());
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.err.contains(reason), "{ended:?}");
        let written = std::fs::read_dir(dir.path().join("sent"));
        assert_eq!(written.map_or(0, Iterator::count), 0);
    };
    refused(
        &["--in", "web-9=in.pcap"],
        "there is no vif `web-9` in net.yaml",
    );
    refused(&["--in", "web-2=none.pcap"], "none.pcap");
    refused(&["--in", "web-2=net.yaml"], "net.yaml");
    std::fs::write(dir.path().join("cut.pcap"), {
        let whole = std::fs::read(dir.path().join("in.pcap")).unwrap();
        whole[..whole.len() - 1].to_vec()
    })
    .unwrap();
    refused(&["--in", "web-2=cut.pcap"], "cut.pcap");
    let broken = OBJECTS
        .replace("vrf: front, mac", "vrf: frnt, mac")
        .replace("10.1.0.6", "10.1.0");
    std::fs::write(dir.path().join("net.yaml"), broken).unwrap();
    refused(
        &[],
        "net.yaml:6: vif web-2: addresses[0]: `10.1.0` is not an address",
    );
}

#[test]
fn objects_that_do_not_fit_together_are_refused_with_their_lines() {
    let dir = prepare();
    let broken = OBJECTS.replace("vrf: front, mac", "vrf: frnt, mac");
    std::fs::write(dir.path().join("net.yaml"), broken).unwrap();
    let ended = replay(dir.path(), &["--out", "sent"]);
    assert_eq!(ended.status, Some(1));
    assert_eq!(
        ended.err,
        "\
vrouterd: net.yaml:5: vif web-1: vrf: there is no vrf named `frnt`
vrouterd: net.yaml:6: vif web-2: vrf: there is no vrf named `frnt`
vrouterd: 2 mistakes; nothing was replayed
"
    );
}

#[test]
fn a_replay_does_not_overwrite_what_it_reads() {
    let dir = prepare();
    std::fs::rename(dir.path().join("in.pcap"), dir.path().join("web-2.pcap")).unwrap();
    let mut command = vrouterd();
    command.current_dir(dir.path());
    let args = [
        "replay",
        "--config",
        "net.yaml",
        "--in",
        "web-1=web-2.pcap",
        "--out",
        ".",
    ];
    let ended = said(command.args(args));
    assert_eq!(ended.status, Some(1));
    assert!(
        ended.err.contains("web-2.pcap would be overwritten"),
        "{ended:?}"
    );
    assert_eq!(read_capture(&dir.path().join("web-2.pcap")).len(), 2);
}

#[test]
fn wrong_usage_is_status_2() {
    for args in [
        &[][..],
        &["--confg", "x"],
        &["replay"],
        &["replay", "--config", "x", "--out", "y", "--in", "nothing"],
    ] {
        let ended = said(vrouterd().args(args));
        assert_eq!(ended.status, Some(2), "{args:?}: {ended:?}");
    }
    assert!(
        said(vrouterd().arg("--help"))
            .out
            .contains("flow_table_size")
    );
}

#[test]
fn a_node_file_with_mistakes_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.yaml");
    std::fs::write(&file, "cores: [x]\nsokcet: a\n").unwrap();
    if cfg!(feature = "dpdk") {
        let ended = said(vrouterd().arg("--config").arg(&file));
        assert_eq!(ended.status, Some(1));
        assert!(
            ended
                .err
                .contains("node.yaml:1: cores[0]: wants a whole number"),
            "{ended:?}"
        );
        assert!(
            ended.err.ends_with("2 mistakes; not started\n"),
            "{ended:?}"
        );
    }
    let ended = said(vrouterd().args(["--config", "/nonexistent/node.yaml"]));
    assert_eq!(ended.status, Some(1));
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn without_dpdk_the_daemon_says_so() {
    let ended = said(vrouterd().args(["--config", "node.yaml"]));
    assert_eq!(ended.status, Some(1));
    assert!(ended.err.contains("built without DPDK"), "{ended:?}");
}

/// The daemon itself, on virtual devices and ordinary pages.
#[cfg(feature = "dpdk")]
mod daemon {
    use std::io::Read;
    use std::path::PathBuf;
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    struct Node {
        dir: tempfile::TempDir,
        file: PathBuf,
    }

    impl Node {
        fn new(more: &str) -> Node {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("node.yaml");
            let socket = dir.path().join("ctl.sock");
            let state = dir.path().join("state");
            let text = format!(
                "socket: {}\nstate_dir: {}\neal: [\"--no-huge\"]\n{more}",
                socket.display(),
                state.display()
            );
            std::fs::write(&file, text).unwrap();
            Node { dir, file }
        }

        fn socket(&self) -> PathBuf {
            self.dir.path().join("ctl.sock")
        }

        /// Runs it to its end, which is expected to come at once.
        fn fails(&self) -> String {
            let ended = said(vrouterd().arg("--config").arg(&self.file));
            assert_eq!(ended.status, Some(1), "{ended:?}");
            assert!(!self.socket().exists());
            ended.err
        }

        fn start(&self) -> Running {
            let mut command = vrouterd();
            command
                .arg("--config")
                .arg(&self.file)
                .stderr(Stdio::piped());
            Running(command.spawn().unwrap())
        }

        fn vrctl(&self, args: &[&str]) -> Said {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vrctl"));
            said(command.arg("--socket").arg(self.socket()).args(args))
        }

        fn wait_until_it_answers(&self) {
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.vrctl(&["stats"]).status != Some(0) {
                assert!(Instant::now() < deadline, "vrouterd does not answer");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// Killed when the test fails.
    struct Running(Child);

    impl Running {
        fn terminate(&mut self) -> i32 {
            let pid = self.0.id().to_string();
            Command::new("kill").arg(pid).status().unwrap();
            self.0.wait().unwrap().code().unwrap()
        }

        /// What it has said, once it has ended.
        fn log(&mut self) -> String {
            let mut log = String::new();
            let stderr = self.0.stderr.as_mut().unwrap();
            stderr.read_to_string(&mut log).unwrap();
            log
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            _ = self.0.kill();
            _ = self.0.wait();
        }
    }

    const VIF: &str = "
objects:
  vrfs: [{name: front}]
  vifs:
    - {name: v, role: tenant, device: net_null0, vrf: front, mac: '02:00:00:00:01:05'}
";

    #[test]
    fn it_boots_its_objects_refuses_a_twin_and_ends_cleanly() {
        let node = Node::new(VIF);
        let mut running = node.start();
        node.wait_until_it_answers();
        assert!(node.vrctl(&["get", "vif", "v"]).out.contains("boot"));

        let twin = said(vrouterd().arg("--config").arg(&node.file));
        assert_eq!(twin.status, Some(1));
        assert!(
            twin.err.contains("is in use by another vrouterd"),
            "{twin:?}"
        );

        let more = "vifs: [{name: w, role: tenant, device: net_null1, vrf: front, mac: '02:00:00:00:01:06'}]";
        let file = node.dir.path().join("more.yaml");
        std::fs::write(&file, more).unwrap();
        let file = file.display().to_string();
        assert_eq!(
            node.vrctl(&["apply", "-f", &file]).out,
            "generation 2: 1 created\n"
        );
        assert_eq!(
            node.vrctl(&["delete", "vif", "w"]).out,
            "generation 3: 1 deleted\n"
        );
        assert_eq!(
            node.vrctl(&["apply", "-f", &file]).out,
            "generation 4: 1 created\n"
        );

        assert_eq!(running.terminate(), 0);
        assert!(!node.socket().exists());
    }

    #[test]
    fn the_socket_of_a_killed_daemon_is_taken_over() {
        let node = Node::new("");
        drop({
            let running = node.start();
            node.wait_until_it_answers();
            running
        });
        assert!(node.socket().exists());
        let said = node.vrctl(&["stats"]);
        assert_eq!(said.status, Some(2));
        assert!(
            said.err.contains("the one that made the socket is gone"),
            "{said:?}"
        );
        let _running = node.start();
        node.wait_until_it_answers();
    }

    #[test]
    fn a_device_that_is_not_there_is_named_with_its_line() {
        let node = Node::new(&VIF.replace("net_null0", "'net_af_packet0,iface=nosuch0'"));
        let err = node.fails();
        assert!(err.contains("node.yaml:8: vif v: device:"), "{err}");
        assert!(
            err.contains("there is no network interface `nosuch0`"),
            "{err}"
        );
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let err = Node::new("cores: [4000]\n").fails();
        assert!(err.contains("there is no core 4000 here"), "{err}");
    }

    #[test]
    fn a_numa_node_that_is_not_there_is_named() {
        let err = Node::new("flow_table_numa_node: 4000\n").fails();
        assert!(
            err.contains("flow_table_numa_node: there is no NUMA node 4000"),
            "{err}"
        );
    }

    #[test]
    fn it_says_which_pages_the_flow_table_got() {
        let node = Node::new("flow_table_size: 8192\nflow_table_huge_pages: false\n");
        let mut running = node.start();
        node.wait_until_it_answers();
        let said = node.vrctl(&["stats"]);
        assert!(said.out.contains("MiB of 4 KiB pages"), "{said:?}");
        assert_eq!(running.terminate(), 0);
        let log = running.log();
        assert!(
            log.contains("flow table: 8192 flows in") && log.contains("MiB of 4 KiB pages"),
            "{log}"
        );
        // Nobody asked for others.
        assert!(!log.contains("nr_hugepages"), "{log}");
    }

    #[test]
    fn an_argument_dpdk_does_not_know_is_refused() {
        let node = Node::new("");
        let text = std::fs::read_to_string(&node.file).unwrap();
        std::fs::write(&node.file, text.replace("--no-huge", "--no-such")).unwrap();
        let err = node.fails();
        assert!(err.contains("DPDK refused"), "{err}");
    }
}
