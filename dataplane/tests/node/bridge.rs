//! A vrf as a switch: replication, learning, and what machines may tell each
//! other. Frames in, frames out, counters.

use crate::common::*;
use dataplane::DropReason;
use dataplane::io::Pool;
use dataplane::tables::change::Change;
use dataplane::tables::learned::{AGE_MS, MAX_MOVES, MOVES_MS};
use dataplane::tables::spec::{Key, Nexthop, NexthopAction, Object};
use encap::{MacAddr, MemBuffer};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const NODE3: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);
/// Machines nobody configured.
const X: MacAddr = MacAddr([2, 0, 0, 0, 7, 1]);
const Y: MacAddr = MacAddr([2, 0, 0, 0, 7, 2]);
const GROUP: MacAddr = MacAddr([1, 0, 0x5e, 1, 2, 3]);

/// Machines A and B, a port `n` with a bridge of its own behind it, and two more
/// nodes. Everything reaches everybody.
fn objects() -> Vec<Object> {
    let members = ["to-a", "to-b", "to-n", "red-2", "red-3"];
    let mut red = vrf("red", &["10.1.0.1/24", "fd01::1/64"]);
    if let Object::Vrf(red) = &mut red {
        red.learning = true;
    }
    vec![
        red,
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        tenant("a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("b", "red", B, &["10.1.0.11", "fd01::11"]),
        nested("n", "red"),
        to_vif("to-a", "a"),
        to_vif("to-b", "b"),
        to_vif("to-n", "n"),
        tunnel("red-2", "192.0.2.2", 5001, None),
        tunnel("red-3", "192.0.2.3", 5001, None),
        group("all", &members),
        mac("red", MacAddr::BROADCAST, "all", None),
        mac("underlay", NODE2, "red-2", Some("192.0.2.2")),
        mac("underlay", NODE3, "red-3", Some("192.0.2.3")),
        vni(5001, "red"),
    ]
}

fn nested(name: &str, vrf: &str) -> Object {
    let mut vif = tenant(name, vrf, A, &[]);
    if let Object::Vif(vif) = &mut vif {
        vif.mac = None;
    }
    vif
}

fn to_vif(name: &str, vif: &str) -> Object {
    let action = NexthopAction::Vif {
        vif: vif.into(),
        address: None,
    };
    Object::Nexthop(Nexthop {
        name: name.into(),
        action,
    })
}

fn group(name: &str, members: &[&str]) -> Object {
    let members = members.iter().map(|name| (*name).into()).collect();
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Replicate(members),
    })
}

/// A node whose objects are these but for one that `change` has changed.
fn node_but(change: impl FnMut(&mut Object)) -> Node {
    let mut objects = objects();
    objects.iter_mut().for_each(change);
    Node::new(objects)
}

fn node() -> Node {
    Node::new(objects())
}

/// Not IP.
fn frame(src: MacAddr, dst: MacAddr) -> Vec<u8> {
    [&dst.0[..], &src.0, &[0x88, 0xb5], &[7; 50]].concat()
}

fn from_node(node: MacAddr, address: &str, inner: &[u8]) -> Vec<u8> {
    vxlan([(node, address), (UPLINK, "192.0.2.1")], 5001, inner)
}

fn from_2(inner: &[u8]) -> Vec<u8> {
    from_node(NODE2, "192.0.2.2", inner)
}

fn from_3(inner: &[u8]) -> Vec<u8> {
    from_node(NODE3, "192.0.2.3", inner)
}

/// The answer of X to what [`udp`] builds from A.
fn answer() -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2(X.0, A.0)
        .ipv4([10, 1, 0, 99], [10, 1, 0, 10], 64)
        .udp(2222, 1111)
        .write(&mut frame, b"yes")
        .expect("it fits");
    frame
}

/// Where a frame went: vifs by name, tunnels as `up0/2`; each got it as it was.
fn places(node: &mut Node, from: &str, sent: &[u8], carried: &[u8]) -> Vec<String> {
    node.send(from, &[sent.to_vec()]);
    let mut places = Vec::new();
    for (vif, frames) in node.recv_all() {
        for frame in frames {
            if vif == "up0" {
                assert_eq!(frame[50..], *carried, "in the tunnel");
                assert_eq!(frame[46..49], [0, 0x13, 0x89], "its network id");
                places.push(format!("up0/{}", frame[33]));
            } else {
                assert_eq!(frame, carried, "to {vif}");
                places.push(vif.clone());
            }
        }
    }
    places
}

