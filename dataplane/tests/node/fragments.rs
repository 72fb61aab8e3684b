//! Datagrams in pieces: every fragment shares the fate of the whole packets of
//! its flow, whatever order they come in; what must not pass has a name; and
//! nobody's fragments cost others anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::common::*;
use dataplane::DropReason;
use dataplane::stage::fragments::{LIFETIME_MS, Limits, Usage};
use dataplane::tables::change::Change;
use dataplane::tables::spec::{Key, Nexthop, NexthopAction, Object};
use encap::MacAddr;
use etherparse::PacketBuilder;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Sources and destinations of both families: to a machine here, and to one
/// behind a tunnel.
const LOCAL: [(&str, &str); 2] = [("10.1.0.10", "10.1.0.11"), ("fd01::10", "fd01::11")];
const FAR: [(&str, &str); 2] = [("10.1.0.10", "10.1.0.9"), ("fd01::10", "fd01::9")];

/// Two tenants with two machines each and equal addresses; a third machine of
/// the first one is behind node 2.
fn node() -> Node {
    Node::new(vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("blue", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"]),
        tenant("blue-a", "blue", A, &["10.1.0.10", "fd01::10"]),
        tenant("blue-b", "blue", B, &["10.1.0.11", "fd01::11"]),
        tunnel("red-2", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "red-2"),
        route("red", "fd01::9/128", "red-2"),
        vni(5001, "red"),
        Object::Nexthop(Nexthop {
            name: "discard".into(),
            action: NexthopAction::Discard,
        }),
        mac("underlay", NODE2, "discard", Some("192.0.2.2")),
    ])
}

/// A UDP packet of any length from machine a to the router.
fn datagram((src, dst): (&str, &str), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(A.0, ROUTER.0);
    let network = match (ip(src), ip(dst)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let builder = network.udp(ports.0, ports.1);
    builder.write(&mut frame, payload).expect("it fits");
    frame
}

/// What the router makes of a frame from a for b.
fn routed(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&B.0);
    frame[6..12].copy_from_slice(&ROUTER.0);
    if frame[14] >> 4 == 6 {
        frame[21] -= 1;
        return frame;
    }
    frame[22] -= 1;
    // RFC 1624: the TTL is the high byte of its word.
    let sum = u32::from(u16::from_be_bytes([frame[24], frame[25]])) + 0x0100;
    let folded = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(folded as u16).to_be_bytes());
    frame
}

fn all_routed(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    frames.iter().cloned().map(routed).collect()
}

fn drops(node: &Node, vif: &str) -> BTreeMap<DropReason, u64> {
    node.drops(vif).into_iter().collect()
}

#[test]
fn fragments_are_of_the_flow_of_whole_packets() {
    let mut node = node();
    for way in FAR {
        let source_port = |frame: &Vec<u8>| [frame[34], frame[35]];
        let whole = node.exchange("red-a", datagram(way, (7, 80), b"whole"), "up0");
        let other = node.exchange("red-a", datagram(way, (8, 80), b"other"), "up0");
        assert_ne!(source_port(&whole), source_port(&other));
        let flows = node.flows.len();
        node.send(
            "red-a",
            &cut(&datagram(way, (7, 80), &[1; 3000]), 9, &[1400, 2800]),
        );
        let sent = node.recv("up0");
        assert_eq!(sent.len(), 3, "{:?}", node.drops("red-a"));
        for fragment in &sent {
            assert_eq!(source_port(fragment), source_port(&whole));
        }
        assert_eq!(node.flows.len(), flows);
        assert_eq!(node.fragments(), Usage::default());
    }
}

