//! Random requests, most of them at odds with something: what a commit builds on
//! the last snapshot must be what one request with all objects builds from nothing.
//!
//! Names, addresses and MACs come from small pools, so that requests meet the
//! same objects again and again: prefixes move between objects, names come back,
//! references dangle, and about half of all requests are refused.

use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::common::*;
use dataplane::DropReason;
use dataplane::decide::{Decision, Headers, Refused, Stateless, decide};
use dataplane::stage::{Ingress, Layer};
use dataplane::tables::change::{Change, Refusal, Request};
use dataplane::tables::spec::*;
use dataplane::tables::{self, NexthopId, Tables, Target, VrfId};
use encap::{Encap, MacAddr, Vni};
use ipnet::IpNet;

const REQUESTS: usize = 3_000;

const VRFS: [&str; 3] = ["red", "blue", "underlay"];
const TENANTS: [&str; 3] = ["a", "b", "c"];
const FABRICS: [&str; 2] = ["up0", "up1"];
const HOST: &str = "kernel";
const NEXTHOPS: [&str; 4] = ["n1", "n2", "n3", "n4"];
const PREFIXES: [&str; 6] = [
    "10.1.0.5/32",
    "10.1.0.9/32",
    "10.1.0.1/32",
    "10.1.0.0/24",
    "fd01::5/128",
    "0.0.0.0/0",
];
/// With host bits, as vifs and gateways are given them.
const ADDRESSES: [&str; 6] = [
    "10.1.0.5/32",
    "10.1.0.9/32",
    "10.1.0.1/24",
    "10.1.0.5/24",
    "fd01::5/128",
    "fd01::1/64",
];
const UNDERLAY_ADDRESSES: [&str; 4] = [
    "192.0.2.1/24",
    "192.0.2.1/32",
    "192.0.2.7/24",
    "198.51.100.1/24",
];
const REMOTES: [&str; 4] = ["192.0.2.2", "192.0.2.7", "198.51.100.2", "203.0.113.9"];
const SERVICES: [&str; 3] = ["s1", "s2", "s3"];
const VIRTUAL: [&str; 4] = ["10.200.0.1", "10.200.0.2", "10.1.0.5", "10.1.0.1"];
const MACS: [MacAddr; 5] = [
    MacAddr([2, 0, 0, 0, 0, 1]),
    MacAddr([2, 0, 0, 0, 0, 2]),
    MacAddr([2, 0, 0, 0, 0, 3]),
    MacAddr([2, 0, 0, 0, 0, 4]),
    ROUTER,
];
const VNIS: [u32; 2] = [5001, 5002];

#[test]
fn commits_in_any_order_make_what_one_request_makes() {
    for seed in [1, 0x9E37_79B9_7F4A_7C15, 0xDEAD_BEEF] {
        let mut random = Random(seed);
        let mut tables = Tables::new(1);
        let mut fresh = Tables::new(1);
        let mut accepted = 0;
        for step in 0..REQUESTS {
            let request = any_request(&mut random, &tables);
            let context = || format!("seed {seed}, step {step}: {request:#?}");
            let before = describe(&tables);
            let outcome = commit(&tables, &request);
            assert_eq!(describe(&tables), before, "{}", context());
            match (outcome, commit(&fresh, &request)) {
                (Ok(next), Ok(_)) => {
                    check_epochs(&tables, &next, &context);
                    fresh = commit(&Tables::new(1), &everything(&next)).unwrap_or_else(|error| {
                        panic!("not accepted at once: {error:?}; {}", context())
                    });
                    assert_same(&describe(&next), &describe(&fresh), &context);
                    accepted += usize::from(next.generation() > tables.generation());
                    tables = next;
                }
                (Err(ours), Err(theirs)) => {
                    assert!(!ours.is_empty());
                    assert_eq!(refused(&ours), refused(&theirs), "{}", context());
                }
                (Ok(_), Err(error)) => {
                    panic!("accepted, but not from afresh: {error:?}; {}", context())
                }
                (Err(error), Ok(_)) => {
                    panic!("refused, but not from afresh: {error:?}; {}", context())
                }
            }
        }
        assert!(accepted > REQUESTS / 10, "only {accepted} were accepted");
        assert!(accepted < REQUESTS * 9 / 10, "nearly all were accepted");
    }
}

fn commit(tables: &Tables, request: &Request) -> Result<Tables, Vec<Refusal>> {
    tables
        .prepare(request)
        .map(|draft| draft.finish(|_| None).0)
}

