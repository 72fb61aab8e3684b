//! Tunnels, resolved against the underlay: which uplinks, which neighbours
//! ([`super::path`]), and the outer headers ready to be copied.

use std::net::IpAddr;
use std::sync::Arc;

use encap::{MacAddr, Model, Outer, TunnelHeader};

use super::neighbour::Neighbour;
use super::path::{Path, Paths};
use super::path_mtu::{self, PathMtu, TunnelId};
use super::spec::{self, Payload};
use super::{Nexthop, PeerId, Tables, UNDERLAY, Underlay, Vif, VifId};

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
    /// What it wraps.
    pub payload: Payload,
    /// Largest inner IP packet, in bytes: what `link_mtu` leaves without the headers between.
    pub inner_mtu: usize,
    /// What is cut when a packet is too big.
    pub fragment: spec::FragmentMode,
    /// The MTU that `inner_mtu` comes from: the smallest of the uplinks', or the configured one.
    pub link_mtu: u16,
    /// What is known of the way to the other end.
    pub path_mtu: Arc<PathMtu>,
    /// Whether configuration fixes the MTU, whatever is heard.
    pub mtu_is_fixed: bool,
}

/// What was agreed with the node at the other end of tunnels: what any tunnel to it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// MPLS over UDP over IPv6 may come without a checksum (RFC 7510 §3.1).
    pub udp_zero_checksum: bool,
    /// Whether the outer DSCP becomes the inner one.
    pub dscp: Model,
    /// Whether the label's TTL becomes the inner one, if that is lower.
    pub ttl: Model,
}

impl Tables {
    /// Resolves every nexthop that leaves through the underlay anew. Neighbours
    /// and peers that are still in use keep their cells and numbers.
    pub(super) fn resolve_underlay(&mut self) {
        let old = std::mem::take(&mut self.underlay);
        let mut next = self.underlay_links();
        next.next_peer = old.next_peer;
        let objects = self.objects.clone();
        // Those with members last: they know where these lead.
        for last in [false, true] {
            for (_, stored) in objects.besides_routes() {
                if let spec::Object::Nexthop(nexthop) = &stored.object
                    && nexthop.action.has_members() == last
                {
                    self.resolve_nexthop(nexthop, &old, &mut next);
                }
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
            spec::NexthopAction::Replicate(members) => {
                Nexthop::Replicate(Arc::new(self.group(members)))
            }
            spec::NexthopAction::Reject => Nexthop::Reject,
            spec::NexthopAction::Group(group) => self
                .ecmp(group, next)
                .map_or(Nexthop::Unreachable, |group| {
                    Nexthop::Group(Arc::new(group))
                }),
            spec::NexthopAction::Vrf(vrf) => match self.names.vrfs.get(vrf) {
                Some(vrf) => Nexthop::Vrf(*vrf),
                None => Nexthop::Unreachable,
            },
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
        agree(tunnel, next);
        let ways = self.ways(tunnel.remote, &next.fabrics);
        let local = tunnel
            .local
            .or_else(|| self.common_address(&ways, tunnel.remote))?;
        let mut uplink_mtu = u16::MAX;
        let mut paths = Vec::new();
        for way in &ways {
            let uplink = self.vif(way.egress)?;
            let header = self.header(tunnel, uplink, local)?;
            let neighbour = self.neighbour_cell(way.egress, way.neighbour, old, next);
            if ways.len() > 1 {
                next.watched.insert((way.egress, way.neighbour));
            }
            uplink_mtu = uplink_mtu.min(uplink.mtu);
            paths.push(Path::new(header, uplink, neighbour, way.weight));
        }
        let paths = Paths::new(paths)?;
        let link_mtu = tunnel.mtu.unwrap_or(uplink_mtu).min(uplink_mtu);
        let path_mtu = path_mtu::Paths::enter(
            (&old.path_mtus, &mut next.path_mtus),
            (local, tunnel.remote),
            TunnelId::of(tunnel.encap),
            uplink_mtu,
        );
        Some(Tunnel {
            peer,
            inner_mac: tunnel.inner_mac,
            payload: tunnel.payload,
            inner_mtu: inner_mtu(link_mtu, &paths.any().header, tunnel.payload),
            fragment: tunnel.fragment,
            link_mtu,
            path_mtu,
            mtu_is_fixed: tunnel.mtu.is_some(),
            paths,
            spec: tunnel.clone(),
        })
    }

    /// The outer header of packets that take a tunnel over one uplink.
    fn header(&self, spec: &spec::Tunnel, uplink: &Vif, local: IpAddr) -> Option<TunnelHeader> {
        let outer = Outer {
            src_mac: uplink.mac,
            dst_mac: MacAddr::ZERO,
            vlan: None,
            src: local,
            dst: spec.remote,
            ttl: OUTER_TTL,
        };
        let header = TunnelHeader::new(&outer, spec.encap).ok()?;
        let header = header.with_dscp(spec.dscp).with_ttl(spec.ttl);
        Some(match spec.udp_zero_checksum {
            true => header.without_checksum(),
            false => header,
        })
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
            pools: self.uplink_pools(),
            fabrics,
            ..Underlay::default()
        }
    }
}

/// Largest inner IP packet behind `header` on a link that takes IP packets of `mtu` bytes.
fn inner_mtu(mtu: u16, header: &TunnelHeader, payload: Payload) -> usize {
    let inner_link = match payload {
        Payload::Ip => 0,
        Payload::Ethernet => encap::ethernet::LEN,
    };
    let between = header.len() - encap::ethernet::LEN + inner_link;
    usize::from(mtu).saturating_sub(between)
}

/// Adds what a tunnel says to what was agreed with its remote.
fn agree(tunnel: &spec::Tunnel, next: &mut Underlay) {
    let said = Terms {
        udp_zero_checksum: tunnel.udp_zero_checksum,
        dscp: tunnel.dscp,
        ttl: tunnel.ttl,
    };
    if said == Terms::default() {
        return;
    }
    let terms = next.terms.entry(tunnel.remote).or_default();
    terms.udp_zero_checksum |= said.udp_zero_checksum;
    if said.dscp == Model::Uniform {
        terms.dscp = said.dscp;
    }
    if said.ttl == Model::Uniform {
        terms.ttl = said.ttl;
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
