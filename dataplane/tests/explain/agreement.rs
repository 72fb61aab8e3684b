//! Random packets into random configurations: each is explained first and then sent, and the drop,
//! its reason, or every byte that left must be the same; and explaining has changed nothing.
//!
//! `EXPLAIN_PACKETS` says how many, 12,000 unless it is set. A failure names the seed and the packet.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use dataplane::DropReason;
use dataplane::counters::Totals;
use dataplane::explain::{Account, Packet, Setting, explain};
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{Fragment, MacAddr};

use crate::common::*;
use crate::network::*;
use crate::samples::*;

/// As the workers of a test have it.
const ERRORS_PER_SECOND: u32 = dataplane::stage::error_rate::PER_SECOND;

#[test]
fn explaining_and_forwarding_agree_on_random_packets() {
    let packets = std::env::var("EXPLAIN_PACKETS").ok();
    let packets = packets.and_then(|text| text.parse().ok()).unwrap_or(12_000);
    let mut seen = BTreeMap::new();
    let all = [
        (1, guarded_node()),
        (0x9E37_79B9_7F4A_7C15, node(false)),
        (7, switching_node()),
    ];
    let share = packets / all.len();
    for (seed, mut node) in all {
        let mut random = Random(seed);
        let samples = samples()
            .into_iter()
            .chain(more_samples())
            .collect::<Vec<_>>();
        let mut count = 0;
        while count < share {
            let place = format!("seed {seed}, packet {count}");
            count += one_round(&mut random, &mut node, &samples, &place, &mut seen);
        }
    }
    println!("{packets} packets: {seen:#?}");
    let agreed = |what: &str| seen.get(what).copied().unwrap_or(0);
    assert!(agreed("sent") > packets / 10, "{seen:?}");
    for reason in [
        DropReason::SpoofedSource,
        DropReason::SpoofedMac,
        DropReason::Martian,
        DropReason::PolicyDenied,
        DropReason::NoRoute,
        DropReason::TtlExpired,
        DropReason::ReversePath,
        DropReason::Metered,
        DropReason::IpChecksum,
        DropReason::Truncated,
    ] {
        assert!(agreed(reason.name()) > 0, "{}: {seen:?}", reason.name());
    }
    assert!(agreed("waits") > 0 && agreed("consumed") > 0, "{seen:?}");
}

