//! Every truncation, and as many random mutations as `MUTATIONS` says, of valid
//! frames of each kind through the whole engine: nothing panics, every frame is
//! accounted for, and none is forwarded with a wrong length or checksum.
//!
//! What is wrong is for `check` to say, which shares nothing with the engine.
//! Deterministic: a failure names the frame that did it.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod damage;
mod frames;

use std::{env, thread};

use common::*;
use dataplane::tables::spec::*;
use encap::{Encap, Label, VlanId, Vni};
use frames::{A, B, FAR, KERNEL, NODE2, NODE3, Shim, UPLINK, WAYS, Way};

const VIFS: [&str; 4] = ["red-a", "red-b", "up0", "kernel"];

/// Mutations when nobody says otherwise, as in `cargo test`.
const FEW: usize = 200_000;

#[test]
fn random_mutations_are_dropped_or_forwarded_right() {
    let count = env::var("MUTATIONS").map_or(FEW, |text| text.parse().expect("a number"));
    let forwarded: usize = thread::scope(|scope| {
        let halves = [0x5eed, 0x9e37_79b9].map(|seed| scope.spawn(move || mutate(seed, count / 2)));
        halves
            .map(|half| half.join().expect("no half fails"))
            .iter()
            .sum()
    });
    println!("{count} mutations, {forwarded} frames forwarded");
    assert!(
        forwarded > count / 20,
        "only {forwarded} of {count} got through"
    );
}

fn mutate(seed: u64, count: usize) -> usize {
    let mut random = Random(seed);
    let mut bench = Bench::new();
    let frames = frames::all();
    for index in 0..count {
        let (vif, frame) = &frames[random.below(frames.len())];
        let mut frame = frame.clone();
        damage::mutate(&mut random, &mut frame);
        // Now and then what is for one reaches another.
        let vif = if random.one_in(50) {
            random.pick(&VIFS)
        } else {
            vif
        };
        bench.pass(vif, frame);
        if index % 64 == 0 {
            bench.node.pass(5);
        }
        if index % 4_096 == 0 {
            bench.settle();
        }
    }
    bench.settle();
    for vif in VIFS {
        assert!(bench.node.totals(vif).tx_packets > 0, "{vif} got nothing");
    }
    bench.forwarded
}

#[test]
fn every_truncation_is_dropped_or_forwarded_right() {
    let mut bench = Bench::new();
    for (vif, frame) in frames::all() {
        for len in 0..=frame.len() {
            bench.pass(vif, frame[..len].to_vec());
        }
        bench.settle();
    }
}

/// Else the mutations would be of frames that are refused anyway.
#[test]
fn undamaged_frames_are_forwarded() {
    let mut bench = Bench::new();
    let frames = frames::all();
    let count = frames.len();
    for (vif, frame) in frames {
        let packet = check::innermost(&frame, vif == "up0");
        assert!(
            packet.is_none_or(|packet| packet.transport_is_right() != Some(false)),
            "{vif}: {frame:x?}"
        );
        bench.pass(vif, frame);
    }
    bench.settle();
    assert!(
        bench.forwarded > count * 3 / 4,
        "{} of {count}",
        bench.forwarded
    );
}

/// The judge itself, shown to see what it is there for.
#[test]
fn wrong_lengths_and_checksums_are_seen() {
    let good = frames::all();
    let (_, frame) = good
        .iter()
        .find(|(vif, frame)| *vif == "up0" && frame[23] == 17)
        .expect("a tunnel packet");
    assert_eq!(check::tunnelled(frame), Ok(true));
    // IPv4 header, its checksum, outer UDP length, inner IPv4 header, its length.
    for at in [16, 22, 24, 39, 50 + 14 + 8, 50 + 14 + 3] {
        let mut frame = frame.clone();
        frame[at] ^= 0x40;
        assert!(check::tunnelled(&frame).is_err(), "byte {at} is not seen");
    }
    let mut longer = frame.clone();
    longer.push(0);
    assert!(check::tunnelled(&longer).is_err());
    let mut inner = frame.clone();
    *inner.last_mut().expect("it has bytes") ^= 1;
    let packet = check::innermost(&inner, true).expect("it is IP");
    assert_eq!(packet.transport_is_right(), Some(false));
}

/// A node, and the judge of what comes out of it.
struct Bench {
    node: Node,
    forwarded: usize,
}

