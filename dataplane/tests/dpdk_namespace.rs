//! Ports on the kernel's interfaces: af_packet over a veth pair, and tap.
//!
//! Runs in a network namespace that goes away with the process, so it leaves
//! nothing behind however it ends. Needs root and iproute2; says so otherwise.
#![cfg(feature = "dpdk")]

mod dpdk;

use std::process::Command;

use dataplane::io::{Batch, dpdk::Mbuf};
use dataplane::io::{Devices as _, PortStats, RxQueue};
use dpdk::{Dpdk, frame, numbers, wait_for};
use encap::Buffer;

#[test]
fn ports_on_kernel_interfaces() {
    let possible = Command::new("unshare")
        .args(["--net", "ip", "link"])
        .output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: a network namespace of its own needs root, unshare and iproute2");
        return;
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--test-threads=1"])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs iproute2, which complains on standard error.
fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "ip {arguments}"
    );
}

/// Receives until `count` frames of ours are there; the kernel sends some too.
fn receive(rx: &mut dyn RxQueue<Mbuf>, count: usize) -> Batch<Mbuf> {
    let mut ours = Batch::new();
    wait_for("packets", || {
        let mut batch = Batch::new();
        rx.rx_burst(&mut batch);
        batch.retain(|packet| packet.bytes()[12..14] == [0x88, 0xb5]);
        ours.extend(batch);
        (ours.len() == count).then_some(())
    });
    ours
}

#[test]
#[ignore = "in a namespace, by ports_on_kernel_interfaces"]
fn af_packet_carries_frames_over_a_veth() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    ip("link add veth-a type veth peer name veth-b");
    ip("link set veth-a mtu 1450 up");
    ip("link set veth-b up");

    let mut a = dpdk.open("net_af_packet0,iface=veth-a");
    let mut b = dpdk
        .devices
        .open("net_af_packet1,iface=veth-b,qpairs=1", 2)
        .unwrap();
    assert_eq!((b.rx.len(), b.tx.len()), (1, 2));
    assert_eq!((a.control.mtu(), b.control.mtu()), (1450, 1500));
    assert!(a.control.link().up);

    let mut batch = dpdk.numbered(0..20);
    batch.push(dpdk.packet(&frame(20, 1464)));
    assert_eq!(a.tx[0].tx_burst(&mut batch), 21);
    let received = receive(&mut *b.rx[0], 21);
    assert_eq!(numbers(&received), (0..21).collect::<Vec<u8>>());
    assert_eq!(received[20].bytes(), frame(20, 1464));

    // Both handles of b's only transmit queue.
    b.tx[0].tx_burst(&mut dpdk.numbered(1..2));
    b.tx[1].tx_burst(&mut dpdk.numbered(2..3));
    assert_eq!(numbers(&receive(&mut *a.rx[0], 2)), [1, 2]);

    // The link follows the interface, which the kernel tells up to a second
    // later, and its loss is harmless.
    ip("link set veth-b down");
    wait_for("the link to go down", || {
        (!a.control.link().up).then_some(())
    });
    ip("link del veth-a");
    assert!(!a.control.link().up);
    a.tx[0].tx_burst(&mut dpdk.numbered(0..5));
    a.rx[0].rx_burst(&mut Batch::new());

    drop((a, b, received));
    assert_eq!(dpdk.pool.available(), before);
}

