//! What a controller asks for, and why it is refused.

use std::fmt;

use super::spec::{Key, Name, Object};

/// One wish of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make the object be exactly this.
    Upsert(Object),
    /// Make it not be.
    Delete(Key),
}

/// Whose wishes, and whether what they leave unsaid goes away.
#[derive(Clone, Debug)]
pub struct Request {
    /// The controller; objects carry it and only their owner changes them.
    pub owner: Name,
    /// Delete every object of `owner` that `changes` does not name.
    pub replace: bool,
    /// Refuse unless this is the current generation.
    pub if_generation: Option<u64>,
    /// All of it, or nothing.
    pub changes: Vec<Change>,
}

/// The kind of a reason, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    /// Somebody else committed first.
    StaleGeneration,
    /// The object is somebody else's.
    OtherOwner,
    /// What is to be deleted is not there.
    NotFound,
    /// One request, or one list, names it twice.
    Duplicate,
    /// It refers to something that is not there.
    Unresolved,
    /// What is to be deleted is still referred to.
    InUse,
    /// What it wants for itself, such as an address or a device, is another object's.
    Taken,
    /// There is no room for more.
    Limit,
    /// Its device cannot be used.
    Device,
    /// It does not fit the other objects in another way.
    Conflict,
    /// Nothing is wrong with the request, but it would not outlast the daemon.
    NotDurable,
}

/// One reason to refuse a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason.
    pub code: RefusalCode,
    /// The object, as `kind name`; `None` when it is about the request as a whole.
    pub object: Option<Key>,
    /// The field, in the words of the YAML file; empty for the whole object.
    pub field: String,
    /// What is wrong and what would be right, as a sentence without its full stop.
    pub reason: String,
    /// The other object, when two are in each other's way.
    pub conflict: Option<Key>,
}

impl Refusal {
    /// A refusal of one field of one object: a [`RefusalCode::Conflict`] unless
    /// [`with_code`](Refusal::with_code) says otherwise.
    pub fn field(object: Key, field: &str, reason: impl Into<String>) -> Refusal {
        Refusal {
            code: RefusalCode::Conflict,
            object: Some(object),
            field: field.into(),
            reason: reason.into(),
            conflict: None,
        }
    }

    /// The same for another kind of reason.
    pub fn with_code(self, code: RefusalCode) -> Refusal {
        Refusal { code, ..self }
    }

    /// The same, naming the other object.
    pub fn with_conflict(self, other: Key) -> Refusal {
        Refusal {
            conflict: Some(other),
            ..self
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}