#[test]
fn a_broadcast_goes_to_every_member_but_its_sender() {
    let mut node = node();
    let sent = frame(A, MacAddr::BROADCAST);
    let reached = places(&mut node, "a", &sent, &sent);
    assert_eq!(reached, ["b", "n", "up0/2", "up0/3"]);
    assert_eq!(node.totals("a").originated, 3);
    node.check_accounts();
}

#[test]
fn what_a_tunnel_brings_goes_to_no_tunnel() {
    let mut node = node();
    let sent = frame(X, MacAddr::BROADCAST);
    let reached = places(&mut node, "up0", &from_2(&sent), &sent);
    assert_eq!(reached, ["a", "b", "n"]);
    assert_eq!(node.totals("up0").originated, 2);
}

#[test]
fn an_unknown_mac_is_flooded_until_it_is_heard() {
    let mut node = node();
    let ask = udp((A, "10.1.0.10"), (X, "10.1.0.99"), 64);
    assert_eq!(
        places(&mut node, "a", &ask, &ask),
        ["b", "n", "up0/2", "up0/3"]
    );
    assert_eq!(node.flows.len(), 0, "what is flooded is no flow");
    let answer = answer();
    assert_eq!(places(&mut node, "up0", &from_3(&answer), &answer), ["a"]);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/3"]);
    assert_eq!(node.flows.len(), 1);
    // The same behind a vif.
    let here = frame(Y, MacAddr::BROADCAST);
    places(&mut node, "n", &here, &here);
    let ask = frame(A, Y);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["n"]);
    assert_eq!(
        places(&mut node, "up0", &from_3(&frame(X, Y)), &frame(X, Y)),
        ["n"]
    );
}

#[test]
fn without_a_way_to_everybody_nothing_is_flooded() {
    let mut node = node();
    let delete = Key::Mac("red".into(), MacAddr::BROADCAST);
    node.apply(vec![Change::Delete(delete)])
        .expect("it is there");
    assert_eq!(
        node.refused("a", frame(A, MacAddr::BROADCAST)),
        DropReason::Multicast
    );
    assert_eq!(node.refused("a", frame(A, X)), DropReason::NoMac);
    let unasked = arp(
        1,
        (A, "10.1.0.10"),
        (MacAddr::ZERO, "10.1.0.99"),
        MacAddr::BROADCAST,
    );
    assert_eq!(node.refused("a", unasked), DropReason::NeighbourUnanswered);
}

#[test]
fn a_group_with_an_entry_of_its_own_goes_there_alone() {
    let mut node = node();
    let entry = mac("red", GROUP, "to-b", None);
    node.apply(vec![Change::Upsert(entry)])
        .expect("a group's entry");
    let sent = frame(A, GROUP);
    assert_eq!(places(&mut node, "a", &sent, &sent), ["b"]);
    // From its only member there is nobody left.
    assert_eq!(node.refused("b", frame(B, GROUP)), DropReason::SameVif);
}

#[test]
fn a_group_whose_only_member_is_the_sender_drops_as_no_member() {
    let mut node = node_but(|object| {
        if let Object::Nexthop(nexthop) = object
            && let NexthopAction::Replicate(members) = &mut nexthop.action
        {
            *members = vec!["to-a".into()];
        }
    });
    assert_eq!(
        node.refused("a", frame(A, MacAddr::BROADCAST)),
        DropReason::NoMember
    );
}

#[test]
fn a_flow_follows_a_machine_that_moves() {
    let mut node = node();
    let hello = frame(X, MacAddr::BROADCAST);
    places(&mut node, "up0", &from_2(&hello), &hello);
    let ask = udp((A, "10.1.0.10"), (X, "10.1.0.99"), 64);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/2"]);
    let answer = answer();
    // The answer comes from the new place, and that is enough to be believed.
    assert_eq!(places(&mut node, "up0", &from_3(&answer), &answer), ["a"]);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/3"]);
    assert_eq!(node.flows.len(), 1);
    // And from there to a port of this node.
    assert_eq!(places(&mut node, "n", &answer, &answer), ["a"]);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["n"]);
}

