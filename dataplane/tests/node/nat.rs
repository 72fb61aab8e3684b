//! Pools and floating addresses, from frames in to frames out.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::common::*;
use dataplane::DropReason;
use dataplane::sessions::Usage;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::MacAddr;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};

const A: MacAddr = MacAddr([2, 0, 0, 0, 1, 5]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 1, 6]);
const S: MacAddr = MacAddr([2, 0, 0, 0, 2, 9]);
const T: MacAddr = MacAddr([2, 0, 0, 0, 2, 10]);

/// An address and port.
type At<'a> = (&'a str, u16);

/// What is compared of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Syn,
    SynAck,
    Echo,
    EchoReply,
}

/// Machines a and b of red, whose other addresses are all reached through public; there s and t.
fn base() -> Vec<Object> {
    vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("public", &["203.0.113.1/24", "2001:db8:7::1/64"]),
        tenant("a", "red", A, &["10.1.0.5", "fd01::5"]),
        tenant("b", "red", B, &["10.1.0.6", "fd01::6"]),
        tenant("s", "public", S, &["203.0.113.9", "2001:db8:7::9"]),
        tenant("t", "public", T, &["203.0.113.10", "2001:db8:7::10"]),
        Object::Nexthop(Nexthop {
            name: "to-public".into(),
            action: NexthopAction::Vrf("public".into()),
        }),
        route("red", "0.0.0.0/0", "to-public"),
        route("red", "2001:db8::/32", "to-public"),
    ]
}

fn pool() -> SnatPool {
    SnatPool {
        name: "out".into(),
        vrf: "red".into(),
        sources: vec![],
        outside_vrf: "public".into(),
        addresses: vec![net("198.51.100.1")],
        ports: 1..=65_535,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::AddressAndPortDependent,
        nat64_prefix: None,
    }
}

fn floating(name: &str, address: &str, vifs: &[&str]) -> Object {
    Object::FloatingIp(FloatingIp {
        name: name.into(),
        vrf: "public".into(),
        address: net(address),
        target: FloatingTarget::Vifs {
            vifs: vifs.iter().map(|vif| (*vif).into()).collect(),
            fixed: None,
        },
    })
}

fn node(more: Vec<Object>) -> Node {
    Node::new(base().into_iter().chain(more).collect())
}

fn with_pool(pool: SnatPool) -> Node {
    node(vec![Object::SnatPool(pool)])
}

fn frame(kind: Kind, mac: MacAddr, src: At, dst: At) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(mac.0, ROUTER.0);
    let mut out = Vec::new();
    let network = match (ip(src.0), ip(dst.0)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let written = match (kind, ip(src.0).is_ipv4()) {
        (Kind::Udp, _) => network.udp(src.1, dst.1).write(&mut out, b"hello"),
        (Kind::Syn, _) => network.tcp(src.1, dst.1, 7, 512).syn().write(&mut out, b""),
        (Kind::SynAck, _) => {
            let network = network.tcp(src.1, dst.1, 9, 512).syn().ack(8);
            network.write(&mut out, b"")
        }
        (Kind::Echo, true) => network
            .icmpv4_echo_request(src.1, 3)
            .write(&mut out, b"hello"),
        (Kind::EchoReply, true) => network
            .icmpv4_echo_reply(src.1, 3)
            .write(&mut out, b"hello"),
        (Kind::Echo, false) => network
            .icmpv6_echo_request(src.1, 3)
            .write(&mut out, b"hello"),
        (Kind::EchoReply, false) => network
            .icmpv6_echo_reply(src.1, 3)
            .write(&mut out, b"hello"),
    };
    written.expect("it fits");
    out
}

