//! Frames through a worker's stages: what goes in, what must come out.

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::{Key, Object};
use encap::MacAddr;
use etherparse::{NetSlice, SlicedPacket};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const REMOTE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x9]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Two machines of one tenant here, a third behind node 2, and another tenant
/// that uses the same addresses.
fn node() -> Node {
    Node::new(vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("blue", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"]),
        tenant("blue-a", "blue", A, &["10.1.0.10", "fd01::10"]),
        tunnel("red-2", "192.0.2.2", 5001, None),
        tunnel("blue-2", "192.0.2.2", 5002, None),
        route("red", "10.1.0.9/32", "red-2"),
        route("red", "fd01::9/128", "red-2"),
        route("blue", "10.1.0.9/32", "blue-2"),
        vni(5001, "red"),
        vni(5002, "blue"),
    ])
}

fn resolved() -> Node {
    let mut node = node();
    let static_neighbour = vec![
        Object::Nexthop(dataplane::tables::spec::Nexthop {
            name: "discard".into(),
            action: dataplane::tables::spec::NexthopAction::Discard,
        }),
        mac("underlay", NODE2, "discard", Some("192.0.2.2")),
    ];
    node.apply(static_neighbour.into_iter().map(Change::Upsert).collect())
        .expect("a static neighbour");
    node
}

#[test]
fn routed_between_local_vifs_the_ttl_falls_and_the_macs_change() {
    for (src, dst) in [("10.1.0.10", "10.1.0.11"), ("fd01::10", "fd01::11")] {
        let mut node = node();
        let out = node.exchange("red-a", udp((A, src), (ROUTER, dst), 64), "red-b");
        assert_eq!(out, udp((ROUTER, src), (B, dst), 63));
        // and back, by the same flow
        let out = node.exchange("red-b", udp((B, dst), (ROUTER, src), 9), "red-a");
        assert_eq!(out, udp((ROUTER, dst), (A, src), 8));
    }
}

#[test]
fn bridged_between_local_vifs_nothing_changes() {
    let mut node = node();
    let frame = udp((A, "10.1.0.10"), (B, "10.1.0.11"), 1);
    assert_eq!(node.exchange("red-a", frame.clone(), "red-b"), frame);
    assert_eq!(node.flows.len(), 1);
}

#[test]
fn a_frame_that_is_not_ip_is_bridged_without_a_flow() {
    let mut node = node();
    let frame = [&B.0[..], &A.0, &[0x88, 0xb5], &[7; 50]].concat();
    assert_eq!(node.exchange("red-a", frame.clone(), "red-b"), frame);
    assert_eq!(node.flows.len(), 0);
}

#[test]
fn twins_with_the_same_addresses_never_meet() {
    let mut node = resolved();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    node.exchange("red-a", frame.clone(), "red-b");
    // blue has no 10.1.0.11
    assert_eq!(node.refused("blue-a", frame), DropReason::NoRoute);
    // the same tuple, each to its own network id
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let red = node.exchange("red-a", frame.clone(), "up0");
    let blue = node.exchange("blue-a", frame, "up0");
    assert_eq!(
        (&red[46..49], &blue[46..49]),
        (&[0, 0x13, 0x89][..], &[0, 0x13, 0x8a][..])
    );
}

#[test]
fn the_gateway_answers_arp_and_ping() {
    let mut node = node();
    let question = arp(
        1,
        (A, "10.1.0.10"),
        (MacAddr::ZERO, "10.1.0.1"),
        MacAddr::BROADCAST,
    );
    let answer = node.exchange("red-a", question, "red-a");
    assert_eq!(answer, arp(2, (ROUTER, "10.1.0.1"), (A, "10.1.0.10"), A));

    let ping = |src: (MacAddr, [u8; 4]), dst: (MacAddr, [u8; 4]), reply: bool| {
        let link = etherparse::PacketBuilder::ethernet2(src.0.0, dst.0.0).ipv4(src.1, dst.1, 64);
        let icmp = match reply {
            true => link.icmpv4_echo_reply(7, 1),
            false => link.icmpv4_echo_request(7, 1),
        };
        let mut frame = Vec::new();
        icmp.write(&mut frame, &[1; 32]).expect("it fits");
        frame
    };
    let (vm, gateway) = ((A, [10, 1, 0, 10]), (ROUTER, [10, 1, 0, 1]));
    let answer = node.exchange("red-a", ping(vm, gateway, false), "red-a");
    assert_eq!(answer[14 + 20..], ping(gateway, vm, true)[14 + 20..]);
    assert_eq!(answer[..12], [A.0, ROUTER.0].concat());
}

