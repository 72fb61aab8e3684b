//! Whom a frame is replicated to, resolved.

use super::{Nexthop, NexthopId, PeerId, Tables, spec};

/// The members of a `replicate` nexthop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Each gets a copy; at most [`spec::MAX_MEMBERS`].
    pub members: Box<[NexthopId]>,
    /// The members that are tunnels, by where they end: the way to a machine
    /// that was learned there. In order of peers, each once.
    by_peer: Box<[(PeerId, NexthopId)]>,
}

impl Group {
    /// The member that leads to a tunnel remote.
    pub fn towards(&self, peer: PeerId) -> Option<NexthopId> {
        let found = self.by_peer.binary_search_by_key(&peer, |(peer, _)| *peer);
        found.ok().map(|index| self.by_peer[index].1)
    }
}

impl Tables {
    /// The group as named, by the tunnels as they are resolved now.
    pub(super) fn group(&self, members: &[spec::Name]) -> Group {
        let ids = members
            .iter()
            .filter_map(|name| self.names.nexthops.get(name));
        let members: Box<[NexthopId]> = ids.copied().collect();
        let mut by_peer: Vec<_> = members
            .iter()
            .filter_map(|id| match self.nexthop(*id) {
                Some(Nexthop::Tunnel(tunnel)) => Some((tunnel.peer, *id)),
                _ => None,
            })
            .collect();
        // Of two tunnels to one peer the one named first: the sort is stable.
        by_peer.sort_by_key(|(peer, _)| *peer);
        by_peer.dedup_by_key(|(peer, _)| *peer);
        Group {
            members,
            by_peer: by_peer.into(),
        }
    }

    /// The way by which a vrf's flooded frames reach a tunnel remote.
    pub fn flood_towards(&self, flood: NexthopId, peer: PeerId) -> Option<NexthopId> {
        match self.nexthop(flood)? {
            Nexthop::Replicate(group) => group.towards(peer),
            Nexthop::Tunnel(tunnel) if tunnel.peer == peer => Some(flood),
            _ => None,
        }
    }
}
