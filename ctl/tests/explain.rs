//! `vrctl explain`, `vrctl apply --dry-run` and `vrctl flows --clear` as an operator types them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use dataplane::io::memory::Peer;
use support::{Daemon, Said};

const NET: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24]}
vifs:
  - {name: up0, role: fabric, device: "memory:0", mac: "02:00:00:00:00:01", addresses: [192.0.2.1/24]}
  - {name: web-1, role: tenant, device: "memory:1", vrf: front, mac: "02:00:00:00:01:05", addresses: [10.1.0.5], egress_policies: [web]}
  - {name: web-2, role: tenant, device: "memory:2", vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}
nexthops:
  - {name: to-node2, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
routes:
  - {vrf: front, prefix: 10.2.0.0/16, nexthop: to-node2}
macs:
  - {vrf: underlay, mac: "02:00:00:00:00:02", nexthop: to-node2, ip: 192.0.2.2}
vnis:
  - {vni: 5001, vrf: front}
policies:
  - name: web
    rules:
      - {id: 10, action: deny, protocol: tcp, destination_ports: ["25"]}
      - {id: 20, action: allow}
"#;

/// A daemon with the network and the far ends of web-1 and web-2.
fn start() -> (Daemon, [Peer; 2]) {
    let daemon = Daemon::start();
    let _up0 = daemon.devices.plug("memory:0", 1);
    let peers = ["memory:1", "memory:2"].map(|name| daemon.devices.plug(name, 1));
    let said = apply(&daemon, NET, &[]);
    assert_eq!(said.status, Some(0), "{said:?}");
    (daemon, peers)
}

fn apply(daemon: &Daemon, text: &str, more: &[&str]) -> Said {
    let file = daemon.file("net.yaml", text);
    daemon.vrctl(&[&["apply", "-f", &file], more].concat())
}

/// The change that ends all.
const DENY: &str = "policies: [{name: web, rules: [{id: 30, action: deny}]}]";

/// A flow from web-1 to web-2.
fn talk(daemon: &Daemon, [web_1, web_2]: &[Peer; 2]) {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 1, 5], [0, 0, 0x5e, 0, 1, 0])
        .ipv4([10, 1, 0, 5], [10, 1, 0, 6], 64)
        .udp(4_000, 53)
        .write(&mut frame, b"who?")
        .unwrap();
    web_1.send(&frame);
    let deadline = Instant::now() + Duration::from_secs(10);
    while web_2.recv().is_none() {
        assert!(Instant::now() < deadline, "{:?}", daemon.vrctl(&["drops"]));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn has(said: &Said, lines: &[&str]) {
    assert_eq!(said.status, Some(0), "{said:?}");
    for line in lines {
        assert!(said.out.contains(line), "{line}\nis not in\n{}", said.out);
    }
}

#[test]
fn a_drop_is_explained_with_its_rule_and_since_when() {
    let (daemon, _peers) = start();
    apply(&daemon, "vrfs: [{name: other}]", &[]);
    let said = daemon.vrctl(&["explain", "--in", "web-1", "tcp", "10.1.0.6:25"]);
    has(
        &said,
        &[
            "DROPPED: policy_denied, by policy web rule 10, as it is since generation 1 (generation 2)\n",
            "  arrival         tcp 10.1.0.5:40000 -> 10.1.0.6:25 SYN, ttl 64, 54 bytes, into vif web-1\n",
            "  egress policy   rule 10 of policy web denies what vif web-1 sends\n",
            "policy web rule 10, since generation 1\n",
            "  dropped         policy_denied: ",
        ],
    );
}

#[test]
fn what_passes_shows_prefix_tunnel_and_outer_bytes() {
    let (daemon, _peers) = start();
    let said = daemon.vrctl(&["explain", "--in", "web-1", "tcp", "10.2.0.9:80"]);
    has(
        &said,
        &[
            "SENT: out of vif up0",
            "longest prefix 10.2.0.0/16, to tunnel to-node2 (vxlan to 192.0.2.2, vni 5001)",
            "1 rule before it did not match",
            "bytes out of vif up0, 50 of outer headers:\n    0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00",
        ],
    );
}

#[test]
fn a_tunnels_packet_a_hex_packet_and_a_capture_are_explained() {
    let (daemon, _peers) = start();
    let from = ["explain", "--remote", "192.0.2.2", "--vrf", "front"];
    let said = daemon.vrctl(&[&from[..], &["udp", "10.2.0.9:53", "10.1.0.5:4000"]].concat());
    has(
        &said,
        &[
            "SENT: out of vif web-1",
            "VXLAN network id 5001 from 192.0.2.2 leads into vrf front",
        ],
    );
    let said = daemon.vrctl(&["explain", "--in", "web-1", "--hex", "ff ff ff"]);
    has(&said, &["DROPPED: truncated"]);
    // A capture of one frame, in the classic format.
    let mut pcap = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    pcap.extend([
        0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0,
    ]);
    pcap.extend([1, 2, 3]);
    let path = daemon.dir.path().join("one.pcap");
    std::fs::write(&path, pcap).unwrap();
    let said = daemon.vrctl(&["explain", "--in", "web-1", "--pcap", path.to_str().unwrap()]);
    has(&said, &["DROPPED: truncated"]);
}

#[test]
fn older_and_coming_configurations_are_asked() {
    let (daemon, _peers) = start();
    apply(&daemon, DENY, &[]);
    let ask = ["explain", "--in", "web-1", "tcp", "10.1.0.6:80"];
    has(
        &daemon.vrctl(&ask),
        &["DROPPED: policy_denied, by policy web rule 30, as it is since generation 2"],
    );
    let before = daemon.vrctl(&[&ask[..], &["--generation", "1"]].concat());
    has(&before, &["SENT: out of vif web-2 (generation 1)"]);
    let missing = daemon.vrctl(&[&ask[..], &["--generation", "9"]].concat());
    assert_eq!(missing.status, Some(1));
    assert_eq!(
        missing.err,
        "generation 9 is not held any more; those held are 0, 1, 2\n"
    );
    let next = daemon.file(
        "next.yaml",
        "policies: [{name: web, rules: [{id: 40, action: allow}]}]",
    );
    let then = daemon.vrctl(&[&ask[..], &["--with", &next]].concat());
    has(
        &then,
        &[
            "SENT: out of vif web-2 (generation 3)",
            "rule 40 of policy web allows",
        ],
    );
    let wrong = daemon.file(
        "wrong.yaml",
        "routes: [{vrf: front, prefix: 10.9.0.0/16, nexthop: no}]",
    );
    let refused = daemon.vrctl(&[&ask[..], &["--with", &wrong]].concat());
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.err.contains("route front 10.9.0.0/16: nexthop: "),
        "{refused:?}"
    );
    has(&daemon.vrctl(&["stats"]), &["generation 2"]);
}

