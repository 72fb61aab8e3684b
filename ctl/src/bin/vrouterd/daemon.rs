//! The daemon: node file, socket, DPDK, engine, server, in this order, so that a
//! second daemon fails before it touches a device.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ctl::config::NodeConfig;
use ctl::ipfix::{Exporter, Rules};
use ctl::server::{self, Access, Commits, Metrics};
use dataplane::Tables;
use dataplane::engine::{Config, Engine, Idle};
use dataplane::health::News;
use dataplane::io::Pool;
use dataplane::io::dpdk::{
    Devices, Eal, EalOptions, LogLevel, Mbuf, Memory, Mempool, MempoolConfig,
};
use dataplane::memory::{Pages, Placement, hugepages_to_reserve};
use flowtable::Timeouts;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, info, warn};

use crate::{boot, ports, read, report};

/// Packet buffers, shared by all ports: enough for some 20 receive queues of
/// 1024. On ordinary pages each takes a page, 96 MiB together, so that with a
/// full flow table of the default size the process stays under 512 MiB.
const BUFFERS: u32 = 24_575;

/// Memory for the buffers and the rings of virtual devices, in MiB.
const MEGABYTES: u32 = 160;

/// Runs until it is told to end; without state it begins with the node file, and keeps nothing.
pub(crate) fn run(path: &Path, without_state: bool) -> Result<(), String> {
    start_log();
    let name = path.display().to_string();
    let config = NodeConfig::parse(&name, &read(path)?)
        .map_err(|mistakes| report(&mistakes, "not started"))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?
        .block_on(run_node(config, without_state))
}

async fn run_node(mut config: NodeConfig, without_state: bool) -> Result<(), String> {
    let stopped = stop_signal()?;
    let settings = std::mem::take(&mut config.access);
    let access = Access::open(&config.socket, settings).map_err(|error| error.to_string())?;
    let (state, saved) = match without_state {
        false => boot::open_state(&config.state_dir)?,
        true => boot::without_state(&config.state_dir),
    };
    let memory = DpdkMemory::new(&config.eal);
    let mut engine = start_engine(&config, &memory)?;
    // Before the first flow, so that none is missed.
    let _exporter = start_exporter(&engine, &config)?;
    let _ports = ports::keep(&engine, &config.socket)?;
    let flow_table = engine.stats().flows.memory;
    let tables = engine.watcher();
    let is_first_boot = saved.generation == 0;
    boot::restore(&mut engine, saved)?;
    let commits = Commits::new(engine, state, access.observers())
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    if is_first_boot {
        boot::apply_node_file(&commits, &mut config).await?;
    }
    announce_flow_table(&config, &flow_table, &memory);
    announce(&tables.current(), &config, &memory);
    let _metrics = start_metrics(&config, &commits).await?;
    let engine = server::serve(commits, access, stopped)
        .await
        .map_err(|error| format!("socket {}: {error}", config.socket.display()))?;
    if let Some(engine) = engine {
        engine.stop();
    }
    info!("stopped");
    Ok(())
}

/// Completes when the process is told to end. Signals count from this call on,
/// so one that arrives during the start is not lost.
fn stop_signal() -> Result<impl Future<Output = ()>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
    })
}

/// What DPDK's memory is made of, and the EAL arguments besides.
struct DpdkMemory {
    pages: Memory,
    /// Huge pages are not wanted.
    no_huge: bool,
    megabytes: u32,
    extra: Vec<String>,
}

impl DpdkMemory {
    /// `--no-huge` and `-m` in the node file decide; otherwise hugepages are
    /// taken when there are enough.
    fn new(eal: &[String]) -> DpdkMemory {
        let mut memory = DpdkMemory {
            pages: Memory::Huge,
            no_huge: false,
            megabytes: MEGABYTES,
            extra: Vec::new(),
        };
        let mut arguments = eal.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--no-huge" => memory.no_huge = true,
                "-m" => match arguments.next().map(|value| value.parse()) {
                    Some(Ok(megabytes)) => memory.megabytes = megabytes,
                    // DPDK says what is wrong with it.
                    _ => memory.extra.push(argument.clone()),
                },
                _ => memory.extra.push(argument.clone()),
            }
        }
        if memory.no_huge {
            memory.pages = Memory::NoHuge;
        } else {
            let (pages, reason) = Memory::detect(memory.megabytes);
            memory.pages = pages;
            if let Some(reason) = reason {
                warn!("{reason}");
            }
        }
        memory
    }
}

fn start_engine(config: &NodeConfig, memory: &DpdkMemory) -> Result<Engine<Mbuf>, String> {
    let eal = Eal::start(&EalOptions {
        memory: memory.pages,
        megabytes: memory.megabytes,
        pci: !memory.extra.iter().any(|argument| argument == "--no-pci"),
        control_cores: control_cores(&config.cores),
        log: log_dpdk,
        extra: memory.extra.clone(),
        ..EalOptions::default()
    })
    .map_err(|error| error.to_string())?;
    let buffers = MempoolConfig {
        count: BUFFERS,
        ..MempoolConfig::default()
    };
    let pool = Mempool::new(eal, buffers).map_err(|error| error.to_string())?;
    let pools = config
        .cores
        .iter()
        .map(|_| Box::new(pool) as Box<dyn Pool<Mbuf>>);
    let engine = Config {
        cores: config.cores.clone(),
        flows: config.flow_table_size,
        flow_memory: config.flow_table_memory,
        seed: random_seed()?,
        timeouts: Timeouts::default(),
        fragments: config.fragments,
        reassembly: config.reassembly,
        icmp_errors_per_second: config.icmp_errors_per_second,
        idle: if config.busy_poll {
            Idle::Busy
        } else {
            Idle::Adaptive
        },
        pools: pools.collect(),
        on_health: Arc::new(say_health),
        on_thread: Arc::new(move || match eal.register_worker() {
            Ok(registration) => Box::new(registration),
            Err(error) => {
                warn!("a worker shares the common buffer cache: {error}");
                Box::new(())
            }
        }),
    };
    Engine::start(engine, Box::new(Devices::new(eal, pool))).map_err(|error| error.to_string())
}

