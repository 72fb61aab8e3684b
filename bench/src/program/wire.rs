//! A NIC in memory whose packets come by the clock, whether the worker is there or
//! not: what finds no free descriptor is lost, as on a wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dataplane::io::{
    Batch, DeviceError, Devices, Link, Offloads, Port, PortControl, PortStats, RxQueue, TxQueue,
};
use encap::{Buffer, MacAddr};

use super::traffic::Scenario;
use crate::engine::buffers::{Frame, Pool};

/// Descriptors of the receive ring, as in most drivers.
const RING: f64 = 1024.0;
/// Packets in a burst at most.
const BURST: usize = 32;

/// What arrives and what became of it; shared with whoever measures.
pub(super) struct Wire {
    started: Instant,
    /// Packets in a second; 0 for none.
    rate: AtomicU64,
    /// Different flows among them.
    flows: AtomicU64,
    lost: AtomicU64,
    /// Set by who waits for the next packet that is delivered.
    waiting: AtomicBool,
    /// When it was, in nanoseconds since `started`.
    came: AtomicU64,
}

impl Wire {
    /// Without packets yet.
    pub(super) fn new() -> Arc<Wire> {
        Arc::new(Wire {
            started: Instant::now(),
            rate: AtomicU64::new(0),
            flows: AtomicU64::new(1),
            lost: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            came: AtomicU64::new(0),
        })
    }

    /// So many packets a second, of so many flows, from now on.
    pub(super) fn send(&self, rate: u64, flows: u32) {
        self.flows.store(flows.into(), Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
    }

    /// Packets so far that found the ring full.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Notes when the next packet is delivered.
    pub(super) fn watch(&self) {
        self.came.store(0, Ordering::Relaxed);
        self.waiting.store(true, Ordering::Release);
    }

    /// When it was delivered.
    pub(super) fn came(&self) -> Option<Instant> {
        let came = self.came.load(Ordering::Acquire);
        (came > 0).then(|| self.started + Duration::from_nanos(came))
    }
}

/// Opens a port for each vif: the scenario's packets come in at one, and leave by any.
pub(super) struct Nics {
    pub(super) wire: Arc<Wire>,
    pub(super) pool: Pool,
    pub(super) scenario: Scenario,
}

impl Devices<Frame> for Nics {
    fn open_for(
        &mut self,
        device: &str,
        _: usize,
        _: Option<u16>,
    ) -> Result<Port<Frame>, DeviceError> {
        let source = Source {
            wire: self.wire.clone(),
            pool: self.pool.clone(),
            template: self.scenario.template(),
            scenario: self.scenario,
            is_ingress: device == self.scenario.ingress(),
            looked: Instant::now(),
            waiting: 0.0,
            next: 0,
        };
        let sink = Sink {
            wire: self.wire.clone(),
            pool: self.pool.clone(),
        };
        Ok(Port {
            rx: vec![Box::new(source)],
            tx: vec![Box::new(sink)],
            control: Box::new(Control),
        })
    }
}

struct Source {
    wire: Arc<Wire>,
    pool: Pool,
    template: Vec<u8>,
    scenario: Scenario,
    is_ingress: bool,
    looked: Instant,
    /// In the ring.
    waiting: f64,
    next: u32,
}

impl RxQueue<Frame> for Source {
    fn rx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        if !self.is_ingress {
            return 0;
        }
        let now = Instant::now();
        let passed = now.duration_since(self.looked).as_secs_f64();
        self.looked = now;
        let rate = self.wire.rate.load(Ordering::Relaxed);
        if rate == 0 {
            self.waiting = 0.0;
            return 0;
        }
        let coming = rate as f64 * passed;
        self.waiting += coming;
        let over = (self.waiting - RING).max(0.0).floor();
        self.waiting -= over;
        add(&self.wire.lost, over as u64);
        let count = (self.waiting as usize).min(BURST);
        if count == 0 {
            return 0;
        }
        let flows = self.wire.flows.load(Ordering::Relaxed) as u32;
        let (template, scenario, next) = (&self.template, self.scenario, &mut self.next);
        self.pool.with(|free| {
            // Frames that were dropped did not come back.
            while free.len() < count {
                free.push(Frame::new());
            }
            for mut frame in free.drain(free.len() - count..) {
                frame.fill(template);
                scenario.set_flow(frame.bytes_mut(), *next);
                *next = if *next + 1 < flows { *next + 1 } else { 0 };
                batch.push(frame);
            }
        });
        self.waiting -= count as f64;
        count
    }
}

struct Sink {
    wire: Arc<Wire>,
    pool: Pool,
}

impl TxQueue<Frame> for Sink {
    fn tx_burst(&mut self, batch: &mut Batch<Frame>) -> usize {
        let count = batch.len();
        self.pool.with(|free| free.extend(batch.drain(..)));
        if self.wire.waiting.load(Ordering::Acquire) {
            self.wire.waiting.store(false, Ordering::Relaxed);
            let came = self.wire.started.elapsed().as_nanos() as u64;
            self.wire.came.store(came, Ordering::Release);
        }
        count
    }
}

struct Control;

impl PortControl for Control {
    fn mac(&self) -> MacAddr {
        MacAddr([2, 0, 0, 0, 9, 9])
    }

    fn mtu(&self) -> u16 {
        9000
    }

    fn raise_mtu(&mut self, _: u16) -> Result<(), DeviceError> {
        Ok(())
    }

    fn link(&self) -> Link {
        Link {
            up: true,
            speed_mbps: 0,
        }
    }

    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    fn stats(&self) -> PortStats {
        PortStats::default()
    }

    fn close(self: Box<Self>) {}
}

/// One writer: the worker.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Relaxed);
}
