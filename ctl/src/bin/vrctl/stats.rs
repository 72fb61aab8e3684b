//! `vrctl stats` and `vrctl drops`: counters.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ctl::client::Client;
use ctl::{files, proto};

use crate::Failure;
use crate::cli::{DropsArgs, Output, StatsArgs};
use crate::flows::clear_screen;
use crate::table::{Table, span};

pub(crate) async fn stats(
    socket: &Path,
    args: StatsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket).await?;
    let stats = match args.rules {
        true => client.stats_with_rules().await?,
        false => client.stats().await?,
    };
    match args.output {
        Output::Table => print_stats(&stats, out)?,
        Output::Json => writeln!(out, "{:#}", proto::json("StatsResponse", &stats))?,
        Output::Yaml => {
            let data = proto::json("StatsResponse", &stats);
            out.write_all(files::data_to_yaml(&data).as_bytes())?;
        }
    }
    Ok(())
}

fn print_stats(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "vrouter {}, generation {}, up {}\n",
        stats.version,
        stats.generation,
        span(stats.uptime_ms)
    )?;
    let mut workers = Table::new(&[
        "CORE>",
        "PACKETS>",
        "PER ROUND>",
        "BUSY ROUNDS>",
        "IN FRAGMENTS>",
        "HELD>",
        "REASSEMBLY>",
    ]);
    for worker in &stats.workers {
        let fragments = worker.fragments.unwrap_or_default();
        let reassembly = worker.reassembly.unwrap_or_default();
        let per_round = worker.packets as f64 / worker.busy_rounds.max(1) as f64;
        let rounds = worker.busy_rounds + worker.idle_rounds;
        let busy = 100.0 * worker.busy_rounds as f64 / rounds.max(1) as f64;
        workers.row(vec![
            worker.core.to_string(),
            worker.packets.to_string(),
            format!("{per_round:.1}"),
            format!("{busy:.1} %"),
            format!("{} of {}", fragments.datagrams, fragments.datagrams_limit),
            format!(
                "{} of {}",
                fragments.held_packets, fragments.held_packets_limit
            ),
            format!(
                "{} of {}",
                reassembly.held_packets, reassembly.held_packets_limit
            ),
        ]);
    }
    workers.flush(out)?;
    writeln!(out)?;
    let mut vifs = Table::new(&[
        "VIF",
        "ROLE",
        "LINK",
        "RX PACKETS>",
        "RX BYTES>",
        "TX PACKETS>",
        "TX BYTES>",
        "DROPS>",
        "LOST>",
    ]);
    for vif in &stats.vifs {
        let drops: u64 = vif.drops.iter().map(|drop| drop.packets).sum();
        vifs.row(vec![
            vif.name.clone(),
            files::short_name("Role", vif.role().as_str_name()),
            if vif.link_up { "up" } else { "down" }.into(),
            vif.rx_packets.to_string(),
            vif.rx_bytes.to_string(),
            vif.tx_packets.to_string(),
            vif.tx_bytes.to_string(),
            drops.to_string(),
            lost(vif).to_string(),
        ]);
    }
    vifs.flush(out)?;
    writeln!(out)?;
    print_oddities(stats, out)?;
    print_owners(stats, out)?;
    print_pools(stats, out)?;
    print_rules(stats, out)?;
    print_services(stats, out)?;
    print_flow_table(&stats.flow_table.unwrap_or_default(), out)
}

/// What is neither sent nor dropped and worth knowing, of vifs where it occurred.
fn print_oddities(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    let mut vifs = stats
        .vifs
        .iter()
        .filter(|vif| vif.errors_withheld + vif.ecn_dubious > 0)
        .peekable();
    if vifs.peek().is_none() {
        return Ok(());
    }
    let mut table = Table::new(&["VIF", "ERRORS WITHHELD>", "ECN DUBIOUS>"]);
    for vif in vifs {
        table.row(vec![
            vif.name.clone(),
            vif.errors_withheld.to_string(),
            vif.ecn_dubious.to_string(),
        ]);
    }
    table.flush(out)?;
    writeln!(out)
}