/// Shows only the lines that differ.
fn assert_same(built: &[String], fresh: &[String], context: &dyn Fn() -> String) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing.cloned().collect()
    };
    let (ours, theirs) = (only(built, fresh), only(fresh, built));
    assert_eq!(ours, theirs, "{}", context());
    assert_eq!(built, fresh, "{}", context());
}

/// What is refused. Not the words: of two objects that would both be in the way,
/// either may be named.
fn refused(refusals: &[Refusal]) -> Vec<(Option<Key>, String)> {
    let mut all: Vec<_> = refusals
        .iter()
        .map(|refusal| (refusal.object.clone(), refusal.field.clone()))
        .collect();
    all.sort();
    all
}

/// All that a snapshot holds, as one request.
fn everything(tables: &Tables) -> Request {
    let objects = tables.objects().map(|(_, stored)| stored.object.clone());
    request(objects.map(Change::Upsert).collect())
}

fn any_request(random: &mut Random, tables: &Tables) -> Request {
    let count = 1 + random.below(4);
    let mut changes: Vec<Change> = (0..count).map(|_| any_change(random)).collect();
    let replace = random.one_in(40);
    if replace {
        // Most of what is there stays, or every resync would start from nothing.
        for (key, stored) in tables.objects() {
            let named = changes.iter().any(|change| match change {
                Change::Upsert(object) => object.key() == key,
                Change::Delete(gone) => *gone == key,
            });
            if !named && !random.one_in(8) {
                changes.push(Change::Upsert(stored.object.clone()));
            }
        }
    }
    Request {
        replace,
        ..request(changes)
    }
}

fn any_change(random: &mut Random) -> Change {
    let object = any_object(random);
    match random.one_in(4) {
        true => Change::Delete(object.key()),
        false => Change::Upsert(object),
    }
}

fn any_object(random: &mut Random) -> Object {
    match random.below(14) {
        0 => any_vrf(random),
        1..=3 => any_tenant(random),
        4 => any_uplink(random),
        5..=6 => any_nexthop(random),
        7..=8 => route(
            random.pick(&VRFS),
            random.pick(&PREFIXES),
            random.pick(&NEXTHOPS),
        ),
        9..=10 => any_mac(random),
        11..=12 => any_service(random),
        _ => vni(random.pick(&VNIS), random.pick(&VRFS[..2])),
    }
}

fn any_vrf(random: &mut Random) -> Object {
    let name = random.pick(&VRFS);
    let gateways = some(random, &ADDRESSES);
    Object::Vrf(Vrf {
        name: name.into(),
        gateways: gateways.iter().map(|text| net(text)).collect(),
        mode: random.pick(&[
            ForwardingMode::Both,
            ForwardingMode::Routed,
            ForwardingMode::Bridged,
        ]),
        mac: match random.one_in(4) {
            true => MACS[0],
            false => ROUTER,
        },
        flow_quota: None,
        learning: false,
        router_advertisement: None,
        tcp_mss_clamp: None,
        guards: Default::default(),
    })
}

fn any_tenant(random: &mut Random) -> Object {
    let name = random.pick(&TENANTS);
    let addresses = some(random, &ADDRESSES);
    let vrf = match random.one_in(20) {
        true => "underlay",
        false => random.pick(&VRFS[..2]),
    };
    vif(random, name, Role::Tenant, vrf, &addresses)
}

fn any_uplink(random: &mut Random) -> Object {
    let addresses = some(random, &UNDERLAY_ADDRESSES);
    let name = random.pick(&[FABRICS[0], FABRICS[1], HOST]);
    let role = match name == HOST {
        true => Role::Host,
        false => Role::Fabric,
    };
    vif(random, name, role, "underlay", &addresses)
}

fn vif(random: &mut Random, name: &str, role: Role, vrf: &str, addresses: &[&str]) -> Object {
    let device = match random.one_in(12) {
        true => random.pick(&TENANTS),
        false => name,
    };
    Object::Vif(Vif {
        name: name.into(),
        device: device.into(),
        role,
        vrf: vrf.into(),
        mac: (!random.one_in(10)).then(|| random.pick(&MACS)),
        addresses: addresses.iter().map(|text| net(text)).collect(),
        vlan: None,
        mtu: random.one_in(2).then_some(1400),
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Default::default(),
    })
}

