//! Ports made of queues in memory, for tests and simulations.
//!
//! A test plugs a device in and keeps its far end, a [`Peer`]; the engine opens
//! the near end through [`Devices`] like any other. [`pair`] is the short form
//! that joins two ports back to back. Every queue is bounded, so a full ring
//! refuses packets as hardware does.
//!
//! Costs a lock per burst; not meant for measuring.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use encap::{MacAddr, MemBuffer};

use super::{Batch, DeviceError, Link, Offloads, Port, PortControl, PortStats};

/// Packets a queue holds before it refuses more.
pub const RING: usize = 1024;

/// Bytes of payload a memory port carries when none are asked for, as on an
/// ordinary Ethernet link.
pub const MTU: u16 = 1500;

/// Two ports back to back: what one sends, the other receives.
///
/// `queues` is the number of queues of each port; transmit queue *n* feeds
/// receive queue *n* of the other.
pub fn pair<B: Send + 'static>(queues: usize) -> (Port<B>, Port<B>) {
    let there: Vec<_> = (0..queues).map(|_| Ring::new()).collect();
    let back: Vec<_> = (0..queues).map(|_| Ring::new()).collect();
    let up = Arc::new(AtomicBool::new(true));
    (
        port(&back, &there, Control::new(0, &up)),
        port(&there, &back, Control::new(1, &up)),
    )
}

/// The devices `memory:NAME` that a test has plugged in.
///
/// Clones share the devices, so a test keeps one clone and hands another to the
/// engine.
#[derive(Clone, Default)]
pub struct Devices {
    plugged: Arc<Mutex<HashMap<String, Peer>>>,
}

impl Devices {
    /// No device is plugged in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plugs in `device` with `rx_queues` receive queues and returns its far
    /// end. A device of that name that was there before is replaced; whoever
    /// has it open keeps the old one.
    ///
    /// # Panics
    /// If `rx_queues` is 0.
    pub fn plug(&self, device: &str, rx_queues: usize) -> Peer {
        assert!(rx_queues > 0, "a device has at least one receive queue");
        let mut plugged = lock(&self.plugged);
        let peer = Peer {
            index: plugged.len(),
            to_port: (0..rx_queues).map(|_| Ring::new()).collect(),
            from_port: Ring::new(),
            up: Arc::new(AtomicBool::new(true)),
            open: Arc::default(),
        };
        plugged.insert(device.to_owned(), peer.clone());
        peer
    }
}

impl super::Devices<MemBuffer> for Devices {
    fn open_for(
        &mut self,
        device: &str,
        queues: usize,
        mtu: Option<u16>,
    ) -> Result<Port<MemBuffer>, DeviceError> {
        let plugged = lock(&self.plugged);
        let Some(peer) = plugged.get(device) else {
            return Err(DeviceError::NotFound {
                device: device.to_owned(),
                missing: "memory device of that name".to_owned(),
            });
        };
        if peer.is_open() {
            return Err(DeviceError::AlreadyOpen {
                device: device.to_owned(),
            });
        }
        let rx = &peer.to_port[..queues.clamp(1, peer.to_port.len())];
        let tx = vec![peer.from_port.clone(); queues];
        let mut control = Control::new(peer.index, &peer.up);
        control.mtu = mtu.unwrap_or(MTU).max(MTU);
        control.lease = Some(Lease::clone(&peer.open));
        Ok(port(rx, &tx, control))
    }
}

/// The far end of a memory device, as its cable's other plug: a test sends and
/// receives here. Clones are the same end.
#[derive(Clone)]
pub struct Peer {
    index: usize,
    to_port: Vec<Ring<MemBuffer>>,
    from_port: Ring<MemBuffer>,
    up: Arc<AtomicBool>,
    open: Arc<Lease>,
}

