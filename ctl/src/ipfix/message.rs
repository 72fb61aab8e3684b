//! Messages, templates and records as bytes (RFC 7011 §3).

use std::net::IpAddr;

use super::ENTERPRISE;
use super::record::{Admitted, End, Record};

/// Longest message: what passes any Ethernet unfragmented, over IPv6 too (RFC 7011 §10.3.3).
pub(super) const MAX_LEN: usize = 1_400;

/// Protocol version of IPFIX.
const VERSION: u16 = 10;
/// Message header, set header.
const HEADER: usize = 16;
const SET_HEADER: usize = 4;
/// Set id of templates.
const TEMPLATES: u16 = 2;
/// The reverse direction's elements have this enterprise number (RFC 5103 §6.1).
const REVERSE: u32 = 29_305;
/// Bytes of a policy's name.
const NAME: usize = 32;
/// Set on the number of an element that has an enterprise number.
const HAS_ENTERPRISE: u16 = 1 << 15;

/// Families of a flow: of its ends as the source knows them, and as the destination does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Template {
    V4 = 256,
    V6 = 257,
    /// IPv6 to IPv4.
    V64 = 258,
    /// IPv4 to IPv6.
    V46 = 259,
}

const ALL: [Template; 4] = [Template::V4, Template::V6, Template::V64, Template::V46];

/// An information element: number, bytes, enterprise.
type Element = (u16, u16, Option<u32>);

impl Template {
    pub(super) fn of(record: &Record) -> Template {
        let is_v4 = |end: &End| end.addr.is_ipv4();
        match (is_v4(&record.source), is_v4(&record.translated_source)) {
            (true, true) => Template::V4,
            (false, false) => Template::V6,
            (false, true) => Template::V64,
            (true, false) => Template::V46,
        }
    }

    fn elements(self) -> Vec<Element> {
        let own = |number, len| (number, len, Some(ENTERPRISE));
        let mut all = vec![
            (152, 8, None), // flowStartMilliseconds
            (153, 8, None), // flowEndMilliseconds
            (1, 8, None),   // octetDeltaCount
            (2, 8, None),   // packetDeltaCount
            (1, 8, Some(REVERSE)),
            (2, 8, Some(REVERSE)),
            (4, 1, None),   // protocolIdentifier
            (136, 1, None), // flowEndReason
            (239, 1, None), // biflowDirection
            (234, 4, None), // ingressVRFID
            (235, 4, None), // egressVRFID
            (7, 2, None),   // sourceTransportPort
            (11, 2, None),  // destinationTransportPort
            (227, 2, None), // postNAPTSourceTransportPort
            (228, 2, None), // postNAPTDestinationTransportPort
        ];
        all.extend(match self {
            Template::V4 | Template::V46 => [(8, 4, None), (12, 4, None)],
            Template::V6 | Template::V64 => [(27, 16, None), (28, 16, None)],
        });
        all.extend(match self {
            Template::V4 | Template::V64 => [(225, 4, None), (226, 4, None)],
            Template::V6 | Template::V46 => [(281, 16, None), (282, 16, None)],
        });
        all.extend([
            own(1, NAME as u16),
            own(2, 4),
            own(3, NAME as u16),
            own(4, 4),
        ]);
        all
    }

    /// Bytes of a record.
    pub(super) fn len(self) -> usize {
        let lens = self.elements().into_iter().map(|(_, len, _)| len);
        lens.sum::<u16>().into()
    }
}

/// A message that is being filled.
pub(super) struct Message {
    bytes: Vec<u8>,
    /// Where the last set begins, and its id.
    set: Option<(usize, u16)>,
    records: u32,
}

impl Message {
    pub(super) fn new() -> Message {
        Message {
            bytes: vec![0; HEADER],
            set: None,
            records: 0,
        }
    }

    /// How many data records are in it.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// All templates; first in a message.
    pub(super) fn push_templates(&mut self) {
        self.open(TEMPLATES);
        for template in ALL {
            let elements = template.elements();
            self.put(&(template as u16).to_be_bytes());
            self.put(&(elements.len() as u16).to_be_bytes());
            for (number, len, enterprise) in elements {
                let flag = if enterprise.is_some() {
                    HAS_ENTERPRISE
                } else {
                    0
                };
                self.put(&(number | flag).to_be_bytes());
                self.put(&len.to_be_bytes());
                if let Some(enterprise) = enterprise {
                    self.put(&enterprise.to_be_bytes());
                }
            }
        }
    }

    /// Puts a record in; false if it finds no room.
    pub(super) fn push(&mut self, record: &Record) -> bool {
        let template = Template::of(record);
        if self.bytes.len() + SET_HEADER + template.len() > MAX_LEN {
            return false;
        }
        self.open(template as u16);
        self.put_record(record);
        self.records += 1;
        true
    }

    fn put_record(&mut self, record: &Record) {
        for number in [
            record.start_ms,
            record.end_ms,
            record.forward.bytes,
            record.forward.packets,
            record.reverse.bytes,
            record.reverse.packets,
        ] {
            self.put(&number.to_be_bytes());
        }
        // The record's source is the initiator (RFC 5103 §6.3).
        self.put(&[record.protocol, record.reason as u8, 1]);
        self.put(&record.vrfs.0.to_be_bytes());
        self.put(&record.vrfs.1.to_be_bytes());
        let ends = [
            &record.source,
            &record.destination,
            &record.translated_source,
            &record.translated_destination,
        ];
        for end in ends {
            self.put(&end.port.to_be_bytes());
        }
        for end in ends {
            match end.addr {
                IpAddr::V4(addr) => self.put(&addr.octets()),
                IpAddr::V6(addr) => self.put(&addr.octets()),
            }
        }
        for Admitted { policy, rule } in [&record.egress, &record.ingress] {
            self.put(&padded(policy));
            self.put(&rule.to_be_bytes());
        }
    }

    /// Goes on in a set of this id.
    fn open(&mut self, id: u16) {
        if self.set.is_some_and(|(_, open)| open == id) {
            return;
        }
        self.close();
        self.set = Some((self.bytes.len(), id));
        self.put(&id.to_be_bytes());
        self.put(&[0; 2]);
    }

    fn close(&mut self) {
        if let Some((start, _)) = self.set.take() {
            let len = (self.bytes.len() - start) as u16;
            self.bytes[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The message as it is sent. `sequence` counts the data records before it.
    pub(super) fn finish(mut self, time_s: u32, sequence: u32, domain: u32) -> Vec<u8> {
        self.close();
        let len = self.bytes.len() as u16;
        let header = [
            u32::from(VERSION) << 16 | u32::from(len),
            time_s,
            sequence,
            domain,
        ];
        for (place, word) in self.bytes.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        self.bytes
    }
}

/// A name in as many bytes as the template says, cut between two characters if it is longer.
fn padded(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let len = (0..=NAME.min(name.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at));
    let len = len.unwrap_or(0);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    bytes
}

#[cfg(test)]
mod tests;
