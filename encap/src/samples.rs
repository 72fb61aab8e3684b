//! Packets for tests: captured ones, some built by scapy, and a few lines to build others.
//!
//! The captures were taken on a veth between two network namespaces of a Linux 6.18 host, 192.0.2.1
//! and .2, 2001:db8::1 and ::2, with VXLAN devices of the kernel (VNI 5000 over IPv4, 5001 over IPv6)
//! and checksum offload off.

use crate::checksum::Sum;
use crate::{Buffer, MemBuffer, VlanId, ethernet, ipv4, ipv6, rewrite};
use alloc::vec;
use alloc::vec::Vec;

pub(crate) const ARP_REQUEST: &str =
    "ffffffffffff02000000000a0806000108000604000102000000000ac0000201000000000000c0000202";
pub(crate) const ARP_REPLY: &str =
    "02000000000a02000000000b0806000108000604000202000000000bc000020202000000000ac0000201";
pub(crate) const PING: &str = "02000000000b02000000000a080045000024b8f540004001fddfc0000201c00002020800aae9410500010001020304050607";
pub(crate) const PONG: &str = "02000000000a02000000000b0800450000242f5b00004001c77ac0000202c00002010000b2e9410500010001020304050607";
pub(crate) const PING6: &str = "02000000000b02000000000a86dd6007636f00103a4020010db800000000000000000000000120010db80000000000000000000000028000d724410a00010001020304050607";
pub(crate) const PONG6: &str = "02000000000a02000000000b86dd60021d0900103a4020010db800000000000000000000000220010db80000000000000000000000018100d624410a00010001020304050607";
/// The last fragment of an echo request of 1,508 bytes.
pub(crate) const LAST_FRAGMENT: &str = "02000000000b02000000000a080045000030b9b700b940013c59c0000201c0000202c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadb";
/// The last fragment of an ICMPv6 echo request of 1,508 bytes.
pub(crate) const LAST_FRAGMENT6: &str = "02000000000b02000000000a86dd6007636f00442c4020010db800000000000000000000000120010db80000000000000000000000023a0005a8d986473da0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadb";
pub(crate) const SYN: &str = "02000000000b02000000000a08004500003c941a40004006229ec0000201c0000202b21800505d58e3fe00000000a002faf019950000020405b40402080aab231090000000000103030a";
pub(crate) const RST6: &str = "02000000000a02000000000b86dd6006c5610014064020010db800000000000000000000000220010db8000000000000000000000001005095d800000000d44babbe501400003e290000";
/// Hop-by-hop router alert, then a multicast listener report.
pub(crate) const MLD_REPORT: &str = "33330000001602000000000b86dd6000000000380001fe80000000000000000000fffe00000bff0200000000000000000000000000163a000502000001008f006fd70000000204000000ff0200000000000000000001ff00000b04000000ff0200000000000000000001ff000002";
pub(crate) const NEIGHBOR_SOLICITATION: &str = "3333ff00000202000000000a86dd6000000000203aff20010db8000000000000000000000001ff0200000000000000000001ff00000287001c1e0000000020010db8000000000000000000000002010102000000000a";
pub(crate) const NEIGHBOR_ADVERTISEMENT: &str = "02000000000a02000000000b86dd6000000000203aff20010db800000000000000000000000220010db800000000000000000000000188008a686000000020010db8000000000000000000000002020102000000000b";
/// Duplicate address detection, with a nonce option (RFC 3971); the inner frame of a VXLAN packet.
pub(crate) const DAD: &str = "3333ff00010102000000010186dd6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff0001018700baaa00000000fe80000000000000000000fffe0001010e01fd4940fb742c";
/// An ARP request in VXLAN over IPv4, with a UDP checksum.
pub(crate) const VXLAN_ARP: &str = "02000000000b02000000000a08004500004e2dc500004011c8d6c0000201c0000202ab6112b5003afd380800000000138800ffffffffffff020000000101080600010800060400010200000001010a0100010000000000000a010002";
/// An ECT(0) ping in VXLAN over IPv4, with a UDP checksum.
pub(crate) const VXLAN_PING: &str = "02000000000b02000000000a0800450200562dc600004011c8cbc0000201c0000202c0fc12b50042099e080000000013880002000000010202000000010108004502002433bd40004001f3150a0100010a0100020800aa58419600010001020304050607";
/// An ECT(1) ping in VXLAN over IPv6, without a UDP checksum.
pub(crate) const VXLAN6_PING: &str = "02000000000b02000000000a86dd601000000042114020010db800000000000000000000000120010db8000000000000000000000002967b12b5004200000800000000138900020000000202020000000201080045010024afe14000400176f00a0200010a0200020800aa3c41b200010001020304050607";

