//! UDP ports that the process before this one had given out: they rest, as a port does that was let go
//! (RFC 6888 REQ-8), so that what is still under way to their machines reaches nobody else's.
//!
//! Whoever starts the engine says which those were; `Leftovers::hold` takes them from each pool that
//! comes to have their addresses, and `REST_MS` after the start they are free.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flowtable::Ticks;

use super::allotment::Allotment;
use super::ports::Ports;
use super::transport::{REST_MS, Transport};

/// Ports by address, in order.
pub type UdpPorts = BTreeMap<IpAddr, Vec<u16>>;

/// What rests since the start.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Looked at by the worker that sweeps, between batches.
    is_any: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ports: UdpPorts,
    held: Vec<(Arc<Ports>, Vec<u16>)>,
}

impl Leftovers {
    /// These had been given out. To be said before the first pool.
    pub fn inherit(&self, ports: UdpPorts) {
        self.is_any.store(!ports.is_empty(), Ordering::Relaxed);
        self.with(|state| state.ports = ports);
    }

    /// Takes them from a pool that has their addresses.
    pub(crate) fn hold(&self, allotment: &Allotment) {
        if !self.is_any.load(Ordering::Relaxed) {
            return;
        }
        self.with(|state| {
            for (addr, ports) in allotment.addresses() {
                let left = state.ports.get(&addr).into_iter().flatten().copied();
                let held: Vec<u16> = left
                    .filter(|port| ports.hold(Transport::Udp, *port))
                    .collect();
                if !held.is_empty() {
                    state.held.push((ports.clone(), held));
                }
            }
        });
    }

    /// Gives all of them back once they have rested.
    pub(super) fn release(&self, now: Ticks) {
        if now.0 < REST_MS || !self.is_any.swap(false, Ordering::Relaxed) {
            return;
        }
        self.with(|state| {
            state.ports.clear();
            for (ports, held) in state.held.drain(..) {
                for port in held {
                    ports.give_back(Transport::Udp, port);
                }
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
