//! From one snapshot to the next: all of a request, or the list of everything
//! that is wrong with it.
//!
//! [`Tables::prepare`] checks the request and builds the next snapshot beside
//! the current one. What only an opened device can tell (its MAC and MTU) is
//! filled in by [`Draft::finish`], so that devices are opened only for requests
//! that are otherwise good.

mod bridge;
mod checks;
mod claims;
mod effects;
mod groups;
mod guards;
mod health;
mod leads;
mod nat;
mod policies;
mod restore;
mod services;
mod steps;
mod uses;
mod vips;

use std::collections::BTreeSet;

use encap::MacAddr;

use super::change::{Refusal, RefusalCode, Request};
use super::spec::{self, Key, Name, Object};
use super::{FastMap, Tables, VifId, VrfId};
use steps::Steps;

/// Used when neither the object nor a device says otherwise.
const DEFAULT_MTU: u16 = 1500;

/// The next snapshot, complete but for what devices know.
pub struct Draft {
    tables: Tables,
    changed: Changed,
    /// Vrfs in which a decision may now come out differently.
    touched: BTreeSet<VrfId>,
    all_touched: bool,
    underlay_changed: bool,
    /// Removed vifs. Their indices stay taken until the draft is finished, so
    /// that no new vif gets one while workers still hold the old one's queues.
    gone_vifs: Vec<VifId>,
    /// Removed vrfs, likewise: the old one's flows are still in the table.
    gone_vrfs: Vec<VrfId>,
}

/// What a request did, in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Objects that were not there before.
    pub created: Vec<Key>,
    /// Objects that were there, and different.
    pub updated: Vec<Key>,
    /// Objects that are gone.
    pub deleted: Vec<Key>,
    /// How many named objects were already as wanted.
    pub unchanged: usize,
}

/// What a device says about itself.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts {
    /// Its MAC.
    pub mac: MacAddr,
    /// Largest IP packet it takes, in bytes.
    pub mtu: u16,
    /// It takes packets whose TCP or UDP checksum is still to be computed.
    pub finishes_checksums: bool,
}

impl Tables {
    /// Checks a request against this snapshot and builds the next one.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn prepare(&self, request: &Request) -> Result<Draft, Vec<Refusal>> {
        if let Some(wanted) = request.if_generation
            && wanted != self.generation
        {
            return Err(vec![Refusal {
                code: RefusalCode::StaleGeneration,
                object: None,
                field: "if_generation".into(),
                reason: format!(
                    "the generation is {}, not {wanted}: read the objects again and retry",
                    self.generation
                ),
                conflict: None,
            }]);
        }
        let mut refusals = Vec::new();
        let steps = Steps::of_request(self, request, &mut refusals);
        self.draft(&steps, refusals)
    }

    /// The next snapshot.
    fn draft(&self, steps: &Steps, mut refusals: Vec<Refusal>) -> Result<Draft, Vec<Refusal>> {
        let mut draft = Draft::new(self, steps);
        draft.store(steps);
        draft.check_references(steps, &mut refusals);
        draft.unlead(steps);
        draft.withdraw(steps);
        draft.install(steps, &mut refusals);
        draft.refresh_nat(steps, &mut refusals);
        draft.install_policies(steps, &mut refusals);
        draft.lead(steps);
        draft.resolve_guards(steps);
        checks::check_devices(steps, &mut refusals);
        checks::check_guards(steps, &mut refusals);
        draft.check_router_macs(steps, &mut refusals);
        draft.check_standing_tunnels(steps, &mut refusals);
        draft.check_uses(steps, &mut refusals);
        draft.check_bridging(steps, &mut refusals);
        draft.check_groups(steps, &mut refusals);
        draft.check_services(steps, &mut refusals);
        draft.check_local_addresses(steps, &mut refusals);
        if refusals.is_empty() {
            Ok(draft)
        } else {
            refusals.sort_by(|a, b| a.object.cmp(&b.object));
            Err(refusals)
        }
    }

    /// The snapshot that a request would make, as far as that can be told without opening devices:
    /// those that are there stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn foresee(&self, request: &Request) -> Result<(Tables, Changed), Vec<Refusal>> {
        let facts = |name: &Name| {
            let vif = self.vif_named(name)?;
            Some(PortFacts {
                mac: vif.mac,
                mtu: vif.mtu,
                finishes_checksums: vif.finishes_checksums,
            })
        };
        Ok(self.prepare(request)?.finish(facts))
    }
}

impl Draft {
    fn new(base: &Tables, steps: &Steps) -> Draft {
        let mut changed = Changed {
            unchanged: steps.unchanged,
            ..Changed::default()
        };
        for (key, old, new) in steps.iter() {
            match (old, new) {
                (None, _) => changed.created.push(key.clone()),
                (Some(_), Some(_)) => changed.updated.push(key.clone()),
                (Some(_), None) => changed.deleted.push(key.clone()),
            }
        }
        let mut tables = base.clone();
        if !changed.is_empty() {
            tables.generation += 1;
        }
        Draft {
            tables,
            changed,
            touched: BTreeSet::new(),
            all_touched: false,
            underlay_changed: false,
            gone_vifs: Vec::new(),
            gone_vrfs: Vec::new(),
        }
    }