// Those that follow were built by scapy 2.5.

/// DNS in MPLS over UDP over IPv4, label 1000, class 5, TTL 255.
pub(crate) const MPLS_UDP: &str = "02000000000b02000000000a080045010041000040004011b6a7c0000201c0000202c00019eb002d0000003e8bff45b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// The same in an Ethernet frame.
pub(crate) const MPLS_UDP_ETHERNET: &str = "02000000000b02000000000a08004501004f000040004011b699c0000201c0000202c00019eb003b0000003e8bff020000000102020000000101080045b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// IPv6 in MPLS over UDP over IPv6, with a UDP checksum.
pub(crate) const MPLS_UDP6: &str = "02000000000b02000000000a86dd601000010041114020010db800000000000000000000000120010db8000000000000000000000002c00019eb0041c10f003e8bff6b900000000d113ffd000000000000000000000000000001fd00000000000000000000000000000203e80035000db1ca7175657279";
/// IPv4 in MPLS over GRE over IPv4.
pub(crate) const MPLS_GRE: &str = "02000000000b02000000000a08004501003d00004000402fb68dc0000201c000020200008847003e8bff45b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// IPv4 in MPLS over GRE over IPv6.
pub(crate) const MPLS_GRE6: &str = "02000000000b02000000000a86dd6010000100292f4020010db800000000000000000000000120010db800000000000000000000000200008847003e8bff45b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// GRE with a checksum, the key deadbeef and sequence number 7.
pub(crate) const MPLS_GRE_FIELDS: &str = "02000000000b02000000000a08004501004900004000402fb681c0000201c0000202b0008847b1f80000deadbeef00000007003e8bff45b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// The labels 17, an entropy label, and 1000.
pub(crate) const MPLS_STACK: &str = "02000000000b02000000000a08004501004900004000402fb681c0000201c0000202000088470001164000007009abcde000003e8bff45b90021007740003f1126980a0100010a01000203e80035000d97ca7175657279";
/// PING in VXLAN 5001 over IPv6, with a UDP checksum.
pub(crate) const VXLAN6_CHECKED: &str = "02000000000b02000000000a86dd600000010042114020010db800000000000000000000000120010db8000000000000000000000002c00012b500423417080000000013890002000000000b02000000000a080045000024b8f540004001fddfc0000201c00002020800aae9410500010001020304050607";

/// The bytes of a capture.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().as_chunks::<2>().0;
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.iter().map(byte).collect()
}

/// An Ethernet frame.
pub(crate) fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa];
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A frame with IPv4 from 10.0.0.1 to 10.0.0.2, options included in a multiple of four bytes.
pub(crate) fn ipv4_with_options(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ipv4::LEN];
    let len = ipv4::LEN + options.len() + payload.len();
    let (src, dst) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    ipv4::Header::new(&mut header).set(protocol, src, dst, 64, 0, len as u16);
    header[0] += options.len() as u8 / 4;
    let mut packet = [&header, options, payload].concat();
    fix_ipv4(&mut packet);
    frame(ethernet::IPV4, &packet)
}

pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with_options(protocol, &[], payload)
}

/// An IPv4 fragment; `field` is the 16-bit field of flags and offset.
pub(crate) fn ipv4_fragment(protocol: u8, field: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ipv4(protocol, payload);
    bytes[20..22].copy_from_slice(&field.to_be_bytes());
    fix_ipv4(&mut bytes[14..]);
    bytes
}

/// Puts the right checksum into the IPv4 header at the start of `packet`.
pub(crate) fn fix_ipv4(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let checksum = Sum::new().bytes(&packet[..len]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// A frame with IPv6 from 2001:db8::1 to ::2.
pub(crate) fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; ipv6::LEN];
    let src = "2001:db8::1".parse().unwrap();
    let dst = "2001:db8::2".parse().unwrap();
    ipv6::Header::new(&mut header).set(next_header, src, dst, 64, 0, payload.len() as u16);
    frame(ethernet::IPV6, &[&header, payload].concat())
}

