//! Jumbo frames: machines whose link carries 8900 bytes, over an underlay of
//! 9000.
#![cfg(feature = "dpdk")]

use tests::conversation::{datagrams, echo, meet, stream};
use tests::machine::Family;
use tests::topology::{Forwarding, kernel_node, objects, two_nodes, vrouter_node};
use tests::{Lab, Machine, Namespace, Vrouter};

/// What the machines' links carry. Ethernet, IPv4, UDP and VXLAN headers take 50
/// bytes of the underlay's 9000.
const TENANT: u16 = 8900;
const UNDERLAY: u16 = 9000;

const BULK: usize = 256 << 20;

/// Frames of this size need larger rings, so there are fewer of them.
fn fewer_frames(objects: &str) -> String {
    objects.replace("framecnt=4096", "framecnt=1024")
}

/// The machine's end of its cable, and what is known of it; the node's end stays
/// at 1450 bytes.
fn jumbo_machine(lab: &Lab, name: &str, number: u8, node: &Namespace) -> Machine {
    let mut machine = Machine::plug(lab, name, number, (node, "vif1"));
    set_mtu(&machine.namespace, "eth0", TENANT);
    machine.mtu = TENANT;
    machine
}

fn set_mtu(namespace: &Namespace, interface: &str, mtu: u16) {
    namespace.run(&format!("ip link set {interface} mtu {mtu}"));
}

#[test]
fn a_kernel_is_the_other_node_and_interfaces_say_what_they_carry() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = jumbo_machine(&lab, "web", 5, &one);
    for (node, interface, mtu) in [
        (&one, "up0", UNDERLAY),
        (&two, "up0", UNDERLAY),
        (&one, "vif1", TENANT),
    ] {
        set_mtu(node, interface, mtu);
    }
    let vrouter = vrouter_node(&one, 0);
    let mut kernel = kernel_node(&two, 2, 1, 9);
    set_mtu(&two, "vxlan0", TENANT);
    kernel.mtu = TENANT;
    vrouter.apply(&fewer_frames(&objects(
        1,
        &web,
        2,
        &kernel,
        Forwarding::Routed,
    )));
    converse(&web, &kernel);
    check(&vrouter);
}

#[test]
fn both_nodes_are_ours_and_vifs_say_what_interfaces_carry() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = jumbo_machine(&lab, "web", 5, &one);
    let db = jumbo_machine(&lab, "db", 9, &two);
    let (left, right) = (vrouter_node(&one, 0), vrouter_node(&two, 1));
    // The interfaces carry 1500 and 1450 bytes until vrouterd says otherwise.
    let with_mtus = |objects: String| {
        fewer_frames(&objects)
            .replace("role: fabric,", &format!("role: fabric, mtu: {UNDERLAY},"))
            .replace("role: tenant,", &format!("role: tenant, mtu: {TENANT},"))
    };
    left.apply(&with_mtus(objects(1, &web, 2, &db, Forwarding::Bridged)));
    right.apply(&with_mtus(objects(2, &db, 1, &web, Forwarding::Bridged)));
    for node in [&one, &two] {
        assert!(node.run("ip link show up0").contains("mtu 9000"));
        assert!(node.run("ip link show vif1").contains("mtu 8900"));
    }
    converse(&web, &db);
    check(&left);
    check(&right);
}

/// Echoes (not to be fragmented) and datagrams of exactly the machines' size, and
/// TCP in segments of it.
fn converse(left: &Machine, right: &Machine) {
    meet(left, right);
    for (from, to) in [(left, right), (right, left)] {
        for family in Family::BOTH {
            echo(from, to, family);
            datagrams(from, to, family);
            stream(from, to, family, BULK);
        }
    }
}

fn check(vrouter: &Vrouter) {
    vrouter.assert_only_drops(&["multicast"]);
    vrouter.assert_balanced();
    let (packets, bytes) = ("rx_packets", "rx_bytes");
    let vif = |counter| vrouter.counter("vif1", counter);
    let mean = vif(bytes) / vif(packets).max(1);
    assert!(
        mean > 2000,
        "TCP came in packets of {mean} bytes on average"
    );
}
