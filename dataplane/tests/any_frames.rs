//! Frames of every kind, whole and damaged, into every kind of vif: nothing
//! panics, every frame is accounted for, and nobody gets what is not theirs.
//!
//! Deterministic: a failure names the seed and the round it came in.

mod common;

use std::net::IpAddr;

use common::*;
use dataplane::DropReason;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::icmp_error::is_error;
use encap::{Buffer, MacAddr, MemBuffer, VlanId, Vni, nd};
use etherparse::PacketBuilder;

const ROUNDS: usize = 4_000;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
const REMOTE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x9]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const UPLINK6: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const KERNEL: MacAddr = MacAddr([2, 0, 0, 0, 1, 4]);
const BROADCAST: MacAddr = MacAddr::BROADCAST;

/// Vifs with the vrf they are in; the last three are not tenants'.
const VIFS: [(&str, &str); 7] = [
    ("red-a", "red"),
    ("red-b", "red"),
    ("blue-a", "blue"),
    ("blue-c", "blue"),
    ("up0", "underlay"),
    ("up6", "underlay"),
    ("kernel", "underlay"),
];

/// Two tenants with the same addresses on every kind of port, both also behind
/// node 2, over an IPv4 and a tagged IPv6 uplink. One remote never answers.
fn node(with_host: bool) -> Node {
    let mut objects = vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("blue", &["10.1.0.1/24", "fd01::1/64"]),
        fabric("up0", UPLINK, &["192.0.2.1/24"]),
        on_vlan(fabric("up6", UPLINK6, &["2001:db8::1/64"]), 6),
        tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
        on_vlan(tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"]), 7),
        tenant("blue-a", "blue", A, &["10.1.0.10", "fd01::10"]),
        tenant("blue-c", "blue", C, &["10.1.0.12", "fd01::12"]),
        tunnel("red-2", "192.0.2.2", 5001, None),
        tunnel("blue-2", "192.0.2.2", 5002, Some(REMOTE)),
        tunnel("red-6", "2001:db8::2", 5003, None),
        tunnel("silent", "192.0.2.66", 5001, None),
        Object::Nexthop(Nexthop {
            name: "discard".into(),
            action: NexthopAction::Discard,
        }),
        route("red", "10.1.0.9/32", "red-2"),
        route("red", "fd01::9/128", "red-6"),
        route("red", "10.66.0.0/16", "silent"),
        route("blue", "10.1.0.9/32", "blue-2"),
        route("blue", "10.2.0.0/16", "discard"),
        mac("red", REMOTE, "red-2", Some("10.1.0.9")),
        mac("blue", REMOTE, "blue-2", Some("10.1.0.9")),
        mac("underlay", NODE2, "discard", Some("192.0.2.2")),
        vni(5001, "red"),
        vni(5002, "blue"),
        vni(5003, "red"),
    ];
    if with_host {
        objects.push(Object::Vif(Vif {
            role: Role::Host,
            ..vif_of(fabric("kernel", KERNEL, &[]))
        }));
    }
    Node::new(objects)
}

/// The same with red as a switch: everything that has no place of its own reaches
/// both machines and both tunnels, and MACs are learned.
fn switching_node() -> Node {
    let mut node = node(true);
    let mut red = vrf("red", &["10.1.0.1/24", "fd01::1/64"]);
    if let Object::Vrf(red) = &mut red {
        red.learning = true;
    }
    let nexthop = |name: &str, action| {
        Object::Nexthop(Nexthop {
            name: name.into(),
            action,
        })
    };
    let to_vif = |vif: &str| NexthopAction::Vif {
        vif: vif.into(),
        address: None,
    };
    let members = ["to-a", "to-b", "red-2", "red-6"].map(Name::from);
    let objects = vec![
        red,
        nexthop("to-a", to_vif("red-a")),
        nexthop("to-b", to_vif("red-b")),
        nexthop("all", NexthopAction::Replicate(members.to_vec())),
        mac("red", BROADCAST, "all", None),
    ];
    node.apply(objects.into_iter().map(Change::Upsert).collect())
        .expect("a switch");
    node
}

