//! The thread that makes commits hold: on the disk first, then in force, then
//! acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, TryRecvError};
use dataplane::tables::Tables;
use dataplane::tables::change::{Refusal, RefusalCode};
use dataplane::tables::commit::Changed;
use encap::Buffer;
use tracing::{error, warn};

use super::{Commit, Job, Shared};
use crate::proto::SavedCommit;
use crate::server::lock;
use crate::state::{Entry, State, StateError};

/// What the writer is to do, in the order in which it comes.
pub(super) enum Order {
    /// Write a group, and put it in force.
    Write(Group),
    /// Make a commit that opens or closes devices.
    Alone(Box<Job>),
    /// Say when everything before is done.
    Tell(Sender<()>),
}

/// Requests that are written together, each on top of the one before.
#[derive(Default)]
pub(super) struct Group {
    staged: Vec<Staged>,
    /// [`Shared::restarts`] as it was when the first snapshot of their chain was made.
    restarts: u64,
}

/// A request, and what it makes.
pub(super) struct Staged {
    pub(super) job: Job,
    pub(super) before: Arc<Tables>,
    /// The snapshot, which is `before` if nothing changes; or everything that is wrong.
    pub(super) made: Result<(Arc<Tables>, Arc<Changed>), Vec<Refusal>>,
}

impl Group {
    pub(super) fn push(&mut self, restarts: u64, staged: Staged) {
        self.restarts = restarts;
        self.staged.push(staged);
    }

    pub(super) fn len(&self) -> usize {
        self.staged.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }
}

impl Staged {
    /// The snapshot and what is different in it, if anything is.
    fn change(&self) -> Option<(&Arc<Tables>, &Arc<Changed>)> {
        let (tables, changed) = self.made.as_ref().ok()?;
        (!changed.is_empty()).then_some((tables, changed))
    }
}

pub(super) struct Writer<B> {
    shared: Arc<Shared<B>>,
    state: Option<State>,
    /// The last failure: chains that began before this many restarts are void, and why.
    failed: Option<(u64, String)>,
}

