//! Nodes to a message of a given type, with every mistake noted.
//!
//! A mistake never hides another: what is wrong is left at its default and the
//! walk goes on.

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage,
    Value as ProtoValue,
};

use super::tree::{Entry, Node, Value};
use crate::convert::quoted;

/// Something in a file that does not fit the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Where, counted from 1.
    pub(crate) line: usize,
    /// From the top of the message, e.g. `vifs[2].addresses[0]`.
    pub(crate) path: String,
    /// A sentence without its full stop.
    pub(crate) reason: String,
    /// The field that an unknown key was probably meant to be, as a path: that
    /// it is missing need not be said again.
    pub(crate) meant: Option<String>,
}

/// Reads `node` as a message of type `descriptor`.
pub(crate) fn message(
    descriptor: &MessageDescriptor,
    node: &Node,
) -> (DynamicMessage, Vec<Misfit>) {
    let mut walker = Walker::default();
    let message = walker.message(descriptor, node);
    (message, walker.misfits)
}

/// The short name of an enum value: `ROLE_TENANT` of `Role` is `tenant`.
pub(crate) fn short_name(enum_name: &str, value: &str) -> String {
    let prefix = snake_case(enum_name).to_ascii_uppercase();
    let short = value.strip_prefix(&prefix).unwrap_or(value);
    short.trim_start_matches('_').to_lowercase()
}

/// `SnatPool` as `snat_pool`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// What an unquoted scalar is (YAML 1.2, core schema).
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Null,
    Bool(bool),
    Int(Option<u64>),
    Float,
    Text,
}

impl Plain {
    /// Whole numbers that are negative or beyond 64 bits are `Int(None)`.
    pub(crate) fn of(text: &str) -> Plain {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
            "true" | "True" | "TRUE" => return Plain::Bool(true),
            "false" | "False" | "FALSE" => return Plain::Bool(false),
            _ => {}
        }
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        let all = |s: &str, radix| !s.is_empty() && s.chars().all(|c: char| c.is_digit(radix));
        if all(digits, 10) {
            return Plain::Int(text.strip_prefix('+').unwrap_or(text).parse().ok());
        }
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(rest) = text.strip_prefix(prefix).filter(|rest| all(rest, radix)) {
                return Plain::Int(u64::from_str_radix(rest, radix).ok());
            }
        }
        let special = matches!(digits.to_ascii_lowercase().as_str(), ".inf" | ".nan");
        let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && digits.parse::<f64>().is_ok();
        if special || number {
            Plain::Float
        } else {
            Plain::Text
        }
    }
}

#[derive(Default)]
struct Walker {
    path: Vec<Step>,
    misfits: Vec<Misfit>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Walker {
    fn message(&mut self, descriptor: &MessageDescriptor, node: &Node) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        match &node.value {
            Value::Map(entries) => {
                for (i, entry) in entries.iter().enumerate() {
                    self.entry(&mut message, entry, &entries[..i]);
                }
            }
            // An empty file, or `objects:` with nothing after it.
            Value::Scalar { text, plain: true } if Plain::of(text) == Plain::Null => {}
            // A choice without details: `discard: true`.
            Value::Scalar { text, plain: true }
                if descriptor.fields().len() == 0 && Plain::of(text) == Plain::Bool(true) => {}
            _ => self.wrong_type(node, &format!("wants {}", noun(descriptor))),
        }
        message
    }

    fn entry(&mut self, message: &mut DynamicMessage, entry: &Entry, before: &[Entry]) {
        let descriptor = message.descriptor();
        let Some(field) = descriptor.get_field_by_name(&entry.key) else {
            return self.unknown_key(&descriptor, entry);
        };
        self.path.push(Step::Key(entry.key.clone()));
        if let Some(first) = before.iter().find(|other| other.key == entry.key) {
            self.note(
                entry.line,
                format!("is already on line {}; keep one", first.line),
            );
        } else if let Some(other) = before
            .iter()
            .find(|other| share_choice(&descriptor, &field, &other.key))
        {
            self.note(
                entry.line,
                format!("excludes `{}` on line {}; keep one", other.key, other.line),
            );
        } else if let Some(value) = self.field(&field, &entry.node) {
            message.set_field(&field, value);
        }
        self.path.pop();
    }

    fn field(&mut self, field: &FieldDescriptor, node: &Node) -> Option<ProtoValue> {
        if !field.is_list() {
            return self.value(field, node);
        }
        match &node.value {
            Value::List(items) => Some(ProtoValue::List(self.list(field, items))),
            // `routes:` with nothing after it: none.
            Value::Scalar { text, plain: true } if Plain::of(text) == Plain::Null => None,
            _ => {
                self.wrong_type(node, "wants a list");
                None
            }
        }
    }

