//! Dropped packets, captures and metrics, as an operator asks for them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ctl::metrics::{Format, page};
use ctl::proto;
use dataplane::io::memory::Peer;
use support::{Daemon, runtime, udp_frame};

const OBJECTS: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, protocol: udp, destination_ports: ["53"]}
      - {id: 20, action: deny, protocol: udp, destination_ports: ["69"]}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
  - {name: web-2, role: tenant, device: "memory:2", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6], ingress_policies: [web]}
"#;

/// A daemon with two machines; what web-2 gets is guarded.
fn start() -> (Daemon, Peer, Peer) {
    let daemon = Daemon::start();
    let web_1 = daemon.devices.plug("memory:1", 1);
    let web_2 = daemon.devices.plug("memory:2", 1);
    let file = daemon.file("net.yaml", OBJECTS);
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    (daemon, web_1, web_2)
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What tshark makes of a file, a line for each packet.
fn tshark(file: &str, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.args(["-r", file, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let home = tempfile::tempdir().unwrap();
    let output = command.env("HOME", home.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Whether vrctl compiles capture filters: libpcap comes with DPDK.
const FILTERS: bool = cfg!(feature = "dpdk");

#[test]
fn a_dropped_packet_says_which_rule_since_which_generation() {
    let (daemon, web_1, _web_2) = start();
    web_1.send(&udp_frame(5, 69));
    web_1.send(&udp_frame(7, 53));
    let said = wait_for("the ledger", || {
        let said = daemon.vrctl(&["drops", "--packets"]);
        (said.out.lines().count() == 4).then_some(said)
    });
    for line in [
        "web-1 10.1.0.5:4096 > 10.1.0.6:69 udp, 46 bytes",
        "policy_denied: policy web rule 20 (ingress of vif web-2), vrf front, generation 1",
        "web-1 10.1.0.7:4096 > 10.1.0.6:53 udp, 46 bytes",
        "spoofed_source: vif web-1 (addresses), vrf front, generation 1",
    ] {
        assert!(said.out.contains(line), "{}", said.out);
    }
    let said = daemon.vrctl(&["drops", "--since", "5m"]);
    let cells: Vec<_> = said
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(cells[..3], ["policy_denied", "web-1", "1"], "{said:?}");
    assert_eq!(
        cells[5..],
        [
            "policy", "web", "rule", "20", "(ingress", "of", "vif", "web-2)"
        ]
    );

    let filtered = [
        (vec!["--reason", "spoofed_source"], 1),
        (vec!["--vif", "web-2"], 0),
        (vec!["--filter", "src host 10.1.0.7"], 1),
        (vec!["--filter", "udp port 69 or udp port 53"], 2),
        (vec!["--since", "0s"], 0),
    ];
    for (args, count) in filtered {
        if args[0] == "--filter" && !FILTERS {
            continue;
        }
        let all = [&["drops", "--packets", "-o", "json"][..], &args].concat();
        let said = daemon.vrctl(&all);
        let packets: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(packets.as_array().unwrap().len(), count, "{args:?}");
    }
    let said = daemon.vrctl(&["drops", "--packets", "--reason", "bad_luck"]);
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(said.err.contains("`bad_luck` is no reason"), "{said:?}");
}

/// Runs a capture to its end while frames are sent; returns what it wrote and said.
fn capture(daemon: &Daemon, args: &[&str], mut send: impl FnMut()) -> (String, String) {
    let file = daemon.dir.path().join("capture.pcapng");
    let mut child = daemon
        .vrctl_command()
        .args(["capture", "-w", file.to_str().unwrap()])
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait_for("the capture", || {
        send();
        child.try_wait().unwrap()
    });
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(status.success(), "{said}");
    (file.to_str().unwrap().to_owned(), said)
}

#[test]
#[cfg_attr(
    not(feature = "dpdk"),
    ignore = "filters take libpcap, which comes with DPDK"
)]
fn a_capture_opens_in_tshark_with_names_directions_and_filter() {
    let (daemon, web_1, _web_2) = start();
    let send = || {
        web_1.send(&udp_frame(5, 53));
        web_1.send(&udp_frame(5, 69));
    };
    let fields = [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "udp.dstport",
        "frame.len",
    ];
    let args = ["web-1", "web-2", "--filter", "udp port 53", "-c", "2"];
    let (file, _) = capture(&daemon, &args, send);
    let mut lines = tshark(&file, &fields);
    lines.sort();
    let directions: Vec<_> = lines
        .iter()
        .map(|line| line.split('|').take(3).collect::<Vec<_>>())
        .collect();
    assert_eq!(directions[0][0], "web-1", "{lines:?}");
    assert!(
        lines.iter().all(|line| line.ends_with("|53|46")),
        "{lines:?}"
    );
    let (file, _) = capture(&daemon, &["web-2", "--direction", "tx", "-c", "1"], send);
    assert_eq!(tshark(&file, &fields), ["web-2|0x00000002|53|46"]);
    let (file, _) = capture(&daemon, &["--direction", "rx", "-c", "1", "-s", "34"], send);
    let lines = tshark(
        &file,
        &["frame.interface_name", "frame.cap_len", "frame.len"],
    );
    assert_eq!(lines, ["web-1|34|46"]);
    let said = daemon.vrctl(&["capture", "nobody", "-c", "1"]);
    assert_eq!(
        (said.status, &said.err[..]),
        (Some(1), "vifs: there is no vif nobody\n")
    );
}

#[test]
fn dropped_packets_are_captured_with_their_cause_as_comment() {
    let (daemon, web_1, _web_2) = start();
    let send = || _ = web_1.send(&udp_frame(5, 69));
    let (file, _) = capture(&daemon, &["--drops", "-c", "1"], send);
    assert_eq!(
        tshark(
            &file,
            &["frame.interface_name", "udp.dstport", "frame.comment"]
        ),
        [
            "web-1|69|policy_denied: policy web rule 20 (ingress of vif web-2), vrf front, generation 1"
        ]
    );
}

#[test]
fn what_is_over_the_rate_is_counted_in_the_file() {
    let (daemon, web_1, web_2) = start();
    let send = || {
        for _ in 0..400 {
            web_1.send(&udp_frame(5, 53));
        }
        web_2.recv_all();
    };
    let args = [
        "web-1",
        "--direction",
        "rx",
        "--rate",
        "1",
        "--duration",
        "1",
    ];
    let (file, said) = capture(&daemon, &args, send);
    assert!(said.contains("packets were left out"), "{said}");
    let lines = tshark(&file, &["frame.number"]);
    assert!(lines.len() <= 66, "{}", lines.len());
    let counted = Command::new("capinfos")
        .args(["-M", &file])
        .output()
        .unwrap();
    let counted = String::from_utf8(counted.stdout).unwrap();
    assert!(counted.contains("Number of packets"), "{counted}");
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_traffic_goes_on() {
    let (daemon, web_1, web_2) = start();
    let stuck = runtime();
    let stream = stuck.block_on(async {
        let mut client = daemon.client().await;
        let request = proto::CaptureRequest {
            snap_len: Some(1_500),
            max_rate: Some(1_000_000),
            ..proto::CaptureRequest::default()
        };
        client.capture(request).await.unwrap()
    });
    // Nobody drives this client from here on; its windows and the daemon's rings fill.
    let mut frame = udp_frame(5, 53);
    frame.resize(1_500, 0);
    let (mut sent, mut arrived) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(9);
    while Instant::now() < deadline {
        sent += (0..32).filter(|_| web_1.send(&frame)).count() as u64;
        arrived += web_2.recv_all().len() as u64;
    }
    // All of it is accounted for, and nothing is held up.
    wait_for("delivery", || {
        arrived += web_2.recv_all().len() as u64;
        let stats = runtime().block_on(async { daemon.client().await.stats().await.unwrap() });
        let drops = stats.vifs.iter().flat_map(|vif| &vif.drops);
        let dropped: u64 = drops.map(|drop| drop.packets).sum();
        (arrived + dropped == sent).then_some(())
    });
    assert!(arrived > 10_000, "{arrived} of {sent}");
    let ended = stuck.block_on(async move {
        let mut stream = stream;
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return "ended".into(),
                Err(status) => return format!("{:?}: {}", status.code(), status.message()),
            }
        }
    });
    assert_eq!(
        ended,
        "ResourceExhausted: cut off: nothing was read for 5 s"
    );
}

#[test]
fn a_bad_filter_is_refused_by_name() {
    let (daemon, ..) = start();
    runtime().block_on(async {
        let mut client = daemon.client().await;
        let jump = proto::BpfInstruction {
            code: 0x15,
            jump_true: 9,
            jump_false: 9,
            operand: 0,
        };
        let request = proto::CaptureRequest {
            filter: vec![jump],
            ..proto::CaptureRequest::default()
        };
        let error = client.capture(request).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "filter: instruction 0 leads out of the filter"
        );
        for (request, said) in [
            (
                proto::CaptureRequest {
                    snap_len: Some(5),
                    ..proto::CaptureRequest::default()
                },
                "snap_len: 5 is out of range, 14 to 65535",
            ),
            (
                proto::CaptureRequest {
                    max_rate: Some(0),
                    ..proto::CaptureRequest::default()
                },
                "max_rate: 0 is out of range, 1 to 1000000",
            ),
        ] {
            assert_eq!(
                client.capture(request).await.err().unwrap().to_string(),
                said
            );
        }
    });
    let said = daemon.vrctl(&["capture", "web-1", "--filter", "tcp prot 80"]);
    let named = if FILTERS { "`tcp prot 80`" } else { "libpcap" };
    assert!(said.err.contains(named), "{said:?}");
}

/// A reading in which every family has a sample.
fn full_stats() -> proto::StatsResponse {
    let (daemon, web_1, web_2) = start();
    let file = daemon.file(
        "more.yaml",
        r#"
vrfs:
  - {name: world}
  - {name: front, gateways: [10.1.0.1/24], flow_quota: 100}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], flow_quota: 50}
snat_pools:
  - {name: out, vrf: front, outside_vrf: world, addresses: [203.0.113.1]}
services:
  - {name: redis, vrf: front, address: 10.200.0.1, protocol: tcp, port: 6379, backends: [{address: 10.1.0.6, port: 6379}]}
"#,
    );
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    for _ in 0..40 {
        web_1.send(&udp_frame(5, 53));
        web_1.send(&udp_frame(5, 69));
        std::thread::sleep(Duration::from_millis(5));
    }
    wait_for("delivery", || {
        (web_2.recv_all().len() == 40)
            .then_some(())
            .or(web_2.is_open().then_some(()))
    });
    runtime().block_on(async {
        let mut client = daemon.client().await;
        client.stats_with_rules().await.unwrap()
    })
}

