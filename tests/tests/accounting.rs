//! Flow records as a collector gets them: read by tshark, which takes the templates from the wire as
//! any collector does.
#![cfg(feature = "dpdk")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::wait::until;
use tests::{Scratch, Vrouter, run};

/// Flows that a machine opens, and packets of each.
const FLOWS: usize = 40;
const PACKETS: usize = 3;
/// Bytes of each frame.
const FRAME: usize = 60;

/// Writes what the machine sends, and what has come to the collector as packets.
const SCAPY: &str = r#"
import sys
from scapy.all import Ether, IP, UDP, Raw, wrpcap
kind, out, *rest = sys.argv[1:]
if kind == "sent":
    flows, packets = map(int, rest)
    wrpcap(out, [
        Ether(src="02:00:00:00:01:05", dst="00:00:5e:00:01:00")
        / IP(src="10.1.0.5", dst="10.1.0.6") / UDP(sport=5000 + flow, dport=53) / Raw(b"x" * 18)
        for flow in range(flows) for _ in range(packets)])
else:
    wrpcap(out, [Ether() / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=4739, dport=4739)
                 / Raw(bytes.fromhex(line)) for line in open(rest[0]).read().split()])
"#;

fn scapy(arguments: &[&str]) {
    run(Command::new("/usr/bin/python3")
        .arg("-c")
        .arg(SCAPY)
        .args(arguments));
}

/// All messages that come until none has for a while.
fn messages(collector: &UdpSocket) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut buffer = [0; 2048];
    while let Ok(len) = collector.recv(&mut buffer) {
        messages.push(buffer[..len].to_vec());
    }
    messages
}

fn fields(capture: &Path, home: &Path, names: &[&str]) -> String {
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(capture).env("HOME", home);
    tshark.args([
        "-d",
        "udp.port==4739,cflow",
        "-T",
        "fields",
        "-E",
        "separator=;",
    ]);
    names.iter().for_each(|name| _ = tshark.args(["-e", name]));
    run(&mut tshark)
}

#[test]
fn every_flow_is_told_once_with_what_it_carried_and_who_let_it_through() {
    let scratch = Scratch::new("accounting");
    let (sent, dump, told) = (
        scratch.join("sent.pcap"),
        scratch.join("told.hex"),
        scratch.join("told.pcap"),
    );
    let [flows, packets] = [FLOWS, PACKETS].map(|number| number.to_string());
    scapy(&["sent", &sent.display().to_string(), &flows, &packets]);
    let collector = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let timeout = Some(Duration::from_secs(3));
    collector.set_read_timeout(timeout).expect("a timeout");
    let address = collector.local_addr().expect("bound");
    let ipfix = format!("ipfix: {{collector: \"{address}\", observation_domain: 7}}\n");
    let vrouter = Vrouter::spawn(None, 0, &ipfix);
    vrouter.wait_until_it_answers();
    vrouter.apply(&format!(
        r#"
vrfs:
  - {{name: front, gateways: [10.1.0.1/24]}}
policies:
  - name: names
    rules:
      - {{id: 10, action: allow, protocol: tcp}}
      - {{id: 20, action: allow, protocol: udp, destination_ports: ["53"]}}
vifs:
  - {{name: web, role: tenant, device: "net_pcap0,rx_pcap={},tx_pcap={}", vrf: front,
     mac: "02:00:00:00:01:05", addresses: [10.1.0.5], egress_policies: [names]}}
  - {{name: db, role: tenant, device: net_null0, vrf: front, mac: "02:00:00:00:01:06", addresses: [10.1.0.6]}}
"#,
        sent.display(),
        scratch.join("back.pcap").display()
    ));
    until(Duration::from_secs(10), "the flows to be there", || {
        let used = vrouter.stats()["flow_table"]["used"].to_string();
        (used.trim_matches('"') == flows).then_some(())
    });
    // What belongs to a machine that goes ends with it.
    vrouter.vrctl(&["delete", "vif", "web"]);
    let started = Instant::now();
    let messages = messages(&collector);
    assert!(started.elapsed() < Duration::from_secs(30));
    let hex = |bytes: &Vec<u8>| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    let lines: Vec<String> = messages.iter().map(hex).collect();
    std::fs::write(&dump, lines.join("\n")).expect("written");
    scapy(&[
        "told",
        &told.display().to_string(),
        &dump.display().to_string(),
    ]);
    let wrong = fields(&told, &scratch.join("."), &["_ws.malformed", "_ws.expert"]);
    assert_eq!(wrong.replace([';', '\n'], ""), "", "tshark objects");
    let names = [
        "cflow.srcport",
        "cflow.packets",
        "cflow.octets",
        "cflow.flow_end_reason",
    ];
    let read = fields(&told, &scratch.join("."), &names);
    let column = |index: usize| -> Vec<String> {
        let cells = read.lines().filter_map(|line| line.split(';').nth(index));
        let cells = cells.flat_map(|cell| cell.split(','));
        cells
            .filter(|cell| !cell.is_empty())
            .map(Into::into)
            .collect()
    };
    let mut ports = column(0);
    ports.sort();
    let wanted: Vec<String> = (0..FLOWS).map(|flow| (5000 + flow).to_string()).collect();
    assert_eq!(ports, wanted);
    let count = |index: usize| -> usize {
        let numbers = column(index).into_iter();
        numbers
            .map(|cell| cell.parse::<usize>().expect("a number"))
            .sum()
    };
    assert_eq!(count(1), FLOWS * PACKETS);
    assert_eq!(count(2), FLOWS * PACKETS * FRAME);
    // Forced end: the configuration ended it (RFC 5102 §5.11.3).
    assert!(column(3).iter().all(|reason| reason == "4"), "{read}");
    // The rule that let them through, by its policy's name and its id.
    let policy: String = "names".bytes().map(|b| format!("{b:02x}")).collect();
    let admitted = format!("{policy}{}00000014", "00".repeat(32 - "names".len()));
    let told: usize = lines
        .iter()
        .map(|line| line.matches(&admitted).count())
        .sum();
    assert_eq!(told, FLOWS);
}
