//! The running engine: workers on their cores, devices, and the one place where
//! a commit meets both.
//!
//! A commit that adds a vif opens its device, gives every worker its transmit
//! queue, publishes the snapshot and only then lets packets in. One that removes
//! a vif publishes first, waits until every worker has moved on, and then takes
//! the queues back. At no moment does a worker see a vif it cannot send to, nor
//! a queue of a vif that is gone.

mod health;
mod history;
mod observer;
mod ports;
mod restore;
mod thread;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use encap::Buffer;
use flowtable::{FlowTable, Ticks, Timeouts, Usage};

use crate::accounts;
use crate::counters::Totals;
use crate::io::{DeviceError, Devices, Link, Pool, Port, PortControl, PortStats};
use crate::memory::{self, MemoryError, Placement};
use crate::observe::capture::{self, Seeing, Wanted};
use crate::observe::pulse::BATCH_SIZES;
use crate::sessions;
use crate::snapshot::{Publisher, Watcher};
use crate::stage::fragments;
use crate::tables::change::{Refusal, RefusalCode, Request};
use crate::tables::commit::{Changed, PortFacts};
use crate::tables::service::{Backend, Service};
use crate::tables::spec::{Key, Name, Object, Role};
use crate::tables::{Tables, UNDERLAY, Vif, VifId, Vrf, nat};
use crate::worker::Worker;
pub use health::OnHealth;
pub use observer::{Dropped, KEPT, LATENCY_BOUNDS_NS, Latency, Ledger};
pub use restore::Missing;

use health::Health;
use history::History;
use observer::{Observed, Observers};
use ports::Ports;
use thread::{Command, Handle};

/// Longest wait for the workers to pick up a snapshot. They do so between two
/// batches; one that takes this long is stuck or its core is taken away.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How to start an engine.
pub struct Config<B> {
    /// One worker on each of these cores.
    pub cores: Vec<usize>,
    /// Capacity of the flow table, in flows of two directions each.
    pub flows: usize,
    /// What the flow table's memory is to be made of.
    pub flow_memory: memory::Settings,
    /// Key of the flow hash; random for each process.
    pub seed: [u64; 4],
    /// When flows expire.
    pub timeouts: Timeouts,
    /// What each worker may keep of fragments.
    pub fragments: fragments::Limits,
    /// What each worker may keep of tunnel packets' fragments.
    pub reassembly: fragments::Limits,
    /// ICMP errors sent to one source in a second; with 0 none are sent at all.
    pub icmp_errors_per_second: u32,
    /// What workers do without packets.
    pub idle: Idle,
    /// Buffers for packets the engine makes itself, one pool per worker.
    pub pools: Vec<Box<dyn Pool<B>>>,
    /// Hears of backends that go up or down.
    pub on_health: OnHealth,
    /// Called on each worker's thread before it polls; what it returns is kept
    /// until the thread ends.
    pub on_thread: Arc<dyn Fn() -> Box<dyn Any> + Send + Sync>,
}

/// What a worker does when its queues are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Keeps polling for a while, then sleeps in short naps: a packet after a
    /// pause waits up to about 40 µs.
    #[default]
    Adaptive,
    /// Keeps polling: the core is always busy.
    Busy,
}

/// Bindings of pools are so many times fewer than flows: a machine's end has one, whatever it talks
/// to, and most flows are not translated. Each takes some 110 bytes, once there is a pool.
const FLOWS_PER_BINDING: usize = 4;

/// See [`FLOWS_PER_BINDING`].
const MIN_BINDINGS: usize = 4_096;

/// What a commit did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The generation that is in force now, or would be after a dry run.
    pub generation: u64,
    /// What changed.
    pub changed: Changed,
}

