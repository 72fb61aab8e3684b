//! Commits: all of a request or nothing, every mistake named at once.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use crate::common::*;
use dataplane::tables::change::{Change, Refusal, Request};
use dataplane::tables::commit::Changed;
use dataplane::tables::spec::*;
use dataplane::tables::{MAX_VIFS, MAX_VRFS, Tables};
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn objects() -> Vec<Object> {
    vec![
        vrf("red", &["10.1.0.1/24"]),
        fabric("up0", B, &["192.0.2.1/24"]),
        tenant("a", "red", A, &["10.1.0.10"]),
        tunnel("far", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "far"),
        vni(5001, "red"),
    ]
}

fn upserts(objects: Vec<Object>) -> Request {
    request(objects.into_iter().map(Change::Upsert).collect())
}

fn commit(tables: &Tables, request: &Request) -> Result<(Tables, Changed), Vec<Refusal>> {
    tables.prepare(request).map(|draft| draft.finish(|_| None))
}

fn start() -> Tables {
    commit(&Tables::new(1), &upserts(objects()))
        .expect("a configuration")
        .0
}

#[track_caller]
fn refused(tables: &Tables, request: &Request) -> Vec<String> {
    match commit(tables, request) {
        Ok(_) => panic!("accepted"),
        Err(refusals) => refusals.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let tables = start();
    assert_eq!(tables.generation(), 1);
    let (again, changed) = commit(&tables, &upserts(objects())).expect("the same");
    assert!(changed.is_empty());
    assert_eq!((changed.unchanged, again.generation()), (6, 1));
}

#[test]
fn every_mistake_is_named_at_once() {
    let wrong = vec![
        tenant("b", "nowhere", B, &["10.1.0.11"]),
        tenant("c", "red", A, &["10.1.0.10"]),
        route("red", "10.2.0.0/16", "nothing"),
        route("red", "10.1.0.10/32", "far"),
        tunnel("self", "192.0.2.1", 1, None),
    ];
    assert_eq!(
        refused(&start(), &upserts(wrong)),
        [
            "vif b: vrf: there is no vrf named `nowhere`",
            "vif c: addresses: `10.1.0.10/32` already belongs to vif a",
            "vif c: mac: `02:00:00:00:00:0a` is already in use in vrf `red`",
            "nexthop self: tunnel.remote: `192.0.2.1` is this node's own address",
            "route red 10.1.0.10/32: prefix: `10.1.0.10/32` already belongs to vif a",
            "route red 10.2.0.0/16: nexthop: there is no nexthop named `nothing`",
        ]
    );
}

#[test]
fn what_is_in_use_stays_until_its_users_go_too() {
    let tables = start();
    let delete = |keys: Vec<Key>| request(keys.into_iter().map(Change::Delete).collect());
    let nexthop = Key::Nexthop("far".into());
    let route = Key::Route("red".into(), net("10.1.0.9/32"));
    assert_eq!(
        refused(&tables, &delete(vec![nexthop.clone()])),
        ["nexthop far: is still used by route red 10.1.0.9/32"]
    );
    let (tables, changed) = commit(&tables, &delete(vec![nexthop, route])).expect("both go");
    assert_eq!((changed.deleted.len(), tables.generation()), (2, 2));
    assert_eq!(
        refused(&tables, &delete(vec![Key::Vrf("red".into())])),
        ["vrf red: is still used by vif a"]
    );
}

#[test]
fn replace_sweeps_what_its_owner_left_unsaid_and_nothing_else() {
    let mut theirs = upserts(vec![vrf("theirs", &[])]);
    theirs.owner = "another".into();
    let (tables, _) = commit(&start(), &theirs).expect("another controller");
    let mut wanted = objects();
    wanted.retain(|object| !matches!(object, Object::Route(_)));
    let mut request = upserts(wanted);
    request.replace = true;
    let (tables, changed) = commit(&tables, &request).expect("a resync");
    assert_eq!(
        changed.deleted,
        [Key::Route("red".into(), net("10.1.0.9/32"))]
    );
    assert_eq!(changed.unchanged, 5);
    assert!(tables.object(&Key::Vrf("theirs".into())).is_some());
}

#[test]
fn an_object_is_changed_by_its_owner_only() {
    let mut request = request(vec![Change::Delete(Key::Vni(
        encap::Vni::new(5001).expect("24 bits"),
    ))]);
    request.owner = "another".into();
    assert_eq!(
        refused(&start(), &request),
        ["vni 5001: belongs to owner `test`, not to `another`"]
    );
}

#[test]
fn an_expected_generation_must_be_the_current_one() {
    let mut request = upserts(vec![vrf("blue", &[])]);
    request.if_generation = Some(7);
    let message = refused(&start(), &request).remove(0);
    assert!(message.contains("the generation is 1, not 7"), "{message}");
    request.if_generation = Some(1);
    commit(&start(), &request).expect("the current one");
}

#[test]
fn a_name_twice_in_one_request_is_refused() {
    let twice = upserts(vec![vrf("blue", &[]), vrf("blue", &["10.2.0.1/24"])]);
    assert_eq!(
        refused(&start(), &twice),
        ["vrf blue: named twice in one request"]
    );
}

#[test]
fn only_the_vrfs_that_a_commit_touches_decide_again() {
    let (tables, _) = commit(&start(), &upserts(vec![vrf("blue", &[])])).expect("a vrf");
    let epoch = |tables: &Tables, name| tables.vrf_named(name).expect("a vrf").epoch;
    let (red, blue) = (epoch(&tables, "red"), epoch(&tables, "blue"));
    let change = upserts(vec![route("blue", "10.3.0.0/16", "far")]);
    let (next, _) = commit(&tables, &change).expect("a route");
    assert_eq!(epoch(&next, "red"), red);
    assert_ne!(epoch(&next, "blue"), blue);
    // a nexthop that changes may change any decision
    let change = upserts(vec![tunnel("far", "192.0.2.3", 5001, None)]);
    let (next, _) = commit(&next, &change).expect("another remote");
    assert_ne!(epoch(&next, "red"), red);
}

#[test]
fn a_learned_neighbour_outlives_unrelated_commits() {
    let tables = start();
    let up0 = tables.vif_named("up0").expect("the uplink").id;
    let cell = tables
        .underlay()
        .neighbour(up0, ip("192.0.2.2"))
        .expect("in use")
        .clone();
    let more = upserts(vec![
        tunnel("further", "192.0.2.3", 1, None),
        route("underlay", "198.51.100.0/24", "far"),
    ]);
    let (next, _) = commit(&tables, &more).expect("more tunnels");
    let kept = next
        .underlay()
        .neighbour(up0, ip("192.0.2.2"))
        .expect("in use");
    assert!(Arc::ptr_eq(&cell, kept));
}

#[test]
fn a_new_vif_never_takes_the_place_of_one_removed_in_the_same_commit() {
    let tables = start();
    let old = tables.vif_named("a").expect("a vif").id;
    let request = request(vec![
        Change::Delete(Key::Vif("a".into())),
        Change::Upsert(tenant("b", "red", A, &["10.1.0.10"])),
    ]);
    let (next, _) = commit(&tables, &request).expect("one for another");
    assert_ne!(next.vif_named("b").expect("a vif").id, old);
    assert!(next.vif(old).is_none());
}

#[test]
fn a_tunnel_behind_a_router_uses_the_router_as_its_neighbour() {
    let spine = Object::Nexthop(Nexthop {
        name: "spine".into(),
        action: NexthopAction::Vif {
            vif: "up0".into(),
            address: Some(ip("192.0.2.254")),
        },
    });
    let more = upserts(vec![
        spine,
        route("underlay", "0.0.0.0/0", "spine"),
        tunnel("away", "203.0.113.5", 7, None),
    ]);
    let (next, _) = commit(&start(), &more).expect("a default route");
    let up0 = next.vif_named("up0").expect("the uplink").id;
    assert!(next.underlay().neighbour(up0, ip("192.0.2.254")).is_some());
    assert!(next.underlay().neighbour(up0, ip("203.0.113.5")).is_none());
    assert!(next.underlay().peer(ip("203.0.113.5")).is_some());
}

#[test]
fn a_routers_mac_is_not_taken_from_a_machine() {
    let mut red = Vrf {
        name: "red".into(),
        gateways: vec![net("10.1.0.1/24")],
        mode: ForwardingMode::Both,
        mac: A,
        flow_quota: None,
        learning: false,
        router_advertisement: None,
        tcp_mss_clamp: None,
        guards: Default::default(),
    };
    assert_eq!(
        refused(&start(), &upserts(vec![Object::Vrf(red.clone())])),
        ["vrf red: mac: `02:00:00:00:00:0a` is already in use in vrf `red`"]
    );
    // both change places in one request
    red.mac = A;
    let swap = upserts(vec![
        Object::Vrf(red),
        tenant("a", "red", ROUTER, &["10.1.0.10"]),
    ]);
    commit(&start(), &swap).expect("a swap");
}

#[test]
fn a_vif_that_goes_takes_only_its_own_with_it() {
    let wide = tenant("wide", "red", B, &["10.1.0.10/16"]);
    let (tables, _) = commit(&start(), &upserts(vec![wide])).expect("a wider prefix");
    let gone = request(vec![Change::Delete(Key::Vif("wide".into()))]);
    let (tables, _) = commit(&tables, &gone).expect("it exists");
    let red = tables.vrf_named("red").expect("a vrf");
    assert!(
        red.routes.get(net("10.1.0.10/32")).is_some(),
        "that of vif a"
    );
    assert_eq!(red.neighbours.get(&ip("10.1.0.10")), Some(&A));
}

#[test]
fn an_uplink_keeps_the_addresses_that_tunnels_need() {
    let far = Object::Nexthop(Nexthop {
        name: "far".into(),
        action: NexthopAction::Tunnel(Tunnel {
            local: Some(ip("192.0.2.1")),
            ..Tunnel::new(
                ip("192.0.2.2"),
                encap::Encap::Vxlan(encap::Vni::new(5001).expect("24 bits")),
            )
        }),
    });
    let (tables, _) = commit(&start(), &upserts(vec![far])).expect("its own address");
    let moved = |addr| upserts(vec![fabric("up0", B, &[addr])]);
    assert_eq!(
        refused(&tables, &moved("192.0.2.3/24")),
        ["nexthop far: tunnel.local: `192.0.2.1` is no fabric vif's address"]
    );
    assert_eq!(
        refused(&start(), &moved("192.0.2.2/24")),
        ["nexthop far: tunnel.remote: `192.0.2.2` is this node's own address"]
    );
}

#[test]
fn a_gateway_that_becomes_a_tunnel_is_no_way_to_other_tunnels() {
    let spine = Object::Nexthop(Nexthop {
        name: "spine".into(),
        action: NexthopAction::Vif {
            vif: "up0".into(),
            address: Some(ip("192.0.2.254")),
        },
    });
    let more = vec![
        spine,
        route("underlay", "0.0.0.0/0", "spine"),
        tunnel("away", "203.0.113.5", 7, None),
    ];
    let (tables, _) = commit(&start(), &upserts(more)).expect("a default route");
    let change = upserts(vec![tunnel("spine", "192.0.2.3", 8, None)]);
    let (tables, _) = commit(&tables, &change).expect("a tunnel now");
    let up0 = tables.vif_named("up0").expect("the uplink").id;
    let neighbour = |addr| tables.underlay().neighbour(up0, ip(addr));
    assert!(neighbour("192.0.2.3").is_some());
    assert!(neighbour("192.0.2.254").is_none());
}

#[test]
fn an_address_is_at_one_mac_in_any_order() {
    let entry = mac("red", B, "far", Some("10.1.0.11"));
    let (tables, _) = commit(&start(), &upserts(vec![entry])).expect("a bridge entry");
    let machine = tenant("b", "red", MacAddr([2; 6]), &["10.1.0.11"]);
    assert_eq!(
        refused(&tables, &upserts(vec![machine])),
        ["vif b: addresses: `10.1.0.11` is already at `02:00:00:00:00:0b`"]
    );
}

#[test]
fn a_new_vrf_never_takes_the_place_of_one_removed_in_the_same_commit() {
    let (tables, _) = commit(&start(), &upserts(vec![vrf("old", &[])])).expect("a vrf");
    let old = tables.vrf_named("old").expect("it is there").id;
    let swap = request(vec![
        Change::Delete(Key::Vrf("old".into())),
        Change::Upsert(vrf("new", &[])),
    ]);
    let (tables, _) = commit(&tables, &swap).expect("one for the other");
    assert!(tables.vrf(old).is_none());
    let (tables, _) = commit(&tables, &upserts(vec![vrf("later", &[])])).expect("a vrf");
    assert_eq!(tables.vrf_named("later").expect("it is there").id, old);
}

#[test]
fn a_quota_goes_with_a_tenant_and_its_vrf_only() {
    let mut wrong = vec![
        fabric("up1", A, &["192.0.3.1/24"]),
        Object::Vrf(Vrf::underlay()),
    ];
    for object in &mut wrong {
        match object {
            Object::Vif(vif) => vif.flow_quota = NonZeroU32::new(10),
            Object::Vrf(vrf) => vrf.flow_quota = NonZeroU32::new(10),
            _ => unreachable!("these are all"),
        }
    }
    assert_eq!(
        refused(&start(), &upserts(wrong)),
        [
            "vrf underlay: flow_quota: the underlay keeps no flows; give the tenants' vrfs quotas",
            "vif up1: flow_quota: only tenant vifs have one: a flow counts for the machine at its end",
        ]
    );
}

#[test]
fn a_node_has_room_for_so_many_vrfs_and_vifs() {
    let many = |count: u32, object: &dyn Fn(u32) -> Object| {
        upserts((0..count).map(object).collect::<Vec<_>>())
    };
    // The underlay is one of them.
    let vrfs = |count| many(count, &|n| vrf(&format!("v{n}"), &[]));
    let (tables, _) =
        commit(&Tables::new(1), &vrfs(MAX_VRFS - 1)).expect("as many as there may be");
    assert_eq!(
        refused(&tables, &upserts(vec![vrf("one-more", &[])])),
        ["vrf one-more: a node has at most 4096 vrfs, those this request deletes included"]
    );
    let vifs = |count| {
        many(count, &|n| {
            let mac = MacAddr([2, 0, 0, 1, (n >> 8) as u8, n as u8]);
            tenant(&format!("t{n}"), "v0", mac, &[])
        })
    };
    let (tables, _) = commit(&tables, &vifs(MAX_VIFS)).expect("as many as there may be");
    assert_eq!(
        refused(&tables, &upserts(vec![tenant("one-more", "v0", B, &[])])),
        ["vif one-more: a node has at most 4096 vifs, those this request deletes included"]
    );
}

/// A configuration with a vrf that replicates and learns.
fn replicating() -> Tables {
    let mut blue = vrf("blue", &[]);
    if let Object::Vrf(blue) = &mut blue {
        blue.learning = true;
    }
    let mut nested = tenant("n", "blue", B, &["10.1.0.5"]);
    if let Object::Vif(nested) = &mut nested {
        nested.mac = None;
    }
    let more = vec![
        blue,
        nested,
        to_vif("to-n", "n"),
        group("all", &["to-n", "far"]),
        mac("blue", MacAddr::BROADCAST, "all", None),
    ];
    commit(&start(), &upserts(more)).expect("it fits").0
}

fn to_vif(name: &str, vif: &str) -> Object {
    nexthop(
        name,
        NexthopAction::Vif {
            vif: vif.into(),
            address: None,
        },
    )
}

fn group(name: &str, members: &[&str]) -> Object {
    let members = members.iter().map(|name| (*name).into()).collect();
    nexthop(name, NexthopAction::Replicate(members))
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action,
    })
}