#[test]
fn fragments_before_the_first_one_wait_and_follow_it_in_order_of_arrival() {
    for way in LOCAL {
        let mut node = node();
        let parts = cut(&datagram(way, (7, 80), &[1; 500]), 9, &[160, 320, 480]);
        for late in [3, 1, 2] {
            node.send("red-a", &[parts[late].clone()]);
            assert_eq!(node.recv("red-b"), [] as [Vec<u8>; 0]);
        }
        assert_eq!(node.fragments().held_packets, 3);
        node.send("red-a", &[parts[0].clone()]);
        let order = [0, 3, 1, 2].map(|index| routed(parts[index].clone()));
        assert_eq!(node.recv("red-b"), order);
        assert_eq!(node.fragments(), Usage::default());

        // and all in one batch, with a whole packet between them
        let whole = datagram(way, (1, 2), b"whole");
        let batch = [2, 1, 0, 3].map(|index| parts[index].clone());
        let batch = [&batch[..2], std::slice::from_ref(&whole), &batch[2..]].concat();
        node.send("red-a", &batch);
        let order = [whole, parts[0].clone(), parts[3].clone()];
        let order = [&order[..], &[parts[2].clone(), parts[1].clone()]].concat();
        assert_eq!(node.recv("red-b"), all_routed(&order));
        node.check_accounts();
    }
}

#[test]
fn more_than_a_batch_is_let_go_at_once() {
    let mut node = node();
    let datagrams = (0..10).map(|n| datagram(LOCAL[0], (n, 80), &[1; 400]));
    let cuts: Vec<usize> = (1..50).map(|n| n * 8).collect();
    let parts: Vec<_> = datagrams
        .enumerate()
        .map(|(id, whole)| cut(&whole, id as u32, &cuts))
        .collect();
    for part in &parts {
        node.send("red-a", &part[1..]);
    }
    assert_eq!(node.fragments().held_packets, 10 * 49);
    let firsts: Vec<_> = parts.iter().map(|part| part[0].clone()).collect();
    node.send("red-a", &firsts);
    let order = [
        firsts,
        parts.iter().flat_map(|part| part[1..].to_vec()).collect(),
    ]
    .concat();
    assert_eq!(node.recv("red-b"), all_routed(&order));
    assert_eq!(node.fragments(), Usage::default());
}

#[test]
fn without_its_first_fragment_nothing_passes() {
    for way in LOCAL {
        let mut node = node();
        let parts = cut(&datagram(way, (7, 80), &[1; 500]), 9, &[160, 320]);
        node.send("red-a", &parts[1..]);
        for _ in 0..19 {
            node.pass(50);
        }
        assert!(node.is_waiting());
        // Every datagram is looked at within 64 ms.
        node.pass(50);
        node.pass(64);
        assert!(!node.is_waiting());
        assert_eq!(
            drops(&node, "red-a"),
            [(DropReason::FragmentTimeout, 2)].into()
        );
        assert_eq!(node.fragments(), Usage::default());
    }
}

#[test]
fn a_datagram_is_remembered_for_half_a_minute_and_no_longer() {
    for way in LOCAL {
        let parts = cut(&datagram(way, (7, 80), &[1; 500]), 9, &[160, 320]);
        for (wait, passes) in [(LIFETIME_MS - 1, 1), (LIFETIME_MS, 0)] {
            let mut node = node();
            node.send("red-a", &parts[..1]);
            assert_eq!(node.recv("red-b").len(), 1);
            node.pass(wait);
            node.send("red-a", &parts[1..2]);
            assert_eq!(node.recv("red-b").len(), passes, "{wait} ms");
            node.pass(LIFETIME_MS);
            assert_eq!(node.fragments(), Usage::default());
        }
    }
}

// RFC 8200 §4.5, RFC 5722 §3; for IPv4 the same is our choice.
#[test]
fn overlapping_fragments_take_the_whole_datagram_with_them() {
    for way in LOCAL {
        let whole = datagram(way, (7, 80), &[1; 493]);
        // By one byte: the last piece is the only one that can.
        let shorter = datagram(way, (7, 80), &[1; 153]);
        let (first, last) = (piece(&whole, 9, 0, 168), piece(&shorter, 9, 160, 161));
        let between = piece(&whole, 9, 168, 320);
        for order in [[&first, &last], [&last, &first]] {
            let mut node = node();
            for fragment in order {
                node.send("red-a", std::slice::from_ref(fragment));
            }
            node.send("red-a", std::slice::from_ref(&between));
            // Only what came before the overlap was seen has passed.
            let passed = usize::from(order[0] == &first);
            assert_eq!(node.recv("red-b").len(), passed);
            let expected = [(DropReason::FragmentOverlap, 3 - passed as u64)];
            assert_eq!(drops(&node, "red-a"), expected.into());
            assert_eq!(node.fragments().held_packets, 0);
        }
    }
}

