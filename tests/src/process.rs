//! Programs that run beside the test and end with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::line_of;
use crate::wait::until;

/// A running program. Killed when dropped; when the test failed, its output is
/// shown.
pub struct Process {
    child: Child,
    line: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program with both its outputs going to the file `log`.
    ///
    /// The kernel kills it if the calling thread ends without dropping this, so
    /// nothing outlives a test that was itself killed.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &Command, log: &Path) -> Process {
        let line = line_of(command);
        let output = File::create(log).unwrap_or_else(|e| panic!("cannot write {log:?}: {e}"));
        let errors = output.try_clone().expect("a file can be had twice");
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--pdeathsig", "KILL"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            wrapped.env(name, value.unwrap_or_default());
        }
        let child = wrapped
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start `{line}`: {error}"));
        Process {
            child,
            line,
            log: log.into(),
        }
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }

    /// Asks it to end and waits for it; its exit status, `None` if by a signal.
    ///
    /// # Panics
    /// If it does not end within 10 s.
    pub fn terminate(&mut self) -> Option<i32> {
        crate::run(&mut crate::command::words(&format!(
            "kill -TERM {}",
            self.id()
        )));
        self.wait(Duration::from_secs(10))
    }

    /// Waits for its end; its exit status, `None` if by a signal.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> Option<i32> {
        let what = format!("the end of `{}`", self.line);
        until(limit, &what, || self.child.try_wait().ok().flatten()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}---", self.line, self.log());
        }
    }
}
