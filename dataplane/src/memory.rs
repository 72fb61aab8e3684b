//! The flow table's memory: one mapping, made of the largest pages there are,
//! near the cores that use it, and every page of it there from the start.
//!
//! A table of a million flows is some hundred MiB read at random. On 4 KiB pages
//! nearly every look into it also misses the TLB; on 2 MiB pages hardly any does.
//! So the mapping is tried on reserved pages (`vm.nr_hugepages`) first, then on
//! transparent ones, and what the kernel really gave is read back from it (file
//! `kernel.rs`). Reserved pages are taken all or not at all: what is missing of
//! them would end the process with SIGBUS on first touch.
//!
//! A page lies on the NUMA node of the core that touches it first, so all of
//! them are touched here, by a thread pinned to the node wished for (file
//! `node.rs`). After that the packet path meets no page fault. Nothing keeps the
//! kernel from swapping ordinary pages out later; a forwarding node has no swap.

mod kernel;
mod node;

use std::fmt;
use std::ops::Range;

use memmap2::{Advice, MmapMut, MmapOptions};

use kernel::Residence;
use node::Nodes;

/// Bytes of a huge page: the middle size of x86-64 and of arm64.
const HUGE_PAGE: usize = 1 << HUGE_PAGE_BITS;
const HUGE_PAGE_BITS: u8 = 21;
/// Touching one byte in so many touches every page.
const SMALL_PAGE: usize = 4096;

/// What an operator may say about the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The NUMA node it should be on. `None`: that of the first worker's core.
    pub node: Option<u32>,
    /// Use 2 MiB pages where there are any.
    pub huge_pages: bool,
}

/// Zeroed memory at an address that stays: a whole number of 2 MiB, aligned to
/// 2 MiB. Goes back to the kernel when dropped.
#[derive(Debug)]
pub struct Block {
    mapping: MmapMut,
    /// The aligned part, which is all that is ever touched.
    range: Range<usize>,
    placement: Placement,
}

/// What a block is made of and where it is, as it was when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its size.
    pub bytes: usize,
    /// Its pages.
    pub pages: Pages,
    /// How much of it is in 2 MiB pages.
    pub huge_bytes: usize,
    /// The NUMA node that most of it is on. `None`: the kernel does not say.
    pub node: Option<u32>,
    /// How much of it is on other nodes: theirs was full.
    pub stray_bytes: usize,
}

/// The pages that a block is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages from the pool that the operator reserved.
    Reserved2M,
    /// 2 MiB pages that the kernel found as it went.
    Transparent2M,
    /// Transparent 2 MiB pages as far as they went, 4 KiB pages for the rest.
    Mixed,
    /// 4 KiB pages.
    Small4K,
}

/// Why there is no memory as wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryError {
    /// There is no such NUMA node.
    NoSuchNode {
        /// The node asked for.
        node: u32,
        /// The nodes there are; none where the kernel does not know nodes.
        nodes: Vec<u32>,
    },
    /// The node has no core from which this process could touch its memory.
    NodeOutOfReach {
        /// The node asked for.
        node: u32,
        /// Its cores.
        cores: Vec<usize>,
    },
    /// The machine has less memory to give.
    TooLittle {
        /// Bytes wanted.
        wanted: usize,
        /// Bytes there are.
        available: usize,
    },
    /// The kernel would not map so much, or not start a thread to touch it.
    Refused {
        /// Bytes wanted.
        wanted: usize,
        /// In the kernel's words.
        reason: String,
    },
}

impl Block {
    /// Maps at least `bytes` and touches all of it, from the node of `settings`
    /// or else the one that `core` is on.
    ///
    /// # Errors
    /// [`MemoryError`]. Too few huge pages are none: the block is of smaller ones.
    pub fn new(bytes: usize, settings: Settings, core: usize) -> Result<Block, MemoryError> {
        let wanted = bytes.next_multiple_of(HUGE_PAGE);
        let cores = Nodes::of_machine().cores_near(settings.node, core)?;
        let refused = |reason: String| MemoryError::Refused { wanted, reason };
        // On a thread of its own: the caller keeps its own affinity.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("flow-memory".into())
                .spawn_scoped(scope, || {
                    pin(settings.node, cores)?;
                    Block::on_this_core(wanted, settings.huge_pages)
                })
                .map_err(|error| refused(error.to_string()))?;
            let block = thread.join();
            block.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The memory.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.mapping[self.range.clone()]
    }

