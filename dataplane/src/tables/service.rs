//! Services, resolved: the backends, and the table that says which one a flow takes.

use std::net::IpAddr;
use std::sync::Arc;

use super::VrfId;
use super::maglev::{Candidate, Maglev};
use super::spec::{self, BackendState, Name, OnDown};
use crate::decide::End;
use crate::spread::DEFAULT_KEY;

/// Index of a service in a snapshot; stays the same while the object lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Backends of one service at most.
pub const MAX_BACKENDS: usize = 4_096;

/// A service, resolved.
///
/// Memory: the table takes one byte for each of its entries (65,537 unless configured), two with
/// more than 256 backends, none with a single one that may get flows. A commit that leaves the
/// backends alone shares it with the snapshot before.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// What is called.
    pub front: End,
    /// The IP protocol number.
    pub protocol: u8,
    /// The network in which it is called.
    pub vrf: VrfId,
    /// The network in which the backends are.
    pub backend_vrf: VrfId,
    /// In order of address and port.
    pub backends: Box<[Backend]>,
    /// Numbers of `backends`.
    table: Arc<Maglev>,
    /// How long a silent client keeps its backend, in milliseconds; `None`: not at all.
    pub affinity_ms: Option<u32>,
    /// What becomes of the flows of a backend that goes down.
    pub on_down: OnDown,
    /// Backends get packets with the address that was called.
    pub direct_return: bool,
    /// How backends are looked after; `None`: not at all.
    pub health: Option<Arc<spec::HealthCheck>>,
    /// All that checks let take part had gone: those that were there last are kept.
    pub is_starved: bool,
    table_size: u32,
}

/// One machine behind a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub end: End,
    /// Its share beside the others'.
    pub weight: std::num::NonZeroU16,
    /// As configured.
    pub state: BackendState,
    /// What the last checks said; true where nobody checks.
    pub is_healthy: bool,
    /// Has places in the table: active, and healthy unless nobody is.
    pub takes_flows: bool,
}

impl Service {
    /// A service as configured. Of `old`, its form before, it keeps what checks had said, and the
    /// table if that would be the same.
    pub(super) fn new(
        spec: &spec::Service,
        [vrf, backend_vrf]: [VrfId; 2],
        old: Option<&Service>,
    ) -> Service {
        let is_checked = spec.health.is_some();
        let old = old.filter(|old| !is_checked || old.backend_vrf == backend_vrf);
        let mut backends: Vec<Backend> = spec.backends.iter().map(Backend::new).collect();
        backends.sort_by_key(|backend| backend.end);
        let mut service = Service {
            name: spec.name.clone(),
            front: End {
                addr: spec.address,
                port: spec.port,
            },
            protocol: spec.protocol,
            vrf,
            backend_vrf,
            backends: backends.into(),
            table: Arc::new(Maglev::new(&[], 0)),
            affinity_ms: spec.affinity_timeout_s.map(|s| s.saturating_mul(1_000)),
            on_down: spec.on_down,
            direct_return: spec.direct_return,
            health: spec.health.clone().map(Arc::new),
            is_starved: false,
            table_size: spec.table_size,
        };
        if let (true, Some(old)) = (is_checked, old) {
            for backend in &mut service.backends {
                if let Some(was) = old.backend(backend.end) {
                    (backend.is_healthy, backend.takes_flows) = (was.is_healthy, was.takes_flows);
                }
            }
        }
        service.build(old);
        service
    }

    /// The same after checks have found that backends are healthy or not; the others stay as they
    /// were. `None` if that is no news.
    pub fn with_health(&self, found: &[(End, bool)]) -> Option<Service> {
        let mut next = self.clone();
        for (end, is_healthy) in found {
            if let Ok(index) = self.position(*end) {
                next.backends[index].is_healthy = *is_healthy;
            }
        }
        if next.backends == self.backends {
            return None;
        }
        next.build(Some(self));
        Some(next)
    }

    /// The backend that flows of this hash take.
    #[inline]
    pub fn pick(&self, hash: u64) -> Option<&Backend> {
        self.backends.get(usize::from(self.table.pick(hash)?))
    }

    /// The backend at this end.
    pub fn backend(&self, end: End) -> Option<&Backend> {
        let index = self.position(end).ok()?;
        Some(&self.backends[index])
    }

    /// Whether anybody may get new flows.
    pub fn has_backend(&self) -> bool {
        self.table.pick(0).is_some()
    }

    /// What its table takes, in bytes.
    pub fn table_memory(&self) -> usize {
        self.table.memory()
    }

    /// Whether a machine with this address may send as the service itself.
    pub fn lends_address_to(&self, addr: IpAddr) -> bool {
        self.direct_return && self.backends.iter().any(|it| it.end.addr == addr)
    }

    fn position(&self, end: End) -> Result<usize, usize> {
        self.backends.binary_search_by_key(&end, |it| it.end)
    }

    /// Says who takes flows, and makes the table if that of `old` is another.
    fn build(&mut self, old: Option<&Service>) {
        let active = |it: &Backend| it.state == BackendState::Active;
        let someone_is = self.backends.iter().any(|it| active(it) && it.is_healthy);
        let someone_was = self.backends.iter().any(|it| active(it) && it.takes_flows);
        self.is_starved = !someone_is && self.backends.iter().any(active);
        for backend in &mut self.backends {
            backend.takes_flows = active(backend)
                && match (someone_is, someone_was) {
                    (true, _) => backend.is_healthy,
                    (false, true) => backend.takes_flows,
                    (false, false) => true,
                };
        }
        let same = old.filter(|old| old.table_size == self.table_size && old.shares_like(self));
        self.table = match same {
            Some(old) => old.table.clone(),
            None => Arc::new(Maglev::new(&self.candidates(), self.table_size)),
        };
    }