#[test]
fn members_of_a_replication_are_places() {
    let wrong = upserts(vec![
        nexthop("host", NexthopAction::Host),
        to_vif("kernel", "up0"),
        group("loop", &["loop", "far"]),
        group("nested", &["all", "far"]),
        group("odd", &["host"]),
        group("lost", &["nobody"]),
    ]);
    assert_eq!(
        refused(&replicating(), &wrong),
        [
            "nexthop kernel: address: a nexthop out of a fabric vif needs the neighbour's address",
            "nexthop loop: replicate.members: `loop` is this nexthop itself",
            "nexthop lost: replicate.members: there is no nexthop named `nobody`",
            "nexthop nested: replicate.members: `all` replicates, too; name its members instead",
            "nexthop odd: replicate.members: `host` is neither a tunnel that carries Ethernet nor the vif of a tenant",
        ]
    );
}

#[test]
fn a_cycle_does_not_come_about_by_changing_one_object() {
    let wrong = upserts(vec![group("far", &["all"])]);
    assert_eq!(
        refused(&replicating(), &wrong),
        [
            "nexthop all: replicate.members: `far` replicates, too; name its members instead",
            "nexthop far: replicate.members: `all` replicates, too; name its members instead",
            "route red 10.1.0.9/32: nexthop: `far` replicates, which only a group's MAC may lead to",
        ]
    );
    let wrong = upserts(vec![nexthop("to-n", NexthopAction::Host)]);
    assert_eq!(
        refused(&replicating(), &wrong),
        [
            "nexthop all: replicate.members: `to-n` is neither a tunnel that carries Ethernet nor the vif of a tenant"
        ]
    );
}

