//! The harness itself, shown to work before anything of ours is in it: the
//! conversation between two Linux kernels' VXLAN devices.

use tests::topology::{kernel_node, two_nodes};
use tests::{Lab, conversation};

#[test]
fn two_kernels_hold_the_conversation() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let left = kernel_node(&one, 1, 2, 5);
    let right = kernel_node(&two, 2, 1, 9);
    conversation::hold(&left, &right, 64 << 20);
}
