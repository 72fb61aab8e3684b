//! A snapshot to try things out with: the same configuration and the same state, and whatever is done
//! with it, nobody hears of it.
//!
//! What snapshots share with each other (counters, token buckets, learned MACs, neighbours, bindings)
//! is copied as it is now, or looked at by [`crate::sessions`]' view where it is large. Links and what
//! pools have given out are only read by packets and stay shared.

use std::sync::Arc;

use super::spec::FragmentMode;
use super::{Nexthop, Tables, Tunnel, Underlay, Vif};
use crate::counters::VifCounters;

impl Tables {
    /// The snapshot apart from all others, for one worker.
    ///
    /// Costs some microseconds for each vif and neighbour, and 1.6 MB where a vrf learns.
    pub(crate) fn apart(&self) -> Tables {
        let mut tables = self.clone();
        tables.workers = 1;
        for (id, vif) in self.vifs.iter() {
            tables.vifs.set(id, vif.apart());
        }
        for (id, meter) in self.meters.iter() {
            tables.meters.set(id, meter.apart());
        }
        let numbers_outer = |nexthop: &Nexthop| match nexthop {
            Nexthop::Tunnel(tunnel) if tunnel.fragment == FragmentMode::Outer => {
                Some(tunnel.apart())
            }
            _ => None,
        };
        for (id, nexthop) in self.nexthops.iter() {
            if let Some(tunnel) = numbers_outer(nexthop) {
                tables.nexthops.set(id, Nexthop::Tunnel(Arc::new(tunnel)));
            }
        }
        tables.policies = self.policies.apart();
        tables.underlay = Arc::new(self.underlay.apart());
        tables.learned = Arc::new(self.learned.apart());
        tables.sessions = Arc::new(self.sessions.looked_at());
        tables
    }
}

impl Vif {
    fn apart(&self) -> Vif {
        Vif {
            counters: Arc::new(VifCounters::new(1)),
            port: self.port.apart(),
            ..self.clone()
        }
    }
}

impl Underlay {
    /// Tunnels keep reading the cells that all share; what a packet says of neighbours and paths is
    /// written here.
    fn apart(&self) -> Underlay {
        let neighbours = self.neighbours.iter();
        let neighbours = neighbours.map(|(at, cell)| (*at, Arc::new(cell.apart())));
        Underlay {
            neighbours: neighbours.collect(),
            path_mtus: self.path_mtus.apart(),
            ..self.clone()
        }
    }
}

impl Tunnel {
    /// With identifications of its own.
    fn apart(&self) -> Tunnel {
        Tunnel {
            spec: self.spec.clone(),
            paths: self.paths.clone(),
            path_mtu: Arc::new(self.path_mtu.apart()),
            ..*self
        }
    }
}
