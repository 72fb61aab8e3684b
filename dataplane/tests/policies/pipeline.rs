//! Policies from frame to frame: first packets, replies, changes, refusals, and what has no flow.

use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::rule_counters::rule_counters;
use dataplane::tables::change::Change;
use dataplane::tables::policy::{RuleCount, RuleId};
use dataplane::tables::spec::*;
use encap::{MacAddr, Quote};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use flowtable::{FlowView, WalkCursor};

use crate::common::*;
use crate::{guarded, policy, rule, set};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Two machines here and one behind node 2, in each of two networks with the same addresses.
fn objects() -> Vec<Object> {
    let mut all = vec![
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        mac("underlay", NODE2, "red-2", Some("192.0.2.2")),
    ];
    for (name, number) in [("red", 5001), ("blue", 5002)] {
        all.extend([
            vrf(name, &["10.1.0.1/24", "fd01::1/64"]),
            vif(name, 'a'),
            vif(name, 'b'),
            tunnel(&format!("{name}-2"), "192.0.2.2", number, None),
            route(name, "10.1.0.9/32", &format!("{name}-2")),
            vni(number, name),
        ]);
    }
    all
}

fn vif(vrf: &str, machine: char) -> Object {
    let (mac, v4, v6) = match machine {
        'a' => (A, "10.1.0.10", "fd01::10"),
        _ => (B, "10.1.0.11", "fd01::11"),
    };
    tenant(&format!("{vrf}-{machine}"), vrf, mac, &[v4, v6])
}

/// A node on which machine `b` of red has these rules for what is delivered.
fn guarded_node(rules: Vec<Rule>) -> Node {
    let mut objects = objects();
    objects.extend([policy("web", rules), policy("other", vec![])]);
    let mut node = Node::new(objects);
    upsert(&mut node, guarded(vif("red", 'b'), &["web"], &[]));
    node
}

fn upsert(node: &mut Node, object: Object) {
    node.apply(vec![Change::Upsert(object)]).expect("it fits");
}

fn allow_port(id: u32, port: u16) -> Rule {
    Rule {
        protocol: Some(17),
        destination_ports: vec![port..=port],
        ..rule(id, RuleAction::Allow)
    }
}

/// A UDP packet between machines, to the router's MAC.
fn packet(src: (MacAddr, &str, u16), dst: (&str, u16)) -> Vec<u8> {
    frame((src.0, ROUTER), (src.1, src.2), dst)
}

fn frame(macs: (MacAddr, MacAddr), src: (&str, u16), dst: (&str, u16)) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
    let network = match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let udp = network.udp(src.1, dst.1);
    udp.write(&mut frame, b"hello").expect("it fits");
    frame
}

fn from_a(port: u16) -> Vec<u8> {
    packet((A, "10.1.0.10", 1000), ("10.1.0.11", port))
}

fn from_b(port: u16) -> Vec<u8> {
    packet((B, "10.1.0.11", port), ("10.1.0.10", 1000))
}

fn flows(node: &Node) -> Vec<FlowView> {
    let mut all = Vec::new();
    let flows = &node.flows;
    flows.walk(&mut WalkCursor::default(), usize::MAX, |flow| {
        all.push(*flow)
    });
    all
}

/// Type and code of an ICMP error.
fn said(frame: &[u8]) -> (u8, u8) {
    let meta = encap::parse(frame).expect("well-formed");
    let quote = Quote::read(frame, &meta).expect("checksums are right");
    quote
        .map(|quote| (quote.kind, quote.code))
        .expect("an error")
}

fn count(node: &Node, number: u32) -> RuleCount {
    let tables = node.publisher.current();
    let counts = rule_counters(&tables, &node.flows);
    let rule = tables.rules().find(|rule| rule.number == number);
    counts[&rule.expect("it is there").id()]
}

#[test]
fn without_a_policy_all_is_open_and_with_one_only_what_it_allows() {
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    node.exchange("red-a", from_a(80), "red-b");
    assert_eq!(node.refused("red-a", from_a(81)), DropReason::PolicyDenied);
    // The same addresses in a network that has none.
    node.exchange("blue-a", from_a(81), "blue-b");
    // And the other direction of the same vif.
    let to_a = packet((B, "10.1.0.11", 5), ("10.1.0.10", 81));
    node.exchange("red-b", to_a, "red-a");
    // A policy without rules allows nothing.
    upsert(&mut node, guarded(vif("red", 'b'), &["other"], &[]));
    assert_eq!(node.refused("red-a", from_a(80)), DropReason::PolicyDenied);
}

