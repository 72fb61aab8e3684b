//! Tenants' machines out of a pool into the node's own fabric, and back.

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

const A: MacAddr = MacAddr([2, 0, 0, 0, 1, 5]);
const UP: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const NEXT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

fn to_neighbour(name: &str, vif: &str, addr: &str) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Vif {
            vif: vif.into(),
            address: Some(ip(addr)),
        },
    })
}

fn pool(address: &str, ports: std::ops::RangeInclusive<u16>) -> Object {
    Object::SnatPool(SnatPool {
        name: "out".into(),
        vrf: "red".into(),
        sources: vec![],
        outside_vrf: UNDERLAY.into(),
        addresses: vec![net(address)],
        ports,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::AddressAndPortDependent,
        nat64_prefix: None,
    })
}

fn host() -> Object {
    let Object::Vif(vif) = fabric("host0", HOST, &[]) else {
        unreachable!("that is what it makes");
    };
    Object::Vif(Vif {
        role: Role::Host,
        ..vif
    })
}

/// A node whose tenant a reaches everything through the fabric's router 192.0.2.254.
fn node(pool: Object) -> Node {
    Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        tenant("a", "red", A, &["10.1.0.5"]),
        fabric("up0", UP, &["192.0.2.1/24"]),
        host(),
        to_neighbour("router", "up0", "192.0.2.254"),
        route(UNDERLAY, "0.0.0.0/0", "router"),
        Object::Nexthop(Nexthop {
            name: "fabric".into(),
            action: NexthopAction::Vrf(UNDERLAY.into()),
        }),
        route("red", "0.0.0.0/0", "fabric"),
        pool,
    ])
}

fn out(port: u16) -> Vec<u8> {
    datagram((A, ROUTER), ("10.1.0.5", port), ("203.0.113.9", 53))
}

fn datagram(macs: (MacAddr, MacAddr), src: (&str, u16), dst: (&str, u16)) -> Vec<u8> {
    let addr = |text| match ip(text) {
        std::net::IpAddr::V4(addr) => addr.octets(),
        std::net::IpAddr::V6(_) => panic!("IPv4"),
    };
    let link = PacketBuilder::ethernet2(macs.0.0, macs.1.0);
    let network = link.ipv4(addr(src.0), addr(dst.0), 64);
    let mut frame = Vec::new();
    let builder = network.udp(src.1, dst.1);
    builder.write(&mut frame, b"hello").expect("it fits");
    frame
}

/// The MACs, ends and TTL of a datagram.
fn read(frame: &[u8]) -> ([MacAddr; 2], (String, u16), (String, u16), u8) {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (packet.net, packet.transport)
    else {
        panic!("not UDP over IPv4");
    };
    let header = ip.header();
    let mac = |at: usize| MacAddr(frame[at..at + 6].try_into().expect("six bytes"));
    let end = |addr: std::net::Ipv4Addr, port| (addr.to_string(), port);
    (
        [mac(6), mac(0)],
        end(header.source_addr(), udp.source_port()),
        end(header.destination_addr(), udp.destination_port()),
        header.ttl(),
    )
}

/// The fabric's router answers who it is.
fn introduce(node: &mut Node) {
    let reply = arp(2, (NEXT, "192.0.2.254"), (UP, "192.0.2.1"), UP);
    node.send("up0", &[reply]);
    node.recv_all();
}

#[test]
fn a_packet_waits_for_the_neighbour_and_goes_out_plain() {
    let mut node = node(pool("198.51.100.1", 1..=65_535));
    node.send("a", &[out(4_000)]);
    assert!(node.is_waiting());
    let asked = node.recv("up0");
    assert_eq!(asked.len(), 1);
    let expected = arp(
        1,
        (UP, "192.0.2.1"),
        (MacAddr::ZERO, "192.0.2.254"),
        MacAddr::BROADCAST,
    );
    assert_eq!(asked[0][..42], expected[..42]);
    let reply = arp(2, (NEXT, "192.0.2.254"), (UP, "192.0.2.1"), UP);
    node.send("up0", &[reply]);
    let sent = node.recv("up0");
    assert_eq!(sent.len(), 1, "{:?}", node.recv_all());
    let (macs, src, dst, ttl) = read(&sent[0]);
    assert_eq!((macs, ttl), ([UP, NEXT], 63));
    assert_eq!((&*src.0, dst), ("198.51.100.1", ("203.0.113.9".into(), 53)));
}

