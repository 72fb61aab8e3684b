//! Cycles of the time-stamp counter, as criterion wants them.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};
use quanta::Clock;

/// The time-stamp counter.
pub(super) struct Cycles(Clock);

impl Default for Cycles {
    fn default() -> Cycles {
        Cycles(Clock::new())
    }
}

impl Measurement for Cycles {
    type Intermediate = u64;
    type Value = f64;

    fn start(&self) -> u64 {
        self.0.raw()
    }

    fn end(&self, start: u64) -> f64 {
        (self.0.raw() - start) as f64
    }

    fn add(&self, a: &f64, b: &f64) -> f64 {
        a + b
    }

    fn zero(&self) -> f64 {
        0.0
    }

    fn to_f64(&self, value: &f64) -> f64 {
        *value
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Cycles {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "cycles"
    }

    /// Millions per second; everything here is per one of something.
    fn scale_throughputs(
        &self,
        _typical: f64,
        _throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let cycles = 1 << 30;
        let seconds = self.0.delta_as_nanos(0, cycles) as f64 / 1e9;
        for value in values {
            *value = cycles as f64 / seconds / *value / 1e6;
        }
        "M/s"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "cycles"
    }
}
