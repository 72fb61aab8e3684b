//! vrctl as a user types it: what it prints and how it exits.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::{Daemon, NET, Said, udp_frame};

#[test]
fn a_file_is_applied_once() {
    let daemon = Daemon::start();
    let file = daemon.file("net.yaml", NET);
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    assert_eq!(said.out, "generation 1: 8 created\n");
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.out, "unchanged: generation 1\n");
    let changed = daemon.file("net.yaml", &NET.replace("mode: routed", "mode: both"));
    let said = daemon.vrctl(&["apply", "-f", &changed]);
    assert_eq!(said.out, "generation 2: 1 updated, 7 unchanged\n");
}

#[test]
fn five_mistakes_are_five_lines_and_status_1() {
    let daemon = Daemon::start();
    let file = daemon.file(
        "bad.yaml",
        "\
vrfs:
  - {name: front, gatway: 10.1.0.1/24}
nexthops:
  - {name: n, tunnel: {encap: vxlan, remote: 192.0.2.300, vni: 1}}
routes:
  - {vrf: front, prefix: 10.2.0.0/16, nexthop: missing}
  - {vrf: front, prefix: 10.3.0.0/16, nexthop: n}
  - {vrf: front, prefix: 10.3.0.0/16, nexthop: n}
vnis:
  - {vni: five, vrf: front}
",
    );
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.status, Some(1), "{said:?}");
    let lines: Vec<&str> = said
        .err
        .lines()
        .map(|line| line.trim_start_matches(&file))
        .collect();
    assert_eq!(
        lines,
        [
            ":2: vrf front: gatway: is not a key of a vrf; did you mean `gateways`?",
            ":4: nexthop n: tunnel.remote: `192.0.2.300` is not an IP address; write one like 10.1.0.5 or fd01::5",
            ":6: route front 10.2.0.0/16: nexthop: there is no nexthop named `missing`",
            ":8: route front 10.3.0.0/16: is already on line 7; keep one",
            ":10: vni number 1 of vnis: vni: wants a whole number, not `five`",
            "5 mistakes; nothing was changed",
        ]
    );
    assert!(daemon.vrctl(&["stats"]).out.contains("generation 0"));
}

#[test]
fn what_get_prints_apply_takes() {
    let daemon = Daemon::start();
    let file = daemon.file("net.yaml", NET);
    daemon.vrctl(&["apply", "-f", &file]);
    for form in ["yaml", "json"] {
        let said = daemon.vrctl(&["get", "all", "-o", form]);
        assert_eq!(said.status, Some(0), "{said:?}");
        let again = daemon.file("again", &said.out);
        let said = daemon.vrctl(&["apply", "--replace", "-f", &again]);
        assert_eq!(said.out, "unchanged: generation 1\n", "{said:?}");
    }
}

#[test]
fn standard_input_is_a_file() {
    let daemon = Daemon::start();
    let mut command = daemon.vrctl_command();
    command.args(["apply", "-f", "-", "--dry-run"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"vrfs: [{name: a}]")
        .unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(
        said.out, "+ vrf a\ndry run: would be generation 1: 1 created\n",
        "{said:?}"
    );
}

#[test]
fn objects_are_shown_and_deleted_by_kind_and_name() {
    let daemon = Daemon::start();
    let file = daemon.file("net.yaml", NET);
    daemon.vrctl(&["apply", "-f", &file]);
    let said = daemon.vrctl(&["get", "routes"]);
    assert_eq!(
        said.out,
        "\
VRF    PREFIX       NEXTHOP  OWNER
back   fd02::/64    nowhere  vrctl
front  10.2.0.0/16  nowhere  vrctl
"
    );
    let said = daemon.vrctl(&["get", "route", "front", "10.2.0.0/16", "-o", "yaml"]);
    assert_eq!(
        said.out,
        "# generation 1\nroutes:\n  - {vrf: front, prefix: 10.2.0.0/16, nexthop: nowhere}\n"
    );
    let said = daemon.vrctl(&["get", "vif", "web-9"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "there is no vif web-9\n")
    );

    let said = daemon.vrctl(&["delete", "nexthop", "nowhere"]);
    assert_eq!(said.status, Some(1));
    assert!(
        said.err.contains("nexthop nowhere: is still used by"),
        "{said:?}"
    );
    let said = daemon.vrctl(&["delete", "vni", "5001"]);
    assert_eq!(
        (said.status, said.out.as_str()),
        (Some(0), "generation 2: 1 deleted\n")
    );
    let said = daemon.vrctl(&["delete", "vni", "5001"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "vni 5001: does not exist\n")
    );
}

/// Everything that decides about flows, of two tenants' networks.
const SHOP: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24], ingress_policies: [web], egress_meter: slow}
  - {name: public}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], egress_policies: [web], mirror: taps}
  - {name: tap, role: tenant, device: "memory:2", vrf: public, mac: "02:00:00:00:01:06", addresses: [192.0.2.6]}
