//! Who may have how many flows: quotas, what happens when the table is full, and
//! under which name the rest is dropped.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::ops::Range;

use crate::common::*;
use dataplane::tables::change::Change;
use dataplane::tables::spec::{Key, Object};
use dataplane::{DropReason, accounts};
use encap::MacAddr;
use etherparse::{PacketBuilder, TcpHeader};
use flowtable::{Class, FlowView, Usage, WalkCursor};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// a and b speak, c is spoken to.
const MACHINES: [(&str, MacAddr, [u8; 4]); 3] = [
    ("a", A, [10, 1, 0, 10]),
    ("b", B, [10, 1, 0, 11]),
    ("c", C, [10, 1, 0, 12]),
];

fn machine(name: &str) -> (MacAddr, [u8; 4]) {
    let found = MACHINES.iter().find(|(other, ..)| *other == name);
    let (_, mac, addr) = found.expect("one of three");
    (*mac, *addr)
}

fn quota(flows: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(flows)
}

/// The vrf or vif of this name, with a quota of flows; 0 for none.
fn with_quota(name: &str, flows: u32) -> Object {
    let mut object = match name {
        "red" => vrf("red", &["10.1.0.1/24"]),
        vif => {
            let (mac, addr) = machine(vif);
            tenant(
                vif,
                "red",
                mac,
                &[&std::net::Ipv4Addr::from(addr).to_string()],
            )
        }
    };
    match &mut object {
        Object::Vrf(vrf) => vrf.flow_quota = quota(flows),
        Object::Vif(vif) => vif.flow_quota = quota(flows),
        _ => unreachable!("one of these two"),
    }
    object
}

/// A node with room for so many flows, and quotas of some of `red`, `a`, `b`, `c`.
fn node(pairs: usize, quotas: &[(&str, u32)]) -> Node {
    let of = |name| {
        let found = quotas.iter().find(|(owner, _)| *owner == name);
        found.map_or(0, |(_, quota)| *quota)
    };
    let objects = ["red", "a", "b", "c"].map(|name| with_quota(name, of(name)));
    Node::with_flow_table(pairs, objects.into())
}

/// A datagram to a port of c.
fn udp_to_c(from: &str, port: u16) -> Vec<u8> {
    let ((mac, src), (_, dst)) = (machine(from), machine("c"));
    let builder = PacketBuilder::ethernet2(mac.0, ROUTER.0)
        .ipv4(src, dst, 64)
        .udp(1000, port);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").expect("it fits");
    frame
}

/// A segment of a connection to port 80 of c, of either side.
fn tcp(from: &str, to: &str, client: u16, flags: &str) -> Vec<u8> {
    let ((mac, src), (_, dst)) = (machine(from), machine(to));
    let (src_port, dst_port) = match from {
        "c" => (80, client),
        _ => (client, 80),
    };
    // Nothing is sent but what opens and closes, so what follows a SYN is number 2.
    let sequence = if flags.contains('S') { 1 } else { 2 };
    let mut header = TcpHeader::new(src_port, dst_port, sequence, 8192);
    header.acknowledgment_number = if flags.contains('A') { 2 } else { 0 };
    header.syn = flags.contains('S');
    header.ack = flags.contains('A');
    header.fin = flags.contains('F');
    header.rst = flags.contains('R');
    let builder = PacketBuilder::ethernet2(mac.0, ROUTER.0)
        .ipv4(src, dst, 64)
        .tcp_header(header);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").expect("it fits");
    frame
}

/// Sends frames one by one; what leaves the node is thrown away.
fn pour(node: &mut Node, from: &str, frames: impl Iterator<Item = Vec<u8>>) {
    for frame in frames {
        node.send(from, &[frame]);
        MACHINES.iter().for_each(|(name, ..)| _ = node.recv(name));
    }
}

/// Connections to c, opened and answered.
fn connect(node: &mut Node, from: &str, ports: Range<u16>) {
    for port in ports {
        for (from, to, flags) in [(from, "c", "S"), ("c", from, "SA"), (from, "c", "A")] {
            pour(node, from, [tcp(from, to, port, flags)].into_iter());
        }
    }
}

fn flood(node: &mut Node, from: &str, ports: Range<u16>) {
    pour(node, from, ports.map(|port| udp_to_c(from, port)));
}

