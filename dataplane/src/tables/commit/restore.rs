//! Objects that were committed before, in one go: what a daemon starts with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Draft, PortFacts, Steps};
use crate::tables::change::Refusal;
use crate::tables::spec::{Key, Name, Role};
use crate::tables::{Stored, Tables};

impl Tables {
    /// Brings in objects of any owners, as they were in the snapshot of `generation`, which the next
    /// one then is. To be asked of tables without objects.
    ///
    /// # Errors
    /// Everything that does not fit: nothing does not, unless this version wants something else of
    /// objects than the one that committed them.
    pub fn restore(
        &self,
        generation: u64,
        objects: &BTreeMap<Key, Arc<Stored>>,
    ) -> Result<Draft, Vec<Refusal>> {
        let mut draft = self.draft(&Steps::of_objects(objects), Vec::new())?;
        draft.tables.generation = generation;
        Ok(draft)
    }

    /// The same with what a device says that was opened late; `None` if there is no such vif. No
    /// commit: the configuration is the same.
    pub fn with_port(&self, name: &Name, facts: PortFacts) -> Option<Tables> {
        let vif = self.vif_named(name)?.clone();
        let mut draft = Draft::new(self, &Steps::default());
        draft.changed.updated.push(Key::Vif(name.clone()));
        draft.touched.insert(vif.vrf);
        draft.underlay_changed = vif.role == Role::Fabric;
        let (tables, _) = draft.finish(|asked| (asked == name).then_some(facts));
        Some(tables)
    }
}
