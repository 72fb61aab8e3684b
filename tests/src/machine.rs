//! A tenant's machine: a namespace with one interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lab::{Lab, Namespace};

/// A machine with an address of each family.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where it is.
    pub namespace: Namespace,
    /// Its interface in there.
    pub interface: String,
    /// The interface's MAC, as text.
    pub mac: String,
    /// Its IPv4 address, in a /24.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address, in a /64.
    pub ipv6: Ipv6Addr,
    /// Largest IP packet its interface takes, in bytes.
    pub mtu: u16,
}

/// The largest IP packet that fits into VXLAN over an underlay of 1500 bytes
/// (RFC 7348 §5: 50 bytes of headers over IPv4).
pub const OVERLAY_MTU: u16 = 1450;

const ROUTER_MAC: &str = "00:00:5e:00:01:00";
const GATEWAY_IPV4: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const GATEWAY_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, 1);

impl Machine {
    /// Plugs a new machine into `port` of a node: 10.1.0.`number` and
    /// fd01::`number`, with the first address of each network as its gateway.
    pub fn plug(lab: &Lab, name: &str, number: u8, (node, port): (&Namespace, &str)) -> Machine {
        let namespace = lab.namespace(name);
        let mac = format!("02:00:00:00:01:{number:02x}");
        lab.cable((&namespace, "eth0"), (node, port), OVERLAY_MTU);
        namespace.run(&format!("ip link set eth0 address {mac}"));
        node.silence(port);
        let machine = Machine::on(namespace, "eth0", number);
        for gateway in [IpAddr::from(GATEWAY_IPV4), GATEWAY_IPV6.into()] {
            let line = format!("ip route add default via {gateway}");
            machine.namespace.run(&line);
        }
        machine
    }

    /// Addresses an interface that is there already, in the same manner.
    pub fn on(namespace: Namespace, interface: &str, number: u8) -> Machine {
        let ipv4 = Ipv4Addr::new(10, 1, 0, number);
        let ipv6 = Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, number.into());
        for (address, option) in [(format!("{ipv4}/24"), ""), (format!("{ipv6}/64"), "nodad")] {
            namespace.run(&format!("ip addr add {address} dev {interface} {option}"));
        }
        Machine {
            mac: namespace.mac(interface),
            namespace,
            interface: interface.into(),
            ipv4,
            ipv6,
            mtu: OVERLAY_MTU,
        }
    }

    /// Its address of one family.
    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 => self.ipv4.into(),
            Family::Ipv6 => self.ipv6.into(),
        }
    }

    /// Enters the router's MAC for its gateways and for `others`, so that nothing
    /// waits for the kernel, which repeats an unanswered request after a second.
    pub fn know_the_router(&self, others: &[&Machine]) {
        let gateways = [GATEWAY_IPV4.into(), GATEWAY_IPV6.into()];
        let others = others.iter().flat_map(|machine| {
            let both: [IpAddr; 2] = [machine.ipv4.into(), machine.ipv6.into()];
            both
        });
        for address in gateways.into_iter().chain(others) {
            self.namespace.run(&format!(
                "ip neigh replace {address} lladdr {ROUTER_MAC} dev {}",
                self.interface
            ));
        }
    }

    /// Whether one echo request to `target` is answered within 0.2 s.
    pub fn pings(&self, target: IpAddr) -> bool {
        let ping = self
            .namespace
            .try_run(&format!("ping -c 1 -W 0.2 {target}"));
        ping.status == Some(0)
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::Ipv4, Family::Ipv6];

    /// Bytes of an IP header and an ICMP echo header.
    pub fn echo_headers(self) -> u16 {
        match self {
            Family::Ipv4 => 20 + 8,
            Family::Ipv6 => 40 + 8,
        }
    }
}
