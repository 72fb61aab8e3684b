//! `vrctl get policy NAME`: its rules, in the order in which they are asked, and what each has matched.

use std::collections::HashMap;
use std::io::Write;

use ctl::{files, proto};
use proto::object::Object;

use crate::Failure;
use crate::table::Table;

/// Writes the rules of policies as a table.
pub(crate) fn print(
    objects: &[proto::StoredObject],
    counts: &[proto::RuleStats],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "ID>", "ACTION", "PROTOCOL", "FROM", "TO", "AND", "PACKETS>", "BYTES>",
    ]);
    let counts = counts
        .iter()
        .map(|count| ((&*count.policy, count.rule), count));
    let counts: HashMap<_, _> = counts.collect();
    for stored in objects {
        let object = stored.object.as_ref();
        if let Some(Object::Policy(policy)) = object.and_then(|object| object.object.as_ref()) {
            for rule in &policy.rules {
                let mut cells = cells(rule);
                // None of one that has just come.
                let count = counts.get(&(&*policy.name, rule.id.unwrap_or_default()));
                let (packets, bytes) = count.map_or((0, 0), |count| (count.packets, count.bytes));
                cells.extend([packets.to_string(), bytes.to_string()]);
                table.row(cells);
            }
        }
    }
    Ok(table.flush(out)?)
}

fn cells(rule: &proto::Rule) -> Vec<String> {
    let protocol = match &*rule.protocol {
        "" => "any",
        protocol => protocol,
    };
    let types = match rule.icmp_types.is_empty() {
        true => String::new(),
        false => format!(" {}", rule.icmp_types.join(" ")),
    };
    vec![
        rule.id.unwrap_or_default().to_string(),
        files::short_name("RuleAction", rule.action().as_str_name()),
        format!("{protocol}{types}"),
        end(&rule.sources, &rule.source_sets, &rule.source_ports),
        end(
            &rule.destinations,
            &rule.destination_sets,
            &rule.destination_ports,
        ),
        extras(rule),
    ]
}

/// One end of the flows that match, e.g. `10.9.0.0/24 set lb port 80 8000-8100`.
fn end(prefixes: &[String], sets: &[String], ports: &[String]) -> String {
    let mut words = prefixes.to_vec();
    words.extend(sets.iter().map(|set| format!("set {set}")));
    if words.is_empty() {
        words.push("any".into());
    }
    if !ports.is_empty() {
        words.push("port".into());
        words.extend_from_slice(ports);
    }
    words.join(" ")
}

fn extras(rule: &proto::Rule) -> String {
    let log = rule.log.then(|| "log".to_owned());
    let mirror = rule.mirror.as_ref().map(|name| format!("mirror {name}"));
    let dscp = rule.dscp.map(|dscp| format!("dscp {dscp}"));
    let words: Vec<String> = [log, mirror, dscp].into_iter().flatten().collect();
    words.join(" ")
}
