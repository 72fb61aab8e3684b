//! A packet's offload state in the flags of its mbuf.
//!
//! Ports with virtio behind them say what a machine left to be done in the
//! `RX` flags: `L4_CKSUM_NONE` is a sound payload without a checksum, `LRO` with
//! a segment size is what was not cut yet. A packet that another DPDK program
//! hands over in memory, as through a ring, may still have its `TX` flags, which
//! ask for the same.

use dpdk_sys::rte_mbuf;
use encap::{Buffer, Gso, L4Checksum, Network, Offload, TcpHeader, checksum, protocol};

use super::Mbuf;

// RTE_MBUF_F_*; shim.c holds them to the headers.
const RX_L4_BAD: u64 = 1 << 3;
const RX_L4_GOOD: u64 = 1 << 8;
const RX_L4_NONE: u64 = RX_L4_BAD | RX_L4_GOOD;
const RX_LRO: u64 = 1 << 16;
const TX_TCP_SEG: u64 = 1 << 50;
const TX_TCP: u64 = 1 << 52;
/// All bits of the field; as a value, UDP.
const TX_L4: u64 = 3 << 52;
const TX_IP_CKSUM: u64 = 1 << 54;
const TX_IPV4: u64 = 1 << 55;
const TX_IPV6: u64 = 1 << 56;
const ALL: u64 = RX_L4_NONE | RX_LRO | TX_TCP_SEG | TX_L4 | TX_IP_CKSUM | TX_IPV4 | TX_IPV6;

/// Where the segment size stands in `tx_offload`: after 7, 9 and 8 bits of
/// header lengths.
const SEGMENT_SIZE: u32 = 24;

/// What the flags say.
pub(super) fn read(mbuf: &rte_mbuf) -> Offload {
    match mbuf.ol_flags & ALL {
        0 => Offload::NONE,
        flags => interpret(mbuf, flags),
    }
}

fn interpret(mbuf: &rte_mbuf, flags: u64) -> Offload {
    let is_large = flags & (RX_LRO | TX_TCP_SEG) != 0;
    let mss = (mbuf.tx_offload >> SEGMENT_SIZE) as u16;
    let l4_checksum = match flags & RX_L4_NONE {
        _ if flags & (TX_L4 | TX_TCP_SEG) != 0 => L4Checksum::Partial,
        RX_L4_NONE => L4Checksum::Partial,
        RX_L4_GOOD => L4Checksum::Right,
        RX_L4_BAD => L4Checksum::Wrong,
        _ => L4Checksum::Unknown,
    };
    Offload {
        l4_checksum,
        gso: (is_large && mss > 0).then_some(Gso { mss }),
    }
}

/// Asks the port that the packet goes to for what is left to be done. What is not
/// TCP or UDP as a whole has nothing left.
#[cold]
pub(super) fn request(packet: &mut Mbuf) {
    let offload = packet.offload();
    packet.set_offload(Offload::NONE);
    let Ok(meta) = encap::parse_packet(packet) else {
        return;
    };
    let checksum = match meta.protocol {
        protocol::TCP => TX_TCP,
        protocol::UDP => TX_L4,
        _ => return,
    };
    if !checksum::start_transport(packet, &meta) {
        return;
    }
    let family = match meta.network {
        Network::Ipv4 => TX_IPV4,
        _ => TX_IPV6,
    };
    let header = packet.bytes().get(meta.l4.into()..).unwrap_or_default();
    let l4_len = TcpHeader::split(header).map_or(0, |(header, _)| header.header_len());
    let lens = u64::from(meta.l3) | u64::from(meta.l4 - meta.l3) << 7 | (l4_len as u64) << 16;
    let mbuf = packet.head_mut();
    mbuf.ol_flags |= checksum | family;
    mbuf.tx_offload = lens;
    if let (Some(gso), protocol::TCP) = (offload.gso, meta.protocol) {
        mbuf.ol_flags |= TX_TCP_SEG;
        mbuf.tx_offload |= u64::from(gso.mss) << SEGMENT_SIZE;
    }
}

/// Makes the flags say this; requests to a port are taken back.
pub(super) fn write(mbuf: &mut rte_mbuf, offload: Offload) {
    let checksum = match offload.l4_checksum {
        L4Checksum::Unknown => 0,
        L4Checksum::Right => RX_L4_GOOD,
        L4Checksum::Wrong => RX_L4_BAD,
        L4Checksum::Partial => RX_L4_NONE,
    };
    let large = match offload.gso {
        None => 0,
        Some(gso) => {
            mbuf.tx_offload &= !(0xffff << SEGMENT_SIZE);
            mbuf.tx_offload |= u64::from(gso.mss) << SEGMENT_SIZE;
            RX_LRO
        }
    };
    mbuf.ol_flags = mbuf.ol_flags & !ALL | checksum | large;
}