#[test]
fn a_live_flow_is_explained_in_both_directions() {
    let (daemon, peers) = start();
    talk(&daemon, &peers);
    let said = daemon.vrctl(&["explain", "--flow", "port=53"]);
    has(
        &said,
        &[
            "SENT: out of vif web-2",
            "of the live flow udp 10.1.0.5:4000 -> 10.1.0.6:53, its first direction",
            "rule 20 of policy web allows what vif web-1 sends; 1 rule before",
        ],
    );
    let said = daemon.vrctl(&["explain", "--flow", "port=53", "--reply"]);
    has(
        &said,
        &["SENT: out of vif web-1", "the direction of its answers"],
    );
    let said = daemon.vrctl(&["explain", "--flow", "port=54"]);
    assert_eq!(
        (said.status, said.err.as_str()),
        (Some(1), "no live flow matches\n")
    );
}

#[test]
fn an_explanation_is_json_and_two_drawings() {
    let (daemon, _peers) = start();
    let ask = ["explain", "--in", "web-1", "tcp", "10.1.0.6:25", "-o"];
    let said = daemon.vrctl(&[&ask[..], &["json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let packet = &json["packets"][0];
    assert_eq!(packet["reason"], "policy_denied");
    let steps = packet["steps"].as_array().unwrap();
    let policy = steps
        .iter()
        .find(|step| step["stage"] == "egress policy")
        .unwrap();
    assert_eq!(policy["objects"][0]["rule"], 10);
    assert_eq!(policy["objects"][0]["since_generation"], 1);
    has(
        &daemon.vrctl(&[&ask[..], &["dot"]].concat()),
        &["digraph explanation {", "color=red"],
    );
    has(
        &daemon.vrctl(&[&ask[..], &["svg"]].concat()),
        &["<svg ", "DROPPED: policy_denied", "</svg>"],
    );
}

#[test]
fn a_question_that_makes_no_sense_is_answered_with_a_sentence() {
    let (daemon, _peers) = start();
    for (ask, answer) in [
        (
            &["--in", "web-9", "10.1.0.6"][..],
            "there is no vif `web-9`",
        ),
        (
            &["10.1.0.6"],
            "say where it comes from: vif, or remote and vrf",
        ),
        (
            &["--in", "web-1", "foo", "10.1.0.6"],
            "`foo` is not a protocol",
        ),
        (
            &["--in", "web-1", "fd01::9"],
            "vif web-1 has no address of that IP version",
        ),
    ] {
        let said = daemon.vrctl(&[&["explain"][..], ask].concat());
        assert_eq!(said.status, Some(1), "{said:?}");
        assert!(said.err.contains(answer), "{said:?}");
    }
}

#[test]
fn a_dry_run_names_the_flows_that_would_change() {
    let (daemon, peers) = start();
    talk(&daemon, &peers);
    let said = apply(&daemon, DENY, &["--dry-run"]);
    has(
        &said,
        &[
            "CHANGES  VRF    PROTO  FROM           TO           NOW        THEN\n",
            "verdict  front  udp    10.1.0.5:4000  10.1.0.6:53  vif web-2  drop policy_denied (policy web rule 30)\n",
            "1 live flow of 1 would change: 1 in verdict, 0 in translation, 0 in nexthop\n",
            "dry run: would be generation 2: 1 updated\n",
        ],
    );
    // Nothing has happened, and a change elsewhere changes nothing.
    talk(&daemon, &peers);
    let said = apply(&daemon, "vrfs: [{name: other}]", &["--dry-run"]);
    has(&said, &["0 live flows of 1 would change"]);
}

#[test]
fn flows_are_ended_by_filter() {
    let (daemon, peers) = start();
    talk(&daemon, &peers);
    let said = daemon.vrctl(&["flows", "--clear"]);
    assert_eq!(said.status, Some(1));
    assert!(said.err.contains("say which flows"), "{said:?}");
    assert_eq!(
        daemon.vrctl(&["flows", "--clear", "port=54"]).out,
        "0 flows ended\n"
    );
    assert_eq!(
        daemon.vrctl(&["flows", "--clear", "addr=10.1.0.6"]).out,
        "1 flow ended\n"
    );
    assert_eq!(daemon.vrctl(&["flows"]).out, "no flows\n");
    talk(&daemon, &peers);
}
