//! What nearly all tunnel packets are: in one piece, without IP options or extension headers, VXLAN
//! or one ordinary label, GRE without optional fields. Half the instructions of the long way, which
//! is taken by whatever is otherwise, and which says what is wrong with what is wrong.
//!
//! All of it is compiled into its caller: there it knows what the parse before it found out, and
//! neither metadata nor result need to be put together in memory. Left to the compiler, that comes
//! and goes with unrelated changes, and costs 50 instructions of 130.

use super::{Circuit, Decap};
use crate::checksum::Sum;
use crate::protocol::UDP;
use crate::{Fragment, Meta, Network, ethernet, gre, ipv4, ipv6, mpls, udp, vxlan};

/// Reads UDP and VXLAN headers; an Ethernet header must follow.
#[inline(always)]
pub(super) fn vxlan(frame: &[u8], meta: &Meta) -> Option<Decap> {
    const LEN: usize = udp::LEN + vxlan::LEN;

    let headers = headers::<{ LEN + ethernet::LEN }>(frame, meta)?;
    let (udp, rest) = udp::Header::split(headers).ok()?;
    let lacks_checksum = check_udp(&udp, frame, meta)?;
    let (header, _) = vxlan::Header::split(rest).ok()?;
    Some(Decap {
        circuit: Circuit::Vni(header.vni()?),
        inner: meta.l4 + LEN as u16,
        lacks_checksum,
    })
}

/// Reads a UDP header and one label; something must follow.
#[inline(always)]
pub(super) fn mpls_over_udp(frame: &[u8], meta: &Meta) -> Option<Decap> {
    let headers = headers::<{ udp::LEN + mpls::LEN + 1 }>(frame, meta)?;
    let (udp, rest) = udp::Header::split(headers).ok()?;
    let lacks_checksum = check_udp(&udp, frame, meta)?;
    label(rest, meta.l4 + udp::LEN as u16, lacks_checksum)
}

/// Reads a GRE header without optional fields, and one label; something must follow.
#[inline(always)]
pub(super) fn mpls_over_gre(frame: &[u8], meta: &Meta) -> Option<Decap> {
    let headers = headers::<{ gre::LEN + mpls::LEN + 1 }>(frame, meta)?;
    let (gre, rest) = gre::Header::split(headers).ok()?;
    if !gre.is_bare_mpls() {
        return None;
    }
    label(rest, meta.l4 + gre::LEN as u16, false)
}

/// The first bytes behind the IP header of a whole datagram, if it has as many.
#[inline(always)]
fn headers<'a, const N: usize>(frame: &'a [u8], meta: &Meta) -> Option<&'a [u8; N]> {
    let l4 = usize::from(meta.l4);
    if meta.fragment != Fragment::Whole || usize::from(meta.end) < l4 + N {
        return None;
    }
    frame.get(l4..l4 + N)?.first_chunk()
}

/// What begins with the label stack at offset `at` of the packet.
#[inline(always)]
fn label(bytes: &[u8], at: u16, lacks_checksum: bool) -> Option<Decap> {
    let stack = mpls::Stack::of_one(*bytes.first_chunk()?, at)?;
    Some(Decap {
        circuit: Circuit::Labels(stack),
        inner: at + mpls::LEN as u16,
        lacks_checksum,
    })
}

/// Whether the packet lacks a checksum that it should have; `None` if it has a wrong one, or the UDP
/// header has not the length of the datagram.
#[inline(always)]
fn check_udp(header: &udp::Header<&[u8; udp::LEN]>, frame: &[u8], meta: &Meta) -> Option<bool> {
    if header.len_field() != meta.end.wrapping_sub(meta.l4) {
        return None;
    }
    if header.checksum() == 0 {
        return Some(meta.network == Network::Ipv6);
    }
    // Between the addresses of the pseudo-header and the UDP header lies nothing, so it is one sum.
    let addrs_len = match (meta.network, usize::from(meta.l4.wrapping_sub(meta.l3))) {
        (Network::Ipv4, ipv4::LEN) => 8,
        (Network::Ipv6, ipv6::LEN) => 32,
        _ => return None,
    };
    let covered = frame.get(usize::from(meta.l4) - addrs_len..meta.end.into())?;
    let sum = Sum::new().u16(UDP.into()).u16(header.len_field());
    sum.verifies(covered).then_some(false)
}
