//! `vrctl apply`: files to one request, and every mistake to its line.

use std::io::{Read, Write};
use std::path::Path;

use ctl::client::Client;
use ctl::convert;
use ctl::files::ObjectFiles;
use ctl::proto;

use crate::Failure;
use crate::cli::ApplyArgs;
use crate::impact;
use crate::table::count;

pub(crate) async fn run(
    socket: &Path,
    args: ApplyArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut files = ObjectFiles::default();
    for path in &args.files {
        let (name, text) = read(path)?;
        match String::from_utf8(text) {
            Ok(text) => files.read(&name, &text),
            Err(_) => return Err(Failure::Refused(format!("{name}: this is not UTF-8 text"))),
        }
    }
    let mut request = files.request(&args.owner);
    if args.replace {
        request.mode = proto::Mode::Replace.into();
    }
    request.if_generation = args.if_generation;
    request.dry_run = args.dry_run;
    request.list_flows = if args.dry_run { impact::LISTED } else { 0 };
    if !files.is_clean() {
        return Err(report_all(socket, files, request).await);
    }
    let mut client = Client::connect(socket).await?;
    let response = client.apply(request).await?;
    if response.outcome() == proto::Outcome::Refused {
        files.add_refusals(&response.refusals);
        return Err(refused(&files, response.refusals_left_out, None));
    }
    Ok(print_outcome(&response, out)?)
}

/// Mistakes that only the daemon can see (references to what it has) are
/// reported together with those in the files: it checks the request as a dry
/// run. Nothing is committed whatever it says.
async fn report_all(
    socket: &Path,
    mut files: ObjectFiles,
    mut request: proto::ApplyRequest,
) -> Failure {
    request.dry_run = true;
    let response = match Client::connect(socket).await {
        Ok(mut client) => client.apply(request).await,
        Err(error) => Err(error),
    };
    let (left_out, note) = match response {
        Ok(response) => {
            files.add_refusals(&response.refusals);
            (response.refusals_left_out, None)
        }
        Err(error) => (0, Some(format!("references were not checked: {error}"))),
    };
    refused(&files, left_out, note)
}

/// `left_out` is how many more reasons the daemon has than it listed.
fn refused(files: &ObjectFiles, left_out: u64, note: Option<String>) -> Failure {
    let mistakes = files.mistakes();
    let mut lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    if left_out > 0 {
        lines.push(format!("… and {left_out} more"));
    }
    lines.extend(note);
    let all = count(mistakes.len() + left_out as usize, "mistake");
    lines.push(format!("{all}; nothing was changed"));
    Failure::Refused(lines.join("\n"))
}

/// A file's content and what messages call it.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let (name, text) = if path == Path::new("-") {
        let mut text = Vec::new();
        let read = std::io::stdin().read_to_end(&mut text);
        ("standard input".into(), read.map(|_| text))
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    match text {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(Failure::CouldNotAsk(format!("cannot read {name}: {error}"))),
    }
}

/// `generation 7: 3 created, 1 updated, 12 unchanged`
pub(crate) fn print_outcome(
    response: &proto::ApplyResponse,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let generation = response.generation;
    let parts: Vec<String> = [
        (response.created, "created"),
        (response.updated, "updated"),
        (response.deleted, "deleted"),
        (response.unchanged, "unchanged"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, verb)| format!("{count} {verb}"))
    .collect();
    let parts = parts.join(", ");
    match response.outcome() {
        proto::Outcome::Unchanged => writeln!(out, "unchanged: generation {generation}"),
        proto::Outcome::Checked => {
            print_plan(response, out)?;
            if let Some(found) = response.impact.as_ref().filter(|found| found.flows > 0) {
                impact::print(found, out)?;
            }
            writeln!(out, "dry run: would be generation {generation}: {parts}")
        }
        _ => writeln!(out, "generation {generation}: {parts}"),
    }
}

fn print_plan(response: &proto::ApplyResponse, out: &mut dyn Write) -> std::io::Result<()> {
    let plan = response.plan.clone().unwrap_or_default();
    let changes = [
        ('+', &plan.create),
        ('~', &plan.update),
        ('-', &plan.delete),
    ];
    let mut listed = 0;
    for (sign, keys) in changes {
        for key in keys.iter().filter_map(|key| convert::key(key).ok()) {
            writeln!(out, "{sign} {key}")?;
            listed += 1;
        }
    }
    match response.created + response.updated + response.deleted - listed {
        0 => Ok(()),
        more => writeln!(out, "… and {more} more"),
    }
}
