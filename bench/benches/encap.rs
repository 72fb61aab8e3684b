//! Parse, push and pop, per packet.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use encap::{Buffer, MacAddr, MemBuffer, Outer, TunnelHeader, Vni};
use std::hint::black_box;

/// UDP over IPv4, 60 bytes, checksums right.
const FRAME: &[u8] = &[
    0x00, 0x00, 0x5e, 0x00, 0x01, 0x00, 2, 0, 0, 0, 0, 0xa, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0,
    64, 17, 0x26, 0xa7, 10, 1, 0, 10, 10, 1, 0, 9, 0x80, 0, 0x80, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn tunnel(v6: bool) -> TunnelHeader {
    let addr = |n: u8| match v6 {
        true => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
        false => std::net::Ipv4Addr::new(192, 0, 2, n).into(),
    };
    let outer = Outer {
        src_mac: MacAddr([2, 0, 0, 0, 1, 1]),
        dst_mac: MacAddr([2, 0, 0, 0, 1, 2]),
        vlan: None,
        src: addr(1),
        dst: addr(2),
        ttl: 64,
    };
    TunnelHeader::vxlan(&outer, Vni::new(5001).unwrap()).unwrap()
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("encap");
    group.throughput(Throughput::Elements(1));
    group.bench_function("parse", |b| b.iter(|| encap::parse(black_box(FRAME))));
    for (name, v6) in [("vxlan push, IPv4", false), ("vxlan push, IPv6", true)] {
        let header = tunnel(v6);
        let mut packet = MemBuffer::from_frame(FRAME);
        group.bench_function(name, |b| {
            b.iter(|| {
                header
                    .push(&mut packet, MacAddr::ZERO, black_box(7), 0)
                    .unwrap();
                packet.trim_front(header.len()).unwrap();
            });
        });
        header.push(&mut packet, MacAddr::ZERO, 7, 0).unwrap();
        group.bench_function(name.replace("push", "pop with both parses"), |b| {
            b.iter(|| {
                let frame = black_box(packet.bytes());
                let outer = encap::parse(frame).unwrap();
                let decap = encap::vxlan_decap(black_box(&packet), &outer).unwrap();
                encap::parse_at(frame, decap.inner).unwrap()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