/// Both ends of a packet, whose checksums must be right.
#[track_caller]
fn seen(frame: &[u8]) -> Seen {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    let (src, dst): (IpAddr, IpAddr) = match packet.net.as_ref().expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let sum = header.to_header().calc_header_checksum();
            assert_eq!(header.header_checksum(), sum, "IPv4 checksum");
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                header.source_addr().into(),
                header.destination_addr().into(),
            )
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (ports, sum, right) = match packet.transport.as_ref().expect("a transport") {
        TransportSlice::Udp(udp) => {
            let header = udp.to_header();
            let right = match (src, dst) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    header.calc_checksum_ipv4_raw(a.octets(), b.octets(), udp.payload())
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    header.calc_checksum_ipv6_raw(a.octets(), b.octets(), udp.payload())
                }
                _ => panic!("one family"),
            };
            let ports = (header.source_port, header.destination_port);
            (ports, header.checksum, right)
        }
        TransportSlice::Tcp(tcp) => {
            let header = tcp.to_header();
            let right = match (src, dst) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    header.calc_checksum_ipv4_raw(a.octets(), b.octets(), tcp.payload())
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    header.calc_checksum_ipv6_raw(a.octets(), b.octets(), tcp.payload())
                }
                _ => panic!("one family"),
            };
            let ports = (header.source_port, header.destination_port);
            (ports, header.checksum, right)
        }
        TransportSlice::Icmpv4(icmp) => {
            let [a, b, ..] = icmp.bytes5to8();
            let id = u16::from_be_bytes([a, b]);
            let right = Ok(icmp.icmp_type().calc_checksum(icmp.payload()));
            ((id, id), icmp.checksum(), right)
        }
        TransportSlice::Igmp(_) => panic!("IGMP"),
        TransportSlice::Icmpv6(icmp) => {
            let [a, b, ..] = icmp.bytes5to8();
            let id = u16::from_be_bytes([a, b]);
            let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else {
                panic!("IPv6");
            };
            assert!(
                icmp.is_checksum_valid(src.octets(), dst.octets()),
                "checksum"
            );
            ((id, id), 0, Ok(0))
        }
    };
    assert_eq!(Ok(sum), right, "checksum");
    Seen {
        src: (src, ports.0),
        dst: (dst, ports.1),
    }
}

/// Sends from a machine and expects the packet at another, as it is seen there.
#[track_caller]
fn pass(node: &mut Node, kind: Kind, from: (&str, MacAddr, At), dst: At, to: &str) -> Seen {
    let (vif, mac, src) = from;
    seen(&node.exchange(vif, frame(kind, mac, src, dst), to))
}

/// From a to s, by a pool: its end outside.
#[track_caller]
fn open(node: &mut Node, kind: Kind, port: u16, dst: At, to: &str) -> (String, u16) {
    let from = ("a", A, ("10.1.0.5", port));
    let seen = pass(node, kind, from, dst, to);
    if kind != Kind::Echo {
        assert_eq!(seen.dst, (ip(dst.0), dst.1));
    }
    (seen.src.0.to_string(), seen.src.1)
}

fn usage(node: &Node) -> Usage {
    let tables = node.publisher.current();
    let (_, pool) = tables.pools().next().expect("there is one");
    pool.allotment.usage()
}

#[test]
fn what_leaves_by_a_pool_comes_back() {
    let mut node = with_pool(pool());
    for kind in [Kind::Udp, Kind::Syn] {
        let (addr, port) = open(&mut node, kind, 4_000, ("203.0.113.9", 80), "s");
        assert_eq!(addr, "198.51.100.1");
        assert!(port >= 1024);
        let back = match kind {
            Kind::Udp => Kind::Udp,
            _ => Kind::SynAck,
        };
        let from = ("s", S, ("203.0.113.9", 80));
        let seen = pass(&mut node, back, from, (&addr, port), "a");
        assert_eq!(seen.src, (ip("203.0.113.9"), 80));
        assert_eq!(seen.dst, (ip("10.1.0.5"), 4_000));
        // And again, on the way that the flow table knows.
        let again = open(&mut node, kind, 4_000, ("203.0.113.9", 80), "s");
        assert_eq!(again, (addr, port));
    }
    assert_eq!(usage(&node).used, [1, 1, 0]);
}

#[test]
fn an_end_is_the_same_to_everybody_and_another_end_another() {
    let mut node = with_pool(pool());
    for kind in [Kind::Udp, Kind::Syn] {
        let to_s = open(&mut node, kind, 4_001, ("203.0.113.9", 80), "s");
        let to_t = open(&mut node, kind, 4_001, ("203.0.113.10", 99), "t");
        assert_eq!(to_s, to_t);
        let other = open(&mut node, kind, 4_002, ("203.0.113.9", 80), "s");
        assert_ne!(to_s, other);
        let low = open(&mut node, kind, 123, ("203.0.113.9", 80), "s");
        assert!(low.1 < 1024);
    }
    let udp = open(&mut node, Kind::Udp, 4_001, ("203.0.113.9", 81), "s");
    assert_eq!(udp.1 % 2, 1, "parity");
}

