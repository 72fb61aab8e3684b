//! A valid frame of every kind that a machine, the fabric or the kernel sends.
//! Headers are etherparse's or written out from the RFCs.

use std::net::IpAddr;

use encap::MacAddr;
use etherparse::PacketBuilder;

use crate::common::{ROUTER, ip, udp};

pub const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
pub const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
/// The machine behind the tunnels.
pub const FAR: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x9]);
pub const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
pub const NODE3: MacAddr = MacAddr([2, 0, 0, 0, 1, 3]);
pub const KERNEL: MacAddr = MacAddr([2, 0, 0, 0, 1, 4]);

/// How a frame is carried between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shim {
    Vxlan,
    MplsUdp,
    MplsGre,
}

/// A tunnel, and the last number of the addresses of the machine behind it.
pub struct Way {
    pub shim: Shim,
    pub over_ipv6: bool,
    pub host: u8,
    /// The VNI or label of both directions.
    pub number: u32,
    /// Whether labels carry Ethernet rather than IP.
    pub ethernet: bool,
}

pub const WAYS: [Way; 10] = [
    way(Shim::Vxlan, false, 40, 5001, true),
    way(Shim::Vxlan, true, 41, 5002, true),
    way(Shim::MplsUdp, false, 42, 102, false),
    way(Shim::MplsUdp, true, 43, 103, false),
    way(Shim::MplsGre, false, 44, 104, false),
    way(Shim::MplsGre, true, 45, 105, false),
    way(Shim::MplsUdp, false, 46, 106, true),
    way(Shim::MplsUdp, true, 47, 107, true),
    way(Shim::MplsGre, false, 48, 108, true),
    way(Shim::MplsGre, true, 49, 109, true),
];

const fn way(shim: Shim, over_ipv6: bool, host: u8, number: u32, ethernet: bool) -> Way {
    Way {
        shim,
        over_ipv6,
        host,
        number,
        ethernet,
    }
}

/// Frames with the vif that each is for.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let mut hosts = vec![1, 11];
    hosts.extend(WAYS.iter().map(|way| way.host));
    for host in &hosts {
        for frame in packets(A, ROUTER, 10, *host) {
            all.push(("red-a", frame));
        }
        for frame in packets(B, ROUTER, 11, if *host == 11 { 10 } else { *host }) {
            all.push(("red-b", tag(&frame)));
        }
    }
    // Bridged, to the other machine here and to that behind the tunnels.
    for frame in packets(A, B, 10, 11)
        .into_iter()
        .chain(packets(A, FAR, 10, 40))
    {
        all.push(("red-a", frame));
    }
    all.push(("red-a", [&B.0[..], &A.0, &[0x88, 0xb5], &[7; 50]].concat()));
    all.push(("red-a", arp(A, [10, 1, 0, 10], [10, 1, 0, 1])));
    for way in &WAYS {
        let mut inner = packets(FAR, ROUTER, way.host, 10);
        inner.extend(packets(FAR, A, way.host, 10));
        inner.push(arp(FAR, [10, 1, 0, way.host], [10, 1, 0, 10]));
        for frame in inner {
            if way.ethernet {
                all.push(("up0", tunnelled(way, &frame)));
            } else if frame[12..14] != [8, 6] {
                all.push(("up0", tunnelled(way, &frame[14..])));
            }
        }
    }
    for frame in between(NODE2, UPLINK, false)
        .into_iter()
        .chain(between(NODE3, UPLINK, true))
    {
        all.push(("up0", frame));
    }
    for frame in between(KERNEL, NODE2, false) {
        all.push(("kernel", frame));
    }
    all
}

/// What one machine sends to another, of both families.
fn packets(src: MacAddr, dst: MacAddr, from: u8, to: u8) -> Vec<Vec<u8>> {
    let (from4, to4) = (format!("10.1.0.{from}"), format!("10.1.0.{to}"));
    let (from6, to6) = (format!("fd01::{from}"), format!("fd01::{to}"));
    let mut all = Vec::new();
    for (a, b) in [(&from4, &to4), (&from6, &to6)] {
        all.push(udp((src, a), (dst, b), 64));
        all.push(transport((src, a), (dst, b), Kind::Tcp));
        all.push(transport((src, a), (dst, b), Kind::Ping));
        all.push(transport((src, a), (dst, b), Kind::Long));
    }
    let whole = udp((src, &from4), (dst, &to4), 64);
    all.push(ipv4_fragment(&whole, 0x2000));
    all.push(ipv4_fragment(&whole, 0x0001));
    all.push(ipv4_options(&whole));
    let whole = udp((src, &from6), (dst, &to6), 64);
    all.push(with_extensions(
        &whole,
        &[(0, [0x1e, 4, 0, 0, 0, 0]), (60, [1, 4, 0, 0, 0, 0])],
    ));
    all.push(with_extensions(&whole, &[(44, [0, 0, 0, 0, 0, 7])]));
    all.push(with_extensions(
        &whole,
        &[(60, [1, 4, 0, 0, 0, 0]), (44, [0, 9, 0, 0, 0, 7])],
    ));
    all.push(ping_error(src, dst, &from4, &to4));
    all
}

/// What the fabric and the kernel say to each other.
fn between(src: MacAddr, dst: MacAddr, ipv6: bool) -> Vec<Vec<u8>> {
    let (a, b) = match ipv6 {
        false => ("192.0.2.2", "192.0.2.1"),
        true => ("2001:db8::2", "2001:db8::1"),
    };
    vec![
        udp((src, a), (dst, b), 64),
        transport((src, a), (dst, b), Kind::Tcp),
        transport((src, a), (dst, b), Kind::Ping),
        arp(src, [192, 0, 2, 2], [192, 0, 2, 1]),
    ]
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Ping,
    /// A UDP packet of 1,400 bytes.
    Long,
}