fn promtool(args: &[&str], input: &str) {
    let Ok(mut child) = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        println!("left out: there is no promtool; scripts/setup installs it");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}\n{input}");
}

#[test]
fn metrics_pass_promtool_and_all_that_monitoring_mentions_is_there() {
    let stats = full_stats();
    let text = page(&stats, Format::Prometheus);
    promtool(&["check", "metrics"], &text);
    assert!(page(&stats, Format::OpenMetrics).ends_with("# EOF\n"));

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring");
    promtool(&["check", "rules", &format!("{folder}/alerts.yaml")], "");
    promtool(
        &["test", "rules", &format!("{folder}/alerts-test.yaml")],
        "",
    );
    let samples: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    for name in ["alerts.yaml", "dashboard.json"] {
        let file = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
        let is_part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let mentioned = file
            .split(is_part)
            .filter(|word| word.starts_with("vrouter_"));
        let mut count = 0;
        for metric in mentioned {
            assert!(
                samples.contains(&metric),
                "{name}: {metric} is not exported"
            );
            count += 1;
        }
        assert!(count > 10, "{name}: {count}");
    }
    let dashboard = std::fs::read_to_string(format!("{folder}/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            panel["title"].is_string() && panel["gridPos"]["h"].is_u64(),
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "5m");
            // promtool reads an expression only in a rule.
            let rule = serde_json::json!({"groups": [{"name": "g", "rules": [{"record": "r", "expr": expr}]}]});
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), rule.to_string()).unwrap();
            promtool(&["check", "rules", file.path().to_str().unwrap()], "");
        }
    }
}

