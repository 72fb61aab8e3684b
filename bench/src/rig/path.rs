//! The ways through the contenders, and the packets that go them.

use std::net::Ipv4Addr;

use clap::ValueEnum;
use encap::{MacAddr, checksum};

/// A configuration that every contender has its own words for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Path {
    /// Routed from a machine into one VXLAN tunnel.
    Encap,
    /// A stateful policy of 1,000 rules, a service's address translated to that of one of eight
    /// backends, and one of eight VXLAN tunnels towards them.
    Whole,
}

/// The machine that sends.
pub(super) const MACHINE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
/// The contender's underlay port.
pub(super) const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
/// The other nodes; their last byte counts on.
pub(super) const NODE: MacAddr = MacAddr([2, 0, 0, 0, 2, 0]);
/// Of the contender in the underlay.
pub(super) const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Backends, and tunnels towards them.
pub(super) const BACKENDS: u8 = 8;
/// Rules of the policy, the last of which lets the packets through.
pub(super) const RULES: u32 = 1_000;
/// The address of the service.
pub(super) const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// Its port.
pub(super) const SERVICE_PORT: u16 = 80;
/// The port the backends listen on.
pub(super) const BACKEND_PORT: u16 = 8080;
/// Of the tunnels.
pub(super) const VNI: u32 = 5001;

/// The node behind tunnel `number`, from 0 on.
pub(super) fn node(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 2 + number)
}

/// That node's MAC.
pub(super) fn node_mac(number: u8) -> MacAddr {
    let mut mac = NODE;
    mac.0[5] = 2 + number;
    mac
}

/// The backend of that number.
pub(super) fn backend(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 128, 0, 1 + number)
}

impl Path {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Path::Encap => "VXLAN encap",
            Path::Whole => "whole path",
        }
    }

    /// How many of the nodes are in use.
    pub(super) fn nodes(self) -> u8 {
        match self {
            Path::Encap => 1,
            Path::Whole => BACKENDS,
        }
    }

    /// A frame of 60 bytes of the first flow, 64 on the wire: UDP without a checksum to the virtual
    /// router.
    pub(super) fn template(self) -> Vec<u8> {
        const PAYLOAD: u16 = 60 - 14 - 20 - 8;
        let (destination, port) = match self {
            Path::Encap => (Ipv4Addr::new(10, 128, 0, 0), 0x8000),
            Path::Whole => (SERVICE, SERVICE_PORT),
        };
        let mut frame = [&MacAddr::VROUTER.0[..], &MACHINE.0, &[8, 0]].concat();
        frame.extend([0x45, 0]);
        frame.extend((20 + 8 + PAYLOAD).to_be_bytes());
        frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
        frame.extend(Ipv4Addr::new(10, 1, 0, 0).octets());
        frame.extend(destination.octets());
        frame.extend(0x8000_u16.to_be_bytes());
        frame.extend(port.to_be_bytes());
        frame.extend((8 + PAYLOAD).to_be_bytes());
        frame.extend([0; 2 + PAYLOAD as usize]);
        let sum = checksum::Sum::new().bytes(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    /// Turns a copy of the template into a frame of flow `number`: the low half of the source
    /// address (the machine has a prefix of 16 bits) and 8 bits of the source port vary.
    #[inline]
    pub(super) fn set_flow(self, frame: &mut [u8], number: u32) {
        let low = [(number >> 8) as u8, number as u8];
        frame[28..30].copy_from_slice(&low);
        frame[34] = (number >> 16) as u8 | 0x80;
        let old = u16::from_be_bytes([frame[24], frame[25]]);
        // The template's word is zero.
        let new = checksum::update_u16(old, 0, u16::from_be_bytes(low));
        frame[24..26].copy_from_slice(&new.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_differ_and_their_headers_are_right() {
        for path in [Path::Encap, Path::Whole] {
            let frames: Vec<_> = [0, 1, 0xffff, 0x1_0000, 0xff_ffff]
                .map(|number| {
                    let mut frame = path.template();
                    path.set_flow(&mut frame, number);
                    let meta = encap::parse(&frame).expect("an Ethernet frame");
                    assert!(meta.is_udp());
                    frame
                })
                .into();
            for (at, frame) in frames.iter().enumerate() {
                assert_eq!(frame.len(), 60);
                let header = checksum::Sum::new().bytes(&frame[14..34]).finish();
                assert_eq!(header, 0, "{path:?}, {at}");
                assert!(!frames[..at].contains(frame));
            }
        }
    }
}
