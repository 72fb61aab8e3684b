//! Random packets that something is probably said about.

use std::net::{IpAddr, Ipv6Addr};

use dataplane::decide::End;
use dataplane::stage::Layer;
use dataplane::tables::spec::*;
use encap::MacAddr;
use ipnet::IpNet;

use crate::common::{ROUTER, Random, ip};
use crate::reference::{Memory, Reference};
use crate::words::{From, Packet};
use crate::world::{PORTS, REMOTES, VRFS, mac_of};

const PROTOCOLS: [u8; 8] = [6, 6, 6, 17, 17, 17, 132, 47];

/// Addresses that no object is needed for.
const OTHERS: [&str; 16] = [
    "10.1.0.65",
    "10.2.0.66",
    "203.0.113.65",
    "10.1.0.9",
    "fd01::41",
    "fd02::42",
    "2001:db8:7::41",
    "8.8.8.8",
    "2001:4860::8",
    "127.0.0.1",
    "0.0.0.1",
    "240.1.1.1",
    "224.0.0.5",
    "169.254.1.1",
    "fe80::5",
    "ff02::1",
];

impl Reference {
    /// A packet from anywhere to anywhere, most likely one that goes far.
    pub fn any_packet(&self, memory: &Memory, random: &mut Random) -> Packet {
        let tenants: Vec<&Vif> = self.vifs().filter(|vif| vif.role == Role::Tenant).collect();
        let from_fabric = random.one_in(8);
        let from_tunnel = !from_fabric && (tenants.is_empty() || random.one_in(4));
        let (vrf, from, mac, own) = if from_fabric {
            (UNDERLAY.into(), From::Vif("up0".into()), mac_of(250), None)
        } else if from_tunnel {
            let remote = ip(random.pick(&REMOTES));
            (
                Name::from(random.pick(&VRFS)),
                From::Remote(remote),
                mac_of(100),
                None,
            )
        } else {
            // Half of them from one machine, so that it comes to limits.
            let vif = match random.one_in(2) {
                true => tenants[0],
                false => tenants[random.below(tenants.len())],
            };
            let mac = vif.mac.expect("all have one");
            (vif.vrf.clone(), From::Vif(vif.name.clone()), mac, Some(vif))
        };
        let is_routed = from_fabric || !random.one_in(8);
        let dst = self.any_destination(&vrf, memory, random);
        let src = self.any_source(own, &vrf, dst.addr.is_ipv4(), memory, random);
        let mut protocol = random.pick(&PROTOCOLS);
        let mut icmp = None;
        let (mut src, mut dst) = (src, dst);
        if random.one_in(6) {
            protocol = if dst.addr.is_ipv4() { 1 } else { 58 };
            let request = if dst.addr.is_ipv4() { 8 } else { 128 };
            icmp = Some((request, 0));
            // The identifier is both ends' port.
            match random.one_in(2) {
                true => src.port = dst.port,
                false => dst.port = src.port,
            }
        } else if protocol == 47 {
            (src.port, dst.port) = (0, 0);
        }
        let direct =
            (from_tunnel && random.one_in(10)).then(|| random.pick(&["one", "two"]).into());
        let direct = direct.filter(|name: &Name| self.has_nexthop(name));
        let vrf = match &direct {
            // Such a packet is in the network of the vif that it goes to.
            Some(name) => {
                let vif = if &**name == "one" { "v1" } else { "v2" };
                self.vif(vif).expect("it is there").vrf.clone()
            }
            None => vrf,
        };
        Packet {
            layer: match is_routed {
                true => Layer::Routed,
                false => Layer::Bridged,
            },
            macs: match is_routed {
                true => (mac, ROUTER),
                false => (random.pick(&[mac, mac, mac_of(101)]), self.any_mac(random)),
            },
            vrf,
            from,
            src,
            dst,
            protocol,
            icmp,
            direct,
            had: None,
        }
    }

    fn has_nexthop(&self, name: &str) -> bool {
        let mut all = self.objects.iter();
        all.any(|object| matches!(object, Object::Nexthop(it) if &*it.name == name))
    }

    fn any_mac(&self, random: &mut Random) -> MacAddr {
        match random.one_in(3) {
            true => mac_of(100 + random.below(5)),
            false => mac_of(random.below(8)),
        }
    }

