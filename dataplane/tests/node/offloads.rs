//! What ports leave to be done: checksums, and large TCP segments. And packets
//! longer than a buffer.
//!
//! Expected packets are built by etherparse, checksums its own.

use crate::common::*;
use dataplane::DropReason;
use dataplane::io::Pool;
use dataplane::tables::spec::{Nexthop, NexthopAction, Object};
use encap::{Buffer, Gso, L4Checksum, MacAddr, MemBuffer, Offload};
use etherparse::PacketBuilder;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const UPLINK: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const NODE2: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);

/// Ethernet, IPv4, UDP, VXLAN.
const OUTER: usize = 14 + 20 + 8 + 8;

/// Two machines here, and one behind a tunnel over a link of `mtu` bytes.
fn objects(mtu: u16) -> Vec<Object> {
    let Object::Vif(mut uplink) = fabric("up0", UPLINK, &["192.0.2.1/24"]) else {
        unreachable!("fabric makes a vif");
    };
    uplink.mtu = Some(mtu);
    vec![
        vrf("red", &["10.1.0.1/24", "fd01::1/64"]),
        Object::Vif(uplink),
        tenant("a", "red", A, &["10.1.0.10", "fd01::10"]),
        tenant("b", "red", B, &["10.1.0.11", "fd01::11"]),
        tunnel("to-2", "192.0.2.2", 5001, None),
        route("red", "10.1.0.9/32", "to-2"),
        route("red", "fd01::9/128", "to-2"),
        vni(5001, "red"),
        Object::Nexthop(Nexthop {
            name: "discard".into(),
            action: NexthopAction::Discard,
        }),
        mac("underlay", NODE2, "discard", Some("192.0.2.2")),
    ]
}

fn node(mtu: u16) -> Node {
    Node::new(objects(mtu))
}

/// As a virtio port hands it over: in buffers of 2 KiB, the checksum unfinished.
fn unfinished(frame: &[u8], mss: Option<u16>) -> MemBuffer {
    let mut frame = frame.to_vec();
    let at = match (frame[12], frame[23]) {
        (8, 6) => 34 + 16,
        (8, _) => 34 + 6,
        _ if frame[20] == 6 => 54 + 16,
        _ => 54 + 6,
    };
    frame[at..at + 2].copy_from_slice(&[0xde, 0xad]);
    let mut packet = MemBuffer::chained(&frame, &[2048; 40]);
    packet.set_offload(Offload {
        l4_checksum: L4Checksum::Partial,
        gso: mss.map(|mss| Gso { mss }),
    });
    packet
}

#[test]
fn a_large_segment_leaves_in_pieces_by_one_flow() {
    for dst in ["10.1.0.9", "fd01::9"] {
        let mut node = node(1600);
        let data = data(60_000);
        let large = tcp((A, ROUTER), dst, 64, 9, &tcp_header(1, true), &data);
        node.send_packet("a", unfinished(&large, Some(1400)));
        let sent = node.recv("up0");
        assert_eq!(sent.len(), 43);
        for (n, (frame, data)) in sent.iter().zip(data.chunks(1400)).enumerate() {
            let header = tcp_header(1 + n as u32 * 1400, n == 42);
            let inner = tcp((ROUTER, ROUTER), dst, 63, 9 + n as u16, &header, data);
            assert_eq!(frame[OUTER..], inner, "{dst}, piece {n}");
            // One flow: all with the same source port.
            assert_eq!(frame[34..36], sent[0][34..36]);
        }
        assert_eq!(node.flows.len(), 1);
        let (came, went) = (node.totals("a"), node.totals("up0"));
        assert_eq!((came.rx_packets, came.originated), (1, 42));
        assert_eq!(went.tx_packets, 43);
    }
}