nexthops:
  - {name: leak, vrf: public}
  - {name: to-tap, vif: tap}
address_sets:
  - {name: lb, prefixes: [10.9.0.0/24]}
  - {name: many, prefixes: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5]}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, protocol: tcp, source_sets: [lb], destination_ports: ["80", "8000-8100"]}
      - {id: 30, action: reject, protocol: icmp, icmp_types: ["8"], log: true}
      - {id: 20, action: allow, sources: [10.1.0.0/16], mirror: taps, dscp: 46}
floating_ips:
  - {name: f1, vrf: public, address: 198.51.100.7, vifs: [web-1]}
  - {name: f2, vrf: public, address: 203.0.113.0/28, inside_vrf: front, fixed: 10.2.0.0/28}
snat_pools:
  - {name: out, vrf: front, outside_vrf: public, addresses: [198.51.100.8/30], ports: 1024-65535, block_size: 512}
services:
  - name: redis
    vrf: front
    address: 10.200.0.1
    protocol: tcp
    port: 6379
    table_size: 251
    backends: [{address: 10.1.0.5}, {address: 10.1.0.6}, {address: 10.1.0.7, state: down}]
    health: {http: {path: /ready}, port: 8080}
mirrors:
  - {name: taps, nexthop: to-tap}
meters:
  - {name: slow, bits_per_second: 100000000, burst_packets: 10, packets_per_second: 1000}
"#;

#[test]
fn what_decides_about_flows_is_shown_kept_and_deleted() {
    let daemon = Daemon::start();
    let _devices = ["memory:1", "memory:2"].map(|name| daemon.devices.plug(name, 1));
    let file = daemon.file("shop.yaml", SHOP);
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.out, "generation 1: 15 created\n", "{said:?}");

    let tables = [
        (
            "address_sets",
            "\
ADDRESS SET  COUNT  PREFIXES                               OWNER
lb               1  10.9.0.0/24                            vrctl
many             5  10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 …  vrctl
",
        ),
        (
            "policies",
            "\
POLICY  RULES  ALLOW  DENY  REJECT  OWNER
web         3      2     0       1  vrctl
",
        ),
        (
            "floating_ips",
            "\
FLOATING IP  VRF     ADDRESS         FOR                   OWNER
f1           public  198.51.100.7    web-1                 vrctl
f2           public  203.0.113.0/28  10.2.0.0/28 in front  vrctl
",
        ),
        (
            "snat_pools",
            "\
SNAT POOL  VRF    OUTSIDE  ADDRESSES        PORTS       BLOCK  NAT64  OWNER
out        front  public   198.51.100.8/30  1024-65535    512  -      vrctl
",
        ),
        (
            "services",
            "\
SERVICE  VRF    ADDRESS              BACKENDS          HEALTH       OWNER
redis    front  10.200.0.1 tcp 6379  2 active, 1 down  http /ready  vrctl
",
        ),
        (
            "mirrors",
            "MIRROR  NEXTHOP  OWNER\ntaps    to-tap   vrctl\n",
        ),
        (
            "meters",
            "\
METER     BITS/S  BURST BYTES  PACKETS/S  BURST PACKETS  OWNER
slow   100000000            -       1000             10  vrctl
",
        ),
    ];
    for (kind, table) in tables {
        assert_eq!(daemon.vrctl(&["get", kind]).out, table);
    }
    assert_eq!(
        daemon.vrctl(&["get", "policy", "web"]).out,
        "\
ID  ACTION  PROTOCOL  FROM         TO                     AND                  PACKETS  BYTES
10  allow   tcp       set lb       any port 80 8000-8100  -                          0      0
30  reject  icmp 8    any          any                    log                        0      0
20  allow   any       10.1.0.0/16  any                    mirror taps dscp 46        0      0
"
    );
    let all = daemon.vrctl(&["get", "all"]).out;
    assert!(
        all.contains("1 policy\n") && all.contains("2 address_sets\n"),
        "{all}"
    );

    for form in ["yaml", "json"] {
        let said = daemon.vrctl(&["get", "all", "-o", form]);
        let again = daemon.file("again", &said.out);
        let said = daemon.vrctl(&["apply", "--replace", "-f", &again]);
        assert_eq!(said.out, "unchanged: generation 1\n", "{said:?}");
    }
    let said = daemon.vrctl(&["delete", "address_set", "lb"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "address_set lb: is still used by policy web\n")
    );
    for (generation, kind, name) in [
        (2, "service", "redis"),
        (3, "floating-ip", "f1"),
        (4, "floating_ip", "f2"),
        (5, "snat_pool", "out"),
        (6, "address-set", "many"),
    ] {
        let said = daemon.vrctl(&["delete", kind, name]);
        assert_eq!(
            said.out,
            format!("generation {generation}: 1 deleted\n"),
            "{said:?}"
        );
    }
}

