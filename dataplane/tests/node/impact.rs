//! What a change is said to do to live flows, it does to them.

use std::time::Instant;

use crate::common::*;
use dataplane::DropReason;
use dataplane::impact::{Difference, Fate, Impact, of_change};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use dataplane::tables::{NexthopId, Tables};
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);

/// Machines a and b of red, c of blue; red's other addresses are reached through blue.
fn node() -> Node {
    let nexthop = |name: &str, action| {
        Object::Nexthop(Nexthop {
            name: name.into(),
            action,
        })
    };
    Node::with_flow_table(
        4_096,
        vec![
            vrf("red", &["10.1.0.1/24"]),
            vrf("blue", &["10.3.0.1/24"]),
            tenant("a", "red", A, &["10.1.0.10"]),
            tenant("b", "red", B, &["10.1.0.11"]),
            tenant("c", "blue", C, &["10.3.0.12"]),
            nexthop("to-blue", NexthopAction::Vrf("blue".into())),
            route("red", "10.3.0.0/24", "to-blue"),
            pool("198.51.100.0/31"),
        ],
    )
}

fn pool(addresses: &str) -> Object {
    Object::SnatPool(SnatPool {
        name: "out".into(),
        vrf: "red".into(),
        sources: vec![],
        outside_vrf: "blue".into(),
        addresses: vec![net(addresses)],
        ports: 1_000..=60_000,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::EndpointIndependent,
        nat64_prefix: None,
    })
}

fn foresee(node: &Node, changes: Vec<Change>) -> Impact {
    let now = node.publisher.current();
    let (next, _) = now.foresee(&request(changes)).expect("a valid change");
    of_change(&node.flows, &now, &next, 10)
}

fn upsert(object: Object) -> Vec<Change> {
    vec![Change::Upsert(object)]
}

/// Flows from a to b, from a to c through the pool, and between machines of blue only.
fn talk(node: &mut Node) {
    for port in 0..3 {
        let ports = (4_000 + port, 53);
        node.send(
            "a",
            &[udp_ports(
                (A, "10.1.0.10"),
                (ROUTER, "10.1.0.11"),
                64,
                ports,
            )],
        );
        node.send(
            "a",
            &[udp_ports(
                (A, "10.1.0.10"),
                (ROUTER, "10.3.0.12"),
                64,
                ports,
            )],
        );
    }
    assert_eq!((node.recv("b").len(), node.recv("c").len()), (3, 3));
}

#[test]
fn a_change_elsewhere_touches_nothing() {
    let mut node = node();
    talk(&mut node);
    let impact = foresee(&node, upsert(vrf("green", &[])));
    assert_eq!((impact.flows, impact.verdict + impact.nexthop), (6, 0));
    assert_eq!(impact.changes, []);
}

#[test]
fn flows_that_would_be_dropped_are_named_with_the_reason() {
    let mut node = node();
    talk(&mut node);
    let discard = Object::Nexthop(Nexthop {
        name: "no".into(),
        action: NexthopAction::Reject,
    });
    let mut changes = upsert(discard);
    changes.extend(upsert(route("red", "10.3.0.12/32", "no")));
    let impact = foresee(&node, changes.clone());
    assert_eq!(
        (impact.flows, impact.verdict, impact.translation),
        (6, 3, 0)
    );
    let change = &impact.changes[0];
    assert_eq!(change.what, Difference::Verdict);
    assert!(matches!(change.before, Fate::Passes { .. }));
    assert_eq!(change.after, Fate::Dropped(DropReason::Reject, None));
    // And so it comes.
    node.apply(changes).expect("a valid change");
    let ports = (4_000, 53);
    let frame = udp_ports((A, "10.1.0.10"), (ROUTER, "10.3.0.12"), 64, ports);
    assert_eq!(node.refused("a", frame), DropReason::Reject);
}

