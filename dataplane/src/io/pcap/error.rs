//! What can be wrong with a capture file.

use std::{fmt, io};

use super::MAX_FRAME;

/// What is wrong with a capture file, and where.
#[derive(Debug)]
pub struct PcapError {
    /// The file, as the caller named it.
    pub file: String,
    /// The packet concerned, counted from 1; `None` for the file as a whole.
    pub packet: Option<u64>,
    /// What is wrong.
    pub problem: PcapProblem,
}

/// What is wrong, without the where.
#[derive(Debug)]
pub enum PcapProblem {
    /// The file could not be read or written.
    Io(io::Error),
    /// The first bytes belong to no capture format.
    NotPcap,
    /// It is a pcapng file.
    Ng,
    /// A version of the format other than 2.4.
    Version(u16, u16),
    /// Frames of another kind than Ethernet; the number is the `LINKTYPE_`.
    LinkType(u32),
    /// The file ends inside a header or a frame.
    Ends,
    /// A frame of this many bytes is longer than the format or the file's own
    /// `limit` allows.
    TooLong {
        /// Length of the frame in bytes.
        len: u32,
        /// What was allowed.
        limit: u32,
    },
    /// Only the first `len` of `original` bytes were captured.
    Cut {
        /// Bytes in the file.
        len: u32,
        /// Bytes that were on the wire.
        original: u32,
    },
    /// A timestamp whose fraction is a second or more, or after the year 2106.
    Time,
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if let Some(packet) = self.packet {
            write!(f, "packet {packet}: ")?;
        }
        write!(f, "{}", self.problem)
    }
}

impl fmt::Display for PcapProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::NotPcap => write!(f, "this is not a pcap file"),
            Self::Ng => write!(
                f,
                "this is a pcapng file; convert it with `editcap -F pcap IN OUT`"
            ),
            Self::Version(major, minor) => {
                write!(f, "pcap version {major}.{minor}; only 2.4 can be read")
            }
            Self::LinkType(number) => {
                write!(f, "link type {number}; only Ethernet (1) can be read")
            }
            Self::Ends => write!(f, "the file ends in the middle of it"),
            Self::TooLong { len, limit } => {
                write!(f, "a frame of {len} bytes where at most {limit} may be")
            }
            Self::Cut { len, original } => write!(
                f,
                "only {len} of {original} bytes were captured; capture whole frames (`-s {MAX_FRAME}`)"
            ),
            Self::Time => write!(f, "the timestamp is out of range"),
        }
    }
}

impl std::error::Error for PcapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            PcapProblem::Io(error) => Some(error),
            _ => None,
        }
    }
}
