//! From the file to objects: the last checkpoint, and every commit since.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dataplane::tables::Stored;
use dataplane::tables::spec::{Key, Name};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, TableError};

use super::checkpoint::Checkpointing;
use super::record::{FORMAT, unseal, unseal_known};
use super::{
    CHECKPOINT, CHECKPOINT_KEY, HEADER, HEADER_KEY, LOG, PIECES, StateError, log_key, piece_key,
};
use crate::convert;
use crate::proto::{self, SavedCheckpoint, SavedCommit, SavedHeader, SavedPiece};

/// What was found in a state file.
#[derive(Debug, Default)]
pub struct Saved {
    /// The last commit; 0 if there has never been one.
    pub generation: u64,
    /// All objects with their owners.
    pub objects: BTreeMap<Key, Arc<Stored>>,
}

/// Reads everything.
pub(super) fn load(path: &Path, db: &Database) -> Result<(Saved, Checkpointing), StateError> {
    let trouble = |error: redb::Error| StateError::of(path, error);
    let transaction = db.begin_read().map_err(|e| trouble(e.into()))?;
    check_header(path, &transaction)?;
    let mut loading = Loading {
        path,
        names: Names::default(),
        saved: Saved::default(),
    };
    let checkpoint = checkpoint(path, &transaction)?;
    let mut checkpointing = Checkpointing::new(checkpoint.as_ref());
    if let Some(checkpoint) = checkpoint {
        let bytes = loading.pieces(&transaction, &checkpoint)?;
        checkpointing.written(bytes);
    }
    let bytes = loading.log(&transaction)?;
    checkpointing.logged(bytes);
    Ok((loading.saved, checkpointing))
}

fn check_header(path: &Path, transaction: &ReadTransaction) -> Result<(), StateError> {
    let header = one(path, transaction, HEADER)?
        .ok_or_else(|| StateError::damaged(path, "this is no state file of vrouterd"))?;
    let header: SavedHeader = unseal_known(HEADER_KEY, &header)
        .map_err(|error| StateError::record(path, "the header", error))?;
    match header.format <= FORMAT {
        true => Ok(()),
        false => Err(StateError::Newer {
            path: path.into(),
            format: header.format,
            by: header.written_by,
        }),
    }
}

fn checkpoint(
    path: &Path,
    transaction: &ReadTransaction,
) -> Result<Option<SavedCheckpoint>, StateError> {
    let Some(bytes) = one(path, transaction, CHECKPOINT)? else {
        return Ok(None);
    };
    unseal(CHECKPOINT_KEY, &bytes)
        .map(Some)
        .map_err(|error| StateError::record(path, "the checkpoint", error))
}

/// The one record of a table, if there is the table and the record.
fn one(
    path: &Path,
    transaction: &ReadTransaction,
    table: redb::TableDefinition<u64, &[u8]>,
) -> Result<Option<Vec<u8>>, StateError> {
    let Some(table) = existing(path, transaction.open_table(table))? else {
        return Ok(None);
    };
    let value = table.get(0).map_err(|error| StateError::of(path, error))?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn existing<K: redb::Key, V: redb::Value>(
    path: &Path,
    table: Result<ReadOnlyTable<K, V>, TableError>,
) -> Result<Option<ReadOnlyTable<K, V>>, StateError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StateError::of(path, error)),
    }
}

struct Loading<'a> {
    path: &'a Path,
    names: Names,
    saved: Saved,
}

impl Loading<'_> {
    /// Reads the pieces of a checkpoint; returns their bytes.
    fn pieces(
        &mut self,
        transaction: &ReadTransaction,
        checkpoint: &SavedCheckpoint,
    ) -> Result<u64, StateError> {
        let path = self.path;
        let pieces = existing(path, transaction.open_table(PIECES))?;
        let mut bytes = 0;
        for number in 0..checkpoint.pieces {
            let what = || format!("piece {number} of the checkpoint");
            let value = match &pieces {
                Some(pieces) => pieces
                    .get((checkpoint.id, number))
                    .map_err(|error| StateError::of(path, error))?,
                None => None,
            };
            let value = value.ok_or_else(|| StateError::damaged(path, what() + " is missing"))?;
            bytes += value.value().len() as u64;
            let piece: SavedPiece = unseal(&piece_key(checkpoint.id, number), value.value())
                .map_err(|error| StateError::record(path, &what(), error))?;
            for (stored, generation) in piece.objects.into_iter().zip(piece.generations) {
                let object = stored.object.unwrap_or_default();
                self.put(&object, &stored.owner, generation)?;
            }
        }
        self.saved.generation = checkpoint.generation;
        Ok(bytes)
    }

    /// Reads the commits after the checkpoint; returns their bytes.
    fn log(&mut self, transaction: &ReadTransaction) -> Result<u64, StateError> {
        let path = self.path;
        let Some(log) = existing(path, transaction.open_table(LOG))? else {
            return Ok(0);
        };
        let trouble = |error| StateError::of(path, error);
        let mut bytes = 0;
        for entry in log.range(self.saved.generation + 1..).map_err(trouble)? {
            let (generation, value) = entry.map_err(trouble)?;
            let (generation, value) = (generation.value(), value.value());
            let wanted = self.saved.generation + 1;
            if generation != wanted {
                let why = format!("the commit of generation {wanted} is missing");
                return Err(StateError::damaged(path, why));
            }
            bytes += value.len() as u64;
            let commit: SavedCommit = unseal(&log_key(generation), value).map_err(|error| {
                let what = format!("the commit of generation {generation}");
                StateError::record(path, &what, error)
            })?;
            self.replay(&commit, generation)?;
            self.saved.generation = generation;
        }
        Ok(bytes)
    }

    fn replay(&mut self, commit: &SavedCommit, generation: u64) -> Result<(), StateError> {
        for key in &commit.deletes {
            let key = convert::key(key).map_err(|problems| self.unfit("a key", &problems))?;
            self.saved.objects.remove(&key);
        }
        for object in &commit.upserts {
            self.put(object, &commit.owner, generation)?;
        }
        Ok(())
    }

    fn put(
        &mut self,
        object: &proto::Object,
        owner: &str,
        generation: u64,
    ) -> Result<(), StateError> {
        let object = convert::object(object).map_err(|problems| {
            let name = convert::key_of(object).map_or("an object".into(), |key| key.to_string());
            self.unfit(&name, &problems)
        })?;
        let owner = self.names.shared(owner);
        let key = object.key();
        let stored = Arc::new(Stored {
            object,
            owner,
            generation,
        });
        self.saved.objects.insert(key, stored);
        Ok(())
    }

    /// An object that was committed once, and is not well-formed for this version.
    fn unfit(&self, what: &str, problems: &[convert::Problem]) -> StateError {
        match problems.first() {
            // No kind of object that this version knows.
            Some(problem) if problem.field.is_empty() => StateError::Unknown {
                path: self.path.into(),
                object: what.into(),
            },
            Some(problem) => {
                let why = format!("{what}: {}: {}", problem.field, problem.reason);
                StateError::damaged(self.path, why)
            }
            None => StateError::damaged(self.path, what),
        }
    }
}

/// Each name once in memory, however often it is written.
#[derive(Default)]
struct Names(std::collections::HashSet<Name>);

impl Names {
    fn shared(&mut self, name: &str) -> Name {
        if let Some(name) = self.0.get(name) {
            return name.clone();
        }
        let name = Name::from(name);
        self.0.insert(name.clone());
        name
    }
}
