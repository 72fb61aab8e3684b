//! Frames of every kind, whole and damaged.

use std::net::IpAddr;

use encap::{Buffer, MacAddr, MemBuffer, VlanId, Vni, nd};
use etherparse::PacketBuilder;

use crate::common::*;
use crate::network::*;

/// A sample, mostly into the vif it was made for, with some damage or none.
pub fn any_frame(random: &mut Random, samples: &[(&str, Vec<u8>)], vif: &str) -> Vec<u8> {
    let fitting: Vec<&Vec<u8>> = samples
        .iter()
        .filter(|(name, _)| *name == vif)
        .map(|(_, frame)| frame)
        .collect();
    let mut frame = match random.one_in(5) || fitting.is_empty() {
        true => samples[random.below(samples.len())].1.clone(),
        false => fitting[random.below(fitting.len())].clone(),
    };
    match random.below(8) {
        0 => {
            frame = (0..random.below(200))
                .map(|_| random.next() as u8)
                .collect()
        }
        1 => frame.truncate(random.below(frame.len() + 1)),
        2 => frame.extend(vec![0; random.below(1_600)]),
        3..=4 => {
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len());
                frame[at] = random.next() as u8;
            }
        }
        // Bytes that headers are full of.
        5 => {
            let at = random.below(frame.len());
            frame[at] = random.pick(&[
                0, 1, 2, 6, 17, 43, 44, 58, 60, 64, 0x45, 0x60, 127, 224, 255,
            ]);
        }
        _ => {}
    }
    mend(random, &mut frame);
    frame
}