impl Peer {
    /// Puts a frame on the port's first receive queue; `false` if it was full.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.send_to(0, frame)
    }

    /// Puts a frame on the receive queue of that number; `false` if it was
    /// full.
    ///
    /// # Panics
    /// If the device was plugged in with fewer queues.
    pub fn send_to(&self, queue: usize, frame: &[u8]) -> bool {
        self.to_port[queue].push(MemBuffer::from_frame(frame))
    }

    /// Puts a frame of several pieces on the port's first receive queue, see
    /// [`MemBuffer::chained`]; `false` if it was full.
    pub fn send_chained(&self, frame: &[u8], lens: &[usize]) -> bool {
        self.send_packet(MemBuffer::chained(frame, lens))
    }

    /// Puts a packet with all it has on the port's first receive queue; `false`
    /// if it was full.
    pub fn send_packet(&self, packet: MemBuffer) -> bool {
        self.to_port[0].push(packet)
    }

    /// The next frame the port sent, from any of its queues.
    pub fn recv(&self) -> Option<Vec<u8>> {
        Some(self.recv_packet()?.to_vec())
    }

    /// The next packet the port sent, with all it has.
    pub fn recv_packet(&self) -> Option<MemBuffer> {
        self.from_port.lock().pop_front()
    }

    /// All frames the port sent since the last call, in order.
    pub fn recv_all(&self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.recv()).collect()
    }

    /// Lets the port see its link up or down. Packets pass either way.
    pub fn set_link(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// Whether somebody has the port open.
    pub fn is_open(&self) -> bool {
        Arc::strong_count(&*self.open) > 1
    }
}

/// Fresh [`MemBuffer`]s, as many as memory has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool;

impl super::Pool<MemBuffer> for Pool {
    fn alloc(&mut self) -> Option<MemBuffer> {
        Some(MemBuffer::default())
    }
}

/// Held by every handle of an open port and once by its [`Peer`] (all clones of
/// it together): the port is open while there is more than that one.
type Lease = Arc<()>;

/// A bounded queue; a clone is the same queue.
struct Ring<B>(Arc<Mutex<VecDeque<B>>>);

impl<B> Clone for Ring<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Ring<B> {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(VecDeque::with_capacity(RING))))
    }

    fn push(&self, buffer: B) -> bool {
        let mut queue = self.lock();
        let room = queue.len() < RING;
        if room {
            queue.push_back(buffer);
        }
        room
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<B>> {
        lock(&self.0)
    }
}

/// A panic elsewhere leaves a queue of packets as whole as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn port<B: Send + 'static>(rx: &[Ring<B>], tx: &[Ring<B>], control: Control) -> Port<B> {
    let queue = |ring: &Ring<B>| Queue {
        ring: ring.clone(),
        _lease: control.lease.clone(),
    };
    Port {
        rx: rx.iter().map(|ring| Box::new(queue(ring)) as _).collect(),
        tx: tx.iter().map(|ring| Box::new(queue(ring)) as _).collect(),
        control: Box::new(control),
    }
}

/// A queue handle; receives or transmits according to the trait it is used by.
struct Queue<B> {
    ring: Ring<B>,
    _lease: Option<Lease>,
}

impl<B: Send> super::RxQueue<B> for Queue<B> {
    fn rx_burst(&mut self, batch: &mut Batch<B>) -> usize {
        let mut queue = self.ring.lock();
        let n = queue.len().min(batch.remaining_capacity());
        batch.extend(queue.drain(..n));
        n
    }
}

impl<B: Send> super::TxQueue<B> for Queue<B> {
    fn tx_burst(&mut self, batch: &mut Batch<B>) -> usize {
        let mut queue = self.ring.lock();
        let n = batch.len().min(RING.saturating_sub(queue.len()));
        queue.extend(batch.drain(..n));
        n
    }
}

struct Control {
    mac: MacAddr,
    mtu: u16,
    up: Arc<AtomicBool>,
    lease: Option<Lease>,
}

impl Control {
    /// Addresses are locally administered and count up: `02:00:00:00:00:NN`.
    fn new(index: usize, up: &Arc<AtomicBool>) -> Self {
        let [.., high, low] = index.to_be_bytes();
        Self {
            mac: MacAddr([2, 0, 0, 0, high, low]),
            mtu: MTU,
            up: up.clone(),
            lease: None,
        }
    }
}

impl PortControl for Control {
    fn mac(&self) -> MacAddr {
        self.mac
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }

    fn raise_mtu(&mut self, mtu: u16) -> Result<(), DeviceError> {
        self.mtu = self.mtu.max(mtu);
        Ok(())
    }

