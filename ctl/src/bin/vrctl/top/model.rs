//! What two readings say together: rates.

use std::collections::HashMap;
use std::time::Instant;

use ctl::files::short_name;
use ctl::proto::{DroppedPacket, Flow, FlowSide, LatencyStats, StatsResponse, VifStats};

use crate::dropped;

/// What the daemon said at one time.
pub(super) struct Reading {
    pub(super) at: Instant,
    pub(super) stats: StatsResponse,
    pub(super) flows: Vec<Flow>,
    /// Of the last seconds.
    pub(super) dropped: Vec<DroppedPacket>,
}

/// The last two readings.
pub(super) struct Model {
    pub(super) now: Reading,
    before: Option<Reading>,
}

pub(super) struct Worker {
    pub(super) core: u32,
    /// Share of its time.
    pub(super) busy: f64,
    pub(super) pps: f64,
    pub(super) per_batch: f64,
    pub(super) latency: LatencyStats,
}

pub(super) struct Vif {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) is_up: bool,
    pub(super) rx_pps: f64,
    pub(super) rx_bps: f64,
    pub(super) tx_pps: f64,
    pub(super) tx_bps: f64,
    pub(super) drops: f64,
    pub(super) flows: u64,
}

pub(super) struct Drops {
    pub(super) reason: String,
    pub(super) vif: String,
    pub(super) rate: f64,
    pub(super) total: u64,
    /// Of the latest that was noted.
    pub(super) cause: String,
}

pub(super) struct TopFlow {
    pub(super) vrf: String,
    pub(super) protocol: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) state: String,
    pub(super) pps: f64,
    pub(super) bps: f64,
}

impl Model {
    pub(super) fn new(now: Reading) -> Model {
        Model { now, before: None }
    }

    pub(super) fn add(&mut self, now: Reading) {
        self.before = Some(std::mem::replace(&mut self.now, now));
    }

    /// Between the readings, in seconds.
    fn elapsed(&self) -> f64 {
        let before = self.before.as_ref();
        let elapsed = before.map_or(1.0, |before| (self.now.at - before.at).as_secs_f64());
        elapsed.max(0.001)
    }

    pub(super) fn workers(&self) -> Vec<Worker> {
        let elapsed = self.elapsed();
        let before = self.before.as_ref();
        let before: HashMap<u32, _> = before
            .iter()
            .flat_map(|before| before.stats.workers.iter().map(|it| (it.core, it)))
            .collect();
        let workers = self.now.stats.workers.iter();
        workers
            .map(|worker| {
                let then = before.get(&worker.core);
                let more =
                    |value: u64, then: Option<u64>| value.saturating_sub(then.unwrap_or(value));
                let packets = more(worker.packets, then.map(|it| it.packets)) as f64;
                let rounds = more(worker.busy_rounds, then.map(|it| it.busy_rounds)) as f64;
                let busy = more(worker.busy_ns, then.map(|it| it.busy_ns)) as f64;
                Worker {
                    core: worker.core,
                    busy: (busy / 1e9 / elapsed).min(1.0),
                    pps: packets / elapsed,
                    per_batch: packets / rounds.max(1.0),
                    latency: worker.latency.clone().unwrap_or_default(),
                }
            })
            .collect()
    }

    pub(super) fn vifs(&self) -> Vec<Vif> {
        let elapsed = self.elapsed();
        let before = self.vifs_before();
        let vifs = self.now.stats.vifs.iter();
        vifs.map(|vif| {
            let then = before.get(&vif.name[..]).copied().unwrap_or(vif);
            let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / elapsed;
            Vif {
                name: vif.name.clone(),
                role: short_name("Role", vif.role().as_str_name()),
                is_up: vif.link_up,
                rx_pps: rate(vif.rx_packets, then.rx_packets),
                rx_bps: 8.0 * rate(vif.rx_bytes, then.rx_bytes),
                tx_pps: rate(vif.tx_packets, then.tx_packets),
                tx_bps: 8.0 * rate(vif.tx_bytes, then.tx_bytes),
                drops: rate(all_drops(vif), all_drops(then)),
                flows: vif.flows.unwrap_or_default().used,
            }
        })
        .collect()
    }

