//! Services: who gets which flow, and what becomes of flows when backends come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;

use crate::common::*;
use dataplane::DropReason;
use dataplane::decide::{Decision, End, Headers, Kept, Stateless, decide};
use dataplane::stage::{Ingress, Layer};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;
use etherparse::PacketBuilder;

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const VIP: &str = "10.200.0.1";
const VIP6: &str = "fd20::1";

fn backend_mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, number])
}

fn backend(address: &str) -> Backend {
    Backend {
        address: ip(address),
        port: 8080,
        weight: NonZeroU16::MIN,
        state: BackendState::Active,
    }
}

/// Called at port 80, answered at 8080 by the backends at these addresses.
fn service(name: &str, address: &str, backends: &[&str]) -> Service {
    Service {
        name: name.into(),
        vrf: "red".into(),
        address: ip(address),
        protocol: 17,
        port: 80,
        backend_vrf: None,
        backends: backends.iter().map(|address| backend(address)).collect(),
        affinity_timeout_s: None,
        table_size: 1_009,
        on_down: OnDown::Move,
        direct_return: false,
        health: None,
    }
}

fn with_state(mut service: Service, address: &str, state: BackendState) -> Service {
    for backend in &mut service.backends {
        if backend.address == ip(address) {
            backend.state = state;
        }
    }
    service
}

const THREE: [&str; 3] = ["10.1.0.1", "10.1.0.2", "10.1.0.3"];
const THREE6: [&str; 3] = ["fd01::1", "fd01::2", "fd01::3"];

/// A client, three backends, and a service of each IP version.
fn objects() -> Vec<Object> {
    let mut objects = vec![
        vrf("red", &["10.1.0.254/24", "fd01::254/64"]),
        tenant("client", "red", CLIENT, &["10.1.0.100", "fd01::100"]),
        Object::Service(service("shop", VIP, &THREE)),
        Object::Service(service("shop6", VIP6, &THREE6)),
    ];
    for number in 1..=3 {
        let addresses = [format!("10.1.0.{number}"), format!("fd01::{number}")];
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let name = format!("b{number}");
        objects.push(tenant(&name, "red", backend_mac(number), &addresses));
    }
    objects
}

fn change(node: &mut Node, service: Service) {
    node.apply(vec![Change::Upsert(Object::Service(service))])
        .expect("a service");
}

/// A UDP packet of the client's flow from this port to a service.
fn called(address: &str, port: u16) -> Vec<u8> {
    udp_from(CLIENT, address, port)
}

fn udp_from(mac: MacAddr, address: &str, port: u16) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(mac.0, ROUTER.0);
    let network = match ip(address) {
        std::net::IpAddr::V4(to) => link.ipv4([10, 1, 0, 100], to.octets(), 64),
        std::net::IpAddr::V6(to) => {
            let std::net::IpAddr::V6(from) = ip("fd01::100") else {
                unreachable!("it is written so")
            };
            link.ipv6(from.octets(), to.octets(), 64)
        }
    };
    let mut frame = Vec::new();
    network
        .udp(port, 80)
        .write(&mut frame, b"hello")
        .expect("it fits");
    frame
}

fn tcp_to(address: &str, port: u16) -> Vec<u8> {
    let std::net::IpAddr::V4(to) = ip(address) else {
        unreachable!("IPv4 here")
    };
    let link = PacketBuilder::ethernet2(CLIENT.0, ROUTER.0);
    let mut frame = Vec::new();
    link.ipv4([10, 1, 0, 100], to.octets(), 64)
        .tcp(40_000, port, 7, 512)
        .syn()
        .write(&mut frame, &[])
        .expect("it fits");
    frame
}

fn ping(address: &str) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(CLIENT.0, ROUTER.0);
    let mut frame = Vec::new();
    match ip(address) {
        std::net::IpAddr::V4(to) => link
            .ipv4([10, 1, 0, 100], to.octets(), 64)
            .icmpv4_echo_request(7, 1)
            .write(&mut frame, b"ping"),
        std::net::IpAddr::V6(_) => panic!("IPv4 here"),
    }
    .expect("it fits");
    frame
}

