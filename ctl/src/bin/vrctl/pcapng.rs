//! Captures as pcapng (draft-ietf-opsawg-pcapng): an interface for each vif by its name, packets
//! with their direction and a comment, and what was left out in the interface statistics.

use std::collections::HashMap;
use std::io::{self, Write};

/// A writer of one section.
pub(crate) struct Pcapng<'a> {
    out: &'a mut dyn Write,
    interfaces: HashMap<String, u32>,
    snap_len: u32,
}

/// One packet.
pub(crate) struct Packet<'a> {
    pub(crate) vif: &'a str,
    pub(crate) time_ns: u64,
    /// `None`: it was going neither way.
    pub(crate) is_rx: Option<bool>,
    pub(crate) len: u32,
    pub(crate) data: &'a [u8],
    /// May be empty.
    pub(crate) comment: &'a str,
}

/// What a capture counted.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Statistics {
    /// Packets the filter accepted.
    pub(crate) accepted: u64,
    /// Of them those left out.
    pub(crate) left_out: u64,
}

const ETHERNET: u32 = 1;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;
const ISB_USRDELIV: u16 = 8;

impl<'a> Pcapng<'a> {
    /// Begins a section.
    pub(crate) fn new(out: &'a mut dyn Write, snap_len: u32) -> io::Result<Pcapng<'a>> {
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes()); // byte order
        body.extend([1, 0, 0, 0]); // version 1.0
        body.extend(u64::MAX.to_le_bytes()); // of unknown length
        option(
            &mut body,
            SHB_USERAPPL,
            concat!("vrctl ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        end_options(&mut body);
        let mut pcapng = Pcapng {
            out,
            interfaces: HashMap::new(),
            snap_len,
        };
        pcapng.block(SECTION_HEADER, &body)?;
        Ok(pcapng)
    }

    /// The number of a vif's interface, which is described the first time.
    pub(crate) fn interface(&mut self, vif: &str) -> io::Result<u32> {
        if let Some(number) = self.interfaces.get(vif) {
            return Ok(*number);
        }
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(self.snap_len.to_le_bytes());
        option(&mut body, IF_NAME, vif.as_bytes());
        option(&mut body, IF_TSRESOL, &[9]); // nanoseconds
        end_options(&mut body);
        self.block(INTERFACE_DESCRIPTION, &body)?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(vif.into(), number);
        Ok(number)
    }

    /// Adds a packet.
    pub(crate) fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        let interface = self.interface(packet.vif)?;
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        time(&mut body, packet.time_ns);
        body.extend((packet.data.len() as u32).to_le_bytes());
        body.extend(packet.len.max(packet.data.len() as u32).to_le_bytes());
        body.extend(packet.data);
        pad(&mut body);
        if !packet.comment.is_empty() {
            option(&mut body, COMMENT, packet.comment.as_bytes());
        }
        if let Some(is_rx) = packet.is_rx {
            let flags: u32 = if is_rx { 0b01 } else { 0b10 };
            option(&mut body, EPB_FLAGS, &flags.to_le_bytes());
        }
        end_options(&mut body);
        self.block(ENHANCED_PACKET, &body)
    }

    /// Adds what was counted up to a time. It is counted of all vifs together and stands with the
    /// first.
    pub(crate) fn statistics(&mut self, time_ns: u64, counted: Statistics) -> io::Result<()> {
        if self.interfaces.is_empty() {
            return Ok(());
        }
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        time(&mut body, time_ns);
        if self.interfaces.len() > 1 {
            option(&mut body, COMMENT, b"of all interfaces together");
        }
        for (code, value) in [
            (ISB_IFRECV, counted.accepted),
            (ISB_IFDROP, counted.left_out),
            (ISB_FILTERACCEPT, counted.accepted),
            (
                ISB_USRDELIV,
                counted.accepted - counted.left_out.min(counted.accepted),
            ),
        ] {
            option(&mut body, code, &value.to_le_bytes());
        }
        end_options(&mut body);
        self.block(INTERFACE_STATISTICS, &body)
    }

    /// Hands on what has been written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = (body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(body)?;
        self.out.write_all(&len)
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn end_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn time(body: &mut Vec<u8>, ns: u64) {
    body.extend(((ns >> 32) as u32).to_le_bytes());
    body.extend((ns as u32).to_le_bytes());
}

/// Everything is a multiple of four bytes long.
fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}
