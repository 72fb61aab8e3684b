//! Collecting what is wrong with one object, field by field.

use encap::{Label, Vni};

use crate::proto::refusal::Code;

/// What is wrong with one field of an object as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In the words of the YAML file, e.g. `tunnel.remote`; empty: the whole object.
    pub field: String,
    /// [`Code::Missing`] or [`Code::Invalid`].
    pub code: Code,
    /// The value and what would be right, as a sentence without its full stop.
    pub reason: String,
}

/// The problems of one object so far. Each check notes what is wrong and
/// returns the value when nothing is, so that the next field is looked at
/// either way.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// The object, unless something was wrong.
    pub(super) fn finish<T>(self, object: Option<T>) -> Result<T, Vec<Problem>> {
        match object {
            Some(object) if self.0.is_empty() => Ok(object),
            _ => Err(self.0),
        }
    }

    pub(super) fn missing<T>(&mut self, field: &str, wanted: &str) -> Option<T> {
        self.note(field, Code::Missing, format!("is missing; write {wanted}"))
    }

    pub(super) fn invalid<T>(&mut self, field: &str, reason: String) -> Option<T> {
        self.note(field, Code::Invalid, reason)
    }

    /// A required value written as text.
    pub(super) fn text<T>(
        &mut self,
        field: &str,
        text: &str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if text.is_empty() {
            return self.note(field, Code::Missing, "is missing".into());
        }
        parse(text).map_or_else(|reason| self.invalid(field, reason), Some)
    }

    /// A list of values written as text; each bad item is a problem of its own.
    pub(super) fn texts<T>(
        &mut self,
        field: &str,
        texts: &[String],
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let values: Vec<Option<T>> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| self.text(&format!("{field}[{i}]"), text, parse))
            .collect();
        values.into_iter().collect()
    }

    /// A field that may be left out: `Some(None)` when it is.
    pub(super) fn optional<W, T>(
        &mut self,
        field: &str,
        written: Option<W>,
        check: impl FnOnce(&mut Self, &str, W) -> Option<T>,
    ) -> Option<Option<T>> {
        match written {
            Some(written) => check(self, field, written).map(Some),
            None => Some(None),
        }
    }

    /// A VXLAN network id.
    pub(super) fn vni(&mut self, field: &str, vni: u32) -> Option<Vni> {
        Vni::new(vni).or_else(|| {
            let reason = format!("{vni} is out of range; a VNI is 0 to {}", Vni::MAX);
            self.invalid(field, reason)
        })
    }

    /// An MPLS label, reserved ones included.
    pub(super) fn label(&mut self, field: &str, label: u32) -> Option<Label> {
        Label::new(label).or_else(|| {
            let reason = format!("{label} is out of range; a label is 16 to {}", Label::MAX);
            self.invalid(field, reason)
        })
    }

    fn note<T>(&mut self, field: &str, code: Code, reason: String) -> Option<T> {
        self.0.push(Problem {
            field: field.into(),
            code,
            reason,
        });
        None
    }
}
