//! `Apply`: a request as written to a commit, or to every reason why not.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dataplane::tables::Tables;
use dataplane::tables::change::{self, Change, Request};
use dataplane::tables::commit::Changed;
use dataplane::tables::spec::Key;

use crate::convert::{self, Problem};
use crate::proto::change::Change as Written;
use crate::proto::refusal::Code;
use crate::proto::{self, ApplyRequest, ApplyResponse, Mode, Outcome, Plan, Refusal};

/// Refusals or keys in one response: some hundred KiB, while most gRPC clients
/// take 4 MiB. A commit must not fail because its answer is too long.
const MAX_LISTED: usize = 4096;

/// Checks every object of a request by itself; the answer, if it is refused. `tables` are those in
/// force.
pub(super) fn begin(
    tables: &Tables,
    written: &ApplyRequest,
) -> Result<Checked, Box<ApplyResponse>> {
    let mut checked = Checked::new(written);
    if checked.refusals.is_empty() {
        return Ok(checked);
    }
    // What is wrong between the well-formed objects is worth saying too, as far
    // as it does not follow from what is missing among them.
    checked.stand_in_for_malformed(tables);
    if let Err(mut refusals) = tables.prepare(&checked.request) {
        let consequences = checked.consequences();
        refusals.retain(|refusal| {
            let about = (refusal.object.clone(), refusal.field.clone());
            !consequences.contains(&about)
        });
        checked.add(refusals);
    }
    Err(Box::new(refused(checked.refusals, tables.generation())))
}

/// What a request would do.
pub(super) fn dry_run(tables: &Tables, checked: Checked) -> ApplyResponse {
    match tables.prepare(&checked.request) {
        Ok(draft) => ApplyResponse {
            outcome: Outcome::Checked.into(),
            plan: Some(plan(draft.changed())),
            ..accepted(draft.changed(), draft.tables().generation())
        },
        Err(refusals) => checked.answer(Err(refusals), tables.generation()),
    }
}

/// A request as the engine takes it.
///
/// # Errors
/// What is not well-formed.
pub(super) fn check(written: &ApplyRequest) -> Result<Request, Vec<Refusal>> {
    let checked = Checked::new(written);
    match checked.refusals.is_empty() {
        true => Ok(checked.request),
        false => Err(checked.refusals),
    }
}

/// The well-formed part of a request, and what is wrong with the rest.
pub(super) struct Checked {
    pub(super) request: Request,
    /// Where each object stands in the request.
    positions: HashMap<Key, usize>,
    /// Keys of objects that are not well-formed.
    malformed: HashSet<Key>,
    refusals: Vec<Refusal>,
}

impl Checked {
    fn new(written: &ApplyRequest) -> Checked {
        let mut checked = Checked {
            request: Request {
                owner: "".into(),
                replace: written.mode() == Mode::Replace,
                if_generation: written.if_generation,
                changes: Vec::with_capacity(written.changes.len()),
            },
            positions: HashMap::with_capacity(written.changes.len()),
            malformed: HashSet::new(),
            refusals: Vec::new(),
        };
        match convert::owner(&written.owner) {
            Ok(owner) => checked.request.owner = owner,
            Err(reason) => checked.refuse_request("owner", reason),
        }
        if Mode::try_from(written.mode).is_err() {
            checked.refuse_request("mode", format!("{} is no mode", written.mode));
        }
        for (position, change) in written.changes.iter().enumerate() {
            checked.check(position, change);
        }
        checked
    }