fn transport(src: (MacAddr, &str), dst: (MacAddr, &str), kind: Kind) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let mut frame = Vec::new();
    let network = match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let is_ipv4 = ip(src.1).is_ipv4();
    match kind {
        Kind::Tcp => network
            .tcp(1000, 80, 7, 1024)
            .syn()
            .options_raw(&[2, 4, 5, 0xb4, 1, 1, 4, 2])
            .expect("they fit")
            .write(&mut frame, b""),
        Kind::Ping if is_ipv4 => network
            .icmpv4_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        Kind::Ping => network
            .icmpv6_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        Kind::Long => network.udp(1000, 2000).write(&mut frame, &[3; 1352]),
    }
    .expect("it fits");
    frame
}

/// An ICMP error that quotes what came the other way.
fn ping_error(src: MacAddr, dst: MacAddr, from: &str, to: &str) -> Vec<u8> {
    let quoted = udp((dst, to), (src, from), 64);
    let (IpAddr::V4(a), IpAddr::V4(b)) = (ip(from), ip(to)) else {
        panic!("IPv4 addresses");
    };
    let unreachable = etherparse::icmpv4::DestUnreachableHeader::Port;
    let builder = PacketBuilder::ethernet2(src.0, dst.0)
        .ipv4(a.octets(), b.octets(), 64)
        .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(unreachable));
    let mut frame = Vec::new();
    builder.write(&mut frame, &quoted[14..]).expect("it fits");
    frame
}

/// Makes a fragment of a packet, padded to a multiple of eight bytes; RFC 791 §3.1.
fn ipv4_fragment(frame: &[u8], field: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.resize(14 + 20 + 16, 0);
    frame[16..18].copy_from_slice(&36_u16.to_be_bytes());
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    summed(frame, 14)
}

/// The same packet with a record-route option.
fn ipv4_options(frame: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..34], &[7, 7, 4, 0, 0, 0, 0, 0], &frame[34..]].concat();
    frame[14] = 0x47;
    let len = frame.len() as u16 - 14;
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    summed(frame, 14)
}

/// The same IPv6 packet with extension headers of eight bytes, by their kinds.
fn with_extensions(frame: &[u8], headers: &[(u8, [u8; 6])]) -> Vec<u8> {
    let mut chain = Vec::new();
    let kinds: Vec<u8> = headers
        .iter()
        .map(|(kind, _)| *kind)
        .chain([frame[20]])
        .collect();
    for ((_, body), next) in headers.iter().zip(&kinds[1..]) {
        chain.extend([*next, 0]);
        chain.extend(body);
    }
    let mut frame = [&frame[..54], &chain, &frame[54..]].concat();
    frame[20] = kinds[0];
    let len = frame.len() as u16 - 54;
    frame[18..20].copy_from_slice(&len.to_be_bytes());
    frame
}

fn arp(src: MacAddr, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    [
        &[0xff; 6],
        &src.0[..],
        &fixed,
        &src.0,
        &sender,
        &[0; 6],
        &target,
    ]
    .concat()
}

/// 802.1Q, VLAN 7.
fn tag(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 7], &frame[12..]].concat()
}

/// From node 2 to this one: VXLAN (RFC 7348 §5), MPLS in UDP (RFC 7510 §3) or in
/// GRE (RFC 4023 §4), over IPv6 with a UDP checksum.
fn tunnelled(way: &Way, inner: &[u8]) -> Vec<u8> {
    let label = (way.number << 12 | 0x1ff).to_be_bytes();
    let (protocol, mut payload) = match way.shim {
        Shim::Vxlan => (
            17,
            [
                &[0xc0, 0x01, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0],
                &(way.number << 8).to_be_bytes()[..],
                inner,
            ]
            .concat(),
        ),
        Shim::MplsUdp => (
            17,
            [&[0xc0, 0x01, 0x19, 0xeb, 0, 0, 0, 0], &label[..], inner].concat(),
        ),
        Shim::MplsGre => (47, [&[0, 0, 0x88, 0x47], &label[..], inner].concat()),
    };
    let len = payload.len() as u16;
    if protocol == 17 {
        payload[4..6].copy_from_slice(&len.to_be_bytes());
    }
    if way.over_ipv6 {
        let addresses = ["2001:db8::2", "2001:db8::1"].map(|addr| match ip(addr) {
            IpAddr::V6(addr) => addr.octets(),
            IpAddr::V4(_) => panic!("IPv6 addresses"),
        });
        if protocol == 17 {
            let pseudo = [
                addresses.as_flattened(),
                &[0, 17],
                &len.to_be_bytes(),
                &payload,
            ]
            .concat();
            let sum = !ones(&pseudo);
            payload[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let link = [&UPLINK.0[..], &NODE3.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        return [
            &link,
            &len.to_be_bytes()[..],
            &[protocol, 64],
            addresses.as_flattened(),
            &payload,
        ]
        .concat();
    }
    let total = (len + 20).to_be_bytes();
    let head = [
        0x45, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1,
    ];
    summed(
        [&UPLINK.0[..], &NODE2.0, &[8, 0], &head, &payload].concat(),
        14,
    )
}

/// The frame with the right checksum in the IPv4 header at `l3`.
fn summed(mut frame: Vec<u8>, l3: usize) -> Vec<u8> {
    let end = l3 + usize::from(frame[l3] & 0xf) * 4;
    frame[l3 + 10..l3 + 12].fill(0);
    let sum = !ones(&frame[l3..end]);
    frame[l3 + 10..l3 + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn ones(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
