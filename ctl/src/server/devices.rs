//! Devices that were missing at the start: tried again until they are there.

use std::time::Duration;

use encap::Buffer;
use tokio::task::spawn_blocking;
use tracing::info;

use super::{SharedEngine, lock};

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// Opens what is missing as it comes, and never completes.
pub(super) async fn await_missing<B: Buffer + Send + 'static>(engine: SharedEngine<B>) {
    loop {
        let shared = engine.clone();
        let look = spawn_blocking(move || {
            let mut engine = lock(&shared);
            let engine = engine.as_mut()?;
            for vif in engine.open_missing() {
                info!("vif {vif} has its device now");
            }
            engine.missing().next().map(drop)
        });
        if !matches!(look.await, Ok(Some(()))) {
            // None is missing any more, or the daemon stops.
            return std::future::pending().await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
