//! The rate at which nothing is lost (RFC 2544 §26.1), by bisection, and the latency below it.

use std::time::Duration;

use serde_json::{Value, json};

use super::contender::Running;
use super::latency::Latency;

/// Halvings of the range between zero and the maximum receive rate: to 0.4 % of it.
const STEPS: u32 = 8;
/// Steps whose outcome is close to what was sought are tried so often, as a machine with neighbours
/// loses packets now and then: FD.io's MLRsearch calls what it finds a conditional throughput.
const TRIALS: u32 = 2;

/// What was found.
pub(super) struct NoDrop {
    /// Packets per second, in millions; 0 if there is no such rate.
    pub(super) mpps: f64,
    /// At half of that, and at nine tenths.
    pub(super) latency: [Latency; 2],
}

/// Searches below `most` packets per second.
pub(super) fn no_drop_rate(
    turn: &mut Running<'_>,
    flows: u32,
    most: f64,
    time: Duration,
) -> NoDrop {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        let is_lossless = (0..TRIALS).any(|_| {
            let window = turn.pace(flows, middle, time, None);
            window.received >= window.offered
        });
        match is_lossless {
            true => low = middle,
            false => high = middle,
        }
    }
    let latency = [0.5, 0.9].map(|share| {
        let mut latency = Latency::new();
        if low > 0.0 {
            turn.pace(flows, low * share, time, Some(&mut latency));
        }
        latency
    });
    NoDrop {
        mpps: low / 1e6,
        latency,
    }
}

impl NoDrop {
    pub(super) fn json(&self) -> Value {
        json!({
            "mpps": self.mpps,
            "latency_at_50_percent": self.latency[0].json(),
            "latency_at_90_percent": self.latency[1].json(),
        })
    }
}