#[test]
fn a_machine_that_moves_too_often_stays_where_it_is() {
    let mut node = node();
    let hello = frame(X, B);
    for count in 0..=MAX_MOVES {
        let sent = [from_2(&hello), from_3(&hello)][count as usize % 2].clone();
        assert_eq!(places(&mut node, "up0", &sent, &hello), ["b"]);
    }
    // Five moves: the sixth place was node 3.
    assert_eq!(node.refused("up0", from_2(&hello)), DropReason::MacMoves);
    assert_eq!(places(&mut node, "up0", &from_3(&hello), &hello), ["b"]);
    let ask = frame(A, X);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/3"]);
    node.pass(MOVES_MS);
    assert_eq!(places(&mut node, "up0", &from_2(&hello), &hello), ["b"]);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/2"]);
}

#[test]
fn what_is_configured_is_not_learned_otherwise() {
    let mut node = node();
    // A machine of this node, and the router, from elsewhere.
    assert_eq!(
        node.refused("up0", from_2(&frame(A, B))),
        DropReason::ReversePath
    );
    assert_eq!(
        node.refused("up0", from_2(&frame(ROUTER, B))),
        DropReason::ReversePath
    );
    for src in [A, ROUTER, GROUP, MacAddr::ZERO] {
        assert_eq!(node.refused("n", frame(src, B)), DropReason::SpoofedMac);
    }
    // A machine with an entry behind node 2 does not move to node 3.
    let entry = mac("red", X, "red-2", None);
    node.apply(vec![Change::Upsert(entry)]).expect("an entry");
    assert_eq!(
        node.refused("up0", from_3(&frame(X, B))),
        DropReason::ReversePath
    );
    assert_eq!(
        places(&mut node, "up0", &from_2(&frame(X, B)), &frame(X, B)),
        ["b"]
    );
    assert_eq!(node.refused("a", frame(X, B)), DropReason::SpoofedMac);
}

#[test]
fn a_vif_has_as_many_macs_behind_it_as_it_may() {
    let mut node = node_but(|object| {
        if let Object::Vif(vif) = object
            && &*vif.name == "n"
        {
            vif.max_learned_macs = Some(2);
        }
    });
    let third = MacAddr([2, 0, 0, 0, 7, 3]);
    for src in [X, Y] {
        assert_eq!(
            places(&mut node, "n", &frame(src, B), &frame(src, B)),
            ["b"]
        );
    }
    assert_eq!(node.refused("n", frame(third, B)), DropReason::MacLimit);
    // Silence makes room.
    node.pass(AGE_MS);
    assert_eq!(
        places(&mut node, "n", &frame(third, B), &frame(third, B)),
        ["b"]
    );
}

#[test]
fn learned_macs_age_and_are_flooded_again() {
    let mut node = node();
    places(&mut node, "up0", &from_2(&frame(X, B)), &frame(X, B));
    let ask = frame(A, X);
    node.pass(AGE_MS - 1);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["up0/2"]);
    // A round of looking takes ten seconds.
    node.pass(10_000);
    assert_eq!(
        places(&mut node, "a", &ask, &ask),
        ["b", "n", "up0/2", "up0/3"]
    );
}

#[test]
fn a_frame_to_a_mac_behind_its_own_vif_goes_nowhere() {
    let mut node = node();
    places(&mut node, "n", &frame(X, B), &frame(X, B));
    assert_eq!(node.refused("n", frame(Y, X)), DropReason::SameVif);
}

#[test]
fn floods_are_held_to_the_storm_limit_and_nothing_else_is() {
    let mut node = node_but(|object| {
        if let Object::Vif(vif) = object
            && &*vif.name == "a"
        {
            vif.storm_limit = Some(3);
        }
    });
    for dst in [MacAddr::BROADCAST, X, GROUP] {
        let sent = frame(A, dst);
        assert_eq!(places(&mut node, "a", &sent, &sent).len(), 4);
    }
    for dst in [MacAddr::BROADCAST, X, GROUP] {
        assert_eq!(node.refused("a", frame(A, dst)), DropReason::StormLimit);
    }
    assert_eq!(places(&mut node, "a", &frame(A, B), &frame(A, B)), ["b"]);
    assert_eq!(places(&mut node, "b", &frame(B, X), &frame(B, X)).len(), 4);
    node.pass(1_000);
    let sent = frame(A, X);
    assert_eq!(places(&mut node, "a", &sent, &sent).len(), 4);
}

/// A pool with so many buffers.
struct Buffers(usize);

