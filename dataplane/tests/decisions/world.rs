//! Random configurations: three networks of tenants and the underlay, with a bit of everything.
//!
//! Names and addresses come from small pools, so that objects meet. What does not fit together is
//! refused by the commit, and left out.

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{Encap, Label, MacAddr, Vni};
use flowtable::Ticks;
use ipnet::IpNet;

use crate::common::{ROUTER, Random, net, request, route};
use crate::reference::Reference;

pub const VRFS: [&str; 3] = ["red", "blue", "public"];
pub const REMOTES: [&str; 4] = ["192.0.2.2", "192.0.2.3", "203.0.113.77", "2001:db8:f::2"];
pub const PORTS: [u16; 3] = [80, 53, 8080];

/// A configuration, as the engine has it and as the reference does.
pub struct World {
    pub tables: Arc<Tables>,
    pub reference: Reference,
}

/// The MAC of the tenant vif with this number.
pub fn mac_of(number: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, number as u8])
}

impl World {
    pub fn new(random: &mut Random) -> World {
        let key = dataplane::spread::SpreadKey::new(random.next());
        let tables = Tables::new(1)
            .with_secret([random.next(), random.next(), random.next(), random.next()])
            .with_bindings(1 << 12)
            .with_spread_key(key);
        let empty = World {
            tables: Arc::new(tables),
            reference: Reference::default(),
        };
        let mut world = empty.with(any_objects(random));
        world.disturb(random);
        world
    }

    /// The next configuration: some objects are others than before.
    pub fn changed(&self, random: &mut Random) -> World {
        let mut changed = self.reference.objects.clone();
        for object in &mut changed {
            if random.one_in(3) {
                change(random, object);
            }
        }
        changed.retain(|object| {
            let may_go = matches!(
                object,
                Object::Service(_) | Object::FloatingIp(_) | Object::Route(_) | Object::Mac(_)
            );
            !(may_go && random.one_in(12))
        });
        let mut world = self.with(changed);
        world.disturb(random);
        world
    }

    /// This configuration and no other object; those that are refused are left out.
    fn with(&self, mut objects: Vec<Object>) -> World {
        loop {
            let upserts = objects.iter().cloned().map(Change::Upsert).collect();
            let request = dataplane::tables::change::Request {
                replace: true,
                ..request(upserts)
            };
            match self.tables.prepare(&request) {
                Ok(draft) => {
                    let mut reference = self.reference.clone();
                    reference.objects = objects;
                    return World {
                        tables: Arc::new(draft.finish(|_| None).0),
                        reference,
                    };
                }
                Err(refusals) => {
                    // What is to go, and may not, stays out with what it is needed for.
                    let named = refusals.into_iter().flat_map(|it| match it.object {
                        Some(key) if objects.iter().any(|object| object.key() == key) => Some(key),
                        _ => it.conflict,
                    });
                    let refused: BTreeSet<Key> = named.collect();
                    let before = objects.len();
                    objects.retain(|object| !refused.contains(&object.key()));
                    assert!(
                        objects.len() < before,
                        "refused, but none of them: {refused:?}"
                    );
                }
            }
        }
    }

    /// Links go up and down, neighbours answer or cease to.
    fn disturb(&mut self, random: &mut Random) {
        let reference = &mut self.reference;
        for vif in self.tables.vifs() {
            let is_up = !random.one_in(6);
            vif.link.set(is_up);
            match is_up {
                true => _ = reference.down.remove(&vif.name),
                false => _ = reference.down.insert(vif.name.clone()),
            }
        }
        for neighbour in self.tables.underlay().neighbours() {
            let vif = self.tables.vif(neighbour.vif).expect("it is there");
            let place = (vif.name.clone(), neighbour.addr);
            if random.one_in(3) {
                neighbour.learn(mac_of(200), Ticks(0));
            } else if random.one_in(3) && neighbour.mac().is_none() {
                for second in 0..4 {
                    let care = dataplane::tables::neighbour::Care::Needed;
                    neighbour.probe_due(Ticks(1 + second * 2_000), care);
                }
            }
            for (is_so, places) in [
                (neighbour.mac().is_some(), &mut reference.answering),
                (neighbour.has_failed(), &mut reference.silent),
            ] {
                match is_so {
                    true => _ = places.insert(place.clone()),
                    false => _ = places.remove(&place),
                }
            }
        }
    }
}

