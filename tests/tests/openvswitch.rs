//! MPLS over GRE with Open vSwitch's userspace datapath as the other node, over
//! both underlays. It knows no MPLS over UDP, and reads no IP behind a label that
//! does not say which: so there is a label for each family towards it.
#![cfg(feature = "dpdk")]

use std::net::IpAddr;

use tests::machine::Family;
use tests::openvswitch::OpenVswitch;
use tests::topology::{two_nodes, vrouter_node};
use tests::{Lab, Machine, conversation};

const MIB: usize = 1 << 20;

/// Machines say more than we ask them to, and the other node's kernel has an address
/// on the fabric, where it speaks to everybody too.
const NOISE: &[&str] = &["multicast", "not_for_us", "neighbour_unsolicited"];

/// Ports of the other node's bridge.
const MACHINE: u16 = 1;
const TUNNEL: u16 = 2;

const ROUTER: &str = "00:00:5e:00:01:00";

#[test]
fn open_vswitch_is_the_other_node() {
    with_open_vswitch("192.0.2.1", "192.0.2.2", 24);
}

#[test]
fn open_vswitch_is_the_other_node_and_the_underlay_is_ipv6() {
    with_open_vswitch("2001:db8::1", "2001:db8::2", 64);
}

fn with_open_vswitch(own: &str, peer: &str, len: u8) {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    // The other node's kernel has its address on the bridge, and must not answer for
    // it on the bare interface too.
    two.silence("up0");
    two.run("sysctl -qw net.ipv4.conf.up0.arp_ignore=8");
    let Some(switch) = OpenVswitch::start(&two, &format!("{peer}/{len}")) else {
        return;
    };
    switch.plug("vif1", MACHINE, "");
    // The name must not be one of the kernel's.
    switch.plug(
        "tun0",
        TUNNEL,
        &format!("type=gre options:remote_ip={own} options:packet_type=legacy_l3"),
    );
    switch.know_neighbour(own, &one.mac("up0"));
    for family in Family::BOTH {
        connect(&switch, family, &web, &db);
    }

    let vrouter = vrouter_node(&one, 0);
    vrouter.apply(&objects((own, peer, len), &web, &db));
    // Nobody answers for the router there.
    db.know_the_router(&[&web]);
    conversation::meet(&web, &db);
    for (from, to) in [(&web, &db), (&db, &web)] {
        for family in Family::BOTH {
            conversation::echo(from, to, family);
            conversation::datagrams(from, to, family);
            conversation::stream(from, to, family, 20 * MIB);
        }
    }
    vrouter.assert_only_drops(NOISE);
    vrouter.assert_balanced();
}

/// The other node's way from its machine into the tunnel, and back.
fn connect(switch: &OpenVswitch, family: Family, web: &Machine, db: &Machine) {
    let ethertype = match family {
        Family::Ipv4 => 0x0800,
        Family::Ipv6 => 0x86dd,
    };
    let destination = match web.address(family) {
        IpAddr::V4(web) => format!("ip,nw_dst={web}"),
        IpAddr::V6(web) => format!("ipv6,ipv6_dst={web}"),
    };
    switch.add_flow(&format!(
        "in_port={MACHINE},{destination} actions=push_mpls:0x8847,set_field:100->mpls_label,output:{TUNNEL}"
    ));
    switch.add_flow(&format!(
        "in_port={TUNNEL},mpls,mpls_label={} actions=pop_mpls:{ethertype:#06x},\
         set_field:{ROUTER}->eth_src,set_field:{}->eth_dst,output:{MACHINE}",
        label_towards(family),
        db.mac
    ));
}

fn label_towards(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 204,
        Family::Ipv6 => 206,
    }
}

fn objects((own, peer, len): (&str, &str, u8), here: &Machine, there: &Machine) -> String {
    let (mac, v4, v6) = (&here.mac, here.ipv4, here.ipv6);
    let (label4, label6) = (label_towards(Family::Ipv4), label_towards(Family::Ipv6));
    format!(
        r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0,framecnt=4096", addresses: ["{own}/{len}"]}}
  - {{name: vif1, role: tenant, device: "net_af_packet1,iface=vif1,framecnt=4096", vrf: front, mac: "{mac}", addresses: [{v4}, "{v6}"]}}
nexthops:
  - {{name: to-peer-v4, tunnel: {{encap: mpls_gre, remote: "{peer}", label: {label4}}}}}
  - {{name: to-peer-v6, tunnel: {{encap: mpls_gre, remote: "{peer}", label: {label6}}}}}
routes:
  - {{vrf: front, prefix: {}, nexthop: to-peer-v4}}
  - {{vrf: front, prefix: "{}", nexthop: to-peer-v6}}
labels:
  - {{label: 100, vrf: front}}
"#,
        there.ipv4, there.ipv6
    )
}
