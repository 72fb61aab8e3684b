//! A directory for sockets, files and logs of the contenders.

use std::fs;
use std::path::PathBuf;

/// Removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// A new one.
    ///
    /// # Errors
    /// A sentence with its path.
    pub(super) fn new() -> Result<Scratch, String> {
        let path = std::env::temp_dir().join(format!("vrbench-{}", std::process::id()));
        make(path).map(Scratch)
    }

    /// A directory in it.
    ///
    /// # Errors
    /// A sentence with its path.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, String> {
        make(self.0.join(name))
    }
}

fn make(path: PathBuf) -> Result<PathBuf, String> {
    fs::create_dir_all(&path)
        .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
    Ok(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}