    /// Items that do not fit are left out, but a message always keeps its
    /// place, so that the index in the message is the index in the file.
    fn list(&mut self, field: &FieldDescriptor, items: &[Node]) -> Vec<ProtoValue> {
        let mut values = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            self.path.push(Step::Index(i));
            values.extend(self.value(field, item));
            self.path.pop();
        }
        values
    }

    fn value(&mut self, field: &FieldDescriptor, node: &Node) -> Option<ProtoValue> {
        let scalar = match &node.value {
            Value::Scalar { text, plain } => Some((text.as_str(), *plain)),
            _ => None,
        };
        match field.kind() {
            Kind::Message(descriptor) => {
                let empty = scalar.is_some_and(|(text, plain)| plain && text.is_empty());
                if empty && field.containing_oneof().is_some() {
                    self.wrong_type(node, "wants {}");
                    return None;
                }
                Some(ProtoValue::Message(self.message(&descriptor, node)))
            }
            Kind::Enum(descriptor) => self.choice(&descriptor, node),
            Kind::String => match scalar {
                Some((text, false)) => Some(ProtoValue::String(text.into())),
                Some((text, true)) if Plain::of(text) == Plain::Text => {
                    Some(ProtoValue::String(text.into()))
                }
                _ => self.wrong_scalar(node, "wants text"),
            },
            Kind::Bool => match scalar.map(|(text, plain)| (Plain::of(text), plain)) {
                Some((Plain::Bool(value), true)) => Some(ProtoValue::Bool(value)),
                _ => self.wrong_scalar(node, "wants true or false"),
            },
            Kind::Uint32 => self
                .number(node, u32::MAX.into())
                .and_then(|number| u32::try_from(number).ok())
                .map(ProtoValue::U32),
            Kind::Uint64 => self.number(node, u64::MAX).map(ProtoValue::U64),
            other => unreachable!("no file has a field of kind {other:?}"),
        }
    }

    fn choice(&mut self, descriptor: &EnumDescriptor, node: &Node) -> Option<ProtoValue> {
        // Value 0 is "not said" everywhere: leaving the key out says that.
        let choices: Vec<(String, i32)> = descriptor
            .values()
            .filter(|value| value.number() != 0)
            .map(|value| (short_name(descriptor.name(), value.name()), value.number()))
            .collect();
        let names: Vec<&str> = choices.iter().map(|(name, _)| name.as_str()).collect();
        let wanted = format!("wants one of {}", names.join(", "));
        let Value::Scalar { text, .. } = &node.value else {
            return self.wrong_scalar(node, &wanted);
        };
        match choices.iter().find(|(name, _)| name == text) {
            Some((_, number)) => Some(ProtoValue::EnumNumber(*number)),
            None => {
                let hint = nearest(text, &names)
                    .map(|name| format!("; did you mean `{name}`?"))
                    .unwrap_or_default();
                self.note(node.line, format!("{wanted}, not {}{hint}", quoted(text)));
                None
            }
        }
    }

    fn number(&mut self, node: &Node, max: u64) -> Option<u64> {
        if let Value::Scalar { text, plain: true } = &node.value
            && let Plain::Int(number) = Plain::of(text)
        {
            let fits = number.filter(|number| *number <= max);
            if fits.is_none() {
                let text = quoted(text);
                self.note(node.line, format!("{text} is out of range; 0 to {max}"));
            }
            return fits;
        }
        self.wrong_scalar(node, "wants a whole number")
    }

    fn unknown_key(&mut self, descriptor: &MessageDescriptor, entry: &Entry) {
        let fields: Vec<_> = descriptor.fields().collect();
        let names: Vec<&str> = fields.iter().map(FieldDescriptor::name).collect();
        let near = nearest(&entry.key, &names);
        let hint = match near {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the keys are {}", names.join(", ")),
        };
        let reason = format!("is not a key of {}; {hint}", noun(descriptor));
        let meant = near.map(|name| self.path_with(name));
        self.path.push(Step::Key(entry.key.clone()));
        self.note(entry.line, reason);
        self.path.pop();
        if let Some(misfit) = self.misfits.last_mut() {
            misfit.meant = meant;
        }
    }

    fn wrong_scalar<T>(&mut self, node: &Node, wanted: &str) -> Option<T> {
        self.wrong_type(node, wanted);
        None
    }

    fn wrong_type(&mut self, node: &Node, wanted: &str) {
        let found = match &node.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Scalar { text, plain: false } => format!("the text {}", quoted(text)),
            Value::Scalar { text, plain: true } => match Plain::of(text) {
                Plain::Null => "nothing".into(),
                Plain::Bool(_) => quoted(text),
                Plain::Int(_) | Plain::Float => format!("the number {}", quoted(text)),
                Plain::Text => quoted(text),
            },
        };
        let quote = match &node.value {
            Value::Scalar { text, plain: true } if wanted == "wants text" && !text.is_empty() => {
                format!("; write \"{}\" if that is meant", text.escape_debug())
            }
            _ => String::new(),
        };
        self.note(node.line, format!("{wanted}, not {found}{quote}"));
    }

    fn note(&mut self, line: usize, reason: String) {
        self.misfits.push(Misfit {
            line,
            path: self.path_text(),
            reason,
            meant: None,
        });
    }

    fn path_with(&self, key: &str) -> String {
        match self.path_text() {
            path if path.is_empty() => key.into(),
            path => format!("{path}.{key}"),
        }
    }

    fn path_text(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

/// Whether `other` is another alternative of the choice that `field` belongs to.
fn share_choice(descriptor: &MessageDescriptor, field: &FieldDescriptor, other: &str) -> bool {
    let choice = field.containing_oneof();
    choice.is_some()
        && descriptor
            .get_field_by_name(other)
            .is_some_and(|other| other.containing_oneof() == choice)
}

/// What a message is called in a sentence: `SnatPool` is `a snat_pool`, as in the files.
fn noun(descriptor: &MessageDescriptor) -> String {
    let article = match descriptor.name() {
        "Objects" => return "an objects file".into(),
        "NodeConfig" => return "a node file".into(),
        _ if descriptor.fields().len() == 0 => return "{}".into(),
        name if name.starts_with(['A', 'E', 'I', 'O']) => "an",
        _ => "a",
    };
    format!("{article} {}", snake_case(descriptor.name()))
}

/// The one of `names` that `word` was probably meant to be.
fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    // A long unknown key is not worth comparing, and not a slip of the finger.
    if word.len() > 64 {
        return None;
    }
    names
        .iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}
