//! `vrctl watch`: what happens, a line each; `vrctl hello`: who answers.

use std::io::Write;
use std::path::Path;

use ctl::client::Client;
use ctl::proto::watch_response::Event;
use ctl::proto::{self, CapacityKind, WatchRequest, WatchResponse};
use ctl::{convert, files};

use crate::Failure;
use crate::cli::{EventKind, FlowsOutput, WatchArgs};

/// Objects of a commit that are named in a line.
const NAMED: usize = 8;

pub(crate) async fn run(
    socket: &Path,
    args: WatchArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let kinds = args.kinds.into_iter().map(|kind| {
        i32::from(match kind {
            EventKind::Commit => proto::EventKind::Commit,
            EventKind::Link => proto::EventKind::Link,
            EventKind::Neighbour => proto::EventKind::Neighbour,
            EventKind::Backend => proto::EventKind::Backend,
            EventKind::Capacity => proto::EventKind::Capacity,
        })
    });
    let request = WatchRequest {
        from_generation: args.from,
        kinds: kinds.collect(),
    };
    let mut client = Client::connect(socket).await?;
    let mut events = client.watch(request).await?;
    while let Some(response) = events.message().await? {
        match args.output {
            FlowsOutput::Json => {
                let data = proto::json("WatchResponse", &response);
                writeln!(out, "{data}")?;
            }
            FlowsOutput::Table => {
                if let Some(line) = line(&response) {
                    writeln!(out, "{line}")?;
                }
            }
        }
        // Whoever waits for news wants them now.
        out.flush()?;
    }
    Ok(())
}

/// An event as a line; `None` for those that only programs need.
fn line(response: &WatchResponse) -> Option<String> {
    let generation = response.generation;
    let said = match response.event.as_ref()? {
        Event::Commit(commit) => commit_line(commit),
        Event::Synced(_) => return None,
        Event::Link(link) => {
            let state = if link.up { "up" } else { "down" };
            format!("vif {} is {state}", link.vif)
        }
        Event::Neighbour(it) if it.mac.is_empty() => {
            format!("neighbour {} on {} does not answer", it.address, it.vif)
        }
        Event::Neighbour(it) => format!("neighbour {} on {} is at {}", it.address, it.vif, it.mac),
        Event::Backend(it) => {
            let state = if it.healthy { "up" } else { "down" };
            let starved = match it.starved {
                true => "; every active backend is down",
                false => "",
            };
            let (service, address, port) = (&it.service, &it.address, it.port);
            format!("service {service}: backend {address} port {port} is {state}{starved}")
        }
        Event::Capacity(it) => {
            let kind = it.kind();
            let what = match kind {
                CapacityKind::FlowQuota => "flow quota of ",
                CapacityKind::SnatPorts => "ports of ",
                CapacityKind::FlowTable | CapacityKind::Unspecified => "flow table",
            };
            let key = it.object.as_ref().map(name).unwrap_or_default();
            let state = if it.alarmed {
                "runs out"
            } else {
                "is enough again"
            };
            format!("{what}{key} {state}: {} of {}", it.used, it.limit)
        }
    };
    Some(format!("{generation:>8}  {said}"))
}

fn commit_line(commit: &proto::Commit) -> String {
    let objects = commit.objects.iter().take(NAMED).map(|object| {
        let key = object.key.as_ref().map(name).unwrap_or_default();
        let change = files::short_name("ChangeKind", object.change().as_str_name());
        format!("{change} {key}")
    });
    let objects: Vec<String> = objects.collect();
    let rest = commit.objects.len().saturating_sub(NAMED);
    let rest = match (rest, commit.more) {
        (0, false) => String::new(),
        (rest, false) => format!(", and {rest} more"),
        (_, true) => ", and many more".into(),
    };
    let (owner, caller) = (&commit.owner, &commit.caller);
    format!("{owner} ({caller}): {}{rest}", objects.join(", "))
}

fn name(key: &proto::Key) -> String {
    convert::key(key).map_or("an object of a kind unknown here".into(), |key| {
        key.to_string()
    })
}

pub(crate) async fn hello(socket: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let hello = Client::connect(socket).await?.hello().await?;
    let data = proto::json("HelloResponse", &hello);
    out.write_all(files::data_to_yaml(&data).as_bytes())?;
    Ok(())
}
