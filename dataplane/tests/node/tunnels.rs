//! Every encapsulation through a worker's stages, in and out: frames are put
//! together here by etherparse and from the RFCs, not by our own code.

use std::net::IpAddr;

use crate::common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{Encap, Label, MacAddr, Model, Vni};
use etherparse::PacketBuilder;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const REMOTE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x9]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Both ends of the underlay, by IP version.
const HERE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const THERE: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// The label sent, and the one that arrives for red.
const OUT: u32 = 1000;
const IN: u32 = 100;

/// One machine here and one behind node 2, which `tunnel` leads to.
fn node(tunnel: Tunnel) -> Node {
    let payload = tunnel.payload;
    Node::new(vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24", "2001:db8::1/64"]),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"]),
        nexthop("far", NexthopAction::Tunnel(tunnel)),
        nexthop("nowhere", NexthopAction::Discard),
        nexthop(
            "to-b",
            NexthopAction::Vif {
                vif: "red-b".into(),
                address: None,
            },
        ),
        mac("underlay", NODE2, "nowhere", Some("192.0.2.2")),
        mac(
            "underlay",
            MacAddr([2, 0, 0, 0, 1, 3]),
            "nowhere",
            Some("2001:db8::2"),
        ),
        route("red", "10.1.0.9/32", "far"),
        route("red", "fd01::9/128", "far"),
        vni(5001, "red"),
        label(IN, Arrival::Vrf("red".into()), payload),
    ])
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    let name = name.into();
    Object::Nexthop(Nexthop { name, action })
}

fn label(number: u32, to: Arrival, payload: Payload) -> Object {
    Object::Label(LabelEntry {
        label: Label::new(number).expect("20 bits"),
        to,
        payload,
    })
}

fn tunnel_to(remote: &str, encap: Encap) -> Tunnel {
    Tunnel::new(ip(remote), encap)
}

fn udp_label() -> Encap {
    Encap::MplsUdp(Label::new(OUT).expect("20 bits"))
}

fn gre_label() -> Encap {
    Encap::MplsGre(Label::new(OUT).expect("20 bits"))
}

fn ethernet(tunnel: Tunnel) -> Tunnel {
    let payload = Payload::Ethernet;
    Tunnel { payload, ..tunnel }
}

/// A label stack entry (RFC 3032 §2.1).
fn entry(label: u32, class: u32, bottom: bool, ttl: u32) -> [u8; 4] {
    (label << 12 | class << 9 | u32::from(bottom) << 8 | ttl).to_be_bytes()
}

/// From node 2 to this one: Ethernet, IP and what is in it. A UDP checksum is
/// etherparse's.
fn outer(family: usize, protocol: Option<u16>, traffic_class: u8, payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(NODE2.0, UPLINK.0);
    let network = match (ip(THERE[family]), ip(HERE[family])) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = etherparse::Ipv4Header::new(
                0,
                64,
                etherparse::ip_number::GRE,
                src.octets(),
                dst.octets(),
            )
            .expect("it fits");
            header.dscp = etherparse::IpDscp::try_new(traffic_class >> 2).expect("six bits");
            header.ecn = etherparse::IpEcn::try_new(traffic_class & 3).expect("two bits");
            link.ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let header = etherparse::Ipv6Header {
                traffic_class,
                hop_limit: 64,
                source: src.octets(),
                destination: dst.octets(),
                ..Default::default()
            };
            link.ip(etherparse::IpHeaders::Ipv6(header, Default::default()))
        }
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let written = match protocol {
        Some(port) => network.udp(50_000, port).write(&mut frame, payload),
        None => network.write(&mut frame, etherparse::ip_number::GRE, payload),
    };
    written.expect("it fits");
    frame
}

/// MPLS over UDP or GRE from node 2.
fn mpls(family: usize, over_udp: bool, stack: &[[u8; 4]], inner: &[u8]) -> Vec<u8> {
    let payload = [&stack.concat(), inner].concat();
    if over_udp {
        return outer(family, Some(6635), 0, &payload);
    }
    let gre = [&[0, 0, 0x88, 0x47][..], &payload].concat();
    outer(family, None, 0, &gre)
}

/// What follows the outer IP header.
fn datagram(frame: &[u8]) -> &[u8] {
    match frame[12..14] {
        [0x08, 0x00] => &frame[34..],
        _ => &frame[54..],
    }
}

/// Makes the frame one of the other direction: neither checksum changes.
fn swap_ports(frame: &mut [u8]) {
    let at = match frame[12..14] {
        [0x08, 0x00] => 34,
        _ => 54,
    };
    frame.swap(at, at + 2);
    frame.swap(at + 1, at + 3);
}