/// A reading of everything that counts.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Generation in force.
    pub generation: u64,
    /// Since the engine's start.
    pub uptime: Duration,
    /// By vif, in name order.
    pub vifs: Vec<VifStats>,
    /// By vrf, in name order; without the underlay, which keeps no flows.
    pub vrfs: Vec<VrfStats>,
    /// In name order.
    pub services: Vec<ServiceStats>,
    /// By worker.
    pub workers: Vec<WorkerStats>,
    /// The flow table.
    pub flows: FlowStats,
    /// What each worker may keep of fragments.
    pub fragments: fragments::Limits,
    /// What each worker may keep of tunnel packets' fragments.
    pub reassembly: fragments::Limits,
    /// By pool, in name order.
    pub pools: Vec<PoolStats>,
}

/// A reading of one pool.
#[derive(Clone, Debug)]
pub struct PoolStats {
    /// Its name.
    pub name: Name,
    /// How much is given out.
    pub usage: sessions::Usage,
}

/// A reading of one vif.
#[derive(Clone, Debug)]
pub struct VifStats {
    /// Its name.
    pub name: Name,
    /// What it connects.
    pub role: Role,
    /// Packets, bytes and drops.
    pub totals: Totals,
    /// State of its link.
    pub link: Link,
    /// What only the device knows.
    pub device: PortStats,
    /// The flows that count for it.
    pub flows: Usage,
}

/// A reading of one vrf.
#[derive(Clone, Debug)]
pub struct VrfStats {
    /// Its name.
    pub name: Name,
    /// The flows that count for it.
    pub flows: Usage,
}

/// A reading of one service.
#[derive(Clone, Debug)]
pub struct ServiceStats {
    /// Its name.
    pub name: Name,
    /// By address and port.
    pub backends: Vec<Backend>,
    /// All that checks let take part had gone: those that were there last are kept.
    pub is_starved: bool,
    /// What its table takes.
    pub table_bytes: usize,
}

/// A reading of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerStats {
    /// Its core.
    pub core: usize,
    /// Packets received.
    pub packets: u64,
    /// Rounds over its queues that found packets.
    pub busy_rounds: u64,
    /// Rounds that found none.
    pub idle_rounds: u64,
    /// Time spent on rounds that found packets.
    pub busy: Duration,
    /// Batches by length, as [`BATCH_SIZES`] says.
    pub batches: [u64; BATCH_SIZES.len()],
    /// How long packets were in its hands.
    pub latency: Latency,
    /// What it keeps of fragments.
    pub fragments: fragments::Usage,
    /// What it keeps of tunnel packets' fragments.
    pub reassembly: fragments::Usage,
}

/// A reading of the flow table.
#[derive(Clone, Copy, Debug)]
pub struct FlowStats {
    /// How full it is.
    pub usage: Usage,
    /// Its memory, as it was at the start.
    pub memory: Placement,
}

/// Why an engine did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineError {
    /// There is no such core, or this process may not use it.
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// Cores this process may use.
        available: Vec<usize>,
    },
    /// A core is named twice.
    CoreTwice(usize),
    /// No core is named.
    NoCores,
    /// The flow table's memory cannot be had as wished.
    FlowMemory(MemoryError),
    /// The system would not start a thread.
    Thread(String),
}

/// The running engine.
pub struct Engine<B> {
    /// Held while the next snapshot is made, by a commit or by what checks find out.
    publisher: Arc<Mutex<Publisher<Tables>>>,
    health: Health,
    observers: Observers,
    history: History,
    icmp_errors_per_second: u32,
    flows: Arc<FlowTable>,
    flow_memory: Placement,
    workers: Vec<Handle<B>>,
    fragments: fragments::Limits,
    reassembly: fragments::Limits,
    devices: Box<dyn Devices<B>>,
    ports: Ports,
    /// Vifs whose device could not be opened at the start.
    missing: BTreeSet<Name>,
    started: Instant,
}

