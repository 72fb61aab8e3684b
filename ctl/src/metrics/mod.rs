//! The counters of `Stats` for Prometheus: each family with its unit in its name, and its help.
//!
//! Names and units follow the conventions of Prometheus: base units, `_total` for what only grows,
//! labels for what one would sum over. The page is made when it is asked for; nothing is kept.

mod text;

use dataplane::engine::LATENCY_BOUNDS_NS;
use dataplane::observe::pulse::BATCH_SIZES;

use crate::files::short_name;
use crate::proto::{FlowUsage, FragmentUsage, StatsResponse, VifStats, WorkerStats};
use text::{Kind, Page};

/// The formats of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format.
    Prometheus,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The page of all families.
pub fn page(stats: &StatsResponse, format: Format) -> String {
    let mut page = Page::new(format == Format::OpenMetrics);
    node(&mut page, stats);
    workers(&mut page, stats);
    vifs(&mut page, stats);
    flows(&mut page, stats);
    pools(&mut page, stats);
    rules(&mut page, stats);
    services(&mut page, stats);
    page.finish()
}

fn node(page: &mut Page, stats: &StatsResponse) {
    page.family("vrouter_info", Kind::Gauge, "Which vrouter this is.");
    page.sample("vrouter_info", &[("version", &stats.version)], 1.0);
    let help = "Generation of the configuration in force.";
    page.family("vrouter_generation", Kind::Gauge, help);
    page.sample("vrouter_generation", &[], stats.generation as f64);
    let help = "Time since the engine started.";
    page.family("vrouter_uptime_seconds", Kind::Gauge, help);
    page.sample(
        "vrouter_uptime_seconds",
        &[],
        seconds(stats.uptime_ms * 1_000_000),
    );
}

/// A metric's name, its help, and what it is of a thing that is counted.
type Told<'a, T, N> = (&'a str, &'a str, &'a dyn Fn(&T) -> N);

fn workers(page: &mut Page, stats: &StatsResponse) {
    let uptime_ns = stats.uptime_ms * 1_000_000;
    let counters: [Told<WorkerStats, f64>; 5] = [
        (
            "vrouter_worker_packets_total",
            "Packets a worker received.",
            &|worker| worker.packets as f64,
        ),
        (
            "vrouter_worker_busy_seconds_total",
            "Time a worker spent on rounds that found packets.",
            &|worker| seconds(worker.busy_ns),
        ),
        (
            "vrouter_worker_idle_seconds_total",
            "Time a worker spent on anything else.",
            &|worker| seconds(uptime_ns.saturating_sub(worker.busy_ns)),
        ),
        (
            "vrouter_worker_busy_rounds_total",
            "Rounds over a worker's queues that found packets.",
            &|worker| worker.busy_rounds as f64,
        ),
        (
            "vrouter_worker_idle_rounds_total",
            "Rounds over a worker's queues that found none.",
            &|worker| worker.idle_rounds as f64,
        ),
    ];
    for (name, help, value) in counters {
        page.family(name, Kind::Counter, help);
        for worker in &stats.workers {
            page.sample(name, &[("core", &worker.core.to_string())], value(worker));
        }
    }
    let name = "vrouter_worker_batch_packets";
    page.family(
        name,
        Kind::Histogram,
        "Packets in the batches that a worker received.",
    );
    for worker in &stats.workers {
        let up_to = cumulated(&worker.batches);
        let all = up_to.last().map_or(0, |(_, count)| *count);
        let counted = (all, worker.packets as f64);
        page.histogram(name, &[("core", &worker.core.to_string())], &up_to, counted);
    }
    let name = "vrouter_worker_latency_seconds";
    let help = "Time from receipt of a packet to its hand-over to a device, of one batch in 16.";
    page.family(name, Kind::Histogram, help);
    for worker in &stats.workers {
        let latency = worker.latency.clone().unwrap_or_default();
        let bounds = LATENCY_BOUNDS_NS.into_iter().zip(&latency.up_to);
        let up_to: Vec<_> = bounds
            .map(|(bound, count)| (seconds(bound), *count))
            .collect();
        let counted = (latency.samples, seconds(latency.sum_ns));
        page.histogram(name, &[("core", &worker.core.to_string())], &up_to, counted);
    }
    fragments(page, stats);
}

/// Batches of up to each size.
fn cumulated(batches: &[u64]) -> Vec<(f64, u64)> {
    let mut sum = 0;
    let sizes = BATCH_SIZES.into_iter().zip(batches);
    sizes
        .map(|(size, count)| {
            sum += count;
            (size as f64, sum)
        })
        .collect()
}

