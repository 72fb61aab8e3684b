//! `vrctl`: the command line for a running vrouterd.
//!
//! Exit status: 0 done, 1 refused, 2 could not ask.

mod apply;
mod cli;
mod explain;
mod flows;
mod get;
mod impact;
mod macs;
mod objects;
mod rules;
mod stats;
mod table;
mod watch;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};

/// Why a command did not do what it was told.
enum Failure {
    /// The daemon, or the check before it, said no: exit status 1. The text is
    /// whole lines without the last line end.
    Refused(String),
    /// There was nobody to ask, or no way to: exit status 2.
    CouldNotAsk(String),
    /// The answer could not be written out.
    Output(io::Error),
}

impl From<ctl::client::Error> for Failure {
    fn from(error: ctl::client::Error) -> Self {
        use ctl::client::Error;
        match error {
            Error::Refused(_) | Error::TooLarge { .. } => Failure::Refused(error.to_string()),
            Error::Connect { .. } | Error::Status(_) => Failure::CouldNotAsk(error.to_string()),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        ctl::client::Error::from(status).into()
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::CouldNotAsk(format!("cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(run(cli)));
    let (status, message) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        // `vrctl … | head` has read what it wanted.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return ExitCode::SUCCESS;
        }
        Err(Failure::Refused(message)) => (1, message),
        Err(Failure::CouldNotAsk(message)) => (2, message),
        Err(Failure::Output(error)) => (2, format!("cannot write the answer: {error}")),
    };
    // If nobody reads stderr either, the status still says it.
    _ = writeln!(io::stderr(), "{message}");
    ExitCode::from(status)
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let out = &mut io::BufWriter::new(io::stdout().lock());
    match cli.command {
        Command::Apply(args) => apply::run(&cli.socket, args, out).await?,
        Command::Get(args) => get::get(&cli.socket, args, out).await?,
        Command::Delete(args) => get::delete(&cli.socket, args, out).await?,
        Command::Flows(args) => flows::run(&cli.socket, args, out).await?,
        Command::Explain(args) => explain::run(&cli.socket, *args, out).await?,
        Command::Macs(args) => macs::run(&cli.socket, args, out).await?,
        Command::Stats(args) => stats::stats(&cli.socket, args, out).await?,
        Command::Drops(args) => stats::drops(&cli.socket, args, out).await?,
        Command::Watch(args) => watch::run(&cli.socket, args, out).await?,
        Command::Hello => watch::hello(&cli.socket, out).await?,
        Command::Completions { shell } => {
            // clap_complete panics when it cannot write, so it writes to memory.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "vrctl", &mut script);
            out.write_all(&script)?;
        }
    }
    Ok(out.flush()?)
}
