//! The text formats of Prometheus (version 0.0.4) and OpenMetrics (version 1.0.0), which differ in
//! how counters are declared and in how the text ends.

use std::fmt::Write;

/// A page being written.
pub(super) struct Page {
    text: String,
    is_open_metrics: bool,
}

/// What a family counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Labels with their values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    pub(super) fn new(is_open_metrics: bool) -> Page {
        Page {
            text: String::new(),
            is_open_metrics,
        }
    }

    /// Begins a family; `name` is that of its samples, with `_total` for counters.
    pub(super) fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let declared = match kind {
            Kind::Counter if self.is_open_metrics => name.trim_end_matches("_total"),
            _ => name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail.
        _ = writeln!(
            self.text,
            "# HELP {declared} {help}\n# TYPE {declared} {kind}"
        );
    }

    /// Adds a sample to the family begun last.
    pub(super) fn sample(&mut self, name: &str, labels: Labels, value: f64) {
        self.text += name;
        let mut before = '{';
        for (label, value) in labels {
            _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        _ = writeln!(self.text, " {value}");
    }

    /// A histogram's samples: how many were at most each bound, their number and their sum.
    pub(super) fn histogram(
        &mut self,
        name: &str,
        labels: Labels,
        up_to: &[(f64, u64)],
        (count, sum): (u64, f64),
    ) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in up_to {
            let bound = bound.to_string();
            let labels: Vec<_> = labels.iter().copied().chain([("le", &bound[..])]).collect();
            self.sample(&bucket, &labels, *count as f64);
        }
        let labels_inf: Vec<_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.sample(&bucket, &labels_inf, count as f64);
        self.sample(&format!("{name}_count"), labels, count as f64);
        self.sample(&format!("{name}_sum"), labels, sum);
    }

    pub(super) fn finish(mut self) -> String {
        if self.is_open_metrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped += "\\\\",
            '"' => escaped += "\\\"",
            '\n' => escaped += "\\n",
            c => escaped.push(c),
        }
    }
    escaped
}
