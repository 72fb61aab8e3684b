//! What the kernel tells about memory: the pages a mapping really got and where
//! they are (`/proc/self/smaps`, `numa_maps`), and what there is to have.
//!
//! What cannot be read counts as not there.

use std::fs;
use std::path::Path;

use super::HUGE_PAGE;

/// The pool of reserved 2 MiB pages.
const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

/// What is there of one mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Residence {
    /// In reserved huge pages.
    pub(super) reserved_bytes: usize,
    /// In transparent huge pages.
    pub(super) transparent_bytes: usize,
    /// The NUMA node that most of it is on.
    pub(super) node: Option<u32>,
    /// On other nodes.
    pub(super) stray_bytes: usize,
}

impl Residence {
    /// Of the mapping of this process that starts at `address`.
    pub(super) fn of(address: usize) -> Residence {
        let read = |name| fs::read_to_string(Path::new("/proc/self").join(name));
        let smaps = read("smaps").unwrap_or_default();
        let numa_maps = read("numa_maps").unwrap_or_default();
        Residence::parse(address, &smaps, &numa_maps)
    }

    fn parse(address: usize, smaps: &str, numa_maps: &str) -> Residence {
        let lines = smaps
            .lines()
            .skip_while(|line| !line.starts_with(&format!("{address:08x}-")))
            .skip(1)
            // The head of the next mapping has no colon after its first word.
            .take_while(|line| line.split(' ').next().is_some_and(|w| w.ends_with(':')));
        let mut residence = Residence::default();
        for line in lines {
            match kibibytes(line) {
                Some(("Private_Hugetlb" | "Shared_Hugetlb", bytes)) => {
                    residence.reserved_bytes += bytes;
                }
                Some(("AnonHugePages", bytes)) => residence.transparent_bytes += bytes,
                _ => {}
            }
        }
        (residence.node, residence.stray_bytes) = nodes(address, numa_maps);
        residence
    }
}

/// The node that most of a mapping is on, and how many bytes are on others.
fn nodes(address: usize, numa_maps: &str) -> (Option<u32>, usize) {
    let start = format!("{address:08x} ");
    let Some(line) = numa_maps.lines().find(|line| line.starts_with(&start)) else {
        return (None, 0);
    };
    let fields = || line.split(' ').filter_map(|field| field.split_once('='));
    let page = fields()
        .find(|(name, _)| *name == "kernelpagesize_kB")
        .and_then(|(_, size)| size.parse::<usize>().ok())
        .unwrap_or(0)
        << 10;
    let counts = || {
        fields().filter_map(|(name, count)| {
            let node: u32 = name.strip_prefix('N')?.parse().ok()?;
            Some((node, count.parse::<usize>().ok()? * page))
        })
    };
    let most = counts().max_by_key(|(_, bytes)| *bytes);
    let all: usize = counts().map(|(_, bytes)| bytes).sum();
    (
        most.map(|(node, _)| node),
        all - most.map_or(0, |(_, bytes)| bytes),
    )
}

/// Bytes that can be had without swapping.
pub(super) fn available_memory() -> Option<usize> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let mut lines = meminfo.lines().filter_map(kibibytes);
    let (_, bytes) = lines.find(|(name, _)| *name == "MemAvailable")?;
    Some(bytes)
}

/// Reserved huge pages that are taken, or promised to somebody.
pub(super) fn reserved_in_use() -> usize {
    let number = |name: &str| {
        let text = fs::read_to_string(Path::new(POOL).join(name)).unwrap_or_default();
        text.trim().parse::<usize>().unwrap_or(0)
    };
    let free = number("free_hugepages").saturating_sub(number("resv_hugepages"));
    number("nr_hugepages").saturating_sub(free)
}

/// Name and bytes of a line `Name:   12 kB`.
fn kibibytes(line: &str) -> Option<(&str, usize)> {
    let (name, value) = line.split_once(':')?;
    let number = value.trim().strip_suffix(" kB")?.parse::<usize>().ok()?;
    Some((name, number << 10))
}

const _: () = assert!(HUGE_PAGE == 2048 << 10, "POOL is of this size");

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f0000000000-7f0000400000 rw-p 00000000 00:0f 1   /anon_hugepage (deleted)
Size:               4096 kB
KernelPageSize:     2048 kB
AnonHugePages:         0 kB
Shared_Hugetlb:        0 kB
Private_Hugetlb:    4096 kB
VmFlags: rd wr mr mw me de ht sd
7f0000400000-7f0000c00000 rw-p 00000000 00:00 0
Size:               8192 kB
AnonHugePages:      6144 kB
Private_Hugetlb:       0 kB
VmFlags: rd wr mr mw me sd hg
";
    const NUMA_MAPS: &str = "\
7f0000000000 default file=/anon_hugepage\\040(deleted) huge anon=2 dirty=2 N1=2 kernelpagesize_kB=2048
7f0000400000 default anon=2048 dirty=2048 active=0 N0=512 N1=1536 kernelpagesize_kB=4
";

    #[test]
    fn each_mapping_is_read_by_itself() {
        let of = |address| Residence::parse(address, SMAPS, NUMA_MAPS);
        let reserved = Residence {
            reserved_bytes: 4 << 20,
            transparent_bytes: 0,
            node: Some(1),
            stray_bytes: 0,
        };
        assert_eq!(of(0x7f00_0000_0000), reserved);
        let transparent = Residence {
            reserved_bytes: 0,
            transparent_bytes: 6 << 20,
            node: Some(1),
            stray_bytes: 2 << 20,
        };
        assert_eq!(of(0x7f00_0040_0000), transparent);
        assert_eq!(of(0x7f00_0020_0000), Residence::default());
    }

    #[test]
    fn a_kernel_that_says_nothing_gave_nothing() {
        assert_eq!(
            Residence::parse(0x7f00_0000_0000, "", ""),
            Residence::default()
        );
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
    }
}
