//! ICMP errors about flows between two machines behind one pool (RFC 5508 REQ-7): translated at both
//! of its sides, so that each sees of the other only what that is outside.

use std::net::{IpAddr, Ipv4Addr};

use crate::common::*;
use dataplane::tables::spec::*;
use encap::{MacAddr, checksum};
use etherparse::{Ipv4Header, PacketBuilder, UdpHeader};

const A: MacAddr = MacAddr([2, 0, 0, 0, 1, 5]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 1, 6]);
const S: MacAddr = MacAddr([2, 0, 0, 0, 2, 9]);

type End = (Ipv4Addr, u16);

const A_OWN: End = (Ipv4Addr::new(10, 1, 0, 5), 4_000);
const B_OWN: End = (Ipv4Addr::new(10, 1, 0, 6), 5_000);
const SERVER: End = (Ipv4Addr::new(203, 0, 113, 9), 80);

/// Machines a and b of red behind one address; s in the network outside.
fn node() -> Node {
    Node::new(vec![
        vrf("red", &["10.1.0.1/24"]),
        vrf("public", &["203.0.113.1/24"]),
        tenant("a", "red", A, &["10.1.0.5"]),
        tenant("b", "red", B, &["10.1.0.6"]),
        tenant("s", "public", S, &["203.0.113.9"]),
        Object::Nexthop(Nexthop {
            name: "to-public".into(),
            action: NexthopAction::Vrf("public".into()),
        }),
        route("red", "0.0.0.0/0", "to-public"),
        snat_pool("198.51.100.1", 1024..=65_535),
    ])
}

fn udp(mac: MacAddr, src: End, dst: End) -> Vec<u8> {
    udp_ports(
        (mac, &src.0.to_string()),
        (ROUTER, &dst.0.to_string()),
        64,
        (src.1, dst.1),
    )
}

/// A port-unreachable of a machine about a packet that it got.
fn unreachable(mac: MacAddr, src: Ipv4Addr, dst: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(mac.0, ROUTER.0)
        .ipv4(src.octets(), dst.octets(), 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut frame, &about[14..])
        .expect("it fits");
    frame
}

/// The addresses and ports of a UDP packet, whose IP checksum must be right.
#[track_caller]
fn ends(packet: &[u8]) -> (End, End) {
    let (ip, rest) = Ipv4Header::from_slice(packet).expect("IPv4");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let (udp, _) = UdpHeader::from_slice(rest).expect("UDP");
    let end = |addr: [u8; 4], port| (Ipv4Addr::from(addr), port);
    (
        end(ip.source, udp.source_port),
        end(ip.destination, udp.destination_port),
    )
}

/// What an error says: from whom, to whom, and the ends of the packet it is about.
#[track_caller]
fn error(frame: &[u8]) -> ([IpAddr; 2], (End, End)) {
    let meta = encap::parse(frame).expect("well-formed");
    assert_eq!((meta.protocol, meta.l4_flags, meta.icmp_code), (1, 3, 3));
    assert!(checksum::transport_is_right(frame, &meta));
    let (ip, icmp) = Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum());
    let both = [ip.source, ip.destination].map(IpAddr::from);
    (both, ends(&icmp[8..]))
}

#[test]
fn an_error_about_a_hairpinned_flow_is_translated_at_both_sides() {
    let mut node = node();
    // B is known outside since it spoke to the server.
    let out = node.exchange("b", udp(B, B_OWN, SERVER), "s");
    let (b_outside, _) = ends(&out[14..]);
    assert_eq!(b_outside.0, Ipv4Addr::new(198, 51, 100, 1));

    let got = node.exchange("a", udp(A, A_OWN, b_outside), "b");
    let (a_outside, to) = ends(&got[14..]);
    assert_eq!((a_outside.0, to), (b_outside.0, B_OWN));

    // B answers what it got with an error; A must see what it had sent.
    let told = node.exchange("b", unreachable(B, B_OWN.0, a_outside.0, &got), "a");
    let (addresses, about) = error(&told);
    assert_eq!(addresses, [b_outside.0, A_OWN.0].map(IpAddr::from));
    assert_eq!(about, (A_OWN, b_outside));

    // And the other way round, about the answer.
    let back = node.exchange("b", udp(B, B_OWN, a_outside), "a");
    assert_eq!(ends(&back[14..]), (b_outside, A_OWN));
    let told = node.exchange("a", unreachable(A, A_OWN.0, b_outside.0, &back), "b");
    let (addresses, about) = error(&told);
    assert_eq!(addresses, [a_outside.0, B_OWN.0].map(IpAddr::from));
    assert_eq!(about, (B_OWN, a_outside));
}

#[test]
fn an_error_about_a_hairpinned_flow_that_never_was_is_dropped() {
    let mut node = node();
    let out = node.exchange("b", udp(B, B_OWN, SERVER), "s");
    let (b_outside, _) = ends(&out[14..]);
    let invented = udp(A, (b_outside.0, 7_777), B_OWN);
    let reason = node.refused("b", unreachable(B, B_OWN.0, b_outside.0, &invented));
    assert_eq!(reason.name(), "snat_unknown");
}