#[test]
fn replies_pass_and_what_looks_like_one_does_not() {
    let mut node = guarded_node(vec![]);
    upsert(&mut node, guarded(vif("red", 'b'), &["web"], &["other"]));
    upsert(&mut node, policy("web", vec![allow_port(10, 80)]));
    // Nothing is let out of `b`, but answers.
    assert_eq!(node.refused("red-b", from_b(80)), DropReason::PolicyDenied);
    node.exchange("red-a", from_a(80), "red-b");
    node.exchange("red-b", from_b(80), "red-a");
    assert_eq!(node.refused("red-b", from_b(81)), DropReason::PolicyDenied);
}

#[test]
fn the_first_rule_that_matches_decides_over_all_policies_of_a_vif() {
    let deny = Rule {
        sources: vec![net("10.1.0.10")],
        ..rule(5, RuleAction::Deny)
    };
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    upsert(&mut node, policy("other", vec![deny]));
    upsert(&mut node, guarded(vif("red", 'b'), &["web", "other"], &[]));
    node.exchange("red-a", from_a(80), "red-b");
    upsert(&mut node, guarded(vif("red", 'b'), &["other", "web"], &[]));
    assert_eq!(node.refused("red-a", from_a(80)), DropReason::PolicyDenied);
}

#[test]
fn a_change_stops_flows_that_are_no_longer_allowed_and_no_others() {
    let mut node = guarded_node(vec![allow_port(10, 80), allow_port(11, 81)]);
    node.pass(1_000);
    node.exchange("red-a", from_a(80), "red-b");
    node.exchange("red-a", from_a(81), "red-b");
    node.exchange("blue-a", from_a(81), "blue-b");
    let blue = node
        .publisher
        .current()
        .vrf_named("blue")
        .map(|vrf| vrf.epoch);
    upsert(&mut node, policy("web", vec![allow_port(11, 81)]));
    node.pass(1_000);
    // Of either direction, the next packet.
    assert_eq!(node.refused("red-b", from_b(80)), DropReason::PolicyDenied);
    assert_eq!(node.refused("red-a", from_a(80)), DropReason::PolicyDenied);
    node.exchange("red-b", from_b(81), "red-a");
    node.exchange("red-a", from_a(81), "red-b");
    let tables = node.publisher.current();
    assert_eq!(tables.vrf_named("blue").map(|vrf| vrf.epoch), blue);
    let red = flows(&node).into_iter().filter(|flow| flow.vrf != 0);
    let red: Vec<FlowView> = red
        .filter(|flow| flow.reverse_counters.packets > 0)
        .collect();
    // It is the flow it was, with what it counted and since when.
    assert_eq!(
        (red[0].forward_counters.packets, red[0].start.0),
        (2, 1_000)
    );
    assert_eq!(red.len(), 1);
}

#[test]
fn a_policy_that_nobody_has_disturbs_nobody() {
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    let epochs = |node: &Node| -> Vec<u32> {
        let tables = node.publisher.current();
        tables.vrfs().map(|vrf| vrf.epoch).collect()
    };
    let before = epochs(&node);
    upsert(&mut node, policy("other", vec![allow_port(1, 1)]));
    upsert(&mut node, set("nobody", &["10.0.0.0/8"]));
    assert_eq!(epochs(&node), before);
    upsert(&mut node, policy("web", vec![allow_port(10, 81)]));
    let after = epochs(&node);
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1);
}

#[test]
fn who_leaves_a_set_loses_what_it_gave() {
    let mut all = objects();
    let friends = Rule {
        source_sets: vec!["friends".into()],
        ..rule(10, RuleAction::Allow)
    };
    all.extend([
        set("friends", &["10.1.0.0/28", "10.1.0.10"]),
        policy("web", vec![friends]),
    ]);
    let mut node = Node::new(all);
    upsert(&mut node, guarded(vif("red", 'b'), &["web"], &[]));
    node.exchange("red-a", from_a(80), "red-b");
    // Another prefix has it still.
    upsert(&mut node, set("friends", &["10.1.0.0/28"]));
    node.exchange("red-a", from_a(80), "red-b");
    upsert(&mut node, set("friends", &["10.1.0.0/29"]));
    assert_eq!(node.refused("red-a", from_a(80)), DropReason::PolicyDenied);
    upsert(&mut node, set("friends", &["10.1.0.10"]));
    node.exchange("red-a", from_a(80), "red-b");
}