    /// What it is made of.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    fn on_this_core(bytes: usize, huge_pages: bool) -> Result<Block, MemoryError> {
        if huge_pages && let Some(block) = Block::reserved(bytes) {
            return Ok(block);
        }
        let available = kernel::available_memory();
        if let Some(available) = available.filter(|available| *available < bytes) {
            return Err(MemoryError::TooLittle {
                wanted: bytes,
                available,
            });
        }
        Block::ordinary(bytes, huge_pages)
    }

    /// On reserved pages; `None` if there are too few.
    ///
    /// The kernel sets the pages aside when it maps, so a pool that is too small
    /// shows here. It is asked to fill the mapping at once, and that is checked
    /// before anyone touches it: a control group may have fewer than the pool.
    fn reserved(bytes: usize) -> Option<Block> {
        let mapping = MmapOptions::new()
            .len(bytes)
            .huge(Some(HUGE_PAGE_BITS))
            .populate()
            .map_anon()
            .ok()?;
        let residence = Residence::of(mapping.as_ptr().addr());
        (residence.reserved_bytes >= bytes).then(|| Block {
            mapping,
            range: 0..bytes,
            placement: Placement {
                bytes,
                pages: Pages::Reserved2M,
                huge_bytes: bytes,
                node: residence.node,
                stray_bytes: residence.stray_bytes,
            },
        })
    }

    /// On whatever pages the kernel finds.
    fn ordinary(bytes: usize, huge_pages: bool) -> Result<Block, MemoryError> {
        let refused = |error: std::io::Error| MemoryError::Refused {
            wanted: bytes,
            reason: error.to_string(),
        };
        // Only what is aligned to a huge page can become one.
        let mut mapping = MmapOptions::new()
            .len(bytes + HUGE_PAGE)
            .map_anon()
            .map_err(refused)?;
        let address = mapping.as_ptr().addr();
        let start = address.next_multiple_of(HUGE_PAGE) - address;
        let range = start..start + bytes;
        let advice = if huge_pages {
            Advice::HugePage
        } else {
            Advice::NoHugePage
        };
        // A kernel without huge pages refuses the advice; they are small then.
        _ = mapping.advise_range(advice, start, bytes);
        for page in mapping[range.clone()].chunks_mut(SMALL_PAGE) {
            page[0] = 0;
        }
        let residence = Residence::of(address + start);
        let huge_bytes = residence.transparent_bytes.min(bytes);
        Ok(Block {
            mapping,
            range,
            placement: Placement {
                bytes,
                pages: match huge_bytes {
                    0 => Pages::Small4K,
                    _ if huge_bytes < bytes => Pages::Mixed,
                    _ => Pages::Transparent2M,
                },
                huge_bytes,
                node: residence.node,
                stray_bytes: residence.stray_bytes,
            },
        })
    }
}

/// What `vm.nr_hugepages` must be for `bytes` more to fit into the pool beside
/// what is in use of it.
pub fn hugepages_to_reserve(bytes: usize) -> usize {
    kernel::reserved_in_use() + bytes.div_ceil(HUGE_PAGE)
}

/// Moves this thread to one of these cores. If it may use none of them, that is
/// a mistake where a node was asked for, and all the same where none was.
fn pin(node: Option<u32>, cores: Vec<usize>) -> Result<(), MemoryError> {
    let usable = core_affinity::get_core_ids().unwrap_or_default();
    let mut reachable = usable.into_iter().filter(|core| cores.contains(&core.id));
    if reachable.any(core_affinity::set_for_current) {
        return Ok(());
    }
    match node {
        Some(node) => Err(MemoryError::NodeOutOfReach { node, cores }),
        None => Ok(()),
    }
}

