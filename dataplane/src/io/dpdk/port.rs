//! One open DPDK port: from a probed device to queues, and back.

use std::borrow::Cow;
use std::ffi::{CStr, c_int, c_uint};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{mem, ptr};

use dpdk_sys::{rte_device, vr_port_info, vr_port_wishes};
use encap::MacAddr;

use super::eal::strerror;
use super::log::{self, LogLevel};
use super::queue::{Rx, SharedTx, Tx};
use super::{Mbuf, Mempool, driver, interrupt, kernel};
use crate::io::{
    BATCH, DeviceError, Link, MAX_MTU, Offloads, Port, PortControl, PortStats, TxQueue,
};

/// Descriptors in a ring where the device leaves the choice: at 10 Mpps, 1024
/// packets are a worker's absence of 100 µs.
const DESCRIPTORS: u16 = 1024;

/// Ethernet header and VLAN tag, in bytes.
pub(super) const FRAME_OVERHEAD: usize = 18;

/// Attaching and detaching devices changes lists of DPDK's that have no lock.
pub(super) fn hotplug() -> MutexGuard<'static, ()> {
    static HOTPLUG: Mutex<()> = Mutex::new(());
    HOTPLUG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An attached device. Every handle of it holds an `Arc` of this, so the device
/// is stopped, closed and detached when none is left.
pub(super) struct OpenPort {
    id: u16,
    name: String,
    device: *mut rte_device,
    if_index: u32,
    /// Longest frame that one buffer, and the device's own ring, can hold.
    frame_room: usize,
    /// What a device without an MTU of its own was asked to carry, in bytes.
    asked_mtu: AtomicU16,
    /// Frames are received into several buffers when one is too small.
    scatters: bool,
    /// Length of frames that the device's own ring has cut, in bytes, if it has
    /// one that cuts.
    cut_len: Option<usize>,
    /// Queues that were started, 0 before.
    rx_queues: u16,
    /// Packets of several segments are sent as they are.
    sends_chains: bool,
    /// So are packets with their checksum still to be computed.
    finishes_checksums: bool,
    oversized: AtomicU64,
    unsendable: AtomicU64,
}

// SAFETY: `device` is only read by `drop`, once; the functions called on a port
// from several handles are those that DPDK allows for that.
unsafe impl Send for OpenPort {}
// SAFETY: as above.
unsafe impl Sync for OpenPort {}

impl OpenPort {
    /// Takes over a port that was just probed.
    ///
    /// # Safety
    /// The port exists and nobody else uses it.
    pub(super) unsafe fn new(
        id: u16,
        device: &str,
        name: &str,
        pool: &Mempool,
    ) -> Result<Self, Refusal> {
        // SAFETY: the port exists.
        let info = unsafe { info(id) }?;
        let buffer_room = pool.config().frame_room();
        let cut_len = driver::ring_room(device, name);
        // A frame that fills the ring's may have been longer.
        let ring_room = cut_len.map_or(buffer_room, |len| len.saturating_sub(1));
        Ok(Self {
            id,
            name: name.to_owned(),
            device: info.device,
            if_index: info.if_index,
            frame_room: buffer_room.min(ring_room),
            asked_mtu: AtomicU16::new(0),
            scatters: false,
            cut_len,
            rx_queues: 0,
            sends_chains: false,
            finishes_checksums: false,
            oversized: AtomicU64::new(0),
            unsendable: AtomicU64::new(0),
        })
    }

