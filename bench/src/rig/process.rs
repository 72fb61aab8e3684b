//! Programs that stand still but for their turns.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running program, ended when dropped.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    line: String,
}

impl Process {
    /// Starts it; what it says goes to the file `log`. The kernel ends it with this program.
    ///
    /// # Errors
    /// A sentence with its name.
    pub(super) fn start(command: &Command, log: &Path) -> Result<Process, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let words = command.get_args().map(|word| word.to_string_lossy());
        let line = words.fold(program, |line, word| format!("{line} {word}"));
        let cannot = |error: std::io::Error| format!("cannot start `{line}`: {error}");
        let output = File::create(log).map_err(cannot)?;
        let errors = output.try_clone().map_err(cannot)?;
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL"]);
        // Not on the core of the calling thread alone.
        wrapped.args(["taskset", "-c", &format!("0-{}", last_core())]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            wrapped.env(name, value.unwrap_or_default());
        }
        let child = wrapped
            // testpmd ends when there is nothing to read.
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(cannot)?;
        Ok(Process {
            child,
            log: log.into(),
            line,
        })
    }

    /// Its number: `setpriv` and `taskset` become the program.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The command line.
    pub(super) fn line(&self) -> &str {
        &self.line
    }

    /// Whether it goes on or stands still.
    pub(super) fn set_running(&self, runs: bool) {
        let signal = if runs { "-CONT" } else { "-STOP" };
        let id = self.child.id().to_string();
        _ = Command::new("kill").args([signal, &id]).status();
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// A sentence with the end of the log, after a minute or when it has ended.
    pub(super) fn until(&mut self, ready: impl Fn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if ended || Instant::now() > deadline {
                let what = if ended { "ended" } else { "is not ready" };
                return Err(format!("`{}` {what}: {}", self.line, self.last_words()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The end of what it said.
    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(6).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
    }
}

/// The machine's last core; those beyond what this process may use are left out by the kernel.
fn last_core() -> usize {
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let last = online.trim().rsplit(['-', ',']).next();
    last.and_then(|last| last.parse().ok()).unwrap_or_default()
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// A sentence with what it said, if its status is not 0.
pub(super) fn run(line: &str) -> Result<String, String> {
    run_command(Command::new("sh").args(["-c", line])).map_err(|said| format!("`{line}`: {said}"))
}

/// Likewise, given as a command.
///
/// # Errors
/// What it said, if its status is not 0.
pub(super) fn run_command(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{} {}", text(&output.stdout), text(&output.stderr))),
    }
}