/// Sends a packet of each of the client's first `flows` flows; who got it.
fn spread(node: &mut Node, address: &str, flows: u16) -> BTreeMap<u16, String> {
    let mut got = BTreeMap::new();
    for port in 1000..1000 + flows {
        node.send("client", &[called(address, port)]);
        let mut sent = node.recv_all();
        assert_eq!(sent.len(), 1, "of port {port}: {sent:x?}");
        got.extend(sent.pop_first().map(|(vif, _)| (port, vif)));
    }
    got
}

fn moved(before: &BTreeMap<u16, String>, after: &BTreeMap<u16, String>) -> usize {
    let pairs = before.iter().zip(after);
    pairs.filter(|(was, is)| was != is).count()
}

fn getting(flows: &BTreeMap<u16, String>) -> Vec<&str> {
    let all: BTreeSet<&str> = flows.values().map(String::as_str).collect();
    all.into_iter().collect()
}

#[test]
fn flows_are_shared_out_and_stay_where_they_are() {
    for address in [VIP, VIP6] {
        let mut node = Node::new(objects());
        let first = spread(&mut node, address, 100);
        assert_eq!(getting(&first), ["b1", "b2", "b3"]);
        for backend in ["b1", "b2", "b3"] {
            let flows = first.values().filter(|vif| *vif == backend).count();
            assert!((20..47).contains(&flows), "{flows} of 100 for {backend}");
        }
        assert_eq!(spread(&mut node, address, 100), first);
        // Another node, or the same one after a restart, chooses alike.
        assert_eq!(spread(&mut Node::new(objects()), address, 100), first);
    }
}

/// Both directions as they leave, checksums and all, as etherparse writes them.
#[test]
fn the_backend_hears_the_client_and_the_client_hears_the_service() {
    let mut node = Node::new(objects());
    change(&mut node, service("shop", VIP, &THREE[..1]));
    let built = |macs: [MacAddr; 2], addrs: [[u8; 4]; 2], ports: [u16; 2], ttl: u8, data: &[u8]| {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2(macs[0].0, macs[1].0)
            .ipv4(addrs[0], addrs[1], ttl)
            .udp(ports[0], ports[1])
            .write(&mut frame, data)
            .expect("it fits");
        frame
    };
    let (client, first, shop) = ([10, 1, 0, 100], [10, 1, 0, 1], [10, 200, 0, 1]);
    let b1 = backend_mac(1);
    let out = node.exchange("client", called(VIP, 1_000), "b1");
    assert_eq!(
        out,
        built([ROUTER, b1], [client, first], [1_000, 8_080], 63, b"hello")
    );
    let answer = built([b1, ROUTER], [first, client], [8_080, 1_000], 64, b"hi");
    let out = node.exchange("b1", answer, "client");
    assert_eq!(
        out,
        built([ROUTER, CLIENT], [shop, client], [80, 1_000], 63, b"hi")
    );
    // To itself: who calls seems to be the service.
    change(&mut node, service("shop", VIP, &["10.1.0.100"]));
    let out = node.exchange("client", called(VIP, 7), "client");
    assert_eq!(
        out,
        built([ROUTER, CLIENT], [shop, client], [7, 8_080], 63, b"hello")
    );
    let answer = built([CLIENT, ROUTER], [client, shop], [8_080, 7], 64, b"hi");
    let out = node.exchange("client", answer, "client");
    assert_eq!(
        out,
        built([ROUTER, CLIENT], [shop, client], [80, 7], 63, b"hi")
    );
}

#[test]
fn a_backend_that_goes_takes_only_its_own_flows_along() {
    let mut node = Node::new(objects());
    let before = spread(&mut node, VIP, 200);
    change(&mut node, service("shop", VIP, &THREE[..2]));
    let after = spread(&mut node, VIP, 200);
    assert_eq!(getting(&after), ["b1", "b2"]);
    let of_b3 = before.values().filter(|vif| *vif == "b3").count();
    assert_eq!(moved(&before, &after), of_b3);
    // It comes back: what there is stays, new flows go to it as well.
    change(&mut node, service("shop", VIP, &THREE));
    assert_eq!(moved(&after, &spread(&mut node, VIP, 200)), 0);
    assert_eq!(getting(&spread(&mut node, VIP, 300)), ["b1", "b2", "b3"]);
}