#[test]
fn replication_is_for_groups_and_groups_are_for_replication() {
    let group_mac = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    let wrong = upserts(vec![
        nexthop("host", NexthopAction::Host),
        mac("blue", A, "all", None),
        route("blue", "10.9.0.0/16", "all"),
        mac("blue", group_mac, "host", Some("10.1.0.7")),
        mac("underlay", group_mac, "all", None),
    ]);
    assert_eq!(
        refused(&replicating(), &wrong),
        [
            "route blue 10.9.0.0/16: nexthop: `all` replicates, which only a group's MAC may lead to",
            "mac blue 01:00:5e:00:00:01: ip: a group has no address that is asked for; leave it out",
            "mac blue 01:00:5e:00:00:01: nexthop: `host` is not for groups; use a replicate, discard, a tenant's vif or a tunnel that carries Ethernet",
            "mac blue 02:00:00:00:00:0a: nexthop: `all` replicates, which only a group's MAC may lead to",
            "mac underlay 01:00:5e:00:00:01: vrf: nothing is bridged in the underlay",
        ]
    );
}

#[test]
fn a_vif_without_a_mac_needs_a_vrf_that_learns() {
    let mut objects = vec![
        tenant("b", "red", B, &[]),
        tenant("c", "blue", B, &[]),
        fabric("up1", A, &["192.0.3.1/24"]),
        Object::Vrf(Vrf {
            learning: true,
            ..Vrf::underlay()
        }),
    ];
    for object in &mut objects {
        if let Object::Vif(vif) = object {
            vif.max_learned_macs = Some(5);
            vif.mac = vif.mac.filter(|_| &*vif.name != "b");
        }
    }
    assert_eq!(
        refused(&replicating(), &upserts(objects)),
        [
            "vrf underlay: learning: the underlay has no machines of tenants",
            "vif b: mac: a tenant vif needs the MAC of the machine behind it, or a vrf with `learning`",
            "vif c: max_learned_macs: nothing is learned behind a vif with a `mac`; leave one of them out",
            "vif up1: max_learned_macs: only tenant vifs have one",
        ]
    );
    assert_eq!(
        refused(&replicating(), &upserts(vec![vrf("blue", &[])])),
        ["vrf blue: learning: vif n has no `mac` and needs it"]
    );
}

