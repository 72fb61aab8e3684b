//! The one way a request becomes a generation: what controllers ask for and what
//! the node file says goes through [`Commits::apply`], one at a time, and whoever
//! keeps account of commits hears of each in the order of generations.

use std::sync::{Arc, PoisonError};

use dataplane::engine::Engine;
use dataplane::tables::Tables;
use dataplane::tables::commit::Changed;
use encap::Buffer;

use super::{SharedEngine, apply};
use crate::access::Caller;
use crate::proto::{ApplyRequest, ApplyResponse};

/// Commits requests to one engine. Clones commit to the same one.
pub struct Commits<B> {
    engine: SharedEngine<B>,
    observers: Arc<[Observer]>,
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

impl<B: Buffer + Send + 'static> Commits<B> {
    /// Commits to `engine`, and tells `observers`.
    pub fn new(engine: Engine<B>, observers: Vec<Observer>) -> Commits<B> {
        Commits {
            engine: SharedEngine::new(Some(engine).into()),
            observers: observers.into(),
        }
    }

    /// Commits a request or says why not; `None` once the engine has been taken. Opens and closes
    /// devices, so it may take some milliseconds.
    pub fn apply(&self, caller: &Caller, request: &ApplyRequest) -> Option<ApplyResponse> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_mut()?;
        let before = engine.tables();
        let (response, changed) = apply::apply(engine, request);
        if let Some(changed) = changed.map(Arc::new) {
            let commit = Commit {
                caller,
                owner: &request.owner,
                before: &before,
                after: &engine.tables(),
                changed: &changed,
            };
            tracing::info!(
                generation = commit.after.generation(),
                created = changed.created.len(),
                updated = changed.updated.len(),
                deleted = changed.deleted.len(),
                "committed"
            );
            self.observers.iter().for_each(|observe| observe(&commit));
        }
        Some(response)
    }

    /// The engine commits are made to; `None` inside once it has been taken.
    pub(super) fn engine(&self) -> &SharedEngine<B> {
        &self.engine
    }
}

impl<B> Clone for Commits<B> {
    fn clone(&self) -> Self {
        Commits {
            engine: self.engine.clone(),
            observers: self.observers.clone(),
        }
    }
}