#[test]
fn arp_is_answered_for_others_and_never_for_oneself() {
    let mut node = node();
    let ask = |target| {
        arp(
            1,
            (A, "10.1.0.10"),
            (MacAddr::ZERO, target),
            MacAddr::BROADCAST,
        )
    };
    let sender_mac = |frame: Vec<u8>| MacAddr(frame[22..28].try_into().expect("six bytes"));
    // a machine in the same network, reachable at its own MAC
    assert_eq!(
        sender_mac(node.exchange("red-a", ask("10.1.0.11"), "red-a")),
        B
    );
    // one behind a route
    assert_eq!(
        sender_mac(node.exchange("red-a", ask("10.1.0.9"), "red-a")),
        ROUTER
    );
    // nobody
    assert_eq!(
        node.refused("red-a", ask("10.1.0.77")),
        DropReason::NeighbourUnanswered
    );
    // is my address free? (RFC 5227 probe)
    let probe = |target| {
        arp(
            1,
            (A, "0.0.0.0"),
            (MacAddr::ZERO, target),
            MacAddr::BROADCAST,
        )
    };
    assert_eq!(
        node.refused("red-a", probe("10.1.0.10")),
        DropReason::NeighbourUnanswered
    );
    assert_eq!(
        sender_mac(node.exchange("red-a", probe("10.1.0.11"), "red-a")),
        B
    );
}

#[test]
fn the_first_packet_waits_for_the_neighbour_and_leaves_encapsulated() {
    let mut node = node();
    let inner = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let question = node.exchange("red-a", inner, "up0");
    let expected = arp(
        1,
        (UPLINK, "192.0.2.1"),
        (MacAddr::ZERO, "192.0.2.2"),
        MacAddr::BROADCAST,
    );
    assert_eq!(question, expected);

    node.send(
        "up0",
        &[arp(2, (NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), UPLINK)],
    );
    let sent = node.recv("up0");
    assert_eq!(sent.len(), 1);
    let outer = SlicedPacket::from_ethernet(&sent[0]).expect("a valid packet");
    assert_eq!(sent[0][..12], [NODE2.0, UPLINK.0].concat());
    let Some(NetSlice::Ipv4(ip)) = outer.net else {
        panic!("IPv4 outside")
    };
    let header = ip.header().to_header();
    assert_eq!(
        (header.source, header.destination),
        ([192, 0, 2, 1], [192, 0, 2, 2])
    );
    assert!(header.dont_fragment && header.time_to_live == 64);
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    let udp_header = &sent[0][34..42];
    assert!(u16::from_be_bytes([udp_header[0], udp_header[1]]) >= 49_152);
    assert_eq!(udp_header[2..4], 4789_u16.to_be_bytes());
    assert_eq!(udp_header[6..8], [0, 0], "RFC 7348 §5: checksum zero");
    assert_eq!(sent[0][42..50], [8, 0, 0, 0, 0, 0x13, 0x89, 0]);
    assert_eq!(
        sent[0][50..],
        udp((ROUTER, "10.1.0.10"), (ROUTER, "10.1.0.9"), 63)
    );
}

#[test]
fn a_silent_neighbour_is_given_up_after_three_seconds() {
    let mut node = node();
    let inner = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    node.send("red-a", std::slice::from_ref(&inner));
    for _ in 0..31 {
        node.pass(100);
    }
    assert_eq!(node.recv("up0").len(), 3, "asked once a second");
    assert_eq!(node.drops("up0"), [(DropReason::NeighbourUnresolved, 1)]);
    // Destination unreachable, host unreachable (RFC 1812 §5.2.7.1).
    let told = node.recv("red-a");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0][34..36], [3, 1]);
    assert_eq!(told[0][42..], inner[14..]);
}

