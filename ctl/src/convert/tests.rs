//! Round trips of every kind of object, and one refusal per rule.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};

use dataplane::tables::spec::*;
use encap::{MacAddr, VlanId, Vni};
use ipnet::IpNet;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn name() -> impl Strategy<Value = Name> {
    // Words that YAML would take for something else are names too.
    prop_oneof![
        "[A-Za-z0-9][A-Za-z0-9._:@-]{0,20}",
        prop::sample::select(vec![
            "no",
            "null",
            "true",
            "5",
            "1e3",
            "0x10",
            "1.5",
            "2024-01-01",
            "y"
        ])
        .prop_map(String::from),
    ]
    .prop_map(|name| name.as_str().into())
}

fn station() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(|mut mac| {
        mac[0] &= !1;
        mac[5] |= 1;
        MacAddr(mac)
    })
}

fn host_addr() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![
        (0x0100_0000u32..0xdfff_ffff).prop_map(|bits| Ipv4Addr::from(bits).into()),
        (1u128..(0xfe << 120)).prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn interface() -> impl Strategy<Value = IpNet> {
    (host_addr(), 0u8..=128).prop_map(|(addr, len)| {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        IpNet::new(addr, len.min(max)).unwrap()
    })
}

fn vni() -> impl Strategy<Value = Vni> {
    (0u32..1 << 24).prop_map(|vni| Vni::new(vni).unwrap())
}

fn flow_quota() -> impl Strategy<Value = Option<NonZeroU32>> {
    (0u32..).prop_map(NonZeroU32::new)
}

fn vrf() -> impl Strategy<Value = Vrf> {
    let mode = prop::sample::select(vec![
        ForwardingMode::Routed,
        ForwardingMode::Bridged,
        ForwardingMode::Both,
    ]);
    (
        name(),
        vec(interface(), 0..3),
        mode,
        station(),
        flow_quota(),
    )
        .prop_map(|(name, gateways, mode, mac, flow_quota)| Vrf {
            name,
            gateways,
            mode,
            mac,
            flow_quota,
        })
}

fn vif() -> impl Strategy<Value = Vif> {
    let role = prop::sample::select(vec![Role::Tenant, Role::Fabric, Role::Host]);
    let vlan = (1u16..4095).prop_map(|vlan| VlanId::new(vlan).unwrap());
    (
        (name(), "[ -~]{1,40}", role, name()),
        option::of(station()),
        vec(interface(), 0..3),
        option::of(vlan),
        option::of(68u16..),
        flow_quota(),
    )
        .prop_map(
            |((name, device, role, vrf), mac, addresses, vlan, mtu, flow_quota)| Vif {
                name,
                device: device.as_str().into(),
                role,
                vrf,
                mac,
                addresses,
                vlan,
                mtu,
                flow_quota,
            },
        )
}

fn nexthop() -> impl Strategy<Value = Nexthop> {
    let tunnel = (any::<bool>(), host_addr(), vni(), option::of(station())).prop_map(
        |(local, remote, vni, inner_mac)| {
            NexthopAction::Tunnel(Tunnel {
                local: local.then_some(remote),
                remote,
                vni,
                inner_mac,
            })
        },
    );
    let action = prop_oneof![
        (name(), option::of(host_addr()))
            .prop_map(|(vif, address)| NexthopAction::Vif { vif, address }),
        tunnel,
        Just(NexthopAction::Host),
        Just(NexthopAction::Discard),
        vec((name(), 1u16..), 1..4).prop_map(|members| {
            let member = |(nexthop, weight)| Member {
                nexthop,
                weight: NonZeroU16::new(weight).unwrap(),
            };
            let members = members.into_iter().map(member).collect();
            NexthopAction::Group(Group { members })
        }),
    ];
    (name(), action).prop_map(|(name, action)| Nexthop { name, action })
}

/// Any object that is well-formed on its own.
pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        vrf().prop_map(Object::Vrf),
        vif().prop_map(Object::Vif),
        nexthop().prop_map(Object::Nexthop),
        (name(), interface(), name()).prop_map(|(vrf, prefix, nexthop)| Object::Route(Route {
            vrf,
            prefix: prefix.trunc(),
            nexthop,
        })),
        (name(), station(), name(), option::of(host_addr())).prop_map(|(vrf, mac, nexthop, ip)| {
            Object::Mac(Mac {
                vrf,
                mac,
                nexthop,
                ip,
            })
        }),
        (vni(), name()).prop_map(|(vni, vrf)| Object::Vni(VniEntry { vni, vrf })),
    ]
}

