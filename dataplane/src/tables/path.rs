//! The paths of a tunnel: over which uplinks and neighbours its remote can be
//! reached, and which of them a flow takes.
//!
//! An address is reached over several uplinks when its underlay route leads to
//! a group of neighbours, or when several fabric vifs are on its link. Each flow
//! then takes one path by highest random weight: every usable path draws a
//! number from the flow's entropy and its own seed, and the best draw wins
//! (RFC 2992 §4, with weights). A path that fails or is taken out of the group
//! moves its own flows and no others, and gets exactly those back.

use std::net::IpAddr;
use std::sync::Arc;

use encap::TunnelHeader;

use super::link::LinkState;
use super::neighbour::Neighbour;
use super::{Tables, Target, UNDERLAY, Vif, VifId, spec};

/// Neighbours a group has at most: each is a draw per packet.
pub const MAX_PATHS: usize = 16;

/// One way out of this node to an address: an uplink and the neighbour on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) egress: VifId,
    pub(super) neighbour: IpAddr,
    /// Its share of the flows, beside the other ways'.
    pub(super) weight: u32,
}

/// A way with everything a packet needs to take it.
#[derive(Clone, Debug)]
pub struct Path {
    /// The outer header; only the neighbour's MAC is filled in per packet.
    pub header: TunnelHeader,
    /// The uplink.
    pub egress: VifId,
    /// Who takes packets from the uplink.
    pub neighbour: Arc<Neighbour>,
    /// The uplink's link.
    link: Arc<LinkState>,
    /// Makes this path's draws differ from those of the others.
    seed: u32,
    /// 2^32 over its weight.
    inverse_weight: u64,
}

/// All paths of a tunnel, at least one.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Stands apart because it mostly stands alone: then choosing costs nothing.
    first: Path,
    others: Box<[Path]>,
}

impl Path {
    pub(super) fn new(
        header: TunnelHeader,
        uplink: &Vif,
        neighbour: Arc<Neighbour>,
        weight: u32,
    ) -> Path {
        Path {
            header,
            egress: uplink.id,
            seed: seed(&uplink.name, neighbour.addr),
            neighbour,
            link: uplink.link.clone(),
            inverse_weight: (1 << 32) / u64::from(weight.max(1)),
        }
    }

    /// True if a packet can leave by it now.
    #[inline]
    pub fn is_usable(&self) -> bool {
        self.link.is_up() && self.neighbour.mac().is_some()
    }

    /// True if its link is down, or its neighbour was asked for and does not answer.
    #[inline]
    pub fn has_failed(&self) -> bool {
        !self.link.is_up() || self.neighbour.has_failed()
    }

    fn draw(&self, entropy: u32) -> u64 {
        exponential(entropy ^ self.seed, self.inverse_weight)
    }
}

impl Paths {
    /// `None` if there are none.
    pub(super) fn new(paths: Vec<Path>) -> Option<Paths> {
        let mut paths = paths.into_iter();
        Some(Paths {
            first: paths.next()?,
            others: paths.collect(),
        })
    }

    /// The path that a flow takes now. When none is usable, one that may become
    /// so: its neighbour is then asked for.
    #[inline]
    pub fn choose(&self, entropy: u32) -> &Path {
        if self.others.is_empty() {
            return &self.first;
        }
        self.best(entropy, Path::is_usable)
            .or_else(|| self.best(entropy, |path| path.link.is_up()))
            .or_else(|| self.best(entropy, |_| true))
            .unwrap_or(&self.first)
    }

    fn best(&self, entropy: u32, fits: impl Fn(&Path) -> bool) -> Option<&Path> {
        let fitting = self.iter().filter(|path| fits(path));
        fitting.min_by_key(|path| path.draw(entropy))
    }

    /// All of them, in the order of configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// One of them, for what is the same in all.
    pub fn any(&self) -> &Path {
        &self.first
    }

    /// True if there is a choice.
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }
}

impl Tables {
    /// Fabric vifs by name: which comes first must not depend on the order in
    /// which they were made, or it would be another after a restart.
    pub(super) fn fabrics(&self) -> Vec<VifId> {
        let live = self.names.vifs.values().filter_map(|id| self.vif(*id));
        let mut fabrics: Vec<_> = live.filter(|vif| vif.role == spec::Role::Fabric).collect();
        fabrics.sort_by(|a, b| a.name.cmp(&b.name));
        fabrics.iter().map(|vif| vif.id).collect()
    }

    /// The ways to an address, those of one neighbour taken together.
    /// `fabrics` are all fabric vifs, by name.
    pub(super) fn ways(&self, remote: IpAddr, fabrics: &[VifId]) -> Vec<Way> {
        let target = self.vrf(UNDERLAY).and_then(|vrf| vrf.routes.lookup(remote));
        match target {
            Some(Target::Connected) => self.ways_on_link(remote, fabrics),
            Some(Target::Nexthop(id)) => match self.gateways.get(&id) {
                Some(spec::NexthopAction::Group(group)) => self.ways_of_group(group),
                Some(gateway) => self.way_by(gateway, 1).into_iter().collect(),
                None => Vec::new(),
            },
            Some(Target::Gateway | Target::Vip(_)) | None => Vec::new(),
        }
    }

    fn ways_on_link(&self, remote: IpAddr, fabrics: &[VifId]) -> Vec<Way> {
        let prefix_len = |vif: &Vif| {
            let nets = vif.addresses.iter().filter(|net| net.contains(&remote));
            nets.map(|net| net.prefix_len()).max()
        };
        let on_link: Vec<_> = fabrics
            .iter()
            .filter_map(|id| Some((*id, prefix_len(self.vif(*id)?)?)))
            .collect();
        let longest = on_link.iter().map(|(_, len)| *len).max();
        on_link
            .iter()
            .filter(|(_, len)| Some(*len) == longest)
            .map(|(egress, _)| Way {
                egress: *egress,
                neighbour: remote,
                weight: 1,
            })
            .collect()
    }

