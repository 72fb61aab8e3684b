//! Why a device could not be opened, as a sentence with the remedy in it.

use std::fmt;

/// Why a device could not be opened.
///
/// `device` is the string the caller gave. `said` is what the driver itself
/// reported, and may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are explained on the type")]
pub enum DeviceError {
    /// The string is not a device name with `key=value` arguments.
    Malformed { device: String, reason: String },
    /// Something the device stands on is missing; `missing` says what.
    NotFound { device: String, missing: String },
    /// A device of that name is open.
    AlreadyOpen { device: String },
    /// No driver answers to that name.
    UnknownDriver { device: String },
    /// All `limit` port numbers are taken.
    NoPortsLeft { device: String, limit: usize },
    /// The kernel refused for want of privilege.
    NotPermitted { device: String, said: String },
    /// No memory for the device's rings or for its first buffers.
    OutOfMemory { device: String, said: String },
    /// The device is there but refused its queues.
    QueueSetup { device: String, said: String },
    /// The device carries packets of `limit` bytes, fewer than `mtu`.
    Mtu {
        device: String,
        mtu: u16,
        limit: u16,
        remedy: String,
    },
    /// The driver refused the device for a reason of its own.
    Refused { device: String, said: String },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { device, reason } => {
                write!(
                    f,
                    "device `{device}` cannot be read: {reason}; write NAME or NAME,key=value,…"
                )
            }
            Self::NotFound { device, missing } => {
                write!(
                    f,
                    "device `{device}` cannot be opened: there is no {missing}; \
                     create it first or correct the name"
                )
            }
            Self::AlreadyOpen { device } => {
                write!(
                    f,
                    "device `{device}` is open already: close it first or give \
                     this one another name"
                )
            }
            Self::UnknownDriver { device } => {
                write!(
                    f,
                    "device `{device}` has no driver: check the spelling, and that \
                     the driver's package is installed"
                )
            }
            Self::NoPortsLeft { device, limit } => {
                write!(
                    f,
                    "device `{device}` cannot be opened: all {limit} ports of this \
                     DPDK build are in use; close one, or carry several vifs on one port"
                )
            }
            Self::NotPermitted { device, said } => {
                write!(
                    f,
                    "device `{device}` may not be opened by this user{}: run with \
                     the needed capability (CAP_NET_RAW or CAP_NET_ADMIN) or as root",
                    Aside(said)
                )
            }
            Self::OutOfMemory { device, said } => {
                write!(
                    f,
                    "device `{device}` found no memory for its queues{}: give the \
                     engine more memory or a larger buffer pool, or open fewer devices",
                    Aside(said)
                )
            }
            Self::QueueSetup { device, said } => {
                write!(
                    f,
                    "device `{device}` refused its queues{}: check its queue, \
                     ring and frame size arguments",
                    Aside(said)
                )
            }
            Self::Mtu {
                device,
                mtu,
                limit,
                remedy,
            } => {
                write!(
                    f,
                    "device `{device}` carries packets of {limit} bytes, not {mtu}: {remedy}"
                )
            }
            Self::Refused { device, said } => {
                write!(
                    f,
                    "device `{device}` was refused by its driver{}: check its arguments",
                    Aside(said)
                )
            }
        }
    }
}

impl std::error::Error for DeviceError {}

/// What the driver said, in parentheses, or nothing when it said nothing.
struct Aside<'a>(&'a str);

impl fmt::Display for Aside<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_device_and_remedy() {
        let error = DeviceError::NotFound {
            device: "net_af_packet0,iface=eth9".into(),
            missing: "network interface `eth9`".into(),
        };
        assert_eq!(
            error.to_string(),
            "device `net_af_packet0,iface=eth9` cannot be opened: there is no network \
             interface `eth9`; create it first or correct the name"
        );
    }

    #[test]
    fn a_silent_driver_leaves_no_empty_parentheses() {
        let error = DeviceError::QueueSetup {
            device: "net_ring0".into(),
            said: String::new(),
        };
        assert!(!error.to_string().contains('('));
    }
}
