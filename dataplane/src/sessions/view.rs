//! Sessions that are looked at and not used: for explanations.
//!
//! What a decision asks for is foreseen from the state that the workers use, by the same code that
//! would give it, and nothing of that state changes. An answer is true for the moment in which it was
//! given: another machine may take the port that was foreseen.

use std::sync::{Arc, Mutex, PoisonError};

use super::Shared;
use super::affinity::Affinity;
use crate::decide::End;
use crate::decide::sessions::{Asked, Binding, Bound, Step};
use crate::reason::DropReason;
use crate::stage::Context;
use crate::tables::nat::PoolId;

/// A look at the sessions in use, with notes of what was looked at.
#[derive(Debug)]
pub(super) struct View {
    of: Arc<Shared>,
    steps: Mutex<Vec<Step>>,
}

impl View {
    /// A look at these.
    pub(super) fn of(of: Arc<Shared>) -> View {
        View {
            of,
            steps: Mutex::default(),
        }
    }

    pub(super) fn note(&self, step: Step) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.push(step);
    }

    pub(super) fn take_steps(&self) -> Vec<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *steps)
    }

    pub(super) fn affinity(&self) -> &Affinity {
        &self.of.affinity
    }

    pub(super) fn bind(&self, context: &Context, asked: &Asked) -> Result<Binding, DropReason> {
        let pool = context.tables.pool(asked.pool);
        let found = pool.zip(self.of.bindings());
        let (pool, bindings) = found.ok_or(DropReason::SnatExhausted)?;
        let foreseen = bindings.foresee(pool, asked, context.now);
        let (binding, had) = foreseen.inspect_err(|_| {
            self.note(Step::NoBinding(asked.pool, asked.inside));
        })?;
        self.note(Step::Binding(asked.pool, binding.outside, had));
        Ok(binding)
    }

    pub(super) fn bound(
        &self,
        context: &Context,
        pool: PoolId,
        protocol: u8,
        ends: (End, End),
    ) -> Result<Bound, DropReason> {
        let found = context.tables.pool(pool).zip(self.of.bindings());
        let (of, bindings) = found.ok_or(DropReason::SnatUnknown)?;
        let bound = bindings.foresee_bound(of, protocol, ends, context.now);
        bound.inspect_err(|_| self.note(Step::NoBinding(pool, ends.0)))
    }
}
