//! `vrbench engine`: the cases that the arguments ask for, one after the other.

use std::path::PathBuf;
use std::time::Duration;

use bench::engine::case::{Case, Family, Load, Path, Size, Wrap};
use bench::engine::{instructions, measure, report};

use super::{pin, write};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// From a vif into a tunnel; the same with policy, DNAT and eight tunnels to choose from; out of
    /// a tunnel to a vif with a policy.
    #[arg(long, value_delimiter = ',', default_value = "encap,whole,decap")]
    paths: Vec<Path>,
    /// The tenants' IP versions.
    #[arg(long, value_delimiter = ',', default_value = "ipv4")]
    families: Vec<Family>,
    /// The tunnels.
    #[arg(long, value_delimiter = ',', default_value = "vxlan")]
    tunnels: Vec<Wrap>,
    /// Frame lengths on the wire, or `imix`.
    #[arg(long, value_delimiter = ',', default_value = "64")]
    sizes: Vec<Size>,
    /// Numbers of flows, in random order of packets.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    flows: Vec<u32>,
    /// Rules of the policy on the way.
    #[arg(long, value_delimiter = ',', default_value = "1000",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rules: Vec<u32>,
    /// Networks with a machine each, whose packets take turns.
    #[arg(long, value_delimiter = ',', default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..=4000))]
    vrfs: Vec<u32>,
    /// Routes of the first network.
    #[arg(long, value_delimiter = ',', default_value = "10",
          value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    routes: Vec<u32>,
    /// Every packet is the first of its flow; `--flows` says after how many the table is emptied.
    #[arg(long, conflicts_with = "churn")]
    new_flows: bool,
    /// So many packets in a hundred are the first of a flow.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=99))]
    churn: Option<u8>,
    /// Counts instructions by source file under valgrind instead.
    #[arg(long)]
    instructions: bool,
    /// Seconds for each line, after the warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The core to run on; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// Also write the results to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures all of them.
///
/// # Errors
/// A sentence, if packets were lost or a core or valgrind is not there.
pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    let core = pin(arguments.core)?;
    if arguments.instructions {
        return count(arguments);
    }
    let mut lines = Vec::new();
    report::header(core);
    for case in arguments.cases() {
        let line = measure(&case, Duration::from_secs(arguments.seconds))?;
        report::print(&line);
        lines.push(line);
    }
    write(&arguments.json, || report::document(core, &lines))
}

fn count(arguments: &Arguments) -> Result<(), String> {
    let mut counts = Vec::new();
    for case in arguments.cases() {
        let counted = instructions::count(&case, &words(&case))?;
        instructions::print(&counted);
        counts.push(counted);
    }
    write(&arguments.json, || instructions::document(&counts))
}

/// The run that valgrind watches.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_counted(arguments: &Arguments) -> Result<(), String> {
    arguments.cases().iter().try_for_each(instructions::run)
}

impl Arguments {
    fn cases(&self) -> Vec<Case> {
        let load = match (self.new_flows, self.churn) {
            (true, _) => Load::New,
            (false, Some(percent)) => Load::Churn(percent),
            (false, None) => Load::Established,
        };
        let mut cases = vec![];
        for path in &self.paths {
            cases.extend(self.flows.iter().map(|flows| Case {
                load,
                ..Case::of(*path, *flows)
            }));
        }
        let cases = times(cases, &self.families, |case, family| case.family = family);
        let cases = times(cases, &self.tunnels, |case, wrap| case.wrap = wrap);
        let cases = times(cases, &self.sizes, |case, size| case.size = size);
        let cases = times(cases, &self.rules, |case, rules| case.rules = rules);
        let cases = times(cases, &self.vrfs, |case, vrfs| case.vrfs = vrfs);
        times(cases, &self.routes, |case, routes| case.routes = routes)
    }
}

/// Each case with each value.
fn times<T: Copy>(cases: Vec<Case>, values: &[T], set: impl Fn(&mut Case, T)) -> Vec<Case> {
    let each = cases.into_iter().flat_map(|case| {
        let with = |value: &T| {
            let mut case = case;
            set(&mut case, *value);
            case
        };
        values.iter().map(with).collect::<Vec<_>>()
    });
    each.collect()
}

/// A case as arguments.
fn words(case: &Case) -> Vec<String> {
    let mut words: Vec<String> = [
        ("--paths", case.path.to_string()),
        ("--families", case.family.to_string()),
        ("--tunnels", case.wrap.to_string()),
        ("--sizes", case.size.to_string()),
        ("--flows", case.flows.to_string()),
        ("--rules", case.rules.to_string()),
        ("--vrfs", case.vrfs.to_string()),
        ("--routes", case.routes.to_string()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect();
    match case.load {
        Load::Established => {}
        Load::New => words.push("--new-flows".into()),
        Load::Churn(percent) => words.extend(["--churn".into(), percent.to_string()]),
    }
    words
}