fn vif_of(object: Object) -> Vif {
    match object {
        Object::Vif(vif) => vif,
        other => panic!("{other:?} is no vif"),
    }
}

fn on_vlan(object: Object, id: u16) -> Object {
    Object::Vif(Vif {
        vlan: Some(VlanId::new(id).expect("12 bits")),
        ..vif_of(object)
    })
}

#[test]
fn whatever_arrives_is_accounted_for_and_stays_where_it_belongs() {
    for (seed, mut node, with_host) in [
        (1, node(true), true),
        (0x9E37_79B9_7F4A_7C15, node(false), false),
        (7, switching_node(), true),
    ] {
        let mut random = Random(seed);
        let samples = samples();
        for round in 0..ROUNDS {
            let vifs = match with_host {
                true => &VIFS[..],
                false => &VIFS[..6],
            };
            let (from, vrf) = random.pick(vifs);
            let count = 1 + random.below(64);
            let frames: Vec<Vec<u8>> = (0..count)
                .map(|_| any_frame(&mut random, &samples, from))
                .collect();
            node.send(from, &frames);
            for (to, its_vrf) in vifs {
                for frame in node.recv(to) {
                    let place =
                        || format!("seed {seed}, round {round}: {from} to {to}: {frame:x?}");
                    check_sent(from, vrf, to, its_vrf, &frame, &place);
                }
            }
            if random.one_in(20) {
                node.pass(random.below(2_000) as u32);
            }
            if random.one_in(50) {
                change_something(&mut random, &mut node);
            }
            if !node.is_waiting() {
                node.check_accounts();
            }
        }
        for _ in 0..5 {
            node.pass(1_000);
        }
        node.check_accounts();
        assert!(node.totals("red-b").tx_packets > 100 && node.totals("blue-c").tx_packets > 100);
        assert!(node.totals("up6").tx_packets > 100);
    }
}

#[test]
fn the_short_way_and_the_long_one_lead_to_the_same() {
    let samples = samples();
    for (seed, make) in [(5, node as fn(bool) -> Node), (6, |_| switching_node())] {
        let (mut short, mut long) = (make(true), make(true).without_fast_path());
        // Alike, so that both nodes are sent the same and changed the same.
        let mut random = [Random(seed), Random(seed)];
        for round in 0..ROUNDS {
            let [frames, same] = random.each_mut().map(|random| {
                let (from, _) = random.pick(&VIFS);
                let count = 1 + random.below(64);
                let any = |_| any_frame(random, &samples, from);
                (from, (0..count).map(any).collect::<Vec<Vec<u8>>>())
            });
            assert_eq!(frames, same);
            let (from, frames) = frames;
            short.send(from, &frames);
            long.send(from, &frames);
            for (vif, _) in VIFS {
                let place = || format!("{vif}, round {round} from {from}, seed {seed}");
                assert_eq!(short.recv(vif), long.recv(vif), "{}", place());
                assert_eq!(short.totals(vif), long.totals(vif), "{}", place());
            }
            if round % 50 == 49 {
                for (node, random) in [&mut short, &mut long].into_iter().zip(&mut random) {
                    change_something(random, node);
                }
            }
            if round % 20 == 19 {
                short.pass(700);
                long.pass(700);
            }
        }
    }
}

