//! The rig's results for people and for programs.

use serde_json::{Value, json};

use super::generator::Window;
use super::path::Path;
use super::search::NoDrop;
use super::{Name, Setting};
use crate::report::machine;

/// Turns further apart than this share of their median are marked.
const LOUD: f64 = 0.1;

/// One way with so many flows through all contenders.
pub(super) struct Outcome {
    path: Path,
    flows: u32,
    contenders: Vec<Name>,
    /// For each contender, its turns.
    pub(super) turns: Vec<Vec<Turn>>,
    /// For each contender, if it was asked for.
    pub(super) no_drop: Vec<NoDrop>,
}

/// What a contender forwarded in its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Millions of packets per second, the median of the windows.
    mpps: f64,
    /// Of what was offered, the share that came out.
    share: f64,
}

impl Turn {
    /// Of its windows.
    ///
    /// # Errors
    /// A sentence, if the contender had less to do than it could.
    pub(super) fn of(windows: Vec<Window>) -> Result<Turn, String> {
        let rate = |window: &Window| window.received as f64 / window.seconds / 1e6;
        let mut rates: Vec<f64> = windows.iter().map(rate).collect();
        rates.sort_by(f64::total_cmp);
        let offered: u64 = windows.iter().map(|window| window.offered).sum();
        let received: u64 = windows.iter().map(|window| window.received).sum();
        if received == 0 {
            return Err("no packet came out in a turn".into());
        }
        Ok(Turn {
            mpps: rates[rates.len() / 2],
            share: received as f64 / offered.max(1) as f64,
        })
    }
}

impl Outcome {
    /// Before the first turn.
    pub(super) fn new(path: Path, flows: u32, contenders: impl Iterator<Item = Name>) -> Outcome {
        let contenders: Vec<Name> = contenders.collect();
        Outcome {
            path,
            flows,
            turns: vec![Vec::new(); contenders.len()],
            contenders,
            no_drop: Vec::new(),
        }
    }

    /// How often as many packets as this contender the first one forwards: the median over the
    /// pairs of turns.
    fn first_to(&self, contender: usize) -> f64 {
        let pairs = self.turns[0].iter().zip(&self.turns[contender]);
        median(
            pairs
                .map(|(first, other)| first.mpps / other.mpps)
                .collect(),
        )
    }
}

/// The median over the turns.
pub(super) fn median_mpps(turns: &[Turn]) -> f64 {
    median(turns.iter().map(|turn| turn.mpps).collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn spread(turns: &[Turn]) -> f64 {
    let rates = || turns.iter().map(|turn| turn.mpps);
    let (low, high) = rates().fold((f64::MAX, 0.0_f64), |(low, high), rate| {
        (low.min(rate), high.max(rate))
    });
    (high - low) / median_mpps(turns)
}

/// Where and how.
pub(super) fn header(setting: &Setting, pages: u64) {
    println!(
        "{} · generator on core {}, contenders on core {} · {pages} huge pages · 64-byte UDP over \
         IPv4, random flow order",
        machine(),
        setting.generator_core,
        setting.core
    );
    println!(
        "{:<14}{:>10}  {:<14}{:>8}{:>12}{:>9}{:>12}",
        "path", "flows", "contender", "Mpps", "ns/packet", "spread", "first : it"
    );
}

/// One line for each contender.
pub(super) fn print(outcome: &Outcome) {
    for (at, (name, turns)) in outcome.contenders.iter().zip(&outcome.turns).enumerate() {
        let mpps = median_mpps(turns);
        let spread = spread(turns);
        let mark = if spread > LOUD { "!" } else { " " };
        println!(
            "{:<14}{:>10}  {:<14}{mpps:>8.2}{:>12.1}{:>8.0}%{mark}{:>11.2}",
            outcome.path.text(),
            outcome.flows,
            name.text(),
            1e3 / mpps,
            spread * 100.0,
            outcome.first_to(at),
        );
        // A contender that loses nothing was not at its limit.
        if turns.iter().any(|turn| turn.share > 0.999) && outcome.contenders[at] == Name::Kernel {
            println!(
                "{:>26}everything offered came out: the generator is the limit",
                ""
            );
        }
    }
    for (name, found) in outcome.contenders.iter().zip(&outcome.no_drop) {
        println!(
            "{:>26}{:<14}{:>8.2} without loss; at 50 %: {}; at 90 %: {}",
            "",
            name.text(),
            found.mpps,
            found.latency[0].text(),
            found.latency[1].text(),
        );
    }
}

/// Everything as JSON.
pub(super) fn document(
    setting: &Setting,
    outcomes: &[Outcome],
    configurations: &[(Path, Name, String)],
) -> Value {
    let lines = outcomes.iter().flat_map(|outcome| {
        let contenders = outcome.contenders.iter().enumerate();
        contenders.map(move |(at, name)| {
            let turns = &outcome.turns[at];
            json!({
                "path": outcome.path.text(),
                "flows": outcome.flows,
                "contender": name.text(),
                "mpps": median_mpps(turns),
                "mpps_of_turns": turns.iter().map(|turn| turn.mpps).collect::<Vec<_>>(),
                "share_of_offered": turns.iter().map(|turn| turn.share).collect::<Vec<_>>(),
                "spread": spread(turns),
                "first_to_this": outcome.first_to(at),
                "no_drop": outcome.no_drop.get(at).map(NoDrop::json),
            })
        })
    });
    let configurations = configurations.iter().map(|(path, name, text)| {
        json!({ "path": path.text(), "contender": name.text(), "configuration": text })
    });
    json!({
        "machine": machine(),
        "generator_core": setting.generator_core,
        "core": setting.core,
        "results": lines.collect::<Vec<_>>(),
        "configurations": configurations.collect::<Vec<_>>(),
    })
}
