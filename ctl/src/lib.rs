//! The control protocol, its server, vrouterd and vrctl.
//!
//! ```text
//!  FILE.yaml ─ yaml ─► proto ─ client ══ Unix socket ══ server ─ convert ─► engine
//! ```
//!
//! [`proto`] are the messages as written, in `proto/vrouter/v1`; [`files`] and
//! [`config`] read them from YAML; [`convert`] turns them into the checked
//! objects of `dataplane` and back. The programs are in `src/bin`.

pub mod access;
pub mod client;
pub mod config;
pub mod convert;
pub mod files;
pub mod flows;
pub mod ipfix;
pub mod learned;
pub mod metrics;
pub mod proto;
pub mod server;
pub mod state;
mod yaml;
