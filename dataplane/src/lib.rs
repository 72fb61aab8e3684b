//! The forwarding engine: what the configuration is ([`tables`]), what becomes
//! of a flow's first packet ([`decide`]), a packet's way ([`stage`], [`worker`])
//! and how packets come and go ([`io`]). No sockets: `ctl` speaks to controllers.

pub mod accounts;
pub mod counters;
pub mod decide;
pub mod engine;
pub mod explain;
pub mod health;
pub mod impact;
pub mod io;
pub mod memory;
pub mod reason;
pub mod replay;
pub mod resolver;
pub mod rule_counters;
pub mod sessions;
pub mod snapshot;
pub mod spread;
pub mod stage;
pub mod tables;
pub mod worker;

pub use reason::DropReason;
pub use tables::Tables;
