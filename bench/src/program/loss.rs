//! What programming costs the packets: their loss at nine tenths of the rate that goes
//! without, while 10,000 routes a second are changed. Lost packets divided by the rate
//! is how long forwarding seems to have stopped (FD.io CSIT, "effective blocked time").
//!
//! On a virtual machine the worker's core is taken away now and then, which loses
//! packets whoever programs what. So seconds with and without programming take turns,
//! and both are told.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Plan;
use super::controller::{Controller, request, route};
use super::rig::Rig;

/// Flows of the traffic.
const FLOWS: u32 = 10_000;
/// Routes changed in a second, in so many commits.
const ROUTES: u32 = 10_000;
const COMMITS: u32 = 10;
/// One measurement.
const WINDOW: Duration = Duration::from_secs(1);
/// Measurements of each kind.
const WINDOWS: usize = 10;

pub(super) struct Loss {
    /// The rate that goes without loss, and the one measured at.
    no_loss: u64,
    rate: u64,
    /// Lost packets in each window.
    quiet: Vec<u64>,
    programming: Vec<u64>,
}

pub(super) fn measure(plan: &Plan, rig: &Rig, controller: &mut Controller) -> Result<Loss, String> {
    let no_loss = no_loss_rate(rig)?;
    let rate = no_loss / 10 * 9;
    rig.wire.send(rate, FLOWS);
    std::thread::sleep(WINDOW / 4);
    let mut loss = Loss {
        no_loss,
        rate,
        quiet: Vec::new(),
        programming: Vec::new(),
    };
    for window in 0..WINDOWS {
        let before = rig.wire.lost();
        std::thread::sleep(WINDOW);
        loss.quiet.push(rig.wire.lost() - before);
        let before = rig.wire.lost();
        program(plan, controller, window)?;
        loss.programming.push(rig.wire.lost() - before);
    }
    rig.wire.send(0, 1);
    Ok(loss)
}

/// Changes routes for the length of a window, in even steps.
fn program(plan: &Plan, controller: &mut Controller, window: usize) -> Result<(), String> {
    let nexthop = if window.is_multiple_of(2) {
        "discard"
    } else {
        "far"
    };
    let per_vrf = plan.routes.div_ceil(plan.vrfs);
    let each = ROUTES / COMMITS;
    let began = Instant::now();
    for commit in 0..COMMITS {
        let first = commit * each;
        let routes = (first..first + each).map(|it| route(it % plan.routes, per_vrf, nexthop));
        let apply = controller.client.apply(request(routes.collect()));
        let response = controller.runtime.block_on(apply);
        response.map_err(|error| error.to_string())?;
        let next = WINDOW / COMMITS * (commit + 1);
        std::thread::sleep(next.saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// The highest rate at which most short windows lose nothing.
fn no_loss_rate(rig: &Rig) -> Result<u64, String> {
    const LOOK: Duration = Duration::from_millis(50);
    const LOOKS: usize = 9;
    let goes = |rate| {
        rig.wire.send(rate, FLOWS);
        std::thread::sleep(LOOK);
        let lossless = (0..LOOKS).filter(|_| {
            let before = rig.wire.lost();
            std::thread::sleep(LOOK);
            rig.wire.lost() == before
        });
        lossless.count() > LOOKS / 2
    };
    let (mut least, mut most) = (0, 40_000_000);
    while most - least > most / 64 {
        let middle = (least + most) / 2;
        match goes(middle) {
            true => least = middle,
            false => most = middle,
        }
    }
    match least {
        0 => Err("there is no rate without loss here".into()),
        _ => Ok(least),
    }
}

impl Loss {
    /// Lost packets as time, in milliseconds.
    fn blocked_ms(&self, lost: u64) -> f64 {
        lost as f64 / self.rate as f64 * 1e3
    }

    fn summary(&self, windows: &[u64]) -> (f64, f64) {
        let mut sorted = windows.to_vec();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let most = sorted.last().copied().unwrap_or(0);
        (self.blocked_ms(median), self.blocked_ms(most))
    }

    pub(super) fn print(&self) {
        println!(
            "{:<46}{:.2} Mpps; measured at {:.2}",
            "rate without loss",
            self.no_loss as f64 / 1e6,
            self.rate as f64 / 1e6
        );
        for (what, windows) in [
            ("blocked in a second, nothing programmed", &self.quiet),
            (
                "blocked in a second, 10,000 routes programmed",
                &self.programming,
            ),
        ] {
            let (median, most) = self.summary(windows);
            println!("{what:<46}median {median:.3} ms, most {most:.3} ms");
        }
    }

    pub(super) fn json(&self) -> Value {
        let both = |windows| {
            let (median, most) = self.summary(windows);
            json!({"lost": windows, "blocked_ms": {"median": median, "most": most}})
        };
        json!({
            "no_loss_pps": self.no_loss,
            "pps": self.rate,
            "routes_per_second": ROUTES,
            "quiet": both(&self.quiet),
            "programming": both(&self.programming),
        })
    }
}
