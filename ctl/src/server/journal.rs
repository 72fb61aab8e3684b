//! What happened lately, for `Watch`: a bounded history of commits, how links,
//! neighbours, backends and capacities are now, and a bell for who waits.
//!
//! Nothing waits for a reader: each has only a place in the history, and one
//! that falls out of it is told so. A commit is kept as a list of keys that it
//! shares with nobody who could change it; its text is made by whoever reads it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dataplane::tables::commit::Changed;
use tokio::sync::watch;

use super::commit::Commit;
use crate::proto::watch_response::Event;

/// The history.
pub(super) struct Journal {
    inner: Mutex<Inner>,
    /// The place after the last entry.
    end: watch::Sender<u64>,
}

struct Inner {
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
    /// Objects that the entries name.
    objects: usize,
    most: usize,
    /// Commits after this generation are in the history.
    floor: u64,
    /// The last generation.
    generation: u64,
    now: BTreeMap<Subject, Event>,
}

/// Something that happened.
#[derive(Clone)]
pub(super) struct Entry {
    /// The generation in force.
    pub(super) generation: u64,
    /// In milliseconds since 1970.
    pub(super) time_ms: u64,
    /// What.
    pub(super) what: What,
}

#[derive(Clone)]
pub(super) enum What {
    Commit(Arc<Committed>),
    /// Something is different about what a [`Subject`] names.
    State(Event),
}

/// A commit as it is kept.
pub(super) struct Committed {
    pub(super) owner: String,
    pub(super) caller: Arc<str>,
    pub(super) changed: Arc<Changed>,
}

/// What an event other than a commit is about: the last one about each is how things are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    /// The link of a vif.
    Link(String),
    /// A vif and an address.
    Neighbour(String, String),
    /// A service, a backend's address and port.
    Backend(String, String, u32),
    /// A kind of capacity, and whose.
    Capacity(i32, String),
}

/// What a reader begins with.
pub(super) struct Beginning {
    /// Commits it has not seen.
    pub(super) commits: Vec<Entry>,
    /// How things are.
    pub(super) now: Vec<Event>,
    /// The generation in force.
    pub(super) generation: u64,
    /// Where it reads on.
    pub(super) place: u64,
}

/// Why a reader cannot be told everything.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The history begins after this generation.
    TooOld(u64),
    /// This is the last generation there is.
    NotYet(u64),
}

impl Journal {
    /// Keeps commits that name `most` objects together, and the last one in any case.
    pub(super) fn new(most: usize) -> Journal {
        Journal {
            inner: Mutex::new(Inner {
                entries: VecDeque::new(),
                first: 0,
                objects: 0,
                most,
                floor: 0,
                generation: 0,
                now: BTreeMap::new(),
            }),
            end: watch::Sender::new(0),
        }
    }

    /// The generation that was in force when the history began, read from the state directory.
    pub(super) fn begin(&self, generation: u64) {
        let mut inner = self.lock();
        if inner.entries.is_empty() && inner.generation < generation {
            (inner.floor, inner.generation) = (generation, generation);
        }
    }

    /// Keeps a commit. Called in the order of generations.
    pub(super) fn commit(&self, commit: &Commit<'_>) {
        let generation = commit.after.generation();
        let before = commit.before.generation();
        let mut inner = self.lock();
        if inner.generation != before {
            // Something was committed that nobody told us of, such as what was read at boot.
            inner.forget_commits(before);
        }
        inner.generation = generation;
        let committed = Committed {
            owner: commit.owner.into(),
            caller: commit.caller.name.clone(),
            changed: commit.changed.clone(),
        };
        inner.push(What::Commit(Arc::new(committed)));
        self.ring(inner);
    }

    /// Takes note of how something is, `None` when it is no more; tells of it if that is news.
    pub(super) fn state(&self, subject: Subject, event: Option<Event>) {
        let mut inner = self.lock();
        if inner.now.get(&subject) == event.as_ref() {
            return;
        }
        match event {
            None => {
                inner.now.remove(&subject);
            }
            Some(event) => {
                inner.now.insert(subject, event.clone());
                inner.push(What::State(event));
                self.ring(inner);
            }
        }
    }

    /// Everything whose present state is known.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        self.lock().now.keys().cloned().collect()
    }

    /// The generation after which all commits are known.
    pub(super) fn floor(&self) -> u64 {
        self.lock().floor
    }

    /// Where a reader begins that has seen everything up to `generation`, or wants only news.
    pub(super) fn from(&self, generation: Option<u64>) -> Result<Beginning, Gap> {
        let inner = self.lock();
        let mut commits = Vec::new();
        if let Some(seen) = generation {
            if seen < inner.floor {
                return Err(Gap::TooOld(inner.floor));
            }
            if seen > inner.generation {
                return Err(Gap::NotYet(inner.generation));
            }
            let entries = inner.entries.iter();
            let unseen = entries.filter(|entry| entry.generation > seen && entry.is_commit());
            commits.extend(unseen.cloned());
        }
        Ok(Beginning {
            commits,
            now: inner.now.values().cloned().collect(),
            generation: inner.generation,
            place: inner.first + inner.entries.len() as u64,
        })
    }

    /// The next entries at `place`, at most `most`; `None` when they are forgotten.
    pub(super) fn read(&self, place: u64, most: usize) -> Option<Vec<Entry>> {
        let inner = self.lock();
        let skip = place.checked_sub(inner.first)?;
        let entries = inner.entries.iter().skip(skip as usize);
        Some(entries.take(most).cloned().collect())
    }

    /// Completes when there is something at `place`.
    pub(super) async fn wait(&self, place: u64) {
        // The sender lives as long as `self`.
        _ = self.end.subscribe().wait_for(|end| *end > place).await;
    }

    fn ring(&self, inner: MutexGuard<'_, Inner>) {
        let end = inner.first + inner.entries.len() as u64;
        drop(inner);
        // Two may ring in the other order; the later place is the right one.
        self.end.send_if_modified(|known| {
            let is_news = *known < end;
            *known = (*known).max(end);
            is_news
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, what: What) {
        let entry = Entry {
            generation: self.generation,
            time_ms: now_ms(),
            what,
        };
        self.objects += entry.weight();
        self.entries.push_back(entry);
        while self.objects > self.most && self.entries.len() > 1 {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(entry) = self.entries.pop_front() else {
            return;
        };
        self.objects -= entry.weight();
        self.first += 1;
        if entry.is_commit() {
            self.floor = entry.generation;
        }
    }

    fn forget_commits(&mut self, floor: u64) {
        while !self.entries.is_empty() {
            self.forget_first();
        }
        self.floor = floor;
    }
}

impl Entry {
    pub(super) fn is_commit(&self) -> bool {
        matches!(self.what, What::Commit(_))
    }

    /// How much of the history it takes, in objects.
    fn weight(&self) -> usize {
        match &self.what {
            What::Commit(commit) => {
                let changed = &commit.changed;
                1 + changed.created.len() + changed.updated.len() + changed.deleted.len()
            }
            What::State(_) => 1,
        }
    }
}

/// Since 1970, in milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