/// One packet, or the fragments of one, explained and sent; how many that were.
fn one_round(
    random: &mut Random,
    node: &mut Node,
    samples: &[(&'static str, Vec<u8>)],
    place: &str,
    seen: &mut BTreeMap<&'static str, usize>,
) -> usize {
    if random.one_in(200) {
        change(random, node, place);
    }
    let tables = node.publisher.current();
    let vifs: Vec<&str> = VIFS.iter().map(|(vif, _)| *vif).collect();
    let vifs: Vec<&str> = vifs
        .into_iter()
        .filter(|vif| tables.vif_named(vif).is_some())
        .collect();
    let from = random.pick(&vifs);
    let frame = any_frame(random, samples, from);
    let frames = match random.one_in(10) {
        true => in_pieces(random, frame),
        false => vec![frame],
    };
    while from.starts_with("up") && node.is_waiting() {
        node.pass(1_000); // or what it says of a neighbour lets others' packets go
    }
    // What a worker holds of fragments is its own: none is left from before.
    let is_cut = frames.iter().any(|frame| is_fragment(frame));
    node.pass(if is_cut {
        1_200
    } else {
        random.below(20) as u32
    });
    node.recv_all();
    let packets: Vec<Packet> = frames
        .iter()
        .map(|frame| Packet {
            vif: from.into(),
            frame: frame.clone(),
        })
        .collect();
    let before = totals(node);
    let flows = node.flows.len();
    let setting = Setting {
        tables: &tables,
        flows: &node.flows,
        now: node.now(),
        icmp_errors_per_second: ERRORS_PER_SECOND,
    };
    let accounts = explain(&setting, &packets);
    assert_eq!(before, totals(node), "explaining left a trace: {place}");
    assert_eq!(flows, node.flows.len(), "explaining left a flow: {place}");
    for (packet, account) in packets.iter().zip(accounts) {
        compare(node, packet, &account, place, seen);
    }
    if is_cut {
        node.pass(31_000);
    }
    packets.len()
}

fn compare(
    node: &mut Node,
    packet: &Packet,
    account: &Account,
    place: &str,
    seen: &mut BTreeMap<&'static str, usize>,
) {
    let before = totals(node);
    node.send(&packet.vif, std::slice::from_ref(&packet.frame));
    let mut sent = node.recv_all();
    let place = || format!("{place}: into {}: {:x?}", packet.vif, packet.frame);
    let mut drops = Vec::new();
    let (mut consumed, mut originated, mut withheld) = (0, 0, 0);
    for (name, after) in totals(node) {
        let was = &before[&name];
        consumed += after.consumed - was.consumed;
        originated += after.originated - was.originated;
        withheld += after.errors_withheld - was.errors_withheld;
        for (reason, count) in after.drops() {
            let news = count - was.drops[reason as usize];
            if news > 0 {
                drops.push((Name::from(&*name), reason, news));
            }
        }
    }
    if account.waits {
        // It waits here too, unless others that wait have taken the room; and somebody is asked for.
        drops.retain(|(_, reason, _)| *reason != DropReason::NeighbourQueueFull);
        for (_, frames) in sent.iter_mut().filter(|(vif, _)| vif.starts_with("up")) {
            let all = frames.len();
            frames.retain(|frame| !is_question(frame));
            originated -= (all - frames.len()) as u64;
        }
        sent.retain(|_, frames| !frames.is_empty());
        *seen.entry("waits").or_default() += 1;
    }
    let mut foretold: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for sent in &account.sent {
        let frames = foretold.entry(sent.vif.to_string()).or_default();
        frames.push(sent.frame.clone());
    }
    if withheld > 0 {
        // Too many errors lately, which only the worker knows.
        foretold.clear();
        sent.clear();
        originated = account.originated;
    }
    assert_eq!(account.drops, drops, "{}", place());
    assert_eq!(foretold, sent, "{}", place());
    let counts = (account.consumed, account.originated);
    assert_eq!(counts, (consumed, originated), "{}", place());
    for (_, reason, _) in drops {
        *seen.entry(reason.name()).or_default() += 1;
    }
    if consumed > 0 {
        *seen.entry("consumed").or_default() += 1;
    }
    if !account.sent.is_empty() {
        *seen.entry("sent").or_default() += 1;
    }
}

/// A question for a neighbour.
fn is_question(frame: &[u8]) -> bool {
    let meta = encap::parse(frame).expect("our own");
    match meta.network {
        encap::Network::Arp => frame[usize::from(meta.l3) + 7] == 1,
        _ => meta.is_icmpv6() && meta.l4_flags == 135,
    }
}

fn totals(node: &Node) -> BTreeMap<String, Totals> {
    let tables = node.publisher.current();
    let vifs = tables.vifs();
    vifs.map(|vif| (vif.name.to_string(), vif.counters.totals()))
        .collect()
}

/// Whether a frame is a fragment, or may have one in a tunnel.
fn is_fragment(frame: &[u8]) -> bool {
    let is_part = |frame: &[u8]| match encap::parse(frame) {
        Ok(meta) => meta.fragment != Fragment::Whole || meta.fragment_header,
        Err(_) => false,
    };
    let inner = [14 + 36, 14 + 56, 18 + 36, 18 + 56].map(|at| frame.get(at..).unwrap_or_default());
    is_part(frame) || inner.into_iter().any(is_part)
}

/// The same packet in two or three fragments, in any order, if it can be cut.
fn in_pieces(random: &mut Random, frame: Vec<u8>) -> Vec<Vec<u8>> {
    let Ok(meta) = encap::parse(&frame) else {
        return vec![frame];
    };
    let header = usize::from(meta.l4);
    let len = usize::from(meta.end) - header.min(meta.end.into());
    let is_plain = !meta.tagged && !meta.ip_options && !meta.fragment_header && meta.is_ip();
    let is_whole = meta.fragment == Fragment::Whole && usize::from(meta.end) == frame.len();
    if !is_plain || !is_whole || len < 24 || header != [34, 54][usize::from(frame[14] >> 4 == 6)] {
        return vec![frame];
    }
    let mut pieces = cut(
        &frame,
        random.next() as u32,
        &[8, 16][..1 + random.below(2)],
    );
    if random.one_in(2) {
        pieces.reverse();
    }
    pieces
}

/// Both tenants again, with everything that can be said of them: policies, meters, a mirror, a
/// service, a pool, a floating address, groups, and a quota.
pub fn guarded_node() -> Node {
    let mut node = node(true);
    let mut red = vrf("red", &["10.1.0.1/24", "fd01::1/64"]);
    if let Object::Vrf(red) = &mut red {
        red.tcp_mss_clamp = Some(1_200);
    }
    let guards = |ingress: &[&str], egress: &[&str], meter: Option<&str>| Guards {
        ingress_policies: ingress.iter().map(|name| Name::from(*name)).collect(),
        egress_policies: egress.iter().map(|name| Name::from(*name)).collect(),
        egress_meter: meter.map(Name::from),
        ..Guards::default()
    };
    let guarded = |object: Object, guards: Guards| match object {
        Object::Vif(spec) => Object::Vif(Vif { guards, ..spec }),
        other => other,
    };
    let nexthop = |name: &str, action| {
        Object::Nexthop(Nexthop {
            name: name.into(),
            action,
        })
    };
    let member = |name: &str| Member {
        nexthop: name.into(),
        weight: NonZeroU16::MIN,
    };
    let mut watched = guards(&["web"], &[], None);
    watched.mirror = Some("copies".into());
    let objects = vec![
        red,
        Object::Meter(Meter {
            name: "slow".into(),
            bits_per_second: None,
            burst_bytes: None,
            packets_per_second: Some(2),
            burst_packets: Some(1),
        }),
        nexthop(
            "to-c",
            NexthopAction::Vif {
                vif: "blue-c".into(),
                address: None,
            },
        ),
        Object::Mirror(Mirror {
            name: "copies".into(),
            nexthop: "to-c".into(),
        }),
        policy(&[1, 2, 3]),
        guarded(
            tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
            guards(&["web"], &["web"], Some("slow")),
        ),
        guarded(
            tenant("blue-a", "blue", A, &["10.1.0.10", "fd01::10"]),
            watched,
        ),
        nexthop(
            "both",
            NexthopAction::Group(Group {
                members: vec![member("red-2"), member("red-6")],
                hash: HashFields::FiveTuple,
                symmetric: false,
            }),
        ),
        route("red", "10.7.0.0/16", "both"),
        service(3),
        Object::FloatingIp(FloatingIp {
            name: "known".into(),
            vrf: "blue".into(),
            address: net("10.3.0.1"),
            target: FloatingTarget::Vifs {
                vifs: vec!["red-b".into()],
                fixed: Some(net("10.1.0.11")),
            },
        }),
        Object::SnatPool(SnatPool {
            name: "out".into(),
            vrf: "red".into(),
            sources: vec![],
            outside_vrf: "blue".into(),
            addresses: vec![net("10.3.0.8/30")],
            ports: 1_000..=60_000,
            block_size: None,
            ports_per_vif: None,
            filtering: Filtering::AddressAndPortDependent,
            nat64_prefix: None,
        }),
        nexthop("to-blue", NexthopAction::Vrf("blue".into())),
        nexthop("no", NexthopAction::Reject),
        route("red", "10.1.0.12/32", "to-blue"),
        route("blue", "10.8.0.0/16", "no"),
    ];
    node.apply(objects.into_iter().map(Change::Upsert).collect())
        .expect("guards");
    node
}

/// Rules that let through a part of what comes, in an order that changes.
pub fn policy(order: &[u32]) -> Object {
    let rule = |id: u32| Rule {
        id,
        action: match id {
            1 => RuleAction::Allow,
            2 => RuleAction::Deny,
            _ => RuleAction::Reject,
        },
        protocol: [None, Some(17), None, Some(6)][id as usize % 4],
        sources: vec![],
        source_sets: vec![],
        destinations: match id {
            2 => vec![net("10.1.0.9/32")],
            _ => vec![],
        },
        destination_sets: vec![],
        source_ports: vec![],
        destination_ports: vec![],
        icmp: vec![],
        log: id == 2,
        mirror: None,
        dscp: (id == 1).then_some(10),
    };
    let mut rules: Vec<Rule> = order.iter().map(|id| rule(*id)).collect();
    rules.push(Rule {
        protocol: Some(1),
        ..rule(5)
    });
    for rule in &mut rules {
        if rule.id == 5 {
            rule.action = RuleAction::Allow;
        }
    }
    Object::Policy(Policy {
        name: "web".into(),
        rules,
    })
}

pub fn service(active: usize) -> Object {
    let backend = |(at, address): (usize, &str)| Backend {
        address: ip(address),
        port: 2_222,
        weight: NonZeroU16::MIN,
        state: match at < active {
            true => BackendState::Active,
            false => BackendState::Down,
        },
    };
    let backends = ["10.1.0.10", "10.1.0.11", "10.1.0.9"];
    Object::Service(Service {
        name: "shop".into(),
        vrf: "red".into(),
        address: ip("10.200.0.1"),
        protocol: 17,
        port: 2_222,
        backend_vrf: None,
        backends: backends.into_iter().enumerate().map(backend).collect(),
        affinity_timeout_s: Some(30),
        table_size: 1_009,
        on_down: OnDown::Reset,
        direct_return: false,
        health: None,
    })
}

/// Packets to what the guarded node has besides.
fn more_samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let machines = [("red-a", A, "10.1.0.10"), ("red-b", B, "10.1.0.11")];
    for (vif, mac, own) in machines {
        for port in 1_111..1_119 {
            for dst in ["10.200.0.1", "10.7.0.3", "10.1.0.12", "10.3.0.1"] {
                let ports = (port, 2_222);
                all.push((vif, udp_ports((mac, own), (ROUTER, dst), 64, ports)));
            }
        }
    }
    let answers = (C, "10.1.0.12");
    for dst in ["10.3.0.1", "10.3.0.8", "10.3.0.9", "10.8.0.1"] {
        let ports = (2_222, 1_111);
        all.push(("blue-c", udp_ports(answers, (ROUTER, dst), 64, ports)));
    }
    for bad in ["127.0.0.1", "240.0.0.1", "0.0.0.1", "224.0.0.5"] {
        all.push(("blue-c", udp(answers, (ROUTER, bad), 64)));
        all.push(("blue-c", udp((C, bad), (ROUTER, "10.1.0.10"), 64)));
    }
    for ttl in [0, 1, 2] {
        all.push(("blue-c", udp(answers, (ROUTER, "10.1.0.10"), ttl)));
    }
    let other = MacAddr([2, 0, 0, 0, 9, 9]);
    all.push((
        "blue-c",
        udp((other, "10.1.0.12"), (ROUTER, "10.1.0.10"), 9),
    ));
    all
}

/// The configuration moves under live flows.
fn change(random: &mut Random, node: &mut Node, place: &str) {
    let tables = node.publisher.current();
    let has_more = tables.object(&Key::Policy("web".into())).is_some();
    if !has_more || random.one_in(2) {
        return change_something(random, node);
    }
    let order = random.pick(&[[1, 2, 3], [2, 3, 1], [3, 1, 2]]);
    let object = match random.below(3) {
        0 => policy(&order[..1 + random.below(3)]),
        1 => service(random.below(4)),
        _ => route(
            "red",
            "10.7.0.0/16",
            random.pick(&["both", "red-2", "silent"]),
        ),
    };
    node.apply(vec![Change::Upsert(object)]).expect(place);
}