    fn ways_of_group(&self, group: &spec::Group) -> Vec<Way> {
        let mut ways: Vec<Way> = Vec::new();
        for member in &group.members {
            let id = self.names.nexthops.get(&member.nexthop);
            let gateway = id.and_then(|id| self.gateways.get(id));
            let Some(way) = gateway.and_then(|it| self.way_by(it, member.weight.get().into()))
            else {
                continue;
            };
            let place =
                |other: &&mut Way| (other.egress, other.neighbour) == (way.egress, way.neighbour);
            match ways.iter_mut().find(place) {
                Some(same) => same.weight += way.weight,
                None => ways.push(way),
            }
        }
        ways
    }

    fn way_by(&self, gateway: &spec::NexthopAction, weight: u32) -> Option<Way> {
        let spec::NexthopAction::Vif { vif, address } = gateway else {
            return None;
        };
        Some(Way {
            egress: *self.names.vifs.get(vif)?,
            neighbour: (*address)?,
            weight,
        })
    }

    /// The first address of the first way's uplink that the uplinks of all ways
    /// have, in the IP version of `remote`: where tunnels start that do not say.
    pub(super) fn common_address(&self, ways: &[Way], remote: IpAddr) -> Option<IpAddr> {
        let first = self.vif(ways.first()?.egress)?;
        let everywhere = |addr: &IpAddr| {
            let uplinks = ways.iter().filter_map(|way| self.vif(way.egress));
            uplinks.into_iter().all(|uplink| uplink.has_address(*addr))
        };
        let mut own = first.addresses.iter().map(|net| net.addr());
        own.find(|addr| addr.is_ipv4() == remote.is_ipv4() && everywhere(addr))
    }
}

/// What a way of this weight draws with `entropy`, which differs from flow to flow and from way to
/// way: the smallest of several draws wins.
pub(super) fn draw(entropy: u32, weight: u32) -> u64 {
    exponential(entropy, (1 << 32) / u64::from(weight.max(1)))
}

/// An exponentially distributed number whose rate is the weight: that the smallest of several is a
/// certain one is as likely as its weight says.
fn exponential(entropy: u32, inverse_weight: u64) -> u64 {
    u64::from(minus_log2(mix(entropy))) * inverse_weight
}

/// FNV-1a of a path's names: stable across commits, restarts and machines.
fn seed(uplink: &str, neighbour: IpAddr) -> u32 {
    let addr = match neighbour {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    };
    let bytes = uplink.bytes().chain(addr);
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// Spreads every bit over all bits (two rounds of multiply and fold).
fn mix(word: u32) -> u32 {
    let word = (word ^ word >> 16).wrapping_mul(0x7feb_352d);
    let word = (word ^ word >> 15).wrapping_mul(0x846c_a68b);
    word ^ word >> 16
}

/// Bits after the point of [`minus_log2`].
const FRACTION: u32 = 26;

/// -log2 of `word` / 2^32 in 1/2^26, exact to some 1/1000. Integers only, so
/// that a flow takes the same path on every machine.
fn minus_log2(word: u32) -> u32 {
    let word = word | 1;
    let zeros = word.leading_zeros();
    // The first bit is 1 now; the next eight choose the segment.
    let scaled = word << zeros;
    let segment = (scaled >> 23 & 0xff) as usize;
    let within = u64::from(scaled & 0x7f_ffff);
    let (low, high) = (LOG2[segment], LOG2[segment + 1]);
    let fraction = low + ((u64::from(high - low) * within) >> 23) as u32;
    ((zeros + 1) << FRACTION) - fraction
}

/// log2 of 1 + n/256, in 1/2^26.
const LOG2: [u32; 257] = {
    let mut table = [0; 257];
    let mut n = 0;
    while n < 256 {
        // A bit at a time: squaring doubles the logarithm.
        let mut x: u64 = (256 + n as u64) << 23;
        let mut bit = 0;
        while bit < FRACTION {
            x = (x * x) >> 31;
            table[n] <<= 1;
            if x >= 1 << 32 {
                x >>= 1;
                table[n] |= 1;
            }
            bit += 1;
        }
        n += 1;
    }
    table[256] = 1 << FRACTION;
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for word in [1, 3, 77, 0x8000_0001, 0xdead_beef, 0xfff0_0001, u32::MAX] {
            let ours = f64::from(minus_log2(word)) / f64::from(1 << FRACTION);
            let exact = -(f64::from(word) / 4_294_967_296.0).log2();
            assert!(
                (ours - exact).abs() < 1e-5 + exact * 2e-3,
                "{word}: {ours}, not {exact}"
            );
        }
    }

    #[test]
    fn a_path_wins_as_often_as_its_weight_says() {
        let weights = [1_u64, 2, 5];
        let mut won = [0; 3];
        for flow in 0..80_000_u32 {
            let draw = |index: &usize| {
                let drawn = mix(flow ^ seed(["a", "b", "c"][*index], IpAddr::from([192, 0, 2, 1])));
                u64::from(minus_log2(drawn)) * ((1 << 32) / weights[*index])
            };
            won[(0..3).min_by_key(draw).unwrap()] += 1;
        }
        for (won, weight) in won.iter().zip(weights) {
            let share = f64::from(*won) / (weight as f64 * 10_000.0);
            assert!((0.97..1.03).contains(&share), "{won} of weight {weight}");
        }
    }
}
