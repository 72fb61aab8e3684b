//! `vrctl diff`: what applying some files would change, field by field.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ctl::client::Client;
use ctl::files::{self, ObjectFiles};
use ctl::{convert, proto};
use dataplane::tables::spec::Key;
use serde_json::Value;

use crate::apply::{read_files, refused, report_all};
use crate::paint::{Colour, paint};
use crate::{Failure, progress};

/// Show what applying files would change, field by field
///
/// The files are checked as `apply` checks them, defaults are filled in, and
/// nothing is changed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl diff -f net.yaml
  vrctl diff -f net.yaml --replace         and what would be deleted
  vrctl get all -o yaml > net.yaml         then edit, diff, apply")]
pub(crate) struct DiffArgs {
    /// A YAML or JSON file, - for standard input; may be given several times
    #[arg(short, long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// As if `apply --replace` were meant
    #[arg(long)]
    replace: bool,
    /// Whose objects these are
    #[arg(long, value_name = "NAME", default_value = "vrctl")]
    owner: String,
}

pub(crate) async fn run(socket: &Path, args: DiffArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut files = read_files(&args.files)?;
    let mut request = files.request(&args.owner);
    request.dry_run = true;
    if args.replace {
        request.mode = proto::Mode::Replace.into();
    }
    if !files.is_clean() {
        return Err(report_all(socket, files, request).await);
    }
    let mut client = Client::connect(socket).await?;
    let response = progress::wait("comparing", client.apply(request)).await?;
    if response.outcome() == proto::Outcome::Refused {
        files.add_refusals(&response.refusals);
        return Err(refused(&files, response.refusals_left_out, None));
    }
    let plan = response.plan.clone().unwrap_or_default();
    let written = written(&files);
    for key in keys(&plan.create) {
        let new = written.get(&key).and_then(data);
        object(out, ('+', Colour::Green), &key, None, new)?;
    }
    for (wire, key) in plan.update.iter().zip(keys(&plan.update)) {
        let old = client.get(wire.clone()).await?;
        let old = old.and_then(|old| data(&old.object?.object?));
        let new = written.get(&key).and_then(data);
        object(out, ('~', Colour::Yellow), &key, old, new)?;
    }
    for (wire, key) in plan.delete.iter().zip(keys(&plan.delete)) {
        let old = client.get(wire.clone()).await?;
        let old = old.and_then(|old| data(&old.object?.object?));
        object(out, ('-', Colour::Red), &key, old, None)?;
    }
    let listed = plan.create.len() + plan.update.len() + plan.delete.len();
    match (response.created + response.updated + response.deleted).saturating_sub(listed as u64) {
        0 if listed == 0 => writeln!(out, "no difference to generation {}", response.generation)?,
        0 => {}
        more => writeln!(out, "… and {more} more objects")?,
    }
    Ok(())
}

fn keys(wire: &[proto::Key]) -> impl Iterator<Item = Key> {
    wire.iter().filter_map(|key| convert::key(key).ok())
}

/// The objects of the files with their defaults, as the daemon would have them.
fn written(files: &ObjectFiles) -> HashMap<Key, proto::Object> {
    let objects = files.objects().filter_map(|written| {
        let object = convert::object(written).ok()?;
        Some((object.key(), proto::Object::from(&object)))
    });
    objects.collect()
}

/// An object's fields.
fn data(object: &proto::Object) -> Option<Value> {
    let data = files::to_data(std::slice::from_ref(object));
    let (_, list) = data.as_object()?.iter().next()?;
    list.get(0).cloned()
}

fn object(
    out: &mut dyn Write,
    (sign, colour): (char, Colour),
    key: &Key,
    old: Option<Value>,
    new: Option<Value>,
) -> io::Result<()> {
    writeln!(out, "{}", paint(&format!("{sign} {key}"), colour))?;
    for (sign, line) in differences(old.as_ref(), new.as_ref()) {
        let colour = if sign == '+' {
            Colour::Green
        } else {
            Colour::Red
        };
        writeln!(out, "    {}", paint(&format!("{sign} {line}"), colour))?;
    }
    Ok(())
}

/// Lines of fields that are different, the old ones with a minus.
fn differences(old: Option<&Value>, new: Option<&Value>) -> Vec<(char, String)> {
    let fields = |value: Option<&Value>| {
        value
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (old, new) = (fields(old), fields(new));
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    let mut lines = Vec::new();
    for name in names {
        let (before, after) = (old.get(name), new.get(name));
        if before == after {
            continue;
        }
        let lists = [before, after].map(|value| value.and_then(Value::as_array));
        if let [Some(before), Some(after)] = lists {
            lines.extend(of_lists(name, before, after));
            continue;
        }
        let before = before.map(|value| ('-', format!("{name}: {}", shown(value))));
        let after = after.map(|value| ('+', format!("{name}: {}", shown(value))));
        lines.extend(before.into_iter().chain(after));
    }
    lines
}

/// Elements that only one of two lists has. One that moved is in both, and then the order is said.
fn of_lists(name: &str, before: &[Value], after: &[Value]) -> Vec<(char, String)> {
    let missing = |sign: char, from: &[Value], other: &[Value]| -> Vec<(char, String)> {
        let only = from.iter().filter(|value| !other.contains(value));
        only.map(|value| (sign, format!("{name}: {}", shown(value))))
            .collect()
    };
    let mut lines = missing('-', before, after);
    lines.extend(missing('+', after, before));
    if lines.is_empty() {
        let all = |values: &[Value]| Value::from(values.to_vec());
        lines.push(('-', format!("{name}: {}", shown(&all(before)))));
        lines.push(('+', format!("{name}: {}", shown(&all(after)))));
    }
    lines
}

/// A value as YAML has it in a line.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", shown(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) => {
            let values: Vec<_> = values.iter().map(shown).collect();
            format!("[{}]", values.join(", "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_and_elements_that_differ_are_shown() {
        let old =
            json!({"name": "web", "mtu": 1500, "rules": [{"id": 10}, {"id": 20}], "gone": true});
        let new = json!({"name": "web", "mtu": 1400, "rules": [{"id": 10}, {"id": 30}]});
        let lines: Vec<_> = differences(Some(&old), Some(&new))
            .into_iter()
            .map(|(sign, line)| format!("{sign} {line}"))
            .collect();
        assert_eq!(
            lines,
            [
                "- mtu: 1500",
                "+ mtu: 1400",
                "- rules: {id: 20}",
                "+ rules: {id: 30}",
                "- gone: true",
            ]
        );
    }

    #[test]
    fn an_order_that_changes_is_shown_whole() {
        let (old, new) = (json!({"members": [1, 2]}), json!({"members": [2, 1]}));
        assert_eq!(
            differences(Some(&old), Some(&new)),
            [
                ('-', "members: [1, 2]".into()),
                ('+', "members: [2, 1]".into())
            ]
        );
    }
}
