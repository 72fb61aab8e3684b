//! Capture file to frames.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{
    ETHERNET, MAGIC_MICROS, MAGIC_NANOS, MAGIC_NG, MAX_FRAME, NANOS_PER_SECOND, PcapError,
    PcapProblem,
};

/// Reads the frames of a capture file one by one.
///
/// Holds one frame at a time, whatever the size of the file.
pub struct PcapReader<R = BufReader<File>> {
    input: R,
    file: String,
    order: Order,
    nanos_per_tick: u64,
    /// No frame of this file is longer, in bytes.
    limit: u32,
    packet: u64,
    frame: Vec<u8>,
}

impl PcapReader {
    /// Opens a capture file and reads its header.
    ///
    /// # Errors
    /// [`PcapError`] if there is no such file, or it is not a pcap file of
    /// Ethernet frames.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, PcapError> {
        let name = path.as_ref().display().to_string();
        match File::open(path) {
            Ok(file) => Self::new(&name, BufReader::new(file)),
            Err(error) => Err(PcapError {
                file: name,
                packet: None,
                problem: PcapProblem::Io(error),
            }),
        }
    }
}

impl<R: Read> PcapReader<R> {
    /// Reads the header of a capture from `input`, which errors will call
    /// `name`.
    ///
    /// # Errors
    /// [`PcapError`] if the header is cut short or not of a pcap file of
    /// Ethernet frames.
    pub fn new(name: &str, input: R) -> Result<Self, PcapError> {
        let mut reader = Self {
            input,
            file: name.to_owned(),
            order: Order::Little,
            nanos_per_tick: 1,
            limit: 0,
            packet: 0,
            frame: Vec::new(),
        };
        match reader.read_header() {
            Ok(()) => Ok(reader),
            Err(problem) => Err(reader.error(problem)),
        }
    }

    /// The next frame with its time in nanoseconds since 1970, or `None` at the
    /// end of the file. The frame is valid until the next call.
    ///
    /// # Errors
    /// [`PcapError`] naming the packet. Nothing after it can be read.
    pub fn next_packet(&mut self) -> Result<Option<(u64, &[u8])>, PcapError> {
        self.packet += 1;
        match self.read_packet() {
            Ok(Some(time_ns)) => Ok(Some((time_ns, &self.frame))),
            Ok(None) => Ok(None),
            Err(problem) => Err(self.error(problem)),
        }
    }

    fn read_header(&mut self) -> Result<(), PcapProblem> {
        let mut header = [0; 24];
        if !read_or_end(&mut self.input, &mut header[..4])? {
            return Err(PcapProblem::NotPcap);
        }
        (self.order, self.nanos_per_tick) = kind([header[0], header[1], header[2], header[3]])?;
        if !read_or_end(&mut self.input, &mut header[4..])? {
            return Err(PcapProblem::Ends);
        }
        let [_, version, _, _, snap_len, link_type] = self.words(header);
        let version = match self.order {
            Order::Little => (version as u16, (version >> 16) as u16),
            Order::Big => ((version >> 16) as u16, version as u16),
        };
        if version != (2, 4) {
            return Err(PcapProblem::Version(version.0, version.1));
        }
        if link_type != ETHERNET {
            return Err(PcapProblem::LinkType(link_type));
        }
        // Some writers put 0 for "no limit".
        let max = MAX_FRAME as u32;
        self.limit = if snap_len == 0 {
            max
        } else {
            snap_len.min(max)
        };
        Ok(())
    }

    /// Leaves the frame in `self.frame` and returns its time.
    fn read_packet(&mut self) -> Result<Option<u64>, PcapProblem> {
        let mut header = [0; 16];
        if !read_or_end(&mut self.input, &mut header)? {
            return Ok(None);
        }
        let [seconds, ticks, len, original] = self.words(header);
        let nanos = u64::from(ticks) * self.nanos_per_tick;
        if nanos >= NANOS_PER_SECOND {
            return Err(PcapProblem::Time);
        }
        if len > self.limit {
            let limit = self.limit;
            return Err(PcapProblem::TooLong { len, limit });
        }
        if len < original {
            return Err(PcapProblem::Cut { len, original });
        }
        self.frame.resize(len as usize, 0);
        if len > 0 && !read_or_end(&mut self.input, &mut self.frame)? {
            return Err(PcapProblem::Ends);
        }
        Ok(Some(u64::from(seconds) * NANOS_PER_SECOND + nanos))
    }

    /// The header's 32-bit words in host order.
    fn words<const BYTES: usize, const WORDS: usize>(&self, header: [u8; BYTES]) -> [u32; WORDS] {
        const { assert!(BYTES == 4 * WORDS) };
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(header.as_chunks().0) {
            *word = self.order.word(*bytes);
        }
        words
    }

    fn error(&self, problem: PcapProblem) -> PcapError {
        PcapError {
            file: self.file.clone(),
            packet: (self.packet > 0).then_some(self.packet),
            problem,
        }
    }
}

/// Byte order of a capture file: that of the machine that wrote it.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }
}

/// Byte order and nanoseconds per tick, from the file's first word.
fn kind(magic: [u8; 4]) -> Result<(Order, u64), PcapProblem> {
    for order in [Order::Little, Order::Big] {
        match order.word(magic) {
            MAGIC_NANOS => return Ok((order, 1)),
            MAGIC_MICROS => return Ok((order, 1000)),
            MAGIC_NG => return Err(PcapProblem::Ng),
            _ => {}
        }
    }
    Err(PcapProblem::NotPcap)
}

/// Fills `buf`, or returns `false` if the input was at its end. An end in the
/// middle is an error.
fn read_or_end(input: &mut impl Read, buf: &mut [u8]) -> Result<bool, PcapProblem> {
    let mut filled = 0;
    while filled < buf.len() {
        match input.read(&mut buf[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(PcapProblem::Ends),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PcapProblem::Io(error)),
        }
    }
    Ok(true)
}