impl Pool<MemBuffer> for Buffers {
    fn alloc(&mut self) -> Option<MemBuffer> {
        self.0 = self.0.checked_sub(1)?;
        Some(MemBuffer::default())
    }
}

#[test]
fn copies_without_a_buffer_are_counted() {
    let mut node = Node::with(1_000, Box::new(Buffers(1)), objects());
    let sent = frame(A, MacAddr::BROADCAST);
    // One buffer for one copy, and the frame itself for the last member.
    assert_eq!(places(&mut node, "a", &sent, &sent), ["b", "up0/3"]);
    assert_eq!(node.drops("a"), [(DropReason::NoBuffer, 2)]);
    assert_eq!(node.totals("a").originated, 3);
}

#[test]
fn a_frame_too_large_for_a_buffer_is_copied_into_several() {
    let mut node = node_but(|object| {
        if let Object::Vif(vif) = object {
            vif.mtu = Some(9_000);
        }
    });
    let sent = [&frame(A, MacAddr::BROADCAST)[..], &[0; 3_000]].concat();
    assert_eq!(places(&mut node, "a", &sent, &sent).len(), 4);
    assert_eq!(node.drops("a"), []);
    // And one that came in several.
    node.send_chained("a", &[(sent, vec![500, 1_000, 7])]);
    assert_eq!(node.recv_all().values().flatten().count(), 4);
}

#[test]
fn each_copy_is_measured_by_its_own_member() {
    let mut node = node_but(|object| {
        if let Object::Vif(vif) = object
            && &*vif.name == "b"
        {
            vif.mtu = Some(1_000);
        }
    });
    let sent = [&frame(A, MacAddr::BROADCAST)[..], &[0; 1_200]].concat();
    assert_eq!(
        places(&mut node, "a", &sent, &sent),
        ["n", "up0/2", "up0/3"]
    );
    assert_eq!(node.drops("a"), [(DropReason::TooBig, 1)]);
}

#[test]
fn questions_that_the_router_answers_are_not_flooded_and_others_are() {
    let mut node = node();
    let ask = |target| {
        arp(
            1,
            (A, "10.1.0.10"),
            (MacAddr::ZERO, target),
            MacAddr::BROADCAST,
        )
    };
    let told = node.exchange("a", ask("10.1.0.11"), "a");
    assert_eq!(told, arp(2, (B, "10.1.0.11"), (A, "10.1.0.10"), A));
    let question = ask("10.1.0.99");
    assert_eq!(
        places(&mut node, "a", &question, &question),
        ["b", "n", "up0/2", "up0/3"]
    );
    let answer = arp(2, (X, "10.1.0.99"), (A, "10.1.0.10"), A);
    assert_eq!(places(&mut node, "up0", &from_2(&answer), &answer), ["a"]);
    // An announcement tells everybody; to the router it is none of its business.
    let gratuitous = arp(
        1,
        (A, "10.1.0.10"),
        (MacAddr::ZERO, "10.1.0.10"),
        MacAddr::BROADCAST,
    );
    assert_eq!(places(&mut node, "a", &gratuitous, &gratuitous).len(), 4);
    let to_router = arp(2, (A, "10.1.0.10"), (ROUTER, "10.1.0.1"), ROUTER);
    assert_eq!(
        node.refused("a", to_router),
        DropReason::NeighbourUnsolicited
    );
}

#[test]
fn a_route_around_an_address_does_not_speak_for_it_where_questions_are_flooded() {
    let mut node = node();
    let default = route("red", "0.0.0.0/0", "red-2");
    node.apply(vec![Change::Upsert(default)]).expect("a route");
    let question = arp(
        1,
        (A, "10.1.0.10"),
        (MacAddr::ZERO, "10.1.0.99"),
        MacAddr::BROADCAST,
    );
    assert_eq!(places(&mut node, "a", &question, &question).len(), 4);
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let mut node = node();
    // The gateway's address, another machine's, and another's MAC.
    for (vif, src, sender) in [
        ("n", X, (X, "10.1.0.1")),
        ("n", X, (X, "10.1.0.11")),
        ("a", A, (A, "10.1.0.11")),
        ("n", X, (Y, "10.1.0.99")),
    ] {
        let mut told = arp(2, sender, (B, "10.1.0.11"), B);
        told[6..12].copy_from_slice(&src.0);
        assert_eq!(node.refused(vif, told), DropReason::SpoofedSource);
    }
    // And in what has no flow: from the gateway to everybody.
    let sent = udp((X, "10.1.0.1"), (MacAddr::BROADCAST, "255.255.255.255"), 64);
    assert_eq!(node.refused("n", sent), DropReason::SpoofedSource);
    let sent = udp(
        (X, "127.0.0.1"),
        (MacAddr::BROADCAST, "255.255.255.255"),
        64,
    );
    assert_eq!(node.refused("n", sent), DropReason::Martian);
    // Who has no address yet may ask.
    let sent = udp((X, "0.0.0.0"), (MacAddr::BROADCAST, "255.255.255.255"), 64);
    assert_eq!(
        places(&mut node, "n", &sent, &sent),
        ["a", "b", "up0/2", "up0/3"]
    );
}

