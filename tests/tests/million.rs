//! iperf3 and curl over NAT, NAT66, NAT64 and services, of both families, with a million idle flows
//! beside them.
#![cfg(feature = "dpdk")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::{Lab, Machine, Namespace, Process, Scratch, Vrouter, run, until};

/// Flows that nobody uses.
const IDLE: u32 = 1_000_000;

/// All of it, with the time to fill the table.
const MOST: Duration = Duration::from_secs(60);

/// What a client calls, and as whom the server sees it.
const WAYS: [(&str, &str, Option<&str>); 5] = [
    ("NAT", "203.0.113.9", Some("198.51.100.1")),
    ("NAT66", "2001:db8:7::9", Some("2001:db8:100::1")),
    ("NAT64", "64:ff9b::203.0.113.9", Some("198.51.100.2")),
    ("a service", "10.200.0.1", None),
    ("a service over IPv6", "fd00:200::1", None),
];

#[test]
fn iperf3_and_curl_work_beside_a_million_idle_flows() {
    let Some(lab) = Lab::enter() else { return };
    let start = Instant::now();
    let scratch = Scratch::new("million");
    let node = lab.namespace("node");
    let client = Machine::plug(&lab, "client", 5, (&node, "vif1"));
    let backend = Machine::plug(&lab, "backend", 9, (&node, "vif2"));
    let server = outside(&lab, &node);
    let crowd = scratch.join("crowd.pcap");
    write_crowd(&crowd).expect("there is room for a capture");

    let size = format!("flow_table_size: {}\n", IDLE + IDLE / 10);
    let vrouter = Vrouter::spawn(Some(&node), 0, &size);
    vrouter.wait_until_it_answers();
    vrouter.apply(&objects(&client, &backend, &server.mac("eth0"), &crowd));
    until(MOST, "a million flows", || {
        (used(&vrouter) >= IDLE.into()).then_some(())
    });
    println!("a million flows after {:?}", start.elapsed());

    let servers = [
        serve(&server, &scratch, "server"),
        serve(&backend.namespace, &scratch, "backend"),
    ];
    for (name, target, seen_as) in WAYS {
        let got = curl(&client.namespace, target);
        assert_eq!(got, "hello\n", "curl over {name}");
        let report = iperf(&client.namespace, target);
        let sum = &report["end"]["sum_received"];
        let rate = sum["bits_per_second"].as_f64().unwrap_or_default();
        assert!(rate > 1e6, "iperf3 over {name}: {report}");
        println!("{name}: {:.0} Mbit/s", rate / 1e6);
        if let Some(seen_as) = seen_as {
            let log = servers[0].1.log();
            assert!(log.contains(seen_as), "over {name}, the server saw:\n{log}");
        }
    }
    assert!(
        used(&vrouter) >= IDLE.into(),
        "the idle flows are still there"
    );
    let log = servers[0].1.log();
    assert!(
        !log.contains("10.1.0.5") && !log.contains("fd01::5"),
        "{log}"
    );
    vrouter.assert_balanced();
    vrouter.assert_only_drops(&["multicast"]);
    assert!(start.elapsed() < MOST, "it took {:?}", start.elapsed());
}

/// A server in the network outside.
fn outside(lab: &Lab, node: &Namespace) -> Namespace {
    let server = lab.namespace("server");
    lab.cable((&server, "eth0"), (node, "vif3"), 1450);
    node.silence("vif3");
    server.address("eth0", &["203.0.113.9/24", "2001:db8:7::9/64"]);
    server.run("ip route add default via 203.0.113.1");
    server.run("ip route add default via 2001:db8:7::1");
    server
}

/// A web server and iperf3, for both families.
fn serve(namespace: &Namespace, scratch: &Scratch, name: &str) -> (Process, Process) {
    let root = scratch.join(name);
    std::fs::create_dir(&root).expect("the directory is ours");
    std::fs::write(root.join("index.html"), "hello\n").expect("so is the file");
    let mut iperf = namespace.command("iperf3");
    iperf.arg("-s");
    let iperf = Process::start(&iperf, &scratch.join(format!("{name}.iperf")));
    let mut web = namespace.command("/usr/bin/python3");
    web.args(["-u", "-m", "http.server", "--bind", "::", "80", "-d"]);
    let web = Process::start(web.arg(&root), &scratch.join(format!("{name}.web")));
    until(Duration::from_secs(10), "servers to listen", || {
        let listening = namespace.run("ss -Htln");
        (listening.contains(":5201") && listening.contains(":80 ")).then_some(())
    });
    (iperf, web)
}

