//! `Explain`: what becomes of a packet, by the configuration in force, an older one, or one that might
//! come.

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::decide::End;
use dataplane::engine::Engine;
use dataplane::explain::frame::{self, Origin, Tuple};
use dataplane::explain::{Account, Packet, Setting, Verdict, explain};
use dataplane::tables::Tables;
use dataplane::tables::spec::Name;
use encap::{Buffer, protocol};
use flowtable::{FlowTable, FlowView, Ticks, WalkCursor};
use tonic::Status;

use super::apply;
use crate::convert;
use crate::flows::Filter;
use crate::proto::explain_request::Question;
use crate::proto::{self, ExplainRequest, ExplainResponse, Refusal};

/// Packets in one question.
const MAX_PACKETS: usize = 64;
/// Bytes of one.
const MAX_LEN: usize = 65_535;
/// Places of the flow table looked at between two chances for others to run.
const STEP: usize = 4096;

/// Ports of a packet about whose ports nothing is said.
const SRC_PORT: u32 = 40_000;
const DST_PORT: u32 = 80;

/// What an explanation may look at.
pub(super) struct State {
    tables: Arc<Tables>,
    /// Oldest first.
    older: Vec<Arc<Tables>>,
    flows: Arc<FlowTable>,
    now: Ticks,
    icmp_errors_per_second: u32,
}

impl State {
    /// Of an engine as it is now.
    pub(super) fn of<B: Buffer + Send + 'static>(engine: &mut Engine<B>) -> State {
        State {
            tables: engine.tables(),
            older: engine.history().cloned().collect(),
            flows: engine.flows().clone(),
            now: engine.now(),
            icmp_errors_per_second: engine.icmp_errors_per_second(),
        }
    }

    fn held(&self) -> Vec<u64> {
        let all = self.older.iter().chain([&self.tables]);
        let mut held: Vec<u64> = all.map(|tables| tables.generation()).collect();
        held.dedup(); // what checks find out makes snapshots and no generations
        held
    }
}

/// Answers a question.
///
/// # Errors
/// INVALID_ARGUMENT and NOT_FOUND, with a sentence.
pub(super) fn run(request: &ExplainRequest, state: &State) -> Result<ExplainResponse, Status> {
    let tables = match (&request.candidate, request.generation) {
        (Some(_), Some(_)) => {
            let both = "a candidate is of the generation in force: leave generation away";
            return Err(Status::invalid_argument(both));
        }
        (Some(candidate), None) => match foresee(candidate, &state.tables) {
            Ok(tables) => Arc::new(tables),
            Err(refusals) => return Ok(refused(&refusals, state)),
        },
        (None, Some(generation)) => find(state, generation)?,
        (None, None) => state.tables.clone(),
    };
    let packets = packets(request, &tables, &state.flows)?;
    let setting = Setting {
        tables: &tables,
        flows: &state.flows,
        now: state.now,
        icmp_errors_per_second: state.icmp_errors_per_second,
    };
    let accounts = explain(&setting, &packets);
    Ok(ExplainResponse {
        generation: tables.generation(),
        packets: accounts.into_iter().map(written).collect(),
        refusals: vec![],
        held_generations: state.held(),
    })
}

/// The newest configuration of a generation.
fn find(state: &State, generation: u64) -> Result<Arc<Tables>, Status> {
    let mut all = [&state.tables].into_iter().chain(state.older.iter().rev());
    let found = all.find(|tables| tables.generation() == generation);
    found.cloned().ok_or_else(|| {
        let held: Vec<String> = state.held().iter().map(ToString::to_string).collect();
        let held = held.join(", ");
        Status::not_found(format!(
            "generation {generation} is not held any more; those held are {held}"
        ))
    })
}

