//! `vrbench`: what a packet costs, and what a look into the flow table does.

mod engine_arguments;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::table::insertion::{Coming, Places};
use bench::table::{age, compare, instructions, scale};
use bench::{footprint, program, report};
use clap::{Parser, Subcommand};
use core_affinity::CoreId;
use serde_json::Value;

/// Measures vrouter's forwarding engine and its flow table.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The complete worker pipeline in this process, on one core: frames are made
    /// in memory, taken through the real stages, and counted at the other end.
    ///
    /// Cycles are those of the time-stamp counter between the receive burst and
    /// the transmit burst; making the frames is not counted. Each line is the
    /// median over many short windows, with the best beside it. Lists multiply.
    #[command(
        after_help = "Example: vrbench engine --paths whole --flows 1,10000 --json engine.json"
    )]
    Engine(engine_arguments::Arguments),
    /// The run that `engine --instructions` watches.
    #[command(hide = true)]
    EngineCounted(engine_arguments::Arguments),
    /// How fast one controller programs a running engine through the socket, durably,
    /// and what that costs the packets meanwhile.
    #[command(
        after_help = "Example: vrbench program --routes 1000000 --state-dir /var/tmp/vrbench"
    )]
    Program(ProgramArguments),
    /// The flow table by itself and beside other tables.
    #[command(subcommand)]
    Table(TableCommand),
    /// vrouterd beside testpmd, Open vSwitch and the Linux kernel: the same packets through real
    /// ports of DPDK (memif), each on the same core, in turns.
    ///
    /// Needs root, two cores, and the packages dpdk and openvswitch-switch-dpdk; reserves huge
    /// pages while it runs. Packets stay between processes and network namespaces of its own. Each
    /// line is the median of the turns; a spread above 10 % is marked.
    #[cfg(feature = "dpdk")]
    #[command(after_help = "\
Examples:
  vrbench rig --paths encap --flows 1,10000
  vrbench rig --no-drop --json rig.json      loss-free rate and latency, too
  vrbench rig --configurations               how each was set up")]
    Rig(bench::rig::Arguments),
    /// What vrouterd costs without traffic, and how long it takes to wake up: needs root and two
    /// cores, as `rig` does.
    #[cfg(feature = "dpdk")]
    Idle(bench::rig::idle::Arguments),
}

#[derive(Subcommand)]
enum TableCommand {
    /// Lookups, beside other tables with the same flows, in turns.
    ///
    /// Beside DPDK's rte_hash with lock-free readers, papaya, dashmap and scc
    /// (its HashIndex), and the floor: touching two random cache lines in memory
    /// of the same size. Making the keys is not counted, hashing them is. All
    /// tables have room for the same number of flows and are filled to 90 %.
    #[command(after_help = "Example: vrbench table compare --flows 10000,1000000")]
    Compare(CompareArguments),
    /// Two workers on two cores beside one: lookups, and nine lookups for each
    /// insertion or removal.
    #[command(after_help = "Example: vrbench table scale --flows 1000000 --cores 2,3")]
    Scale(ScaleArguments),
    /// What ageing costs one worker, and how late flows go, in simulated time.
    Age(AgeArguments),
    /// Instructions per lookup, hit and miss, as callgrind counts them.
    Instructions(JsonArguments),
    /// The run that `instructions` watches.
    #[command(hide = true)]
    Counted { case: instructions::Case },
}

#[derive(clap::Args)]
struct ProgramArguments {
    /// Routes in all.
    #[arg(long, default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u32).range(10_000..=16_000_000))]
    routes: u32,
    /// Networks that they are spread over.
    #[arg(long, default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=4_000))]
    vrfs: u32,
    /// Routes in one call.
    #[arg(long, default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch: u32,
    /// Calls that wait for their answers at a time.
    #[arg(long, default_value_t = 4)]
    bulk_calls: usize,
    /// The same of one-object commits.
    #[arg(long, default_value_t = 128)]
    small_calls: usize,
    /// Seconds of one-object commits.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// An empty directory for the state, which is left there; the disk it is on
    /// decides what durable costs.
    #[arg(long, value_name = "DIR")]
    state_dir: PathBuf,
    /// The worker's core; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct ScaleArguments {
    /// Flows in the table.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000",
          value_parser = clap::value_parser!(u32).range(1_000..=64_000_000))]
    flows: Vec<u32>,
    /// Seconds for each line.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The two cores to run on; by default the last two.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct AgeArguments {
    /// Flows in the table.
    #[arg(long, default_value_t = 10_000_000,
          value_parser = clap::value_parser!(u32).range(1_000..=64_000_000))]
    flows: u32,
    /// Simulated seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Milliseconds that the hand takes to go round the table, as in a worker.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    round_ms: u32,
    /// The core to run on; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct JsonArguments {
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(clap::Args)]
struct CompareArguments {
    /// Numbers of flows in the tables; each is two keys.
    #[arg(long, value_delimiter = ',', default_value = "10000,1000000,4000000,16000000",
          value_parser = clap::value_parser!(u32).range(1_000..=64_000_000))]
    flows: Vec<u32>,
    /// Seconds for each row.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The core to run on; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Engine(arguments) => engine_arguments::run(&arguments),
        Command::EngineCounted(arguments) => engine_arguments::run_counted(&arguments),
        Command::Program(arguments) => program(&arguments),
        Command::Table(command) => table(&command),
        #[cfg(feature = "dpdk")]
        Command::Rig(arguments) => bench::rig::run(&arguments),
        #[cfg(feature = "dpdk")]
        Command::Idle(arguments) => bench::rig::idle::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrbench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn program(arguments: &ProgramArguments) -> Result<(), String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let last = cores.last().map_or(0, |core| core.id);
    let measured = program::measure(&program::Plan {
        core: arguments.core.unwrap_or(last),
        routes: arguments.routes,
        vrfs: arguments.vrfs,
        batch: arguments.batch,
        bulk_calls: arguments.bulk_calls.max(1),
        small_calls: arguments.small_calls.max(1),
        seconds: arguments.seconds,
        state_dir: arguments.state_dir.clone(),
    })?;
    write(&arguments.json, || measured)
}

