//! The node's own kernel behind the NIC that vrouter took: it stays reachable,
//! and reaches out, through a host vif.
#![cfg(feature = "dpdk")]

use std::net::Ipv4Addr;
use std::time::Duration;

use tests::{Lab, Vrouter, topology, until};

#[test]
fn the_kernel_keeps_its_network_through_the_host_vif() {
    let Some(lab) = Lab::enter() else { return };
    let (node, other) = topology::two_nodes(&lab);
    other.address("up0", &["192.0.2.2/24"]);
    node.silence("up0");
    // An af_packet port leaves the kernel listening; on a NIC that vrouter has
    // to itself this has no counterpart.
    node.run("nft add table netdev vrouter");
    node.run(
        "nft add chain netdev vrouter uplink \
         { type filter hook ingress device up0 priority 0 ; policy drop ; }",
    );

    let mac = node.mac("up0");
    let vrouter = Vrouter::start(&node, 0);
    vrouter.apply(&format!(
        r#"
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0", addresses: [192.0.2.1/24]}}
  - {{name: host0, role: host, device: "net_tap0,iface=host0,mac={mac}"}}
"#
    ));
    node.silence("host0");
    node.run(&format!("ip link set host0 address {mac}"));
    node.address("host0", &["192.0.2.1/24"]);
    node.run("ip link set host0 up");

    let there = Ipv4Addr::new(192, 0, 2, 2);
    let here = Ipv4Addr::new(192, 0, 2, 1);
    until(Duration::from_secs(5), "the kernel to reach out", || {
        node.try_run(&format!("ping -n -c 1 -W 1 {there}"))
            .status
            .eq(&Some(0))
            .then_some(())
    });
    // And from outside, every answer once.
    let said = other.run(&format!("ping -n -c 20 -i 0.05 -W 1 {here}"));
    assert!(
        said.contains("20 received") && !said.contains("DUP"),
        "{said}"
    );
}