fn any_objects(random: &mut Random) -> Vec<Object> {
    // Half of all configurations are about translation; elsewhere it seldom comes to that.
    let translates = random.one_in(2);
    let mut all = Vec::new();
    for name in VRFS {
        all.push(any_vrf(random, name));
    }
    all.extend(underlay(random));
    for number in 0..5 + random.below(5) {
        all.push(any_vif(random, number));
    }
    let has_second = all.iter().any(|it| it.key() == Key::Vif("up1".into()));
    all.extend(nexthops(random, has_second));
    for vrf in VRFS {
        for prefix in ["0.0.0.0/0", "::/0"] {
            let ways = [
                "to-public",
                "to-public",
                "to-blue",
                "to-underlay",
                "ring",
                "nodes",
                "n2",
            ];
            if !random.one_in(3) {
                all.push(route(vrf, prefix, random.pick(&ways)));
            }
        }
    }
    for (prefix, way) in [
        ("0.0.0.0/0", "gw0"),
        ("::/0", "gw6"),
        ("203.0.113.0/24", "gws"),
    ] {
        if !random.one_in(3) {
            all.push(route(UNDERLAY, prefix, way));
        }
    }
    for _ in 0..random.below(10) {
        all.push(any_route(random));
    }
    for number in 0..random.below(5) {
        let vrf = random.pick(&VRFS);
        let nexthop = random.pick(&["n2", "n3", "n4", "one", "far"]);
        all.push(crate::common::mac(vrf, mac_of(100 + number), nexthop, None));
    }
    for number in 0..random.below(6) {
        all.push(any_service(random, number));
    }
    for number in 0..random.below(5) {
        all.push(any_floating(random, number));
    }
    let pools = if translates {
        1 + random.below(5)
    } else {
        random.below(2)
    };
    for number in 0..pools {
        all.push(any_pool(random, number));
    }
    all.extend(policies(random));
    all.push(Object::Mirror(Mirror {
        name: "tap".into(),
        nexthop: "n2".into(),
    }));
    all
}

fn any_vrf(random: &mut Random, name: &str) -> Object {
    let gateways: &[&str] = match name {
        "red" => &["10.1.0.1/24", "fd01::1/64"],
        "blue" => &["10.2.0.1/24", "fd02::1/64"],
        _ => &["203.0.113.1/24", "2001:db8:7::1/64"],
    };
    Object::Vrf(Vrf {
        name: name.into(),
        gateways: gateways
            .iter()
            .filter(|_| !random.one_in(5))
            .map(|text| net(text))
            .collect(),
        mode: ForwardingMode::Both,
        mac: ROUTER,
        flow_quota: None,
        tcp_mss_clamp: None,
        learning: false,
        router_advertisement: None,
        guards: guards(random, 8),
    })
}

fn underlay(random: &mut Random) -> Vec<Object> {
    let uplink = |number: usize, addresses: &[&str]| {
        let name = format!("up{number}");
        crate::common::fabric(&name, mac_of(150 + number), addresses)
    };
    let mut all = vec![uplink(0, &["192.0.2.1/24", "2001:db8:e::1/64"])];
    if random.one_in(3) {
        let own: &[&str] = match random.one_in(2) {
            true => &["192.0.2.1/24", "2001:db8:e::1/64"],
            false => &["198.51.101.1/24"],
        };
        all.push(uplink(1, own));
    }
    if random.one_in(3) {
        all.push(Object::Vif(Vif {
            name: "kernel".into(),
            device: "memory:kernel".into(),
            role: Role::Host,
            vrf: UNDERLAY.into(),
            mac: Some(mac_of(160)),
            addresses: vec![],
            vlan: None,
            mtu: None,
            flow_quota: None,
            storm_limit: None,
            max_learned_macs: None,
            guards: Guards::default(),
        }));
    }
    all
}