#[test]
fn what_only_routers_send_is_not_let_through() {
    let mut node = node();
    for kind in [134, 137] {
        let sent = icmpv6(
            (A, "fe80::a"),
            ([0x33, 0x33, 0, 0, 0, 1], "ff02::1"),
            kind,
            &[0; 12],
        );
        assert_eq!(node.refused("a", sent), DropReason::RaGuard);
        let sent = icmpv6((A, "fe80::a"), (B.0, "fe80::b"), kind, &[0; 12]);
        assert_eq!(node.refused("a", sent), DropReason::RaGuard);
    }
}

#[test]
fn neighbour_advertisements_are_for_ones_own_addresses() {
    let mut node = node();
    let told = |target: &str, option: MacAddr| {
        let std::net::IpAddr::V6(target) = ip(target) else {
            panic!("IPv6")
        };
        let body = [&[0x20, 0, 0, 0][..], &target.octets(), &[2, 1], &option.0].concat();
        icmpv6(
            (A, "fd01::10"),
            ([0x33, 0x33, 0, 0, 0, 1], "ff02::1"),
            136,
            &body,
        )
    };
    let own = told("fd01::10", A);
    assert_eq!(
        places(&mut node, "a", &own, &own),
        ["b", "n", "up0/2", "up0/3"]
    );
    for (target, option) in [
        ("fd01::11", A),
        ("fd01::1", A),
        ("fe80::200:5eff:fe00:100", A),
        ("fd01::10", B),
    ] {
        assert_eq!(
            node.refused("a", told(target, option)),
            DropReason::SpoofedSource
        );
    }
}

#[test]
fn a_vif_without_a_mac_is_bridged_only() {
    let mut node = node();
    let sent = udp((X, "10.1.0.99"), (ROUTER, "10.1.0.10"), 64);
    assert_eq!(node.refused("n", sent), DropReason::ForwardingMode);
    let route = route("red", "10.1.0.99/32", "to-n");
    node.apply(vec![Change::Upsert(route)]).expect("a route");
    let sent = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.99"), 64);
    assert_eq!(node.refused("a", sent), DropReason::NoMac);
    // But it finds the router.
    let ask = arp(
        1,
        (X, "10.1.0.99"),
        (MacAddr::ZERO, "10.1.0.1"),
        MacAddr::BROADCAST,
    );
    let told = node.exchange("n", ask, "n");
    assert_eq!(told, arp(2, (ROUTER, "10.1.0.1"), (X, "10.1.0.99"), X));
}

#[test]
fn whoever_gets_a_vifs_place_does_not_get_its_frames() {
    let mut node = node();
    // Dropped, so that the accounts hold without those of the vif that goes.
    let heard = frame(X, ROUTER);
    assert_eq!(node.refused("n", heard), DropReason::ForwardingMode);
    let place_of =
        |node: &Node, vif: &str| node.publisher.current().vif_named(vif).map(|vif| vif.id);
    let old = place_of(&node, "n");
    let others = ["to-a", "to-b", "red-2", "red-3"];
    node.apply(vec![
        Change::Upsert(group("all", &others)),
        Change::Delete(Key::Nexthop("to-n".into())),
        Change::Delete(Key::Vif("n".into())),
    ])
    .expect("n goes");
    let mut blue = vrf("blue", &[]);
    if let Object::Vrf(blue) = &mut blue {
        blue.learning = true;
    }
    node.apply(vec![
        Change::Upsert(blue),
        Change::Upsert(nested("m", "blue")),
    ])
    .expect("m comes");
    assert_eq!(place_of(&node, "m"), old, "it has the place that n had");
    let ask = frame(A, X);
    assert_eq!(places(&mut node, "a", &ask, &ask), ["b", "up0/2", "up0/3"]);
}

