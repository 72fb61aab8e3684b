//! The path MTU to each tunnel's other end, as routers on the way tell it (RFC
//! 1191, RFC 8201).
//!
//! One cell for each pair of outer addresses, shared by every snapshot that has
//! a tunnel there, so hearing of a smaller MTU is one atomic store and no
//! commit. What was heard is forgotten after ten minutes, and a larger packet
//! finds out whether it is still true.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encap::{Encap, MPLS_UDP_PORT, VXLAN_PORT};
use flowtable::Ticks;

/// How long a path MTU is believed (RFC 1191 §6.3, RFC 8201 §4).
pub const FORGET_AFTER_MS: u32 = 600_000;
/// Smallest MTU believed of an IPv4 path, in bytes: less would be a way to
/// make every packet cost many (RFC 8900 §3.5), and no link has it.
pub const MIN_IPV4: u16 = 576;
/// Smallest MTU believed of an IPv6 path, in bytes (RFC 8201 §4).
pub const MIN_IPV6: u16 = 1280;

/// What is known of one path. Any worker may read and write it.
#[derive(Debug, Default)]
pub struct PathMtu {
    /// The MTU in the high half and when it was heard in the low; 0 while nothing is.
    state: AtomicU64,
    /// The two minutes in the high half, and how many identifications they used in the low.
    ids: AtomicU64,
}

/// For so long an identification must not come again (RFC 6864 §4.3: the maximum datagram lifetime).
const ID_LIFETIME_MS: u32 = 120_000;

impl PathMtu {
    /// The largest outer IP packet that passes, in bytes; `None` if nobody said.
    #[inline]
    pub fn mtu(&self, now: Ticks) -> Option<u16> {
        match self.state.load(Ordering::Relaxed) {
            0 => None,
            state => fresh(state, now),
        }
    }

