//! Opening devices by name, and saying why one cannot be opened.

use std::ffi::CString;
use std::path::Path;

use super::port::{self, OpenPort, Refusal};
use super::{Eal, Mbuf, Mempool, kernel, log};
use crate::io::{self, DeviceError, Port};

/// Opens DPDK ports, all of which take their buffers from one pool.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    pool: Mempool,
}

impl Devices {
    /// Ports opened here receive into buffers of `pool`.
    pub fn new(_: Eal, pool: Mempool) -> Self {
        Self { pool }
    }
}

impl io::Devices<Mbuf> for Devices {
    fn open(&mut self, device: &str, queues: usize) -> Result<Port<Mbuf>, DeviceError> {
        let name = name(device)?;
        check_needs(device)?;
        let (result, said) = log::collect(|| {
            let port = attach(device, name, &self.pool)?;
            port.start(queues, &self.pool).map_err(Failure::SetUp)
        });
        match result {
            Ok(port) => {
                if !said.is_empty() {
                    log::write(log::LogLevel::Warning, &format!("{device}: {said}"));
                }
                Ok(port)
            }
            Err(failure) => Err(failure.explain(device, name, said)),
        }
    }
}

/// How far opening a device got.
enum Failure {
    AlreadyOpen,
    NoPortsLeft,
    Probe(Refusal),
    NoPort,
    SetUp(Refusal),
}

/// Has DPDK find the device and its driver, and takes over the port they make.
fn attach(device: &str, name: &str, pool: &Mempool) -> Result<OpenPort, Failure> {
    let arguments = CString::new(device).map_err(|_| Failure::Probe(Refusal(-libc::EINVAL)))?;
    let guard = port::hotplug();
    // SAFETY: the environment runs, since there is a pool; the guard is held.
    if unsafe { port::find(name) }.is_some() {
        return Err(Failure::AlreadyOpen);
    }
    // SAFETY: reads a list that the guard protects.
    if u32::from(unsafe { dpdk_sys::rte_eth_dev_count_avail() }) >= dpdk_sys::RTE_MAX_ETHPORTS {
        return Err(Failure::NoPortsLeft);
    }
    // SAFETY: a C string, which DPDK copies.
    let status = unsafe { dpdk_sys::rte_dev_probe(arguments.as_ptr()) };
    if status < 0 {
        return Err(Failure::Probe(Refusal(status)));
    }
    // SAFETY: as above.
    let id = unsafe { port::find(name) }.ok_or(Failure::NoPort)?;
    drop(guard);
    // SAFETY: probing made the port, so nobody else knows it.
    unsafe { OpenPort::new(id, pool) }.map_err(Failure::SetUp)
}

impl Failure {
    fn explain(self, device: &str, name: &str, said: String) -> DeviceError {
        eprintln!("XXX {name} {said}");
        let device = device.to_owned();
        let (Self::Probe(Refusal(status)) | Self::SetUp(Refusal(status))) = self else {
            return match self {
                Self::AlreadyOpen => DeviceError::AlreadyOpen { device },
                Self::NoPortsLeft => DeviceError::NoPortsLeft {
                    device,
                    limit: dpdk_sys::RTE_MAX_ETHPORTS as usize,
                },
                _ => DeviceError::Refused {
                    device,
                    said: "it is no network device".to_owned(),
                },
            };
        };
        DeviceError::Refused {
            device,
            said: format!("{status} {said}"),
        }
    }
}

/// The device's name: what stands before the arguments and after the bus.
fn name(device: &str) -> Result<&str, DeviceError> {
    let malformed = |reason: &str| DeviceError::Malformed {
        device: device.to_owned(),
        reason: reason.to_owned(),
    };
    if device.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(malformed("it contains a space or a control character"));
    }
    let name = device.split(',').next().unwrap_or_default();
    let name = ["vdev:", "pci:"]
        .iter()
        .find_map(|bus| name.strip_prefix(bus))
        .unwrap_or(name);
    if name.is_empty() {
        return Err(malformed("it has no name"));
    }
    if name.len() >= dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize {
        return Err(malformed("its name is longer than 63 bytes"));
    }
    Ok(name)
}

/// Checks that what the device's arguments refer to is there. Drivers would
/// only report that something failed.
fn check_needs(device: &str) -> Result<(), DeviceError> {
    let missing = |missing: String| {
        let device = device.to_owned();
        Err(DeviceError::NotFound { device, missing })
    };
    let kind = device.trim_start_matches("vdev:");
    for argument in device.split(',').skip(1) {
        let Some((key, value)) = argument.split_once('=') else {
            continue;
        };
        let stands_on_interface = match key {
            // A tap device makes its `iface`.
            "iface" => !kind.starts_with("net_tap"),
            "rx_iface" | "rx_iface_in" | "tx_iface" | "remote" => true,
            _ => false,
        };
        if stands_on_interface && !kernel::interface_exists(value) {
            return missing(format!("network interface `{value}`"));
        }
        if key == "rx_pcap" && !Path::new(value).is_file() {
            return missing(format!("capture file `{value}`"));
        }
    }
    Ok(())
}