#[test]
fn ip_goes_through_every_tunnel_without_its_ethernet_header() {
    for (family, there) in THERE.into_iter().enumerate() {
        for (src, dst) in [("10.1.0.10", "10.1.0.9"), ("fd01::10", "fd01::9")] {
            let frame = udp((A, src), (ROUTER, dst), 64);
            let inner = &udp((ROUTER, src), (REMOTE, dst), 63)[14..];

            let mut node = node(tunnel_to(there, udp_label()));
            let sent = node.exchange("red-a", frame.clone(), "up0");
            let udp = datagram(&sent);
            assert_eq!(udp[2..4], 6635u16.to_be_bytes());
            assert!(udp[0] >= 0xc0, "{udp:x?}");
            let zero = udp[6..8] == [0, 0];
            assert_eq!(zero, family == 0, "RFC 7510 §3.1");
            assert_eq!(udp[8..12], entry(OUT, 0, true, 255));
            assert_eq!(&udp[12..], inner);

            let mut node = self::node(tunnel_to(there, gre_label()));
            let sent = node.exchange("red-a", frame.clone(), "up0");
            let gre = datagram(&sent);
            assert_eq!(gre[..4], [0, 0, 0x88, 0x47]);
            assert_eq!(gre[4..8], entry(OUT, 0, true, 255));
            assert_eq!(&gre[8..], inner);
        }
    }
}

#[test]
fn ethernet_goes_through_mpls_as_through_vxlan() {
    for encap in [udp_label(), gre_label()] {
        let mut node = node(ethernet(tunnel_to(THERE[0], encap)));
        node.apply(vec![Change::Upsert(mac("red", REMOTE, "far", None))])
            .expect("frames can be bridged to it");
        let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
        let sent = node.exchange("red-a", frame, "up0");
        let routed = udp((ROUTER, "10.1.0.10"), (ROUTER, "10.1.0.9"), 63);
        assert!(sent.ends_with(&routed));
        let bridged = udp((A, "10.1.0.10"), (REMOTE, "10.1.0.9"), 64);
        let sent = node.exchange("red-a", bridged.clone(), "up0");
        assert!(sent.ends_with(&bridged));
        assert_eq!(sent.len() - bridged.len(), sent.len() - routed.len());
        // A frame that was not routed has no hop to count.
        let at = sent.len() - bridged.len() - 4;
        assert_eq!(sent[at..at + 4], entry(OUT, 0, true, 255));
    }
}

#[test]
fn ip_arrives_through_every_tunnel_and_is_routed() {
    for (family, there) in THERE.into_iter().enumerate() {
        for over_udp in [true, false] {
            for (src, dst) in [("10.1.0.9", "10.1.0.10"), ("fd01::9", "fd01::10")] {
                let mut node = node(tunnel_to(there, gre_label()));
                let inner = &udp((REMOTE, src), (REMOTE, dst), 64)[14..];
                let frame = mpls(family, over_udp, &[entry(IN, 0, true, 255)], inner);
                let delivered = node.exchange("up0", frame, "red-a");
                assert_eq!(delivered, udp((ROUTER, src), (A, dst), 63));
                // and the answer goes back by the same flow
                let mut answer = udp((A, dst), (ROUTER, src), 64);
                swap_ports(&mut answer);
                node.exchange("red-a", answer, "up0");
                assert_eq!(node.flows.len(), 1);
            }
        }
    }
}

#[test]
fn ethernet_arrives_behind_a_label() {
    let mut node = node(ethernet(tunnel_to(THERE[0], udp_label())));
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let frame = mpls(0, true, &[entry(IN, 0, true, 255)], &inner);
    let delivered = node.exchange("up0", frame, "red-a");
    assert_eq!(delivered, udp((ROUTER, "10.1.0.9"), (A, "10.1.0.10"), 63));
}

#[test]
fn padding_is_not_carried_in_a_tunnel_of_ip() {
    let mut node = node(tunnel_to(THERE[0], udp_label()));
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let padded = [&frame[..], &[0xee; 13]].concat();
    let sent = node.exchange("red-a", padded, "up0");
    assert_eq!(datagram(&sent).len(), 8 + 4 + frame.len() - 14);
    // Nor does the padding of an outer frame arrive.
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let mut frame = mpls(0, false, &[entry(IN, 0, true, 255)], inner);
    frame.extend([0xee; 9]);
    let delivered = node.exchange("up0", frame, "red-a");
    assert_eq!(delivered.len(), 14 + inner.len());
}

