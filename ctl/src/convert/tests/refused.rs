//! What is said of policies, translation, services, mirrors and meters that are not well-formed.

use super::*;
use crate::proto::object::Object as Written;

/// Every problem of an object, as `field: reason`.
fn said_of(written: Written) -> Vec<String> {
    let object = Some(written);
    let problems = object_problems(&proto::Object { object });
    let said = |problem: Problem| format!("{}: {}", problem.field, problem.reason);
    problems.into_iter().map(said).collect()
}

fn object_problems(written: &proto::Object) -> Vec<Problem> {
    super::super::object(written).err().unwrap_or_default()
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

const FINE: [&str; 0] = [];

#[test]
fn a_set_has_prefixes() {
    let said = said_of(Written::AddressSet(proto::AddressSet {
        name: "lb".into(),
        prefixes: texts(&["10.9.0.0/24", "fd01::/64", "10.9.0.1/24", "lb"]),
    }));
    assert_eq!(
        said,
        [
            "prefixes[2]: 10.9.0.1/24 has bits set after its length; write 10.9.0.0/24 or 10.9.0.1/32",
            "prefixes[3]: `lb` is not an address or prefix; write one like 10.1.0.0/24 or fd01::/64",
        ]
    );
}

/// What is said of a policy of these rules, which are fine but for what `change` does.
fn said_of_rules<const N: usize>(change: impl FnOnce(&mut [proto::Rule; N])) -> Vec<String> {
    let mut rules = std::array::from_fn(|index| proto::Rule {
        id: Some(10 * index as u32),
        action: proto::RuleAction::Allow.into(),
        ..Default::default()
    });
    change(&mut rules);
    said_of(Written::Policy(proto::Policy {
        name: "web".into(),
        rules: rules.into(),
    }))
}

#[test]
fn every_problem_of_every_rule_is_found() {
    let said = said_of_rules(|[first, second]: &mut [_; 2]| {
        first.id = None;
        first.action = 0;
        first.protocol = "tpc".into();
        first.sources = texts(&["10.1.0.5/24"]);
        first.source_sets = texts(&["a b"]);
        first.dscp = Some(64);
        second.action = 9;
        second.protocol = "tcp".into();
        second.destination_ports = texts(&["80", "8100-8000", "65536", "+1", "-", ""]);
        second.icmp_types = texts(&["8", "256", "3/"]);
        second.mirror = Some(String::new());
    });
    assert_eq!(
        said,
        [
            "rules[0].id: is missing; write a number that no other rule of the policy has",
            "rules[0].action: is missing; write one of allow, deny, reject",
            "rules[0].protocol: `tpc` is not a protocol; write tcp, udp, sctp, icmp, icmpv6, any or a number to 255",
            "rules[0].sources[0]: 10.1.0.5/24 has bits set after its length; write 10.1.0.0/24 or 10.1.0.5/32",
            "rules[0].source_sets[0]: `a b` is not a name; use letters, digits and . _ - : @, beginning with a letter or digit",
            "rules[0].dscp: 64 is out of range; a DSCP is 0 to 63",
            "rules[1].action: 9 is no action",
            "rules[1].destination_ports[1]: `8100-8000` are no ports; the lower one goes first, 8000-8100",
            "rules[1].destination_ports[2]: `65536` are not ports; write one like 80 or 8000-8100, 0 to 65535",
            "rules[1].destination_ports[3]: `+1` are not ports; write one like 80 or 8000-8100, 0 to 65535",
            "rules[1].destination_ports[4]: `-` are not ports; write one like 80 or 8000-8100, 0 to 65535",
            "rules[1].destination_ports[5]: is missing",
            "rules[1].icmp_types[1]: `256` is not an ICMP type; write one like 8, or with a code 3/4, 0 to 255 each",
            "rules[1].icmp_types[2]: `3/` is not an ICMP type; write one like 8, or with a code 3/4, 0 to 255 each",
            "rules[1].icmp_types: only goes with protocol icmp or icmpv6",
            "rules[1].mirror: is missing",
        ]
    );
}

#[test]
fn a_rules_id_is_its_own() {
    let said = said_of_rules(|rules: &mut [_; 4]| {
        rules[2].id = Some(10);
        rules[3].id = Some(10);
    });
    assert_eq!(
        said,
        [
            "rules[2].id: 10 is the id of rules[1], too; give each its own",
            "rules[3].id: 10 is the id of rules[1], too; give each its own",
        ]
    );
}

#[test]
fn ports_and_types_go_with_their_protocols() {
    let said = |protocol: &str| {
        said_of_rules(|[rule]: &mut [_; 1]| {
            rule.protocol = protocol.into();
            rule.source_ports = texts(&["0-65535"]);
            rule.icmp_types = texts(&["3/4"]);
        })
    };
    let ports = "rules[0].source_ports: only goes with protocol tcp, udp or sctp";
    let types = "rules[0].icmp_types: only goes with protocol icmp or icmpv6";
    for protocol in ["tcp", "udp", "sctp", "6"] {
        assert_eq!(said(protocol), [types], "{protocol}");
    }
    for protocol in ["icmp", "icmpv6", "58"] {
        assert_eq!(said(protocol), [ports], "{protocol}");
    }
    for protocol in ["", "any", "47", "0"] {
        assert_eq!(said(protocol), [ports, types], "{protocol}");
    }
}

#[test]
fn only_what_is_allowed_is_marked() {
    let said = said_of_rules(|rules: &mut [_; 2]| {
        rules[0].dscp = Some(46);
        rules[1].dscp = Some(46);
        rules[1].action = proto::RuleAction::Reject.into();
    });
    assert_eq!(
        said,
        ["rules[1].dscp: only goes with action allow; leave it out"]
    );
}

#[test]
fn a_policy_is_named_once_in_a_direction() {
    let said = said_of_vif(|vif| {
        vif.ingress_policies = texts(&["web", "dns", "web"]);
        vif.egress_policies = texts(&["web"]);
        vif.egress_meter = Some("1 Mbit".into());
    });
    assert_eq!(
        said,
        [
            "ingress_policies[2]: `web` is named twice",
            "egress_meter: `1 Mbit` is not a name; use letters, digits and . _ - : @, beginning with a letter or digit",
        ]
    );
}

fn said_of_floating(change: impl FnOnce(&mut proto::FloatingIp)) -> Vec<String> {
    let mut floating = proto::FloatingIp {
        name: "f".into(),
        vrf: "public".into(),
        address: "198.51.100.7".into(),
        vifs: texts(&["web-1"]),
        ..Default::default()
    };
    change(&mut floating);
    said_of(Written::FloatingIp(floating))
}

#[test]
fn a_floating_address_is_somebodys() {
    assert_eq!(said_of_floating(|_| {}), FINE);
    assert_eq!(
        said_of_floating(|f| f.vifs.clear()),
        ["vifs: is missing; write the vifs whose address it is, or `inside_vrf` and `fixed`"]
    );
    assert_eq!(
        said_of_floating(|f| f.inside_vrf = Some("front".into())),
        ["inside_vrf: does not go with `vifs`; leave one out"]
    );
    assert_eq!(
        said_of_floating(|f| f.vifs = texts(&["web-1", "web-1"])),
        ["vifs[1]: `web-1` is named twice"]
    );
    let inside = |vrf: &str, fixed: Option<&str>| {
        said_of_floating(|f| {
            f.vifs.clear();
            f.inside_vrf = Some(vrf.into());
            f.fixed = fixed.map(Into::into);
        })
    };
    assert_eq!(inside("front", Some("10.1.0.5")), FINE);
    assert_eq!(
        inside("public", None),
        [
            "inside_vrf: `public` is `vrf`, too; name another one",
            "fixed: is missing; write the address or prefix inside",
        ]
    );
}

#[test]
fn a_floating_address_is_like_the_one_inside() {
    let said = |address: &str, fixed: &str| {
        said_of_floating(|f| {
            f.address = address.into();
            f.fixed = Some(fixed.into());
        })
    };
    assert_eq!(said("198.51.100.0/28", "10.1.0.16/28"), FINE);
    assert_eq!(
        said("198.51.100.7", "10.1.0.16/28"),
        ["fixed: 10.1.0.16/28 and the address 198.51.100.7 are of different lengths"]
    );
    assert_eq!(
        said("2001:db8::/64", "10.1.0.5"),
        ["fixed: 10.1.0.5 and the address 2001:db8::/64 are of different IP versions"]
    );
    assert_eq!(
        said("0.0.0.0/0", "224.0.0.1"),
        [
            "address: 0.0.0.0/0 are not the addresses of hosts",
            "fixed: 224.0.0.1 is not the address of one host",
        ]
    );
}

fn said_of_pool(change: impl FnOnce(&mut proto::SnatPool)) -> Vec<String> {
    let mut pool = proto::SnatPool {
        name: "pool".into(),
        vrf: "front".into(),
        outside_vrf: "public".into(),
        addresses: texts(&["198.51.100.8/30"]),
        ..Default::default()
    };
    change(&mut pool);
    said_of(Written::SnatPool(pool))
}

#[test]
fn a_pool_leads_into_another_network() {
    assert_eq!(said_of_pool(|_| {}), FINE);
    assert_eq!(
        said_of_pool(|pool| pool.outside_vrf = "front".into()),
        ["outside_vrf: `front` is `vrf`, too; name another one"]
    );
}

#[test]
fn a_pool_has_addresses_of_one_family_each_once() {
    let said = |addresses: &[&str]| said_of_pool(|pool| pool.addresses = texts(addresses));
    assert_eq!(
        said(&[]),
        ["addresses: is missing; write the pool's addresses or prefixes"]
    );
    assert_eq!(
        said(&["198.51.100.8", "2001:db8::1"]),
        ["addresses[1]: 2001:db8::1 does not fit: the first is IPv4; a pool has one IP version"]
    );
    assert_eq!(
        said(&[
            "198.51.100.9",
            "198.51.100.8/30",
            "198.51.100.12",
            "198.51.100.9"
        ]),
        [
            "addresses[1]: 198.51.100.8/30 overlaps with 198.51.100.9",
            "addresses[3]: 198.51.100.9 overlaps with 198.51.100.8/30",
        ]
    );
    assert_eq!(
        said_of_pool(|pool| pool.sources = texts(&["10.1.0.0/24", "fd01::/64"])),
        ["sources[1]: fd01::/64 does not fit: the pool translates IPv4"]
    );
}

#[test]
fn a_pool_gives_out_ports_in_order() {
    let said = |ports: &str| said_of_pool(|pool| pool.ports = ports.into());
    assert_eq!(said("1024-65535"), FINE);
    assert_eq!(said("5000"), FINE);
    assert_eq!(
        said("0-65535"),
        ["ports: 0 is not given out; write ports like 1024-65535, 1 to 65535"]
    );
    assert_eq!(
        said("2000-1000"),
        ["ports: `2000-1000` are no ports; the lower one goes first, 1000-2000"]
    );
    assert_eq!(
        said_of_pool(|pool| {
            pool.ports = "1024-2047".into();
            pool.block_size = Some(1025);
            pool.ports_per_vif = Some(0);
            pool.filtering = 7;
        }),
        [
            "block_size: 1025 is out of range; a block of these ports is 1 to 1024",
            "ports_per_vif: 0 is out of range; the number of ports is 1 to 4294967295",
            "filtering: 7 is no filtering",
        ]
    );
}

#[test]
fn nat64_has_a_prefix_of_96_bits_and_ipv4_addresses() {
    let said = |prefix: &str, address: &str, source: &str| {
        said_of_pool(|pool| {
            pool.nat64_prefix = Some(prefix.into());
            pool.addresses = texts(&[address]);
            pool.sources = texts(&[source]);
        })
    };
    assert_eq!(said("64:ff9b::/96", "198.51.100.8", "fd01::/64"), FINE);
    assert_eq!(
        said("64:ff9b::/64", "2001:db8::1", "10.1.0.0/24"),
        [
            "nat64_prefix: 64:ff9b::/64 is not of 96 bits; write one like 64:ff9b::/96",
            "addresses[0]: 2001:db8::1 does not fit: a pool with `nat64_prefix` has IPv4 addresses",
            "sources[0]: 10.1.0.0/24 does not fit: the pool translates IPv6",
        ]
    );
    assert_eq!(
        said("2001:db8:0:0:1200::/96", "198.51.100.8", "fd01::/64"),
        [
            "nat64_prefix: 2001:db8:0:0:1200::/96 has bits set among 64 to 71, which are zero (RFC 6052)"
        ]
    );
}

fn said_of_service(change: impl FnOnce(&mut proto::Service)) -> Vec<String> {
    let mut service = proto::Service {
        name: "redis".into(),
        vrf: "front".into(),
        address: "10.200.0.1".into(),
        protocol: "tcp".into(),
        port: Some(6379),
        backends: vec![proto::Backend {
            address: "10.1.0.9".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    change(&mut service);
    said_of(Written::Service(service))
}

#[test]
fn every_problem_of_a_service_is_found() {
    assert_eq!(said_of_service(|_| {}), FINE);
    let said = said_of_service(|service| {
        service.address = "10.200.0.0/24".into();
        service.protocol = "icmp".into();
        service.port = None;
        service.affinity_timeout_s = Some(0);
        service.on_down = 5;
        service.backend_vrf = Some("back vrf".into());
        service.backends[0].weight = Some(0);
        service.backends[0].port = Some(65_536);
        service.backends[0].state = -1;
    });
    assert_eq!(
        said,
        [
            "address: `10.200.0.0/24` is not an IP address; leave out the length after /",
            "protocol: `icmp` has no services; write tcp, udp or sctp",
            "port: is missing; write the port called, 1 to 65535",
            "backends[0].port: 65536 is out of range; a backend's port is 1 to 65535",
            "backends[0].weight: 0 is out of range; a weight is 1 to 65535",
            "backends[0].state: -1 is no state",
            "affinity_timeout_s: 0 is out of range; a timeout in seconds is 1 to 864000",
            "on_down: 5 is no choice",
            "backend_vrf: `back vrf` is not a name; use letters, digits and . _ - : @, beginning with a letter or digit",
        ]
    );
}

#[test]
fn a_backend_is_there_once_and_of_the_services_family() {
    let said = said_of_service(|service| {
        let backend = |address: &str, port| proto::Backend {
            address: address.into(),
            port,
            ..Default::default()
        };
        service.backends = vec![
            backend("10.1.0.9", None),
            backend("10.1.0.9", Some(6380)),
            backend("10.1.0.9", Some(6379)),
            backend("fd01::9", None),
        ];
    });
    assert_eq!(
        said,
        [
            "backends[2].address: 10.1.0.9 port 6379 is backends[0], too; keep one",
            "backends[3].address: fd01::9 is of another IP version than the service's address",
        ]
    );
}

#[test]
fn direct_return_keeps_the_port() {
    let said = |port| {
        said_of_service(|service| {
            service.direct_return = true;
            service.backends[0].port = port;
        })
    };
    assert_eq!(said(None), FINE);
    assert_eq!(said(Some(6379)), FINE);
    assert_eq!(
        said(Some(6380)),
        ["backends[0].port: with `direct_return` it is the service's; leave it out"]
    );
}

#[test]
fn a_table_is_a_prime_and_has_room() {
    let said = |size| said_of_service(|service| service.table_size = Some(size));
    for prime in [3, 251, 65_537, 5_000_011] {
        assert_eq!(said(prime), FINE, "{prime}");
    }
    for beyond in [0, 2, 5_000_012] {
        assert_eq!(
            said(beyond),
            [format!(
                "table_size: {beyond} is out of range; the size of a Maglev table is 3 to 5000011"
            )]
        );
    }
    assert_eq!(
        said(65_536),
        ["table_size: 65536 is not a prime; write 65537"]
    );
    assert_eq!(
        said(5_000_000),
        ["table_size: 5000000 is not a prime; write 5000011"]
    );
    let crowded = said_of_service(|service| {
        service.table_size = Some(3);
        let backends = (1..5).map(|last| proto::Backend {
            address: format!("10.1.0.{last}"),
            ..Default::default()
        });
        service.backends = backends.collect();
    });
    assert_eq!(
        crowded,
        ["table_size: 3 are fewer entries than the 4 backends; write a larger prime"]
    );
}

fn said_of_health(
    protocol: &str,
    change: impl FnOnce(&mut proto::HealthCheck, &mut proto::health_check::Http),
) -> Vec<String> {
    use proto::health_check::Probe;
    let mut health = proto::HealthCheck::default();
    let mut http = proto::health_check::Http::default();
    change(&mut health, &mut http);
    health.probe = Some(Probe::Http(http));
    said_of_service(|service| {
        service.protocol = protocol.into();
        service.health = Some(health);
    })
}

#[test]
fn a_health_check_asks_what_can_be_answered() {
    assert_eq!(said_of_health("tcp", |_, _| {}), FINE);
    assert_eq!(
        said_of_service(|service| service.health = Some(proto::HealthCheck::default())),
        ["health: is missing; write what to ask: one of tcp, http"]
    );
    assert_eq!(
        said_of_health("udp", |_, _| {}),
        ["health.port: is missing; write the TCP port to ask; the service's is not TCP"]
    );
    let said = said_of_health("tcp", |health, http| {
        health.port = Some(0);
        health.interval_ms = Some(99);
        health.timeout_ms = Some(9);
        health.rise = Some(0);
        health.fall = Some(256);
        http.path = "ready".into();
        http.host = Some("shop\r\nX-Evil: 1".into());
        http.status_min = Some(99);
        http.status_max = Some(600);
    });
    assert_eq!(
        said,
        [
            "health.http.path: `ready` is not a path; it begins with /",
            "health.http.host: `shop\\r\\nX-Evil: 1` does not do; at most 255 bytes of printable ASCII without spaces",
            "health.http.status_min: 99 is out of range; an HTTP status is 100 to 599",
            "health.http.status_max: 600 is out of range; an HTTP status is 100 to 599",
            "health.port: 0 is out of range; a port to ask is 1 to 65535",
            "health.interval_ms: 99 is out of range; an interval is 100 to 3600000",
            "health.timeout_ms: 9 is out of range; a timeout within the interval is 10 to 3600000",
            "health.rise: 0 is out of range; a number of answers is 1 to 255",
            "health.fall: 256 is out of range; a number of answers is 1 to 255",
        ]
    );
    assert_eq!(
        said_of_health("tcp", |health, http| {
            health.interval_ms = Some(500);
            health.timeout_ms = Some(501);
            http.status_min = Some(404);
            http.status_max = Some(403);
        }),
        [
            "health.http.status_max: 403 is less than `status_min`, 404",
            "health.timeout_ms: 501 is out of range; a timeout within the interval is 10 to 500",
        ]
    );
}

#[test]
fn defaults_are_filled_in() {
    let written = proto::Object {
        object: Some(Written::Service(proto::Service {
            name: "redis".into(),
            vrf: "front".into(),
            address: "10.200.0.1".into(),
            protocol: "tcp".into(),
            port: Some(6379),
            backends: vec![proto::Backend {
                address: "10.1.0.9".into(),
                ..Default::default()
            }],
            health: Some(proto::HealthCheck {
                probe: Some(proto::health_check::Probe::Http(Default::default())),
                interval_ms: Some(500),
                ..Default::default()
            }),
            ..Default::default()
        })),
    };
    let Ok(Object::Service(service)) = super::super::object(&written) else {
        panic!("{:?}", object_problems(&written));
    };
    assert_eq!(service.table_size, MAGLEV_TABLE_SIZE);
    assert_eq!(service.backends[0].port, 6379);
    assert_eq!(service.backends[0].weight.get(), 1);
    let health = service.health.unwrap();
    let times = (health.interval_ms, health.timeout_ms);
    assert_eq!((times, health.rise, health.fall), ((500, 500), 2, 3));
    let Probe::Http { path, host, status } = health.probe else {
        panic!("{:?}", health.probe);
    };
    assert_eq!((&*path, host, status), ("/", None, (200, 399)));
}

#[test]
fn a_meter_limits_something() {
    let said = |meter: proto::Meter| {
        said_of(Written::Meter(proto::Meter {
            name: "m".into(),
            ..meter
        }))
    };
    assert_eq!(
        said(proto::Meter {
            bits_per_second: Some(1),
            packets_per_second: Some(10_000_000_000),
            burst_bytes: Some(1500),
            burst_packets: Some(1),
            ..Default::default()
        }),
        FINE
    );
    assert_eq!(
        said(proto::Meter::default()),
        [": is missing; write bits_per_second, packets_per_second or both"]
    );
    assert_eq!(
        said(proto::Meter {
            bits_per_second: Some(0),
            packets_per_second: Some(10_000_000_001),
            burst_bytes: Some(1499),
            burst_packets: Some(0),
            ..Default::default()
        }),
        [
            "bits_per_second: 0 is out of range; a rate in bits is 1 to 10000000000000",
            "burst_bytes: 1499 is out of range; a burst is 1500 to 4294967295",
            "packets_per_second: 10000000001 is out of range; a rate in packets is 1 to 10000000000",
            "burst_packets: 0 is out of range; a burst is 1 to 4294967295",
        ]
    );
    assert_eq!(
        said(proto::Meter {
            bits_per_second: Some(8),
            burst_packets: Some(8),
            ..Default::default()
        }),
        ["burst_packets: only goes with packets_per_second; leave it out"]
    );
}

#[test]
fn a_mirror_leads_somewhere() {
    let said = said_of(Written::Mirror(proto::Mirror {
        name: "copies".into(),
        nexthop: String::new(),
    }));
    assert_eq!(said, ["nexthop: is missing"]);
}
