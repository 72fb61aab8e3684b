//! Sequence numbers of TCP: how far a connection is, and which resets may end its flow (RFC 5961 §3.2,
//! as one who looks on from the middle can tell).
//!
//! Nothing is dropped for its numbers: the ends know better, and answer what is in their window but
//! not exactly next with a challenge, which has to find the flow alive. A reset that does not fit
//! passes and changes nothing.

use encap::{Fragment, Meta, TcpHeader, protocol, tcp};
use flowtable::Hit;

use super::Context;

/// Takes note of a segment of a flow; not of resets, which say nothing of how far anything is.
#[inline]
pub fn note(context: &Context, hit: &Hit, meta: &Meta, frame: &[u8]) {
    if meta.protocol != protocol::TCP
        || meta.fragment != Fragment::Whole
        || meta.l4_flags & tcp::RST != 0
    {
        return;
    }
    let Some(header) = header(meta, frame) else {
        return;
    };
    // SYN and FIN take a number each (RFC 9293 §3.4).
    let flags = meta.l4_flags;
    let controls = u32::from(flags & tcp::SYN != 0) + u32::from(flags & tcp::FIN != 0);
    let len = usize::from(meta.end.saturating_sub(meta.l4)).saturating_sub(header.header_len());
    let next = header.sequence().wrapping_add(len as u32 + controls);
    let acked = (flags & tcp::ACK != 0).then(|| header.acknowledgment());
    context.flows.advance(hit, next, acked);
}

/// Whether a segment is a reset that may not end its flow.
#[cold]
pub fn is_off(context: &Context, hit: &Hit, meta: &Meta, frame: &[u8]) -> bool {
    let Some(header) = header(meta, frame) else {
        return true; // a piece without its numbers
    };
    let (own, other) = context.flows.progress(hit);
    !own.may_reset(header.sequence(), other)
}

#[inline]
fn header<'a>(meta: &Meta, frame: &'a [u8]) -> Option<TcpHeader<&'a [u8; tcp::LEN]>> {
    let (header, _) = TcpHeader::split(frame.get(usize::from(meta.l4)..)?).ok()?;
    Some(header)
}