    /// Configures up to `wanted` queues in each direction, starts the port, and
    /// takes it apart.
    pub(super) fn start(
        mut self,
        wanted: usize,
        pool: &Mempool,
        mtu: Option<u16>,
    ) -> Result<Port<Mbuf>, Refusal> {
        // SAFETY: the port exists while `self` does.
        let info = unsafe { info(self.id) }?;
        let rx_queues = queues(wanted, info.max_rx_queues);
        let tx_queues = queues(wanted, info.max_tx_queues);
        let is_virtual = driver::is_virtual(&self.name);
        let is_jumbo = mtu.is_some_and(|mtu| usize::from(mtu) + FRAME_OVERHEAD > self.frame_room);
        // Software takes several buffers for nothing; many a NIC becomes slower.
        self.scatters =
            driver::scatters(&self.name) && (is_virtual || (is_jumbo && info.rx_scatter != 0));
        self.sends_chains = info.tx_chains != 0 && (is_virtual || is_jumbo);
        self.finishes_checksums =
            info.tx_l4_checksum != 0 && driver::finishes_checksums(&self.name);
        let wishes = vr_port_wishes {
            mtu: match mtu {
                Some(mtu) if !is_virtual && self.scatters => mtu.min(MAX_MTU),
                _ => 0,
            },
            rx_scatter: is_jumbo.into(),
            rx_checksums: driver::knows_checksums(&self.name).into(),
            tx_chains: self.sends_chains.into(),
            tx_finish: self.finishes_checksums.into(),
        };
        self.set_up(rx_queues, tx_queues, pool, &wishes)?;
        self.rx_queues = rx_queues;
        self.accept_all();
        // SAFETY: the port exists. What cannot be reset counts from elsewhere.
        unsafe { dpdk_sys::rte_eth_stats_reset(self.id) };

        let port = Arc::new(self);
        // SAFETY: the port is started with these queues, and each gets one handle.
        let rx = (0..rx_queues).map(|queue| unsafe { Rx::new(port.clone(), queue) });
        // SAFETY: as above.
        let tx = (0..tx_queues).map(|queue| unsafe { Tx::new(port.clone(), queue) });
        Ok(Port {
            rx: rx.map(|queue| Box::new(queue) as _).collect(),
            tx: deal_out(tx.collect(), wanted.max(1)),
            control: Box::new(Control(port)),
        })
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    /// Length of frames that the device's own ring has cut, in bytes.
    pub(super) fn cut_len(&self) -> Option<usize> {
        self.cut_len
    }

    pub(super) fn sends_chains(&self) -> bool {
        self.sends_chains
    }

    pub(super) fn finishes_checksums(&self) -> bool {
        self.finishes_checksums
    }

    pub(super) fn count_oversized(&self, packets: u64) {
        if packets > 0 {
            self.oversized.fetch_add(packets, Ordering::Relaxed);
        }
    }

    pub(super) fn count_unsendable(&self, packets: u64) {
        if packets > 0 {
            self.unsendable.fetch_add(packets, Ordering::Relaxed);
        }
    }

    fn set_up(
        &self,
        rx_queues: u16,
        tx_queues: u16,
        pool: &Mempool,
        wishes: &vr_port_wishes,
    ) -> Result<(), Refusal> {
        let (mut rx_ring, mut tx_ring) = (DESCRIPTORS, DESCRIPTORS);
        // SAFETY: the port exists, is not started, and is used by nobody else;
        // the pool is never freed; null asks for the device's defaults.
        unsafe {
            check(dpdk_sys::vr_port_configure(
                self.id, rx_queues, tx_queues, wishes,
            ))?;
            check(dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(
                self.id,
                &mut rx_ring,
                &mut tx_ring,
            ))?;
            let socket = dpdk_sys::rte_eth_dev_socket_id(self.id) as c_uint;
            for queue in 0..rx_queues {
                check(dpdk_sys::rte_eth_rx_queue_setup(
                    self.id,
                    queue,
                    rx_ring,
                    socket,
                    ptr::null(),
                    pool.as_ptr(),
                ))?;
            }
            for queue in 0..tx_queues {
                check(dpdk_sys::rte_eth_tx_queue_setup(
                    self.id,
                    queue,
                    tx_ring,
                    socket,
                    ptr::null(),
                ))?;
            }
            check(dpdk_sys::rte_eth_dev_start(self.id))
        }
    }

    /// Bridged frames carry other addresses than the port's. Not every device
    /// filters, nor may every VF stop filtering, so a refusal is only reported.
    fn accept_all(&self) {
        // SAFETY: the port is started.
        let status = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.id) };
        if status != 0 && status != -libc::ENOTSUP {
            let text = format!(
                "{} receives only frames to its own address: {}",
                self.name,
                strerror(status)
            );
            log::write(LogLevel::Warning, &text);
        }
    }

    /// The largest MTU that buffers and rings allow, in bytes.
    fn mtu_room(&self) -> u16 {
        let room = match self.scatters {
            true => usize::from(MAX_MTU),
            false => self.frame_room.saturating_sub(FRAME_OVERHEAD),
        };
        u16::try_from(room).unwrap_or(u16::MAX).min(MAX_MTU)
    }

    /// Has the device carry packets of `mtu` bytes.
    ///
    /// # Errors
    /// What to do, in words.
    fn set_mtu(&self, mtu: u16) -> Result<(), String> {
        if mtu > MAX_MTU {
            return Err(format!("a port carries {MAX_MTU} at most"));
        }
        if mtu > self.mtu_room() {
            return Err(match driver::of(&self.name) {
                "net_af_packet" => "delete the vif and create it again with this mtu, and \
                     without `framesz` and `blocksz`, which then follow from it"
                    .to_owned(),
                "net_af_xdp" => "use net_af_packet for jumbo frames".to_owned(),
                _ => "its buffers hold no more; delete the vif and create it again with this mtu, \
                      which takes a driver that receives a frame into several buffers"
                    .to_owned(),
            });
        }
        if self.if_index != 0 {
            return kernel::set_interface_mtu(self.if_index, mtu).map_err(|error| {
                format!("setting the interface's MTU failed ({error}); set it with `ip link`")
            });
        }
        if driver::is_virtual(&self.name) {
            self.asked_mtu.store(mtu, Ordering::Relaxed);
            return Ok(());
        }
        // SAFETY: the port exists.
        check(unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.id, mtu) }).map_err(|Refusal(status)| {
            let said = strerror(status);
            format!(
                "its driver refused ({said}); delete the vif and create it again, or lower its mtu"
            )
        })
    }

    /// Stops, closes and detaches the device. For `drop`.
    fn shut(&self) {
        // SAFETY: no handle is left, so nobody uses the port any more.
        let ((), said) = log::collect(|| unsafe {
            if self.rx_queues > 0 {
                // Or the kernel's interface under it would stay so.
                dpdk_sys::rte_eth_promiscuous_disable(self.id);
                dpdk_sys::rte_eth_dev_stop(self.id);
            }
            dpdk_sys::rte_eth_dev_close(self.id);
            dpdk_sys::rte_dev_remove(self.device);
        });
        if !said.is_empty() {
            let text = format!("closing {}: {said}", self.name);
            log::write(LogLevel::Warning, &text);
        }
    }

    /// Frees what still lies in the receive rings.
    fn drain(&self) {
        for queue in 0..self.rx_queues {
            let mut received = 0;
            while received < usize::from(DESCRIPTORS) {
                let mut batch = [ptr::null_mut(); BATCH];
                // SAFETY: `drop` runs when no handle of the queue is left; the
                // batch has the room given, and what comes is freed once.
                let n = unsafe {
                    let n = dpdk_sys::vr_rx_burst(self.id, queue, batch.as_mut_ptr(), BATCH as u16);
                    for &packet in &batch[..usize::from(n)] {
                        dpdk_sys::vr_mbuf_free(packet);
                    }
                    n
                };
                if n == 0 {
                    break;
                }
                received += usize::from(n);
            }
        }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let _guard = hotplug();
        match driver::of(&self.name) {
            // It would leak them.
            "net_ring" => {
                self.drain();
                self.shut();
            }
            // When the peer leaves, the driver takes the connection down on the
            // interrupt thread, without a lock. Only there can both not happen
            // at once.
            "net_memif" => {
                interrupt::run(|| self.shut());
                interrupt::settle();
            }
            _ => self.shut(),
        }
    }
}

