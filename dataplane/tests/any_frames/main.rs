//! Frames of every kind, whole and damaged, into every kind of vif: nothing
//! panics, every frame is accounted for, and nobody gets what is not theirs.
//!
//! Deterministic: a failure names the seed and the round it came in.

#![allow(unreachable_pub, missing_docs, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;
mod network;
mod samples;

use std::net::IpAddr;

use common::*;
use dataplane::DropReason;
use encap::icmp_error::is_error;
use encap::{MacAddr, MemBuffer};
use network::*;
use samples::*;

const ROUNDS: usize = 4_000;

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
