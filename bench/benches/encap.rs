//! Into a tunnel and out of it, in cycles of the time-stamp counter per packet, in batches of 32.
//!
//! ```text
//! cargo bench -p bench --bench encap            # all, a minute
//! cargo bench -p bench --bench encap -- '^push'
//! ```
//!
//! The inner packet is 60 bytes long: a small one, so that what is measured is headers. *pop* is the
//! parse of the outer headers, [`encap::decap()`], and the cut at both ends. Putting the packets back
//! as they were is not measured.

mod cycles;

use std::time::Duration;

use bench::engine::buffers::{Frame, Pool};
use criterion::measurement::Measurement;
use criterion::{Criterion, Throughput};
use encap::{Buffer, Circuit, Encap, Inner, Label, MacAddr, Outer, TunnelHeader, Vni, checksum};

use cycles::Cycles;

const BATCH: usize = 32;

/// UDP over IPv4, 60 bytes, checksums right.
const FRAME: &[u8] = &[
    0x00, 0x00, 0x5e, 0x00, 0x01, 0x00, 2, 0, 0, 0, 0, 0xa, 8, 0, 0x45, 0, 0, 46, 0, 0, 0x40, 0,
    64, 17, 0x26, 0xab, 10, 1, 0, 10, 10, 1, 0, 9, 0x80, 0, 0x80, 0, 0, 26, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

const NEIGHBOUR: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

fn main() {
    let core = core_affinity::get_core_ids().unwrap_or_default().pop();
    assert!(core.is_some_and(core_affinity::set_for_current), "a core");
    let criterion = Criterion::default()
        .with_measurement(Cycles::default())
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    let mut criterion = criterion.configure_from_args();
    for is_ipv6 in [false, true] {
        for (name, tunnel) in tunnels(is_ipv6) {
            push(&mut criterion, &name, &tunnel);
            pop(&mut criterion, &name, &tunnel);
        }
    }
    criterion.final_summary();
}

/// Every encapsulation over one IP version, by name.
fn tunnels(is_ipv6: bool) -> Vec<(String, TunnelHeader)> {
    let addr = |n: u8| match is_ipv6 {
        true => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into(),
        false => std::net::Ipv4Addr::new(192, 0, 2, n).into(),
    };
    let outer = Outer {
        src_mac: MacAddr([2, 0, 0, 0, 1, 1]),
        dst_mac: NEIGHBOUR,
        vlan: None,
        src: addr(1),
        dst: addr(2),
        ttl: 64,
    };
    let (Some(vni), Some(label)) = (Vni::new(5001), Label::new(100)) else {
        unreachable!("both are in range");
    };
    let version = if is_ipv6 { "IPv6" } else { "IPv4" };
    let mut tunnels = Vec::new();
    for (name, encap) in [
        ("VXLAN", Encap::Vxlan(vni)),
        ("MPLSoUDP", Encap::MplsUdp(label)),
        ("MPLSoGRE", Encap::MplsGre(label)),
    ] {
        let Ok(tunnel) = TunnelHeader::new(&outer, encap) else {
            unreachable!("one family, and no reserved label");
        };
        tunnels.push((format!("{name}-{version}"), tunnel));
        if is_ipv6 && encap.protocol() == encap::protocol::UDP {
            let name = format!("{name}-{version}-zero-checksum");
            tunnels.push((name, tunnel.without_checksum()));
        }
    }
    tunnels
}

fn push(criterion: &mut Criterion<Cycles>, name: &str, tunnel: &TunnelHeader) {
    measure(criterion, &format!("push/{name}"), FRAME, |frames| {
        for (entropy, frame) in frames.iter_mut().enumerate() {
            // Of a packet nothing is known when compiling.
            let inner = std::hint::black_box(Inner {
                entropy: entropy as u32,
                traffic_class: 0,
                ttl: 64,
            });
            let pushed = tunnel.push(frame, NEIGHBOUR, &inner);
            assert!(pushed.is_ok(), "ample headroom");
        }
    });
}

fn pop(criterion: &mut Criterion<Cycles>, name: &str, tunnel: &TunnelHeader) {
    let mut packet = encap::MemBuffer::from_frame(FRAME);
    let inner = Inner::default();
    let pushed = tunnel.push(&mut packet, NEIGHBOUR, &inner);
    assert!(pushed.is_ok(), "ample headroom");
    measure(
        criterion,
        &format!("pop/{name}"),
        packet.bytes(),
        |frames| {
            for frame in frames {
                let Ok(meta) = encap::parse_outer(frame) else {
                    unreachable!("what was pushed parses");
                };
                let Ok(Some(outer)) = encap::decap(frame, &meta) else {
                    unreachable!("what was pushed opens");
                };
                std::hint::black_box(match outer.circuit {
                    Circuit::Vni(vni) => vni.get(),
                    Circuit::Labels(stack) => u32::from(stack.ttl) + stack.len() as u32,
                });
                frame.truncate(meta.end.into());
                assert!(frame.trim_front(outer.inner.into()).is_ok(), "it opens");
            }
        },
    );
}

/// Measures `work` on a batch of copies of `bytes`, per packet.
fn measure(
    criterion: &mut Criterion<Cycles>,
    name: &str,
    bytes: &[u8],
    mut work: impl FnMut(&mut [Frame]),
) {
    // Which copy is whose changes nothing, but nobody may know that all are alike.
    let bytes = std::hint::black_box(bytes);
    let mut frames = Pool::new(BATCH).with(std::mem::take);
    let (group, function) = name.split_once('/').unwrap_or(("encap", name));
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(1));
    let clock = Cycles::default();
    group.bench_function(function, |bencher| {
        bencher.iter_custom(|packets| {
            let batches = packets.div_ceil(BATCH as u64);
            let mut cycles = 0.0;
            for _ in 0..batches {
                for frame in &mut frames {
                    frame.fill(bytes);
                }
                let start = clock.start();
                work(&mut frames);
                cycles += clock.end(start);
            }
            cycles / (batches * BATCH as u64) as f64 * packets as f64
        });
    });
    group.finish();
    let valid = |frame: &Frame| {
        let meta = encap::parse(frame.bytes());
        meta.is_ok_and(|meta| checksum::transport_is_right(frame.bytes(), &meta))
    };
    assert!(frames.iter().all(valid), "{name} made something else");
}