/// An ICMPv6 message with hop limit 255, its checksum by etherparse.
fn icmpv6(src: (MacAddr, &str), dst: ([u8; 6], &str), kind: u8, body: &[u8]) -> Vec<u8> {
    let (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) = (ip(src.1), ip(dst.1)) else {
        panic!("IPv6");
    };
    let head = [body[0], body[1], body[2], body[3]];
    let builder = etherparse::PacketBuilder::ethernet2(src.0.0, dst.0)
        .ipv6(from.octets(), to.octets(), 255)
        .icmpv6(etherparse::Icmpv6Type::Unknown {
            type_u8: kind,
            code_u8: 0,
            bytes5to8: head,
        });
    let mut frame = Vec::new();
    builder.write(&mut frame, &body[4..]).expect("it fits");
    frame
}

fn solicitation(src: &str) -> Vec<u8> {
    icmpv6(
        (A, src),
        ([0x33, 0x33, 0, 0, 0, 2], "ff02::2"),
        133,
        &[0; 4],
    )
}

#[test]
fn router_solicitations_are_answered_to_who_asks() {
    let mut node = node();
    let told = node.exchange("a", solicitation("fe80::a"), "a");
    let meta = encap::parse(&told).expect("well-formed");
    assert_eq!((&told[..6], &told[6..12]), (&A.0[..], &ROUTER.0[..]));
    assert_eq!(
        meta.addrs(&told),
        Some((ip("fe80::200:5eff:fe00:100"), ip("fe80::a")))
    );
    assert_eq!((meta.l4_flags, meta.ttl), (134, 255));
    // Lifetime 1800 s, and the prefix of the gateway, on the link.
    assert_eq!(told[60..62], 1800_u16.to_be_bytes());
    assert_eq!(told[86..90], [3, 4, 64, 0x80]);
}

#[test]
fn an_asker_without_an_address_is_answered_to_all_and_not_again_at_once() {
    let mut node = node();
    let told = node.exchange("a", solicitation("::"), "a");
    assert_eq!(told[..6], [0x33, 0x33, 0, 0, 0, 1]);
    node.send("a", &[solicitation("::")]);
    assert!(node.recv_all().is_empty());
    assert_eq!(node.totals("a").consumed, 1);
    node.pass(3_000);
    node.exchange("a", solicitation("::"), "a");
}

#[test]
fn without_a_gateway_of_its_own_a_solicitation_goes_to_everybody() {
    let mut node = node_but(|object| {
        if let Object::Vrf(vrf) = object {
            vrf.gateways.clear();
        }
    });
    let asked = solicitation("fe80::a");
    assert_eq!(places(&mut node, "a", &asked, &asked).len(), 4);
    let mut node = node_but(|object| {
        if let Object::Vrf(vrf) = object {
            vrf.mode = dataplane::tables::spec::ForwardingMode::Bridged;
        }
    });
    assert_eq!(
        places(&mut node, "a", &asked, &asked).len(),
        4,
        "a router that does not route says nothing"
    );
    // And what a node's tunnel brings is for the machines, not for this router.
    let mut node = self::node();
    let asked = icmpv6(
        (X, "fe80::7"),
        ([0x33, 0x33, 0, 0, 0, 2], "ff02::2"),
        133,
        &[0; 4],
    );
    assert_eq!(
        places(&mut node, "up0", &from_2(&asked), &asked),
        ["a", "b", "n"]
    );
}

#[test]
fn routers_announce_themselves_when_told_to_and_within_the_interval() {
    let mut node = node();
    node.pass(2_000_000);
    assert!(node.recv_all().is_empty(), "not unless told");
    node.announce_routers();
    node.pass(1_000);
    let told = node.recv_all();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["a", "b", "n"]);
    assert_eq!(told["a"].len(), 1);
    assert_eq!(node.totals("a").originated, 1);
    let mut heard = Vec::new();
    for second in 0..3_600 {
        node.pass(1_000);
        if node.recv_all().contains_key("a") {
            heard.push(second);
        }
    }
    assert!(heard[1] <= 33, "three at first: {heard:?}");
    assert!(
        (8..=20).contains(&heard.len()),
        "one in 200 to 600 s: {heard:?}"
    );
}
