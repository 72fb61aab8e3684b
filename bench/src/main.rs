//! `vrbench`: what a packet costs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::{engine, report, traffic};
use clap::{Parser, Subcommand};

/// Measures vrouter's forwarding engine.
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
    /// median over many short windows, with the best beside it.
    #[command(after_help = "Example: vrbench engine --flows 1,10000 --json engine.json")]
    Engine(EngineArguments),
}

#[derive(clap::Args)]
struct EngineArguments {
    /// Numbers of flows to measure with, in random order of packets.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    flows: Vec<u32>,
    /// Seconds for each line, after the warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The core to run on; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Engine(arguments) = Arguments::parse().command;
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrbench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &EngineArguments) -> Result<(), String> {
    let core = pin(arguments.core)?;
    let window = Duration::from_secs(arguments.seconds);
    let mut lines = Vec::new();
    report::header(core);
    for scenario in traffic::Scenario::ALL {
        for flows in &arguments.flows {
            let line = engine::measure(scenario, *flows, window)?;
            report::print(&line);
            lines.push(line);
        }
    }
    match &arguments.json {
        Some(path) => report::write_json(path, core, &lines),
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
