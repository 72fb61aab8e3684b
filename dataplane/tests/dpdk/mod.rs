//! What the tests of DPDK devices share: one environment for each test program,
//! on ordinary pages and virtual devices.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code; no program uses all of it"
)]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dataplane::io::dpdk::{Devices, Eal, EalOptions, Mbuf, Mempool, MempoolConfig};
use dataplane::io::pcap::PcapWriter;
use dataplane::io::{Batch, Devices as _, Pool as _, Port};
use encap::Buffer;

/// DPDK, for one test at a time: ports, buffers and names are the process's.
pub struct Dpdk {
    pub eal: Eal,
    pub pool: Mempool,
    pub devices: Devices,
    _turn: MutexGuard<'static, ()>,
}

impl Dpdk {
    /// Waits for the other tests of this program to finish.
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static STARTED: OnceLock<(Eal, Mempool)> = OnceLock::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (eal, pool) = *STARTED.get_or_init(|| {
            let eal = Eal::start(&EalOptions::default()).unwrap();
            let pool = Mempool::new(eal, MempoolConfig::default()).unwrap();
            (eal, pool)
        });
        Self {
            eal,
            pool,
            devices: Devices::new(eal, pool),
            _turn: turn,
        }
    }

    pub fn open(&mut self, device: &str) -> Port<Mbuf> {
        self.devices.open(device, 1).unwrap()
    }

    /// The sentence a device is refused with.
    pub fn refusal(&mut self, device: &str) -> String {
        self.devices.open(device, 1).err().unwrap().to_string()
    }

    pub fn packet(&self, bytes: &[u8]) -> Mbuf {
        let mut packet = self.pool.clone().alloc().unwrap();
        packet.append(bytes.len()).unwrap();
        packet.bytes_mut().copy_from_slice(bytes);
        packet
    }

    /// A packet in as many buffers as it takes, as a port would receive it.
    pub fn chain(&mut self, bytes: &[u8]) -> Mbuf {
        let file = std::env::temp_dir().join(format!("vrouter-chain-{}", std::process::id()));
        let mut writer = PcapWriter::create(&file).unwrap();
        writer.write(0, bytes).unwrap();
        writer.finish().unwrap();
        let mut port = self.open(&format!("net_pcap9,rx_pcap={}", file.display()));
        std::fs::remove_file(file).unwrap();
        let mut batch = Batch::new();
        assert_eq!(port.rx[0].rx_burst(&mut batch), 1);
        batch.remove(0)
    }

    /// Frames of 60 bytes, numbered in the first byte of their payload.
    pub fn numbered(&self, numbers: impl Iterator<Item = u8>) -> Batch<Mbuf> {
        numbers.map(|n| self.packet(&frame(n, 60))).collect()
    }
}

/// An Ethernet frame to everybody, of an experimental type (IEEE 802 §9.2.3),
/// with `number` at its 15th byte.
pub fn frame(number: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; len];
    frame[..6].fill(0xff);
    frame[6] = 2;
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14] = number;
    frame
}

/// The numbers of [`frame`]s.
pub fn numbers(batch: &[Mbuf]) -> Vec<u8> {
    batch.iter().map(|packet| packet.bytes()[14]).collect()
}

/// Tries until something is there; what is not after 10 s will not be.
pub fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "no {what}");
        std::thread::yield_now();
    }
}

/// A directory of this process, removed when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vrouter-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
