//! A fabric that carries less than the machines believe, and tunnels whose own
//! packets are cut (`fragment: outer`): one vrouterd cuts, the other puts together,
//! and the machines notice nothing.
#![cfg(feature = "dpdk")]

use tests::machine::Family;
use tests::topology::vrouter_node;
use tests::{Lab, Machine, Namespace, Vrouter, conversation};

/// What the fabric carries, in bytes; the machines' interfaces carry 1450.
const FABRIC: u16 = 1400;
const MIB: usize = 1 << 20;

/// Machines say more than we ask them to: see the scenarios of the overlay.
const NOISE: &[&str] = &["multicast"];

/// Node 1 and node 2.
#[derive(Clone, Copy)]
enum Underlay {
    Ipv4,
    Ipv6,
}

impl Underlay {
    fn address(self, node: u8) -> String {
        match self {
            Underlay::Ipv4 => format!("192.0.2.{node}"),
            Underlay::Ipv6 => format!("2001:db8::{node}"),
        }
    }

    fn prefix_len(self) -> u8 {
        match self {
            Underlay::Ipv4 => 24,
            Underlay::Ipv6 => 64,
        }
    }
}

#[test]
fn mpls_over_udp_is_cut_and_put_together() {
    large_packets_get_through("mpls_udp", Underlay::Ipv4);
}

#[test]
fn mpls_over_gre_is_cut_and_put_together() {
    large_packets_get_through("mpls_gre", Underlay::Ipv4);
}

#[test]
fn mpls_over_udp_and_ipv6_is_cut_and_put_together() {
    large_packets_get_through("mpls_udp", Underlay::Ipv6);
}

#[test]
fn mpls_over_gre_and_ipv6_is_cut_and_put_together() {
    large_packets_get_through("mpls_gre", Underlay::Ipv6);
}

fn large_packets_get_through(encap: &str, underlay: Underlay) {
    let Some(lab) = Lab::enter() else { return };
    let (one, two) = (lab.namespace("node1"), lab.namespace("node2"));
    lab.cable((&one, "up0"), (&two, "up0"), FABRIC);
    let web = Machine::plug(&lab, "web", 5, (&one, "vif1"));
    let db = Machine::plug(&lab, "db", 9, (&two, "vif1"));
    let left = node(&one, 1, (&web, &db), encap, underlay);
    let right = node(&two, 2, (&db, &web), encap, underlay);
    conversation::meet(&web, &db);
    let before = [&left, &right].map(|vrouter| vrouter.counter("up0", "consumed"));
    for (from, to) in [(&web, &db), (&db, &web)] {
        for family in Family::BOTH {
            let ping = from.namespace.try_run(&format!(
                "ping -q -n -c 50 -i 0.02 -W 2 -M do -s 1400 {}",
                to.address(family)
            ));
            assert!(ping.stdout.contains(" 0% packet loss"), "{ping}");
        }
    }
    for (vrouter, before) in [&left, &right].into_iter().zip(before) {
        // Each of 100 requests and 100 replies came in two fragments.
        let consumed = vrouter.counter("up0", "consumed") - before;
        assert!(
            (200..220).contains(&consumed),
            "{consumed} fragments have served"
        );
        vrouter.assert_only_drops(NOISE);
    }
    for (from, to) in [(&web, &db), (&db, &web)] {
        for family in Family::BOTH {
            conversation::echo(from, to, family);
            conversation::stream(from, to, family, 20 * MIB);
        }
    }
    for vrouter in [&left, &right] {
        // A port may have lost one of two fragments while TCP felt its way.
        vrouter.assert_only_drops(&[NOISE, &["reassembly_timeout"]].concat());
        vrouter.assert_balanced();
        let kept = &vrouter.stats()["workers"][0]["reassembly"];
        for used in ["datagrams", "held_packets"] {
            assert_eq!(kept[used].as_u64().unwrap_or(0), 0, "{kept}");
        }
    }
}

/// A vrouterd on node `own`, whose machine is `here`.
fn node(
    namespace: &Namespace,
    own: u8,
    (here, there): (&Machine, &Machine),
    encap: &str,
    underlay: Underlay,
) -> Vrouter {
    let vrouter = vrouter_node(namespace, usize::from(own) - 1);
    let (address, remote) = (underlay.address(own), underlay.address(3 - own));
    let len = underlay.prefix_len();
    let (mac, v4, v6) = (&here.mac, here.ipv4, here.ipv6);
    // An af_packet port of DPDK 22.11 has the kernel put IPv4 fragments together
    // before it sees them; af_xdp takes frames as they are.
    vrouter.apply(&format!(
        r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_xdp0,iface=up0", mtu: {FABRIC}, addresses: ["{address}/{len}"]}}
  - {{name: vif1, role: tenant, device: "net_af_packet1,iface=vif1,framecnt=4096", vrf: front, mac: "{mac}", addresses: [{v4}, "{v6}"]}}
nexthops:
  - {{name: to-peer, tunnel: {{encap: {encap}, remote: "{remote}", label: 100, fragment: outer}}}}
routes:
  - {{vrf: front, prefix: {}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{}", nexthop: to-peer}}
labels:
  - {{label: 100, vrf: front}}
"#,
        there.ipv4, there.ipv6
    ));
    vrouter
}
