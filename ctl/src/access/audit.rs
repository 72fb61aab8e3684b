//! Who changed what: one JSON object a line, in files that take turns.
//!
//! A commit is handed over as two snapshots and a list of keys, which costs it
//! next to nothing; a thread of this module's own turns them into text. When the
//! disk is so slow that 256 commits wait, the next one waits too: what is
//! acknowledged is going to be written. A disk that refuses is an error in the
//! daemon's log, and stops nothing else.
//!
//! ```json
//! {"time":"2026-01-02T03:04:05.678Z","caller":"uid 0 pid 4711","call":"Apply","status":"COMMITTED",
//!  "owner":"netbox","generation":8,"created":1,"updated":0,"deleted":0,
//!  "objects":[{"object":"vrf front","change":"created","after":{"name":"front"}}],"left_out":0}
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use dataplane::tables::Tables;
use dataplane::tables::commit::Changed;
use dataplane::tables::spec::Key;
use serde_json::{Map, Value, json};

use super::{Caller, settings};
use crate::convert;
use crate::proto::{self, StoredObject};

/// Commits that may wait to be written.
const WAITING: usize = 256;

/// The log. It is written to its end when this is dropped.
pub struct Audit {
    sender: Option<Sender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

/// Something to write down.
pub enum Entry {
    /// Objects changed.
    Commit(Commit),
    /// A call that may change something, and what came of it.
    Call {
        /// When.
        time: SystemTime,
        /// Who.
        caller: Arc<str>,
        /// The call's name, such as `ClearFlows`.
        call: String,
        /// The name of its gRPC status, or `REFUSED`.
        status: &'static str,
        /// In whose name, if it is an `Apply`.
        owner: Option<String>,
        /// Why it was refused; empty if it was not.
        reason: String,
    },
}

impl Entry {
    /// An `Apply` that changed nothing because something was wrong with it.
    pub fn refused(caller: &Caller, owner: String, response: &proto::ApplyResponse) -> Entry {
        let first = response.refusals.first();
        let object = first.and_then(|refusal| refusal.object.as_ref());
        let object = object.and_then(|key| convert::key(key).ok());
        let object = object.map(|key| format!("{key}: ")).unwrap_or_default();
        let field = first
            .map(|it| it.field.as_str())
            .filter(|it| !it.is_empty());
        let field = field.map(|field| format!("{field}: ")).unwrap_or_default();
        let reason = first.map_or("", |refusal| refusal.reason.as_str());
        Entry::Call {
            time: SystemTime::now(),
            caller: caller.name.clone(),
            call: "Apply".into(),
            status: "REFUSED",
            // Of any length, and not yet known to be well-formed.
            owner: Some(owner.chars().take(128).collect()),
            reason: format!("{object}{field}{reason}"),
        }
    }
}

/// A commit that is in force.
pub struct Commit {
    /// When.
    pub time: SystemTime,
    /// Who asked.
    pub caller: Arc<str>,
    /// In whose name.
    pub owner: String,
    /// The objects before.
    pub before: Arc<Tables>,
    /// The objects now.
    pub after: Arc<Tables>,
    /// What is different.
    pub changed: Arc<Changed>,
}

impl Audit {
    /// Opens the log, or says why it cannot be written.
    ///
    /// # Errors
    /// One sentence.
    pub fn open(settings: settings::Audit) -> Result<Audit, String> {
        let failed = |error: io::Error| {
            format!(
                "audit: {} cannot be written: {error}",
                settings.path.display()
            )
        };
        if let Some(parent) = settings.path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = Rotated::open(&settings).map_err(failed)?;
        let (sender, receiver) = bounded(WAITING);
        let shown = settings.objects_per_commit;
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(file, shown, &receiver))
            .map_err(failed)?;
        Ok(Audit {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// Writes it down, soon.
    pub fn note(&self, entry: Entry) {
        if let Some(sender) = &self.sender {
            // The thread ends after the sender.
            _ = sender.send(entry);
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.sender.take();
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn write(mut file: Rotated, shown: usize, entries: &Receiver<Entry>) {
    let mut failing = false;
    for entry in entries {
        let mut line = line(&entry, shown).to_string();
        line.push('\n');
        match file.write(line.as_bytes()) {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(
                    "audit: {} cannot be written: {error}; changes go on without it",
                    file.path.display()
                );
            }
            Err(_) => {}
        }
    }
}

fn line(entry: &Entry, shown: usize) -> Value {
    match entry {
        Entry::Commit(commit) => commit_line(commit, shown),
        Entry::Call {
            time,
            caller,
            call,
            status,
            owner,
            reason,
        } => {
            let mut line = Map::new();
            line.insert("time".into(), timestamp(*time).into());
            line.insert("caller".into(), (**caller).into());
            line.insert("call".into(), call.as_str().into());
            line.insert("status".into(), (*status).into());
            if let Some(owner) = owner {
                line.insert("owner".into(), owner.as_str().into());
            }
            if !reason.is_empty() {
                line.insert("reason".into(), reason.as_str().into());
            }
            line.into()
        }
    }
}

fn commit_line(commit: &Commit, shown: usize) -> Value {
    let changed = &commit.changed;
    let kinds = [
        ("created", &changed.created),
        ("updated", &changed.updated),
        ("deleted", &changed.deleted),
    ];
    let keys = kinds
        .iter()
        .flat_map(|(change, keys)| keys.iter().map(move |key| (*change, key)));
    let objects: Vec<Value> = keys
        .clone()
        .take(shown)
        .map(|(change, key)| object_line(commit, change, key))
        .collect();
    let all = changed.created.len() + changed.updated.len() + changed.deleted.len();
    json!({
        "time": timestamp(commit.time),
        "caller": &*commit.caller,
        "call": "Apply",
        "status": "COMMITTED",
        "owner": commit.owner,
        "generation": commit.after.generation(),
        "created": changed.created.len(),
        "updated": changed.updated.len(),
        "deleted": changed.deleted.len(),
        "left_out": all - objects.len(),
        "objects": objects,
    })
}

/// An object as it was and is.
fn object_line(commit: &Commit, change: &str, key: &Key) -> Value {
    let as_is = |tables: &Tables| {
        let stored = StoredObject::from(tables.object(key)?);
        Some(proto::object_json(&stored.object?))
    };
    let mut line = Map::new();
    line.insert("object".into(), key.to_string().into());
    line.insert("change".into(), change.into());
    if let Some(before) = as_is(&commit.before) {
        line.insert("before".into(), before);
    }
    if let Some(after) = as_is(&commit.after) {
        line.insert("after".into(), after);
    }
    line.into()
}

/// The file that is written; full ones are renamed to `PATH.1`, `PATH.2` and so on.
struct Rotated {
    path: PathBuf,
    file: File,
    len: u64,
    max: u64,
    files: u32,
}

impl Rotated {
    fn open(settings: &settings::Audit) -> io::Result<Rotated> {
        let file = append(&settings.path)?;
        Ok(Rotated {
            path: settings.path.clone(),
            len: file.metadata()?.len(),
            file,
            max: settings.max_bytes,
            files: settings.files,
        })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.len > 0 && self.len + line.len() as u64 > self.max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.len += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            PathBuf::from(path)
        };
        let missing_is_fine = |result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match self.files {
            0 | 1 => missing_is_fine(fs::remove_file(&self.path))?,
            files => {
                for number in (1..files - 1).rev() {
                    missing_is_fine(fs::rename(numbered(number), numbered(number + 1)))?;
                }
                missing_is_fine(fs::rename(&self.path, numbered(1)))?;
            }
        }
        self.file = append(&self.path)?;
        self.len = 0;
        Ok(())
    }
}

/// Only the daemon's user reads it: objects tell much about tenants.
fn append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(path)
}

/// UTC as RFC 3339 writes it, to the millisecond.
fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The day that is so many after 1970-01-01. Years are counted from March, so
/// that the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year + u64::from(month >= 10);
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds: u64| timestamp(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7));
        // From `date -u -d @SECONDS`.
        assert_eq!(at(0), "1970-01-01T00:00:00.007Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.007Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59.007Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.007Z");
    }

    #[test]
    fn full_files_are_set_aside_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let settings = settings::Audit {
            path: path.clone(),
            max_bytes: 10,
            files: 3,
            objects_per_commit: 0,
        };
        let mut file = Rotated::open(&settings).unwrap();
        for line in [
            "one\n",
            "two\n",
            "three\n",
            "a line longer than the file\n",
            "five\n",
        ] {
            file.write(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        assert_eq!(read("audit.jsonl").as_deref(), Some("five\n"));
        assert_eq!(
            read("audit.jsonl.1").as_deref(),
            Some("a line longer than the file\n")
        );
        assert_eq!(read("audit.jsonl.2").as_deref(), Some("three\n"));
        assert_eq!(read("audit.jsonl.3"), None);
        // Opened again, it goes on where it was.
        let mut file = Rotated::open(&settings).unwrap();
        file.write(b"six\n").unwrap();
        assert_eq!(read("audit.jsonl").as_deref(), Some("five\nsix\n"));
    }
}
