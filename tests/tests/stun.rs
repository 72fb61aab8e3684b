//! What a STUN server outside finds out about the NAT (RFC 5780): coturn's server with two addresses
//! and two ports, and coturn's client behind a pool.
#![cfg(feature = "dpdk")]

use std::time::Duration;

use tests::machine::Machine;
use tests::{Lab, Process, Scratch, Vrouter, until};

/// How a pool may filter, and how RFC 5780 §4.4 calls it.
const FILTERS: [(&str, &str); 3] = [
    ("endpoint_independent", "Endpoint Independent Filtering"),
    ("address_dependent", "Address Dependent Filtering"),
    (
        "address_and_port_dependent",
        "Address and Port Dependent Filtering",
    ),
];

const SERVER: [&str; 2] = ["203.0.113.9", "203.0.113.10"];

#[test]
fn a_stun_server_finds_the_mapping_and_the_filtering_that_are_configured() {
    let Some(lab) = Lab::enter() else { return };
    let node = lab.namespace("node");
    let client = Machine::plug(&lab, "client", 5, (&node, "vif1"));
    let outside = lab.namespace("outside");
    lab.cable((&outside, "eth0"), (&node, "vif2"), 1450);
    node.silence("vif2");
    for address in SERVER {
        outside.run(&format!("ip addr add {address}/24 dev eth0"));
    }
    outside.run("ip route add default via 203.0.113.1");
    let vrouter = Vrouter::start(&node, 0);
    let scratch = Scratch::new("stun");
    let mut server = outside.command("turnserver");
    server.args([
        "-n",
        "-S",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--log-file",
        "stdout",
    ]);
    server.args(["--pidfile", &scratch.join("pid").display().to_string()]);
    server.args(["--userdb", &scratch.join("db").display().to_string()]);
    for address in SERVER {
        server.args(["-L", address]);
    }
    let server = Process::start(&server, &scratch.join("server.log"));
    until(Duration::from_secs(10), "the STUN server to listen", || {
        outside
            .run("ss -Huln")
            .contains("203.0.113.10:3479")
            .then_some(())
    });
    for (filter, name) in FILTERS {
        // Each with a pool of its own: what was let in before has no say.
        vrouter.apply(&objects(&client, &outside.mac("eth0"), filter));
        let mut command = client.namespace.command("turnutils_natdiscovery");
        command.args(["-m", "-f", SERVER[0]]);
        let found = tests::run(&mut command);
        assert!(
            found.contains("NAT with Endpoint Independent Mapping"),
            "{found}"
        );
        assert!(
            found.contains(name),
            "configured: {filter}; found:\n{found}\n{}",
            server.log()
        );
        vrouter.vrctl(&["delete", "snat_pool", "out"]);
    }
    vrouter.assert_balanced();
}

fn objects(client: &Machine, server_mac: &str, filter: &str) -> String {
    format!(
        r#"
vrfs:
  - {{name: front, gateways: [10.1.0.1/24]}}
  - {{name: public, gateways: [203.0.113.1/24]}}
vifs:
  - {{name: client, role: tenant, device: "net_af_packet0,iface=vif1", vrf: front, mac: "{}", addresses: [{}]}}
  - {{name: server, role: tenant, device: "net_af_packet1,iface=vif2", vrf: public, mac: "{server_mac}",
     addresses: [{}, {}]}}
nexthops:
  - {{name: to-public, vrf: public}}
routes:
  - {{vrf: front, prefix: 0.0.0.0/0, nexthop: to-public}}
snat_pools:
  - {{name: out, vrf: front, outside_vrf: public, addresses: [198.51.100.1], ports: 1024-65535, filtering: {filter}}}
"#,
        client.mac, client.ipv4, SERVER[0], SERVER[1]
    )
}
