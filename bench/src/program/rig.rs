//! The engine, its server and its state in this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use ctl::access::Settings;
use ctl::server::{Access, Commits, serve};
use ctl::state::State;
use dataplane::engine::{Config, Engine, Idle};
use dataplane::stage::fragments::Limits;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::Plan;
use super::traffic::Scenario;
use super::wire::{Nics, Wire};
use crate::engine::buffers::Pool;

pub(super) struct Rig {
    pub(super) wire: Arc<Wire>,
    pub(super) socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Rig {
    pub(super) fn start(plan: &Plan) -> Result<Rig, String> {
        let wire = Wire::new();
        let pool = Pool::new(4096);
        let nics = Nics {
            wire: wire.clone(),
            pool: pool.clone(),
            scenario: Scenario,
        };
        let config = Config {
            cores: vec![plan.core],
            flows: 1 << 20,
            flow_memory: dataplane::memory::Settings::default(),
            seed: [1, 2, 3, 4],
            timeouts: flowtable::Timeouts::default(),
            fragments: Limits::default(),
            reassembly: Limits::REASSEMBLY,
            icmp_errors_per_second: 0,
            // As the daemon does unless told otherwise.
            idle: Idle::default(),
            pools: vec![Box::new(pool)],
            on_health: Arc::new(|_, _| {}),
            on_thread: Arc::new(|| Box::new(())),
        };
        let engine = Engine::start(config, Box::new(nics)).map_err(|error| error.to_string())?;
        let (state, saved) = State::open(&plan.state_dir).map_err(|error| error.to_string())?;
        if saved.generation > 0 {
            return Err(format!(
                "--state-dir: {} has a state in it; name an empty directory",
                plan.state_dir.display()
            ));
        }
        let path = plan.state_dir.join("ctl.sock");
        let access = Access::open(&path, Settings::default()).map_err(|error| error.to_string())?;
        let commits = Commits::new(engine, Some(state), access.observers());
        let commits = commits.map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let serving = serve(commits, access, async { _ = stopped.await });
            let engine = runtime()?.block_on(serving);
            let engine = engine.map_err(|error| error.to_string())?;
            engine.into_iter().for_each(Engine::stop);
            Ok(())
        });
        Ok(Rig {
            wire,
            socket: path,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

pub(super) fn runtime() -> Result<Runtime, String> {
    let built = Builder::new_current_thread().enable_all().build();
    built.map_err(|error| error.to_string())
}
