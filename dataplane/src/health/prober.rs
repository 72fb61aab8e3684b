//! Asks all backends in turn, and says who went up or down. Time is an argument; what it sends and
//! hears are segments: it neither sleeps nor opens anything.

use std::collections::{BTreeMap, HashMap};

use super::probe::Probe;
use super::schedule::{Check, wanted};
use super::{Heard, PORTS, Segment};
use crate::decide::End;
use crate::tables::spec::Name;
use crate::tables::{Tables, VrfId};

/// A backend that went up or down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The service it belongs to.
    pub service: Name,
    /// Its end there.
    pub backend: End,
    /// Whether it works.
    pub is_healthy: bool,
}

/// A network, where a question went and our port.
type Asked = (VrfId, End, u16);
/// A service and a backend of it.
type Checked = (Name, End);

/// The state of all checks.
#[derive(Default)]
pub struct Prober {
    checks: BTreeMap<Checked, Check>,
    /// Questions under way, by network, where they went and our port.
    probes: HashMap<Asked, (Probe, Checked)>,
    /// Counts questions, for ports and sequence numbers.
    asked: u32,
    news: Vec<News>,
}

impl Prober {
    /// Checks from now on what this configuration wants checked. Backends whose check is as before
    /// keep their place in the round, and what was found; new ones are asked at once.
    pub fn follow(&mut self, tables: &Tables, now: u64) {
        let mut before = std::mem::take(&mut self.checks);
        for (service, backend, is_up, terms) in wanted(tables) {
            let key = (service.clone(), backend);
            let check = match before.remove(&key) {
                Some(check) if check.terms == terms => check,
                _ => Check::new(service, backend, terms, is_up, now),
            };
            self.checks.insert(key, check);
        }
        let checks = &self.checks;
        self.probes.retain(|_, (_, key)| checks.contains_key(key));
    }

    /// How many backends are checked.
    pub fn checked(&self) -> usize {
        self.checks.len()
    }

    /// Asks those whose time has come; what is to be sent goes into `out`. Milliseconds since any
    /// moment, the same for all calls.
    pub fn poll(&mut self, now: u64, out: &mut Vec<Segment>) {
        let mut over = Vec::new();
        for (port, (probe, key)) in &mut self.probes {
            if let Some(is_good) = probe.wait(now, out) {
                over.push((*port, key.clone(), is_good));
            }
        }
        for (port, key, is_good) in over {
            self.probes.remove(&port);
            self.conclude(&key, is_good);
        }
        let due: Vec<(Name, End)> = self
            .checks
            .iter()
            .filter(|(_, check)| check.due <= now)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.ask(key, now, out);
        }
    }

    /// Takes what a backend answered.
    pub fn hear(&mut self, heard: &Heard, out: &mut Vec<Segment>) {
        let at = (heard.vrf, heard.src, heard.dst.port);
        let Some((probe, key)) = self.probes.get_mut(&at) else {
            return;
        };
        if let Some(is_good) = probe.hear(heard, out) {
            let key = key.clone();
            self.probes.remove(&at);
            self.conclude(&key, is_good);
        }
    }

    /// Who went up or down since last asked.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    fn ask(&mut self, key: (Name, End), now: u64, out: &mut Vec<Segment>) {
        let Some(check) = self.checks.get_mut(&key) else {
            return;
        };
        // Not all backends at once for ever: some come a little later, each time by its own amount.
        let interval = u64::from(check.terms.health.interval_ms);
        self.asked = self.asked.wrapping_add(1);
        let jitter = (u64::from(self.asked.wrapping_mul(0x9e37_79b9) >> 16) * interval / 16) >> 16;
        check.due = now + interval - interval / 32 + jitter;
        let terms = &check.terms;
        let count = PORTS.end() - PORTS.start() + 1;
        let port = PORTS.start() + (self.asked % u32::from(count)) as u16;
        let src = End {
            addr: terms.source,
            port,
        };
        let at = (terms.vrf, terms.target, port);
        if self.probes.contains_key(&at) {
            return; // its turn comes again
        }
        let way = (terms.vrf, src, terms.target);
        // Unlike the last one from this port, whose segments may still be under way.
        let sequence = self.asked.wrapping_mul(0x9e37_79b9);
        let probe = Probe::start(way, &terms.health, sequence, now, out);
        self.probes.insert(at, (probe, key));
    }

    fn conclude(&mut self, key: &(Name, End), is_good: bool) {
        let Some(check) = self.checks.get_mut(key) else {
            return;
        };
        if let Some(is_healthy) = check.conclude(is_good) {
            self.news.push(News {
                service: check.service.clone(),
                backend: check.backend,
                is_healthy,
            });
        }
    }
}
