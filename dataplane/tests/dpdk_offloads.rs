//! What a virtual machine leaves to be done, over real virtio queues: a worker
//! between vhost ports, and at their other ends virtio drivers of this process.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;
mod dpdk;

use std::sync::Arc;

use common::{data, tcp, tcp_header};
use dataplane::accounts;
use dataplane::io::dpdk::Mbuf;
use dataplane::io::{Batch, Port};
use dataplane::snapshot::Publisher;
use dataplane::tables::Tables;
use dataplane::tables::change::Change;
use dataplane::tables::commit::PortFacts;
use dataplane::tables::spec::{Nexthop, NexthopAction, Object};
use dataplane::worker::Worker;
use dpdk::{Dpdk, Scratch, wait_for};
use encap::{Buffer, Gso, L4Checksum, MacAddr, MemBuffer, Offload};
use flowtable::{FlowTable, Ticks, Timeouts};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const ROUTER: MacAddr = common::ROUTER;

/// Ethernet, IPv4, UDP, VXLAN.
const OUTER: usize = 14 + 20 + 8 + 8;

/// The vifs, and the virtio drivers behind them by the same names.
const VIFS: [&str; 3] = ["a", "b", "up0"];

struct Rig {
    worker: Worker<Mbuf>,
    publisher: Publisher<Tables>,
    machines: Vec<Port<Mbuf>>,
    _controls: Vec<Box<dyn dataplane::io::PortControl>>,
}

impl Rig {
    fn new(dpdk: &mut Dpdk, scratch: &Scratch) -> Rig {
        let objects = vec![
            common::vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
            common::fabric("up0", MacAddr([2, 0, 0, 0, 1, 1]), &["192.0.2.1/24"]),
            common::tenant("a", "red", A, &["10.1.0.10", "fd01::10"]),
            common::tenant("b", "red", B, &["10.1.0.11", "fd01::11"]),
            common::tunnel("to-2", "192.0.2.2", 5001, None),
            common::route("red", "10.1.0.9/32", "to-2"),
            common::route("red", "fd01::9/128", "to-2"),
            Object::Nexthop(Nexthop {
                name: "discard".into(),
                action: NexthopAction::Discard,
            }),
            common::mac("underlay", NODE2, "discard", Some("192.0.2.2")),
        ];
        let mut ports: Vec<(&str, Port<Mbuf>)> = Vec::new();
        let mut machines = Vec::new();
        for (number, name) in VIFS.into_iter().enumerate() {
            let socket = scratch.path(name);
            let port = dpdk.open(&format!("net_vhost{number},iface={socket},tso=1"));
            let device = format!("net_virtio_user{number},path={socket},queue_size=1024");
            machines.push(dpdk.open(&device));
            wait_for("link", || port.control.link().up.then_some(()));
            ports.push((name, port));
        }
        let mut publisher = Publisher::new(Tables::new(1));
        let changes = objects.into_iter().map(Change::Upsert).collect();
        let draft = publisher
            .current()
            .prepare(&common::request(changes))
            .unwrap();
        let (tables, _) = draft.finish(|name| {
            let (_, port) = ports.iter().find(|(port, _)| **port == **name)?;
            Some(PortFacts {
                mac: port.control.mac(),
                mtu: port.control.mtu(),
                finishes_checksums: port.control.finishes_checksums(),
            })
        });
        publisher.publish(Arc::new(tables));
        let table = accounts::table_config(1_000, [1, 2, 3, 4], Timeouts::default(), 1);
        let flows = Arc::new(FlowTable::new(&table));
        let mut worker = Worker::new(0, publisher.reader(), flows, Box::new(dpdk.pool));
        let mut controls = Vec::new();
        for (name, mut port) in ports {
            let tables = publisher.current();
            let vif = tables.vif_named(name).unwrap();
            worker.attach_tx(vif.id, port.tx.remove(0));
            worker.attach_rx(vif.id, vif.counters.clone(), port.rx.remove(0));
            controls.push(port.control);
        }
        Rig {
            worker,
            publisher,
            machines,
            _controls: controls,
        }
    }