impl<B: Buffer + Send + 'static> Engine<B> {
    /// Starts the workers, without configuration.
    ///
    /// # Errors
    /// [`EngineError`].
    ///
    /// # Panics
    /// If there are fewer pools than cores.
    pub fn start(
        config: Config<B>,
        devices: Box<dyn Devices<B>>,
    ) -> Result<Engine<B>, EngineError> {
        thread::check_cores(&config.cores)?;
        assert!(
            config.pools.len() >= config.cores.len(),
            "a pool for every worker"
        );
        let started = Instant::now();
        let ports = Ports::new()?;
        let tables = Tables::new(config.cores.len())
            .with_secret(config.seed)
            .with_bindings((config.flows / FLOWS_PER_BINDING).max(MIN_BINDINGS));
        let (flows, flow_memory) = flow_table(&config, &tables)?;
        let publisher = Publisher::new(tables);
        let mut workers = Vec::new();
        let mut observed = Vec::new();
        for ((index, core), pool) in config.cores.iter().enumerate().zip(config.pools) {
            let mut worker = Worker::new(index, publisher.reader(), flows.clone(), pool)
                .with_error_limits(config.icmp_errors_per_second, config.seed)
                .with_fragment_limits(&config.fragments)
                .with_reassembly_limits(&config.reassembly);
            worker.announce_routers();
            observed.push(Observed {
                notes: worker.observer().note_drops(),
                pulse: worker.observer().pulse(),
            });
            let settings = thread::Settings {
                core: *core,
                idle: config.idle,
                started,
                on_thread: config.on_thread.clone(),
            };
            workers.push(thread::spawn(worker, settings)?);
        }
        let started_at = SystemTime::now() - started.elapsed();
        let observers = Observers::start(observed, publisher.watcher(), started_at)?;
        let publisher = Arc::new(Mutex::new(publisher));
        let health = Health::start(publisher.clone(), config.on_health)?;
        Ok(Engine {
            publisher,
            health,
            observers,
            history: History::default(),
            icmp_errors_per_second: config.icmp_errors_per_second,
            flows,
            flow_memory,
            workers,
            fragments: config.fragments,
            reassembly: config.reassembly,
            devices,
            ports,
            missing: BTreeSet::new(),
            started,
        })
    }

    /// Commits a request as one generation, or nothing of it. A request that
    /// changes nothing makes no generation. May take some milliseconds: devices
    /// are opened and closed here.
    ///
    /// # Errors
    /// Everything that is wrong with the request.
    pub fn apply(&mut self, request: &Request, dry_run: bool) -> Result<Applied, Vec<Refusal>> {
        if dry_run {
            let draft = self.tables().prepare(request)?;
            return Ok(Applied {
                generation: draft.tables().generation(),
                changed: draft.changed().clone(),
            });
        }
        self.apply_with(request, |_, _| Ok(()))
    }

    /// The same, where `keep` has the last word: it gets the next snapshot before that is in force,
    /// to make it durable. It is not asked when nothing changes.
    ///
    /// # Errors
    /// Everything that is wrong with the request, or what `keep` says.
    pub fn apply_with(
        &mut self,
        request: &Request,
        keep: impl FnOnce(&Tables, &Changed) -> Result<(), Vec<Refusal>>,
    ) -> Result<Applied, Vec<Refusal>> {
        let publisher = self.publisher.clone();
        let mut publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let before = publisher.current();
        let draft = before.prepare(request)?;
        if draft.changed().is_empty() {
            return Ok(Applied {
                generation: draft.tables().generation(),
                changed: draft.changed().clone(),
            });
        }
        self.raise_mtus(&draft.changed().updated, draft.tables())?;
        let opened = self.open_devices(&draft.changed().created, draft.tables())?;
        let facts: HashMap<Name, PortFacts> = self
            .ports
            .facts()
            .into_iter()
            .chain(
                opened
                    .iter()
                    .map(|(name, port)| (name.clone(), facts(&*port.control))),
            )
            .collect();
        let (tables, changed) = draft.finish(|name| facts.get(name).copied());
        if let Err(refusals) = keep(&tables, &changed) {
            opened.into_iter().for_each(|(_, port)| close(port));
            return Err(refusals);
        }
        let tables = Arc::new(tables);
        accounts::set_quotas(&self.flows, &tables, &changed);
        let receivers = self.attach_senders(&tables, opened);
        publisher.publish(tables.clone());
        self.history.keep(before.clone());
        drop(publisher);
        for (vif, queues) in receivers {
            self.attach_receivers(&vif, queues);
        }
        self.detach_removed(&before, &changed);
        Ok(Applied {
            generation: tables.generation(),
            changed,
        })
    }

    /// Puts commits in force that were made beside the engine, all at once; returns the last one.
    /// `make` gets what is in force now and returns snapshots made from it, each with what is
    /// different from the one before; they open and close no devices, and delete no vrfs.
    pub fn publish(
        &mut self,
        make: impl FnOnce(&Arc<Tables>) -> Vec<(Arc<Tables>, Arc<Changed>)>,
    ) -> Option<Arc<Tables>> {
        let publisher = self.publisher.clone();
        let mut publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
        let before = publisher.current();
        let mut made = make(&before);
        let last = made.last()?.0.clone();
        for (_, changed) in &made {
            accounts::set_quotas(&self.flows, &last, changed);
        }
        publisher.publish(last.clone());
        made.pop();
        self.history.keep(before);
        for (tables, _) in made {
            self.history.keep(tables);
        }
        Some(last)
    }

    /// A way to the configuration for whoever runs beside the engine.
    pub fn watcher(&self) -> Watcher<Tables> {
        self.publisher().watcher()
    }

    /// The configuration in force.
    pub fn tables(&self) -> Arc<Tables> {
        self.publisher().current()
    }

    fn publisher(&self) -> MutexGuard<'_, Publisher<Tables>> {
        // Tables are replaced as a whole, whoever panics.
        self.publisher
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration of some generations before that in force, oldest first.
    pub fn history(&self) -> impl Iterator<Item = &Arc<Tables>> {
        self.history.iter()
    }

    /// ICMP errors sent to one source in a second.
    pub fn icmp_errors_per_second(&self) -> u32 {
        self.icmp_errors_per_second
    }

    /// The flows of all workers.
    pub fn flows(&self) -> &Arc<FlowTable> {
        &self.flows
    }

    /// The engine's clock, which flow times are read against.
    pub fn now(&self) -> Ticks {
        thread::ticks(self.started)
    }

    /// The dropped packets of late.
    pub fn ledger(&self) -> &Arc<Ledger> {
        self.observers.ledger()
    }

    /// Begins a capture: what each worker sees, until that is dropped.
    pub fn capture(&self, wanted: Wanted) -> Vec<Seeing> {
        let wanted = Arc::new(wanted);
        let taps = self.workers.iter().map(|worker| {
            let (tap, seeing) = capture::tap(&wanted);
            worker.send(Command::Tap(tap));
            seeing
        });
        taps.collect()
    }

    fn worker_stats(&self, index: usize, worker: &Handle<B>) -> WorkerStats {
        WorkerStats {
            latency: self.observers.latency(index),
            ..worker.stats()
        }
    }

    /// Reads all counters. Disturbs nobody.
    pub fn stats(&self) -> Stats {
        let tables = self.tables();
        let mut vifs: Vec<VifStats> = tables.vifs().map(|vif| self.vif_stats(vif)).collect();
        vifs.sort_by(|a, b| a.name.cmp(&b.name));
        let vrfs = tables.vrfs().filter(|vrf| vrf.id != UNDERLAY);
        let mut vrfs: Vec<VrfStats> = vrfs.map(|vrf| self.vrf_stats(vrf)).collect();
        vrfs.sort_by(|a, b| a.name.cmp(&b.name));
        let mut services: Vec<ServiceStats> = tables.services().map(ServiceStats::new).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let workers = self.workers.iter().enumerate();
        let workers = workers.map(|(index, worker)| self.worker_stats(index, worker));
        Stats {
            services,
            generation: tables.generation(),
            uptime: self.started.elapsed(),
            vifs,
            vrfs,
            workers: workers.collect(),
            flows: FlowStats {
                usage: self.flows.table_usage(),
                memory: self.flow_memory,
            },
            fragments: self.fragments,
            pools: pool_stats(&tables),
            reassembly: self.reassembly,
        }
    }

    fn vif_stats(&self, vif: &Vif) -> VifStats {
        let (link, device) = self.ports.state(&vif.name);
        VifStats {
            name: vif.name.clone(),
            role: vif.role,
            totals: vif.counters.totals(),
            link,
            device,
            flows: self.flows.usage(accounts::vif(vif.id)),
        }
    }

    fn vrf_stats(&self, vrf: &Vrf) -> VrfStats {
        VrfStats {
            name: vrf.name.clone(),
            flows: self.flows.usage(accounts::vrf(vrf.id)),
        }
    }

    /// Has the devices of changed vifs carry what those are to carry. A device
    /// that carries more than its vif lets through, as after a commit that then
    /// fails, does no harm.
    fn raise_mtus(&mut self, updated: &[Key], tables: &Tables) -> Result<(), Vec<Refusal>> {
        let mut refusals = Vec::new();
        for key in updated {
            let Some(Object::Vif(vif)) = tables.object(key).map(|stored| &stored.object) else {
                continue;
            };
            if let Some(mtu) = vif.mtu
                && let Err(error) = self.ports.raise_mtu(&vif.name, mtu)
            {
                refusals.push(device_refusal(key, &error));
            }
        }
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(refusals),
        }
    }

    /// Opens the devices of new vifs: all, or none.
    fn open_devices(
        &mut self,
        created: &[Key],
        tables: &Tables,
    ) -> Result<Vec<(Name, Port<B>)>, Vec<Refusal>> {
        let mut opened = Vec::new();
        let mut refusals = Vec::new();
        for key in created {
            let Some(Object::Vif(vif)) = tables.object(key).map(|stored| &stored.object) else {
                continue;
            };
            let queues = self.workers.len();
            match self.devices.open_for(&vif.device, queues, vif.mtu) {
                Ok(port) => opened.push((vif.name.clone(), port)),
                Err(error) => refusals.push(device_refusal(key, &error)),
            }
        }
        if refusals.is_empty() {
            Ok(opened)
        } else {
            opened.into_iter().for_each(|(_, port)| close(port));
            Err(refusals)
        }
    }

    /// Hands out the transmit queues and waits until all workers have theirs.
    fn attach_senders(
        &mut self,
        tables: &Tables,
        opened: Vec<(Name, Port<B>)>,
    ) -> Vec<(Arc<Vif>, Queues<B>)> {
        let mut receivers = Vec::new();
        for (name, port) in opened {
            let Some(vif) = tables.vif_named(&name) else {
                close(port);
                continue;
            };
            for (worker, queue) in self.workers.iter().zip(port.tx) {
                worker.send(Command::AttachTx(vif.id, queue));
            }
            if vif.role == Role::Fabric {
                vif.link.watch();
            }
            self.ports.insert(name, port.control, vif.link.clone());
            receivers.push((vif.clone(), port.rx));
        }
        self.workers.iter().for_each(Handle::wait);
        receivers
    }

    /// Spreads receive queues over the workers, starting at a different one for
    /// each vif: most devices have fewer queues than there are workers.
    fn attach_receivers(&self, vif: &Vif, queues: Queues<B>) {
        let workers = self.workers.len();
        for (index, queue) in queues.into_iter().enumerate() {
            let worker = &self.workers[(vif.id.0 as usize + index) % workers];
            worker.send(Command::AttachRx(vif.id, vif.counters.clone(), queue));
        }
    }

    /// Waits until no worker uses what was deleted, and takes its queues and
    /// flows away.
    fn detach_removed(&mut self, before: &Tables, changed: &Changed) {
        let has_traffic = |key: &Key| matches!(key, Key::Vif(_) | Key::Vrf(_));
        if !changed.deleted.iter().any(has_traffic) {
            return;
        }
        let names = changed.deleted.iter().filter_map(|key| match key {
            Key::Vif(name) => Some(name),
            _ => None,
        });
        let removed: Vec<(&Name, VifId)> = names
            .filter_map(|name| Some((name, before.vif_named(name)?.id)))
            .collect();
        let deadline = Instant::now() + SETTLE_LIMIT;
        while !self.publisher().settled() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(50));
        }
        let vrfs = changed.deleted.iter().filter_map(|key| match key {
            Key::Vrf(name) => Some(before.vrf_named(name)?.id),
            _ => None,
        });
        for id in vrfs {
            for worker in &self.workers {
                worker.send(Command::Forget(id));
            }
        }
        for (_, id) in &removed {
            for worker in &self.workers {
                worker.send(Command::Detach(*id));
            }
        }
        self.workers.iter().for_each(Handle::wait);
        accounts::close(&self.flows, before, changed);
        for (name, _) in removed {
            self.ports.close(name);
        }
    }

    /// Stops the workers and closes all devices.
    pub fn stop(mut self) {
        self.shut_down();
    }
}

