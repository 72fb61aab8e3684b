//! Networks that lead into each other by nexthops of kind `vrf`.

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::{Key, Nexthop, NexthopAction, Object};
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const BLUE_ROUTER: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 7]);

fn into_vrf(name: &str, vrf: &str) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Vrf(vrf.into()),
    })
}

fn blue_vrf() -> Object {
    match vrf("blue", &["10.2.0.1/24", "fd02::1/64"]) {
        Object::Vrf(spec) => Object::Vrf(dataplane::tables::spec::Vrf {
            mac: BLUE_ROUTER,
            ..spec
        }),
        _ => unreachable!("it is a vrf"),
    }
}

/// Red may open flows to blue's machine, and not the other way round.
fn node() -> Node {
    Node::new(vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        blue_vrf(),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("blue-b", "blue", B, &["10.2.0.11", "fd02::11"]),
        into_vrf("to-blue", "blue"),
        route("red", "10.2.0.0/24", "to-blue"),
        route("red", "fd02::/64", "to-blue"),
    ])
}

#[test]
fn a_route_into_another_network_is_followed_and_answers_need_none() {
    for (src, dst) in [("10.1.0.10", "10.2.0.11"), ("fd01::10", "fd02::11")] {
        let mut node = node();
        let out = node.exchange("red-a", udp((A, src), (ROUTER, dst), 64), "blue-b");
        assert_eq!(out, udp((BLUE_ROUTER, src), (B, dst), 63));
        let out = node.exchange(
            "blue-b",
            udp_answer((B, dst), (BLUE_ROUTER, src), 64),
            "red-a",
        );
        assert_eq!(out, udp_answer((ROUTER, dst), (A, src), 63));
    }
}

#[test]
fn without_a_route_the_other_network_is_closed() {
    let mut node = node();
    let frame = udp((B, "10.2.0.11"), (BLUE_ROUTER, "10.1.0.10"), 64);
    assert_eq!(node.refused("blue-b", frame), DropReason::NoRoute);
}

#[test]
fn networks_that_lead_into_each_other_for_an_address_are_a_loop() {
    let mut node = node();
    let loops = [
        into_vrf("to-red", "red"),
        route("red", "10.9.0.0/24", "to-blue"),
        route("blue", "10.9.0.0/24", "to-red"),
    ];
    node.apply(loops.into_iter().map(Change::Upsert).collect())
        .expect("a loop is a matter of addresses");
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.9.0.1"), 64);
    assert_eq!(node.refused("red-a", frame), DropReason::VrfLoop);
}

#[test]
fn a_change_in_the_network_led_into_is_noticed_in_both_directions() {
    let (src, dst) = ("10.1.0.10", "10.2.0.11");
    let mut node = node();
    node.exchange("red-a", udp((A, src), (ROUTER, dst), 64), "blue-b");
    let moved = tenant("blue-b", "blue", B, &["10.2.0.12"]);
    node.apply(vec![Change::Upsert(moved)])
        .expect("another address");
    let frame = udp((A, src), (ROUTER, dst), 64);
    assert_eq!(node.refused("red-a", frame), DropReason::NoRoute);
}

#[test]
fn a_route_taken_away_ends_the_answers_too() {
    let (src, dst) = ("10.1.0.10", "10.2.0.11");
    let mut node = node();
    node.exchange("red-a", udp((A, src), (ROUTER, dst), 64), "blue-b");
    node.apply(vec![Change::Delete(Key::Route(
        "red".into(),
        net("10.2.0.0/24"),
    ))])
    .expect("nobody names it");
    let frame = udp_answer((B, dst), (BLUE_ROUTER, src), 64);
    assert_eq!(node.refused("blue-b", frame), DropReason::NoRoute);
}