/// Vrfs and vifs that have or had flows, or a quota.
fn print_owners(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    let vrfs = stats.vrfs.iter().map(|vrf| ("vrf", &vrf.name, vrf.flows));
    let vifs = stats.vifs.iter().map(|vif| ("vif", &vif.name, vif.flows));
    let mut owners = vrfs
        .chain(vifs)
        .map(|(kind, name, flows)| (kind, name, flows.unwrap_or_default()))
        .filter(|(.., flows)| *flows != proto::FlowUsage::default())
        .peekable();
    if owners.peek().is_none() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "FLOWS OF",
        "USED>",
        "QUOTA>",
        "HALF OPEN>",
        "AT MOST>",
        "REFUSED>",
        "EVICTED>",
    ]);
    for (kind, name, flows) in owners {
        table.row(vec![
            format!("{kind} {name}"),
            flows.used.to_string(),
            flows
                .limit
                .map(|limit| limit.to_string())
                .unwrap_or_default(),
            flows.half_open.to_string(),
            flows.high_water.to_string(),
            flows.refused.to_string(),
            flows.evicted.to_string(),
        ]);
    }
    table.flush(out)?;
    writeln!(out)
}

fn print_pools(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    if stats.snat_pools.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "PORTS OF",
        "TRANSPORT",
        "USED>",
        "LIMIT>",
        "AT MOST>",
        "REFUSED>",
        "ALARM",
    ]);
    for pool in &stats.snat_pools {
        for (line, ports) in pool.ports.iter().enumerate() {
            // What is the pool's, not the transport's, stands in its first line.
            let once = |text: String| if line == 0 { text } else { String::new() };
            table.row(vec![
                once(format!("snat_pool {}", pool.name)),
                ports.transport.clone(),
                ports.used.to_string(),
                pool.limit.to_string(),
                ports.high_water.to_string(),
                once(pool.refused.to_string()),
                once(if pool.alarmed { "yes" } else { "no" }.into()),
            ]);
        }
    }
    table.flush(out)?;
    writeln!(out)
}

/// Rules that have matched something, if they were asked for.
fn print_rules(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    let mut rules = stats
        .rules
        .iter()
        .filter(|rule| rule.packets > 0)
        .peekable();
    if rules.peek().is_none() {
        return Ok(());
    }
    let mut table = Table::new(&["POLICY", "RULE>", "PACKETS>", "BYTES>"]);
    for rule in rules {
        table.row(vec![
            rule.policy.clone(),
            rule.rule.to_string(),
            rule.packets.to_string(),
            rule.bytes.to_string(),
        ]);
    }
    table.flush(out)?;
    writeln!(out)
}

/// The backends of services, and who gets flows.
fn print_services(stats: &proto::StatsResponse, out: &mut dyn Write) -> io::Result<()> {
    if stats.services.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "SERVICE",
        "BACKEND",
        "PORT>",
        "STATE",
        "CHECKS",
        "NEW FLOWS",
    ]);
    for service in &stats.services {
        for backend in &service.backends {
            table.row(vec![
                service.name.clone(),
                backend.address.clone(),
                backend.port.to_string(),
                files::short_name("BackendState", backend.state().as_str_name()),
                if backend.healthy { "up" } else { "down" }.into(),
                match (backend.takes_flows, service.starved) {
                    (true, true) => "yes, all are down",
                    (true, false) => "yes",
                    (false, _) => "no",
                }
                .into(),
            ]);
        }
    }
    table.flush(out)?;
    writeln!(out)
}

fn print_flow_table(flows: &proto::FlowTableStats, out: &mut dyn Write) -> io::Result<()> {
    let share = 100.0 * flows.used as f64 / flows.limit.max(1) as f64;
    writeln!(
        out,
        "flows: {} of {} ({share:.1} %), {} half open, at most {}, {} refused, {} evicted",
        flows.used, flows.limit, flows.half_open, flows.high_water, flows.refused, flows.evicted
    )?;
    let pages = match flows.pages() {
        proto::Pages::Reserved2m => "reserved 2 MiB pages".into(),
        proto::Pages::Transparent2m => "transparent 2 MiB pages".into(),
        proto::Pages::Small4k => "4 KiB pages".into(),
        proto::Pages::Mixed => {
            format!("pages of 4 KiB and {} MiB of 2 MiB", flows.huge_bytes >> 20)
        }
        proto::Pages::Unspecified => "pages".into(),
    };
    write!(
        out,
        "flow table: {} MiB of {pages}",
        flows.memory_bytes >> 20
    )?;
    match flows.numa_node {
        Some(node) => writeln!(out, " on NUMA node {node}"),
        None => writeln!(out),
    }
}

