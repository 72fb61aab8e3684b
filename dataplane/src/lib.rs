//! The forwarding engine: tables, the decision, packet stages, workers, io.

pub mod io;
