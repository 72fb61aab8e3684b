//! `vrouterd replay`: capture files through a configuration, without root,
//! devices or time. The same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use ctl::convert;
use ctl::files::ObjectFiles;
use ctl::flows::Describer;
use ctl::proto;
use dataplane::counters::Totals;
use dataplane::io::pcap::{PcapError, PcapReader, PcapWriter};
use dataplane::replay::{self, Error, Report, Sent};
use dataplane::tables::change::Refusal;
use dataplane::tables::spec::{Key, Object};
use serde_json::{Map, Value, json};

use crate::{read, report};

/// Run capture files through a configuration
///
/// The packets pass the same pipeline as in the daemon, with the captures'
/// timestamps as the clock. Needs no root and no device: a vif's `device` may
/// be left out and is not looked at. The same inputs give the same bytes every time.
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  vrouterd replay --config net.yaml --in web-1=in.pcap --out sent --report report.json
writes sent/VIF.pcap for every vif that sent something. The report counts for
every vif what it received, sent, consumed, originated and dropped by reason.")]
pub(crate) struct Args {
    /// An objects file, as for `vrctl apply`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What a vif receives; may be given for several vifs
    #[arg(long = "in", value_name = "VIF=FILE.pcap", num_args = 1.., value_parser = input)]
    inputs: Vec<(String, PathBuf)>,
    /// Where to write what each vif sends
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where to write counters and flows as JSON, - for standard output
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Key of everything that is chosen by hash
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

fn input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((vif, file)) if !vif.is_empty() && !file.is_empty() => Ok((vif.into(), file.into())),
        _ => Err("write VIF=FILE.pcap".into()),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), String> {
    let (mut files, objects) = configuration(&args.config)?;
    let outputs = Outputs::new(&args.out, &objects)?;
    let inputs = open_inputs(args, &objects, &outputs)?;
    let keys: Vec<Key> = objects.iter().map(Object::key).collect();
    let mut outputs = outputs;
    let sink = |sent: Sent<'_>| outputs.write(&sent);
    let found = replay::run(objects, inputs, args.seed, sink).map_err(|error| match error {
        Error::Refused(refusals) => refused(&mut files, &keys, &refusals),
        Error::NoSuchVif(vif) => no_such_vif(&vif, args),
        Error::Input(error) | Error::Output(error) => error.to_string(),
    })?;
    outputs.finish()?;
    match &args.report {
        Some(path) => write_report(path, &found),
        None => Ok(()),
    }
}

/// Reads the objects file; every mistake in it is an error.
fn configuration(path: &Path) -> Result<(ObjectFiles, Vec<Object>), String> {
    let mut files = ObjectFiles::without_devices();
    files.read(&path.display().to_string(), &read(path)?);
    if !files.is_clean() {
        return Err(report(&files.mistakes(), "nothing was replayed"));
    }
    let objects = files
        .objects()
        .filter_map(|object| convert::object(object).ok());
    let objects = objects.collect();
    Ok((files, objects))
}

fn refused(files: &mut ObjectFiles, keys: &[Key], refusals: &[Refusal]) -> String {
    let position = |key: &Key| keys.iter().position(|other| other == key);
    let refusals: Vec<proto::Refusal> = refusals
        .iter()
        .map(|refusal| convert::refusal(refusal, refusal.object.as_ref().and_then(position)))
        .collect();
    files.add_refusals(&refusals);
    report(&files.mistakes(), "nothing was replayed")
}

fn no_such_vif(vif: &str, args: &Args) -> String {
    format!(
        "--in {vif}=…: there is no vif `{vif}` in {}",
        args.config.display()
    )
}

/// Opens every capture before anything is written.
fn open_inputs(
    args: &Args,
    objects: &[Object],
    outputs: &Outputs,
) -> Result<Vec<(String, PcapReader)>, String> {
    let mut readers = Vec::new();
    for (vif, path) in &args.inputs {
        let is_vif = |object: &Object| matches!(object, Object::Vif(it) if *it.name == **vif);
        if !objects.iter().any(is_vif) {
            return Err(no_such_vif(vif, args));
        }
        let reader = PcapReader::open(path).map_err(|error| error.to_string())?;
        if outputs.would_replace(path) {
            let (path, out) = (path.display(), args.out.display());
            return Err(format!(
                "{path} would be overwritten; choose another --out than {out}"
            ));
        }
        readers.push((vif.clone(), reader));
    }
    Ok(readers)
}

