//! A fabric with a link of 1400 bytes in its middle and 1500 at its ends, and
//! machines that believe in 1500: what they send must get through all the same,
//! whether the fabric says what fits or keeps silent about it.
#![cfg(feature = "dpdk")]

use std::time::Duration;

use tests::machine::Family;
use tests::topology::{VNI, vrouter_node};
use tests::{Lab, Machine, Namespace, Vrouter, conversation, traffic, until};

const MIB: usize = 1 << 20;
const TRANSFER: usize = 100 * MIB;
/// What the link in the middle carries, in bytes.
const MIDDLE: u16 = 1400;

/// Reports of group membership go to everybody (RFC 3810 §5.2), and this
/// network does not replicate. `too_big` is what all of this is about, and
/// `ttl_expired` how tracepath asks. The routers' kernels speak to everybody on the
/// fabric, too: of their groups and, over IPv6, whether an address is free.
const NOISE: &[&str] = &["multicast", "not_for_us", "too_big", "ttl_expired"];

/// The outer IP version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Underlay {
    Ipv4,
    Ipv6,
}

impl Underlay {
    /// Outer headers and the inner Ethernet header, in bytes.
    fn overhead(self) -> u16 {
        match self {
            Underlay::Ipv4 => 20 + 8 + 8 + 14,
            Underlay::Ipv6 => 40 + 8 + 8 + 14,
        }
    }

    /// The address of node `number`.
    fn node(self, number: u8) -> String {
        match self {
            Underlay::Ipv4 => format!("192.0.{number}.2"),
            Underlay::Ipv6 => format!("2001:db8:{number}::2"),
        }
    }

    /// The address of the router in front of node `number`.
    fn router(self, number: u8) -> String {
        match self {
            Underlay::Ipv4 => format!("192.0.{number}.1"),
            Underlay::Ipv6 => format!("2001:db8:{number}::1"),
        }
    }

    /// Length of a link's prefix.
    fn prefix_len(self) -> u8 {
        match self {
            Underlay::Ipv4 => 24,
            Underlay::Ipv6 => 64,
        }
    }
}

#[test]
fn a_fabric_that_says_what_fits() {
    the_size_is_heard_over(Underlay::Ipv4);
}

#[test]
fn a_fabric_of_ipv6_that_says_what_fits() {
    the_size_is_heard_over(Underlay::Ipv6);
}

fn the_size_is_heard_over(underlay: Underlay) {
    let Some(lab) = Lab::enter() else { return };
    let fabric = Fabric::lay(&lab, underlay);
    let (web, db) = fabric.machines(&lab);
    let (left, right) = fabric.nodes(&web, &db, "", "");
    conversation::meet(&web, &db);
    for family in Family::BOTH {
        sizes_are_found(&web, &db, family, MIDDLE - underlay.overhead());
    }
    everything_arrives(&web, &db);
    check(&left, &right);
}

#[test]
fn a_silent_fabric_and_a_configured_path_mtu() {
    let Some(lab) = Lab::enter() else { return };
    let fabric = Fabric::lay(&lab, Underlay::Ipv4);
    fabric.keep_silent();
    let (web, db) = fabric.machines(&lab);
    let (left, right) = fabric.nodes(&web, &db, "", ", mtu: 1400");
    conversation::meet(&web, &db);
    for family in Family::BOTH {
        sizes_are_found(&web, &db, family, MIDDLE - Underlay::Ipv4.overhead());
    }
    everything_arrives(&web, &db);
    check(&left, &right);
}

#[test]
fn a_silent_fabric_and_a_clamped_segment_size() {
    let Some(lab) = Lab::enter() else { return };
    let fabric = Fabric::lay(&lab, Underlay::Ipv4);
    fabric.keep_silent();
    let (web, db) = fabric.machines(&lab);
    // What 1350 bytes leave behind IPv6 and TCP headers.
    let (left, right) = fabric.nodes(&web, &db, ", tcp_mss_clamp: 1290", "");
    conversation::meet(&web, &db);
    everything_arrives(&web, &db);
    check(&left, &right);
}

/// Two nodes, a router in front of each, and a thin link between the routers.
struct Fabric {
    underlay: Underlay,
    nodes: [Namespace; 2],
    routers: [Namespace; 2],
}

impl Fabric {
    fn lay(lab: &Lab, underlay: Underlay) -> Fabric {
        let nodes = [lab.namespace("node1"), lab.namespace("node2")];
        let routers = [lab.namespace("router1"), lab.namespace("router2")];
        let middle = match underlay {
            Underlay::Ipv4 => ["198.51.100.1/24", "198.51.100.2/24"],
            Underlay::Ipv6 => ["2001:db8:99::1/64", "2001:db8:99::2/64"],
        };
        for (index, number) in [(0, 1), (1, 2)] {
            lab.cable((&nodes[index], "up0"), (&routers[index], "node"), 1500);
            let own = format!("{}/{}", underlay.router(number), underlay.prefix_len());
            routers[index].address("node", &[&own]);
        }
        lab.cable((&routers[0], "middle"), (&routers[1], "middle"), MIDDLE);
        for (index, other) in [(0, 1), (1, 0)] {
            let router = &routers[index];
            router.address("middle", &[middle[index]]);
            let far = underlay.node(other as u8 + 1);
            let via = middle[other].split('/').next().unwrap_or_default();
            router.run(&format!("ip route add {far} via {via}"));
            for key in [
                "ipv4.ip_forward=1",
                "ipv6.conf.all.forwarding=1",
                "ipv4.icmp_ratelimit=0",
                "ipv6.icmp.ratelimit=0",
            ] {
                router.run(&format!("sysctl -qw net.{key}"));
            }
        }
        Fabric {
            underlay,
            nodes,
            routers,
        }
    }

