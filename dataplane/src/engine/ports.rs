//! The control halves of open devices, and a thread that watches the uplinks'
//! links.
//!
//! Asking a device for its link may take a system call or longer, so no worker
//! does it. What the thread sees goes into the vif's [`LinkState`], which workers
//! read per packet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::EngineError;
use crate::io::{DeviceError, Link, PortControl, PortStats};
use crate::tables::commit::PortFacts;
use crate::tables::link::LinkState;
use crate::tables::spec::Name;

/// Between two looks at the links of uplinks and of groups' members: some four system calls for each,
/// and a failure costs its flows 50 ms at most.
const LOOK: Duration = Duration::from_millis(50);

/// Open devices by the names of their vifs.
pub(super) struct Ports {
    open: Arc<Mutex<Open>>,
    /// Ends the watching when dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Open = HashMap<Name, Controlled>;

struct Controlled {
    control: Box<dyn PortControl>,
    /// Kept up to date where somebody wants to know.
    link: Arc<LinkState>,
}

impl Ports {
    /// None is open yet; starts watching.
    ///
    /// # Errors
    /// [`EngineError::Thread`].
    pub(super) fn new() -> Result<Ports, EngineError> {
        let open = Arc::<Mutex<Open>>::default();
        let (stop, stopped) = bounded::<()>(0);
        let watched = open.clone();
        let thread = std::thread::Builder::new()
            .name("links".into())
            .spawn(move || {
                while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    look(&lock(&watched));
                }
            })
            .map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(Ports {
            open,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Takes over a device; `link` is to follow the device's.
    pub(super) fn insert(&self, name: Name, control: Box<dyn PortControl>, link: Arc<LinkState>) {
        let port = Controlled { control, link };
        let mut open = lock(&self.open);
        open.insert(name, port);
        look(&open);
    }

    /// Has a device carry IP packets of `mtu` bytes, if it is open.
    ///
    /// # Errors
    /// As [`PortControl::raise_mtu`].
    pub(super) fn raise_mtu(&self, name: &Name, mtu: u16) -> Result<(), DeviceError> {
        match lock(&self.open).get_mut(name) {
            Some(port) => port.control.raise_mtu(mtu),
            None => Ok(()),
        }
    }

    /// True if the device of a vif is open.
    pub(super) fn is_open(&self, name: &Name) -> bool {
        lock(&self.open).contains_key(name)
    }

    /// Closes the device of a vif.
    pub(super) fn close(&self, name: &Name) {
        let port = lock(&self.open).remove(name);
        if let Some(port) = port {
            port.control.close();
        }
    }

    /// What all devices say about themselves.
    pub(super) fn facts(&self) -> HashMap<Name, PortFacts> {
        let open = lock(&self.open);
        let facts = open.iter().map(|(name, port)| {
            let facts = super::facts(&*port.control);
            (name.clone(), facts)
        });
        facts.collect()
    }

    /// The link and the counters of one device; zero if it is not open.
    pub(super) fn state(&self, name: &Name) -> (Link, PortStats) {
        let open = lock(&self.open);
        let port = open.get(name);
        port.map(|port| (port.control.link(), port.control.stats()))
            .unwrap_or_default()
    }

    /// Ends the watching and closes all devices.
    pub(super) fn shut_down(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let open: Vec<_> = lock(&self.open).drain().collect();
        for (_, port) in open {
            port.control.close();
        }
    }
}

fn look(open: &Open) {
    for port in open.values() {
        if port.link.is_watched() {
            port.link.set(port.control.link().up);
        }
    }
}

/// A panic elsewhere leaves the devices as open as before.
fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
