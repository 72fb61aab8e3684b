//! Tunnel packets that come in fragments: put together and opened, in any order;
//! what must not be has a name; the host's own fragments pass; and nobody's
//! fragments cost others anything. Frames are etherparse's, cut as the RFCs say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::common::*;
use dataplane::DropReason;
use dataplane::stage::fragments::{Limits, Usage};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{Encap, Label, MacAddr};
use etherparse::PacketBuilder;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// This node, two peers, and somebody who is none; by IP version.
const HERE: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
const PEERS: [[&str; 2]; 2] = [["192.0.2.2", "192.0.2.3"], ["2001:db8::2", "2001:db8::3"]];
const NOBODY: [&str; 2] = ["192.0.2.66", "2001:db8::66"];

const MPLS_UDP: u16 = 6635;
const LABEL: u32 = 100;

/// A machine here, and one behind either peer.
fn node() -> Node {
    let label = Label::new(LABEL).expect("20 bits");
    let mut objects = vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24", "2001:db8::1/64"]),
        fabric("up1", UPLINK, &["198.51.100.1/24"]),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        Object::Label(LabelEntry {
            label,
            to: Arrival::Vrf("red".into()),
            payload: Payload::Ip,
        }),
        vni(5001, "red"),
    ];
    for (family, peers) in PEERS.iter().enumerate() {
        for (index, peer) in peers.iter().enumerate() {
            let name = format!("peer-{family}-{index}");
            let action = NexthopAction::Tunnel(Tunnel::new(ip(peer), Encap::MplsGre(label)));
            objects.push(Object::Nexthop(Nexthop {
                name: name.as_str().into(),
                action,
            }));
            let [.., a, b] = machine(peer);
            objects.push(route("red", &format!("10.1.{a}.{b}"), &name));
        }
    }
    Node::new(objects)
}

/// The same with a kernel behind it.
fn node_with_host() -> Node {
    let mut node = node();
    let host = Vif {
        name: "host".into(),
        role: Role::Host,
        ..match fabric("host", UPLINK, &[]) {
            Object::Vif(vif) => vif,
            _ => unreachable!("it is a vif"),
        }
    };
    node.apply(vec![Change::Upsert(Object::Vif(host))])
        .expect("a host vif");
    node
}

/// A frame to this node: over UDP to a port, or GRE.
fn frame(src: &str, port: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let family = usize::from(src.contains(':'));
    let link = PacketBuilder::ethernet2(PEER.0, UPLINK.0);
    let network = match (ip(src), ip(HERE[family])) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => link.ipv4(src.octets(), dst.octets(), 64),
        (IpAddr::V6(src), IpAddr::V6(dst)) => link.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let written = match port {
        Some(port) => network.udp(50_000, port).write(&mut frame, payload),
        None => network.write(&mut frame, etherparse::ip_number::GRE, payload),
    };
    written.expect("it fits");
    frame
}

/// The machine behind a peer.
fn machine(peer: &str) -> [u8; 4] {
    let all = PEERS.concat();
    let index = all.iter().position(|one| *one == peer);
    [10, 1, 0, index.map_or(99, |index| 20 + index as u8)]
}

/// A packet of this payload from the machine behind a peer, without a link header.
fn inner(peer: &str, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(ROUTER.0, ROUTER.0)
        .ipv4(machine(peer), [10, 1, 0, 10], 64)
        .udp(1, 2);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("it fits");
    frame.split_off(14)
}

/// That packet in a tunnel from one of a peer's addresses: over UDP or GRE.
fn tunnelled(src: &str, over_udp: bool, inner: &[u8]) -> Vec<u8> {
    let entry = (LABEL << 12 | 1 << 8 | 64).to_be_bytes();
    match over_udp {
        true => frame(src, Some(MPLS_UDP), &[&entry, inner].concat()),
        false => frame(
            src,
            None,
            &[&[0, 0, 0x88, 0x47], &entry[..], inner].concat(),
        ),
    }
}

/// What the machine gets for a packet that came whole.
fn delivered(node: &mut Node, whole: &[u8]) -> Vec<u8> {
    node.exchange("up0", whole.to_vec(), "red-a")
}

fn drops(node: &Node, vif: &str) -> BTreeMap<DropReason, u64> {
    node.drops(vif).into_iter().collect()
}

/// Both families, both encapsulations.
fn all_kinds() -> impl Iterator<Item = (&'static str, bool)> {
    let peers = PEERS.iter().map(|peers| peers[0]);
    peers.flat_map(|peer| [(peer, true), (peer, false)])
}

