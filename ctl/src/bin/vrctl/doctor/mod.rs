//! `vrctl doctor`: what of this node costs packets or time, how much, and what to do about it.
//!
//! It looks at the daemon and at the machine that it itself runs on, which is the daemon's as the
//! socket is a file. Nothing is changed.

mod checks;
mod system;

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use ctl::client::Client;
use ctl::proto;

use crate::Failure;
use crate::paint::{Colour, paint};
use system::System;

/// Check hugepages, cores, NUMA, offloads and MTUs, and say what each mistake costs
#[derive(Args)]
#[command(after_help = "\
Exit status: 0 if nothing is wrong, 1 if something is.

Example:
  vrctl doctor")]
pub(crate) struct DoctorArgs {
    /// Only what is wrong
    #[arg(short, long)]
    quiet: bool,
}

/// What is known of the node.
struct Node {
    stats: proto::StatsResponse,
    vifs: Vec<proto::Vif>,
    nexthops: Vec<proto::Nexthop>,
    system: System,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    /// As it should be.
    Good,
    /// It costs time.
    Slow,
    /// It costs packets.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    /// What was looked at, in a word.
    topic: &'static str,
    /// What is so.
    what: String,
    /// What that costs; empty if nothing.
    cost: String,
    /// What to do.
    remedy: String,
}

pub(crate) async fn run(
    socket: &Path,
    args: DoctorArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket).await?;
    let stats = client.stats().await?;
    let kinds = [proto::Kind::Vif, proto::Kind::Nexthop];
    let (objects, _) = client.list(&kinds, None).await?;
    let mut node = Node {
        stats,
        vifs: Vec::new(),
        nexthops: Vec::new(),
        system: System::here(),
    };
    for object in objects
        .into_iter()
        .filter_map(|stored| stored.object?.object)
    {
        match object {
            proto::object::Object::Vif(vif) => node.vifs.push(vif),
            proto::object::Object::Nexthop(nexthop) => node.nexthops.push(nexthop),
            _ => {}
        }
    }
    let findings = checks::all(&node);
    let wrong = findings.iter().filter(|it| it.grade != Grade::Good).count();
    print(&findings, args.quiet, out)?;
    out.flush()?;
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::Refused("1 thing could be better".into())),
        more => Err(Failure::Refused(format!("{more} things could be better"))),
    }
}

fn print(findings: &[Finding], is_quiet: bool, out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        if is_quiet && finding.grade == Grade::Good {
            continue;
        }
        let (mark, colour) = match finding.grade {
            Grade::Good => ("ok  ", Colour::Green),
            Grade::Slow => ("slow", Colour::Yellow),
            Grade::Bad => ("BAD ", Colour::Red),
        };
        writeln!(
            out,
            "{}  {:<9} {}",
            paint(mark, colour),
            finding.topic,
            finding.what
        )?;
        for (word, text) in [("costs", &finding.cost), ("do", &finding.remedy)] {
            if !text.is_empty() {
                writeln!(out, "                {word}: {text}")?;
            }
        }
    }
    Ok(())
}