impl flowtable::Memory for Block {
    fn bytes(&mut self) -> &mut [u8] {
        Block::bytes(self)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            node: None,
            huge_pages: true,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes >> 20;
        write!(f, "{} MiB of {}", mib(self.bytes), self.pages)?;
        if self.pages == Pages::Mixed {
            write!(f, " ({} MiB in 2 MiB pages)", mib(self.huge_bytes))?;
        }
        if let Some(node) = self.node {
            write!(f, " on NUMA node {node}")?;
        }
        match self.stray_bytes {
            0 => Ok(()),
            bytes => write!(f, ", {} MiB of it on others", mib(bytes)),
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pages::Reserved2M => "reserved 2 MiB pages",
            Pages::Transparent2M => "transparent 2 MiB pages",
            Pages::Mixed => "2 MiB and 4 KiB pages",
            Pages::Small4K => "4 KiB pages",
        })
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::NoSuchNode { node, nodes } if nodes.is_empty() => write!(
                f,
                "there is no NUMA node {node}: this kernel knows no nodes; leave the key out"
            ),
            MemoryError::NoSuchNode { node, nodes } => write!(
                f,
                "there is no NUMA node {node} here; choose from {nodes:?}"
            ),
            MemoryError::NodeOutOfReach { node, cores } => write!(
                f,
                "NUMA node {node} cannot be reached: this process may use none of its \
                 cores {cores:?}"
            ),
            MemoryError::TooLittle { wanted, available } => write!(
                f,
                "the flow table takes {} MiB and there are {} MiB; make it smaller",
                wanted >> 20,
                available >> 20
            ),
            MemoryError::Refused { wanted, reason } => {
                write!(f, "no {} MiB for the flow table: {reason}", wanted >> 20)
            }
        }
    }
}

impl std::error::Error for MemoryError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pages: zeroed, aligned, writable, and on a node that exists.
    #[track_caller]
    fn check(mut block: Block, bytes: usize) {
        let placement = block.placement();
        assert_eq!(placement.bytes, bytes, "{placement}");
        assert!(placement.huge_bytes <= bytes, "{placement}");
        assert_eq!(placement.stray_bytes, 0, "{placement}");
        let memory = block.bytes();
        assert_eq!(memory.len(), bytes);
        assert_eq!(memory.as_ptr().addr() % HUGE_PAGE, 0);
        assert!(memory.iter().all(|byte| *byte == 0));
        memory.fill(0xa5);
    }

    #[test]
    fn a_block_is_zeroed_aligned_and_a_whole_number_of_huge_pages() {
        let block = Block::new(3 << 20, Settings::default(), 0).unwrap();
        check(block, 4 << 20);
    }

    #[test]
    fn reserved_pages_are_all_there_before_the_first_touch() {
        match Block::reserved(4 << 20) {
            Some(block) => {
                assert_eq!(block.placement().pages, Pages::Reserved2M);
                check(block, 4 << 20);
            }
            None => eprintln!("left out: two free huge pages are needed (vm.nr_hugepages)"),
        }
    }

    #[test]
    fn a_pool_that_is_too_small_leads_to_other_pages() {
        // More than any machine has reserved.
        assert!(Block::reserved(1 << 45).is_none());
        let block = Block::ordinary(4 << 20, true).unwrap();
        assert_ne!(block.placement().pages, Pages::Reserved2M);
        check(block, 4 << 20);
    }

    #[test]
    fn without_huge_pages_all_are_small() {
        let settings = Settings {
            huge_pages: false,
            ..Settings::default()
        };
        let block = Block::new(4 << 20, settings, 0).unwrap();
        assert_eq!(block.placement().pages, Pages::Small4K);
        check(block, 4 << 20);
    }

    #[test]
    fn a_block_that_no_machine_has_is_refused_with_both_sizes() {
        let error = Block::new(1 << 45, Settings::default(), 0).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("33554432 MiB"), "{said}");
    }

    #[test]
    fn a_node_that_does_not_exist_is_refused_with_those_that_do() {
        let settings = Settings {
            node: Some(4_000),
            ..Settings::default()
        };
        let said = Block::new(1, settings, 0).unwrap_err().to_string();
        assert!(said.starts_with("there is no NUMA node 4000"), "{said}");
    }

    #[test]
    fn a_node_out_of_reach_is_refused_with_its_cores() {
        assert_eq!(pin(None, vec![]), Ok(()));
        let said = pin(Some(1), vec![4_000, 4_001]).unwrap_err().to_string();
        assert_eq!(
            said,
            "NUMA node 1 cannot be reached: this process may use none of its cores [4000, 4001]"
        );
    }

    #[test]
    fn a_placement_says_it_in_a_line() {
        let placement = Placement {
            bytes: 320 << 20,
            pages: Pages::Mixed,
            huge_bytes: 100 << 20,
            node: Some(1),
            stray_bytes: 20 << 20,
        };
        assert_eq!(
            placement.to_string(),
            "320 MiB of 2 MiB and 4 KiB pages (100 MiB in 2 MiB pages) on NUMA node 1, \
             20 MiB of it on others"
        );
    }
}