    /// Takes `heard` for the path MTU, unless it is below `least` or not below what is known, which
    /// without any news is `most`. Returns whether it did; hearing the same again renews it.
    pub fn learn(&self, heard: u32, least: u16, most: u16, now: Ticks) -> bool {
        let Ok(heard) = u16::try_from(heard) else {
            return false;
        };
        let new = u64::from(heard) << 32 | u64::from(now.0);
        let taken = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                let is_news = match fresh(state, now) {
                    Some(known) => heard <= known,
                    None => heard < most,
                };
                (heard >= least && is_news).then_some(new)
            });
        taken.is_ok()
    }

    /// An identification for an outer IPv4 packet that is cut, and which no other on this path had
    /// in the last two minutes (RFC 6864 §4.3).
    ///
    /// Each two minutes have half of the numbers, and the next two the other half: 273 packets a
    /// second. `None` when they are used up.
    pub fn ipv4_id(&self, now: Ticks) -> Option<u16> {
        const HALF: u64 = 1 << 15;
        let period = u64::from(now.0 / ID_LIFETIME_MS);
        let next = |state: u64| match (state >> 32, state & 0xffff_ffff) {
            (same, used) if same == period => (used < HALF).then_some(state + 1),
            _ => Some(period << 32 | 1),
        };
        let order = Ordering::Relaxed;
        let before = self.ids.fetch_update(order, order, next).ok()?;
        let used = match before >> 32 == period {
            true => before & 0xffff_ffff,
            false => 0,
        };
        Some((HALF * (period & 1) + used) as u16)
    }

    /// The same for an IPv6 packet, whose number is 32 bits long (RFC 8200 §4.5) and never runs out.
    pub fn ipv6_id(&self) -> u32 {
        self.ids.fetch_add(1, Ordering::Relaxed) as u32
    }

    /// A cell of its own that says the same, for trying things out.
    pub(super) fn apart(&self) -> PathMtu {
        let copy = |cell: &AtomicU64| AtomicU64::new(cell.load(Ordering::Relaxed));
        PathMtu {
            state: copy(&self.state),
            ids: copy(&self.ids),
        }
    }

    /// Forgets what is too old, before the clock comes round again.
    fn forget(&self, now: Ticks) {
        let old = self.state.load(Ordering::Relaxed);
        if old != 0 && fresh(old, now).is_none() {
            // Whoever changed it meanwhile heard something new.
            let _ = self
                .state
                .compare_exchange(old, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

fn fresh(state: u64, now: Ticks) -> Option<u16> {
    let mtu = (state >> 32) as u16;
    let is_fresh = mtu != 0 && now.since(Ticks(state as u32)) < FORGET_AFTER_MS;
    is_fresh.then_some(mtu)
}

/// What tells a tunnel's packets from others between the same two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TunnelId {
    /// Protocol of the outer packet.
    pub protocol: u8,
    /// UDP destination port; 0 without UDP.
    pub port: u16,
    /// The VNI or the label.
    pub number: u32,
}

impl TunnelId {
    /// Of a tunnel with this encapsulation.
    pub fn of(encap: Encap) -> TunnelId {
        let (port, number) = match encap {
            Encap::Vxlan(vni) => (VXLAN_PORT, vni.get()),
            Encap::MplsUdp(label) => (MPLS_UDP_PORT, label.get()),
            Encap::MplsGre(label) => (0, label.get()),
        };
        TunnelId {
            protocol: encap.protocol(),
            port,
            number,
        }
    }
}

/// All paths that tunnels take, by outer source and destination.
#[derive(Clone, Debug, Default)]
pub struct Paths(BTreeMap<(IpAddr, IpAddr), Path>);

/// A path with the tunnels on it.
#[derive(Clone, Debug)]
pub struct Path {
    /// What is known of it.
    pub mtu: Arc<PathMtu>,
    /// The uplink's MTU, in bytes.
    pub link_mtu: u16,
    tunnels: BTreeSet<TunnelId>,
}

impl Paths {
    /// Enters a tunnel in the next snapshot's paths and returns its cell, which is the one of the
    /// snapshot before if that had one.
    pub(super) fn enter(
        (old, next): (&Paths, &mut Paths),
        ends: (IpAddr, IpAddr),
        id: TunnelId,
        link_mtu: u16,
    ) -> Arc<PathMtu> {
        let path = next.0.entry(ends).or_insert_with(|| Path {
            mtu: old
                .get(ends)
                .map(|path| path.mtu.clone())
                .unwrap_or_default(),
            link_mtu,
            tunnels: BTreeSet::new(),
        });
        path.tunnels.insert(id);
        path.mtu.clone()
    }

    /// The same with cells of their own, for trying things out.
    pub(super) fn apart(&self) -> Paths {
        let path = |path: &Path| Path {
            mtu: Arc::new(path.mtu.apart()),
            ..path.clone()
        };
        Paths(self.0.iter().map(|(ends, it)| (*ends, path(it))).collect())
    }

    /// The path between these addresses, if a tunnel takes it.
    pub fn get(&self, ends: (IpAddr, IpAddr)) -> Option<&Path> {
        self.0.get(&ends)
    }

    /// Forgets what was heard too long ago.
    pub fn forget(&self, now: Ticks) {
        for path in self.0.values() {
            path.mtu.forget(now);
        }
    }
}

impl Path {
    /// Whether a tunnel on this path sends such packets. Without a number, as where a quote is too
    /// short for it, any tunnel of the protocol and port will do.
    pub fn has(&self, protocol: u8, port: u16, number: Option<u32>) -> bool {
        let id = |number| TunnelId {
            protocol,
            port,
            number,
        };
        match number {
            Some(number) => self.tunnels.contains(&id(number)),
            None => self.tunnels.range(id(0)..=id(u32::MAX)).next().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_mtu_is_taken_and_forgotten_in_ten_minutes() {
        let path = PathMtu::default();
        assert_eq!(path.mtu(Ticks(0)), None);
        assert!(path.learn(1400, MIN_IPV4, 1500, Ticks(5)));
        assert_eq!(path.mtu(Ticks(5)), Some(1400));
        assert!(path.learn(1300, MIN_IPV4, 1500, Ticks(6)));
        assert_eq!(path.mtu(Ticks(6 + FORGET_AFTER_MS - 1)), Some(1300));
        assert_eq!(path.mtu(Ticks(6 + FORGET_AFTER_MS)), None);
        // After that, what is larger is news again.
        assert!(path.learn(1450, MIN_IPV4, 1500, Ticks(6 + FORGET_AFTER_MS)));
    }

    /// P5, RFC 8201 §4.
    #[test]
    fn what_is_too_small_or_no_less_is_ignored() {
        let path = PathMtu::default();
        assert!(!path.learn(0, MIN_IPV4, 1500, Ticks(0)));
        assert!(!path.learn(575, MIN_IPV4, 1500, Ticks(0)));
        assert!(!path.learn(1279, MIN_IPV6, 1500, Ticks(0)));
        assert!(!path.learn(1500, MIN_IPV4, 1500, Ticks(0)));
        assert!(!path.learn(66_936, MIN_IPV4, 1500, Ticks(0)));
        assert_eq!(path.mtu(Ticks(0)), None);
        assert!(path.learn(1280, MIN_IPV6, 1500, Ticks(0)));
        assert!(!path.learn(1281, MIN_IPV6, 1500, Ticks(1)));
        assert_eq!(path.mtu(Ticks(1)), Some(1280));
    }

    #[test]
    fn the_same_again_is_believed_for_longer() {
        let path = PathMtu::default();
        path.learn(1400, MIN_IPV4, 1500, Ticks(0));
        assert!(path.learn(1400, MIN_IPV4, 1500, Ticks(FORGET_AFTER_MS - 1)));
        assert_eq!(path.mtu(Ticks(FORGET_AFTER_MS)), Some(1400));
    }

    #[test]
    fn what_is_forgotten_does_not_come_back_when_the_clock_comes_round() {
        let path = PathMtu::default();
        path.learn(1400, MIN_IPV4, 1500, Ticks(9));
        path.forget(Ticks(9 + FORGET_AFTER_MS));
        assert_eq!(path.mtu(Ticks(10)), None);
    }

    /// RFC 6864 §4.3.
    #[test]
    fn no_identification_comes_again_within_two_minutes() {
        let path = PathMtu::default();
        let mut last_seen = std::collections::HashMap::new();
        for ms in 0..500_000 {
            for _ in 0..3 {
                let Some(id) = path.ipv4_id(Ticks(ms)) else {
                    continue;
                };
                if let Some(before) = last_seen.insert(id, ms) {
                    assert!(ms - before >= ID_LIFETIME_MS, "{id} at {before} and {ms}");
                }
            }
        }
        assert_eq!(last_seen.len(), 1 << 16);
    }

    #[test]
    fn a_short_quote_matches_any_tunnel_of_its_kind() {
        let ends = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mut paths = Paths::default();
        let id = TunnelId::of(Encap::Vxlan(encap::Vni::new(5001).unwrap()));
        Paths::enter((&Paths::default(), &mut paths), ends, id, 1500);
        let path = paths.get(ends).unwrap();
        assert!(path.has(17, 4789, Some(5001)) && path.has(17, 4789, None));
        assert!(!path.has(17, 4789, Some(5002)) && !path.has(17, 6635, None));
        assert!(!path.has(47, 0, None));
        assert!(paths.get((ends.1, ends.0)).is_none());
    }
}
