//! Explicit congestion notification through a tunnel (RFC 6040), and the DSCP beside it (RFC 2983).
//!
//! Arguments are traffic class bytes, of which the two ECN bits count.

use crate::{Error, Meta, Model, rewrite};

/// The transport does not use ECN.
pub const NOT_ECT: u8 = 0b00;
/// ECN-capable, codepoint 1.
pub const ECT1: u8 = 0b01;
/// ECN-capable, codepoint 0.
pub const ECT0: u8 = 0b10;
/// Congestion experienced.
pub const CE: u8 = 0b11;

const MASK: u8 = 0b11;

/// The outer ECN field for an inner traffic class: the same (RFC 6040 §4.1, normal mode).
#[must_use]
pub const fn encapsulate(inner: u8) -> u8 {
    inner & MASK
}

/// The ECN field a packet leaves the tunnel with (RFC 6040 §4.2, Figure 4).
///
/// # Errors
/// [`Error::EcnNotCapable`] for inner Not-ECT and outer CE: the only way to tell that sender about
/// congestion is to drop the packet.
pub const fn decapsulate(inner: u8, outer: u8) -> Result<u8, Error> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => Err(Error::EcnNotCapable),
        (ECT0 | ECT1, CE) => Ok(CE),
        (ECT0, ECT1) => Ok(ECT1),
        (inner, _) => Ok(inner),
    }
}

/// Whether Figure 4 of RFC 6040 marks the pair as one that no proper tunnel entry produces, to be
/// counted and, sparingly, logged.
#[must_use]
pub const fn is_dubious(inner: u8, outer: u8) -> bool {
    matches!(
        (inner & MASK, outer & MASK),
        (NOT_ECT, ECT0 | ECT1 | CE) | (ECT1, ECT0) | (CE, ECT1)
    )
}

/// The traffic class of a packet put together from fragments: the first one's, with CE if any of them
/// has that (RFC 3168 §5.3). `all` are those of every fragment.
///
/// # Errors
/// [`Error::EcnNotCapable`] if one has CE and another Not-ECT.
pub fn of_fragments(first: u8, all: impl IntoIterator<Item = u8>) -> Result<u8, Error> {
    let (mut marked, mut not_capable) = (false, false);
    for class in all {
        marked |= class & MASK == CE;
        not_capable |= class & MASK == NOT_ECT;
    }
    match (marked, not_capable) {
        (true, true) => Err(Error::EcnNotCapable),
        (true, false) => Ok(first | CE),
        (false, _) => Ok(first),
    }
}

/// Combines the outer ECN field into the inner IP header, in place; `meta` is that of the inner
/// packet. The DSCP stays in a tunnel of the pipe model, and becomes the outer one in a uniform one
/// (RFC 2983 §3). The IPv4 checksum stays right. Frames that are not IP stay as they are.
///
/// # Errors
/// [`Error::EcnNotCapable`] as [`decapsulate`]; the packet is unchanged.
pub fn apply(
    frame: &mut [u8],
    meta: &Meta,
    outer_traffic_class: u8,
    dscp: Model,
) -> Result<(), Error> {
    if !meta.is_ip() {
        return Ok(());
    }
    let ecn = decapsulate(meta.traffic_class, outer_traffic_class)?;
    let dscp = match dscp {
        Model::Pipe => meta.traffic_class & !MASK,
        Model::Uniform => outer_traffic_class & !MASK,
    };
    if dscp | ecn != meta.traffic_class {
        rewrite::set_traffic_class(frame, meta, dscp | ecn);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