#[test]
fn queries_are_told_apart_by_identifier() {
    let mut node = with_pool(pool());
    let (addr, id) = open(&mut node, Kind::Echo, 77, ("203.0.113.9", 77), "s");
    assert_eq!(addr, "198.51.100.1");
    let to_t = open(&mut node, Kind::Echo, 77, ("203.0.113.10", 77), "t");
    assert_eq!(
        to_t,
        (addr.clone(), id),
        "whatever the target (RFC 5508 REQ-1)"
    );
    let from = ("s", S, ("203.0.113.9", id));
    let seen = pass(&mut node, Kind::EchoReply, from, (&addr, id), "a");
    assert_eq!(
        (seen.src, seen.dst),
        ((ip("203.0.113.9"), 77), (ip("10.1.0.5"), 77))
    );
    assert_eq!(usage(&node).used, [0, 0, 1]);
}

#[test]
fn strangers_come_in_as_filtering_says() {
    let cases = [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ];
    for (filtering, other_port, other_machine) in cases {
        let mut node = with_pool(SnatPool {
            filtering,
            ..pool()
        });
        let (addr, port) = open(&mut node, Kind::Udp, 4_000, ("203.0.113.9", 80), "s");
        let to = (&*addr, port);
        let strangers = [
            (("s", S, ("203.0.113.9", 81)), other_port),
            (("t", T, ("203.0.113.10", 80)), other_machine),
        ];
        for (from, may) in strangers {
            if may {
                let seen = pass(&mut node, Kind::Udp, from, to, "a");
                assert_eq!(seen.dst, (ip("10.1.0.5"), 4_000));
            } else {
                let reason = node.refused(from.0, frame(Kind::Udp, from.1, from.2, to));
                assert_eq!(reason, DropReason::SnatFiltered);
            }
        }
        let nobodys = frame(
            Kind::Udp,
            S,
            ("203.0.113.9", 80),
            ("198.51.100.1", port ^ 1),
        );
        assert_eq!(node.refused("s", nobodys), DropReason::SnatUnknown);
    }
}

#[test]
fn machines_behind_a_pool_meet_by_its_address() {
    for kind in [Kind::Udp, Kind::Syn] {
        let mut node = with_pool(SnatPool {
            filtering: Filtering::EndpointIndependent,
            ..pool()
        });
        let b = pass(
            &mut node,
            kind,
            ("b", B, ("10.1.0.6", 5_000)),
            ("203.0.113.9", 80),
            "s",
        )
        .src;
        let b_addr = b.0.to_string();
        let from_a = ("a", A, ("10.1.0.5", 4_000));
        let seen = pass(&mut node, kind, from_a, (&b_addr, b.1), "b");
        assert_eq!(seen.dst, (ip("10.1.0.6"), 5_000));
        assert_eq!(
            seen.src.0,
            ip("198.51.100.1"),
            "its address outside (RFC 4787 REQ-9 a)"
        );
        let a = (seen.src.0.to_string(), seen.src.1);
        let back = match kind {
            Kind::Udp => Kind::Udp,
            _ => Kind::SynAck,
        };
        let from_b = ("b", B, ("10.1.0.6", 5_000));
        let seen = pass(&mut node, back, from_b, (&a.0, a.1), "a");
        assert_eq!((seen.src, seen.dst), (b, (ip("10.1.0.5"), 4_000)));
    }
}

#[test]
fn both_may_open_at_once_whatever_is_filtered() {
    let mut node = with_pool(pool());
    let a = open(&mut node, Kind::Udp, 4_000, ("203.0.113.9", 80), "s");
    let b = pass(
        &mut node,
        Kind::Udp,
        ("b", B, ("10.1.0.6", 5_000)),
        ("203.0.113.9", 80),
        "s",
    )
    .src;
    let (b_addr, b_port) = (b.0.to_string(), b.1);
    let first = frame(Kind::Udp, A, ("10.1.0.5", 4_000), (&b_addr, b_port));
    assert_eq!(node.refused("a", first), DropReason::SnatFiltered);
    let seen = pass(
        &mut node,
        Kind::Udp,
        ("b", B, ("10.1.0.6", 5_000)),
        (&a.0, a.1),
        "a",
    );
    assert_eq!((seen.src, seen.dst), (b, (ip("10.1.0.5"), 4_000)));
}