/// Frames the device itself lost, in either direction.
fn lost(vif: &proto::VifStats) -> u64 {
    let device = vif.device.unwrap_or_default();
    device.rx_missed
        + device.rx_errors
        + device.rx_no_buffer
        + device.rx_oversized
        + device.tx_errors
}

pub(crate) async fn drops(
    socket: &Path,
    args: DropsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket).await?;
    let mut before: Option<Earlier> = None;
    loop {
        let stats = client.stats().await?;
        let drops = by_reason(&stats);
        if args.watch {
            clear_screen(out)?;
        }
        match args.output {
            Output::Table => {
                print_drops(&drops, before.as_ref(), out)?;
            }
            Output::Json => writeln!(out, "{:#}", data(&drops))?,
            Output::Yaml => out.write_all(files::data_to_yaml(&data(&drops)).as_bytes())?,
        }
        if !args.watch {
            return Ok(());
        }
        out.flush()?;
        before = Some(Earlier::of(drops));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A line of the ledger.
struct Dropped {
    reason: String,
    vif: String,
    packets: u64,
}

/// What was counted a moment ago, by reason and vif, for rates.
struct Earlier {
    when: Instant,
    packets: HashMap<(String, String), u64>,
}

impl Earlier {
    fn of(drops: Vec<Dropped>) -> Earlier {
        let packets = drops
            .into_iter()
            .map(|drop| ((drop.reason, drop.vif), drop.packets));
        Earlier {
            when: Instant::now(),
            packets: packets.collect(),
        }
    }

    /// Packets per second since then.
    fn rate(&self, drop: &Dropped) -> f64 {
        let key = (drop.reason.clone(), drop.vif.clone());
        let then = self.packets.get(&key).copied().unwrap_or(0);
        let more = drop.packets.saturating_sub(then) as f64;
        more / self.when.elapsed().as_secs_f64().max(0.001)
    }
}

/// Drops that occurred, by reason, then vif.
fn by_reason(stats: &proto::StatsResponse) -> Vec<Dropped> {
    let mut drops: Vec<Dropped> = stats
        .vifs
        .iter()
        .flat_map(|vif| vif.drops.iter().map(move |drop| (vif, drop)))
        .filter(|(_, drop)| drop.packets > 0)
        .map(|(vif, drop)| Dropped {
            reason: drop.reason.clone(),
            vif: vif.name.clone(),
            packets: drop.packets,
        })
        .collect();
    drops.sort_by(|a, b| (&a.reason, &a.vif).cmp(&(&b.reason, &b.vif)));
    drops
}

fn print_drops(drops: &[Dropped], before: Option<&Earlier>, out: &mut dyn Write) -> io::Result<()> {
    if drops.is_empty() {
        return writeln!(out, "nothing was dropped");
    }
    let mut table = match before {
        Some(_) => Table::new(&["REASON", "VIF", "PACKETS>", "PER SECOND>"]),
        None => Table::new(&["REASON", "VIF", "PACKETS>"]),
    };
    for drop in drops {
        let mut row = vec![
            drop.reason.clone(),
            drop.vif.clone(),
            drop.packets.to_string(),
        ];
        if let Some(earlier) = before {
            row.push(format!("{:.0}", earlier.rate(drop)));
        }
        table.row(row);
    }
    table.flush(out)
}

/// `{REASON: {VIF: packets}}`
fn data(drops: &[Dropped]) -> serde_json::Value {
    let mut data = serde_json::json!({});
    for drop in drops {
        data[&drop.reason][&drop.vif] = drop.packets.into();
    }
    data
}