    /// Whether the same numbers stand for the same backends with the same shares.
    fn shares_like(&self, other: &Service) -> bool {
        let share = |it: &Backend| (it.end, it.weight, it.takes_flows);
        let (own, others) = (self.backends.iter(), other.backends.iter());
        own.map(share).eq(others.map(share))
    }

    fn candidates(&self) -> Vec<Candidate> {
        let numbered = self.backends.iter().enumerate();
        let taking = numbered.filter(|(_, backend)| backend.takes_flows);
        let candidate = |(index, backend): (usize, &Backend)| Candidate {
            // `commit` refuses more than `MAX_BACKENDS`.
            index: index as u16,
            // Of the node's key nothing: every node has the same table.
            hash: DEFAULT_KEY.end(backend.end),
            weight: backend.weight,
        };
        taking.map(candidate).collect()
    }
}

impl Backend {
    fn new(spec: &spec::Backend) -> Backend {
        Backend {
            end: End {
                addr: spec.address,
                port: spec.port,
            },
            weight: spec.weight,
            state: spec.state,
            is_healthy: true,
            takes_flows: true,
        }
    }

    /// Whether it keeps the flows that it has.
    pub fn keeps_flows(&self) -> bool {
        match self.state {
            BackendState::Active => self.takes_flows,
            BackendState::Draining => self.is_healthy,
            BackendState::Down => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    fn spec(hosts: &[(u8, BackendState)]) -> spec::Service {
        let backend = |(host, state): &(u8, BackendState)| spec::Backend {
            address: IpAddr::from([10, 1, 0, *host]),
            port: 80,
            weight: NonZeroU16::MIN,
            state: *state,
        };
        spec::Service {
            name: "shop".into(),
            vrf: "red".into(),
            address: IpAddr::from([10, 200, 0, 1]),
            protocol: 6,
            port: 80,
            backend_vrf: None,
            backends: hosts.iter().map(backend).collect(),
            affinity_timeout_s: None,
            table_size: 1_009,
            on_down: OnDown::Move,
            direct_return: false,
            health: Some(spec::HealthCheck {
                probe: spec::Probe::Tcp,
                port: None,
                interval_ms: 1_000,
                timeout_ms: 500,
                rise: 2,
                fall: 3,
            }),
        }
    }

    fn made(spec: &spec::Service, old: Option<&Service>) -> Service {
        Service::new(spec, [VrfId(1), VrfId(1)], old)
    }

    fn end(host: u8) -> End {
        End {
            addr: IpAddr::from([10, 1, 0, host]),
            port: 80,
        }
    }

    /// The last bytes of the addresses that get flows.
    fn taking(service: &Service) -> Vec<u8> {
        let step = u64::MAX / 2_000;
        let picked = (0..2_000).filter_map(|n| service.pick(n * step));
        let hosts = picked.map(|backend| match backend.end.addr {
            IpAddr::V4(addr) => addr.octets()[3],
            IpAddr::V6(_) => unreachable!("none here"),
        });
        let hosts: std::collections::BTreeSet<u8> = hosts.collect();
        hosts.into_iter().collect()
    }

    use BackendState::{Active, Down, Draining};

    #[test]
    fn only_active_backends_get_new_flows_and_draining_ones_keep_theirs() {
        let service = made(
            &spec(&[(1, Active), (2, Draining), (3, Down), (4, Active)]),
            None,
        );
        assert_eq!(taking(&service), [1, 4]);
        let keeps = |host| service.backend(end(host)).unwrap().keeps_flows();
        assert_eq!([1, 2, 3, 4].map(keeps), [true, true, false, true]);
        assert!(service.backend(end(5)).is_none());
    }

    #[test]
    fn a_commit_that_leaves_the_backends_alone_shares_the_table() {
        let before = made(&spec(&[(1, Active), (2, Active)]), None);
        let mut other = spec(&[(2, Active), (1, Active)]);
        other.on_down = OnDown::Reset;
        let after = made(&other, Some(&before));
        assert!(Arc::ptr_eq(&before.table, &after.table));
        let drained = made(&spec(&[(1, Active), (2, Draining)]), Some(&after));
        assert!(!Arc::ptr_eq(&after.table, &drained.table));
    }

    #[test]
    fn what_checks_say_counts_until_nobody_would_be_left() {
        let service = made(&spec(&[(1, Active), (2, Active), (3, Active)]), None);
        let one_less = service.with_health(&[(end(1), false)]).unwrap();
        assert_eq!(
            (taking(&one_less), one_less.is_starved),
            (vec![2, 3], false)
        );
        assert!(!one_less.backend(end(1)).unwrap().keeps_flows());
        assert!(one_less.with_health(&[(end(1), false)]).is_none());
        let none = one_less
            .with_health(&[(end(2), false), (end(3), false)])
            .unwrap();
        assert_eq!((taking(&none), none.is_starved), (vec![2, 3], true));
        let again = none.with_health(&[(end(1), true)]).unwrap();
        assert_eq!((taking(&again), again.is_starved), (vec![1], false));
    }

    #[test]
    fn what_checks_said_outlives_a_commit() {
        let service = made(&spec(&[(1, Active), (2, Active)]), None);
        let one_less = service.with_health(&[(end(1), false)]).unwrap();
        let grown = made(
            &spec(&[(1, Active), (2, Active), (3, Active)]),
            Some(&one_less),
        );
        assert_eq!(taking(&grown), [2, 3]);
        let mut unchecked = spec(&[(1, Active), (2, Active)]);
        unchecked.health = None;
        assert_eq!(taking(&made(&unchecked, Some(&grown))), [1, 2]);
    }
}
