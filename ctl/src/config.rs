//! The node file: `vrouterd --config node.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dataplane::memory;
use dataplane::stage::error_rate;
use dataplane::stage::fragments::{LIFETIME_MS, Limits};

use crate::access;
use crate::files::{Mistake, ObjectFiles, take_objects};
use crate::ipfix;
use crate::proto::{self, descriptor};
use crate::yaml::{tree, walk};

/// Where the control socket is unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vrouter/ctl.sock";

/// Where commits are kept unless configured otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/vrouter";

/// How many flows the table holds unless configured otherwise.
pub const DEFAULT_FLOW_TABLE_SIZE: usize = 1 << 20;

/// The owner of the objects in the node file.
pub const BOOT_OWNER: &str = "boot";

/// How one vrouterd runs, checked.
pub struct NodeConfig {
    /// One worker is pinned to each; at least one, none twice.
    pub cores: Vec<usize>,
    /// Extra EAL arguments.
    pub eal: Vec<String>,
    /// Flows the table holds.
    pub flow_table_size: usize,
    /// What the table's memory is to be made of.
    pub flow_table_memory: memory::Settings,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// The directory that commits are kept in.
    pub state_dir: PathBuf,
    /// Whether an idle worker polls without pause.
    pub busy_poll: bool,
    /// What each worker may keep of fragments.
    pub fragments: Limits,
    /// What each worker may keep of tunnel packets' fragments.
    pub reassembly: Limits,
    /// ICMP errors and TCP resets sent to one source in a second; 0 for none.
    pub icmp_errors_per_second: u32,
    /// Where records of flows go.
    pub ipfix: Option<ipfix::Settings>,
    /// Where metrics are shown.
    pub metrics: Option<SocketAddr>,
    /// Who may use the protocol, and how much of it.
    pub access: access::Settings,
    /// Objects to apply at the first boot; well-formed each for itself.
    pub objects: ObjectFiles,
}

impl NodeConfig {
    /// Reads the text of a node file; `name` is what mistakes call it.
    ///
    /// # Errors
    /// Every mistake in it, in the order of lines.
    pub fn parse(name: &str, text: &str) -> Result<NodeConfig, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut note = |line, field: &str, reason: String| {
            mistakes.push(Mistake {
                file: name.into(),
                line,
                object: String::new(),
                field: field.into(),
                reason,
            });
        };
        let mut documents = match tree::parse(text) {
            Ok(documents) => documents,
            Err(error) => {
                note(error.line, "", error.reason);
                return Err(mistakes);
            }
        };
        if let Some(second) = documents.get(1) {
            note(second.line, "", "a node file is one YAML document".into());
        }
        let mut files = ObjectFiles::default();
        let mut written = proto::NodeConfig::default();
        if let Some(node) = documents.first_mut() {
            let objects = take_objects(node);
            let (message, misfits) = walk::message(&descriptor("NodeConfig"), node);
            for misfit in misfits {
                note(misfit.line, &misfit.path, misfit.reason);
            }
            written = message
                .transcode_to()
                .unwrap_or_else(|_| unreachable!("both are generated from one descriptor"));
            for (field, reason) in out_of_range(&written) {
                note(node.line_of(field), field, reason);
            }
            files.read_documents(name, objects.into_iter().collect());
        }
        mistakes.extend(files.mistakes());
        mistakes.sort_by_key(|mistake| mistake.line);
        if mistakes.is_empty() {
            Ok(NodeConfig::checked(&written, files))
        } else {
            Err(mistakes)
        }
    }

    fn checked(written: &proto::NodeConfig, objects: ObjectFiles) -> NodeConfig {
        let cores = match written.cores.as_slice() {
            [] => vec![0],
            cores => cores.iter().map(|core| *core as usize).collect(),
        };
        let flow_table_size = written
            .flow_table_size
            .map_or(DEFAULT_FLOW_TABLE_SIZE, |size| size as usize);
        NodeConfig {
            cores,
            eal: written.eal.clone(),
            flow_table_size,
            flow_table_memory: memory::Settings {
                node: written.flow_table_numa_node,
                huge_pages: written.flow_table_huge_pages.unwrap_or(true),
            },
            socket: written.socket.as_deref().unwrap_or(DEFAULT_SOCKET).into(),
            state_dir: written
                .state_dir
                .as_deref()
                .unwrap_or(DEFAULT_STATE_DIR)
                .into(),
            busy_poll: written.idle() == proto::Idle::Busy,
            fragments: fragments(&written.fragments.unwrap_or_default()),
            reassembly: reassembly(&written.fragments.unwrap_or_default()),
            icmp_errors_per_second: written
                .icmp_errors_per_second
                .unwrap_or(error_rate::PER_SECOND),
            // `out_of_range` has seen to the rest.
            access: access::Settings::new(written).unwrap_or_default(),
            ipfix: written.ipfix.as_ref().and_then(|it| ipfix(it).ok()),
            metrics: written
                .metrics_address
                .as_ref()
                .and_then(|it| it.parse().ok()),
            objects,
        }
    }
}

