//! Policies, translation, services, meters and mirrors: what they name must be there, and what is
//! named stays.

use std::num::NonZeroU16;

use crate::common::*;
use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Refusal, Request};
use dataplane::tables::spec::*;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);

fn address_set(name: &str) -> Object {
    Object::AddressSet(AddressSet {
        name: name.into(),
        prefixes: vec![net("10.9.0.0/24")],
    })
}

fn policy(name: &str, change: impl FnOnce(&mut Rule)) -> Object {
    let mut rule = Rule {
        id: 10,
        action: RuleAction::Allow,
        protocol: None,
        sources: vec![],
        source_sets: vec![],
        destinations: vec![],
        destination_sets: vec![],
        source_ports: vec![],
        destination_ports: vec![],
        icmp: vec![],
        log: false,
        mirror: None,
        dscp: None,
    };
    change(&mut rule);
    Object::Policy(Policy {
        name: name.into(),
        rules: vec![rule],
    })
}

fn meter(name: &str) -> Object {
    Object::Meter(Meter {
        name: name.into(),
        bits_per_second: Some(1_000_000),
        burst_bytes: None,
        packets_per_second: None,
        burst_packets: None,
    })
}

fn mirror(name: &str, nexthop: &str) -> Object {
    Object::Mirror(Mirror {
        name: name.into(),
        nexthop: nexthop.into(),
    })
}

fn floating_ip(name: &str, target: FloatingTarget) -> Object {
    Object::FloatingIp(FloatingIp {
        name: name.into(),
        vrf: "public".into(),
        address: net("198.51.100.7/32"),
        target,
    })
}

fn snat_pool(name: &str, vrf: &str, outside_vrf: &str) -> Object {
    Object::SnatPool(SnatPool {
        name: name.into(),
        vrf: vrf.into(),
        sources: vec![],
        outside_vrf: outside_vrf.into(),
        addresses: vec![net("198.51.100.8/32")],
        ports: 1024..=65_535,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::default(),
        nat64_prefix: None,
    })
}

fn service(name: &str, vrf: &str, backend_vrf: Option<&str>) -> Object {
    Object::Service(Service {
        name: name.into(),
        vrf: vrf.into(),
        address: "10.200.0.1".parse().expect("an address"),
        protocol: 6,
        port: 80,
        backend_vrf: backend_vrf.map(Into::into),
        backends: vec![Backend {
            address: "10.1.0.10".parse().expect("an address"),
            port: 80,
            weight: NonZeroU16::MIN,
            state: BackendState::Active,
        }],
        affinity_timeout_s: None,
        table_size: 251,
        on_down: OnDown::Move,
        direct_return: false,
        health: None,
    })
}

fn into_vrf(name: &str, vrf: &str) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Vrf(vrf.into()),
    })
}

