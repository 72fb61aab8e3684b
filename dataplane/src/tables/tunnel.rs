//! Tunnels, resolved against the underlay: which uplinks, which neighbours
//! ([`super::path`]), and the outer headers ready to be copied.

use std::net::IpAddr;
use std::sync::Arc;

use encap::{MacAddr, Outer, TunnelHeader};

use super::neighbour::Neighbour;
use super::path::{Path, Paths};
use super::{Nexthop, PeerId, Tables, UNDERLAY, Underlay, Vif, VifId, spec};

/// TTL or hop limit of outer headers (RFC 1700's default, RFC 3443 pipe model).
const OUTER_TTL: u8 = 64;

/// A tunnel to another node, ready to send through.
#[derive(Debug)]
pub struct Tunnel {
    /// As configured.
    pub spec: spec::Tunnel,
    /// The ways to its end, with the outer headers.
    pub paths: Paths,
    /// Where it ends.
    pub peer: PeerId,
    /// Inner destination of routed packets; `None`: the vrf's router MAC.
    pub inner_mac: Option<MacAddr>,
    /// Largest inner Ethernet frame that every path takes, in bytes.
    pub max_frame: usize,
}

impl Tables {
    /// Resolves every nexthop that leaves through the underlay anew. Neighbours
    /// and peers that are still in use keep their cells and numbers.
    pub(super) fn resolve_underlay(&mut self) {
        let old = std::mem::take(&mut self.underlay);
        let mut next = self.underlay_links();
        next.next_peer = old.next_peer;
        let objects = self.objects.clone();
        for stored in objects.values() {
            if let spec::Object::Nexthop(nexthop) = &stored.object {
                self.resolve_nexthop(nexthop, &old, &mut next);
            }
        }
        self.underlay = Arc::new(next);
    }

    /// Resolves one new nexthop; everything else stays.
    pub(super) fn resolve_one(&mut self, nexthop: &spec::Nexthop) {
        // Cloned once a commit: from then on it is this commit's own.
        let mut next = Arc::unwrap_or_clone(std::mem::take(&mut self.underlay));
        self.resolve_nexthop(nexthop, &Underlay::default(), &mut next);
        self.underlay = Arc::new(next);
    }

    fn resolve_nexthop(&mut self, nexthop: &spec::Nexthop, old: &Underlay, next: &mut Underlay) {
        let resolved = match &nexthop.action {
            spec::NexthopAction::Host => Nexthop::Host,
            spec::NexthopAction::Discard => Nexthop::Discard,
            spec::NexthopAction::Group(_) => Nexthop::Unreachable,
            spec::NexthopAction::Vif { vif, address } => {
                match (self.names.vifs.get(vif), address) {
                    (Some(vif), Some(addr)) => {
                        Nexthop::Neighbour(self.neighbour_cell(*vif, *addr, old, next))
                    }
                    (Some(vif), None) => Nexthop::Vif(*vif),
                    (None, _) => Nexthop::Unreachable,
                }
            }
            spec::NexthopAction::Tunnel(tunnel) => self
                .resolve_tunnel(tunnel, old, next)
                .map_or(Nexthop::Unreachable, |tunnel| {
                    Nexthop::Tunnel(Arc::new(tunnel))
                }),
        };
        if let Some(id) = self.names.nexthops.get(&nexthop.name) {
            self.nexthops.set(id.0, resolved);
        }
    }

    fn resolve_tunnel(
        &self,
        tunnel: &spec::Tunnel,
        old: &Underlay,
        next: &mut Underlay,
    ) -> Option<Tunnel> {
        // A peer is one even while there is no way to it: what it sends may arrive.
        let peer = peer_id(tunnel.remote, old, next);
        let ways = self.ways(tunnel.remote, &next.fabrics);
        let local = tunnel
            .local
            .or_else(|| self.common_address(&ways, tunnel.remote))?;
        let mut max_frame = usize::MAX;
        let mut paths = Vec::new();
        for way in &ways {
            let uplink = self.vif(way.egress)?;
            let header = self.header(tunnel, uplink, local)?;
            let neighbour = self.neighbour_cell(way.egress, way.neighbour, old, next);
            if ways.len() > 1 {
                next.watched.insert((way.egress, way.neighbour));
            }
            let overhead = header.len().saturating_sub(encap::ethernet::LEN);
            max_frame = max_frame.min(usize::from(uplink.mtu).saturating_sub(overhead));
            paths.push(Path::new(header, uplink, neighbour, way.weight));
        }
        Some(Tunnel {
            paths: Paths::new(paths)?,
            peer,
            inner_mac: tunnel.inner_mac,
            max_frame,
            spec: tunnel.clone(),
        })
    }

    /// What goes in front of packets that take the tunnel over one uplink.
    fn header(&self, tunnel: &spec::Tunnel, uplink: &Vif, local: IpAddr) -> Option<TunnelHeader> {
        let outer = Outer {
            src_mac: uplink.mac,
            dst_mac: MacAddr::ZERO,
            vlan: None,
            src: local,
            dst: tunnel.remote,
            ttl: OUTER_TTL,
        };
        TunnelHeader::vxlan(&outer, tunnel.vni).ok()
    }

    fn neighbour_cell(
        &self,
        vif: VifId,
        addr: IpAddr,
        old: &Underlay,
        next: &mut Underlay,
    ) -> Arc<Neighbour> {
        if let Some(cell) = next.neighbours.get(&(vif, addr)) {
            return cell.clone();
        }
        let configured = self
            .vrf(UNDERLAY)
            .and_then(|vrf| vrf.neighbours.get(&addr).copied());
        let kept = old.neighbours.get(&(vif, addr));
        let cell = match (configured, kept) {
            (Some(mac), kept) => match kept {
                Some(cell) if cell.is_static() && cell.mac() == Some(mac) => cell.clone(),
                _ => {
                    let cell = Neighbour::new(vif, addr);
                    cell.set_static(mac);
                    Arc::new(cell)
                }
            },
            (None, Some(cell)) if !cell.is_static() => cell.clone(),
            (None, _) => Arc::new(Neighbour::new(vif, addr)),
        };
        next.neighbours.insert((vif, addr), cell.clone());
        cell
    }

    /// The vifs of the fabric side, without neighbours and peers.
    fn underlay_links(&self) -> Underlay {
        let fabrics = self.fabrics();
        let own = |id: &VifId| self.vif(*id).map_or(&[][..], |vif| &vif.addresses);
        let addresses = fabrics
            .iter()
            .flat_map(|id| own(id).iter().map(|net| (net.addr(), *id)))
            .collect();
        let hosts = self.hosts();
        Underlay {
            host: hosts.first().copied(),
            hosts: self.pair_hosts(&fabrics, &hosts),
            addresses,
            fabrics,
            ..Underlay::default()
        }
    }
}

fn peer_id(remote: IpAddr, old: &Underlay, next: &mut Underlay) -> PeerId {
    if let Some(id) = next.peers.get(&remote) {
        return *id;
    }
    let id = old.peers.get(&remote).copied().unwrap_or_else(|| {
        let id = PeerId(next.next_peer);
        next.next_peer += 1;
        id
    });
    next.peers.insert(remote, id);
    id
}
