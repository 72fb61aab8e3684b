//! NUMA nodes and their cores, as `/sys/devices/system/node` lists them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::MemoryError;

/// One directory for each node, with the list of its cores.
const SYSFS: &str = "/sys/devices/system/node";

/// The nodes of a machine; empty where the kernel does not know nodes.
pub(super) struct Nodes(BTreeMap<u32, Vec<usize>>);

impl Nodes {
    pub(super) fn of_machine() -> Nodes {
        Nodes::read(Path::new(SYSFS))
    }

    fn read(directory: &Path) -> Nodes {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let nodes = entries.filter_map(|entry| {
            let name = entry.file_name();
            let node = name.to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((node, cores(list.trim())?))
        });
        Nodes(nodes.collect())
    }

    /// The cores of `node`, or else of the node that `core` is on; none where
    /// there are no nodes.
    ///
    /// # Errors
    /// [`MemoryError::NoSuchNode`].
    pub(super) fn cores_near(
        &self,
        node: Option<u32>,
        core: usize,
    ) -> Result<Vec<usize>, MemoryError> {
        let Some(node) = node else {
            let mut nodes = self.0.values();
            let home = nodes.find(|cores| cores.contains(&core));
            return Ok(home.cloned().unwrap_or_default());
        };
        self.0
            .get(&node)
            .cloned()
            .ok_or_else(|| MemoryError::NoSuchNode {
                node,
                nodes: self.0.keys().copied().collect(),
            })
    }
}

/// The numbers of a list such as `0-3,8`; `None` if it is no such list. A node
/// of memory only has an empty one.
fn cores(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of two nodes with cores, a third with memory only, and what
    /// else stands in that directory.
    fn machine() -> (tempfile::TempDir, Nodes) {
        let root = tempfile::tempdir().unwrap();
        for (node, list) in [
            ("node0", "0-3,8-11\n"),
            ("node1", "4-7,12\n"),
            ("node10", "\n"),
        ] {
            fs::create_dir(root.path().join(node)).unwrap();
            fs::write(root.path().join(node).join("cpulist"), list).unwrap();
        }
        fs::create_dir(root.path().join("power")).unwrap();
        fs::write(root.path().join("online"), "0-1,10\n").unwrap();
        let nodes = Nodes::read(root.path());
        (root, nodes)
    }

    #[test]
    fn a_node_is_found_by_its_number_or_by_a_core() {
        let (_root, nodes) = machine();
        assert_eq!(nodes.cores_near(Some(1), 0).unwrap(), [4, 5, 6, 7, 12]);
        assert_eq!(
            nodes.cores_near(None, 9).unwrap(),
            [0, 1, 2, 3, 8, 9, 10, 11]
        );
        assert_eq!(nodes.cores_near(None, 99).unwrap(), [0; 0]);
        assert_eq!(nodes.cores_near(Some(10), 0).unwrap(), [0; 0]);
    }

    #[test]
    fn a_node_that_does_not_exist_is_refused_with_those_that_do() {
        let (_root, nodes) = machine();
        let error = nodes.cores_near(Some(2), 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no NUMA node 2 here; choose from [0, 1, 10]"
        );
    }

    #[test]
    fn a_kernel_without_nodes_is_no_mistake_unless_one_is_asked_for() {
        let root = tempfile::tempdir().unwrap();
        let nodes = Nodes::read(&root.path().join("none"));
        assert_eq!(nodes.cores_near(None, 0).unwrap(), [0; 0]);
        assert_eq!(
            nodes.cores_near(Some(0), 0).unwrap_err().to_string(),
            "there is no NUMA node 0: this kernel knows no nodes; leave the key out"
        );
    }

    #[test]
    fn what_is_no_list_of_cores_is_none() {
        assert_eq!(cores("1,3-4"), Some(vec![1, 3, 4]));
        assert_eq!(cores("a-b"), None);
    }
}
