//! What outlives the daemon: every acknowledged commit, in one file.
//!
//! `STATE_DIR/state.redb` is a [redb](https://docs.rs/redb) database of four tables:
//!
//! | table | key | value |
//! |---|---|---|
//! | `header` | 0 | `SavedHeader`: the format |
//! | `log` | generation | `SavedCommit`: what one commit changed |
//! | `checkpoint` | 0 | `SavedCheckpoint`: which pieces hold, and up to which generation |
//! | `pieces` | checkpoint id, number | `SavedPiece`: some of all objects as they were then |
//!
//! A commit is one entry of the log, however many objects it changes, because redb
//! takes some 3 µs for an entry and a controller sends 500,000 routes a second. When
//! the log has grown beyond the last checkpoint, the next one is written beside the
//! commits, a piece at a time (`checkpoint`), and the log up to there is dropped.
//!
//! redb makes a transaction durable with one `fdatasync`: it writes to free pages,
//! and of its two roots, each with a checksum, takes the last one that is whole.
//! When the file is opened every page's checksum is verified. Records have
//! checksums of their own ([`record`]). So what is found is all that was
//! acknowledged, or an error that says what to do ([`StateError`]).

mod checkpoint;
mod error;
mod file;
mod load;
pub mod record;

pub use error::StateError;
pub use file::{Entry, State, Storage};
pub use load::Saved;

/// The name of the file in the state directory.
pub const FILE_NAME: &str = "state.redb";

use redb::TableDefinition;

const HEADER: TableDefinition<u64, &[u8]> = TableDefinition::new("header");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const CHECKPOINT: TableDefinition<u64, &[u8]> = TableDefinition::new("checkpoint");
const PIECES: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("pieces");

/// The keys that records' checksums are tied to: table and place.
fn log_key(generation: u64) -> Vec<u8> {
    [b"log".as_slice(), &generation.to_le_bytes()].concat()
}

fn piece_key(id: u64, number: u32) -> Vec<u8> {
    [
        b"piece".as_slice(),
        &id.to_le_bytes(),
        &number.to_le_bytes(),
    ]
    .concat()
}

const HEADER_KEY: &[u8] = b"header";
const CHECKPOINT_KEY: &[u8] = b"checkpoint";
