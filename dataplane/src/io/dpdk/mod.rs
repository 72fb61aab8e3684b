//! DPDK made safe: the environment, packet buffers, and ports as [`super::Devices`].
//!
//! ```text
//! Eal::start ──► Eal ──► Mempool::new ──► Mempool ──► Devices::new ──► open("net_…") ──► Port
//!  once per      a         leaked:          Copy        probes,          queues to workers,
//!  process     token     mbufs point      handle       configures        control to the owner
//!                          into it
//! ```
//!
//! What lives how long: the environment and the pools until the process ends,
//! because a buffer is one bare pointer and must never outlive them; a port until
//! the last of its handles is dropped; a buffer until it is transmitted or
//! dropped.
//!
//! What DPDK 22.11 itself does wrong, found by trying:
//! - A memif peer that leaves during a burst takes the process with it: the
//!   driver unmaps the shared memory under the worker. Only for trusted peers;
//!   guests get vhost-user. Each closed memif server also leaks a descriptor.
//! - An af_xdp port keeps 2048 buffers for each receive queue when it closes.
//! - af_packet hands over frames cut to its `framesz` (2048 bytes by default, 66
//!   of them its own) without a word, so that one which fills it is taken for cut;
//!   and a peer's unfinished checksums as they are: `ethtool -K IFACE tx off gso
//!   off tso off` on the peer. It calls 1514 bytes the longest frame, so the MTU
//!   of its interface is set without it.
//!
//! Besides `dpdk-sys`, this is the only module with unsafe code.
#![allow(unsafe_code, reason = "DPDK is C")]

mod device;
mod driver;
mod eal;
mod flags;
mod hugepages;
mod interrupt;
mod kernel;
mod log;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod thread;

pub use device::Devices;
pub use eal::{Eal, EalError, EalOptions};
pub use hugepages::Memory;
pub use log::{LogLevel, LogSink};
pub use mbuf::Mbuf;
pub use mempool::{Mempool, MempoolConfig, MempoolError};
pub use thread::WorkerThread;