/// The owner's half of a port.
struct Control(Arc<OpenPort>);

impl PortControl for Control {
    fn mac(&self) -> MacAddr {
        let mut address = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port exists; it fails only if it did not.
        unsafe { dpdk_sys::rte_eth_macaddr_get(self.0.id, &mut address) };
        MacAddr(address.addr_bytes)
    }

    /// That of the kernel's interface where the device stands on one (DPDK
    /// would answer 1500), and never more than buffers and the device's ring hold.
    fn mtu(&self) -> u16 {
        let mut mtu = 0;
        // SAFETY: the port exists; it fails only if it did not.
        unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.0.id, &mut mtu) };
        let mtu = match self.0.if_index {
            0 => mtu,
            index => kernel::interface_mtu(index).unwrap_or(mtu),
        };
        mtu.max(self.0.asked_mtu.load(Ordering::Relaxed))
            .min(self.0.mtu_room())
    }

    fn raise_mtu(&mut self, mtu: u16) -> Result<(), DeviceError> {
        let limit = self.mtu();
        if mtu <= limit {
            return Ok(());
        }
        self.0.set_mtu(mtu).map_err(|remedy| DeviceError::Mtu {
            device: self.0.name.clone(),
            mtu,
            limit,
            remedy,
        })
    }

    fn link(&self) -> Link {
        let mut speed_mbps = 0;
        // SAFETY: the port exists.
        let up = unsafe { dpdk_sys::vr_port_link(self.0.id, &mut speed_mbps) == 1 };
        // A device on a kernel interface says up whatever becomes of that.
        let carried = self.0.if_index == 0 || kernel::interface_runs(self.0.if_index);
        Link {
            up: up && carried,
            speed_mbps,
        }
    }

    fn offloads(&self) -> Offloads {
        // SAFETY: the port exists.
        let Ok(info) = (unsafe { info(self.0.id) }) else {
            return Offloads::default();
        };
        Offloads {
            rx_ipv4_checksum: info.rx_ipv4_checksum != 0,
            rx_l4_checksum: info.rx_l4_checksum != 0,
            tx_ipv4_checksum: info.tx_ipv4_checksum != 0,
            tx_l4_checksum: info.tx_l4_checksum != 0,
            tx_tcp_segmentation: info.tx_tcp_segmentation != 0,
            rss: info.rss != 0,
        }
    }

    fn finishes_checksums(&self) -> bool {
        self.0.finishes_checksums
    }

    fn stats(&self) -> PortStats {
        let mut stats = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port exists; the struct stays zero if the device counts
        // nothing.
        unsafe { dpdk_sys::rte_eth_stats_get(self.0.id, &mut stats) };
        PortStats {
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            rx_no_mbuf: stats.rx_nombuf,
            rx_oversized: self.0.oversized.load(Ordering::Relaxed),
            tx_errors: stats.oerrors + self.0.unsendable.load(Ordering::Relaxed),
        }
    }

    fn close(self: Box<Self>) {}
}

