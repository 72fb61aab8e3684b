//! Looks how links, neighbours, backends and capacities are, and tells the journal.
//!
//! Workers are not asked: all of it stands in counters and cells that they keep
//! anyway. A look takes some microseconds for each vif and backend, twice a second.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use dataplane::engine::{PoolStats, Stats};
use dataplane::sessions::Transport;
use dataplane::tables::Tables;
use encap::Buffer;
use flowtable::Usage;
use tokio::task::spawn_blocking;

use super::journal::{Journal, Subject};
use super::{SharedEngine, lock};
use crate::proto::key::Key;
use crate::proto::watch_response::Event;
use crate::proto::{self, CapacityKind};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Looks until the engine is stopped, and then waits for ever.
pub(super) async fn observe<B: Buffer + Send + 'static>(
    engine: SharedEngine<B>,
    journal: Arc<Journal>,
) {
    loop {
        let (engine, journal) = (engine.clone(), journal.clone());
        let look = spawn_blocking(move || {
            let read = lock(&engine)
                .as_ref()
                .map(|engine| (engine.stats(), engine.tables()));
            let (stats, tables) = read?;
            Look::new(&journal).all(&stats, &tables);
            Some(())
        });
        if let Ok(None) = look.await {
            return std::future::pending().await;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One look.
struct Look<'a> {
    journal: &'a Journal,
    /// What was not met yet.
    unseen: HashSet<Subject>,
}

impl<'a> Look<'a> {
    fn new(journal: &'a Journal) -> Look<'a> {
        Look {
            journal,
            unseen: journal.subjects().into_iter().collect(),
        }
    }

    fn all(mut self, stats: &Stats, tables: &Tables) {
        self.links(stats);
        self.neighbours(tables);
        self.backends(stats, tables);
        self.capacities(stats);
        for subject in self.unseen {
            // A neighbour that is not known any more is news, unless its vif or all
            // that leads there is gone; the others' objects are gone.
            if let Subject::Neighbour(vif, address) = &subject
                && is_wanted(tables, vif, address)
            {
                let lost = neighbour(vif, address, String::new());
                self.journal.state(subject.clone(), Some(lost));
            }
            self.journal.state(subject, None);
        }
    }

    fn tell(&mut self, subject: Subject, event: Event) {
        self.unseen.remove(&subject);
        self.journal.state(subject, Some(event));
    }

    fn links(&mut self, stats: &Stats) {
        for vif in &stats.vifs {
            let link = proto::LinkEvent {
                vif: vif.name.to_string(),
                up: vif.link.up,
            };
            self.tell(Subject::Link(vif.name.to_string()), Event::Link(link));
        }
    }

    fn neighbours(&mut self, tables: &Tables) {
        for known in tables.underlay().neighbours() {
            let (Some(vif), Some(mac)) = (tables.vif(known.vif), known.mac()) else {
                continue;
            };
            let (vif, address) = (vif.name.to_string(), known.addr.to_string());
            let event = neighbour(&vif, &address, mac.to_string());
            self.tell(Subject::Neighbour(vif, address), event);
        }
    }

    fn backends(&mut self, stats: &Stats, tables: &Tables) {
        for service in &stats.services {
            let (name, starved) = (service.name.to_string(), service.is_starved);
            let of_engine = tables.service_named(&service.name);
            if of_engine.is_none_or(|(_, service)| service.health.is_none()) {
                continue;
            }
            for backend in &service.backends {
                let (address, port) = (backend.end.addr.to_string(), backend.end.port.into());
                let event = proto::BackendEvent {
                    service: name.clone(),
                    address: address.clone(),
                    port,
                    healthy: backend.is_healthy,
                    starved,
                };
                self.tell(
                    Subject::Backend(name.clone(), address, port),
                    Event::Backend(event),
                );
            }
        }
    }

    fn capacities(&mut self, stats: &Stats) {
        self.flows(CapacityKind::FlowTable, None, &stats.flows.usage);
        for vrf in &stats.vrfs {
            let owner = Key::Vrf(vrf.name.to_string());
            self.flows(CapacityKind::FlowQuota, Some(owner), &vrf.flows);
        }
        for vif in &stats.vifs {
            let owner = Key::Vif(vif.name.to_string());
            self.flows(CapacityKind::FlowQuota, Some(owner), &vif.flows);
        }
        for pool in &stats.pools {
            self.pool(pool);
        }
    }

    fn flows(&mut self, kind: CapacityKind, owner: Option<Key>, usage: &Usage) {
        let Some(limit) = usage.limit else { return };
        let (used, limit) = (u64::from(usage.used), u64::from(limit));
        let is_alarmed = |was: bool| match was {
            true => used * 10 >= limit * 7,
            false => used * 5 >= limit * 4,
        };
        self.capacity(kind, owner, used, limit, &is_alarmed);
    }

    fn pool(&mut self, pool: &PoolStats) {
        let usage = &pool.usage;
        let most = Transport::ALL.map(|transport| usage.used[transport as usize]);
        let used = most.into_iter().max().unwrap_or(0);
        let owner = Key::SnatPool(pool.name.to_string());
        let kind = CapacityKind::SnatPorts;
        let is_alarmed = |_| usage.is_alarmed;
        self.capacity(
            kind,
            Some(owner),
            used.into(),
            usage.limit.into(),
            &is_alarmed,
        );
    }

    /// Tells of alarms that begin or end, not of every flow more or less.
    fn capacity(
        &mut self,
        kind: CapacityKind,
        owner: Option<Key>,
        used: u64,
        limit: u64,
        is_alarmed: &dyn Fn(bool) -> bool,
    ) {
        let subject = Subject::Capacity(kind.into(), format!("{owner:?}"));
        let was = self.unseen.remove(&subject);
        let alarmed = is_alarmed(was);
        if was == alarmed {
            return;
        }
        let event = Event::Capacity(proto::CapacityEvent {
            kind: kind.into(),
            object: owner.map(|key| proto::Key { key: Some(key) }),
            alarmed,
            used,
            limit,
        });
        self.journal.state(subject.clone(), Some(event));
        if !alarmed {
            // Quiet is how things are unless an alarm says otherwise.
            self.journal.state(subject, None);
        }
    }
}

fn neighbour(vif: &str, address: &str, mac: String) -> Event {
    Event::Neighbour(proto::NeighbourEvent {
        vif: vif.into(),
        address: address.into(),
        mac,
    })
}

/// Whether something leads to this neighbour, answering or not.
fn is_wanted(tables: &Tables, vif: &str, address: &str) -> bool {
    tables.underlay().neighbours().any(|it| {
        let of = tables.vif(it.vif);
        of.is_some_and(|of| &*of.name == vif) && it.addr.to_string() == address
    })
}
