//! Writing all objects down anew, so that the log does not grow for ever.
//!
//! The objects are those of one snapshot, which stays as it is while commits go on.
//! Between two commits a piece or a few of them are written, as many bytes as the
//! commit had and as many again, so that the checkpoint is done before the log has
//! doubled; when nothing else is to do, piece after piece. They do not wait for the
//! disk; the record that makes the checkpoint hold does. What it replaces is deleted
//! in the same manner.

use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::spec::Key;
use redb::{Durability, ReadableTable as _};

use super::record::seal;
use super::{CHECKPOINT, CHECKPOINT_KEY, LOG, PIECES, State, StateError, piece_key};
use crate::proto::{SavedCheckpoint, SavedPiece, StoredObject};

/// A log shorter than this is not worth a checkpoint: it is read in a tenth of a second.
const MIN_LOG_BYTES: u64 = 8 << 20;

/// Objects of a piece: some 30 KiB of routes, less than a millisecond.
const OBJECTS_PER_PIECE: usize = 512;

/// Entries deleted at a time.
const DELETED_PER_STEP: usize = 512;

/// How far checkpoints are.
pub(super) struct Checkpointing {
    /// The last checkpoint; of generation 0 when there is none.
    last: SavedCheckpoint,
    last_bytes: u64,
    /// Of commits since.
    log_bytes: u64,
    step: Step,
}

enum Step {
    Idle,
    Writing(Writing),
    /// What the last checkpoint has replaced, and what one that was given up has left.
    Deleting,
}

struct Writing {
    tables: Arc<Tables>,
    id: u64,
    pieces: u32,
    after: Option<Key>,
    bytes: u64,
    /// Of commits that the checkpoint will not hold.
    log_bytes: u64,
}

impl Checkpointing {
    pub(super) fn new(last: Option<&SavedCheckpoint>) -> Checkpointing {
        Checkpointing {
            last: last.copied().unwrap_or_default(),
            last_bytes: 0,
            log_bytes: 0,
            step: Step::Deleting,
        }
    }

    /// The last checkpoint has so many bytes.
    pub(super) fn written(&mut self, bytes: u64) {
        self.last_bytes = bytes;
    }

    /// The log has become longer.
    pub(super) fn logged(&mut self, bytes: u64) {
        self.log_bytes += bytes;
        if let Step::Writing(writing) = &mut self.step {
            writing.log_bytes += bytes;
        }
    }
}

impl State {
    /// True when the log has become longer than what a checkpoint would be.
    pub fn wants_checkpoint(&self) -> bool {
        let it = &self.checkpointing;
        matches!(it.step, Step::Idle) && it.log_bytes > it.last_bytes.max(MIN_LOG_BYTES)
    }

    /// Begins a checkpoint of a snapshot whose generation is the last one committed.
    pub fn begin_checkpoint(&mut self, tables: Arc<Tables>) {
        self.checkpointing.step = Step::Writing(Writing {
            tables,
            id: self.checkpointing.last.id + 1,
            pieces: 0,
            after: None,
            bytes: 0,
            log_bytes: 0,
        });
    }

    /// True while there is something to write or to delete.
    pub fn is_checkpointing(&self) -> bool {
        !matches!(self.checkpointing.step, Step::Idle)
    }

    /// Goes on for about so many bytes, and at least a step.
    ///
    /// # Errors
    /// Why not. The checkpoint is given up; nothing is lost, and the next one is begun when the log
    /// has grown further.
    pub fn checkpoint(&mut self, bytes: u64) -> Result<(), StateError> {
        let mut done = 0;
        while done <= bytes && self.is_checkpointing() {
            match self.take_step() {
                Ok(bytes) => done += bytes,
                Err(error) => {
                    self.checkpointing.step = Step::Idle;
                    self.checkpointing.log_bytes = 0;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// One step; how many bytes it was worth.
    fn take_step(&mut self) -> Result<u64, StateError> {
        match std::mem::replace(&mut self.checkpointing.step, Step::Idle) {
            Step::Idle => Ok(0),
            Step::Deleting => self.delete(),
            Step::Writing(mut writing) => match self.write_piece(&mut writing)? {
                0 => self.finish(&writing),
                bytes => {
                    self.checkpointing.step = Step::Writing(writing);
                    Ok(bytes)
                }
            },
        }
    }

    /// Writes the next piece; 0 when there is none left.
    fn write_piece(&mut self, writing: &mut Writing) -> Result<u64, StateError> {
        let objects = writing.tables.objects_after(writing.after.as_ref());
        let mut piece = SavedPiece::default();
        let mut last = None;
        for (key, stored) in objects.take(OBJECTS_PER_PIECE) {
            piece.objects.push(StoredObject::from(stored));
            piece.generations.push(stored.generation);
            last = Some(key.clone());
        }
        if last.is_none() {
            return Ok(0);
        }
        let place = (writing.id, writing.pieces);
        let record = seal(&piece_key(place.0, place.1), &piece);
        self.write(Durability::None, |transaction| {
            transaction.open_table(PIECES)?.insert(place, &*record)?;
            Ok(())
        })?;
        writing.after = last;
        writing.pieces += 1;
        writing.bytes += record.len() as u64;
        Ok(record.len() as u64)
    }

    /// Makes the checkpoint hold.
    fn finish(&mut self, writing: &Writing) -> Result<u64, StateError> {
        let checkpoint = SavedCheckpoint {
            generation: writing.tables.generation(),
            id: writing.id,
            pieces: writing.pieces,
        };
        let record = seal(CHECKPOINT_KEY, &checkpoint);
        self.write(Durability::Immediate, |transaction| {
            transaction.open_table(CHECKPOINT)?.insert(0, &*record)?;
            Ok(())
        })?;
        let it = &mut self.checkpointing;
        it.last = checkpoint;
        it.last_bytes = writing.bytes;
        it.log_bytes = writing.log_bytes;
        it.step = Step::Deleting;
        Ok(0)
    }

    /// Deletes some of what nobody reads any more.
    fn delete(&mut self) -> Result<u64, StateError> {
        let last = self.checkpointing.last;
        let mut bytes = 0;
        let mut left = DELETED_PER_STEP;
        self.write(Durability::None, |transaction| {
            let mut log = transaction.open_table(LOG)?;
            for generation in first(log.range(..=last.generation)?, left, |it| it)? {
                log.remove(generation)?;
                left -= 1;
            }
            let mut pieces = transaction.open_table(PIECES)?;
            let mut stale = first(pieces.range(..(last.id, 0))?, left, |it| it)?;
            let unfinished = pieces.range((last.id + 1, 0)..)?;
            stale.extend(first(unfinished, left - stale.len(), |it| it)?);
            for place in stale {
                if let Some(piece) = pieces.remove(place)? {
                    bytes += piece.value().len() as u64;
                }
                left -= 1;
            }
            Ok(())
        })?;
        if left == 0 {
            self.checkpointing.step = Step::Deleting;
        }
        Ok(bytes.max(1))
    }
}

/// The first keys of a range, as `own` makes them.
fn first<K: redb::Key + 'static, T>(
    range: redb::Range<'_, K, &'static [u8]>,
    count: usize,
    own: impl Fn(K::SelfType<'_>) -> T,
) -> Result<Vec<T>, redb::Error> {
    let keys = range.take(count);
    keys.map(|entry| Ok(own(entry?.0.value()))).collect()
}
