//! The harness itself, shown to work before anything of ours is in it: the
//! conversation between two Linux kernels' VXLAN devices.

use tests::machine::OVERLAY_MTU;
use tests::{Lab, Machine, Namespace, conversation};

/// A node that is a Linux kernel: its VXLAN device is the machine's interface.
fn kernel_node(node: &Namespace, number: u8, peer: u8) -> Machine {
    node.address("up0", &[&format!("192.0.2.{number}/24")]);
    node.run(&format!(
        "ip link add vxlan0 mtu {OVERLAY_MTU} type vxlan id 5001 dstport 4789 \
         local 192.0.2.{number} remote 192.0.2.{peer} dev up0"
    ));
    node.no_offloads("vxlan0");
    node.run("ip link set vxlan0 up");
    Machine::on(node.clone(), "vxlan0", number)
}

#[test]
fn two_kernels_hold_the_conversation() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = (lab.namespace("one"), lab.namespace("two"));
    lab.cable((&one, "up0"), (&two, "up0"), 1500);
    let left = kernel_node(&one, 1, 2);
    let right = kernel_node(&two, 2, 1);
    conversation::hold(&left, &right, 256 << 20);
}
