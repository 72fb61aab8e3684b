//! Nodes with two uplinks: traffic goes on when one fails, and the node's own
//! kernel stays reachable through the same ports.
#![cfg(feature = "dpdk")]

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use tests::machine::{Family, OVERLAY_MTU};
use tests::topology::VNI;
use tests::traffic;
use tests::{Lab, Machine, Namespace, Vrouter, conversation, until};

const NOISE: &[&str] = &["multicast"];

/// Flows of numbered packets, and how long they go on.
const FLOWS: usize = 64;
const PER_SECOND: u32 = 100;
const SECONDS: u32 = 6;

/// Two nodes of ours, and a switch between each pair of ports with one number.
struct Rig {
    one: Namespace,
    two: Namespace,
    switches: [Namespace; 2],
}

impl Rig {
    fn new(lab: &Lab) -> Rig {
        let rig = Rig {
            one: lab.namespace("node1"),
            two: lab.namespace("node2"),
            switches: ["switch0", "switch1"].map(|name| lab.namespace(name)),
        };
        for (n, switch) in rig.switches.iter().enumerate() {
            switch.run("ip link add br0 type bridge");
            switch.silence("br0");
            switch.run("ip link set br0 up");
            for (node, port) in [(&rig.one, "to1"), (&rig.two, "to2")] {
                let uplink = format!("up{n}");
                lab.cable((node, &uplink), (switch, port), 1500);
                node.silence(&uplink);
                leave_to_vrouter(node, &uplink);
                switch.silence(port);
                switch.run(&format!("ip link set {port} master br0"));
            }
        }
        rig
    }

    /// Both nodes lose, or get back, the carrier on the link of one number.
    fn set_link(&self, n: usize, state: &str) {
        for port in ["to1", "to2"] {
            self.switches[n].run(&format!("ip link set {port} {state}"));
        }
    }
}

/// An af_packet port leaves the kernel listening; on a NIC that vrouter has to
/// itself this has no counterpart.
fn leave_to_vrouter(node: &Namespace, interface: &str) {
    node.run(&format!("nft add table netdev {interface}"));
    node.run(&format!(
        "nft add chain netdev {interface} uplink \
         {{ type filter hook ingress device {interface} priority 0 ; policy drop ; }}"
    ));
}