fn fragments(page: &mut Page, stats: &StatsResponse) {
    let gauges: [Told<FragmentUsage, u32>; 2] = [
        (
            "vrouter_worker_held_fragments",
            "Fragments that wait for others of their packet.",
            &|usage| usage.held_packets,
        ),
        (
            "vrouter_worker_held_fragments_limit",
            "Fragments that may wait for others of their packet.",
            &|usage| usage.held_packets_limit,
        ),
    ];
    for (name, help, value) in gauges {
        page.family(name, Kind::Gauge, help);
        for worker in &stats.workers {
            let core = worker.core.to_string();
            for (of, usage) in [("tenant", worker.fragments), ("tunnel", worker.reassembly)] {
                let value = value(&usage.unwrap_or_default());
                page.sample(name, &[("core", &core), ("of", of)], value.into());
            }
        }
    }
}

fn vifs(page: &mut Page, stats: &StatsResponse) {
    let name = "vrouter_vif_up";
    page.family(name, Kind::Gauge, "Whether the vif's link carries packets.");
    for vif in &stats.vifs {
        let role = short_name("Role", vif.role().as_str_name());
        let up = f64::from(u8::from(vif.link_up));
        page.sample(name, &[("vif", &vif.name), ("role", &role)], up);
    }
    let counters: [Told<VifStats, u64>; 8] = [
        (
            "vrouter_vif_receive_packets_total",
            "Packets received on a vif.",
            &|vif| vif.rx_packets,
        ),
        (
            "vrouter_vif_receive_bytes_total",
            "Bytes received on a vif, without frame check sequences.",
            &|vif| vif.rx_bytes,
        ),
        (
            "vrouter_vif_transmit_packets_total",
            "Packets the vif's device took for sending.",
            &|vif| vif.tx_packets,
        ),
        (
            "vrouter_vif_transmit_bytes_total",
            "Bytes the vif's device took for sending, without frame check sequences.",
            &|vif| vif.tx_bytes,
        ),
        (
            "vrouter_vif_consumed_packets_total",
            "Packets for the vrouter itself that needed no answer.",
            &|vif| vif.consumed,
        ),
        (
            "vrouter_vif_originated_packets_total",
            "Packets the vrouter made itself.",
            &|vif| vif.originated,
        ),
        (
            "vrouter_vif_errors_withheld_total",
            "ICMP errors and resets that were owed and not sent for being too many.",
            &|vif| vif.errors_withheld,
        ),
        (
            "vrouter_vif_ecn_dubious_total",
            "Tunnel packets whose two ECN fields do not go together.",
            &|vif| vif.ecn_dubious,
        ),
    ];
    for (name, help, value) in counters {
        page.family(name, Kind::Counter, help);
        for vif in &stats.vifs {
            page.sample(name, &[("vif", &vif.name)], value(vif) as f64);
        }
    }
    let name = "vrouter_vif_dropped_packets_total";
    page.family(name, Kind::Counter, "Packets dropped, by vif and reason.");
    for vif in &stats.vifs {
        for drop in &vif.drops {
            let labels = [("vif", &vif.name[..]), ("reason", &drop.reason)];
            page.sample(name, &labels, drop.packets as f64);
        }
    }
    let name = "vrouter_vif_device_lost_packets_total";
    page.family(
        name,
        Kind::Counter,
        "Packets the vif's device lost, by cause.",
    );
    for vif in &stats.vifs {
        let device = vif.device.unwrap_or_default();
        for (cause, lost) in [
            ("rx_missed", device.rx_missed),
            ("rx_errors", device.rx_errors),
            ("rx_no_buffer", device.rx_no_buffer),
            ("rx_oversized", device.rx_oversized),
            ("tx_errors", device.tx_errors),
        ] {
            page.sample(name, &[("vif", &vif.name), ("cause", cause)], lost as f64);
        }
    }
}