#[test]
fn cut_into_pieces_everything_goes_the_same_way() {
    let samples = samples();
    let (mut whole, mut pieces) = (node(true), node(true));
    // Alike, so that both nodes are sent the same and changed the same.
    let mut random = [Random(3), Random(3)];
    let mut cuts = Random(4);
    for round in 0..ROUNDS / 2 {
        let [frames, same] = random.each_mut().map(|random| {
            let (from, _) = random.pick(&VIFS);
            let any = |_| any_frame(random, &samples, from);
            (from, (0..20).map(any).collect::<Vec<Vec<u8>>>())
        });
        assert_eq!(frames, same);
        let (from, frames) = frames;
        whole.send(from, &frames);
        let cut = |frame: Vec<u8>| {
            let lens = (0..cuts.below(4)).map(|_| cuts.below(100)).collect();
            (frame, lens)
        };
        pieces.send_chained(from, &frames.into_iter().map(cut).collect::<Vec<_>>());
        for (vif, _) in VIFS {
            assert_eq!(whole.recv(vif), pieces.recv(vif), "{vif}, round {round}");
            assert_eq!(
                whole.totals(vif),
                pieces.totals(vif),
                "{vif}, round {round}"
            );
        }
        let [ms, _] = random.each_mut().map(|random| random.below(500) as u32);
        whole.pass(ms);
        pieces.pass(ms);
        if round % 50 == 0 {
            change_something(&mut random[0], &mut whole);
            change_something(&mut random[1], &mut pieces);
        }
    }
    for _ in 0..5 {
        whole.pass(1_000);
        pieces.pass(1_000);
    }
}

#[test]
fn every_truncation_of_every_kind_is_accounted_for() {
    for mut node in [node(true), switching_node()] {
        for (name, frame) in samples() {
            for len in 0..frame.len() {
                node.send(name, &[frame[..len].to_vec()]);
                for (vif, _) in VIFS {
                    node.recv(vif);
                }
            }
        }
        for _ in 0..5 {
            node.pass(1_000);
        }
        node.check_accounts();
    }
}

#[test]
fn what_a_full_ring_refuses_is_counted() {
    let mut node = node(false);
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.12"), 64);
    let frame = [&frame[..6], &A.0, &frame[12..]].concat();
    for _ in 0..20 {
        node.send("blue-a", &vec![frame.clone(); 64]);
    }
    let totals = node.totals("blue-c");
    assert_eq!(totals.tx_packets, 1_024);
    assert_eq!(
        node.drops("blue-c"),
        [(DropReason::TxRingFull, 20 * 64 - 1_024)]
    );
    node.check_accounts();
}

/// A tenant's frames reach its own network only, carry its own addresses, and
/// leave the node in its own tunnels; a tunnel's are delivered where they belong.
fn check_sent(
    from: &str,
    vrf: &str,
    to: &str,
    its_vrf: &str,
    frame: &[u8],
    place: &dyn Fn() -> String,
) {
    let meta = encap::parse(frame).unwrap_or_else(|error| panic!("{error:?}: {}", place()));
    let from_tenant = vrf != "underlay";
    match (from_tenant, its_vrf != "underlay") {
        // A while after, when others send, it says that nobody answers for where a packet was to go.
        (_, true) if is_routers_error(frame, &meta) => {}
        (true, true) => {
            assert_eq!(vrf, its_vrf, "{}", place());
            if from != to {
                check_source(from, frame, place);
            }
        }
        (true, false) if meta.is_udp() && meta.dst_port == 4789 => {
            let opened = encap::decap(&MemBuffer::from_frame(frame), &meta);
            let outer = opened.expect("our own tunnel packet").expect("VXLAN");
            let encap::Circuit::Vni(vni) = outer.circuit else {
                panic!("labels: {}", place());
            };
            let vnis: &[u32] = match vrf {
                "red" => &[5001, 5003],
                _ => &[5002],
            };
            assert!(vnis.contains(&vni.get()), "{}", place());
            check_source(from, &frame[outer.inner.into()..], place);
        }
        (true, false) => {
            let asks = meta.network == encap::Network::Arp || meta.is_icmpv6();
            assert!(asks && to != "kernel", "{}", place());
        }
        (false, true) => assert!(from.starts_with("up"), "{}", place()),
        (false, false) => {}
    }
}