#[test]
fn metrics_are_answered_over_http() {
    let (daemon, web_1, _web_2) = start();
    web_1.send(&udp_frame(5, 69));
    let addr = daemon.metrics.expect("they are on");
    let get = |request: &str| {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let wanted = "vrouter_vif_dropped_packets_total{vif=\"web-1\",reason=\"policy_denied\"} 1\n";
    let answer = wait_for("the drop", || {
        let answer = get("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        answer.contains(wanted).then_some(answer)
    });
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
    assert!(
        answer.contains("vrouter_rule_packets_total{policy=\"web\",rule=\"20\"} 1\n"),
        "{answer}"
    );
    assert!(get("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(get("PUT /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
    // Who says nothing holds nobody up.
    let _silent: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
    assert!(get("GET /metrics HTTP/1.1\r\n\r\n").contains(wanted));
}

/// A terminal without a screen, in which a program runs.
struct Terminal {
    name: String,
}

impl Terminal {
    /// `None` without tmux.
    fn run(daemon: &Daemon, args: &str) -> Option<Terminal> {
        let name = format!("vrctl-{}", std::process::id());
        let socket = daemon.socket();
        let command = format!(
            "{} --socket {} {args}",
            env!("CARGO_BIN_EXE_vrctl"),
            socket.display()
        );
        let terminal = Terminal { name };
        terminal
            .tmux(&[
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                "110",
                "-y",
                "36",
                &command,
            ])
            .map(|_| terminal)
    }

    fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]).unwrap();
    }

    fn picture(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap_or_default()
    }

    fn tmux(&self, args: &[&str]) -> Option<String> {
        let output = Command::new("tmux")
            .args(["-L", &self.name])
            .args(args)
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// The picture is kept in the docs: `UPDATE_DOCS=1 cargo test -p ctl --test observe` takes it anew.
#[test]
fn top_shows_two_tenants_under_load_in_a_terminal() {
    let (daemon, web_1, web_2) = start();
    let db_1 = daemon.devices.plug("memory:3", 1);
    let db_2 = daemon.devices.plug("memory:4", 1);
    let file = daemon.file(
        "back.yaml",
        r#"
vrfs:
  - {name: back, gateways: [10.1.0.1/24]}
vifs:
  - {name: db-1, role: tenant, device: "memory:3", vrf: back, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
  - {name: db-2, role: tenant, device: "memory:4", vrf: back, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
"#,
    );
    assert_eq!(daemon.vrctl(&["apply", "-f", &file]).status, Some(0));
    let Some(terminal) = Terminal::run(&daemon, "top") else {
        println!("left out: there is no tmux; scripts/setup installs it");
        return;
    };
    let wanted = [
        "workers",
        "web-1",
        "db-2",
        "policy_denied",
        "policy web rule 20",
        "front",
        "back",
        "10.1.0.6:53",
        "tenant",
    ];
    let mut flow = 0_u8;
    let picture = wait_for("the picture", || {
        for _ in 0..20 {
            flow = flow.wrapping_add(1);
            let mut other = udp_frame(5, 53);
            other[34] = flow % 4;
            web_1.send(&udp_frame(5, 53));
            web_1.send(&udp_frame(5, 69));
            db_1.send(&other);
            web_2.recv_all();
            db_2.recv_all();
            std::thread::sleep(Duration::from_millis(2));
        }
        let picture = terminal.picture();
        let has_all = wanted.iter().all(|part| picture.contains(part));
        // Of rates, once there are two readings.
        (has_all && picture.contains("udp")).then_some(picture)
    });
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/monitoring/top.txt");
        let lines: Vec<_> = picture.lines().map(str::trim_end).collect();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }
    for key in ["Tab", "Enter", "s", "Space"] {
        terminal.press(key);
    }
    wait_for("the stop", || {
        terminal.picture().contains("STOPPED").then_some(())
    });
    terminal.press("q");
    // The session ends with its program.
    wait_for("the end", || terminal.picture().is_empty().then_some(()));
    let said = daemon.vrctl(&["top"]);
    assert_eq!(
        (said.status, said.err.contains("needs a terminal")),
        (Some(2), true)
    );
}

#[test]
fn diff_shows_what_apply_would_change_and_what_get_wrote_changes_nothing() {
    let (daemon, ..) = start();
    let said = daemon.vrctl(&["get", "all", "-o", "yaml"]);
    let same = daemon.file("same.yaml", &said.out);
    let said = daemon.vrctl(&["diff", "-f", &same, "--replace"]);
    assert_eq!(said.out, "no difference to generation 1\n", "{said:?}");
    assert!(!said.out.contains('\x1b'), "colours are for terminals");
    let text = OBJECTS.replace("addresses: [10.1.0.5]", "addresses: [10.1.0.5, 10.1.0.55]");
    let text = text.replace("destination_ports: [\"69\"]", "destination_ports: [\"70\"]");
    let changed = daemon.file(
        "changed.yaml",
        &(text + "meters:\n  - {name: m, packets_per_second: 5}\n"),
    );
    let said = daemon.vrctl(&["diff", "-f", &changed]);
    for line in [
        "+ meter m\n",
        "~ policy web\n    - rules: {id: 20, action: deny, ",
        "~ vif web-1\n    + addresses: 10.1.0.55\n",
    ] {
        assert!(said.out.contains(line), "{line}: {}", said.out);
    }
    assert_eq!(
        daemon.vrctl(&["diff", "-f", &same]).out,
        "no difference to generation 1\n"
    );
}

#[test]
fn doctor_says_what_is_wrong_and_what_it_costs() {
    let (daemon, ..) = start();
    let said = daemon.vrctl(&["doctor"]);
    for topic in [
        "hugepages",
        "cores",
        "numa",
        "offloads",
        "mtu",
        "links",
        "losses",
        "flows",
    ] {
        assert!(said.out.contains(topic), "{topic}: {said:?}");
    }
    // Whatever machine this is, its cores are not all isolated.
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.out.contains("costs: ") && said.out.contains("do: "),
        "{said:?}"
    );
}
