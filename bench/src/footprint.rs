//! What memory this process has, and on which pages.

use std::fmt;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{env, io};

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// On pages of 4 KiB.
    pub small: u64,
    /// On 2 MiB pages that the kernel made by itself.
    pub transparent: u64,
    /// On 2 MiB pages from the reserved pool.
    pub reserved: u64,
}

impl Footprint {
    /// Of this process, now. All zero where the kernel does not say.
    pub fn now() -> Footprint {
        Footprint::parse(&fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default())
    }

    fn parse(rollup: &str) -> Footprint {
        let of = |name: &str| {
            let mut words = rollup
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = words.next()?.trim().strip_suffix("kB")?;
            number.trim().parse::<u64>().ok()
        };
        let of = |name: &str| of(name).unwrap_or(0);
        let transparent = of("AnonHugePages");
        Footprint {
            small: of("Rss").saturating_sub(transparent),
            transparent,
            // Not part of Rss.
            reserved: of("Private_Hugetlb") + of("Shared_Hugetlb"),
        }
    }

    /// What has come since.
    #[must_use]
    pub fn since(self, before: Footprint) -> Footprint {
        Footprint {
            small: self.small.saturating_sub(before.small),
            transparent: self.transparent.saturating_sub(before.transparent),
            reserved: self.reserved.saturating_sub(before.reserved),
        }
    }

    /// All of it, in MiB.
    pub fn mebibytes(self) -> u64 {
        (self.small + self.transparent + self.reserved) / 1024
    }

    /// The kind of pages that most of it is on.
    pub fn pages(self) -> &'static str {
        let most = self.small.max(self.transparent).max(self.reserved);
        if most == self.reserved && most > 0 {
            "2M reserved"
        } else if most == self.transparent && most > 0 {
            "2M transp."
        } else {
            "4K"
        }
    }
}

/// `290 MiB, 2M transp.`, or `-`: it found room in what was there already.
impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mebibytes() {
            0 => write!(f, "-"),
            mebibytes => write!(f, "{mebibytes} MiB, {}", self.pages()),
        }
    }
}

/// Sees to it that the heap of this program is on 2 MiB pages, for tables that
/// cannot be given memory: by starting the program again, because glibc reads
/// its settings only at the start. Elsewhere, and if somebody has settings of
/// his own, nothing happens.
///
/// # Errors
/// Why it does not start again.
pub fn heap_on_huge_pages() -> io::Result<()> {
    const SETTINGS: &str = "GLIBC_TUNABLES";
    if cfg!(not(target_env = "gnu")) || env::var_os(SETTINGS).is_some() {
        return Ok(());
    }
    let error = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(SETTINGS, "glibc.malloc.hugetlb=1")
        .exec();
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_by_kind() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0  [rollup]\n\
                      Rss:              305580 kB\n\
                      AnonHugePages:    299008 kB\n\
                      Shared_Hugetlb:     2048 kB\n\
                      Private_Hugetlb:    4096 kB\n";
        let footprint = Footprint::parse(rollup);
        let expected = Footprint {
            small: 6572,
            transparent: 299_008,
            reserved: 6144,
        };
        assert_eq!(footprint, expected);
        assert_eq!(footprint.to_string(), "304 MiB, 2M transp.");
    }

    #[test]
    fn a_kernel_that_says_nothing_counts_as_none() {
        assert_eq!(Footprint::parse(""), Footprint::default());
        assert_eq!(Footprint::default().pages(), "4K");
    }
}