fn any_nexthop(random: &mut Random) -> Object {
    let action = match random.below(6) {
        0 if random.one_in(2) => NexthopAction::Host,
        0 => [NexthopAction::Discard, NexthopAction::Reject][random.below(2)].clone(),
        1 => NexthopAction::Group(Group {
            members: some(random, &NEXTHOPS)
                .iter()
                .map(|name| Member {
                    nexthop: (*name).into(),
                    weight: NonZeroU16::new(1 + random.below(3) as u16).expect("not zero"),
                })
                .collect(),
            hash: HashFields::default(),
            symmetric: false,
        }),
        2 => NexthopAction::Vif {
            vif: random
                .pick(&[TENANTS[0], TENANTS[1], HOST, FABRICS[0]])
                .into(),
            address: random.one_in(4).then(|| ip(REMOTES[0])),
        },
        3 => NexthopAction::Vif {
            vif: random.pick(&FABRICS).into(),
            address: Some(ip(random.pick(&REMOTES))),
        },
        _ => NexthopAction::Tunnel(Tunnel {
            local: random
                .one_in(3)
                .then(|| ip(random.pick(&["192.0.2.1", "192.0.2.7", "fd01::1"]))),
            inner_mac: random.one_in(2).then(|| MACS[3]),
            mtu: random.one_in(3).then_some(1400),
            ..Tunnel::new(
                ip(random.pick(&REMOTES)),
                Encap::Vxlan(Vni::new(random.pick(&VNIS)).expect("24 bits")),
            )
        }),
    };
    Object::Nexthop(Nexthop {
        name: random.pick(&NEXTHOPS).into(),
        action,
    })
}

fn any_service(random: &mut Random) -> Object {
    let backends = some(random, &["10.1.0.5", "10.1.0.9", "10.1.0.77"]);
    Object::Service(Service {
        name: random.pick(&SERVICES).into(),
        vrf: random.pick(&VRFS).into(),
        address: ip(random.pick(&VIRTUAL)),
        protocol: random.pick(&[6, 17, 1]),
        port: random.pick(&[80, 81]),
        backend_vrf: random.one_in(3).then(|| random.pick(&VRFS[..2]).into()),
        backends: backends
            .iter()
            .map(|addr| Backend {
                address: ip(addr),
                port: 80,
                weight: NonZeroU16::new(1 + random.below(3) as u16).expect("not zero"),
                state: random.pick(&[
                    BackendState::Active,
                    BackendState::Active,
                    BackendState::Draining,
                    BackendState::Down,
                ]),
            })
            .collect(),
        affinity_timeout_s: None,
        table_size: 251,
        on_down: OnDown::Move,
        direct_return: random.one_in(2),
        health: None,
    })
}

fn any_mac(random: &mut Random) -> Object {
    let vrf = random.pick(&VRFS);
    let addresses = match vrf {
        "underlay" => &["192.0.2.2", "192.0.2.1", "198.51.100.2"][..],
        _ => &["10.1.0.5", "10.1.0.9", "fd01::5"][..],
    };
    let addr = (!random.one_in(3)).then(|| random.pick(addresses));
    mac(vrf, random.pick(&MACS), random.pick(&NEXTHOPS), addr)
}

/// None, one or two of several.
fn some<'a>(random: &mut Random, from: &[&'a str]) -> Vec<&'a str> {
    let count = random.below(3);
    (0..count).map(|_| random.pick(from)).collect()
}

/// Everything a packet may ask of a snapshot, in names: indices differ with history.
fn describe(tables: &Tables) -> Vec<String> {
    let mut lines: Vec<String> = VRFS
        .iter()
        .filter_map(|name| tables.vrf_named(name))
        .flat_map(|vrf| describe_vrf(tables, vrf))
        .collect();
    let mut names: Vec<&str> = [&TENANTS[..], &FABRICS, &[HOST]].concat();
    names.sort_unstable();
    for vif in names.iter().filter_map(|name| tables.vif_named(name)) {
        let vrf = tables.vrf(vif.vrf).expect("a vif's vrf exists");
        assert!(
            matches!(tables.nexthop(vif.nexthop), Some(tables::Nexthop::Vif(id)) if *id == vif.id)
        );
        lines.push(format!(
            "vif {} {:?} in {} at {}: {:?} {:?} {:?} {}",
            vif.name, vif.role, vrf.name, vif.mac, vif.addresses, vif.loaned, vif.vlan, vif.mtu
        ));
    }
    lines.push(format!("{} vifs", tables.vifs().count()));
    for number in VNIS {
        let vrf = tables.vni(Vni::new(number).expect("24 bits"));
        let vrf = vrf.map(|to| match to {
            tables::Arrival::Vrf(id) => &tables.vrf(id).expect("a VNI's vrf exists").name,
            tables::Arrival::Nexthop(_) => panic!("none of these leads to a nexthop"),
        });
        lines.push(format!("vni {number}: {vrf:?}"));
    }
    for name in SERVICES {
        let service = tables.service_named(name).map(|(_, service)| {
            let vrf = |id| &tables.vrf(id).expect("a service's vrf exists").name;
            let flows = (0..8).map(|flow| service.pick(flow << 61).map(|it| it.end));
            format!(
                "{:?} {} in {} for {:?} in {}, {:?}",
                service.front,
                service.protocol,
                vrf(service.vrf),
                service.backends,
                vrf(service.backend_vrf),
                flows.collect::<Vec<_>>()
            )
        });
        lines.push(format!("service {name}: {service:?}"));
    }
    lines.extend(describe_underlay(tables));
    lines
}

