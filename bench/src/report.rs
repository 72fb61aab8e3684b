//! Results for people and for programs.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Writes results as JSON.
///
/// # Errors
/// A sentence with the file's name.
pub fn write_json(path: &Path, document: &Value) -> Result<(), String> {
    fs::write(path, format!("{document:#}\n"))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What many windows have shown.
#[derive(Clone, Copy, Debug)]
pub struct Quantiles {
    /// The lowest value.
    pub best: f64,
    /// One in twenty is lower.
    pub p5: f64,
    /// One in two is lower.
    pub median: f64,
    /// One in twenty is higher.
    pub p95: f64,
}

impl Quantiles {
    /// Of ascending values, of which there is at least one.
    pub fn of(values: &[f64]) -> Quantiles {
        let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
        Quantiles {
            best: at(0.0),
            p5: at(0.05),
            median: at(0.5),
            p95: at(0.95),
        }
    }

    /// How far the windows are apart, as a share of the median.
    pub fn spread(&self) -> f64 {
        (self.p95 - self.best) / self.median
    }
}

/// The processor.
pub fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    model.to_owned()
}

/// The compiler that made this program.
pub fn compiler() -> &'static str {
    env!("COMPILER")
}
