//! One large TCP segment into packets that fit the link (generic segmentation offload).
//!
//! A virtual machine hands over up to 64 KiB of a TCP stream under one header, and leaves it to the
//! host to make packets of them; so one lookup decides about them all. Each packet repeats the
//! headers. What differs from packet to packet: the IP length and, in IPv4, identification and
//! checksum; in TCP the sequence number, flags that belong to one packet only, the urgent pointer and
//! the checksum (RFC 9293 §3.1, RFC 3168 §6.1.2 for CWR).
//!
//! Pieces may be smaller than the machine asked for, where the way out carries less: TCP is a stream,
//! and its receiver cannot tell.

use crate::tcp::{CWR, FIN, PSH, RST, SYN, URG};
use crate::{
    Buffer, Error, Fragment, Gso, Ipv4Header, Ipv6Header, Meta, Network, TcpHeader, buffer,
};
use crate::{checksum, ipv6};

/// The least payload pieces may have, in bytes, so that no segment becomes more than 1365 of them.
/// TCP's own default is 536 (RFC 9293 §3.7.1).
pub const MIN_MSS: usize = 48;

/// The packets that one large segment becomes, in order.
///
/// The segment stays as it is until the last one is written: payload is copied out of it.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// Of the large segment, as a frame.
    meta: Meta,
    /// Bytes before the TCP payload.
    headers: usize,
    /// Payload of each piece but the last.
    mss: usize,
    /// Payload that is written, in bytes.
    done: usize,
    /// Pieces that are written.
    count: u16,
}

impl Segments {
    /// Prepares to cut a packet, parsed as a frame, into IP packets of at most `mtu` bytes.
    ///
    /// # Errors
    /// [`Error::NotSegmentable`], see there; [`Error::Truncated`] with a `meta` of another packet.
    pub fn new<B: Buffer>(packet: &B, meta: &Meta, gso: Gso, mtu: usize) -> Result<Self, Error> {
        if !meta.is_tcp() || meta.fragment != Fragment::Whole || meta.l4_flags & (SYN | RST) != 0 {
            return Err(Error::NotSegmentable);
        }
        let frame = packet.bytes();
        let (header, _) = TcpHeader::split(frame.get(meta.l4.into()..).unwrap_or_default())?;
        let headers = usize::from(meta.l4) + header.header_len();
        if headers > frame.len() || usize::from(meta.end) > packet.len() {
            return Err(Error::truncated(headers, frame.len()));
        }
        let room = mtu.saturating_sub(headers - usize::from(meta.l3));
        let mss = usize::from(gso.mss).min(room);
        if mss < MIN_MSS {
            return Err(Error::NotSegmentable);
        }
        Ok(Self {
            meta: *meta,
            headers,
            mss,
            done: 0,
            count: 0,
        })
    }

    /// Whether all pieces are written. At first never: a segment without payload is one, too.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.count > 0 && self.done >= self.payload_len()
    }

    /// Makes `piece` the next piece of `packet`, which must be the one given before, checksums
    /// included, and returns where its headers are. If `piece` is too small, `more` is asked for
    /// further buffers, until it gives none.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the buffers do not hold the piece; [`Error::Truncated`] if the packet is
    /// another. `piece` is worth nothing then.
    pub fn write<B: Buffer>(
        &mut self,
        packet: &B,
        piece: &mut B,
        more: &mut dyn FnMut() -> Option<B>,
    ) -> Result<Meta, Error> {
        let len = self.payload_len().saturating_sub(self.done).min(self.mss);
        let from = self.headers + self.done;
        fill(packet, self.headers, from..from + len, piece, more)?;
        let meta = Meta {
            end: (self.headers + len) as u16,
            l4_flags: self.flags(len),
            ..self.meta
        };
        self.write_headers(piece.bytes_mut(), &meta)?;
        checksum::fill_packet(piece, &meta);
        self.done += len;
        self.count = self.count.wrapping_add(1);
        Ok(meta)
    }

    fn payload_len(&self) -> usize {
        usize::from(self.meta.end).saturating_sub(self.headers)
    }

    /// The flags of a piece with `len` bytes: the end of the data is in the last one, and the window
    /// is reduced once.
    fn flags(&self, len: usize) -> u8 {
        let mut flags = self.meta.l4_flags;
        if self.done + len < self.payload_len() {
            flags &= !(FIN | PSH);
        }
        if self.done > 0 {
            flags &= !CWR;
        }
        flags
    }

    fn write_headers(&self, frame: &mut [u8], meta: &Meta) -> Result<(), Error> {
        let (packet, segment) = frame.split_at_mut(meta.l4.into());
        let packet = packet.get_mut(meta.l3.into()..).unwrap_or_default();
        let len = meta.end - meta.l3;
        match meta.network {
            Network::Ipv4 => {
                let (mut header, _) = Ipv4Header::split_mut(packet)?;
                header.set_total_len(len);
                header.set_id(header.id().wrapping_add(self.count));
                header.set_checksum(0);
                let checksum = checksum::Sum::new().bytes(packet).finish();
                Ipv4Header::split_mut(packet)?.0.set_checksum(checksum);
            }
            _ => {
                let (mut header, _) = Ipv6Header::split_mut(packet)?;
                header.set_payload_len(len - ipv6::LEN as u16);
            }
        }
        let (mut header, _) = TcpHeader::split_mut(segment)?;
        header.set_sequence(header.sequence().wrapping_add(self.done as u32));
        let mut flags = meta.l4_flags;
        if flags & URG != 0 {
            // It counts from the sequence number, which moved on; maybe past what is urgent.
            let pointer = usize::from(header.urgent_pointer()).saturating_sub(self.done);
            header.set_urgent_pointer(pointer as u16);
            if pointer == 0 {
                flags &= !URG;
            }
        }
        header.set_flags(flags);
        Ok(())
    }
}

/// Makes `piece` the first `headers` bytes of a packet and a range of the others.
fn fill<B: Buffer>(
    packet: &B,
    headers: usize,
    range: core::ops::Range<usize>,
    piece: &mut B,
    more: &mut dyn FnMut() -> Option<B>,
) -> Result<(), Error> {
    piece.truncate(0);
    if piece.tailroom() < headers {
        return Err(Error::no_room(headers, piece.tailroom()));
    }
    buffer::append_range(packet, 0..headers, piece, more)?;
    buffer::append_range(packet, range, piece, more)
}

#[cfg(test)]
mod tests;
