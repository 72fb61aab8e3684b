//! A vrouterd in a namespace, driven through vrctl as a person would.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::command::{Output, run, try_run};
use crate::lab::Namespace;
use crate::ledger::{Ledger, number};
use crate::process::Process;
use crate::programs;
use crate::scratch::Scratch;
use crate::wait::until;

/// A running vrouterd.
pub struct Vrouter {
    process: Process,
    scratch: Scratch,
}

impl Vrouter {
    /// Starts one in a namespace, its only worker on `core`, and waits until its
    /// socket answers.
    ///
    /// # Panics
    /// If it does not within 10 s.
    pub fn start(node: &Namespace, core: usize) -> Vrouter {
        let vrouter = Vrouter::spawn(Some(node), core, "");
        vrouter.wait_until_it_answers();
        vrouter
    }

    /// Starts one outside of any namespace, for what needs no network, and waits
    /// until its socket answers.
    ///
    /// # Panics
    /// If it does not within 10 s.
    pub fn start_alone() -> Vrouter {
        let vrouter = Vrouter::spawn(None, 0, "");
        vrouter.wait_until_it_answers();
        vrouter
    }

    /// Starts one with more lines in its node file, and does not wait.
    pub fn spawn(node: Option<&Namespace>, core: usize, more: &str) -> Vrouter {
        let scratch = Scratch::new("vrouterd");
        let socket = scratch.join("ctl.sock");
        let state = scratch.join("state");
        let config = format!(
            "cores: [{core}]\nsocket: {}\nstate_dir: {}\n{more}",
            socket.display(),
            state.display()
        );
        let config = scratch.write("node.yaml", config);
        let mut command = match node {
            Some(node) => node.command(programs::vrouterd()),
            None => Command::new(programs::vrouterd()),
        };
        command.arg("--config").arg(config);
        Vrouter {
            process: Process::start(&command, &scratch.join("log")),
            scratch,
        }
    }

    /// Waits until its socket answers.
    ///
    /// # Panics
    /// If it does not within 10 s.
    pub fn wait_until_it_answers(&self) {
        until(
            Duration::from_secs(10),
            &format!("vrouterd to answer; it said:\n{}", self.log()),
            || (self.vrctl(&["stats"]).status == Some(0)).then_some(()),
        );
    }

    /// Where its control socket is.
    pub fn socket(&self) -> PathBuf {
        self.scratch.join("ctl.sock")
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// A vrctl command for this daemon.
    pub fn vrctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(programs::vrctl());
        command.arg("--socket").arg(self.socket()).args(args);
        command
    }

    /// Runs vrctl against it.
    pub fn vrctl(&self, args: &[&str]) -> Output {
        try_run(&mut self.vrctl_command(args))
    }

    /// Applies objects, which must succeed; returns what vrctl said.
    pub fn apply(&self, objects: &str) -> String {
        run(&mut self.apply_command(objects))
    }

    /// Applies objects; returns what vrctl said, whatever it was.
    pub fn try_apply(&self, objects: &str) -> Output {
        try_run(&mut self.apply_command(objects))
    }

    /// Applies objects and deletes what they do not name; returns what vrctl said.
    pub fn try_apply_replacing(&self, objects: &str) -> Output {
        try_run(self.apply_command(objects).arg("--replace"))
    }

    /// The command that applies these objects.
    pub fn apply_command(&self, objects: &str) -> Command {
        let file = self.scratch.write("objects.yaml", objects);
        let mut command = self.vrctl_command(&["apply", "-f"]);
        command.arg(file);
        command
    }

    /// All counters.
    ///
    /// # Panics
    /// If vrctl fails or does not print JSON.
    pub fn stats(&self) -> Value {
        let text = run(&mut self.vrctl_command(&["stats", "-o", "json"]));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
    }

    /// The generation in force.
    pub fn generation(&self) -> u64 {
        number(&self.stats()["generation"])
    }

    /// One counter of a vif, e.g. `rx_packets`.
    ///
    /// # Panics
    /// If there is no such vif.
    pub fn counter(&self, vif: &str, counter: &str) -> u64 {
        let stats = self.stats();
        let vifs = stats["vifs"].as_array().into_iter().flatten();
        let found = vifs.clone().find(|entry| entry["name"] == vif);
        let found = found.unwrap_or_else(|| panic!("no vif {vif} in {stats}"));
        number(&found[counter])
    }

    /// Packets dropped so far, by reason, over all vifs.
    pub fn drops(&self) -> BTreeMap<String, u64> {
        let stats = self.stats();
        let mut drops = BTreeMap::new();
        for vif in stats["vifs"].as_array().into_iter().flatten() {
            for drop in vif["drops"].as_array().into_iter().flatten() {
                let reason = drop["reason"].as_str().unwrap_or_default();
                *drops.entry(reason.to_owned()).or_default() += number(&drop["packets"]);
            }
        }
        drops
    }

    /// Checks that every packet is accounted for, as soon as none is under way.
    ///
    /// # Panics
    /// If that does not become so within 5 s.
    pub fn assert_balanced(&self) {
        until(Duration::from_secs(5), "the counters to add up", || {
            Ledger::of_stats(&self.stats()).is_balanced().then_some(())
        });
    }

    /// Checks that nothing was dropped but for the reasons named.
    ///
    /// # Panics
    /// If something was.
    pub fn assert_only_drops(&self, expected: &[&str]) {
        let mut drops = self.drops();
        drops.retain(|reason, _| !expected.contains(&reason.as_str()));
        if !drops.is_empty() {
            let packets = self.vrctl(&["drops", "--packets"]).stdout;
            panic!("unexpected drops: {drops:?}\n{packets}");
        }
    }
}
