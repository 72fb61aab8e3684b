//! What a worker without traffic costs, and how long a packet after a pause takes.

use std::fs;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::generator::Generator;
use super::latency::Latency;
use super::path::Path;
use super::scratch::Scratch;
use super::{Setting, cores, hugepages, vrouter, vrouterd};

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    /// Seconds without traffic, and as many with single packets.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The core of the generator; by default the last but one.
    #[arg(long)]
    generator_core: Option<usize>,
    /// The core of the worker; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// The vrouterd to measure; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    vrouterd: Option<std::path::PathBuf>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

/// Pauses between two packets, in milliseconds on average: longer than a worker keeps polling.
const PAUSE_MS: f64 = 2.0;

/// Measures and prints.
///
/// # Errors
/// A sentence: what is missing, or what went wrong.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let (generator_core, core) = cores(arguments.generator_core, arguments.core)?;
    let setting = Setting {
        generator_core,
        core,
        vrouterd: vrouterd(arguments.vrouterd.as_ref())?,
        most_flows: 16,
    };
    let _pages = hugepages::reserve(u64::from(setting.most_flows))?;
    let scratch = Scratch::new()?;
    let mut generator = Generator::start(generator_core)?;
    println!("vrouterd, idle as by default, one worker on core {core}");
    let mut results = Vec::new();
    for idle in ["adaptive", "busy"] {
        let place = scratch.directory(idle)?;
        let socket = place.join("memif.sock");
        let mut feed = generator.memif(&socket, 1)?;
        let device = vrouter::start_idle(idle, Path::Encap, &setting, &place, &socket, &feed)?;
        let worker = worker_of(device.id(), core)?;
        feed.pace(Path::Encap, 1, 1e4, Duration::from_millis(300), None);
        let time = Duration::from_secs(arguments.seconds);
        let before = running_ns(&worker);
        std::thread::sleep(time);
        let share = (running_ns(&worker) - before) as f64 / time.as_nanos() as f64;
        let mut latency = Latency::new();
        feed.pace(Path::Encap, 1, 1e3 / PAUSE_MS, time, Some(&mut latency));
        println!(
            "  {idle:<10}{:>6.1} % of the core without traffic; a packet every {PAUSE_MS} ms takes {} \
             (p50 / p99 / p99.9 / most)",
            share * 100.0,
            latency.text(),
        );
        results.push(json!({
            "idle": idle, "share_of_the_core": share, "latency": latency.json(),
        }));
    }
    match &arguments.json {
        Some(file) => crate::report::write_json(file, &json!({ "results": results })),
        None => Ok(()),
    }
}

/// Where the kernel says what the worker's thread does.
fn worker_of(process: u32, core: usize) -> Result<String, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter();
    let mut tasks = tasks.flatten().flatten().map(|task| task.path());
    let name = format!("worker-{core}");
    let task = tasks.find(|task| {
        let comm = fs::read_to_string(task.join("comm")).unwrap_or_default();
        comm.trim() == name
    });
    let task = task.ok_or_else(|| format!("vrouterd has no thread {name}"))?;
    Ok(task.join("schedstat").display().to_string())
}

/// For how long it has run.
fn running_ns(schedstat: &str) -> u64 {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or_default()
}
