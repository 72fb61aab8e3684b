//! `Capture`: what workers see, on its way to a client.
//!
//! A client that reads too slowly fills its channel, then the workers' rings, which count what finds
//! no room; after [`PATIENCE`] it is cut off. Workers notice nothing but that their ring is full.

use std::collections::HashMap;
use std::time::Duration;

use dataplane::Tables;
use dataplane::observe::capture::{Counts, MAX_SNAP_LEN, Seeing, Wanted, Way};
use dataplane::observe::filter::{Instruction, Program};
use dataplane::snapshot::Watcher;
use dataplane::tables::VifId;
use dataplane::tables::spec::Name;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::SendTimeoutError;
use tonic::Status;

use crate::proto;

/// Longest time that a client may leave its channel full.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the rings.
const PAUSE: Duration = Duration::from_millis(20);
/// Packets in one message.
const PACKETS_PER_MESSAGE: usize = 256;
/// Bytes of packets after which a message ends.
const BYTES_PER_MESSAGE: usize = 1 << 20;
/// Vifs that one capture may name: workers compare each.
const MAX_VIFS: usize = 64;
/// Default snap length: the longest headers.
const SNAP_LEN: u32 = 262;
/// Default packets in a second and worker.
const RATE: u32 = 10_000;
/// Each worker's ring: a fifth of a second of the default rate at the default snap length.
const RING_BYTES: usize = 1 << 20;

/// What a request asks for.
///
/// # Errors
/// What is wrong with it.
pub(super) fn wanted(request: &proto::CaptureRequest, tables: &Tables) -> Result<Wanted, String> {
    if request.vifs.len() > MAX_VIFS {
        return Err(format!("vifs: a capture names at most {MAX_VIFS} vifs"));
    }
    for vif in &request.vifs {
        if tables.vif_named(vif).is_none() {
            return Err(format!("vifs: there is no vif {vif}"));
        }
    }
    let in_range = |field: &str, value: u32, min: u32, max: u32| match (min..=max).contains(&value)
    {
        true => Ok(value),
        false => Err(format!("{field}: {value} is out of range, {min} to {max}")),
    };
    let snap_len = request.snap_len.unwrap_or(SNAP_LEN);
    let snap_len = in_range("snap_len", snap_len, 14, MAX_SNAP_LEN as u32)? as usize;
    let rate = in_range("max_rate", request.max_rate.unwrap_or(RATE), 1, 1_000_000)?;
    let direction = proto::CaptureDirection::try_from(request.direction)
        .map_err(|_| "direction: there is no such direction".to_owned())?;
    Ok(Wanted {
        vifs: request
            .vifs
            .iter()
            .map(|name| Name::from(&**name))
            .collect(),
        rx: direction != proto::CaptureDirection::Tx,
        tx: direction != proto::CaptureDirection::Rx,
        filter: program(&request.filter)?,
        snap_len,
        rate,
        // Some packets of any length fit.
        ring_bytes: RING_BYTES.max(snap_len * 16),
    })
}

/// The filter, if there is one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn program(filter: &[proto::BpfInstruction]) -> Result<Option<Program>, String> {
    if filter.is_empty() {
        return Ok(None);
    }
    let instruction = |written: &proto::BpfInstruction| {
        Some(Instruction {
            code: written.code.try_into().ok()?,
            jump_true: written.jump_true.try_into().ok()?,
            jump_false: written.jump_false.try_into().ok()?,
            operand: written.operand,
        })
    };
    let instructions: Option<Vec<_>> = filter.iter().map(instruction).collect();
    let instructions = instructions.ok_or("filter: a code or jump is out of range, 0 to 255")?;
    let program = Program::new(instructions).map_err(|error| format!("filter: {error}"))?;
    Ok(Some(program))
}

/// Sends what workers see until the client has gone, the daemon stops, or the client does not read.
pub(super) async fn run(
    mut seeing: Vec<Seeing>,
    tables: Watcher<Tables>,
    sender: Sender<Result<proto::CaptureResponse, Status>>,
) {
    let mut names = Names::default();
    let mut told = None;
    loop {
        let response = gather(&mut seeing, &tables, &mut names);
        let is_idle = response.packets.is_empty();
        if !is_idle || told != Some(response.counts) {
            told = Some(response.counts);
            match send(&sender, response).await {
                Sent::Yes => {}
                Sent::Gone => return,
                Sent::Stuck => {
                    // The workers are rid of it, however long it takes to hear why.
                    drop(seeing);
                    return cut_off(sender).await;
                }
            }
        }
        if is_idle {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
        }
    }
}

/// What became of a message.
pub(super) enum Sent {
    /// It is on its way.
    Yes,
    /// The client has gone.
    Gone,
    /// The client does not read.
    Stuck,
}

/// Sends a message to a client that may be slow, but not too slow.
pub(super) async fn send<T>(sender: &Sender<Result<T, Status>>, response: T) -> Sent {
    match sender.send_timeout(Ok(response), PATIENCE).await {
        Ok(()) => Sent::Yes,
        Err(SendTimeoutError::Closed(_)) => Sent::Gone,
        Err(SendTimeoutError::Timeout(_)) => Sent::Stuck,
    }
}

/// Tells a client that did not read, behind what it has not read yet; waits until it does, or has gone.
pub(super) async fn cut_off<T>(sender: Sender<Result<T, Status>>) {
    tracing::info!("a client that does not read was cut off");
    let patience = PATIENCE.as_secs();
    let status = format!("cut off: nothing was read for {patience} s");
    _ = sender.send(Err(Status::resource_exhausted(status))).await;
}

/// What is there, in the order in which it was seen.
fn gather(
    seeing: &mut [Seeing],
    tables: &Watcher<Tables>,
    names: &mut Names,
) -> proto::CaptureResponse {
    let mut packets = Vec::new();
    let mut counts = Counts::default();
    let mut bytes = 0;
    for worker in seeing {
        while packets.len() < PACKETS_PER_MESSAGE && bytes < BYTES_PER_MESSAGE {
            let Some(seen) = worker.take() else { break };
            bytes += seen.bytes.len();
            packets.push(proto::CapturedPacket {
                time_ns: seen.at_ns,
                vif: names.of(seen.vif, tables),
                direction: match seen.way {
                    Way::Rx => proto::CaptureDirection::Rx,
                    Way::Tx => proto::CaptureDirection::Tx,
                }
                .into(),
                len: seen.len,
                data: seen.bytes,
            });
        }
        counts += worker.counts();
    }
    packets.sort_by_key(|packet| packet.time_ns);
    let counts = proto::CaptureCounts {
        accepted: counts.accepted,
        over_rate: counts.over_rate,
        no_room: counts.no_room,
    };
    proto::CaptureResponse {
        packets,
        counts: Some(counts),
    }
}

/// Names of vifs by number, as of one generation.
#[derive(Default)]
struct Names {
    generation: u64,
    known: HashMap<VifId, String>,
}

impl Names {
    fn of(&mut self, vif: VifId, tables: &Watcher<Tables>) -> String {
        let tables = tables.current();
        if self.generation != tables.generation() {
            self.generation = tables.generation();
            // One that has just gone keeps its name, if nobody else has its number.
            let live = tables.vifs().map(|vif| (vif.id, vif.name.to_string()));
            self.known.extend(live);
        }
        let name = self.known.entry(vif);
        name.or_insert_with(|| format!("vif {}, which is gone", vif.0))
            .clone()
    }
}
