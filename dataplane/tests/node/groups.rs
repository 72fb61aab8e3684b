//! Groups in tenants' networks: flows over several ways to the same place.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use crate::common::*;
use dataplane::DropReason;
use dataplane::decide::{Decision, Headers, Stateless, decide};
use dataplane::stage::{Ingress, Layer};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;
use etherparse::PacketBuilder;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
/// Behind every member.
const THERE: &str = "10.9.0.1";

fn group(name: &str, members: &[(&str, u16)], symmetric: bool) -> Object {
    let member = |(name, weight): &(&str, u16)| Member {
        nexthop: (*name).into(),
        weight: NonZeroU16::new(*weight).expect("not zero"),
    };
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Group(Group {
            members: members.iter().map(member).collect(),
            hash: HashFields::FiveTuple,
            symmetric,
        }),
    })
}

fn by_vif(vif: &str) -> Object {
    Object::Nexthop(Nexthop {
        name: format!("by-{vif}").into(),
        action: NexthopAction::Vif {
            vif: vif.into(),
            address: None,
        },
    })
}

/// A machine, and three routers on vifs of this node that lead to the same place.
fn with_routers() -> Node {
    let mut objects = vec![
        vrf("red", &["10.1.0.254/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        group("all", &[("by-r1", 1), ("by-r2", 1), ("by-r3", 1)], false),
        route("red", "10.9.0.0/16", "all"),
    ];
    for number in 1..=3 {
        let name = format!("r{number}");
        let mac = MacAddr([2, 0, 0, 0, 2, number]);
        let own = format!("10.1.0.{number}");
        objects.push(Object::Vif(Vif {
            addresses: vec![net(&own)],
            ..match tenant(&name, "red", mac, &[]) {
                Object::Vif(vif) => vif,
                _ => unreachable!("it is a vif"),
            }
        }));
        objects.push(by_vif(&name));
    }
    Node::new(objects)
}

/// A machine, and two nodes behind uplinks of their own.
fn with_nodes() -> Node {
    let discard = Object::Nexthop(Nexthop {
        name: "discard".into(),
        action: NexthopAction::Discard,
    });
    Node::new(vec![
        vrf("red", &["10.1.0.254/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        fabric("up1", MacAddr([2, 0, 0, 0, 1, 9]), &["198.51.100.1/24"]),
        discard,
        tunnel("node2", "192.0.2.2", 5001, None),
        tunnel("node3", "198.51.100.2", 5001, None),
        group("nodes", &[("node2", 1), ("node3", 1)], false),
        route("red", "10.9.0.0/16", "nodes"),
        vni(5001, "red"),
        mac(
            "underlay",
            MacAddr([2, 0, 0, 0, 3, 2]),
            "discard",
            Some("192.0.2.2"),
        ),
        mac(
            "underlay",
            MacAddr([2, 0, 0, 0, 3, 3]),
            "discard",
            Some("198.51.100.2"),
        ),
    ])
}

fn packet(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(A.0, ROUTER.0)
        .ipv4([10, 1, 0, 10], [10, 9, 0, 1], 64)
        .udp(port, 53)
        .write(&mut frame, b"hello")
        .expect("it fits");
    frame
}

fn answer(port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(ROUTER.0, ROUTER.0)
        .ipv4([10, 9, 0, 1], [10, 1, 0, 10], 64)
        .udp(53, port)
        .write(&mut frame, b"hi")
        .expect("it fits");
    frame
}

/// By which vif a packet of each of so many flows leaves.
fn spread(node: &mut Node, flows: u16) -> BTreeMap<u16, String> {
    let mut took = BTreeMap::new();
    for port in 1..=flows {
        node.send("a", &[packet(port)]);
        let mut sent = node.recv_all();
        assert_eq!(sent.len(), 1, "of port {port}: {sent:x?}");
        took.extend(sent.pop_first().map(|(vif, _)| (port, vif)));
    }
    took
}

fn count(took: &BTreeMap<u16, String>, vif: &str) -> usize {
    took.values().filter(|it| *it == vif).count()
}

fn set_link(node: &Node, vif: &str, up: bool) {
    let tables = node.publisher.current();
    tables.vif_named(vif).expect("it exists").link.set(up);
}

#[test]
fn flows_are_shared_out_and_each_stays_on_its_way() {
    let mut node = with_routers();
    let first = spread(&mut node, 300);
    for vif in ["r1", "r2", "r3"] {
        assert!((70..130).contains(&count(&first, vif)), "{vif}");
    }
    assert_eq!(spread(&mut node, 300), first);
    assert_eq!(
        node.publisher
            .current()
            .vif_named("r1")
            .map(|vif| vif.link.is_watched()),
        Some(true)
    );
}

#[test]
fn a_member_that_fails_moves_its_own_flows_at_once_and_no_others() {
    let mut node = with_routers();
    let before = spread(&mut node, 200);
    set_link(&node, "r2", false);
    let during = spread(&mut node, 200);
    assert_eq!(count(&during, "r2"), 0);
    for (port, vif) in before.iter().filter(|(_, vif)| **vif != "r2") {
        assert_eq!(during[port], *vif, "port {port}");
    }
    // It comes back: flows stay where they are, new ones take it again.
    set_link(&node, "r2", true);
    let after = spread(&mut node, 300);
    for (port, vif) in &during {
        assert_eq!(after[port], *vif, "port {port}");
    }
    assert!(after.values().skip(200).any(|vif| vif == "r2"));
}

#[test]
fn a_smaller_or_larger_group_moves_no_flow_of_the_rest() {
    let mut node = with_routers();
    let before = spread(&mut node, 200);
    let two = group("all", &[("by-r1", 1), ("by-r3", 1)], false);
    node.apply(vec![Change::Upsert(two)])
        .expect("a smaller group");
    let fewer = spread(&mut node, 200);
    for (port, vif) in before.iter().filter(|(_, vif)| **vif != "r2") {
        assert_eq!(fewer[port], *vif, "port {port}");
    }
    let three = group("all", &[("by-r1", 1), ("by-r2", 5), ("by-r3", 1)], false);
    node.apply(vec![Change::Upsert(three)])
        .expect("a larger group");
    assert_eq!(spread(&mut node, 200), fewer);
}

#[test]
fn when_every_member_has_failed_flows_wait_for_one() {
    let mut node = with_routers();
    for vif in ["r1", "r2", "r3"] {
        set_link(&node, vif, false);
    }
    let during = spread(&mut node, 50);
    set_link(&node, "r3", true);
    let after = spread(&mut node, 50);
    assert!(count(&during, "r3") < 50);
    assert_eq!(count(&after, "r3"), 50);
}

#[test]
fn tunnels_are_members_too_and_fail_with_their_uplink() {
    let mut node = with_nodes();
    let before = spread(&mut node, 100);
    assert!(count(&before, "up0") > 20 && count(&before, "up1") > 20);
    set_link(&node, "up0", false);
    assert_eq!(count(&spread(&mut node, 100), "up1"), 100);
}

#[test]
fn an_answer_may_come_by_any_member_and_the_flow_keeps_its_own() {
    let mut node = with_nodes();
    let before = spread(&mut node, 40);
    for port in 1..=40 {
        for (uplink, outer) in [
            (
                "up0",
                [
                    (MacAddr([2, 0, 0, 0, 3, 2]), "192.0.2.2"),
                    (UPLINK, "192.0.2.1"),
                ],
            ),
            (
                "up1",
                [
                    (MacAddr([2, 0, 0, 0, 3, 3]), "198.51.100.2"),
                    (MacAddr([2, 0, 0, 0, 1, 9]), "198.51.100.1"),
                ],
            ),
        ] {
            node.exchange(uplink, vxlan(outer, 5001, &answer(port)), "a");
        }
    }
    assert_eq!(spread(&mut node, 40), before);
    // From a node that is no member it is spoofed.
    let other = [
        (MacAddr([2, 0, 0, 0, 3, 4]), "192.0.2.4"),
        (UPLINK, "192.0.2.1"),
    ];
    node.apply(vec![Change::Upsert(tunnel(
        "node4",
        "192.0.2.4",
        5001,
        None,
    ))])
    .expect("a tunnel");
    let refused = node.refused("up0", vxlan(other, 5001, &answer(7)));
    assert_eq!(refused, DropReason::ReversePath);
}

fn decided(node: &Node, (src, src_port): (&str, u16), (dst, dst_port): (&str, u16)) -> Decision {
    let tables = node.publisher.current();
    let vif = tables.vif_named("a").expect("it exists");
    let headers = Headers {
        vrf: vif.vrf,
        layer: Layer::Routed,
        src_mac: A,
        dst_mac: ROUTER,
        src_addr: ip(src),
        dst_addr: ip(dst),
        protocol: 17,
        src_port,
        dst_port,
        icmp: None,
        direct: None,
        kept: None,
    };
    decide(&tables, &mut Stateless, &headers, Ingress::vif(vif.id)).expect("it is let through")
}

/// Two nodes with groups of other names: each sends its direction of a flow to the member in the
/// same place.
#[test]
fn both_ends_of_a_symmetric_group_pick_the_member_in_the_same_place() {
    let build = |own: &str, far: &str, names: [&str; 3]| {
        let mut objects = vec![
            vrf("red", &["10.1.0.254/16"]),
            fabric("up0", UPLINK, &["192.0.2.1/24"]),
            tenant("a", "red", A, &[own]),
        ];
        for (number, name) in (2..).zip(names) {
            objects.push(tunnel(name, &format!("192.0.2.{number}"), 5001, None));
        }
        let members: Vec<(&str, u16)> = names.iter().map(|name| (*name, 1)).collect();
        objects.push(group("firewalls", &members, true));
        objects.push(route("red", far, "firewalls"));
        Node::new(objects)
    };
    let here = build("10.1.0.10", "10.9.0.1/32", ["f1", "f2", "f3"]);
    let there = build("10.9.0.1", "10.1.0.10/32", ["x", "y", "z"]);
    let mut places = [0; 4];
    for port in 0..300 {
        let ours = decided(&here, ("10.1.0.10", port), (THERE, 53)).forward;
        let theirs = decided(&there, (THERE, 53), ("10.1.0.10", port)).forward;
        assert_eq!(ours.member, theirs.member);
        places[usize::from(ours.member)] += 1;
    }
    assert!(
        places[0] == 0 && places[1..].iter().all(|flows| *flows > 70),
        "{places:?}"
    );
}
