//! How packets enter and leave: two traits over a batch, a pool, and the
//! devices they belong to.
//!
//! Nothing here knows what a packet means, and nothing above knows what a
//! device is made of: an implementation may be a DPDK ethdev ([`dpdk`]), a
//! queue in memory ([`memory`]) or a capture file ([`pcap`]). `B` is the packet
//! buffer throughout, an [`encap::Buffer`].
//!
//! A device is opened once, by whoever owns the configuration, and then taken
//! apart: each worker gets its own queue handles, the owner keeps the control
//! half. Workers therefore share nothing of a device, and a device cannot be
//! closed under a worker: it closes when the last of its handles is dropped.

#[cfg(feature = "dpdk")]
pub mod dpdk;
mod error;
pub mod memory;
pub mod pcap;

pub use error::DeviceError;

use arrayvec::ArrayVec;
use encap::MacAddr;

/// Packets a worker handles together.
///
/// Large enough that the fixed cost of a burst disappears, small enough that the
/// headers of a batch stay in the first-level cache between two passes.
pub const BATCH: usize = 64;

/// The largest MTU a port takes, in bytes: that of jumbo frames.
pub const MAX_MTU: u16 = 9216;

/// The packets of one burst, in order of arrival. Never allocates.
pub type Batch<B> = ArrayVec<B, BATCH>;

/// One receive queue; belongs to one worker.
pub trait RxQueue<B>: Send {
    /// Appends what has arrived, up to the batch's free room, and returns how
    /// many that were. Never waits; 0 means that nothing was there, or that the
    /// batch had room for less than the 4 packets some hardware delivers at once.
    fn rx_burst(&mut self, batch: &mut Batch<B>) -> usize;
}

/// One transmit queue; belongs to one worker.
pub trait TxQueue<B>: Send {
    /// Sends from the front of the batch and returns how many left.
    ///
    /// What was sent is taken out of `batch`; what the ring refused stays in
    /// it, in order, for the caller to count, free or try again. Never waits.
    fn tx_burst(&mut self, batch: &mut Batch<B>) -> usize;
}

/// Where the buffers come from for packets that the engine originates (ARP
/// requests, ICMP errors).
pub trait Pool<B>: Send {
    /// An empty buffer with headroom for a tunnel's outer headers, or `None`
    /// when every buffer is in use.
    fn alloc(&mut self) -> Option<B>;
}

/// Opens devices; the one way to get a [`Port`].
pub trait Devices<B>: Send {
    /// Opens a device by its DPDK-style string, for example
    /// `net_af_packet0,iface=eth1` or `0000:00:05.0`.
    ///
    /// `queues` is how many receive and transmit queues are wanted, one for
    /// each worker, and at least 1. The port has exactly `queues` transmit
    /// handles; where the hardware has fewer, they share a queue behind a lock.
    /// It may have fewer receive handles, but has at least one.
    ///
    /// `mtu` is what the port must carry, in bytes of an Ethernet frame's
    /// payload: the device is set up for that, and told to if it carries less.
    /// `None` takes what it carries as it stands.
    ///
    /// # Errors
    /// [`DeviceError`], which names the device and the remedy. Nothing stays
    /// open after an error.
    fn open_for(
        &mut self,
        device: &str,
        queues: usize,
        mtu: Option<u16>,
    ) -> Result<Port<B>, DeviceError>;

    /// [`open_for`](Self::open_for) whatever the device carries.
    ///
    /// # Errors
    /// As [`open_for`](Self::open_for).
    fn open(&mut self, device: &str, queues: usize) -> Result<Port<B>, DeviceError> {
        self.open_for(device, queues, None)
    }
}

/// An opened device, to be taken apart: queues go to workers, the control half
/// stays with the owner.
pub struct Port<B> {
    /// Receive queues, at most one per worker.
    pub rx: Vec<Box<dyn RxQueue<B>>>,
    /// Transmit queues, one per worker.
    pub tx: Vec<Box<dyn TxQueue<B>>>,
    /// Everything that is not packets.
    pub control: Box<dyn PortControl>,
}

/// The owner's half of an open device. None of this is for the packet path.
pub trait PortControl: Send {
    /// The device's own address.
    fn mac(&self) -> MacAddr;
    /// Largest payload of an Ethernet frame, in bytes (1500 on most links).
    fn mtu(&self) -> u16;
    /// Has the device carry payloads of `mtu` bytes, if it carries less.
    ///
    /// # Errors
    /// [`DeviceError::Mtu`]; the device is as before.
    fn raise_mtu(&mut self, mtu: u16) -> Result<(), DeviceError>;
    /// Whether the other end is there, and how fast.
    fn link(&self) -> Link;
    /// What the device could do by itself.
    fn offloads(&self) -> Offloads;
    /// Whether TCP and UDP packets may be sent with their checksum
    /// [still to be computed](encap::L4Checksum::Partial).
    fn finishes_checksums(&self) -> bool {
        false
    }
    /// What only the device knows. Counts since it was opened.
    fn stats(&self) -> PortStats;
    /// Gives up the control half. The device closes here if all its queue
    /// handles are gone already, and with the last of them otherwise.
    fn close(self: Box<Self>);
}

/// State of a device's link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The link carries packets.
    pub up: bool,
    /// Nominal rate in Mbit/s; 0 when the device does not say.
    pub speed_mbps: u32,
}

/// Work a device can take over. Capabilities, not settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Verifies IPv4 header checksums on receipt.
    pub rx_ipv4_checksum: bool,
    /// Verifies UDP and TCP checksums on receipt.
    pub rx_l4_checksum: bool,
    /// Fills in IPv4 header checksums.
    pub tx_ipv4_checksum: bool,
    /// Fills in UDP and TCP checksums.
    pub tx_l4_checksum: bool,
    /// Cuts large TCP segments (TSO).
    pub tx_tcp_segmentation: bool,
    /// Spreads received packets over queues by a hash of their addresses.
    pub rss: bool,
}

/// Packets that a device lost before the engine, or after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Arrived while the receive ring was full: the worker polls too slowly.
    pub rx_missed: u64,
    /// Arrived damaged.
    pub rx_errors: u64,
    /// Arrived while the buffer pool was empty.
    pub rx_no_mbuf: u64,
    /// Arrived larger than the frames of the device's ring, and cut.
    pub rx_oversized: u64,
    /// Accepted for transmission and then not sent, among them packets in several
    /// buffers for a device that sends one, and too long for one.
    pub tx_errors: u64,
}