#[test]
fn pieces_are_no_larger_than_the_tunnel_or_the_vif_takes() {
    for (dst, headers) in [("10.1.0.9", 40), ("fd01::9", 60)] {
        let mut node = node(1500);
        let large = tcp((A, ROUTER), dst, 64, 0, &tcp_header(1, true), &data(10_000));
        node.send_packet("a", unfinished(&large, Some(8000)));
        let sent = node.recv("up0");
        assert_eq!(sent.len(), 10_000_usize.div_ceil(1450 - headers));
        assert_eq!(sent[0].len(), 14 + 1500);

        let here = dst.replace('9', "11");
        let large = tcp(
            (A, ROUTER),
            &here,
            64,
            0,
            &tcp_header(1, true),
            &data(10_000),
        );
        node.send_packet("a", unfinished(&large, Some(8000)));
        let sent = node.recv("b");
        assert_eq!(sent.len(), 10_000_usize.div_ceil(1500 - headers));
        let first = tcp(
            (ROUTER, B),
            &here,
            63,
            0,
            &tcp_header(1, false),
            &data(10_000)[..1500 - headers],
        );
        assert_eq!(sent[0], first);
    }
}

#[test]
fn a_piece_larger_than_a_buffer_lies_in_several() {
    let mut node = node(9000);
    let large = tcp(
        (A, ROUTER),
        "10.1.0.9",
        64,
        0,
        &tcp_header(1, true),
        &data(20_000),
    );
    node.send_packet("a", unfinished(&large, Some(8910)));
    let sent = node.recv("up0");
    assert_eq!(
        sent.iter().map(Vec::len).collect::<Vec<_>>(),
        [9014, 9014, 2284]
    );
    let first = tcp(
        (ROUTER, ROUTER),
        "10.1.0.9",
        63,
        0,
        &tcp_header(1, false),
        &data(20_000)[..8910],
    );
    assert_eq!(sent[0][OUTER..], first);
}

#[test]
fn an_unfinished_checksum_is_finished_wherever_the_packet_goes() {
    for (dst, to) in [
        ("10.1.0.9", "up0"),
        ("fd01::9", "up0"),
        ("10.1.0.11", "b"),
        ("fd01::11", "b"),
    ] {
        for len in [1, 500, 1300] {
            let mut node = node(1600);
            let whole = tcp((A, ROUTER), dst, 64, 5, &tcp_header(1, true), &data(len));
            node.send_packet("a", unfinished(&whole, None));
            let sent = node.recv(to);
            let routed = match to {
                "b" => (ROUTER, B),
                _ => (ROUTER, ROUTER),
            };
            let expected = tcp(routed, dst, 63, 5, &tcp_header(1, true), &data(len));
            let skip = if to == "b" { 0 } else { OUTER };
            assert_eq!(sent[0][skip..], expected, "{dst}");
        }
        // and of UDP
        let mut node = node(1600);
        let src = if dst.contains(':') {
            "fd01::10"
        } else {
            "10.1.0.10"
        };
        node.send_packet("a", unfinished(&udp((A, src), (ROUTER, dst), 64), None));
        let mac = if to == "b" { B } else { ROUTER };
        let expected = udp((ROUTER, src), (mac, dst), 63);
        assert!(node.recv(to)[0].ends_with(&expected));
    }
}