/// The objects of node `own`: both uplinks with an address of their own and
/// 10.255.0.`own`, a machine, and the other node behind both; the kernel behind
/// the first.
fn objects(node: &Namespace, own: u8, here: &Machine, peer: u8, there: &Machine) -> String {
    let mac = node.mac("up0");
    format!(
        r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0,framecnt=4096", addresses: [198.51.0.{own}/24, 10.255.0.{own}]}}
  - {{name: up1, role: fabric, device: "net_af_packet1,iface=up1,framecnt=4096", addresses: [198.51.1.{own}/24, 10.255.0.{own}]}}
  - {{name: host0, role: host, device: "net_tap0,iface=host0,mac={mac}"}}
  - {{name: vif1, role: tenant, device: "net_af_packet2,iface=vif1,framecnt=4096", vrf: front, mac: "{}", addresses: [{}, "{}"]}}
nexthops:
  - {{name: left, vif: up0, address: 198.51.0.{peer}}}
  - {{name: right, vif: up1, address: 198.51.1.{peer}}}
  - {{name: both, group: {{members: [{{nexthop: left}}, {{nexthop: right}}]}}}}
  - {{name: to-peer, tunnel: {{encap: vxlan, remote: 10.255.0.{peer}, vni: {VNI}}}}}
routes:
  - {{vrf: underlay, prefix: 10.255.0.{peer}/32, nexthop: both}}
  - {{vrf: front, prefix: {}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{}", nexthop: to-peer}}
vnis:
  - {{vni: {VNI}, vrf: front}}
"#,
        here.mac, here.ipv4, here.ipv6, there.ipv4, there.ipv6
    )
}

/// The kernel of a node, behind the host vif, as one end of a conversation.
fn kernel(node: &Namespace, own: u8) -> Machine {
    let mac = node.mac("up0");
    node.silence("host0");
    node.run(&format!("ip link set host0 address {mac}"));
    node.address("host0", &[&format!("198.51.0.{own}/24")]);
    node.run("ip link set host0 up");
    Machine {
        namespace: node.clone(),
        interface: "host0".into(),
        mac,
        ipv4: Ipv4Addr::new(198, 51, 0, own),
        ipv6: Ipv6Addr::UNSPECIFIED,
        mtu: 1500,
    }
}

#[test]
fn a_link_fails_in_the_middle_and_only_its_flows_notice() {
    let Some(lab) = Lab::enter() else { return };
    let rig = Rig::new(&lab);
    let web = Machine::plug(&lab, "web", 5, (&rig.one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&rig.two, "vif1"));
    let (left, right) = (Vrouter::start(&rig.one, 0), Vrouter::start(&rig.two, 1));
    left.apply(&objects(&rig.one, 1, &web, 2, &db));
    right.apply(&objects(&rig.two, 2, &db, 1, &web));
    let (ops, node) = (kernel(&rig.two, 2), kernel(&rig.one, 1));
    conversation::meet(&web, &db);
    until(Duration::from_secs(5), "the kernels to meet", || {
        ops.pings(node.ipv4.into()).then_some(())
    });

    let sent = || {
        (
            left.counter("up0", "tx_packets"),
            left.counter("up1", "tx_packets"),
        )
    };
    let before = sent();
    let mut halfway = before;
    std::thread::scope(|scope| {
        // As ssh would be, through the port that the tunnels use too.
        let admin = scope.spawn(|| traffic::tcp(&ops, &node, Family::Ipv4, 128 << 20));
        let bulk = scope.spawn(|| traffic::tcp(&web, &db, Family::Ipv6, 256 << 20));
        let lost = lost_of_flows(&web, &db, || {
            halfway = sent();
            rig.set_link(1, "down");
        });
        for transfer in [admin, bulk] {
            let transfer = transfer.join().expect("it ends");
            assert_eq!(transfer.sent, transfer.received);
            println!("TCP went on: {:.1} s", transfer.seconds);
        }
        let affected = lost.iter().filter(|lost| **lost > 0).count();
        let most = lost.iter().max().copied().unwrap_or_default();
        println!(
            "{affected} of {FLOWS} flows lost packets, {most} at most of {PER_SECOND} a second: {lost:?}"
        );
        assert!(affected <= FLOWS * 3 / 4, "more than had that uplink");
        assert!(most <= PER_SECOND, "more than a second's packets");
    });
    assert!(
        halfway.0 > before.0 + 1_000 && halfway.1 > before.1 + 1_000,
        "both carry"
    );
    let (_, still) = sent();
    until(
        Duration::from_secs(5),
        "nothing to leave by the dead link",
        || {
            web.pings(db.ipv4.into());
            (sent().1 == still).then_some(())
        },
    );

    // It comes back, and carries again.
    rig.set_link(1, "up");
    let started = Instant::now();
    let mut tries = 0;
    until(Duration::from_secs(10), "the flows to return", || {
        tries += 1;
        traffic::udp(
            &web,
            &db,
            Family::Ipv4,
            traffic::Numbered {
                packets: 20,
                rate: 2_000,
                len: 64,
            },
        );
        (sent().1 >= still + 20).then_some(())
    });
    println!("back after {:?}, {tries} flows", started.elapsed());
    for vrouter in [&left, &right] {
        vrouter.assert_only_drops(&["multicast", "neighbour_unsolicited", "not_for_us"]);
        vrouter.assert_balanced();
    }
}

/// Sends numbered packets of many flows, lets something happen in the middle, and
/// counts what each flow lost.
fn lost_of_flows(from: &Machine, to: &Machine, halfway: impl FnOnce()) -> Vec<u32> {
    let socket = |machine: &Machine| {
        let address = machine.address(Family::Ipv4);
        let socket = machine.namespace.within(|| UdpSocket::bind((address, 0)));
        socket.expect("the machine has this address")
    };
    let receiver = socket(to);
    set_socket_recv_buffer_size_force(&receiver, 64 << 20).expect("root may");
    let timeout = Some(Duration::from_secs(2));
    receiver.set_read_timeout(timeout).expect("not zero");
    let target = receiver.local_addr().expect("it is bound");
    let senders: Vec<UdpSocket> = (0..FLOWS).map(|_| socket(from)).collect();
    let packets = PER_SECOND * SECONDS;
    let mut arrived = vec![0; FLOWS];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            for number in 0..packets {
                let due = start + Duration::from_secs(1) / PER_SECOND * number;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                for (flow, sender) in senders.iter().enumerate() {
                    let packet = [flow as u8; 100];
                    sender
                        .send_to(&packet, target)
                        .expect("the interface takes it");
                }
            }
        });
        scope.spawn(|| {
            let mut buf = [0; 2048];
            while let Ok(len) = receiver.recv(&mut buf) {
                assert_eq!(len, 100);
                arrived[usize::from(buf[0])] += 1;
            }
        });
        std::thread::sleep(Duration::from_secs(u64::from(SECONDS) / 2));
        halfway();
    });
    arrived.iter().map(|arrived| packets - arrived).collect()
}

