//! What can be typed after `vrctl explain`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Say what becomes of a packet, step by step, and which objects say so
///
/// The packet goes through the stages of a worker on a copy of the state:
/// nothing is changed, and no worker waits. With each object stands the
/// generation that made it what it is.
#[derive(Args)]
#[command(after_help = "\
A packet is a tuple (the first of its flow), hex digits, a capture, or the next
packet of a live flow.

Examples:
  vrctl explain --in web-1 tcp 10.1.0.5:40000 10.1.0.9:80
  vrctl explain --in web-1 10.1.0.9                a ping from the vif's address
  vrctl explain --remote 192.0.2.2 --vrf front tcp 10.1.0.9:4000 10.1.0.5:80
  vrctl explain --in web-1 --pcap trouble.pcap -o svg > trouble.svg
  vrctl explain --flow addr=10.1.0.9 --flow port=80 --reply
  vrctl explain --in web-1 tcp 10.1.0.9:80 --with next.yaml   if that were applied
  vrctl explain --in web-1 tcp 10.1.0.9:80 --generation 41    and what was it before?")]
pub(crate) struct ExplainArgs {
    // Brackets in a doc comment would be links.
    #[arg(
        value_name = "TUPLE",
        num_args = 0..=5,
        help = "[PROTOCOL] [SOURCE[:PORT]] DESTINATION[:PORT]"
    )]
    pub(crate) tuple: Vec<String>,
    /// The vif by which the packet arrives
    #[arg(long = "in", value_name = "VIF")]
    pub(crate) vif: Option<String>,
    /// It comes out of a tunnel from this address, into --vrf
    #[arg(long, value_name = "ADDRESS", conflicts_with = "vif", requires = "vrf")]
    pub(crate) remote: Option<String>,
    /// The network that a tunnel's packet is in
    #[arg(long, value_name = "VRF")]
    pub(crate) vrf: Option<String>,
    /// The packet in hex digits, from the Ethernet header on
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["tuple", "pcap", "flow"])]
    pub(crate) hex: Option<String>,
    /// A capture of up to 64 packets, which arrive one after the other
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tuple", "flow"])]
    pub(crate) pcap: Option<PathBuf>,
    /// The first live flow that matches, as in `vrctl flows`; may be given several times
    #[arg(long, value_name = "TERM", conflicts_with_all = ["tuple", "vif", "remote"])]
    pub(crate) flow: Vec<String>,
    /// Of the live flow, a packet of its answers
    #[arg(long, requires = "flow")]
    pub(crate) reply: bool,
    /// The destination MAC, if not what a machine would write
    #[arg(long, value_name = "MAC")]
    pub(crate) dst_mac: Option<String>,
    /// Not the first packet of a connection: ACK instead of SYN
    #[arg(long)]
    pub(crate) later: bool,
    /// By the configuration of this generation, one of the last 17
    #[arg(long, value_name = "N", conflicts_with = "with")]
    pub(crate) generation: Option<u64>,
    /// By the configuration that this file would make; nothing is changed
    #[arg(long, value_name = "FILE")]
    pub(crate) with: Vec<PathBuf>,
    /// With --with: what the owner has and the files do not name would be gone
    #[arg(long, requires = "with")]
    pub(crate) replace: bool,
    /// With --with: whose objects these are
    #[arg(long, value_name = "NAME", default_value = "vrctl")]
    pub(crate) owner: String,
    /// Show all bytes, not only the outer headers of tunnels
    #[arg(long)]
    pub(crate) bytes: bool,
    /// In which form
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ExplainOutput,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOutput {
    /// Lines for people
    Text,
    /// For programs
    Json,
    /// A drawing, for Graphviz
    Dot,
    /// A drawing, for browsers
    Svg,
}