#[test]
fn a_pool_that_is_exhausted_refuses_tells_and_recovers() {
    let ports = 2_000..=2_002;
    let mut node = with_pool(SnatPool { ports, ..pool() });
    let had: Vec<_> = (0..3)
        .map(|n| open(&mut node, Kind::Syn, 4_000 + n, ("203.0.113.9", 80), "s"))
        .collect();
    let fourth = || frame(Kind::Syn, A, ("10.1.0.5", 4_003), ("203.0.113.9", 80));
    node.send("a", &[fourth()]);
    let told = node.recv("a");
    assert_eq!(told.len(), 1);
    let packet = SlicedPacket::from_ethernet(&told[0]).expect("a packet");
    let Some(TransportSlice::Icmpv4(icmp)) = packet.transport else {
        panic!("no ICMP");
    };
    assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 13));
    for (n, was) in had.iter().enumerate() {
        let port = 4_000 + n as u16;
        assert_eq!(
            open(&mut node, Kind::Syn, port, ("203.0.113.10", 80), "t"),
            *was
        );
    }
    let now = usage(&node);
    assert_eq!(
        (now.used, now.limit, now.refused, now.is_alarmed),
        ([3, 0, 0], 3, 1, true)
    );
    // The connections were never established; four minutes later their ports are free.
    (0..260).for_each(|_| node.pass(1_000));
    assert_eq!(usage(&node).used, [0, 0, 0]);
    assert!(!usage(&node).is_alarmed);
    node.exchange("a", fourth(), "s");
}

#[test]
fn a_vif_has_no_more_ports_than_its_share() {
    for (block_size, ports_per_vif) in [(None, Some(4)), (NonZeroU16::new(4), None)] {
        let ports = 2_000..=2_063;
        let mut node = with_pool(SnatPool {
            block_size,
            ports_per_vif,
            ports,
            ..pool()
        });
        let had: Vec<u16> = (0..4)
            .map(|n| open(&mut node, Kind::Syn, 4_000 + n, ("203.0.113.9", 80), "s").1)
            .collect();
        if block_size.is_some() {
            let first = had.iter().min().expect("four");
            assert_eq!((had.iter().max(), first % 4), (Some(&(first + 3)), 0));
        }
        let fifth = frame(Kind::Syn, A, ("10.1.0.5", 4_004), ("203.0.113.9", 80));
        assert_eq!(node.refused("a", fifth), DropReason::SnatPortLimit);
        let from_b = ("b", B, ("10.1.0.6", 4_004));
        pass(&mut node, Kind::Syn, from_b, ("203.0.113.9", 80), "s");
    }
}

#[test]
fn a_mapping_stays_and_is_refreshed_from_inside() {
    let mut node = with_pool(pool());
    let (addr, port) = open(&mut node, Kind::Udp, 4_000, ("203.0.113.9", 80), "s");
    let from_s = ("s", S, ("203.0.113.9", 80));
    // Nobody answered for more than four minutes: the flow is gone, what it was let in for is not.
    (0..290).for_each(|_| node.pass(1_000));
    pass(&mut node, Kind::Udp, from_s, (&addr, port), "a");
    // From then on it lives by its packets.
    for _ in 0..4 {
        (0..280).for_each(|_| node.pass(1_000));
        let again = open(&mut node, Kind::Udp, 4_000, ("203.0.113.9", 80), "s");
        assert_eq!(again, (addr.clone(), port));
    }
    (0..700).for_each(|_| node.pass(1_000));
    let late = frame(Kind::Udp, S, ("203.0.113.9", 80), (&addr, port));
    assert_eq!(node.refused("s", late), DropReason::SnatUnknown);
}

/// Lets a second pass so often.
fn wait(node: &mut Node, seconds: u32) {
    (0..seconds).for_each(|_| node.pass(1_000));
}

fn tcp(mac: MacAddr, src: At, dst: At, flags: &str) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (ip(src.0), ip(dst.0)) else {
        panic!("IPv4");
    };
    let mut header = etherparse::TcpHeader::new(src.1, dst.1, 7, 512);
    header.syn = flags.contains('S');
    header.ack = flags.contains('A');
    header.rst = flags.contains('R');
    let network = PacketBuilder::ethernet2(mac.0, ROUTER.0).ipv4(from.octets(), to.octets(), 64);
    let mut frame = Vec::new();
    let builder = network.tcp_header(header);
    builder.write(&mut frame, b"").expect("it fits");
    frame
}