#[test]
fn the_policies_of_a_vrf_are_for_vifs_without_their_own() {
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    let red = || vrf("red", &["10.1.0.1/24", "fd01::1/64"]);
    upsert(&mut node, guarded(red(), &["other"], &["other"]));
    // `b` has its own for what is delivered, and the vrf's for what is sent.
    assert_eq!(node.refused("red-a", from_a(80)), DropReason::PolicyDenied);
    upsert(&mut node, guarded(red(), &["other"], &[]));
    node.exchange("red-a", from_a(80), "red-b");
    let to_a = packet((B, "10.1.0.11", 5), ("10.1.0.10", 80));
    assert_eq!(
        node.refused("red-b", to_a.clone()),
        DropReason::PolicyDenied
    );
    upsert(&mut node, policy("other", vec![allow_port(1, 80)]));
    node.exchange("red-b", to_a, "red-a");
}

#[test]
fn a_rejected_packet_is_answered_routed_or_bridged() {
    let mut node = guarded_node(vec![rule(10, RuleAction::Reject)]);
    for (dst, at) in [
        (ROUTER, "10.1.0"),
        (B, "10.1.0"),
        (ROUTER, "fd01:"),
        (B, "fd01:"),
    ] {
        let is_ipv4 = at == "10.1.0";
        let (src, to) = match is_ipv4 {
            true => ("10.1.0.10", "10.1.0.11"),
            false => ("fd01::10", "fd01::11"),
        };
        let udp = frame((A, dst), (src, 1), (to, 2));
        let error = node.exchange("red-a", udp, "red-a");
        assert_eq!(
            said(&error),
            if is_ipv4 { (3, 13) } else { (1, 1) },
            "{dst} {at}"
        );
        let reset = node.exchange(
            "red-a",
            tcp((A, dst), to, 64, 1, &tcp_header(1, false), b""),
            "red-a",
        );
        let sliced = SlicedPacket::from_ethernet(&reset).expect("well-formed");
        let Some(TransportSlice::Tcp(header)) = sliced.transport else {
            panic!("no TCP");
        };
        assert!(header.rst() && header.source_port() == 80);
    }
    assert_eq!(node.drops("red-a"), [(DropReason::PolicyRejected, 8)]);
    // As many packets as there were, and Ethernet, IP and UDP or TCP of each.
    let bytes = 2 * (14 + 20 + 13) + 2 * (14 + 20 + 20) + 2 * (14 + 40 + 13) + 2 * (14 + 40 + 20);
    assert_eq!(count(&node, 10), RuleCount { packets: 8, bytes });
}

