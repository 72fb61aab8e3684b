//! Packet headers as views, checksums, one-pass parse, tunnel push and pop.
//!
//! This crate knows bytes and nothing else: no flows, no tables, no devices, no clock. Three ways in:
//!
//! * [`parse()`] reads every header of a frame once and leaves a small [`Meta`] of offsets and fields;
//! * a view such as [`UdpHeader`] reads or writes one header: it wraps an array of the header's
//!   length, so the only length check is in its `split`, and no accessor can panic;
//! * [`Buffer`] is a packet that can grow at its front, which [`TunnelHeader::push`] needs.
//!
//! Fields are in host byte order on this side of the crate's border. Bytes from the wire never
//! panic: what cannot be right is an [`Error`] that carries the offending numbers.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addr;
pub mod arp;
pub mod buffer;
pub mod checksum;
pub mod decap;
pub mod ecn;
pub mod error;
pub mod ethernet;
pub mod fragment;
pub mod gre;
pub mod gso;
pub mod icmp;
pub mod icmp_error;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod meta;
pub mod mpls;
pub mod mss;
pub mod nd;
pub mod offload;
pub mod outer;
pub mod parameter;
pub mod parse;
mod plain;
pub mod protocol;
pub mod quote;
pub mod reassembly;
pub mod rewrite;
pub mod tcp;
pub mod tcp_reset;
pub mod translate;
pub mod tunnel;
pub mod udp;
pub mod vlan;
pub mod vxlan;

#[cfg(test)]
mod any_bytes;
#[cfg(test)]
mod samples;

pub use addr::{Label, MacAddr, VlanId, Vni};
pub use arp::Packet as ArpPacket;
pub use buffer::{Buffer, HEADERS, MemBuffer};
pub use decap::{Circuit, Decap, MPLS_UDP_PORT, decap, decap_plain};
pub use error::Error;
pub use ethernet::Header as EthernetHeader;
pub use fragment::Pieces;
pub use gre::Header as GreHeader;
pub use icmp::Header as IcmpHeader;
pub use icmpv6::Header as Icmpv6Header;
pub use ipv4::Header as Ipv4Header;
pub use ipv6::Header as Ipv6Header;
pub use meta::{Fragment, Meta, Network};
pub use mpls::{Entry as LabelEntry, Stack as LabelStack};
pub use offload::{Gso, L4Checksum, Offload};
pub use outer::{parse_outer, parse_plain_outer};
pub use parse::{parse, parse_at, parse_ip, parse_ip_packet, parse_packet};
pub use plain::Plain;
pub use quote::Quote;
pub use tcp::Header as TcpHeader;
pub use tunnel::{Encap, Inner, Model, Outer, TunnelHeader};
pub use udp::Header as UdpHeader;
pub use vlan::Tag as VlanTag;
pub use vxlan::{Header as VxlanHeader, VXLAN_PORT};

/// The first `N` bytes as an array, and the rest.
fn split<const N: usize>(buf: &[u8]) -> Result<(&[u8; N], &[u8]), Error> {
    buf.split_first_chunk()
        .ok_or_else(|| Error::truncated(N, buf.len()))
}

/// [`split`] to write.
fn split_mut<const N: usize>(buf: &mut [u8]) -> Result<(&mut [u8; N], &mut [u8]), Error> {
    let have = buf.len();
    buf.split_first_chunk_mut()
        .ok_or_else(|| Error::truncated(N, have))
}