const INSIDE: At = ("10.1.0.5", 4_000);
const SERVER: At = ("203.0.113.9", 80);

/// Opens a connection from a to s: its end outside.
fn connect(node: &mut Node) -> (String, u16) {
    let (addr, port) = open(node, Kind::Syn, 4_000, SERVER, "s");
    node.exchange("s", tcp(S, SERVER, (&addr, port), "SA"), "a");
    node.exchange("a", tcp(A, INSIDE, SERVER, "A"), "s");
    (addr, port)
}

#[test]
fn a_simultaneous_open_completes() {
    let mut node = with_pool(pool());
    let (addr, port) = open(&mut node, Kind::Syn, 4_000, SERVER, "s");
    let outside: At = (&addr, port);
    for flags in ["S", "SA", "A"] {
        node.exchange("s", tcp(S, SERVER, outside, flags), "a");
        node.exchange("a", tcp(A, INSIDE, SERVER, "SA"), "s");
    }
}

#[test]
fn an_unsolicited_syn_is_answered_by_nothing() {
    let mut node = with_pool(pool());
    let (addr, port) = open(&mut node, Kind::Syn, 4_000, SERVER, "s");
    for port in [port, port ^ 1] {
        node.send("t", &[tcp(T, ("203.0.113.10", 80), (&addr, port), "S")]);
        wait(&mut node, 7);
        assert!(node.recv_all().is_empty());
    }
}

#[test]
fn connections_keep_their_translation_as_long_as_they_may_be_silent() {
    let mut node = with_pool(pool());
    let was = connect(&mut node);
    wait(&mut node, 7_400);
    node.exchange("s", tcp(S, SERVER, (&was.0, was.1), "A"), "a");
    // One that nobody has answered yet: four minutes.
    let mut node = with_pool(pool());
    let (addr, port) = open(&mut node, Kind::Syn, 4_000, SERVER, "s");
    wait(&mut node, 238);
    node.exchange("s", tcp(S, SERVER, (&addr, port), "SA"), "a");
}

#[test]
fn a_reset_passes_and_what_it_was_about_stays_a_while() {
    let mut node = with_pool(pool());
    let (addr, port) = connect(&mut node);
    node.exchange("s", tcp(S, SERVER, (&addr, port), "RA"), "a");
    wait(&mut node, 230);
    let seen = seen(&node.exchange("a", tcp(A, INSIDE, SERVER, "A"), "s"));
    assert_eq!(seen.src, (ip(&addr), port));
}

#[test]
fn queries_keep_their_identifier_for_a_minute() {
    let mut node = with_pool(pool());
    let was = open(&mut node, Kind::Echo, 77, ("203.0.113.9", 77), "s");
    wait(&mut node, 59);
    let again = open(&mut node, Kind::Echo, 77, ("203.0.113.10", 77), "t");
    assert_eq!(was, again);
}

#[test]
fn a_commit_leaves_bindings_as_they_are_if_they_may() {
    let mut node = with_pool(pool());
    let was = open(&mut node, Kind::Syn, 4_000, ("203.0.113.9", 80), "s");
    node.apply(vec![Change::Upsert(route(
        "red",
        "192.0.2.0/24",
        "to-public",
    ))])
    .expect("any change of the vrf");
    assert_eq!(
        open(&mut node, Kind::Syn, 4_000, ("203.0.113.9", 80), "s"),
        was
    );
    let more = SnatPool {
        addresses: vec![net("198.51.100.1"), net("198.51.100.2")],
        ..pool()
    };
    node.apply(vec![Change::Upsert(Object::SnatPool(more))])
        .expect("one more address");
    assert_eq!(
        open(&mut node, Kind::Syn, 4_000, ("203.0.113.9", 80), "s"),
        was
    );
    let other = SnatPool {
        addresses: vec![net("198.51.100.2")],
        ..pool()
    };
    node.apply(vec![Change::Upsert(Object::SnatPool(other))])
        .expect("another address");
    let now = open(&mut node, Kind::Syn, 4_000, ("203.0.113.9", 80), "s");
    assert_eq!(now.0, "198.51.100.2");
    node.apply(vec![Change::Delete(Key::SnatPool("out".into()))])
        .expect("it goes");
    let seen = pass(
        &mut node,
        Kind::Syn,
        ("a", A, ("10.1.0.5", 4_000)),
        ("203.0.113.9", 80),
        "s",
    );
    assert_eq!(seen.src, (ip("10.1.0.5"), 4_000));
}