#[test]
fn addresses_of_a_vif_without_a_mac_are_no_routes() {
    let tables = replicating();
    let blue = tables.vrf_named("blue").expect("a vrf");
    assert!(blue.routes.get(net("10.1.0.5/32")).is_none());
    // Once it has one they are, and go when it goes.
    let strict = tenant("n", "blue", B, &["10.1.0.5"]);
    let (tables, _) = commit(&tables, &upserts(vec![strict])).expect("a MAC");
    let blue = tables.vrf_named("blue").expect("a vrf");
    assert!(blue.routes.get(net("10.1.0.5/32")).is_some());
    let mut again = tenant("n", "blue", B, &["10.1.0.5"]);
    if let Object::Vif(vif) = &mut again {
        vif.mac = None;
    }
    let (tables, _) = commit(&tables, &upserts(vec![again])).expect("none");
    let blue = tables.vrf_named("blue").expect("a vrf");
    assert!(blue.routes.get(net("10.1.0.5/32")).is_none() && blue.macs.get(&B).is_none());
}

fn neighbour(name: &str, vif: &str, addr: &str) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Vif {
            vif: vif.into(),
            address: Some(ip(addr)),
        },
    })
}

fn ecmp(name: &str, members: &[&str]) -> Object {
    let member = |name: &&str| Member {
        nexthop: (*name).into(),
        weight: NonZeroU16::MIN,
    };
    let members = members.iter().map(member).collect();
    Object::Nexthop(Nexthop {
        name: name.into(),
        action: NexthopAction::Group(Group {
            members,
            hash: Default::default(),
            symmetric: false,
        }),
    })
}