#[test]
fn a_rule_that_names_nothing_is_refused_on_its_line() {
    let daemon = Daemon::start();
    let file = daemon.file(
        "bad.yaml",
        "\
vrfs:
  - {name: front}
policies:
  - name: web
    rules:
      - {id: 10, action: allow, source_sets: [lb]}
services:
  - name: redis
    vrf: front
    backend_vrf: back
    address: 10.200.0.1
    protocol: tcp
    port: 6379
",
    );
    let said = daemon.vrctl(&["apply", "-f", &file]);
    let lines = said.err.lines().map(|line| line.trim_start_matches(&file));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            ":5: policy web: rules.source_sets: there is no address_set named `lb`",
            ":10: service redis: backend_vrf: there is no vrf named `back`",
            "2 mistakes; nothing was changed",
        ]
    );
}

#[test]
fn counters_and_flows_are_shown_in_every_form() {
    let daemon = Daemon::start();
    let said = daemon.vrctl(&["stats"]);
    assert!(said.out.contains("flows: 0 of 1024"), "{said:?}");
    let said = daemon.vrctl(&["stats", "-o", "json"]);
    let stats: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stats["flow_table"]["limit"], 1024);
    assert_eq!(stats["vifs"], serde_json::json!([]));
    assert_eq!(daemon.vrctl(&["drops"]).out, "nothing was dropped\n");
    assert_eq!(daemon.vrctl(&["flows", "proto=tcp"]).out, "no flows\n");
    assert_eq!(daemon.vrctl(&["flows", "-o", "json"]).out, "[\n]\n");
    let said = daemon.vrctl(&["flows", "vrf=nobody"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "there is no vrf `nobody`\n")
    );
}

#[test]
fn traffic_is_seen_in_flows_and_drops() {
    let daemon = Daemon::start();
    let web_1 = daemon.devices.plug("memory:1", 1);
    let web_2 = daemon.devices.plug("memory:2", 1);
    let file = daemon.file(
        "net.yaml",
        r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}
  - {name: web-2, role: tenant, device: "memory:2", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
"#,
    );
    assert_eq!(
        daemon.vrctl(&["apply", "-f", &file]).out,
        "generation 1: 3 created\n"
    );
    web_1.send(&udp_frame(5, 53));
    web_1.send(&udp_frame(5, 53));
    web_1.send(&udp_frame(7, 53));
    let received = (0..500).map_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        (daemon.vrctl(&["drops"]).out == "nothing was dropped\n").then_some(())
    });
    assert!(received.count() < 500, "the spoofed packet was not dropped");
    assert_eq!(web_2.recv_all().len(), 2);

    let said = daemon.vrctl(&["drops"]);
    assert_eq!(
        said.out,
        "REASON          VIF    PACKETS\nspoofed_source  web-1        1\n"
    );
    let said = daemon.vrctl(&[
        "flows",
        "vrf=front",
        "proto=udp",
        "port=53",
        "addr=10.1.0.6",
    ]);
    let cells: Vec<_> = said
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        cells[..5],
        ["front", "udp", "10.1.0.5:4096", "10.1.0.6:53", "udp"],
        "{said:?}"
    );
    assert_eq!(
        cells[7..],
        ["2", "92", "0", "0", "vif", "web-2", "vif", "web-1"],
        "{said:?}"
    );
    let said = daemon.vrctl(&["flows", "-o", "json"]);
    let flows: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(flows[0]["forward"]["packets"], 2);
    assert_eq!(daemon.vrctl(&["flows", "port=54"]).out, "no flows\n");
}