/// An error that the virtual router sends itself, about a packet of whom it is for.
fn is_routers_error(frame: &[u8], meta: &encap::Meta) -> bool {
    let router = ["10.1.0.1", "fd01::1"].map(ip);
    let quote = || encap::Quote::read(frame, meta).ok().flatten();
    frame[6..12] == ROUTER.0
        && is_error(meta)
        && meta
            .src_addr(frame)
            .is_some_and(|src| router.contains(&src))
        && quote().is_some_and(|quote| Some(quote.src) == meta.dst_addr(frame))
}

fn check_source(from: &str, frame: &[u8], place: &dyn Fn() -> String) {
    let (mac, own) = match from {
        "red-a" | "blue-a" => (A, ["10.1.0.10", "fd01::10"]),
        "red-b" => (B, ["10.1.0.11", "fd01::11"]),
        _ => (C, ["10.1.0.12", "fd01::12"]),
    };
    let src = MacAddr(frame[6..12].try_into().expect("six bytes"));
    assert!(src == mac || src == ROUTER, "{src}: {}", place());
    let meta = encap::parse(frame).expect("it was parsed before");
    match meta.src_addr(frame) {
        None => {}
        // Who has no address yet asks its neighbours.
        Some(IpAddr::V6(addr)) if addr.is_unspecified() => assert_eq!(src, mac),
        Some(IpAddr::V6(addr)) if addr.is_unicast_link_local() => assert_eq!(src, mac),
        Some(addr) => assert!(own.map(ip).contains(&addr), "{addr}: {}", place()),
    }
}

/// Now and then the configuration moves under live flows.
fn change_something(random: &mut Random, node: &mut Node) {
    let object = match random.below(4) {
        0 => route(
            "red",
            "10.1.0.9/32",
            random.pick(&["red-2", "red-6", "silent"]),
        ),
        1 => tunnel(
            "red-6",
            random.pick(&["2001:db8::2", "2001:db8::3"]),
            5003,
            None,
        ),
        2 => vni(5003, random.pick(&["red", "blue"])),
        _ => route("underlay", "203.0.113.0/24", "discard"),
    };
    let key = object.key();
    if random.one_in(3) && matches!(key, Key::Route(..)) {
        let _ = node.apply(vec![Change::Delete(key)]); // it may not be there
    } else {
        node.apply(vec![Change::Upsert(object)])
            .expect("a valid change");
    }
}

/// A sample, mostly into the vif it was made for, with some damage or none.
fn any_frame(random: &mut Random, samples: &[(&str, Vec<u8>)], vif: &str) -> Vec<u8> {
    let fitting: Vec<&Vec<u8>> = samples
        .iter()
        .filter(|(name, _)| *name == vif)
        .map(|(_, frame)| frame)
        .collect();
    let mut frame = match random.one_in(5) || fitting.is_empty() {
        true => samples[random.below(samples.len())].1.clone(),
        false => fitting[random.below(fitting.len())].clone(),
    };
    match random.below(8) {
        0 => {
            frame = (0..random.below(200))
                .map(|_| random.next() as u8)
                .collect()
        }
        1 => frame.truncate(random.below(frame.len() + 1)),
        2 => frame.extend(vec![0; random.below(1_600)]),
        3..=4 => {
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len());
                frame[at] = random.next() as u8;
            }
        }
        // Bytes that headers are full of.
        5 => {
            let at = random.below(frame.len());
            frame[at] = random.pick(&[
                0, 1, 2, 6, 17, 43, 44, 58, 60, 64, 0x45, 0x60, 127, 224, 255,
            ]);
        }
        _ => {}
    }
    mend(random, &mut frame);
    frame
}

