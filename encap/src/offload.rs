//! What a port did for a packet on its way in, and what it left to be done on its way out.
//!
//! A virtual machine hands over what a NIC would finish: TCP and UDP packets whose checksum covers
//! the pseudo-header only, and TCP segments far larger than the link, to be cut. A NIC on the other
//! hand says what it found when it verified a checksum. Both stand with the packet until somebody
//! acts on them; a packet made in memory has neither.

/// A packet's offload state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// What is known of its TCP or UDP checksum.
    pub l4_checksum: L4Checksum,
    /// Set if it is to be cut into several before it goes where the link is.
    pub gso: Option<Gso>,
}

/// What is known of a TCP or UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Checksum {
    /// Nothing: it was not looked at, and is the sender's business.
    Unknown,
    /// The port verified it.
    Right,
    /// The port found it wrong.
    Wrong,
    /// It is still to be computed; what stands in its place has no meaning. The payload is sound.
    Partial,
}

/// How a large TCP segment is to be cut (generic segmentation offload).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// TCP payload that each of the packets carries, in bytes; the last one what is left.
    pub mss: u16,
}

impl Offload {
    /// Nothing is known, and nothing to be done.
    pub const NONE: Self = Self {
        l4_checksum: L4Checksum::Unknown,
        gso: None,
    };

    /// Whether nothing is left to be done before the packet goes where the link is.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.gso.is_none() && self.l4_checksum != L4Checksum::Partial
    }

    /// A packet with its TCP or UDP checksum still to be computed.
    pub const PARTIAL: Self = Self {
        l4_checksum: L4Checksum::Partial,
        gso: None,
    };
}
