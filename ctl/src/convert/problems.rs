//! Collecting what is wrong with one object, field by field.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use dataplane::tables::spec::Name;
use encap::{Label, Vni};

use super::text;

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
            .map(|(i, text)| self.within(field, i, |p| p.text("", text, parse)))
            .collect();
        values.into_iter().collect()
    }

    /// The item of a list: what `check` says of its fields is said of `list[index].field`. Lists are
    /// long and problems few, so that name is only made for a problem.
    pub(super) fn within<T>(
        &mut self,
        list: &str,
        index: usize,
        check: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.0.len();
        let value = check(self);
        for problem in &mut self.0[before..] {
            problem.field = joined(&format!("{list}[{index}]"), &problem.field);
        }
        value
    }

    /// A message in a field: what `check` says of its fields is said of `outer.field`.
    pub(super) fn inside<T>(
        &mut self,
        outer: &str,
        check: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let before = self.0.len();
        let value = check(self);
        for problem in &mut self.0[before..] {
            problem.field = joined(outer, &problem.field);
        }
        value
    }

    /// A name that may be left out.
    pub(super) fn name(&mut self, field: &str, written: Option<&String>) -> Option<Option<Name>> {
        self.optional(field, written, |p, field, name| {
            p.text(field, name, text::name)
        })
    }

    /// Names, each once.
    pub(super) fn names(&mut self, field: &str, written: &[String]) -> Option<Vec<Name>> {
        let names = self.texts(field, written, text::name)?;
        let mut seen = HashSet::new();
        for (index, name) in names.iter().enumerate() {
            if !seen.insert(name) {
                let reason = format!("`{name}` is named twice");
                self.invalid::<()>(&format!("{field}[{index}]"), reason);
            }
        }
        Some(names)
    }

    /// A number within a range that `T` can hold; `what` is it called.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        field: &str,
        written: impl Into<u64>,
        range: RangeInclusive<u64>,
        what: &str,
    ) -> Option<T> {
        let written = written.into();
        let fits = Some(written).filter(|number| range.contains(number));
        fits.and_then(|number| number.try_into().ok()).or_else(|| {
            let (least, most) = range.into_inner();
            let reason = format!("{written} is out of range; {what} is {least} to {most}");
            self.invalid(field, reason)
        })
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

/// The path of a field within another; an empty one is that other itself.
fn joined(outer: &str, field: &str) -> String {
    match field {
        "" => outer.into(),
        field => format!("{outer}.{field}"),
    }
}
