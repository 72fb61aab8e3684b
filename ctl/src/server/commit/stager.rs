//! The thread that makes snapshots: each request on top of the one before, also of
//! those that are not on the disk yet.
//!
//! What was made while the writer was busy goes to it together, as one group with
//! one `fdatasync`. A commit that opens or closes devices has the engine to itself:
//! everything before it is written and in force first.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use dataplane::tables::commit::Changed;
use dataplane::tables::spec::Key;
use dataplane::tables::{Tables, change};
use encap::Buffer;

use super::writer::{Group, Order, Staged};
use super::{Job, Shared};
use crate::server::lock;

/// Commits in one group at most.
const GROUP_COMMITS: usize = 512;
/// Changes in one group, beyond which nothing more joins it.
const GROUP_CHANGES: usize = 20_000;

pub(super) struct Stager<B> {
    shared: Arc<Shared<B>>,
    writer: Sender<Order>,
    /// Made last; `None`: what is in force, once the writer has done all it was given.
    tip: Option<Arc<Tables>>,
    /// [`Shared::restarts`] as it was when `tip`'s chain began.
    restarts: u64,
    group: Group,
    changes: usize,
}

impl<B: Buffer + Send + 'static> Stager<B> {
    pub(super) fn new(shared: Arc<Shared<B>>, writer: Sender<Order>) -> Stager<B> {
        Stager {
            shared,
            writer,
            tip: None,
            restarts: 0,
            group: Group::default(),
            changes: 0,
        }
    }

    /// Takes requests until nobody can send any more.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            if self.group.is_empty() {
                match jobs.recv() {
                    Ok(job) => self.stage(job),
                    Err(_) => return,
                }
            } else if self.group.len() >= GROUP_COMMITS || self.changes >= GROUP_CHANGES {
                self.flush();
            } else {
                let writer = self.writer.clone();
                select! {
                    recv(jobs) -> job => match job {
                        Ok(job) => self.stage(job),
                        Err(_) => return self.flush(),
                    },
                    send(writer, Order::Write(std::mem::take(&mut self.group))) -> sent => {
                        self.changes = 0;
                        if sent.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Makes the snapshot that a request wants, or finds out why not.
    fn stage(&mut self, job: Job) {
        let Some(base) = self.base() else { return };
        match base.prepare(&job.checked.request) {
            Err(refusals) => self.add(job, &base, Err(refusals)),
            Ok(draft) if touches_devices(draft.changed()) => {
                drop(draft);
                self.flush();
                // What it waits for may have failed.
                _ = self.writer.send(Order::Alone(Box::new(job)));
                self.tip = None;
            }
            Ok(draft) if draft.changed().is_empty() => {
                let changed = Arc::new(draft.changed().clone());
                self.add(job, &base, Ok((base.clone(), changed)));
            }
            Ok(draft) => {
                let (tables, changed) = draft.finish(|_| None);
                let tables = Arc::new(tables);
                self.tip = Some(tables.clone());
                self.add(job, &base, Ok((tables, Arc::new(changed))));
            }
        }
    }

    fn add(
        &mut self,
        job: Job,
        base: &Arc<Tables>,
        made: Result<(Arc<Tables>, Arc<Changed>), Vec<change::Refusal>>,
    ) {
        self.changes += job.checked.request.changes.len();
        let staged = Staged {
            job,
            before: base.clone(),
            made,
        };
        self.group.push(self.restarts, staged);
    }

    /// What the next request comes on top of; `None` when the engine is gone.
    fn base(&mut self) -> Option<Arc<Tables>> {
        if self.tip.is_none() || self.shared.restarts.load(Ordering::Acquire) != self.restarts {
            self.flush();
            let (done, settled) = bounded(1);
            self.writer.send(Order::Tell(done)).ok()?;
            settled.recv().ok()?;
            self.restarts = self.shared.restarts.load(Ordering::Acquire);
            let engine = lock(&self.shared.engine);
            self.tip = Some(engine.as_ref()?.tables());
        }
        self.tip.clone()
    }

    fn flush(&mut self) {
        if !self.group.is_empty() {
            let group = std::mem::take(&mut self.group);
            // Without a writer everybody is told that the daemon stops.
            _ = self.writer.send(Order::Write(group));
            self.changes = 0;
        }
    }
}

/// True if a commit opens or closes devices, or must wait until no worker uses what it deletes.
fn touches_devices(changed: &Changed) -> bool {
    let all = [&changed.created, &changed.updated, &changed.deleted];
    let vif = |key: &Key| matches!(key, Key::Vif(_));
    let vrf = |key: &Key| matches!(key, Key::Vrf(_));
    all.into_iter().flatten().any(vif) || changed.deleted.iter().any(vrf)
}
