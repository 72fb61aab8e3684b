//! `vrouterd`: one node's vrouter, and the same pipeline over capture files.
//!
//! Exit status: 0 done, 1 could not start or was refused, 2 wrong usage.

#[cfg(feature = "dpdk")]
mod boot;
#[cfg(feature = "dpdk")]
mod daemon;
#[cfg(feature = "dpdk")]
mod ports;
mod replay;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use ctl::files::Mistake;

/// Runs the vrouter of one node
#[derive(Parser)]
#[command(
    version,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
A node file, all keys optional:
  cores: [2, 3]                          # one worker on each; default [0]
  flow_table_size: 1048576               # flows
  flow_table_numa_node: 0                # default: that of the first core
  flow_table_huge_pages: true            # 2 MiB pages, when there are any
  socket: /run/vrouter/ctl.sock          # where vrctl finds it
  state_dir: /var/lib/vrouter            # where commits are kept
  idle: adaptive                         # or busy: poll without pause
  icmp_errors_per_second: 100            # to one source; 0: none
  fragments: {held_packets: 512}         # and datagrams, held_bytes, timeout_ms, reassembly
  eal: [\"--no-huge\"]                     # further DPDK EAL arguments
  objects:                               # applied at the first boot, as by `vrctl apply`
    vifs:
      - {name: up0, role: fabric, device: \"net_af_packet0,iface=eth1\", addresses: [192.0.2.1/24]}

VROUTER_LOG=debug says more. SIGTERM or SIGINT ends it.
Exit status: 0 done, 1 could not start or was refused, 2 wrong usage."
)]
struct Cli {
    /// The node file (YAML)
    #[arg(long, value_name = "FILE", required = true)]
    config: Option<PathBuf>,
    /// Leave the state directory alone: begin as at the first boot, and keep nothing
    #[arg(long)]
    without_state: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Replay(replay::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match (cli.command, cli.config) {
        (Some(Command::Replay(args)), _) => replay::run(&args),
        (None, Some(config)) => run_daemon(&config, cli.without_state),
        (None, None) => unreachable!("clap wants one of them"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // If nobody reads stderr, the status still says it.
            _ = writeln!(std::io::stderr(), "vrouterd: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "dpdk")]
fn run_daemon(config: &Path, without_state: bool) -> Result<(), String> {
    daemon::run(config, without_state)
}

#[cfg(not(feature = "dpdk"))]
fn run_daemon(_: &Path, _: bool) -> Result<(), String> {
    Err(
        "this one was built without DPDK and can only replay; build it with the feature `dpdk`"
            .into(),
    )
}

/// The text of a configuration file.
fn read(path: &Path) -> Result<String, String> {
    let path_text = path.display();
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path_text}: {error}"))?;
    String::from_utf8(bytes).map_err(|_| format!("{path_text}: this is not UTF-8 text"))
}

/// Mistakes as the end of a program: a line for each, and what follows from them.
fn report(mistakes: &[Mistake], consequence: &str) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        text.push_str(&format!("{mistake}\nvrouterd: "));
    }
    let count = match mistakes.len() {
        1 => "1 mistake".into(),
        n => format!("{n} mistakes"),
    };
    text + &format!("{count}; {consequence}")
}