#[test]
fn a_stack_of_labels_leads_where_the_last_one_says() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let more = label(200, Arrival::Vrf("red".into()), Payload::Ethernet);
    node.apply(vec![Change::Upsert(more)]).expect("a label");
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let top = entry(200, 0, false, 64);
    for stack in [
        vec![top, entry(IN, 0, true, 64)],
        vec![top, top, entry(IN, 0, true, 64)],
        // explicit null, and an entropy label (RFC 6790)
        vec![entry(IN, 0, false, 64), entry(0, 0, true, 64)],
        vec![
            entry(IN, 0, false, 64),
            entry(7, 0, false, 64),
            entry(0xabcde, 0, true, 0),
        ],
    ] {
        let delivered = node.exchange("up0", mpls(0, false, &stack, inner), "red-a");
        assert_eq!(delivered, udp((ROUTER, "10.1.0.9"), (A, "10.1.0.10"), 63));
    }
}

#[test]
fn labels_that_lead_nowhere_are_refused() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let ours = entry(IN, 0, false, 64);
    for (stack, reason) in [
        (vec![entry(101, 0, true, 64)], DropReason::UnknownLabel),
        (
            vec![ours, entry(101, 0, true, 64)],
            DropReason::UnknownLabel,
        ),
        (vec![entry(0, 0, true, 64)], DropReason::UnknownLabel),
        (vec![entry(3, 0, true, 64)], DropReason::LabelReserved),
        (vec![entry(IN, 0, true, 1)], DropReason::LabelTtlExpired),
        (vec![ours; 9], DropReason::LabelStack),
        (vec![ours, entry(7, 0, true, 64)], DropReason::EntropyLabel),
        // announced as IPv6 and is not
        (vec![ours, entry(2, 0, true, 64)], DropReason::IpVersion),
    ] {
        let frame = mpls(0, true, &stack, inner);
        assert_eq!(node.refused("up0", frame), reason, "{stack:x?}");
    }
    let neither = mpls(0, true, &[entry(IN, 0, true, 64)], &[0x10; 40]);
    assert_eq!(node.refused("up0", neither), DropReason::IpVersion);
}

#[test]
fn gre_that_is_not_ours_is_refused() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let payload = [&entry(IN, 0, true, 64), inner].concat();
    for (header, reason) in [
        ([0x40, 0, 0x88, 0x47], DropReason::GreFlags),
        ([0, 1, 0x88, 0x47], DropReason::GreVersion),
        ([0, 0, 0x65, 0x58], DropReason::GreProtocol),
    ] {
        let frame = outer(0, None, 0, &[&header[..], &payload].concat());
        assert_eq!(node.refused("up0", frame), reason);
    }
    let checked = [&[0x80, 0, 0x88, 0x47, 0, 1, 0, 0][..], &payload].concat();
    let frame = outer(0, None, 0, &checked);
    assert_eq!(node.refused("up0", frame), DropReason::GreChecksum);
    let keyed = [&[0x20, 0, 0x88, 0x47, 1, 2, 3, 4][..], &payload].concat();
    node.exchange("up0", outer(0, None, 0, &keyed), "red-a");
}

// RFC 2784 §3.1.
#[test]
fn what_would_go_back_into_its_tunnel_is_refused() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, THERE[0]), 64)[14..];
    let frame = mpls(0, false, &[entry(IN, 0, true, 64)], inner);
    assert_eq!(node.refused("up0", frame), DropReason::TunnelLoop);
}

// RFC 4023 §8.2; and the tunnel's other end must be where the way back leads.
#[test]
fn only_known_nodes_reach_a_network_and_only_with_their_own_addresses() {
    let mut node = node(tunnel_to(THERE[1], gre_label()));
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let frame = mpls(0, false, &[entry(IN, 0, true, 64)], inner);
    assert_eq!(node.refused("up0", frame), DropReason::UnknownTunnelSource);
    let inner = &udp((REMOTE, "10.1.0.8"), (REMOTE, "10.1.0.10"), 64)[14..];
    let frame = mpls(1, false, &[entry(IN, 0, true, 64)], inner);
    assert_eq!(node.refused("up0", frame), DropReason::ReversePath);
}

