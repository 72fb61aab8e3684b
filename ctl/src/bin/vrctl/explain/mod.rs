//! `vrctl explain`: what becomes of a packet, and which objects say so.

pub(crate) mod cli;
mod drawing;
mod input;
mod text;

use std::io::Write;
use std::path::Path;

use ctl::client::Client;
use ctl::files::ObjectFiles;
use ctl::proto::explain_request::Question;
use ctl::proto::{self, ExplainRequest, ExplainResponse};

use crate::Failure;
use cli::{ExplainArgs, ExplainOutput};

pub(crate) async fn run(
    socket: &Path,
    args: ExplainArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let request = ExplainRequest {
        question: Some(question(&args)?),
        generation: args.generation,
        candidate: candidate(&args)?,
    };
    let mut client = Client::connect(socket).await?;
    let response = client.explain(request).await?;
    if !response.refusals.is_empty() {
        return Err(refused(&response));
    }
    match args.output {
        ExplainOutput::Text => text::print(&response, args.bytes, out)?,
        ExplainOutput::Json => {
            let json = proto::json("ExplainResponse", &response);
            writeln!(out, "{json:#}")?;
        }
        ExplainOutput::Dot => drawing::dot(&response, out)?,
        ExplainOutput::Svg => drawing::svg(&response, out)?,
    }
    Ok(())
}

/// What is asked, by the options that are there.
fn question(args: &ExplainArgs) -> Result<Question, Failure> {
    if !args.flow.is_empty() {
        let filter = crate::flows::filter(&args.flow).map_err(Failure::CouldNotAsk)?;
        return Ok(Question::Flow(proto::FlowPacket {
            filter: Some(filter),
            reply: args.reply,
        }));
    }
    let vif = || {
        let missing = "say with --in by which vif the packet arrives";
        args.vif
            .clone()
            .ok_or_else(|| Failure::CouldNotAsk(missing.into()))
    };
    if let Some(hex) = &args.hex {
        let frame = input::hex(hex).map_err(Failure::CouldNotAsk)?;
        return Ok(Question::Packets(proto::Packets {
            vif: vif()?,
            frames: vec![frame],
        }));
    }
    if let Some(path) = &args.pcap {
        let frames = input::pcap(path).map_err(Failure::CouldNotAsk)?;
        return Ok(Question::Packets(proto::Packets {
            vif: vif()?,
            frames,
        }));
    }
    let tuple = input::tuple(&args.tuple).map_err(Failure::CouldNotAsk)?;
    Ok(Question::Tuple(proto::TuplePacket {
        vif: args.vif.clone(),
        remote: args.remote.clone(),
        vrf: args.vrf.clone(),
        dst_mac: args.dst_mac.clone(),
        later: args.later,
        ..tuple
    }))
}

/// The changes that files would make.
fn candidate(args: &ExplainArgs) -> Result<Option<proto::Candidate>, Failure> {
    if args.with.is_empty() {
        return Ok(None);
    }
    let mut files = ObjectFiles::default();
    for path in &args.with {
        let (name, text) = crate::apply::read(path)?;
        match String::from_utf8(text) {
            Ok(text) => files.read(&name, &text),
            Err(_) => return Err(Failure::Refused(format!("{name}: this is not UTF-8 text"))),
        }
    }
    if !files.is_clean() {
        let lines: Vec<String> = files.mistakes().iter().map(ToString::to_string).collect();
        return Err(Failure::Refused(lines.join("\n")));
    }
    Ok(Some(proto::Candidate {
        changes: files.request(&args.owner).changes,
        owner: args.owner.clone(),
        replace: args.replace,
    }))
}

fn refused(response: &ExplainResponse) -> Failure {
    let said = response.refusals.iter().map(|refusal| {
        let parts = [&refusal.object, &refusal.field, &refusal.reason];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        parts.cloned().collect::<Vec<String>>().join(": ")
    });
    let mut lines: Vec<String> = said.collect();
    lines.push("these changes would be refused; nothing is explained".into());
    Failure::Refused(lines.join("\n"))
}
