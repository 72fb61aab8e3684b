//! Mistakes as they are noted while files are read, and as they are shown.

use std::collections::HashMap;
use std::fmt;

use crate::proto::refusal::Code;

/// A mistake in a file. Displays as `FILE:LINE: OBJECT: FIELD: REASON`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the user named it.
    pub file: String,
    /// Counted from 1; 0 when it is about the request, not a place in a file.
    pub line: usize,
    /// Kind and name, e.g. `vif web-1`; empty outside of objects.
    pub object: String,
    /// E.g. `tunnel.remote`; empty when it is about the whole object.
    pub field: String,
    /// What is wrong and what would be right, as a sentence without its full stop.
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.file, self.line)?;
        }
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.reason)
    }
}

/// A mistake and what it is about, for telling whether another says the same.
pub(super) struct Noted {
    pub(super) source: usize,
    pub(super) line: usize,
    pub(super) object: Option<usize>,
    pub(super) field: String,
    pub(super) meant: Option<String>,
    pub(super) reason: String,
}

/// The mistakes so far.
#[derive(Default)]
pub(super) struct Notes {
    all: Vec<Noted>,
    /// Which of them are about an object: a file may have as many mistakes as lines.
    by_object: HashMap<usize, Vec<usize>>,
}

impl Notes {
    pub(super) fn push(&mut self, noted: Noted) {
        if let Some(object) = noted.object {
            let number = self.all.len();
            self.by_object.entry(object).or_default().push(number);
        }
        self.all.push(noted);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// By file, then line.
    pub(super) fn in_order(&self) -> Vec<&Noted> {
        let mut order: Vec<&Noted> = self.all.iter().collect();
        order.sort_by_key(|noted| (noted.source, noted.line));
        order
    }

    /// Whether a mistake already noted says or explains this one. A field that
    /// is missing because its key or value was refused is not missing as well.
    pub(super) fn say(&self, object: usize, field: &str, code: Code) -> bool {
        let numbers = self.by_object.get(&object).map_or(&[][..], Vec::as_slice);
        let mut about = numbers.iter().map(|number| &self.all[*number]);
        about.any(|noted| match code {
            Code::Missing => noted.explains_missing(field),
            _ => noted.field == field,
        })
    }
}

impl Noted {
    fn explains_missing(&self, field: &str) -> bool {
        let meant = self.meant.as_deref();
        self.field.is_empty()
            || field.is_empty()
            || is_within(field, &self.field)
            || meant.is_some_and(|meant| is_within(field, meant))
    }
}

/// Whether `field` is `whole` or a part of it.
fn is_within(field: &str, whole: &str) -> bool {
    field
        .strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