    fn check(&mut self, position: usize, change: &proto::Change) {
        let (key, change) = match &change.change {
            Some(Written::Upsert(object)) => (
                convert::key_of(object),
                convert::object(object).map(Change::Upsert),
            ),
            Some(Written::Delete(key)) => {
                let key = convert::key(key);
                (key.clone().ok(), key.map(Change::Delete))
            }
            None => (
                None,
                Err(vec![Problem {
                    field: String::new(),
                    code: Code::Missing,
                    reason: "says neither upsert nor delete".into(),
                }]),
            ),
        };
        if let Some(key) = &key
            && let Some(first) = self.positions.get(key)
        {
            let reason = format!("is in the request twice, first as change {first}");
            self.refusals.push(Refusal {
                change: Some(position as u32),
                object: Some(key.into()),
                code: Code::Duplicate.into(),
                reason,
                conflict: Some(key.into()),
                ..Default::default()
            });
            return;
        }
        if let Some(key) = &key {
            self.positions.insert(key.clone(), position);
        }
        match change {
            Ok(change) => self.request.changes.push(change),
            Err(problems) => {
                self.malformed.extend(key.clone());
                let refusals = problems.into_iter().map(|problem| Refusal {
                    change: Some(position as u32),
                    object: key.as_ref().map(Into::into),
                    field: problem.field,
                    code: problem.code.into(),
                    reason: problem.reason,
                    conflict: None,
                });
                self.refusals.extend(refusals);
            }
        }
    }

    /// Lets malformed objects that exist stay as they are while the others are
    /// checked, so that what refers to them is not said to lead nowhere, nor a
    /// replacing request to delete them.
    fn stand_in_for_malformed(&mut self, tables: &Tables) {
        for key in &self.malformed {
            if let Some(stored) = tables.object(key)
                && stored.owner == self.request.owner
            {
                let change = Change::Upsert(stored.object.clone());
                self.request.changes.push(change);
            }
        }
    }

    /// Objects and fields that refer to something malformed: what the engine
    /// says of them need not be said.
    fn consequences(&self) -> HashSet<(Option<Key>, String)> {
        let mut consequences = HashSet::new();
        for change in &self.request.changes {
            let Change::Upsert(object) = change else {
                continue;
            };
            for (field, key) in object.references() {
                if self.malformed.contains(&key) {
                    consequences.insert((Some(object.key()), field.to_owned()));
                }
            }
        }
        consequences
    }

    /// Adds what the engine said.
    fn add(&mut self, refusals: Vec<change::Refusal>) {
        for refusal in refusals {
            let object = refusal.object.as_ref();
            let position = object.and_then(|key| self.positions.get(key));
            let refusal = convert::refusal(&refusal, position.copied());
            self.refusals.push(refusal);
        }
    }

    /// The answer, when the engine has said what it did or why it did nothing.
    pub(super) fn answer(
        mut self,
        made: Result<Arc<Changed>, Vec<change::Refusal>>,
        generation: u64,
    ) -> ApplyResponse {
        match made {
            Ok(changed) => ApplyResponse {
                changes: self.request.replace.then(|| plan(&changed)),
                ..accepted(&changed, generation)
            },
            Err(refusals) => {
                self.add(refusals);
                refused(self.refusals, generation)
            }
        }
    }

    fn refuse_request(&mut self, field: &str, reason: String) {
        self.refusals.push(Refusal {
            field: field.into(),
            code: Code::Invalid.into(),
            reason,
            ..Default::default()
        });
    }
}

/// `generation` is the one in force then.
fn accepted(changed: &Changed, generation: u64) -> ApplyResponse {
    let outcome = match changed.is_empty() {
        true => Outcome::Unchanged,
        false => Outcome::Committed,
    };
    ApplyResponse {
        outcome: outcome.into(),
        generation,
        created: changed.created.len() as u64,
        updated: changed.updated.len() as u64,
        deleted: changed.deleted.len() as u64,
        unchanged: changed.unchanged as u64,
        ..Default::default()
    }
}

fn plan(changed: &Changed) -> Plan {
    let mut room = MAX_LISTED;
    let mut some = |keys: &[Key]| {
        let keys = &keys[..keys.len().min(room)];
        room -= keys.len();
        keys.iter().map(Into::into).collect()
    };
    Plan {
        create: some(&changed.created),
        update: some(&changed.updated),
        delete: some(&changed.deleted),
    }
}

pub(super) fn refused(mut refusals: Vec<Refusal>, generation: u64) -> ApplyResponse {
    // In the order of the request; what is about all of it comes first.
    refusals.sort_by_key(|refusal| refusal.change);
    let left_out = refusals.len().saturating_sub(MAX_LISTED);
    refusals.truncate(MAX_LISTED);
    ApplyResponse {
        outcome: Outcome::Refused.into(),
        generation,
        refusals,
        refusals_left_out: left_out as u64,
        ..Default::default()
    }
}
