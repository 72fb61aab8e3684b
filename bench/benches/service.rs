//! What services and groups cost: making a table, a commit that changes one backend among many
//! services, and their part of a first packet.
//!
//! ```text
//! cargo bench --bench service
//! ```

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use dataplane::decide::{Headers, Stateless, decide};
use dataplane::stage::{Ingress, Layer};
use dataplane::tables::change::{Change, Request};
use dataplane::tables::maglev::{Candidate, Maglev};
use dataplane::tables::spec::*;
use dataplane::tables::{Tables, VrfId};
use encap::MacAddr;

fn tables(c: &mut Criterion) {
    let mut group = c.benchmark_group("maglev");
    group.sample_size(20);
    for (name, uneven) in [("even", false), ("weighted", true)] {
        for count in [3_u16, 10, 100, 1_000] {
            let candidates: Vec<Candidate> = (0..count)
                .map(|index| Candidate {
                    index,
                    hash: dataplane::spread::of_name(&format!("backend {index}")),
                    weight: NonZeroU16::MIN.saturating_add(u16::from(uneven) * (index % 5)),
                })
                .collect();
            let id = BenchmarkId::new(name, count);
            group.bench_with_input(id, &candidates, |bench, candidates| {
                bench.iter(|| Maglev::new(candidates, MAGLEV_TABLE_SIZE));
            });
        }
    }
}

fn commits(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit");
    group.sample_size(20);
    let before = node(1_000, 10);
    let fewer = request(vec![Object::Service(service(7, 9))]);
    group.bench_function("one backend of 1000 services", |bench| {
        bench.iter_batched(
            || before.clone(),
            |tables| applied(&tables, &fewer),
            BatchSize::PerIteration,
        );
    });
    group.sample_size(10);
    group.bench_function("1000 services", |bench| bench.iter(|| node(1_000, 10)));
}

fn first_packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("decide");
    let tables = node(1_000, 10);
    for (name, dst, protocol) in [
        ("route", [10, 1, 0, 2], 6),
        ("service", [10, 200, 0, 7], 6),
        ("group of 8", [10, 9, 0, 1], 6),
        ("service and group of 8", [10, 201, 0, 1], 6),
    ] {
        let vif = tables.vif_named("client").expect("it is there");
        let mut headers = Headers {
            vrf: vif.vrf,
            layer: Layer::Routed,
            src_mac: CLIENT,
            dst_mac: MacAddr::VROUTER,
            src_addr: IpAddr::from([10, 1, 0, 1]),
            dst_addr: IpAddr::from(dst),
            protocol,
            src_port: 0,
            dst_port: 80,
            icmp: None,
            direct: None,
            kept: None,
        };
        let ingress = Ingress::vif(vif.id);
        assert!(
            decide(&tables, &mut Stateless, &headers, ingress).is_ok(),
            "{name}"
        );
        group.bench_function(name, |bench| {
            bench.iter(|| {
                headers.src_port = headers.src_port.wrapping_add(1);
                decide(black_box(&tables), &mut Stateless, &headers, ingress)
            });
        });
    }
}

const CLIENT: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// A client, so many services of so many backends each, and a group of eight routers.
fn node(services: u32, backends: u8) -> Tables {
    let mut objects = vec![
        Object::Vrf(Vrf {
            name: "red".into(),
            ..Vrf::underlay()
        }),
        vif("client", CLIENT, "10.1.0.1/32"),
        vif("servers", MacAddr([2, 0, 0, 0, 0, 2]), "10.1.0.0/16"),
    ];
    let mut members = Vec::new();
    for number in 0..8 {
        let name = format!("router{number}");
        objects.push(vif(
            &name,
            MacAddr([2, 0, 0, 0, 1, number]),
            &format!("10.8.0.{number}/32"),
        ));
        let action = NexthopAction::Vif {
            vif: name.as_str().into(),
            address: None,
        };
        objects.push(nexthop(&format!("by-{name}"), action));
        members.push(Member {
            nexthop: format!("by-{name}").into(),
            weight: NonZeroU16::MIN,
        });
    }
    let routers = Group {
        members,
        hash: HashFields::FiveTuple,
        symmetric: false,
    };
    objects.push(nexthop("routers", NexthopAction::Group(routers)));
    objects.push(Object::Route(Route {
        vrf: "red".into(),
        prefix: "10.9.0.0/16".parse().expect("a prefix"),
        nexthop: "routers".into(),
    }));
    objects.extend((0..services).map(|number| Object::Service(service(number, backends))));
    let mut beyond = service(65_537, 10);
    beyond.address = IpAddr::from([10, 201, 0, 1]);
    for (host, backend) in (0..).zip(&mut beyond.backends) {
        backend.address = IpAddr::from([10, 9, 0, host]);
    }
    objects.push(Object::Service(beyond));
    applied(&Tables::new(1), &request(objects))
}

fn vif(name: &str, mac: MacAddr, address: &str) -> Object {
    Object::Vif(Vif {
        name: name.into(),
        device: format!("memory:{name}").into(),
        role: Role::Tenant,
        vrf: "red".into(),
        mac: Some(mac),
        addresses: vec![address.parse().expect("a prefix")],
        vlan: None,
        mtu: None,
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Guards::default(),
    })
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    let name = name.into();
    Object::Nexthop(Nexthop { name, action })
}

fn service(number: u32, backends: u8) -> Service {
    Service {
        name: format!("service{number}").into(),
        vrf: "red".into(),
        address: Ipv4Addr::from_bits(0x0ac8_0000 + number).into(),
        protocol: 6,
        port: 80,
        backend_vrf: None,
        backends: (0..backends)
            .map(|host| Backend {
                address: Ipv4Addr::from_bits(0x0a01_0100 + (number % 200) * 256 + u32::from(host))
                    .into(),
                port: 8080,
                weight: NonZeroU16::MIN,
                state: BackendState::Active,
            })
            .collect(),
        affinity_timeout_s: None,
        table_size: MAGLEV_TABLE_SIZE,
        on_down: OnDown::Move,
        direct_return: false,
        health: None,
    }
}

fn request(objects: Vec<Object>) -> Request {
    Request {
        owner: "bench".into(),
        replace: false,
        if_generation: None,
        changes: objects.into_iter().map(Change::Upsert).collect(),
    }
}

fn applied(tables: &Tables, request: &Request) -> Tables {
    let draft = tables
        .prepare(request)
        .unwrap_or_else(|refusals| panic!("{refusals:?}"));
    let (tables, _) = draft.finish(|_| None);
    debug_assert!(tables.vrf(VrfId(1)).is_some());
    tables
}

criterion_group!(benches, tables, commits, first_packets);
criterion_main!(benches);
