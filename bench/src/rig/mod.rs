//! The engine beside its peers: each a process of its own between two ports, on the same core, in
//! turns.
//!
//! ```text
//!            core A                               core B
//! packets ─► generator ── memif "machine" ──► contender: vrouterd, testpmd, Open vSwitch
//!            counts    ◄── memif "uplink" ───
//!
//! packets ─► generator ── AF_PACKET, veth ──► contender: the Linux kernel
//!            counts    ◄── veth's counters ──
//! ```
//!
//! All contenders are started once and stand still (`SIGSTOP`) but for the one whose turn it is. In
//! a turn every flow is first sent once or more, then the packets that come out are counted in
//! short windows while more are offered than can be forwarded: the maximum receive rate of FD.io's
//! CSIT. Turns alternate, so that a loud neighbour of the machine hits all alike.

mod contender;
mod generator;
mod hugepages;
pub mod idle;
mod kernel;
mod latency;
mod openvswitch;
mod path;
mod process;
mod report;
mod scratch;
mod search;
mod testpmd;
mod vrouter;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use contender::Contender;
use generator::Generator;
pub use path::Path;
use report::{Outcome, Turn};
use scratch::Scratch;

/// What stands between the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// `vrouterd` of this repository.
    Vrouter,
    /// DPDK's testpmd, which moves packets and looks at none: the limit of the ports.
    TestpmdIo,
    /// testpmd that also writes both MACs.
    TestpmdMac,
    /// Open vSwitch's userspace datapath with DPDK.
    Ovs,
    /// Linux: nftables, routes, a VXLAN device.
    Kernel,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::Vrouter => "vrouter",
            Name::TestpmdIo => "testpmd io",
            Name::TestpmdMac => "testpmd mac",
            Name::Ovs => "Open vSwitch",
            Name::Kernel => "Linux kernel",
        }
    }
}

/// What to measure.
#[derive(Args)]
pub struct Arguments {
    /// The ways through the contenders.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "encap,whole")]
    paths: Vec<Path>,
    /// Who is measured, in turns.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "vrouter,testpmd-mac,ovs,kernel"
    )]
    contenders: Vec<Name>,
    /// Numbers of flows, in random order of packets.
    #[arg(long, value_delimiter = ',', default_value = "1,10000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=16_000_000))]
    flows: Vec<u32>,
    /// Turns of each contender.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Seconds of each turn, after the warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Also search the rate at which nothing is lost, and take the latency at 50 % and 90 % of it.
    #[arg(long)]
    no_drop: bool,
    /// The core of the generator, and of what the contenders do besides forwarding; by default
    /// the last but one.
    #[arg(long)]
    generator_core: Option<usize>,
    /// The core of the contenders; by default the last one.
    #[arg(long)]
    core: Option<usize>,
    /// The vrouterd to measure; by default the one beside this program.
    #[arg(long, value_name = "PATH")]
    vrouterd: Option<PathBuf>,
    /// Print how each contender was configured.
    #[arg(long)]
    configurations: bool,
    /// Also write the results, and the configurations, to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Everything that is the same for all contenders.
struct Setting {
    generator_core: usize,
    core: usize,
    vrouterd: PathBuf,
    most_flows: u32,
}

/// Measures and prints.
///
/// # Errors
/// A sentence: what is missing, or what went wrong in which contender.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let setting = setting(arguments)?;
    let pages = hugepages::reserve(u64::from(setting.most_flows))?;
    let scratch = Scratch::new()?;
    let mut generator = Generator::start(setting.generator_core)?;
    let mut outcomes = Vec::new();
    let mut configurations = Vec::new();
    report::header(&setting, pages.count());
    for (number, path) in arguments.paths.iter().enumerate() {
        let mut contenders = Vec::new();
        for name in &arguments.contenders {
            let place =
                scratch.directory(&format!("{}-{number}", name.text().replace(' ', "-")))?;
            match contender::start(*name, *path, &setting, &place, &mut generator) {
                Ok(contender) => contenders.push(contender),
                Err(why) => println!("{:<14}left out: {why}", name.text()),
            }
        }
        for contender in &contenders {
            let shown = contender.configuration();
            if arguments.configurations {
                println!(
                    "--- {} · {}\n{shown}\n---",
                    path.text(),
                    contender.name.text()
                );
            }
            configurations.push((*path, contender.name, shown));
        }
        for flows in &arguments.flows {
            let outcome = alternate(arguments, *path, *flows, &mut contenders)?;
            report::print(&outcome);
            outcomes.push(outcome);
        }
    }
    if let Some(file) = &arguments.json {
        let document = report::document(&setting, &outcomes, &configurations);
        crate::report::write_json(file, &document)?;
    }
    Ok(())
}

fn setting(arguments: &Arguments) -> Result<Setting, String> {
    let (generator_core, core) = cores(arguments.generator_core, arguments.core)?;
    Ok(Setting {
        generator_core,
        core,
        vrouterd: vrouterd(arguments.vrouterd.as_ref())?,
        most_flows: arguments.flows.iter().copied().max().unwrap_or(1),
    })
}

/// The generator's core and the contenders'.
fn cores(generator: Option<usize>, contender: Option<usize>) -> Result<(usize, usize), String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let ids: Vec<usize> = cores.iter().map(|core| core.id).collect();
    let choose = |wanted: Option<usize>, from_last: usize, option: &str| match wanted {
        Some(id) if ids.contains(&id) => Ok(id),
        None if ids.len() >= 2 => Ok(ids[ids.len() - 1 - from_last]),
        _ => Err(format!("{option}: choose two of {ids:?}")),
    };
    let core = choose(contender, 0, "--core")?;
    let generator_core = choose(generator, 1, "--generator-core")?;
    match core == generator_core {
        true => Err("--core and --generator-core: they must differ".into()),
        false => Ok((generator_core, core)),
    }
}

/// The vrouterd to measure.
fn vrouterd(wanted: Option<&PathBuf>) -> Result<PathBuf, String> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("vrouterd"));
    let program = wanted.cloned().or_else(beside).unwrap_or_default();
    match program.exists() {
        true => Ok(program),
        false => Err(format!(
            "there is no {}; build it with `cargo build --release -p ctl`, or name it with --vrouterd",
            program.display()
        )),
    }
}

/// All turns of all contenders with so many flows.
fn alternate(
    arguments: &Arguments,
    path: Path,
    flows: u32,
    contenders: &mut [Contender],
) -> Result<Outcome, String> {
    let time = Duration::from_secs(arguments.seconds);
    let mut outcome = Outcome::new(path, flows, contenders.iter().map(|c| c.name));
    for _ in 0..arguments.turns {
        for (contender, turns) in contenders.iter_mut().zip(&mut outcome.turns) {
            let mut turn = contender.take_turn()?;
            turn.warm_up(flows);
            turns.push(Turn::of(turn.flood(flows, time))?);
        }
    }
    if arguments.no_drop {
        for (contender, turns) in contenders.iter_mut().zip(&outcome.turns) {
            let most = report::median_mpps(turns) * 1e6;
            let mut turn = contender.take_turn()?;
            turn.warm_up(flows);
            let found = search::no_drop_rate(&mut turn, flows, most, time);
            outcome.no_drop.push(found);
        }
    }
    Ok(outcome)
}