#[test]
fn fragments_in_any_order_are_the_packet() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let whole = tunnelled(peer, over_udp, &inner(peer, &data(1400)));
        let expected = delivered(&mut node, &whole);
        let before = node.totals("up0");
        let parts = cut(&whole, 9, &[504, 1000]);
        for (count, order) in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ]
        .into_iter()
        .enumerate()
        {
            // All in one batch, or each in its own.
            let parts = order.map(|index| parts[index].clone());
            if count % 2 == 0 {
                node.send("up0", &parts);
            } else {
                let each = parts.iter().map(std::slice::from_ref);
                each.for_each(|part| node.send("up0", part));
            }
            assert_eq!(
                node.recv("red-a"),
                std::slice::from_ref(&expected),
                "{peer} {order:?}"
            );
            assert_eq!(node.reassembly(), Usage::default());
        }
        // Three in, one on.
        let after = node.totals("up0");
        assert_eq!(after.rx_packets - before.rx_packets, 18);
        assert_eq!(after.consumed - before.consumed, 12);
        assert_eq!(drops(&node, "up0"), BTreeMap::new());
    }
}

#[test]
fn datagrams_under_way_at_once_do_not_mix() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let wholes: Vec<Vec<u8>> = (0..20)
            .map(|n| tunnelled(peer, over_udp, &inner(peer, &vec![n; 900])))
            .collect();
        let expected: Vec<Vec<u8>> = wholes
            .iter()
            .map(|whole| delivered(&mut node, whole))
            .collect();
        let parts: Vec<Vec<Vec<u8>>> = wholes
            .iter()
            .zip(0..)
            .map(|(whole, id)| cut(whole, id, &[304, 608]))
            .collect();
        for at in [1, 2, 0] {
            let all: Vec<Vec<u8>> = parts.iter().map(|parts| parts[at].clone()).collect();
            node.send("up0", &all);
        }
        assert_eq!(node.recv("red-a"), expected);
    }
}

#[test]
fn a_packet_longer_than_a_buffer_is_delivered_too() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let vif = match tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]) {
            Object::Vif(vif) => Vif {
                mtu: Some(9000),
                ..vif
            },
            _ => unreachable!("it is a vif"),
        };
        node.apply(vec![Change::Upsert(Object::Vif(vif))])
            .expect("a longer MTU");
        let whole = tunnelled(peer, over_udp, &inner(peer, &data(8000)));
        let expected = delivered(&mut node, &whole);
        node.send("up0", &cut(&whole, 9, &[1400, 2800, 4200, 5600, 7000]));
        assert_eq!(node.recv("red-a"), [expected]);
    }
}

#[test]
fn a_peers_two_ways_lead_to_one_packet() {
    let mut node = node();
    let whole = tunnelled(PEERS[0][0], true, &inner(PEERS[0][0], &data(1000)));
    let expected = delivered(&mut node, &whole);
    let parts = cut(&whole, 9, &[504]);
    node.send("up1", &parts[..1]);
    node.send("up0", &parts[1..]);
    assert_eq!(node.recv("red-a"), [expected]);
    assert_eq!(node.totals("up1").consumed, 1);
}

#[test]
fn overlaps_spoil_the_whole_packet_and_nothing_is_said() {
    for (peer, over_udp) in all_kinds() {
        let whole = tunnelled(peer, over_udp, &inner(peer, &data(1000)));
        let end = cut(&whole, 9, &[504]).remove(1);
        let pieces = [
            piece(&whole, 9, 0, 504),
            piece(&whole, 9, 496, 800),
            piece(&whole, 9, 800, 904),
            end,
        ];
        for order in [[0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0]] {
            let mut node = node();
            node.send("up0", &order.map(|index| pieces[index].clone()));
            assert_eq!(node.recv_all(), BTreeMap::new());
            assert_eq!(
                drops(&node, "up0"),
                [(DropReason::FragmentOverlap, 4)].into(),
                "{peer} {order:?}"
            );
            node.pass(1_100);
            assert_eq!(node.reassembly(), Usage::default());
        }
    }
}

#[test]
fn a_fragment_that_comes_twice_counts_once() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let whole = tunnelled(peer, over_udp, &inner(peer, &data(1000)));
        let expected = delivered(&mut node, &whole);
        let parts = cut(&whole, 9, &[304, 608]);
        let twice = [0, 0, 2, 2, 1].map(|index: usize| parts[index].clone());
        node.send("up0", &twice);
        assert_eq!(node.recv("red-a"), [expected]);
        assert_eq!(
            drops(&node, "up0"),
            [(DropReason::FragmentDuplicate, 2)].into()
        );
    }
}

