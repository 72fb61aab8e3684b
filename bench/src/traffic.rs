//! What is measured: a configuration, and the packets that go through it.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::tables::spec::{self, Object, Role};
use encap::{Encap, Inner, MacAddr, MemBuffer, Outer, TunnelHeader, Vni, checksum};

/// A configuration with the packets for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// From a tenant vif, routed, into a VXLAN tunnel.
    Encap,
    /// Out of a VXLAN tunnel, routed, to a tenant vif.
    Decap,
}

const MACHINE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const REMOTE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const LOCAL_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MACHINE_IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// Far ends are addresses in 10.128.0.0/9.
const FAR: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const VNI: u32 = 5001;

impl Scenario {
    /// All, in the order they are measured.
    pub const ALL: [Scenario; 2] = [Scenario::Encap, Scenario::Decap];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Encap => "VXLAN encap",
            Scenario::Decap => "VXLAN decap",
        }
    }

    /// The vif that packets arrive on.
    pub fn ingress(self) -> &'static str {
        match self {
            Scenario::Encap => "machine",
            Scenario::Decap => "uplink",
        }
    }

    /// A frame of this scenario's first flow.
    pub fn template(self) -> Vec<u8> {
        match self {
            Scenario::Encap => udp(MACHINE, MACHINE_IP, Ipv4Addr::from_bits(FAR)),
            Scenario::Decap => {
                let mut frame =
                    MemBuffer::from_frame(&udp(REMOTE, Ipv4Addr::from_bits(FAR), MACHINE_IP));
                let outer = Outer {
                    src_mac: PEER,
                    dst_mac: UPLINK,
                    vlan: None,
                    src: PEER_IP.into(),
                    dst: LOCAL_IP.into(),
                    ttl: 64,
                };
                let pushed = TunnelHeader::new(&outer, Encap::Vxlan(vni()))
                    .and_then(|header| header.push(&mut frame, UPLINK, &Inner::default()));
                pushed.unwrap_or_else(|error| unreachable!("one family, ample headroom: {error}"));
                encap::Buffer::bytes(&frame).to_vec()
            }
        }
    }

    /// Turns a copy of the template into a frame of flow `number`: the far
    /// address varies in 16 bits, the far port in 8.
    #[inline]
    pub fn set_flow(self, frame: &mut [u8], number: u32) {
        // Far address and far port are the inner destination of one scenario,
        // the inner source of the other.
        let (ip, addr, port) = match self {
            Scenario::Encap => (14, 14 + 16, 14 + 20 + 2),
            Scenario::Decap => (50 + 14, 50 + 14 + 12, 50 + 14 + 20),
        };
        let low = [(number >> 8) as u8, number as u8];
        let word = u16::from_be_bytes(low);
        frame[addr + 2..addr + 4].copy_from_slice(&low);
        frame[port] = (number >> 16) as u8 | 0x80;
        // The template's word is zero, and so are the ports' part in no checksum.
        let old = u16::from_be_bytes([frame[ip + 10], frame[ip + 11]]);
        let new = checksum::update_u16(old, 0, word);
        frame[ip + 10..ip + 12].copy_from_slice(&new.to_be_bytes());
    }

    /// The objects, the same for all scenarios.
    pub fn objects() -> Vec<Object> {
        let vif = |name: &str, role, vrf: &str, mac, address: IpAddr, bits| {
            let address = ipnet::IpNet::new(address, bits);
            Object::Vif(spec::Vif {
                name: name.into(),
                device: name.into(),
                role,
                vrf: vrf.into(),
                mac: Some(mac),
                addresses: vec![address.unwrap_or_else(|_| unreachable!("bits of an IPv4 prefix"))],
                vlan: None,
                mtu: Some(1600),
                flow_quota: None,
                storm_limit: None,
                max_learned_macs: None,
                guards: Default::default(),
            })
        };
        let far = ipnet::Ipv4Net::new_assert(Ipv4Addr::from_bits(FAR), 9);
        vec![
            Object::Vrf(spec::Vrf {
                name: "tenant".into(),
                gateways: vec![],
                mode: spec::ForwardingMode::Both,
                mac: MacAddr::VROUTER,
                flow_quota: None,
                learning: false,
                router_advertisement: None,
                tcp_mss_clamp: None,
                guards: Default::default(),
            }),
            vif(
                "uplink",
                Role::Fabric,
                spec::UNDERLAY,
                UPLINK,
                LOCAL_IP.into(),
                24,
            ),
            vif(
                "machine",
                Role::Tenant,
                "tenant",
                MACHINE,
                MACHINE_IP.into(),
                32,
            ),
            Object::Nexthop(spec::Nexthop {
                name: "far".into(),
                action: spec::NexthopAction::Tunnel(spec::Tunnel::new(
                    PEER_IP.into(),
                    Encap::Vxlan(vni()),
                )),
            }),
            Object::Route(spec::Route {
                vrf: "tenant".into(),
                prefix: far.into(),
                nexthop: "far".into(),
            }),
            Object::Vni(spec::VniEntry {
                vni: vni(),
                to: spec::Arrival::Vrf("tenant".into()),
            }),
            // The peer's MAC, so that nothing waits for ARP.
            Object::Nexthop(spec::Nexthop {
                name: "discard".into(),
                action: spec::NexthopAction::Discard,
            }),
            Object::Mac(spec::Mac {
                vrf: spec::UNDERLAY.into(),
                mac: PEER,
                nexthop: "discard".into(),
                ip: Some(PEER_IP.into()),
            }),
        ]
    }
}

fn vni() -> Vni {
    Vni::new(VNI).unwrap_or_else(|| unreachable!("24 bits"))
}

/// A UDP frame of 60 bytes, 64 on the wire, to the virtual router.
fn udp(src_mac: MacAddr, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    const PAYLOAD: u16 = 60 - 14 - 20 - 8;
    let mut frame = [&MacAddr::VROUTER.0[..], &src_mac.0, &[8, 0]].concat();
    frame.extend([0x45, 0]);
    frame.extend((20 + 8 + PAYLOAD).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    let sum = checksum::Sum::new().bytes(&frame[14..34]).finish();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame.extend(0x8000_u16.to_be_bytes());
    frame.extend(0x8000_u16.to_be_bytes());
    frame.extend((8 + PAYLOAD).to_be_bytes());
    frame.extend([0; 2 + PAYLOAD as usize]);
    frame
}