#[test]
fn a_draining_backend_keeps_its_flows_and_gets_no_more() {
    let mut node = Node::new(objects());
    let before = spread(&mut node, VIP, 100);
    let drained = with_state(
        service("shop", VIP, &THREE),
        THREE[0],
        BackendState::Draining,
    );
    change(&mut node, drained);
    let after = spread(&mut node, VIP, 300);
    for (port, vif) in &before {
        assert_eq!(after[port], *vif, "port {port}");
    }
    let new: BTreeMap<u16, String> = after
        .into_iter()
        .filter(|it| !before.contains_key(&it.0))
        .collect();
    assert_eq!(getting(&new), ["b2", "b3"]);
}

#[test]
fn flows_of_a_backend_that_is_down_move_or_are_refused_once() {
    let down = |on_down| Service {
        on_down,
        ..with_state(service("shop", VIP, &THREE), THREE[0], BackendState::Down)
    };
    let mut node = Node::new(objects());
    let before = spread(&mut node, VIP, 50);
    change(&mut node, down(OnDown::Move));
    assert_eq!(getting(&spread(&mut node, VIP, 50)), ["b2", "b3"]);

    let mut node = Node::new(objects());
    assert_eq!(spread(&mut node, VIP, 50), before);
    change(&mut node, down(OnDown::Reset));
    for (port, vif) in &before {
        match &**vif {
            "b1" => {
                assert_eq!(
                    node.refused("client", called(VIP, *port)),
                    DropReason::BackendDown
                );
                // Whoever starts again is served by another one.
                node.send("client", &[called(VIP, *port)]);
                assert!(!node.recv_all().contains_key("b1"));
            }
            other => _ = node.exchange("client", called(VIP, *port), other),
        }
    }
}

#[test]
fn a_flow_that_is_reset_hears_so() {
    let tcp = |service: Service| Service {
        protocol: 6,
        on_down: OnDown::Reset,
        ..service
    };
    let mut node = Node::new(objects());
    let only = tcp(service("web", "10.200.0.2", &THREE[..1]));
    change(&mut node, only.clone());
    node.exchange("client", tcp_to("10.200.0.2", 80), "b1");
    let gone = Service {
        backends: vec![backend(THREE[1])],
        ..only
    };
    change(&mut node, gone);
    node.send("client", &[tcp_to("10.200.0.2", 80)]);
    assert_eq!(node.drops("client"), [(DropReason::BackendDown, 1)]);
    let told = node.recv_all();
    let (vif, frames) = told.first_key_value().expect("a reset");
    let frame = etherparse::SlicedPacket::from_ethernet(&frames[0]).expect("a packet");
    let Some(etherparse::TransportSlice::Tcp(segment)) = frame.transport else {
        panic!("no TCP segment")
    };
    assert_eq!(vif, "client");
    assert!(segment.rst());
    assert_eq!(
        (segment.source_port(), segment.acknowledgment_number()),
        (80, 8)
    );
}

#[test]
fn what_nobody_serves_is_refused_as_a_closed_port_is() {
    let mut node = Node::new(objects());
    for (frame, told) in [
        (tcp_to(VIP, 443), "reset"),
        (udp_to_port(VIP, 443), "unreachable"),
    ] {
        node.send("client", &[frame]);
        check_told(&node.recv("client"), told, 3);
    }
    assert_eq!(node.drops("client"), [(DropReason::NoService, 2)]);
    change(&mut node, service("shop", VIP, &[]));
    node.send("client", &[called(VIP, 5)]);
    check_told(&node.recv("client"), "unreachable", 3);
    assert!(node.drops("client").contains(&(DropReason::NoBackend, 1)));
}