#[test]
fn what_stays_incomplete_is_let_go_in_time() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let whole = tunnelled(peer, over_udp, &inner(peer, &data(1000)));
        let parts = cut(&whole, 9, &[304, 608]);
        node.send("up0", &parts[..2]);
        assert_eq!(node.reassembly().held_packets, 2);
        node.pass(Limits::REASSEMBLY.timeout_ms - 1);
        assert_eq!(node.reassembly().datagrams, 1);
        node.pass(70);
        assert_eq!(node.reassembly(), Usage::default());
        assert_eq!(
            drops(&node, "up0"),
            [(DropReason::ReassemblyTimeout, 2)].into()
        );
        // What comes then is of another packet.
        let expected = delivered(&mut node, &whole);
        node.send("up0", &parts);
        assert_eq!(node.recv("red-a"), [expected]);
    }
}

#[test]
fn vxlan_must_not_be_fragmented() {
    for peer in [PEERS[0][0], PEERS[1][0]] {
        let header = [8, 0, 0, 0, 0, 0x13, 0x89, 0];
        let frame = frame(peer, Some(4789), &[&header, &data(800)[..]].concat());
        let parts = cut(&frame, 9, &[400]);
        for order in [[0, 1], [1, 0]] {
            let mut node = node_with_host();
            node.send("up0", &order.map(|index| parts[index].clone()));
            assert_eq!(node.recv_all(), BTreeMap::new());
            let expected = [(DropReason::TunnelFragment, 2)].into();
            assert_eq!(drops(&node, "up0"), expected);
        }
    }
}

#[test]
fn tunnel_headers_are_in_the_first_fragment() {
    for (peer, over_udp) in all_kinds() {
        let mut node = node();
        let mut whole = tunnelled(peer, over_udp, &inner(peer, &data(200)));
        if !over_udp {
            // With a key, sixteen bytes come before the payload (RFC 2890 §2).
            let at = whole.len() - 200 - 28 - 8;
            whole[at] = 0x20;
        }
        node.send("up0", &cut(&whole, 9, &[8]));
        let expected = [(DropReason::TinyFragment, 2)].into();
        assert_eq!(drops(&node, "up0"), expected);
    }
}

#[test]
fn only_peers_fragments_are_kept() {
    for source in NOBODY {
        for over_udp in [true, false] {
            let mut node = node();
            let whole = tunnelled(source, over_udp, &inner(source, &data(1000)));
            node.send("up0", &cut(&whole, 9, &[504]));
            // Of a later one over UDP nobody can tell that it is of a tunnel.
            let unknown = DropReason::UnknownTunnelSource;
            let expected = match over_udp {
                true => [(unknown, 1), (DropReason::NoHost, 1)].into(),
                false => [(unknown, 2)].into(),
            };
            assert_eq!(drops(&node, "up0"), expected);
            assert_eq!(node.reassembly(), Usage::default());
        }
    }
}

#[test]
fn the_hosts_own_fragments_reach_it_as_they_are() {
    for source in [PEERS[0][0], PEERS[1][0], NOBODY[0], NOBODY[1]] {
        let mut node = node_with_host();
        let parts = cut(&frame(source, Some(53), &data(1000)), 9, &[304, 608]);
        node.send("up0", &parts);
        assert_eq!(node.recv("host"), parts);
        // Those before the first wait for it, as it might be a tunnel's.
        for index in [2, 0, 1] {
            node.send("up0", &[parts[index].clone()]);
        }
        let is_peer = !NOBODY.contains(&source);
        let order = if is_peer { [0, 2, 1] } else { [2, 0, 1] };
        assert_eq!(node.recv("host"), order.map(|index| parts[index].clone()));
        assert_eq!(node.reassembly(), Usage::default());
        assert_eq!(drops(&node, "up0"), BTreeMap::new());
    }
}

#[test]
fn nothing_of_a_tunnel_follows_the_hosts_datagram_or_the_other_way_round() {
    for peer in [PEERS[0][0], PEERS[1][0]] {
        let to_host = cut(&frame(peer, Some(53), &data(1000)), 9, &[504]);
        let tunnel = cut(&tunnelled(peer, true, &inner(peer, &data(1000))), 9, &[504]);
        let mut node = node_with_host();
        node.send("up0", &[to_host[0].clone(), tunnel[0].clone()]);
        assert_eq!(node.recv("host"), to_host[..1]);
        assert_eq!(node.reassembly().held_packets, 1);
        node.send("up0", &tunnel[1..]);
        assert_eq!(node.recv("red-a").len(), 1);

        let mut node = node_with_host();
        node.send("up0", &[tunnel[0].clone(), to_host[0].clone()]);
        assert_eq!(node.recv_all(), BTreeMap::new());
        let expected = [(DropReason::FragmentOverlap, 2)].into();
        assert_eq!(drops(&node, "up0"), expected);
    }
}