/// Most damage would end at a checksum: mends those of IPv4 headers half the time.
fn mend(random: &mut Random, frame: &mut [u8]) {
    if random.one_in(2) {
        return;
    }
    for at in [14, 18, 14 + 36 + 14, 18 + 56 + 14] {
        let Some([first, ..]) = frame.get(at..at + 20) else {
            continue;
        };
        let len = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || len < 20 || at + len > frame.len() {
            continue;
        }
        frame[at + 10..at + 12].fill(0);
        let sum = encap::checksum::Sum::new().bytes(&frame[at..at + len]);
        frame[at + 10..at + 12].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

/// Good frames with the vif that each is for.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let machines = [
        ("red-a", A, ["10.1.0.10", "fd01::10"], B),
        ("red-b", B, ["10.1.0.11", "fd01::11"], A),
        ("blue-a", A, ["10.1.0.10", "fd01::10"], C),
        ("blue-c", C, ["10.1.0.12", "fd01::12"], A),
    ];
    for (vif, mac, [v4, v6], neighbour) in machines {
        for frame in machine_frames(mac, v4, v6, neighbour) {
            all.push((vif, frame.clone()));
            all.push((vif, tagged(&frame, 7)));
        }
    }
    for frame in fabric_frames() {
        all.push(("up0", frame.clone()));
        all.push(("up6", tagged(&frame, 6)));
        all.push(("kernel", frame));
    }
    all
}

fn machine_frames(mac: MacAddr, v4: &str, v6: &str, neighbour: MacAddr) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let there = [
        "10.1.0.10",
        "10.1.0.11",
        "10.1.0.12",
        "10.1.0.9",
        "10.1.0.1",
        "10.66.1.1",
        "10.2.0.1",
        "192.0.2.1",
    ];
    for dst in there {
        all.push(udp((mac, v4), (ROUTER, dst), 64));
        all.push(arp(1, (mac, v4), (MacAddr::ZERO, dst), BROADCAST));
        all.push(ping((mac, v4), (ROUTER, dst)));
    }
    for dst in [
        "fd01::10", "fd01::11", "fd01::12", "fd01::9", "fd01::1", "fe80::1",
    ] {
        all.push(udp((mac, v6), (ROUTER, dst), 64));
        all.push(ping((mac, v6), (ROUTER, dst)));
        all.push(solicitation(mac, v6, dst));
        all.push(udp((mac, "fe80::a"), (neighbour, dst), 64));
    }
    for dst in [neighbour, REMOTE, BROADCAST, mac] {
        all.push(udp((mac, v4), (dst, "10.1.0.9"), 1));
        all.push(udp((mac, v6), (dst, "fd01::9"), 1));
        all.push([&dst.0[..], &mac.0, &[0x88, 0xb5], &[7; 50]].concat());
    }
    all.push(tcp((mac, v4), (ROUTER, "10.1.0.9")));
    all.push(tcp((mac, v6), (neighbour, "fd01::9")));
    // an inner frame in a tunnel packet of the machine's own making
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    all.push(vxlan([(mac, v4), (ROUTER, "10.1.0.9")], 5002, &inner));
    for part in [0x2000_u16, 0x0002, 0x2001] {
        let mut fragment = udp((mac, v4), (ROUTER, "10.1.0.9"), 64);
        fragment.extend([0; 3]);
        fragment[16..18].copy_from_slice(&36_u16.to_be_bytes());
        fragment[20..22].copy_from_slice(&part.to_be_bytes());
        all.push(fragment);
    }
    all
}