fn table(command: &TableCommand) -> Result<(), String> {
    footprint::heap_on_huge_pages().map_err(|error| error.to_string())?;
    match command {
        TableCommand::Compare(arguments) => compare(arguments),
        TableCommand::Scale(arguments) => scale(arguments),
        TableCommand::Age(arguments) => age(arguments),
        TableCommand::Instructions(arguments) => {
            let document = instructions::count()?;
            write(&arguments.json, || document)
        }
        TableCommand::Counted { case } => {
            instructions::run(*case);
            Ok(())
        }
    }
}

fn compare(arguments: &CompareArguments) -> Result<(), String> {
    let core = pin(arguments.core)?;
    // Now, so that no table's memory includes DPDK's own; an error is told
    // with the table that cannot be made.
    #[cfg(feature = "dpdk")]
    let _ = bench::table::rte_hash::start();
    let time = Duration::from_secs(arguments.seconds);
    let (mut rows, mut insertions) = (Vec::new(), Vec::new());
    compare::header(core);
    for flows in &arguments.flows {
        compare::compare(*flows, time, &mut |told| match told {
            Ok(row) => {
                compare::print(&row);
                rows.push(row);
            }
            Err(why) => println!("{flows:>9} left out: {why}"),
        });
        for places in Places::ALL {
            for coming in Coming::ALL {
                let inserted = compare::insert(*flows, places, coming, time);
                compare::print_insertions(&inserted);
                insertions.push(inserted);
            }
        }
    }
    write(&arguments.json, || {
        compare::document(core, &rows, &insertions)
    })
}

fn scale(arguments: &ScaleArguments) -> Result<(), String> {
    let cores = two_cores(&arguments.cores)?;
    let time = Duration::from_secs(arguments.seconds);
    let mut lines = Vec::new();
    scale::header(cores);
    for flows in &arguments.flows {
        scale::measure(*flows, time, cores, &mut |line| {
            scale::print(&line);
            lines.push(line);
        });
    }
    write(&arguments.json, || scale::document(cores, &lines))
}

fn age(arguments: &AgeArguments) -> Result<(), String> {
    pin(arguments.core)?;
    let plan = age::Plan {
        flows: arguments.flows,
        seconds: arguments.seconds,
        round_ms: arguments.round_ms,
    };
    age::header(plan);
    let outcomes = age::Mix::ALL.map(|mix| {
        let outcome = age::simulate(plan, mix);
        age::print(&outcome);
        outcome
    });
    write(&arguments.json, || age::document(plan, &outcomes))
}

fn two_cores(wanted: &[usize]) -> Result<[CoreId; 2], String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let chosen: Vec<_> = match wanted {
        [] => cores.iter().rev().take(2).rev().copied().collect(),
        _ => cores
            .iter()
            .filter(|core| wanted.contains(&core.id))
            .copied()
            .collect(),
    };
    let ids: Vec<usize> = cores.iter().map(|core| core.id).collect();
    <[CoreId; 2]>::try_from(chosen).map_err(|_| format!("--cores: two of {ids:?} are needed"))
}

fn write(path: &Option<PathBuf>, document: impl FnOnce() -> Value) -> Result<(), String> {
    match path {
        Some(path) => report::write_json(path, &document()),
        None => Ok(()),
    }
}

fn pin(wanted: Option<usize>) -> Result<usize, String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = match wanted {
        Some(id) => cores.iter().find(|core| core.id == id),
        None => cores.last(),
    };
    let ids: Vec<usize> = cores.iter().map(|core| core.id).collect();
    let Some(core) = core else {
        return Err(format!("--core: choose from {ids:?}"));
    };
    if core_affinity::set_for_current(*core) {
        Ok(core.id)
    } else {
        Err(format!(
            "cannot run on core {}: choose from {ids:?}",
            core.id
        ))
    }
}