#[test]
fn a_group_is_of_neighbours_for_the_underlay_or_of_tunnels_and_vifs_for_tenants() {
    let many: Vec<String> = (0..17).map(|n| format!("m{n}")).collect();
    let many_names: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut wrong = vec![
        neighbour("spine", "up0", "192.0.2.254"),
        ecmp("good", &["spine"]),
        ecmp("bad", &["spine", "far", "good", "spine"]),
        ecmp("none", &[]),
        ecmp("many", &many_names),
        ecmp("nodes", &["far"]),
        ecmp("nested", &["far", "nodes"]),
        route("red", "10.2.0.0/16", "good"),
        route("underlay", "198.51.100.0/24", "nodes"),
        mac("red", B, "nodes", None),
    ];
    wrong.extend(many.iter().map(|name| neighbour(name, "up0", "192.0.2.9")));
    assert_eq!(
        refused(&start(), &upserts(wrong)),
        [
            "nexthop bad: group.members: `spine` is named twice",
            "nexthop bad: group.members: `far` is no neighbour on a fabric vif's link",
            "nexthop bad: group.members: `good` is no neighbour on a fabric vif's link",
            "nexthop many: group.members: a group has at most 16 members",
            "nexthop nested: group.members: `nodes` is neither a tunnel nor the vif of a tenant",
            "nexthop none: group.members: a group needs at least one member",
            "route red 10.2.0.0/16: nexthop: `good` is a group of neighbours in the underlay; \
             tenants' routes lead to tunnels and vifs",
            "route underlay 198.51.100.0/24: nexthop: `nodes` is a group of tunnels and vifs; \
             the underlay's routes lead to neighbours",
            "mac red 02:00:00:00:00:0b: nexthop: `nodes` is a group, which only routes may lead to",
        ]
    );
    // Nor by a change of what is there already.
    let fine = upserts(vec![
        neighbour("spine", "up0", "192.0.2.254"),
        neighbour("leaf", "up0", "192.0.2.253"),
        ecmp("good", &["spine", "leaf"]),
        ecmp("nodes", &["far"]),
        route("underlay", "198.51.100.0/24", "good"),
        route("red", "10.2.0.0/16", "nodes"),
    ]);
    let (tables, _) = commit(&start(), &fine).expect("two groups");
    let change = upserts(vec![
        tunnel("spine", "192.0.2.3", 8, None),
        ecmp("nodes", &["leaf"]),
    ]);
    assert_eq!(
        refused(&tables, &change),
        [
            "nexthop good: group.members: `spine` is no neighbour on a fabric vif's link",
            "route red 10.2.0.0/16: nexthop: `nodes` is a group of neighbours in the underlay; \
             tenants' routes lead to tunnels and vifs",
        ]
    );
    let gone = request(vec![Change::Delete(Key::Nexthop("spine".into()))]);
    assert_eq!(
        refused(&tables, &gone),
        ["nexthop spine: is still used by nexthop good"]
    );
}