fn fabric_frames() -> Vec<Vec<u8>> {
    let mut all = vec![
        arp(
            1,
            (NODE2, "192.0.2.2"),
            (MacAddr::ZERO, "192.0.2.1"),
            BROADCAST,
        ),
        arp(2, (NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), UPLINK),
        arp(
            1,
            (NODE2, "192.0.2.2"),
            (MacAddr::ZERO, "192.0.2.7"),
            BROADCAST,
        ),
        ping((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")),
        ping((NODE2, "2001:db8::2"), (UPLINK6, "2001:db8::1")),
        solicitation(NODE2, "2001:db8::2", "2001:db8::1"),
        advertisement(NODE2, "2001:db8::2", "2001:db8::1"),
        udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), 64),
        udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.7"), 64),
        [&UPLINK.0[..], &NODE2.0, &[0x88, 0xcc], &[7; 50]].concat(),
    ];
    let mut inner = vec![arp(
        1,
        (REMOTE, "10.1.0.9"),
        (MacAddr::ZERO, "10.1.0.10"),
        BROADCAST,
    )];
    for dst in [A, B, C, ROUTER, REMOTE, BROADCAST] {
        for to in [
            "10.1.0.10",
            "10.1.0.11",
            "10.1.0.12",
            "10.1.0.9",
            "10.1.0.1",
        ] {
            inner.push(udp((REMOTE, "10.1.0.9"), (dst, to), 64));
        }
        inner.push(udp((REMOTE, "fd01::9"), (dst, "fd01::10"), 64));
        inner.push([&dst.0[..], &REMOTE.0, &[0x88, 0xb5], &[7; 50]].concat());
    }
    inner.push(ping((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.1")));
    inner.push(solicitation(REMOTE, "fd01::9", "fd01::10"));
    inner.push(tagged(&inner[1], 3));
    for frame in &inner {
        for number in [5001, 5002, 5003, 5004] {
            all.push(vxlan(
                [(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")],
                number,
                frame,
            ));
            all.push(vxlan6(number, frame));
        }
    }
    all
}

fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(frame);
    let id = VlanId::new(id).expect("12 bits");
    encap::rewrite::push_vlan(&mut packet, id).expect("there is room");
    packet.bytes().to_vec()
}

fn ping(src: (MacAddr, &str), dst: (MacAddr, &str)) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let mut frame = Vec::new();
    match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link
            .ipv4(a.octets(), b.octets(), 64)
            .icmpv4_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        (IpAddr::V6(a), IpAddr::V6(b)) => link
            .ipv6(a.octets(), b.octets(), 64)
            .icmpv6_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        _ => panic!("one family"),
    }
    .expect("it fits");
    frame
}

fn tcp(src: (MacAddr, &str), dst: (MacAddr, &str)) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let network = match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let builder = network.tcp(1, 2, 3, 4).syn();
    builder.write(&mut frame, b"").expect("it fits");
    frame
}

fn solicitation(mac: MacAddr, src: &str, target: &str) -> Vec<u8> {
    let (IpAddr::V6(src), IpAddr::V6(target)) = (ip(src), ip(target)) else {
        panic!("neighbour discovery is for IPv6");
    };
    let mut packet = MemBuffer::default();
    nd::solicit(&mut packet, mac, src, target).expect("it fits");
    packet.bytes().to_vec()
}

/// What `mac` answers when `asker` asks for `target`.
fn advertisement(mac: MacAddr, target: &str, asker: &str) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(&solicitation(UPLINK6, asker, target));
    let meta = encap::parse(packet.bytes()).expect("a solicitation");
    let asked = nd::solicitation(packet.bytes(), &meta).expect("valid");
    let asked = asked.expect("a solicitation");
    let flags = nd::Flags {
        solicited: true,
        ..nd::Flags::default()
    };
    nd::answer(&mut packet, &meta, &asked, mac, flags).expect("it fits");
    packet.bytes().to_vec()
}

fn vxlan6(number: u32, inner: &[u8]) -> Vec<u8> {
    let outer = encap::Outer {
        src_mac: NODE2,
        dst_mac: UPLINK6,
        vlan: None,
        src: ip("2001:db8::2"),
        dst: ip("2001:db8::1"),
        ttl: 64,
    };
    let number = Vni::new(number).expect("24 bits");
    let header = encap::TunnelHeader::new(&outer, encap::Encap::Vxlan(number)).expect("one family");
    let mut packet = MemBuffer::from_frame(inner);
    let inner = encap::Inner::default();
    header.push(&mut packet, UPLINK6, &inner).expect("it fits");
    packet.bytes().to_vec()
}