#[test]
fn a_quota_is_seen_in_objects_stats_and_drops() {
    let daemon = Daemon::start();
    let web_1 = daemon.devices.plug("memory:1", 1);
    daemon.devices.plug("memory:2", 1);
    let file = daemon.file(
        "net.yaml",
        r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24], flow_quota: 100}
vifs:
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], flow_quota: 3}
  - {name: web-2, role: tenant, device: "memory:2", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
"#,
    );
    assert_eq!(daemon.vrctl(&["apply", "-f", &file]).status, Some(0));
    let said = daemon.vrctl(&["get", "vif", "web-1"]);
    assert!(said.out.contains("FLOW QUOTA"), "{said:?}");
    let said = daemon.vrctl(&["get", "vif", "web-1", "-o", "yaml"]);
    assert!(said.out.contains("flow_quota: 3"), "{said:?}");

    (1..=5).for_each(|port| assert!(web_1.send(&udp_frame(5, port))));
    let expected = "REASON          VIF    PACKETS\nflow_quota_vif  web-1        2\n";
    let waiting = (0..500).map_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        (daemon.vrctl(&["drops"]).out != expected).then_some(())
    });
    assert!(waiting.count() < 500, "{:?}", daemon.vrctl(&["drops"]));

    let said = daemon.vrctl(&["stats"]);
    let owners = "\
FLOWS OF   USED  QUOTA  HALF OPEN  AT MOST  REFUSED  EVICTED
vrf front     3    100          0        3        2        0
vif web-1     3      3          0        3        2        0

flows: 3 of 1024 (0.3 %), 0 half open, at most 3, 2 refused, 0 evicted
flow table: ";
    assert!(said.out.contains(owners), "{said:?}");
    let said = daemon.vrctl(&["stats", "-o", "json"]);
    let stats: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(stats["vrfs"][0]["flows"]["limit"], 100);
    assert_eq!(stats["vifs"][0]["flows"]["refused"], 2);
    assert!(stats["flow_table"]["pages"].is_string(), "{stats}");
    assert!(stats["flow_table"]["memory_bytes"].as_u64() >= Some(2 << 20));
}

#[test]
fn nobody_to_ask_is_status_2_and_one_sentence() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrctl"));
    let said = Said::of(
        command
            .args(["--socket", "/nonexistent/s", "get", "all"])
            .output()
            .unwrap(),
    );
    assert_eq!(said.status, Some(2));
    assert_eq!(
        said.err,
        "no vrouterd listens on /nonexistent/s: there is no such socket; start vrouterd, or name its socket with --socket\n"
    );
}

#[test]
fn mistakes_are_reported_without_a_daemon_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "vrfs: [{nam: a}]").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrctl"));
    command
        .args(["--socket", "/nonexistent/s", "apply", "-f"])
        .arg(&file);
    let said = Said::of(command.output().unwrap());
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("did you mean `name`?"), "{said:?}");
    assert!(
        said.err
            .contains("references were not checked: no vrouterd listens"),
        "{said:?}"
    );
}