#[test]
fn an_unfinished_tunnel_packet_is_finished_before_it_is_verified() {
    let mut node = node(1600);
    let inner = udp((ROUTER, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let outer = vxlan([(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")], 5001, &inner);
    node.send_packet("up0", unfinished(&outer, None));
    assert_eq!(node.recv("a").len(), 1);
    let mut damaged = MemBuffer::from_frame(&outer);
    damaged.bytes_mut()[40] ^= 1;
    node.send_packet("up0", damaged);
    assert_eq!(node.drops("up0"), [(DropReason::UdpChecksum, 1)]);
}

#[test]
fn what_the_port_found_wrong_is_dropped_and_what_it_found_right_passes() {
    let mut node = node(1600);
    let frame = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.11"), 64);
    for (found, passed) in [(L4Checksum::Right, 1), (L4Checksum::Wrong, 0)] {
        let mut packet = MemBuffer::from_frame(&frame);
        packet.set_offload(Offload {
            l4_checksum: found,
            gso: None,
        });
        node.send_packet("a", packet);
        assert_eq!(node.recv("b").len(), passed);
    }
    assert_eq!(node.drops("a"), [(DropReason::L4Checksum, 1)]);
}

#[test]
fn what_cannot_be_cut_is_dropped_by_name() {
    let mut node = node(1600);
    let mut syn = tcp_header(1, false);
    syn.syn = true;
    let of_udp = udp((A, "10.1.0.10"), (ROUTER, "10.1.0.9"), 64);
    let opening = tcp((A, ROUTER), "10.1.0.9", 64, 0, &syn, &data(3000));
    let tiny = tcp(
        (A, ROUTER),
        "10.1.0.9",
        64,
        0,
        &tcp_header(1, true),
        &data(3000),
    );
    node.send_packet("a", unfinished(&of_udp, Some(1000)));
    node.send_packet("a", unfinished(&opening, Some(1000)));
    node.send_packet("a", unfinished(&tiny, Some(47)));
    assert_eq!(node.drops("a"), [(DropReason::NotSegmentable, 3)]);
    // from the fabric, nobody has asked for it
    let inner = udp((ROUTER, "10.1.0.9"), (ROUTER, "10.1.0.10"), 64);
    let outer = vxlan([(NODE2, "192.0.2.2"), (UPLINK, "192.0.2.1")], 5001, &inner);
    node.send_packet("up0", unfinished(&outer, Some(1000)));
    assert_eq!(node.drops("up0"), [(DropReason::NotSegmentable, 1)]);
    assert!(node.recv("up0").is_empty());
}

/// Has a few buffers.
struct Few(usize);

impl Pool<MemBuffer> for Few {
    fn alloc(&mut self) -> Option<MemBuffer> {
        self.0 = self.0.checked_sub(1)?;
        Some(MemBuffer::default())
    }
}

#[test]
fn without_buffers_what_is_left_is_dropped() {
    for (mtu, mss, buffers, sent) in [(1600, 1000, 3, 3), (9000, 4000, 3, 1)] {
        let mut node = Node::with(100, Box::new(Few(buffers)), objects(mtu));
        let large = tcp(
            (A, ROUTER),
            "10.1.0.9",
            64,
            0,
            &tcp_header(1, true),
            &data(9000),
        );
        node.send_packet("a", unfinished(&large, Some(mss)));
        assert_eq!(node.recv("up0").len(), sent);
        assert_eq!(node.drops("a"), [(DropReason::NoBuffer, 1)]);
    }
}

#[test]
fn a_jumbo_packet_passes_in_one_piece_or_many() {
    let mut node = node(9000);
    let whole = tcp(
        (A, ROUTER),
        "10.1.0.9",
        64,
        3,
        &tcp_header(1, true),
        &data(8910),
    );
    let expected = tcp(
        (ROUTER, ROUTER),
        "10.1.0.9",
        63,
        3,
        &tcp_header(1, true),
        &data(8910),
    );
    for lens in [&[][..], &[2048; 4], &[60, 1, 3000], &[14, 20]] {
        node.send_chained("a", &[(whole.clone(), lens.to_vec())]);
        let sent = node.recv("up0");
        assert_eq!(sent[0][OUTER..], expected, "{lens:?}");
    }
    let longer = tcp(
        (A, ROUTER),
        "10.1.0.9",
        64,
        3,
        &tcp_header(1, true),
        &data(8911),
    );
    node.send_chained("a", &[(longer, vec![2048; 4])]);
    assert_eq!(node.drops("a"), [(DropReason::TooBig, 1)]);
}

#[test]
fn a_jumbo_echo_request_in_pieces_is_answered_in_pieces() {
    let mut node = node(1600);
    let echo = |macs: (MacAddr, MacAddr), addrs: ([u8; 4], [u8; 4]), is_reply: bool| {
        let link = PacketBuilder::ethernet2(macs.0.0, macs.1.0).ipv4(addrs.0, addrs.1, 64);
        let icmp = match is_reply {
            true => link.icmpv4_echo_reply(7, 1),
            false => link.icmpv4_echo_request(7, 1),
        };
        let mut frame = Vec::new();
        icmp.write(&mut frame, &data(8801)).expect("it fits");
        frame
    };
    let (machine, gateway) = ([10, 1, 0, 10], [10, 1, 0, 1]);
    let request = echo((A, ROUTER), (machine, gateway), false);
    node.send_chained("a", &[(request.clone(), vec![2048, 2049, 1])]);
    assert_eq!(
        node.recv("a"),
        [echo((ROUTER, A), (gateway, machine), true)]
    );
    let mut damaged = request;
    damaged[8000] ^= 1;
    node.send_chained("a", &[(damaged, vec![2048, 2049, 1])]);
    assert_eq!(node.drops("a"), [(DropReason::IcmpChecksum, 1)]);
}
