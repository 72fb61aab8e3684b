//! One flow as a collector is told of it.

use std::net::IpAddr;

use dataplane::sessions::Ended;
use flowtable::{Class, Counters, Ending, FlowView, Ticks};

/// `flowEndReason` (RFC 5102 §5.11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EndReason {
    /// It timed out.
    Idle = 1,
    /// Its connection ended.
    Detected = 3,
    /// The configuration or an operator ended it.
    Forced = 4,
    /// Another flow needed the room.
    LackOfResources = 5,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The address.
    pub addr: IpAddr,
    /// The port, the identifier of an ICMP query, or 0.
    pub port: u16,
}

/// The rule that let a flow through on one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// The policy's name; empty without one.
    pub policy: String,
    /// The rule's id.
    pub rule: u32,
}

/// A flow that ended. Source is who began it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Milliseconds since 1970.
    pub start_ms: u64,
    /// When its last packet was seen, in the same way.
    pub end_ms: u64,
    /// From the source.
    pub forward: Counters,
    /// To the source.
    pub reverse: Counters,
    /// IP protocol number as the source sends it.
    pub protocol: u8,
    /// Why it ended.
    pub reason: EndReason,
    /// The network it began in, and the one it left by, as indices.
    pub vrfs: (u32, u32),
    /// Both ends as the source knows them.
    pub source: End,
    /// Both ends as the source knows them.
    pub destination: End,
    /// The source as the destination knows it.
    pub translated_source: End,
    /// The destination as it was reached.
    pub translated_destination: End,
    /// On the sender's side.
    pub egress: Admitted,
    /// On the receiver's side.
    pub ingress: Admitted,
}

impl Record {
    /// What is told of an ended flow. `at_ms` is the time, in milliseconds since 1970, of `Ticks(0)`.
    pub fn new(ended: &Ended, at_ms: u64, admitted: [Admitted; 2]) -> Record {
        let flow = &ended.flow;
        let wall = |ticks: Ticks| at_ms + u64::from(ticks.0);
        let end = |addr, port| End { addr, port };
        let (forward, reverse) = (&flow.forward, &flow.reverse);
        let [egress, ingress] = admitted;
        Record {
            start_ms: wall(flow.start),
            end_ms: wall(flow.last_seen.latest(flow.start)),
            forward: flow.forward_counters,
            reverse: flow.reverse_counters,
            protocol: forward.protocol(),
            reason: reason(flow, ended.ending),
            vrfs: (forward.zone().value() >> 1, reverse.zone().value() >> 1),
            source: end(forward.src_addr(), forward.src_port()),
            destination: end(forward.dst_addr(), forward.dst_port()),
            translated_source: end(reverse.dst_addr(), reverse.dst_port()),
            translated_destination: end(reverse.src_addr(), reverse.src_port()),
            egress,
            ingress,
        }
    }
}

fn reason(flow: &FlowView, ending: Ending) -> EndReason {
    match (ending, flow.class) {
        (Ending::Idle, Class::Closed) => EndReason::Detected,
        (Ending::Idle, _) => EndReason::Idle,
        // The same ports began another connection.
        (Ending::Removed, Class::Closed) => EndReason::Detected,
        (Ending::Removed, _) => EndReason::Forced,
        (Ending::Evicted, _) => EndReason::LackOfResources,
    }
}
