//! Capture files in the classic pcap format, read and written as streams.
//!
//! Reads both byte orders with micro- or nanosecond timestamps; always writes
//! little-endian nanoseconds, so that the same packets give the same bytes.
//! Ethernet only. A file that is damaged, cut short or of another kind is an
//! error that names the file and the packet (counted from 1, as Wireshark does).
//!
//! The format is two fixed headers (draft-ietf-opsawg-pcap §4 and §5), less code
//! than the checks around it. Crates were weighed: pcap-file 2.0 refuses valid
//! captures whose packets are longer than the snap length and cannot name the
//! packet; pcap-parser brings nom. pcapng is left to `editcap -F pcap`.

mod error;
mod queue;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::{PcapError, PcapProblem};
pub use queue::{PcapRx, PcapTx};
pub use reader::PcapReader;
pub use writer::PcapWriter;

/// Largest frame a capture may hold, in bytes; the limit of tcpdump.
pub const MAX_FRAME: usize = 262_144;

/// First word of a file with microsecond timestamps, in the file's byte order.
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
/// The same for nanoseconds.
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
/// First word of a pcapng file; reads the same in both byte orders.
const MAGIC_NG: u32 = 0x0a0d_0d0a;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
