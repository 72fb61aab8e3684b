//! The networks the scenarios run in: nodes with a fabric port `up0` on one
//! cable, machines behind them, and the objects that make it one network.

use crate::lab::{Lab, Namespace};
use crate::machine::{Machine, OVERLAY_MTU};
use crate::vrouter::Vrouter;

/// The network's VXLAN id.
pub const VNI: u32 = 5001;

/// What the underlay carries, in bytes.
const UNDERLAY_MTU: u16 = 1500;

/// How packets come from one machine to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// By IP address: the vrouter answers ARP and ND with its own MAC.
    Routed,
    /// By MAC, as if both were on one switch.
    Bridged,
}

/// Two nodes whose fabric ports are cabled to each other.
pub fn two_nodes(lab: &Lab) -> (Namespace, Namespace) {
    let (one, two) = (lab.namespace("node1"), lab.namespace("node2"));
    lab.cable((&one, "up0"), (&two, "up0"), UNDERLAY_MTU);
    (one, two)
}

/// Makes a node one of ours: starts vrouterd on `core`.
pub fn vrouter_node(node: &Namespace, core: usize) -> Vrouter {
    node.silence("up0");
    Vrouter::start(node, core)
}

/// Makes a node a Linux kernel with a VXLAN device towards 192.0.2.`peer`; the
/// device is the interface of machine `number`.
pub fn kernel_node(node: &Namespace, own: u8, peer: u8, number: u8) -> Machine {
    node.silence("up0"); // as far as IPv6 goes
    node.run(&format!("ip addr add 192.0.2.{own}/24 dev up0"));
    node.run(&format!(
        "ip link add vxlan0 mtu {OVERLAY_MTU} type vxlan id {VNI} dstport 4789 \
         local 192.0.2.{own} remote 192.0.2.{peer} dev up0"
    ));
    node.no_offloads("vxlan0");
    node.run("ip link set vxlan0 up");
    Machine::on(node.clone(), "vxlan0", number)
}

/// A device string for an interface in the daemon's namespace.
///
/// The ring holds a fifth of a second of the scenarios' packet rate, as two
/// cores shared by everything do pause.
fn device(number: usize, interface: &str) -> String {
    format!("\"net_af_packet{number},iface={interface},framecnt=4096\"")
}

/// The objects of node `own`, whose machine `here` is plugged into the port
/// `vif1`, and which finds `there` behind node `peer`.
pub fn objects(
    own: u8,
    here: &Machine,
    peer: u8,
    there: &Machine,
    forwarding: Forwarding,
) -> String {
    let (up0, vif1) = (device(0, "up0"), device(1, "vif1"));
    let local = tenant("vif1", &vif1, here);
    let (v4, v6, mac) = (there.ipv4, there.ipv6, &there.mac);
    let (mode, ways) = match forwarding {
        Forwarding::Routed => (
            "routed",
            format!(
                r#"
routes:
  - {{vrf: front, prefix: {v4}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{v6}", nexthop: to-peer}}"#
            ),
        ),
        // A bridge entry answers for one address; the route finds the other.
        Forwarding::Bridged => (
            "both",
            format!(
                r#"
routes:
  - {{vrf: front, prefix: {v4}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{v6}", nexthop: to-peer}}
macs:
  - {{vrf: front, mac: "{mac}", nexthop: to-peer, ip: {v4}}}"#
            ),
        ),
    };
    // A kernel's VXLAN device is a machine: it takes what is addressed to it.
    let inner_mac = match there.interface.as_str() {
        "vxlan0" => format!(", inner_mac: \"{mac}\""),
        _ => String::new(),
    };
    format!(
        r#"
vrfs:
  - {{name: front, mode: {mode}, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: {up0}, addresses: [192.0.2.{own}/24]}}
{local}
nexthops:
  - {{name: to-peer, tunnel: {{encap: vxlan, remote: 192.0.2.{peer}, vni: {VNI}{inner_mac}}}}}
vnis:
  - {{vni: {VNI}, vrf: front}}
{ways}
"#
    )
}

/// The same objects and one more machine, plugged into the port `vif2`.
pub fn with_vif2(objects: &str, machine: &Machine) -> String {
    let line = tenant("vif2", &device(2, "vif2"), machine);
    objects.replace("\nnexthops:", &format!("\n{line}\nnexthops:"))
}

/// The line of a tenant vif for a machine.
fn tenant(name: &str, device: &str, machine: &Machine) -> String {
    format!(
        r#"  - {{name: {name}, role: tenant, device: {device}, vrf: front, mac: "{}", addresses: [{}, "{}"]}}"#,
        machine.mac, machine.ipv4, machine.ipv6
    )
}