#[test]
fn exact_duplicates_pass() {
    for way in LOCAL {
        let mut node = node();
        let parts = cut(&datagram(way, (7, 80), &[1; 500]), 9, &[160, 320]);
        let order = [0, 1, 0, 1, 2].map(|index| parts[index].clone());
        node.send("red-a", &order);
        assert_eq!(node.recv("red-b"), all_routed(&order));
        assert_eq!(node.fragments(), Usage::default());
    }
}

#[test]
fn a_second_beginning_is_an_overlap_until_the_identification_may_be_used_again() {
    for (way, again) in [(LOCAL[0], true), (LOCAL[1], false)] {
        let mut node = node();
        let one = cut(&datagram(way, (7, 80), &[1; 500]), 9, &[160, 320]);
        let two = cut(&datagram(way, (8, 80), &[2; 500]), 9, &[160, 320]);
        node.send("red-a", &one[..2]);
        assert_eq!(node.recv("red-b").len(), 2);
        assert_eq!(
            node.refused("red-a", two[0].clone()),
            DropReason::FragmentOverlap
        );
        // IPv4 has 16 bits of identification (RFC 6864 §4.3), IPv6 has 32.
        node.pass(1_000);
        node.send("red-a", &two);
        assert_eq!(node.recv("red-b").len(), if again { 3 } else { 0 });
        assert_eq!(node.fragments().datagrams, if again { 0 } else { 1 });
    }
}

#[test]
fn identifications_are_used_again_as_soon_as_a_datagram_is_complete() {
    for way in LOCAL {
        let mut node = node();
        for round in 0..5 {
            let whole = datagram(way, (round, 80), &[1; 500]);
            let parts = cut(&whole, 9, &[160, 320]);
            node.send("red-a", &parts);
            assert_eq!(node.recv("red-b"), all_routed(&parts));
        }
        assert_eq!(node.flows.len(), 5);
    }
}

// RFC 6946 §4: it is a datagram of its own, whatever else has its identification.
#[test]
fn atomic_fragments_disturb_nobody() {
    let mut node = node();
    let parts = cut(&datagram(LOCAL[1], (7, 80), &[1; 500]), 9, &[160, 320]);
    let whole = datagram(LOCAL[1], (8, 81), b"atomic");
    let atomic = piece(&whole, 9, 0, whole.len() - 54);
    for (fragment, passed) in [
        (&parts[1], 0),
        (&atomic, 1),
        (&parts[0], 2),
        (&atomic, 1),
        (&parts[2], 1),
    ] {
        node.send("red-a", std::slice::from_ref(fragment));
        assert_eq!(node.recv("red-b").len(), passed);
    }
    assert_eq!(node.fragments(), Usage::default());
}

// The fragment header of a later fragment may name an extension header that only
// the first fragment has (RFC 8200 §4.5).
#[test]
fn extension_headers_behind_the_fragment_header_count_as_data() {
    let mut node = node();
    let mut whole = datagram(LOCAL[1], (7, 80), &[1; 500]);
    whole.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    whole[20] = 60;
    whole[18..20].copy_from_slice(&(8 + 508_u16).to_be_bytes());
    let parts = cut(&whole, 9, &[160, 320]);
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        node.send("red-a", &order.map(|index| parts[index].clone()));
        assert_eq!(node.recv("red-b").len(), 3, "{order:?}");
        assert_eq!(node.fragments(), Usage::default());
    }
    assert_eq!(node.flows.len(), 1);
}