/// A vif or vrf with all its guards named `name`.
fn guarded(mut object: Object, name: &str) -> Object {
    let guards = Guards {
        ingress_policies: vec![name.into()],
        egress_policies: vec![name.into()],
        ingress_meter: Some(name.into()),
        egress_meter: Some(name.into()),
        mirror: Some(name.into()),
    };
    match &mut object {
        Object::Vif(vif) => vif.guards = guards,
        Object::Vrf(vrf) => vrf.guards = guards,
        other => panic!("{other:?} has no guards"),
    }
    object
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

fn upserts(objects: Vec<Object>) -> Request {
    request(objects.into_iter().map(Change::Upsert).collect())
}

#[track_caller]
fn refused(tables: &Tables, request: &Request) -> Vec<String> {
    match tables.prepare(request) {
        Ok(_) => panic!("accepted"),
        Err(refusals) => refusals.iter().map(Refusal::to_string).collect(),
    }
}

#[test]
fn what_is_named_must_be_there() {
    let wrong = vec![
        guarded(vrf("red", &[]), "x"),
        guarded(tenant("a", "red", A, &["10.1.0.10"]), "y"),
        into_vrf("leak", "nowhere"),
        policy("web", |rule| {
            rule.source_sets = vec!["s".into(), "s".into()];
            rule.destination_sets = vec!["d".into()];
            rule.mirror = Some("m".into());
        }),
        floating_ip(
            "f",
            FloatingTarget::Vifs {
                vifs: vec!["a".into(), "b".into()],
                fixed: None,
            },
        ),
        floating_ip(
            "g",
            FloatingTarget::Prefix {
                vrf: "inside".into(),
                fixed: net("10.1.0.10/32"),
            },
        ),
        snat_pool("pool", "in", "out"),
        service("redis", "front", Some("back")),
        mirror("copies", "tap"),
    ];
    assert_eq!(
        refused(&Tables::new(1), &upserts(wrong)),
        [
            "vrf red: ingress_policies: there is no policy named `x`",
            "vrf red: egress_policies: there is no policy named `x`",
            "vrf red: ingress_meter: there is no meter named `x`",
            "vrf red: egress_meter: there is no meter named `x`",
            "vrf red: mirror: there is no mirror named `x`",
            "vif a: ingress_policies: there is no policy named `y`",
            "vif a: egress_policies: there is no policy named `y`",
            "vif a: ingress_meter: there is no meter named `y`",
            "vif a: egress_meter: there is no meter named `y`",
            "vif a: mirror: there is no mirror named `y`",
            "nexthop leak: vrf: there is no vrf named `nowhere`",
            "policy web: rules.destination_sets: there is no address_set named `d`",
            "policy web: rules.mirror: there is no mirror named `m`",
            "policy web: rules.source_sets: there is no address_set named `s`",
            "floating_ip f: vrf: there is no vrf named `public`",
            "floating_ip f: vifs: there is no vif named `b`",
            "floating_ip g: vrf: there is no vrf named `public`",
            "floating_ip g: inside_vrf: there is no vrf named `inside`",
            "snat_pool pool: vrf: there is no vrf named `in`",
            "snat_pool pool: outside_vrf: there is no vrf named `out`",
            "service redis: vrf: there is no vrf named `front`",
            "service redis: backend_vrf: there is no vrf named `back`",
            "mirror copies: nexthop: there is no nexthop named `tap`",
        ]
    );
}

#[test]
fn what_is_named_stays_until_its_users_go_too() {
    let red = guarded(tenant("a", "red", A, &["10.1.0.10"]), "x");
    let objects = vec![
        vrf("red", &[]),
        vrf("public", &[]),
        vrf("out", &[]),
        vrf("called", &[]),
        tenant("tap", "out", MacAddr([2, 0, 0, 0, 0, 0xc]), &[]),
        red,
        Object::Nexthop(Nexthop {
            name: "to-tap".into(),
            action: NexthopAction::Vif {
                vif: "tap".into(),
                address: None,
            },
        }),
        address_set("lb"),
        policy("x", |rule| rule.source_sets = vec!["lb".into()]),
        floating_ip(
            "f",
            FloatingTarget::Vifs {
                vifs: vec!["a".into()],
                fixed: None,
            },
        ),
        snat_pool("pool", "red", "out"),
        service("redis", "called", Some("red")),
        mirror("x", "to-tap"),
        meter("x"),
    ];
    let all: Vec<Key> = objects.iter().map(Object::key).collect();
    let draft = Tables::new(1).prepare(&upserts(objects));
    let (tables, _) = draft.expect("a configuration").finish(|_| None);

    let deletes = |keys: Vec<Key>| request(keys.into_iter().map(Change::Delete).collect());
    for (key, user) in [
        (Key::AddressSet("lb".into()), "policy x"),
        (Key::Policy("x".into()), "vif a"),
        (Key::Meter("x".into()), "vif a"),
        (Key::Mirror("x".into()), "vif a"),
        (Key::Nexthop("to-tap".into()), "mirror x"),
        (Key::Vif("a".into()), "floating_ip f"),
        (Key::Vrf("public".into()), "floating_ip f"),
        (Key::Vrf("called".into()), "service redis"),
    ] {
        let said = refused(&tables, &deletes(vec![key.clone()]));
        assert_eq!(said, [format!("{key}: is still used by {user}")]);
    }
    let draft = tables.prepare(&deletes(all)).expect("all of them at once");
    let (empty, _) = draft.finish(|_| None);
    assert_eq!(empty.objects().count(), 0);
}

#[test]
fn what_is_held_against_flows_goes_with_tenants() {
    let objects = vec![
        guarded(fabric("up0", A, &["192.0.2.1/24"]), "x"),
        guarded(vrf(UNDERLAY, &[]), "x"),
        vrf("red", &[]),
        tenant("tap", "red", MacAddr([2, 0, 0, 0, 0, 0xc]), &[]),
        Object::Nexthop(Nexthop {
            name: "to-tap".into(),
            action: NexthopAction::Vif {
                vif: "tap".into(),
                address: None,
            },
        }),
        policy("x", |_| {}),
        mirror("x", "to-tap"),
        meter("x"),
    ];
    let fields = [
        "egress_meter",
        "egress_policies",
        "ingress_meter",
        "ingress_policies",
        "mirror",
    ];
    let said = |object, reason| fields.map(|field| format!("{object}: {field}: {reason}"));
    let mut expected = said(
        "vrf underlay",
        "the underlay has no machines; give it to the tenants' vrfs",
    )
    .to_vec();
    expected.extend(said(
        "vif up0",
        "only tenant vifs have one: it is held against what machines send and get",
    ));
    assert_eq!(refused(&Tables::new(1), &upserts(objects)), expected);
}