#[test]
fn a_floating_address_is_the_machines_outside() {
    let more = vec![
        floating("v4", "198.51.100.5", &["a"]),
        floating("v6", "2001:db8:7::5", &["a"]),
    ];
    let mut node = node(more);
    let cases = [
        ("10.1.0.5", "198.51.100.5", "203.0.113.9"),
        ("fd01::5", "2001:db8:7::5", "2001:db8:7::9"),
    ];
    for (own, public, server) in cases {
        for kind in [Kind::Udp, Kind::Syn, Kind::Echo] {
            let seen = pass(
                &mut node,
                kind,
                ("a", A, (own, 4_000)),
                (server, 4_000),
                "s",
            );
            assert_eq!(seen.src, (ip(public), 4_000), "{kind:?}");
            // In the other direction, too, for what nobody inside asked for.
            let from = ("s", S, (server, 70));
            let seen = pass(&mut node, kind, from, (public, 70), "a");
            assert_eq!(
                (seen.src, seen.dst),
                ((ip(server), 70), (ip(own), 70)),
                "{kind:?}"
            );
            let seen = pass(&mut node, Kind::Udp, ("a", A, (own, 71)), (server, 72), "s");
            assert_eq!(seen.src, (ip(public), 71));
        }
    }
}

#[test]
fn a_machine_meets_its_neighbour_by_floating_addresses() {
    let more = vec![
        floating("of-a", "198.51.100.5", &["a"]),
        floating("of-b", "198.51.100.6", &["b"]),
    ];
    let mut node = node(more);
    let from = ("a", A, ("10.1.0.5", 4_000));
    let seen = pass(&mut node, Kind::Udp, from, ("198.51.100.6", 53), "b");
    assert_eq!(
        (seen.src, seen.dst),
        ((ip("198.51.100.5"), 4_000), (ip("10.1.0.6"), 53))
    );
    let from = ("b", B, ("10.1.0.6", 53));
    let seen = pass(&mut node, Kind::Udp, from, ("198.51.100.5", 4_000), "a");
    assert_eq!(
        (seen.src, seen.dst),
        ((ip("198.51.100.6"), 53), (ip("10.1.0.5"), 4_000))
    );
}

#[test]
fn a_shared_floating_address_spreads_flows_and_keeps_them() {
    let mut node = node(vec![floating("both", "198.51.100.7", &["a", "b"])]);
    let arrives = |node: &mut Node, port: u16| {
        let syn = frame(Kind::Syn, S, ("203.0.113.9", port), ("198.51.100.7", 80));
        node.send("s", &[syn]);
        let got = node.recv_all();
        assert_eq!(got.len(), 1);
        got.into_keys().next().expect("one")
    };
    let first: Vec<String> = (0..100)
        .map(|port| arrives(&mut node, 1_000 + port))
        .collect();
    let to_a = first.iter().filter(|vif| *vif == "a").count();
    assert!((30..=70).contains(&to_a), "{to_a} of 100");
    node.apply(vec![Change::Upsert(route(
        "red",
        "192.0.2.0/24",
        "to-public",
    ))])
    .expect("any change");
    let again: Vec<String> = (0..100)
        .map(|port| arrives(&mut node, 1_000 + port))
        .collect();
    assert_eq!(first, again);
    // Without b its flows move, and no others.
    node.apply(vec![Change::Upsert(floating(
        "both",
        "198.51.100.7",
        &["a"],
    ))])
    .expect("b goes");
    let last: Vec<String> = (0..100)
        .map(|port| arrives(&mut node, 1_000 + port))
        .collect();
    assert!(last.iter().all(|vif| vif == "a"));
}

#[test]
fn a_prefix_stands_for_another() {
    let mut node = node(vec![Object::FloatingIp(FloatingIp {
        name: "site".into(),
        vrf: "public".into(),
        address: net("2001:db8:100::/64"),
        target: FloatingTarget::Prefix {
            vrf: "red".into(),
            fixed: net("fd01::/64"),
        },
    })]);
    let from = ("b", B, ("fd01::6", 4_000));
    let seen = pass(&mut node, Kind::Udp, from, ("2001:db8:7::9", 53), "s");
    assert_eq!(seen.src, (ip("2001:db8:100::6"), 4_000));
    let from = ("s", S, ("2001:db8:7::9", 9));
    let seen = pass(&mut node, Kind::Syn, from, ("2001:db8:100::5", 22), "a");
    assert_eq!(seen.dst, (ip("fd01::5"), 22));
}