fn foresee(candidate: &proto::Candidate, tables: &Tables) -> Result<Tables, Vec<Refusal>> {
    let mode = match candidate.replace {
        true => proto::Mode::Replace,
        false => proto::Mode::Merge,
    };
    let request = apply::check(&proto::ApplyRequest {
        changes: candidate.changes.clone(),
        owner: candidate.owner.clone(),
        mode: mode.into(),
        dry_run: true,
        ..Default::default()
    })?;
    let foreseen = tables.foresee(&request);
    let (next, _) = foreseen.map_err(|refusals| {
        let refusals = refusals.iter();
        refusals
            .map(|it| convert::refusal(it, None))
            .collect::<Vec<_>>()
    })?;
    Ok(next)
}

fn refused(refusals: &[Refusal], state: &State) -> ExplainResponse {
    let refusals = refusals.iter().map(|refusal| {
        let key = refusal
            .object
            .as_ref()
            .and_then(|key| convert::key(key).ok());
        proto::CandidateRefusal {
            object: key.map(|key| key.to_string()).unwrap_or_default(),
            field: refusal.field.clone(),
            reason: refusal.reason.clone(),
        }
    });
    ExplainResponse {
        generation: state.tables.generation(),
        packets: vec![],
        refusals: refusals.collect(),
        held_generations: state.held(),
    }
}

/// The packets that are asked about.
fn packets(
    request: &ExplainRequest,
    tables: &Tables,
    flows: &FlowTable,
) -> Result<Vec<Packet>, Status> {
    match &request.question {
        None => Err(Status::invalid_argument(
            "nothing is asked: say tuple, packets or flow",
        )),
        Some(Question::Packets(packets)) => arriving(packets, tables),
        Some(Question::Tuple(written)) => {
            let made = tuple(written, tables);
            let made = made.and_then(|(origin, tuple)| frame::of_tuple(tables, &origin, &tuple));
            Ok(vec![made.map_err(Status::invalid_argument)?])
        }
        Some(Question::Flow(asked)) => {
            let filter = asked.filter.clone().unwrap_or_default();
            let filter = Filter::new(&filter, tables).map_err(Status::invalid_argument)?;
            let flow = first(flows, &filter);
            let flow = flow.ok_or_else(|| Status::not_found("no live flow matches"))?;
            let made = frame::of_flow(tables, &flow, !asked.reply);
            Ok(vec![made.map_err(Status::invalid_argument)?])
        }
    }
}

fn arriving(packets: &proto::Packets, tables: &Tables) -> Result<Vec<Packet>, Status> {
    let vif: Name = packets.vif.as_str().into();
    if tables.vif_named(&vif).is_none() {
        return Err(Status::invalid_argument(format!("there is no vif `{vif}`")));
    }
    let fit = packets.frames.iter().all(|frame| frame.len() <= MAX_LEN);
    if packets.frames.is_empty() || packets.frames.len() > MAX_PACKETS || !fit {
        return Err(Status::invalid_argument(format!(
            "wants 1 to {MAX_PACKETS} packets of up to {MAX_LEN} bytes"
        )));
    }
    let packet = |frame: &Vec<u8>| Packet {
        vif: vif.clone(),
        frame: frame.clone(),
    };
    Ok(packets.frames.iter().map(packet).collect())
}

/// The first flow that matches.
fn first(flows: &FlowTable, filter: &Filter) -> Option<FlowView> {
    let mut cursor = WalkCursor::default();
    let mut found = None;
    while !cursor.is_done() && found.is_none() {
        flows.walk(&mut cursor, STEP, |flow| {
            if found.is_none() && filter.matches(flow) {
                found = Some(*flow);
            }
        });
    }
    found
}

