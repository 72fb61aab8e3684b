//! `vrbench program`: how fast one controller programs a running engine through the
//! socket, durably, and what that costs the packets meanwhile.
//!
//! Everything is real but the devices: the server and its client on a Unix socket, the
//! state file on the disk, the engine's worker on its own core. Packets come from a NIC
//! in memory (`wire`). Client and server share the other core or cores.

mod controller;
mod loss;
mod rig;
mod traffic;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::footprint::Footprint;
use controller::Controller;
use rig::Rig;

/// What to measure.
pub struct Plan {
    /// The worker's core.
    pub core: usize,
    /// Routes in all.
    pub routes: u32,
    /// Networks that they are spread over.
    pub vrfs: u32,
    /// Routes in one call.
    pub batch: u32,
    /// Calls that wait for their answers at a time, in bulk.
    pub bulk_calls: usize,
    /// The same of one-object commits.
    pub small_calls: usize,
    /// How long one-object commits are counted.
    pub seconds: u64,
    /// Where the state goes; the disk decides what durable costs.
    pub state_dir: PathBuf,
}

/// Measures, and tells as it goes.
///
/// # Errors
/// A sentence, if something did not work: then the numbers mean nothing.
pub fn measure(plan: &Plan) -> Result<Value, String> {
    let disk = sync_latency(plan)?;
    println!(
        "{:<46}p50 {:.2} ms, p99 {:.2} ms",
        "fdatasync of 4 KiB on this disk", disk.p50, disk.p99
    );
    let rig = Rig::start(plan)?;
    let mut controller = Controller::connect(&rig)?;
    let before = Footprint::now();
    controller.networks(plan.vrfs)?;
    let bulk = controller.routes(plan)?;
    println!("{:<46}{:.0} routes/s", "routes in bulk", bulk);
    let (all, routes) = (Footprint::now(), Footprint::now().since(before));
    println!(
        "{:<46}{routes}; the process has {all}",
        "memory of the routes"
    );
    let small = controller.small_commits(plan)?;
    println!(
        "{:<46}{small:.0} commits/s",
        "one-object commits, in flight together"
    );
    let latency = controller.latency(&rig)?;
    println!(
        "{:<46}p50 {:.2} ms, p99 {:.2} ms",
        "from call to answer, one at a time", latency.answer.p50, latency.answer.p99
    );
    println!(
        "{:<46}p50 {:.2} ms, p99 {:.2} ms",
        "from call to first packet under the new rule", latency.packet.p50, latency.packet.p99
    );
    let loss = loss::measure(plan, &rig, &mut controller)?;
    loss.print();
    Ok(json!({
        "routes": plan.routes,
        "vrfs": plan.vrfs,
        "batch": plan.batch,
        "fdatasync_ms": disk.json(),
        "routes_per_second": bulk,
        "routes_mebibytes": routes.mebibytes(),
        "process_mebibytes": all.mebibytes(),
        "commits_per_second": small,
        "answer_ms": latency.answer.json(),
        "first_packet_ms": latency.packet.json(),
        "loss": loss.json(),
    }))
}

/// Of latencies, in milliseconds.
#[derive(Clone, Copy)]
struct Latency {
    p50: f64,
    p99: f64,
}

impl Latency {
    fn of(mut all: Vec<Duration>) -> Latency {
        all.sort();
        let at = |share: f64| {
            let index = (all.len() as f64 * share) as usize;
            let found = all.get(index.min(all.len().saturating_sub(1)));
            found.map_or(0.0, |it| it.as_secs_f64() * 1e3)
        };
        Latency {
            p50: at(0.5),
            p99: at(0.99),
        }
    }

    fn json(self) -> Value {
        json!({"p50": self.p50, "p99": self.p99})
    }
}

/// What the disk takes for the least that can be made durable.
fn sync_latency(plan: &Plan) -> Result<Latency, String> {
    use std::os::unix::fs::FileExt;
    let trouble = |error: std::io::Error| format!("{}: {error}", plan.state_dir.display());
    std::fs::create_dir_all(&plan.state_dir).map_err(trouble)?;
    let path = plan.state_dir.join("sync");
    let file = std::fs::File::create(&path).map_err(trouble)?;
    let mut all = Vec::new();
    for i in 0..200_u64 {
        let began = Instant::now();
        file.write_all_at(&i.to_le_bytes().repeat(512), 0)
            .map_err(trouble)?;
        file.sync_data().map_err(trouble)?;
        all.push(began.elapsed());
    }
    std::fs::remove_file(&path).map_err(trouble)?;
    Ok(Latency::of(all))
}
