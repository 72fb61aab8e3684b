//! `DroppedPackets`: the engine's ledger of dropped packets in the words of the protocol.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane::engine::{Dropped, Ledger};
use dataplane::observe::filter::Program;
use tokio::sync::mpsc::Sender;
use tonic::Status;

use super::capture::{self, Sent, cut_off, send};
use crate::proto::{self, DropReason};

/// Between two looks for more.
const PAUSE: Duration = Duration::from_millis(50);
/// Packets in one message.
const PACKETS_PER_MESSAGE: usize = 256;

/// Which packets a client wants.
pub(super) struct Wanted {
    vifs: Vec<String>,
    reasons: Vec<i32>,
    filter: Option<Program>,
    since: Option<SystemTime>,
    after: u64,
    follow: bool,
}

impl Wanted {
    /// What a request asks for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(request: proto::DroppedPacketsRequest) -> Result<Wanted, String> {
        for &number in &request.reasons {
            match DropReason::try_from(number) {
                Ok(DropReason::Unspecified) | Err(_) => {
                    return Err(format!("reasons: {number} is no reason"));
                }
                Ok(_) => {}
            }
        }
        let ago = |ms: u64| SystemTime::now().checked_sub(Duration::from_millis(ms));
        Ok(Wanted {
            filter: capture::program(&request.filter)?,
            since: request.since_ms.map(|ms| ago(ms).unwrap_or(UNIX_EPOCH)),
            vifs: request.vifs,
            reasons: request.reasons,
            after: request.after,
            follow: request.follow,
        })
    }

    fn includes(&self, dropped: &Dropped, reason: DropReason) -> bool {
        let note = &dropped.note;
        let is_of = |vif: &String| **vif == *dropped.vif;
        (self.vifs.is_empty() || self.vifs.iter().any(is_of))
            && (self.reasons.is_empty() || self.reasons.contains(&reason.into()))
            && self.since.is_none_or(|since| dropped.at >= since)
            && self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.accepts(&note.bytes, note.len as usize))
    }
}

/// Sends what is there, and what comes if that is wanted.
pub(super) async fn run(
    ledger: Arc<Ledger>,
    wanted: Wanted,
    sender: Sender<Result<proto::DroppedPacketsResponse, Status>>,
) {
    let mut after = wanted.after;
    loop {
        let (found, next) = ledger.after(after, PACKETS_PER_MESSAGE);
        let is_all = found.len() < PACKETS_PER_MESSAGE;
        after = next;
        let packets: Vec<_> = found
            .iter()
            .filter_map(|dropped| {
                let reason = reason(dropped.note.reason);
                wanted
                    .includes(dropped, reason)
                    .then(|| packet(dropped, reason))
            })
            .collect();
        if !packets.is_empty() {
            match send(&sender, proto::DroppedPacketsResponse { packets }).await {
                Sent::Yes => {}
                Sent::Gone => return,
                Sent::Stuck => return cut_off(sender).await,
            }
        }
        if is_all && !wanted.follow {
            return;
        }
        if is_all {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = sender.closed() => return,
            }
        }
    }
}

/// A reason as the protocol numbers it.
pub(super) fn reason(reason: dataplane::DropReason) -> DropReason {
    let name = format!("DROP_REASON_{}", reason.name().to_uppercase());
    DropReason::from_str_name(&name).unwrap_or_default()
}

fn packet(dropped: &Dropped, reason: DropReason) -> proto::DroppedPacket {
    let (note, cause) = (&dropped.note, &dropped.cause);
    let since = dropped.at.duration_since(UNIX_EPOCH);
    proto::DroppedPacket {
        number: dropped.number,
        time_ns: since.map_or(0, |since| since.as_nanos() as u64),
        worker: dropped.worker as u32,
        vif: dropped.vif.to_string(),
        vrf: dropped.vrf.to_string(),
        tunnel: dropped
            .peer
            .as_ref()
            .map(IpAddr::to_string)
            .unwrap_or_default(),
        reason: reason.into(),
        object: cause.object.clone(),
        rule: cause.rule,
        detail: cause.detail.clone(),
        generation: note.generation,
        passed_over: note.passed_over,
        len: note.len,
        data: note.bytes.clone(),
        translated: note.is_translated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_in_the_protocol() {
        for of_engine in dataplane::DropReason::ALL {
            let named = reason(*of_engine).as_str_name();
            let name = named.strip_prefix("DROP_REASON_").unwrap_or_default();
            assert_eq!(name.to_lowercase(), of_engine.name());
        }
    }
}
