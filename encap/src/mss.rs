//! The maximum segment size that TCP announces (RFC 9293 §3.7.1), lowered on its way so that what
//! comes back fits a tunnel whose sender never hears of a smaller path MTU.

use crate::{Fragment, Meta, TcpHeader, checksum, tcp};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MAX_SEGMENT_SIZE: u8 = 2;

/// Lowers the MSS option of a SYN to at most `most` bytes, and keeps the checksum right (RFC 1624).
///
/// Anything but a SYN, a SYN without the option, and one whose options are malformed stay as they
/// are: a missing option means 536 or 1220 bytes already (RFC 9293 §3.7.1). Returns whether
/// something changed.
pub fn clamp(frame: &mut [u8], meta: &Meta, most: u16) -> bool {
    if !meta.is_tcp() || meta.fragment == Fragment::Later || meta.l4_flags & tcp::SYN == 0 {
        return false;
    }
    let segment = frame.get_mut(usize::from(meta.l4)..).unwrap_or_default();
    let Some(at) = find(segment) else {
        return false;
    };
    let [high, low] = [segment[at], segment[at + 1]];
    let old = u16::from_be_bytes([high, low]);
    if old <= most {
        return false;
    }
    segment[at..at + 2].copy_from_slice(&most.to_be_bytes());
    let Ok((mut header, _)) = TcpHeader::split_mut(segment) else {
        return false;
    };
    // At an odd offset the value lies across two words of the sum, its bytes swapped.
    let (old, new) = match at % 2 {
        0 => (old, most),
        _ => (old.swap_bytes(), most.swap_bytes()),
    };
    header.set_checksum(checksum::update_u16(header.checksum(), old, new));
    true
}

/// Where in the segment the value of the MSS option stands; two bytes are there. `None` without one,
/// or if the options are malformed anywhere.
fn find(segment: &[u8]) -> Option<usize> {
    let (header, _) = TcpHeader::split(segment).ok()?;
    let end = header.header_len();
    let mut rest = segment.get(tcp::LEN..end)?;
    let mut found = None;
    while let Some((&kind, after)) = rest.split_first() {
        match kind {
            END => break,
            NO_OPERATION => {
                rest = after;
                continue;
            }
            _ => {}
        }
        let len = usize::from(*after.first()?);
        if len < 2 {
            return None;
        }
        let at = end - rest.len();
        rest = rest.get(len..)?;
        if kind == MAX_SEGMENT_SIZE {
            if len != 4 || found.is_some() {
                return None;
            }
            found = Some(at + 2);
        }
    }
    found
}

#[cfg(test)]
mod tests;