#[test]
fn uplinks_share_links_and_addresses_with_each_other_only() {
    let up1 = |addresses: &[&str]| fabric("up1", A, addresses);
    let same_link = upserts(vec![up1(&["192.0.2.7/24", "192.0.2.1/32"])]);
    let (tables, _) = commit(&start(), &same_link).expect("one link, one address in common");
    let underlay = |tables: &Tables| tables.vrf_named("underlay").cloned().expect("it exists");
    let routes = underlay(&tables).routes.len();
    // Either may go, and what the other has stays.
    for name in ["up0", "up1"] {
        let gone = request(vec![Change::Delete(Key::Vif(name.into()))]);
        let (after, _) = commit(&tables, &gone).expect("nothing mentions it");
        let left = underlay(&after).routes;
        assert_eq!(left.len(), if name == "up0" { routes } else { routes - 1 });
        assert!(left.lookup(ip("192.0.2.2")).is_some());
        let both = request(
            ["up0", "up1"]
                .map(|it| Change::Delete(Key::Vif(it.into())))
                .into(),
        );
        let (after, _) = commit(&tables, &both).expect("both");
        assert!(underlay(&after).routes.lookup(ip("192.0.2.2")).is_none());
    }
    // Both new at once, and both moved at once.
    let moved = upserts(vec![
        fabric("up0", B, &["198.51.100.1/24"]),
        up1(&["198.51.100.1/24"]),
    ]);
    let (after, _) = commit(&tables, &moved).expect("elsewhere");
    assert!(underlay(&after).routes.lookup(ip("192.0.2.2")).is_none());
    assert!(underlay(&after).routes.lookup(ip("198.51.100.2")).is_some());
    let mut kernel = fabric("kernel", A, &["192.0.2.1/32"]);
    if let Object::Vif(vif) = &mut kernel {
        vif.role = Role::Host;
    }
    assert_eq!(
        refused(
            &tables,
            &upserts(vec![
                kernel,
                up1(&["192.0.2.7/24", "192.0.2.7/32"]),
                neighbour("spine", "up0", "192.0.2.254"),
                route("underlay", "192.0.2.0/24", "spine"),
            ])
        ),
        [
            "vif kernel: addresses: `192.0.2.1/32` already belongs to vif up0",
            "vif up1: addresses: `192.0.2.7` is named twice",
            "nexthop far: tunnel.local: `192.0.2.2` is reached over up0 and up1, which have \
             no address in common; give them one, or name the one that the other end knows \
             this node by",
            "route underlay 192.0.2.0/24: prefix: `192.0.2.0/24` already belongs to vif up0",
        ]
    );
}

