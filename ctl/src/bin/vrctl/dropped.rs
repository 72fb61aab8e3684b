//! `vrctl drops --packets` and `--since`: dropped packets with their causes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ctl::client::Client;
use ctl::files;
use ctl::proto::{self, DropReason, DroppedPacket};

use crate::cli::{DropsArgs, Output};
use crate::summary::summary;
use crate::table::{Table, span};
use crate::{Failure, filter};

pub(crate) async fn run(
    socket: &Path,
    args: DropsArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let request = proto::DroppedPacketsRequest {
        reasons: args
            .reasons
            .iter()
            .map(|name| reason(name).map(Into::into))
            .collect::<Result<_, Failure>>()?,
        vifs: args.vifs.clone(),
        filter: match &args.filter {
            Some(expression) => filter::compile(expression)?,
            None => Vec::new(),
        },
        since_ms: args.since,
        after: 0,
        follow: args.watch && args.packets,
    };
    let mut client = Client::connect(socket).await?;
    let mut stream = client.dropped_packets(request).await?;
    let mut all = Vec::new();
    while let Some(response) = stream.message().await? {
        if args.packets && args.output == Output::Table {
            for packet in &response.packets {
                print_packet(packet, out)?;
            }
            out.flush()?;
        } else {
            all.extend(response.packets);
        }
    }
    match args.output {
        Output::Table if args.packets => {}
        Output::Table => print_causes(&all, out)?,
        Output::Json => writeln!(out, "{:#}", data(&all))?,
        Output::Yaml => out.write_all(files::data_to_yaml(&data(&all)).as_bytes())?,
    }
    Ok(())
}

/// `30s`, `5m`, `2h`, `1d` in milliseconds.
pub(crate) fn age_ms(text: &str) -> Result<u64, String> {
    let units = [
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let read = |(unit, ms): (&str, u64)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(ms)
    };
    let age = units.into_iter().find_map(read);
    age.ok_or_else(|| format!("`{text}` is no age; write 30s, 5m, 2h or 1d"))
}

fn reason(name: &str) -> Result<DropReason, Failure> {
    let full = format!("DROP_REASON_{}", name.to_uppercase());
    DropReason::from_str_name(&full).ok_or_else(|| {
        Failure::CouldNotAsk(format!(
            "`{name}` is no reason; `vrctl drops` shows those that occurred"
        ))
    })
}

/// The reason as counters have it.
pub(crate) fn name_of(packet: &DroppedPacket) -> String {
    files::short_name("DropReason", packet.reason().as_str_name())
}

/// Such as `policy web rule 20 (ingress of vif b)`.
pub(crate) fn cause(packet: &DroppedPacket) -> String {
    let rule = packet
        .rule
        .map_or_else(String::new, |rule| format!(" rule {rule}"));
    let detail = match &packet.detail[..] {
        "" => String::new(),
        detail => format!(" ({detail})"),
    };
    format!("{}{rule}{detail}", packet.object)
}

/// All there is to say of why, in a line.
pub(crate) fn why(packet: &DroppedPacket) -> String {
    let mut line = format!("{}: {}", name_of(packet), cause(packet));
    if !packet.vrf.is_empty() {
        line += &format!(", vrf {}", packet.vrf);
    }
    if !packet.tunnel.is_empty() {
        line += &format!(", from tunnel {}", packet.tunnel);
    }
    line += &format!(", generation {}", packet.generation);
    if packet.passed_over > 0 {
        line += &format!(", {} more like it before", packet.passed_over);
    }
    line
}

fn print_packet(packet: &DroppedPacket, out: &mut dyn Write) -> io::Result<()> {
    let (time, vif) = (clock(packet.time_ns), &packet.vif);
    writeln!(out, "{time} {vif} {}", summary(&packet.data, packet.len))?;
    writeln!(out, "    {}", why(packet))
}

/// By reason, vif and cause: how many, and how long ago the last one was.
fn print_causes(packets: &[DroppedPacket], out: &mut dyn Write) -> io::Result<()> {
    if packets.is_empty() {
        return writeln!(out, "nothing was dropped");
    }
    let mut causes: BTreeMap<(String, &str, String), (u64, u64)> = BTreeMap::new();
    for packet in packets {
        let cause = causes.entry((name_of(packet), &packet.vif, cause(packet)));
        let (count, last) = cause.or_default();
        *count += 1 + u64::from(packet.passed_over);
        *last = packet.time_ns.max(*last);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let mut table = Table::new(&["REASON", "VIF", "PACKETS>", "LAST>", "CAUSE"]);
    for ((reason, vif, cause), (count, last)) in causes {
        table.row(vec![
            reason,
            vif.into(),
            count.to_string(),
            format!("{} ago", span(now.saturating_sub(last) / 1_000_000)),
            cause,
        ]);
    }
    table.flush(out)
}

fn data(packets: &[DroppedPacket]) -> serde_json::Value {
    let data = packets.iter().map(|packet| {
        let mut data = proto::json("DroppedPacket", packet);
        data["reason"] = name_of(packet).into();
        data["data"] = hex(&packet.data).into();
        data["summary"] = summary(&packet.data, packet.len).into();
        data
    });
    data.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The time of day, UTC, to the millisecond.
pub(crate) fn clock(time_ns: u64) -> String {
    let ms = time_ns / 1_000_000;
    let (s, ms) = (ms / 1_000 % 86_400, ms % 1_000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3_600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        let read = ["30s", "5m", "2h", "1d"].map(|age| age_ms(age).unwrap());
        assert_eq!(read, [30_000, 300_000, 7_200_000, 86_400_000]);
        for wrong in ["", "5", "m", "-1s", "5 m", "99999999999999999d"] {
            assert!(age_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_of_the_day() {
        assert_eq!(
            clock(86_400_000_000_000 + 3_723_004_000_000),
            "01:02:03.004"
        );
    }
}