fn flows(node: &Node) -> Vec<FlowView> {
    let mut cursor = WalkCursor::default();
    let mut flows = Vec::new();
    while !cursor.is_done() {
        node.flows.walk(&mut cursor, 100, |flow| flows.push(*flow));
    }
    flows
}

/// Ports of the established connections of a machine.
fn established(node: &Node, machine_name: &str) -> BTreeSet<u16> {
    let (_, addr) = machine(machine_name);
    let established = flows(node).into_iter().filter(|flow| {
        flow.class == Class::Established && flow.forward.src_addr() == std::net::IpAddr::from(addr)
    });
    established.map(|flow| flow.forward.src_port()).collect()
}

fn usage_of_vif(node: &Node, name: &str) -> Usage {
    let tables = node.publisher.current();
    let vif = tables.vif_named(name).expect("it exists");
    node.flows.usage(accounts::vif(vif.id))
}

fn usage_of_vrf(node: &Node, name: &str) -> Usage {
    let tables = node.publisher.current();
    let vrf = tables.vrf_named(name).expect("it exists");
    node.flows.usage(accounts::vrf(vrf.id))
}

#[test]
fn a_flood_takes_no_flow_of_another_vif_and_keeps_it_from_none() {
    const TABLE: usize = 1_000;
    let mut node = node(TABLE, &[("b", 300)]);
    connect(&mut node, "b", 0..200);
    assert_eq!(established(&node, "b").len(), 200);

    flood(&mut node, "a", 0..5_000);
    assert_eq!(node.flows.len(), TABLE);
    assert_eq!(
        node.drops("a"),
        [(DropReason::FlowTableFull, 5_000 - (1_000 - 200))]
    );
    assert_eq!(established(&node, "b"), (0..200).collect());

    // Up to its quota, each new flow of b takes the place of one of a's.
    connect(&mut node, "b", 200..300);
    assert_eq!(established(&node, "b"), (0..300).collect());
    assert_eq!(node.drops("b"), []);
    assert_eq!(usage_of_vif(&node, "a").evicted, 100);
    assert_eq!(usage_of_vif(&node, "b").used, 300);
    // Beyond it, the full table is not the reason, and nobody makes room in vain.
    let refused = node.refused("b", udp_to_c("b", 1));
    assert_eq!(refused, DropReason::FlowQuotaVif);
    assert_eq!(usage_of_vif(&node, "a").evicted, 100);

    // The flood goes on, without effect on b, and one day it is over.
    flood(&mut node, "a", 5_000..10_000);
    assert_eq!(established(&node, "b"), (0..300).collect());
    assert_eq!(node.flows.len(), TABLE);
    (0..60).for_each(|_| node.pass(1_000));
    assert_eq!(established(&node, "b"), (0..300).collect());
    assert_eq!(usage_of_vif(&node, "a").used, 0);
}

#[test]
fn a_flood_of_half_open_connections_has_a_share_and_no_more() {
    let mut node = node(1_000, &[("b", 300)]);
    connect(&mut node, "b", 0..200);
    pour(
        &mut node,
        "a",
        (0..5_000).map(|port| tcp("a", "c", port, "S")),
    );
    assert_eq!(established(&node, "b").len(), 200);
    assert_eq!(node.flows.table_usage().half_open, 250);
    connect(&mut node, "b", 200..300);
    assert_eq!(established(&node, "b"), (0..300).collect());
}

#[test]
fn a_full_table_is_dropped_as_flow_table_full() {
    let mut node = node(100, &[]);
    flood(&mut node, "a", 0..101);
    assert_eq!(node.drops("a"), [(DropReason::FlowTableFull, 1)]);
    assert_eq!(node.flows.table_usage().refused, 1);
}

#[test]
fn a_vifs_quota_is_dropped_as_flow_quota_vif() {
    let mut node = node(100, &[("a", 10)]);
    flood(&mut node, "a", 0..12);
    flood(&mut node, "b", 0..12);
    assert_eq!(node.drops("a"), [(DropReason::FlowQuotaVif, 2)]);
    assert_eq!(node.drops("b"), []);
    let usage = usage_of_vif(&node, "a");
    assert_eq!((usage.used, usage.limit, usage.refused), (10, Some(10), 2));
    assert_eq!((usage.high_water, usage.half_open), (10, 0));
}

