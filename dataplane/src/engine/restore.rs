//! Starting with what was committed before, devices or no devices.
//!
//! At a start a device may be missing that was there when its vif was committed: a
//! machine that is not up yet, an interface under another name. The vif is then
//! there without it, and the rest of the node forwards: what goes to the vif is
//! dropped as `vif_gone`, its MAC and MTU are what its object says or would be
//! without a device. [`Engine::open_missing`] asks again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use encap::Buffer;

use super::{Engine, accounts, facts};
use crate::io::DeviceError;
use crate::tables::Stored;
use crate::tables::change::Refusal;
use crate::tables::commit::PortFacts;
use crate::tables::spec::{Key, Name, Object};

/// A vif without its device, and why.
pub type Missing = (Name, DeviceError);

impl<B: Buffer + Send + 'static> Engine<B> {
    /// Puts in force what was committed before, under the generation it had; returns the vifs whose
    /// devices cannot be opened. To be asked of an engine without objects.
    ///
    /// # Errors
    /// As [`Tables::restore`](crate::tables::Tables::restore).
    pub fn restore(
        &mut self,
        generation: u64,
        objects: &BTreeMap<Key, Arc<Stored>>,
    ) -> Result<Vec<Missing>, Vec<Refusal>> {
        let publisher = self.publisher.clone();
        let mut publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let draft = publisher.current().restore(generation, objects)?;
        let mut missing = Vec::new();
        let mut opened = Vec::new();
        for stored in objects.values() {
            let Object::Vif(vif) = &stored.object else {
                continue;
            };
            let queues = self.workers.len();
            match self.devices.open_for(&vif.device, queues, vif.mtu) {
                Ok(port) => opened.push((vif.name.clone(), port)),
                Err(error) => missing.push((vif.name.clone(), error)),
            }
        }
        let facts: HashMap<Name, PortFacts> = opened
            .iter()
            .map(|(name, port)| (name.clone(), facts(&*port.control)))
            .collect();
        let (tables, changed) = draft.finish(|name| facts.get(name).copied());
        let tables = Arc::new(tables);
        accounts::set_quotas(&self.flows, &tables, &changed);
        let receivers = self.attach_senders(&tables, opened);
        publisher.publish(tables);
        drop(publisher);
        for (vif, queues) in receivers {
            self.attach_receivers(&vif, queues);
        }
        self.missing = missing.iter().map(|(name, _)| name.clone()).collect();
        Ok(missing)
    }

    /// The vifs that are without their devices since the start.
    pub fn missing(&self) -> impl Iterator<Item = &Name> {
        self.missing.iter()
    }

    /// Tries to open the devices that were missing at the start; returns the vifs that have theirs
    /// now. A vif that was deleted since is forgotten.
    pub fn open_missing(&mut self) -> Vec<Name> {
        let mut found = Vec::new();
        for name in std::mem::take(&mut self.missing) {
            let tables = self.tables();
            let Some(Object::Vif(vif)) = tables
                .object(&Key::Vif(name.clone()))
                .map(|stored| &stored.object)
            else {
                continue;
            };
            // Deleted and made anew: that has opened it.
            if self.ports.is_open(&name) {
                continue;
            }
            let queues = self.workers.len();
            match self.devices.open_for(&vif.device, queues, vif.mtu) {
                Ok(port) => {
                    let facts = facts(&*port.control);
                    let publisher = self.publisher.clone();
                    let mut publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
                    let Some(next) = publisher.current().with_port(&name, facts) else {
                        continue;
                    };
                    let next = Arc::new(next);
                    let receivers = self.attach_senders(&next, vec![(name.clone(), port)]);
                    publisher.publish(next);
                    drop(publisher);
                    for (vif, queues) in receivers {
                        self.attach_receivers(&vif, queues);
                    }
                    found.push(name);
                }
                Err(_) => _ = self.missing.insert(name),
            }
        }
        found
    }
}