fn describe_vrf(tables: &Tables, vrf: &tables::Vrf) -> Vec<String> {
    let mut lines = vec![format!(
        "vrf {} {:?} {}: {} routes, {} macs, {} neighbours",
        vrf.name,
        vrf.mode,
        vrf.mac,
        vrf.routes.len(),
        vrf.macs.len(),
        vrf.neighbours.len()
    )];
    let all = [&PREFIXES[..], &ADDRESSES, &UNDERLAY_ADDRESSES].concat();
    for prefix in all.iter().map(|text| net(text)) {
        for prefix in [prefix.trunc(), IpNet::from(prefix.addr())] {
            let exact = vrf.routes.get(prefix).map(|to| target(tables, to));
            lines.push(format!("{} {prefix} = {exact:?}", vrf.name));
        }
    }
    for addr in addresses() {
        let best = vrf.routes.lookup(addr).map(|to| target(tables, to));
        let mac = vrf.neighbours.get(&addr);
        lines.push(format!("{} {addr} -> {best:?} at {mac:?}", vrf.name));
    }
    for mac in MACS {
        let to = vrf.macs.get(&mac).map(|id| nexthop(tables, *id));
        lines.push(format!("{} {mac} -> {to:?}", vrf.name));
    }
    lines
}

fn describe_underlay(tables: &Tables) -> Vec<String> {
    let underlay = tables.underlay();
    let name = |id| &tables.vif(id).expect("an underlay vif exists").name;
    let fabrics: Vec<_> = underlay.fabrics.iter().map(|id| name(*id)).collect();
    let mut own: Vec<_> = underlay
        .addresses
        .iter()
        .map(|(addr, id)| (addr, name(*id)))
        .collect();
    own.sort();
    let mut neighbours: Vec<_> = underlay
        .neighbours()
        .map(|cell| (name(cell.vif), cell.addr, cell.mac(), cell.is_static()))
        .collect();
    neighbours.sort();
    let peers: Vec<_> = REMOTES
        .iter()
        .filter(|remote| underlay.peer(ip(remote)).is_some())
        .collect();
    vec![
        format!("fabrics {fabrics:?}, host {:?}", underlay.host.map(name)),
        format!(
            "hosts {:?}",
            underlay
                .fabrics
                .iter()
                .map(|id| underlay.host_of(*id).map(name))
                .collect::<Vec<_>>()
        ),
        format!("own {own:?}"),
        format!("neighbours {neighbours:?}"),
        format!("peers {peers:?}"),
    ]
}

fn addresses() -> Vec<IpAddr> {
    let all = [
        &PREFIXES[..],
        &ADDRESSES,
        &UNDERLAY_ADDRESSES,
        &REMOTES,
        &VIRTUAL,
    ]
    .concat();
    let mut all: Vec<IpAddr> = all.iter().map(|text| net(text).addr()).collect();
    all.sort();
    all.dedup();
    all
}

fn target(tables: &Tables, target: Target) -> String {
    match target {
        Target::Nexthop(id) => nexthop(tables, id),
        Target::Vip(id) => {
            let vip = tables
                .vip(id)
                .expect("what is virtual stands for something");
            let services = vip.services.iter().map(|(called, id)| {
                let service = tables.service(*id).expect("what is called exists");
                format!("{called:?} {}", service.name)
            });
            format!("virtual: {:?}", services.collect::<Vec<_>>())
        }
        Target::Gateway => "gateway".into(),
        Target::Connected => "a link".into(),
    }
}

