//! An explanation as a drawing: one column of boxes for each packet, what was not taken beside the
//! step that chose.

use std::fmt::Write as _;
use std::io::{self, Write};

use ctl::proto::{ExplainResponse, ExplainStep, PacketAccount};

use super::text;

/// For Graphviz.
pub(super) fn dot(response: &ExplainResponse, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "digraph explanation {{")?;
    writeln!(
        out,
        "  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=10];"
    )?;
    for (p, packet) in response.packets.iter().enumerate() {
        writeln!(
            out,
            "  p{p} [shape=plaintext, label={}];",
            quoted(&text::headline(packet))
        )?;
        let mut before = format!("p{p}");
        for (s, step) in packet.steps.iter().enumerate() {
            let node = format!("p{p}s{s}");
            let lines = label(step).join("\n");
            writeln!(out, "  {node} [label={}{}];", quoted(&lines), colour(step))?;
            writeln!(out, "  {before} -> {node};")?;
            if !step.rejected.is_empty() {
                let rejected = quoted(&step.rejected.join("\n"));
                writeln!(
                    out,
                    "  {node}r [label={rejected}, style=dashed, color=grey];"
                )?;
                writeln!(out, "  {node} -> {node}r [style=dashed, color=grey];")?;
                writeln!(out, "  {{rank=same; {node}; {node}r;}}")?;
            }
            before = node;
        }
    }
    writeln!(out, "}}")
}

/// What stands in a box: the step, and the objects that say so.
fn label(step: &ExplainStep) -> Vec<String> {
    let mut lines = vec![step.stage.to_uppercase()];
    lines.extend(wrapped(&step.text));
    for object in &step.objects {
        let (name, generation) = (text::name(object), object.since_generation);
        lines.push(format!("{name} (since {generation})"));
    }
    lines
}

fn colour(step: &ExplainStep) -> &'static str {
    match step.stage.as_str() {
        "dropped" => ", color=red",
        "sent" | "told" => ", color=darkgreen",
        _ => "",
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

/// Characters of a line in a box.
const WIDTH: usize = 64;

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.len() + word.len() < WIDTH {
            _ = write!(line, " {word}");
        } else {
            lines.push(word.into());
        }
    }
    lines
}

/// Pixels: of a line, of a box, between boxes, of a column.
const LINE: usize = 15;
const BOX: usize = 460;
const GAP: usize = 22;
const COLUMN: usize = 2 * BOX + 60;

/// On its own: boxes below each other, so there is nothing to lay out.
pub(super) fn svg(response: &ExplainResponse, out: &mut dyn Write) -> io::Result<()> {
    let mut body = String::new();
    let mut height = 0;
    for (at, packet) in response.packets.iter().enumerate() {
        height = height.max(column(packet, at * COLUMN + 10, &mut body));
    }
    let width = response.packets.len() * COLUMN + 20;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"11\">",
        height + GAP
    )?;
    write!(out, "{body}")?;
    writeln!(out, "</svg>")
}

/// One packet; returns where the column ends.
fn column(packet: &PacketAccount, x: usize, body: &mut String) -> usize {
    let mut y = 10 + LINE;
    line(body, x, y, "bold", &text::headline(packet));
    y += LINE;
    for (at, step) in packet.steps.iter().enumerate() {
        if at > 0 {
            arrow(body, x + BOX / 2, y, y + GAP);
            y += GAP;
        }
        let lines = label(step);
        let rejected: Vec<String> = step
            .rejected
            .iter()
            .flat_map(|text| wrapped(text))
            .collect();
        let stroke = match step.stage.as_str() {
            "dropped" => "#c00",
            "sent" | "told" => "#080",
            _ => "#444",
        };
        boxed(body, (x, y), &lines, stroke, false);
        if !rejected.is_empty() {
            boxed(body, (x + BOX + 40, y), &rejected, "#aaa", true);
        }
        y += lines.len().max(rejected.len()) * LINE + 10;
    }
    y
}

fn boxed(body: &mut String, (x, y): (usize, usize), lines: &[String], stroke: &str, dashed: bool) {
    let height = lines.len() * LINE + 10;
    let dash = if dashed {
        " stroke-dasharray=\"4\""
    } else {
        ""
    };
    _ = writeln!(
        body,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"6\" fill=\"none\" \
         stroke=\"{stroke}\"{dash}/>"
    );
    for (at, text) in lines.iter().enumerate() {
        let weight = if at == 0 && !dashed { "bold" } else { "normal" };
        line(body, x + 8, y + 4 + (at + 1) * LINE - 3, weight, text);
    }
}

fn line(body: &mut String, x: usize, y: usize, weight: &str, text: &str) {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    _ = writeln!(
        body,
        "<text x=\"{x}\" y=\"{y}\" font-weight=\"{weight}\">{text}</text>"
    );
}

fn arrow(body: &mut String, x: usize, from: usize, to: usize) {
    let tip = to - 6;
    _ = writeln!(
        body,
        "<path d=\"M{x} {from}V{to}M{} {tip}L{x} {to}L{} {tip}\" fill=\"none\" stroke=\"#444\"/>",
        x - 4,
        x + 4
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response() -> ExplainResponse {
        let step = |stage: &str, text: &str, rejected: &[&str]| ExplainStep {
            stage: stage.into(),
            text: text.into(),
            objects: vec![],
            rejected: rejected.iter().map(|it| (*it).into()).collect(),
        };
        ExplainResponse {
            generation: 7,
            packets: vec![PacketAccount {
                steps: vec![
                    step(
                        "route",
                        "10.1.0.9 -> \"x\" <there> & back",
                        &["0.0.0.0/0: shorter"],
                    ),
                    step("dropped", "no_route: there is none", &[]),
                ],
                ..PacketAccount::default()
            }],
            ..ExplainResponse::default()
        }
    }

    #[test]
    fn dot_quotes_what_it_writes() {
        let mut out = Vec::new();
        dot(&response(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("digraph explanation {"), "{text}");
        assert!(text.contains("10.1.0.9 -> \\\"x\\\" <there>"), "{text}");
        assert!(
            text.contains("p0s0 -> p0s1;") && text.contains("p0s0r [label="),
            "{text}"
        );
    }

    #[test]
    fn svg_is_well_formed() {
        let mut out = Vec::new();
        svg(&response(), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("&lt;there&gt; &amp; back"), "{text}");
        assert_eq!(text.matches("<rect").count(), 3);
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }
}