    /// What the request changes.
    pub fn changed(&self) -> &Changed {
        &self.changed
    }

    /// The snapshot so far: names and indices are final.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Fills in what devices know and returns the finished snapshot. `facts` is
    /// asked for created and updated vifs; `None` stands for a vif without a
    /// device, as in a replay.
    pub fn finish(mut self, facts: impl Fn(&Name) -> Option<PortFacts>) -> (Tables, Changed) {
        for id in &self.gone_vifs {
            self.tables.vifs.remove(id.0);
        }
        for id in &self.gone_vrfs {
            self.tables.vrfs.remove(id.0);
        }
        let vifs: Vec<_> = self
            .changed
            .created
            .iter()
            .chain(&self.changed.updated)
            .cloned()
            .collect();
        for key in &vifs {
            if let (Key::Vif(name), Some(stored)) = (key, self.tables.objects.get(key))
                && let Object::Vif(spec) = stored.object.clone()
            {
                self.fill_in(&spec, facts(name));
            }
        }
        let tables = &mut self.tables;
        if self.underlay_changed {
            tables.resolve_underlay();
        } else {
            let mut groups = Vec::new();
            for key in &self.changed.created {
                if let (Key::Nexthop(_), Some(stored)) = (key, tables.objects.get(key))
                    && let Object::Nexthop(nexthop) = stored.object.clone()
                {
                    match nexthop.action.has_members() {
                        // Its members first.
                        true => groups.push(nexthop),
                        false => tables.resolve_one(&nexthop),
                    }
                }
            }
            groups.iter().for_each(|group| tables.resolve_one(group));
        }
        tables.lend_addresses();
        if self.all_touched {
            self.touched.extend((0..tables.vrfs.bound()).map(VrfId));
        }
        self.touch_connected();
        self.renew_epochs();
        (self.tables, self.changed)
    }

    /// Has the flows of touched vrfs decided again.
    fn renew_epochs(&mut self) {
        let tables = &mut self.tables;
        tables.revision = tables.revision.wrapping_add(1);
        for id in &self.touched {
            if let Some(vrf) = tables.vrfs.get_mut(id.0) {
                vrf.epoch = tables.revision;
            }
        }
    }

    fn fill_in(&mut self, spec: &spec::Vif, facts: Option<PortFacts>) {
        let Some(id) = self.tables.names.vifs.get(&spec.name).copied() else {
            return;
        };
        if let Some(vif) = self.tables.vifs.get_mut(id.0) {
            vif.mac = spec
                .mac
                .or(facts.map(|facts| facts.mac))
                .unwrap_or_else(|| derived_mac(&spec.name));
            vif.mtu = spec
                .mtu
                .or(facts.map(|facts| facts.mtu))
                .unwrap_or(DEFAULT_MTU);
            vif.finishes_checksums = facts.is_some_and(|facts| facts.finishes_checksums);
        }
    }

    /// Enters the new objects and counts who mentions whom.
    fn store(&mut self, steps: &Steps) {
        let tables = &mut self.tables;
        // Many routes mention the same network and nexthop.
        let mut mentions: FastMap<Key, i32> = FastMap::default();
        for step in steps.stored() {
            for (_, mentioned) in step.old.iter().flat_map(|old| old.object.references()) {
                *mentions.entry(mentioned).or_default() -= 1;
            }
            for (_, mentioned) in step.new.iter().flat_map(|new| new.object.references()) {
                *mentions.entry(mentioned).or_default() += 1;
            }
            if let Key::Nexthop(name) = &step.key {
                match &step.new {
                    Some(new) => _ = tables.nexthop_objects.insert(name.clone(), new.clone()),
                    None => _ = tables.nexthop_objects.remove(name),
                }
            }
            match &step.new {
                Some(new) => tables.objects.insert(&step.key, new.clone()),
                None => tables.objects.remove(&step.key),
            }
        }
        for (mentioned, more) in mentions {
            let count = tables.mentions.get(&mentioned).copied().unwrap_or(0);
            match count.saturating_add_signed(more) {
                0 => _ = tables.mentions.remove(&mentioned),
                count => _ = tables.mentions.insert(mentioned, count),
            }
        }
    }
}

impl Changed {
    /// True if nothing was created, updated or deleted.
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.deleted.is_empty()
    }
}

/// The device's own name: what stands before its arguments.
pub fn device_name(device: &str) -> &str {
    device.split(',').next().unwrap_or(device)
}

/// A MAC for a vif that neither configuration nor a device gave one: locally
/// administered, and the same in every run.
fn derived_mac(name: &str) -> MacAddr {
    // FNV-1a: stable across builds and machines, which a keyed hash is not.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
