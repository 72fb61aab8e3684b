//! `Stats`: the engine's counters in the words of the protocol.

use dataplane::engine::{Stats, VifStats, WorkerStats};

use crate::convert;
use crate::proto;

impl From<Stats> for proto::StatsResponse {
    fn from(stats: Stats) -> Self {
        proto::StatsResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            generation: stats.generation,
            uptime_ms: stats.uptime.as_millis() as u64,
            workers: stats.workers.into_iter().map(worker).collect(),
            vifs: stats.vifs.into_iter().map(vif).collect(),
            flow_table: Some(proto::FlowTableStats {
                used: stats.flows.used as u64,
                limit: stats.flows.limit as u64,
                high_water: stats.flows.high_water as u64,
                refused: stats.flows.refused as u64,
                memory_bytes: stats.flows.memory_bytes as u64,
            }),
        }
    }
}

fn worker(stats: WorkerStats) -> proto::WorkerStats {
    proto::WorkerStats {
        core: stats.core as u32,
        packets: stats.packets,
        busy_rounds: stats.busy_rounds,
        idle_rounds: stats.idle_rounds,
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
        drops: totals.drops().map(drop).collect(),
        device: Some(proto::DeviceStats {
            rx_missed: stats.device.rx_missed,
            rx_errors: stats.device.rx_errors,
            rx_no_buffer: stats.device.rx_no_mbuf,
            rx_oversized: stats.device.rx_oversized,
            tx_errors: stats.device.tx_errors,
        }),
    }
}