/// The captures being written. They get their names when all is done, so that
/// a replay that fails leaves none that looks whole.
struct Outputs {
    dir: PathBuf,
    writers: BTreeMap<String, PcapWriter>,
    /// Vifs that may send.
    vifs: Vec<String>,
}

impl Outputs {
    fn new(dir: &Path, objects: &[Object]) -> Result<Outputs, String> {
        fs::create_dir_all(dir)
            .map_err(|error| format!("cannot make the directory {}: {error}", dir.display()))?;
        let vifs = objects.iter().filter_map(|object| match object {
            Object::Vif(vif) => Some(vif.name.to_string()),
            _ => None,
        });
        Ok(Outputs {
            dir: dir.into(),
            writers: BTreeMap::new(),
            vifs: vifs.collect(),
        })
    }

    fn path(&self, vif: &str) -> PathBuf {
        self.dir.join(format!("{vif}.pcap"))
    }

    fn part(&self, vif: &str) -> PathBuf {
        self.dir.join(format!(".{vif}.pcap.part"))
    }

    fn would_replace(&self, input: &Path) -> bool {
        let Ok(input) = input.canonicalize() else {
            return false;
        };
        let mut outputs = self.vifs.iter().map(|vif| self.path(vif).canonicalize());
        outputs.any(|output| output.is_ok_and(|output| output == input))
    }

    fn write(&mut self, sent: &Sent<'_>) -> Result<(), PcapError> {
        if !self.writers.contains_key(sent.vif) {
            let writer = PcapWriter::create(self.part(sent.vif))?;
            self.writers.insert(sent.vif.into(), writer);
        }
        match self.writers.get_mut(sent.vif) {
            Some(writer) => writer.write(sent.time_ns, sent.frame),
            None => unreachable!("it was just put there"),
        }
    }

    /// Puts the captures in place and takes away those of an earlier replay
    /// whose vif sent nothing this time.
    fn finish(mut self) -> Result<(), String> {
        let writers = std::mem::take(&mut self.writers);
        for vif in self.vifs.iter().filter(|vif| !writers.contains_key(*vif)) {
            _ = fs::remove_file(self.path(vif));
        }
        for (vif, writer) in writers {
            writer.finish().map_err(|error| error.to_string())?;
            let path = self.path(&vif);
            fs::rename(self.part(&vif), &path)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        for vif in &self.vifs {
            _ = fs::remove_file(self.part(vif));
        }
    }
}

fn write_report(path: &Path, found: &Report) -> Result<(), String> {
    let text = format!("{:#}\n", report_data(found));
    let written = if path == Path::new("-") {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        fs::write(path, text)
    };
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn report_data(found: &Report) -> Value {
    let mut describer = Describer::new(&found.tables, found.now);
    let vifs = found
        .vifs
        .iter()
        .map(|(name, totals)| (name.to_string(), vif_data(totals)));
    let flows = found
        .flows
        .iter()
        .map(|flow| proto::json("Flow", &describer.flow(flow)));
    json!({
        "vifs": vifs.collect::<Map<_, _>>(),
        "flows": flows.collect::<Vec<_>>(),
        "generation": found.tables.generation(),
    })
}

fn vif_data(totals: &Totals) -> Value {
    let drops: Map<_, _> = totals
        .drops()
        .map(|(reason, packets)| (reason.name().to_owned(), packets.into()))
        .collect();
    json!({
        "rx_packets": totals.rx_packets,
        "rx_bytes": totals.rx_bytes,
        "tx_packets": totals.tx_packets,
        "tx_bytes": totals.tx_bytes,
        "consumed": totals.consumed,
        "originated": totals.originated,
        "errors_withheld": totals.errors_withheld,
        "ecn_dubious": totals.ecn_dubious,
        "drops": drops,
    })
}
