//! Tunnels, resolved against the underlay: which uplink, which neighbour, and
//! the outer header ready to be copied.

use std::net::IpAddr;
use std::sync::Arc;

use encap::{MacAddr, Model, Outer, TunnelHeader};

use super::neighbour::Neighbour;
use super::path_mtu::{PathMtu, Paths, TunnelId};
use super::spec::{self, Payload};
use super::{Nexthop, PeerId, Tables, Target, UNDERLAY, Underlay, Vif, VifId};

/// TTL or hop limit of outer headers (RFC 1700's default, RFC 3443 pipe model).
const OUTER_TTL: u8 = 64;

/// A tunnel to another node, ready to send through.
#[derive(Debug)]
pub struct Tunnel {
    /// The outer header; only the neighbour's MAC is filled in per packet.
    pub header: TunnelHeader,
    /// The uplink.
    pub egress: VifId,
    /// Who takes it from the uplink.
    pub neighbour: Arc<Neighbour>,
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
    /// The MTU that `inner_mtu` comes from: the uplink's, or the configured one.
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

/// Where underlay packets to an address go: the uplink and the neighbour on it.
struct Path {
    egress: VifId,
    neighbour: IpAddr,
}

impl Tables {
    /// Resolves every nexthop that leaves through the underlay anew. Neighbours
    /// and peers that are still in use keep their cells and numbers.
    pub(super) fn resolve_underlay(&mut self) {
        let old = std::mem::take(&mut self.underlay);
        let mut next = self.underlay_links();
        next.next_peer = old.next_peer;
        let objects = self.objects.clone();
        let nexthops = || {
            objects.values().filter_map(|stored| match &stored.object {
                spec::Object::Nexthop(nexthop) => Some(nexthop),
                _ => None,
            })
        };
        // Gateways first: the way to a tunnel's remote may lead through one.
        let is_tunnel =
            |nexthop: &&spec::Nexthop| matches!(nexthop.action, spec::NexthopAction::Tunnel(_));
        for nexthop in nexthops().filter(|nexthop| !is_tunnel(nexthop)) {
            self.resolve_nexthop(nexthop, &old, &mut next);
        }
        // One that was a gateway until now is a way for nobody any more.
        for nexthop in nexthops().filter(is_tunnel) {
            if let Some(id) = self.names.nexthops.get(&nexthop.name) {
                self.nexthops.set(id.0, Nexthop::Unreachable);
            }
        }
        for nexthop in nexthops().filter(is_tunnel) {
            self.resolve_nexthop(nexthop, &old, &mut next);
        }
        // Groups last: they know where their tunnels end.
        let is_group =
            |nexthop: &&spec::Nexthop| matches!(nexthop.action, spec::NexthopAction::Replicate(_));
        for nexthop in nexthops().filter(is_group) {
            self.resolve_nexthop(nexthop, &old, &mut next);
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
        let path = self.underlay_path(tunnel.remote)?;
        let uplink = self.vif(path.egress)?;
        let local = tunnel.local.or_else(|| {
            let mut own = uplink.addresses.iter().map(|net| net.addr());
            own.find(|addr| addr.is_ipv4() == tunnel.remote.is_ipv4())
        })?;
        let header = self.header(tunnel, uplink, local)?;
        let link_mtu = tunnel.mtu.unwrap_or(uplink.mtu).min(uplink.mtu);
        let path_mtu = Paths::enter(
            (&old.paths, &mut next.paths),
            (local, tunnel.remote),
            TunnelId::of(tunnel.encap),
            uplink.mtu,
        );
        Some(Tunnel {
            egress: path.egress,
            neighbour: self.neighbour_cell(path.egress, path.neighbour, old, next),
            peer,
            inner_mac: tunnel.inner_mac,
            payload: tunnel.payload,
            inner_mtu: inner_mtu(link_mtu, &header, tunnel.payload),
            fragment: tunnel.fragment,
            link_mtu,
            path_mtu,
            mtu_is_fixed: tunnel.mtu.is_some(),
            header,
        })
    }

    /// The outer header of a tunnel that leaves by `uplink`.
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

    fn underlay_path(&self, remote: IpAddr) -> Option<Path> {
        match self.vrf(UNDERLAY)?.routes.lookup(remote)? {
            Target::Connected(egress) => Some(Path {
                egress,
                neighbour: remote,
            }),
            Target::Nexthop(id) => match self.nexthop(id)? {
                Nexthop::Neighbour(gateway) => Some(Path {
                    egress: gateway.vif,
                    neighbour: gateway.addr,
                }),
                _ => None,
            },
            Target::Gateway => None,
        }
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

    /// The vifs of the fabric side, without neighbours and peers. By name: which
    /// uplink comes first must not depend on the order in which they were made,
    /// or it would be another after a restart.
    fn underlay_links(&self) -> Underlay {
        let mut links = Underlay::default();
        let mut vifs: Vec<_> = self
            .vifs()
            .filter(|vif| vif.role != spec::Role::Tenant)
            .collect();
        vifs.sort_by(|a, b| a.name.cmp(&b.name));
        for vif in vifs {
            match vif.role {
                spec::Role::Fabric => {
                    links.fabrics.push(vif.id);
                    let own = vif.addresses.iter().map(|net| (net.addr(), vif.id));
                    links.addresses.extend(own);
                }
                spec::Role::Host => links.host = links.host.or(Some(vif.id)),
                spec::Role::Tenant => {}
            }
        }
        links
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