impl<B> Engine<B> {
    fn shut_down(&mut self) {
        self.health.shut_down();
        self.workers.drain(..).for_each(Handle::stop);
        self.observers.shut_down();
        self.ports.shut_down();
    }
}

impl ServiceStats {
    fn new(service: &Service) -> ServiceStats {
        ServiceStats {
            name: service.name.clone(),
            backends: service.backends.to_vec(),
            is_starved: service.is_starved,
            table_bytes: service.table_memory(),
        }
    }
}

impl<B> Drop for Engine<B> {
    fn drop(&mut self) {
        self.shut_down();
    }
}

type Queues<B> = Vec<Box<dyn crate::io::RxQueue<B>>>;

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::NoSuchCore { core, available } => {
                write!(
                    f,
                    "cores: there is no core {core} here; choose from {available:?}"
                )
            }
            EngineError::CoreTwice(core) => {
                write!(
                    f,
                    "cores: core {core} is named twice; one core runs one worker"
                )
            }
            EngineError::NoCores => f.write_str("cores: name at least one core, such as [0]"),
            EngineError::FlowMemory(error) => {
                let key = match error {
                    MemoryError::NoSuchNode { .. } | MemoryError::NodeOutOfReach { .. } => {
                        "flow_table_numa_node"
                    }
                    MemoryError::TooLittle { .. } | MemoryError::Refused { .. } => {
                        "flow_table_size"
                    }
                };
                write!(f, "{key}: {error}")
            }
            EngineError::Thread(error) => write!(f, "cannot start a worker thread: {error}"),
        }
    }
}

