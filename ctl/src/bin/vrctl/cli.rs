//! What can be typed: subcommands, options and the help that teaches them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ctl::config::DEFAULT_SOCKET;

use crate::explain::cli::ExplainArgs;

/// Programs and shows a vrouter
#[derive(Parser)]
#[command(
    version,
    disable_help_subcommand = true,
    after_help = "\
A first session:
  vrctl apply -f net.yaml              make the node have what the file says
  vrctl get all                        see what it has
  vrctl flows vrf=front proto=tcp      see who talks to whom
  vrctl drops --watch                  see what is dropped, where and why
  vrctl explain --in web-1 10.1.0.9    see what becomes of a packet, and why
  vrctl delete route front 10.1.0.9/32

Exit status: 0 done, 1 refused, 2 could not ask."
)]
pub(crate) struct Cli {
    /// The control socket of the vrouterd to talk to
    #[arg(long, global = true, value_name = "PATH", env = "VROUTER_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Apply(ApplyArgs),
    Get(GetArgs),
    Delete(DeleteArgs),
    Flows(FlowsArgs),
    Explain(Box<ExplainArgs>),
    Macs(MacsArgs),
    Stats(StatsArgs),
    Drops(DropsArgs),
    Watch(WatchArgs),
    /// Show who answers: version, limits, the generation, and what you may do
    Hello,
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  source <(vrctl completions bash)")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Make the node have the objects of some files, all of them or none
///
/// Objects are created or updated as one generation; what is already so stays
/// as it is. Every mistake is reported with file, line, object and field, and
/// then nothing is changed.
#[derive(Args)]
#[command(after_help = "\
A file holds lists of objects by kind:
  vrfs:
    - {name: front, gateways: [10.1.0.1/24]}
  nexthops:
    - {name: to-node2, tunnel: {encap: vxlan, remote: 192.0.2.2, vni: 5001}}
  routes:
    - {vrf: front, prefix: 10.1.0.9/32, nexthop: to-node2}
  vnis:
    - {vni: 5001, vrf: front}
and vifs, macs, labels, address_sets, policies, floating_ips, snat_pools,
services, mirrors and meters. `vrctl get all -o yaml` prints such a file.

Examples:
  vrctl apply -f net.yaml --dry-run        what would change?
  vrctl apply -f net.yaml --replace        and delete what the file no longer has
  generate | vrctl apply -f - --owner gen")]
pub(crate) struct ApplyArgs {
    /// A YAML or JSON file, - for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Delete this owner's objects that the files do not name
    #[arg(long)]
    pub(crate) replace: bool,
    /// Check everything and list what would change, live flows included, but
    /// change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Whose objects these are; only their owner changes or deletes them
    #[arg(long, value_name = "NAME", default_value = "vrctl")]
    pub(crate) owner: String,
    /// Refuse unless this is the current generation
    #[arg(long, value_name = "N")]
    pub(crate) if_generation: Option<u64>,
}

/// Show objects
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl get all
  vrctl get vif web-1 -o yaml
  vrctl get routes front                   the routes of one vrf
  vrctl get route front 10.1.0.9/32
  vrctl get policy web                     its rules
  vrctl get all --owner vrctl -o yaml > backup.yaml")]
pub(crate) struct GetArgs {
    /// vrf, vif, nexthop, route, mac, vni, label, address_set, policy,
    /// floating_ip, snat_pool, service, mirror, meter (or their plurals), or all
    #[arg(value_enum, ignore_case = true)]
    pub(crate) kind: Kind,
    /// The object's name; for a route VRF PREFIX, for a mac VRF MAC
    #[arg(value_name = "NAME", num_args = 0..=2)]
    pub(crate) name: Vec<String>,
    /// Only the objects of this owner
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// Delete one object
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl delete vif web-1
  vrctl delete route front 10.1.0.9/32
  vrctl delete vni 5001 --owner boot")]
pub(crate) struct DeleteArgs {
    /// Any but all: vrf, vif, nexthop, route, …
    #[arg(value_enum, ignore_case = true)]
    pub(crate) kind: Kind,
    /// The object's name; for a route VRF PREFIX, for a mac VRF MAC
    #[arg(value_name = "NAME", num_args = 1..=2, required = true)]
    pub(crate) name: Vec<String>,
    /// Whose object it is
    #[arg(long, value_name = "NAME", default_value = "vrctl")]
    pub(crate) owner: String,
}

/// Show live flows
#[derive(Args)]
#[command(after_help = "\
Filter terms, all of which must match, in either direction:
  vrf=NAME  proto=tcp|udp|icmp|icmpv6|NUMBER  addr=ADDRESS|PREFIX  port=NUMBER

Examples:
  vrctl flows
  vrctl flows vrf=front proto=tcp port=80
  vrctl flows addr=10.1.0.0/24 --watch
  vrctl flows addr=10.1.0.9 --clear        end them: their next packets are
                                           first packets again")]
pub(crate) struct FlowsArgs {
    /// Which flows
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Show at most this many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Show again every second until interrupted
    #[arg(long)]
    pub(crate) watch: bool,
    /// End the flows instead of showing them; wants a filter
    #[arg(long, conflicts_with = "watch")]
    pub(crate) clear: bool,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: FlowsOutput,
}

/// Show the MACs that were learned, and where they are
///
/// Those that are configured are shown by `vrctl get macs`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl macs
  vrctl macs front -o json")]
pub(crate) struct MacsArgs {
    /// Only those of this vrf
    #[arg(value_name = "VRF")]
    pub(crate) vrf: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: FlowsOutput,
}

/// Show counters: workers, vifs, the flow table
#[derive(Args)]
pub(crate) struct StatsArgs {
    /// What every rule has matched, too
    #[arg(long)]
    pub(crate) rules: bool,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// Show what was dropped, by reason and vif
#[derive(Args)]
pub(crate) struct DropsArgs {
    /// Show again every second until interrupted, with the rate
    #[arg(long)]
    pub(crate) watch: bool,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Output,
}

/// Show commits, links, neighbours, backends and alarms as they happen
///
/// First how things are, then every change, until interrupted.
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl watch
  vrctl watch --from 41                    and what was committed after generation 41
  vrctl watch link backend -o json")]
pub(crate) struct WatchArgs {
    /// Only these kinds of events
    #[arg(value_enum, value_name = "KIND")]
    pub(crate) kinds: Vec<EventKind>,
    /// Commits after this generation first
    #[arg(long, value_name = "GENERATION")]
    pub(crate) from: Option<u64>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: FlowsOutput,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventKind {
    Commit,
    Link,
    Neighbour,
    Backend,
    Capacity,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns for people
    Table,
    /// For files; of `get`, in the form that `apply` reads
    Yaml,
    /// For programs
    Json,
}

/// Flows are written as they are read, without end: no YAML.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FlowsOutput {
    /// Aligned columns for people
    Table,
    /// For programs
    Json,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    #[value(alias = "vrfs")]
    Vrf,
    #[value(alias = "vifs")]
    Vif,
    #[value(alias = "nexthops")]
    Nexthop,
    #[value(alias = "routes")]
    Route,
    #[value(alias = "macs")]
    Mac,
    #[value(alias = "vnis")]
    Vni,
    #[value(alias = "labels")]
    Label,
    #[value(name = "address_set", aliases = ["address_sets", "address-set", "address-sets"])]
    AddressSet,
    #[value(alias = "policies")]
    Policy,
    #[value(name = "floating_ip", aliases = ["floating_ips", "floating-ip", "floating-ips"])]
    FloatingIp,
    #[value(name = "snat_pool", aliases = ["snat_pools", "snat-pool", "snat-pools"])]
    SnatPool,
    #[value(alias = "services")]
    Service,
    #[value(alias = "mirrors")]
    Mirror,
    #[value(alias = "meters")]
    Meter,
    All,
}
