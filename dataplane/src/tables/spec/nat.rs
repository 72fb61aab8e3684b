//! Addresses that machines have elsewhere: floating addresses, one for one, and pools that many
//! machines share by port.

use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv6Net};

use super::{Key, Name};

/// A public address, or a prefix of them, translated one for one.
///
/// For vifs: what arrives for `address` in `vrf` goes to one of them, which keeps its flows; what
/// they send into `vrf` comes from `address`. For a network: a prefix in place of another one of the
/// same length (RFC 6296 for IPv6, without its checksum-neutral choice unless it fits).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    /// Its name.
    pub name: Name,
    /// The network in which the address is public.
    pub vrf: Name,
    /// The public address, as a prefix of full length, or a prefix.
    pub address: IpNet,
    /// Whose it is.
    pub target: FloatingTarget,
}

/// What a floating address stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FloatingTarget {
    /// An address of one tenant vif, or of several that share the public one.
    Vifs {
        /// By name, each once.
        vifs: Vec<Name>,
        /// Which of the vif's addresses. `None`: the only one of that family.
        fixed: Option<IpNet>,
    },
    /// A prefix of a network, as long as the public one.
    Prefix {
        /// The network inside.
        vrf: Name,
        /// The prefix there.
        fixed: IpNet,
    },
}

/// Addresses that the machines of a network share when they talk to another network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnatPool {
    /// Its name.
    pub name: Name,
    /// The network inside.
    pub vrf: Name,
    /// Whose packets are translated; empty: everybody's.
    pub sources: Vec<IpNet>,
    /// The network outside, in which the pool's addresses are.
    pub outside_vrf: Name,
    /// The addresses, host bits zero; all of one family.
    pub addresses: Vec<IpNet>,
    /// The ports and ICMP identifiers that are given out.
    pub ports: RangeInclusive<u16>,
    /// Each vif has a block of so many consecutive ports to itself. `None`: all share all.
    pub block_size: Option<NonZeroU16>,
    /// Most ports one vif may have at once. `None`: its block, or any number.
    pub ports_per_vif: Option<u32>,
    /// Who may answer.
    pub filtering: Filtering,
    /// IPv6 machines reach IPv4 ones under this prefix of 96 bits (RFC 6052); the pool's addresses
    /// are IPv4 then. `None`: no translation between the families.
    pub nat64_prefix: Option<Ipv6Net>,
}

/// The well-known prefix of NAT64 (RFC 6052 §2.1).
pub const NAT64_WELL_KNOWN: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// From whom packets to a port that was given out are let in (RFC 4787 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody.
    EndpointIndependent,
    /// Any port of an address that was sent to.
    AddressDependent,
    /// An address and port that was sent to.
    #[default]
    AddressAndPortDependent,
}

impl FloatingIp {
    /// The objects mentioned, with the field that does.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        let mut all = vec![("vrf", Key::Vrf(self.vrf.clone()))];
        match &self.target {
            FloatingTarget::Vifs { vifs, .. } => {
                all.extend(vifs.iter().map(|vif| ("vifs", Key::Vif(vif.clone()))));
            }
            FloatingTarget::Prefix { vrf, .. } => {
                all.push(("inside_vrf", Key::Vrf(vrf.clone())));
            }
        }
        all
    }
}

impl SnatPool {
    /// The objects mentioned, with the field that does.
    pub(super) fn references(&self) -> Vec<(&'static str, Key)> {
        vec![
            ("vrf", Key::Vrf(self.vrf.clone())),
            ("outside_vrf", Key::Vrf(self.outside_vrf.clone())),
        ]
    }
}