/// Most damage would end at a checksum: mends those of IPv4 headers half the time.
pub fn mend(random: &mut Random, frame: &mut [u8]) {
    if random.one_in(2) {
        return;
    }
    for at in [14, 18, 14 + 36 + 14, 18 + 56 + 14] {
        let Some([first, ..]) = frame.get(at..at + 20) else {
            continue;
        };
        let len = usize::from(first & 0xf) * 4;
        if first >> 4 != 4 || len < 20 || at + len > frame.len() {
            continue;
        }
        frame[at + 10..at + 12].fill(0);
        let sum = encap::checksum::Sum::new().bytes(&frame[at..at + len]);
        frame[at + 10..at + 12].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

/// Good frames with the vif that each is for.
pub fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    let machines = [
        ("red-a", A, ["10.1.0.10", "fd01::10"], B),
        ("red-b", B, ["10.1.0.11", "fd01::11"], A),
        ("blue-a", A, ["10.1.0.10", "fd01::10"], C),
        ("blue-c", C, ["10.1.0.12", "fd01::12"], A),
    ];
    for (vif, mac, [v4, v6], neighbour) in machines {
        for frame in machine_frames(mac, v4, v6, neighbour) {
            all.push((vif, frame.clone()));
            all.push((vif, tagged(&frame, 7)));
        }
    }
    for frame in fabric_frames() {
        all.push(("up0", frame.clone()));
        all.push(("up6", tagged(&frame, 6)));
        all.push(("kernel", frame));
    }
    all
}

pub fn machine_frames(mac: MacAddr, v4: &str, v6: &str, neighbour: MacAddr) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let there = [
        "10.1.0.10",
        "10.1.0.11",
        "10.1.0.12",
        "10.1.0.9",
        "10.1.0.1",
        "10.66.1.1",
        "10.2.0.1",
        "192.0.2.1",
    ];
    for dst in there {
        all.push(udp((mac, v4), (ROUTER, dst), 64));
        all.push(arp(1, (mac, v4), (MacAddr::ZERO, dst), BROADCAST));
        all.push(ping((mac, v4), (ROUTER, dst)));
    }
    for dst in [
        "fd01::10", "fd01::11", "fd01::12", "fd01::9", "fd01::1", "fe80::1",
    ] {
        all.push(udp((mac, v6), (ROUTER, dst), 64));
        all.push(ping((mac, v6), (ROUTER, dst)));
        all.push(solicitation(mac, v6, dst));
        all.push(udp((mac, "fe80::a"), (neighbour, dst), 64));
    }
    for dst in [neighbour, REMOTE, BROADCAST, mac] {
        all.push(udp((mac, v4), (dst, "10.1.0.9"), 1));
        all.push(udp((mac, v6), (dst, "fd01::9"), 1));
        all.push([&dst.0[..], &mac.0, &[0x88, 0xb5], &[7; 50]].concat());
    }
    all.push(tcp((mac, v4), (ROUTER, "10.1.0.9")));
    all.push(tcp((mac, v6), (neighbour, "fd01::9")));
    // an inner frame in a tunnel packet of the machine's own making
    let inner = udp((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    all.push(vxlan([(mac, v4), (ROUTER, "10.1.0.9")], 5002, &inner));
    for part in [0x2000_u16, 0x0002, 0x2001] {
        let mut fragment = udp((mac, v4), (ROUTER, "10.1.0.9"), 64);
        fragment.extend([0; 3]);
        fragment[16..18].copy_from_slice(&36_u16.to_be_bytes());
        fragment[20..22].copy_from_slice(&part.to_be_bytes());
        all.push(fragment);
    }
    all
}

pub fn fabric_frames() -> Vec<Vec<u8>> {
    let mut all = vec![
        arp(
            1,
            (NODE2, "192.0.2.2"),
            (MacAddr::ZERO, "192.0.2.1"),
            BROADCAST,
        ),
        arp(2, (NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), UPLINK),
        arp(
            1,
            (NODE2, "192.0.2.2"),
            (MacAddr::ZERO, "192.0.2.7"),
            BROADCAST,
        ),
        ping((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")),
        ping((NODE2, "2001:db8::2"), (UPLINK6, "2001:db8::1")),
        solicitation(NODE2, "2001:db8::2", "2001:db8::1"),
        advertisement(NODE2, "2001:db8::2", "2001:db8::1"),
        udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1"), 64),
        udp((NODE2, "192.0.2.2"), (UPLINK, "192.0.2.7"), 64),
        [&UPLINK.0[..], &NODE2.0, &[0x88, 0xcc], &[7; 50]].concat(),
    ];
    let mut inner = vec![arp(
        1,
        (REMOTE, "10.1.0.9"),
        (MacAddr::ZERO, "10.1.0.10"),
        BROADCAST,
    )];
    for dst in [A, B, C, ROUTER, REMOTE, BROADCAST] {
        for to in [
            "10.1.0.10",
            "10.1.0.11",
            "10.1.0.12",
            "10.1.0.9",
            "10.1.0.1",
        ] {
            inner.push(udp((REMOTE, "10.1.0.9"), (dst, to), 64));
        }
        inner.push(udp((REMOTE, "fd01::9"), (dst, "fd01::10"), 64));
        inner.push([&dst.0[..], &REMOTE.0, &[0x88, 0xb5], &[7; 50]].concat());
    }
    inner.push(ping((REMOTE, "10.1.0.9"), (ROUTER, "10.1.0.1")));
    inner.push(solicitation(REMOTE, "fd01::9", "fd01::10"));
    inner.push(tagged(&inner[1], 3));
    for frame in &inner {
        for number in [5001, 5002, 5003, 5004] {
            all.push(vxlan(
                [(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")],
                number,
                frame,
            ));
            all.push(vxlan6(number, frame));
        }
    }
    all
}

pub fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(frame);
    let id = VlanId::new(id).expect("12 bits");
    encap::rewrite::push_vlan(&mut packet, id).expect("there is room");
    packet.bytes().to_vec()
}

pub fn ping(src: (MacAddr, &str), dst: (MacAddr, &str)) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let mut frame = Vec::new();
    match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link
            .ipv4(a.octets(), b.octets(), 64)
            .icmpv4_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        (IpAddr::V6(a), IpAddr::V6(b)) => link
            .ipv6(a.octets(), b.octets(), 64)
            .icmpv6_echo_request(7, 1)
            .write(&mut frame, &[1; 32]),
        _ => panic!("one family"),
    }
    .expect("it fits");
    frame
}

pub fn tcp(src: (MacAddr, &str), dst: (MacAddr, &str)) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(src.0.0, dst.0.0);
    let network = match (ip(src.1), ip(dst.1)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("one family"),
    };
    let mut frame = Vec::new();
    let builder = network.tcp(1, 2, 3, 4).syn();
    builder.write(&mut frame, b"").expect("it fits");
    frame
}

pub fn solicitation(mac: MacAddr, src: &str, target: &str) -> Vec<u8> {
    let (IpAddr::V6(src), IpAddr::V6(target)) = (ip(src), ip(target)) else {
        panic!("neighbour discovery is for IPv6");
    };
    let mut packet = MemBuffer::default();
    nd::solicit(&mut packet, mac, src, target).expect("it fits");
    packet.bytes().to_vec()
}

/// What `mac` answers when `asker` asks for `target`.
pub fn advertisement(mac: MacAddr, target: &str, asker: &str) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(&solicitation(UPLINK6, asker, target));
    let meta = encap::parse(packet.bytes()).expect("a solicitation");
    let asked = nd::solicitation(packet.bytes(), &meta).expect("valid");
    let asked = asked.expect("a solicitation");
    let flags = nd::Flags {
        solicited: true,
        ..nd::Flags::default()
    };
    nd::answer(&mut packet, &meta, &asked, mac, flags).expect("it fits");
    packet.bytes().to_vec()
}

pub fn vxlan6(number: u32, inner: &[u8]) -> Vec<u8> {
    let outer = encap::Outer {
        src_mac: NODE2,
        dst_mac: UPLINK6,
        vlan: None,
        src: ip("2001:db8::2"),
        dst: ip("2001:db8::1"),
        ttl: 64,
    };
    let number = Vni::new(number).expect("24 bits");
    let header = encap::TunnelHeader::new(&outer, encap::Encap::Vxlan(number)).expect("one family");
    let mut packet = MemBuffer::from_frame(inner);
    let inner = encap::Inner::default();
    header.push(&mut packet, UPLINK6, &inner).expect("it fits");
    packet.bytes().to_vec()
}
