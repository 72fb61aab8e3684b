//! Opening devices by name, and saying why one cannot be opened.

use std::ffi::{CString, c_int};

use super::mempool::{JUMBO_ROOM, MempoolError};
use super::port::{self, OpenPort, Refusal};
use super::{Eal, LogLevel, Mbuf, Mempool, driver, log};
use crate::io::{self, DeviceError, Port};

/// Opens DPDK ports, all of which take their buffers from one pool; but see
/// `Mempool::jumbo`.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    eal: Eal,
    pool: Mempool,
}

impl Devices {
    /// Ports opened here receive into buffers of `pool`.
    pub fn new(eal: Eal, pool: Mempool) -> Self {
        Self { eal, pool }
    }

    /// The buffers for a device whose frames are to fit one each.
    fn pool_for(&self, device: &str, name: &str) -> Result<Mempool, MempoolError> {
        match driver::fits(device, name, self.pool.config().frame_room()) {
            true => Ok(self.pool),
            false => Mempool::jumbo(self.eal),
        }
    }
}

impl io::Devices<Mbuf> for Devices {
    fn open_for(
        &mut self,
        device: &str,
        queues: usize,
        mtu: Option<u16>,
    ) -> Result<Port<Mbuf>, DeviceError> {
        let name = name(device)?;
        driver::check(device, name, usize::from(JUMBO_ROOM))?;
        let sized = driver::with_ring(device, name, mtu);
        let pool = self.pool_for(&sized, name).map_err(|error| {
            let (device, said) = (device.to_owned(), error.to_string());
            DeviceError::OutOfMemory { device, said }
        })?;
        let (result, said) = log::collect(|| {
            let port = attach(&sized, name, &pool)?;
            port.start(queues, &pool, mtu).map_err(Failure::SetUp)
        });
        match result {
            Ok(mut port) => {
                if let Some(mtu) = mtu {
                    port.control.raise_mtu(mtu)?;
                }
                // Drivers call an error what they then do without.
                if !said.is_empty() {
                    log::write(LogLevel::Notice, &format!("{device}: {said}"));
                }
                Ok(port)
            }
            Err(failure) => Err(failure.explain(device, name, &said)),
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
    unsafe { OpenPort::new(id, device, name, pool) }.map_err(Failure::SetUp)
}

impl Failure {
    fn explain(self, device: &str, name: &str, said: &str) -> DeviceError {
        let device = device.to_owned();
        let said = drivers_words(said);
        let on_pci = name.contains(':');
        match self {
            Self::AlreadyOpen => DeviceError::AlreadyOpen { device },
            Self::NoPortsLeft => DeviceError::NoPortsLeft {
                device,
                limit: dpdk_sys::RTE_MAX_ETHPORTS as usize,
            },
            Self::NoPort => DeviceError::Refused {
                device,
                said: "it is no network device".to_owned(),
            },
            Self::Probe(Refusal(NO_MEMORY)) | Self::SetUp(Refusal(NO_MEMORY)) => {
                DeviceError::OutOfMemory { device, said }
            }
            // Many drivers answer -1 whatever happened, so the errno does not tell.
            Self::Probe(_) | Self::SetUp(_) if driver::lacks_privilege(name) => {
                DeviceError::NotPermitted { device, said }
            }
            // No bus recognised the name, which virtual devices are by driver.
            Self::Probe(Refusal(BAD_ADDRESS)) => DeviceError::UnknownDriver { device },
            Self::Probe(Refusal(NO_DEVICE)) if on_pci => DeviceError::NotFound {
                device,
                missing: "PCI device of that address, or DPDK was started without PCI".to_owned(),
            },
            Self::Probe(_) if on_pci && said.is_empty() => DeviceError::Refused {
                device,
                said: "no driver of DPDK's took it; most need it bound to vfio-pci".to_owned(),
            },
            Self::Probe(_) => DeviceError::Refused { device, said },
            Self::SetUp(_) => DeviceError::QueueSetup { device, said },
        }
    }
}

const BAD_ADDRESS: c_int = -libc::EFAULT;
const NO_DEVICE: c_int = -libc::ENODEV;
const NO_MEMORY: c_int = -libc::ENOMEM;

/// What the driver said, without the chorus of the layers above it.
fn drivers_words(said: &str) -> String {
    let words = said.split("; ").filter(|part| !part.starts_with("EAL: "));
    words.collect::<Vec<_>>().join("; ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_the_device_is_found_by() {
        for (device, expected) in [
            ("net_ring0", "net_ring0"),
            ("net_memif0,role=client,id=1", "net_memif0"),
            ("vdev:net_null1,size=64", "net_null1"),
            ("0000:00:05.0", "0000:00:05.0"),
            ("pci:0000:00:05.0,representor=1", "0000:00:05.0"),
        ] {
            assert_eq!(name(device), Ok(expected));
        }
    }

    #[test]
    fn nonsense_is_refused_before_dpdk_sees_it() {
        let long = "x".repeat(64);
        for device in ["", ",iface=eth0", "net ring0", "net_ring0\0", &long] {
            assert!(name(device).is_err(), "{device:?}");
        }
    }

    #[test]
    fn only_the_drivers_words_reach_the_user() {
        let said = "open_iface(): no; EAL: Driver cannot attach; EAL: Failed";
        assert_eq!(drivers_words(said), "open_iface(): no");
        assert_eq!(drivers_words("EAL: Failed"), "");
    }
}
