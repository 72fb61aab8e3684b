//! TCP connections segment by segment, through `vrouterd replay` and through Linux's conntrack, and
//! `docs/conntrack.md`, which says what each does and why they differ where they do.
//!
//! `UPDATE_DOCS=1 cargo test -p tests --test conntrack` writes that page anew.

use std::path::Path;
use std::{env, fs};

use tests::replay::{replay, scapy, try_scapy};
use tests::{Lab, Namespace, Scratch};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/conntrack.md");

/// What the machines may do, as `tests/scapy/conntrack.py` tells vrouter.
const RULES: &str = "\
table ip connections {
    chain forward {
        type filter hook forward priority 0; policy drop;
        udp dport 9 accept
        ct state established,related accept
        ct state new ip saddr 10.1.0.5 ip daddr 10.1.0.6 tcp dport 80 accept
    }
}
";

/// Seconds, as in `tests/scapy/conntrack_cases.py`.
const TIMEOUTS: [(&str, u32); 8] = [
    ("syn_sent", 3),
    ("syn_recv", 3),
    ("established", 8),
    ("fin_wait", 3),
    ("close_wait", 3),
    ("last_ack", 3),
    ("time_wait", 3),
    ("close", 3),
];

#[test]
fn connections_pass_as_the_rfcs_and_linux_have_it() {
    let Some(lab) = Lab::enter() else { return };
    let scratch = Scratch::new("conntrack");
    let base = scratch.to_str().expect("a plain path");
    if scapy("conntrack.py", &["make", base]).is_none() {
        return;
    }
    for family in ["ipv4", "ipv6"] {
        let home = scratch.join(family);
        let inputs = ["red_a", "red_b"].map(|vif| home.join(format!("in/{vif}.pcap")));
        let inputs: Vec<&Path> = inputs.iter().map(|path| path.as_path()).collect();
        replay(&home.join("objects.yaml"), &inputs, &home);
    }
    let ends = linux_router(&lab, &scratch);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scapy/conntrack.py");
    ends.run(&format!(
        "/usr/bin/python3 -B -W ignore {script} linux {base} near far"
    ));
    let Some(judged) = try_scapy("conntrack.py", &["check", base]) else {
        return;
    };
    println!("{}", judged.stdout.trim());
    assert!(judged.status == Some(0), "{judged}");
    let found = fs::read_to_string(scratch.join("conntrack.md")).unwrap_or_default();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PAGE, &found).expect("docs/ can be written");
    }
    assert!(
        found == fs::read_to_string(PAGE).unwrap_or_default(),
        "run UPDATE_DOCS=1 cargo test -p tests --test conntrack"
    );
}

/// A namespace that routes between `near` and `far` in the namespace returned, which has no
/// addresses and says nothing of its own.
fn linux_router(lab: &Lab, scratch: &Scratch) -> Namespace {
    let (ends, router) = (lab.namespace("ends"), lab.namespace("router"));
    for (end, port, mac, host) in [
        ("near", "gate_near", "02:00:00:00:01:05", "10.1.0.5"),
        ("far", "gate_far", "02:00:00:00:01:06", "10.1.0.6"),
    ] {
        lab.cable((&ends, end), (&router, port), 1500);
        ends.silence(end);
        router.silence(port);
        router.run(&format!("ip link set {port} address 00:00:5e:00:01:00"));
        router.run(&format!("ip route add {host}/32 dev {port}"));
        router.run(&format!("ip neigh replace {host} lladdr {mac} dev {port}"));
        router.run(&format!("sysctl -qw net.ipv4.conf.{port}.rp_filter=0"));
    }
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0");
    let rules = scratch.write("rules.nft", RULES);
    router.run(&format!("nft -f {}", rules.display()));
    for (state, seconds) in TIMEOUTS {
        let key = format!("net.netfilter.nf_conntrack_tcp_timeout_{state}");
        router.run(&format!("sysctl -qw {key}={seconds}"));
    }
    ends
}
