//! Messages as ordered data, and data as YAML text that [`super::walk`] accepts.

use std::fmt::Write as _;

use prost_reflect::{DynamicMessage, Kind, MapKey, ReflectMessage, Value as ProtoValue};
use serde_json::{Map, Value};

use super::walk::{Plain, short_name};

/// The fields of a message that are set, in the order of the `.proto` file,
/// under the names it gives them; enums by short name.
pub(crate) fn data(message: &DynamicMessage) -> Value {
    let mut map = Map::new();
    for field in message.descriptor().fields() {
        if message.has_field(&field) {
            let value = field_data(&field.kind(), &message.get_field(&field));
            map.insert(field.name().into(), value);
        }
    }
    Value::Object(map)
}

/// Like [`data`], with the zeros and empty lists too: for counters, where a
/// reader should find every key every time.
pub(crate) fn full_data(message: &DynamicMessage) -> Value {
    let mut map = Map::new();
    for field in message.descriptor().fields() {
        if !field.supports_presence() || message.has_field(&field) {
            let value = match message.get_field(&field).as_ref() {
                ProtoValue::Message(inner) => full_data(inner),
                ProtoValue::List(items) => items
                    .iter()
                    .map(|item| match item {
                        ProtoValue::Message(inner) => full_data(inner),
                        other => field_data(&field.kind(), other),
                    })
                    .collect(),
                other => field_data(&field.kind(), other),
            };
            map.insert(field.name().into(), value);
        }
    }
    Value::Object(map)
}

fn field_data(kind: &Kind, value: &ProtoValue) -> Value {
    match value {
        ProtoValue::Bool(value) => (*value).into(),
        ProtoValue::I32(value) => (*value).into(),
        ProtoValue::I64(value) => (*value).into(),
        ProtoValue::U32(value) => (*value).into(),
        ProtoValue::U64(value) => (*value).into(),
        ProtoValue::F32(value) => (*value).into(),
        ProtoValue::F64(value) => (*value).into(),
        ProtoValue::String(value) => value.as_str().into(),
        ProtoValue::Bytes(value) => value.iter().copied().map(Value::from).collect(),
        ProtoValue::EnumNumber(number) => match kind {
            Kind::Enum(descriptor) => match descriptor.get_value(*number) {
                Some(value) => short_name(descriptor.name(), value.name()).into(),
                None => (*number).into(),
            },
            _ => (*number).into(),
        },
        ProtoValue::Message(message) => data(message),
        ProtoValue::List(items) => items.iter().map(|item| field_data(kind, item)).collect(),
        ProtoValue::Map(entries) => {
            let entry = |(key, value): (&MapKey, _)| (key_text(key), field_data(kind, value));
            Value::Object(entries.iter().map(entry).collect())
        }
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
        MapKey::String(value) => value.clone(),
    }
}

/// A map of lists as YAML, one item to a line:
///
/// ```yaml
/// vrfs:
///   - {name: front, gateways: [10.1.0.1/24, "fd01::1/64"]}
/// ```
pub(crate) fn yaml(data: &Value) -> String {
    let mut text = String::new();
    let Value::Object(map) = data else {
        flow(&mut text, data);
        text.push('\n');
        return text;
    };
    for (key, value) in map {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                _ = writeln!(text, "{key}:");
                for item in items {
                    text.push_str("  - ");
                    flow(&mut text, item);
                    text.push('\n');
                }
            }
            _ => {
                _ = write!(text, "{key}: ");
                flow(&mut text, value);
                text.push('\n');
            }
        }
    }
    text
}

fn flow(text: &mut String, value: &Value) {
    match value {
        Value::String(value) if plain_is_safe(value) => text.push_str(value),
        // JSON's quoting is YAML's (YAML 1.2 §1.2); numbers, booleans and null too.
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {
            _ = write!(text, "{value}");
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { ", " });
                flow(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                text.push_str(if i == 0 { "" } else { ", " });
                _ = write!(text, "{key}: ");
                flow(text, item);
            }
            text.push('}');
        }
    }
}

/// Whether a text may stand without quotes in every YAML version: a word, or
/// an IPv4 address or prefix.
fn plain_is_safe(text: &str) -> bool {
    // Words that YAML 1.1 readers take for booleans.
    const BOOLEANS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let ipv4 = text.bytes().filter(|byte| *byte == b'.').count() == 3;
    (word || ipv4)
        && text.chars().all(allowed)
        && Plain::of(text) == Plain::Text
        && !BOOLEANS.contains(&text.to_ascii_lowercase().as_str())
}
