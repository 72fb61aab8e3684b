//! A tenant network as a switch over two nodes: nobody tells the vrouters where
//! the machines are, the kernels ask each other, one finds its router by itself,
//! and one moves.
#![cfg(feature = "dpdk")]

use std::time::Duration;

use serde_json::Value;
use tests::topology::{VNI, two_nodes, vrouter_node};
use tests::{Lab, Machine, Vrouter, conversation, run, until};

/// The router's link-local address, made from its MAC.
const ROUTER: &str = "fe80::200:5eff:fe00:100";

/// What is sent each way over TCP, in bytes.
const BULK: usize = 64 << 20;

#[test]
fn machines_find_each_other_and_their_router_without_being_configured() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    let kit = Machine::plug(&lab, "kit", 7, (&two, "vif2"));
    listen_for_routers(&web);
    let (left, right) = (vrouter_node(&one, 0), vrouter_node(&two, 1));
    left.apply(&objects(1, 2, &[Some(&web)]));
    right.apply(&objects(2, 1, &[None, None]));

    hears_the_router(&web, "an announcement");
    begin_anew(&web);
    hears_the_router(&web, "an answer");

    conversation::hold(&web, &db, BULK);
    conversation::meet(&web, &kit);
    conversation::meet(&db, &kit);
    // The one that is configured was not learned, the others were.
    let at = |node: &Vrouter, machine: &Machine| place_of(node, machine);
    assert_eq!(at(&left, &web), None);
    assert_eq!(at(&left, &db).as_deref(), Some("tunnel 192.0.2.2"));
    assert_eq!(at(&right, &db).as_deref(), Some("vif vif1"));
    assert_eq!(at(&right, &web).as_deref(), Some("tunnel 192.0.2.1"));
    assert_eq!(at(&right, &kit).as_deref(), Some("vif vif2"));

    // The same machine, on the other node.
    kit.namespace.run("ip link set eth0 down");
    let moved = Machine::plug(&lab, "kit2", 7, (&one, "vif2"));
    left.apply(&objects(1, 2, &[Some(&web), None]));
    conversation::meet(&moved, &db);
    conversation::meet(&moved, &web);
    assert_eq!(at(&left, &moved).as_deref(), Some("vif vif2"));
    assert_eq!(at(&right, &moved).as_deref(), Some("tunnel 192.0.2.1"));

    for node in [&left, &right] {
        node.assert_only_drops(&[]);
        node.assert_balanced();
    }
}

/// The objects of node `own`: a port for each of `machines`, with its MAC or
/// without, and one tunnel; whatever has no other place goes to all of them.
fn objects(own: u8, peer: u8, machines: &[Option<&Machine>]) -> String {
    let mut vifs = String::new();
    let mut nexthops = String::new();
    let mut members = vec!["to-peer".to_owned()];
    for (index, machine) in machines.iter().enumerate() {
        let number = index + 1;
        let who = machine.map_or_else(String::new, |machine| {
            let (mac, ipv4, ipv6) = (&machine.mac, machine.ipv4, machine.ipv6);
            format!(r#", mac: "{mac}", addresses: [{ipv4}, "{ipv6}"]"#)
        });
        vifs += &format!(
            "  - {{name: vif{number}, role: tenant, vrf: front, \
             device: \"net_af_packet{number},iface=vif{number},framecnt=4096\"{who}}}\n"
        );
        nexthops += &format!("  - {{name: to-vif{number}, vif: vif{number}}}\n");
        members.push(format!("to-vif{number}"));
    }
    let members = members.join(", ");
    format!(
        r#"
vrfs:
  - {{name: front, learning: true, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0,framecnt=4096", addresses: [192.0.2.{own}/24]}}
{vifs}
nexthops:
  - {{name: to-peer, tunnel: {{encap: vxlan, remote: 192.0.2.{peer}, vni: {VNI}}}}}
  - {{name: everybody, replicate: {{members: [{members}]}}}}
{nexthops}
macs:
  - {{vrf: front, mac: "ff:ff:ff:ff:ff:ff", nexthop: everybody}}
vnis:
  - {{vni: {VNI}, vrf: front}}
"#
    )
}

/// A machine that believes router advertisements, and has no other way out.
fn listen_for_routers(machine: &Machine) {
    let namespace = &machine.namespace;
    namespace.run("ip -6 route del default");
    for setting in ["accept_ra=1", "router_solicitations=3"] {
        namespace.run(&format!("sysctl -qw net.ipv6.conf.eth0.{setting}"));
    }
}

/// Its IPv6 comes up once more, and asks for routers.
fn begin_anew(machine: &Machine) {
    let namespace = &machine.namespace;
    for value in [1, 0] {
        namespace.run(&format!(
            "sysctl -qw net.ipv6.conf.eth0.disable_ipv6={value}"
        ));
    }
    let address = format!("{}/64", machine.ipv6);
    namespace.address("eth0", &[&address]);
}

/// Waits for the default route that the router's words make. The first two
/// announcements are more than five seconds apart: sooner than that, an answer.
fn hears_the_router(machine: &Machine, what: &str) {
    until(Duration::from_secs(4), what, || {
        let routes = machine.namespace.run("ip -6 route show default");
        routes
            .contains(&format!("via {ROUTER} dev eth0 proto ra"))
            .then_some(())
    });
    let pinged = format!("ping -c 1 -W 1 {ROUTER}%eth0");
    assert_eq!(machine.namespace.try_run(&pinged).status, Some(0));
}

/// Where a node has heard a machine.
fn place_of(node: &Vrouter, machine: &Machine) -> Option<String> {
    let text = run(&mut node.vrctl_command(&["macs", "front", "-o", "json"]));
    let macs: Value = serde_json::from_str(&text).expect("vrctl prints JSON");
    let mut macs = macs.as_array().into_iter().flatten();
    let found = macs.find(|entry| entry["mac"] == machine.mac)?;
    Some(found["place"].as_str()?.to_owned())
}