fn any_vif(random: &mut Random, number: usize) -> Object {
    let vrf = match number {
        0 | 1 | 3 | 7 => "red",
        2 | 5 | 8 => "public",
        _ => "blue",
    };
    let mut addresses = match vrf {
        "red" => vec![
            format!("10.1.0.{}", 5 + number),
            format!("fd01::{}", 5 + number),
        ],
        "blue" => vec![
            format!("10.2.0.{}", 5 + number),
            format!("fd02::{}", 5 + number),
        ],
        _ => vec![
            format!("203.0.113.{}", 5 + number),
            format!("2001:db8:7::{}", 5 + number),
        ],
    };
    if random.one_in(8) {
        addresses.truncate(1);
    }
    if random.one_in(8) {
        addresses.push(format!("10.1.{}.0/29", 8 + number));
    }
    if random.one_in(16) {
        addresses.clear(); // it may send from anywhere
    }
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let name = format!("v{number}");
    let Object::Vif(vif) = crate::common::tenant(&name, vrf, mac_of(number), &addresses) else {
        unreachable!("a vif")
    };
    Object::Vif(Vif {
        guards: guards(random, 4),
        ..vif
    })
}

/// In one of `rarity` cases any.
fn guards(random: &mut Random, rarity: usize) -> Guards {
    let list = |random: &mut Random| -> Vec<Name> {
        let count = match random.one_in(rarity) {
            true => 1 + random.below(2),
            false => 0,
        };
        (0..count)
            .map(|_| random.pick(&["p", "q", "r"]).into())
            .collect()
    };
    Guards {
        ingress_policies: list(random),
        egress_policies: list(random),
        ..Guards::default()
    }
}

fn nexthop(name: &str, action: NexthopAction) -> Object {
    Object::Nexthop(Nexthop {
        name: name.into(),
        action,
    })
}

fn nexthops(random: &mut Random, has_second: bool) -> Vec<Object> {
    let tunnel = |random: &mut Random, remote: &str, vni: u32| {
        let encap = match random.one_in(4) {
            true => Encap::MplsUdp(Label::new(vni).expect("20 bits")),
            false => Encap::Vxlan(Vni::new(vni).expect("24 bits")),
        };
        NexthopAction::Tunnel(Tunnel::new(crate::common::ip(remote), encap))
    };
    let vif = |vif: &str, address: Option<&str>| NexthopAction::Vif {
        vif: vif.into(),
        address: address.map(crate::common::ip),
    };
    let mut all = vec![
        nexthop(
            "n2",
            NexthopAction::Tunnel(Tunnel::new(
                crate::common::ip(REMOTES[0]),
                Encap::Vxlan(Vni::new(5001).expect("24 bits")),
            )),
        ),
        nexthop("n3", tunnel(random, REMOTES[1], 5002)),
        nexthop("n4", tunnel(random, REMOTES[0], 5003)),
        nexthop("far", tunnel(random, REMOTES[2], 5004)),
        nexthop("six", tunnel(random, REMOTES[3], 5005)),
        nexthop("gone", NexthopAction::Discard),
        nexthop("no", NexthopAction::Reject),
        nexthop("host", NexthopAction::Host),
        nexthop("gw0", vif("up0", Some("192.0.2.250"))),
        nexthop("gw6", vif("up0", Some("2001:db8:e::250"))),
        nexthop("one", vif("v1", None)),
        nexthop("two", vif("v2", None)),
    ];
    if has_second {
        all.push(nexthop("gw1", vif("up1", Some("192.0.2.251"))));
    }
    for vrf in VRFS.iter().chain(&[UNDERLAY]) {
        all.push(nexthop(
            &format!("to-{vrf}"),
            NexthopAction::Vrf((*vrf).into()),
        ));
    }
    let gateways: &[&str] = if has_second {
        &["gw0", "gw1"]
    } else {
        &["gw0"]
    };
    all.push(nexthop("gws", group(random, gateways)));
    all.push(nexthop(
        "ring",
        group(random, &["n2", "n3", "n4", "one", "two", "six", "far"]),
    ));
    all.push(nexthop("nodes", group(random, &["n2", "n3", "six"])));
    all
}

