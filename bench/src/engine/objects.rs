//! The configuration of a case.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use dataplane::tables::spec::{self, Guards, Name, Object, Payload, Role, RuleAction};
use encap::{Encap, Label, MacAddr, Vni};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::case::{Case, Family, Path, Wrap};

/// The node's address in the fabric.
pub const LOCAL_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The fabric port's MAC.
pub const UPLINK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
/// The MAC of all other nodes.
pub const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
/// The port that services are called at.
pub const SERVICE_PORT: u16 = 80;

/// Nodes behind which the backends are.
const PEERS: u8 = 8;
const BACKENDS: u8 = 16;

/// The vif that frames of a vrf arrive on.
pub fn ingress(case: &Case, vrf: u32) -> String {
    match case.path {
        Path::Decap => "uplink".into(),
        Path::Encap | Path::Whole => format!("machine{vrf}"),
    }
}

/// The MAC of a vrf's machine.
pub fn machine_mac(vrf: u32) -> MacAddr {
    let [_, b, c, d] = vrf.to_be_bytes();
    MacAddr([2, 0, 1, b, c, d])
}

/// The address that a machine sends from and is reached at; of callers the first.
pub fn near(family: Family, path: Path) -> IpAddr {
    match (family, path) {
        (Family::Ipv4, Path::Whole) => Ipv4Addr::new(10, 64, 0, 0).into(),
        (Family::Ipv4, _) => Ipv4Addr::new(10, 1, 0, 10).into(),
        (Family::Ipv6, Path::Whole) => Ipv6Addr::new(0xfd00, 0x64, 0, 0, 0, 0, 0, 0).into(),
        (Family::Ipv6, _) => Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 10).into(),
    }
}

/// The address of the service.
pub fn service_ip(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 200, 0, 1).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd00, 0x200, 0, 0, 0, 0, 0, 1).into(),
    }
}

/// Another node's address.
pub fn peer_ip(peer: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 2 + peer)
}

/// What a vrf's packets are wrapped in.
pub fn encap_of(wrap: Wrap, vrf: u32) -> Encap {
    match wrap {
        Wrap::Vxlan => Encap::Vxlan(vni(vrf)),
        Wrap::MplsUdp => Encap::MplsUdp(label(vrf)),
        Wrap::MplsGre => Encap::MplsGre(label(vrf)),
    }
}

/// What tunnels carry: frames in VXLAN, bare packets otherwise.
pub fn payload_of(wrap: Wrap) -> Payload {
    match wrap {
        Wrap::Vxlan => Payload::Ethernet,
        Wrap::MplsUdp | Wrap::MplsGre => Payload::Ip,
    }
}

/// All of it.
pub fn objects(case: &Case) -> Vec<Object> {
    let mut all = vec![
        vif(
            "uplink",
            Role::Fabric,
            spec::UNDERLAY,
            UPLINK_MAC,
            &[net(LOCAL_IP.into(), 24)],
        ),
        Object::Nexthop(spec::Nexthop {
            name: "discard".into(),
            action: spec::NexthopAction::Discard,
        }),
        policy(case),
    ];
    // The peers' MACs, so that nothing waits for ARP.
    for peer in 0..PEERS {
        let [.., last] = PEER_MAC.0;
        let mac = MacAddr([2, 0, 0, 0, 2 + peer, last]);
        all.push(Object::Mac(spec::Mac {
            vrf: spec::UNDERLAY.into(),
            mac,
            nexthop: "discard".into(),
            ip: Some(peer_ip(peer).into()),
        }));
    }
    for vrf in 0..case.vrfs {
        network(case, vrf, &mut all);
    }
    all
}

/// A vrf with its machine, its ways out and what comes in for it.
fn network(case: &Case, vrf: u32, all: &mut Vec<Object>) {
    let name = format!("tenant{vrf}");
    all.push(Object::Vrf(spec::Vrf {
        name: name.as_str().into(),
        mode: spec::ForwardingMode::Both,
        ..spec::Vrf::underlay()
    }));
    let own = near(case.family, case.path);
    let own = match (case.path, own) {
        (Path::Whole, IpAddr::V4(_)) => net(own, 16),
        (Path::Whole, IpAddr::V6(_)) => net(own, 112),
        (_, IpAddr::V4(_)) => net(own, 32),
        (_, IpAddr::V6(_)) => net(own, 128),
    };
    let machine = format!("machine{vrf}");
    let mut port = vif(&machine, Role::Tenant, &name, machine_mac(vrf), &[own]);
    if let Object::Vif(vif) = &mut port {
        match case.path {
            Path::Encap => {}
            Path::Whole => vif.guards.egress_policies = vec!["web".into()],
            Path::Decap => vif.guards.ingress_policies = vec!["web".into()],
        }
    }
    all.push(port);
    let peers = match case.path {
        Path::Whole => PEERS,
        Path::Encap | Path::Decap => 1,
    };
    for peer in 0..peers {
        let tunnel = spec::Tunnel::new(peer_ip(peer).into(), encap_of(case.wrap, vrf));
        let action = spec::NexthopAction::Tunnel(tunnel);
        all.push(nexthop(&way(vrf, peer), action));
    }
    let members = (0..peers).map(|peer| spec::Member {
        nexthop: way(vrf, peer).as_str().into(),
        weight: NonZeroU16::MIN,
    });
    let group = spec::NexthopAction::Group(spec::Group {
        members: members.collect(),
        hash: spec::HashFields::FiveTuple,
        symmetric: false,
    });
    let out = match case.path {
        Path::Whole => {
            all.push(nexthop(&format!("any{vrf}"), group));
            format!("any{vrf}")
        }
        Path::Encap | Path::Decap => way(vrf, 0),
    };
    let route = |prefix| {
        Object::Route(spec::Route {
            vrf: name.as_str().into(),
            prefix,
            nexthop: out.as_str().into(),
        })
    };
    all.push(route(far_prefix(case.family)));
    if vrf == 0 {
        all.extend((1..case.routes).map(|number| route(further_prefix(case.family, number))));
    }
    if case.path == Path::Whole {
        all.push(Object::Service(service(case, vrf, &name)));
    }
    let to = spec::Arrival::Vrf(name.as_str().into());
    all.push(match case.wrap {
        Wrap::Vxlan => Object::Vni(spec::VniEntry { vni: vni(vrf), to }),
        Wrap::MplsUdp | Wrap::MplsGre => Object::Label(spec::LabelEntry {
            label: label(vrf),
            to,
            payload: payload_of(case.wrap),
        }),
    });
}