fn flows(page: &mut Page, stats: &StatsResponse) {
    let table = stats.flow_table.unwrap_or_default();
    let gauges = [
        ("vrouter_flow_table_flows", "Live flows.", table.used),
        (
            "vrouter_flow_table_flows_limit",
            "Flows the table holds.",
            table.limit,
        ),
        (
            "vrouter_flow_table_half_open_flows",
            "Live TCP flows before their handshake is done.",
            table.half_open,
        ),
        (
            "vrouter_flow_table_memory_bytes",
            "Memory of the flow table.",
            table.memory_bytes,
        ),
        (
            "vrouter_flow_table_huge_bytes",
            "Memory of the flow table that is in 2 MiB pages.",
            table.huge_bytes,
        ),
    ];
    for (name, help, value) in gauges {
        page.family(name, Kind::Gauge, help);
        page.sample(name, &[], value as f64);
    }
    let counters = [
        (
            "vrouter_flow_table_refused_flows_total",
            "Flows that found no room.",
            table.refused,
        ),
        (
            "vrouter_flow_table_evicted_flows_total",
            "Flows that made room for others.",
            table.evicted,
        ),
    ];
    for (name, help, value) in counters {
        page.family(name, Kind::Counter, help);
        page.sample(name, &[], value as f64);
    }
    let vifs = stats.vifs.iter().map(|vif| (&vif.name[..], vif.flows));
    owners(page, "vif", &vifs.collect::<Vec<_>>());
    let vrfs = stats.vrfs.iter().map(|vrf| (&vrf.name[..], vrf.flows));
    owners(page, "vrf", &vrfs.collect::<Vec<_>>());
}

/// The flows of vifs or vrfs.
fn owners(page: &mut Page, kind: &str, owners: &[(&str, Option<FlowUsage>)]) {
    let name = format!("vrouter_{kind}_flows");
    page.family(
        &name,
        Kind::Gauge,
        &format!("Live flows that count for a {kind}."),
    );
    for (owner, flows) in owners {
        page.sample(
            &name,
            &[(kind, owner)],
            flows.unwrap_or_default().used as f64,
        );
    }
    let name = format!("vrouter_{kind}_flows_limit");
    let help = format!("Flows that a {kind} may have, where that is limited.");
    page.family(&name, Kind::Gauge, &help);
    for (owner, flows) in owners {
        if let Some(limit) = flows.unwrap_or_default().limit {
            page.sample(&name, &[(kind, owner)], limit as f64);
        }
    }
    let name = format!("vrouter_{kind}_refused_flows_total");
    page.family(
        &name,
        Kind::Counter,
        &format!("Flows refused for the quota of a {kind}."),
    );
    for (owner, flows) in owners {
        page.sample(
            &name,
            &[(kind, owner)],
            flows.unwrap_or_default().refused as f64,
        );
    }
}

fn pools(page: &mut Page, stats: &StatsResponse) {
    let name = "vrouter_snat_pool_ports";
    page.family(name, Kind::Gauge, "Ports of a pool that are taken.");
    for pool in &stats.snat_pools {
        for ports in &pool.ports {
            let labels = [("pool", &pool.name[..]), ("transport", &ports.transport)];
            page.sample(name, &labels, ports.used.into());
        }
    }
    let name = "vrouter_snat_pool_ports_limit";
    page.family(name, Kind::Gauge, "Ports of a pool, of each transport.");
    for pool in &stats.snat_pools {
        page.sample(name, &[("pool", &pool.name)], pool.limit.into());
    }
    let name = "vrouter_snat_pool_refused_total";
    page.family(
        name,
        Kind::Counter,
        "Times that a pool had no port to give.",
    );
    for pool in &stats.snat_pools {
        page.sample(name, &[("pool", &pool.name)], pool.refused as f64);
    }
}

fn rules(page: &mut Page, stats: &StatsResponse) {
    let mut family = |name: &str, help: &str, of_packets: bool| {
        page.family(name, Kind::Counter, help);
        for rule in stats.rules.iter().filter(|rule| rule.packets > 0) {
            let labels = [
                ("policy", &rule.policy[..]),
                ("rule", &rule.rule.to_string()),
            ];
            let value = if of_packets { rule.packets } else { rule.bytes };
            page.sample(name, &labels, value as f64);
        }
    };
    let help = "Packets that a rule refused, and of flows that it let through.";
    family("vrouter_rule_packets_total", help, true);
    family("vrouter_rule_bytes_total", "Bytes of those packets.", false);
}

fn services(page: &mut Page, stats: &StatsResponse) {
    let name = "vrouter_service_backend_up";
    page.family(name, Kind::Gauge, "Whether a backend passes its checks.");
    for service in &stats.services {
        for backend in &service.backends {
            let port = backend.port.to_string();
            let labels = [
                ("service", &service.name[..]),
                ("address", &backend.address),
                ("port", &port),
            ];
            page.sample(name, &labels, f64::from(u8::from(backend.healthy)));
        }
    }
    let name = "vrouter_service_starved";
    page.family(
        name,
        Kind::Gauge,
        "Whether every active backend of a service is down.",
    );
    for service in &stats.services {
        let starved = f64::from(u8::from(service.starved));
        page.sample(name, &[("service", &service.name)], starved);
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