#[test]
fn a_kernel_behind_a_router_with_two_links_is_the_other_node() {
    let Some(lab) = Lab::enter() else { return };
    let (node, router, other) = (
        lab.namespace("node1"),
        lab.namespace("router"),
        lab.namespace("node2"),
    );
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1");
    for n in 0..2 {
        let (uplink, port) = (format!("up{n}"), format!("to{n}"));
        lab.cable((&node, &uplink), (&router, &port), 1500);
        node.silence(&uplink);
        router.address(&port, &[&format!("198.51.{n}.254/24")]);
    }
    lab.cable((&router, "east"), (&other, "up0"), 1500);
    router.address("east", &["192.0.2.254/24"]);
    router.run(
        "ip route add 10.255.0.1 nexthop via 198.51.0.1 dev to0 nexthop via 198.51.1.1 dev to1",
    );
    other.address("up0", &["192.0.2.2/24"]);
    other.run("ip route add default via 192.0.2.254");
    other.run(&format!(
        "ip link add vxlan0 mtu {OVERLAY_MTU} type vxlan id {VNI} dstport 4789 \
         local 192.0.2.2 remote 10.255.0.1"
    ));
    other.no_offloads("vxlan0");
    other.run("ip link set vxlan0 up");
    let db = Machine::on(other, "vxlan0", 9);
    let web = Machine::plug(&lab, "web", 5, (&node, "vif1"));
    let vrouter = Vrouter::start(&node, 0);
    vrouter.apply(&format!(
        r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0,framecnt=4096", addresses: [198.51.0.1/24, 10.255.0.1]}}
  - {{name: up1, role: fabric, device: "net_af_packet1,iface=up1,framecnt=4096", addresses: [198.51.1.1/24, 10.255.0.1]}}
  - {{name: vif1, role: tenant, device: "net_af_packet2,iface=vif1,framecnt=4096", vrf: front, mac: "{}", addresses: [{}, "{}"]}}
nexthops:
  - {{name: left, vif: up0, address: 198.51.0.254}}
  - {{name: right, vif: up1, address: 198.51.1.254}}
  - {{name: spines, group: {{members: [{{nexthop: left}}, {{nexthop: right}}]}}}}
  - {{name: to-peer, tunnel: {{encap: vxlan, remote: 192.0.2.2, vni: {VNI}, inner_mac: "{}"}}}}
routes:
  - {{vrf: underlay, prefix: 192.0.2.0/24, nexthop: spines}}
  - {{vrf: front, prefix: {}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{}", nexthop: to-peer}}
vnis:
  - {{vni: {VNI}, vrf: front}}
"#,
        web.mac, web.ipv4, web.ipv6, db.mac, db.ipv4, db.ipv6
    ));
    conversation::meet(&web, &db);
    let sent = || {
        (
            vrouter.counter("up0", "tx_packets"),
            vrouter.counter("up1", "tx_packets"),
        )
    };
    let before = sent();
    let lost = lost_of_flows(&web, &db, || {
        let halfway = sent();
        assert!(
            halfway.0 > before.0 + 1_000 && halfway.1 > before.1 + 1_000,
            "both carry"
        );
        router.run("ip link set to1 down");
    });
    let affected = lost.iter().filter(|lost| **lost > 0).count();
    println!("{affected} of {FLOWS} flows lost packets: {lost:?}");
    assert!(affected <= FLOWS * 3 / 4, "more than had that uplink");
    assert!(lost.iter().all(|lost| *lost <= PER_SECOND), "{lost:?}");
    // Both ways, over what is left, and then over both again.
    for (state, len) in [("down", 64 << 20), ("up", 64 << 20)] {
        router.run(&format!("ip link set to1 {state}"));
        if state == "up" {
            // The route lost its second half with the link.
            router.run(
                "ip route replace 10.255.0.1 \
                 nexthop via 198.51.0.1 dev to0 nexthop via 198.51.1.1 dev to1",
            );
        }
        for (from, to) in [(&web, &db), (&db, &web)] {
            let transfer = traffic::tcp(from, to, Family::Ipv4, len);
            assert_eq!(transfer.sent, transfer.received);
        }
    }
    vrouter.assert_only_drops(&["multicast", "no_host", "not_for_us"]);
    vrouter.assert_balanced();
}

#[test]
fn uplinks_carry_a_tag() {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = tests::topology::two_nodes(&lab);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    let left = tests::topology::vrouter_node(&one, 0);
    let right = tests::topology::vrouter_node(&two, 1);
    let routed = tests::topology::Forwarding::Routed;
    let tagged = |objects: String| objects.replace("/24]}", "/24], vlan: 100}");
    left.apply(&tagged(tests::topology::objects(1, &web, 2, &db, routed)));
    right.apply(&tagged(tests::topology::objects(2, &db, 1, &web, routed)));
    conversation::hold(&web, &db, 64 << 20);
    for vrouter in [&left, &right] {
        vrouter.assert_only_drops(NOISE);
        vrouter.assert_balanced();
        assert!(
            vrouter
                .vrctl(&["get", "vifs", "-o", "yaml"])
                .stdout
                .contains("vlan: 100")
        );
    }
}