/// An IPv6 fragment header; `field` is its 16-bit field of offset and M flag.
pub(crate) fn fragment_header(next_header: u8, field: u16) -> [u8; 8] {
    let [high, low] = field.to_be_bytes();
    [next_header, 0, high, low, 0xde, 0xad, 0xbe, 0xef]
}

/// A TCP header from port 1000 to 80 with ACK, and `payload`.
pub(crate) fn tcp(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0x03, 0xe8, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0,
    ];
    bytes.extend(payload);
    bytes
}

/// A UDP header from port 1000 to 53 without a checksum, and `payload`.
pub(crate) fn udp(payload: &[u8]) -> Vec<u8> {
    let [high, low] = (8 + payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0x03, 0xe8, 0, 53, high, low, 0, 0];
    bytes.extend(payload);
    bytes
}

/// The frame with the right transport checksum.
fn filled(mut bytes: Vec<u8>) -> Vec<u8> {
    let meta = crate::parse(&bytes).unwrap();
    crate::checksum::fill_transport(&mut bytes, &meta);
    bytes
}

/// The frame with a VLAN tag.
pub(crate) fn tagged(bytes: &[u8], id: u16) -> Vec<u8> {
    let mut packet = MemBuffer::from_frame(bytes);
    rewrite::push_vlan(&mut packet, VlanId::new(id).unwrap()).unwrap();
    packet.bytes().to_vec()
}

/// One valid frame of every kind.
pub(crate) fn all() -> Vec<Vec<u8>> {
    let captured = [
        ARP_REQUEST,
        ARP_REPLY,
        PING,
        PONG,
        PING6,
        PONG6,
        LAST_FRAGMENT,
        LAST_FRAGMENT6,
        SYN,
        RST6,
        MLD_REPORT,
        NEIGHBOR_SOLICITATION,
        NEIGHBOR_ADVERTISEMENT,
        DAD,
        VXLAN_ARP,
        VXLAN_PING,
        VXLAN6_PING,
        VXLAN6_CHECKED,
        MPLS_UDP,
        MPLS_UDP_ETHERNET,
        MPLS_UDP6,
        MPLS_GRE,
        MPLS_GRE6,
        MPLS_GRE_FIELDS,
        MPLS_STACK,
    ];
    let mut frames: Vec<Vec<u8>> = captured.iter().map(|text| hex(text)).collect();
    frames.push(tagged(&hex(PING), 7));
    frames.push(tagged(&hex(SYN), 4094));
    frames.push(ipv4(132, &[0x11; 16]));
    frames.push(ipv4(17, &udp(b"query")));
    frames.push(ipv4_with_options(
        6,
        &[131, 7, 4, 10, 0, 0, 9, 0],
        &tcp(b"data"),
    ));
    frames.push(ipv4_fragment(17, 0x2000, &udp(&[9; 16])));
    frames.push(ipv6(
        44,
        &[&fragment_header(17, 1)[..], &udp(&[9; 16])].concat(),
    ));
    let chain = [
        &[43, 0, 5, 2, 0, 0, 0, 0][..],
        &[60, 0, 4, 0, 0, 0, 0, 0],
        &[51, 0, 1, 4, 0, 0, 0, 0],
        &[6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0; 12],
        &tcp(b"data"),
    ]
    .concat();
    frames.push(ipv6(0, &chain));
    // Errors about the captured packets.
    for (quoted, kind) in [(PING, 11), (SYN, 3), (LAST_FRAGMENT, 11)] {
        let message = [&[kind, 1, 0, 0, 0, 0, 0, 0], &hex(quoted)[14..]].concat();
        frames.push(filled(ipv4(1, &message)));
    }
    for (quoted, kind) in [(PING6, 3), (RST6, 1), (MPLS_UDP6, 2)] {
        let message = [&[kind, 0, 0, 0, 0, 0, 5, 0], &hex(quoted)[14..]].concat();
        frames.push(filled(ipv6(58, &message)));
    }
    frames.push(ipv6(59, b"ignored"));
    frames.push(frame(0x88cc, b"a frame of link layer discovery"));
    frames
}

/// A small generator of repeatable disorder (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
