//! What a commit says of floating addresses and pools.

use std::num::NonZeroU16;

use crate::common::*;
use dataplane::tables::Tables;
use dataplane::tables::change::{Change, Refusal};
use dataplane::tables::spec::*;
use encap::MacAddr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 1, 5]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 1, 6]);
const UP: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn floating(name: &str, vrf: &str, address: &str, vifs: &[&str]) -> FloatingIp {
    FloatingIp {
        name: name.into(),
        vrf: vrf.into(),
        address: net(address),
        target: FloatingTarget::Vifs {
            vifs: vifs.iter().map(|vif| (*vif).into()).collect(),
            fixed: None,
        },
    }
}

fn pool(name: &str, addresses: &[&str]) -> SnatPool {
    SnatPool {
        name: name.into(),
        vrf: "red".into(),
        sources: vec![],
        outside_vrf: "public".into(),
        addresses: addresses.iter().map(|addr| net(addr)).collect(),
        ports: 1024..=65_535,
        block_size: None,
        ports_per_vif: None,
        filtering: Filtering::EndpointIndependent,
        nat64_prefix: None,
    }
}

fn base() -> Vec<Object> {
    vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        vrf("public", &["198.51.100.1/24", "2001:db8:1::1/64"]),
        tenant("a", "red", A, &["10.1.0.5", "fd01::5"]),
        tenant("b", "red", B, &["10.1.0.6", "10.1.0.7"]),
        fabric("up0", UP, &["192.0.2.1/24"]),
    ]
}

/// What is refused of these objects beside [`base`].
#[track_caller]
fn refused(more: Vec<Object>) -> Refusal {
    let objects = base().into_iter().chain(more).map(Change::Upsert).collect();
    let mut refusals = match Tables::new(1).prepare(&request(objects)) {
        Ok(_) => panic!("it is not refused"),
        Err(refusals) => refusals,
    };
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    refusals.remove(0)
}

#[track_caller]
fn check(more: Vec<Object>, field: &str, says: &str, conflict: Option<Key>) {
    let refusal = refused(more);
    assert_eq!(refusal.field, field, "{refusal}");
    assert!(refusal.reason.contains(says), "{refusal}");
    assert_eq!(refusal.conflict, conflict, "{refusal}");
}

#[test]
fn a_floating_address_is_one_objects() {
    let first = || Object::FloatingIp(floating("one", "public", "198.51.100.9", &["a"]));
    let second =
        |name: &str, address| Object::FloatingIp(floating(name, "public", address, &["a"]));
    let one = Some(Key::FloatingIp("one".into()));
    let other = Object::FloatingIp(FloatingIp {
        target: FloatingTarget::Vifs {
            vifs: vec!["b".into()],
            fixed: Some(net("10.1.0.6")),
        },
        ..floating("two", "public", "198.51.100.9", &[])
    });
    check(
        vec![first(), other],
        "address",
        "already belongs to floating_ip one",
        one.clone(),
    );
    let twice = second("two", "198.51.100.10");
    check(
        vec![first(), twice],
        "fixed",
        "already goes to vrf `public`",
        one.clone(),
    );
    let gateway = Some(Key::Vrf("public".into()));
    check(
        vec![second("one", "198.51.100.1")],
        "address",
        "already belongs to vrf",
        gateway,
    );
    let of_pool = Object::SnatPool(pool("out", &["198.51.100.8/30"]));
    check(
        vec![first(), of_pool],
        "addresses",
        "`198.51.100.9/32` already belongs to",
        one,
    );
}

#[test]
fn a_floating_address_says_what_is_wrong_with_its_inside() {
    let check_one = |spec: FloatingIp, field, says| {
        check(vec![Object::FloatingIp(spec)], field, says, None);
    };
    let of = |address, vifs: &[&str]| floating("one", "public", address, vifs);
    check_one(
        of("2001:db8:1::9", &["b"]),
        "vifs",
        "has no IPv6 address; give it one",
    );
    check_one(
        of("198.51.100.9", &["b"]),
        "fixed",
        "has several addresses; say which one",
    );
    check_one(of("198.51.100.9", &[]), "vifs", "names none");
    check_one(of("198.51.100.9", &["up0"]), "vifs", "is no tenant vif");
    check_one(of("198.51.100.0/28", &["a"]), "address", "not as long as");
    let inside = floating("one", "red", "10.9.0.1", &["a"]);
    check_one(inside, "vrf", "is the network inside, too");
    let fixed = |target| FloatingIp {
        target,
        ..of("198.51.100.9", &[])
    };
    let not_its = FloatingTarget::Vifs {
        vifs: vec!["a".into()],
        fixed: Some(net("10.1.0.99")),
    };
    check_one(fixed(not_its), "fixed", "is no address of vif `a`");
    let shorter = FloatingTarget::Prefix {
        vrf: "red".into(),
        fixed: net("10.1.0.0/24"),
    };
    check_one(fixed(shorter), "fixed", "not as long as");
}

