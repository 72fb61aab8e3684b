//! Commands that run to their end.

use std::fmt;
use std::process::Command;

/// What a command did.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// Exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Some(status) => format!("exit status {status}"),
            None => "ended by a signal".into(),
        };
        write!(
            f,
            "`{}`: {status}\n{}{}",
            self.line, self.stdout, self.stderr
        )
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started; a test needs what it calls.
pub fn try_run(command: &mut Command) -> Output {
    let line = line_of(command);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("cannot run `{line}`: {error}; scripts/setup installs what is needed"),
    };
    Output {
        line,
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command that must succeed; returns what it printed.
///
/// # Panics
/// With all it said, if it fails.
pub fn run(command: &mut Command) -> String {
    let output = try_run(command);
    assert!(output.status == Some(0), "{output}");
    output.stdout
}

/// A command from a line of words; no quoting.
pub fn words(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// The command as one would type it.
pub fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
