//! What a node that is killed leaves to the one that comes after it.
#![cfg(feature = "dpdk")]

use std::process::Command;
use std::time::Duration;

use tests::{Process, Scratch, programs, run, try_run, until};

/// Ports of the pool, and flows that take them.
const PORTS: u16 = 8;
const FLOWS: u16 = 5;

/// Writes packets of so many flows.
const SCAPY: &str = r#"
import sys
from scapy.all import Ether, IP, UDP, Raw, wrpcap
out, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
wrpcap(out, [
    Ether(src="02:00:00:00:01:05", dst="00:00:5e:00:01:00") / IP(src="10.1.0.5", dst="203.0.113.9")
    / UDP(sport=first + 2 * flow, dport=80) / Raw(b"x" * 18) for flow in range(count)])
"#;

/// RFC 6888 REQ-8: killed at any moment, and the ports that it had given out are nobody's when it is
/// back, although it forwards by the configuration that it kept before anybody has spoken to it.
#[test]
fn udp_ports_rest_after_a_crash() {
    let scratch = Scratch::new("crash");
    let socket = scratch.join("ctl.sock");
    let config = scratch.write(
        "node.yaml",
        format!(
            "cores: [0]\nsocket: {}\nstate_dir: {}\n",
            socket.display(),
            scratch.join("state").display()
        ),
    );
    // Of the same names in both lives, as the devices that come back with the state are named by
    // them.
    let (sent, out) = (scratch.join("sent.pcap"), scratch.join("out.pcap"));
    let mut seen = Vec::new();
    for (life, count) in [(0_u16, FLOWS), (1, PORTS)] {
        let numbers = [6000 + 100 * life, count].map(|number| number.to_string());
        let mut scapy = Command::new("/usr/bin/python3");
        scapy.args(["-c", SCAPY, &sent.display().to_string()]);
        run(scapy.args(&numbers));
        let mut vrouterd = Command::new(programs::vrouterd());
        vrouterd.arg("--config").arg(&config);
        let mut process = Process::start(&vrouterd, &scratch.join("log"));
        let vrctl = |args: &[&str]| {
            let mut command = Command::new(programs::vrctl());
            command.arg("--socket").arg(&socket).args(args);
            try_run(&mut command)
        };
        until(Duration::from_secs(10), "vrouterd to answer", || {
            (vrctl(&["stats"]).status == Some(0)).then_some(())
        });
        let objects = scratch.write("objects.yaml", objects(&sent.display(), &out.display()));
        let applied = vrctl(&["apply", "-f", &objects.display().to_string()]);
        assert_eq!(applied.status, Some(0), "{applied}");
        until(
            Duration::from_secs(10),
            "the packets to be looked at",
            || {
                let stats = vrctl(&["stats", "-o", "json"]).stdout;
                let stats: serde_json::Value = serde_json::from_str(&stats).ok()?;
                let vifs = stats["vifs"].as_array()?;
                let machine = vifs.iter().find(|vif| vif["name"] == "a")?;
                let text = machine["rx_packets"].to_string();
                (text.trim_matches('"') == count.to_string()).then_some(())
            },
        );
        // The note is written once a second.
        std::thread::sleep(Duration::from_millis(2_100));
        process.kill();
        let mut tshark = Command::new("tshark");
        tshark
            .args(["-T", "fields", "-e", "udp.srcport", "-r"])
            .arg(&out);
        let ports = run(tshark.env("HOME", scratch.join(".")));
        let ports: Vec<u16> = ports.lines().filter_map(|line| line.parse().ok()).collect();
        seen.push(ports);
    }
    let [before, after] = &seen[..] else {
        unreachable!("two lives");
    };
    assert_eq!(before.len(), usize::from(FLOWS), "{seen:?}");
    assert_eq!(
        after.len(),
        usize::from(PORTS - FLOWS),
        "only what was free: {seen:?}"
    );
    assert!(after.iter().all(|port| !before.contains(port)), "{seen:?}");
}

fn objects(sent: &dyn std::fmt::Display, out: &dyn std::fmt::Display) -> String {
    format!(
        r#"
vrfs:
  - {{name: front, gateways: [10.1.0.1/24]}}
  - {{name: public, gateways: [203.0.113.1/24]}}
vifs:
  - {{name: a, role: tenant, device: "net_pcap0,rx_pcap={sent}", vrf: front,
     mac: "02:00:00:00:01:05", addresses: [10.1.0.5]}}
  - {{name: s, role: tenant, device: "net_pcap1,tx_pcap={out}", vrf: public,
     mac: "02:00:00:00:02:09", addresses: [203.0.113.9]}}
nexthops:
  - {{name: to-public, vrf: public}}
routes:
  - {{vrf: front, prefix: 0.0.0.0/0, nexthop: to-public}}
snat_pools:
  - {{name: out, vrf: front, outside_vrf: public, addresses: [198.51.100.1], ports: 2000-{}}}
"#,
        1999 + PORTS
    )
}
