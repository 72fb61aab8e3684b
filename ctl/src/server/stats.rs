//! `Stats`: the engine's counters in the words of the protocol.

use dataplane::engine::{
    FlowStats, Latency, PoolStats, ServiceStats, Stats, VifStats, VrfStats, WorkerStats,
};
use dataplane::memory::Pages;
use dataplane::sessions::Transport;
use dataplane::stage::fragments::{self, Limits};
use dataplane::tables::service::Backend;
use flowtable::Usage;

use crate::convert;
use crate::proto;

impl From<Stats> for proto::StatsResponse {
    fn from(stats: Stats) -> Self {
        let limits = (stats.fragments, stats.reassembly);
        let worker = |stats| worker(stats, limits);
        proto::StatsResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            generation: stats.generation,
            uptime_ms: stats.uptime.as_millis() as u64,
            workers: stats.workers.into_iter().map(worker).collect(),
            vifs: stats.vifs.into_iter().map(vif).collect(),
            vrfs: stats.vrfs.into_iter().map(vrf).collect(),
            flow_table: Some(flow_table(&stats.flows)),
            snat_pools: stats.pools.into_iter().map(snat_pool).collect(),
            // Read apart, if they are asked for.
            rules: Vec::new(),
            services: stats.services.into_iter().map(service).collect(),
        }
    }
}

fn service(stats: ServiceStats) -> proto::ServiceStats {
    let backend = |backend: &Backend| proto::BackendStats {
        address: backend.end.addr.to_string(),
        port: backend.end.port.into(),
        state: convert::service::backend_state(backend.state).into(),
        healthy: backend.is_healthy,
        takes_flows: backend.takes_flows,
    };
    proto::ServiceStats {
        name: stats.name.to_string(),
        backends: stats.backends.iter().map(backend).collect(),
        starved: stats.is_starved,
        table_bytes: stats.table_bytes as u64,
    }
}

fn flow_table(stats: &FlowStats) -> proto::FlowTableStats {
    let (usage, memory) = (&stats.usage, &stats.memory);
    let pages = match memory.pages {
        Pages::Reserved2M => proto::Pages::Reserved2m,
        Pages::Transparent2M => proto::Pages::Transparent2m,
        Pages::Mixed => proto::Pages::Mixed,
        Pages::Small4K => proto::Pages::Small4k,
    };
    proto::FlowTableStats {
        used: usage.used.into(),
        limit: usage.limit.unwrap_or_default().into(),
        half_open: usage.half_open.into(),
        high_water: usage.high_water.into(),
        refused: usage.refused,
        evicted: usage.evicted,
        memory_bytes: memory.bytes as u64,
        pages: pages.into(),
        huge_bytes: memory.huge_bytes as u64,
        numa_node: memory.node,
    }
}

fn flows(usage: &Usage) -> proto::FlowUsage {
    proto::FlowUsage {
        used: usage.used.into(),
        limit: usage.limit.map(Into::into),
        half_open: usage.half_open.into(),
        high_water: usage.high_water.into(),
        refused: usage.refused,
        evicted: usage.evicted,
    }
}

fn snat_pool(stats: PoolStats) -> proto::SnatPoolStats {
    let usage = stats.usage;
    let ports = |transport: Transport| proto::SnatPortUsage {
        transport: transport.name().into(),
        used: usage.used[transport as usize],
        high_water: usage.high_water[transport as usize],
    };
    proto::SnatPoolStats {
        name: stats.name.to_string(),
        limit: usage.limit,
        ports: Transport::ALL.map(ports).into(),
        refused: usage.refused,
        alarmed: usage.is_alarmed,
        alarms: usage.alarms,
    }
}

fn vrf(stats: VrfStats) -> proto::VrfStats {
    proto::VrfStats {
        name: stats.name.to_string(),
        flows: Some(flows(&stats.flows)),
    }
}

fn fragments(usage: fragments::Usage, limits: Limits) -> proto::FragmentUsage {
    proto::FragmentUsage {
        datagrams: usage.datagrams,
        datagrams_limit: limits.datagrams,
        held_packets: usage.held_packets,
        held_packets_limit: limits.held_packets,
        held_bytes: usage.held_bytes,
        held_bytes_limit: limits.held_bytes,
    }
}

/// `limits` are those of tenants' fragments and of tunnel packets'.
fn worker(stats: WorkerStats, limits: (Limits, Limits)) -> proto::WorkerStats {
    proto::WorkerStats {
        core: stats.core as u32,
        packets: stats.packets,
        busy_rounds: stats.busy_rounds,
        idle_rounds: stats.idle_rounds,
        fragments: Some(fragments(stats.fragments, limits.0)),
        reassembly: Some(fragments(stats.reassembly, limits.1)),
        busy_ns: stats.busy.as_nanos() as u64,
        batches: stats.batches.to_vec(),
        latency: Some(latency(&stats.latency)),
    }
}

fn latency(stats: &Latency) -> proto::LatencyStats {
    proto::LatencyStats {
        samples: stats.samples,
        sum_ns: stats.sum_ns,
        p50_ns: stats.p50_ns,
        p99_ns: stats.p99_ns,
        p999_ns: stats.p999_ns,
        max_ns: stats.max_ns,
        up_to: stats.up_to.to_vec(),
    }
}

fn vif(stats: VifStats) -> proto::VifStats {
    let totals = &stats.totals;
    let drop = |(reason, packets): (dataplane::DropReason, u64)| proto::DropCount {
        reason: reason.name().into(),
        packets,
    };
    proto::VifStats {
        name: stats.name.to_string(),
        role: convert::role(stats.role).into(),
        link_up: stats.link.up,
        link_speed_mbps: stats.link.speed_mbps,
        rx_packets: totals.rx_packets,
        rx_bytes: totals.rx_bytes,
        tx_packets: totals.tx_packets,
        tx_bytes: totals.tx_bytes,
        consumed: totals.consumed,
        originated: totals.originated,
        errors_withheld: totals.errors_withheld,
        ecn_dubious: totals.ecn_dubious,
        drops: totals.drops().map(drop).collect(),
        device: Some(proto::DeviceStats {
            rx_missed: stats.device.rx_missed,
            rx_errors: stats.device.rx_errors,
            rx_no_buffer: stats.device.rx_no_mbuf,
            rx_oversized: stats.device.rx_oversized,
            tx_errors: stats.device.tx_errors,
        }),
        flows: Some(flows(&stats.flows)),
    }
}