#[test]
fn answers_come_back_and_strangers_do_not_reach_the_kernel() {
    let mut node = node(pool("198.51.100.1", 1..=65_535));
    introduce(&mut node);
    node.send("a", &[out(4_000)]);
    let (_, src, ..) = read(&node.recv("up0")[0]);
    let answer = datagram((NEXT, UP), ("203.0.113.9", 53), (&src.0, src.1));
    let (macs, from, to, ttl) = read(&node.exchange("up0", answer, "a"));
    assert_eq!((macs, ttl), ([ROUTER, A], 63));
    assert_eq!(
        (from, to),
        (("203.0.113.9".into(), 53), ("10.1.0.5".into(), 4_000))
    );
    let stranger = datagram((NEXT, UP), ("203.0.113.10", 53), (&src.0, src.1));
    assert_eq!(node.refused("up0", stranger), DropReason::SnatFiltered);
    let nobodys = datagram((NEXT, UP), ("203.0.113.9", 53), (&src.0, src.1 ^ 1));
    assert_eq!(node.refused("up0", nobodys), DropReason::SnatUnknown);
}

#[test]
fn a_pools_address_is_answered_for_in_the_fabric() {
    let mut node = node(pool("192.0.2.77", 1..=65_535));
    let asked = arp(
        1,
        (NEXT, "192.0.2.254"),
        (MacAddr::ZERO, "192.0.2.77"),
        MacAddr::BROADCAST,
    );
    let answer = node.exchange("up0", asked, "up0");
    let expected = arp(2, (UP, "192.0.2.77"), (NEXT, "192.0.2.254"), NEXT);
    assert_eq!(answer[..42], expected[..42]);
}

#[test]
fn a_fabric_vifs_address_is_shared_with_the_kernel_by_port() {
    let mut node = node(pool("192.0.2.1", 40_000..=49_999));
    introduce(&mut node);
    node.send("a", &[out(4_000)]);
    let (_, src, ..) = read(&node.recv("up0")[0]);
    assert_eq!(src.0, "192.0.2.1");
    assert!((40_000..=49_999).contains(&src.1));
    let answer = datagram((NEXT, UP), ("203.0.113.9", 53), (&src.0, src.1));
    let (_, _, to, _) = read(&node.exchange("up0", answer, "a"));
    assert_eq!(to, ("10.1.0.5".into(), 4_000));
    // The kernel's own, in the range and beyond it, as they came.
    for port in [src.1 ^ 1, 22] {
        let other = datagram((NEXT, UP), ("203.0.113.9", 53), ("192.0.2.1", port));
        assert_eq!(node.exchange("up0", other.clone(), "host0"), other);
    }
}

#[test]
fn a_commit_while_a_packet_waits_drops_what_might_go_elsewhere() {
    let mut node = node(pool("198.51.100.1", 1..=65_535));
    node.send("a", &[out(4_000)]);
    node.apply(vec![Change::Upsert(vrf("blue", &["10.9.0.1/24"]))])
        .expect("what does not matter to it");
    node.pass(1);
    assert!(node.is_waiting());
    node.apply(vec![Change::Delete(Key::Route(
        "red".into(),
        net("0.0.0.0/0"),
    ))])
    .expect("its route");
    node.pass(1);
    assert!(!node.is_waiting());
    assert_eq!(node.drops("a"), [(DropReason::NexthopChanged, 1)]);
}

#[test]
fn tenants_do_not_reach_the_fabric_without_a_pool_of_the_underlay() {
    let mut node = node(pool("198.51.100.1", 1..=65_535));
    node.apply(vec![Change::Delete(Key::SnatPool("out".into()))])
        .expect("it goes");
    introduce(&mut node);
    assert_eq!(node.refused("a", out(4_000)), DropReason::NoRoute);
}
