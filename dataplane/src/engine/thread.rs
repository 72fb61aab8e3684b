//! A worker's thread: pinned to its core, told what to do over a channel, and
//! patient when there is nothing to do.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use encap::Buffer;
use flowtable::Ticks;

use super::{EngineError, Idle, WorkerStats};
use crate::counters::VifCounters;
use crate::io::{RxQueue, TxQueue};
use crate::stage::fragments::Gauge;
use crate::tables::{VifId, VrfId};
use crate::worker::Worker;

/// What the control plane tells a worker. Carried out between two rounds.
pub(super) enum Command<B> {
    AttachTx(VifId, Box<dyn TxQueue<B>>),
    AttachRx(VifId, Arc<VifCounters>, Box<dyn RxQueue<B>>),
    Detach(VifId),
    Forget(VrfId),
    /// Answered when everything before it is done.
    Ping(Sender<()>),
}

/// How a worker's thread runs.
pub(super) struct Settings {
    pub(super) core: usize,
    pub(super) idle: Idle,
    pub(super) started: Instant,
    pub(super) on_thread: Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>,
}

/// The control plane's end of a worker.
pub(super) struct Handle<B> {
    core: usize,
    commands: Sender<Command<B>>,
    progress: Arc<Progress>,
    fragments: Arc<Gauge>,
    reassembly: Arc<Gauge>,
    thread: JoinHandle<()>,
}

/// Written by the worker only.
#[derive(Default)]
struct Progress {
    packets: AtomicU64,
    busy_rounds: AtomicU64,
    idle_rounds: AtomicU64,
}

/// Rounds without packets before the first nap: some tens of microseconds of
/// polling, so that a stream at 100 000 packets a second is never kept waiting.
const PATIENCE: u32 = 1_000;
/// One nap: a packet after a pause waits as long at most, and some microseconds for the core to
/// wake; more naps would cost more than a tenth of the core.
const NAP: Duration = Duration::from_micros(35);
/// How late the kernel may end a nap, in nanoseconds; by default it takes 50 µs, to end several
/// threads' at once.
const TIMER_SLACK_NS: &str = "1000";

impl<B> Handle<B> {
    pub(super) fn send(&self, command: Command<B>) {
        // A worker lives as long as its handle; if it died of a bug, its panic
        // message has said so and the rest of the node goes on.
        let _ = self.commands.send(command);
    }

    /// Returns when the worker has carried out everything sent so far.
    pub(super) fn wait(&self) {
        let (done, finished) = bounded(1);
        self.send(Command::Ping(done));
        let _ = finished.recv();
    }

    pub(super) fn stats(&self) -> WorkerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerStats {
            core: self.core,
            packets: read(&self.progress.packets),
            busy_rounds: read(&self.progress.busy_rounds),
            idle_rounds: read(&self.progress.idle_rounds),
            fragments: self.fragments.read(),
            reassembly: self.reassembly.read(),
        }
    }

    /// Ends the thread; its queues go with it.
    pub(super) fn stop(self) {
        drop(self.commands);
        let _ = self.thread.join();
    }
}

/// Checks that every core exists, may be used, and is named once.
pub(super) fn check_cores(cores: &[usize]) -> Result<(), EngineError> {
    let available: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .iter()
        .map(|core| core.id)
        .collect();
    if cores.is_empty() {
        return Err(EngineError::NoCores);
    }
    for (index, core) in cores.iter().enumerate() {
        if !available.contains(core) {
            return Err(EngineError::NoSuchCore {
                core: *core,
                available,
            });
        }
        if cores[..index].contains(core) {
            return Err(EngineError::CoreTwice(*core));
        }
    }
    Ok(())
}

pub(super) fn spawn<B: Buffer + Send + 'static>(
    worker: Worker<B>,
    settings: Settings,
) -> Result<Handle<B>, EngineError> {
    let (sender, commands) = unbounded();
    let progress = Arc::<Progress>::default();
    let counted = progress.clone();
    let (fragments, reassembly) = (worker.fragment_gauge(), worker.reassembly_gauge());
    let core = settings.core;
    let thread = std::thread::Builder::new()
        .name(format!("worker-{core}"))
        .spawn(move || {
            core_affinity::set_for_current(core_affinity::CoreId { id: core });
            wake_in_time();
            let _kept = (settings.on_thread)();
            run(worker, &commands, &settings, &counted);
        })
        .map_err(|error| EngineError::Thread(error.to_string()))?;
    Ok(Handle {
        core,
        commands: sender,
        progress,
        fragments,
        reassembly,
        thread,
    })
}

/// Has the kernel end naps of this thread when they are over. Where it refuses, naps are longer.
fn wake_in_time() {
    // Threads have such a file under their own number only.
    let own = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    if let Some(thread) = own.file_name() {
        let file = std::path::Path::new("/proc").join(thread);
        _ = std::fs::write(file.join("timerslack_ns"), TIMER_SLACK_NS);
    }
}

/// The engine's clock.
pub(super) fn ticks(started: Instant) -> Ticks {
    Ticks(started.elapsed().as_millis() as u32)
}

fn run<B: Buffer>(
    mut worker: Worker<B>,
    commands: &Receiver<Command<B>>,
    settings: &Settings,
    progress: &Progress,
) {
    let mut idle_rounds = 0;
    loop {
        match commands.try_recv() {
            Ok(command) => carry_out(&mut worker, command),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        let received = worker.poll(ticks(settings.started));
        if received > 0 {
            idle_rounds = 0;
            add(&progress.packets, received as u64);
            add(&progress.busy_rounds, 1);
            continue;
        }
        add(&progress.idle_rounds, 1);
        idle_rounds += 1;
        if settings.idle == Idle::Adaptive && idle_rounds > PATIENCE {
            idle_rounds = PATIENCE;
            std::thread::sleep(NAP);
        } else {
            std::hint::spin_loop();
        }
    }
}

fn carry_out<B: Buffer>(worker: &mut Worker<B>, command: Command<B>) {
    match command {
        Command::AttachTx(vif, queue) => worker.attach_tx(vif, queue),
        Command::AttachRx(vif, counters, queue) => worker.attach_rx(vif, counters, queue),
        Command::Detach(vif) => worker.detach(vif),
        Command::Forget(vrf) => worker.forget(vrf),
        Command::Ping(done) => _ = done.send(()),
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
