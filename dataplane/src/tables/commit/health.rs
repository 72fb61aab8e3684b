//! What checks have found out, brought into a snapshot. No commit: the configuration is the same.

use super::{Draft, Steps};
use crate::health::News;
use crate::tables::Tables;

impl Tables {
    /// The same with what checks have found out, and new epochs where that matters to flows. `None`
    /// if none of it is news here, as for a service that is gone by now.
    pub fn with_health(&self, news: &[News]) -> Option<Tables> {
        let mut draft = Draft::new(self, &Steps::default());
        for found in news {
            let Some((id, service)) = draft.tables.service_named(&found.service) else {
                continue;
            };
            let found = [(found.backend, found.is_healthy)];
            let Some(next) = service.with_health(&found) else {
                continue;
            };
            draft.touched.extend([next.vrf, next.backend_vrf]);
            draft.tables.services.set(id.0, next);
        }
        if draft.touched.is_empty() {
            return None;
        }
        draft.touch_connected();
        draft.renew_epochs();
        Some(draft.tables)
    }
}
