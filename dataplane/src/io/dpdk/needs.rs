//! What a virtual device's arguments refer to, by driver.
//!
//! Drivers check this too, but report only that something failed. DPDK
//! documents the arguments in its Network Interface Controller Drivers guide.

use std::path::Path;

use super::kernel::{self, Capability};
use crate::io::DeviceError;

/// Something that must be there before the device can be opened.
enum Need {
    /// A network interface of that name.
    Interface,
    /// A file or socket at that path.
    File,
    /// The directory of that path.
    Directory,
}

impl Need {
    /// What the argument `key` of a device of this kind stands for.
    fn of(driver: &str, key: &str, device: &str) -> Option<Self> {
        match (driver, key) {
            ("net_af_packet" | "net_af_xdp" | "net_pcap", "iface") => Some(Self::Interface),
            ("net_pcap", "rx_iface" | "rx_iface_in" | "tx_iface") => Some(Self::Interface),
            ("net_pcap", "rx_pcap") => Some(Self::File),
            ("net_pcap", "tx_pcap") => Some(Self::Directory),
            ("net_tap", "remote") => Some(Self::Interface),
            // Sockets are in the abstract namespace unless told otherwise.
            ("net_memif", "socket") if device.contains("socket-abstract=no") => {
                Some(Self::Directory)
            }
            ("net_vhost", "iface") => Some(Self::Directory),
            ("net_virtio_user", "path") if !device.contains("server=1") => Some(Self::File),
            _ => None,
        }
    }

    /// What is missing, in words, if something is.
    fn missing(&self, value: &str) -> Option<String> {
        match self {
            Self::Interface if !kernel::interface_exists(value) => {
                Some(format!("network interface `{value}`"))
            }
            Self::File if !Path::new(value).exists() => Some(format!("file `{value}`")),
            Self::Directory => {
                let directory = Path::new(value).parent()?;
                let there = directory.as_os_str().is_empty() || directory.is_dir();
                (!there).then(|| format!("directory `{}`", directory.display()))
            }
            _ => None,
        }
    }
}

/// Checks the arguments of `device`, whose name is `name`.
pub(super) fn check(device: &str, name: &str) -> Result<(), DeviceError> {
    let driver = driver(name);
    let arguments = device.split(',').skip(1);
    let mut pairs = arguments.filter_map(|argument| argument.split_once('='));
    if matches!(driver, "net_af_packet" | "net_af_xdp") && !pairs.clone().any(|(k, _)| k == "iface")
    {
        return Err(DeviceError::Malformed {
            device: device.to_owned(),
            reason: "it needs iface=INTERFACE".to_owned(),
        });
    }
    let missing = pairs.find_map(|(key, value)| Need::of(driver, key, device)?.missing(value));
    match missing {
        Some(missing) => Err(DeviceError::NotFound {
            device: device.to_owned(),
            missing,
        }),
        None => Ok(()),
    }
}

/// Whether a device of that name asks the kernel for something that this process
/// may not do.
pub(super) fn lacks_privilege(name: &str) -> bool {
    let needed: &[Capability] = match driver(name) {
        "net_af_packet" | "net_pcap" => &[Capability::NetRaw],
        "net_af_xdp" => &[Capability::NetRaw, Capability::NetAdmin],
        "net_tap" => &[Capability::NetAdmin],
        _ => &[],
    };
    !needed.iter().all(|&capability| kernel::may(capability))
}

/// The driver's name: the device's without its number.
pub(super) fn driver(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(device: &str) -> Option<String> {
        let name = device.split(',').next().unwrap();
        check(device, name).err().map(|error| error.to_string())
    }

    #[test]
    fn missing_things_are_named() {
        for (device, missing) in [
            ("net_af_packet0,iface=vr-none", "interface `vr-none`"),
            ("net_pcap0,tx_iface=vr-none", "interface `vr-none`"),
            ("net_pcap0,rx_pcap=/none/a.pcap", "file `/none/a.pcap`"),
            ("net_pcap0,rx_iface=lo,tx_pcap=/none/b", "directory `/none`"),
            ("net_vhost0,iface=/none/socket", "directory `/none`"),
            ("net_virtio_user0,path=/none/socket", "file `/none/socket`"),
        ] {
            let said = refusal(device).unwrap();
            assert!(said.contains(missing), "{said}");
        }
    }

    #[test]
    fn what_is_there_or_will_be_made_passes() {
        for device in [
            "net_ring0",
            "net_af_packet0,iface=lo,qpairs=2",
            "net_tap0,iface=vr-none",
            "net_pcap0,tx_pcap=b.pcap",
            "net_vhost0,iface=/tmp/socket",
            "net_virtio_user0,path=/none/socket,server=1",
            "net_memif0,socket=/none/socket",
        ] {
            assert_eq!(refusal(device), None);
        }
    }

    #[test]
    fn an_interface_device_without_one_is_malformed() {
        let said = refusal("net_af_xdp0,start_queue=1").unwrap();
        assert!(said.contains("it needs iface=INTERFACE"), "{said}");
    }
}