fn group(random: &mut Random, from: &[&str]) -> NexthopAction {
    let mut names: Vec<&str> = from.to_vec();
    names.retain(|_| !random.one_in(3));
    if names.is_empty() {
        names.push(from[0]);
    }
    NexthopAction::Group(Group {
        members: names
            .into_iter()
            .map(|name| Member {
                nexthop: name.into(),
                weight: weight(random),
            })
            .collect(),
        hash: random.pick(&[
            HashFields::FiveTuple,
            HashFields::Addresses,
            HashFields::Source,
        ]),
        symmetric: random.one_in(2),
    })
}

fn weight(random: &mut Random) -> NonZeroU16 {
    NonZeroU16::new(1 + random.below(4) as u16).expect("not zero")
}

fn any_route(random: &mut Random) -> Object {
    if random.one_in(4) {
        let prefix = random.pick(&["198.18.0.0/16", "8.8.0.0/16", "2001:db8:f::/48"]);
        return route(UNDERLAY, prefix, random.pick(&["gw0", "gws", "gw6"]));
    }
    let vrf = random.pick(&VRFS);
    let prefix = random.pick(&[
        "10.1.0.64/26",
        "10.2.0.64/26",
        "10.1.0.9/32",
        "10.2.0.0/16",
        "fd01::40/122",
        "fd02::40/122",
        "203.0.113.64/26",
        "203.0.113.0/24",
        "198.51.100.0/24",
        "2001:db8::/32",
        "2001:db8:7::40/122",
    ]);
    let nexthop = random.pick(&[
        "n2",
        "n3",
        "n4",
        "far",
        "six",
        "gone",
        "no",
        "host",
        "one",
        "two",
        "ring",
        "ring",
        "nodes",
        "to-red",
        "to-blue",
        "to-public",
        "to-public",
        "to-public",
        "to-underlay",
        "to-underlay",
    ]);
    route(vrf, prefix, nexthop)
}

fn backends(random: &mut Random, is_ipv4: bool, vrf: &str, port: Option<u16>) -> Vec<Backend> {
    let hosts = match (is_ipv4, vrf) {
        (true, "red") => ["10.1.0.5", "10.1.0.6", "10.1.0.7", "10.1.0.65"],
        (true, "blue") => ["10.2.0.5", "10.2.0.6", "10.2.0.7", "10.2.0.65"],
        (true, _) => ["203.0.113.5", "203.0.113.6", "203.0.113.7", "203.0.113.65"],
        (false, "red") => ["fd01::5", "fd01::6", "fd01::7", "fd01::41"],
        (false, "blue") => ["fd02::5", "fd02::6", "fd02::7", "fd02::41"],
        (false, _) => [
            "2001:db8:7::5",
            "2001:db8:7::6",
            "2001:db8:7::7",
            "2001:db8:7::41",
        ],
    };
    let mut all: Vec<Backend> = Vec::new();
    for host in hosts {
        if random.one_in(3) {
            continue;
        }
        all.push(Backend {
            address: crate::common::ip(host),
            port: port.unwrap_or_else(|| random.pick(&PORTS)),
            weight: weight(random),
            state: state(random),
        });
    }
    all
}

fn state(random: &mut Random) -> BackendState {
    match random.below(6) {
        0 => BackendState::Draining,
        1 => BackendState::Down,
        _ => BackendState::Active,
    }
}

