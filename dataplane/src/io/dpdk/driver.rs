//! What is known of a virtual device from its name and arguments: what it stands
//! on, which privilege it takes, how long its frames are, and what is free.
//!
//! Drivers check the first two, but report only that something failed. DPDK
//! documents the arguments in its Network Interface Controller Drivers guide.

use std::borrow::Cow;
use std::path::Path;

use super::kernel::{self, Capability};
use super::port::FRAME_OVERHEAD;
use crate::io::{DeviceError, MAX_MTU};

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

/// Checks the arguments of `device`, whose name is `name` and whose frames go into
/// buffers with `buffer_room` bytes for them.
pub(super) fn check(device: &str, name: &str, buffer_room: usize) -> Result<(), DeviceError> {
    let driver = of(name);
    let malformed = |reason: String| {
        let device = device.to_owned();
        Err(DeviceError::Malformed { device, reason })
    };
    let on_interface = matches!(driver, "net_af_packet" | "net_af_xdp");
    if on_interface && !arguments(device).any(|(key, _)| key == "iface") {
        return malformed("it needs iface=INTERFACE".to_owned());
    }
    if !fits(device, name, buffer_room) {
        let most = buffer_room + RING_HEADER;
        return malformed(format!(
            "framesz may be {most} at most, for buffers of {buffer_room} bytes"
        ));
    }
    let missing =
        arguments(device).find_map(|(key, value)| Need::of(driver, key, device)?.missing(value));
    match missing {
        Some(missing) => Err(DeviceError::NotFound {
            device: device.to_owned(),
            missing,
        }),
        None => Ok(()),
    }
}

/// The device with a ring for the frames of packets of `mtu` bytes, or of what its
/// interface carries, unless its arguments say how large the frames are.
///
/// The default of af_packet, 2048, would cut jumbo frames.
pub(super) fn with_ring<'a>(device: &'a str, name: &str, mtu: Option<u16>) -> Cow<'a, str> {
    let is_sized = arguments(device).any(|(key, _)| matches!(key, "framesz" | "blocksz"));
    if of(name) != "net_af_packet" || is_sized {
        return device.into();
    }
    let of_interface = || {
        let (_, interface) = arguments(device).find(|(key, _)| *key == "iface")?;
        kernel::interface_mtu(kernel::interface_index(interface)?)
    };
    let mtu = mtu.or_else(of_interface).unwrap_or_default().min(MAX_MTU);
    // One more than fits, as a frame that fills the ring's may have been cut.
    let need = usize::from(mtu) + FRAME_OVERHEAD + RING_HEADER + 14 + 1;
    if need <= DEFAULT_FRAME_SIZE {
        return device.into();
    }
    // The kernel wants whole pages, and whole frames in them.
    let size = need.next_multiple_of(4096);
    format!("{device},framesz={size},blocksz={size}").into()
}

/// Whether the frames of the device's own ring, if it has one, fit into buffers
/// with `buffer_room` bytes for them.
pub(super) fn fits(device: &str, name: &str, buffer_room: usize) -> bool {
    of(name) != "net_af_packet" || frame_size(device) <= buffer_room + RING_HEADER
}

/// Whether packets longer than one buffer are received into several.
pub(super) fn scatters(name: &str) -> bool {
    !matches!(of(name), "net_af_packet" | "net_af_xdp")
}

/// Whether the device is made of software, and cares for no MTU of its own.
pub(super) fn is_virtual(name: &str) -> bool {
    !name.contains(':')
}

/// Whether the driver knows of checksums without computing them: hardware does,
/// and a virtio peer says what it left out.
pub(super) fn knows_checksums(name: &str) -> bool {
    !is_virtual(name) || matches!(of(name), "net_vhost" | "net_virtio_user")
}

/// Whether packets may be left unfinished for the device: a virtio peer takes them
/// as they are. A NIC could finish a checksum, too; but what goes out by one is
/// nearly always in a tunnel, and many a driver becomes slower when asked.
pub(super) fn finishes_checksums(name: &str) -> bool {
    matches!(of(name), "net_vhost" | "net_virtio_user")
}