fn curl(client: &Namespace, target: &str) -> String {
    let url = match target.contains(':') {
        true => format!("http://[{}]/", address(target)),
        false => format!("http://{target}/"),
    };
    run(client
        .command("curl")
        .args(["-sS", "--max-time", "5", &url]))
}

fn iperf(client: &Namespace, target: &str) -> Value {
    let mut command: Command = client.command("iperf3");
    command.args(["-c", &address(target), "-t", "2", "-J"]);
    let text = run(&mut command);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

/// As programs read it that know nothing of dots in IPv6.
fn address(text: &str) -> String {
    let parsed: std::net::IpAddr = text.parse().expect("an address");
    parsed.to_string()
}

fn used(vrouter: &Vrouter) -> u64 {
    let text = vrouter.stats()["flow_table"]["used"].to_string();
    text.trim_matches('"').parse().expect("a number")
}

/// One packet of each idle flow: of a protocol without ports (RFC 3692: 253 is for experiments), each
/// to another address, so that they stay as long as the test.
fn write_crowd(path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&[0, 0, 0x5e, 0, 1, 0]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 3, 1]);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14..26].copy_from_slice(&[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 253, 0, 0]);
    frame[26..30].copy_from_slice(&[10, 9, 0, 1]);
    for flow in 0..IDLE {
        let to = 0x0a80_0000 + flow; // 10.128.0.0/9
        frame[30..34].copy_from_slice(&to.to_be_bytes());
        frame[24..26].fill(0);
        let words = frame[14..34]
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        for word in [0, 0, 60, 60_u32] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(&frame)?;
    }
    file.flush()
}

fn objects(client: &Machine, backend: &Machine, server_mac: &str, crowd: &Path) -> String {
    let service = |name: &str, address: &str, to: &str, port: u16| {
        format!(
            "  - {{name: {name}-{port}, vrf: front, address: \"{address}\", protocol: tcp, port: {port}, \
             backends: [{{address: \"{to}\", port: {port}}}]}}\n"
        )
    };
    let services: String = [80, 5201]
        .map(|port| {
            let (v4, v6) = (backend.ipv4.to_string(), backend.ipv6.to_string());
            service("four", "10.200.0.1", &v4, port) + &service("six", "fd00:200::1", &v6, port)
        })
        .concat();
    format!(
        r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]}}
  - {{name: public, gateways: [203.0.113.1/24, "2001:db8:7::1/64"]}}
  - {{name: crowd}}
vifs:
  - {{name: client, role: tenant, device: "net_af_packet0,iface=vif1,framecnt=4096", vrf: front,
     mac: "{}", addresses: [{}, "{}"]}}
  - {{name: backend, role: tenant, device: "net_af_packet1,iface=vif2,framecnt=4096", vrf: front,
     mac: "{}", addresses: [{}, "{}"]}}
  - {{name: server, role: tenant, device: "net_af_packet2,iface=vif3,framecnt=4096", vrf: public,
     mac: "{server_mac}", addresses: [203.0.113.9, "2001:db8:7::9"]}}
  - {{name: many, role: tenant, device: "net_pcap0,rx_pcap={}", vrf: crowd,
     mac: "02:00:00:00:03:01", addresses: [10.9.0.1]}}
  - {{name: sink, role: tenant, device: net_null0, vrf: crowd, mac: "02:00:00:00:03:02", addresses: [10.128.0.0/9]}}
nexthops:
  - {{name: to-public, vrf: public}}
routes:
  - {{vrf: front, prefix: 203.0.113.0/24, nexthop: to-public}}
  - {{vrf: front, prefix: "2001:db8:7::/64", nexthop: to-public}}
snat_pools:
  - {{name: out, vrf: front, outside_vrf: public, addresses: [198.51.100.1], ports: 1024-65535}}
  - {{name: out6, vrf: front, outside_vrf: public, addresses: ["2001:db8:100::1"], ports: 1024-65535}}
  - {{name: six-to-four, vrf: front, outside_vrf: public, addresses: [198.51.100.2], nat64_prefix: "64:ff9b::/96"}}
services:
{services}"#,
        client.mac,
        client.ipv4,
        client.ipv6,
        backend.mac,
        backend.ipv4,
        backend.ipv6,
        crowd.display(),
    )
}
