//! Underlay neighbours: the MAC behind an address next to a fabric vif.
//!
//! Each neighbour that some nexthop needs is one cell, shared by every snapshot
//! that mentions it. Workers read it with one relaxed load per packet and write
//! it when an ARP or ND answer arrives (RFC 826, RFC 4861), so learning a
//! neighbour is not a commit.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use encap::MacAddr;
use flowtable::Ticks;

use super::VifId;

/// A neighbour that has not been heard of for this long is asked again; it keeps
/// being used meanwhile.
pub const CONFIRM_AFTER_MS: u32 = 300_000;
/// The same for one that decides which path flows take.
pub const CONFIRM_WATCHED_AFTER_MS: u32 = 5_000;
/// A watched neighbour that did not answer [`MAX_PROBES`] requests is asked for
/// this often, in case it returns without a word.
pub const RETRY_WATCHED_MS: u32 = 10_000;
/// Between two requests to one neighbour (RFC 1122 §2.3.2.1: at most one a second).
pub const PROBE_INTERVAL_MS: u32 = 1_000;
/// A known neighbour that does not answer this many requests is unknown again.
pub const MAX_PROBES: u32 = 3;

/// One address next to one fabric vif. All fields may be read and written by any worker.
#[derive(Debug)]
pub struct Neighbour {
    /// The vif it is reached through.
    pub vif: VifId,
    /// Its address.
    pub addr: IpAddr,
    /// The MAC in the low 48 bits, with [`KNOWN`] and [`STATIC`]; 0 while unknown.
    state: AtomicU64,
    confirmed: AtomicU32,
    probed: AtomicU32,
    probes: AtomicU32,
}

/// How much depends on a neighbour's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Packets go to it, or wait for it.
    Needed,
    /// There are other ways, which are taken while this one does not answer.
    Watched,
}

const KNOWN: u64 = 1 << 48;
const STATIC: u64 = 1 << 49;

impl Neighbour {
    /// A neighbour nobody has asked for yet.
    pub fn new(vif: VifId, addr: IpAddr) -> Neighbour {
        Neighbour {
            vif,
            addr,
            state: AtomicU64::new(0),
            confirmed: AtomicU32::new(0),
            probed: AtomicU32::new(0),
            probes: AtomicU32::new(0),
        }
    }

    /// A cell of its own that says the same, for trying things out.
    pub(super) fn apart(&self) -> Neighbour {
        let copy = |cell: &AtomicU32| AtomicU32::new(cell.load(Ordering::Relaxed));
        Neighbour {
            vif: self.vif,
            addr: self.addr,
            state: AtomicU64::new(self.state.load(Ordering::Relaxed)),
            confirmed: copy(&self.confirmed),
            probed: copy(&self.probed),
            probes: copy(&self.probes),
        }
    }

    /// Its MAC, if known.
    #[inline]
    pub fn mac(&self) -> Option<MacAddr> {
        let state = self.state.load(Ordering::Relaxed);
        (state & KNOWN != 0).then(|| MacAddr::from_u64(state & (KNOWN - 1)))
    }

    /// True if it was asked for and does not answer.
    #[inline]
    pub fn has_failed(&self) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        state & KNOWN == 0 && self.probes.load(Ordering::Relaxed) >= MAX_PROBES
    }

    /// It said so itself: takes the MAC unless a static one is configured.
    pub fn learn(&self, mac: MacAddr, now: Ticks) {
        // A static address may be set between the two lines only by a commit, and
        // the commit that sets one makes a new cell.
        if self.state.load(Ordering::Relaxed) & STATIC == 0 {
            self.state.store(mac.to_u64() | KNOWN, Ordering::Relaxed);
        }
        self.confirmed.store(now.0, Ordering::Relaxed);
        self.probes.store(0, Ordering::Relaxed);
    }

    /// Configuration says so: never asked for, never overwritten.
    pub fn set_static(&self, mac: MacAddr) {
        self.state
            .store(mac.to_u64() | KNOWN | STATIC, Ordering::Relaxed);
    }

    /// True if configuration gave its MAC.
    pub fn is_static(&self) -> bool {
        self.state.load(Ordering::Relaxed) & STATIC != 0
    }

    /// True for the one caller that should send a request now: when the MAC is
    /// unknown, or known but not confirmed lately.
    pub fn probe_due(&self, now: Ticks, care: Care) -> bool {
        let state = self.state.load(Ordering::Relaxed);
        let confirmed = Ticks(self.confirmed.load(Ordering::Relaxed));
        let confirm_after = match care {
            Care::Needed => CONFIRM_AFTER_MS,
            Care::Watched => CONFIRM_WATCHED_AFTER_MS,
        };
        if state & STATIC != 0 || state & KNOWN != 0 && now.since(confirmed) < confirm_after {
            return false;
        }
        let probed = self.probed.load(Ordering::Relaxed);
        let probes = self.probes.load(Ordering::Relaxed);
        let interval = match care {
            Care::Watched if state & KNOWN == 0 && probes > MAX_PROBES => RETRY_WATCHED_MS,
            _ => PROBE_INTERVAL_MS,
        };
        if probes > 0 && now.since(Ticks(probed)) < interval {
            return false;
        }
        let won = self
            .probed
            .compare_exchange(probed, now.0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if won {
            self.probes
                .store(probes.saturating_add(1), Ordering::Relaxed);
            if state & KNOWN != 0 && probes >= MAX_PROBES {
                self.state.store(0, Ordering::Relaxed);
            }
        }
        won
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn neighbour() -> Neighbour {
        Neighbour::new(VifId(0), "192.0.2.9".parse().unwrap())
    }

    #[test]
    fn an_unknown_neighbour_is_asked_for_once_a_second() {
        let cell = neighbour();
        let asked: Vec<u32> = (0..3_500)
            .filter(|ms| cell.probe_due(Ticks(*ms), Care::Needed))
            .collect();
        assert_eq!(asked, [0, 1_000, 2_000, 3_000]);
        assert_eq!(cell.mac(), None);
    }

    #[test]
    fn a_known_neighbour_is_left_alone_then_confirmed_then_forgotten() {
        let cell = neighbour();
        cell.learn(MAC, Ticks(1));
        assert_eq!(cell.mac(), Some(MAC));
        assert!(!cell.probe_due(Ticks(CONFIRM_AFTER_MS), Care::Needed));
        let asked = (CONFIRM_AFTER_MS..CONFIRM_AFTER_MS + 3_500)
            .filter(|ms| cell.probe_due(Ticks(*ms), Care::Needed))
            .count();
        assert_eq!(asked, 4);
        assert_eq!(cell.mac(), None);
    }

    #[test]
    fn a_watched_neighbour_is_missed_within_ten_seconds_and_asked_for_on_and_on() {
        let cell = neighbour();
        cell.learn(MAC, Ticks(1));
        let due = |ms: &u32| cell.probe_due(Ticks(*ms), Care::Watched);
        let asked: Vec<u32> = (2..9_500).filter(due).collect();
        assert_eq!(asked, [5_001, 6_001, 7_001, 8_001]);
        assert_eq!(cell.mac(), None);
        let asked: Vec<u32> = (9_500..40_000).filter(due).collect();
        assert_eq!(asked, [18_001, 28_001, 38_001]);
    }

    #[test]
    fn a_static_neighbour_neither_asks_nor_learns() {
        let cell = neighbour();
        cell.set_static(MAC);
        cell.learn(MacAddr([2; 6]), Ticks(5));
        assert_eq!(cell.mac(), Some(MAC));
        assert!(!cell.probe_due(Ticks(CONFIRM_AFTER_MS * 2), Care::Needed));
    }
}