#[test]
fn a_pool_says_what_is_wrong() {
    let check_one = |spec: SnatPool, field, says| {
        check(vec![Object::SnatPool(spec)], field, says, None);
    };
    let of = |addresses: &[&str]| pool("out", addresses);
    check_one(of(&[]), "addresses", "are none");
    check_one(
        of(&["198.51.100.9", "2001:db8:1::9"]),
        "addresses",
        "both IP versions",
    );
    check_one(of(&["203.0.0.0/16"]), "addresses", "more than 1024");
    let one = || of(&["198.51.100.9"]);
    check_one(
        SnatPool {
            ports: 0..=9,
            ..one()
        },
        "ports",
        "from 1 to 65535",
    );
    #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake")]
    check_one(
        SnatPool {
            ports: 9..=8,
            ..one()
        },
        "ports",
        "from 1 to 65535",
    );
    let block_size = NonZeroU16::new(200);
    let few = SnatPool {
        ports: 1024..=1100,
        block_size,
        ..one()
    };
    check_one(few, "block_size", "more than there are");
    let none = SnatPool {
        ports_per_vif: Some(0),
        ..one()
    };
    check_one(none, "ports_per_vif", "is 0");
    let same = SnatPool {
        outside_vrf: "red".into(),
        ..one()
    };
    check_one(same, "outside_vrf", "is the network inside");
    let sources = vec![net("fd01::/64")];
    check_one(
        SnatPool { sources, ..one() },
        "sources",
        "give a `nat64_prefix`",
    );
    let nat64 = |prefix: &str| SnatPool {
        nat64_prefix: Some(prefix.parse().expect("a prefix")),
        ..one()
    };
    check_one(nat64("64:ff9b::/64"), "nat64_prefix", "must have 96 bits");
    let addresses = vec![net("2001:db8:1::9")];
    check_one(
        SnatPool {
            addresses,
            ..nat64("64:ff9b::/96")
        },
        "addresses",
        "they are IPv4",
    );
}

#[test]
fn pools_do_not_overlap() {
    let object = Object::SnatPool;
    let one = || object(pool("one", &["198.51.100.8/30"]));
    let first = Some(Key::SnatPool("one".into()));
    let others = vec![net("10.1.0.0/25")];
    let inside_it = SnatPool {
        sources: others.clone(),
        ..pool("two", &["198.51.100.9"])
    };
    check(
        vec![one(), object(inside_it)],
        "addresses",
        "already belongs to snat_pool one",
        first.clone(),
    );
    let same_sources = pool("two", &["198.51.100.16"]);
    check(
        vec![one(), object(same_sources)],
        "sources",
        "name other sources",
        first,
    );
    // Nested sources are fine: the longest one counts.
    let nested = SnatPool {
        sources: others,
        ..pool("two", &["198.51.100.16"])
    };
    let objects = base().into_iter().chain([one(), object(nested)]);
    let objects = objects.map(Change::Upsert).collect();
    assert!(Tables::new(1).prepare(&request(objects)).is_ok());
}

#[test]
fn a_fabric_vifs_address_needs_a_range_of_ports() {
    let of = |ports| SnatPool {
        outside_vrf: UNDERLAY.into(),
        ports,
        ..pool("out", &["192.0.2.1"])
    };
    check(
        vec![Object::SnatPool(of(1..=65_535))],
        "ports",
        "is a fabric vif's",
        None,
    );
    let objects = base()
        .into_iter()
        .chain([Object::SnatPool(of(40_000..=49_999))]);
    let mut node = Node::new(objects.collect());
    let at = |node: &Node| node.publisher.current().underlay().pool_at(ip("192.0.2.1"));
    assert!(at(&node).is_some());
    // The vif moves to another address: the pool has its own to itself.
    node.apply(vec![Change::Upsert(fabric("up0", UP, &["192.0.2.2/24"]))])
        .expect("it moves");
    assert!(at(&node).is_none());
    let underlay = node.publisher.current();
    let underlay = underlay.vrf_named(UNDERLAY).expect("it always exists");
    let target = underlay.routes.lookup(ip("192.0.2.1"));
    assert!(matches!(target, Some(dataplane::tables::Target::Vip(_))));
    node.apply(vec![Change::Delete(Key::SnatPool("out".into()))])
        .expect("it goes");
}

#[test]
fn a_floating_address_follows_its_vif() {
    let mut objects = base();
    objects.push(Object::FloatingIp(floating(
        "one",
        "public",
        "198.51.100.9",
        &["a"],
    )));
    let mut node = Node::new(objects);
    let inside = |node: &Node| {
        let tables = node.publisher.current();
        let (_, floating) = tables.floatings().next().expect("there is one");
        floating.targets[0].0
    };
    assert_eq!(inside(&node), net("10.1.0.5"));
    node.apply(vec![Change::Upsert(tenant(
        "a",
        "red",
        A,
        &["10.1.0.55", "fd01::5"],
    ))])
    .expect("its address changes");
    assert_eq!(inside(&node), net("10.1.0.55"));
    let refusals = node.apply(vec![Change::Upsert(tenant("a", "red", A, &["fd01::5"]))]);
    let refusals = refusals.expect_err("nothing is left for the floating address");
    assert_eq!(refusals[0].object, Some(Key::FloatingIp("one".into())));
    let refusals = node.apply(vec![Change::Delete(Key::Vif("a".into()))]);
    assert!(
        refusals.expect_err("it is used")[0]
            .reason
            .contains("floating_ip one")
    );
}

#[test]
fn what_is_taken_out_leaves_nothing() {
    let mut node = Node::new(base());
    let before = routes(&node);
    let pool = SnatPool {
        nat64_prefix: Some("64:ff9b::/96".parse().expect("a prefix")),
        ..pool("out", &["198.51.100.8/30"])
    };
    let floating = floating("one", "public", "198.51.100.20", &["a"]);
    let (pool, floating) = (Object::SnatPool(pool), Object::FloatingIp(floating));
    let keys = [pool.key(), floating.key()];
    for _ in 0..3 {
        let both = [pool.clone(), floating.clone()].map(Change::Upsert);
        node.apply(both.to_vec()).expect("they come");
        assert_eq!(routes(&node), before + 6);
        let gone = keys.clone().map(Change::Delete);
        node.apply(gone.to_vec()).expect("they go");
        assert_eq!(routes(&node), before);
    }
}

fn routes(node: &Node) -> usize {
    let tables = node.publisher.current();
    tables.vrfs().map(|vrf| vrf.routes.len()).sum()
}