// RFC 7510 §3.1, RFC 6936 §4: zero only where it was agreed.
#[test]
fn udp_without_a_checksum_over_ipv6_must_be_agreed() {
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let mut frame = mpls(1, true, &[entry(IN, 0, true, 64)], inner);
    let mut strict = node(tunnel_to(THERE[1], udp_label()));
    strict.exchange("up0", frame.clone(), "red-a");
    frame[54 + 6..54 + 8].fill(0);
    let refused = strict.refused("up0", frame.clone());
    assert_eq!(refused, DropReason::UdpChecksumMissing);
    let mut agreed = node(Tunnel {
        udp_zero_checksum: true,
        ..tunnel_to(THERE[1], udp_label())
    });
    agreed.exchange("up0", frame, "red-a");
    let sent = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let sent = agreed.exchange("red-a", sent, "up0");
    assert_eq!(datagram(&sent)[6..8], [0, 0]);
}

// RFC 3443 §3.4 to §3.6: the TTL comes out of the pipe as it went in, but for
// this hop; a uniform tunnel's is that of the label, and never goes up.
#[test]
fn ttl_follows_the_model_of_the_tunnel() {
    let inner = |ttl| udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), ttl)[14..].to_vec();
    let uniform = Tunnel {
        ttl: Model::Uniform,
        ..tunnel_to(THERE[0], udp_label())
    };
    for (tunnel, inner_ttl, label_ttl, expected) in [
        (tunnel_to(THERE[0], udp_label()), 64, 9, 63),
        (uniform.clone(), 64, 9, 8),
        (uniform.clone(), 9, 200, 8),
    ] {
        let mut node = node(tunnel);
        let frame = mpls(0, true, &[entry(IN, 0, true, label_ttl)], &inner(inner_ttl));
        let delivered = node.exchange("up0", frame, "red-a");
        let whole = udp((ROUTER, "10.1.0.9"), (A, "10.1.0.10"), expected);
        assert_eq!(delivered, whole);
    }
    let mut node = node(uniform);
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 33);
    let sent = node.exchange("red-a", frame, "up0");
    assert_eq!(datagram(&sent)[8..12], entry(OUT, 0, true, 32));
}

// RFC 6040 §4.2 in all of them: what cannot carry the mark is dropped.
#[test]
fn congestion_marks_come_out_of_every_tunnel() {
    let mut node = node(tunnel_to(THERE[0], udp_label()));
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let labelled = [&entry(IN, 0, true, 64), inner].concat();
    let gre = [&[0, 0, 0x88, 0x47][..], &labelled].concat();
    for frame in [outer(0, Some(6635), 3, &labelled), outer(0, None, 3, &gre)] {
        assert_eq!(node.refused("up0", frame), DropReason::EcnNotCapable);
    }
}

#[test]
fn a_label_leads_straight_to_its_vif() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let direct = label(300, Arrival::Nexthop("to-b".into()), Payload::Ip);
    node.apply(vec![Change::Upsert(direct)]).expect("a label");
    // To an address that routes to red-a: the label counts.
    let inner = &udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.10"), 64)[14..];
    let straight = mpls(0, false, &[entry(300, 0, true, 64)], inner);
    let delivered = node.exchange("up0", straight.clone(), "red-b");
    assert_eq!(delivered, udp((ROUTER, "10.1.0.9"), (B, "10.1.0.10"), 63));
    // The same packet by the network's label is routed, whatever came before.
    let routed = mpls(0, false, &[entry(IN, 0, true, 64)], inner);
    for _ in 0..2 {
        node.exchange("up0", routed.clone(), "red-a");
        node.exchange("up0", straight.clone(), "red-b");
    }
    assert_eq!(node.flows.len(), 1);
}

#[test]
fn a_flow_that_a_machine_began_is_answered_by_its_own_label() {
    let mut node = node(tunnel_to(THERE[0], gre_label()));
    let direct = label(300, Arrival::Nexthop("to-b".into()), Payload::Ip);
    node.apply(vec![Change::Upsert(direct)]).expect("a label");
    let asked = udp((B, "10.1.0.11"), (ROUTER, "10.1.0.9"), 64);
    node.exchange("red-b", asked.clone(), "up0");
    let mut answer = udp((REMOTE, "10.1.0.9"), (REMOTE, "10.1.0.11"), 64);
    swap_ports(&mut answer);
    let answer = mpls(0, false, &[entry(300, 0, true, 64)], &answer[14..]);
    for _ in 0..2 {
        node.exchange("up0", answer.clone(), "red-b");
        node.exchange("red-b", asked.clone(), "up0");
    }
    assert_eq!(node.flows.len(), 1);
}