impl Bench {
    /// Two machines of one tenant, one behind a tag; the same network behind node 2
    /// through every kind of tunnel; the kernel.
    fn new() -> Bench {
        let mut objects = vec![
            vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
            fabric("up0", UPLINK, &["192.0.2.1/24", "2001:db8::1/64"]),
            tenant("red-a", "red", A, &["10.1.0.10", "fd01::10"]),
            tagged(tenant("red-b", "red", B, &["10.1.0.11", "fd01::11"])),
            host("kernel"),
            mac("red", FAR, "way-40", None),
            Object::Nexthop(Nexthop {
                name: "discard".into(),
                action: NexthopAction::Discard,
            }),
            mac("underlay", NODE2, "discard", Some("192.0.2.2")),
            mac("underlay", NODE3, "discard", Some("2001:db8::2")),
        ];
        for way in &WAYS {
            let name = format!("way-{}", way.host);
            objects.push(nexthop(&name, way));
            objects.push(arrival(way));
            objects.push(route("red", &format!("10.1.0.{}/32", way.host), &name));
            objects.push(route("red", &format!("fd01::{}/128", way.host), &name));
        }
        Bench {
            node: Node::with_flow_table(1 << 16, objects),
            forwarded: 0,
        }
    }

    /// Takes one frame through the node, and judges all that comes out.
    fn pass(&mut self, vif: &str, frame: Vec<u8>) {
        let frames = [frame];
        self.node.send(vif, &frames);
        for to in VIFS {
            for sent in self.node.recv(to) {
                self.forwarded += 1;
                if let Err(problem) = judge(vif, &frames[0], to, &sent) {
                    panic!(
                        "{problem}\n{vif} got {:02x?}\n{to} sent {sent:02x?}",
                        frames[0]
                    );
                }
            }
        }
    }

    /// Lets everything that waits go, and looks at the accounts.
    fn settle(&mut self) {
        for _ in 0..8 {
            if self.node.is_waiting() {
                self.node.pass(1_000);
            }
            for vif in VIFS {
                self.node.recv(vif);
            }
        }
        self.node.check_accounts();
    }
}

/// What came out on `to` after `got` came in on `from`.
fn judge(from: &str, got: &[u8], to: &str, sent: &[u8]) -> Result<(), &'static str> {
    check::sent(sent)?;
    if sent == got {
        return Ok(()); // the kernel's and the fabric's own, which pass as they are
    }
    let from_tenant = from.starts_with("red");
    let opens = from_tenant && to == "up0";
    if opens {
        check::tunnelled(sent)?;
    }
    let was = check::innermost(got, from == "up0").and_then(|packet| packet.transport_is_right());
    let is = check::innermost(sent, opens).and_then(|packet| packet.transport_is_right());
    if was == Some(true) && is == Some(false) {
        return Err("a right checksum became wrong");
    }
    Ok(())
}

fn tagged(object: Object) -> Object {
    match object {
        Object::Vif(vif) => Object::Vif(Vif {
            vlan: VlanId::new(7),
            ..vif
        }),
        other => other,
    }
}

fn host(name: &str) -> Object {
    match fabric(name, KERNEL, &[]) {
        Object::Vif(vif) => Object::Vif(Vif {
            role: Role::Host,
            ..vif
        }),
        other => other,
    }
}

/// The nexthop at the near end.
fn nexthop(name: &str, way: &Way) -> Object {
    let encap = match way.shim {
        Shim::Vxlan => Encap::Vxlan(Vni::new(way.number).expect("24 bits")),
        Shim::MplsUdp => Encap::MplsUdp(label(way)),
        Shim::MplsGre => Encap::MplsGre(label(way)),
    };
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Tunnel(Tunnel {
            payload: payload(way),
            ..Tunnel::new(ip(remote(way)), encap)
        }),
    })
}

/// What arrives from the far end.
fn arrival(way: &Way) -> Object {
    match way.shim {
        Shim::Vxlan => vni(way.number, "red"),
        Shim::MplsUdp | Shim::MplsGre => Object::Label(LabelEntry {
            label: label(way),
            to: Arrival::Vrf("red".into()),
            payload: payload(way),
        }),
    }
}

fn label(way: &Way) -> Label {
    Label::new(way.number).expect("20 bits")
}

fn payload(way: &Way) -> Payload {
    match way.ethernet {
        true => Payload::Ethernet,
        false => Payload::Ip,
    }
}

fn remote(way: &Way) -> &'static str {
    if way.over_ipv6 {
        "2001:db8::2"
    } else {
        "192.0.2.2"
    }
}
