//! What would become of a packet, and why: step by step, with the objects that say so.
//!
//! There is no second definition of what a packet meets: a worker of its own takes the packet through
//! the same stages as any (`trial`), with a copy of the state (`Tables::apart`) and copies of the
//! flows that matter, and somebody looks on (`recorder`). The steps of the decision are those that
//! [`crate::decide::decide`] tells. What is done leaves no trace: no binding, port or affinity is
//! taken, no flow, counter, token bucket or neighbour changes.
//!
//! What only a worker knows is not seen: fragments and packets that it holds, and how many errors it
//! has sent lately.

mod decision;
pub mod frame;
mod recorder;
mod story;
mod trial;
mod words;

use flowtable::{FlowTable, Ticks};

use crate::reason::DropReason;
use crate::tables::Tables;
use crate::tables::spec::{Key, Name};

/// What an explanation is about.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// The configuration: that in force, an older one, or one that might come.
    pub tables: &'a Tables,
    /// The engine's flows.
    pub flows: &'a FlowTable,
    /// The engine's clock.
    pub now: Ticks,
    /// ICMP errors sent to one source in a second; 0: none.
    pub icmp_errors_per_second: u32,
}

/// A packet that arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The vif that it arrives by.
    pub vif: Name,
    /// Its bytes, from the Ethernet header on, with the vif's VLAN tag if that has one.
    pub frame: Vec<u8>,
}

/// What becomes of a packet, and why.
#[derive(Clone, Debug)]
pub struct Account {
    /// The packet.
    pub packet: Packet,
    /// What it met, in order.
    pub steps: Vec<Step>,
    /// In short.
    pub verdict: Verdict,
    /// Frames that leave, in order: the packet, copies of it, or what its sender is told.
    pub sent: Vec<Sent>,
    /// What is dropped and how often, with the vif for which it counts.
    pub drops: Vec<(Name, DropReason, u64)>,
    /// Frames that end here as they should.
    pub consumed: u64,
    /// Frames that are made here.
    pub originated: u64,
    /// Something waits, for a neighbour or for other fragments.
    pub waits: bool,
}

/// What becomes of a packet in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It leaves, or its answer does.
    Sent,
    /// It goes no further; its sender may be told.
    Dropped(DropReason),
    /// It is for the vrouter itself.
    Consumed,
    /// It waits, for a neighbour's MAC or for other fragments.
    Waits,
}

/// One thing that a packet met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The kind of thing in a word or two: `arrival`, `route`, `egress policy`, `dropped`.
    pub stage: &'static str,
    /// What was found, in a sentence.
    pub text: String,
    /// The objects that say so.
    pub objects: Vec<Mention>,
    /// What else there was to choose from, each with why it was not taken.
    pub rejected: Vec<String>,
}

/// An object that has a part in what becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The object.
    pub key: Key,
    /// Of a policy, the id of the rule.
    pub rule: Option<u32>,
    /// The generation that made the object what it is.
    pub generation: u64,
}

/// A frame that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The vif.
    pub vif: Name,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// How many of them are the outer headers of a tunnel; 0: it is in none.
    pub outer_len: usize,
}

/// Explains packets one after the other; what an earlier one leaves behind (a flow, a fragment) is
/// there for the next. Packets into vifs that are not there are dropped as `vif_gone`.
pub fn explain(setting: &Setting, packets: &[Packet]) -> Vec<Account> {
    let (tables, all) = trial::run(setting, packets);
    let accounts = packets.iter().zip(all).map(|(packet, tried)| {
        let told = tables.vif_named(&packet.vif);
        let told = told.map(|vif| story::tell(&tables, vif, &tried));
        let (steps, verdict) =
            told.unwrap_or_else(|| (Vec::new(), Verdict::Dropped(DropReason::VifGone)));
        Account {
            packet: packet.clone(),
            steps,
            verdict,
            sent: story::sent(&tried),
            drops: tried.drops,
            consumed: tried.consumed,
            originated: tried.originated,
            waits: tried.waits,
        }
    });
    accounts.collect()
}
