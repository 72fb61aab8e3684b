//! ICMP errors about translated packets (RFC 5508 §4.2, RFC 7915 §4.3 and §5.3): who receives one
//! knows the packet it quotes as it was on that side.
//!
//! The error's own checksum was found right when its quote was read, and is computed anew here. The
//! quoted packet's are adjusted as far as they are quoted, and stay as wrong as they were.

use super::family::{Old, convert_transport, describe, replace, set_ether_type};
use super::header::Header;
use super::messages::{self, Message};
use super::transport::Transport;
use super::{Change, End, Ends, apply, ipv4_ends, ipv6_ends};
use crate::icmp_error::MAX_IPV6;
use crate::protocol::{ICMP, ICMPV6};
use crate::{Buffer, Error, Meta, Network, Quote, checksum, icmp, ipv4, ipv6};
use core::net::IpAddr;

/// Changes an error's addresses as `outer` says, and the ends of the packet it quotes as `quoted`
/// does. Ports of `outer` mean nothing.
///
/// # Errors
/// As [`apply`]; [`Error::Truncated`] if the error is not all in the first piece.
pub fn apply_to_error<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    quote: &Quote,
    outer: &Change,
    quoted: &Change,
) -> Result<(), Error> {
    check_in_one(packet, meta)?;
    let frame = packet.bytes_mut();
    apply(frame, meta, outer)?;
    let inner = frame.get_mut(usize::from(quote.l3)..usize::from(quote.end));
    let inner = inner.unwrap_or_default();
    let addresses = match meta.network {
        Network::Ipv4 => ipv4_ends(inner, quoted)?,
        _ => ipv6_ends(inner, quoted)?,
    };
    if !quote.is_later_fragment {
        let at = usize::from(quote.l4.saturating_sub(quote.l3));
        let segment = inner.get_mut(at..).unwrap_or_default();
        let transport = Transport {
            protocol: quote.protocol,
            network: meta.network,
            len: u16::try_from(quote.total_len as usize)
                .ok()
                .and_then(|len| len.checked_sub(at as u16)),
        };
        transport.change(segment, quoted, addresses)?;
    }
    checksum::fill_transport(frame, meta);
    Ok(())
}

/// Makes an ICMPv6 error of an ICMP one, or the other way round, with `outer` for its addresses and
/// `quoted` for the ends of the packet it quotes, of which only addresses are the other version's.
///
/// An MTU grows or shrinks with the header. Extensions behind the quote (RFC 4884) are left behind,
/// and so is what an ICMPv6 error has no room for.
///
/// # Errors
/// As [`convert`](super::convert), [`Error::NoCounterpart`] also for a type and code that the other
/// version has no word for; [`Error::Truncated`] if the error is not all in the first piece.
pub fn convert_error<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    quote: &Quote,
    outer: (IpAddr, IpAddr),
    quoted: &Ends,
    id: u16,
) -> Result<(), Error> {
    check_in_one(packet, meta)?;
    let (l3, l4, inner_at) = (meta.l3.into(), usize::from(meta.l4), usize::from(quote.l3));
    let frame = packet.bytes_mut();
    let mut header = Header::read(meta.network, frame.get(l3..).unwrap_or_default())?;
    if header.protocol != meta.protocol || meta.source_route || header.is_part() {
        return Err(Error::NoCounterpart);
    }
    let (message, _) = crate::split::<{ icmp::LEN }>(frame.get(l4..).unwrap_or_default())?;
    let quote_end = end_of_quote(message, meta, quote);
    let message = other_message(message, meta, quote)?;
    let inner = frame.get_mut(inner_at..quote_end).unwrap_or_default();
    let inner_header = Header::read(meta.network, inner)?;
    let inner_head = inner_header.as_other(quoted, id)?;
    let until = inner_at + inner_header.len;
    if until > quote_end {
        return Err(Error::truncated(until, quote_end));
    }
    if !quote.is_later_fragment {
        let segment = inner.get_mut(inner_header.len..).unwrap_or_default();
        let old = Old::new(quote.src, quote.dst);
        let len = u16::try_from(inner_header.payload_len).ok();
        let cut_short = segment.len() < MIN_QUOTED;
        if !cut_short {
            convert_transport(segment, (&inner_header, &old), quoted, len)?;
        }
    }

    // Of the whole packet, as long as it may become.
    let head_len = match meta.network {
        Network::Ipv4 => ipv6::LEN,
        _ => ipv4::LEN,
    };
    let fronts = head_len + icmp::LEN + inner_head.bytes().len();
    let mut rest = quote_end - until;
    if meta.network == Network::Ipv4 {
        rest = rest.min(MAX_IPV6.saturating_sub(fronts));
    }
    header.payload_len = icmp::LEN + inner_head.bytes().len() + rest;
    let ends = Ends {
        src: no_port(outer.0),
        dst: no_port(outer.1),
    };
    let head = header.as_other(&ends, id)?;
    let mut front = Front::default();
    front.push(head.bytes());
    let [a, b, c, d] = message.fields;
    front.push(&[message.kind, message.code, 0, 0, a, b, c, d]);
    front.push(inner_head.bytes());
    packet.truncate(until + rest);
    replace(packet, l3, until, front.bytes())?;
    let end = (l3 + head.bytes().len() + header.payload_len) as u16;
    describe(meta, &header, head.bytes().len(), end);
    (meta.l4_flags, meta.icmp_code) = (message.kind, message.code);
    set_ether_type(packet.bytes_mut(), meta);
    checksum::fill_transport(packet.bytes_mut(), meta);
    Ok(())
}

/// The least that every error quotes of a transport header (RFC 792).
const MIN_QUOTED: usize = 8;

/// The headers of an error up to the quoted one's transport header.
#[derive(Default)]
struct Front {
    // IPv6, ICMPv6, IPv6, fragment header.
    bytes: [[u8; 8]; 12],
    len: usize,
}

impl Front {
    fn push(&mut self, more: &[u8]) {
        let to = self
            .bytes
            .as_flattened_mut()
            .get_mut(self.len..self.len + more.len());
        if let Some(to) = to {
            to.copy_from_slice(more);
            self.len += more.len();
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes.as_flattened()[..self.len]
    }
}

fn no_port(addr: IpAddr) -> End {
    End { addr, port: 0 }
}

/// Errors are short; one in several pieces is brought together by who reads its quote.
fn check_in_one<B: Buffer>(packet: &B, meta: &Meta) -> Result<(), Error> {
    let (need, have) = (usize::from(meta.end), packet.bytes().len());
    match need > have {
        true => Err(Error::truncated(need, have)),
        false => Ok(()),
    }
}

/// Where the quote ends: at the error's end, or where extensions begin (RFC 4884 §4).
fn end_of_quote(message: &[u8; icmp::LEN], meta: &Meta, quote: &Quote) -> usize {
    let [kind, _, _, _, first, second, ..] = *message;
    let len = match (meta.protocol, kind) {
        (ICMP, icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM) => {
            usize::from(second) * 4
        }
        (ICMPV6, 1 | 3) => usize::from(first) * 8,
        _ => 0,
    };
    let end = usize::from(quote.end);
    match len {
        0 => end,
        len => end.min(usize::from(quote.l3) + len),
    }
}

fn other_message(message: &[u8; icmp::LEN], meta: &Meta, quote: &Quote) -> Result<Message, Error> {
    let [kind, code, _, _, fields @ ..] = *message;
    let message = Message { kind, code, fields };
    match meta.network {
        Network::Ipv4 => messages::error_as_icmpv6(message, quote.total_len),
        _ => messages::error_as_icmp(message),
    }
}