/// What is written, or the default.
fn fragments(written: &proto::Fragments) -> Limits {
    let default = Limits::default();
    Limits {
        datagrams: written.datagrams.unwrap_or(default.datagrams),
        held_packets: written.held_packets.unwrap_or(default.held_packets),
        held_bytes: written.held_bytes.unwrap_or(default.held_bytes),
        timeout_ms: written.timeout_ms.unwrap_or(default.timeout_ms),
    }
}

/// The same of tunnel packets' fragments.
fn reassembly(written: &proto::Fragments) -> Limits {
    let (written, default) = (written.reassembly.unwrap_or_default(), Limits::REASSEMBLY);
    Limits {
        datagrams: written.datagrams.unwrap_or(default.datagrams),
        held_packets: written.held_packets.unwrap_or(default.held_packets),
        held_bytes: written.held_bytes.unwrap_or(default.held_bytes),
        timeout_ms: written.timeout_ms.unwrap_or(default.timeout_ms),
    }
}

/// What is wrong with the limits of fragments; `of` precedes their names.
fn fragments_out_of_range(
    of: &'static str,
    limits: Limits,
) -> impl Iterator<Item = (&'static str, String)> {
    let checks = [
        ("datagrams", limits.datagrams, 16..=1 << 20),
        ("held_packets", limits.held_packets, 0..=8192),
        ("held_bytes", limits.held_bytes, 0..=1 << 26),
        ("timeout_ms", limits.timeout_ms, 1..=LIFETIME_MS),
    ];
    let wrong = checks.into_iter();
    let wrong = wrong.filter(|(_, value, range)| !range.contains(value));
    wrong.map(move |(key, value, range)| {
        let (min, max) = range.into_inner();
        let reason = format!("{of}{key}: {value} is out of range, {min} to {max}");
        ("fragments", reason)
    })
}

/// Where records of flows go, or what is wrong with what is said of it.
fn ipfix(written: &proto::Ipfix) -> Result<ipfix::Settings, String> {
    let in_range = |key: &str, value: u32, range: std::ops::RangeInclusive<u32>| {
        let (min, max) = (range.start(), range.end());
        match range.contains(&value) {
            true => Ok(value),
            false => Err(format!("{key}: {value} is out of range, {min} to {max}")),
        }
    };
    let collector = written.collector.parse().map_err(|_not_one| {
        format!(
            "collector: wants an address and a port, as in 192.0.2.50:4739, not `{}`",
            written.collector
        )
    })?;
    let interval = written.template_interval_s.unwrap_or(60);
    let interval = in_range("template_interval_s", interval, 1..=86_400)?;
    let queue = in_range("queue", written.queue.unwrap_or(65_536), 1_024..=1 << 20)?;
    Ok(ipfix::Settings {
        collector,
        domain: written.observation_domain.unwrap_or(0),
        template_interval: Duration::from_secs(interval.into()),
        queue: queue as usize,
    })
}