    /// Has machine `from` send a packet; what `count` packets `to` then receives.
    fn exchange(&mut self, from: usize, packet: Mbuf, to: usize, count: usize) -> Vec<Mbuf> {
        let mut batch: Batch<Mbuf> = [packet].into_iter().collect();
        let mut received = Vec::new();
        wait_for("packets", || {
            self.machines[from].tx[0].tx_burst(&mut batch);
            self.worker.poll(Ticks(0));
            let mut arrived = Batch::new();
            self.machines[to].rx[0].rx_burst(&mut arrived);
            received.extend(arrived);
            (received.len() >= count).then_some(())
        });
        assert_eq!(received.len(), count);
        received
    }
}

/// A packet as a machine's driver gives it to its port: its checksum left out.
fn unfinished(dpdk: &Dpdk, frame: &[u8], mss: Option<u16>) -> Mbuf {
    let mut pieces = frame.chunks(2000).map(|chunk| dpdk.packet(chunk));
    let mut packet = pieces.next().unwrap();
    for piece in pieces {
        packet.attach(piece).unwrap();
    }
    let at = if frame[12] == 8 { 34 + 16 } else { 54 + 16 };
    packet.bytes_mut()[at..at + 2].copy_from_slice(&[0xde, 0xad]);
    packet.set_offload(Offload {
        l4_checksum: L4Checksum::Partial,
        gso: mss.map(|mss| Gso { mss }),
    });
    packet
}

fn whole(packet: &Mbuf) -> Vec<u8> {
    let mut all = Vec::new();
    packet.for_each_segment(|segment| all.extend_from_slice(segment));
    all
}

#[test]
fn a_machines_large_segment_leaves_the_uplink_in_right_pieces() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("offloads");
    let mut rig = Rig::new(&mut dpdk, &scratch);
    for (dst, mss) in [("10.1.0.9", 1400), ("fd01::9", 1380)] {
        let data = data(60_000);
        let large = tcp((A, ROUTER), dst, 64, 9, &tcp_header(1, true), &data);
        let packet = unfinished(&dpdk, &large, Some(mss));
        let pieces = data.chunks(mss.into());
        let sent = rig.exchange(0, packet, 2, pieces.len());
        let last = pieces.len() - 1;
        for (n, (packet, data)) in sent.iter().zip(pieces).enumerate() {
            let header = tcp_header(1 + n as u32 * u32::from(mss), n == last);
            let inner = tcp((ROUTER, ROUTER), dst, 63, 9 + n as u16, &header, data);
            assert!(whole(packet)[OUTER..] == inner, "{dst}, piece {n}");
        }
    }
    drop(rig);
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
fn a_checksum_left_out_is_computed_for_a_tunnel_and_left_out_for_a_machine() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let scratch = Scratch::new("checksums");
    let mut rig = Rig::new(&mut dpdk, &scratch);
    let tables = rig.publisher.current();
    assert!(tables.vif_named("b").unwrap().finishes_checksums);
    for (dst, to) in [
        ("10.1.0.9", 2),
        ("fd01::9", 2),
        ("10.1.0.11", 1),
        ("fd01::11", 1),
    ] {
        let frame = tcp((A, ROUTER), dst, 64, 0, &tcp_header(1, true), &data(999));
        let sent = rig.exchange(0, unfinished(&dpdk, &frame, None), to, 1);
        let (mac, skip) = if to == 1 { (B, 0) } else { (ROUTER, OUTER) };
        let expected = tcp((ROUTER, mac), dst, 63, 0, &tcp_header(1, true), &data(999));
        let mut arrived = MemBuffer::from_frame(&whole(&sent[0])[skip..]);
        if to == 1 {
            // The machine is told, and computes it if it wants to.
            assert_eq!(sent[0].offload(), Offload::PARTIAL);
            let meta = encap::parse(arrived.bytes()).unwrap();
            assert!(!encap::checksum::packet_is_right(&arrived, &meta));
            encap::checksum::fill_packet(&mut arrived, &meta);
        }
        assert_eq!(arrived.bytes(), expected, "{dst}");
    }
    drop((rig, tables));
    assert_eq!(dpdk.pool.available(), before);
}
