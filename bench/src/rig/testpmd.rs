//! DPDK's own forwarder: what the ports cost.

use std::path::Path as Directory;
use std::process::Command;

use super::Setting;
use super::contender::Device;
use super::generator::Feed;
use super::process::Process;

/// A running testpmd.
pub(super) struct Testpmd(Process);

/// Starts one.
///
/// # Errors
/// A sentence, if it is not installed or does not start.
pub(super) fn start(
    mode: &str,
    setting: &Setting,
    place: &Directory,
    socket: &Directory,
    feed: &Feed,
) -> Result<Testpmd, String> {
    let mut command = Command::new("dpdk-testpmd");
    let (main, core) = (setting.generator_core, setting.core);
    command.args(["-l", &format!("{main},{core}")]);
    command.args(["--main-lcore", &main.to_string()]);
    command.args([
        "--in-memory",
        "--no-pci",
        "--no-telemetry",
        "--iova-mode=va",
    ]);
    for id in 0..2 {
        let socket = socket.display();
        command.arg(format!(
            "--vdev=net_memif{id},id={id},role=client,socket={socket},socket-abstract=no,rsize=10"
        ));
    }
    command.args(["--", "--nb-cores=1", "--burst=32", "--no-mlockall"]);
    command.args(["--total-num-mbufs=16384", "--rxd=1024", "--txd=1024"]);
    command.args(["--auto-start", &format!("--forward-mode={mode}")]);
    let mut process = Process::start(&command, &place.join("testpmd.log"))?;
    process.until(|| feed.is_connected())?;
    Ok(Testpmd(process))
}

impl Device for Testpmd {
    fn set_running(&self, runs: bool) {
        self.0.set_running(runs);
    }

    fn configuration(&self) -> String {
        self.0.line().to_owned()
    }
}