fn nexthop(tables: &Tables, id: NexthopId) -> String {
    let name = tables.nexthop_name(id).expect("what is used has a name");
    let vif = |id| &tables.vif(id).expect("a nexthop's vif exists").name;
    match tables.nexthop(id).expect("what is used exists") {
        tables::Nexthop::Vif(id) => format!("{name}: vif {}", vif(*id)),
        tables::Nexthop::Neighbour(cell) => {
            format!(
                "{name}: {} on {}, {:?}",
                cell.addr,
                vif(cell.vif),
                cell.mac()
            )
        }
        tables::Nexthop::Tunnel(tunnel) => format!(
            "{name}: {:?}, to peer {:?}, {:?}, {} bytes",
            paths(tables, tunnel),
            tables.underlay().peer_addr(tunnel.peer),
            tunnel.inner_mac,
            tunnel.inner_mtu
        ),
        tables::Nexthop::Group(group) => {
            let chosen = (0..8).map(|flow: u64| {
                let (id, number) = group.pick(flow << 61, |_| true).expect("it has members");
                let member = nexthop(tables, id);
                let member = member.split(':').next().unwrap_or_default().to_string();
                format!("flow {flow} by {number}, {member}")
            });
            format!("{name}: {:?}", chosen.collect::<Vec<_>>())
        }
        other => format!("{name}: {other:?}"),
    }
}

/// The ways a tunnel takes, and which of them some flows do.
fn paths(tables: &Tables, tunnel: &tables::Tunnel) -> Vec<String> {
    let vif = |id| &tables.vif(id).expect("a path's uplink exists").name;
    let chosen = (0..8).map(|flow| {
        let path = tunnel.paths.choose(flow);
        format!("flow {flow} {} {}", vif(path.egress), path.neighbour.addr)
    });
    let paths = tunnel.paths.iter().map(|path| {
        format!(
            "{:x?} out of {} to {} {:?}, watched {}",
            outer(path),
            vif(path.egress),
            path.neighbour.addr,
            path.neighbour.mac(),
            tables.underlay().is_watched(&path.neighbour)
        )
    });
    paths.chain(chosen).collect()
}

/// What a path puts in front of an empty frame.
fn outer(path: &tables::path::Path) -> Vec<u8> {
    let mut packet = encap::MemBuffer::default();
    let pushed = path
        .header
        .push(&mut packet, MacAddr::ZERO, &encap::Inner::default());
    pushed.expect("an empty frame fits");
    encap::Buffer::bytes(&packet).to_vec()
}

/// A flow decided before must be decided again if the answer is another now.
fn check_epochs(before: &Tables, after: &Tables, context: &dyn Fn() -> String) {
    for id in (0..4).map(VrfId) {
        let (Some(old), Some(new)) = (before.vrf(id), after.vrf(id)) else {
            continue;
        };
        if old.epoch != new.epoch {
            continue;
        }
        for (headers, ingress) in questions(before, id) {
            let Ok(was) = decide(before, &mut Stateless, &headers, ingress) else {
                continue; // refusals are not remembered
            };
            match decide(after, &mut Stateless, &headers, ingress) {
                Ok(now) => assert_eq!(
                    ways(&was),
                    ways(&now),
                    "{headers:?} by {}, then {}; {}",
                    nexthop(before, was.forward.nexthop),
                    nexthop(after, now.forward.nexthop),
                    context()
                ),
                // Whether there is a way to a tunnel's end is seen packet by packet.
                Err(Refused {
                    reason:
                        DropReason::NoUnderlayRoute | DropReason::ReversePath | DropReason::NoHost,
                    ..
                }) => {}
                Err(refused) => panic!("{refused:?} for {headers:?}; {}", context()),
            }
        }
    }
}

fn ways(decision: &Decision) -> (dataplane::decide::Way, dataplane::decide::Way) {
    (decision.forward, decision.reverse)
}

/// Packets of every vif and tunnel remote that may send into a vrf.
fn questions(tables: &Tables, vrf: VrfId) -> Vec<(Headers, Ingress)> {
    let underlay = tables.underlay();
    let mut senders: Vec<Ingress> = REMOTES
        .iter()
        .filter_map(|remote| underlay.peer(ip(remote)))
        .map(Ingress::peer)
        .collect();
    let vifs = tables.vifs().filter(|vif| vif.vrf == vrf);
    senders.extend(vifs.map(|vif| Ingress::vif(vif.id)));
    let some: Vec<IpAddr> = [
        "10.1.0.5",
        "10.1.0.9",
        "10.200.0.1",
        "10.200.0.2",
        "fd01::5",
    ]
    .map(ip)
    .to_vec();
    let mut all = Vec::new();
    for ingress in senders {
        for (index, src_addr) in some.iter().enumerate() {
            for dst_addr in &some {
                for layer in [Layer::Routed, Layer::Bridged] {
                    let headers = Headers {
                        vrf,
                        layer,
                        src_mac: MACS[index],
                        dst_mac: MACS[(index + 1) % 4],
                        src_addr: *src_addr,
                        dst_addr: *dst_addr,
                        protocol: 17,
                        src_port: 1,
                        dst_port: 80,
                        icmp: None,
                        kept: None,
                        direct: None,
                    };
                    all.push((headers, ingress));
                }
            }
        }
    }
    all
}
