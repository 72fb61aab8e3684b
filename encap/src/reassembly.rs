//! The fragments of one IP packet into that packet again (RFC 791 §3.2, RFC 8200 §4.5). Which
//! fragments belong together, and whether they are all there, is the caller's to know; cutting is
//! [`crate::fragment`].
//!
//! What is short is copied behind the first fragment, as far as there is room in its buffer, so that
//! a packet of the usual size is one piece again; what is longer is chained, as no buffer need hold
//! 65,535 bytes.

use crate::checksum::Sum;
use crate::fragment::IPV6_HEADER_LEN;
use crate::{Buffer, Error, Fragment, Meta, Network, ipv4, ipv6, parse};

/// A packet of which the fragments so far are together, from the first on.
#[derive(Debug)]
pub struct Whole<B> {
    packet: B,
    meta: Meta,
}

impl<B: Buffer> Whole<B> {
    /// Begins with the first fragment; `meta` is that of its frame.
    ///
    /// # Errors
    /// [`Error::FragmentLen`] if it is not the first.
    pub fn begin(mut packet: B, meta: &Meta) -> Result<Self, Error> {
        if meta.fragment != Fragment::First {
            return Err(Error::FragmentLen);
        }
        packet.truncate(meta.end.into());
        Ok(Self {
            packet,
            meta: *meta,
        })
    }

    /// Adds the fragment that follows; `meta` is that of its frame.
    ///
    /// # Errors
    /// [`Error::FragmentLen`] if another one follows what there is; [`Error::TooLong`] if this kind
    /// of buffer cannot be chained; [`Error::Truncated`] with a `meta` of another packet. The packet
    /// is worth nothing then.
    pub fn add(&mut self, mut fragment: B, meta: &Meta) -> Result<(), Error> {
        let at = parse::fragment_payload(self.packet.bytes(), &self.meta);
        let have = self.packet.len() - at.unwrap_or_default().min(self.packet.len());
        if usize::from(meta.fragment_offset) != have || meta.fragment != Fragment::Later {
            return Err(Error::FragmentLen);
        }
        fragment.truncate(meta.end.into());
        fragment.trim_front(meta.l4.into())?;
        let (at, len) = (self.packet.len(), fragment.len());
        if self.packet.is_chained() || len > self.packet.tailroom() {
            let chained = self.packet.attach(fragment);
            return chained.map_err(|_fragment| Error::too_long(at + len));
        }
        self.packet.append(len)?;
        fragment.copy_to(0, &mut self.packet.bytes_mut()[at..])
    }

    /// The packet, once the last fragment is there, as if nobody had ever cut it; a link header stays
    /// before it. `traffic_class` is what became of those of the fragments
    /// ([`crate::ecn::of_fragments`]).
    ///
    /// # Errors
    /// [`Error::TooLong`] if it is longer than an IP length field can say; [`Error::Truncated`] if it
    /// did not begin with the packet that its `meta` was made from.
    pub fn finish(mut self, traffic_class: u8) -> Result<B, Error> {
        match self.meta.network {
            Network::Ipv4 => self.finish_ipv4(traffic_class)?,
            _ => self.finish_ipv6(traffic_class)?,
        }
        Ok(self.packet)
    }

    fn finish_ipv4(&mut self, traffic_class: u8) -> Result<(), Error> {
        const DONT_FRAGMENT: u8 = 0x40;

        let (l3, l4) = (usize::from(self.meta.l3), usize::from(self.meta.l4));
        let total_len = length(self.packet.len() - l3)?;
        let have = self.packet.bytes().len();
        let header = self.packet.bytes_mut().get_mut(l3..l4);
        let header = header.ok_or_else(|| Error::truncated(l4, have))?;
        let (mut fields, _) = ipv4::Header::split_mut(header)?;
        fields.set_total_len(total_len);
        fields.set_traffic_class(traffic_class);
        fields.set_checksum(0);
        header[6] &= DONT_FRAGMENT;
        header[7] = 0;
        let checksum = Sum::new().bytes(header).finish();
        let (mut fields, _) = ipv4::Header::split_mut(header)?;
        fields.set_checksum(checksum);
        Ok(())
    }

    fn finish_ipv6(&mut self, traffic_class: u8) -> Result<(), Error> {
        let l3 = usize::from(self.meta.l3);
        let frame = self.packet.bytes_mut();
        let Some((announced, at)) = parse::fragment_header(frame, &self.meta) else {
            return Err(Error::truncated(l3 + ipv6::LEN, frame.len()));
        };
        // The fragment header goes: what precedes it moves over it (RFC 8200 §4.5).
        frame[announced] = frame[at];
        frame.copy_within(..at, IPV6_HEADER_LEN);
        self.packet.trim_front(IPV6_HEADER_LEN)?;
        let payload_len = length(self.packet.len() - l3 - ipv6::LEN)?;
        let (mut header, _) = ipv6::Header::split_mut(&mut self.packet.bytes_mut()[l3..])?;
        header.set_payload_len(payload_len);
        header.set_traffic_class(traffic_class);
        Ok(())
    }
}

fn length(len: usize) -> Result<u16, Error> {
    u16::try_from(len).map_err(|_| Error::too_long(len))
}

#[cfg(test)]
mod tests;