#[test]
fn of_a_flow_between_nodes_each_asks_for_its_own_machine() {
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    upsert(&mut node, guarded(vif("red", 'b'), &["web"], &["other"]));
    let outer = [(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")];
    let from_far = |port| {
        let inner = packet((NODE2, "10.1.0.9", 1000), ("10.1.0.11", port));
        vxlan(outer, 5001, &inner)
    };
    node.exchange("up0", from_far(80), "red-b");
    assert_eq!(node.refused("up0", from_far(81)), DropReason::PolicyDenied);
    let to_far = |port, to| packet((B, "10.1.0.11", port), ("10.1.0.9", to));
    node.exchange("red-b", to_far(80, 1000), "up0");
    assert_eq!(
        node.refused("red-b", to_far(80, 1001)),
        DropReason::PolicyDenied
    );
}

#[test]
fn a_rule_counts_what_it_refuses_and_the_flows_it_lets_through() {
    let deny = Rule {
        destination_ports: vec![22..=22],
        ..rule(20, RuleAction::Deny)
    };
    let mut node = guarded_node(vec![allow_port(10, 80), deny.clone()]);
    for _ in 0..3 {
        node.exchange("red-a", from_a(80), "red-b");
        node.exchange("red-b", from_b(80), "red-a");
        assert_eq!(node.refused("red-a", from_a(22)), DropReason::PolicyDenied);
    }
    let len = from_a(80).len() as u64;
    let of = |packets| RuleCount {
        packets,
        bytes: packets * len,
    };
    assert_eq!((count(&node, 10), count(&node, 20)), (of(6), of(3)));
    // Rules around it come and go; it is the same rule all the while.
    let id = |node: &Node, number| -> Option<RuleId> {
        let tables = node.publisher.current();
        let mut rules = tables.rules();
        rules
            .find(|rule| rule.number == number)
            .map(|rule| rule.id())
    };
    let was = id(&node, 20);
    let changed = Rule {
        protocol: Some(17),
        ..deny.clone()
    };
    upsert(
        &mut node,
        policy("web", vec![allow_port(7, 7), changed, allow_port(8, 8)]),
    );
    assert_eq!((id(&node, 20), count(&node, 20)), (was, of(3)));
    // Once it is gone, one of that id is another.
    upsert(&mut node, policy("web", vec![allow_port(10, 80)]));
    upsert(&mut node, policy("web", vec![allow_port(10, 80), deny]));
    assert_ne!(id(&node, 20), was);
    assert_eq!(count(&node, 20), of(0));
}

#[test]
fn a_rule_with_log_says_first_packets_and_refusals() {
    let logged = |rule: Rule| Rule { log: true, ..rule };
    let mut node = guarded_node(vec![
        logged(allow_port(10, 80)),
        allow_port(11, 81),
        logged(rule(12, RuleAction::Deny)),
    ]);
    node.pass(7);
    for port in [80, 80, 81, 82] {
        node.send("red-a", &[from_a(port)]);
    }
    // A commit in which the flow stays what it was says nothing.
    upsert(&mut node, policy("other", vec![]));
    node.send("red-a", &[from_a(80)]);
    let tables = node.publisher.current();
    let (records, left_out) = tables.rule_log().take();
    let said: Vec<_> = records
        .iter()
        .map(|record| {
            let number = tables.rule(record.rule).map(|rule| rule.number);
            (number, record.tuple.ports, record.action, record.at.0)
        })
        .collect();
    let port = |port| Some((1000, port));
    let expected = [
        (Some(10), port(80), RuleAction::Allow, 7),
        (Some(12), port(82), RuleAction::Deny, 7),
    ];
    assert_eq!((&said[..], left_out), (&expected[..], 0));
    assert_eq!(records[0].vif, tables.vif_named("red-a").map(|vif| vif.id));
}

#[test]
fn what_is_flooded_is_held_against_the_rules_frame_by_frame() {
    let mut all = objects();
    let group = |members: &[&str]| {
        NexthopAction::Replicate(members.iter().map(|name| Name::from(*name)).collect())
    };
    let nexthop = |name: &str, action| {
        Object::Nexthop(Nexthop {
            name: name.into(),
            action,
        })
    };
    let to = |vif: &str| NexthopAction::Vif {
        vif: vif.into(),
        address: None,
    };
    all.extend([
        nexthop("to-a", to("red-a")),
        nexthop("to-b", to("red-b")),
        nexthop("all", group(&["to-a", "to-b", "red-2"])),
        mac("red", MacAddr::BROADCAST, "all", None),
        policy("web", vec![allow_port(10, 80)]),
    ]);
    let mut node = Node::new(all);
    upsert(&mut node, guarded(vif("red", 'b'), &["web"], &[]));
    let flood = |port| {
        frame(
            (A, MacAddr::BROADCAST),
            ("10.1.0.10", 1),
            ("10.1.0.255", port),
        )
    };
    let got = |node: &mut Node| -> Vec<String> { node.recv_all().into_keys().collect() };
    node.send("red-a", &[flood(80)]);
    assert_eq!(got(&mut node), ["red-b", "up0"]);
    node.send("red-a", &[flood(81)]);
    assert_eq!(got(&mut node), ["up0"]);
    assert_eq!(node.drops("red-a"), [(DropReason::PolicyDenied, 1)]);
    // To a MAC that nobody is known to have, too.
    let lost = MacAddr([2, 0, 0, 0, 9, 9]);
    node.send(
        "red-a",
        &[frame((A, lost), ("10.1.0.10", 1), ("10.1.0.77", 81))],
    );
    assert_eq!(got(&mut node), ["up0"]);
    // Questions for addresses pass.
    let question = arp(
        1,
        (A, "10.1.0.10"),
        (MacAddr::ZERO, "10.1.0.99"),
        MacAddr::BROADCAST,
    );
    node.send("red-a", std::slice::from_ref(&question));
    assert_eq!(got(&mut node), ["red-b", "up0"]);
    // What a machine may not send reaches nobody.
    upsert(&mut node, guarded(vif("red", 'a'), &[], &["web"]));
    node.send("red-a", &[flood(80)]);
    assert_eq!(got(&mut node), ["red-b", "up0"]);
    assert_eq!(node.refused("red-a", flood(81)), DropReason::PolicyDenied);
    node.send("red-a", &[question]);
    assert_eq!(got(&mut node), ["red-b", "up0"]);
}

#[test]
fn a_later_fragment_follows_its_first() {
    let mut node = guarded_node(vec![allow_port(10, 80)]);
    for (port, passes) in [(80, true), (81, false)] {
        let whole = from_a(port);
        let piece = |range: std::ops::Range<usize>, offset: u16, is_last: bool| {
            let mut frame = whole[..34].to_vec();
            frame.extend(&whole[34..][range.clone()]);
            let more = if is_last { 0 } else { 0x2000 };
            let flags = (offset / 8) | more;
            frame[16..18].copy_from_slice(&(20 + range.len() as u16).to_be_bytes());
            frame[18..20].copy_from_slice(&port.to_be_bytes());
            frame[20..22].copy_from_slice(&flags.to_be_bytes());
            let header = etherparse::Ipv4Header::from_slice(&frame[14..])
                .expect("IPv4")
                .0;
            frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
            frame
        };
        // The later one first: it waits.
        node.send("red-a", &[piece(8..13, 8, true), piece(0..8, 0, false)]);
        assert_eq!(node.recv("red-b").len(), if passes { 2 } else { 0 });
    }
    assert_eq!(node.drops("red-a"), [(DropReason::PolicyDenied, 2)]);
}

#[test]
fn ports_match_nothing_without_ports_and_types_only_icmp() {
    let echo = Rule {
        protocol: Some(1),
        icmp: vec![IcmpMatch {
            kind: 8,
            code: Some(0),
        }],
        ..rule(11, RuleAction::Allow)
    };
    let any_port = Rule {
        destination_ports: vec![0..=65_535],
        ..rule(10, RuleAction::Allow)
    };
    let mut node = guarded_node(vec![any_port, echo]);
    let icmp = |kind| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(A.0, ROUTER.0)
            .ipv4([10, 1, 0, 10], [10, 1, 0, 11], 64)
            .icmpv4(kind)
            .write(&mut frame, b"hello")
            .expect("it fits");
        frame
    };
    let header = etherparse::IcmpEchoHeader { id: 80, seq: 1 };
    node.exchange(
        "red-a",
        icmp(etherparse::Icmpv4Type::EchoRequest(header)),
        "red-b",
    );
    let odd = icmp(etherparse::Icmpv4Type::Unknown {
        type_u8: 42,
        code_u8: 0,
        bytes5to8: [0; 4],
    });
    assert_eq!(node.refused("red-a", odd), DropReason::PolicyDenied);
    node.exchange("red-a", from_a(7), "red-b");
}

#[test]
fn contradictions_are_refused_by_name() {
    let mut node = guarded_node(vec![]);
    let mut refusal = |object: Object| {
        let refusals = node
            .apply(vec![Change::Upsert(object)])
            .expect_err("it is wrong");
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        (refusals[0].field.clone(), refusals[0].reason.clone())
    };
    let one = |rule: Rule| policy("web", vec![rule]);
    let twice = policy("web", vec![allow_port(1, 1), allow_port(1, 2)]);
    assert_eq!(
        refusal(twice),
        (
            "rules.id".into(),
            "rule 1 is there twice; give each its own id".into()
        )
    );
    let ports = Rule {
        protocol: Some(47),
        ..allow_port(3, 80)
    };
    assert_eq!(
        refusal(one(ports)),
        (
            "rules.destination_ports".into(),
            "rule 3: only tcp, udp and sctp have ports".into()
        )
    );
    let types = Rule {
        icmp: vec![IcmpMatch {
            kind: 1,
            code: None,
        }],
        ..allow_port(3, 80)
    };
    assert_eq!(
        refusal(one(types)),
        (
            "rules.icmp_types".into(),
            "rule 3: only icmp and icmpv6 have types".into()
        )
    );
    let dscp = Rule {
        dscp: Some(64),
        ..allow_port(3, 80)
    };
    assert_eq!(
        refusal(one(dscp)),
        ("rules.dscp".into(), "rule 3: `64` is beyond 63".into())
    );
    let unknown = Rule {
        source_sets: vec!["nobody".into()],
        ..rule(1, RuleAction::Allow)
    };
    assert_eq!(refusal(one(unknown)).0, "rules.source_sets");
    let host = guarded(fabric("up0", UPLINK, &["192.0.2.1/24"]), &["web"], &[]);
    assert_eq!(
        refusal(host),
        (
            "ingress_policies".into(),
            "only tenant vifs have one: it is held against what machines send and get".into()
        )
    );
}