    fn any_destination(&self, vrf: &str, memory: &Memory, random: &mut Random) -> End {
        let any_port = |random: &mut Random| match random.one_in(2) {
            true => random.pick(&PORTS),
            false => random.below(65_536) as u16,
        };
        if random.one_in(4) {
            let outside = [
                "8.8.8.8",
                "203.0.113.5",
                "203.0.113.66",
                "2001:4860::8",
                "2001:db8:7::5",
            ];
            return End {
                addr: ip(random.pick(&outside)),
                port: any_port(random),
            };
        }
        if !memory.bindings.is_empty() && random.one_in(8) {
            let bond = &memory.bindings[random.below(memory.bindings.len())];
            return bond.outside;
        }
        let near: Vec<&Object> = self
            .objects
            .iter()
            .filter(|object| is_near(object, vrf))
            .collect();
        let all: Vec<&Object> = self.objects.iter().collect();
        let from = match random.one_in(3) || near.is_empty() {
            true => all,
            false => near,
        };
        for _ in 0..4 {
            let object = from[random.below(from.len())];
            let port = any_port(random);
            let addr = match object {
                Object::Vif(vif) if !vif.addresses.is_empty() => {
                    one_of(vif.addresses[random.below(vif.addresses.len())], random)
                }
                Object::Service(service) => {
                    let port = match random.one_in(5) {
                        true => port,
                        false => service.port,
                    };
                    let addr = service.address;
                    return End { addr, port };
                }
                Object::FloatingIp(floating) => one_of(floating.address, random),
                Object::SnatPool(pool) => match (pool.nat64_prefix, random.one_in(3)) {
                    (Some(prefix), false) => {
                        let inside = self.any_ipv4(random);
                        let bits = prefix.network().to_bits() | u128::from(inside);
                        Ipv6Addr::from_bits(bits).into()
                    }
                    _ => one_of(pool.addresses[0], random),
                },
                Object::Route(route) if route.prefix.prefix_len() > 8 => {
                    one_of(route.prefix, random)
                }
                Object::Vrf(vrf) if !vrf.gateways.is_empty() => vrf.gateways[0].addr(),
                _ => continue,
            };
            return End { addr, port };
        }
        End {
            addr: ip(random.pick(&OTHERS)),
            port: any_port(random),
        }
    }

    /// That of a machine, most likely outside.
    fn any_ipv4(&self, random: &mut Random) -> u32 {
        let all = [
            "203.0.113.5",
            "203.0.113.6",
            "203.0.113.65",
            "198.51.100.7",
            "10.2.0.5",
            "8.8.8.8",
        ];
        match ip(random.pick(&all)) {
            IpAddr::V4(addr) => addr.to_bits(),
            IpAddr::V6(_) => 0,
        }
    }

    fn any_source(
        &self,
        own: Option<&Vif>,
        vrf: &str,
        is_ipv4: bool,
        memory: &Memory,
        random: &mut Random,
    ) -> End {
        let few = random.pick(&[1111, 1112, 40_000, 900, 65_000]);
        let port = match random.one_in(4) {
            true => random.below(65_536) as u16,
            false => few,
        };
        if own.is_none() && !memory.bindings.is_empty() && random.one_in(4) {
            // Behind a pool on another node, or one who was sent to.
            let bond = &memory.bindings[random.below(memory.bindings.len())];
            return bond.outside;
        }
        let of_family = |net: &&IpNet| net.addr().is_ipv4() == is_ipv4;
        let its = own.and_then(|vif| vif.addresses.iter().find(of_family));
        let addr = match its {
            Some(net) if !random.one_in(12) => one_of(*net, random),
            _ => {
                let others: Vec<IpAddr> = OTHERS.iter().map(|text| ip(text)).collect();
                let front = self.services().map(|it| it.address);
                let routed = self.objects.iter().filter_map(|object| match object {
                    Object::Route(route) if &*route.vrf == vrf => Some(route.prefix),
                    _ => None,
                });
                let routed: Vec<IpAddr> = routed.map(|net| one_of(net, random)).collect();
                let all = others[..9].iter().copied().chain(front).chain(routed);
                let all: Vec<IpAddr> = all.filter(|addr| addr.is_ipv4() == is_ipv4).collect();
                match random.one_in(20) {
                    true => others[random.below(others.len())],
                    false => all[random.below(all.len())],
                }
            }
        };
        End { addr, port }
    }
}

/// Whether an object says something about destinations in a network.
fn is_near(object: &Object, vrf: &str) -> bool {
    match object {
        Object::Vif(vif) => &*vif.vrf == vrf,
        Object::Service(service) => &*service.vrf == vrf,
        Object::FloatingIp(floating) => &*floating.vrf == vrf,
        Object::SnatPool(pool) => match pool.nat64_prefix {
            Some(_) => &*pool.vrf == vrf || &*pool.outside_vrf == vrf,
            None => &*pool.outside_vrf == vrf,
        },
        Object::Route(route) => &*route.vrf == vrf,
        _ => false,
    }
}

/// An address of a prefix, one of the first few.
fn one_of(net: IpNet, random: &mut Random) -> IpAddr {
    let room = u32::from(net.max_prefix_len() - net.prefix_len()).min(3);
    let host = random.below(1 << room);
    match net.addr() {
        IpAddr::V4(addr) => {
            IpAddr::V4((addr.to_bits() & !(net_mask(room) as u32) | host as u32).into())
        }
        IpAddr::V6(addr) => {
            IpAddr::V6((addr.to_bits() & !u128::from(net_mask(room)) | host as u128).into())
        }
    }
}

fn net_mask(bits: u32) -> u64 {
    (1 << bits) - 1
}
