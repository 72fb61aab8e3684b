//! `vrctl flows`: who talks to whom.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use ctl::client::Client;
use ctl::proto::{self, Flow, FlowSide, FlowsRequest};

use crate::Failure;
use crate::cli::{FlowsArgs, FlowsOutput};
use crate::table::{Table, count, span};

pub(crate) async fn run(
    socket: &Path,
    args: FlowsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut request = filter(&args.filter).map_err(Failure::CouldNotAsk)?;
    request.limit = args.limit;
    let mut client = Client::connect(socket).await?;
    if args.clear {
        let cleared = client.clear_flows(request).await?;
        writeln!(out, "{} ended", count(cleared as usize, "flow"))?;
        return Ok(());
    }
    loop {
        if args.watch {
            clear_screen(out)?;
        }
        match args.output {
            FlowsOutput::Table => print_table(&mut client, &request, out).await?,
            FlowsOutput::Json => print_json(&mut client, &request, out).await?,
        }
        if !args.watch {
            return Ok(());
        }
        out.flush()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Starts a new picture: at the top of a terminal, after an empty line elsewhere.
pub(crate) fn clear_screen(out: &mut dyn Write) -> std::io::Result<()> {
    use std::io::IsTerminal;
    if std::io::stdout().is_terminal() {
        // Home, and erase what is below.
        out.write_all(b"\x1b[H\x1b[J")
    } else {
        writeln!(out)
    }
}

/// `vrf=front proto=tcp addr=10.1.0.9 port=80`
pub(crate) fn filter(terms: &[String]) -> Result<FlowsRequest, String> {
    let mut request = FlowsRequest::default();
    for term in terms {
        let known = match term.split_once('=') {
            Some(("vrf", value)) => request.vrf.replace(value.into()).is_none(),
            Some(("proto", value)) => request.protocol.replace(value.into()).is_none(),
            Some(("addr", value)) => request.address.replace(value.into()).is_none(),
            Some(("port", value)) => match value.parse::<u16>() {
                Ok(port) => request.port.replace(port.into()).is_none(),
                Err(_) => return Err(format!("`{value}` is not a port; write 0 to 65535")),
            },
            _ => {
                return Err(format!(
                    "`{term}` is not a filter; write vrf=NAME, proto=tcp, addr=10.1.0.9 or port=80"
                ));
            }
        };
        if !known {
            return Err(format!("`{term}` repeats a filter; give each once"));
        }
    }
    Ok(request)
}

async fn print_table(
    client: &mut Client,
    request: &FlowsRequest,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut table = Table::new(&[
        "VRF", "PROTO", "FROM", "TO", "STATE", "AGE>", "IDLE>", "PACKETS>", "BYTES>", "BACK>",
        "BYTES>", "GOES TO", "BACK TO",
    ]);
    let mut stream = client.flows(request.clone()).await?;
    let mut shown = false;
    while let Some(response) = stream.message().await? {
        for flow in &response.flows {
            table.row(cells(flow));
            shown = true;
        }
        table.flush(out)?;
    }
    if !shown {
        writeln!(out, "no flows")?;
    }
    Ok(())
}

fn cells(flow: &Flow) -> Vec<String> {
    let nothing = FlowSide::default();
    let forward = flow.forward.as_ref().unwrap_or(&nothing);
    let reverse = flow.reverse.as_ref().unwrap_or(&nothing);
    vec![
        forward.vrf.clone(),
        forward.protocol.clone(),
        endpoint(&forward.src_addr, forward.src_port),
        endpoint(&forward.dst_addr, forward.dst_port),
        flow.state.clone(),
        span(flow.age_ms),
        span(flow.idle_ms),
        forward.packets.to_string(),
        forward.bytes.to_string(),
        reverse.packets.to_string(),
        reverse.bytes.to_string(),
        format!("{}{}", forward.action, translation(forward, reverse)),
        reverse.action.clone(),
    ]
}

/// How packets leave if that is not as they came, e.g. ` from 203.0.113.1:4096 to 10.1.0.9:80`: each
/// end that is another one by the answers.
fn translation(forward: &FlowSide, reverse: &FlowSide) -> String {
    let ends = [
        (
            "from",
            (&forward.src_addr, forward.src_port),
            (&reverse.dst_addr, reverse.dst_port),
        ),
        (
            "to",
            (&forward.dst_addr, forward.dst_port),
            (&reverse.src_addr, reverse.src_port),
        ),
    ];
    // What is shown as the ports of ICMP is one identifier.
    let has_ports = !forward.protocol.starts_with("icmp");
    let others = ends
        .iter()
        .filter(|(_, (came, came_port), (leaves, leaves_port))| {
            !leaves.is_empty() && (came != leaves || (has_ports && came_port != leaves_port))
        });
    let words = others.map(|(word, _, (addr, port))| format!(" {word} {}", endpoint(addr, *port)));
    words.collect()
}

pub(crate) fn endpoint(addr: &str, port: u32) -> String {
    if addr.contains(':') {
        format!("[{addr}]:{port}")
    } else {
        format!("{addr}:{port}")
    }
}

async fn print_json(
    client: &mut Client,
    request: &FlowsRequest,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut stream = client.flows(request.clone()).await?;
    let mut before = "[\n  ";
    while let Some(response) = stream.message().await? {
        for flow in &response.flows {
            write!(out, "{before}{}", proto::json("Flow", flow))?;
            before = ",\n  ";
        }
    }
    if before == "[\n  " {
        write!(out, "[")?;
    }
    writeln!(out, "\n]")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(terms: &[&str]) -> Result<FlowsRequest, String> {
        filter(
            &terms
                .iter()
                .map(|term| (*term).to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn filter_terms_are_read() {
        let request = said(&["vrf=front", "proto=tcp", "addr=10.1.0.0/24", "port=80"]).unwrap();
        assert_eq!(request.vrf.as_deref(), Some("front"));
        assert_eq!(request.protocol.as_deref(), Some("tcp"));
        assert_eq!(request.address.as_deref(), Some("10.1.0.0/24"));
        assert_eq!(request.port, Some(80));
    }

    #[test]
    fn a_translated_flow_says_how_it_leaves() {
        let side = |src_addr: &str, src_port, dst_addr: &str, dst_port| FlowSide {
            protocol: "tcp".into(),
            src_addr: src_addr.into(),
            src_port,
            dst_addr: dst_addr.into(),
            dst_port,
            ..FlowSide::default()
        };
        let came = side("10.1.0.5", 4000, "10.200.0.1", 80);
        let plain = side("10.200.0.1", 80, "10.1.0.5", 4000);
        assert_eq!(translation(&came, &plain), "");
        let service = side("10.2.0.9", 8080, "10.1.0.5", 4000);
        assert_eq!(translation(&came, &service), " to 10.2.0.9:8080");
        let pool = side("10.200.0.1", 80, "203.0.113.1", 2000);
        assert_eq!(translation(&came, &pool), " from 203.0.113.1:2000");
        assert_eq!(translation(&came, &FlowSide::default()), "");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert!(
            said(&["front"])
                .unwrap_err()
                .contains("`front` is not a filter")
        );
        assert!(
            said(&["port=http"])
                .unwrap_err()
                .contains("`http` is not a port")
        );
        assert!(said(&["vrf=a", "vrf=b"]).unwrap_err().contains("repeats"));
    }
}
