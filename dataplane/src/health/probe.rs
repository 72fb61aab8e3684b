//! One question: a TCP connection opened, for HTTP a request sent and the status read, and reset.
//!
//! As much of TCP (RFC 9293) as that takes: one segment is under way at a time and is sent again until
//! it is answered; of the answer the first bytes are taken in order, and no more than the status line
//! is read. The connection ends with a reset either way: nothing is left open on the backend.

use std::sync::Arc;

use arrayvec::ArrayVec;
use encap::tcp::{ACK, FIN, PSH, RST, SYN};

use super::{HEAD, Heard, Segment};
use crate::decide::End;
use crate::tables::VrfId;
use crate::tables::spec::{self, HealthCheck};

/// A question under way.
pub(super) struct Probe {
    vrf: VrfId,
    src: End,
    dst: End,
    /// Our next sequence number, and theirs.
    next: u32,
    expected: u32,
    state: State,
    /// Of the answer.
    head: ArrayVec<u8, HEAD>,
    request: Arc<[u8]>,
    /// Statuses that are good.
    status: (u16, u16),
    resend_at: u64,
    resend_ms: u64,
    deadline: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Opening,
    Asked,
}

/// Sent again so often before the time is up.
const TRIES: u64 = 4;

impl Probe {
    /// Sends the first segment. `sequence` is where ours begin.
    pub(super) fn start(
        (vrf, src, dst): (VrfId, End, End),
        health: &HealthCheck,
        sequence: u32,
        now: u64,
        out: &mut Vec<Segment>,
    ) -> Probe {
        let (request, status) = match &health.probe {
            spec::Probe::Tcp => (Arc::default(), (0, 0)),
            spec::Probe::Http { path, host, status } => {
                (request(path, host.as_deref(), dst).into(), *status)
            }
        };
        let timeout_ms = u64::from(health.timeout_ms);
        let resend_ms = (timeout_ms / TRIES).max(1);
        let probe = Probe {
            vrf,
            src,
            dst,
            next: sequence,
            expected: 0,
            state: State::Opening,
            head: ArrayVec::new(),
            request,
            status,
            resend_at: now + resend_ms,
            resend_ms,
            deadline: now + timeout_ms,
        };
        out.push(probe.current());
        probe
    }

    /// Takes what came back; whether the backend is good, once that is known.
    pub(super) fn hear(&mut self, heard: &Heard, out: &mut Vec<Segment>) -> Option<bool> {
        if heard.flags & RST != 0 {
            // Of our own connection only: it acknowledges what was sent (RFC 9293 §3.10.7.3), or
            // comes in order.
            let is_ours = match self.state {
                State::Opening => heard.acknowledgment == self.next.wrapping_add(1),
                State::Asked => heard.sequence == self.expected,
            };
            return is_ours.then_some(false);
        }
        match self.state {
            State::Opening => self.opened(heard, out),
            State::Asked => self.answered(heard, out),
        }
    }

    /// Sends again what was not answered; false once the time is up.
    pub(super) fn wait(&mut self, now: u64, out: &mut Vec<Segment>) -> Option<bool> {
        if now >= self.deadline {
            if self.state == State::Asked {
                self.reset(out);
            }
            return Some(false);
        }
        if now >= self.resend_at {
            self.resend_at = now + self.resend_ms;
            out.push(self.current());
        }
        None
    }

    fn opened(&mut self, heard: &Heard, out: &mut Vec<Segment>) -> Option<bool> {
        let is_answer = heard.flags & (SYN | ACK) == SYN | ACK
            && heard.acknowledgment == self.next.wrapping_add(1);
        if !is_answer {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        self.expected = heard.sequence.wrapping_add(1);
        if self.request.is_empty() {
            self.reset(out);
            return Some(true);
        }
        self.state = State::Asked;
        out.push(self.current());
        None
    }

    fn answered(&mut self, heard: &Heard, out: &mut Vec<Segment>) -> Option<bool> {
        if heard.sequence != self.expected {
            return None; // it will come again, in order
        }
        let room = HEAD - self.head.len();
        let taken = heard.head.len().min(room);
        self.head.extend(heard.head.iter().copied().take(taken));
        self.expected = self.expected.wrapping_add(taken as u32);
        let verdict = match self.status_line() {
            Some(is_good) => is_good,
            None if heard.flags & FIN != 0 && taken as u32 == heard.len => false,
            None => {
                if taken > 0 {
                    let answer = self.segment(ACK, self.sent(), Arc::default());
                    out.push(answer);
                }
                return None;
            }
        };
        self.reset(out);
        Some(verdict)
    }

    /// Whether the status is a good one, once it is read (RFC 9112 §4: `HTTP/1.1 200`).
    fn status_line(&self) -> Option<bool> {
        let (version, status) = (self.head.get(..9)?, self.head.get(9..12)?);
        let is_http = version.starts_with(b"HTTP/1.") && version[8] == b' ';
        let number = std::str::from_utf8(status)
            .ok()
            .and_then(|it| it.parse().ok());
        let (least, most) = self.status;
        Some(is_http && number.is_some_and(|it: u16| (least..=most).contains(&it)))
    }

    /// What is under way.
    fn current(&self) -> Segment {
        match self.state {
            State::Opening => self.segment(SYN, self.next, Arc::default()),
            State::Asked => self.segment(PSH | ACK, self.next, self.request.clone()),
        }
    }

    fn reset(&self, out: &mut Vec<Segment>) {
        out.push(self.segment(RST | ACK, self.sent(), Arc::default()));
    }

    /// The sequence number after all that was sent.
    fn sent(&self) -> u32 {
        self.next.wrapping_add(self.request.len() as u32)
    }

    fn segment(&self, flags: u8, sequence: u32, payload: Arc<[u8]>) -> Segment {
        Segment {
            vrf: self.vrf,
            src: self.src,
            dst: self.dst,
            sequence,
            acknowledgment: self.expected,
            flags,
            payload,
        }
    }
}

/// An HTTP request (RFC 9112 §3) that wants no connection kept.
fn request(path: &str, host: Option<&str>, dst: End) -> Vec<u8> {
    let own = match dst.addr {
        std::net::IpAddr::V4(addr) => format!("{addr}:{}", dst.port),
        std::net::IpAddr::V6(addr) => format!("[{addr}]:{}", dst.port),
    };
    let host = host.unwrap_or(&own);
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: vrouter-health\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}
