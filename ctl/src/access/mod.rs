//! Who may use the control protocol, how much of it, and the record of it.
//!
//! [`Settings`] is what the node file says, checked; [`Caller`] is whoever made
//! a connection; [`Limits`] is what callers can ask for at most; [`Audit`] writes
//! down who changed what. How connections are accepted and calls are let in is in
//! `server`.

pub mod audit;
mod caller;
mod limits;
mod settings;
pub mod tls;

pub use audit::Audit;
pub use caller::{Caller, Role};
pub use limits::Limits;
pub use settings::{Permissions, Settings};
