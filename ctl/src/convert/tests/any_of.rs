//! Any address set, policy, floating address, pool, service, mirror or meter that is well-formed
//! on its own.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::*;

fn prefix() -> impl Strategy<Value = IpNet> {
    interface().prop_map(|net| net.trunc())
}

/// A prefix that is not everything.
fn public() -> impl Strategy<Value = IpNet> {
    (host_addr(), 8u8..=128).prop_map(|(addr, len)| {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        IpNet::new(addr, len.min(max)).unwrap().trunc()
    })
}

/// A prefix like another one.
fn like(net: IpNet, seed: u128) -> IpNet {
    let addr: std::net::IpAddr = match net {
        IpNet::V4(_) => Ipv4Addr::from(0x0a00_0000 | seed as u32 & 0xff_ffff).into(),
        IpNet::V6(_) => Ipv6Addr::from(0xfd << 120 | seed >> 8).into(),
    };
    IpNet::new(addr, net.prefix_len()).unwrap().trunc()
}

fn range<T: Copy + Ord + std::fmt::Debug>(
    any: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = RangeInclusive<T>> {
    (any.clone(), any).prop_map(|(a, b)| a.min(b)..=a.max(b))
}

fn names() -> impl Strategy<Value = Vec<Name>> {
    prop::collection::btree_set(name(), 0..3).prop_map(|names| names.into_iter().collect())
}

pub(super) fn guards() -> impl Strategy<Value = Guards> {
    let meters = (option::of(name()), option::of(name()));
    (names(), names(), meters, option::of(name())).prop_map(
        |(ingress_policies, egress_policies, (ingress_meter, egress_meter), mirror)| Guards {
            ingress_policies,
            egress_policies,
            ingress_meter,
            egress_meter,
            mirror,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let action = prop::sample::select(vec![
        RuleAction::Allow,
        RuleAction::Deny,
        RuleAction::Reject,
    ]);
    let protocol = option::of(prop_oneof![
        prop::sample::select(vec![1u8, 6, 17, 58, 132]),
        any::<u8>()
    ]);
    let end = || (vec(prefix(), 0..3), vec(name(), 0..3));
    let ports = || vec(range(any::<u16>()), 0..3);
    let icmp = (any::<u8>(), option::of(any::<u8>()));
    let icmp = icmp.prop_map(|(kind, code)| IcmpMatch { kind, code });
    (
        (any::<u32>(), action, protocol),
        (end(), end()),
        (ports(), ports(), vec(icmp, 0..3)),
        (any::<bool>(), option::of(name()), option::of(0u8..64)),
    )
        .prop_map(|((id, action, protocol), ends, (from, to, icmp), extras)| {
            let ((sources, source_sets), (destinations, destination_sets)) = ends;
            let (log, mirror, dscp) = extras;
            let with_ports = matches!(protocol, Some(6 | 17 | 132));
            let if_ports = |ports| if with_ports { ports } else { vec![] };
            let with_types = matches!(protocol, Some(1 | 58));
            Rule {
                id,
                action,
                protocol,
                sources,
                source_sets,
                destinations,
                destination_sets,
                source_ports: if_ports(from),
                destination_ports: if_ports(to),
                icmp: if with_types { icmp } else { vec![] },
                log,
                mirror,
                dscp: dscp.filter(|_| action == RuleAction::Allow),
            }
        })
}

fn policy() -> impl Strategy<Value = Policy> {
    (name(), vec(rule(), 0..4)).prop_map(|(name, rules)| {
        let by_id: BTreeMap<u32, Rule> = rules.into_iter().map(|rule| (rule.id, rule)).collect();
        let rules = by_id.into_values().collect();
        Policy { name, rules }
    })
}

fn floating_ip() -> impl Strategy<Value = FloatingIp> {
    let vifs = prop::collection::btree_set(name(), 0..3);
    (name(), name(), public(), vifs, any::<u128>(), any::<bool>()).prop_map(
        |(name, vrf, address, vifs, seed, with_fixed)| {
            let fixed = like(address, seed);
            let target = match vifs.is_empty() {
                false => FloatingTarget::Vifs {
                    vifs: vifs.into_iter().collect(),
                    fixed: with_fixed.then_some(fixed),
                },
                true => FloatingTarget::Prefix {
                    vrf: format!("in-{vrf}").into(),
                    fixed,
                },
            };
            FloatingIp {
                name,
                vrf,
                address,
                target,
            }
        },
    )
}

fn snat_pool() -> impl Strategy<Value = SnatPool> {
    let filtering = prop::sample::select(vec![
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ]);
    // Neighbours of one length, so that none is within another.
    let addresses = (host_addr(), 20u8..=32, 1usize..4);
    let nat64 = option::of(any::<u64>().prop_map(|bits| {
        let prefix = u128::from(bits) << 64 | u128::from(bits as u32 & 0xff_ffff) << 32;
        ipnet::Ipv6Net::new(prefix.into(), 96).unwrap()
    }));
    let limits = (option::of(any::<u16>()), option::of(1u32..));
    (
        (name(), name(), vec(prefix(), 0..3)),
        addresses,
        (range(1u16..), limits),
        (filtering, nat64),
    )
        .prop_map(|(names, addresses, ports, (filtering, nat64))| {
            let (name, vrf, sources) = names;
            let (addr, len, count) = addresses;
            let (ports, (block, ports_per_vif)) = ports;
            let nat64_prefix = nat64.filter(|_| addr.is_ipv4());
            let addresses = (0..count as u32).map(|index| match addr {
                std::net::IpAddr::V4(_) => {
                    let bits = 0xc600_0000 + (index << (32 - len));
                    IpNet::new(Ipv4Addr::from(bits).into(), len).unwrap()
                }
                std::net::IpAddr::V6(_) => {
                    let bits = 0xfd << 120 | u128::from(index) << (128 - len);
                    IpNet::new(Ipv6Addr::from(bits).into(), len).unwrap()
                }
            });
            let inside_is_v4 = addr.is_ipv4() && nat64_prefix.is_none();
            let fits = |net: &IpNet| net.addr().is_ipv4() == inside_is_v4;
            let count = u32::from(*ports.end()) - u32::from(*ports.start()) + 1;
            let block = block.filter(|size| u32::from(*size) <= count);
            SnatPool {
                name,
                outside_vrf: format!("out-{vrf}").into(),
                vrf,
                sources: sources.into_iter().filter(fits).collect(),
                addresses: addresses.collect(),
                block_size: block.and_then(NonZeroU16::new),
                ports,
                ports_per_vif,
                filtering,
                nat64_prefix,
            }
        })
}

fn health() -> impl Strategy<Value = HealthCheck> {
    let host = option::of("[a-z][a-z.]{0,10}");
    let http = ("/[a-z/%?=]{0,20}", host, range(100u16..600));
    let probe = prop_oneof![
        Just(Probe::Tcp),
        http.prop_map(|(path, host, status)| Probe::Http {
            path: path.as_str().into(),
            host: host.map(|host| host.as_str().into()),
            status: (*status.start(), *status.end()),
        }),
    ];
    (probe, 1u16.., (100u32..=3_600_000, 10u32..), (1u8.., 1u8..)).prop_map(
        |(probe, port, (interval_ms, timeout), (rise, fall))| HealthCheck {
            probe,
            port: Some(port),
            interval_ms,
            timeout_ms: timeout.min(interval_ms),
            rise,
            fall,
        },
    )
}

fn service() -> impl Strategy<Value = Service> {
    let state = prop::sample::select(vec![
        BackendState::Active,
        BackendState::Draining,
        BackendState::Down,
    ]);
    let backends = prop::collection::btree_map((host_addr(), 1u16..), (1u16.., state), 0..4);
    let size = prop::sample::select(vec![5u32, 251, 65_537, 5_000_011]);
    (
        (name(), name(), option::of(name())),
        (
            host_addr(),
            prop::sample::select(vec![6u8, 17, 132]),
            1u16..,
        ),
        backends,
        (option::of(1u32..=864_000), size, any::<[bool; 2]>()),
        option::of(health()),
    )
        .prop_map(
            |((name, vrf, backend_vrf), called, backends, choices, health)| {
                let (address, protocol, port) = called;
                let (affinity_timeout_s, table_size, [resets, direct_return]) = choices;
                let backends = backends
                    .into_iter()
                    .filter(|((at, own), _)| {
                        at.is_ipv4() == address.is_ipv4() && (!direct_return || *own == port)
                    })
                    .map(|((address, port), (weight, state))| Backend {
                        address,
                        port,
                        weight: NonZeroU16::new(weight).unwrap(),
                        state,
                    });
                Service {
                    name,
                    vrf,
                    address,
                    protocol,
                    port,
                    backend_vrf,
                    backends: backends.collect(),
                    affinity_timeout_s,
                    table_size,
                    on_down: if resets { OnDown::Reset } else { OnDown::Move },
                    direct_return,
                    health,
                }
            },
        )
}

fn meter() -> impl Strategy<Value = Meter> {
    let bits = (1u64..=10_000_000_000_000, option::of(1_500u32..));
    let packets = (1u64..=10_000_000_000, option::of(1u32..));
    (name(), bits, packets, 0u8..3).prop_map(|(name, bits, packets, which)| {
        let bits = (which != 0).then_some(bits);
        let packets = (which != 1).then_some(packets);
        Meter {
            name,
            bits_per_second: bits.map(|(rate, _)| rate),
            burst_bytes: bits.and_then(|(_, burst)| burst),
            packets_per_second: packets.map(|(rate, _)| rate),
            burst_packets: packets.and_then(|(_, burst)| burst),
        }
    })
}

/// Any of them.
pub(super) fn these() -> impl Strategy<Value = Object> {
    prop_oneof![
        (name(), vec(prefix(), 0..5))
            .prop_map(|(name, prefixes)| Object::AddressSet(AddressSet { name, prefixes })),
        policy().prop_map(Object::Policy),
        floating_ip().prop_map(Object::FloatingIp),
        snat_pool().prop_map(Object::SnatPool),
        service().prop_map(Object::Service),
        (name(), name()).prop_map(|(name, nexthop)| Object::Mirror(Mirror { name, nexthop })),
        meter().prop_map(Object::Meter),
    ]
}
