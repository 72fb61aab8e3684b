//! The parts of `vrbench`: the engine between sources and a sink in memory, the
//! flow table by itself and beside others, and the report.

pub mod engine;
pub mod footprint;
pub mod program;
pub mod report;
#[cfg(feature = "dpdk")]
pub mod rig;
pub mod table;