#[test]
fn what_makes_no_sense_to_type_is_status_2() {
    let daemon = Daemon::start();
    for args in [
        &["get", "vfi"][..],
        &["get", "all", "x"],
        &["delete", "route", "front"],
        &["get", "vni", "five"],
        &["get", "vif", "a b"],
        &["flows", "front"],
        &["apply"],
        &["apply", "-f", "/nonexistent.yaml"],
        &["nonsense"],
    ] {
        let said = daemon.vrctl(args);
        assert_eq!(said.status, Some(2), "{args:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
}

#[test]
fn help_and_completions_are_printed() {
    let daemon = Daemon::start();
    assert!(
        daemon
            .vrctl(&["--help"])
            .out
            .contains("vrctl apply -f net.yaml")
    );
    assert!(
        daemon
            .vrctl(&["completions", "bash"])
            .out
            .contains("_vrctl")
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let daemon = Daemon::start();
    let mut command = daemon.vrctl_command();
    command
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
}

/// A SIGKILL at any moment of an apply leaves all of it or nothing.
#[test]
fn a_client_killed_in_the_middle_leaves_nothing_half_done() {
    const ROUTES: usize = 20_000;
    let daemon = Daemon::start();
    let routes: String = (0..ROUTES)
        .map(|i| {
            format!(
                "  - {{vrf: a, prefix: 10.{}.{}.{}/32, nexthop: n}}\n",
                i >> 16,
                i >> 8 & 255,
                i & 255
            )
        })
        .collect();
    let text =
        format!("vrfs: [{{name: a}}]\nnexthops: [{{name: n, discard: {{}}}}]\nroutes:\n{routes}");
    let file = daemon.file("large.yaml", &text);
    for pause_ms in [0, 20, 50, 100, 150, 200, 300, 400] {
        let mut command = daemon.vrctl_command();
        command.args(["apply", "-f", &file]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = daemon.vrctl(&["get", "all", "-o", "json"]);
        assert_eq!(said.status, Some(0), "{said:?}");
        let data: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let routes = data["routes"].as_array().map_or(0, Vec::len);
        assert!(
            routes == 0 || routes == ROUTES,
            "{routes} routes after {pause_ms} ms"
        );
    }
    assert_eq!(daemon.vrctl(&["apply", "-f", &file]).status, Some(0));
}

#[test]
fn learned_macs_are_shown_where_they_were_heard() {
    let daemon = Daemon::start();
    let bridge = daemon.devices.plug("memory:1", 1);
    let file = daemon.file(
        "net.yaml",
        r#"
vrfs:
  - name: front
    gateways: ["fd01::1/64"]
    learning: true
    router_advertisement: {disabled: true}
vifs:
  - {name: port, role: tenant, device: "memory:1", vrf: front, max_learned_macs: 4, storm_limit: 0}
nexthops:
  - {name: to-port, vif: port}
  - {name: all, replicate: {members: [to-port]}}
macs:
  - {vrf: front, mac: "ff:ff:ff:ff:ff:ff", nexthop: all}
"#,
    );
    let said = daemon.vrctl(&["apply", "-f", &file]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let said = daemon.vrctl(&["get", "nexthops"]);
    assert!(said.out.contains("replicate to to-port"), "{said:?}");
    // What it shows is what it takes.
    let said = daemon.vrctl(&["get", "all", "-o", "yaml"]);
    let again = daemon.file("again.yaml", &said.out);
    let said = daemon.vrctl(&["apply", "-f", &again]);
    assert!(said.out.contains("generation 1"), "{said:?}");

    assert_eq!(daemon.vrctl(&["macs"]).out, "no learned MACs\n");
    assert!(bridge.send(&udp_frame(5, 53)));
    let waiting = (0..500).map_while(|_| {
        std::thread::sleep(Duration::from_millis(10));
        (daemon.vrctl(&["macs"]).out == "no learned MACs\n").then_some(())
    });
    assert!(waiting.count() < 500);
    let said = daemon.vrctl(&["macs", "front"]);
    let cells: Vec<_> = said
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(
        cells[..4],
        ["front", "02:00:00:00:01:05", "vif", "port"],
        "{said:?}"
    );
    let said = daemon.vrctl(&["macs", "-o", "json"]);
    let macs: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(macs[0]["place"], "vif port");
    let said = daemon.vrctl(&["macs", "nobody"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "there is no vrf `nobody`\n")
    );
    assert_eq!(
        daemon
            .vrctl(&["delete", "mac", "front", "ff:ff:ff:ff:ff:ff"])
            .status,
        Some(0)
    );
}

#[test]
fn hello_and_watch_tell_who_is_there_and_what_happens() {
    let daemon = Daemon::start();
    let hello = daemon.vrctl(&["hello"]);
    assert_eq!(hello.status, Some(0), "{}", hello.err);
    assert!(hello.out.contains("vrouter.v1"), "{}", hello.out);
    let file = daemon.file("net.yaml", NET);
    daemon.vrctl(&["apply", "-f", &file]);
    let mut watch = daemon
        .vrctl_command()
        .args(["watch", "commit", "--from", "0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = watch.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert!(line.trim_start().starts_with("1  vrctl (uid "), "{line}");
    assert!(line.contains("created vrf back"), "{line}");
    let late = daemon.vrctl(&["watch", "--from", "9"]);
    assert_eq!(late.status, Some(1), "{}", late.err);
    assert!(
        late.err.contains("the last generation is 1"),
        "{}",
        late.err
    );
}
