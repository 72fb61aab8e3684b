//! The complete worker pipeline between sources and a sink in memory.

pub mod buffers;
pub mod case;
pub mod frames;
pub mod instructions;
pub mod objects;
pub mod order;
pub mod report;
pub mod rig;

use std::time::{Duration, Instant};

use case::{Case, Load};
use rig::Rig;

/// Packets in a window: short enough that some windows are undisturbed.
const WINDOW: u64 = 20_000;

/// One measured line.
pub struct Line {
    /// What was measured.
    pub case: Case,
    /// Cycles of the time-stamp counter per packet, one value per window, ascending.
    pub cycles: Vec<f64>,
    /// Nanoseconds per packet, one value per window, ascending.
    pub nanoseconds: Vec<f64>,
}

/// Measures one case.
///
/// # Errors
/// A sentence, if packets were lost: then the numbers mean nothing.
pub fn measure(case: &Case, time: Duration) -> Result<Line, String> {
    let mut rig = prepared(case)?;
    let mut line = Line {
        case: *case,
        cycles: Vec::new(),
        nanoseconds: Vec::new(),
    };
    // Of new flows so many fit into the table before it has to be emptied.
    let (percent, window) = match case.load {
        Load::Established => (0, WINDOW),
        Load::New => (100, WINDOW.min(case.flows.into())),
        Load::Churn(percent) => (percent, WINDOW),
    };
    let mut room = 0;
    let started = Instant::now();
    while started.elapsed() < time || line.cycles.is_empty() {
        let fresh = (window * u64::from(percent)).div_ceil(100);
        if fresh > room {
            rig.forget();
            if percent < 100 {
                rig.establish();
            }
            rig.set_fresh(percent);
            room = u64::from(case.flows).max(fresh);
        }
        room -= fresh;
        let spent = rig.run(window);
        line.cycles.push(spent.cycles as f64 / spent.packets as f64);
        line.nanoseconds
            .push(spent.nanoseconds / spent.packets as f64);
    }
    rig.check()?;
    line.cycles.sort_by(f64::total_cmp);
    line.nanoseconds.sort_by(f64::total_cmp);
    Ok(line)
}

/// A rig whose flows are established, and caches warm.
///
/// # Errors
/// As [`measure`].
pub fn prepared(case: &Case) -> Result<Rig, String> {
    let mut rig = Rig::new(case)?;
    if case.load != Load::New {
        rig.establish();
        rig.run(WINDOW);
    }
    rig.check()?;
    Ok(rig)
}

#[cfg(test)]
mod tests {
    use super::case::{Family, Path, Size, Wrap};
    use super::*;

    #[test]
    fn every_packet_of_every_path_arrives() {
        for path in [Path::Encap, Path::Whole, Path::Decap] {
            for family in [Family::Ipv4, Family::Ipv6] {
                for wrap in [Wrap::Vxlan, Wrap::MplsUdp, Wrap::MplsGre] {
                    let case = Case {
                        family,
                        wrap,
                        vrfs: 2,
                        rules: 20,
                        size: Size::Imix,
                        ..Case::of(path, 1_000)
                    };
                    prepared(&case).expect("no packet is lost");
                }
            }
        }
    }

    #[test]
    fn new_flows_and_a_mix_are_measured_too() {
        for load in [Load::New, Load::Churn(10)] {
            let case = Case {
                load,
                rules: 20,
                ..Case::of(Path::Whole, 20_000)
            };
            let line = measure(&case, Duration::ZERO).expect("no packet is lost");
            assert_eq!(line.cycles.len(), 1);
        }
    }
}
