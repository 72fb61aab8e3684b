//! 2 MiB pages for all contenders alike, reserved for as long as the rig runs.

use std::fs;

const SETTING: &str = "/proc/sys/vm/nr_hugepages";

/// For the packet buffers of all, and the caches of Open vSwitch, in pages.
const BASE: u64 = 1_100;
/// A flow takes so much of vrouter's table, in bytes.
const FLOW: u64 = 400;

/// The setting as it was; restored when dropped.
pub(super) struct Reserved {
    before: Option<u64>,
    count: u64,
}

/// Reserves what so many flows need.
///
/// # Errors
/// A sentence, if the kernel gives fewer: then some contenders would have them and others not.
pub(super) fn reserve(flows: u64) -> Result<Reserved, String> {
    let needed = BASE + flows * FLOW / (2 << 20);
    let before = read();
    if before.is_some_and(|before| before >= needed) {
        let count = before.unwrap_or_default();
        return Ok(Reserved {
            before: None,
            count,
        });
    }
    fs::write(SETTING, needed.to_string())
        .map_err(|error| format!("{SETTING}: {error}; the rig runs as root"))?;
    let reserved = Reserved {
        before,
        count: needed,
    };
    match read() {
        Some(count) if count >= needed => Ok(reserved),
        count => Err(format!(
            "{} of {needed} huge pages of 2 MiB are free; use fewer --flows, or free memory",
            count.unwrap_or_default()
        )),
    }
}

fn read() -> Option<u64> {
    fs::read_to_string(SETTING).ok()?.trim().parse().ok()
}

impl Reserved {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            _ = fs::write(SETTING, before.to_string());
        }
    }
}