proptest! {
    #[test]
    fn an_object_survives_the_protocol(original in any_object()) {
        let written = proto::Object::from(&original);
        prop_assert_eq!(object(&written).unwrap(), original.clone());
        prop_assert_eq!(key_of(&written), Some(original.key()));
    }

    #[test]
    fn a_key_survives_the_protocol(original in any_object()) {
        let written = proto::Key::from(&original.key());
        prop_assert_eq!(key(&written).unwrap(), original.key());
    }
}

/// What is said of a vif with `change` applied to it, as `field: reason`.
fn said_of_vif(change: impl FnOnce(&mut proto::Vif)) -> Vec<String> {
    let mut vif = proto::Vif {
        name: "web-1".into(),
        device: "net_null0".into(),
        role: proto::Role::Tenant.into(),
        vrf: "front".into(),
        ..Default::default()
    };
    change(&mut vif);
    let written = proto::Object {
        object: Some(proto::object::Object::Vif(vif)),
    };
    let problems = object(&written).err().unwrap_or_default();
    let said = |problem: Problem| format!("{}: {}", problem.field, problem.reason);
    problems.into_iter().map(said).collect()
}

#[test]
fn every_problem_of_an_object_is_found() {
    let said = said_of_vif(|vif| {
        vif.name = "web 1".into();
        vif.mac = Some("02:00:zz".into());
        vif.addresses = vec!["10.1.0.5".into(), "10.1.0".into()];
        vif.vlan = Some(4095);
        vif.mtu = Some(67);
        vif.flow_quota = Some(0);
        vif.role = 0;
    });
    assert_eq!(
        said,
        [
            "name: `web 1` is not a name; use letters, digits and . _ - : @, beginning with a letter or digit",
            "role: is missing; write one of tenant, fabric, host",
            "mac: `02:00:zz` is not a MAC address; write six hex bytes like 02:00:00:00:01:05",
            "addresses[1]: `10.1.0` is not an address or prefix; write one like 10.1.0.0/24 or fd01::/64",
            "vlan: 4095 is out of range; a VLAN is 1 to 4094",
            "mtu: 67 is out of range; an MTU is 68 to 65535 bytes",
            "flow_quota: 0 is out of range; a quota is at least 1 flow, or left out for none",
        ]
    );
}

#[test]
fn a_tenant_needs_a_vrf_and_a_fabric_vif_does_not() {
    assert_eq!(said_of_vif(|vif| vif.vrf.clear()), ["vrf: is missing"]);
    let fabric = said_of_vif(|vif| {
        vif.vrf.clear();
        vif.role = proto::Role::Fabric.into();
    });
    assert_eq!(fabric, [""; 0]);
}

#[test]
fn a_group_address_is_nobodys_mac() {
    let said = said_of_vif(|vif| vif.mac = Some("01:00:5e:00:00:01".into()));
    assert!(said[0].starts_with("mac: 01:00:5e:00:00:01 is not the address of one station"));
}

#[test]
fn host_bits_in_a_route_are_refused_with_both_remedies() {
    let written = proto::Object {
        object: Some(proto::object::Object::Route(proto::Route {
            vrf: "front".into(),
            prefix: "10.1.0.9/24".into(),
            nexthop: "n".into(),
        })),
    };
    assert_eq!(
        object(&written).unwrap_err()[0].reason,
        "10.1.0.9/24 has bits set after its length; write 10.1.0.0/24 or 10.1.0.9/32"
    );
}

#[test]
fn a_tunnel_needs_one_ip_version() {
    let written = proto::Object {
        object: Some(proto::object::Object::Nexthop(proto::Nexthop {
            name: "n".into(),
            address: None,
            action: Some(proto::nexthop::Action::Tunnel(proto::Tunnel {
                encap: proto::Encap::Vxlan.into(),
                local: Some("fd00::1".into()),
                remote: "192.0.2.2".into(),
                vni: Some(1 << 24),
                inner_mac: None,
            })),
        })),
    };
    let problems = object(&written).unwrap_err();
    assert_eq!(problems[0].field, "tunnel.local");
    assert_eq!(problems[1].field, "tunnel.vni");
}

#[test]
fn an_empty_object_and_an_empty_key_are_refused() {
    assert!(object(&proto::Object::default()).is_err());
    assert!(key(&proto::Key::default()).is_err());
}
