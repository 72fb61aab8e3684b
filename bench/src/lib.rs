//! The parts of `vrbench`: traffic, buffers without an allocator, the engine
//! between a source and a sink in memory, the flow table by itself and beside
//! others, and the report.

pub mod engine;
pub mod footprint;
pub mod frames;
pub mod program;
pub mod report;
#[cfg(feature = "dpdk")]
pub mod rig;
pub mod table;
pub mod traffic;
