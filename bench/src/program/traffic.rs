//! The packets: from a machine, routed, into a VXLAN tunnel; and the objects they need.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::tables::spec::{self, Object, Role};
use encap::{Encap, MacAddr, Vni, checksum};

/// The configuration with the packets for it.
#[derive(Clone, Copy)]
pub(super) struct Scenario;

const MACHINE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const LOCAL_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER_IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MACHINE_IP: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// Far ends are addresses in 10.128.0.0/9.
const FAR: u32 = u32::from_be_bytes([10, 128, 0, 0]);
const VNI: u32 = 5001;

impl Scenario {
    /// The vif that packets arrive on.
    pub(super) fn ingress(self) -> &'static str {
        "machine"
    }

    /// A frame of the first flow.
    pub(super) fn template(self) -> Vec<u8> {
        udp(MACHINE, MACHINE_IP, Ipv4Addr::from_bits(FAR))
    }

    /// Turns a copy of the template into a frame of flow `number`: the far
    /// address varies in 16 bits, the far port in 8.
    #[inline]
    pub(super) fn set_flow(self, frame: &mut [u8], number: u32) {
        const IP: usize = 14;
        let low = [(number >> 8) as u8, number as u8];
        frame[IP + 18..IP + 20].copy_from_slice(&low);
        frame[IP + 22] = (number >> 16) as u8 | 0x80;
        // The template's word is zero, and so are the ports' part in no checksum.
        let old = u16::from_be_bytes([frame[IP + 10], frame[IP + 11]]);
        let new = checksum::update_u16(old, 0, u16::from_be_bytes(low));
        frame[IP + 10..IP + 12].copy_from_slice(&new.to_be_bytes());
    }

    /// The objects.
    pub(super) fn objects() -> Vec<Object> {
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
