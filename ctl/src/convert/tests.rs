//! Round trips of every kind of object, and one refusal per rule.

mod any_of;
mod refused;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32};

use dataplane::tables::spec::*;
use encap::{Label, MacAddr, VlanId, Vni};
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
        any::<bool>(),
        option::of(router_advertisement()),
        option::of(88u16..=65_495),
        any_of::guards(),
    )
        .prop_map(
            |(name, gateways, mode, mac, flow_quota, learning, ra, tcp_mss_clamp, guards)| Vrf {
                name,
                gateways,
                mode,
                mac,
                flow_quota,
                learning,
                router_advertisement: ra,
                tcp_mss_clamp,
                guards,
            },
        )
}

fn router_advertisement() -> impl Strategy<Value = RouterAdvertisement> {
    (4u16..=1800, 0u16..=9000, any::<[bool; 5]>()).prop_map(|(interval_s, lifetime_s, flags)| {
        let [disabled, autonomous, managed, other_config, mtu] = flags;
        RouterAdvertisement {
            disabled,
            interval_s,
            lifetime_s: if lifetime_s < interval_s {
                0
            } else {
                lifetime_s
            },
            autonomous,
            managed,
            other_config,
            mtu,
        }
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
        option::of(68u16..=9216),
        flow_quota(),
        (option::of(0u32..=4_000_000), option::of(1u32..=65_536)),
        any_of::guards(),
    )
        .prop_map(
            |((name, device, role, vrf), mac, addresses, vlan, mtu, flow_quota, limits, guards)| {
                Vif {
                    name,
                    device: device.as_str().into(),
                    role,
                    vrf,
                    mac,
                    addresses,
                    vlan,
                    mtu,
                    flow_quota,
                    storm_limit: limits.0,
                    max_learned_macs: limits.1,
                    guards,
                }
            },
        )
}

fn label() -> impl Strategy<Value = Label> {
    (16u32..1 << 20).prop_map(|label| Label::new(label).unwrap())
}

fn encap() -> impl Strategy<Value = Encap> {
    prop_oneof![
        vni().prop_map(Encap::Vxlan),
        label().prop_map(Encap::MplsUdp),
        label().prop_map(Encap::MplsGre),
    ]
}

fn arrival() -> impl Strategy<Value = Arrival> {
    prop_oneof![
        name().prop_map(Arrival::Vrf),
        name().prop_map(Arrival::Nexthop),
    ]
}

fn nexthop() -> impl Strategy<Value = Nexthop> {
    let fragment = prop::sample::select(vec![FragmentMode::Inner, FragmentMode::Outer]);
    let tunnel = (
        (any::<bool>(), host_addr(), encap()),
        (option::of(station()), any::<bool>()),
        [any::<bool>(), any::<bool>(), any::<bool>()],
        (fragment, option::of(1280u16..)),
    )
        .prop_map(
            |(
                (local, remote, encap),
                (inner_mac, ethernet),
                [dscp, ttl, zero],
                (fragment, mtu),
            )| {
                let is_vxlan = matches!(encap, Encap::Vxlan(_));
                let is_gre = matches!(encap, Encap::MplsGre(_));
                let model = |uniform| match uniform {
                    true => Model::Uniform,
                    false => Model::Pipe,
                };
                let payload = match is_vxlan || ethernet {
                    true => Payload::Ethernet,
                    false => Payload::Ip,
                };
                NexthopAction::Tunnel(Tunnel {
                    encap,
                    payload,
                    local: local.then_some(remote),
                    remote,
                    inner_mac: inner_mac.filter(|_| payload == Payload::Ethernet),
                    dscp: model(dscp),
                    ttl: model(ttl && !is_vxlan),
                    fragment,
                    mtu,
                    udp_zero_checksum: zero && !is_gre && remote.is_ipv6(),
                })
            },
        );
    let hash = prop::sample::select(vec![
        HashFields::FiveTuple,
        HashFields::Addresses,
        HashFields::Source,
    ]);
    let action = prop_oneof![
        (name(), option::of(host_addr()))
            .prop_map(|(vif, address)| NexthopAction::Vif { vif, address }),
        tunnel,
        Just(NexthopAction::Host),
        Just(NexthopAction::Discard),
        prop::collection::btree_set(name(), 1..5)
            .prop_map(|members| NexthopAction::Replicate(members.into_iter().collect())),
        Just(NexthopAction::Reject),
        name().prop_map(NexthopAction::Vrf),
        (vec((name(), 1u16..), 1..4), hash, any::<bool>()).prop_map(
            |(members, hash, symmetric)| {
                let member = |(nexthop, weight)| Member {
                    nexthop,
                    weight: NonZeroU16::new(weight).unwrap(),
                };
                let members = members.into_iter().map(member).collect();
                NexthopAction::Group(Group {
                    members,
                    hash,
                    symmetric,
                })
            }
        ),
    ];
    (name(), action).prop_map(|(name, action)| Nexthop { name, action })
}

/// Any object that is well-formed on its own.
pub(crate) fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => vrf().prop_map(Object::Vrf),
        1 => vif().prop_map(Object::Vif),
        1 => nexthop().prop_map(Object::Nexthop),
        1 => (name(), interface(), name()).prop_map(|(vrf, prefix, nexthop)| Object::Route(Route {
            vrf,
            prefix: prefix.trunc(),
            nexthop,
        })),
        1 => (
            name(),
            prop_oneof![station(), Just(MacAddr::BROADCAST)],
            name(),
            option::of(host_addr())
        )
            .prop_map(|(vrf, mac, nexthop, ip)| {
                Object::Mac(Mac {
                    vrf,
                    mac,
                    nexthop,
                    ip,
                })
            }),
        1 => (vni(), arrival()).prop_map(|(vni, to)| Object::Vni(VniEntry { vni, to })),
        1 => (label(), arrival(), any::<bool>()).prop_map(|(label, to, ip)| {
            let payload = if ip { Payload::Ip } else { Payload::Ethernet };
            Object::Label(LabelEntry { label, to, payload })
        }),
        7 => any_of::these(),
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
        vif.storm_limit = Some(4_000_001);
        vif.max_learned_macs = Some(0);
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
            "mtu: 67 is out of range; an MTU is 68 to 9216 bytes",
            "flow_quota: 0 is out of range; a quota is at least 1 flow, or left out for none",
            "storm_limit: 4000001 is out of range; 1 to 4000000 frames a second, or 0 for no limit",
            "max_learned_macs: 0 is out of range; 1 to 65536, or left out for the default",
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

/// What is said of a replication to these members.
fn said_of_members(members: &[&str]) -> Vec<String> {
    let members = members.iter().map(|name| (*name).to_owned()).collect();
    let written = proto::Object {
        object: Some(proto::object::Object::Nexthop(proto::Nexthop {
            name: "n".into(),
            address: None,
            action: Some(proto::nexthop::Action::Replicate(
                proto::nexthop::Replicate { members },
            )),
        })),
    };
    let problems = object(&written).err().unwrap_or_default();
    let said = |problem: Problem| format!("{}: {}", problem.field, problem.reason);
    problems.into_iter().map(said).collect()
}

#[test]
fn a_replication_has_1_to_256_members_each_once() {
    assert_eq!(said_of_members(&["a", "b"]), [""; 0]);
    assert_eq!(
        said_of_members(&[]),
        ["replicate.members: is missing; write the names of nexthops, or `discard` for none"]
    );
    assert_eq!(
        said_of_members(&["a", "b", "a"]),
        ["replicate.members[2]: `a` is named twice"]
    );
    assert_eq!(
        said_of_members(&["a"; 257]),
        ["replicate.members: 257 are too many; a frame is replicated to 256 at most"]
    );
}

#[test]
fn router_advertisements_keep_the_bounds_of_rfc_4861() {
    let said = |interval_s, lifetime_s| {
        let written = proto::Object {
            object: Some(proto::object::Object::Vrf(proto::Vrf {
                name: "front".into(),
                router_advertisement: Some(proto::RouterAdvertisement {
                    interval_s,
                    lifetime_s,
                    ..Default::default()
                }),
                ..Default::default()
            })),
        };
        let object = object(&written).map_err(|mut problems| problems.remove(0));
        match object {
            Ok(Object::Vrf(vrf)) => {
                let said = vrf.router_advertisement.unwrap();
                format!("{} {}", said.interval_s, said.lifetime_s)
            }
            Ok(other) => panic!("{other:?}"),
            Err(problem) => format!("{}: {}", problem.field, problem.reason),
        }
    };
    assert_eq!(said(None, None), "600 1800");
    assert_eq!(said(Some(1800), None), "1800 5400");
    assert_eq!(said(Some(4), Some(0)), "4 0");
    assert_eq!(
        said(Some(3), None),
        "router_advertisement.interval_s: 3 is out of range; an interval is 4 to 1800 seconds"
    );
    assert_eq!(
        said(Some(60), Some(59)),
        "router_advertisement.lifetime_s: 59 is out of range; a lifetime is 0, or the interval (60) \
         to 9000 seconds"
    );
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
                ..proto::Tunnel::default()
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

#[test]
fn sizes_out_of_range_are_refused() {
    let tunnel = |remote: &str, mtu| proto::Object {
        object: Some(proto::object::Object::Nexthop(proto::Nexthop {
            name: "n".into(),
            address: None,
            action: Some(proto::nexthop::Action::Tunnel(proto::Tunnel {
                encap: proto::Encap::Vxlan.into(),
                remote: remote.into(),
                vni: Some(7),
                mtu: Some(mtu),
                ..Default::default()
            })),
        })),
    };
    let reason = |written| object(&written).unwrap_err()[0].reason.clone();
    assert_eq!(
        reason(tunnel("192.0.2.2", 575)),
        "575 is out of range; this path MTU is 576 to 65535 bytes"
    );
    assert_eq!(
        reason(tunnel("2001:db8::2", 1279)),
        "1279 is out of range; this path MTU is 1280 to 65535 bytes"
    );
    assert!(object(&tunnel("192.0.2.2", 576)).is_ok());
    let vrf = proto::Object {
        object: Some(proto::object::Object::Vrf(proto::Vrf {
            name: "front".into(),
            tcp_mss_clamp: Some(87),
            ..Default::default()
        })),
    };
    assert_eq!(
        reason(vrf),
        "87 is out of range; a segment size is 88 to 65495 bytes"
    );
}