fn tuple(written: &proto::TuplePacket, tables: &Tables) -> Result<(Origin, Tuple), String> {
    let dst = address("dst_addr", &written.dst_addr)?;
    let origin = match (&written.vif, &written.remote, &written.vrf) {
        (Some(vif), None, _) => Origin::Vif(vif.as_str().into()),
        (None, Some(remote), Some(vrf)) => Origin::Tunnel {
            remote: address("remote", remote)?,
            vrf: vrf.as_str().into(),
        },
        _ => return Err("say where it comes from: vif, or remote and vrf".into()),
    };
    let src = match (&written.src_addr, &origin) {
        (Some(text), _) => address("src_addr", text)?,
        (None, Origin::Vif(vif)) => own_address(tables, vif, dst)?,
        (None, Origin::Tunnel { .. }) => return Err("src_addr: say who sends it".into()),
    };
    let protocol = match (&written.protocol, dst) {
        (Some(text), _) => convert::protocol_number(text).ok_or(format!(
            "`{text}` is not a protocol; write tcp, udp, sctp, icmp, icmpv6 or a number to 255"
        ))?,
        (None, IpAddr::V4(_)) => protocol::ICMP,
        (None, IpAddr::V6(_)) => protocol::ICMPV6,
    };
    let port = |port: Option<u32>, otherwise| {
        let port = u16::try_from(port.unwrap_or(otherwise));
        port.map_err(|_| "a port is 0 to 65535".to_owned())
    };
    let dst_mac = written.dst_mac.as_ref().map(|text| {
        let mac = text
            .parse()
            .map_err(|_| format!("dst_mac: `{text}` is not a MAC"));
        mac as Result<encap::MacAddr, String>
    });
    let (src_port, dst_port) = (
        port(written.src_port, SRC_PORT)?,
        port(written.dst_port, DST_PORT)?,
    );
    let end = |addr, port| End { addr, port };
    let tuple = Tuple {
        protocol,
        src: end(src, src_port),
        dst: end(dst, dst_port),
        dst_mac: dst_mac.transpose()?,
        is_later: written.later,
    };
    Ok((origin, tuple))
}

/// The first address of a vif that is of the same IP version.
fn own_address(tables: &Tables, vif: &str, dst: IpAddr) -> Result<IpAddr, String> {
    let found = tables.vif_named(vif);
    let found = found.ok_or_else(|| format!("there is no vif `{vif}`"))?;
    let mut own = found.addresses.iter().map(|net| net.addr());
    let own = own.find(|addr| addr.is_ipv4() == dst.is_ipv4());
    own.ok_or_else(|| format!("vif {vif} has no address of that IP version: say src_addr"))
}

fn address(field: &str, text: &str) -> Result<IpAddr, String> {
    let addr = text.parse();
    addr.map_err(|_| format!("{field}: `{text}` is not an IP address; write one like 10.1.0.9"))
}

fn written(account: Account) -> proto::PacketAccount {
    let (verdict, reason) = match account.verdict {
        Verdict::Sent => (proto::PacketVerdict::Sent, ""),
        Verdict::Dropped(reason) => (proto::PacketVerdict::Dropped, reason.name()),
        Verdict::Consumed => (proto::PacketVerdict::Consumed, ""),
        Verdict::Waits => (proto::PacketVerdict::Waits, ""),
    };
    let steps = account.steps.into_iter().map(|step| proto::ExplainStep {
        stage: step.stage.into(),
        text: step.text,
        objects: step.objects.iter().map(mentioned).collect(),
        rejected: step.rejected,
    });
    let sent = account.sent.into_iter().map(|sent| proto::SentFrame {
        vif: sent.vif.to_string(),
        frame: sent.frame,
        outer_len: sent.outer_len as u32,
    });
    proto::PacketAccount {
        vif: account.packet.vif.to_string(),
        frame: account.packet.frame,
        verdict: verdict.into(),
        reason: reason.into(),
        steps: steps.collect(),
        sent: sent.collect(),
    }
}

fn mentioned(mention: &dataplane::explain::Mention) -> proto::ObjectMention {
    proto::ObjectMention {
        key: Some((&mention.key).into()),
        rule: mention.rule,
        since_generation: mention.generation,
    }
}
