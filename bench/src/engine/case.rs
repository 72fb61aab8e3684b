//! What is measured: one path of packets through a node, and how large everything on it is.

use std::fmt;

use clap::ValueEnum;

/// The way packets take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Path {
    /// From a tenant's vif, routed, into a tunnel.
    Encap,
    /// From a tenant's vif with a policy, through a service's DNAT and one of eight tunnels.
    Whole,
    /// Out of a tunnel, routed, to a tenant's vif with a policy.
    Decap,
}

/// The IP version of the tenants' packets; tunnels are over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// How packets travel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wrap {
    /// VXLAN.
    Vxlan,
    /// MPLS over UDP, bare IP inside.
    MplsUdp,
    /// MPLS over GRE, bare IP inside.
    MplsGre,
}

/// Which packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Those of flows that are established, in random order.
    Established,
    /// The first of one flow after the other.
    New,
    /// So many first ones in a hundred, the others of established flows.
    Churn(u8),
}

/// Length of the tenants' frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Bytes on the wire, with the frame check sequence.
    Bytes(u16),
    /// Seven of 64 bytes, four of 594, one of 1518: the simple mix of RFC 6985's kind.
    Imix,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The way.
    pub path: Path,
    /// The tenants' IP version.
    pub family: Family,
    /// The tunnels.
    pub wrap: Wrap,
    /// Which packets.
    pub load: Load,
    /// How long they are.
    pub size: Size,
    /// Flows that are established, over all vrfs; of new ones, after how many the table is emptied.
    pub flows: u32,
    /// Rules of the policy on the way, if there is one.
    pub rules: u32,
    /// Networks, each with a machine; packets take turns.
    pub vrfs: u32,
    /// Routes of the first network.
    pub routes: u32,
}

impl Case {
    /// A path with everything else as it is by default.
    pub fn of(path: Path, flows: u32) -> Case {
        Case {
            path,
            family: Family::Ipv4,
            wrap: Wrap::Vxlan,
            load: Load::Established,
            size: Size::Bytes(64),
            flows,
            rules: 1_000,
            vrfs: 1,
            routes: 10,
        }
    }

    /// Flows of each vrf.
    pub fn flows_each(&self) -> u32 {
        (self.flows / self.vrfs).max(1)
    }
}

impl Size {
    /// The lengths that take turns, without the frame check sequence.
    pub fn lengths(self) -> Vec<usize> {
        const FCS: usize = 4;
        match self {
            Size::Bytes(bytes) => vec![usize::from(bytes).saturating_sub(FCS).max(60)],
            Size::Imix => [64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64]
                .map(|bytes| bytes - FCS)
                .to_vec(),
        }
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        match (text, text.parse()) {
            ("imix", _) => Ok(Size::Imix),
            (_, Ok(bytes @ 64..=1518)) => Ok(Size::Bytes(bytes)),
            _ => Err("64 to 1518, or imix".into()),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => write!(f, "{bytes}"),
            Size::Imix => f.write_str("imix"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::Encap => "encap",
            Path::Whole => "whole",
            Path::Decap => "decap",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

impl fmt::Display for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Wrap::Vxlan => "vxlan",
            Wrap::MplsUdp => "mpls-udp",
            Wrap::MplsGre => "mpls-gre",
        })
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Load::Established => f.pad("hit"),
            Load::New => f.pad("new"),
            Load::Churn(percent) => f.pad(&format!("{percent}% new")),
        }
    }
}
