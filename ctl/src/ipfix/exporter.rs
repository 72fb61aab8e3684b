//! The thread that sends records.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use dataplane::sessions::Ended;
use tracing::{info, warn};

use super::message::Message;
use super::record::Record;
use super::rules::Rules;

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The collector.
    pub collector: SocketAddr,
    /// The observation domain of all messages.
    pub domain: u32,
    /// From one sending of the templates to the next; a collector that lost them, or began later,
    /// understands nothing before (RFC 7011 §8.4).
    pub template_interval: Duration,
    /// Ended flows that may wait.
    pub queue: usize,
}

/// What became of records.
#[derive(Debug, Default)]
pub struct Totals {
    sent: AtomicU64,
    failed: AtomicU64,
}

/// Sends records until the ledger closes or it is dropped.
pub struct Exporter {
    totals: Arc<Totals>,
}

/// A record waits so long at most for others to share a message with.
const LINGER: Duration = Duration::from_millis(500);

impl Exporter {
    /// Starts the thread. `at_ms` is the time, in milliseconds since 1970, of the engine's
    /// `Ticks(0)`.
    ///
    /// # Errors
    /// No socket or thread could be had.
    pub fn start(
        settings: Settings,
        from: Receiver<Ended>,
        at_ms: u64,
        rules: Rules,
    ) -> std::io::Result<Exporter> {
        let any: SocketAddr = match settings.collector {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(settings.collector)?;
        socket.set_nonblocking(true)?;
        let totals = Arc::<Totals>::default();
        let mut sender = Sender {
            settings,
            socket,
            totals: totals.clone(),
            sequence: 0,
            templates_sent: None,
            is_failing: false,
        };
        thread::Builder::new()
            .name("ipfix".into())
            .spawn(move || sender.run(&from, at_ms, rules))?;
        Ok(Exporter { totals })
    }

    /// What became of records so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }
}

impl Totals {
    /// Records handed to the network.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Records that the network refused.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

struct Sender {
    settings: Settings,
    socket: UdpSocket,
    totals: Arc<Totals>,
    sequence: u32,
    templates_sent: Option<Instant>,
    is_failing: bool,
}

impl Sender {
    fn run(&mut self, from: &Receiver<Ended>, at_ms: u64, mut rules: Rules) {
        let mut message = self.begin();
        let mut due = Instant::now() + LINGER;
        loop {
            match from.recv_deadline(due) {
                Ok(ended) => {
                    let record = Record::new(&ended, at_ms, rules.admitted(&ended.flow));
                    if !message.push(&record) {
                        self.send(message);
                        message = self.begin();
                        due = Instant::now() + LINGER;
                        // A message of nothing else has room for it.
                        message.push(&record);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    rules.refresh();
                    self.send(message);
                    message = self.begin();
                    due = Instant::now() + LINGER;
                }
                Err(RecvTimeoutError::Disconnected) => return self.send(message),
            }
        }
    }

    /// A new message, with the templates when they are due.
    fn begin(&mut self) -> Message {
        let mut message = Message::new();
        let interval = self.settings.template_interval;
        let are_due = |sent: Instant| sent.elapsed() >= interval;
        if self.templates_sent.is_none_or(are_due) {
            message.push_templates();
            self.templates_sent = Some(Instant::now());
        }
        message
    }

    fn send(&mut self, message: Message) {
        if message.is_empty() {
            return;
        }
        let records = message.records();
        let bytes = message.finish(now_s(), self.sequence, self.settings.domain);
        self.sequence = self.sequence.wrapping_add(records);
        let counter = match self.socket.send(&bytes) {
            Ok(_) => {
                self.say(None);
                &self.totals.sent
            }
            Err(error) => {
                // Whoever listens there next knows no templates.
                self.templates_sent = None;
                self.say(Some(&error));
                &self.totals.failed
            }
        };
        counter.fetch_add(records.into(), Ordering::Relaxed);
    }

    /// Says once that it fails, and once that it works again.
    fn say(&mut self, error: Option<&std::io::Error>) {
        let collector = self.settings.collector;
        match (self.is_failing, error) {
            (false, Some(error)) => warn!("ipfix: {collector}: {error}; records are lost"),
            (true, None) => info!("ipfix: {collector}: takes records again"),
            _ => {}
        }
        self.is_failing = error.is_some();
    }
}

fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}