#[test]
fn a_wrong_checksum_is_seen_over_all_fragments() {
    let mut node = node();
    let mut whole = tunnelled(PEERS[1][0], true, &inner(PEERS[1][0], &data(1000)));
    let last = whole.len() - 1;
    whole[last] ^= 1;
    node.send("up0", &cut(&whole, 9, &[504]));
    assert_eq!(drops(&node, "up0"), [(DropReason::UdpChecksum, 1)].into());
    assert_eq!(node.totals("up0").consumed, 1);
}

/// RFC 3168 §5.3, and from there inwards RFC 6040 §4.2.
#[test]
fn congestion_of_one_fragment_reaches_the_inner_packet() {
    const NOT_ECT: u8 = 0;
    const ECT: u8 = 2;
    const CE: u8 = 3;
    for (classes, expected) in [
        ([ECT, CE], Some(CE)),
        ([ECT, ECT], Some(ECT)),
        ([CE, NOT_ECT], None),
    ] {
        let mut node = node();
        let mut packet = inner(PEERS[1][0], &data(1000));
        packet[1] = ECT;
        packet[10..12].fill(0);
        let checksum = encap::checksum::Sum::new().bytes(&packet[..20]).finish();
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let mut parts = cut(&tunnelled(PEERS[1][0], false, &packet), 9, &[504]);
        for (part, class) in parts.iter_mut().zip(classes) {
            part[15] |= class << 4;
        }
        node.send("up0", &parts);
        let got = node.recv("red-a").first().map(|frame| frame[15] & 3);
        assert_eq!(got, expected);
        if expected.is_none() {
            let expected = [(DropReason::EcnNotCapable, 2)].into();
            assert_eq!(drops(&node, "up0"), expected);
        }
    }
}

#[test]
fn more_than_64_pieces_are_too_many() {
    let mut node = node();
    let whole = tunnelled(PEERS[0][0], false, &inner(PEERS[0][0], &data(1000)));
    let cuts: Vec<usize> = (1..66).map(|n| n * 8).collect();
    let parts = cut(&whole, 9, &cuts);
    node.send("up0", &parts[..64]);
    assert_eq!(node.reassembly().held_packets, 64);
    node.send("up0", &parts[64..]);
    let all = parts.len() as u64;
    assert_eq!(
        drops(&node, "up0"),
        [(DropReason::FragmentPieces, all)].into()
    );
}

#[test]
fn one_peers_flood_leaves_room_for_another() {
    for (family, peers) in PEERS.iter().enumerate() {
        let mut node = node();
        let limits = Limits::REASSEMBLY;
        let [flood, whole] = peers.map(|peer| tunnelled(peer, true, &inner(peer, &data(1000))));
        let expected = delivered(&mut node, &whole);
        for id in 0..limits.datagrams * 2 {
            node.send("up0", &cut(&flood, id, &[504])[1..]);
        }
        let kept = node.reassembly();
        assert!(kept.datagrams <= limits.datagrams && kept.held_packets <= limits.held_packets);
        for id in 0..100 {
            let parts = cut(&whole, id, &[504]);
            node.send("up0", &parts[1..]);
            node.send("up0", &cut(&flood, 100_000 + id, &[504])[1..]);
            node.send("up0", &parts[..1]);
            assert_eq!(
                node.recv("red-a"),
                std::slice::from_ref(&expected),
                "{family} {id}"
            );
        }
        node.pass(2_000);
        assert_eq!(node.reassembly(), Usage::default());
        let drops = drops(&node, "up0");
        assert!(
            drops[&DropReason::ReassemblyLimit] > u64::from(limits.datagrams),
            "{drops:?}"
        );
    }
}

#[test]
fn what_waits_from_a_vif_goes_with_it() {
    let mut node = node();
    let whole = tunnelled(PEERS[0][0], false, &inner(PEERS[0][0], &data(1000)));
    node.send("up1", &cut(&whole, 9, &[504])[..1]);
    assert_eq!(node.reassembly().held_packets, 1);
    node.detach("up1");
    assert_eq!(node.reassembly(), Usage::default());
    assert_eq!(drops(&node, "up1"), [(DropReason::VifGone, 1)].into());
}
