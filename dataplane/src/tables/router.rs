//! What the virtual router of a vrf says of itself in router advertisements,
//! resolved from the vrf's IPv6 gateways (RFC 4861 §6.2.1).

use std::net::Ipv6Addr;

use encap::nd::router::{Prefix, Settings};
use ipnet::IpNet;

use super::spec::{self, RouterAdvertisement};

/// Most prefixes in an advertisement, so that it fits into 1280 bytes with room
/// to spare; gateways beyond are routers all the same.
pub const MAX_PREFIXES: usize = 16;

/// How long a machine takes a prefix to be on its link, in seconds: RFC 4861
/// §6.2.1 AdvValidLifetime, 30 days.
const VALID_S: u32 = 2_592_000;
/// AdvPreferredLifetime, 7 days.
const PREFERRED_S: u32 = 604_800;

/// What a router says of itself on every link of its vrf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Flags and lifetime.
    pub settings: Settings,
    /// What is on the link.
    pub prefixes: Vec<Prefix>,
    /// The longest time between two that nobody asked for, in seconds.
    pub interval_s: u16,
    /// Whether the vif's MTU is told.
    pub mtu: bool,
}

impl Advertised {
    /// `None` if the vrf has no IPv6 gateway, or is not to say anything.
    pub fn new(vrf: &spec::Vrf) -> Option<Advertised> {
        let mut gateways = vrf.gateways.iter().filter_map(|net| match net {
            IpNet::V6(net) => Some(net),
            IpNet::V4(_) => None,
        });
        gateways.clone().next()?;
        let said = vrf.router_advertisement.clone().unwrap_or_default();
        if said.disabled {
            return None;
        }
        let mut prefixes: Vec<Prefix> = Vec::new();
        // A gateway without a prefix around it says nothing about the link.
        let around = gateways.by_ref().filter(|net| net.prefix_len() < 128);
        for net in around {
            let prefix = prefix(net.network(), net.prefix_len(), &said);
            if prefixes.len() < MAX_PREFIXES && !prefixes.contains(&prefix) {
                prefixes.push(prefix);
            }
        }
        Some(Advertised {
            settings: Settings {
                managed: said.managed,
                other_config: said.other_config,
                lifetime_s: said.lifetime_s,
            },
            prefixes,
            interval_s: said.interval_s,
            mtu: said.mtu,
        })
    }
}

fn prefix(addr: Ipv6Addr, len: u8, said: &RouterAdvertisement) -> Prefix {
    Prefix {
        addr,
        len,
        on_link: true,
        autonomous: said.autonomous,
        valid_s: VALID_S,
        preferred_s: PREFERRED_S,
    }
}
