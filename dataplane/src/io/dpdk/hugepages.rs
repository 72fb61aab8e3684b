//! Whether there is hugepage memory to start with.

use std::path::Path;
use std::{fs, io};

/// The pages that DPDK's memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Hugepages, needed by most hardware and fast. Nothing is mounted and no
    /// files are left behind.
    Huge,
    /// Ordinary 4 KiB pages: works everywhere, with virtual devices only, at
    /// about twice the cost per packet.
    NoHuge,
}

impl Memory {
    /// Hugepages if `megabytes` of them are free, ordinary pages if not; then
    /// also the reason, for the log.
    pub fn detect(megabytes: u32) -> (Self, Option<String>) {
        Self::choose(megabytes, free_megabytes(Path::new(HUGEPAGES)).unwrap_or(0))
    }

    fn choose(wanted: u32, free: u64) -> (Self, Option<String>) {
        if u64::from(wanted) <= free {
            return (Self::Huge, None);
        }
        let reason = format!(
            "{free} MiB of hugepages are free and {wanted} MiB are wanted, so packets take \
             about twice the time on ordinary pages; \
             reserve more with `sysctl vm.nr_hugepages={}`",
            wanted.div_ceil(2)
        );
        (Self::NoHuge, Some(reason))
    }
}

/// One directory for each size of hugepage that the kernel knows.
const HUGEPAGES: &str = "/sys/kernel/mm/hugepages";

/// Free and unreserved hugepages of all sizes below `directory`.
fn free_megabytes(directory: &Path) -> io::Result<u64> {
    let mut kibibytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let size = name
            .to_str()
            .and_then(|name| name.strip_prefix("hugepages-")?.strip_suffix("kB"))
            .and_then(|size| size.parse::<u64>().ok());
        let Some(size) = size else { continue };
        let free = number(&entry.path().join("free_hugepages"));
        let reserved = number(&entry.path().join("resv_hugepages"));
        kibibytes += size * free.saturating_sub(reserved);
    }
    Ok(kibibytes / 1024)
}

/// The number in a file, 0 if there is none.
fn number(path: &Path) -> u64 {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_free_pages_are_used() {
        assert_eq!(Memory::choose(512, 512), (Memory::Huge, None));
    }

    #[test]
    fn too_few_pages_say_how_many_to_reserve() {
        let (memory, reason) = Memory::choose(511, 510);
        assert_eq!(memory, Memory::NoHuge);
        assert!(reason.unwrap().ends_with("`sysctl vm.nr_hugepages=256`"));
    }

    #[test]
    fn all_sizes_count_and_reserved_pages_do_not() {
        let root = std::env::temp_dir().join(format!("vrouter-huge-{}", std::process::id()));
        for (size, free, reserved) in [("2048", "10\n", "4\n"), ("1048576", "1\n", "0\n")] {
            let directory = root.join(format!("hugepages-{size}kB"));
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("free_hugepages"), free).unwrap();
            fs::write(directory.join("resv_hugepages"), reserved).unwrap();
        }
        let free = free_megabytes(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(free, 6 * 2 + 1024);
    }
}
