//! What whole-system scenarios are made of: network namespaces, the programs
//! under test, traffic that checks itself, and replayed captures.
//!
//! The scenarios are in `tests/`, one file per subject. Frames and expectations
//! come from scapy (`scapy/*.py`), tshark and the Linux kernel, never from the
//! code under test. Scenarios that need root say so and pass without it.

pub mod command;
pub mod conversation;
pub mod lab;
pub mod ledger;
pub mod machine;
pub mod openvswitch;
pub mod process;
pub mod programs;
pub mod replay;
pub mod scratch;
pub mod topology;
pub mod traffic;
pub mod tshark;
pub mod vrouter;
pub mod wait;

pub use command::{Output, run, try_run};
pub use lab::{Lab, Namespace};
pub use ledger::Ledger;
pub use machine::Machine;
pub use process::Process;
pub use scratch::Scratch;
pub use vrouter::Vrouter;
pub use wait::until;
