//! The open state file: commits in, one `fdatasync` for all that come together.

use std::fs::{self, File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase, WriteTransaction};

use super::checkpoint::Checkpointing;
use super::load::{self, Saved};
use super::record::{FORMAT, seal};
use super::{FILE_NAME, HEADER, HEADER_KEY, LOG, StateError, log_key};
use crate::proto::{SavedCommit, SavedHeader};

/// Pages that redb keeps in memory. Nothing is read again but what commits touch.
const CACHE_BYTES: usize = 8 << 20;

/// Where the file's bytes are: on the disk, but for tests of disks that fail.
pub trait Storage: Send {
    /// Opens the file that is there.
    ///
    /// # Errors
    /// As [`Builder::open`].
    fn open(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError>;
}

struct Files;

impl Storage for Files {
    fn open(&self, builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
        builder.open(path)
    }
}

/// The state of one daemon; nobody else has it open.
pub struct State {
    pub(super) path: PathBuf,
    /// Holds the directory's lock while the daemon runs.
    _lock: File,
    /// Closed after an error: what a write that failed left behind is found out by
    /// opening the file again.
    db: Option<Database>,
    storage: Box<dyn Storage>,
    /// The last commit that was acknowledged.
    generation: u64,
    pub(super) checkpointing: Checkpointing,
}

/// A commit as it goes into the log.
pub struct Entry {
    generation: u64,
    bytes: Vec<u8>,
}

impl Entry {
    /// The commit that makes `generation`.
    pub fn new(generation: u64, commit: &SavedCommit) -> Entry {
        Entry {
            generation,
            bytes: seal(&log_key(generation), commit),
        }
    }

    /// Its length in the file, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a checksum is always there.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl State {
    /// Opens the state in a directory, or makes an empty one, and reads what is there.
    ///
    /// # Errors
    /// [`StateError`]: then nothing was changed.
    pub fn open(directory: &Path) -> Result<(State, Saved), StateError> {
        State::open_on(directory, Box::new(Files))
    }

    /// The same with the file's bytes elsewhere.
    ///
    /// # Errors
    /// As [`State::open`].
    pub fn open_on(
        directory: &Path,
        storage: Box<dyn Storage>,
    ) -> Result<(State, Saved), StateError> {
        let lock = lock(directory)?;
        let path = directory.join(FILE_NAME);
        if !path.try_exists().unwrap_or(true) {
            create(directory, &path)?;
        }
        let db = open(&*storage, &path)?;
        let (saved, checkpointing) = guarded(&path, || load::load(&path, &db))?;
        let state = State {
            path,
            _lock: lock,
            db: Some(db),
            storage,
            generation: saved.generation,
            checkpointing,
        };
        Ok((state, saved))
    }

    /// Makes commits durable, all or none: when this returns they are on the disk.
    ///
    /// # Errors
    /// Why they are not kept. Nothing of them is, and later ones may well be.
    pub fn commit(&mut self, entries: &[Entry]) -> Result<(), StateError> {
        let generation = self.generation;
        self.write(Durability::Immediate, |transaction| {
            let mut log = transaction.open_table(LOG)?;
            for entry in entries {
                log.insert(entry.generation, &*entry.bytes)?;
            }
            Ok(())
        })?;
        self.generation = entries.last().map_or(generation, |last| last.generation);
        let bytes = entries.iter().map(|entry| entry.bytes.len() as u64);
        self.checkpointing.logged(bytes.sum());
        Ok(())
    }

    /// Runs a transaction. After an error the file is closed, and opened again for the next one.
    pub(super) fn write(
        &mut self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), StateError> {
        let db = match self.db.take() {
            Some(db) => db,
            None => self.reopen()?,
        };
        let done = run(&db, durability, change);
        match done {
            Ok(()) => {
                self.db = Some(db);
                Ok(())
            }
            Err(error) => Err(StateError::of(&self.path, error)),
        }
    }

    /// Opens the file after an error. A commit that was refused may have reached the disk
    /// nevertheless, if only the word that it did got lost; it is taken out again.
    fn reopen(&mut self) -> Result<Database, StateError> {
        let db = open(&*self.storage, &self.path)?;
        let last = self.generation;
        let refused = |transaction: &WriteTransaction| {
            let mut log = transaction.open_table(LOG)?;
            log.retain_in(last + 1.., |_, _| false)?;
            Ok(())
        };
        let has_refused = || -> Result<bool, redb::Error> {
            let log = db.begin_read()?.open_table(LOG)?;
            Ok(log.range(last + 1..)?.next().is_some())
        };
        if has_refused().map_err(|error| StateError::of(&self.path, error))? {
            run(&db, Durability::Immediate, refused)
                .map_err(|error| StateError::of(&self.path, error))?;
        }
        Ok(db)
    }
}

fn run(
    db: &Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(durability)?;
    change(&transaction)?;
    transaction.commit()?;
    Ok(())
}

/// Takes the directory for this process, and makes it first if need be.
fn lock(directory: &Path) -> Result<File, StateError> {
    let trouble = |why| StateError::Directory {
        path: directory.into(),
        why,
    };
    fs::create_dir_all(directory).map_err(trouble)?;
    let lock = File::open(directory).map_err(trouble)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StateError::InUse(directory.into())),
        Err(TryLockError::Error(why)) => Err(trouble(why)),
    }
}

/// Makes an empty state file, which appears under its name only when it is whole.
fn create(directory: &Path, path: &Path) -> Result<(), StateError> {
    let new = path.with_extension("new");
    let trouble = |why| StateError::Directory {
        path: directory.into(),
        why,
    };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(trouble(error)),
        _ => {}
    }
    let header = SavedHeader {
        format: FORMAT,
        written_by: env!("CARGO_PKG_VERSION").into(),
    };
    let write = || -> Result<(), redb::Error> {
        let db = builder().create(&new)?;
        run(&db, Durability::Immediate, |transaction| {
            let header = seal(HEADER_KEY, &header);
            transaction.open_table(HEADER)?.insert(0, &*header)?;
            transaction.open_table(LOG)?;
            Ok(())
        })?;
        db.close()?;
        Ok(())
    };
    write().map_err(|error| StateError::of(&new, error))?;
    let named = fs::rename(&new, path).and_then(|()| File::open(directory)?.sync_all());
    named.map_err(trouble)
}

fn open(storage: &dyn Storage, path: &Path) -> Result<Database, StateError> {
    guarded(path, || {
        let opened = storage.open(&builder(), path);
        opened.map_err(|error| StateError::of(path, error))
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(true);
    builder
}

/// A damaged file is an error even if a check within redb takes it for a bug and panics. (Where
/// panics abort, the daemon's panic hook says the same and ends the process.)
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, StateError>) -> Result<T, StateError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(StateError::damaged(path, "the file is damaged")))
}
