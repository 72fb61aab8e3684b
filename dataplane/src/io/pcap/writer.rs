//! Frames to capture file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::{ETHERNET, MAGIC_NANOS, MAX_FRAME, NANOS_PER_SECOND, PcapError, PcapProblem};

/// Writes frames to a capture file: little-endian, nanosecond timestamps,
/// nothing in it but the packets, so equal packets give equal files.
pub struct PcapWriter<W: Write = BufWriter<File>> {
    output: W,
    file: String,
    packet: u64,
}

impl PcapWriter {
    /// Creates a capture file, replacing one that is there.
    ///
    /// # Errors
    /// [`PcapError`] if the file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, PcapError> {
        let name = path.as_ref().display().to_string();
        match File::create(path) {
            Ok(file) => Self::new(&name, BufWriter::new(file)),
            Err(error) => Err(PcapError {
                file: name,
                packet: None,
                problem: PcapProblem::Io(error),
            }),
        }
    }
}

impl<W: Write> PcapWriter<W> {
    /// Writes the header of a capture to `output`, which errors will call
    /// `name`.
    ///
    /// # Errors
    /// [`PcapError`] if the output refuses.
    pub fn new(name: &str, output: W) -> Result<Self, PcapError> {
        let mut writer = Self {
            output,
            file: name.to_owned(),
            packet: 0,
        };
        let version = 2 | 4 << 16;
        let header = [MAGIC_NANOS, version, 0, 0, MAX_FRAME as u32, ETHERNET];
        match writer.write_words(header) {
            Ok(()) => Ok(writer),
            Err(problem) => Err(writer.error(problem)),
        }
    }

    /// Appends a frame that was seen `time_ns` nanoseconds after 1970.
    ///
    /// # Errors
    /// [`PcapError`] if the frame is longer than [`MAX_FRAME`], the time after
    /// 2106, or the output refuses.
    pub fn write(&mut self, time_ns: u64, frame: &[u8]) -> Result<(), PcapError> {
        self.packet += 1;
        self.write_packet(time_ns, frame)
            .map_err(|problem| self.error(problem))
    }

    /// Writes out what is buffered and returns the output. Dropping the writer
    /// does the same, but an error is lost.
    ///
    /// # Errors
    /// [`PcapError`] if the output refuses, for example because the disk is
    /// full.
    pub fn finish(mut self) -> Result<W, PcapError> {
        match self.output.flush() {
            Ok(()) => Ok(self.output),
            Err(error) => Err(self.error(PcapProblem::Io(error))),
        }
    }

    fn write_packet(&mut self, time_ns: u64, frame: &[u8]) -> Result<(), PcapProblem> {
        if frame.len() > MAX_FRAME {
            return Err(PcapProblem::TooLong {
                len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
                limit: MAX_FRAME as u32,
            });
        }
        let Ok(seconds) = u32::try_from(time_ns / NANOS_PER_SECOND) else {
            return Err(PcapProblem::Time);
        };
        let nanos = (time_ns % NANOS_PER_SECOND) as u32;
        let len = frame.len() as u32;
        self.write_words([seconds, nanos, len, len])?;
        self.output.write_all(frame).map_err(PcapProblem::Io)
    }

    fn write_words<const N: usize>(&mut self, words: [u32; N]) -> Result<(), PcapProblem> {
        let bytes = words.map(u32::to_le_bytes);
        self.output
            .write_all(bytes.as_flattened())
            .map_err(PcapProblem::Io)
    }

    fn error(&self, problem: PcapProblem) -> PcapError {
        PcapError {
            file: self.file.clone(),
            packet: (self.packet > 0).then_some(self.packet),
            problem,
        }
    }
}
