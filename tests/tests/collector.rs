//! Flow records as nfcapd takes them, a collector that knows nothing of us: it accepts all, and as
//! many packets and bytes are told as passed, both ways.
#![cfg(feature = "dpdk")]

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use tests::wait::until;
use tests::{Process, Scratch, Vrouter, run};

/// Flows that a machine opens, packets of each, and how many of those are answered.
const FLOWS: usize = 300;
const PACKETS: usize = 4;
const ANSWERS: usize = 2;

/// Writes what two machines send, of either family.
const SCAPY: &str = r#"
import sys
from scapy.all import Ether, IP, IPv6, UDP, Raw, wrpcap
out, flows, packets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
a, b = ("02:00:00:00:01:05", "10.1.0.5", "fd01::5"), ("02:00:00:00:01:06", "10.1.0.6", "fd01::6")
way = sys.argv[4]
def packet(flow):
    src, dst = (a, b) if way == "there" else (b, a)
    ports = (5000 + flow, 53) if way == "there" else (53, 5000 + flow)
    ip = IP(src=src[1], dst=dst[1]) if flow % 2 else IPv6(src=src[2], dst=dst[2])
    return Ether(src=src[0], dst="00:00:5e:00:01:00") / ip / UDP(sport=ports[0], dport=ports[1]) / Raw(b"x" * 18)
wrpcap(out, [packet(flow) for flow in range(flows) for _ in range(packets)])
"#;

#[test]
fn nfcapd_takes_every_record_and_misses_no_packet() {
    let scratch = Scratch::new("collector");
    let file = |name: &str| scratch.join(name).display().to_string();
    for (name, way, packets) in [
        ("there.pcap", "there", PACKETS),
        ("back.pcap", "back", ANSWERS),
    ] {
        let numbers = [FLOWS, packets].map(|number| number.to_string());
        let args = [&file(name), &numbers[0], &numbers[1], &way.to_owned()];
        run(Command::new("/usr/bin/python3")
            .arg("-c")
            .arg(SCAPY)
            .args(args));
    }
    let told = scratch.join("told");
    std::fs::create_dir(&told).expect("the directory is ours");
    // A port that is free now.
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a port").port().to_string();
    let mut nfcapd = Command::new("nfcapd");
    nfcapd
        .args(["-b", "127.0.0.1", "-p", &port, "-t", "3600", "-w"])
        .arg(&told);
    let mut nfcapd = Process::start(&nfcapd, &scratch.join("nfcapd.log"));
    until(Duration::from_secs(5), "nfcapd to listen", || {
        let sockets = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
        let local = format!(":{:04X} ", port.parse::<u16>().expect("a number"));
        sockets.contains(&local).then_some(())
    });
    let ipfix = format!("ipfix: {{collector: \"127.0.0.1:{port}\", observation_domain: 7}}\n");
    let vrouter = Vrouter::spawn(None, 0, &ipfix);
    vrouter.wait_until_it_answers();
    vrouter.apply(&format!(
        r#"
vrfs:
  - {{name: front, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: a, role: tenant, device: "net_pcap0,rx_pcap={},tx_pcap={}", vrf: front,
     mac: "02:00:00:00:01:05", addresses: [10.1.0.5, "fd01::5"]}}
  - {{name: b, role: tenant, device: "net_pcap1,rx_pcap={},tx_pcap={}", vrf: front,
     mac: "02:00:00:00:01:06", addresses: [10.1.0.6, "fd01::6"]}}
"#,
        file("there.pcap"),
        file("to_a.pcap"),
        file("back.pcap"),
        file("to_b.pcap"),
    ));
    for (vif, packets) in [("a", PACKETS), ("b", ANSWERS)] {
        until(Duration::from_secs(10), "all to be sent", || {
            let sent = vrouter.counter(vif, "rx_packets");
            (sent == (FLOWS * packets) as u64).then_some(())
        });
    }
    let passed = |counter: &str| vrouter.counter("a", counter) + vrouter.counter("b", counter);
    let (packets, bytes) = (passed("tx_packets"), passed("tx_bytes"));
    assert_eq!(packets, (FLOWS * (PACKETS + ANSWERS)) as u64);
    // What belongs to a machine that goes ends with it, and is told within a second.
    vrouter.vrctl(&["delete", "vif", "a"]);
    vrouter.vrctl(&["delete", "vif", "b"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(nfcapd.terminate(), Some(0));
    let mut nfdump = Command::new("nfdump");
    nfdump.args(["-q", "-N", "-o", "fmt:%ipkt %opkt %ibyt %obyt", "-R"]);
    let read = run(nfdump.arg(&told));
    let numbers: Vec<u64> = read
        .split_whitespace()
        .map(|word| {
            word.parse()
                .unwrap_or_else(|_| panic!("{word} in:\n{read}"))
        })
        .collect();
    assert_eq!(numbers.len(), 4 * FLOWS, "a record for each flow:\n{read}");
    let sum = |at: usize| -> u64 { numbers.iter().skip(at).step_by(4).sum() };
    assert_eq!(sum(0) + sum(1), packets, "as many packets as passed");
    assert_eq!(sum(2) + sum(3), bytes, "as many bytes");
    let said = nfcapd.log();
    let clean = "Sequence Errors: 0, Bad Packets: 0";
    assert!(said.contains(clean), "nfcapd objects:\n{said}");
}
