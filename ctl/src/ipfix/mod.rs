//! Flow records for a collector: IPFIX (RFC 7011) over UDP, both directions of a flow in one record
//! (RFC 5103).
//!
//! A record is sent when its flow has ended, within a second. What waits is bounded by the ledger
//! it comes from; UDP to a collector that is away is lost, as it is (RFC 7011 §10.3), but never
//! waited for.

mod exporter;
mod message;
mod record;
mod rules;

pub use exporter::{Exporter, Settings, Totals};
pub use record::Record;
pub use rules::Rules;

/// The enterprise number of this exporter's own information elements: the one that RFC 5612 keeps for
/// documentation, as none was assigned. Elements: 1 and 3 the names of the policies of the sender's
/// and of the receiver's side, 2 and 4 the ids of their rules.
pub const ENTERPRISE: u32 = 32_473;