impl<B: Buffer + Send + 'static> Writer<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, state: Option<State>) -> Writer<B> {
        Writer {
            shared,
            state,
            failed: None,
        }
    }

    /// Carries out orders until nobody can give any more.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.state.as_ref().is_some_and(State::is_checkpointing) {
                false => orders.recv().map_err(|_| TryRecvError::Disconnected),
                true => orders.try_recv(),
            };
            match order {
                Ok(Order::Write(group)) => self.write(group),
                Ok(Order::Alone(job)) => self.alone(*job),
                Ok(Order::Tell(done)) => _ = done.send(()),
                Err(TryRecvError::Empty) => self.checkpoint(0),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, mut group: Group) {
        if let Some((restarts, reason)) = &self.failed
            && group.restarts < *restarts
        {
            let reason = reason.clone();
            return refuse(group, &reason);
        }
        let entries: Vec<Entry> = group.staged.iter().filter_map(entry).collect();
        if let Err(error) = self.commit(&entries) {
            let reason = error.reason();
            error!("{} commits are refused: {reason}", entries.len());
            let restarts = self.shared.restarts.fetch_add(1, Ordering::AcqRel) + 1;
            self.failed = Some((restarts, reason.clone()));
            return refuse(group, &reason);
        }
        let Some(last) = self.publish(&mut group) else {
            return; // The engine is gone: nobody is answered, which says so.
        };
        for staged in group.staged {
            self.answer(staged);
        }
        self.go_on(entries.iter().map(|entry| entry.len() as u64).sum(), last);
    }

    /// Puts a group in force; its last snapshot. `None` when the engine is gone.
    fn publish(&self, group: &mut Group) -> Option<Option<Arc<Tables>>> {
        let mut engine = lock(&self.shared.engine);
        let engine = engine.as_mut()?;
        let first = group.staged.iter().find(|staged| staged.change().is_some());
        let Some(base) = first.map(|staged| staged.before.clone()) else {
            return Some(None);
        };
        let published = engine.publish(|current| {
            if !Arc::ptr_eq(current, &base) {
                // What checks have found out came in between.
                rebase(group, current);
                self.shared.restarts.fetch_add(1, Ordering::AcqRel);
            }
            let changes = group.staged.iter().filter_map(Staged::change);
            changes
                .map(|(tables, changed)| (tables.clone(), changed.clone()))
                .collect()
        });
        Some(published)
    }

    fn alone(&mut self, job: Job) {
        let shared = self.shared.clone();
        let mut engine = lock(&shared.engine);
        let Some(engine) = engine.as_mut() else {
            return;
        };
        let before = engine.tables();
        let mut bytes = 0;
        let request = &job.checked.request;
        let applied = engine.apply_with(request, |tables, changed| {
            let saved = saved(tables, changed, &request.owner);
            let entry = Entry::new(tables.generation(), &saved);
            bytes = entry.len() as u64;
            self.commit(&[entry]).map_err(|error| {
                error!("a commit is refused: {}", error.reason());
                vec![not_kept(&error.reason())]
            })
        });
        let tables = engine.tables();
        let made = applied.map(|applied| (tables.clone(), Arc::new(applied.changed)));
        self.answer(Staged { job, before, made });
        self.go_on(bytes, Some(tables));
    }

    fn commit(&mut self, entries: &[Entry]) -> Result<(), StateError> {
        match &mut self.state {
            Some(state) if !entries.is_empty() => state.commit(entries),
            _ => Ok(()),
        }
    }

    /// Tells everybody what became of a request.
    fn answer(&self, staged: Staged) {
        let Staged { job, before, made } = staged;
        if let Ok((after, changed)) = &made
            && !changed.is_empty()
        {
            self.shared.announce(&Commit {
                caller: &job.caller,
                owner: &job.checked.request.owner,
                before: &before,
                after,
                changed,
            });
        }
        let generation = made
            .as_ref()
            .map_or(before.generation(), |(after, _)| after.generation());
        let response = job
            .checked
            .answer(made.map(|(_, changed)| changed), generation);
        // Whoever asked may have gone.
        _ = job.answer.send(response);
    }

    /// Keeps the checkpoint going beside commits.
    fn go_on(&mut self, bytes: u64, last: Option<Arc<Tables>>) {
        let Some(state) = &mut self.state else { return };
        if let Some(last) = last
            && state.wants_checkpoint()
        {
            state.begin_checkpoint(last);
        }
        if bytes > 0 {
            self.checkpoint(2 * bytes);
        }
    }

    fn checkpoint(&mut self, bytes: u64) {
        if let Some(state) = &mut self.state
            && let Err(error) = state.checkpoint(bytes)
        {
            warn!(
                "the state file grows until there is room: {}",
                error.reason()
            );
        }
    }
}

/// Makes the snapshots of a group anew, on top of one that has the same configuration.
fn rebase(group: &mut Group, current: &Arc<Tables>) {
    let mut base = current.clone();
    for staged in &mut group.staged {
        if staged.change().is_none() {
            continue;
        }
        let remade = base.prepare(&staged.job.checked.request);
        let Ok(draft) = remade else {
            unreachable!("what checks find out is no part of what requests are held against");
        };
        let (tables, changed) = draft.finish(|_| None);
        staged.before = std::mem::replace(&mut base, Arc::new(tables));
        staged.made = Ok((base.clone(), Arc::new(changed)));
    }
}

fn entry(staged: &Staged) -> Option<Entry> {
    let (tables, changed) = staged.change()?;
    let saved = saved(tables, changed, &staged.job.checked.request.owner);
    Some(Entry::new(tables.generation(), &saved))
}

/// What a commit changed, as it stands in the log.
fn saved(tables: &Tables, changed: &Changed, owner: &str) -> SavedCommit {
    let upserts = changed.created.iter().chain(&changed.updated);
    let upserts = upserts.filter_map(|key| tables.object(key));
    SavedCommit {
        owner: owner.to_owned(),
        upserts: upserts.map(|stored| (&stored.object).into()).collect(),
        deletes: changed.deleted.iter().map(Into::into).collect(),
    }
}

/// Refuses a group that was not written.
fn refuse(group: Group, reason: &str) {
    for staged in group.staged {
        let generation = staged.before.generation();
        let response = staged
            .job
            .checked
            .answer(Err(vec![not_kept(reason)]), generation);
        _ = staged.job.answer.send(response);
    }
}

/// A commit that cannot be made durable.
fn not_kept(reason: &str) -> Refusal {
    Refusal {
        code: RefusalCode::NotDurable,
        object: None,
        field: "state_dir".into(),
        reason: format!("nothing was changed, because it would not last: {reason}"),
        conflict: None,
    }
}
