//! The walk along IPv6 extension headers (RFC 8200 §4), with its limits.
//!
//! Each limit bounds what one packet can cost: a chain of minimal headers, or a header full of
//! one-byte options, would otherwise buy hundreds of steps for the price of one frame.

use super::parse_fragment;
use crate::fragment::IPV6_HEADER_LEN;
use crate::protocol::{
    AUTHENTICATION, DESTINATION_OPTIONS, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, ROUTING, SHIM6,
};
use crate::{Error, Fragment, Meta, Network, ipv6};

/// Extension headers a packet may have.
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// Options a packet may have in all its extension headers, not counting padding (RFC 8504 §5.3).
pub const MAX_OPTIONS: usize = 8;
/// Where an IPv6 header says what follows it.
const NEXT_HEADER: usize = 6;
/// Padding that may stand together, in bytes: enough to align anything to eight (RFC 8504 §5.3).
const MAX_PADDING: usize = 7;

/// Whether this next header value is an extension header to walk over (IANA; not ESP, behind which
/// nothing can be read).
pub(super) const fn is_one(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP
            | ROUTING
            | FRAGMENT
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HIP
            | SHIM6
    )
}

/// Walks the chain that begins with `meta.protocol` at the start of `payload`, up to the transport
/// header or, in a later fragment, up to what the fragment header precedes. Returns what remains.
/// `payload` may end before the `payload_len` bytes there are.
pub(super) fn walk<'a>(
    payload: &'a [u8],
    payload_len: usize,
    meta: &mut Meta,
) -> Result<&'a [u8], Error> {
    let mut rest = payload;
    let mut options = 0;
    for index in 0.. {
        if !is_one(meta.protocol) || meta.fragment == Fragment::Later {
            break;
        }
        if index == MAX_EXTENSION_HEADERS || (meta.protocol == HOP_BY_HOP && index > 0) {
            return Err(Error::ExtensionHeaders);
        }
        let fixed: &[u8; 8] = rest.first_chunk().ok_or_else(|| short(8, rest, meta))?;
        let len = len_of(meta.protocol, fixed);
        let Some((header, after)) = rest.split_at_checked(len) else {
            return Err(short(len, rest, meta));
        };
        match meta.protocol {
            HOP_BY_HOP | DESTINATION_OPTIONS => {
                // Past the next header value and the length, of which there are eight bytes.
                options = count_options(&header[2..], options)?;
            }
            ROUTING if fixed[2] == 0 => return Err(Error::RoutingType0),
            FRAGMENT => {
                let before = payload.len() - after.len();
                read_fragment(fixed, before, payload_len - before, meta)?;
            }
            _ => {}
        }
        meta.protocol = fixed[0];
        rest = after;
    }
    Ok(rest)
}

/// Length in bytes of the extension header that begins with `fixed` (RFC 8200 §4, RFC 4302 §2.2).
fn len_of(kind: u8, fixed: &[u8; 8]) -> usize {
    match kind {
        FRAGMENT => IPV6_HEADER_LEN,
        AUTHENTICATION => (usize::from(fixed[1]) + 2) * 4,
        _ => (usize::from(fixed[1]) + 1) * 8,
    }
}

/// Offset of what a fragment carries of its datagram, from the start of the buffer that was parsed.
///
/// In IPv4 and in later fragments that is [`Meta::l4`]. A first IPv6 fragment may have extension
/// headers behind its fragment header; they are part of what was cut (RFC 8200 §4.5), so there the
/// chain is walked once more. `None` only if `frame` is not what `meta` was made from.
#[must_use]
pub fn fragment_payload(frame: &[u8], meta: &Meta) -> Option<usize> {
    if meta.network != Network::Ipv6 || meta.fragment != Fragment::First {
        return Some(meta.l4.into());
    }
    let (_, at) = fragment_header(frame, meta)?;
    Some(at + IPV6_HEADER_LEN)
}

/// Offsets of the next header field that announces an IPv6 packet's fragment header, and of that
/// header. `None` if there is none, or `frame` is not what `meta` was made from.
pub(crate) fn fragment_header(frame: &[u8], meta: &Meta) -> Option<(usize, usize)> {
    let l3 = usize::from(meta.l3);
    let (header, _) = ipv6::Header::split(frame.get(l3..)?).ok()?;
    let mut kind = header.next_header();
    let (mut announced, mut at) = (l3 + NEXT_HEADER, l3 + ipv6::LEN);
    for _ in 0..MAX_EXTENSION_HEADERS {
        if kind == FRAGMENT {
            return Some((announced, at));
        }
        let fixed = frame.get(at..)?.first_chunk()?;
        announced = at;
        at += len_of(kind, fixed);
        kind = fixed[0];
    }
    None
}

/// Reads a fragment header (RFC 8200 §4.5). `before` counts the extension headers up to and with it.
fn read_fragment(
    header: &[u8; 8],
    before: usize,
    payload_len: usize,
    meta: &mut Meta,
) -> Result<(), Error> {
    if meta.fragment_header {
        return Err(Error::ExtensionHeaders);
    }
    meta.fragment_header = true;
    let field = u16::from_be_bytes([header[2], header[3]]);
    meta.fragment_id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    // The payload length of the whole is what must not pass 65,535; it counts the extension headers
    // before the fragment header, not that header itself.
    parse_fragment(
        field & 0xfff8,
        field & 1 != 0,
        before - header.len(),
        payload_len,
        meta,
    )
}

/// Counts the options in one header on top of `seen`.
fn count_options(mut bytes: &[u8], seen: usize) -> Result<usize, Error> {
    const PAD1: u8 = 0;
    const PADN: u8 = 1;

    let mut count = seen;
    let mut padding = 0;
    while let Some((&kind, rest)) = bytes.split_first() {
        let len = match (kind, rest.first()) {
            (PAD1, _) => 1,
            (_, Some(len)) => 2 + usize::from(*len),
            (_, None) => return Err(Error::ExtensionOptions),
        };
        match kind {
            PAD1 | PADN => padding += len,
            _ => {
                count += 1;
                padding = 0;
            }
        }
        if count > MAX_OPTIONS || padding > MAX_PADDING {
            return Err(Error::ExtensionOptions);
        }
        bytes = bytes.get(len..).ok_or(Error::ExtensionOptions)?;
    }
    Ok(count)
}

/// The error for a chain that does not end within the packet: for a first fragment, that the rest of
/// the chain is in another (RFC 7112 §5).
#[cold]
fn short(need: usize, rest: &[u8], meta: &Meta) -> Error {
    match meta.fragment {
        Fragment::First => Error::TinyFragment,
        _ => Error::truncated(need, rest.len()),
    }
}
