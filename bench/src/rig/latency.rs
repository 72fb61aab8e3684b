//! How long packets take from the generator and back: the time stands in their last eight bytes,
//! which no contender touches.

use hdrhistogram::Histogram;
use quanta::Clock;
use serde_json::{Value, json};

/// Nanoseconds of sampled packets, three digits each (Tene's HdrHistogram).
pub(super) struct Latency(Histogram<u64>);

impl Latency {
    pub(super) fn new() -> Latency {
        // Up to ten seconds.
        let histogram = Histogram::new_with_max(10_000_000_000, 3);
        Latency(histogram.unwrap_or_else(|error| unreachable!("sound bounds: {error}")))
    }

    /// Writes the time into a frame.
    #[inline]
    pub(super) fn stamp(frame: &mut [u8], now: u64) {
        if let Some(place) = frame.last_chunk_mut() {
            *place = now.to_be_bytes();
        }
    }

    /// Reads it.
    #[inline]
    pub(super) fn record(&mut self, frame: &[u8], now: u64, clock: &Clock) {
        let Some(sent) = frame.last_chunk().map(|bytes| u64::from_be_bytes(*bytes)) else {
            return;
        };
        // Left over from before, or no packet of ours.
        if sent != 0 && sent <= now {
            self.0.saturating_record(clock.delta_as_nanos(sent, now));
        }
    }

    /// `p50/p99/p99.9/max` in microseconds.
    pub(super) fn text(&self) -> String {
        let quantiles = [0.5, 0.99, 0.999, 1.0].map(|q| self.microseconds(q));
        let [p50, p99, p999, max] = quantiles;
        format!("{p50:.1} / {p99:.1} / {p999:.1} / {max:.0} µs")
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "packets": self.0.len(),
            "p50_us": self.microseconds(0.5),
            "p99_us": self.microseconds(0.99),
            "p99_9_us": self.microseconds(0.999),
            "max_us": self.microseconds(1.0),
        })
    }

    fn microseconds(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_frame_tells_how_long_it_took() {
        let clock = Clock::new();
        let mut frame = [0; 60];
        let start = clock.raw();
        Latency::stamp(&mut frame, start);
        let mut latency = Latency::new();
        while clock.delta_as_nanos(start, clock.raw()) < 50_000 {}
        latency.record(&frame, clock.raw(), &clock);
        assert!(latency.microseconds(1.0) >= 49.9, "{}", latency.text());
        assert_eq!(latency.0.len(), 1);
    }

    #[test]
    fn frames_without_a_stamp_are_not_counted() {
        let mut latency = Latency::new();
        latency.record(&[0; 60], 1_000, &Clock::new());
        latency.record(&[1], 1_000, &Clock::new());
        assert_eq!(latency.0.len(), 0);
    }
}