    /// No ICMP error leaves the routers any more.
    fn keep_silent(&self) {
        for router in &self.routers {
            router.run("nft add table inet silence");
            router.run(
                "nft add chain inet silence out { type filter hook output priority 0 ; policy accept ; }",
            );
            router.run("nft add rule inet silence out icmp type destination-unreachable drop");
            router.run("nft add rule inet silence out icmpv6 type packet-too-big drop");
        }
    }

    /// A machine behind each node, with interfaces of 1500 bytes.
    fn machines(&self, lab: &Lab) -> (Machine, Machine) {
        let plug = |name, number, node: &Namespace| {
            let mut machine = Machine::plug(lab, name, number, (node, "vif1"));
            machine.namespace.run("ip link set eth0 mtu 1500");
            node.run("ip link set vif1 mtu 1500");
            machine.mtu = 1500;
            machine
        };
        (
            plug("web", 5, &self.nodes[0]),
            plug("db", 9, &self.nodes[1]),
        )
    }

    /// A vrouterd on each node; `vrf` and `tunnel` are more keys of those objects.
    fn nodes(&self, web: &Machine, db: &Machine, vrf: &str, tunnel: &str) -> (Vrouter, Vrouter) {
        let start = |index: usize| vrouter_node(&self.nodes[index], index);
        let (left, right) = (start(0), start(1));
        left.apply(&self.objects(1, web, db, vrf, tunnel));
        right.apply(&self.objects(2, db, web, vrf, tunnel));
        (left, right)
    }

    fn objects(&self, own: u8, here: &Machine, there: &Machine, vrf: &str, tunnel: &str) -> String {
        let peer = 3 - own;
        let (address, router) = (self.underlay.node(own), self.underlay.router(own));
        let (remote, len) = (self.underlay.node(peer), self.underlay.prefix_len());
        let (mac, ipv4, ipv6) = (&here.mac, here.ipv4, here.ipv6);
        format!(
            r#"
vrfs:
  - {{name: front, mode: routed, gateways: [10.1.0.1/24, "fd01::1/64"]{vrf}}}
vifs:
  - {{name: up0, role: fabric, device: "net_af_packet0,iface=up0,framecnt=4096", addresses: ["{address}/{len}"]}}
  - {{name: vif1, role: tenant, device: "net_af_packet1,iface=vif1,framecnt=4096", vrf: front, mac: "{mac}", addresses: [{ipv4}, "{ipv6}"]}}
nexthops:
  - {{name: router, vif: up0, address: "{router}"}}
  - {{name: to-peer, tunnel: {{encap: vxlan, remote: "{remote}", vni: {VNI}{tunnel}}}}}
routes:
  - {{vrf: underlay, prefix: "{remote}", nexthop: router}}
  - {{vrf: front, prefix: {}, nexthop: to-peer}}
  - {{vrf: front, prefix: "{}", nexthop: to-peer}}
vnis:
  - {{vni: {VNI}, vrf: front}}
"#,
            there.ipv4, there.ipv6
        )
    }
}

/// `ping -M do` and `tracepath` find out that `mtu` bytes pass, and no more.
fn sizes_are_found(from: &Machine, to: &Machine, family: Family, mtu: u16) {
    let target = to.address(family);
    let ping = |mtu: u16| {
        let len = mtu - family.echo_headers();
        let line = format!("ping -n -c 1 -W 1 -M do -s {len} {target}");
        from.namespace.try_run(&line)
    };
    let said = format!("mtu = {mtu}");
    // What the uplink leaves. The first such packet is lost in the middle, which
    // tells the node; from then on the node tells the machine.
    let uplink = mtu + (1500 - MIDDLE);
    until(
        Duration::from_secs(10),
        &format!("ping -M do to {target} to be told {said}"),
        || {
            let ping = ping(uplink);
            let all = format!("{}{}", ping.stdout, ping.stderr);
            (all.contains(&said) || all.contains(&format!("mtu={mtu}"))).then_some(())
        },
    );
    let fits = ping(mtu);
    assert!(fits.stdout.contains(" 0% packet loss"), "{fits}");
    let exceeds = ping(mtu + 1);
    assert!(!exceeds.stdout.contains("bytes from"), "{exceeds}");

    let forget = match family {
        Family::Ipv4 => "ip route flush cache",
        Family::Ipv6 => "ip -6 route flush cache",
    };
    from.namespace.run(forget);
    let tracepath = from.namespace.try_run(&format!("tracepath -n {target}"));
    assert!(
        tracepath.stdout.contains(&format!("pmtu {mtu}")) && tracepath.stdout.contains("reached"),
        "{tracepath}"
    );
}

/// A transfer in each family and direction, as TCP does it: with DF.
fn everything_arrives(web: &Machine, db: &Machine) {
    for (from, to) in [(web, db), (db, web)] {
        for family in Family::BOTH {
            let transfer = traffic::tcp(from, to, family, TRANSFER);
            assert_eq!(transfer.sent, transfer.received, "{family:?}");
            println!(
                "{} MiB over {family:?} in {:.1} s",
                TRANSFER / MIB,
                transfer.seconds
            );
        }
    }
}

fn check(left: &Vrouter, right: &Vrouter) {
    for vrouter in [left, right] {
        vrouter.assert_only_drops(NOISE);
        vrouter.assert_balanced();
    }
}