#[test]
fn a_tunnel_over_several_uplinks_starts_from_one_address() {
    let objects = |more: &[&str], local: Option<&str>| {
        let mut far = tunnel("away", "203.0.113.9", 7, None);
        if let Object::Nexthop(Nexthop {
            action: NexthopAction::Tunnel(tunnel),
            ..
        }) = &mut far
        {
            tunnel.local = local.map(ip);
        }
        let up0 = [&["192.0.2.1/24"], more].concat();
        let up1 = [&["198.51.100.1/24"], more].concat();
        upserts(vec![
            fabric("up0", B, &up0),
            fabric("up1", A, &up1),
            neighbour("left", "up0", "192.0.2.254"),
            neighbour("right", "up1", "198.51.100.254"),
            ecmp("both", &["left", "right"]),
            route("underlay", "203.0.113.0/24", "both"),
            far,
        ])
    };
    let source = |tables: &Tables| {
        let tunnels = tables.objects().filter_map(|(key, _)| match key {
            Key::Nexthop(name) => Some(name.clone()),
            _ => None,
        });
        let away = tunnels.into_iter().find(|name| &**name == "away");
        let id = (0..20)
            .map(dataplane::tables::NexthopId)
            .find(|id| tables.nexthop_name(*id) == away);
        let Some(dataplane::tables::Nexthop::Tunnel(tunnel)) =
            tables.nexthop(id.expect("it is there"))
        else {
            panic!("it leads somewhere");
        };
        assert_eq!(tunnel.paths.iter().count(), 2);
        let sources = tunnel.paths.iter().map(|path| {
            let mut packet = encap::MemBuffer::default();
            path.header
                .push(&mut packet, A, &encap::Inner::default())
                .expect("it fits");
            encap::Buffer::bytes(&packet)[26..30].to_vec()
        });
        sources.collect::<Vec<_>>()
    };
    let refusal = "nexthop away: tunnel.local: `203.0.113.9` is reached over up0 and up1, which \
                   have no address in common; give them one, or name the one that the other end \
                   knows this node by";
    assert_eq!(refused(&start(), &objects(&[], None)), [refusal]);
    let (tables, _) = commit(&start(), &objects(&["10.255.0.1/32"], None)).expect("a common one");
    assert_eq!(source(&tables), [[10, 255, 0, 1], [10, 255, 0, 1]]);
    // The uplink loses it.
    let moved = upserts(vec![fabric("up1", A, &["198.51.100.1/24"])]);
    assert_eq!(refused(&tables, &moved), [refusal]);
    let (tables, _) = commit(&start(), &objects(&[], Some("192.0.2.1"))).expect("a named one");
    assert_eq!(source(&tables), [[192, 0, 2, 1], [192, 0, 2, 1]]);
}
