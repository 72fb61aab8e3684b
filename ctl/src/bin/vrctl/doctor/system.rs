//! What the kernel says of the machine, from files below /proc and /sys.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine.
pub(super) struct System {
    root: PathBuf,
}

impl System {
    /// This one.
    pub(super) fn here() -> System {
        System::at(Path::new("/"))
    }

    /// One whose files are in a directory.
    pub(super) fn at(root: &Path) -> System {
        System { root: root.into() }
    }

    /// Reserved 2 MiB pages: all, and those that are free.
    pub(super) fn hugepages(&self) -> (u64, u64) {
        let text = self.read("proc/meminfo").unwrap_or_default();
        let value = |key: &str| {
            let mut lines = text.lines();
            let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            line.and_then(|line| line.trim().parse().ok()).unwrap_or(0)
        };
        (value("HugePages_Total"), value("HugePages_Free"))
    }

    /// Cores on which the kernel schedules nothing by itself.
    pub(super) fn isolated_cores(&self) -> Vec<u32> {
        self.list("sys/devices/system/cpu/isolated")
    }

    /// All cores.
    pub(super) fn cores(&self) -> Vec<u32> {
        self.list("sys/devices/system/cpu/online")
    }

    /// Cores that are one with this.
    pub(super) fn siblings(&self, core: u32) -> Vec<u32> {
        let path = format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        self.list(&path)
            .into_iter()
            .filter(|it| *it != core)
            .collect()
    }

    /// How the core's frequency is chosen; `None` if the machine below does that.
    pub(super) fn governor(&self, core: u32) -> Option<String> {
        self.read(&format!(
            "sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"
        ))
    }

    /// The NUMA node of a core.
    pub(super) fn node_of_core(&self, core: u32) -> Option<u32> {
        let nodes = self.list("sys/devices/system/node/online");
        nodes.into_iter().find(|node| {
            let cores = self.list(&format!("sys/devices/system/node/node{node}/cpulist"));
            cores.contains(&core)
        })
    }

    /// The NUMA node of a device, by its PCI address or the name of its interface.
    pub(super) fn node_of_device(&self, device: &str) -> Option<u32> {
        let paths = [
            format!("sys/bus/pci/devices/{device}/numa_node"),
            format!("sys/class/net/{device}/device/numa_node"),
        ];
        // -1 is a machine that says nothing about it.
        paths.iter().find_map(|path| self.read(path)?.parse().ok())
    }

    /// The MTU of an interface.
    pub(super) fn mtu(&self, interface: &str) -> Option<u32> {
        self.read(&format!("sys/class/net/{interface}/mtu"))?
            .parse()
            .ok()
    }

    /// Offloads of an interface that are on, by `ethtool`'s names; `None` if that cannot be asked.
    pub(super) fn offloads(&self, interface: &str) -> Option<Vec<String>> {
        if self.root != Path::new("/") {
            let text = self.read(&format!("ethtool/{interface}"))?;
            return Some(switched_on(&text));
        }
        let output = Command::new("ethtool")
            .args(["-k", interface])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| switched_on(&text))
    }

    fn read(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// `0-3,8`
    fn list(&self, path: &str) -> Vec<u32> {
        let text = self.read(path).unwrap_or_default();
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse().ok()?..=last.parse::<u32>().ok()?)
        };
        text.split(',').filter_map(range).flatten().collect()
    }
}

fn switched_on(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
    let on = lines.filter(|(_, value)| value.starts_with("on"));
    on.map(|(name, _)| name.to_owned()).collect()
}