    pub(super) fn drops(&self) -> Vec<Drops> {
        let elapsed = self.elapsed();
        let before = self.vifs_before();
        let mut drops = Vec::new();
        for vif in &self.now.stats.vifs {
            for drop in &vif.drops {
                let then = before.get(&vif.name[..]).map(|then| {
                    let mut same = then.drops.iter();
                    let same = same.find(|then| then.reason == drop.reason);
                    same.map_or(0, |then| then.packets)
                });
                let more = drop.packets.saturating_sub(then.unwrap_or(drop.packets));
                drops.push(Drops {
                    reason: drop.reason.clone(),
                    vif: vif.name.clone(),
                    rate: more as f64 / elapsed,
                    total: drop.packets,
                    cause: self.cause(&drop.reason, &vif.name),
                });
            }
        }
        drops.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.total.cmp(&a.total)));
        drops
    }

    fn cause(&self, reason: &str, vif: &str) -> String {
        let mut latest = self.now.dropped.iter().rev();
        let found = latest.find(|it| it.vif == vif && dropped::name_of(it) == reason);
        found.map(dropped::cause).unwrap_or_default()
    }

    /// Flows with traffic between the readings.
    pub(super) fn flows(&self) -> Vec<TopFlow> {
        let elapsed = self.elapsed();
        let before = self.before.as_ref();
        let before: HashMap<_, _> = before
            .iter()
            .flat_map(|before| &before.flows)
            .filter_map(|flow| Some((key(flow)?, counted(flow))))
            .collect();
        let flows = self.now.flows.iter().filter_map(|flow| {
            let forward = flow.forward.as_ref()?;
            let (packets, bytes) = counted(flow);
            // A new one has had all its packets since.
            let then = match self.before {
                Some(_) => before.get(&key(flow)?).copied().unwrap_or_default(),
                None => (packets, bytes),
            };
            Some(TopFlow {
                vrf: forward.vrf.clone(),
                protocol: forward.protocol.clone(),
                from: endpoint(&forward.src_addr, forward.src_port),
                to: endpoint(&forward.dst_addr, forward.dst_port),
                state: flow.state.clone(),
                pps: packets.saturating_sub(then.0) as f64 / elapsed,
                bps: 8.0 * bytes.saturating_sub(then.1) as f64 / elapsed,
            })
        });
        flows.filter(|flow| flow.pps > 0.0).collect()
    }

    fn vifs_before(&self) -> HashMap<&str, &VifStats> {
        let before = self.before.iter().flat_map(|before| &before.stats.vifs);
        before.map(|vif| (&vif.name[..], vif)).collect()
    }
}

type Key<'a> = (&'a str, &'a str, &'a str, u32, &'a str, u32);

fn key(flow: &Flow) -> Option<Key<'_>> {
    let side = flow.forward.as_ref()?;
    let (src, dst) = (&side.src_addr, &side.dst_addr);
    Some((
        &side.vrf,
        &side.protocol,
        src,
        side.src_port,
        dst,
        side.dst_port,
    ))
}

/// Packets and bytes of both directions.
fn counted(flow: &Flow) -> (u64, u64) {
    let sides = [&flow.forward, &flow.reverse].into_iter().flatten();
    let both = |of: fn(&FlowSide) -> u64| sides.clone().map(of).sum();
    (both(|side| side.packets), both(|side| side.bytes))
}

fn all_drops(vif: &VifStats) -> u64 {
    vif.drops.iter().map(|drop| drop.packets).sum()
}

fn endpoint(addr: &str, port: u32) -> String {
    match addr.contains(':') {
        true => format!("[{addr}]:{port}"),
        false => format!("{addr}:{port}"),
    }
}