fn any_service(random: &mut Random, number: usize) -> Object {
    let vrf = random.pick(&VRFS);
    let inner = random.one_in(2).then(|| random.pick(&VRFS));
    let is_ipv4 = !random.one_in(3);
    let address = match is_ipv4 {
        true => random.pick(&["10.200.0.1", "10.200.0.2", "198.51.100.7", "198.51.100.16"]),
        false => random.pick(&["fd00:200::1", "2001:db8:100::16"]),
    };
    let port = random.pick(&PORTS);
    let direct_return = random.one_in(4);
    let its = inner.unwrap_or(vrf);
    Object::Service(Service {
        name: format!("s{number}").into(),
        vrf: vrf.into(),
        address: crate::common::ip(address),
        protocol: random.pick(&[6, 6, 17, 132]),
        port,
        backend_vrf: inner.map(Name::from),
        backends: backends(random, is_ipv4, its, direct_return.then_some(port)),
        affinity_timeout_s: random.one_in(8).then_some(60),
        table_size: random.pick(&[31, 61, 251]),
        on_down: random.pick(&[OnDown::Move, OnDown::Reset]),
        direct_return,
        health: None,
    })
}

fn any_floating(random: &mut Random, number: usize) -> Object {
    let vrf = random.pick(&["public", "public", "blue", UNDERLAY]);
    let (address, target) = match random.below(5) {
        0 => {
            let (public, vrf, fixed) = random.pick(&[
                ("2001:db8:200::/64", "red", "fd01::/64"),
                ("198.51.100.32/30", "red", "10.1.0.4/30"),
                ("198.51.100.64/28", "blue", "10.2.0.0/28"),
            ]);
            let target = FloatingTarget::Prefix {
                vrf: vrf.into(),
                fixed: net(fixed),
            };
            (net(public), target)
        }
        _ => {
            let lists: [&[&str]; 6] = [
                &["v0"],
                &["v1"],
                &["v3"],
                &["v0", "v1", "v3"],
                &["v4"],
                &["v4", "v6"],
            ];
            let list = random.pick(&lists);
            let vifs = list.iter().map(|vif| (*vif).into()).collect();
            let target = FloatingTarget::Vifs { vifs, fixed: None };
            let address = match random.one_in(3) {
                true => net(&format!("2001:db8:100::{number}")),
                false => net(&format!("198.51.100.{}", 7 + number)),
            };
            (address, target)
        }
    };
    Object::FloatingIp(FloatingIp {
        name: format!("f{number}").into(),
        vrf: vrf.into(),
        address,
        target,
    })
}

fn any_pool(random: &mut Random, number: usize) -> Object {
    let is_nat64 = random.one_in(3);
    let is_ipv4 = is_nat64 || !random.one_in(3);
    let outside = random.pick(&["public", "public", "blue", UNDERLAY]);
    let address = match (is_ipv4, outside) {
        (true, UNDERLAY) if random.one_in(2) => "192.0.2.1",
        (true, _) => random.pick(&["198.51.100.16", "198.51.100.18/31", "198.51.100.20/30"]),
        (false, _) => random.pick(&["2001:db8:100::16", "2001:db8:100::20/126"]),
    };
    let ports = random.pick(&[
        (1000, 1047),
        (1024, 1063),
        (40_000, 40_015),
        (5, 8),
        (2000, 2127),
    ]);
    let sources: &[&str] = match is_ipv4 && !is_nat64 {
        true => &["10.1.0.0/24", "10.1.0.4/30", "10.2.0.0/24"],
        false => &["fd01::/64", "fd02::/64", "fd01::4/126"],
    };
    let blocks = random.one_in(4);
    Object::SnatPool(SnatPool {
        name: format!("o{number}").into(),
        vrf: random.pick(&["red", "red", "blue"]).into(),
        sources: match random.one_in(4) {
            true => vec![net(random.pick(sources))],
            false => vec![],
        },
        outside_vrf: outside.into(),
        addresses: vec![net(address).trunc()],
        ports: ports.0..=ports.1,
        block_size: blocks.then(|| NonZeroU16::new(random.pick(&[2, 4, 8])).expect("not zero")),
        ports_per_vif: random.one_in(4).then(|| 1 + random.below(6) as u32),
        filtering: filtering(random),
        nat64_prefix: is_nat64.then(|| {
            let prefix = random.pick(&["64:ff9b::/96", "2001:db8:64::/96"]);
            prefix.parse().expect("a prefix")
        }),
    })
}

