//! `vrctl macs`: which MACs were learned, and where.

use std::io::Write;
use std::path::Path;

use ctl::client::Client;
use ctl::proto;

use crate::Failure;
use crate::cli::{FlowsOutput, MacsArgs};
use crate::table::{Table, span};

pub(crate) async fn run(socket: &Path, args: MacsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let macs = Client::connect(socket)
        .await?
        .learned_macs(args.vrf)
        .await?;
    match args.output {
        FlowsOutput::Json => {
            let items = macs
                .iter()
                .map(|mac| proto::json("LearnedMac", mac).to_string());
            writeln!(out, "[{}]", items.collect::<Vec<_>>().join(",\n "))?;
        }
        FlowsOutput::Table if macs.is_empty() => writeln!(out, "no learned MACs")?,
        FlowsOutput::Table => {
            let mut table = Table::new(&["VRF", "MAC", "PLACE", "IDLE>"]);
            for mac in macs {
                table.row(vec![mac.vrf, mac.mac, mac.place, span(mac.idle_ms)]);
            }
            table.flush(out)?;
        }
    }
    Ok(())
}
