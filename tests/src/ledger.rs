//! Where packets went, over all vifs: each one that came in, or was made here,
//! was sent, taken or dropped.

use serde_json::Value;

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Received.
    pub rx: u64,
    /// Made by the vrouter itself.
    pub originated: u64,
    /// Sent.
    pub tx: u64,
    /// For the vrouter itself, without an answer.
    pub consumed: u64,
    /// Dropped, for whatever reason.
    pub drops: u64,
}

impl Ledger {
    /// Adds up the report of a replay.
    ///
    /// # Panics
    /// If a counter is missing.
    pub fn of_report(report: &Value) -> Ledger {
        let mut ledger = Ledger::default();
        let vifs = report["vifs"].as_object().expect("a report has vifs");
        for vif in vifs.values() {
            let drops = vif["drops"].as_object().expect("drops are by reason");
            ledger.add(vif, drops.values().map(number).sum());
        }
        ledger
    }

    /// Adds up what `vrctl stats -o json` prints.
    ///
    /// # Panics
    /// If a counter is missing.
    pub fn of_stats(stats: &Value) -> Ledger {
        let mut ledger = Ledger::default();
        for vif in stats["vifs"].as_array().expect("stats have vifs") {
            let drops = vif["drops"].as_array().expect("drops are a list");
            ledger.add(vif, drops.iter().map(|drop| number(&drop["packets"])).sum());
        }
        ledger
    }

    /// Whether every packet is accounted for.
    pub fn is_balanced(&self) -> bool {
        self.rx + self.originated == self.tx + self.consumed + self.drops
    }

    fn add(&mut self, vif: &Value, drops: u64) {
        self.rx += number(&vif["rx_packets"]);
        self.originated += number(&vif["originated"]);
        self.tx += number(&vif["tx_packets"]);
        self.consumed += number(&vif["consumed"]);
        self.drops += drops;
    }
}

/// A counter; protobuf's JSON writes 64-bit numbers as text.
///
/// # Panics
/// If it is none.
pub fn number(value: &Value) -> u64 {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.unwrap_or_else(|| panic!("`{value}` is not a counter"))
}