fn way(vrf: u32, peer: u8) -> String {
    format!("far{vrf}-{peer}")
}

/// Where all far ends and backends are.
fn far_prefix(family: Family) -> IpNet {
    match family {
        Family::Ipv4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 128, 0, 0), 9)),
        Family::Ipv6 => {
            let addr = Ipv6Addr::new(0xfd00, 0x128, 0, 0, 0, 0, 0, 0);
            IpNet::V6(Ipv6Net::new_assert(addr, 32))
        }
    }
}

/// One of up to eight million host routes within it.
fn further_prefix(family: Family, number: u32) -> IpNet {
    let host = number.wrapping_mul(0x9E37_79B1) & 0x7f_ffff;
    match family {
        Family::Ipv4 => net(Ipv4Addr::from_bits(0x0a80_0000 | host).into(), 32),
        Family::Ipv6 => {
            let [_, a, b, c] = host.to_be_bytes().map(u16::from);
            let addr = Ipv6Addr::new(0xfd00, 0x128, 0, 0, a, b, c, 0);
            net(addr.into(), 128)
        }
    }
}

fn service(case: &Case, vrf: u32, network: &str) -> spec::Service {
    let backend = |host: u8| spec::Backend {
        address: match case.family {
            Family::Ipv4 => Ipv4Addr::new(10, 129, 0, host).into(),
            Family::Ipv6 => Ipv6Addr::new(0xfd00, 0x128, 1, 0, 0, 0, 0, host.into()).into(),
        },
        port: 8080,
        weight: NonZeroU16::MIN,
        state: spec::BackendState::Active,
    };
    spec::Service {
        name: format!("service{vrf}").into(),
        vrf: network.into(),
        address: service_ip(case.family),
        protocol: 17,
        port: SERVICE_PORT,
        backend_vrf: None,
        backends: (1..=BACKENDS).map(backend).collect(),
        affinity_timeout_s: None,
        table_size: if case.vrfs > 1 {
            251
        } else {
            spec::MAGLEV_TABLE_SIZE
        },
        on_down: spec::OnDown::Move,
        direct_return: false,
        health: None,
    }
}

/// Rules of all kinds that these packets do not match, and the last one, which they do.
fn policy(case: &Case) -> Object {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut rules: Vec<_> = (1..case.rules).map(|id| rule(id, &mut random)).collect();
    rules.push(spec::Rule {
        action: RuleAction::Allow,
        ..any(case.rules.max(1))
    });
    Object::Policy(spec::Policy {
        name: "web".into(),
        rules,
    })
}

fn rule(id: u32, random: &mut Random) -> spec::Rule {
    let mut rule = any(id);
    let len = [16, 20, 24, 28, 32][random.below(5) as usize];
    let mut prefix = || {
        let addr = Ipv4Addr::from_bits(0x0a00_0000 | random.below(1 << 24));
        net(addr.into(), len)
    };
    let (src, dst) = (prefix(), prefix());
    let asks = random.below(8);
    if asks & 1 != 0 {
        rule.sources.push(src);
    }
    if asks & 2 != 0 {
        rule.destinations.push(dst);
    }
    let port = 100 + random.below(900) as u16;
    rule.destination_ports.push(port..=port + 9);
    if asks & 4 != 0 {
        rule.source_ports.push(port..=port);
    }
    rule.protocol = [None, Some(6), Some(17)][random.below(3) as usize];
    rule
}

fn any(id: u32) -> spec::Rule {
    spec::Rule {
        id,
        action: RuleAction::Deny,
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
    }
}

fn nexthop(name: &str, action: spec::NexthopAction) -> Object {
    let name = name.into();
    Object::Nexthop(spec::Nexthop { name, action })
}

fn vif(name: &str, role: Role, vrf: &str, mac: MacAddr, addresses: &[IpNet]) -> Object {
    Object::Vif(spec::Vif {
        name: name.into(),
        device: name.into(),
        role,
        vrf: Name::from(vrf),
        mac: Some(mac),
        addresses: addresses.to_vec(),
        vlan: None,
        mtu: Some(1600),
        flow_quota: None,
        storm_limit: None,
        max_learned_macs: None,
        guards: Guards::default(),
    })
}

fn net(addr: IpAddr, len: u8) -> IpNet {
    let net = IpNet::new(addr, len).unwrap_or_else(|_| unreachable!("no longer than an address"));
    // A fabric port's own address is meant, not its network.
    if len == 24 { net } else { net.trunc() }
}

fn vni(vrf: u32) -> Vni {
    Vni::new(5001 + vrf).unwrap_or_else(|| unreachable!("24 bits"))
}

fn label(vrf: u32) -> Label {
    Label::new(5001 + vrf).unwrap_or_else(|| unreachable!("20 bits"))
}

/// A small deterministic generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D);
        ((word >> 33) % u64::from(bound)) as u32
    }
}
