//! Why state cannot be read or written: sentences that name the file and the remedy.

use std::path::{Path, PathBuf};

use super::record::{FORMAT, RecordError};

/// Why the daemon does not start from its state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is no such directory, or it cannot be written to.
    #[error("state_dir: {}: {why}; objects are kept there, so it must be writable", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Another daemon has it open.
    #[error(
        "{} is in use by another vrouterd; two daemons need a state_dir each",
        .0.display()
    )]
    InUse(PathBuf),
    /// It is no state file, or not as it was written.
    #[error("{}: {why}; {}", path.display(), Remedy)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A later format.
    #[error(
        "{} has format {format}, written by vrouterd {by}; this one reads formats up to {FORMAT}: \
         start that version, or {}",
        path.display(), Remedy
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The version that wrote it.
        by: String,
    },
    /// Fields or values of a later version.
    #[error(
        "{}: {object} was written by a later version and holds what this one does not know: \
         start that version, or {}",
        path.display(), Remedy
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What holds it.
        object: String,
    },
    /// It cannot be read or written.
    #[error("{}: {why}; {}", path.display(), Remedy)]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
}

/// How to start in spite of it.
struct Remedy;

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "start with --without-state to leave the file as it is and keep nothing, or move it \
             away to begin anew: controllers must then send their objects again",
        )
    }
}

impl StateError {
    /// A file that is not as it was written.
    pub fn damaged(path: &Path, why: impl Into<String>) -> StateError {
        StateError::Damaged {
            path: path.into(),
            why: why.into(),
        }
    }

    pub(super) fn record(path: &Path, what: &str, error: RecordError) -> StateError {
        match error {
            RecordError::Damaged => StateError::damaged(path, format!("{what} is damaged")),
            RecordError::Unknown => StateError::Unknown {
                path: path.into(),
                object: what.into(),
            },
        }
    }

    /// Why a commit cannot be kept: the sentence without the remedy for a start.
    pub fn reason(&self) -> String {
        match self {
            StateError::Directory { path, why } | StateError::Io { path, why } => {
                format!("cannot write {}: {why}", path.display())
            }
            other => other.to_string(),
        }
    }

    /// What redb says.
    pub(super) fn of(path: &Path, error: impl Into<redb::Error>) -> StateError {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => StateError::InUse(path.into()),
            redb::Error::Io(why) if why.kind() == std::io::ErrorKind::InvalidData => {
                StateError::damaged(path, "this is no state file, or one that is damaged")
            }
            redb::Error::Io(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => {
                StateError::damaged(path, "the file is damaged: it ends too early")
            }
            redb::Error::Io(why) => StateError::Io {
                path: path.into(),
                why,
            },
            other => StateError::damaged(path, format!("the file is damaged: {other}")),
        }
    }
}
