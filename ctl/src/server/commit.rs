//! The one way a request becomes a generation: what controllers ask for and what
//! the node file says goes through [`Commits::apply`], one at a time, and whoever
//! keeps account of commits hears of each in the order of generations.
//!
//! ```text
//!  apply ── checked ──► stager ── group ──► writer: fdatasync ─ publish ─ observe ─ answer
//!  apply ── checked ──►  makes the next snapshots while the group before is written
//! ```
//!
//! Nothing is acknowledged, and no packet is forwarded by it, before it is on the
//! disk. Should the disk refuse, the group and what was already made on top of it are
//! refused, and the stager begins again from what is in force.

mod stager;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded, unbounded};
use dataplane::engine::Engine;
use dataplane::snapshot::Watcher;
use dataplane::tables::Tables;
use dataplane::tables::commit::Changed;
use encap::Buffer;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use self::stager::Stager;
use self::writer::Writer;
use super::SharedEngine;
use super::apply::{self, Checked};
use crate::access::Caller;
use crate::proto::{ApplyRequest, ApplyResponse};
use crate::state::State;

/// Changes of a request that is checked where it arrives; a larger one has a thread to itself.
const CHECKED_AT_ONCE: usize = 64;

/// Commits requests to one engine. Clones commit to the same one; the last one to go
/// waits until all is written and the state closed.
pub struct Commits<B> {
    shared: Arc<Shared<B>>,
    /// Taken when dropped, which ends the threads.
    jobs: Option<Sender<Job>>,
    threads: Arc<Threads>,
}

/// Hears of every commit when it is in force, before it is acknowledged: the next one waits.
pub type Observer = Box<dyn Fn(&Commit<'_>) + Send + Sync>;

/// A commit that is in force.
pub struct Commit<'a> {
    /// Who asked.
    pub caller: &'a Caller,
    /// The owner in whose name.
    pub owner: &'a str,
    /// The objects before.
    pub before: &'a Arc<Tables>,
    /// The objects now; its generation is the commit's.
    pub after: &'a Arc<Tables>,
    /// What is different.
    pub changed: &'a Arc<Changed>,
}

/// What all threads share.
struct Shared<B> {
    engine: SharedEngine<B>,
    /// What is in force: asking the engine may have to wait for a device that is being opened.
    tables: Watcher<Tables>,
    observers: Vec<Observer>,
    /// How often snapshots that were made ahead had to be given up: after the disk has refused
    /// commits, or when something else came into force in between.
    restarts: AtomicU64,
}

/// A well-formed request on its way.
struct Job {
    checked: Checked,
    caller: Caller,
    /// Dropped without an answer when the daemon stops.
    answer: oneshot::Sender<ApplyResponse>,
}

impl<B: Buffer + Send + 'static> Commits<B> {
    /// Commits to `engine`, makes commits durable in `state`, if there is one, and tells
    /// `observers`.
    ///
    /// # Errors
    /// What the system said when it would not start a thread.
    pub fn new(
        engine: Engine<B>,
        state: Option<State>,
        observers: Vec<Observer>,
    ) -> std::io::Result<Commits<B>> {
        let shared = Arc::new(Shared {
            tables: engine.watcher(),
            engine: SharedEngine::new(Some(engine).into()),
            observers,
            restarts: AtomicU64::new(0),
        });
        let (jobs, taken) = unbounded();
        let (orders, given) = bounded(0);
        let stager = Stager::new(shared.clone(), orders);
        let writer = Writer::new(shared.clone(), state);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.into()).spawn(run)
        };
        let threads = vec![
            spawn("commits", Box::new(move || stager.run(&taken)))?,
            spawn("state", Box::new(move || writer.run(&given)))?,
        ];
        Ok(Commits {
            shared,
            jobs: Some(jobs),
            threads: Arc::new(Threads(threads)),
        })
    }

    /// Commits a request or says why not; `None` once the engine has been taken. It may take some
    /// milliseconds: for the disk, and where devices are opened or closed.
    pub async fn apply(&self, caller: Caller, request: ApplyRequest) -> Option<ApplyResponse> {
        let tables = self.shared.tables.current();
        let is_small = request.changes.len() <= CHECKED_AT_ONCE && !request.dry_run;
        let check = move || {
            let checked = apply::begin(&tables, &request)?;
            match request.dry_run {
                true => Err(Box::new(apply::dry_run(&tables, checked))),
                false => Ok(checked),
            }
        };
        let checked = match is_small {
            true => check(),
            false => spawn_blocking(check).await.ok()?,
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(response) => return Some(*response),
        };
        let (answer, answered) = oneshot::channel();
        let job = Job {
            checked,
            caller,
            answer,
        };
        self.jobs.as_ref()?.send(job).ok()?;
        answered.await.ok()
    }

    /// The engine commits are made to; `None` inside once it has been taken.
    pub(super) fn engine(&self) -> &SharedEngine<B> {
        &self.shared.engine
    }
}

impl<B> Shared<B> {
    /// The one place that every commit passes when it is in force.
    fn announce(&self, commit: &Commit<'_>) {
        tracing::info!(
            generation = commit.after.generation(),
            created = commit.changed.created.len(),
            updated = commit.changed.updated.len(),
            deleted = commit.changed.deleted.len(),
            "committed"
        );
        self.observers.iter().for_each(|observe| observe(commit));
    }
}

impl<B> Clone for Commits<B> {
    fn clone(&self) -> Self {
        Commits {
            shared: self.shared.clone(),
            jobs: self.jobs.clone(),
            threads: self.threads.clone(),
        }
    }
}

impl<B> Drop for Commits<B> {
    fn drop(&mut self) {
        // Before the threads are waited for: they end when nobody can ask any more.
        self.jobs = None;
    }
}

/// Waited for when dropped.
struct Threads(Vec<JoinHandle<()>>);

impl Drop for Threads {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            // If it panicked, its message has said so.
            _ = thread.join();
        }
    }
}