/// Values that have the right type and are still wrong: field and reason.
fn out_of_range(written: &proto::NodeConfig) -> Vec<(&'static str, String)> {
    const FLOWS: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 28;
    const MAX_ERRORS: u32 = 100_000;
    let mut wrong = Vec::new();
    for (i, core) in written.cores.iter().enumerate() {
        if written.cores[..i].contains(core) {
            wrong.push(("cores", format!("core {core} is named twice")));
        }
    }
    if let Some(size) = written.flow_table_size.filter(|size| !FLOWS.contains(size)) {
        let (min, max) = FLOWS.into_inner();
        let reason = format!("{size} is out of range; a flow table holds {min} to {max} flows");
        wrong.push(("flow_table_size", reason));
    }
    if let Some(rate) = written.icmp_errors_per_second
        && rate > MAX_ERRORS
    {
        let reason = format!("{rate} is out of range; 0 to {MAX_ERRORS} errors a second are sent");
        wrong.push(("icmp_errors_per_second", reason));
    }
    if let Some(Err(reason)) = written.ipfix.as_ref().map(ipfix) {
        wrong.push(("ipfix", reason));
    }
    if let Some(addr) = &written.metrics_address
        && addr.parse::<SocketAddr>().is_err()
    {
        let reason = format!("wants an address and a port, as in 127.0.0.1:9464, not `{addr}`");
        wrong.push(("metrics_address", reason));
    }
    for (key, path) in [
        ("socket", &written.socket),
        ("state_dir", &written.state_dir),
    ] {
        if path.as_deref() == Some("") {
            wrong.push((key, "is empty; write a path or leave the key out".into()));
        }
    }
    wrong.extend(access::Settings::new(written).err().unwrap_or_default());
    let written = written.fragments.unwrap_or_default();
    wrong.extend(fragments_out_of_range("", fragments(&written)));
    wrong.extend(fragments_out_of_range("reassembly: ", reassembly(&written)));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_all_defaults() {
        let config = NodeConfig::parse("node.yaml", "").unwrap();
        assert_eq!(config.cores, [0]);
        assert_eq!(config.flow_table_size, 1 << 20);
        assert_eq!(config.flow_table_memory, memory::Settings::default());
        assert_eq!(config.socket, PathBuf::from("/run/vrouter/ctl.sock"));
        assert_eq!(config.state_dir, PathBuf::from("/var/lib/vrouter"));
        assert!(!config.busy_poll);
        assert_eq!(config.fragments, Limits::default());
        assert_eq!(config.reassembly, Limits::REASSEMBLY);
        assert_eq!(config.icmp_errors_per_second, 100);
        assert!(config.ipfix.is_none() && config.metrics.is_none());
        assert!(config.objects.objects().len() == 0 && config.eal.is_empty());
    }

    #[test]
    fn every_key_is_read() {
        let text = r#"
cores: [1, 2]
eal: ["--no-huge", "-m", "256"]
flow_table_size: 65536
flow_table_numa_node: 1
flow_table_huge_pages: false
socket: /tmp/a.sock
state_dir: /tmp/a
idle: busy
fragments:
  {datagrams: 16, held_packets: 8, held_bytes: 9000, timeout_ms: 30, reassembly: {datagrams: 32, timeout_ms: 60}}
icmp_errors_per_second: 0
metrics_address: "[::1]:9464"
ipfix: {collector: "[::1]:4739", observation_domain: 7, template_interval_s: 5, queue: 2048}
objects:
  vrfs:
    - {name: front, gateways: [10.1.0.1/24, "fd01::1/64"]}
"#;
        let config = NodeConfig::parse("node.yaml", text).unwrap();
        assert_eq!(config.cores, [1, 2]);
        assert_eq!(config.eal, ["--no-huge", "-m", "256"]);
        assert_eq!(config.flow_table_size, 65536);
        let memory = memory::Settings {
            node: Some(1),
            huge_pages: false,
        };
        assert_eq!(config.flow_table_memory, memory);
        assert_eq!(config.state_dir, PathBuf::from("/tmp/a"));
        assert!(config.busy_poll);
        let limits = Limits {
            datagrams: 16,
            held_packets: 8,
            held_bytes: 9000,
            timeout_ms: 30,
        };
        assert_eq!(config.fragments, limits);
        let limits = Limits {
            datagrams: 32,
            timeout_ms: 60,
            ..Limits::REASSEMBLY
        };
        assert_eq!(config.reassembly, limits);
        assert_eq!(config.icmp_errors_per_second, 0);
        let ipfix = ipfix::Settings {
            collector: ([0, 0, 0, 0, 0, 0, 0, 1], 4739).into(),
            domain: 7,
            template_interval: Duration::from_secs(5),
            queue: 2048,
        };
        assert_eq!(config.ipfix, Some(ipfix));
        let metrics = ([0, 0, 0, 0, 0, 0, 0, 1], 9464).into();
        assert_eq!(config.metrics, Some(metrics));
        assert_eq!(config.objects.objects().len(), 1);
    }

    #[test]
    fn mistakes_in_the_node_and_in_its_objects_are_reported_together() {
        let text = "\
cores: [0, 0]
sokcet: /tmp/a.sock
flow_table_size: 5
fragments: {timeout_ms: 40000, reassembly: {held_packets: 9000}}
ipfix: {collector: 192.0.2.50}
metrics_address: localhost
objects:
  vifs:
    - {name: v, device: net_null0, role: tenent, vrf: f}
";
        let said: Vec<String> = NodeConfig::parse("node.yaml", text)
            .err()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "node.yaml:1: cores: core 0 is named twice",
                "node.yaml:2: sokcet: is not a key of a node file; did you mean `socket`?",
                "node.yaml:3: flow_table_size: 5 is out of range; a flow table holds 1024 to 268435456 flows",
                "node.yaml:4: fragments: timeout_ms: 40000 is out of range, 1 to 30000",
                "node.yaml:4: fragments: reassembly: held_packets: 9000 is out of range, 0 to 8192",
                "node.yaml:5: ipfix: collector: wants an address and a port, as in 192.0.2.50:4739, not `192.0.2.50`",
                "node.yaml:6: metrics_address: wants an address and a port, as in 127.0.0.1:9464, not `localhost`",
                "node.yaml:9: vif v: role: wants one of tenant, fabric, host, not `tenent`; did you mean `tenant`?",
            ]
        );
    }
}