#[test]
fn flows_that_would_be_translated_otherwise_are_told_apart() {
    let mut node = node();
    talk(&mut node);
    // The address that is used stays: nothing changes. It goes: other addresses.
    let same = foresee(&node, upsert(pool("198.51.100.0/30")));
    assert_eq!(
        (same.touched > 0, same.translation, same.verdict),
        (true, 0, 0)
    );
    let other = foresee(&node, upsert(pool("203.0.113.0/31")));
    assert_eq!((other.translation, other.verdict, other.nexthop), (3, 0, 0));
    let Fate::Passes { source, .. } = other.changes[0].after else {
        panic!("{other:?}");
    };
    assert_eq!((source.addr, source.port), (ip("203.0.113.0"), 0));
}

#[test]
fn flows_that_would_go_another_way_are_told_apart() {
    let mut node = node();
    talk(&mut node);
    let mut changes = upsert(Object::Nexthop(Nexthop {
        name: "to-a".into(),
        action: NexthopAction::Vif {
            vif: "a".into(),
            address: None,
        },
    }));
    let mut b = tenant("b", "red", B, &[]);
    if let Object::Vif(b) = &mut b {
        b.addresses.clear();
    }
    changes.extend(upsert(b));
    changes.extend(upsert(route("red", "10.1.0.11/32", "to-a")));
    let impact = foresee(&node, changes);
    assert_eq!(
        (impact.nexthop, impact.verdict, impact.translation),
        (3, 0, 0),
        "{impact:?}"
    );
}

#[test]
fn a_list_is_bounded_and_the_counts_are_not() {
    let mut node = node();
    for port in 0..50 {
        let ports = (4_000 + port, 53);
        node.send(
            "a",
            &[udp_ports(
                (A, "10.1.0.10"),
                (ROUTER, "10.1.0.11"),
                64,
                ports,
            )],
        );
    }
    let gone = vec![Change::Delete(Key::Vif("b".into()))];
    let impact = foresee(&node, gone);
    assert_eq!((impact.verdict, impact.changes.len()), (50, 10));
}

/// `IMPACT_FLOWS` says of how many flows, 20,000 unless it is set; a million must not take 2 s. What it
/// took is printed.
#[test]
fn a_million_flows_are_looked_at_quickly() {
    let flows = std::env::var("IMPACT_FLOWS").ok();
    let flows: usize = flows.and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let mut node = Node::with_flow_table(
        flows + flows / 8,
        vec![
            vrf("red", &["10.255.255.1/8"]),
            tenant("a", "red", A, &["10.0.0.0/9"]),
            tenant("b", "red", B, &["10.128.0.0/9"]),
            route("red", "10.200.0.0/16", "b-again"),
            Object::Nexthop(Nexthop {
                name: "b-again".into(),
                action: NexthopAction::Vif {
                    vif: "b".into(),
                    address: None,
                },
            }),
        ],
    );
    let frame = |n: usize| {
        let src = format!("10.{}.{}.1", n >> 14 & 0x7f, n >> 6 & 0xff);
        let dst = format!("10.{}.0.1", 128 + n % 100);
        udp_ports((A, &src), (ROUTER, &dst), 64, (1_000 + (n & 63) as u16, 53))
    };
    for first in (0..flows).step_by(64) {
        let batch: Vec<_> = (first..flows.min(first + 64)).map(frame).collect();
        node.send("a", &batch);
        node.recv("b");
    }
    assert_eq!(node.flows.len(), flows);
    let now = node.publisher.current();
    let change = upsert(route("red", "10.130.0.0/16", "b-again"));
    let (next, _): (Tables, _) = now.foresee(&request(change)).expect("a valid change");
    let began = Instant::now();
    let impact = of_change(&node.flows, &now, &next, 100);
    let took = began.elapsed();
    println!(
        "{flows} flows in {took:?}: {impact:.0?}",
        impact = impact.nexthop
    );
    assert_eq!((impact.flows, impact.touched), (flows as u64, flows as u64));
    assert_eq!(impact.verdict, 0);
    let b_again = next.nexthop_named("b-again").expect("a nexthop");
    let leads = |fate: &Fate| match fate {
        Fate::Passes { nexthops, .. } => nexthops.0,
        Fate::Dropped(..) => NexthopId(u32::MAX),
    };
    assert!(impact.changes.iter().all(|it| leads(&it.after) == b_again));
    assert!(impact.nexthop > 0);
}
