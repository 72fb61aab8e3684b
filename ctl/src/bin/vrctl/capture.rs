//! `vrctl capture`: packets as they pass vifs, or as they are dropped, for Wireshark.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use ctl::client::Client;
use ctl::proto;
use tonic::Streaming;

use crate::pcapng::{Packet, Pcapng, Statistics};
use crate::summary::summary;
use crate::{Failure, dropped, filter};

/// Copy packets as they pass vifs, for Wireshark and tshark
///
/// Received packets are shown as they came, sent ones as they leave, with tunnel
/// headers on. Writes pcapng to standard output, or to a file; on a terminal, a
/// line for each packet. The traffic does not wait: what finds no room is left
/// out and counted, and the file says how much that is.
#[derive(Args)]
#[command(after_help = "\
Examples:
  vrctl capture web-1                               a line for each packet
  vrctl capture web-1 --filter 'tcp port 80' | tshark -r -
  vrctl capture up0 --direction tx -w up.pcapng -c 1000
  vrctl capture --drops | tshark -r - -T fields -e frame.comment
  ssh node vrctl capture web-1 | wireshark -k -i -")]
pub(crate) struct CaptureArgs {
    /// The vifs; all, if none is named
    #[arg(value_name = "VIF")]
    pub(crate) vifs: Vec<String>,
    /// Only packets that this pcap expression matches, see `man pcap-filter`
    #[arg(short, long, value_name = "EXPRESSION")]
    pub(crate) filter: Option<String>,
    /// Which way packets pass
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) direction: Direction,
    /// Dropped packets instead, each with the reason and its cause as a comment
    #[arg(long)]
    pub(crate) drops: bool,
    /// The file to write, - for standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) write: PathBuf,
    /// End after so many packets
    #[arg(short, long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<u64>,
    /// Bytes of each packet, 14 to 65535
    #[arg(short, long, value_name = "BYTES", default_value_t = 262)]
    pub(crate) snap_len: u32,
    /// Packets a second of each worker that are copied at most
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) rate: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// Received from the device
    Rx,
    /// Sent on the device
    Tx,
    /// Both
    Both,
}

/// Where packets go.
enum Sink<'a> {
    File(Pcapng<'a>),
    Lines(&'a mut dyn Write),
}

pub(crate) async fn run(
    socket: &Path,
    args: CaptureArgs,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let program = match &args.filter {
        Some(expression) => filter::compile(expression)?,
        None => Vec::new(),
    };
    let mut client = Client::connect(socket).await?;
    // Nothing is written before the daemon has agreed.
    let source = Source::open(&mut client, &args, program).await?;
    let is_stdout = args.write.as_os_str() == "-";
    let mut file;
    let out = match is_stdout {
        true => out,
        false => {
            let path = args.write.display();
            let created = File::create(&args.write)
                .map_err(|error| Failure::CouldNotAsk(format!("cannot write {path}: {error}")))?;
            file = BufWriter::new(created);
            &mut file as &mut dyn Write
        }
    };
    let mut sink = match is_stdout && io::stdout().is_terminal() {
        true => Sink::Lines(out),
        false => Sink::File(Pcapng::new(out, args.snap_len)?),
    };
    for vif in &args.vifs {
        if let Sink::File(pcapng) = &mut sink {
            pcapng.interface(vif)?;
        }
    }
    sink.flush()?;
    let end = end(args.duration)?;
    tokio::pin!(end);
    let counted = match source {
        Source::Drops(stream) => drops(stream, &args, &mut sink, end).await?,
        Source::Packets(stream) => packets(stream, &args, &mut sink, end).await?,
    };
    if counted.left_out > 0 {
        let (left_out, all) = (counted.left_out, counted.accepted);
        _ = writeln!(
            io::stderr(),
            "{left_out} of {all} packets were left out; name a filter or a higher --rate"
        );
    }
    if let Sink::File(pcapng) = &mut sink {
        pcapng.statistics(now_ns(), counted)?;
    }
    sink.flush()?;
    Ok(())
}

/// Where packets come from.
enum Source {
    Packets(Streaming<proto::CaptureResponse>),
    Drops(Streaming<proto::DroppedPacketsResponse>),
}

impl Source {
    async fn open(
        client: &mut Client,
        args: &CaptureArgs,
        filter: Vec<proto::BpfInstruction>,
    ) -> Result<Source, Failure> {
        if args.drops {
            let request = proto::DroppedPacketsRequest {
                vifs: args.vifs.clone(),
                filter,
                follow: true,
                ..proto::DroppedPacketsRequest::default()
            };
            return Ok(Source::Drops(client.dropped_packets(request).await?));
        }
        let direction = match args.direction {
            Direction::Rx => proto::CaptureDirection::Rx,
            Direction::Tx => proto::CaptureDirection::Tx,
            Direction::Both => proto::CaptureDirection::Unspecified,
        };
        let request = proto::CaptureRequest {
            vifs: args.vifs.clone(),
            direction: direction.into(),
            filter,
            snap_len: Some(args.snap_len),
            max_rate: Some(args.rate),
        };
        Ok(Source::Packets(client.capture(request).await?))
    }
}

/// Completes when the user or the clock says so.
fn end(seconds: Option<u64>) -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| {
        signal(kind)
            .map_err(|error| Failure::CouldNotAsk(format!("cannot wait for signals: {error}")))
    };
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    let limit = seconds.map(Duration::from_secs);
    Ok(async move {
        let clock = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = clock => {}
        }
    })
}