#[test]
fn a_datagram_in_too_many_pieces_is_refused() {
    let mut node = node();
    let cuts: Vec<usize> = (1..66).map(|n| n * 8).collect();
    let parts = cut(&datagram(LOCAL[0], (7, 80), &[1; 520]), 9, &cuts);
    node.send("red-a", &parts[..60]);
    node.send("red-a", &parts[60..]);
    assert_eq!(node.recv("red-b").len(), 64);
    assert_eq!(
        drops(&node, "red-a"),
        [(DropReason::FragmentPieces, 2)].into()
    );
}

// RFC 4787 REQ-14a
#[test]
fn a_million_datagrams_that_never_end_cost_nobody_else_anything() {
    const FLOOD: u32 = 1_000_000;
    let mut node = node();
    let limit = Limits::default().datagrams;
    let mut frame = datagram(LOCAL[0], (7, 80), &[1; 16]);
    frame = piece(&frame, 0, 0, 16);
    let later = piece(&datagram(LOCAL[0], (7, 80), &[1; 40]), 0, 24, 40);
    let probe = datagram(LOCAL[0], (1, 2), b"whole");
    let blue = cut(&datagram(LOCAL[0], (7, 80), &[1; 500]), 9, &[160, 320]);
    let (mut probes, mut whole_datagrams) = (0, 0);
    for round in 0..FLOOD / 62 {
        // Half of them firsts, half of them later ones without a first.
        let mut batch: Vec<Vec<u8>> = (0..62)
            .map(|n| with_id(if n < 31 { &frame } else { &later }, round * 62 + n))
            .collect();
        batch.insert(round as usize % 62, probe.clone());
        node.send("red-a", &batch);
        let passed = node.recv("red-b");
        probes += passed
            .iter()
            .filter(|frame| frame.len() == probe.len())
            .count();
        assert!(node.fragments().datagrams <= limit);
        if round % 64 == 0 {
            node.send("blue-a", &[blue[1].clone(), blue[0].clone()]);
            node.pass(1);
            node.send("blue-a", &[blue[2].clone()]);
            whole_datagrams += node.recv("blue-b").len() / 3;
        }
    }
    let rounds = FLOOD / 62;
    assert_eq!(probes, rounds as usize);
    assert_eq!(whole_datagrams, rounds.div_ceil(64) as usize);
    assert_eq!(drops(&node, "blue-a"), [].into());
    let used = node.fragments();
    // The last of blue's took their places from red's a moment ago.
    assert!(used.datagrams > limit - 8, "{used:?}");
    assert!(
        used.held_packets > Limits::default().held_packets - 8,
        "{used:?}"
    );
    for _ in 0..4 {
        node.pass(LIFETIME_MS / 3);
    }
    assert_eq!(node.fragments(), Usage::default());
    node.check_accounts();
}

/// The IPv4 fragment with another identification; addresses make up for the
/// bits that do not fit.
fn with_id(frame: &[u8], id: u32) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let before = u16::from_be_bytes([frame[18], frame[19]]);
    let sum =
        u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + u32::from(!before) + (id & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let folded = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
    frame[24..26].copy_from_slice(&folded.to_be_bytes());
    frame
}

#[test]
fn who_holds_most_makes_room_and_gets_no_more() {
    let mut node = node();
    let limit = Limits::default().held_packets as usize;
    let orphan = |id| piece(&datagram(LOCAL[0], (7, 80), &[1; 500]), id, 160, 320);
    for id in 0..limit as u32 {
        node.send("red-a", &[orphan(id)]);
    }
    assert_eq!(node.fragments().held_packets as usize, limit);
    assert_eq!(
        node.refused("red-a", orphan(9_999)),
        DropReason::FragmentLimit
    );
    // Blue takes half of it from red, oldest first, and no more.
    for id in 0..limit as u32 {
        node.send("blue-a", &[orphan(id)]);
    }
    let half = limit as u64 / 2;
    let refused = DropReason::FragmentLimit;
    assert_eq!(drops(&node, "red-a"), [(refused, 1 + half)].into());
    assert_eq!(drops(&node, "blue-a"), [(refused, half)].into());
    node.pass(5_000);
    assert_eq!(node.fragments(), Usage::default());
    let timeout = DropReason::FragmentTimeout;
    assert_eq!(
        drops(&node, "blue-a"),
        [(refused, half), (timeout, half)].into()
    );
}

