//! The packets of a case: one frame made by the rules, and copies of it in which a flow's number is
//! written.
//!
//! A number has 24 bits: sixteen are in an address of whoever is far (or calls a service), eight in
//! a port. All checksums are right, those of UDP too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::tables::spec::Payload;
use encap::{
    Buffer, Encap, Inner, MacAddr, MemBuffer, Outer, TunnelHeader, checksum, ethernet, ipv4, ipv6,
};

use super::case::{Case, Family, Path, Size, Wrap};
use super::objects::{
    LOCAL_IP, PEER_MAC, SERVICE_PORT, UPLINK_MAC, encap_of, machine_mac, near, payload_of, peer_ip,
    service_ip,
};

/// Flow numbers are below this.
pub const NUMBERS: u32 = 1 << 24;

/// Frames of one machine, or to it.
pub struct Frames {
    templates: Vec<Template>,
    turn: usize,
}

/// A frame, and where a flow's number stands in it.
struct Template {
    bytes: Vec<u8>,
    /// The low sixteen bits of an address.
    address: usize,
    /// The high byte of a port.
    port: usize,
    /// The checksums that cover them, of UDP and of IPv4.
    udp: usize,
    ip: Option<usize>,
}

/// Sent from; to a service all of these.
const PORT: u16 = 0x8000;

impl Frames {
    /// Of the machine in the vrf of this number.
    pub fn new(case: &Case, vrf: u32) -> Frames {
        let template = |len| Template::new(case, vrf, len);
        let lengths = match case.size {
            Size::Imix => Size::Imix.lengths(),
            size => size.lengths(),
        };
        Frames {
            templates: lengths.into_iter().map(template).collect(),
            turn: 0,
        }
    }

    /// The frame of a flow; `fill` makes a buffer a copy of the bytes and gives them back.
    #[inline]
    pub fn write<'a>(&mut self, number: u32, fill: impl FnOnce(&[u8]) -> &'a mut [u8]) {
        self.turn = match self.turn + 1 {
            next if next < self.templates.len() => next,
            _ => 0,
        };
        let template = &self.templates[self.turn];
        template.set(fill(&template.bytes), number);
    }
}

impl Template {
    fn new(case: &Case, vrf: u32, len: usize) -> Template {
        let family = case.family;
        let machine = (near(family, case.path), machine_mac(vrf));
        let far = far(family);
        let (dst, dst_port) = match case.path {
            Path::Whole => (service_ip(family), SERVICE_PORT),
            Path::Encap | Path::Decap => (far, PORT),
        };
        let (frame, is_src) = match case.path {
            Path::Encap => (udp(machine.1, machine.0, dst, dst_port, len), false),
            Path::Whole => (udp(machine.1, machine.0, dst, dst_port, len), true),
            Path::Decap => (udp(PEER_MAC, far, machine.0, PORT, len), true),
        };
        let (l3, l4, address_len) = match family {
            Family::Ipv4 => (ethernet::LEN, ethernet::LEN + ipv4::LEN, 4),
            Family::Ipv6 => (ethernet::LEN, ethernet::LEN + ipv6::LEN, 16),
        };
        let ends = l4 - 2 * address_len;
        let template = Template {
            bytes: frame,
            address: ends + address_len * (2 - usize::from(is_src)) - 2,
            port: l4 + 2 * usize::from(!is_src),
            udp: l4 + 6,
            ip: (family == Family::Ipv4).then_some(l3 + 10),
        };
        match case.path {
            Path::Decap => template.wrapped(case.wrap, vrf),
            Path::Encap | Path::Whole => template,
        }
    }

    fn wrapped(self, wrap: Wrap, vrf: u32) -> Template {
        let skipped = match payload_of(wrap) {
            Payload::Ip => ethernet::LEN,
            Payload::Ethernet => 0,
        };
        let mut packet = MemBuffer::from_frame(&self.bytes[skipped..]);
        let outer = Outer {
            src_mac: PEER_MAC,
            dst_mac: UPLINK_MAC,
            vlan: None,
            src: peer_ip(0).into(),
            dst: LOCAL_IP.into(),
            ttl: 64,
        };
        let encap: Encap = encap_of(wrap, vrf);
        let pushed = TunnelHeader::new(&outer, encap)
            .and_then(|header| header.push(&mut packet, UPLINK_MAC, &Inner::default()));
        pushed.unwrap_or_else(|error| unreachable!("one family, ample headroom: {error}"));
        let bytes = packet.bytes().to_vec();
        let moved = bytes.len() - self.bytes.len();
        let at = |offset: usize| offset.wrapping_add(moved);
        Template {
            address: at(self.address),
            port: at(self.port),
            udp: at(self.udp),
            ip: self.ip.map(at),
            bytes,
        }
    }

    #[inline]
    fn set(&self, frame: &mut [u8], number: u32) {
        let word = number as u16;
        let high = (number >> 16) as u8;
        frame[self.address..self.address + 2].copy_from_slice(&word.to_be_bytes());
        frame[self.port] |= high;
        // What the template has in these places is zero, but for the port's first bit.
        let mut update = |at: usize, changes: [u16; 2]| {
            let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
            let new = checksum::update_u16(old, 0, changes[0]);
            let new = checksum::update_u16(new, 0, changes[1]);
            frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
        };
        update(self.udp, [word, u16::from(high) << 8]);
        if let Some(ip) = self.ip {
            update(ip, [word, 0]);
        }
    }
}

/// Far ends: the low sixteen bits differ.
fn far(family: Family) -> IpAddr {
    match family {
        Family::Ipv4 => Ipv4Addr::new(10, 128, 0, 0).into(),
        Family::Ipv6 => Ipv6Addr::new(0xfd00, 0x128, 0, 0, 0, 0, 0, 0).into(),
    }
}

/// A UDP frame to the virtual router; its source port is [`PORT`].
fn udp(src_mac: MacAddr, src: IpAddr, dst: IpAddr, dst_port: u16, len: usize) -> Vec<u8> {
    let mut frame = [&MacAddr::VROUTER.0[..], &src_mac.0].concat();
    let header_len = match src {
        IpAddr::V4(_) => ipv4::LEN,
        IpAddr::V6(_) => ipv6::LEN,
    };
    let len = len.max(ethernet::LEN + header_len + 8);
    let udp_len = (len - ethernet::LEN - header_len) as u16;
    let mut sum = checksum::Sum::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((20 + udp_len).to_be_bytes());
            frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            let header = checksum::Sum::new().bytes(&frame[14..34]).finish();
            frame[24..26].copy_from_slice(&header.to_be_bytes());
            sum = sum.ipv4_pseudo(src, dst, 17, udp_len);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(udp_len.to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
            sum = sum.ipv6_pseudo(src, dst, 17, u32::from(udp_len));
        }
        _ => unreachable!("both ends are of one family"),
    }
    let l4 = frame.len();
    frame.extend(PORT.to_be_bytes());
    frame.extend(dst_port.to_be_bytes());
    frame.extend(udp_len.to_be_bytes());
    frame.resize(len, 0);
    let sum = sum.bytes(&frame[l4..]).finish();
    frame[l4 + 6..l4 + 8].copy_from_slice(&sum.to_be_bytes());
    frame
}
