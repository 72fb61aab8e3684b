//! Two tenants with the same addresses on every kind of port, and how their network changes.

use dataplane::tables::change::Change;
use dataplane::tables::spec::*;
use encap::{MacAddr, VlanId};

use crate::common::*;

pub const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
pub const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
pub const C: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xc]);
pub const REMOTE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x9]);
pub const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub const UPLINK6: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);
pub const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
pub const KERNEL: MacAddr = MacAddr([2, 0, 0, 0, 1, 4]);
pub const BROADCAST: MacAddr = MacAddr::BROADCAST;

/// Vifs with the vrf they are in; the last three are not tenants'.
pub const VIFS: [(&str, &str); 7] = [
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
pub fn node(with_host: bool) -> Node {
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
pub fn switching_node() -> Node {
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

pub fn vif_of(object: Object) -> Vif {
    match object {
        Object::Vif(vif) => vif,
        other => panic!("{other:?} is no vif"),
    }
}

pub fn on_vlan(object: Object, id: u16) -> Object {
    Object::Vif(Vif {
        vlan: Some(VlanId::new(id).expect("12 bits")),
        ..vif_of(object)
    })
}

/// Now and then the configuration moves under live flows.
pub fn change_something(random: &mut Random, node: &mut Node) {
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
