//! An explanation to be read at night: the verdict first, then step by step.

use std::io::{self, Write};

use ctl::convert;
use ctl::proto::{ExplainResponse, ExplainStep, ObjectMention, PacketAccount, PacketVerdict};

/// Wide enough for `ingress policy`.
const STAGE: usize = 14;

/// All packets; with `bytes` also what they are made of.
pub(super) fn print(
    response: &ExplainResponse,
    bytes: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let many = response.packets.len() > 1;
    for (at, packet) in response.packets.iter().enumerate() {
        if many {
            writeln!(out, "packet {}", at + 1)?;
        }
        writeln!(
            out,
            "{} (generation {})",
            headline(packet),
            response.generation
        )?;
        for step in &packet.steps {
            print_step(step, out)?;
        }
        if bytes {
            dump("as it arrived", &packet.frame, 0, out)?;
        }
        for sent in &packet.sent {
            // The outer header is what nobody can see elsewhere.
            if bytes || sent.outer_len > 0 {
                let shown = if bytes {
                    sent.frame.len()
                } else {
                    sent.outer_len as usize
                };
                let what = format!("out of vif {}", sent.vif);
                let shown = sent.frame.get(..shown).unwrap_or(&sent.frame);
                dump(&what, shown, sent.outer_len as usize, out)?;
            }
        }
        if at + 1 < response.packets.len() {
            writeln!(out)?;
        }
    }
    Ok(())
}

/// The verdict in one line.
pub(super) fn headline(packet: &PacketAccount) -> String {
    let object = |key: &ObjectMention| name(key);
    match packet.verdict() {
        PacketVerdict::Dropped => {
            // The step before the drop says which object it was, if it was one.
            let judged = packet.steps.iter().rev().find(|step| {
                step.stage != "dropped" && step.stage != "told" && !step.objects.is_empty()
            });
            let policy = judged.filter(|step| step.stage.ends_with("policy"));
            let by = policy.and_then(|step| step.objects.first()).map(|it| {
                format!(
                    ", by {}, as it is since generation {}",
                    object(it),
                    it.since_generation
                )
            });
            format!("DROPPED: {}{}", packet.reason, by.unwrap_or_default())
        }
        PacketVerdict::Sent => {
            let vifs: Vec<&str> = packet.sent.iter().map(|sent| sent.vif.as_str()).collect();
            format!("SENT: out of vif {}", vifs.join(", "))
        }
        PacketVerdict::Consumed => "CONSUMED: it was for the vrouter itself".into(),
        PacketVerdict::Waits => "WAITS".into(),
        PacketVerdict::Unspecified => "?".into(),
    }
}

fn print_step(step: &ExplainStep, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {:STAGE$}  {}", step.stage, step.text)?;
    let indent = STAGE + 4;
    if !step.objects.is_empty() {
        let objects: Vec<String> = step.objects.iter().map(since).collect();
        writeln!(out, "{:indent$}{}", "", objects.join("; "))?;
    }
    for rejected in &step.rejected {
        writeln!(out, "{:indent$}not {rejected}", "")?;
    }
    Ok(())
}

/// `policy web rule 10, since generation 7`.
fn since(mention: &ObjectMention) -> String {
    format!(
        "{}, since generation {}",
        name(mention),
        mention.since_generation
    )
}

/// `policy web rule 10`.
pub(super) fn name(mention: &ObjectMention) -> String {
    let key = mention.key.as_ref().and_then(|key| convert::key(key).ok());
    let key = key.map_or_else(|| "?".into(), |key| key.to_string());
    match mention.rule {
        Some(rule) => format!("{key} rule {rule}"),
        None => key,
    }
}

/// Sixteen bytes a line; a bar stands where the outer headers end.
fn dump(what: &str, frame: &[u8], outer_len: usize, out: &mut dyn Write) -> io::Result<()> {
    match outer_len {
        0 => writeln!(out, "  bytes {what}:")?,
        len => writeln!(out, "  bytes {what}, {len} of outer headers:")?,
    }
    for (line, bytes) in frame.chunks(16).enumerate() {
        write!(out, "    {:04x} ", line * 16)?;
        for (at, byte) in bytes.iter().enumerate() {
            let is_edge = outer_len > 0 && line * 16 + at == outer_len;
            write!(out, "{}{byte:02x}", if is_edge { "|" } else { " " })?;
        }
        writeln!(out)?;
    }
    Ok(())
}