fn filtering(random: &mut Random) -> Filtering {
    random.pick(&[
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ])
}

fn policies(random: &mut Random) -> Vec<Object> {
    let nets = [
        "10.1.0.0/24",
        "10.1.0.4/30",
        "10.2.0.0/16",
        "198.51.100.0/24",
        "::/0",
        "fd01::/64",
    ];
    let set = Object::AddressSet(AddressSet {
        name: "a".into(),
        prefixes: nets
            .iter()
            .filter(|_| random.one_in(3))
            .map(|it| net(it))
            .collect(),
    });
    let mut all = vec![set];
    for name in ["p", "q", "r"] {
        let rules = (0..random.below(6) as u32)
            .map(|id| any_rule(random, id, &nets))
            .collect();
        let name = name.into();
        all.push(Object::Policy(Policy { name, rules }));
    }
    all
}

fn any_rule(random: &mut Random, id: u32, nets: &[&str]) -> Rule {
    let allow = RuleAction::Allow;
    let action = random.pick(&[allow, allow, allow, RuleAction::Deny, RuleAction::Reject]);
    let some = |random: &mut Random| -> Vec<IpNet> {
        let count = random.pick(&[0, 0, 0, 1, 2]);
        (0..count).map(|_| net(random.pick(nets))).collect()
    };
    let protocol = random.pick(&[None, None, None, Some(6), Some(17), Some(1)]);
    let ports = random.one_in(4) && protocol != Some(1);
    let is_marked = action == allow && random.one_in(4);
    Rule {
        id,
        action,
        protocol,
        sources: some(random),
        source_sets: vec![],
        destinations: some(random),
        destination_sets: random.one_in(6).then(|| "a".into()).into_iter().collect(),
        source_ports: vec![],
        destination_ports: ports.then_some(50..=90).into_iter().collect(),
        icmp: match protocol {
            Some(1) if random.one_in(2) => vec![IcmpMatch {
                kind: 8,
                code: None,
            }],
            _ => vec![],
        },
        log: false,
        mirror: (is_marked && random.one_in(2)).then(|| "tap".into()),
        dscp: is_marked.then_some(10),
    }
}

/// Another form of the same object.
fn change(random: &mut Random, object: &mut Object) {
    match object {
        Object::Service(service) => {
            for backend in &mut service.backends {
                if random.one_in(3) {
                    backend.state = state(random);
                }
            }
            if random.one_in(3) {
                service.backends.retain(|_| !random.one_in(3));
            }
        }
        Object::FloatingIp(FloatingIp {
            target: FloatingTarget::Vifs { vifs, .. },
            ..
        }) if vifs.len() > 1 => _ = vifs.remove(random.below(vifs.len())),
        Object::Nexthop(nexthop) => {
            if let NexthopAction::Group(group) = &mut nexthop.action {
                if group.members.len() > 1 && random.one_in(2) {
                    group.members.remove(random.below(group.members.len()));
                } else {
                    group.members.reverse();
                }
            }
        }
        Object::Policy(policy) if !policy.rules.is_empty() => {
            let at = random.below(policy.rules.len());
            match random.below(3) {
                0 => _ = policy.rules.remove(at),
                1 => policy.rules.reverse(),
                _ => policy.rules[at].action = RuleAction::Deny,
            }
        }
        Object::SnatPool(pool) => pool.filtering = filtering(random),
        Object::Route(route) if random.one_in(4) => {
            route.nexthop = random.pick(&["n2", "ring", "to-public"]).into();
        }
        Object::Vif(vif) if vif.role == Role::Tenant => {
            vif.flow_quota = NonZeroU32::new(1 + random.below(9) as u32);
            if random.one_in(2) {
                vif.guards = guards(random, 4);
            }
        }
        _ => {}
    }
}