fn udp_to_port(address: &str, port: u16) -> Vec<u8> {
    let std::net::IpAddr::V4(to) = ip(address) else {
        unreachable!("IPv4 here")
    };
    let link = PacketBuilder::ethernet2(CLIENT.0, ROUTER.0);
    let mut frame = Vec::new();
    link.ipv4([10, 1, 0, 100], to.octets(), 64)
        .udp(9, port)
        .write(&mut frame, b"hello")
        .expect("it fits");
    frame
}

/// A TCP reset, or "unreachable" with this code.
#[track_caller]
fn check_told(frames: &[Vec<u8>], what: &str, code: u8) {
    assert_eq!(frames.len(), 1, "{frames:x?}");
    let packet = etherparse::SlicedPacket::from_ethernet(&frames[0]).expect("a packet");
    match packet.transport {
        Some(etherparse::TransportSlice::Tcp(segment)) => {
            assert!(what == "reset" && segment.rst());
        }
        Some(etherparse::TransportSlice::Icmpv4(message)) => {
            assert_eq!(what, "unreachable");
            assert_eq!((message.type_u8(), message.code_u8()), (3, code));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ping_of_a_virtual_address_says_whether_anybody_serves_there() {
    let mut node = Node::new(objects());
    let out = node.exchange("client", ping(VIP), "client");
    let packet = etherparse::SlicedPacket::from_ethernet(&out).expect("a packet");
    let Some(etherparse::TransportSlice::Icmpv4(answer)) = packet.transport else {
        panic!("no ICMP message")
    };
    assert_eq!(answer.type_u8(), 0);
    let none = THREE
        .into_iter()
        .fold(service("shop", VIP, &THREE), |service, address| {
            with_state(service, address, BackendState::Down)
        });
    change(&mut node, none);
    node.send("client", &[ping(VIP)]);
    check_told(&node.recv("client"), "unreachable", 1);
    assert_eq!(node.drops("client"), [(DropReason::NoBackend, 1)]);
}

#[test]
fn arp_for_a_virtual_address_is_answered_by_the_router() {
    let mut node = Node::new(objects());
    let asked = arp(
        1,
        (CLIENT, "10.1.0.100"),
        (MacAddr::ZERO, VIP),
        MacAddr::BROADCAST,
    );
    let answer = node.exchange("client", asked, "client");
    let expected = arp(2, (ROUTER, VIP), (CLIENT, "10.1.0.100"), CLIENT);
    assert_eq!(answer[..expected.len()], expected);
}

#[test]
fn a_client_stays_with_its_backend_until_it_was_silent() {
    let sticky = |timeout_s| Service {
        affinity_timeout_s: Some(timeout_s),
        ..service("shop", VIP, &THREE)
    };
    let mut node = Node::new(objects());
    let spread_out = spread(&mut node, VIP, 100);
    change(&mut node, sticky(60));
    // Flows that there are stay; the first new one says where all others go.
    assert_eq!(moved(&spread_out, &spread(&mut node, VIP, 100)), 0);
    let mut node = Node::new(objects());
    change(&mut node, sticky(60));
    let stuck = spread(&mut node, VIP, 100);
    let only = getting(&stuck);
    assert_eq!(only.len(), 1);
    // A port that another backend would get tells when it is over.
    let (port, other) = spread_out
        .iter()
        .find(|(_, vif)| **vif != only[0])
        .expect("a share");
    let mut node = Node::new(objects());
    change(&mut node, sticky(60));
    let first = spread_out
        .iter()
        .find(|(_, vif)| **vif == only[0])
        .expect("a share");
    node.exchange("client", called(VIP, *first.0), only[0]);
    node.pass(59_000);
    node.exchange("client", called(VIP, 999), only[0]);
    node.pass(60_001);
    node.exchange("client", called(VIP, *port), other);
}

#[test]
fn a_backend_that_drains_loses_its_clients_new_flows() {
    let sticky = Service {
        affinity_timeout_s: Some(60),
        ..service("shop", VIP, &THREE)
    };
    let mut node = Node::new(objects());
    change(&mut node, sticky.clone());
    let flows = spread(&mut node, VIP, 10);
    let only = getting(&flows)[0];
    let address = THREE[usize::from(only.as_bytes()[1] - b'1')];
    change(
        &mut node,
        with_state(sticky, address, BackendState::Draining),
    );
    assert_eq!(spread(&mut node, VIP, 10), flows);
    let more = spread(&mut node, VIP, 50);
    let new: BTreeMap<u16, String> = more.into_iter().skip(10).collect();
    let now = getting(&new);
    assert!(now.len() == 1 && now[0] != only, "{now:?}");
}

#[test]
fn with_direct_return_the_backend_gets_and_answers_as_the_service() {
    let mut node = Node::new(objects());
    let direct = |mut service: Service| {
        service.direct_return = true;
        service.backends.iter_mut().for_each(|it| it.port = 80);
        service
    };
    change(&mut node, direct(service("shop", VIP, &THREE)));
    node.send("client", &[called(VIP, 1_000)]);
    let (vif, frames) = node.recv_all().pop_first().expect("a backend gets it");
    let number = vif.as_bytes()[1] - b'0';
    let packet = etherparse::SlicedPacket::from_ethernet(&frames[0]).expect("a packet");
    let Some(etherparse::NetSlice::Ipv4(network)) = packet.net else {
        panic!("no IPv4 packet")
    };
    assert_eq!(
        std::net::IpAddr::from(network.header().destination_addr()),
        ip(VIP)
    );
    let mut answer = Vec::new();
    PacketBuilder::ethernet2(backend_mac(number).0, ROUTER.0)
        .ipv4([10, 200, 0, 1], [10, 1, 0, 100], 64)
        .udp(80, 1_000)
        .write(&mut answer, b"hi")
        .expect("it fits");
    node.exchange(&vif, answer.clone(), "client");
    // The others stay, whoever goes.
    let before = spread(&mut node, VIP, 60);
    change(&mut node, direct(service("shop", VIP, &THREE[1..])));
    let after = spread(&mut node, VIP, 60);
    let of_b1 = before.values().filter(|it| *it == "b1").count();
    assert_eq!(moved(&before, &after), of_b1);
    // Whoever is no backend any more may not speak as the service.
    let mut spoofed = answer;
    spoofed[6..12].copy_from_slice(&backend_mac(1).0);
    assert_eq!(node.refused("b1", spoofed), DropReason::SpoofedSource);
}

/// The decision about a flow of the client's, or what `ingress` says instead.
fn decided(node: &Node, port: u16, ingress: Option<Ingress>) -> Decision {
    asked(node, port, ingress, None).expect("it is let through")
}

fn asked(
    node: &Node,
    port: u16,
    ingress: Option<Ingress>,
    kept: Option<Kept>,
) -> Result<Decision, DropReason> {
    let tables = node.publisher.current();
    let client = tables.vif_named("client").expect("it exists");
    let headers = Headers {
        vrf: client.vrf,
        layer: Layer::Routed,
        src_mac: CLIENT,
        dst_mac: ROUTER,
        src_addr: match ingress {
            Some(_) => ip("10.1.0.9"),
            None => ip("10.1.0.100"),
        },
        dst_addr: ip(VIP),
        protocol: 17,
        src_port: port,
        dst_port: 80,
        icmp: None,
        direct: None,
        kept,
    };
    let ingress = ingress.unwrap_or(Ingress::vif(client.id));
    decide(&tables, &mut Stateless, &headers, ingress).map_err(|refused| refused.reason)
}

#[test]
fn the_destination_becomes_the_backends_and_the_source_stays() {
    let node = Node::new(objects());
    for port in 0..50 {
        let decision = decided(&node, port, None);
        assert_eq!(
            decision.source,
            End {
                addr: ip("10.1.0.100"),
                port
            }
        );
        assert!(THREE.map(ip).contains(&decision.destination.addr));
        assert_eq!(decision.destination.port, 8080);
    }
}

#[test]
fn a_client_that_is_its_own_backend_hears_from_the_virtual_address() {
    let mut node = Node::new(objects());
    change(&mut node, service("shop", VIP, &["10.1.0.100"]));
    let decision = decided(&node, 77, None);
    assert_eq!(decision.destination.addr, ip("10.1.0.100"));
    assert_eq!(
        decision.source,
        End {
            addr: ip(VIP),
            port: 77
        }
    );
}

/// Removing one of N backends: what moves without state, and with it.
#[test]
fn few_flows_are_disturbed_without_state_and_none_with() {
    for count in [3_usize, 10, 50] {
        let addresses: Vec<String> = (0..count).map(|n| format!("10.1.1.{n}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let large = |addresses: &[&str]| Service {
            table_size: MAGLEV_TABLE_SIZE,
            ..service("shop", VIP, addresses)
        };
        let mut node = Node::new(objects());
        let wide = Object::Nexthop(Nexthop {
            name: "wide".into(),
            action: NexthopAction::Vif {
                vif: "b1".into(),
                address: None,
            },
        });
        let changes = vec![wide, route("red", "10.1.1.0/24", "wide")];
        node.apply(changes.into_iter().map(Change::Upsert).collect())
            .expect("a route");
        change(&mut node, large(&addresses));
        let before: Vec<Decision> = (0..10_000).map(|port| decided(&node, port, None)).collect();
        change(&mut node, large(&addresses[1..]));
        let (mut others, mut without, mut with) = (0, 0, 0);
        for (port, was) in (0..).zip(&before) {
            if was.destination.addr == ip(addresses[0]) {
                continue;
            }
            others += 1;
            let kept = Kept {
                nexthop: was.forward.nexthop,
                source: was.source,
                destination: was.destination,
                binding: 0,
            };
            let fresh = decided(&node, port, None).destination;
            without += usize::from(fresh != was.destination);
            let again = asked(&node, port, None, Some(kept)).expect("it is let through");
            with += usize::from(again.destination != was.destination);
        }
        let share = f64::from(without as u32) / f64::from(others);
        println!(
            "{count} backends, one goes: {:.2} % of the others move",
            share * 100.0
        );
        assert!(share <= 1.0 / count as f64 + 0.01, "{share} of {count}");
        assert_eq!(with, 0);
    }
}

#[test]
fn what_a_tunnel_brings_is_served_on_this_node() {
    let mut all = objects();
    all.extend([
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        tunnel("node2", "192.0.2.2", 5001, None),
        tunnel("node3", "192.0.2.3", 5001, None),
        route("red", "10.1.0.9/32", "node2"),
        route("red", "10.1.0.33/32", "node3"),
        vni(5001, "red"),
        mac("underlay", NODE2, "node2", Some("192.0.2.2")),
    ]);
    let mut node = Node::new(all);
    change(
        &mut node,
        service("shop", VIP, &["10.1.0.1", "10.1.0.33", "10.1.0.2"]),
    );
    let peer = node.publisher.current().underlay().peer(ip("192.0.2.2"));
    let ingress = Ingress::peer(peer.expect("a tunnel ends there"));
    let mut local = BTreeSet::new();
    for port in 0..60 {
        local.insert(decided(&node, port, Some(ingress)).destination.addr);
    }
    assert_eq!(local, BTreeSet::from([ip("10.1.0.1"), ip("10.1.0.2")]));
    let from_here = (0..60).map(|port| decided(&node, port, None).destination.addr);
    assert_eq!(from_here.collect::<BTreeSet<_>>().len(), 3);
    change(&mut node, service("shop", VIP, &["10.1.0.33"]));
    let refused = asked(&node, 5, Some(ingress), None);
    assert_eq!(refused, Err(DropReason::SplitHorizon));
}

#[test]
fn backends_may_be_in_another_network() {
    let mut all = objects();
    all.extend([
        vrf("blue", &["10.1.0.254/24"]),
        tenant("far", "blue", backend_mac(9), &["10.1.0.100"]),
    ]);
    let mut node = Node::new(all);
    let elsewhere = Service {
        backend_vrf: Some("blue".into()),
        ..service("shop", VIP, &["10.1.0.100"])
    };
    change(&mut node, elsewhere);
    // It has the client's address there, and is another machine.
    let decision = decided(&node, 7, None);
    let tables = node.publisher.current();
    let far = tables.vif_named("far").expect("it exists");
    assert_eq!(
        (decision.forward.nexthop, decision.forward.exit),
        (far.nexthop, far.vrf)
    );
    assert_eq!(decision.source.addr, ip("10.1.0.100"));
    assert_eq!(decision.reverse.vrf, far.vrf);
}

#[test]
fn a_service_is_no_backend_of_another() {
    let mut node = Node::new(objects());
    change(
        &mut node,
        Service {
            backends: vec![Backend {
                port: 80,
                ..backend("10.200.0.2")
            }],
            ..service("shop", VIP, &[])
        },
    );
    change(&mut node, service("inner", "10.200.0.2", &THREE));
    assert_eq!(asked(&node, 7, None, None), Err(DropReason::VrfLoop));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let mut node = Node::new(objects());
    let mut refused = |object: Object| -> Vec<String> {
        let refused = node
            .apply(vec![Change::Upsert(object)])
            .expect_err("it does not fit");
        refused.iter().map(ToString::to_string).collect()
    };
    let mut all = Vec::new();
    all.extend(refused(Object::Service(service("twin", VIP, &THREE))));
    all.extend(refused(Object::Service(service(
        "taken",
        "10.1.0.100",
        &THREE,
    ))));
    all.extend(refused(Object::Service(service(
        "router",
        "10.1.0.254",
        &THREE,
    ))));
    all.extend(refused(tenant("thief", "red", backend_mac(8), &[VIP])));
    let wrong = Service {
        protocol: 1,
        table_size: 65_536,
        direct_return: true,
        affinity_timeout_s: Some(0),
        health: Some(HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval_ms: 1_000,
            timeout_ms: 2_000,
            rise: 0,
            fall: 1,
        }),
        ..service("wrong", "10.200.0.9", &["10.1.0.1", "10.1.0.1", "fd01::1"])
    };
    all.extend(refused(Object::Service(wrong)));
    let checked = Service {
        vrf: "bare".into(),
        health: Some(HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval_ms: 1_000,
            timeout_ms: 500,
            rise: 1,
            fall: 1,
        }),
        ..service("blind", "10.200.0.9", &THREE)
    };
    node.apply(vec![Change::Upsert(vrf("bare", &[]))])
        .expect("a vrf");
    let blind = node.apply(vec![Change::Upsert(Object::Service(checked))]);
    all.extend(
        blind
            .expect_err("no gateway")
            .iter()
            .map(ToString::to_string),
    );
    assert_eq!(
        all,
        [
            "service twin: port: `10.200.0.1` port 80 of this protocol already belongs to service shop",
            "service taken: address: `10.1.0.100/32` already belongs to vif client",
            "service router: address: `10.1.0.254/32` already belongs to vrf red",
            "vif thief: addresses: `10.200.0.1/32` already belongs to service shop",
            "service wrong: protocol: a service is called by port; the protocol must be tcp, udp or sctp",
            "service wrong: table_size: must be a prime from 2 to 5000011, such as 65537 or 655373",
            "service wrong: affinity_timeout_s: must be from 1 to 86400",
            "service wrong: backends.port: 8080 is not the service's port 80; with `direct_return` packets are not changed",
            "service wrong: backends: `10.1.0.1` port 8080 is named twice",
            "service wrong: backends.port: 8080 is not the service's port 80; with `direct_return` packets are not changed",
            "service wrong: backends.address: `fd01::1` and the service's `10.200.0.9` are of different IP versions",
            "service wrong: backends.port: 8080 is not the service's port 80; with `direct_return` packets are not changed",
            "service wrong: health.timeout_ms: must be from 10 to `interval_ms`",
            "service wrong: health.rise: must be 1 or more",
            "service blind: health: checks come from the gateway of the backends' network, and vrf `bare` has none of this IP version",
        ]
    );
}
