//! One core that makes packets, sends them into a contender and counts what comes out.

use std::fs;
use std::path::{Path as File, PathBuf};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use dataplane::io::dpdk::{
    Devices, Eal, EalOptions, Mbuf, Memory, Mempool, MempoolConfig, WorkerThread,
};
use dataplane::io::{Batch, Devices as _, Pool as _, Port};
use encap::Buffer as _;
use quanta::Clock;

use super::latency::Latency;
use super::path::Path;

/// Packets sent at once.
const BURST: usize = 32;
/// How long a window is: short, so that some are undisturbed.
const WINDOW: Duration = Duration::from_millis(50);
/// How long the last packets of a paced run may take.
const DRAIN: Duration = Duration::from_millis(20);

/// The core with its buffers. Once per process.
pub(super) struct Generator {
    devices: Devices,
    pool: Mempool,
    ports: u32,
    _registration: WorkerThread,
}

/// The two ends of a contender.
pub(super) struct Feed {
    machine: Port<Mbuf>,
    uplink: Uplink,
    pool: Mempool,
    clock: Clock,
}

/// Where packets come out.
enum Uplink {
    /// Of a port of this process.
    Port(Port<Mbuf>),
    /// Of an interface, which counts them in this file.
    Interface(Counter),
}

struct Counter {
    file: PathBuf,
    last: u64,
}

/// What became of the packets of a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    /// Packets that were to be sent, whether or not the port had room.
    pub(super) offered: u64,
    /// Packets that came out.
    pub(super) received: u64,
    /// How long it took.
    pub(super) seconds: f64,
}

impl Generator {
    /// Pins the calling thread to the core and starts DPDK.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn start(core: usize) -> Result<Generator, String> {
        if !core_affinity::set_for_current(CoreId { id: core }) {
            return Err(format!("cannot run on core {core}"));
        }
        let eal = Eal::start(&EalOptions {
            memory: Memory::Huge,
            megabytes: 192,
            control_cores: vec![core],
            ..EalOptions::default()
        })
        .map_err(|error| error.to_string())?;
        let pool = Mempool::new(eal, MempoolConfig::default()).map_err(|e| e.to_string())?;
        let registration = eal.register_worker().map_err(|error| error.to_string())?;
        Ok(Generator {
            devices: Devices::new(eal, pool),
            pool,
            ports: 0,
            _registration: registration,
        })
    }

    /// The two ends of a contender that connects to this memif socket: interface 0 is the
    /// machine's, 1 the uplink. It may send by so many queues; it is sent to by one.
    ///
    /// # Errors
    /// A sentence with the device.
    pub(super) fn memif(&mut self, socket: &File, queues: usize) -> Result<Feed, String> {
        let mut open = |id: u32| {
            let number = self.number();
            let socket = socket.display();
            let device = format!(
                "net_memif{number},id={id},role=server,socket={socket},socket-abstract=no,rsize=10"
            );
            self.open(&device, queues)
        };
        let machine = open(0)?;
        let uplink = Uplink::Port(open(1)?);
        Ok(self.feed(machine, uplink))
    }

    /// Into this interface; what comes out of the other one is counted there and goes no further.
    ///
    /// # Errors
    /// A sentence with the device.
    pub(super) fn interfaces(&mut self, machine: &str, uplink: &str) -> Result<Feed, String> {
        let number = self.number();
        let device = format!("net_af_packet{number},iface={machine},framecnt=1024,qdisc_bypass=1");
        let machine = self.open(&device, 1)?;
        let file = format!("/sys/class/net/{uplink}/statistics/rx_packets").into();
        let uplink = Uplink::Interface(Counter { file, last: 0 });
        Ok(self.feed(machine, uplink))
    }

    fn feed(&self, machine: Port<Mbuf>, uplink: Uplink) -> Feed {
        Feed {
            machine,
            uplink,
            pool: self.pool,
            clock: Clock::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.ports += 1;
        self.ports
    }

    fn open(&mut self, device: &str, queues: usize) -> Result<Port<Mbuf>, String> {
        self.devices
            .open(device, queues)
            .map_err(|error| error.to_string())
    }
}

impl Feed {
    /// Whether the contender has taken up both ends.
    pub(super) fn is_connected(&self) -> bool {
        let uplink = match &self.uplink {
            Uplink::Port(port) => port.control.link().up,
            Uplink::Interface(_) => true,
        };
        uplink && self.machine.control.link().up
    }

    /// Offers packets at a rate below which nothing is lost, or as many as go, each flow in turn,
    /// until every one was sent twice and `time` is over.
    pub(super) fn each_flow(&mut self, path: Path, flows: u32, time: Duration) {
        let mut packets = Packets::new(path, flows, Order::Ascending);
        let mut batch = Batch::new();
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time || sent < 2 * u64::from(flows) {
            sent += self.send(&mut batch, &mut packets, BURST, None);
            self.receive(None);
            // A contender that takes nothing any more is found out later.
            if start.elapsed() > time + Duration::from_secs(30) {
                return;
            }
        }
    }