#[test]
fn a_vrfs_quota_is_dropped_as_flow_quota_vrf() {
    let mut node = node(100, &[("red", 10)]);
    flood(&mut node, "a", 0..6);
    flood(&mut node, "b", 0..6);
    assert_eq!(node.drops("a"), []);
    assert_eq!(node.drops("b"), [(DropReason::FlowQuotaVrf, 2)]);
    let usage = usage_of_vrf(&node, "red");
    assert_eq!((usage.used, usage.limit, usage.refused), (10, Some(10), 2));
}

/// Room for one more half-open flow is found only among as many flows as a
/// bounded look sees: these stand before it.
const CROWD: Range<u16> = 0..5_000;

#[test]
fn a_vifs_share_of_half_open_flows_is_dropped_as_flow_half_open_vif() {
    let mut node = node(10_000, &[("a", 100)]);
    flood(&mut node, "b", CROWD);
    pour(&mut node, "a", (0..26).map(|port| tcp("a", "c", port, "S")));
    assert_eq!(node.drops("a"), [(DropReason::FlowHalfOpenVif, 1)]);
    assert_eq!(usage_of_vif(&node, "a").half_open, 25);
}

/// Of two who have as much of what there is, neither makes room for the other.
#[test]
fn a_vrfs_share_of_half_open_flows_is_dropped_as_flow_half_open_vrf() {
    let mut node = node(100, &[("red", 4)]);
    pour(&mut node, "a", [tcp("a", "c", 1, "S")].into_iter());
    pour(&mut node, "b", [tcp("b", "c", 1, "S")].into_iter());
    assert_eq!(node.drops("a"), []);
    assert_eq!(node.drops("b"), [(DropReason::FlowHalfOpenVrf, 1)]);
    assert_eq!(usage_of_vrf(&node, "red").half_open, 1);
}

#[test]
fn the_tables_share_of_half_open_flows_is_dropped_as_flow_table_half_open() {
    let mut node = node(4, &[("a", 4)]);
    pour(&mut node, "a", [tcp("a", "c", 1, "S")].into_iter());
    pour(&mut node, "b", [tcp("b", "c", 1, "S")].into_iter());
    assert_eq!(node.drops("a"), []);
    assert_eq!(node.drops("b"), [(DropReason::FlowTableHalfOpen, 1)]);
    assert_eq!(node.flows.table_usage().half_open, 1);
}

#[test]
fn a_quota_is_raised_and_lowered_while_flows_live() {
    let mut node = node(100, &[("a", 10)]);
    flood(&mut node, "a", 0..10);
    let change = |node: &mut Node, flows| {
        let vif = with_quota("a", flows);
        node.apply(vec![Change::Upsert(vif)]).expect("a quota");
    };
    change(&mut node, 5);
    flood(&mut node, "a", 0..11);
    // what lives goes on, and nothing comes
    assert_eq!(node.drops("a"), [(DropReason::FlowQuotaVif, 1)]);
    change(&mut node, 12);
    flood(&mut node, "a", 10..13);
    assert_eq!(node.drops("a"), [(DropReason::FlowQuotaVif, 2)]);
    change(&mut node, 0);
    flood(&mut node, "a", 12..30);
    assert_eq!(node.drops("a"), [(DropReason::FlowQuotaVif, 2)]);
    let usage = usage_of_vif(&node, "a");
    assert_eq!((usage.used, usage.limit), (30, None));
}

#[test]
fn nobody_inherits_flows_or_a_quota() {
    let mut node = node(100, &[("a", 10), ("red", 20)]);
    flood(&mut node, "a", 0..10);
    flood(&mut node, "b", 0..5);
    let tables = node.publisher.current();
    let (old_vif, old_vrf) = (
        tables.vif_named("a").expect("it exists").id,
        tables.vrf_named("red").expect("it exists").id,
    );
    node.apply(vec![Change::Delete(Key::Vif("a".into()))])
        .expect("nobody uses it");
    assert_eq!(flows(&node).len(), 5);
    assert_eq!(node.flows.usage(accounts::vif(old_vif)).used, 0);
    assert_eq!(node.flows.usage(accounts::vif(old_vif)).limit, None);

    let rest = [
        Key::Vif("b".into()),
        Key::Vif("c".into()),
        Key::Vrf("red".into()),
    ];
    node.apply(rest.map(Change::Delete).into())
        .expect("nobody uses them");
    node.apply(vec![
        Change::Upsert(vrf("blue", &["10.1.0.1/24"])),
        Change::Upsert(tenant("next", "blue", A, &["10.1.0.10"])),
    ])
    .expect("in the same places");
    let tables = node.publisher.current();
    assert_eq!(tables.vif_named("next").map(|vif| vif.id), Some(old_vif));
    assert_eq!(tables.vrf_named("blue").map(|vrf| vrf.id), Some(old_vrf));
    assert!(flows(&node).is_empty());
    for usage in [usage_of_vif(&node, "next"), usage_of_vrf(&node, "blue")] {
        assert_eq!((usage.used, usage.limit), (0, None));
    }
}