    fn link(&self) -> Link {
        Link {
            up: self.up.load(Ordering::Relaxed),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Devices as _;
    use encap::Buffer;

    fn batch(frames: &[&[u8]]) -> Batch<MemBuffer> {
        frames.iter().map(|f| MemBuffer::from_frame(f)).collect()
    }

    #[test]
    fn a_pair_carries_frames_both_ways_in_order() {
        let (mut a, mut b) = pair(1);
        let mut sent = batch(&[b"one", b"two"]);
        assert_eq!(a.tx[0].tx_burst(&mut sent), 2);
        assert!(sent.is_empty());
        let mut received = Batch::new();
        assert_eq!(b.rx[0].rx_burst(&mut received), 2);
        assert_eq!(received[0].bytes(), b"one");
        assert_eq!(received[1].bytes(), b"two");

        assert_eq!(b.tx[0].tx_burst(&mut received), 2);
        assert_eq!(a.rx[0].rx_burst(&mut sent), 2);
        assert_eq!(sent[0].bytes(), b"one");
    }

    #[test]
    fn a_burst_stops_at_the_batchs_free_room() {
        let (mut a, mut b) = pair(1);
        let mut sent = batch(&[b"one", b"two", b"three"]);
        a.tx[0].tx_burst(&mut sent);
        let mut received: Batch<_> = (0..crate::io::BATCH - 2)
            .map(|_| MemBuffer::from_frame(b"x"))
            .collect();
        assert_eq!(b.rx[0].rx_burst(&mut received), 2);
        assert_eq!(b.rx[0].rx_burst(&mut received), 0);
        received.clear();
        assert_eq!(b.rx[0].rx_burst(&mut received), 1);
        assert_eq!(received[0].bytes(), b"three");
    }

    #[test]
    fn a_full_ring_leaves_the_rest_in_the_batch_in_order() {
        let devices = Devices::new();
        let peer = devices.plug("memory:a", 1);
        let mut port = devices.clone().open("memory:a", 1).unwrap();
        for _ in 0..RING - 1 {
            assert_eq!(port.tx[0].tx_burst(&mut batch(&[b"x"])), 1);
        }
        let mut rest = batch(&[b"fits", b"first", b"second"]);
        assert_eq!(port.tx[0].tx_burst(&mut rest), 1);
        assert_eq!(rest[0].bytes(), b"first");
        assert_eq!(rest[1].bytes(), b"second");
        assert_eq!(peer.recv_all().last().unwrap(), b"fits");
    }

    #[test]
    fn an_open_device_is_refused_until_its_last_handle_is_gone() {
        let mut devices = Devices::new();
        let peer = devices.plug("memory:a", 2);
        let mut port = devices.open("memory:a", 2).unwrap();
        assert!(peer.is_open());
        assert!(matches!(
            devices.open("memory:a", 1),
            Err(DeviceError::AlreadyOpen { .. })
        ));
        let queue = port.tx.pop();
        port.control.close();
        drop((port.rx, port.tx));
        assert!(devices.open("memory:a", 1).is_err());
        drop(queue);
        assert!(!peer.is_open());
        assert!(devices.open("memory:a", 1).is_ok());
    }

    #[test]
    fn every_worker_gets_a_transmit_queue() {
        let mut devices = Devices::new();
        let peer = devices.plug("memory:a", 1);
        let mut port = devices.open("memory:a", 3).unwrap();
        assert_eq!((port.rx.len(), port.tx.len()), (1, 3));
        for queue in &mut port.tx {
            queue.tx_burst(&mut batch(&[b"x"]));
        }
        assert_eq!(peer.recv_all().len(), 3);
    }

    #[test]
    fn an_unplugged_device_is_named() {
        let error = Devices::new().open("memory:b", 1).err().unwrap();
        assert_eq!(
            error.to_string(),
            "device `memory:b` cannot be opened: there is no memory device of that name; \
             create it first or correct the name"
        );
    }

    #[test]
    fn a_pools_buffer_is_empty_and_has_room() {
        let mut buffer = crate::io::Pool::alloc(&mut Pool).unwrap();
        assert!(buffer.bytes().is_empty());
        assert!(buffer.headroom() >= 128);
        buffer.append(1514).unwrap();
    }
}