/// A negative errno that DPDK returned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal(pub(super) c_int);

fn check(status: c_int) -> Result<(), Refusal> {
    if status < 0 {
        Err(Refusal(status))
    } else {
        Ok(())
    }
}

/// # Safety
/// The environment runs. (A port that does not exist is an error.)
unsafe fn info(port: u16) -> Result<vr_port_info, Refusal> {
    // SAFETY: all zeroes (a null pointer among them) are a valid value.
    let mut info: vr_port_info = unsafe { mem::zeroed() };
    // SAFETY: the caller's promise; DPDK checks the number.
    check(unsafe { dpdk_sys::vr_port_info(port, &mut info) })?;
    Ok(info)
}

/// The number of the port that stands on the device of that name.
///
/// # Safety
/// The environment runs, and the caller holds [`hotplug`].
pub(super) unsafe fn find(name: &str) -> Option<u16> {
    let none = dpdk_sys::RTE_MAX_ETHPORTS as u16;
    let mut port = 0;
    loop {
        // SAFETY: any number may be asked for.
        port = unsafe { dpdk_sys::rte_eth_find_next(port) };
        if port >= none {
            return None;
        }
        // SAFETY: the port was there just now, and its device has a name.
        if unsafe { info(port).is_ok_and(|info| device_name(info.device) == name) } {
            return Some(port);
        }
        port += 1;
    }
}

/// # Safety
/// The device exists and stays while the name is used.
unsafe fn device_name<'a>(device: *const rte_device) -> Cow<'a, str> {
    // SAFETY: the caller's promise; names are C strings.
    unsafe { CStr::from_ptr(dpdk_sys::rte_dev_name(device)) }.to_string_lossy()
}

/// As many queues as wanted, or as there are, but one at least.
fn queues(wanted: usize, most: u16) -> u16 {
    u16::try_from(wanted).unwrap_or(u16::MAX).min(most).max(1)
}

/// Gives every worker a handle; several get the same queue if there are too few.
fn deal_out(queues: Vec<Tx>, workers: usize) -> Vec<Box<dyn TxQueue<Mbuf>>> {
    if queues.len() >= workers {
        return queues
            .into_iter()
            .map(|queue| Box::new(queue) as _)
            .collect();
    }
    let shared: Vec<_> = queues
        .into_iter()
        .map(|queue| Arc::new(Mutex::new(queue)))
        .collect();
    let dealt = shared.iter().cycle().take(workers);
    dealt
        .map(|queue| Box::new(SharedTx(queue.clone())) as _)
        .collect()
}