#[test]
fn a_flow_from_a_tunnel_counts_for_the_vif_it_goes_to() {
    let mut node = node(100, &[("c", 1)]);
    node.apply(
        vec![
            fabric("up0", UPLINK, &["192.0.2.1/24"]),
            tunnel("far", "192.0.2.2", 5001, None),
            route("red", "10.2.0.0/16", "far"),
            vni(5001, "red"),
        ]
        .into_iter()
        .map(Change::Upsert)
        .collect(),
    )
    .expect("a tunnel");
    let arriving = |source: &str| {
        let inner = udp((NODE2, source), (ROUTER, "10.1.0.12"), 64);
        vxlan([(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")], 5001, &inner)
    };
    node.exchange("up0", arriving("10.2.0.1"), "c");
    assert_eq!(usage_of_vif(&node, "c").used, 1);
    assert_eq!(usage_of_vif(&node, "up0").used, 0);
    // Dropped where it came in, by the name of whose limit it was.
    assert_eq!(
        node.refused("up0", arriving("10.2.0.2")),
        DropReason::FlowQuotaVif
    );
    assert_eq!(usage_of_vif(&node, "c").refused, 1);
}

#[test]
fn a_connection_is_seen_from_its_first_packet_to_its_last() {
    let mut node = node(100, &[]);
    let mut state = |from: &str, to: &str, flags: &str| {
        pour(&mut node, from, [tcp(from, to, 7, flags)].into_iter());
        let flows = flows(&node);
        assert_eq!(flows.len(), 1);
        (flows[0].class, flows[0].forward.dst_port() == 80)
    };
    assert_eq!(state("a", "c", "S"), (Class::SynSent, true));
    assert_eq!(state("c", "a", "SA"), (Class::SynReceived, true));
    assert_eq!(state("a", "c", "A"), (Class::Established, true));
    assert_eq!(state("c", "a", "FA"), (Class::FinReverse, true));
    assert_eq!(state("a", "c", "FA"), (Class::Closed, true));
    assert_eq!(state("c", "a", "A"), (Class::Closed, true));
    // The same ports again; and then from the other side, which is another flow.
    assert_eq!(state("a", "c", "S"), (Class::SynSent, true));
    assert_eq!(state("c", "a", "SA"), (Class::SynReceived, true));
    assert_eq!(state("a", "c", "A"), (Class::Established, true));
    assert_eq!(state("a", "c", "R"), (Class::Closed, true));
    assert_eq!(state("c", "a", "S"), (Class::SynSent, false));
    assert_eq!(state("a", "c", "SA"), (Class::SynReceived, false));
}

#[test]
fn packets_of_one_burst_follow_on_each_other() {
    let mut node = node(100, &[]);
    connect(&mut node, "a", 7..8);
    // Both are looked up before either is seen to change anything.
    node.send("a", &[tcp("a", "c", 7, "R"), tcp("a", "c", 7, "FA")]);
    assert_eq!(flows(&node)[0].class, Class::Closed);
}

#[test]
fn a_connection_that_opens_in_fragments_is_half_open_like_any_other() {
    let mut node = node(100, &[]);
    let mut frame = tcp("a", "c", 7, "S");
    // More fragments follow (RFC 791 §3.1); the checksum moves by the same.
    frame[20] |= 0x20;
    frame.resize(14 + 20 + 24, 0);
    frame[17] = 44;
    node.send("a", &[with_ipv4_checksum(frame)]);
    assert_eq!(node.recv("c").len(), 1, "{:?}", node.drops("a"));
    let flows = flows(&node);
    assert_eq!(flows[0].class, Class::SynSent);
    assert_eq!(flows[0].forward.dst_port(), 80);
}

/// The frame with its IPv4 header checksum computed anew (RFC 1071).
fn with_ipv4_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[24..26].fill(0);
    let words = frame[14..34].chunks(2);
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame
}