#[test]
#[ignore = "in a namespace, by ports_on_kernel_interfaces"]
fn af_packet_closes_and_opens_again() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    ip("link add veth-c type veth peer name veth-d");
    ip("link set veth-c up");
    ip("link set veth-d up");
    for _ in 0..10 {
        let mut c = dpdk.open("net_af_packet0,iface=veth-c");
        let mut d = dpdk.open("net_af_packet1,iface=veth-d");
        c.tx[0].tx_burst(&mut dpdk.numbered(9..10));
        assert_eq!(numbers(&receive(&mut *d.rx[0], 1)), [9]);
    }
    assert_eq!(dpdk.pool.available(), before);
    let shown = Command::new("ip")
        .args(["link", "show", "veth-c"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(!shown.contains("PROMISC"), "{shown}");
    ip("link del veth-c");
}

#[test]
#[ignore = "in a namespace, by ports_on_kernel_interfaces"]
fn af_packet_promises_no_frame_that_its_ring_would_cut() {
    let mut dpdk = Dpdk::take();
    ip("link add veth-e mtu 9000 type veth peer name veth-f mtu 9000");
    ip("link set veth-e up");
    ip("link set veth-f up");
    for (device, mtu) in [
        ("net_af_packet0,iface=veth-e,framesz=2048", 1963),
        ("net_af_packet0,iface=veth-e,framesz=1024", 939),
    ] {
        let mut sender = dpdk.open("net_af_packet1,iface=veth-f");
        let mut port = dpdk.open(device);
        assert_eq!(port.control.mtu(), mtu, "{device}");
        // With a VLAN tag, which the kernel keeps elsewhere, a frame has 4 more.
        let longest = frame(1, usize::from(mtu) + 18);
        sender.tx[0].tx_burst(&mut [dpdk.packet(&longest)].into_iter().collect());
        assert_eq!(receive(&mut *port.rx[0], 1)[0].bytes(), longest, "{device}");
    }
    ip("link del veth-e");
}

#[test]
#[ignore = "in a namespace, by ports_on_kernel_interfaces"]
fn jumbo_frames_pass_over_a_veth() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    ip("link add veth-g mtu 9216 type veth peer name veth-h");
    ip("link set veth-g up");
    ip("link set veth-h up");
    // One carries what its interface does, the other has the interface follow.
    let mut g = dpdk.open("net_af_packet0,iface=veth-g");
    assert_eq!(g.control.mtu(), 9216);
    let mut h = dpdk
        .devices
        .open_for("net_af_packet1,iface=veth-h", 1, Some(9216))
        .unwrap();
    assert_eq!(h.control.mtu(), 9216);
    let longest = frame(7, 9216 + 14);
    for (from, to) in [(0, 1), (1, 0)] {
        let ports = [&mut g, &mut h];
        let mut sent = [dpdk.packet(&longest[..2000]), dpdk.chain(&longest)];
        sent[0].bytes_mut()[14] = 6;
        let sent = ports[from].tx[0].tx_burst(&mut sent.into_iter().collect());
        assert_eq!(sent, 2);
        let received = receive(&mut *ports[to].rx[0], 2);
        assert_eq!(numbers(&received), [6, 7]);
        assert_eq!(received[1].bytes(), longest);
    }
    assert_eq!(h.control.stats(), PortStats::default());
    // What a ring of a smaller size cuts is told from what it does not.
    drop(h);
    let mut h = dpdk.open("net_af_packet1,iface=veth-h,framesz=2048");
    let mut frames: Batch<_> = [dpdk.chain(&longest), dpdk.packet(&longest[..60])]
        .into_iter()
        .collect();
    g.tx[0].tx_burst(&mut frames);
    assert_eq!(receive(&mut *h.rx[0], 1)[0].len(), 60);
    assert_eq!(h.control.stats().rx_oversized, 1);
    let refused = h.control.raise_mtu(9000).unwrap_err().to_string();
    assert!(
        refused.contains("carries packets of 1963 bytes, not 9000: delete the vif"),
        "{refused}"
    );
    drop((g, h));
    assert_eq!(dpdk.pool.available(), before);
    ip("link del veth-g");
}

#[test]
#[ignore = "in a namespace, by ports_on_kernel_interfaces"]
fn a_tap_device_appears_and_disappears() {
    let mut dpdk = Dpdk::take();
    let before = dpdk.pool.available();
    let port = dpdk.open("net_tap0,iface=vr-tap");
    ip("link set vr-tap up");
    drop(port);
    assert_eq!(dpdk.pool.available(), before);
    let gone = Command::new("ip").args(["link", "show", "vr-tap"]).output();
    assert!(!gone.unwrap().status.success());
}