impl std::error::Error for EngineError {}

/// The flow table in memory of its own, and where that is.
fn flow_table<B>(
    config: &Config<B>,
    tables: &Tables,
) -> Result<(Arc<FlowTable>, Placement), EngineError> {
    let workers = config.cores.len();
    let table = accounts::table_config(config.flows, config.seed, config.timeouts, workers);
    let bytes = FlowTable::memory_needed(&table);
    let memory = memory::Block::new(bytes, config.flow_memory, config.cores[0])
        .map_err(EngineError::FlowMemory)?;
    let placement = memory.placement();
    let table = FlowTable::with_memory(&table, Box::new(memory)).with_endings(tables.endings());
    Ok((Arc::new(table), placement))
}

fn facts(port: &dyn PortControl) -> PortFacts {
    PortFacts {
        mac: port.mac(),
        mtu: port.mtu(),
        finishes_checksums: port.finishes_checksums(),
    }
}

fn device_refusal(key: &Key, error: &DeviceError) -> Refusal {
    let field = match error {
        DeviceError::Mtu { .. } => "mtu",
        _ => "device",
    };
    Refusal::field(key.clone(), field, error.to_string()).with_code(RefusalCode::Device)
}

fn close<B>(port: Port<B>) {
    let Port { rx, tx, control } = port;
    drop((rx, tx));
    control.close();
}
/// Readings of all pools, in name order.
pub fn pool_stats(tables: &Tables) -> Vec<PoolStats> {
    let reading = |pool: &nat::Pool| PoolStats {
        name: pool.name.clone(),
        usage: pool.allotment.usage(),
    };
    let mut pools: Vec<PoolStats> = tables.pools().map(|(_, pool)| reading(pool)).collect();
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    pools
}
