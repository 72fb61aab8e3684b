//! Two nodes, one overlay: a vrouterd with a Linux kernel as the other node, and
//! with a vrouterd as the other node.
#![cfg(feature = "dpdk")]

use tests::machine::OVERLAY_MTU;
use tests::topology::{Forwarding, VNI, kernel_node, objects, two_nodes, vrouter_node};
use tests::{Lab, Machine, Vrouter, conversation};

const GIB: usize = 1 << 30;

/// Machines say more than we ask them to: reports of IPv6 group membership go
/// to everybody (RFC 3810 §5.2), and this network does not replicate.
const NOISE: &[&str] = &["multicast"];

#[test]
fn a_kernel_is_the_other_node_and_packets_are_routed() {
    with_a_kernel(Forwarding::Routed, GIB);
}

#[test]
fn a_kernel_is_the_other_node_and_frames_are_bridged() {
    with_a_kernel(Forwarding::Bridged, GIB / 16);
}

fn with_a_kernel(forwarding: Forwarding, bulk: usize) {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let vrouter = vrouter_node(&one, 0);
    let kernel = kernel_node(&two, 2, 1, 9);
    vrouter.apply(&objects(1, &web, 2, &kernel, forwarding));
    conversation::hold(&web, &kernel, bulk);
    check(&vrouter);
}

#[test]
fn a_kernel_is_the_other_node_and_the_underlay_is_ipv6() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = (lab.namespace("node1"), lab.namespace("node2"));
    // Twenty bytes more than over IPv4, for the same packets inside.
    lab.cable((&one, "up0"), (&two, "up0"), 1520);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let vrouter = vrouter_node(&one, 0);
    two.address("up0", &["2001:db8::2/64"]);
    // Ours may send no UDP checksum (RFC 6935); the kernel's have one.
    two.run(&format!(
        "ip link add vxlan0 mtu {OVERLAY_MTU} type vxlan id {VNI} dstport 4789 \
         local 2001:db8::2 remote 2001:db8::1 dev up0 udp6zerocsumrx"
    ));
    two.no_offloads("vxlan0");
    two.run("ip link set vxlan0 up");
    let kernel = Machine::on(two, "vxlan0", 9);
    let objects = objects(1, &web, 2, &kernel, Forwarding::Routed)
        .replace("[192.0.2.1/24]", "[\"2001:db8::1/64\"]")
        .replace("192.0.2.2", "\"2001:db8::2\"");
    vrouter.apply(&objects);
    conversation::hold(&web, &kernel, GIB / 4);
    vrouter.assert_only_drops(&["multicast", "not_for_us"]);
    vrouter.assert_balanced();
}

#[test]
fn both_nodes_are_ours_and_packets_are_routed() {
    with_two_of_ours(Forwarding::Routed, GIB);
}

#[test]
fn both_nodes_are_ours_and_frames_are_bridged() {
    with_two_of_ours(Forwarding::Bridged, GIB / 16);
}

fn with_two_of_ours(forwarding: Forwarding, bulk: usize) {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    let (left, right) = (vrouter_node(&one, 0), vrouter_node(&two, 1));
    left.apply(&objects(1, &web, 2, &db, forwarding));
    right.apply(&objects(2, &db, 1, &web, forwarding));
    conversation::hold(&web, &db, bulk);
    check(&left);
    check(&right);
}

/// Nothing was dropped that should not be, and every packet is accounted for.
fn check(vrouter: &Vrouter) {
    vrouter.assert_only_drops(NOISE);
    vrouter.assert_balanced();
    for vif in ["up0", "vif1"] {
        for counter in ["rx_packets", "tx_packets"] {
            let packets = vrouter.counter(vif, counter);
            assert!(packets > 100_000, "{vif} {counter}: {packets}");
        }
    }
}