#[test]
fn what_waits_in_a_network_that_goes_does_not_turn_up_in_the_next() {
    let mut node = node();
    let parts = cut(&datagram(LOCAL[0], (7, 80), &[1; 500]), 9, &[160, 320]);
    node.send("blue-a", &parts[1..]);
    assert_eq!(node.fragments().held_packets, 2);
    node.apply(vec![
        Change::Delete(Key::Vif("blue-a".into())),
        Change::Delete(Key::Vif("blue-b".into())),
        Change::Delete(Key::Vrf("blue".into())),
    ])
    .expect("nothing else is in it");
    assert_eq!(node.fragments(), Usage::default());
}

/// Datagrams cut, shuffled, repeated and interleaved at random. Deterministic:
/// a failure names the seed.
#[test]
fn datagrams_in_any_order_pass_whole_or_leave_a_name() {
    for seed in 1..=300 {
        let mut random = Random(seed * 0x9E37_79B9);
        let mut node = node();
        let mut arrivals: Vec<(&str, Vec<u8>)> = Vec::new();
        // As bytes that must come out, by vif, and how often.
        let mut whole: BTreeMap<(&str, Vec<u8>), u64> = BTreeMap::new();
        for id in 0..1 + random.below(12) {
            let way = random.pick(&LOCAL);
            let len = 16 + random.below(1_400);
            let frame = datagram(way, (id as u16, 80), &vec![id as u8; len]);
            let payload = len + 8;
            let mut cuts: Vec<usize> = (0..random.below(9))
                .map(|_| 8 * (1 + random.below(payload / 8)))
                .filter(|cut| *cut < payload)
                .collect();
            cuts.sort_unstable();
            cuts.dedup();
            let (from, to) = random.pick(&[("red-a", "red-b"), ("blue-a", "blue-b")]);
            for part in cut(&frame, id as u32, &cuts) {
                let times = 1 + u64::from(random.one_in(8));
                for _ in 0..times {
                    arrivals.push((from, part.clone()));
                }
                *whole.entry((to, routed(part))).or_default() += times;
            }
        }
        let mut came: BTreeMap<(&str, Vec<u8>), u64> = BTreeMap::new();
        while !arrivals.is_empty() {
            let (from, part) = arrivals.swap_remove(random.below(arrivals.len()));
            node.send(from, &[part]);
            for to in ["red-b", "blue-b"] {
                for frame in node.recv(to) {
                    *came.entry((to, frame)).or_default() += 1;
                }
            }
        }
        for _ in 0..7 {
            node.pass(LIFETIME_MS / 6);
        }
        assert_eq!(node.fragments(), Usage::default(), "seed {seed}");
        node.check_accounts();
        // Repetitions of a datagram that was already forgotten wait in vain;
        // everything else has come out, and nothing more than came in.
        let mut missing = 0;
        for (frame, times) in &whole {
            let came = came.get(frame).copied().unwrap_or(0);
            assert!(
                (1..=*times).contains(&came),
                "seed {seed}: {came} of {times}"
            );
            missing += times - came;
        }
        assert_eq!(came.len(), whole.len(), "seed {seed}");
        let named: BTreeMap<DropReason, u64> = ["red-a", "blue-a"]
            .into_iter()
            .flat_map(|vif| node.drops(vif))
            .fold(BTreeMap::new(), |mut sum, (reason, count)| {
                *sum.entry(reason).or_default() += count;
                sum
            });
        let timeouts = named.get(&DropReason::FragmentTimeout).copied();
        assert_eq!(timeouts.unwrap_or(0), missing, "seed {seed}: {named:?}");
        assert!(named.len() <= 1, "seed {seed}: {named:?}");
    }
}