#[test]
fn what_a_tunnel_brings_is_delivered_to_its_vrf() {
    let mut node = resolved();
    for (number, vif) in [(5001, "red-a"), (5002, "blue-a")] {
        let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
        let outer = vxlan(
            [(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")],
            number,
            &inner,
        );
        let out = node.exchange("up0", outer, vif);
        assert_eq!(out, udp((ROUTER, "10.1.0.9"), (A, "10.1.0.10"), 63));
    }
}

#[test]
fn a_tunnel_brings_only_what_belongs_there() {
    let mut node = resolved();
    let from = |remote: &str, number: u32, src: &str, dst: &str| {
        let inner = udp((REMOTE, src), (ROUTER, dst), 64);
        vxlan([(NODE2, remote), (UPLINK, "192.0.2.1")], number, &inner)
    };
    let mut reason = |frame| node.refused("up0", frame);
    assert_eq!(
        reason(from("192.0.2.2", 9, "10.1.0.9", "10.1.0.10")),
        DropReason::UnknownVni
    );
    assert_eq!(
        reason(from("192.0.2.3", 5001, "10.1.0.9", "10.1.0.10")),
        DropReason::UnknownTunnelSource
    );
    // a local machine's address from outside
    assert_eq!(
        reason(from("192.0.2.2", 5001, "10.1.0.11", "10.1.0.10")),
        DropReason::ReversePath
    );
    // back into the tunnel
    assert_eq!(
        reason(from("192.0.2.2", 5001, "10.1.0.9", "10.1.0.9")),
        DropReason::SplitHorizon
    );
}

#[test]
fn a_machine_speaks_for_itself_only() {
    let mut node = node();
    let mut reason = |frame| node.refused("red-a", frame);
    let spoofed_mac = udp((B, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    assert_eq!(reason(spoofed_mac), DropReason::SpoofedMac);
    let spoofed_ip = udp((A, "10.1.0.12"), (ROUTER, "10.1.0.11"), 64);
    assert_eq!(reason(spoofed_ip), DropReason::SpoofedSource);
    let spoofed_arp = arp(
        1,
        (A, "10.1.0.11"),
        (MacAddr::ZERO, "10.1.0.1"),
        MacAddr::BROADCAST,
    );
    assert_eq!(reason(spoofed_arp), DropReason::SpoofedSource);
}

#[test]
fn a_live_flow_of_another_vif_cannot_be_joined() {
    let mut node = node();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    node.exchange("red-a", frame, "red-b");
    // red-b pretends to be red-a on red-a's own flow
    let joined = udp((B, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    assert_eq!(node.refused("red-b", joined), DropReason::SpoofedSource);
    // and a tunnel does
    let inner = udp((REMOTE, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    let outer = vxlan([(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")], 5001, &inner);
    assert_eq!(node.refused("up0", outer), DropReason::ReversePath);
}

#[test]
fn refusals_have_their_own_reasons() {
    let mut node = node();
    let mut reason = |frame| node.refused("red-a", frame);
    let to = |dst: MacAddr, addr: &str, ttl| udp((A, "10.1.0.10"), (dst, addr), ttl);
    assert_eq!(reason(to(ROUTER, "10.1.0.11", 1)), DropReason::TtlExpired);
    assert_eq!(reason(to(ROUTER, "10.9.9.9", 64)), DropReason::NoRoute);
    assert_eq!(reason(to(ROUTER, "10.1.0.1", 64)), DropReason::ToGateway);
    assert_eq!(reason(to(ROUTER, "127.0.0.1", 64)), DropReason::Martian);
    assert_eq!(reason(to(REMOTE, "10.1.0.9", 64)), DropReason::NoMac);
    let mdns = MacAddr([0x01, 0, 0x5e, 0, 0, 0xfb]);
    assert_eq!(reason(to(mdns, "224.0.0.251", 1)), DropReason::Multicast);
    let mut cut = to(ROUTER, "10.1.0.11", 64);
    cut.truncate(30);
    assert_eq!(reason(cut), DropReason::Truncated);
}

#[test]
fn a_changed_route_moves_a_live_flow_at_its_next_packet() {
    let mut node = resolved();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    node.exchange("red-a", frame.clone(), "up0");
    let key = Key::Route("red".into(), net("10.1.0.9/32"));
    node.apply(vec![Change::Delete(key)]).expect("it exists");
    assert_eq!(node.refused("red-a", frame.clone()), DropReason::NoRoute);
    // and comes back
    node.apply(vec![Change::Upsert(route("red", "10.1.0.9/32", "red-2"))])
        .expect("a route");
    node.exchange("red-a", frame, "up0");
    assert_eq!(node.flows.len(), 1);
}

#[test]
fn a_batch_of_one_new_flow_makes_one_flow() {
    let mut node = node();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    node.send("red-a", &vec![frame; 40]);
    assert_eq!(node.recv("red-b").len(), 40);
    assert_eq!(node.flows.len(), 1);
    assert_eq!(node.totals("red-b").tx_packets, 40);
}

#[test]
fn flows_go_when_their_time_has_come() {
    let mut node = node();
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    node.exchange("red-a", frame, "red-b");
    node.pass(20_000);
    assert_eq!(node.flows.len(), 1);
    node.pass(20_000);
    node.pass(20_000);
    assert_eq!(node.flows.len(), 0);
}

#[test]
fn without_a_host_vif_the_fabric_address_answers_ping_itself() {
    let mut node = node();
    let mut ping = Vec::new();
    etherparse::PacketBuilder::ethernet2(NODE2.0, UPLINK.0)
        .ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64)
        .icmpv4_echo_request(1, 1)
        .write(&mut ping, &[0; 8])
        .expect("it fits");
    let answer = node.exchange("up0", ping, "up0");
    assert_eq!(answer[26..34], [192, 0, 2, 1, 192, 0, 2, 2]);
    let stray = udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.7"), 64);
    assert_eq!(node.refused("up0", stray), DropReason::NotForUs);
    let closed = udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), 64);
    assert_eq!(node.refused("up0", closed), DropReason::NoHost);
}

#[test]
fn a_foreign_vlan_on_the_uplink_is_not_the_underlay() {
    let mut node = resolved();
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 99], &frame[12..]].concat();
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let tunnel = vxlan([(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")], 5001, &inner);
    assert_eq!(node.refused("up0", tagged(&tunnel)), DropReason::NoHost);
    let question = arp(
        1,
        (NODE2, "192.0.2.2"),
        (MacAddr::ZERO, "192.0.2.1"),
        MacAddr::BROADCAST,
    );
    assert_eq!(node.refused("up0", tagged(&question)), DropReason::NoHost);
}

#[test]
fn a_source_routed_ping_to_the_gateway_is_not_answered() {
    let mut node = node();
    let mut ping = Vec::new();
    etherparse::PacketBuilder::ethernet2(A.0, ROUTER.0)
        .ip(etherparse::IpHeaders::Ipv4(
            {
                let mut header = etherparse::Ipv4Header::new(
                    0,
                    64,
                    etherparse::IpNumber::ICMP,
                    [10, 1, 0, 10],
                    [10, 1, 0, 1],
                )
                .expect("a length");
                header.options =
                    etherparse::Ipv4Options::try_from(&[131, 7, 4, 10, 1, 0, 11, 0][..])
                        .expect("loose source route (RFC 791 §3.1)");
                header
            },
            etherparse::Ipv4Extensions::default(),
        ))
        .icmpv4_echo_request(1, 1)
        .write(&mut ping, &[0; 8])
        .expect("it fits");
    assert_eq!(node.refused("red-a", ping), DropReason::SourceRoute);
}

#[test]
fn the_routers_link_local_address_is_its_own() {
    let mut node = node();
    // modified EUI-64 of the router's MAC (RFC 4291 appendix A)
    let frame = udp((A, "fe80::200:5eff:fe00:100"), (B, "fd01::11"), 255);
    assert_eq!(node.refused("red-a", frame), DropReason::SpoofedSource);
    let frame = udp((A, "fe80::a"), (B, "fd01::11"), 255);
    node.exchange("red-a", frame, "red-b");
}

#[test]
fn what_waits_for_an_uplink_that_goes_is_counted_where_it_came_from() {
    let mut node = node();
    let inner = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    node.send("red-a", &[inner]);
    node.apply(vec![Change::Delete(Key::Vif("up0".into()))])
        .expect("nothing mentions it");
    node.pass(1);
    assert_eq!(node.drops("red-a"), [(DropReason::NoUnderlayRoute, 1)]);
    node.check_accounts();
}

#[test]
fn padding_beyond_what_a_vif_takes_is_not_sent() {
    let mut node = node();
    let frame = udp((A, "10.1.0.10"), (B, "10.1.0.11"), 64);
    let padded = [&frame[..], &[0xee; 3_000]].concat();
    let out = node.exchange("red-a", padded, "red-b");
    assert_eq!((out.len(), &out[..frame.len()]), (14 + 1_500, &frame[..]));
}

#[test]
fn a_machine_with_any_address_does_not_have_the_routers() {
    let mut node = node();
    let c = MacAddr([2, 0, 0, 0, 0, 0xc]);
    node.apply(vec![Change::Upsert(tenant("red-c", "red", c, &[]))])
        .expect("a vif without addresses");
    node.exchange("red-c", udp((c, "10.7.7.7"), (B, "10.1.0.11"), 64), "red-b");
    for (src, dst) in [("10.1.0.1", "10.1.0.11"), ("fd01::1", "fd01::11")] {
        for mac in [B, ROUTER] {
            let frame = udp((c, src), (mac, dst), 64);
            assert_eq!(node.refused("red-c", frame), DropReason::SpoofedSource);
        }
    }
}
