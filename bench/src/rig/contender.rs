//! Who is measured: a process, or the kernel, with the two ends of the way through it.

use std::path::Path as Directory;
use std::time::Duration;

use super::generator::{Feed, Generator, Window};
use super::latency::Latency;
use super::path::Path;
use super::{Name, Setting, kernel, openvswitch, testpmd, vrouter};

/// A contender at a standstill.
pub(super) struct Contender {
    pub(super) name: Name,
    path: Path,
    feed: Feed,
    device: Box<dyn Device>,
}

/// What forwards, as its own file knows it.
pub(super) trait Device {
    /// Goes on, or stands still.
    fn set_running(&self, runs: bool);
    /// Everything that a reader needs to object.
    fn configuration(&self) -> String;
}

/// Starts a contender, whose files are in `place`.
///
/// # Errors
/// A sentence.
pub(super) fn start(
    name: Name,
    path: Path,
    setting: &Setting,
    place: &Directory,
    generator: &mut Generator,
) -> Result<Contender, String> {
    let memif = || place.join("memif.sock");
    let (feed, device): (Feed, Box<dyn Device>) = match name {
        Name::Vrouter => {
            let feed = generator.memif(&memif(), 1)?;
            let device = vrouter::start(path, setting, place, &memif(), &feed)?;
            (feed, Box::new(device))
        }
        Name::TestpmdIo | Name::TestpmdMac => {
            let feed = generator.memif(&memif(), 1)?;
            let mode = if name == Name::TestpmdIo { "io" } else { "mac" };
            let device = testpmd::start(mode, setting, place, &memif(), &feed)?;
            (feed, Box::new(device))
        }
        Name::Ovs => {
            let feed = generator.memif(&memif(), openvswitch::QUEUES)?;
            let device = openvswitch::start(path, setting, place, &memif(), &feed)?;
            (feed, Box::new(device))
        }
        Name::Kernel => {
            let device = kernel::start(path, setting, place)?;
            let feed = generator.interfaces(kernel::MACHINE, kernel::UPLINK)?;
            (feed, Box::new(device))
        }
    };
    let mut contender = Contender {
        name,
        path,
        feed,
        device,
    };
    contender.prove()?;
    contender.device.set_running(false);
    Ok(contender)
}

impl Contender {
    /// How it was configured.
    pub(super) fn configuration(&self) -> String {
        self.device.configuration()
    }

    /// Has it go on until the result is dropped.
    ///
    /// # Errors
    /// A sentence, if it is not connected any more.
    pub(super) fn take_turn(&mut self) -> Result<Running<'_>, String> {
        self.device.set_running(true);
        match self.feed.is_connected() {
            true => Ok(Running(self)),
            false => Err(format!("{} has left its ports", self.name.text())),
        }
    }

    /// Sends some packets until some have come out.
    fn prove(&mut self) -> Result<(), String> {
        for _ in 0..100 {
            let window = self
                .feed
                .pace(self.path, 16, 10_000.0, Duration::from_millis(100), None);
            if window.received * 2 > window.offered {
                return Ok(());
            }
        }
        Err("no packet came out in ten seconds".into())
    }
}

/// A contender whose turn it is.
pub(super) struct Running<'c>(&'c mut Contender);

impl Running<'_> {
    /// Sends every flow at least twice.
    pub(super) fn warm_up(&mut self, flows: u32) {
        let path = self.0.path;
        self.0
            .feed
            .each_flow(path, flows, Duration::from_millis(300));
    }

    /// See [`Feed::flood`].
    pub(super) fn flood(&mut self, flows: u32, time: Duration) -> Vec<Window> {
        self.0.feed.flood(self.0.path, flows, time)
    }

    /// See [`Feed::pace`].
    pub(super) fn pace(
        &mut self,
        flows: u32,
        rate: f64,
        time: Duration,
        latency: Option<&mut Latency>,
    ) -> Window {
        self.0.feed.pace(self.0.path, flows, rate, time, latency)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.device.set_running(false);
    }
}