    /// Offers more than can be forwarded, in random order.
    pub(super) fn flood(&mut self, path: Path, flows: u32, time: Duration) -> Vec<Window> {
        let mut packets = Packets::new(path, flows, Order::Random);
        let mut batch = Batch::new();
        let mut windows = Vec::new();
        self.received_since_last();
        let start = Instant::now();
        while start.elapsed() < time {
            let mut window = Window::default();
            let began = Instant::now();
            while began.elapsed() < WINDOW {
                window.offered += self.send(&mut batch, &mut packets, BURST, None);
                window.received += self.receive(None);
            }
            window.received += self.received_since_last();
            window.seconds = began.elapsed().as_secs_f64();
            windows.push(window);
        }
        windows
    }

    /// Offers packets at a rate, in packets per second, in random order; how long each took, if
    /// asked.
    pub(super) fn pace(
        &mut self,
        path: Path,
        flows: u32,
        rate: f64,
        time: Duration,
        mut latency: Option<&mut Latency>,
    ) -> Window {
        let mut packets = Packets::new(path, flows, Order::Random);
        let mut batch = Batch::new();
        let mut window = Window::default();
        self.received_since_last();
        let began = Instant::now();
        while began.elapsed() < time {
            let due = (began.elapsed().as_secs_f64() * rate) as u64;
            let room = due.saturating_sub(window.offered).min(BURST as u64) as usize;
            if room > 0 {
                let stamp = latency.is_some().then(|| self.clock.raw());
                self.send(&mut batch, &mut packets, room, stamp);
                // What found no room is lost, as on a wire.
                batch.clear();
                window.offered += room as u64;
            }
            window.received += self.receive(latency.as_deref_mut());
        }
        window.seconds = began.elapsed().as_secs_f64();
        let last = Instant::now();
        while last.elapsed() < DRAIN {
            window.received += self.receive(latency.as_deref_mut());
        }
        window.received += self.received_since_last();
        window
    }

    /// Fills the batch up to `most` packets and sends them; how many went.
    #[inline]
    fn send(
        &mut self,
        batch: &mut Batch<Mbuf>,
        packets: &mut Packets,
        most: usize,
        stamp: Option<u64>,
    ) -> u64 {
        while batch.len() < most {
            let Some(mut packet) = self.pool.alloc() else {
                break;
            };
            let frame = packets.next_frame(stamp);
            if packet.append(frame.len()).is_err() {
                break;
            }
            packet.bytes_mut().copy_from_slice(frame);
            batch.push(packet);
        }
        self.machine.tx[0].tx_burst(batch) as u64
    }

    /// Takes what has come out.
    #[inline]
    fn receive(&mut self, mut latency: Option<&mut Latency>) -> u64 {
        let mut batch = Batch::new();
        // What the contender says to the machine.
        for queue in &mut self.machine.rx {
            queue.rx_burst(&mut batch);
            batch.clear();
        }
        let Uplink::Port(uplink) = &mut self.uplink else {
            return 0;
        };
        let mut count = 0;
        for queue in &mut uplink.rx {
            queue.rx_burst(&mut batch);
            count += batch.len() as u64;
            if let (Some(latency), Some(first)) = (latency.as_deref_mut(), batch.first()) {
                latency.record(first.bytes(), self.clock.raw(), &self.clock);
            }
            batch.clear();
        }
        count
    }

    /// What an interface has counted since it was asked last.
    fn received_since_last(&mut self) -> u64 {
        let Uplink::Interface(counter) = &mut self.uplink else {
            return 0;
        };
        let text = fs::read_to_string(&counter.file).unwrap_or_default();
        let now = text.trim().parse().unwrap_or(counter.last);
        let count = now - counter.last;
        counter.last = now;
        count
    }
}

/// In which order flows come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Random,
}

/// The frames of a path, one after the other.
struct Packets {
    path: Path,
    template: Vec<u8>,
    frame: Vec<u8>,
    flows: u32,
    order: Order,
    state: u64,
}

impl Packets {
    fn new(path: Path, flows: u32, order: Order) -> Packets {
        let template = path.template();
        Packets {
            path,
            frame: template.clone(),
            template,
            flows,
            order,
            state: 0,
        }
    }

    #[inline]
    fn next_frame(&mut self, stamp: Option<u64>) -> &[u8] {
        let number = match self.order {
            Order::Ascending => {
                self.state += 1;
                self.state % u64::from(self.flows)
            }
            Order::Random => {
                // Steele, Lea, Flood: SplitMix64 (OOPSLA 2014); the high half scaled to the range.
                self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = self.state;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((z >> 32) * u64::from(self.flows)) >> 32
            }
        };
        self.frame.copy_from_slice(&self.template);
        self.path.set_flow(&mut self.frame, number as u32);
        if let Some(stamp) = stamp {
            Latency::stamp(&mut self.frame, stamp);
        }
        &self.frame
    }
}
