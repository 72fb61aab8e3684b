//! Virtual addresses with many backends behind them.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use super::{Key, Name};

/// A virtual address, protocol and port, and the backends that flows to it are shared out to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// The network in which the address is called.
    pub vrf: Name,
    /// The virtual address; nobody else's in that network.
    pub address: IpAddr,
    /// The IP protocol number: TCP, UDP or SCTP.
    pub protocol: u8,
    /// The port called.
    pub port: u16,
    /// The network in which the backends are. `None`: the same.
    pub backend_vrf: Option<Name>,
    /// Each address and port once.
    pub backends: Vec<Backend>,
    /// A client stays with its backend until it has been silent for so many seconds. `None`: flows
    /// of one client are shared out one by one.
    pub affinity_timeout_s: Option<u32>,
    /// Entries of the Maglev table, a prime.
    pub table_size: u32,
    /// What becomes of the flows of a backend that goes down.
    pub on_down: OnDown,
    /// The backend gets packets with the virtual address, and answers itself.
    pub direct_return: bool,
    /// How backends are looked after. `None`: they are taken at their word.
    pub health: Option<HealthCheck>,
}

/// Entries of a Maglev table unless a service says otherwise.
pub const MAGLEV_TABLE_SIZE: u32 = 65_537;

/// One machine behind a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its share beside the other backends'.
    pub weight: NonZeroU16,
    /// What it may get.
    pub state: BackendState,
}

/// What a backend may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendState {
    /// New flows.
    #[default]
    Active,
    /// Only the flows it has.
    Draining,
    /// Nothing.
    Down,
}

/// What becomes of the flows of a backend that goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDown {
    /// They go to another one, which knows nothing of them.
    #[default]
    Move,
    /// TCP is reset, anything else is refused by ICMP.
    Reset,
}

/// How a backend is asked whether it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// The port asked. `None`: the backend's own.
    pub port: Option<u16>,
    /// From one question to the next.
    pub interval_ms: u32,
    /// How long an answer may take.
    pub timeout_ms: u32,
    /// Good answers in a row after which a backend is up again.
    pub rise: u8,
    /// Bad ones in a row after which it is down.
    pub fall: u8,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A TCP connection.
    Tcp,
    /// An HTTP GET that must be answered with this status.
    Http {
        /// The path, from the slash on.
        path: Arc<str>,
        /// The `Host` header. `None`: the address and port.
        host: Option<Arc<str>>,
        /// Lowest and highest status that are good.
        status: (u16, u16),
    },
}

impl Service {
    /// The objects mentioned, with the field that does.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        let backend_vrf = self.backend_vrf.clone().map(Key::Vrf);
        let backend_vrf = backend_vrf.map(|key| ("backend_vrf", key));
        let vrf = ("vrf", Key::Vrf(self.vrf.clone()));
        [vrf].into_iter().chain(backend_vrf).collect()
    }
}