#[test]
fn ipv6_machines_share_an_ipv6_address() {
    let mut node = with_pool(SnatPool {
        addresses: vec![net("2001:db8:7::aaaa")],
        ..pool()
    });
    for kind in [Kind::Udp, Kind::Syn, Kind::Echo] {
        let from = ("a", A, ("fd01::5", 4_000));
        let seen = pass(&mut node, kind, from, ("2001:db8:7::9", 53), "s");
        assert_eq!(seen.src.0, ip("2001:db8:7::aaaa"));
        let back = match kind {
            Kind::Syn => Kind::SynAck,
            Kind::Echo => Kind::EchoReply,
            other => other,
        };
        let from = ("s", S, ("2001:db8:7::9", seen.dst.1));
        let seen = pass(&mut node, back, from, ("2001:db8:7::aaaa", seen.src.1), "a");
        assert_eq!(seen.dst, (ip("fd01::5"), 4_000));
    }
}

fn nat64() -> SnatPool {
    SnatPool {
        nat64_prefix: Some("64:ff9b::/96".parse().expect("a prefix")),
        filtering: Filtering::EndpointIndependent,
        ..pool()
    }
}

#[test]
fn ipv6_machines_reach_ipv4_ones() {
    let mut node = with_pool(nat64());
    for kind in [Kind::Udp, Kind::Syn, Kind::Echo] {
        let from = ("a", A, ("fd01::5", 4_000));
        let seen = pass(&mut node, kind, from, ("64:ff9b::cb00:7109", 80), "s");
        assert_eq!(
            (seen.src.0, seen.dst.0),
            (ip("198.51.100.1"), ip("203.0.113.9")),
            "{kind:?}"
        );
        let (back, server) = match kind {
            Kind::Syn => (Kind::SynAck, 80),
            Kind::Echo => (Kind::EchoReply, seen.src.1),
            _ => (kind, 80),
        };
        let from = ("s", S, ("203.0.113.9", server));
        let seen = pass(&mut node, back, from, ("198.51.100.1", seen.src.1), "a");
        assert_eq!(
            (seen.src.0, seen.dst),
            (ip("64:ff9b::cb00:7109"), (ip("fd01::5"), 4_000))
        );
    }
}

#[test]
fn ipv4_machines_reach_ipv6_ones_that_have_a_binding() {
    let mut node = with_pool(nat64());
    let from = ("a", A, ("fd01::5", 4_000));
    let outside = pass(&mut node, Kind::Udp, from, ("64:ff9b::cb00:7109", 80), "s").src;
    let from = ("t", T, ("203.0.113.10", 99));
    let addr = outside.0.to_string();
    let seen = pass(&mut node, Kind::Udp, from, (&addr, outside.1), "a");
    assert_eq!(
        (seen.src, seen.dst),
        ((ip("64:ff9b::cb00:710a"), 99), (ip("fd01::5"), 4_000))
    );
}

#[test]
fn machines_behind_a_nat64_meet_by_its_address() {
    let mut node = with_pool(nat64());
    let from = ("b", B, ("fd01::6", 5_000));
    let b = pass(&mut node, Kind::Udp, from, ("64:ff9b::cb00:7109", 80), "s").src;
    let from = ("a", A, ("fd01::5", 4_000));
    let seen = pass(&mut node, Kind::Udp, from, ("64:ff9b::c633:6401", b.1), "b");
    assert_eq!(
        (seen.src.0, seen.dst),
        (ip("64:ff9b::c633:6401"), (ip("fd01::6"), 5_000))
    );
}

#[test]
fn virtual_addresses_on_a_link_are_answered_for() {
    let mut on_link = pool();
    on_link.addresses = vec![net("203.0.113.200")];
    let mut node = with_pool(on_link);
    let asked = arp(
        1,
        (S, "203.0.113.9"),
        (MacAddr::ZERO, "203.0.113.200"),
        MacAddr::BROADCAST,
    );
    let answer = node.exchange("s", asked, "s");
    let expected = arp(2, (ROUTER, "203.0.113.200"), (S, "203.0.113.9"), S);
    assert_eq!(answer[..42], expected[..42]);
}