async fn packets(
    mut stream: Streaming<proto::CaptureResponse>,
    args: &CaptureArgs,
    sink: &mut Sink<'_>,
    mut end: impl Future<Output = ()> + Unpin,
) -> Result<Statistics, Failure> {
    let mut counted = Statistics::default();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let response = tokio::select! {
            response = stream.message() => response?,
            () = &mut end => break,
        };
        let Some(response) = response else { break };
        let counts = response.counts.unwrap_or_default();
        counted = Statistics {
            accepted: counts.accepted,
            left_out: counts.over_rate + counts.no_room,
        };
        for packet in response.packets {
            if left == 0 {
                break;
            }
            left -= 1;
            let is_rx = packet.direction() == proto::CaptureDirection::Rx;
            sink.packet(&Packet {
                vif: &packet.vif,
                time_ns: packet.time_ns,
                is_rx: Some(is_rx),
                len: packet.len,
                data: &packet.data,
                comment: "",
            })?;
        }
        sink.flush()?;
    }
    Ok(counted)
}

async fn drops(
    mut stream: Streaming<proto::DroppedPacketsResponse>,
    args: &CaptureArgs,
    sink: &mut Sink<'_>,
    mut end: impl Future<Output = ()> + Unpin,
) -> Result<Statistics, Failure> {
    let mut counted = Statistics::default();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let response = tokio::select! {
            response = stream.message() => response?,
            () = &mut end => break,
        };
        let Some(response) = response else { break };
        for packet in response.packets {
            if left == 0 {
                break;
            }
            left -= 1;
            counted.accepted += 1 + u64::from(packet.passed_over);
            counted.left_out += u64::from(packet.passed_over);
            let data = &packet.data[..packet.data.len().min(args.snap_len as usize)];
            sink.packet(&Packet {
                vif: &packet.vif,
                time_ns: packet.time_ns,
                is_rx: None,
                len: packet.len,
                data,
                comment: &dropped::why(&packet),
            })?;
        }
        sink.flush()?;
    }
    Ok(counted)
}

impl Sink<'_> {
    fn packet(&mut self, packet: &Packet) -> io::Result<()> {
        match self {
            Sink::File(pcapng) => pcapng.packet(packet),
            Sink::Lines(out) => {
                let way = match packet.is_rx {
                    Some(true) => " rx",
                    Some(false) => " tx",
                    None => "",
                };
                let comment = match packet.comment {
                    "" => String::new(),
                    comment => format!("  # {comment}"),
                };
                let time = dropped::clock(packet.time_ns);
                let summary = summary(packet.data, packet.len);
                writeln!(out, "{time} {}{way} {summary}{comment}", packet.vif)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::File(pcapng) => pcapng.flush(),
            Sink::Lines(out) => out.flush(),
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