/// Says in the log which backends went up or down, and when a service has none left.
fn say_health(tables: &Tables, news: &[News]) {
    for found in news {
        let (addr, port) = (found.backend.addr, found.backend.port);
        match found.is_healthy {
            true => info!(
                "service {}: backend {addr} port {port} is up",
                found.service
            ),
            false => warn!(
                "service {}: backend {addr} port {port} is down",
                found.service
            ),
        }
        let service = tables.service_named(&found.service);
        if service.is_some_and(|(_, service)| service.is_starved) {
            warn!(
                "service {}: every active backend is down; those that were up last keep getting flows",
                found.service
            );
        }
    }
}

/// The cores that no worker has; all, when the workers have all.
fn control_cores(workers: &[usize]) -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let free = cores.into_iter().map(|core| core.id);
    free.filter(|core| !workers.contains(core)).collect()
}

/// A key for the flow hash that nobody outside can know.
fn random_seed() -> Result<[u64; 4], String> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut seed))
        .map_err(|error| format!("cannot read /dev/urandom: {error}"))?;
    let (words, _) = seed.as_chunks::<8>();
    Ok(std::array::from_fn(|i| u64::from_ne_bytes(words[i])))
}

/// Sends records of flows, if the node file says where to.
fn start_exporter(engine: &Engine<Mbuf>, config: &NodeConfig) -> Result<Option<Exporter>, String> {
    let Some(settings) = config.ipfix.clone() else {
        return Ok(None);
    };
    let tables = engine.tables();
    let ledger = tables.sessions().ledger();
    let Some(from) = ledger.open(settings.queue) else {
        unreachable!("nobody else keeps accounts");
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis() as u64);
    let at_ms = now_ms.saturating_sub(engine.now().0.into());
    info!("ipfix: records of flows go to {}", settings.collector);
    let rules = Rules::new(engine.watcher());
    let exporter = Exporter::start(settings, from, at_ms, rules);
    exporter
        .map(Some)
        .map_err(|error| format!("ipfix: {error}"))
}

/// Shows metrics, if the node file says where.
async fn start_metrics(
    config: &NodeConfig,
    commits: &Commits<Mbuf>,
) -> Result<Option<Metrics>, String> {
    let Some(addr) = config.metrics else {
        return Ok(None);
    };
    let metrics = Metrics::start(addr, commits).await;
    let metrics = metrics.map_err(|error| format!("metrics_address: {addr}: {error}"))?;
    info!("metrics at http://{}/metrics", metrics.addr());
    Ok(Some(metrics))
}

fn announce(tables: &Tables, config: &NodeConfig, memory: &DpdkMemory) {
    let pages = match memory.pages {
        Memory::Huge => "hugepages",
        Memory::NoHuge => "ordinary pages",
    };
    info!(
        "vrouter {} forwards: cores {:?}, {} vifs, buffers in {} MiB of {pages}, socket {}",
        env!("CARGO_PKG_VERSION"),
        config.cores,
        tables.vifs().count(),
        memory.megabytes,
        config.socket.display(),
    );
}

/// Which pages the flow table got, and what to do if they are small ones.
fn announce_flow_table(config: &NodeConfig, table: &Placement, buffers: &DpdkMemory) {
    let flows = config.flow_table_size;
    let wanted = config.flow_table_memory.huge_pages;
    if table.pages != Pages::Small4K || !wanted {
        info!("flow table: {flows} flows in {table}");
        return;
    }
    let mut bytes = table.bytes;
    // The buffers come first, and are on small pages because there were too few.
    if buffers.pages == Memory::NoHuge && !buffers.no_huge {
        bytes += (buffers.megabytes as usize) << 20;
    }
    let pages = hugepages_to_reserve(bytes);
    warn!(
        "flow table: {flows} flows in {table}, so most look-ups also miss the TLB; \
         reserve 2 MiB pages with `sysctl vm.nr_hugepages={pages}` and start again"
    );
}

/// Events go to stderr, one line each; VROUTER_LOG chooses which.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_env_var("VROUTER_LOG")
        .with_default_directive(tracing::Level::INFO.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(false)
        .with_writer(|| Quiet(std::io::stderr()))
        .init();
}

/// A log nobody reads any more is no reason to die.
struct Quiet(std::io::Stderr);

impl Write for Quiet {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        _ = self.0.write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log_dpdk(level: LogLevel, message: &str) {
    match level {
        LogLevel::Error => tracing::error!("DPDK: {message}"),
        LogLevel::Warning => warn!("DPDK: {message}"),
        LogLevel::Notice | LogLevel::Info | LogLevel::Debug => debug!("DPDK: {message}"),
    }
}
