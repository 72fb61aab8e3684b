//! Alarms of capacities: a line in the log when one begins and when it ends.

use std::collections::BTreeSet;
use std::time::Duration;

use dataplane::engine::{PoolStats, pool_stats};
use dataplane::sessions::Transport;
use dataplane::tables::spec::Name;
use encap::Buffer;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{SharedEngine, lock};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the pools until the engine is stopped.
pub(super) async fn watch<B: Buffer + Send + 'static>(engine: SharedEngine<B>) {
    let mut alarmed = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let engine = engine.clone();
        let tables = spawn_blocking(move || lock(&engine).as_ref().map(|engine| engine.tables()));
        let Ok(Some(tables)) = tables.await else {
            return std::future::pending().await;
        };
        for pool in pool_stats(&tables) {
            tell(&mut alarmed, &pool);
        }
    }
}

fn tell(alarmed: &mut BTreeSet<Name>, pool: &PoolStats) {
    let (name, usage) = (&pool.name, &pool.usage);
    if !usage.is_alarmed {
        if alarmed.remove(name) {
            info!("snat_pool {name} has ports enough again");
        }
        return;
    }
    if alarmed.insert(name.clone()) {
        let fullest = Transport::ALL.into_iter();
        let fullest = fullest.max_by_key(|transport| usage.used[*transport as usize]);
        let fullest = fullest.unwrap_or(Transport::Tcp);
        let (used, limit) = (usage.used[fullest as usize], usage.limit);
        let transport = fullest.name();
        warn!("snat_pool {name} runs out of {transport} ports: {used} of {limit} are taken");
    }
}