/// The longest frame that the device's own ring holds, in bytes, where it has one
/// that would cut a longer frame.
pub(super) fn ring_room(device: &str, name: &str) -> Option<usize> {
    // After the header, the kernel leaves space for an aligned Ethernet header.
    (of(name) == "net_af_packet").then(|| frame_size(device).saturating_sub(RING_HEADER + 14))
}

/// What the kernel puts before a frame in the ring of af_packet, in bytes: its
/// own header and an address (packet(7)).
const RING_HEADER: usize = 32 + 20;

/// Bytes for a frame and what goes before it in the ring of an af_packet device.
fn frame_size(device: &str) -> usize {
    let argument = arguments(device).find(|(key, _)| *key == "framesz");
    let size = argument.and_then(|(_, value)| value.parse().ok());
    size.unwrap_or(DEFAULT_FRAME_SIZE)
}

/// What the driver of af_packet takes for `framesz` by itself.
const DEFAULT_FRAME_SIZE: usize = 2048;

/// Whether a device of that name asks the kernel for something that this process
/// may not do.
pub(super) fn lacks_privilege(name: &str) -> bool {
    let needed: &[Capability] = match of(name) {
        "net_af_packet" | "net_pcap" => &[Capability::NetRaw],
        "net_af_xdp" => &[Capability::NetRaw, Capability::NetAdmin],
        "net_tap" => &[Capability::NetAdmin],
        _ => &[],
    };
    !needed.iter().all(|&capability| kernel::may(capability))
}

/// The `key=value` arguments of a device.
fn arguments(device: &str) -> impl Iterator<Item = (&str, &str)> {
    let arguments = device.split(',').skip(1);
    arguments.filter_map(|argument| argument.split_once('='))
}

/// The driver's name: the device's without its number.
pub(super) fn of(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(device: &str) -> Option<String> {
        let name = device.split(',').next().unwrap();
        check(device, name, 2048)
            .err()
            .map(|error| error.to_string())
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
    fn only_af_packet_has_a_ring_that_cuts() {
        let room = |device: &str| ring_room(device, device.split(',').next().unwrap());
        assert_eq!(room("net_af_packet0,iface=lo"), Some(1982));
        assert_eq!(room("net_af_packet0,iface=lo,framesz=4096"), Some(4030));
        assert_eq!(room("net_ring0"), None);
    }

    #[test]
    fn the_ring_is_made_for_the_mtu_unless_it_is_sized_by_hand() {
        let ring = |device: &'static str, mtu| {
            let name = device.split(',').next().unwrap();
            with_ring(device, name, mtu).into_owned()
        };
        let plain = "net_af_packet0,iface=none";
        assert_eq!(ring(plain, None), plain);
        assert_eq!(ring(plain, Some(1500)), plain);
        assert_eq!(ring(plain, Some(1963)), plain);
        let sized = |size: u32| format!("{plain},framesz={size},blocksz={size}");
        assert_eq!(ring(plain, Some(1964)), sized(4096));
        assert_eq!(ring(plain, Some(9216)), sized(12_288));
        // loopback carries 65,536 bytes, which no port does
        assert!(ring("net_af_packet0,iface=lo", None).ends_with("blocksz=12288"));
        for by_hand in ["net_af_packet0,iface=none,framesz=2048", "net_ring0"] {
            assert_eq!(ring(by_hand, Some(9000)), by_hand);
        }
    }

    #[test]
    fn a_ring_frame_larger_than_a_buffer_is_malformed() {
        assert_eq!(refusal("net_af_packet0,iface=lo,framesz=2100"), None);
        let said = refusal("net_af_packet0,iface=lo,framesz=4096").unwrap();
        assert!(said.contains("framesz may be 2100 at most"), "{said}");
    }

    #[test]
    fn an_interface_device_without_one_is_malformed() {
        let said = refusal("net_af_xdp0,start_queue=1").unwrap();
        assert!(said.contains("it needs iface=INTERFACE"), "{said}");
    }
}