#[test]
fn a_vni_may_lead_straight_to_its_vif_too() {
    let number = Vni::new(6001).expect("24 bits");
    let mut node = node(tunnel_to(THERE[0], Encap::Vxlan(number)));
    node.apply(vec![
        Change::Upsert(Object::Vni(VniEntry {
            vni: number,
            to: Arrival::Nexthop("to-b".into()),
        })),
        Change::Upsert(mac("red", REMOTE, "far", None)),
    ])
    .expect("a network id");
    let nodes = [(NODE2, THERE[0]), (UPLINK, HERE[0])];
    // A frame to another MAC than the router's is delivered as it is.
    let inner = [
        &MacAddr::BROADCAST.0[..],
        &REMOTE.0,
        &[0x88, 0xb5],
        &[7; 50],
    ]
    .concat();
    let frame = vxlan(nodes, 6001, &inner);
    assert_eq!(node.exchange("up0", frame, "red-b"), inner);
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.11"), 64);
    let delivered = node.exchange("up0", vxlan(nodes, 6001, &inner), "red-b");
    assert_eq!(delivered, udp((ROUTER, "10.1.0.9"), (B, "10.1.0.11"), 63));
    // Another node's machine cannot speak for this one's.
    let inner = [&B.0[..], &A.0, &[0x88, 0xb5], &[7; 50]].concat();
    let refused = node.refused("up0", vxlan(nodes, 6001, &inner));
    assert_eq!(refused, DropReason::ReversePath);
}

#[test]
fn nexthops_stand_only_where_they_can() {
    let mut node = node(tunnel_to(THERE[0], udp_label()));
    let refused = |node: &mut Node, object: Object| {
        let refusals = node
            .apply(vec![Change::Upsert(object)])
            .expect_err("refused");
        let text: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        text.join("; ")
    };
    assert_eq!(
        refused(&mut node, mac("red", REMOTE, "far", None)),
        "mac red 02:00:00:00:00:09: nexthop: `far` carries IP packets, not frames; \
         give the tunnel `payload: ethernet`, or use a route"
    );
    let straight = |to: &str| label(300, Arrival::Nexthop(to.into()), Payload::Ip);
    assert_eq!(
        refused(&mut node, straight("far")),
        "label 300: nexthop: `far` does not deliver to a tenant vif"
    );
    assert_eq!(
        refused(&mut node, straight("nobody")),
        "label 300: nexthop: there is no nexthop named `nobody`"
    );
    // Nor may a nexthop become what its users cannot use.
    node.apply(vec![Change::Upsert(straight("to-b"))])
        .expect("a label");
    assert_eq!(
        refused(&mut node, nexthop("to-b", NexthopAction::Discard)),
        "label 300: nexthop: `to-b` does not deliver to a tenant vif"
    );
}

// RFC-CHECKS P2, an underlay of 1500 bytes.
#[test]
fn inner_mtu_is_what_the_headers_leave() {
    let vni = Encap::Vxlan(Vni::new(1).expect("24 bits"));
    for (encap, family, of_ip, of_ethernet) in [
        (gre_label(), 0, 1472, 1458),
        (udp_label(), 0, 1468, 1454),
        (udp_label(), 1, 1448, 1434),
        (gre_label(), 1, 1452, 1438),
        (vni, 0, 1450, 1450),
        (vni, 1, 1430, 1430),
    ] {
        let tunnel = tunnel_to(THERE[family], encap);
        for (tunnel, expected) in [(tunnel.clone(), of_ip), (ethernet(tunnel), of_ethernet)] {
            let mut node = node(tunnel);
            let mut uplink = fabric("up0", UPLINK, &["192.0.2.1/24", "2001:db8::1/64"]);
            if let Object::Vif(vif) = &mut uplink {
                vif.mtu = Some(1500);
            }
            node.apply(vec![Change::Upsert(uplink)]).expect("an MTU");
            let mut frame = Vec::new();
            let payload = vec![5; expected - 28];
            PacketBuilder::ethernet2(A.0, ROUTER.0)
                .ipv4([10, 1, 0, 10], [10, 1, 0, 9], 64)
                .udp(1, 2)
                .write(&mut frame, &payload)
                .expect("it fits");
            let sent = node.exchange("red-a", frame, "up0");
            assert_eq!(sent.len(), 14 + 1500, "{encap:?}");
            let mut frame = Vec::new();
            PacketBuilder::ethernet2(A.0, ROUTER.0)
                .ipv4([10, 1, 0, 10], [10, 1, 0, 9], 64)
                .udp(1, 2)
                .write(&mut frame, &[&payload[..], &[5]].concat())
                .expect("it fits");
            assert_eq!(node.refused("red-a", frame), DropReason::TooBig);
        }
    }
}
