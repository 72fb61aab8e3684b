//! `Watch`: the journal in the words of the protocol, to one reader at its pace.

use std::sync::Arc;

use dataplane::tables::spec::Key;
use tokio::sync::mpsc::Sender;
use tonic::Status;

use super::journal::{Beginning, Committed, Entry, Gap, Journal, What, now_ms};
use crate::proto::watch_response::Event;
use crate::proto::{self, ChangeKind, EventKind, WatchRequest, WatchResponse};

/// Objects in one event: a message that every client takes.
const OBJECTS_PER_EVENT: usize = 4096;

/// Entries taken from the journal at a time.
const ENTRIES: usize = 64;

type Responses = Sender<Result<WatchResponse, Status>>;

/// A reader that is about to be told.
pub(super) struct Watcher {
    journal: Arc<Journal>,
    kinds: Vec<EventKind>,
    beginning: Beginning,
}

impl Watcher {
    /// Begins where the request says.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `OUT_OF_RANGE`.
    pub(super) fn new(journal: Arc<Journal>, request: &WatchRequest) -> Result<Watcher, Status> {
        let kinds = request.kinds.iter().map(|kind| {
            let known = EventKind::try_from(*kind).ok();
            known
                .filter(|kind| *kind != EventKind::Unspecified)
                .ok_or_else(|| {
                    Status::invalid_argument(format!("kinds: {kind} is no kind of event"))
                })
        });
        let kinds = kinds.collect::<Result<_, _>>()?;
        let beginning = journal.from(request.from_generation).map_err(gap)?;
        Ok(Watcher {
            journal,
            kinds,
            beginning,
        })
    }

    /// Tells until the reader goes, or falls out of the history.
    pub(super) async fn tell(mut self, to: Responses) {
        // Nobody to tell any more is no error.
        _ = self.begin(&to).await;
        let mut place = self.beginning.place;
        while !to.is_closed() {
            tokio::select! {
                () = self.journal.wait(place) => {}
                () = to.closed() => return,
            }
            let Some(entries) = self.journal.read(place, ENTRIES) else {
                _ = to.send(Err(fell_out())).await;
                return;
            };
            for entry in entries {
                place += 1;
                if self.tell_entry(&entry, &to).await.is_none() {
                    return;
                }
            }
        }
    }

    /// What was before the call, and how things are.
    async fn begin(&mut self, to: &Responses) -> Option<()> {
        for entry in std::mem::take(&mut self.beginning.commits) {
            self.tell_entry(&entry, to).await?;
        }
        for event in std::mem::take(&mut self.beginning.now) {
            if self.wants(&event) {
                self.send(event, true, to).await?;
            }
        }
        self.send(Event::Synced(proto::Synced {}), false, to).await
    }

    async fn send(&self, event: Event, initial: bool, to: &Responses) -> Option<()> {
        let response = WatchResponse {
            generation: self.beginning.generation,
            time_ms: now_ms(),
            initial,
            event: Some(event),
        };
        to.send(Ok(response)).await.ok()
    }

    async fn tell_entry(&self, entry: &Entry, to: &Responses) -> Option<()> {
        let response = |event| WatchResponse {
            generation: entry.generation,
            time_ms: entry.time_ms,
            initial: false,
            event: Some(event),
        };
        match &entry.what {
            What::State(event) if self.wants(event) => {
                to.send(Ok(response(event.clone()))).await.ok()
            }
            What::Commit(commit) if self.wants_kind(EventKind::Commit) => {
                for event in events(commit) {
                    to.send(Ok(response(event))).await.ok()?;
                }
                Some(())
            }
            _ => Some(()),
        }
    }

    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Commit(_) => self.wants_kind(EventKind::Commit),
            Event::Synced(_) => true,
            Event::Link(_) => self.wants_kind(EventKind::Link),
            Event::Neighbour(_) => self.wants_kind(EventKind::Neighbour),
            Event::Backend(_) => self.wants_kind(EventKind::Backend),
            Event::Capacity(_) => self.wants_kind(EventKind::Capacity),
        }
    }

    fn wants_kind(&self, kind: EventKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// A commit, in as many events as it takes.
fn events(commit: &Committed) -> impl Iterator<Item = Event> {
    let changed = &commit.changed;
    let of = |keys: &'_ [Key], change: ChangeKind| -> Vec<(Key, ChangeKind)> {
        keys.iter().map(|key| (key.clone(), change)).collect()
    };
    let mut all = of(&changed.created, ChangeKind::Created);
    all.extend(of(&changed.updated, ChangeKind::Updated));
    all.extend(of(&changed.deleted, ChangeKind::Deleted));
    let count = all.len().div_ceil(OBJECTS_PER_EVENT).max(1);
    let (owner, caller) = (commit.owner.clone(), commit.caller.to_string());
    (0..count).map(move |number| {
        let from = number * OBJECTS_PER_EVENT;
        let to = all.len().min(from + OBJECTS_PER_EVENT);
        let object = |(key, change): &(Key, ChangeKind)| proto::ChangedObject {
            key: Some(key.into()),
            change: (*change).into(),
        };
        Event::Commit(proto::Commit {
            owner: owner.clone(),
            caller: caller.clone(),
            objects: all[from..to].iter().map(object).collect(),
            more: number + 1 < count,
        })
    })
}

fn gap(gap: Gap) -> Status {
    Status::out_of_range(match gap {
        Gap::TooOld(floor) => format!(
            "from_generation: the history begins after generation {floor}; List, and watch from the \
             generation of the list (`limits.watch_history` says how long the history is)"
        ),
        Gap::NotYet(last) => format!(
            "from_generation: the last generation is {last}; this node has lost what it was told, \
             so List, and watch from the generation of the list"
        ),
    })
}

fn fell_out() -> Status {
    Status::out_of_range(
        "limits.watch_history: events were not read as fast as they came, and some are forgotten; \
         List, and watch from the generation of the list",
    )
}
