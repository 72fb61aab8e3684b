//! The control protocol, its server, vrouterd and vrctl.

pub mod client;
pub mod config;
pub mod convert;
pub mod files;
pub mod proto;
mod yaml;
